//! The shaper between two hosts: what it does to real packets, on their way out and in, over IPv4 and IPv6.

use std::io::PipeWriter;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use squall_faults::network::emulate::table;
use squall_faults::network::shaper::{self, ShaperCount, ShaperCounters};
use squall_faults::network::{Delay, Distribution, Loss, Rate, Reorder, Shape, Share};
use squall_sys::cpu_time::{monotonic, this_thread};
use squall_sys::nft::{Base, Chain, ChainKind, Expression, Hook, Owned, Rule, Table};
use squall_testkit::eventually;
use squall_testkit::net::probe::{Bulk, Flood, Journey, Train, connect};
use squall_testkit::net::statistics::{binomial_interval, ks, ks_critical, mean, quantile, table_cdf, uniform_cdf};
use squall_testkit::net::{Family, Host, Lab};
use squall_undo::Armed;

const MS: Duration = Duration::from_millis(1);
/// What the shaper's own packets carry.
const MARK: u32 = 0x5155_0001;
const UDP: u8 = 17;
const TCP: u8 = 6;

fn go() -> Armed {
    Armed::received(b"go").expect("the line that hands a token over")
}

/// A shaper on a host.
struct Line {
    counters: Arc<ShaperCounters>,
    table: Option<Owned>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<Result<Duration, String>>>,
    /// CPU time of the shaper, once it has ended.
    used: Duration,
}

impl Line {
    /// For what the host sends (or receives) with that protocol.
    fn start(host: &Host, hook: Hook, protocol: u8, shape: &Shape) -> Self {
        let counters = Arc::new(ShaperCounters::default());
        let (stopped, stop) = std::io::pipe().expect("a pipe");
        let queue = host.within(|| shaper::open(&go(), 7, shape).expect("a queue"));
        let thread = std::thread::spawn({
            let (host, shape, counters) = (host.clone(), shape.clone(), Arc::clone(&counters));
            move || host.within(|| shaper::run(&go(), queue, &shape, &|_| MARK, stopped.as_fd(), &counters).map(|()| this_thread()))
        });
        let rule = |expressions| Rule { expressions, comment: String::new() };
        let rules = vec![
            rule(vec![Expression::Mark(MARK), Expression::Accept]),
            rule(vec![Expression::Protocol(vec![protocol]), Expression::Queue { number: 7, bypass: false }]),
        ];
        let base = Some(Base { hook, priority: -150, kind: ChainKind::Filter });
        let table = Table { name: "squall-shaper-test".into(), sets: vec![], chains: vec![Chain { name: "line".into(), base, rules }] };
        let table = host.within(|| Owned::create(&go(), &table).expect("a table"));
        Self { counters, table: Some(table), stop: Some(stop), thread: Some(thread), used: Duration::ZERO }
    }

    /// Ends it: the rules first, then the shaper, and the table last: the kernel drops what waits in queues as a chain goes. What
    /// it counted.
    fn end(&mut self) -> ShaperCount {
        if let Some(table) = &mut self.table {
            table.disarm(&go()).expect("disarmed");
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            self.used = thread.join().expect("no panic").expect("no error");
        }
        if let Some(table) = self.table.take() {
            table.remove(&go()).expect("removed");
        }
        self.counters.read()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        drop(self.table.take());
        drop(self.stop.take());
    }
}

fn share(probability: f64) -> Share {
    Share { probability, correlation: 0.0 }
}

fn delay(base: Duration) -> Shape {
    jittered(base, Duration::ZERO, Distribution::Uniform)
}

fn jittered(base: Duration, jitter: Duration, distribution: Distribution) -> Shape {
    Shape { delay: Some(Delay { base, jitter, correlation: 0.0, distribution }), limit: 20_000, seed: 11, ..Shape::default() }
}

/// A train from `a` to `b` through a shaper at the one or the other end.
fn through(shape: &Shape, hook: Hook, family: Family, train: &Train) -> (Journey, ShaperCount) {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    let mut line = Line::start(if hook == Hook::Input { &b } else { &a }, hook, UDP, shape);
    let journey = train.run(&a, &b, family);
    let count = line.end();
    assert_eq!((count.kernel_dropped, count.unsent, count.held), (0, 0, 0), "{count:?}");
    (journey, count)
}

fn cases() -> impl Iterator<Item = (Hook, Family)> {
    [Hook::Output, Hook::Input].into_iter().flat_map(|hook| Family::BOTH.map(|family| (hook, family)))
}

