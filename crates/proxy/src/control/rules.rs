//! Whether rules and `tls` blocks can be carried out, also those of proxies that are disabled.

use crate::rule::RuleSpec;
use crate::server::{Layers, Options, RuleError};
use crate::tls::{AuthorityDir, TlsSpec};

/// What checks need to know of the process.
#[derive(Debug, Clone)]
pub(super) struct Check {
    seed: u64,
    authority: AuthorityDir,
}

impl Check {
    pub(super) fn new(options: &Options) -> Self {
        Self { seed: options.seed, authority: options.authority.clone() }
    }

    pub(super) fn rules(&self, proxy: &str, rules: &[RuleSpec], tls: Option<&TlsSpec>) -> Result<(), RuleError> {
        Layers::compile(proxy, self.seed, &self.authority, rules, tls, None).map(drop)
    }
}
