//! How soon a network fault has its effect after its injection begins, and how soon the network heals after its revert begins:
//! seen from outside, by packets that each host sends all the time. Twenty hosts, each with a fault of its own; all twenty begin
//! and end at the same moment, or one begins and ends beside nineteen that are in force.
//!
//! A few runs here, which say that everything has its effect; 200 and the bar with `SQUALL_TEST_SIZE=full`, in a release build
//! (`cargo xtask bench-network`).

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use squall_engine::AnyFault;
use squall_faults::network::{duplicate, latency, loss, partition, reject};
use squall_faults::stressor::Launcher;
use squall_sys::cpu_time::{monotonic, sleep_until_monotonic};
use squall_testkit::Execution;
use squall_testkit::net::statistics::{quantile, sorted};
use squall_testkit::net::{Family, Host, Lab};

const HOSTS: usize = 20;
const MS: Duration = Duration::from_millis(1);
/// Between two packets of a host: what a figure may be too long by.
const PACE: Duration = Duration::from_millis(2);
/// An arrival that is later has been delayed.
const LATE: Duration = Duration::from_millis(60);
/// How long faults are in force, and how long everything is left alone after that.
const HOLD: Duration = Duration::from_millis(120);
const REST: Duration = Duration::from_millis(120);
/// p99 of either.
const BAR: f64 = 50.0;

fn fault(number: usize) -> (Arc<dyn AnyFault>, Json) {
    let launcher = Launcher::of_program(env!("CARGO_BIN_EXE_squall-stressor"));
    match number % 5 {
        0 => (Arc::new(partition::Partition::with(launcher)), json!({})),
        1 => (Arc::new(loss::NetworkLoss::with(launcher)), json!({ "percent": "100%" })),
        2 => (Arc::new(latency::Latency::with(launcher)), json!({ "delay": "100ms", "mechanism": "nfqueue" })),
        3 => (Arc::new(reject::NetworkReject::with(launcher)), json!({})),
        _ => (Arc::new(duplicate::Duplicate::with(launcher)), json!({ "percent": "100%", "mechanism": "nfqueue" })),
    }
}

/// One packet.
#[derive(Debug, Clone, Copy)]
struct Packet {
    sent: Duration,
    copies: u32,
    took: Duration,
}

impl Packet {
    fn is_affected(self) -> bool {
        self.copies != 1 || self.took > LATE
    }
}

/// Packets of every host, for as long as it is there.
struct Watch {
    packets: Arc<[Mutex<Vec<Packet>>]>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn start(hosts: &[Host], sink: &Host) -> Self {
        let packets: Arc<[Mutex<Vec<Packet>>]> = hosts.iter().map(|_| Mutex::default()).collect();
        let receiver = sink.within(|| UdpSocket::bind(sink.socket(Family::V4, 0)).expect("a socket"));
        let to = receiver.local_addr().expect("bound");
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, 16 << 20);
        receiver.set_read_timeout(Some(10 * MS)).expect("a time limit");
        let senders: Vec<UdpSocket> = hosts
            .iter()
            .map(|host| {
                let socket = host.within(|| UdpSocket::bind(host.socket(Family::V4, 0)).expect("a socket"));
                socket.set_nonblocking(true).expect("a mode");
                socket
            })
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let sends = {
            let (packets, stop) = (packets.clone(), stop.clone());
            move || {
                let mut next = monotonic();
                while !stop.load(Ordering::Relaxed) {
                    for (number, socket) in senders.iter().enumerate() {
                        let sequence = {
                            let mut list = packets[number].lock().expect("whole");
                            list.push(Packet { sent: monotonic(), copies: 0, took: Duration::ZERO });
                            list.len() - 1
                        };
                        let bytes = [(number as u64).to_be_bytes(), (sequence as u64).to_be_bytes()];
                        // What a refusal says of an earlier one keeps this one from being sent.
                        if socket.send_to(bytes.as_flattened(), to).is_err() {
                            let _ = socket.send_to(bytes.as_flattened(), to);
                        }
                    }
                    next = (next + PACE).max(monotonic());
                    sleep_until_monotonic(next);
                }
            }
        };
        let receives = {
            let (packets, stop) = (packets.clone(), stop.clone());
            move || {
                let mut bytes = [[0; 8]; 2];
                while !stop.load(Ordering::Relaxed) {
                    if receiver.recv(bytes.as_flattened_mut()).is_err() {
                        continue;
                    }
                    let [number, sequence] = bytes.map(|b| usize::try_from(u64::from_be_bytes(b)).expect("small"));
                    let mut list = packets[number].lock().expect("whole");
                    let packet = &mut list[sequence];
                    packet.copies += 1;
                    packet.took = if packet.copies == 1 { monotonic() - packet.sent } else { packet.took };
                }
            }
        };
        let threads = vec![std::thread::spawn(sends), std::thread::spawn(receives)];
        Self { packets, stop, threads }
    }

    /// How long after `from`, and before `to`, the first packet was sent that is (or is not) affected.
    fn first(&self, host: usize, from: Duration, to: Duration, affected: bool) -> Option<Duration> {
        let list = self.packets[host].lock().expect("whole");
        let within = &list[list.partition_point(|p| p.sent < from)..list.partition_point(|p| p.sent < to)];
        within.iter().find(|packet| packet.is_affected() == affected).map(|packet| packet.sent - from)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// When an injection began and was done, and when its revert began, was done, and its time of rest was over.
type Moments = [Duration; 5];

struct Injector {
    runtime: tokio::runtime::Runtime,
    fault: Arc<dyn AnyFault>,
    args: Json,
    host: Host,
}

impl Injector {
    fn new(number: usize, host: &Host) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (fault, args) = fault(number);
        Self { runtime, fault, args, host: host.clone() }
    }

    fn inject(&self, execution: &Execution) {
        let made = self.runtime.block_on(execution.inject(&self.fault, &self.args, &self.host.target()));
        made.unwrap_or_else(|error| panic!("{}: {error}", self.fault.meta().name));
    }

    fn revert(&self, execution: &Execution) {
        self.runtime.block_on(execution.revert(&self.fault)).expect("reverted");
    }

    /// In and out again, each after everybody else is ready for it.
    fn once(&self, ready: &Barrier) -> Moments {
        let execution = Execution::default();
        ready.wait();
        let begin = monotonic();
        self.inject(&execution);
        let in_force = monotonic();
        ready.wait();
        std::thread::sleep(HOLD);
        ready.wait();
        let end = monotonic();
        self.revert(&execution);
        let over = monotonic();
        ready.wait();
        std::thread::sleep(REST);
        [begin, in_force, end, over, monotonic()]
    }
}

