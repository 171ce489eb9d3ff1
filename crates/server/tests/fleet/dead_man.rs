//! The dead man's test: whatever is killed, cut or started anew at any moment, no fault is in force longer than its lease and a
//! second, what server and agent know is true again when they meet, and nothing is injected twice.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use squall_model::RunId;
use squall_testkit::net::{Host, Lab};
use squall_testkit::{Victim, eventually};

use crate::parts::now;
use crate::process::Process;

const LEASE: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_secs(1);

/// What happens at a point.
#[derive(Debug, Clone, Copy)]
enum Blow {
    ServerKilled,
    AgentKilled,
    BothKilled,
    ServerRestarted,
    AgentRestarted,
    CutToServer,
    CutToAgent,
    CutBothWays,
    CutAndServerKilled,
    CutAndAgentKilled,
    ServerClockAhead,
    AgentClockBack,
    AgentClockAheadAndServerKilled,
    BothClocksBackAndCut,
}

const BLOWS: [Blow; 14] = [
    Blow::ServerKilled,
    Blow::AgentKilled,
    Blow::BothKilled,
    Blow::ServerRestarted,
    Blow::AgentRestarted,
    Blow::CutToServer,
    Blow::CutToAgent,
    Blow::CutBothWays,
    Blow::CutAndServerKilled,
    Blow::CutAndAgentKilled,
    Blow::ServerClockAhead,
    Blow::AgentClockBack,
    Blow::AgentClockAheadAndServerKilled,
    Blow::BothClocksBackAndCut,
];

impl Blow {
    /// Whether nothing passes from the agent's host any more, and to it.
    fn cuts(self) -> (bool, bool) {
        match self {
            Self::CutToServer => (true, false),
            Self::CutToAgent => (false, true),
            Self::CutBothWays | Self::CutAndServerKilled | Self::CutAndAgentKilled | Self::BothClocksBackAndCut => (true, true),
            _ => (false, false),
        }
    }

    /// How the clocks of server and agent are set.
    fn clocks(self) -> (Option<&'static str>, Option<&'static str>) {
        match self {
            Self::ServerClockAhead => (Some(AHEAD), None),
            Self::AgentClockBack => (None, Some(BACK)),
            Self::AgentClockAheadAndServerKilled => (None, Some(AHEAD)),
            Self::BothClocksBackAndCut => (Some(BACK), Some(BACK)),
            _ => (None, None),
        }
    }

    fn kills_server(self) -> bool {
        use Blow::{AgentClockAheadAndServerKilled, BothKilled, CutAndServerKilled, ServerKilled, ServerRestarted};
        matches!(self, ServerKilled | BothKilled | ServerRestarted | CutAndServerKilled | AgentClockAheadAndServerKilled)
    }

    fn kills_agent(self) -> bool {
        matches!(self, Self::AgentKilled | Self::BothKilled | Self::AgentRestarted | Self::CutAndAgentKilled)
    }

    /// Nothing that a run in force depends on: it goes on.
    fn changes_nothing(self) -> bool {
        matches!(self, Self::ServerClockAhead | Self::AgentClockBack)
    }
}

/// Offsets of a clock, as libfaketime(1) has them: seconds.
const AHEAD: &str = "+7200";
const BACK: &str = "-7200";
const RIGHT: &str = "+0";

