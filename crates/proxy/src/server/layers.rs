//! What reads meaning from the bytes of a proxy's connections, as its rules and its `tls` block ask for.

use crate::http::RuleSet;
use crate::rule::RuleSpec;
use crate::tls::{AuthorityDir, CompileCx, CompiledTls, TlsSpec};

/// Rules, or a `tls` block, that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}{}", .hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub struct RuleError {
    /// `rule NAME`, or `tls`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// The layers above the bytes. A connection keeps those that it began with, but for what they themselves let change.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(crate) tls: Option<CompiledTls>,
    pub(crate) http: Option<RuleSet>,
}

impl Layers {
    /// Makes rules ready.
    pub(crate) fn compile(
        proxy: &str,
        seed: u64,
        authority: &AuthorityDir,
        rules: &[RuleSpec],
        tls: Option<&TlsSpec>,
    ) -> Result<Self, RuleError> {
        let wanted = tls.is_some() || rules.iter().any(|rule| rule.fault.starts_with("tls."));
        let compiled = wanted.then(|| crate::tls::compile(tls, rules, &CompileCx { proxy, seed, authority }));
        let tls = compiled.transpose().map_err(|e| RuleError { place: e.place, message: e.message, hint: e.hint })?;
        let http = RuleSet::compile(proxy, seed, rules).map_err(|(place, message, hint)| RuleError { place, message, hint })?;
        Ok(Self { tls, http: (!http.is_empty()).then_some(http) })
    }

    /// Whether bytes are all that matters.
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none() && self.http.is_none()
    }
}
