//! `tls.handshakeFailure`

use schemars::JsonSchema;
use serde::Deserialize;

use super::TlsFault;
use crate::tls::alert::Alert;
use crate::tls::authority::Authority;
use crate::tls::plan::Plan;

pub(super) struct HandshakeFailure;

/// The settings of `tls.handshakeFailure`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// The alert.
    #[serde(default)]
    alert: Alert,
}

impl TlsFault for HandshakeFailure {
    type Args = Args;
    const NAME: &'static str = "tls.handshakeFailure";
    const SUMMARY: &'static str = "The server answers the ClientHello with a fatal alert";
    const EXAMPLE: &'static str = "{ fault: tls.handshakeFailure, with: { alert: unrecognizedName } }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        Ok(Plan::alert(args.alert))
    }
}