#[test]
fn packets_are_late_by_the_delay_and_none_is_lost() {
    for (hook, family) in cases() {
        for base in [10, 100, 500] {
            let (journey, count) = through(&delay(base * MS), hook, family, &Train::new(1000, 1000.0));
            let delays = journey.delays();
            let base = f64::from(base);
            assert!(journey.lost().is_empty() && journey.duplicates() == 0 && journey.damaged == 0 && journey.refused.is_none());
            assert!(journey.overtakers() == 0, "{hook:?} {family:?}: order is kept");
            // How exactly is measured below, where nothing else runs.
            assert!(delays[0] >= base && quantile(&delays, 0.5) < base + 20.0, "{hook:?} {family:?} {base}: {:?}", quantile(&delays, 0.5));
            assert_eq!((count.seen, count.delayed), (1000, 1000));
        }
    }
}

#[test]
#[ignore = "a measurement: run it where nothing else runs, with --nocapture"]
fn delays_are_within_a_millisecond_and_the_last_hundredth_within_five() {
    for (hook, family) in cases() {
        for base in [0, 10, 100, 500] {
            let (journey, _) = through(&delay(base * MS), hook, family, &Train::new(10_000, 1000.0));
            let errors: Vec<f64> = journey.delays().iter().map(|delay| delay - f64::from(base)).collect();
            let at = |share| quantile(&errors, share);
            let (median, late) = (at(0.5), at(0.99));
            println!("{hook:?} {family:?} {base} ms: median +{median:.3} ms, p99 +{late:.3} ms, most +{:.3} ms", at(1.0));
            assert!(errors[0] >= 0.0 && median <= 1.0 && late <= 5.0 && journey.lost().is_empty());
        }
    }
}

const COUNT: u32 = 10_000;

/// Sends packets through the shape of each probability, at both ends and over both families, and gives what became of them.
fn shares(shape: impl Fn(Share) -> Shape, check: impl Fn(&Journey, &ShaperCount) -> u64) {
    for (hook, family) in cases() {
        for probability in [0.01, 0.1, 0.5] {
            let shape = Shape { limit: 20_000, seed: 5, ..shape(share(probability)) };
            let (journey, count) = through(&shape, hook, family, &Train::new(COUNT, 10_000.0).grace(100 * MS));
            let happened = check(&journey, &count);
            let (least, most) = binomial_interval(COUNT, probability);
            assert!((u64::from(least)..=most.into()).contains(&happened), "{hook:?} {family:?} {probability}: {happened}");
        }
    }
}

#[test]
fn as_many_are_lost_as_asked_for() {
    let shape = |share| Shape { loss: Some(Loss::Random(share)), ..Shape::default() };
    shares(shape, |journey, count| {
        assert_eq!((journey.lost().len() as u64, journey.duplicates(), &journey.refused), (count.lost, 0, &None));
        count.lost
    });
}

#[test]
fn as_many_come_twice_as_asked_for() {
    let shape = |share| Shape { duplicate: Some(share), ..Shape::default() };
    shares(shape, |journey, count| {
        assert_eq!((journey.lost().len(), journey.duplicates() as u64), (0, count.duplicated));
        count.duplicated
    });
}

#[test]
fn as_many_are_corrupted_as_asked_for_and_the_receivers_kernel_finds_them() {
    let shape = |share| Shape { corrupt: Some(share), ..Shape::default() };
    shares(shape, |journey, count| {
        assert_eq!((journey.lost().len() as u64, journey.duplicates()), (count.corrupted, 0));
        // By the checksum, which is wrong now. Where the length was hit, it may be by that.
        assert_eq!(journey.damaged, count.corrupted);
        count.corrupted
    });
}

#[test]
fn packets_overtake_and_losses_come_in_bursts_as_often_as_asked_for() {
    for (hook, family) in cases() {
        let reorder = Some(Reorder { share: share(0.25), gap: 1 });
        let (journey, count) = through(&Shape { reorder, ..delay(10 * MS) }, hook, family, &Train::new(COUNT, 5000.0));
        let (least, most) = binomial_interval(COUNT, 0.25);
        assert!((u64::from(least)..=most.into()).contains(&count.reordered), "{count:?}");
        // The first ten milliseconds have nobody before them to overtake.
        assert!(journey.overtakers().abs_diff(usize::try_from(count.reordered).expect("few")) < 60, "{} {count:?}", journey.overtakers());
        let loss = Some(Loss::GilbertElliott { p: 0.05, r: 0.25, bad: 1.0, good: 0.0 });
        let (journey, _) = through(&Shape { loss, seed: 3, ..Shape::default() }, hook, family, &Train::new(COUNT, 5000.0).grace(100 * MS));
        let bursts: Vec<f64> = journey.bursts().into_iter().map(f64::from).collect();
        assert!((mean(&bursts) / 4.0 - 1.0).abs() < 0.1, "{}", mean(&bursts));
    }
}

