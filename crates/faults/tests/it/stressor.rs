//! Loads with real children: what they use, from outside, and that nothing of them stays.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use squall_engine::{AnyFault, Cx, Effect, ErasedCx, InjectError, Target};
use squall_faults::cpu::load::CpuLoad;
use squall_faults::memory::{leak::MemoryLeak, pressure::MemoryPressure, spike::MemorySpike};
use squall_faults::stressor::{CpuJob, Job, Launcher, Meaning, MemoryJob, Order, Shape};
use squall_model::{InjectionId, RevertedBy, RunId, Time};
use squall_sys::cpu_time::{boottime, monotonic, of_process};
use squall_sys::memory::resident;
use squall_sys::stressor::find;
use squall_undo::{Entry, Ledger, StateDir, Undoer};

const PROGRAM: &str = env!("CARGO_BIN_EXE_squall-stressor");
const MIB: u64 = 1 << 20;

/// A program that a test starts.
#[expect(clippy::disallowed_methods, reason = "tests start the stressor by hand, as another process would")]
fn command(program: &str) -> Command {
    Command::new(program)
}

fn launcher() -> Launcher {
    Launcher::of_program(PROGRAM)
}

static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

/// A real ledger in a directory of its own, with one fault under test.
struct Bench {
    fault: Box<dyn AnyFault>,
    ledger: Ledger,
    run: RunId,
    marker: String,
    directory: tempfile::TempDir,
}

struct Only<'a>(&'a dyn AnyFault);

impl Undoer for Only<'_> {
    fn revert<'a>(
        &'a self,
        _: &'a str,
        undo: &'a Value,
        armed: &'a squall_undo::Armed,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async move { self.0.revert(undo, armed).await.map(|r| r.how).map_err(|e| e.to_string()) })
    }
}

impl Bench {
    fn new(fault: impl AnyFault + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::new(directory.path()).expect("a state directory");
        // Each test gets a marker of its own, whether tests are threads or processes.
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let run = RunId::new(u64::from(std::process::id()) * 1000 + number, 7);
        let ledger = Ledger::create(&state, &run).expect("a ledger");
        let marker = format!("squall-{run}-1");
        Self { fault: Box::new(fault), ledger, run, marker, directory }
    }

    fn arm(&self, undo: Value) -> Result<squall_undo::Armed, squall_undo::ArmError> {
        let (fault, target) = (self.fault.meta().name.to_owned(), "test".to_owned());
        self.ledger.arm(Entry { injection: InjectionId(1), fault, target, undo, claims: Vec::new(), deadline: None })
    }

    /// Injects for a minute, and gives the undo that was armed.
    async fn inject(&self, args: Value, target: &Target) -> Result<Value, InjectError> {
        let armed = std::sync::Mutex::new(Value::Null);
        let record = |undo: Value| {
            *armed.lock().expect("not poisoned") = undo.clone();
            self.arm(undo)
        };
        let minute = Time::from_secs(60);
        let deadline = Some(boottime() + minute.std());
        let cx: ErasedCx<'_> = Cx::new(&self.run, InjectionId(1), &self.marker, Some(minute), deadline, 1, self.directory.path(), &record);
        self.fault.inject(&args, target, cx).await?;
        Ok(armed.into_inner().expect("not poisoned"))
    }

    async fn verify(&self, undo: &Value) -> Effect {
        self.fault.verify(undo).await.expect("can be looked at")
    }

    async fn revert(&self) -> String {
        self.ledger.revert(InjectionId(1), &Only(&*self.fault), RevertedBy::Engine).await.expect("reverts")
    }

    fn pid(&self) -> u32 {
        let found = find(&self.marker).expect("proc can be read");
        assert_eq!(found.len(), 1, "one stressor: {found:?}");
        found[0]
    }
}

