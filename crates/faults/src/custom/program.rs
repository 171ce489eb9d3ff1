//! Running a user's command: in a process group of its own, with an end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{ArgError, Clock};
use squall_model::Time;
use squall_sys::{BootClock, die_with_parent};
use tokio::io::AsyncReadExt;

#[expect(clippy::unsafe_derive_deserialize, reason = "the unsafe code is inside the macros of tokio")]
/// A command, run without a shell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Program {
    /// The program and its arguments: `[systemctl, stop, nginx]`. For a shell write `[sh, -c, "…"]`.
    pub run: Vec<String>,
    /// Environment variables, besides Squall's own. `SQUALL_INJECTION` is set while something is injected: the injection's mark.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The directory to run in; by default the one in which Squall was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// When to give up on it; then it is killed with everything that it has started in its process group.
    #[serde(default = "default_timeout")]
    pub timeout: Time,
}

pub fn default_timeout() -> Time {
    Time::from_secs(30)
}

/// The variable with the injection's mark.
pub const MARK: &str = "SQUALL_INJECTION";
/// Lines of output that a message shows.
const SHOWN: usize = 3;
/// Bytes of output that are kept, the last ones.
const KEPT: usize = 4 * 1024;
/// How long output that was written before the end may take to be read.
const REST: std::time::Duration = std::time::Duration::from_millis(100);

/// The end of an output. All of it is read, so that the command is never held up.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, from: Option<impl tokio::io::AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut chunk = [0; KEPT];
        // An output that cannot be read any more has ended as well.
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            self.0.extend_from_slice(&chunk[..length]);
            let surplus = self.0.len().saturating_sub(KEPT);
            self.0.drain(..surplus);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl Program {
    /// What cannot be run, where the program stands under a field.
    pub fn check(&self, field: &str) -> Vec<ArgError> {
        self.check_at(&squall_model::Path::default().key(field))
    }

    /// What cannot be run, where its fields stand among the arguments themselves.
    pub fn check_here(&self) -> Vec<ArgError> {
        self.check_at(&squall_model::Path::default())
    }

    fn check_at(&self, base: &squall_model::Path) -> Vec<ArgError> {
        let path = base.key("run");
        if self.run.first().is_none_or(String::is_empty) {
            let hint = Some("write the program and its arguments: `run: [systemctl, stop, nginx]`".to_owned());
            return vec![ArgError { path, message: "there is nothing to run".into(), hint }];
        }
        if let Some(name) = self.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            let path = base.key("env").key(name);
            let hint = Some("write it as `NAME: value`".to_owned());
            return vec![ArgError { path, message: format!("`{name}` cannot be the name of a variable"), hint }];
        }
        Vec::new()
    }

    /// For people. Values of the environment are never shown.
    pub fn shown(&self) -> String {
        self.run.join(" ")
    }

    /// The same, with the directory in which it has to run when that is not said: a fresh process may be elsewhere.
    pub fn settled(&self) -> Self {
        let cwd = self.cwd.clone().or_else(|| std::env::current_dir().ok());
        Self { cwd, ..self.clone() }
    }

    /// Runs it to its end. The exit status, or why it could not be run or did not end; with the last lines of its output.
    pub async fn execute(&self) -> Result<Ran, String> {
        self.run(None).await
    }

    /// The same, with a mark in its environment and in that of whatever it starts.
    pub async fn execute_marked(&self, marker: &str) -> Result<Ran, String> {
        self.run(Some(marker)).await
    }

    /// Ready to be started: without input, in a process group of its own, and it ends with the thread that starts it.
    pub fn command(&self, marker: Option<&str>) -> Result<std::process::Command, String> {
        let (program, arguments) = self.run.split_first().ok_or("there is nothing to run")?;
        #[expect(clippy::disallowed_methods, reason = "these faults exist to run the user's commands")]
        let mut command = std::process::Command::new(program);
        command.args(arguments).envs(&self.env).envs(marker.map(|marker| (MARK, marker))).stdin(Stdio::null());
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        own_group(&mut command);
        Ok(command)
    }

    async fn run(&self, marker: Option<&str>) -> Result<Ran, String> {
        let mut command = self.command(marker)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let mut child = command.spawn().map_err(|e| format!("`{}` could not be started: {e}", self.shown()))?;
        let group = Group(child.id());
        let (mut out, mut err) = (Tail::default(), Tail::default());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let clock = BootClock::new();
        let status = {
            let reading = async { tokio::join!(out.read(stdout), err.read(stderr)) };
            tokio::pin!(reading);
            let waiting = async {
                let mut read = false;
                let status = loop {
                    tokio::select! {
                        status = child.wait() => break status,
                        _ = &mut reading, if !read => read = true,
                    }
                };
                // What it leaves running in the background may hold its output open for ever: its own end is what counts.
                if !read {
                    let rest = clock.sleep_until(clock.now() + REST);
                    tokio::select! { _ = reading => {}, () = rest => {} }
                }
                status
            };
            tokio::select! {
                status = waiting => status.map_err(|e| e.to_string())?,
                () = clock.sleep_until(clock.now() + self.timeout.std()) => {
                    drop(group);
                    return Err(format!("`{}` did not end within {} and was killed", self.shown(), self.timeout));
                }
            }
        };
        group.leave();
        let said = last_lines(&if err.0.is_empty() { out } else { err }.text());
        Ok(Ran { success: status.success(), status: status.to_string(), said })
    }
}

/// The end of an output, in one line.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(SHOWN).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

/// Makes it the leader of a process group, and end with Squall.
fn own_group(command: &mut std::process::Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
    die_with_parent(command);
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub success: bool,
    pub status: String,
    pub said: String,
}

impl Ran {
    /// For messages.
    pub fn shown(&self) -> String {
        if self.said.is_empty() { self.status.clone() } else { format!("{}: {}", self.status, self.said) }
    }
}

/// A process group that is killed when dropped: the command was given up, by its timeout or with its fault.
struct Group(Option<u32>);

impl Group {
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}
