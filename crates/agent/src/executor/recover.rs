//! What an agent before this one has left: put back, and told to servers.

use std::collections::BTreeMap;

use squall_api::link::Outstanding;
use squall_engine::RegistryUndoer;
use squall_model::{InjectionId, RevertedBy, RunId};
use squall_undo::{Ledger, engine_alive};

use super::{Executor, MARK};

impl Executor {
    /// Puts back what dead runs of this host have left, of whoever they were, and remembers which servers have to hear of it. To be
    /// called with the outboxes in place, and before anything is injected. What was done, for the log.
    pub async fn recover(&self) -> std::io::Result<Vec<String>> {
        let ground = self.ground();
        let undoer = RegistryUndoer(ground.registry.clone());
        let recovered = squall_undo::recover(&ground.state, &undoer).await?;
        let mut said: Vec<String> = Vec::new();
        for one in recovered.iter().filter(|one| one.touched()) {
            said.push(format!("run {}: {}", one.run, one.summary()));
        }
        for run in ground.state.runs()?.into_iter().filter(|run| ground.state.run_dir(run).join(MARK).exists()) {
            self.take_over(&run);
        }
        Ok(said)
    }

    /// A run of a server that an agent before this one had.
    fn take_over(&self, run: &RunId) {
        self.0.over.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(run.clone());
        let Ok(view) = Ledger::read(&self.ground().state.ledger(run)) else {
            // Nothing was armed.
            return self.forget(run);
        };
        if view.closed.is_none() && engine_alive(&view).unwrap_or(true) {
            return;
        }
        let mut reverted: BTreeMap<InjectionId, (RevertedBy, Vec<String>)> = BTreeMap::new();
        let mut stuck = Vec::new();
        for entry in &view.entries {
            let (injection, fault, target) = (entry.armed.injection, entry.armed.fault.clone(), entry.armed.target.clone());
            match entry.reverted.as_ref().or(entry.early.as_ref()) {
                Some(done) => reverted.entry(injection).or_insert_with(|| (done.by, Vec::new())).1.push(done.how.clone()),
                None => stuck.push(Outstanding { run: run.clone(), injection, fault, target }),
            }
        }
        let clean = stuck.is_empty();
        reverted.retain(|id, (by, _)| *by != RevertedBy::Engine && !stuck.iter().any(|left| left.injection == *id));
        self.0.stuck.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(stuck);
        let tell = |(id, (by, how)): (InjectionId, (RevertedBy, Vec<String>))| (id, by, format!("the agent had ended: {}", how.join("; ")));
        self.told(run, reverted.into_iter().map(tell).collect(), clean);
    }
}
