//! A place of its own for one test: a state directory, victims that only it selects, and runs of the real binary. All of it
//! is gone when the test ends, however it ends.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How long anything may take here before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Field {
    dir: TempDir,
}

impl Field {
    /// An experiment that pauses the process `victim` while the number in the file `signal` is expected to be 0. `step` is what
    /// else the step says, and `rest` what else the experiment does.
    pub fn pause(&self, name: &str, victim: &str, step: &str, rest: &str) -> String {
        format!(
            "apiVersion: squall.dev/v1
kind: Experiment
metadata: {{ name: {name}, labels: {{ team: {victim} }} }}
spec:
  hypothesis:
    statement: The signal stays at zero.
    probes:
      - name: signal
        file: {{ path: {}, measure: number }}
        expect: {{ eq: 0 }}
        every: 20ms
  steady: {{ for: 60ms }}
  method:
    - name: the pause
      fault: process.pause
      target: {{ process: {{ name: {victim} }} }}
      {step}
  recovery: {{ within: 5s, stable: 40ms }}
{rest}",
            self.path("signal").display()
        )
    }

    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        // Renamed into place, so that a probe never reads half of it.
        let part = self.path(&format!("{name}.part"));
        std::fs::write(&part, text).expect("written");
        std::fs::rename(&part, &path).expect("renamed");
        path
    }

    /// A process whose name is its own in this test and on this machine.
    pub fn victim(&self, name: &str) -> Victim {
        let program = self.path(name);
        if !program.exists() {
            std::fs::copy("/bin/sleep", &program).expect("copied");
        }
        Victim(command(&program).arg("600").spawn().expect("started"))
    }

    /// `squall` with this place's state directory.
    pub fn squall(&self) -> Command {
        let mut squall = command(Path::new(env!("CARGO_BIN_EXE_squall")));
        squall.arg("--state-dir").arg(self.state()).env_remove("SQUALL_POLICY").env("NO_COLOR", "1").current_dir(self.dir.path());
        squall
    }

    pub fn run(&self, manifest: &str) -> Output {
        let path = self.write("experiment.yaml", manifest);
        self.squall().args(["run", "--plain"]).arg(path).output().expect("ran")
    }

    pub fn start(&self, manifest: &str) -> Victim {
        let path = self.write("experiment.yaml", manifest);
        let mut run = self.squall();
        run.args(["run", "--plain"]).arg(path).stdout(Stdio::piped()).stderr(Stdio::piped());
        Victim(run.spawn().expect("started"))
    }

    /// The last run's whole story.
    pub fn latest(&self) -> serde_json::Value {
        let output = self.squall().args(["show", "latest", "--events", "--output", "json"]).output().expect("ran");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output)))
    }
}

#[expect(clippy::disallowed_methods, reason = "these tests drive the real binary on real processes")]
fn command(program: &Path) -> Command {
    Command::new(program)
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A child that is killed when dropped.
pub struct Victim(pub Child);

impl Victim {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Its state letter in `/proc`; none when it is gone.
    pub fn state(&self) -> Option<char> {
        state_of(self.pid())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("not zero");
        rustix::process::kill_process(pid, signal).expect("sent");
    }

    /// Waits for its end; exit code and output.
    pub fn finish(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        if let Some(mut out) = self.0.stdout.take() {
            out.read_to_string(&mut said).expect("text");
        }
        if let Some(mut err) = self.0.stderr.take() {
            err.read_to_string(&mut said).expect("text");
        }
        (self.0.wait().expect("ended").code(), said)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// Waits for something to become true.
pub fn wait_for(what: &str, done: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, done);
}

/// Waits for something to become true within a time that is part of what is promised.
pub fn wait_within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let now = || rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let end = now().tv_sec + i64::try_from(limit.as_secs()).expect("small") + 1;
    while !done() {
        assert!(now().tv_sec <= end, "{what} did not come within {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