#[test]
fn jitter_follows_its_distribution() {
    let distributions = [Distribution::Uniform, Distribution::Normal, Distribution::Pareto, Distribution::ParetoNormal];
    for (distribution, (hook, family)) in distributions.into_iter().zip(cases()) {
        let train = Train::new(5000, 2000.0);
        let (journey, _) = through(&jittered(400 * MS, 80 * MS, distribution.clone()), hook, family, &train);
        let delays = journey.delays();
        let extra: Vec<f64> = delays.iter().map(|delay| (delay - 400.0) / 80.0).collect();
        let distance = match table(&distribution) {
            None => ks(&extra, uniform_cdf),
            Some(table) => ks(&extra, table_cdf(&table)),
        };
        // Twice what a quiet machine is held to: others may run beside this.
        assert!(distance < 2.0 * ks_critical(extra.len()), "{distribution:?}: {distance}");
    }
}

#[test]
fn no_more_passes_than_the_rate() {
    for (hook, family) in cases() {
        for bytes_per_second in [125_000_u32, 6_250_000] {
            let lab = Lab::new();
            let (a, b) = (lab.host("a"), lab.host("b"));
            let rate = Some(Rate { bytes_per_second: bytes_per_second.into(), burst: 15_000 });
            let host = if hook == Hook::Input { &b } else { &a };
            let mut line = Line::start(host, hook, UDP, &Shape { rate, limit: 50, ..Shape::default() });
            let flood = Flood { bytes_per_second: f64::from(bytes_per_second) * 1.3, lasting: 3000 * MS, warm_up: 500 * MS };
            let got = flood.run(&a, &b, family);
            let count = line.end();
            println!("{hook:?} {family:?} {bytes_per_second} B/s: {got:.0} B/s");
            assert!((got / f64::from(bytes_per_second) - 1.0).abs() < 0.03, "{hook:?} {family:?} {bytes_per_second}: {got}");
            assert!(count.over_limit > 0 && count.most_held <= 50 && count.kernel_dropped == 0, "{count:?}");
        }
    }
}

#[test]
fn what_is_held_goes_on_at_once_when_it_ends() {
    for (hook, family) in cases() {
        let lab = Lab::new();
        let (a, b) = (lab.host("a"), lab.host("b"));
        // The hosts know each other: what waits for an address to be looked up is a few packets at the most, and here come many.
        assert!(Train::new(1, 1000.0).run(&a, &b, family).lost().is_empty());
        let mut line = Line::start(if hook == Hook::Input { &b } else { &a }, hook, UDP, &delay(Duration::from_hours(1)));
        let begin = monotonic();
        let journey = std::thread::scope(|scope| {
            let journey = scope.spawn(|| Train::new(500, 5000.0).grace(Duration::from_secs(30)).run(&a, &b, family));
            eventually("all are held", || line.counters.read().held == 500);
            let count = line.end();
            assert_eq!((count.seen, count.held, count.unsent), (500, 0, 0));
            journey.join().expect("runs")
        });
        let (lost, twice, overtakers) = (journey.lost(), journey.duplicates(), journey.overtakers());
        assert_eq!((lost, twice, overtakers), (vec![], 0, 0), "{hook:?} {family:?}");
        assert!(monotonic() - begin < Duration::from_secs(20));
    }
}

#[test]
fn the_loopback_interface_is_a_line_too() {
    for family in Family::BOTH {
        let lab = Lab::new();
        let host = lab.host("alone");
        let shape = Shape { corrupt: Some(share(0.2)), duplicate: Some(share(0.1)), ..delay(50 * MS) };
        let mut line = Line::start(&host, Hook::Output, UDP, &shape);
        let journey = Train::new(1000, 2000.0).grace(200 * MS).run(&host, &host, family);
        let count = line.end();
        assert!(count.seen == 1000 && count.unsent == 0, "{family:?}: {count:?}");
        assert!(journey.delays().first().is_some_and(|least| *least >= 50.0), "{family:?}: {count:?} {}", host.counter("Udp", "InErrors"));
        assert_eq!((journey.damaged, journey.arrivals.len() as u64), (count.corrupted, 1000 + count.duplicated - count.corrupted));
    }
}

