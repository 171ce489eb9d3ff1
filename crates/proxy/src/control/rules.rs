//! Where rules are handed to the proxies that carry them out.

use crate::rule::RuleSpec;
use crate::server::Route;

/// A rule that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuleError(String);

/// Whether these rules could be carried out.
pub(super) fn check(rules: &[RuleSpec]) -> Result<(), RuleError> {
    match rules.first() {
        Some(rule) => Err(RuleError(format!("fault: `{}` is not a fault of this proxy", rule.fault))),
        None => Ok(()),
    }
}

/// Sets the rules of a proxy that listens.
pub(super) fn apply(_route: &Route, rules: &[RuleSpec]) -> Result<(), RuleError> {
    check(rules)
}
