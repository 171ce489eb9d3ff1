//! What can be wrong with what was asked for. The texts are Toxiproxy's, as its clients know them.

use crate::address::ListenError;
use crate::server::RuleError;
use crate::toxic::AttributeError;

/// A request that cannot be met. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no proxy with this name.
    #[error("proxy not found")]
    ProxyNotFound,
    /// There is a proxy with this name.
    #[error("proxy already exists")]
    ProxyExists,
    /// There is no toxic with this name.
    #[error("toxic not found")]
    ToxicNotFound,
    /// There is a toxic with this name, in either direction.
    #[error("toxic already exists")]
    ToxicExists,
    /// There is no rule with this name.
    #[error("rule not found")]
    RuleNotFound,
    /// There is a rule with this name.
    #[error("rule already exists")]
    RuleExists,
    /// A proxy needs it.
    #[error("missing required field: {0}")]
    Missing(&'static str),
    /// The stream is none.
    #[error("stream was invalid, can be either upstream or downstream")]
    Stream,
    /// The type is none.
    #[error("invalid toxic type")]
    ToxicType,
    /// An attribute has a value that it cannot have.
    #[error("bad request body: {0}")]
    Attribute(#[from] AttributeError),
    /// What was given is not of the right form.
    #[error("bad request body: {0}")]
    Body(String),
    /// The upstream is no address.
    #[error("upstream {0}")]
    Upstream(String),
    /// The rule is none.
    #[error("{0}")]
    Rule(#[from] RuleError),
    /// The proxy cannot listen.
    #[error("{0}")]
    Listen(#[from] ListenError),
    /// The address to listen on is none.
    #[error("{0}")]
    Resolve(String),
    /// One of many proxies is wrong.
    #[error("{error} at proxy {number}")]
    At {
        /// Which, from 1.
        number: usize,
        /// What.
        error: Box<ControlError>,
    },
}

impl ControlError {
    pub(super) fn at_proxy(self, number: usize) -> Self {
        Self::At { number, error: Box::new(self) }
    }
}
