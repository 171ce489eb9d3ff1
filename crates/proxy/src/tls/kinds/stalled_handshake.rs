//! `tls.stalledHandshake`

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Time;

use super::TlsFault;
use crate::tls::authority::Authority;
use crate::tls::plan::{Interrupt, Plan, Stage, Terms, Then};

pub(super) struct StalledHandshake;

/// The settings of `tls.stalledHandshake`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Args {
    /// After which message the server falls silent.
    #[serde(default)]
    after: Stage,
    /// For how long; then the handshake goes on. Until the client leaves where it is left out.
    #[serde(default, rename = "for")]
    time: Option<Time>,
}

impl TlsFault for StalledHandshake {
    type Args = Args;
    const NAME: &'static str = "tls.stalledHandshake";
    const SUMMARY: &'static str = "The server falls silent in the middle of the handshake";
    const EXAMPLE: &'static str = "{ fault: tls.stalledHandshake, with: { after: serverHello, for: 5s } }";

    fn plan(args: Args, _: &Authority) -> Result<Plan, String> {
        let interrupt = Interrupt { after: args.after, then: Then::Wait(args.time.map(Time::std)) };
        Ok(Plan::terms(Terms { interrupt: Some(interrupt), ..Terms::default() }))
    }
}
