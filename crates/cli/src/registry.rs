//! The kinds of fault, probe and target that this binary knows, and how their undos are done.

use std::sync::Arc;

use serde_json::Value;
use squall_engine::{BoxFuture, Registry};
use squall_undo::{Armed, Undoer};

/// Every kind, from the explicit lists of the crates.
pub fn registry() -> Arc<Registry> {
    let faults = [squall_faults::all(), squall_proxy::experiment::all()].concat();
    let targets = [squall_faults::targets(), squall_proxy::experiment::targets()].concat();
    Arc::new(Registry { faults, probes: squall_probes::all(), targets })
}

/// Undoes by the list of faults.
pub struct RegistryUndoer(pub Arc<Registry>);

impl Undoer for RegistryUndoer {
    fn revert<'a>(&'a self, fault: &'a str, undo: &'a Value, armed: &'a Armed) -> BoxFuture<'a, Result<String, String>> {
        Box::pin(async move {
            let kind = self.0.fault(fault).ok_or_else(|| format!("this Squall does not know `{fault}`; use the one that made it"))?;
            kind.revert(undo, armed).await.map(|r| r.how).map_err(|e| e.to_string())
        })
    }
}
