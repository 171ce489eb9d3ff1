//! What a run may leave behind when it is dead: nothing. Looked for from outside, without asking Squall but for its ledger.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::stage::Stage;
use super::victim::{Process, processes};
use crate::shell;

/// What is promised.
const WITHIN: f64 = 2.0;
/// For how long a victim that was in a crash loop has to stay up to count as left alone.
const LEFT_ALONE: Duration = Duration::from_millis(200);

pub struct Residue {
    /// Each thing, in words.
    pub left: Vec<String>,
    /// Seconds until nothing was left, or the time that was waited.
    pub after: f64,
}

/// Waits until nothing is left, or for the two seconds.
pub fn wait(stage: &Stage) -> Residue {
    wait_from(stage, shell::now())
}

/// The same with the two seconds counted from `begin`.
pub fn wait_from(stage: &Stage, begin: f64) -> Residue {
    loop {
        let mut left = look(stage);
        let after = shell::now() - begin;
        if left.is_empty() {
            left.extend(still_looping(stage));
        }
        if left.is_empty() || after >= WITHIN {
            return Residue { left, after };
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn look(stage: &Stage) -> Vec<String> {
    let all = processes();
    let mut left = Vec::new();
    left.extend(victims(stage, &all));
    left.extend(strangers(stage, &all));
    left.extend(files(stage));
    left.extend(stage.wire.differences());
    if let Some(view) = stage.ledger() {
        left.extend(view.open().map(|e| format!("the ledger has {} on {} open: {:?}", e.armed.fault, e.armed.target, e.failures)));
        if view.closed.is_none() && !view.entries.is_empty() {
            left.push("the ledger is not closed".into());
        }
    }
    left
}

/// Each victim: just one process, running, and as it was.
fn victims(stage: &Stage, all: &[Process]) -> Vec<String> {
    let mut left = Vec::new();
    for token in stage.tokens() {
        let found: Vec<&Process> = all.iter().filter(|process| process.arguments.iter().any(|a| a == token)).collect();
        if found.len() != 1 {
            left.push(format!("{token}: {} processes in place of one", found.len()));
        }
        for process in found {
            if process.state == 'T' {
                left.push(format!("{token} (pid {}) is stopped", process.pid));
            }
            if text(process.pid, "oom_score_adj") != text_of_own("oom_score_adj") {
                left.push(format!("{token} (pid {}) has the oom_score_adj {}", process.pid, text(process.pid, "oom_score_adj")));
            }
            if text(process.pid, "cgroup") != text_of_own("cgroup") {
                left.push(format!("{token} (pid {}) is in another control group: {}", process.pid, text(process.pid, "cgroup")));
            }
            if environment_of(process.pid, &stage.name) {
                left.push(format!("{token} (pid {}) was relaunched with Squall's environment in place of its own", process.pid));
            }
        }
    }
    left
}

/// Processes of Squall: the engine, the watchdog, children that carry a load, commands.
fn strangers(stage: &Stage, all: &[Process]) -> Vec<String> {
    let marker = stage.run_id().map(|run| format!("squall-{run}-"));
    let state = stage.state.path().to_string_lossy();
    let own = |process: &&Process| {
        let marked =
            |argument: &String| marker.as_ref().is_some_and(|marker| argument.starts_with(marker.as_str())) || argument.contains(&*state);
        let victim = stage.tokens().iter().any(|token| process.arguments.contains(token));
        !victim && (process.arguments.iter().any(marked) || environment_of(process.pid, &stage.name))
    };
    all.iter().filter(own).map(|process| format!("process {} is left: {}", process.pid, process.arguments.join(" "))).collect()
}

fn environment_of(pid: i32, name: &str) -> bool {
    let entry = format!("CRASH_MATRIX={name}");
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == entry.as_bytes()))
}

fn text(pid: i32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default().trim().to_owned()
}

fn text_of_own(file: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default().trim().to_owned()
}

/// Files outside the state directory, and control groups.
fn files(stage: &Stage) -> Vec<String> {
    let mut left = Vec::new();
    if stage.touched().exists() {
        left.push("the file of the custom fault is still there".into());
    }
    left.extend(names_in(&stage.temporary()).into_iter().map(|path| format!("{} is left in TMPDIR", path.display())));
    let Some(run) = stage.run_id() else { return left };
    let of_the_run = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(run.as_str()));
    let mut places: Vec<PathBuf> =
        ["/tmp", "/dev/shm", "/run", "/var/tmp", "/"].iter().flat_map(|place| names_in(Path::new(place))).collect();
    places.extend(groups(Path::new("/sys/fs/cgroup"), 4));
    left.extend(places.into_iter().filter(of_the_run).map(|path| format!("{} is left", path.display())));
    left
}

fn names_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Control groups, some levels deep.
fn groups(directory: &Path, levels: usize) -> Vec<PathBuf> {
    if levels == 0 {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let directories = entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.flat_map(|entry| std::iter::once(entry.path()).chain(groups(&entry.path(), levels - 1))).collect()
}

/// Whether somebody still kills the supervised victim.
fn still_looping(stage: &Stage) -> Option<String> {
    let before = stage.looping.starts();
    std::thread::sleep(LEFT_ALONE);
    let after = stage.looping.starts();
    (after != before).then(|| format!("{} was killed {} times more", stage.looping.token, after - before))
}
