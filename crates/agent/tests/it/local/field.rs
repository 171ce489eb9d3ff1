//! An agent, a service with the layer, and requests to both.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::Value;
use squall_tower::Faults;
use squall_undo::boottime;

/// Nothing that is asked here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place of its own, gone at the end of the test.
pub struct Field {
    scratch: tempfile::TempDir,
}

/// An agent that runs. It is killed when dropped; its watchdog then puts back what a failed test left.
pub struct Agent {
    pub child: Child,
    pub socket: PathBuf,
    /// Where it listens on TCP, if it was told to.
    pub address: String,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Field {
    pub fn new() -> Self {
        let scratch = tempfile::Builder::new().prefix("squall-agent-").tempdir().expect("a directory");
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).expect("made readable");
        Self { scratch }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// What services obey, by file name.
    pub fn faults(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("faults")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// The directories of runs that are left.
    pub fn runs(&self) -> usize {
        std::fs::read_dir(self.state().join("runs")).into_iter().flatten().count()
    }

    pub fn agent(&self, more: &[&str]) -> Agent {
        self.try_agent(more).expect("it listens")
    }

    /// An agent, or what it says instead of listening.
    #[expect(clippy::disallowed_methods, reason = "these tests drive a real process")]
    pub fn try_agent(&self, more: &[&str]) -> Result<Agent, String> {
        let socket = self.path("agent.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_squall-local-agent"));
        command.arg("serve").arg("--state-dir").arg(self.state()).arg("--faults-dir").arg(self.path("faults"));
        command.arg("--socket").arg(&socket).args(more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let agent = Agent { child, socket, address: line.trim().trim_start_matches("ready").trim().to_owned() };
        if line.starts_with("ready") { Ok(agent) } else { Err(line) }
    }

    /// A service of this name with the layer, on a thread of its own.
    pub fn service(&self, name: &str) -> String {
        let faults = Faults::watch_in(name, [self.path("faults")]);
        let (told, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
                told.send(listener.local_addr().expect("an address").to_string()).expect("heard");
                let page = get(|| async { "\"good\"" });
                let app = Router::new().route("/cart", page.clone()).route("/products", page).layer(faults.layer());
                axum::serve(listener, app).await
            })
        });
        address.recv().expect("it listens")
    }
}

impl Agent {
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let stream = UnixStream::connect(&self.socket).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        ask(stream, method, path, "", body)
    }

    pub fn set(&self, order: &Value) -> Answer {
        self.ask("POST", "/faults", &order.to_string())
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }
}

/// One request on a connection of its own. `headers` are whole lines.
pub fn ask(mut stream: impl Read + Write, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    // One that is refused before it was read whole may find the connection closed.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Answer { status, head: head.to_lowercase(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
}

/// The status of a request to a service, and how long it took.
pub fn get_page(address: &str, path: &str) -> (u16, Duration) {
    let from = boottime();
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let status = ask(stream, "GET", path, "", "").status;
    (status, boottime() - from)
}

/// The processes whose command line has this text.
pub fn processes(text: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let line = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    pids.filter(|pid| String::from_utf8_lossy(&line(pid)).contains(text)).collect()
}

/// The processes that carry faults of a run.
pub fn stressors(run: &str) -> Vec<u32> {
    processes(&format!("squall-{run}-"))
}
