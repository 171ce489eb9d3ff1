//! The faults of processes beyond what is promised of all faults: what comes back, and what must never be touched.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use squall_engine::{InjectError, Target};
use squall_sys::process::{ProcessFacts, ProcessId};
use squall_sys::relaunch::Snapshot;
use squall_testkit::{Execution, Supervised, Victim, eventually, in_time, planned};

use crate::kinds::{fault, found, one};

fn this(victim: &Victim) -> Target {
    one(&json!({ "pid": victim.pid() }))
}

fn family_only(victim: &Victim) -> Target {
    let pids = victim.family();
    assert_eq!(pids.len(), 1, "{pids:?}");
    one(&json!({ "pid": pids[0] }))
}

/// Waits until a script has become its sleeper by `exec`.
fn became_the_sleeper(victim: &Victim) {
    let sleeper = format!("{}s", victim.name());
    eventually("it is what it will be", || !found(&json!({ "name": sleeper, "pid": victim.pid() })).is_empty());
}

fn failed(result: Result<Json, InjectError>) -> String {
    result.expect_err("refused").to_string()
}

fn state(pid: u32) -> Option<char> {
    ProcessId::of(pid)?.state()
}

/// A line of `/proc/PID/status`.
fn status(pid: u32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect(name).trim().to_owned()
}

fn file(pid: u32, name: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/{name}")).expect(name)
}

fn limit(pid: u32, name: &str) -> String {
    let text = String::from_utf8(file(pid, "limits")).expect("text");
    text.lines().find(|line| line.starts_with(name)).expect(name).to_owned()
}

/// Everything that a relaunch promises to bring back.
fn likeness(pid: u32) -> Vec<(&'static str, String)> {
    let environment = file(pid, "environ");
    let mut environment: Vec<String> = environment
        .split(|b| *b == 0)
        .map(|v| String::from_utf8_lossy(v).into_owned())
        .filter(|v| !v.starts_with("SQUALL_RELAUNCHED="))
        .collect();
    environment.sort();
    let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).expect(name).display().to_string();
    let stat = String::from_utf8(file(pid, "stat")).expect("text");
    let nice = stat.rsplit_once(") ").expect("a name").1.split(' ').nth(16).expect("fields").to_owned();
    vec![
        ("program", link("exe")),
        ("directory", link("cwd")),
        ("output", link("fd/1")),
        ("arguments", String::from_utf8_lossy(&file(pid, "cmdline")).into_owned()),
        ("environment", environment.join("\n")),
        ("users", status(pid, "Uid")),
        ("groups", format!("{} {}", status(pid, "Gid"), status(pid, "Groups"))),
        ("umask", status(pid, "Umask")),
        ("nice", nice),
        ("files", limit(pid, "Max open files")),
        ("core", limit(pid, "Max core file size")),
        ("score", String::from_utf8_lossy(&file(pid, "oom_score_adj")).into_owned()),
        ("control groups", String::from_utf8_lossy(&file(pid, "cgroup")).into_owned()),
    ]
}

/// A control group of the `pids` hierarchy, gone with this. None where none can be made.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let hierarchy = squall_sys::cgroup::Hierarchy::v1_of("pids")?;
        let directory = hierarchy.mount_point.join(format!("squall-test-{}.service", std::process::id()));
        std::fs::create_dir(&directory).ok()?;
        Some(Self(directory))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        eventually("the group is gone", || std::fs::remove_dir(&self.0).is_ok());
    }
}

