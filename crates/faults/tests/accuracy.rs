//! Network faults do what they are told, in numbers: the same cases whatever carries them (`SQUALL_TEST_MECHANISM`), in a
//! short form here, and at full length with `SQUALL_TEST_SIZE=full` (`cargo xtask bench-network`).

use std::sync::Arc;

use squall_engine::AnyFault;
use squall_faults::network::{bandwidth, corrupt, duplicate, latency, loss, reorder};
use squall_faults::stressor::Launcher;
use squall_testkit::net::accuracy::{Route, Size, assert_met, cases};
use squall_testkit::net::{Family, InForce, Lab, mechanism};

fn launcher() -> Launcher {
    Launcher::of_program(env!("CARGO_BIN_EXE_squall-stressor"))
}

fn fault(name: &str) -> Arc<dyn AnyFault> {
    match name {
        "network.latency" => Arc::new(latency::Latency::with(launcher())),
        "network.loss" => Arc::new(loss::NetworkLoss::with(launcher())),
        "network.bandwidth" => Arc::new(bandwidth::Bandwidth::with(launcher())),
        "network.duplicate" => Arc::new(duplicate::Duplicate::with(launcher())),
        "network.corrupt" => Arc::new(corrupt::Corrupt::with(launcher())),
        "network.reorder" => Arc::new(reorder::NetworkReorder::with(launcher())),
        other => panic!("{other} is new: it is made here"),
    }
}

fn size() -> Size {
    if std::env::var("SQUALL_TEST_SIZE").as_deref() == Ok("full") { Size::Full } else { Size::Small }
}

/// All cases of one fault, over both families; everything that was measured is shown.
#[expect(clippy::print_stdout, reason = "the numbers are what the bench is run for")]
fn is_exact(name: &str) {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    let fault = fault(name);
    let mut missed = Vec::new();
    for case in cases(size()).iter().filter(|case| case.fault == name) {
        let in_force = InForce::new(&fault, &case.args(&mechanism()), &a.target());
        for family in Family::BOTH {
            for check in case.judge(&Route { from: &a, to: &b, family }) {
                let word = if check.met { "ok    " } else { "MISSED" };
                println!("{word} {}: {}, bar {}", check.what, check.measured, check.bar);
                missed.extend((!check.met).then_some(check));
            }
        }
        let effect = in_force.verify();
        assert!(effect.in_force, "{} {}: {}", case.fault, case.name, effect.evidence);
        in_force.revert();
    }
    assert_met(&missed);
}

#[test]
fn delays_and_their_jitter_are_exact() {
    is_exact("network.latency");
}

#[test]
fn losses_are_as_many_and_in_bursts_as_long_as_asked_for() {
    is_exact("network.loss");
}

#[test]
fn the_bandwidth_is_what_was_asked_for() {
    is_exact("network.bandwidth");
}

#[test]
fn so_many_packets_come_twice() {
    is_exact("network.duplicate");
}

#[test]
fn so_many_packets_come_changed() {
    is_exact("network.corrupt");
}

#[test]
fn so_many_packets_overtake_others() {
    is_exact("network.reorder");
}