/// What was measured, in milliseconds: until the effect, until the injection said so, until healed, until the revert said so.
#[derive(Default)]
struct Times([Vec<f64>; 4]);

impl Times {
    fn add(&mut self, watch: &Watch, host: usize, moments: Moments) {
        let [begin, in_force, end, over, rested] = moments;
        // What is sent in the last moments has not arrived yet.
        let effect = watch.first(host, begin, end, true).unwrap_or_else(|| panic!("host {host}: no effect"));
        let healed = watch.first(host, end, rested - LATE, false).unwrap_or_else(|| panic!("host {host}: not healed"));
        for (list, took) in self.0.iter_mut().zip([effect, in_force - begin, healed, over - end]) {
            list.push(took.as_secs_f64() * 1e3);
        }
    }

    /// Shows them; whether the bar is met.
    #[expect(clippy::print_stdout, reason = "what a measurement is for")]
    fn tell(self, what: &str) -> bool {
        let names = ["first affected packet", "injected", "first unaffected packet", "reverted"];
        let mut met = true;
        for (list, (name, judged)) in self.0.into_iter().zip(names.into_iter().zip([true, false, true, false])) {
            let list = sorted(list);
            let p99 = quantile(&list, 0.99);
            let (count, median, most) = (list.len(), quantile(&list, 0.5), quantile(&list, 1.0));
            let verdict = if !judged {
                ""
            } else if p99 <= BAR {
                ", ok"
            } else {
                ", MISSED"
            };
            println!("{what}: {name}: p50 {median:.1} ms, p99 {p99:.1} ms, most {most:.1} ms of {count}{verdict}");
            met &= !judged || p99 <= BAR;
        }
        met
    }
}

#[test]
fn effect_and_healing_come_soon() {
    let full = std::env::var("SQUALL_TEST_SIZE").as_deref() == Ok("full");
    let runs = if full { 200 } else { 2 };
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..HOSTS).map(|number| lab.host(&format!("h{number}"))).collect();
    let sink = lab.host("sink");
    let watch = Watch::start(&hosts, &sink);
    let injectors: Vec<Injector> = hosts.iter().enumerate().map(|(number, host)| Injector::new(number, host)).collect();
    let mut met = true;

    let mut together = Times::default();
    for moments in at_once(&injectors, runs) {
        for (host, moments) in moments.into_iter().enumerate() {
            together.add(&watch, host, moments);
        }
    }
    met &= together.tell("20 at the same moment");

    // The others stay in force.
    let (beside, own) = (&injectors[1..], &injectors[0]);
    let executions: Vec<Execution> = beside.iter().map(|_| Execution::default()).collect();
    for (injector, execution) in beside.iter().zip(&executions) {
        injector.inject(execution);
    }
    let (mut one, alone) = (Times::default(), Barrier::new(1));
    for _ in 0..runs {
        one.add(&watch, 0, own.once(&alone));
    }
    for (injector, execution) in beside.iter().zip(&executions) {
        injector.revert(execution);
    }
    met &= one.tell("1 beside 19 in force");
    assert!(met || !full, "p99 is to be at most {BAR} ms");
}

/// Everything on every host at the same moment, so many times.
fn at_once(injectors: &[Injector], runs: usize) -> Vec<Vec<Moments>> {
    let ready = Barrier::new(injectors.len());
    let each: Vec<Vec<Moments>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            injectors.iter().map(|injector| scope.spawn(|| (0..runs).map(|_| injector.once(&ready)).collect::<Vec<_>>())).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    (0..runs).map(|run| each.iter().map(|moments| moments[run]).collect()).collect()
}