#[tokio::test]
async fn a_relaunched_process_is_as_it_was() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to start a process as another user");
        return;
    }
    let group = Group::new();
    let join = group.as_ref().map_or(String::new(), |group| format!("echo $$ > {}/cgroup.procs;", group.0.display()));
    let script = format!(
        "{join} echo 321 > /proc/self/oom_score_adj; ulimit -n 123; ulimit -c 0; umask 027; cd /usr; export MARK='a b'; \
         exec > \"$2/output\"; exec nice -n 5 setpriv --reuid 65534 --regid 65533 --groups 65532,65531 \"$0\" \"$1\""
    );
    let victim = Victim::script(&script);
    became_the_sleeper(&victim);
    std::fs::set_permissions(victim.directory().join("output"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("writable");
    let before = victim.family()[0];
    let like = likeness(before);
    assert!(like.contains(&("users", "65534\t65534\t65534\t65534".into())) && like.contains(&("score", "321\n".into())), "{like:?}");
    let (fault, run) = (fault("process.kill"), Execution::default());
    run.inject(&fault, &json!({ "back": "relaunch" }), &family_only(&victim)).await.expect("killed");
    let how = run.revert(&fault).await.expect("brought back");
    let after = victim.family();
    assert!(after.len() == 1 && after[0] != before, "{after:?}: {how}");
    assert_eq!(likeness(after[0]), like);
    // It is nobody's: its own session, no descriptor of this process, and not our child.
    let stat = String::from_utf8(file(after[0], "stat")).expect("text");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    let own = std::process::id().to_string();
    assert!(
        fields[1] != own
            && fields[3] != std::str::from_utf8(&file(std::process::id(), "stat")).expect("text").split(' ').nth(5).expect("session")
    );
    let descriptors: Vec<_> =
        std::fs::read_dir(format!("/proc/{}/fd", after[0])).expect("fd").map(|e| e.expect("fd").file_name()).collect();
    assert_eq!(descriptors.len(), 3, "{descriptors:?}");
    drop(victim);
}

#[tokio::test]
async fn a_process_that_got_the_number_of_another_is_never_touched() {
    let victim = Victim::sleeper();
    let mut target = this(&victim);
    let mut facts: ProcessFacts = serde_json::from_value(target.facts.clone()).expect("facts");
    facts.id.start_ticks += 1;
    target.facts = serde_json::to_value(&facts).expect("JSON");
    for name in ["process.kill", "process.pause", "process.restart", "process.crashLoop"] {
        let (fault, run) = (fault(name), Execution::default());
        let error = run.inject(&fault, &Json::Null, &target).await.expect_err(name);
        assert!(matches!(error, InjectError::TargetGone(_)), "{name}: {error}");
        run.revert(&fault).await.expect(name);
        assert!(victim.state().is_some_and(|state| state != 'T'), "{name}");
    }
}

#[tokio::test]
async fn what_was_stopped_before_stays_so() {
    let (fault, run) = (fault("process.pause"), Execution::default());
    let victim = Victim::script(r#""$0" "$1" & "$0" "$1" & wait"#);
    eventually("the tree is there", || victim.family().len() == 3);
    let stopped = victim.family()[1];
    let pid = rustix::process::Pid::from_raw(i32::try_from(stopped).expect("a number")).expect("a number");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("stopped");
    eventually("it is stopped", || state(stopped) == Some('T'));
    run.inject(&fault, &json!({ "tree": true }), &this(&victim)).await.expect("paused");
    eventually("all are stopped", || victim.family().iter().all(|pid| state(*pid) == Some('T')));
    run.revert(&fault).await.expect("continued");
    let states: Vec<_> = victim.family().into_iter().map(|pid| (pid == stopped, state(pid) == Some('T'))).collect();
    assert!(states.iter().all(|(was, is)| was == is), "{states:?}");

    let alone = Execution::default();
    let error = failed(alone.inject(&fault, &Json::Null, &one(&json!({ "pid": stopped }))).await);
    assert!(error.contains("is stopped already") && alone.armed() == 0, "{error}");
}

#[tokio::test]
async fn children_that_come_while_a_tree_is_being_stopped_are_stopped_too() {
    let (fault, run) = (fault("process.pause"), Execution::default());
    let victim = Victim::script(r#"while :; do "$0" 0.02 & "$0" 0.01; done"#);
    eventually("it forks", || victim.family().len() > 1);
    let undo = run.inject(&fault, &json!({ "tree": true }), &this(&victim)).await.expect("paused");
    let effect = fault.verify(&undo).await.expect("looked at");
    assert!(effect.in_force, "{}", effect.evidence);
    assert!(victim.family().iter().all(|pid| state(*pid) == Some('T')));
    run.revert(&fault).await.expect("continued");
    eventually("it goes on", || victim.state().is_some_and(|state| state != 'T'));
}

#[tokio::test]
async fn a_signal_that_is_handled_needs_no_way_back() {
    let (fault, run) = (fault("process.kill"), Execution::default());
    let victim = Victim::script(r#"trap 'echo got >> "$2/got"' HUP; trap '' USR2; : > "$2/ready"; while :; do "$0" 0.02; done"#);
    eventually("it listens", || victim.directory().join("ready").exists());
    let undo = run.inject(&fault, &json!({ "signal": "HUP" }), &this(&victim)).await.expect("sent");
    in_time("it got the signal", || std::fs::read(victim.directory().join("got")).map(drop).map_err(|e| e.to_string())).await;
    let effect = fault.verify(&undo).await.expect("looked at");
    assert!(effect.in_force && effect.evidence.contains("goes on"), "{}", effect.evidence);
    let how = run.revert(&fault).await.expect("nothing to undo");
    assert!(how.contains("still runs, nothing to do"), "{how}");

    let unheard = Execution::default();
    for signal in ["USR2", "WINCH"] {
        let error = failed(unheard.inject(&fault, &json!({ "signal": signal }), &this(&victim)).await);
        assert!(error.contains(&format!("ignores SIG{signal}")) && unheard.armed() == 0, "{error}");
    }
}

#[tokio::test]
async fn a_process_that_nobody_brings_back_is_reported() {
    let (fault, run) = (fault("process.kill"), Execution::default());
    let victim = Victim::sleeper();
    let undo = run.inject(&fault, &json!({ "within": "100ms" }), &this(&victim)).await.expect("killed");
    assert!(!undo.to_string().contains("environment"), "no environment on disk where it is not needed: {undo}");
    let error = run.revert(&fault).await.expect_err("nobody");
    assert!(error.contains("was not brought back within 100ms: 0 of 1") && error.contains("back: relaunch"), "{error}");
}

#[test]
fn a_kill_without_a_way_back_is_planned_as_irreversible() {
    let victim = Victim::sleeper();
    let plan =
        |args: Json| planned(fault("process.kill").as_ref(), &args, &this(&victim), &squall_sys::facts()).expect("planned").irreversible;
    assert!(plan(json!({ "back": "none" })) && !plan(json!({ "back": "relaunch" })) && !plan(Json::Null));
}

#[tokio::test]
async fn a_relaunched_process_that_ends_at_once_is_reported() {
    let (fault, run) = (fault("process.kill"), Execution::default());
    let victim = Victim::script(r#"[ -e "$2/once" ] && exit 3; : > "$2/once"; "$0" "$1"; :"#);
    eventually("it runs", || victim.family().len() == 2);
    run.inject(&fault, &json!({ "back": "relaunch" }), &this(&victim)).await.expect("killed");
    let error = run.revert(&fault).await.expect_err("it ends");
    assert!(error.contains("ended at once, 3 times"), "{error}");
}

#[test]
fn several_who_relaunch_at_the_same_time_start_one_process() {
    let victim = Victim::sleeper();
    let run = Execution::default();
    let arm = || {
        let entry = squall_undo::Entry {
            injection: squall_model::InjectionId(1),
            fault: "test".into(),
            target: "test".into(),
            undo: Json::Null,
            claims: Vec::new(),
            deadline: None,
        };
        run.ledger.arm(entry).expect("armed")
    };
    let id = ProcessId::of(victim.pid()).expect("runs");
    let snapshot = Snapshot::take(id).expect("captured");
    id.signal(&arm(), rustix::process::Signal::KILL).expect("killed");
    eventually("it is gone", || victim.running().is_empty());
    let marker = format!("squall-{}-1", run.run);
    let started: Vec<ProcessId> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| snapshot.relaunch(&arm(), &marker).expect("started").expect("runs"))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(started.iter().all(|id| *id == started[0]), "{started:?}");
    assert_eq!(victim.running(), [started[0].pid]);
}

#[tokio::test]
async fn a_crash_loop_ends_with_its_time_box_although_nobody_reverts_it() {
    let process = Supervised::sleeper(Duration::from_millis(5));
    let fault = fault("process.crashLoop");
    let mut run = Execution::default();
    run.time_box = Duration::from_millis(300);
    let undo = run.inject(&fault, &json!({ "every": "10ms" }), &one(&json!({ "name": process.name() }))).await.expect("injected");
    in_time("it crashes", || if process.starts() > 2 { Ok(()) } else { Err(format!("{} starts", process.starts())) }).await;
    let looks = || async { fault.verify(&undo).await.expect("looked at") };
    let end = squall_undo::boottime() + Duration::from_secs(20);
    let mut effect = looks().await;
    while effect.in_force && squall_undo::boottime() < end {
        effect = looks().await;
        tokio::task::yield_now().await;
    }
    assert!(effect.evidence.contains("the loop does not go on"), "{}", effect.evidence);
    run.revert(&fault).await.expect("reverted");
}

#[tokio::test]
async fn a_crash_loop_leaves_others_of_the_same_kind_alone() {
    let victim = Victim::sleeper();
    let twin = victim.twin();
    let (fault, run) = (fault("process.crashLoop"), Execution::default());
    let undo = run.inject(&fault, &json!({ "every": "10ms", "back": "relaunch" }), &this(&victim)).await.expect("injected");
    let crashes = || async { fault.verify(&undo).await.expect("looked at").evidence };
    let end = squall_undo::boottime() + Duration::from_secs(20);
    while !crashes().await.contains("4 times") && squall_undo::boottime() < end {
        tokio::task::yield_now().await;
    }
    assert!(crashes().await.contains(" times by now"), "{}", crashes().await);
    let how = run.revert(&fault).await.expect("reverted");
    assert!(how.contains("after it was ended"), "{how}");
    assert!(state(twin).is_some(), "the twin was ended");
    assert_eq!(victim.running().len(), 2, "{how}");
}

#[tokio::test]
async fn what_runs_in_another_namespace_is_not_relaunched_and_not_touched() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to make a namespace");
        return;
    }
    let victim = Victim::script(r#"exec unshare --uts "$0" "$1""#);
    became_the_sleeper(&victim);
    let (fault, run) = (fault("process.kill"), Execution::default());
    let error = failed(run.inject(&fault, &json!({ "back": "relaunch" }), &family_only(&victim)).await);
    assert!(error.contains("another uts namespace") && error.contains("back: supervisor") && run.armed() == 0, "{error}");
    assert_eq!(victim.family().len(), 1);
    assert_eq!(found(&json!({ "pid": victim.family()[0] })).len(), 1);
}

#[tokio::test]
async fn of_several_of_one_kind_each_is_brought_back_in_whatever_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let victim = Victim::sleeper();
        let pids = [victim.pid(), victim.twin(), victim.twin()];
        let fault = fault("process.kill");
        let runs: Vec<Execution> = pids.iter().map(|_| Execution::default()).collect();
        for (pid, run) in pids.iter().zip(&runs) {
            run.inject(&fault, &json!({ "back": "relaunch" }), &one(&json!({ "pid": pid }))).await.expect("killed");
            eventually("it is gone", || state(*pid).is_none());
        }
        for (done, index) in order.into_iter().enumerate() {
            runs[index].revert(&fault).await.expect("brought back");
            assert_eq!(victim.running().len(), done + 1, "{order:?}");
        }
    }
}

#[tokio::test]
async fn children_of_a_relaunched_supervisor_are_told_from_it() {
    let supervisor = Victim::script(r#"while :; do "$0" "$1"; done"#);
    eventually("it has a child", || supervisor.family().len() == 2);
    let (kill, first) = (fault("process.kill"), Execution::default());
    first.inject(&kill, &json!({ "back": "relaunch" }), &this(&supervisor)).await.expect("killed");
    first.revert(&kill).await.expect("brought back");
    let child = || {
        supervisor
            .family()
            .into_iter()
            .find(|pid| !supervisor.running().contains(pid) && status(*pid, "PPid") == supervisor.running()[0].to_string())
    };
    eventually("the new one has a child", || child().is_some());
    let second = Execution::default();
    let old = child().expect("a child");
    second.inject(&kill, &json!({ "within": "10s" }), &one(&json!({ "pid": old }))).await.expect("killed");
    let how = second.revert(&kill).await.expect("its supervisor brings it back");
    assert!(how.contains("brought back by its supervisor"), "{how}");
    assert_ne!(child(), Some(old));
}
