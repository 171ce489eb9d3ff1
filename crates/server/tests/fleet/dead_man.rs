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
}

const BLOWS: [Blow; 10] = [
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
];

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
        let victim = Victim::sleeper();
        let watch = Watch::of(victim.pid());
        let scratch = tempfile::Builder::new().prefix("squall-dead-man-").tempdir().expect("a directory");
        let mut field = Self { _lab: lab, server_host, agent_host, scratch, server: None, agent: None, victim, watch };
        field.start_server();
        let token = field.call(json!({ "do": "token" }))["token"].as_str().expect("a token").to_owned();
        field.start_agent(&token);
        field.wait_linked();
        field
    }

    fn start_server(&mut self) {
        let state = self.scratch.path().join("server").to_string_lossy().into_owned();
        let command = self.server_host.command(std::env::current_exe().expect("this program"));
        let url = format!("https://{}:7443", self.server_host.v4());
        let listen = format!("{}:7443", self.server_host.v4());
        let server = Process::start(command, &["serve", "--state", &state, "--listen", &listen, "--url", &url]);
        assert_eq!(server.said(), json!({ "ready": true }));
        self.server = Some(server);
    }

    fn start_agent(&mut self, token: &str) {
        let state = self.scratch.path().join("agent").to_string_lossy().into_owned();
        let command = self.agent_host.command(std::env::current_exe().expect("this program"));
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
        match blow {
            Blow::CutToServer => self.cut(true, false),
            Blow::CutToAgent => self.cut(false, true),
            Blow::CutBothWays | Blow::CutAndServerKilled | Blow::CutAndAgentKilled => self.cut(true, true),
            _ => {}
        }
        let server = matches!(blow, Blow::ServerKilled | Blow::BothKilled | Blow::ServerRestarted | Blow::CutAndServerKilled);
        let agent = matches!(blow, Blow::AgentKilled | Blow::BothKilled | Blow::AgentRestarted | Blow::CutAndAgentKilled);
        if server {
            self.server.take().expect("a server").kill();
        }
        if agent {
            self.agent.take().expect("an agent").kill();
        }
        match blow {
            Blow::ServerRestarted => self.start_server(),
            Blow::AgentRestarted => self.start_agent(""),
            _ => {}
        }
    }

    fn repair(&mut self, blow: Blow) {
        if format!("{blow:?}").starts_with("Cut") {
            self.heal();
        }
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
        if !restarted {
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
                    let random = mix(seed ^ number) / 10 * 10 + number % 10;
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

pub fn ten_points() {
    points(10, 5);
}