impl Drop for Bench {
    /// Nothing stays when a test fails.
    fn drop(&mut self) {
        if let Ok(armed) = self.arm(Value::Null) {
            let _ = squall_sys::stressor::kill(&armed, &self.marker);
        }
        for pid in find(&self.marker).unwrap_or_default() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

fn host() -> Target {
    Target { kind: "host".into(), id: "host".into(), label: "this host".into(), facts: Value::Null }
}

fn alive(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = monotonic() + Duration::from_secs(20);
    while !condition() {
        assert!(monotonic() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_cpu_load_is_seen_from_outside_and_gone_after_revert_and_revert_again() {
    let bench = Bench::new(CpuLoad::with(launcher()));
    let undo = bench.inject(json!({ "load": "20%", "cores": 1 }), &host()).await.expect("injects");
    let pid = bench.pid();
    let effect = bench.verify(&undo).await;
    assert!(effect.in_force, "{}", effect.evidence);
    assert!(effect.evidence.contains("asked for 20%"), "{}", effect.evidence);
    // However busy the machine is, never much more than the share: over any time, 12 ms of debt and a period.
    let (start, before) = (monotonic(), of_process(pid).expect("clock"));
    eventually("time passes", || monotonic() >= start + Duration::from_millis(500));
    let (used, passed) = (of_process(pid).expect("clock").saturating_sub(before), monotonic().saturating_sub(start));
    assert!(used.as_secs_f64() <= 0.2 * passed.as_secs_f64() + 0.02, "{used:?} of {passed:?}");
    assert_eq!(bench.revert().await, format!("killed stressor {pid} and its CPU load with it"));
    assert!(!alive(pid));
    let armed = bench.ledger.arm(Entry {
        injection: InjectionId(2),
        fault: "cpu.load".into(),
        target: "test".into(),
        undo: undo.clone(),
        claims: Vec::new(),
        deadline: None,
    });
    let again = bench.fault.revert(&undo, &armed.expect("arms")).await.expect("idempotent");
    assert_eq!(again.how, format!("no stressor {} is left, nothing to do", bench.marker));
    assert!(!bench.verify(&undo).await.in_force);
}

#[tokio::test]
async fn the_hosts_total_counts_what_others_use() {
    let bench = Bench::new(CpuLoad::with(launcher()));
    let undo = bench.inject(json!({ "load": "30%", "cores": 1, "meaning": "host" }), &host()).await.expect("injects");
    let effect = bench.verify(&undo).await;
    assert!(effect.in_force && effect.evidence.contains("busy"), "{}", effect.evidence);
    bench.revert().await;
}

#[tokio::test]
async fn a_load_on_a_core_that_is_not_there_is_refused_before_anything_is_armed() {
    let bench = Bench::new(CpuLoad::with(launcher()));
    let error = bench.inject(json!({ "load": "30%", "cores": [1000] }), &host()).await.expect_err("no such core");
    assert!(error.to_string().starts_with("core 1000 may not be used"), "{error}");
    assert_eq!(bench.revert().await, "nothing was armed");
}

#[tokio::test]
async fn memory_pressure_is_resident_when_injected_and_given_back() {
    let bench = Bench::new(MemoryPressure::with(launcher()));
    let undo = bench.inject(json!({ "size": "96MiB" }), &host()).await.expect("injects");
    let pid = bench.pid();
    let held = resident(pid).expect("rss");
    assert!((96 * MIB..112 * MIB).contains(&held), "{held}");
    let effect = bench.verify(&undo).await;
    assert!(effect.in_force && effect.evidence.contains("asked for 96MiB"), "{}", effect.evidence);
    let adj = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("adj");
    assert_eq!(adj.trim(), "1000", "the first to go when memory runs out");
    bench.revert().await;
    assert!(!alive(pid));
    assert!(resident(pid).is_err(), "its memory went with it");
}

#[tokio::test]
async fn memory_that_would_leave_too_little_is_refused_before_anything_is_armed() {
    let bench = Bench::new(MemoryPressure::with(launcher()));
    let error = bench.inject(json!({ "percent": "100%" }), &host()).await.expect_err("too much");
    assert!(error.to_string().contains("would leave less than"), "{error}");
    assert_eq!(bench.revert().await, "nothing was armed");
}

#[tokio::test]
async fn a_leak_grows_at_its_rate_to_its_limit() {
    let bench = Bench::new(MemoryLeak::with(launcher()));
    let undo = bench.inject(json!({ "rate": "40MiB/s", "limit": "64MiB" }), &host()).await.expect("injects");
    let effect = bench.verify(&undo).await;
    assert!(effect.in_force, "{}", effect.evidence);
    let pid = bench.pid();
    eventually("the leak reaches its limit", || resident(pid).expect("rss") >= 64 * MIB);
    let effect = bench.verify(&undo).await;
    assert!(effect.in_force && effect.evidence.contains("its limit"), "{}", effect.evidence);
    assert!(resident(pid).expect("rss") < 80 * MIB, "and stays there");
    bench.revert().await;
    assert!(!alive(pid));
}

#[tokio::test]
async fn spikes_come_and_go_and_come_again() {
    let bench = Bench::new(MemorySpike::with(launcher()));
    let args = json!({ "size": "48MiB", "rise": "200ms", "hold": "300ms", "every": "1s" });
    let undo = bench.inject(args, &host()).await.expect("injects");
    let pid = bench.pid();
    for _ in 0..2 {
        eventually("the spike is at its top", || resident(pid).expect("rss") >= 48 * MIB);
        eventually("the spike is over", || resident(pid).expect("rss") < 16 * MIB);
    }
    let effect = bench.verify(&undo).await;
    assert!(effect.in_force, "{}", effect.evidence);
    bench.revert().await;
    assert!(!alive(pid));
}

#[tokio::test]
async fn an_injection_that_is_reverted_first_starts_nothing_afterwards() {
    let bench = Bench::new(CpuLoad::with(launcher()));
    let armed = bench.arm(Value::Null).expect("arms");
    assert!(squall_sys::stressor::kill(&armed, &bench.marker).expect("nothing to kill").is_empty());
    let error = squall_sys::stressor::start(&armed, PROGRAM.as_ref(), &bench.marker, &[]).expect_err("too late");
    assert!(error.to_string().contains("reverted before"), "{error}");
}

/// A stressor by hand, as a fresh process would find it: not started by this process's own table.
fn by_hand(marker: &str, deadline: Duration, job: &Job) -> Child {
    let args = Order::args(std::process::id(), deadline, job).expect("encodes");
    let mut command = command(PROGRAM);
    command.args(["stressor", "--marker", marker]).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    child.stdin.as_mut().expect("a pipe").write_all(b"go\n").expect("goes");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("speaks");
    assert_eq!(line, "ready\n");
    child
}

fn small() -> Job {
    Job::Memory(MemoryJob { shape: Shape::Hold { size: MIB }, leave_free: 0 })
}

#[tokio::test]
async fn a_stressor_that_another_process_started_is_found_by_its_marker_and_killed() {
    let bench = Bench::new(MemoryPressure::with(launcher()));
    let mut child = by_hand(&bench.marker, boottime() + Duration::from_mins(1), &small());
    let undo = json!({ "marker": bench.marker, "job": small(), "groups": [] });
    bench.arm(undo).expect("arms");
    assert_eq!(bench.revert().await, format!("killed stressor {} and its memory with it", child.id()));
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().expect("ended")), Some(9));
}

#[test]
fn a_stressor_ends_by_itself_at_its_deadline() {
    let cpu = Job::Cpu(CpuJob { percent: 5.0, cores: vec![0], meaning: Meaning::Own, seed: 1 });
    for (number, job) in [small(), cpu].iter().enumerate() {
        let marker = format!("squall-deadline-{}-{number}", std::process::id());
        let deadline = boottime() + Duration::from_millis(400);
        let mut child = by_hand(&marker, deadline, job);
        // Waiting closes what it finds: the pipe must outlast it.
        let stdin = child.stdin.take();
        assert!(child.wait().expect("ends").success());
        drop(stdin);
        assert!(boottime() >= deadline && boottime() < deadline + Duration::from_secs(5));
    }
}

#[test]
fn a_stressor_ends_when_the_pipe_from_its_parent_closes() {
    let marker = format!("squall-pipe-{}", std::process::id());
    let mut child = by_hand(&marker, boottime() + Duration::from_mins(1), &small());
    drop(child.stdin.take());
    assert!(child.wait().expect("ends").success());
}

#[test]
fn a_stressor_whose_parent_is_another_one_does_nothing() {
    let args = Order::args(1, boottime() + Duration::from_mins(1), &small()).expect("encodes");
    let output = command(PROGRAM).args(["stressor", "--marker", "squall-nobody"]).args(args).output().expect("runs");
    assert!(!output.status.success());
    let expected = format!("error: its parent is {}, not 1\n", std::process::id());
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn a_stressor_dies_with_a_parent_that_was_killed() {
    let marker = format!("squall-orphan-{}", std::process::id());
    let args = Order::args(0, boottime() + Duration::from_mins(1), &small()).expect("encodes");
    // A shell is the parent, and the pipe stays open here: the death of the parent is all that can end the stressor.
    let script = "prog=$1; shift; marker=$1; shift; shift; shift; exec 3<&0; \
        \"$prog\" stressor --marker \"$marker\" --parent $$ \"$@\" <&3 & wait";
    let mut shell = command("sh");
    shell.args(["-c", script, "sh", PROGRAM, &marker]).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().expect("starts");
    let mut stdin = shell.stdin.take().expect("a pipe");
    stdin.write_all(b"go\n").expect("goes");
    let mut line = String::new();
    BufReader::new(shell.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("speaks");
    assert_eq!(line, "ready\n");
    let found = find(&marker).expect("proc can be read");
    assert_eq!(found.len(), 1);
    shell.kill().expect("SIGKILL");
    shell.wait().expect("ended");
    eventually("the stressor is gone", || find(&marker).expect("proc").is_empty() && !alive(found[0]));
    drop(stdin);
}

/// A control group of this test's own, in the v1 hierarchy of a controller, with one process in it.
struct OwnGroup {
    directory: PathBuf,
    member: Child,
}

impl OwnGroup {
    /// `None` where the hierarchy is not there or may not be written.
    fn new(controller: &str) -> Option<Self> {
        let hierarchy = squall_sys::cgroup::Hierarchy::v1_of(controller)?;
        let directory = hierarchy.mount_point.join(format!("squall-test-{}-{controller}", std::process::id()));
        std::fs::create_dir(&directory).ok()?;
        let member = command("sleep").arg("120").spawn().expect("starts");
        let group = Self { directory, member };
        std::fs::write(group.directory.join("cgroup.procs"), group.member.id().to_string()).expect("joins");
        Some(group)
    }

    fn target(&self) -> Target {
        let pid = self.member.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
        let start = stat.rsplit_once(')').expect("a name").1.split_whitespace().nth(19).expect("22 fields");
        Target { kind: "process".into(), id: format!("process:{pid}:{start}"), label: format!("sleep (pid {pid})"), facts: Value::Null }
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.directory.join(file)).expect("a file of the group")
    }
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        let _ = self.member.kill();
        let _ = self.member.wait();
        // A member that is being killed leaves in a moment.
        let deadline = monotonic() + Duration::from_secs(5);
        while std::fs::remove_dir(&self.directory).is_err() && monotonic() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[tokio::test]
async fn memory_is_charged_to_the_targets_own_control_group() {
    let Some(group) = OwnGroup::new("memory") else {
        eprintln!("skipped: no writable cgroup v1 hierarchy with `memory`");
        return;
    };
    std::fs::write(group.directory.join("memory.limit_in_bytes"), (200 * MIB).to_string()).expect("limits");
    let bench = Bench::new(MemoryPressure::with(launcher()));
    let undo = bench.inject(json!({ "percent": "30%" }), &group.target()).await.expect("injects");
    let usage: u64 = group.read("memory.usage_in_bytes").trim().parse().expect("bytes");
    assert!((60 * MIB..80 * MIB).contains(&usage), "30% of the group's 200 MiB: {usage}");
    let effect = bench.verify(&undo).await;
    assert!(effect.in_force && effect.evidence.contains("charged to"), "{}", effect.evidence);
    bench.revert().await;
    assert_eq!(group.read("cgroup.procs").trim(), group.member.id().to_string(), "the stressor has left");
}

#[tokio::test]
async fn beyond_its_groups_limit_the_stressor_is_the_one_that_the_kernel_kills() {
    let Some(mut group) = OwnGroup::new("memory") else {
        eprintln!("skipped: no writable cgroup v1 hierarchy with `memory`");
        return;
    };
    std::fs::write(group.directory.join("memory.limit_in_bytes"), (32 * MIB).to_string()).expect("limits");
    let bench = Bench::new(MemoryPressure::with(launcher()));
    let error = bench.inject(json!({ "size": "64MiB" }), &group.target()).await.expect_err("the limit is half of that");
    assert!(error.to_string().contains("out of memory"), "{error}");
    assert!(group.member.try_wait().expect("status").is_none(), "the target lives");
    bench.revert().await;
}

#[tokio::test]
async fn a_cpu_load_runs_in_the_targets_own_control_group_and_says_when_that_is_throttled() {
    let Some(group) = OwnGroup::new("cpu") else {
        eprintln!("skipped: no writable cgroup v1 hierarchy with `cpu`");
        return;
    };
    std::fs::write(group.directory.join("cpu.cfs_quota_us"), "10000").expect("limits");
    let bench = Bench::new(CpuLoad::with(launcher()));
    let undo = bench.inject(json!({ "load": "80%", "cores": 1 }), &group.target()).await.expect("injects");
    assert!(group.read("cgroup.procs").lines().any(|pid| pid == bench.pid().to_string()));
    let effect = bench.verify(&undo).await;
    assert!(effect.in_force, "{}", effect.evidence);
    bench.revert().await;
    assert_eq!(group.read("cgroup.procs").trim(), group.member.id().to_string(), "the stressor has left");
}

#[tokio::test]
async fn a_target_that_is_gone_is_said_to_be_gone() {
    let bench = Bench::new(MemoryPressure::with(launcher()));
    let target =
        Target { kind: "process".into(), id: format!("process:{}:1", std::process::id()), label: "somebody".into(), facts: Value::Null };
    let error = bench.inject(json!({ "size": "1MiB" }), &target).await.expect_err("another start time");
    assert_eq!(error.to_string(), "somebody is gone");
}
