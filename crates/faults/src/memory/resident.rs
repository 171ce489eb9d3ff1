//! What the memory faults have in common: the margin that the host keeps, where the memory is charged, and whether it is there.

use std::time::Duration;

use squall_engine::{Claim, Cx, Effect, HostFacts, InjectError, Plan, PlanError, PlannedChange, Target, VerifyError};
use squall_model::Bytes;
use squall_sys::cgroup::Group;
use squall_sys::memory::{HostMemory, peak_resident, resident};

use crate::stressor::{Carried, Job, Launcher, MemoryJob, Shape, TargetProcess, blocking, claim};

/// What the host keeps available unless the manifest says otherwise: the larger of 256 MiB and 5%.
pub(super) fn margin(asked: Option<Bytes>, total: u64) -> u64 {
    asked.map_or_else(|| (total / 20).max(256 << 20), |bytes| bytes.0)
}

/// The plan of a fault that holds memory in a child. `most` is what it will hold at most, where that is known beforehand.
pub(super) fn plan(most: Option<u64>, how: &str, leave_free: Option<Bytes>, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
    let process = TargetProcess::of(target).map_err(|message| PlanError { message, hint: None })?;
    let keep = margin(leave_free, host.memory.0);
    if let Some(most) = most {
        leaves_margin(most, keep, host.memory_available.0)?;
    }
    let what = match process {
        Some(_) => format!("memory of this host, charged to the memory control group of {}", target.label),
        None => "memory of this host".to_owned(),
    };
    let mechanism = format!("a child process, first in line for the OOM killer, {how}; {} of the host stays available", Bytes(keep));
    let undo = "the child is killed; it dies with Squall, and ends by itself at the end of `for`".to_owned();
    let claims: Vec<Claim> = vec![claim(target, "memory")];
    Ok(Plan { changes: vec![PlannedChange { what, mechanism, undo }], claims, irreversible: false })
}

/// Refuses what would leave the host with less than the margin.
fn leaves_margin(most: u64, keep: u64, available: u64) -> Result<(), PlanError> {
    if most.saturating_add(keep) <= available {
        return Ok(());
    }
    let (most, left, keep) = (Bytes(most), Bytes(available.saturating_sub(keep)), Bytes(keep));
    Err(PlanError {
        message: format!("{most} would leave less than {keep} of the {} that are available", Bytes(available)),
        hint: Some(format!("ask for up to {left}, or set `leaveFree` lower")),
    })
}

/// Where the memory is to be charged, and what limits it there.
pub(super) struct Place {
    groups: Vec<Group>,
    /// Bytes that a share is a share of: the target's own limit, if it has one, otherwise the host's memory.
    pub whole: u64,
}

/// Looks at the target and the host as they are now.
pub(super) fn place(target: &Target) -> Result<Place, InjectError> {
    let host = HostMemory::read().map_err(|e| InjectError::Failed(e.to_string()))?;
    let Some(process) = TargetProcess::of(target).map_err(InjectError::Failed)? else {
        return Ok(Place { groups: Vec::new(), whole: host.total });
    };
    if !process.is_there() {
        return Err(InjectError::TargetGone(target.label.clone()));
    }
    let unread = |e: std::io::Error| InjectError::Failed(format!("the control groups of {}: {e}", target.label));
    let limit = Group::governing(process.pid, "memory").map_err(unread)?.and_then(|group| group.memory_limit());
    let whole = limit.map_or(host.total, |limit| limit.min(host.total));
    Ok(Place { groups: process.groups(&["memory"]).map_err(unread)?, whole })
}

/// Looks again whether the margin is kept, then starts the child.
pub(super) async fn hold(
    launcher: &Launcher,
    cx: &Cx<'_, Carried>,
    place: Place,
    shape: Shape,
    leave_free: Option<Bytes>,
) -> Result<(), InjectError> {
    let host = HostMemory::read().map_err(|e| InjectError::Failed(e.to_string()))?;
    let leave_free = margin(leave_free, host.total);
    let most = match shape {
        Shape::Hold { size } | Shape::Spike { size, .. } => size,
        Shape::Bring { used } => used.saturating_sub(host.used()),
        // The growth stops at the margin by itself.
        Shape::Leak { .. } => 0,
    };
    leaves_margin(most, leave_free, host.available)
        .map_err(|e| InjectError::Failed(format!("{e}; {}", e.hint.as_deref().unwrap_or_default())))?;
    launcher.carry(cx, Job::Memory(MemoryJob { shape, leave_free }), place.groups).await
}

