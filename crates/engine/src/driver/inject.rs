//! Carries out injections: arm, inject, verify, revert. Each runs in a task of its own and answers with an event.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value as Json;
use squall_model::{Event, InjectionId, RevertedBy, RollbackAction};
use squall_undo::{ArmError, Armed, Entry};
use tokio::sync::Notify;

use super::{Shared, rollback_id};
use crate::program::{FaultNode, NodeKind};
use crate::state::Micros;
use crate::{AnyFault, Cx, InjectError, Target};

/// How long looking for an effect may take.
const VERIFY_WITHIN: Duration = Duration::from_secs(10);
/// A fault without a time box is reverted by the watchdog when the method should long be over.
const SLACK: Duration = Duration::from_mins(1);

/// What is known of an injection besides the state.
pub(crate) struct Injection {
    node: usize,
    target: Target,
    cancel: Notify,
    undo: Mutex<Option<Json>>,
}

/// Gives a chosen target the next number.
pub(super) fn remember(shared: &Shared, node: usize, target: Target) -> InjectionId {
    let injection = Injection { node, target, cancel: Notify::new(), undo: Mutex::new(None) };
    let mut injections = shared.injections.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let id = InjectionId(u32::try_from(injections.len()).unwrap_or(u32::MAX / 2) + 1);
    injections.insert(id, Arc::new(injection));
    id
}

fn find(shared: &Shared, id: InjectionId) -> Option<Arc<Injection>> {
    shared.injections.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id).cloned()
}

fn fault_of<'a>(shared: &'a Shared, injection: &Injection) -> Option<(&'a FaultNode, &'a Arc<dyn AnyFault>)> {
    let NodeKind::Fault(node) = &shared.program.nodes[injection.node].kind else { return None };
    Some((node, shared.registry.fault(&node.fault)?))
}

/// Waits until the watchdog watches.
pub(super) async fn wait_guarded(shared: &Shared) {
    let mut guarded = shared.guarded.clone();
    // The sender is gone only when the watchdog is, and that ends the run by itself.
    let _ = guarded.wait_for(|g| *g).await;
}

pub(super) fn inject(shared: &Arc<Shared>, id: InjectionId, deadline: Option<Micros>) {
    let shared = shared.clone();
    tokio::spawn(async move {
        let Some(injection) = find(&shared, id) else {
            return shared.tell(Event::InjectFailed { injection: id, error: "its target is unknown".into() });
        };
        let work = std::panic::AssertUnwindSafe(put_in_force(&shared, id, &injection, deadline)).catch_unwind();
        let result = tokio::select! {
            biased;
            () = injection.cancel.notified() => Err("cancelled".to_owned()),
            result = work => result.unwrap_or_else(|_| Err("the fault itself failed".to_owned())),
        };
        shared.tell(match result {
            Ok(()) => Event::Injected { injection: id },
            Err(error) => Event::InjectFailed { injection: id, error },
        });
    });
}

async fn put_in_force(shared: &Shared, id: InjectionId, injection: &Injection, deadline: Option<Micros>) -> Result<(), String> {
    let (node, fault) = fault_of(shared, injection).ok_or("its kind is unknown")?;
    let plan = fault.plan(&node.with, &injection.target, &shared.host).await.map_err(|e| e.to_string())?;
    if plan.irreversible && !node.accept_irreversible {
        return Err("it cannot be undone, and the step does not say `acceptIrreversible: true`".into());
    }
    wait_guarded(shared).await;
    let claims: Vec<String> = plan.claims.into_iter().map(|c| c.0).collect();
    let boxed = deadline.map(|at| shared.absolute(at));
    let latest = boxed.unwrap_or_else(|| shared.clock.now() + shared.program.longest().std() + SLACK);
    let told = std::sync::atomic::AtomicBool::new(false);
    let recorder = |undo: Json| -> Result<Armed, ArmError> {
        let entry = Entry {
            injection: id,
            fault: node.fault.clone(),
            target: injection.target.label.clone(),
            undo: undo.clone(),
            claims: claims.clone(),
            deadline: Some(latest),
        };
        let armed = shared.ledger.arm(entry)?;
        *injection.undo.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(undo);
        if !told.swap(true, std::sync::atomic::Ordering::Relaxed) {
            shared.tell(Event::Armed { injection: id });
        }
        Ok(armed)
    };
    let marker = format!("squall-{}-{id}", shared.run);
    let seed = super::select::keyed_hash(shared.seed, u64::from(id.0), 0, b"fault");
    let cx = Cx::new(&shared.run, id, &marker, node.duration, boxed, seed, &shared.directory, &recorder);
    fault.inject(&node.with, &injection.target, cx).await.map_err(|e: InjectError| e.to_string())
}

pub(super) fn cancel(shared: &Arc<Shared>, id: InjectionId) {
    if let Some(injection) = find(shared, id) {
        injection.cancel.notify_one();
    }
}

pub(super) fn verify(shared: &Arc<Shared>, id: InjectionId) {
    let shared = shared.clone();
    tokio::spawn(async move {
        let (in_force, evidence) = match look(&shared, id).await {
            Ok(effect) => effect,
            Err(error) => (false, format!("could not look: {error}")),
        };
        shared.tell(Event::Verified { injection: id, in_force, evidence });
    });
}

async fn look(shared: &Shared, id: InjectionId) -> Result<(bool, String), String> {
    let injection = find(shared, id).ok_or("its target is unknown")?;
    let (_, fault) = fault_of(shared, &injection).ok_or("its kind is unknown")?;
    let undo = injection.undo.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone().ok_or("it was never armed")?;
    let work = std::panic::AssertUnwindSafe(fault.verify(&undo)).catch_unwind();
    tokio::select! {
        effect = work => effect
            .map_err(|_| "the fault itself failed".to_owned())?
            .map(|e| (e.in_force, e.evidence))
            .map_err(|e| e.to_string()),
        () = shared.clock.sleep_until(shared.clock.now() + VERIFY_WITHIN) => Err(format!("no answer within {} s", VERIFY_WITHIN.as_secs())),
    }
}

pub(super) fn revert(shared: &Arc<Shared>, id: InjectionId) {
    let shared = shared.clone();
    tokio::spawn(async move {
        let work = std::panic::AssertUnwindSafe(shared.ledger.revert(id, shared.undoer.as_ref(), RevertedBy::Engine)).catch_unwind();
        shared.tell(match work.await {
            Ok(Ok(how)) => Event::Reverted { injection: id, by: RevertedBy::Engine, how },
            Ok(Err(error)) => Event::RevertFailed { injection: id, error },
            Err(_) => Event::RevertFailed { injection: id, error: "the revert itself failed".into() },
        });
    });
}

/// Puts a rollback action into the ledger.
pub(super) fn arm_rollback(
    shared: &Shared,
    index: usize,
    action: &RollbackAction,
    encode: fn(&RollbackAction) -> Result<(String, Json), String>,
) -> Result<(), String> {
    let (fault, undo) = encode(action)?;
    let entry = Entry { injection: rollback_id(index), fault, target: action.name.clone(), undo, claims: Vec::new(), deadline: None };
    shared.ledger.arm(entry).map(drop).map_err(|e| format!("rollback action `{}`: {e}", action.name))
}

pub(super) fn rollback(shared: &Arc<Shared>, action: usize) {
    let shared = shared.clone();
    tokio::spawn(async move {
        let result = shared.ledger.revert(rollback_id(action), shared.undoer.as_ref(), RevertedBy::Engine).await;
        shared.tell(Event::RolledBack { action, error: result.err() });
    });
}
