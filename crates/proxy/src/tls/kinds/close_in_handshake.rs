//! `tls.closeInHandshake`

use schemars::JsonSchema;
use serde::Deserialize;

use super::TlsFault;
use crate::body::Cut;
use crate::tls::authority::Authority;
use crate::tls::plan::{Interrupt, Plan, Stage, Terms, Then};

pub(super) struct CloseInHandshake;

/// The settings of `tls.closeInHandshake`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// After which message the connection ends.
    #[serde(default)]
    after: Stage,
    /// How.
    #[serde(default = "close")]
    how: Cut,
}

const fn close() -> Cut {
    Cut::Close
}

impl TlsFault for CloseInHandshake {
    type Args = Args;
    const NAME: &'static str = "tls.closeInHandshake";
    const SUMMARY: &'static str = "The connection ends in the middle of the handshake";
    const EXAMPLE: &'static str = "{ fault: tls.closeInHandshake, with: { after: serverHello, how: reset } }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        let interrupt = Interrupt { after: args.after, then: Then::End(args.how) };
        Ok(Plan::terms(Terms { interrupt: Some(interrupt), ..Terms::default() }))
    }
}
