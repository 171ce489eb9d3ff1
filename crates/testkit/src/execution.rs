//! Carrying out single injections as the engine does: with a real ledger, and nothing else of a run.

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use squall_engine::{AnyFault, Cx, HostFacts, InjectError, Target};
use squall_model::{InjectionId, RevertedBy, RunId, Time};
use squall_undo::{ArmError, Armed, Entry, Ledger, StateDir, Undoer, boottime};

use crate::planned::planned;

/// A state directory with a run's ledger.
#[derive(Debug)]
pub struct Execution {
    /// Where everything is.
    pub state: StateDir,
    /// The run.
    pub run: RunId,
    /// Its ledger.
    pub ledger: Ledger,
    /// How long an injection may be in force.
    pub time_box: Duration,
    own: Option<tempfile::TempDir>,
}

impl Default for Execution {
    /// In a directory of its own that is gone with it.
    fn default() -> Self {
        let own = tempfile::Builder::new().prefix("squall-execution-").tempdir().expect("a directory");
        let made = Self::within(own.path());
        Self { own: Some(own), ..made }
    }
}

impl Execution {
    /// In this directory, beside others.
    pub fn within(directory: &Path) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let state = StateDir::new(directory).expect("a state directory");
        // Unique on the host: marks with it are looked for among all processes.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let millis = u64::try_from(boottime().as_millis()).expect("less than 500 million years");
        let run = RunId::new(millis << 20 | u64::from(std::process::id()) << 8 | number, 1);
        let ledger = Ledger::create(&state, &run).expect("a ledger");
        Self { state, run, ledger, time_box: Duration::from_mins(1), own: None }
    }

    /// Its own directory, if it has one.
    pub fn directory(&self) -> Option<&Path> {
        self.own.as_ref().map(tempfile::TempDir::path)
    }

    /// How many undos were armed.
    pub fn armed(&self) -> usize {
        Ledger::read(self.ledger.path()).expect("a ledger").entries.len()
    }

    /// Injects, and gives the undo that was armed last.
    pub async fn inject(&self, fault: &Arc<dyn AnyFault>, args: &Json, target: &Target) -> Result<Json, InjectError> {
        self.inject_with(fault, args, target, &squall_sys::facts(), |entry| self.ledger.arm(entry)).await
    }

    /// The same, with `arm` in place of the ledger.
    pub async fn inject_with(
        &self,
        fault: &Arc<dyn AnyFault>,
        args: &Json,
        target: &Target,
        host: &HostFacts,
        arm: impl Fn(Entry) -> Result<Armed, ArmError> + Send + Sync,
    ) -> Result<Json, InjectError> {
        let claims: Vec<String> =
            planned(fault.as_ref(), args, target, host).map(|plan| plan.claims.into_iter().map(|c| c.0).collect()).unwrap_or_default();
        let deadline = Some(boottime() + self.time_box);
        let last = Mutex::new(Json::Null);
        let recorder = |undo: Json| {
            last.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&undo);
            let (fault, target, claims) = (fault.meta().name.to_owned(), target.label.clone(), claims.clone());
            arm(Entry { injection: InjectionId(1), fault, target, undo, claims, deadline })
        };
        let (marker, directory) = (format!("squall-{}-1", self.run), self.state.run_dir(&self.run));
        let time = Time::from_secs(self.time_box.as_secs());
        let cx = Cx::new(&self.run, InjectionId(1), &marker, Some(time), deadline, 7, &directory, &recorder);
        fault.inject(args, target, cx).await?;
        Ok(last.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reverts what was injected, by the undos of the ledger: what was done, or why it could not be.
    pub async fn revert(&self, fault: &Arc<dyn AnyFault>) -> Result<String, String> {
        self.ledger.revert(InjectionId(1), &Only(fault), RevertedBy::Engine).await
    }

    /// Reverts an undo that is at hand, as somebody does who knows nothing else.
    pub async fn revert_undo(&self, fault: &Arc<dyn AnyFault>, undo: Json) -> Result<String, String> {
        let again = Self::within(self.state.path());
        let (name, target) = (fault.meta().name.to_owned(), String::new());
        again
            .ledger
            .arm(Entry { injection: InjectionId(1), fault: name, target, undo, claims: Vec::new(), deadline: None })
            .map_err(|e| e.to_string())?;
        again.revert(fault).await
    }
}

/// Undoes by one fault.
pub(crate) struct Only<'a>(pub &'a Arc<dyn AnyFault>);

impl Undoer for Only<'_> {
    fn revert<'a>(
        &'a self,
        fault: &'a str,
        undo: &'a Json,
        armed: &'a Armed,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async move {
            assert_eq!(fault, self.0.meta().name);
            self.0.revert(undo, armed).await.map(|reverted| reverted.how).map_err(|error| error.to_string())
        })
    }
}
