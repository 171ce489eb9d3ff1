//! `tls.wrongAlpn`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TlsFault;
use crate::tls::alert::Alert;
use crate::tls::authority::Authority;
use crate::tls::plan::{AlpnTerms, Plan, Terms};

pub(super) struct WrongAlpn;

/// The settings of `tls.wrongAlpn`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// What the server does with the client's protocols.
    #[serde(default, rename = "do")]
    action: Action,
    /// The only protocol that the server takes, as `http/1.1` or `h2`; whoever does not offer it is refused. Then `do` is
    /// left out.
    #[serde(default)]
    only: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Action {
    /// It knows none of them, and says so: alert 120, `no_application_protocol` (RFC 7301). Clients that offer none get it too.
    #[default]
    Refuse,
    /// It says nothing of protocols. Clients that can, fall back to HTTP/1.1; gRPC clients give up.
    Ignore,
}

impl TlsFault for WrongAlpn {
    type Args = Args;
    const NAME: &'static str = "tls.wrongAlpn";
    const SUMMARY: &'static str = "No application protocol is agreed on, or another one than wanted (ALPN)";
    const EXAMPLE: &'static str = "{ fault: tls.wrongAlpn, with: { only: http/1.1 } }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        let alpn = match (args.only, args.action) {
            (Some(_), Action::Ignore) => return Err("`only` and `do: ignore` contradict each other".into()),
            (Some(name), Action::Refuse) if name.is_empty() || name.len() > 255 => return Err("`only` must have 1 to 255 bytes".into()),
            (Some(name), Action::Refuse) => AlpnTerms::Only(name.into_bytes()),
            (None, Action::Ignore) => AlpnTerms::Ignore,
            (None, Action::Refuse) => return Ok(Plan::alert(Alert::NoApplicationProtocol)),
        };
        Ok(Plan::terms(Terms { alpn, ..Terms::default() }))
    }
}
