//! Faults of the user's own: any command or HTTP call, with its undo.

mod command;
mod http;
mod lasting;
mod marked;
mod program;

use std::sync::Arc;

use serde_json::Value;
use squall_engine::AnyFault;
use squall_model::RollbackAction;

pub use command::Command;
pub use http::Http;
pub use lasting::Lasting;

/// Every custom fault.
pub fn all() -> Vec<Arc<dyn AnyFault>> {
    vec![Arc::new(Command), Arc::new(Lasting), Arc::new(Http)]
}

/// A rollback action of a manifest as the undo of a custom fault: the fault's name and its undo.
pub fn rollback_undo(action: &RollbackAction) -> Result<(String, Value), String> {
    let undo = match (&action.command, &action.http) {
        (Some(words), None) => ("custom.command", command::undo_of(words, action.timeout)?),
        (None, Some(call)) => ("custom.http", http::undo_of(call, action.timeout)?),
        _ => return Err(format!("rollback action `{}`: write one of `command` and `http`", action.name)),
    };
    Ok((undo.0.to_owned(), undo.1))
}
