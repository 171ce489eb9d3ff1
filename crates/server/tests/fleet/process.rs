//! A process of a field, and a conversation with it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// Far more than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A process of this program; killed when dropped.
pub struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Value>,
    early: HashMap<u64, Value>,
    next: u64,
}

impl Process {
    /// Starts it; `command` says where, and has the program already.
    pub fn start(mut command: Command, args: &[&str]) -> Self {
        let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
        let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (told, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.filter_map(|line| serde_json::from_str(&line).ok()).try_for_each(|line| told.send(line))
        });
        Self { child, stdin, lines, early: HashMap::new(), next: 0 }
    }

    /// The next thing that it says by itself.
    pub fn said(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("it says something")
    }

    /// Asks for something without waiting; gives the number of the question.
    pub fn ask(&mut self, mut order: Value) -> u64 {
        self.next += 1;
        order["n"] = json!(self.next);
        // One that was killed does not hear it.
        let _ = writeln!(self.stdin, "{order}");
        self.next
    }

    /// The answer, if it comes in this time.
    pub fn answer(&mut self, number: u64, within: Duration) -> Option<Value> {
        loop {
            if let Some(answer) = self.early.remove(&number) {
                return Some(answer);
            }
            match self.lines.recv_timeout(within) {
                Ok(line) => _ = line["n"].as_u64().and_then(|n| self.early.insert(n, line)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Asks and waits.
    pub fn call(&mut self, order: Value) -> Value {
        let number = self.ask(order);
        self.answer(number, PATIENCE).expect("an answer")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program, as a process on this host.
pub fn here() -> Command {
    #[expect(clippy::disallowed_methods, reason = "tests start what they look at")]
    Command::new(std::env::current_exe().expect("this program"))
}
