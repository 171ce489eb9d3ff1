//! Whatever is set ends, whatever becomes of the agent.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use squall_testkit::eventually;
use squall_undo::boottime;

use super::field::{Agent, Field, get_page, processes, stressors};

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("signalled");
}

/// Sets a failure and stress; gives the run.
fn broken(agent: &Agent, service: &str) -> String {
    let answer = agent.set(&json!({ "target": "*", "failureRate": 1, "errorCode": 503, "cpuStress": 2, "duration": "60s" }));
    assert_eq!(answer.status, 201, "{answer:?}");
    let run = answer.body["effects"][0]["run"].as_str().expect("a run").to_owned();
    assert_eq!((get_page(service, "/cart").0, stressors(&run).len()), (503, 1));
    run
}

#[test]
fn an_agent_that_is_killed_leaves_nothing_in_force() {
    let field = Field::new();
    let (mut agent, service) = (field.agent(&[]), field.service("checkout"));
    let run = broken(&agent, &service);
    agent.kill();
    let from = boottime();
    eventually("requests are good again", || get_page(&service, "/cart").0 == 200);
    let took = boottime() - from;
    assert!(took < Duration::from_secs(3), "{took:?}");
    eventually("the watchdog has put everything back", || field.faults().is_empty() && stressors(&run).is_empty());
}

#[test]
fn an_agent_that_is_killed_with_its_watchdog_leaves_nothing_in_force_and_the_next_one_tidies_up() {
    let field = Field::new();
    let (mut agent, service) = (field.agent(&[]), field.service("checkout"));
    let run = broken(&agent, &service);
    let directory = field.state().canonicalize().expect("there").join("runs").join(&run).display().to_string();
    let watchdogs = processes(&directory);
    assert_eq!(watchdogs.len(), 1, "one watchdog of this run");
    // Stopped first: it cannot act between the two kills.
    signal(watchdogs[0], Signal::STOP);
    agent.kill();
    signal(watchdogs[0], Signal::KILL);
    eventually("requests are good again", || get_page(&service, "/cart").0 == 200);
    eventually("the stressor died with the agent", || stressors(&run).is_empty());
    assert!(!field.faults().is_empty(), "nobody was left to remove the file");
    let _next = field.agent(&[]);
    assert_eq!(field.faults().len(), 0);
}

#[test]
fn a_fault_ends_at_the_end_of_its_time() {
    let field = Field::new();
    let (agent, service) = (field.agent(&[]), field.service("checkout"));
    let from = boottime();
    assert_eq!(agent.set(&json!({ "target": "checkout", "failureRate": 1, "duration": "1s" })).status, 201);
    assert_eq!(get_page(&service, "/cart").0, 500);
    eventually("requests are good again", || get_page(&service, "/cart").0 == 200);
    assert!(boottime() - from >= Duration::from_secs(1));
    eventually("nothing is left", || field.faults().is_empty() && field.runs() == 0);
    assert_eq!(agent.ask("GET", "/faults", "").body["items"], json!([]));
}

#[test]
fn the_stop_file_ends_everything_and_refuses_the_next() {
    let field = Field::new();
    let (agent, service) = (field.agent(&[]), field.service("checkout"));
    let run = broken(&agent, &service);
    std::fs::write(field.state().join("STOP"), "the on-call\n").expect("written");
    eventually("requests are good again", || get_page(&service, "/cart").0 == 200);
    eventually("nothing is left", || field.faults().is_empty() && stressors(&run).is_empty());
    let refused = agent.set(&json!({ "target": "checkout", "failureRate": 1 }));
    assert!(refused.status == 409 && refused.body["detail"].as_str().is_some_and(|why| why.contains("the on-call")), "{refused:?}");
    assert_eq!(get_page(&service, "/cart").0, 200);
}

#[test]
fn an_agent_that_is_asked_to_end_puts_everything_back_first() {
    let field = Field::new();
    let (mut agent, service) = (field.agent(&[]), field.service("checkout"));
    let run = broken(&agent, &service);
    signal(agent.child.id(), Signal::TERM);
    assert!(agent.child.wait().expect("ended").success());
    assert_eq!((get_page(&service, "/cart").0, field.faults().len(), stressors(&run).len(), field.runs()), (200, 0, 0, 0));
    assert!(!agent.socket.exists());
}

#[test]
fn an_agent_whose_watchdog_is_killed_ends_what_it_would_have_watched() {
    let field = Field::new();
    let (agent, service) = (field.agent(&[]), field.service("checkout"));
    let run = broken(&agent, &service);
    let directory = field.state().canonicalize().expect("there").join("runs").join(&run).display().to_string();
    signal(processes(&directory)[0], Signal::KILL);
    eventually("requests are good again", || get_page(&service, "/cart").0 == 200);
    eventually("nothing is left", || field.faults().is_empty() && stressors(&run).is_empty());
    assert_eq!(agent.set(&json!({ "target": "checkout", "failureRate": 1 })).status, 201, "with a watchdog of its own");
    assert_eq!(get_page(&service, "/cart").0, 500);
}