/// Looks at the child's resident memory, twice where it should be growing.
pub(super) async fn verify(undo: &Carried) -> Result<Effect, VerifyError> {
    let undo = undo.clone();
    let Job::Memory(job) = undo.job.clone() else { return Err(VerifyError("the undo is not of a memory load".into())) };
    let looked = blocking(move || look(&undo, &job.shape)).await.map_err(VerifyError)?;
    looked.map_err(|e| VerifyError(format!("memory cannot be read: {e}")))
}

/// Between two looks at what grows.
const WATCH: Duration = Duration::from_millis(250);

fn look(undo: &Carried, shape: &Shape) -> std::io::Result<Effect> {
    let Some(pid) = squall_sys::stressor::find(&undo.marker)?.first().copied() else {
        return Ok(Effect { in_force: false, evidence: format!("there is no stressor {}", undo.marker) });
    };
    let first = resident(pid)?;
    let (in_force, evidence) = match *shape {
        Shape::Hold { size } => (nearly(first, size), format!("stressor {pid} has {} resident (asked for {})", Bytes(first), Bytes(size))),
        Shape::Bring { used } => {
            let host = HostMemory::read()?.used();
            let evidence = format!("the host has {} in use, {} by stressor {pid} (asked for {})", Bytes(host), Bytes(first), Bytes(used));
            (nearly(host, used), evidence)
        }
        Shape::Leak { rate, limit } => {
            let grown = growth(pid, first)?;
            let full = limit.is_some_and(|limit| nearly(first, limit));
            // A look is short against a slow rate: any growth of at least half of what was due is the leak.
            let due = rate as f64 * WATCH.as_secs_f64();
            let seen = format!("stressor {pid} has {} resident and grew by {} in {} ms", Bytes(first), Bytes(grown), WATCH.as_millis());
            let end = if full { ", its limit" } else { "" };
            (full || (grown > 0 && grown as f64 >= due / 2.0), format!("{seen} (asked for {}/s){end}", Bytes(rate)))
        }
        Shape::Spike { size, .. } => {
            let peak = peak_resident(pid)?;
            let (risen, grown) = (nearly(peak, size), growth(pid, first)?);
            let evidence = format!("stressor {pid} has {} resident, {} at its peak so far", Bytes(first), Bytes(peak));
            (risen || grown > 0, format!("{evidence} (asked for {})", Bytes(size)))
        }
    };
    Ok(Effect { in_force, evidence: format!("{evidence}{}", charged(&undo.groups)) })
}

fn charged(groups: &[std::path::PathBuf]) -> String {
    groups.first().map_or_else(String::new, |group| format!(", charged to {}", group.display()))
}

/// Within 5%, or above.
fn nearly(measured: u64, asked: u64) -> bool {
    measured >= asked - asked / 20
}

fn growth(pid: u32, first: u64) -> std::io::Result<u64> {
    std::thread::sleep(WATCH);
    Ok(resident(pid)?.saturating_sub(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_leaves_less_than_the_margin_is_refused_with_what_would_do() {
        const GIB: u64 = 1 << 30;
        let host = HostFacts { memory: Bytes(16 * GIB), memory_available: Bytes(4 * GIB), ..HostFacts::default() };
        let target = Target { kind: "host".into(), id: "host".into(), label: "this host".into(), facts: serde_json::Value::Null };
        let error = plan(Some(4 * GIB), "holds it", None, &target, &host).expect_err("the margin is 5%");
        assert_eq!(error.message, "4GiB would leave less than 819.2MiB of the 4GiB that are available");
        assert_eq!(error.hint.as_deref(), Some("ask for up to 3.2GiB, or set `leaveFree` lower"));
        let plan = plan(Some(4 * GIB), "holds it", Some(Bytes(0)), &target, &host).expect("an own margin");
        assert_eq!(plan.claims, [Claim("host:memory".into())]);
        assert_eq!(margin(None, GIB), 256 << 20);
    }
}