#[test]
fn datagrams_that_are_longer_than_the_line_takes_are_late_too() {
    for (hook, family) in cases() {
        let (journey, count) = through(&delay(50 * MS), hook, family, &Train::new(200, 1000.0).size(8000));
        assert!(journey.lost().is_empty() && journey.delays()[0] >= 50.0, "{hook:?} {family:?}: {count:?}");
        // IPv6 puts fragments together behind the hook input.
        let pieces = if (hook, family) == (Hook::Input, Family::V6) { 6 } else { 1 };
        assert_eq!(count.delayed, 200 * pieces, "{hook:?} {family:?}");
    }
}

#[test]
fn a_tcp_stream_keeps_its_bandwidth_when_it_is_delayed() {
    for family in Family::BOTH {
        let lab = Lab::new();
        let (a, b) = (lab.host("a"), lab.host("b"));
        let mut line = Line::start(&a, Hook::Output, TCP, &delay(50 * MS));
        let got = Bulk { lasting: Duration::from_secs(3) }.run(&a, &b, family) * 8e-6;
        let count = line.end();
        println!("{family:?}, 50 ms: {got:.0} Mbit/s, {count:?}");
        // Held within its own send buffer, a stream would have some 2 Mbit/s.
        assert!(got > 20.0, "{family:?}: {got} Mbit/s");
    }
}

#[test]
fn a_connection_is_late_once_and_works_through_every_kind_of_trouble() {
    for (hook, family) in cases() {
        let lab = Lab::new();
        let (a, b) = (lab.host("a"), lab.host("b"));
        let shape = Shape {
            loss: Some(Loss::Random(share(0.01))),
            duplicate: Some(share(0.05)),
            corrupt: Some(share(0.01)),
            reorder: Some(Reorder { share: share(0.05), gap: 1 }),
            ..jittered(5 * MS, MS, Distribution::Normal)
        };
        let mut line = Line::start(if hook == Hook::Input { &b } else { &a }, hook, TCP, &shape);
        let got = Bulk { lasting: Duration::from_secs(2) }.run(&a, &b, family);
        let count = line.end();
        assert!(got > 10_000.0 && count.corrupted > 0 && count.duplicated > 0 && count.lost > 0, "{hook:?} {family:?}: {got} {count:?}");
        let listener = b.within(|| std::net::TcpListener::bind(b.socket(family, 0)).expect("a listener"));
        let mut line = Line::start(if hook == Hook::Input { &b } else { &a }, hook, TCP, &delay(100 * MS));
        let (_, took) = connect(&a, listener.local_addr().expect("bound"), Duration::from_secs(10)).expect("connects");
        line.end();
        assert!((100 * MS..300 * MS).contains(&took), "{hook:?} {family:?}: {took:?}");
    }
}

#[test]
#[ignore = "a measurement: run it where nothing else runs, with --nocapture"]
fn so_much_goes_through_it() {
    for (hook, name) in [(None, "no queue"), (Some(Hook::Output), "out"), (Some(Hook::Input), "in")] {
        let kinds = [(0, 0), (20, 0), (100, 20)];
        for (base, jitter) in kinds {
            let shape = jittered(base * MS, jitter * MS, Distribution::Normal);
            let lab = Lab::new();
            let (a, b) = (lab.host("a"), lab.host("b"));
            let start = |protocol| hook.map(|hook| Line::start(if hook == Hook::Input { &b } else { &a }, hook, protocol, &shape));
            let line = start(TCP);
            let mbit = Bulk { lasting: Duration::from_secs(5) }.run(&a, &b, Family::V4) * 8e-6;
            let count = line.map(|mut line| line.end()).unwrap_or_default();
            println!("{name}, {base} ± {jitter} ms: TCP {mbit:.0} Mbit/s, {count:?}");
            let Some(mut line) = start(UDP) else { continue };
            let took = blast(&a, &b);
            let rate = line.counters.read().seen as f64 / took;
            let count = line.end();
            let each = line.used.as_secs_f64() * 1e6 / count.seen as f64;
            println!("{name}, {base} ± {jitter} ms: UDP {rate:.0} packets/s, {each:.2} µs of the shaper's CPU time for each, {count:?}");
        }
    }
}

/// Short datagrams for three seconds, as fast as one thread can, to somebody who does not read. How long it took, in seconds.
fn blast(from: &Host, to: &Host) -> f64 {
    let deaf = to.within(|| std::net::UdpSocket::bind(to.socket(Family::V4, 0)).expect("a socket"));
    let address = deaf.local_addr().expect("bound");
    let socket = from.within(|| std::net::UdpSocket::bind((Family::V4.unspecified(), 0)).expect("a socket"));
    let begin = monotonic();
    while monotonic() < begin + 3000 * MS {
        for _ in 0..100 {
            let _ = socket.send_to(&[0; 64], address);
        }
    }
    (monotonic() - begin).as_secs_f64()
}
