//! A large fleet: what beats cost the server, how much memory it takes, and how soon the red button reaches everybody.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;
use squall_model::RunId;
use squall_testkit::Victim;

use crate::parts::now;
use crate::process::{Process, here};

/// Runs at the same time, and hosts of each.
const RUNS: (u64, u64) = (200, 10);
/// Faults that are asked for at the same time.
const AT_ONCE: usize = 16;
/// How long beats are counted.
const COUNT_FOR: Duration = Duration::from_secs(30);
/// How often the red button is pressed.
const PRESSED: usize = 20;

/// Seconds of processor that a process has used, and its resident memory now and at most in MiB.
fn cost(pid: u32) -> (f64, f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("as in proc(5)").1.split(' ').collect();
    let ticks: f64 = [11, 12].iter().map(|at| fields[*at].parse::<f64>().expect("ticks")).sum();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("as in proc(5)");
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>().expect("kB") / 1024.0
    };
    (ticks / rustix::param::clock_ticks_per_second() as f64, mib("VmRSS"), mib("VmHWM"))
}

fn one(agents: u64) {
    let scratch = tempfile::Builder::new().prefix("squall-fleet-").tempdir().expect("a directory");
    let place = |name: &str| scratch.path().join(name).to_string_lossy().into_owned();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let (url, listen) = (format!("https://127.0.0.1:{port}"), format!("127.0.0.1:{port}"));
    let mut server = Process::start(here(), &["serve", "--state", &place("server"), "--listen", &listen, "--url", &url, "--beat", "3000"]);
    server.said();
    let empty = cost(server.pid()).1;
    let token = server.call(json!({ "do": "token", "uses": agents }))["token"].as_str().expect("a token").to_owned();
    let start = now();
    let half = (agents / 2).to_string();
    let _simulators = ["a", "b"].map(|name| {
        let args = ["agents", "--server", &url, "--join", &token, "--name", name, "--state", &place(name), "--count", &half];
        Process::start(here(), &args)
    });
    let linked = |server: &mut Process| server.call(json!({ "do": "connected" }))["connected"].as_u64().expect("a number");
    while linked(&mut server) < agents {
        assert!(now() < start + Duration::from_mins(10), "{} of {agents} are linked", linked(&mut server));
        std::thread::sleep(Duration::from_millis(200));
    }
    let joined = now() - start;
    for run in 0..RUNS.0 {
        let id = RunId::new(1_700_000_000_000 + run, 1);
        server.call(json!({ "do": "drive", "run": id, "skip": run * RUNS.1 % agents, "take": RUNS.1 }));
    }
    std::thread::sleep(Duration::from_secs(5));
    let before = cost(server.pid()).0;
    let counted = now();
    std::thread::sleep(COUNT_FOR);
    let share = (cost(server.pid()).0 - before) / (now() - counted).as_secs_f64() * 100.0;
    assert_eq!(linked(&mut server), agents, "links stay");
    let (began, all_runs) = injected(&mut server, agents);
    let mut took: Vec<f64> = (0..PRESSED)
        .map(|_| {
            let stopped = server.call(json!({ "do": "stop" }));
            assert_eq!((stopped["hosts"].as_u64(), stopped["unreached"].as_u64()), (Some(agents), Some(0)), "{stopped}");
            stopped["tookUs"].as_f64().expect("a number") / 1000.0
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let (_, resident, most) = cost(server.pid());
    println!(
        "| {agents} | {began:.1} | {all_runs:.0} | {:.0} | {:.0} | {share:.1} % | {resident:.0} | {most:.0} | {empty:.0} | {:.0} |",
        took[PRESSED / 2],
        took[PRESSED - 1],
        joined.as_secs_f64()
    );
}

/// A fault in each of 200 runs, on a host of its own, so many begun at a time: seconds until all are in force, and milliseconds until the
/// red button has put all of them back.
fn injected(server: &mut Process, agents: u64) -> (f64, f64) {
    let victims = Victim::sleeper_for(600);
    for _ in 1..RUNS.0 {
        victims.twin();
    }
    let start = now();
    let mut asked = VecDeque::new();
    for run in 0..RUNS.0 {
        let host = format!("{}-{}", if run % 2 == 0 { "a" } else { "b" }, run * agents / 2 / RUNS.0);
        let id = RunId::new(1_700_000_100_000 + run, 1);
        let order = json!({ "do": "inject", "host": host, "run": id, "process": victims.name(), "pick": run, "leaseMs": 60_000 });
        asked.push_back(server.ask(order));
        // A process that is a thousand agents starts their watchdogs one after another, and must not stand still for that.
        if asked.len() >= AT_ONCE {
            in_force(server, asked.pop_front());
        }
    }
    while !asked.is_empty() {
        in_force(server, asked.pop_front());
    }
    let began = (now() - start).as_secs_f64();
    let stopped = server.call(json!({ "do": "stop" }));
    assert_eq!((&stopped["reverted"], &stopped["failed"]), (&json!(RUNS.0), &json!([])), "{stopped}");
    (began, stopped["tookUs"].as_f64().expect("a number") / 1000.0)
}

fn in_force(server: &mut Process, asked: Option<u64>) {
    let answer = server.answer(asked.expect("asked"), Duration::from_mins(2)).expect("an answer");
    assert!(answer["answer"]["done"].is_object(), "{answer}");
}

/// Prints a table with a line for each size.
pub fn run(sizes: &[u64]) {
    println!(
        "| agents | {} runs in force after s | red button with them, ms | red button, last host, median ms | worst of {PRESSED}, ms | beats: share of one core | resident MiB | at most MiB | without agents MiB | all joined after s |",
        RUNS.0
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for size in if sizes.is_empty() { &[500, 1000, 2000] } else { sizes } {
        one(*size);
    }
}
