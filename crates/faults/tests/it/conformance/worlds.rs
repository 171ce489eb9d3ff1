//! What is broken, and how it looks from outside.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};
use squall_engine::Target;
use squall_testkit::conformance::World;
use squall_testkit::{Supervised, Victim, eventually};

use crate::kinds::{host, one};

/// A check as its result.
fn is(good: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if good { Ok(()) } else { Err(otherwise()) }
}

fn states(pids: &[u32]) -> String {
    let state = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    pids.iter().filter_map(state).collect()
}

fn command_line(pid: u32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// A process that nobody but Squall brings back.
pub struct One {
    victim: Victim,
    target: Target,
    args: Json,
    family: Vec<u32>,
    line: Vec<u8>,
    broken: fn(&One) -> Result<(), String>,
}

impl One {
    fn new(victim: Victim, args: Json, broken: fn(&One) -> Result<(), String>) -> Self {
        let target = one(&json!({ "pid": victim.pid(), "name": victim.name() }));
        let (family, line) = (victim.family(), command_line(victim.pid()));
        Self { victim, target, args, family, line, broken }
    }

    pub fn killed(args: Json) -> Self {
        Self::new(Victim::sleeper(), args, |one| is(one.victim.running().is_empty(), || format!("{:?} run", one.victim.running())))
    }

    pub fn paused() -> Self {
        Self::new(Victim::sleeper(), Json::Null, Self::all_stopped)
    }

    /// A shell with two children, one of them with a child of its own.
    pub fn paused_tree() -> Self {
        let victim = Victim::script(r#""$0" "$1" & ("$0" "$1"; :) & wait"#);
        eventually("the tree is there", || victim.family().len() == 4);
        Self::new(victim, json!({ "tree": true }), Self::all_stopped)
    }

    pub fn restarted() -> Self {
        Self::new(Victim::sleeper(), Json::Null, |one| {
            let now = one.victim.running();
            is(now.len() == 1 && now != one.family, || format!("{now:?} run, {:?} ran", one.family))
        })
    }

    pub fn crashing() -> Self {
        Self::new(Victim::sleeper(), json!({ "every": "20ms", "back": "relaunch" }), |one| {
            is(one.victim.state().is_none(), || "it never crashed".to_owned())
        })
    }

    fn all_stopped(&self) -> Result<(), String> {
        let states = states(&self.family);
        is(states.chars().all(|state| state == 'T') && !states.is_empty(), || format!("states {states}"))
    }
}

impl World for One {
    fn target(&self) -> Target {
        self.target.clone()
    }
    fn args(&self) -> Json {
        self.args.clone()
    }
    fn untouched(&self) -> Result<(), String> {
        is(self.victim.family() == self.family, || format!("{:?} run, {:?} ran", self.victim.family(), self.family))?;
        self.restored()
    }
    fn broken(&self) -> Result<(), String> {
        (self.broken)(self)
    }
    fn restored(&self) -> Result<(), String> {
        let now = self.victim.family();
        is(now.len() == self.family.len(), || format!("{now:?} run, {:?} ran", self.family))?;
        is(!states(&now).contains('T'), || format!("states {}", states(&now)))?;
        let line = self.victim.running().first().map(|pid| command_line(*pid)).unwrap_or_default();
        is(line == self.line, || format!("the arguments are {}", String::from_utf8_lossy(&line)))
    }
}

/// A process with a supervisor.
pub struct Supervision {
    process: Supervised,
    target: Target,
    args: Json,
    pid: u32,
    crashes: usize,
}

impl Supervision {
    fn new(after: Duration, args: Json, crashes: usize) -> Self {
        let process = Supervised::sleeper(after);
        let target = one(&json!({ "name": process.name() }));
        let pid = process.running()[0];
        Self { process, target, args, pid, crashes }
    }

    pub fn killed() -> Self {
        Self::new(Duration::from_millis(300), Json::Null, 1)
    }

    pub fn restarted() -> Self {
        Self::new(Duration::from_millis(20), json!({ "back": "supervisor" }), 1)
    }

    pub fn crashing() -> Self {
        Self::new(Duration::from_millis(5), json!({ "every": "20ms" }), 3)
    }
}

impl World for Supervision {
    fn target(&self) -> Target {
        self.target.clone()
    }
    fn args(&self) -> Json {
        self.args.clone()
    }
    fn untouched(&self) -> Result<(), String> {
        is(self.process.running() == [self.pid], || format!("{:?} run, {} ran", self.process.running(), self.pid))
    }
    fn broken(&self) -> Result<(), String> {
        is(!self.process.running().contains(&self.pid) && self.process.starts() >= self.crashes, || {
            format!("{:?} run, {} ran; started {} times", self.process.running(), self.pid, self.process.starts())
        })
    }
    fn restored(&self) -> Result<(), String> {
        is(self.process.running().len() == 1, || format!("{:?} run", self.process.running()))
    }
}

/// The host, loaded by a stressor that is known from outside by a number that no other has.
pub struct Load {
    args: Json,
    token: String,
}

impl Load {
    fn unique() -> u64 {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        u64::from(std::process::id()) % 5_000 * 100 + NUMBER.fetch_add(1, Ordering::Relaxed) % 100
    }

    pub fn cpu() -> Self {
        let percent = format!("3.{:06}", Self::unique() * 10 + 1);
        Self { args: json!({ "load": format!("{percent}%"), "cores": 1 }), token: percent }
    }

    pub fn memory(args: fn(&str) -> Json) -> Self {
        let bytes = (24 << 20) + Self::unique();
        Self { args: args(&format!("{bytes}B")), token: bytes.to_string() }
    }

    fn stressors(&self) -> Vec<u32> {
        let pids = std::fs::read_dir("/proc").expect("proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let carries = |pid: &u32| {
            let line = String::from_utf8_lossy(&command_line(*pid)).into_owned();
            line.contains("--marker") && line.contains(&self.token)
        };
        pids.filter(carries).collect()
    }
}

impl World for Load {
    fn target(&self) -> Target {
        host()
    }
    fn args(&self) -> Json {
        self.args.clone()
    }
    fn untouched(&self) -> Result<(), String> {
        is(self.stressors().is_empty(), || format!("stressors {:?}", self.stressors()))
    }
    fn broken(&self) -> Result<(), String> {
        is(self.stressors().len() == 1, || format!("stressors {:?} for {}", self.stressors(), self.token))
    }
    fn restored(&self) -> Result<(), String> {
        self.untouched()
    }
}

/// A file that a command makes.
pub struct Marked {
    directory: tempfile::TempDir,
}

impl Marked {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("maintenance")
    }
}

impl World for Marked {
    fn target(&self) -> Target {
        host()
    }
    fn args(&self) -> Json {
        let name = "maintenance";
        let command = |run: Json| json!({ "run": run, "cwd": self.directory.path(), "timeout": "10s", "env": { "MARK": "made" } });
        json!({
            "inject": command(json!(["sh", "-c", "echo $MARK > maintenance"])),
            "verify": command(json!(["grep", "-q", "made", name])),
            "undo": command(json!(["rm", "-f", name])),
        })
    }
    fn untouched(&self) -> Result<(), String> {
        is(!self.file().exists(), || "the file is there".to_owned())
    }
    fn broken(&self) -> Result<(), String> {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        is(text == "made\n", || format!("the file says {text:?}"))
    }
    fn restored(&self) -> Result<(), String> {
        self.untouched()
    }
}

/// A program that runs with two others that it has started; one of them does not heed SIGTERM. They are copies of a victim's
/// program, so that they are found.
pub struct Family {
    victim: Victim,
}

impl Family {
    pub fn new() -> Self {
        Self { victim: Victim::sleeper() }
    }
}

impl World for Family {
    fn target(&self) -> Target {
        host()
    }
    fn args(&self) -> Json {
        let script = format!("{0} 100 & (trap '' TERM; exec {0} 100) & wait", self.victim.program().display());
        json!({ "run": ["sh", "-c", script], "grace": "100ms" })
    }
    fn untouched(&self) -> Result<(), String> {
        is(self.victim.running() == [self.victim.pid()], || format!("{:?} run beside {}", self.victim.running(), self.victim.pid()))
    }
    fn broken(&self) -> Result<(), String> {
        is(self.victim.running().len() >= 3, || format!("{:?} run", self.victim.running()))
    }
    fn restored(&self) -> Result<(), String> {
        self.untouched()
    }
}

/// A server that is put into maintenance by a call.
pub struct Maintenance {
    url: String,
    on: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Maintenance {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let url = format!("http://{}/maintenance", listener.local_addr().expect("address"));
        let (on, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (state, ended) = (on.clone(), over.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines().map_while(Result::ok);
                let request = lines.next().unwrap_or_default();
                let key = lines.take_while(|line| !line.is_empty()).any(|line| line.eq_ignore_ascii_case("x-key: secret"));
                let status = match (request.split(' ').next(), key) {
                    (_, false) => "401 Unauthorized",
                    (Some("PUT"), _) => {
                        state.store(true, Ordering::Relaxed);
                        "201 Created"
                    }
                    (Some("DELETE"), _) => {
                        state.store(false, Ordering::Relaxed);
                        "204 No Content"
                    }
                    (Some("GET"), _) if state.load(Ordering::Relaxed) => "503 Service Unavailable",
                    _ => "200 OK",
                };
                let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        });
        Self { url, on, over }
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the server, so that it sees that it is over.
        let _ = std::net::TcpStream::connect(self.url.trim_start_matches("http://").trim_end_matches("/maintenance"));
    }
}

impl World for Maintenance {
    fn target(&self) -> Target {
        host()
    }
    fn args(&self) -> Json {
        let headers = json!({ "X-Key": "secret" });
        json!({
            "inject": { "method": "PUT", "url": self.url, "headers": headers, "body": "on", "expectStatus": 201 },
            "verify": { "url": self.url, "headers": headers, "expectStatus": 503 },
            "undo": { "method": "DELETE", "url": self.url, "headers": headers },
        })
    }
    fn untouched(&self) -> Result<(), String> {
        is(!self.on.load(Ordering::Relaxed), || "maintenance is on".to_owned())
    }
    fn broken(&self) -> Result<(), String> {
        is(self.on.load(Ordering::Relaxed), || "maintenance is off".to_owned())
    }
    fn restored(&self) -> Result<(), String> {
        self.untouched()
    }
}
