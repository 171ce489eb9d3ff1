//! The table: each fault with a good target, good arguments and bad ones. One row a way back.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use squall_engine::AnyFault;
use squall_faults::cpu::load::CpuLoad;
use squall_faults::memory::leak::MemoryLeak;
use squall_faults::memory::pressure::MemoryPressure;
use squall_faults::memory::spike::MemorySpike;
use squall_faults::network::{bandwidth, corrupt, duplicate, latency, loss, partition, redirect, reject, reorder, reset};
use squall_faults::stressor::Launcher;
use squall_testkit::conformance::{Subject, World};

use super::wires::Wire;
use super::worlds::{Family, Load, Maintenance, Marked, One, Supervision};

/// Every row.
pub fn table() -> Vec<Subject> {
    processes()
        .into_iter()
        .chain(loads())
        .chain(customs())
        .chain(networks())
        .chain(super::resolving::rows())
        .chain(super::links::rows())
        .chain(super::applications::rows())
        .collect()
}

pub(super) fn row(row: &'static str, world: fn() -> Box<dyn World>, bad: Vec<Json>) -> Subject {
    let name = row.split(' ').next().unwrap_or_default();
    let fault = squall_faults::all().into_iter().find(|fault| fault.meta().name == name);
    Subject { row, fault: fault.unwrap_or_else(|| panic!("{row} is no fault")), world, bad }
}

/// A fault whose stressor is the test's own program for it.
pub(super) fn load(name: &'static str, fault: impl AnyFault + 'static, world: fn() -> Box<dyn World>, bad: Vec<Json>) -> Subject {
    Subject { row: name, fault: Arc::new(fault), world, bad }
}

fn processes() -> Vec<Subject> {
    let kill = || vec![json!({ "signal": "STOP" }), json!({ "signal": "NOPE" }), json!({ "back": "somehow" }), json!({ "within": "5" })];
    let crash_loop = || vec![json!({ "back": "none" }), json!({ "every": "1ms" }), json!({ "every": 1 })];
    vec![
        row("process.kill by relaunch", || Box::new(One::killed(json!({ "back": "relaunch" }))), kill()),
        row("process.kill by TERM", || Box::new(One::killed(json!({ "signal": "TERM", "back": "relaunch" }))), kill()),
        row("process.kill by a supervisor", || Box::new(Supervision::killed()), kill()),
        row("process.pause of one", || Box::new(One::paused()), vec![json!({ "tree": "yes" })]),
        row("process.pause of a tree", || Box::new(One::paused_tree()), vec![json!({ "tree": 1 })]),
        row("process.restart by relaunch", || Box::new(One::restarted()), vec![json!({ "back": "none" }), json!({ "grace": "soon" })]),
        row("process.restart by a supervisor", || Box::new(Supervision::restarted()), vec![json!({ "back": "none" })]),
        row("process.crashLoop by relaunch", || Box::new(One::crashing()), crash_loop()),
        row("process.crashLoop by a supervisor", || Box::new(Supervision::crashing()), crash_loop()),
    ]
}

fn loads() -> Vec<Subject> {
    let launcher = || Launcher::of_program(env!("CARGO_BIN_EXE_squall-stressor"));
    vec![
        load(
            "cpu.load",
            CpuLoad::with(launcher()),
            || Box::new(Load::cpu()),
            vec![json!({}), json!({ "load": "0%" }), json!({ "load": "50%", "cores": 0 }), json!({ "load": "50%", "meaning": "mine" })],
        ),
        load(
            "memory.pressure",
            MemoryPressure::with(launcher()),
            || Box::new(Load::memory(|size| json!({ "size": size }))),
            vec![json!({}), json!({ "size": "1MiB", "percent": "5%" }), json!({ "size": "12" })],
        ),
        load(
            "memory.leak",
            MemoryLeak::with(launcher()),
            || Box::new(Load::memory(|size| json!({ "rate": "8MiB/s", "limit": size }))),
            vec![json!({}), json!({ "rate": "0B/s" }), json!({ "rate": "10MiB" })],
        ),
        load(
            "memory.spike",
            MemorySpike::with(launcher()),
            || Box::new(Load::memory(|size| json!({ "size": size }))),
            vec![json!({}), json!({ "size": "0B" }), json!({ "size": "1MiB", "every": "1s" })],
        ),
    ]
}

