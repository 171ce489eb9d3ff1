//! `command`: what a program prints, or how it exits.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, BoxFuture, Measure, Probe, ProbeCx, ProbeMeta};
use squall_model::{Dimension, Value};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;

use crate::load::watch_readable;

/// The most that is kept of what a program prints.
const OUTPUT_LIMIT: usize = 1024 * 1024;

/// The kind of probe.
#[derive(Debug)]
pub struct Command;

/// What a program prints, or how it exits.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Args {
    /// The program and its arguments. No shell is in between; write `[sh, -c, "…"]` for one.
    pub run: Vec<String>,
    /// Set in its environment, beside what Squall was started with.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its working directory; Squall's own by default.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// What is measured; the exit code by default.
    #[serde(default)]
    pub measure: CommandMeasure,
}

/// What a `command` probe measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CommandMeasure {
    /// The exit code; 128 and the signal's number for a program that a signal ended.
    #[default]
    ExitCode,
    /// What it printed on standard output, without white space at the ends. Not measured if it fails.
    Stdout,
    /// What it printed on standard output as a number. Not measured if it fails.
    Number,
}

impl Probe for Command {
    type Args = Args;

    const META: ProbeMeta = ProbeMeta {
        name: "command",
        summary: "What a program prints, or how it exits",
        from_anywhere: false,
        example: "\
name: the queue is short
command: { run: [redis-cli, llen, jobs], measure: number }
expect: { lt: 100 }
",
    };

    fn check(&self, args: &Args) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if args.run.first().is_none_or(String::is_empty) {
            errors.push(ArgError::field("run", "`run` names no program", "write it like `run: [curl, -sf, \"http://…\"]`".to_owned()));
        }
        if args.run.iter().chain(args.env.values()).any(|text| text.contains('\0')) {
            errors.push(ArgError::field("run", "arguments cannot hold the character NUL", None));
        }
        if args.env.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) {
            errors.push(ArgError::field("env", "a variable's name is empty or holds `=`", None));
        }
        errors
    }

    fn dimension(&self, args: &Args) -> Dimension {
        match args.measure {
            CommandMeasure::ExitCode | CommandMeasure::Number => Dimension::Number,
            CommandMeasure::Stdout => Dimension::Text,
        }
    }

    fn describe(&self, args: &Args) -> String {
        let what = match args.measure {
            CommandMeasure::ExitCode => "exit code",
            CommandMeasure::Stdout => "output",
            CommandMeasure::Number => "number printed",
        };
        format!("{what} of `{}`", args.run.join(" "))
    }

    fn open(&self, args: Args, _: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        Ok(Box::new(Open { args }))
    }
}

struct Open {
    args: Args,
}

impl Measure for Open {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            let (program, arguments) = self.args.run.split_first().ok_or("`run` names no program")?;
            let finished = Group::start(program, arguments, &self.args)
                .map_err(|e| format!("cannot start `{program}`: {e}; check that it is installed and in PATH"))?
                .finish()
                .await
                .map_err(|e| format!("cannot wait for `{program}`: {e}"))?;
            if self.args.measure == CommandMeasure::ExitCode {
                return Ok(Value::Number(f64::from(finished.code)));
            }
            if finished.code != 0 {
                return Err(format!("`{program}` exited with {}{}", finished.code, last_line(&finished.stderr)));
            }
            let text = String::from_utf8_lossy(&finished.stdout).trim().to_owned();
            if self.args.measure == CommandMeasure::Stdout {
                return Ok(Value::Text(text));
            }
            match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Number(number)),
                _ => Err(format!("`{program}` printed `{}`, not a number", text.chars().take(80).collect::<String>())),
            }
        })
    }
}

fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.trim().lines().last().map_or_else(String::new, |line| format!(": {line}"))
}

struct Finished {
    code: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// A program in a process group of its own, which is killed when this is dropped.
struct Group {
    child: Child,
    /// The group, until its leader has been reaped: only till then is the number surely the group's.
    id: Option<Pid>,
}

impl Group {
    fn start(program: &str, arguments: &[String], args: &Args) -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "this probe exists to run commands")]
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).envs(&args.env).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(cwd) = &args.cwd {
            command.current_dir(cwd);
        }
        let child = command.spawn()?;
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { child, id })
    }

    /// Waits until the program ends, kills what it has left running in its group, and gives what it printed.
    async fn finish(mut self) -> io::Result<Finished> {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let output = async { tokio::join!(read_all(stdout), read_all(stderr)) };
        tokio::pin!(output);
        let mut early = None;
        let ended = match self.id {
            Some(id) => watch_readable(pidfd_open(id, PidfdFlags::empty())?)?,
            None => return Err(io::Error::other("it has no process id")),
        };
        // A pidfd is readable when the process has ended; it is not reaped by that, so its number is still its own.
        tokio::select! {
            ready = ended.readable() => drop(ready?),
            both = &mut output => {
                early = Some(both);
                drop(ended.readable().await?);
            }
        }
        self.kill();
        let (stdout, stderr) = match early {
            Some(both) => both,
            None => output.await,
        };
        let status = self.child.wait().await?;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        Ok(Finished { code, stdout, stderr })
    }

    fn kill(&mut self) {
        if let Some(id) = self.id.take() {
            // Gone already is as good.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads to the end, keeping only the first part.
async fn read_all(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    let mut buffer = [0; 4096];
    // What was read before an error counts.
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let room = OUTPUT_LIMIT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    kept
}
