//! Kinds of the crate's lists, by name.

use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::{Value as Json, json};
use squall_engine::{AnyFault, AnyTargetKind, Target};

/// The fault with that name.
pub fn fault(name: &str) -> Arc<dyn AnyFault> {
    squall_faults::all().into_iter().find(|fault| fault.meta().name == name).unwrap_or_else(|| panic!("{name} is no fault"))
}

/// The kind of target with that name.
pub fn kind(name: &str) -> Arc<dyn AnyTargetKind> {
    squall_faults::targets().into_iter().find(|kind| kind.meta().name == name).unwrap_or_else(|| panic!("{name} is no target"))
}

/// The processes that a selector matches.
pub fn found(selector: &Json) -> Vec<Target> {
    assert_eq!(kind("process").check(selector), [], "{selector}");
    kind("process").find(selector).now_or_never().expect("looks without waiting").expect("found")
}

/// The one process that a selector matches.
pub fn one(selector: &Json) -> Target {
    let found = found(selector);
    assert_eq!(found.len(), 1, "{selector}: {found:?}");
    found.into_iter().next().expect("one")
}

/// This host.
pub fn host() -> Target {
    kind("host").find(&json!({})).now_or_never().expect("looks without waiting").expect("found").remove(0)
}
