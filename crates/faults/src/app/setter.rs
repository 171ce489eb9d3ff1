//! Setting, looking at and ending what the layer in a service obeys.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use squall_engine::{Cx, Effect, InjectError, Plan, PlanError, PlannedChange, RevertError, Reverted, Target, VerifyError};
use squall_tower::file::{self, Held, Standing};
use squall_tower::{Failure, Latency, Setting};
use squall_undo::{Armed, boottime};

use super::requests::Requests;
use crate::process::pause_between_looks;
use crate::stressor::deadline_of;
use crate::target::AppFacts;

/// How long a service may take to obey. It is told by the kernel, within milliseconds; where the kernel cannot tell, it looks
/// each second.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);
/// How long a service may take to let go.
const OVER_WITHIN: Duration = Duration::from_secs(1);

/// What is needed to end a fault: where its file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppUndo {
    /// The directory that the service watches.
    pub directory: PathBuf,
    /// The fault's name there.
    pub id: String,
    /// The service, for words.
    pub service: String,
}

/// What is wished for.
pub(super) struct Wish<'a> {
    pub requests: Requests<'a>,
    pub latency: Option<Latency>,
    pub failure: Option<Failure>,
    /// In words.
    pub what: String,
}

impl Wish<'_> {
    pub(super) fn plan(&self, target: &Target) -> Result<Plan, PlanError> {
        let facts = AppFacts::of(target).map_err(|message| PlanError { message, hint: None })?;
        let what = format!("{} of {}", self.requests.describe(), target.label);
        let directory = facts.directory.display();
        let mechanism = format!("the layer of squall-tower in the service {}; it is told by a file in {directory}", self.what);
        let undo = "the file is removed; without that the fault ends with Squall's process, and at the end of `for`".to_owned();
        // Several faults on one service add up.
        Ok(Plan { changes: vec![PlannedChange { what, mechanism, undo }], claims: Vec::new(), irreversible: false })
    }
}

/// The locks on the faults that this process has set.
#[derive(Debug, Default)]
pub(super) struct Setter(Mutex<HashMap<String, Held>>);

impl Setter {
    pub(super) fn inject(&self, wish: &Wish<'_>, target: &Target, cx: &Cx<'_, AppUndo>) -> Result<(), InjectError> {
        let AppFacts { service, directory } = AppFacts::of(target).map_err(InjectError::Failed)?;
        let setting = Setting {
            version: Setting::VERSION,
            id: cx.marker.to_owned(),
            service: service.clone(),
            paths: wish.requests.paths.to_vec(),
            methods: wish.requests.methods.to_vec(),
            points: wish.requests.points.to_vec(),
            latency: wish.latency,
            failure: wish.failure,
            seed: cx.seed,
            deadline: u64::try_from(deadline_of(cx)?.as_nanos()).unwrap_or(u64::MAX),
        };
        let undo = AppUndo { directory, id: setting.id.clone(), service };
        // What follows is for `armed` alone to allow, though writing a file asks for no token.
        let _armed: Armed = cx.arm(&undo)?;
        let failed = |error: std::io::Error| {
            let hint = "is it to be written by this user? `SQUALL_FAULTS_DIR` or `directory` of the target name another";
            InjectError::Failed(format!("no fault can be set in {}: {error}; {hint}", undo.directory.display()))
        };
        let held = file::publish(&undo.directory, &setting).map_err(failed)?;
        self.held().insert(setting.id, held);
        Ok(())
    }

    pub(super) async fn revert(&self, undo: &AppUndo, _: &Armed) -> Result<Reverted, RevertError> {
        let AppUndo { directory, id, service } = undo;
        let failed = |error: std::io::Error| RevertError(format!("fault {id} in {}: {error}", directory.display()));
        let withdrawn = file::withdraw(directory, id).map_err(failed)?;
        self.held().remove(id);
        let Some(withdrawn) = withdrawn else {
            return Ok(Reverted { how: format!("no fault {id} is left in {}, nothing to do", directory.display()) });
        };
        let end = boottime() + OVER_WITHIN;
        while withdrawn.is_obeyed().map_err(failed)? {
            if boottime() >= end {
                // One that is stopped cannot let go; when it goes on, this is the first thing that it sees.
                return Ok(Reverted { how: format!("removed fault {id} of service {service}; a process of it has not looked yet") });
            }
            pause_between_looks().await;
        }
        Ok(Reverted { how: format!("removed fault {id} of service {service}; no process obeys it any more") })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AppUndo {
    /// Waits a moment for a service to obey.
    pub(super) async fn verify(&self) -> Result<Effect, VerifyError> {
        let Self { directory, id, service } = self;
        let failed = |error: std::io::Error| VerifyError(format!("fault {id} in {} cannot be looked at: {error}", directory.display()));
        let no = |evidence: String| Ok(Effect { in_force: false, evidence });
        let end = boottime() + TAKEN_WITHIN;
        loop {
            match file::look(directory, id).map_err(failed)? {
                None => return no(format!("there is no fault {id} in {}", directory.display())),
                Some(Standing { held: false, .. }) => return no(format!("whoever set fault {id} is gone, and the fault with it")),
                Some(Standing { taken: true, by, .. }) => {
                    return Ok(Effect { in_force: true, evidence: format!("fault {id} is obeyed by {}", processes(&by)) });
                }
                Some(_) if boottime() >= end => break,
                Some(_) => pause_between_looks().await,
            }
        }
        let (place, seconds) = (directory.display(), TAKEN_WITHIN.as_secs());
        no(format!(
            "no process obeys fault {id} after {seconds} s: is squall-tower in service `{service}` under that name, does it watch {place}, and may it read that?"
        ))
    }
}

fn processes(pids: &[u32]) -> String {
    let name = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("process {pid} ({})", name.trim())
    };
    // Another container's process has no number here.
    if pids.is_empty() { "a process that has no number here".to_owned() } else { pids.iter().map(name).collect::<Vec<_>>().join(", ") }
}
