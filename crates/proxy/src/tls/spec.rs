//! The `tls` block of a proxy.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a proxy treats TLS. Connections that it does not end itself it relays untouched, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsSpec {
    /// Whether the proxy ends TLS with a certificate of its own authority, so that `http.*` and `stream.*` rules see what is
    /// inside. With `false` only those connections that a `tls.*` rule hits are touched.
    #[serde(default = "yes")]
    pub terminate: bool,
    /// Server names that are ended; `*` for anything, as `*.example.com`. All where it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Server names that are relayed untouched whatever else is said, even by rules; `*` for anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pass_through: Vec<String>,
    /// What the upstream speaks behind a connection that was ended here; `tls` by default.
    #[serde(default)]
    pub upstream: UpstreamTls,
    /// Whether the upstream's certificate is checked. Without, any is taken.
    #[serde(default = "yes")]
    pub verify: bool,
    /// A PEM file with the authorities that may have signed the upstream's certificate, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The name asked of the upstream (SNI), and its certificate is checked for. By default the one that the client asked for,
    /// or else the upstream's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The protocols (ALPN) that clients may have, best first. By default what the client offers and the upstream takes; with
    /// `upstream: plain` only `http/1.1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
}

/// What the upstream speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UpstreamTls {
    /// TLS 1.2 or 1.3.
    #[default]
    Tls,
    /// What is inside, without TLS.
    Plain,
}

const fn yes() -> bool {
    true
}

impl Default for TlsSpec {
    fn default() -> Self {
        Self {
            terminate: true,
            names: Vec::new(),
            pass_through: Vec::new(),
            upstream: UpstreamTls::Tls,
            verify: true,
            ca: None,
            server_name: None,
            alpn: Vec::new(),
        }
    }
}

impl TlsSpec {
    /// What holds for a proxy that has `tls.*` rules and no `tls` block: what no rule hits is relayed untouched.
    pub fn untouched() -> Self {
        Self { terminate: false, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_block_terminates_everything_and_checks_the_upstream() {
        let spec: TlsSpec = serde_json::from_str("{}").unwrap();
        assert_eq!(spec, TlsSpec::default());
        assert!(spec.terminate && spec.verify);
        assert!(serde_json::from_str::<TlsSpec>(r#"{"terminat": true}"#).is_err());
    }
}
