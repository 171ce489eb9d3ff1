//! `process.kill`: sends a signal that ends a process, or any other.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    ArgError, Claim, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target,
    Undone, VerifyError,
};
use squall_model::Time;
use squall_undo::Armed;

use super::back::{Back, Comeback, default_within};
use super::facts;
use super::signal::SignalName;

/// Sends a signal to a process.
#[derive(Debug)]
pub struct Kill;

/// Which signal, and how the process comes back.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KillArgs {
    /// The signal, by name or number. `KILL` by default.
    #[serde(default = "kill")]
    pub signal: SignalName,
    /// Who brings the process back: `supervisor` (the default), `relaunch` or `none`.
    #[serde(default)]
    pub back: Back,
    /// How long a supervisor may take to bring it back.
    #[serde(default = "default_within")]
    pub within: Time,
}

const fn kill() -> SignalName {
    SignalName::KILL
}

/// What puts it back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KillUndo {
    signal: SignalName,
    comeback: Comeback,
}

/// How long a process that was asked to end (TERM, INT, QUIT) may take to do so.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How long any other signal may take to end a process that has a handler for it.
const HANDLES_WITHIN: Duration = Duration::from_millis(200);

impl KillUndo {
    /// How long the signal may take to end the process, if it does.
    fn takes_effect_within(&self) -> Duration {
        let signal = self.signal.0;
        let caught = self.comeback.process.dispositions().is_some_and(|d| d.catches(signal));
        match (caught, self.signal.asks_to_end()) {
            (false, _) => self.comeback.ends_within(signal),
            (true, true) => ENDS_WITHIN,
            (true, false) => HANDLES_WITHIN,
        }
    }
}

impl Fault for Kill {
    type Args = KillArgs;
    type Undo = KillUndo;

    const META: Meta = Meta {
        name: "process.kill",
        family: "process",
        summary: "Sends a signal to a process, KILL by default, and sees to it that it comes back",
        example: "\
fault: process.kill
target: { process: { name: payments } }
with: { signal: KILL, back: supervisor }
",
        targets: &["process"],
        needs: &["pidfd"],
        undone: Undone::Depends,
        lasting: false,
    };

    fn check(&self, args: &KillArgs) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if args.signal.stops() {
            let hint = "use `process.pause`, which also continues the process";
            errors.push(ArgError::field("signal", format!("{} stops a process and leaves it so", args.signal), Some(hint.to_owned())));
        }
        errors
    }

    fn plan(&self, args: &KillArgs, target: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        let process = facts(target)?;
        let undo = match args.back {
            Back::Supervisor => format!("its supervisor is expected to bring it back within {}; Squall checks", args.within),
            Back::Relaunch => "Squall starts it again with what it had: program, arguments, environment, directory, user".to_owned(),
            Back::None => "not at all".to_owned(),
        };
        let change =
            PlannedChange { what: format!("process {}", process.label()), mechanism: format!("{} through a pidfd", args.signal), undo };
        Ok(Plan { changes: vec![change], claims: vec![Claim(target.id.clone())], irreversible: args.back == Back::None })
    }

    async fn inject(&self, args: &KillArgs, target: &Target, cx: &Cx<'_, KillUndo>) -> Result<(), InjectError> {
        let process = facts(target).map_err(|e| InjectError::Failed(e.message))?;
        let Some(dispositions) = process.id.dispositions() else { return Err(InjectError::TargetGone(target.label.clone())) };
        let unheard = !dispositions.catches(args.signal.0) && (dispositions.ignores(args.signal.0) || args.signal.ignored_by_default());
        if unheard {
            return Err(InjectError::Failed(format!(
                "{} ignores {}, so nothing was sent; choose another signal",
                target.label, args.signal
            )));
        }
        let comeback = Comeback::capture(&process, args.back, args.within, cx.marker).await?;
        let armed = cx.arm(&KillUndo { signal: args.signal, comeback })?;
        match process.id.signal(&armed, args.signal.0) {
            Ok(true) => Ok(()),
            Ok(false) => Err(InjectError::TargetGone(target.label.clone())),
            Err(error) => Err(InjectError::Failed(format!("{} could not be sent to {}: {error}", args.signal, target.label))),
        }
    }

    async fn verify(&self, undo: &KillUndo) -> Result<Effect, VerifyError> {
        let (signal, label) = (undo.signal, &undo.comeback.label);
        let gone = undo.comeback.wait_gone(undo.takes_effect_within()).await.map_err(VerifyError)?;
        if gone {
            return Ok(Effect { in_force: true, evidence: format!("{label} has ended after {signal}") });
        }
        // A process may handle what it is sent (HUP to read its configuration): then having been sent it is all there is.
        let handled = signal != SignalName::KILL;
        let evidence = if handled { format!("{signal} was delivered to {label}, which goes on") } else { format!("{label} still runs") };
        Ok(Effect { in_force: handled, evidence })
    }

    async fn revert(&self, undo: &KillUndo, armed: &Armed) -> Result<Reverted, RevertError> {
        undo.comeback.ensure(armed, undo.takes_effect_within()).await
    }
}
