//! Bar: 200 HTTP probes every second cost at most 5% of one core, and a process with one at most 16 MiB.
//!
//! `cargo bench -p squall-probes --bench http-probes` starts a server in a process of its own, asks it with 200 probes every
//! second for 20 s (`--seconds=N`) over 20 paths, and reads processor time (`getrusage(2)`: user and system, whole process)
//! and resident memory of this process. It also times 200 probes asked once, all at the same time and one after another.
//! Exits with 1 when a bar is missed.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::process::{Child, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::time::{ClockId, clock_gettime};
use squall_engine::{AnyProbe, BoxFuture, Clock, Measure, ProbeCx};
use squall_model::{Time, Value};
use squall_probes::{LoadGenerator, Pacer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PROBES: usize = 200;

struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Duration {
        time(ClockId::Boottime)
    }
    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let left = deadline.saturating_sub(self.now());
        Box::pin(async move { Pacer::new().expect("a timer").sleep(left).await.expect("a timer") })
    }
    fn wall(&self) -> String {
        String::new()
    }
}

fn time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// User and system time of the whole process: what `getrusage(2)` sums, to the nanosecond.
fn processor() -> Duration {
    time(ClockId::ProcessCPUTime)
}

/// Resident memory in MiB: now, and the most that it ever was.
fn memory() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("there");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
    };
    (of("VmRSS:"), of("VmHWM:"))
}

fn serve() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    // Each request of these probes fits into one segment.
                    while stream.read(&mut buffer).await.unwrap_or(0) > 0 {
                        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let _ = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await;
    });
    ExitCode::SUCCESS
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_server() -> (Server, String) {
    #[expect(clippy::disallowed_methods, reason = "the bench's server is a process of its own")]
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    let mut child = command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut address = String::new();
    let output = child.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut address).expect("an address");
    (Server(child), address.trim().to_owned())
}

fn open(kind: &Arc<dyn AnyProbe>, cx: &ProbeCx, address: &str, number: usize) -> Box<dyn Measure> {
    let args = serde_json::json!({ "url": format!("http://{address}/health/{}", number % 20), "measure": "latency" });
    kind.open(&args, cx).expect("opens")
}

async fn ask(probe: &mut Box<dyn Measure>) {
    let answer = probe.measure().await;
    assert!(matches!(answer, Ok(Value::Number(_))), "{answer:?}");
}

fn line(what: &str, is: &str, wanted: &str, good: bool) -> bool {
    println!("{what:<44} {is:>14}   {wanted:<18} {}", if good { "ok" } else { "MISSED" });
    good
}

async fn measure(seconds: u64) -> bool {
    let (_server, address) = start_server();
    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    let cx = ProbeCx {
        clock: clock.clone(),
        traffic: Arc::new(LoadGenerator::new(clock.clone())),
        every: Time::from_secs(1),
        timeout: Time::from_secs(1),
        host: None,
    };
    let kinds = squall_probes::all();
    let kind = kinds.iter().find(|kind| kind.meta().name == "http").expect("listed");
    let mut one = open(kind, &cx, &address, 0);
    ask(&mut one).await;
    let (small, _) = memory();

    let mut probes: Vec<_> = (0..PROBES).map(|number| open(kind, &cx, &address, number)).collect();
    let start = clock.now();
    join_all(probes.iter_mut().map(ask)).await;
    let together = clock.now().saturating_sub(start);
    let start = clock.now();
    for probe in &mut probes {
        ask(probe).await;
    }
    let in_turn = clock.now().saturating_sub(start);

    let (start, before) = (clock.now(), processor());
    for second in 1..=seconds {
        join_all(probes.iter_mut().map(ask)).await;
        clock.sleep_until(start + Duration::from_secs(second)).await;
    }
    let share = processor().saturating_sub(before).as_secs_f64() / clock.now().saturating_sub(start).as_secs_f64();
    let (_, most) = memory();

    println!("{PROBES} probes once: {together:.1?} together (with connecting), {in_turn:.1?} in turn");
    let cost = line("processor time of 200 probes every second", &format!("{:.2}%", share * 100.0), "at most 5%", share <= 0.05);
    let one = line("resident memory with one probe", &format!("{small:.1} MiB"), "at most 16 MiB", small <= 16.0);
    let all = line("most resident memory with 200 probes", &format!("{most:.1} MiB"), "at most 16 MiB", most <= 16.0);
    cost && one && all
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|a| a == "serve") {
        return serve();
    }
    let seconds = arguments.iter().find_map(|a| a.strip_prefix("--seconds=")?.parse().ok()).unwrap_or(20);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    if runtime.block_on(measure(seconds)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
