//! Bar: at most 1 µs a request while no fault is set.
//!
//! `cargo bench -p squall-tower --bench middleware` calls a service with and without the layer, in turns, and gives the median of
//! the rounds for a request each. Exits with 1 when the bar is missed.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use rustix::time::{ClockId, clock_gettime};
use squall_tower::{Failure, Faults, Setting, file};
use tower::{Layer, Service};

const ROUNDS: usize = 41;
const REQUESTS: u32 = 100_000;

/// Answers at once: what is measured is not the service.
#[derive(Clone)]
struct Bare;

impl Service<Request<String>> for Bare {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        ready(Ok(Response::new(request.into_body())))
    }
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Nanoseconds a request.
fn round<S>(service: &mut S) -> f64
where
    S: Service<Request<String>, Response = Response<String>, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let from = now();
    for _ in 0..REQUESTS {
        let request = Request::get("http://checkout/cart/3").body(String::new()).expect("a request");
        assert!(service.poll_ready(&mut cx).is_ready());
        let Poll::Ready(answer) = pin!(service.call(request)).poll(&mut cx) else { panic!("it answers at once") };
        black_box(&answer);
    }
    (now() - from).as_secs_f64() * 1e9 / f64::from(REQUESTS)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// The bare service's and the layered one's time, and the median of their differences round by round.
fn compare(faults: &Faults) -> (f64, f64, f64) {
    let (mut bare, mut layered) = (Bare, faults.layer().layer(Bare));
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (round(&mut bare), round(&mut layered))).collect();
    let of = |pick: fn(&(f64, f64)) -> f64| median(rounds.iter().map(pick).collect());
    (of(|r| r.0), of(|r| r.1), of(|r| r.1 - r.0))
}

fn line(what: &str, (bare, layered, extra): (f64, f64, f64)) {
    println!("{what:<44} {bare:>7.1} ns {layered:>7.1} ns {extra:>7.1} ns more   {:.3}", layered / bare);
}

/// A fault that no request of the bench is meant by.
fn elsewhere(id: &str) -> Setting {
    Setting {
        version: Setting::VERSION,
        id: id.into(),
        service: "checkout".into(),
        paths: vec!["/products/*".into()],
        methods: Vec::new(),
        points: Vec::new(),
        latency: None,
        failure: Some(Failure { rate: 1.0, status: 503 }),
        seed: 1,
        deadline: u64::MAX,
    }
}

fn taken(directory: &std::path::Path, id: &str) {
    while !file::look(directory, id).expect("looked at").is_some_and(|standing| standing.taken) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn main() -> ExitCode {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path().join("faults");
    let faults = Faults::watch_in("checkout", [directory.clone()]);
    println!("{:<44} {:>10} {:>10}", "", "bare", "layered");
    let none = compare(&faults);
    line("no fault is set", none);
    let held: Vec<_> = (0..10).map(|n| file::publish(&directory, &elsewhere(&format!("squall-r-{n}"))).expect("set")).collect();
    (0..10).for_each(|n| taken(&directory, &format!("squall-r-{n}")));
    line("10 faults are set, for other paths", compare(&faults));
    drop(held);
    let good = none.2 <= 1_000.0;
    println!("at most 1 µs more while no fault is set: {}", if good { "ok" } else { "MISSED" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