/// Where Debian keeps the library that changes what a process sees as the wall clock, while it runs; other clocks stay.
fn faketime() -> String {
    let machines = std::fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    let found = machines.map(|machine| machine.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("libfaketime is missing: install the Debian package faketime").to_string_lossy().into_owned()
}

/// A server and an agent on hosts of their own, and a process to pause.
struct Field {
    _lab: Lab,
    server_host: Host,
    agent_host: Host,
    scratch: tempfile::TempDir,
    server: Option<Process>,
    agent: Option<Process>,
    victim: Victim,
    watch: Watch,
}

/// Looks at the victim all the time.
struct Watch {
    stop: Arc<AtomicBool>,
    /// Microseconds at which it was seen paused last.
    paused: Arc<AtomicU64>,
    /// How often it went from running to paused.
    times: Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn of(pid: u32) -> Self {
        let (stop, paused, times) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU32::new(0)));
        let (stopping, last, count) = (stop.clone(), paused.clone(), times.clone());
        let thread = std::thread::spawn(move || {
            let mut was = false;
            while !stopping.load(Ordering::Relaxed) {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                let is = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
                if is {
                    last.store(u64::try_from(now().as_micros()).expect("fits"), Ordering::Relaxed);
                    count.fetch_add(u32::from(!was), Ordering::Relaxed);
                }
                was = is;
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { stop, paused, times, thread: Some(thread) }
    }

    fn paused(&self) -> Duration {
        Duration::from_micros(self.paused.load(Ordering::Relaxed))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Field {
    fn new() -> Self {
        let lab = Lab::new();
        let (server_host, agent_host) = (lab.host("server"), lab.host("agent"));
        let victim = Victim::sleeper_for(3600);
        let watch = Watch::of(victim.pid());
        let scratch = tempfile::Builder::new().prefix("squall-dead-man-").tempdir().expect("a directory");
        let mut field = Self { _lab: lab, server_host, agent_host, scratch, server: None, agent: None, victim, watch };
        field.start_server();
        let token = field.call(json!({ "do": "token" }))["token"].as_str().expect("a token").to_owned();
        field.start_agent(&token);
        field.wait_linked();
        field
    }

    /// A process of this program on a host, whose wall clock follows a file of this name.
    fn clocked(&self, host: &Host, name: &str) -> std::process::Command {
        let mut command = host.command(std::env::current_exe().expect("this program"));
        self.set_clock(name, RIGHT);
        command.env("LD_PRELOAD", faketime()).env("FAKETIME_TIMESTAMP_FILE", self.scratch.path().join(name));
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }

    fn set_clock(&self, name: &str, offset: &str) {
        let (file, draft) = (self.scratch.path().join(name), self.scratch.path().join(format!("{name}.new")));
        std::fs::write(&draft, offset).and_then(|()| std::fs::rename(&draft, &file)).expect("written");
    }

    fn start_server(&mut self) {
        let state = self.scratch.path().join("server").to_string_lossy().into_owned();
        let command = self.clocked(&self.server_host, "server-clock");
        let url = format!("https://{}:7443", self.server_host.v4());
        let listen = format!("{}:7443", self.server_host.v4());
        let server = Process::start(command, &["serve", "--state", &state, "--listen", &listen, "--url", &url]);
        assert_eq!(server.said(), json!({ "ready": true }));
        self.server = Some(server);
    }

    fn start_agent(&mut self, token: &str) {
        let state = self.scratch.path().join("agent").to_string_lossy().into_owned();
        let command = self.clocked(&self.agent_host, "agent-clock");
        let url = format!("https://{}:7443", self.server_host.v4());
        let mut args = vec!["agent", "--server", &url, "--name", "victim", "--state", &state];
        if !token.is_empty() {
            args.extend(["--join", token]);
        }
        let agent = Process::start(command, &args);
        assert_eq!(agent.said(), json!({ "ready": "victim" }));
        self.agent = Some(agent);
    }

    fn call(&mut self, order: Value) -> Value {
        self.server.as_mut().expect("a server").call(order)
    }

    fn wait_linked(&mut self) {
        let server = Mutex::new(self.server.as_mut().expect("a server"));
        eventually("the agent is linked", || server.lock().expect("free").call(json!({ "do": "connected" }))["connected"] == json!(1));
    }

    /// Lets nothing pass from the agent's host, or to it, or both.
    fn cut(&self, out: bool, into: bool) {
        self.agent_host.run("nft add table inet cut");
        for (hook, wanted) in [("output", out), ("input", into)] {
            if wanted {
                let chain = format!("add chain inet cut {hook} {{ type filter hook {hook} priority 0 ; policy drop ; }}");
                let done = self.agent_host.command("nft").arg(chain).output().expect("nft");
                assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            }
        }
    }

    fn heal(&self) {
        self.agent_host.run("nft delete table inet cut");
    }

    fn strike(&mut self, blow: Blow) {
        let (out, into) = blow.cuts();
        if out || into {
            self.cut(out, into);
        }
        let (server, agent) = blow.clocks();
        if let Some(offset) = server {
            self.set_clock("server-clock", offset);
            let seen = self.call(json!({ "do": "wall" }))["seconds"].as_i64().expect("seconds");
            let off = seen - jiff::Timestamp::now().as_second();
            assert!((off - offset.parse::<i64>().expect("a number")).abs() < 60, "the server sees its clock set: {off}");
        }
        if let Some(offset) = agent {
            self.set_clock("agent-clock", offset);
        }
        if blow.kills_server() {
            self.server.take().expect("a server").kill();
        }
        if blow.kills_agent() {
            self.agent.take().expect("an agent").kill();
        }
        match blow {
            Blow::ServerRestarted => self.start_server(),
            Blow::AgentRestarted => self.start_agent(""),
            _ => {}
        }
    }

    fn repair(&mut self, blow: Blow) {
        if blow.cuts() != (false, false) {
            self.heal();
        }
        self.set_clock("server-clock", RIGHT);
        self.set_clock("agent-clock", RIGHT);
        if self.server.is_none() {
            self.start_server();
        }
        if self.agent.is_none() {
            self.start_agent("");
        }
        self.wait_linked();
    }

    /// One run with one blow at a random moment of it.
    fn point(&mut self, number: u64, random: u64) {
        let blow = BLOWS[usize::try_from(random % BLOWS.len() as u64).expect("small")];
        let after = Duration::from_micros(random / 16 % 1_500_000);
        let millis = 1_700_000_000_000 + u64::from(std::process::id()) * 1_000_000 + number;
        let run = RunId::new(millis, u16::try_from(random % 32_768).expect("fits"));
        let before = self.watch.times.load(Ordering::Relaxed);
        let order = json!({
            "do": "inject", "host": "victim", "run": run, "process": self.victim.name(), "leaseMs": 2_000,
        });
        self.server.as_mut().expect("a server").ask(order);
        std::thread::sleep(after);
        self.strike(blow);
        let struck = now();
        // Of what was asked for before the link was cut, the last may still be on its way.
        while now() < struck + LEASE + SLACK + Duration::from_millis(300) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let paused = self.watch.paused();
        let restarted = matches!(blow, Blow::AgentRestarted);
        // An agent that is back at once may be asked again by a server that is still there: that run is driven, and no dead man's.
        if blow.changes_nothing() {
            let injected = self.watch.times.load(Ordering::Relaxed) > before;
            assert!(!injected || self.victim.state() == Some('T'), "{blow:?} after {after:?}: a run that goes on was put back");
        } else if !restarted {
            let limit = struck + LEASE + SLACK;
            assert!(paused <= limit, "{blow:?} after {after:?}: in force {:?} after its lease", paused.saturating_sub(struck + LEASE));
        }
        self.repair(blow);
        let (victim, server) = (&self.victim, Mutex::new(self.server.as_mut().expect("a server")));
        eventually("nothing is in force, and the server knows it", || {
            let mut server = server.lock().expect("free");
            // Again and again: what was asked for before the blow may reach the agent only now, and belongs to the run then.
            server.call(json!({ "do": "leave", "run": run }));
            let says = server.call(json!({ "do": "connected" }));
            victim.state().is_some_and(|state| state != 'T') && says["inForce"] == json!(0) && says["connected"] == json!(1)
        });
        let times = self.watch.times.load(Ordering::Relaxed) - before;
        assert!(times <= 1, "{blow:?} after {after:?}: injected {times} times");
    }
}

/// For `cargo xtask dead-man`: so many points, in several fields at a time.
pub fn points(count: u64, fields: u64) {
    let seed = u64::try_from(now().as_nanos() % u128::from(u64::MAX)).expect("fits");
    println!("seed {seed}");
    let next = AtomicU64::new(0);
    let hit = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..fields {
            scope.spawn(|| {
                let mut field = Field::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let before = field.watch.times.load(Ordering::Relaxed);
                    // Each blow as often as the others; the moment is left to chance.
                    let blows = BLOWS.len() as u64;
                    let random = mix(seed ^ number) / blows * blows + number % blows;
                    field.point(number, random);
                    hit.fetch_add(field.watch.times.load(Ordering::Relaxed) - before, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{count} points; a fault came into force at {} of them", hit.load(Ordering::Relaxed));
    assert!(hit.load(Ordering::Relaxed) * 2 > u32::try_from(count).expect("few"), "too few points struck a fault that was in force");
}

fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) / 16
}

pub fn a_point_of_each() {
    points(BLOWS.len() as u64, 5);
}