fn networks() -> Vec<Subject> {
    let launcher = || Launcher::of_program(env!("CARGO_BIN_EXE_squall-stressor"));
    let with = |scope: Json| json!({ "delay": "10ms", "percent": "10%", "scope": scope });
    let scopes = [
        json!({ "peers": ["10.0.0.300"] }),
        json!({ "remotePorts": [0] }),
        json!({ "protocol": "icmp", "localPorts": [80] }),
        json!({ "interface": "a/b" }),
    ];
    let plain = || scopes.iter().map(|scope| json!({ "scope": scope })).collect::<Vec<Json>>();
    let also = |more: &[Json]| scopes.iter().cloned().map(with).chain(more.iter().cloned()).collect::<Vec<Json>>();
    let shares = also(&[json!({}), json!({ "percent": "0%" }), json!({ "percent": "5%", "correlation": "100%" })]);
    let delays = also(&[
        json!({}),
        json!({ "delay": "0s" }),
        json!({ "delay": "10ms", "jitter": "20ms" }),
        json!({ "delay": "10ms", "table": [1] }),
        json!({ "delay": "1s", "limit": 0 }),
        json!({ "delay": "1h" }),
    ]);
    let losses = vec![
        json!({}),
        json!({ "percent": "0%" }),
        json!({ "percent": "5%", "bursts": { "enter": "1%", "leave": "25%" } }),
        json!({ "bursts": { "enter": "0%", "leave": "25%" } }),
        json!({ "bursts": { "enter": "1%", "leave": "0%" } }),
    ];
    let overtaking = vec![json!({ "percent": "100%", "delay": "1ms" }), json!({ "percent": "5%", "delay": "0s" })];
    let rates = vec![json!({}), json!({ "rate": "1Mbit" }), json!({ "rate": "10bit/s" }), json!({ "rate": "1Mbit/s", "burst": "10B" })];
    vec![
        load("network.latency", latency::Latency::with(launcher()), || Box::new(Wire::slow()), delays),
        load("network.loss", loss::NetworkLoss::with(launcher()), || Box::new(Wire::lossy()), losses.clone()),
        load("network.loss in bursts", loss::NetworkLoss::with(launcher()), || Box::new(Wire::lossy_in_bursts()), losses),
        load("network.duplicate", duplicate::Duplicate::with(launcher()), || Box::new(Wire::doubled()), shares.clone()),
        load("network.corrupt", corrupt::Corrupt::with(launcher()), || Box::new(Wire::garbled()), shares),
        load("network.reorder", reorder::NetworkReorder::with(launcher()), || Box::new(Wire::shuffled()), overtaking),
        load("network.bandwidth", bandwidth::Bandwidth::with(launcher()), || Box::new(Wire::narrow()), rates),
        load("network.partition", partition::Partition::with(launcher()), || Box::new(Wire::cut()), plain()),
        load("network.reject", reject::NetworkReject::with(launcher()), || Box::new(Wire::refusing()), plain()),
        load(
            "network.redirect",
            redirect::Redirect::with(launcher()),
            || Box::new(Wire::led_elsewhere()),
            vec![json!({}), json!({ "to": 0 }), json!({ "to": 80, "scope": { "protocol": "udp" } })],
        ),
        load("network.reset", reset::Reset::with(launcher()), || Box::new(Wire::resetting()), plain()),
    ]
}

fn customs() -> Vec<Subject> {
    let commands = vec![json!({}), json!({ "inject": { "run": [] } }), json!({ "inject": { "run": ["true"], "env": { "A=B": "c" } } })];
    let call = |url: &str| json!({ "inject": { "url": url } });
    let calls = vec![
        json!({}),
        call("127.0.0.1:1"),
        json!({ "inject": { "url": "http://127.0.0.1:1", "method": "P O" } }),
        json!({ "inject": { "url": "http://127.0.0.1:1", "expectStatus": 7 } }),
        json!({ "inject": { "url": "http://127.0.0.1:1", "headers": { "a b": "c" } } }),
    ];
    vec![
        row("custom.command", || Box::new(Marked::new()), commands),
        row(
            "custom.program",
            || Box::new(Family::new()),
            vec![json!({}), json!({ "run": [] }), json!({ "run": ["true"], "grace": 1 }), json!({ "run": ["true"], "env": { "": "x" } })],
        ),
        row("custom.http", || Box::new(Maintenance::new()), calls),
    ]
}
