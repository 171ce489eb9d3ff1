//! A clock, a way to ask a probe once, and a server that does exactly what a test tells it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::Value as Json;
use squall_engine::{AnyProbe, BoxFuture, Clock, Measure, ProbeCx};
use squall_model::{Time, Value};
use squall_probes::{LoadGenerator, Pacer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The clock of production.
pub(crate) struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).expect("below a second"))
    }
    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let left = deadline.saturating_sub(self.now());
        Box::pin(async move { Pacer::new().expect("a timer").sleep(left).await.expect("a timer") })
    }
    fn wall(&self) -> String {
        String::new()
    }
}

/// Waits until the condition holds, for 10 s at most.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = BootClock.now() + Duration::from_secs(10);
    while !condition() {
        assert!(BootClock.now() < deadline, "waited too long: {what}");
        pause(5).await;
    }
}

/// Lets so many milliseconds pass between two looks at a condition, or as the time that is to be measured.
pub(crate) async fn pause(millis: u64) {
    BootClock.sleep_until(BootClock.now() + Duration::from_millis(millis)).await;
}

pub(crate) fn cx() -> ProbeCx {
    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    ProbeCx {
        traffic: Arc::new(LoadGenerator::new(clock.clone())),
        clock,
        every: Time::from_secs(1),
        timeout: Time::from_secs(5),
        host: None,
    }
}

pub(crate) fn kind(name: &str) -> Arc<dyn AnyProbe> {
    kind_of(&squall_probes::all(), name)
}

pub(crate) fn kind_of(kinds: &[Arc<dyn AnyProbe>], name: &str) -> Arc<dyn AnyProbe> {
    kinds.iter().find(|kind| kind.meta().name == name).expect("listed").clone()
}

pub(crate) fn open(name: &str, args: &Json) -> Box<dyn Measure> {
    let kind = kind(name);
    assert_eq!(kind.check(args), vec![], "{args}");
    kind.open(args, &cx()).expect("opens")
}

/// Asks once, with a timeout like the engine's.
pub(crate) async fn ask(probe: &mut Box<dyn Measure>) -> Result<Value, String> {
    tokio::time::timeout(Duration::from_secs(10), probe.measure()).await.expect("an answer in time")
}

pub(crate) async fn once(name: &str, args: Json) -> Result<Value, String> {
    ask(&mut open(name, &args)).await
}

pub(crate) async fn number(name: &str, args: Json) -> f64 {
    match once(name, args).await {
        Ok(Value::Number(number)) => number,
        other => panic!("a number, not {other:?}"),
    }
}

pub(crate) async fn error(name: &str, args: Json) -> String {
    once(name, args).await.expect_err("could not measure")
}

/// The hints and messages of the check, as one text.
pub(crate) fn complaints(name: &str, args: &Json) -> String {
    let each = |e: &squall_engine::KindError| format!("{:?} {} {}", e.path, e.message, e.hint.as_deref().unwrap_or(""));
    kind(name).check(args).iter().map(each).collect::<Vec<_>>().join("; ")
}

/// What a scripted server does with a request.
pub(crate) enum Do {
    /// Answers with this, as it is.
    Say(String),
    /// Closes without an answer.
    Close,
    /// Closes with a reset.
    Reset,
    /// Answers, but only when the notification comes.
    SayAfter(String, Arc<tokio::sync::Notify>),
}

/// A plain answer with a body.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Do {
    Do::Say(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()))
}

/// A request as the server saw it.
pub(crate) struct Seen {
    /// Number of its connection, from 0.
    pub(crate) connection: usize,
    /// Number on its connection, from 0.
    pub(crate) on_connection: usize,
    /// Request line and headers, in lower case.
    pub(crate) head: String,
}

type Script = Arc<dyn Fn(&Seen) -> Do + Send + Sync>;

/// A server on loopback that ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Seen) -> Do + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Self { address, requests: Arc::default(), connections: Arc::default() };
        let (requests, connections, script) = (server.requests.clone(), server.connections.clone(), Arc::new(script) as Script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, connection, script.clone(), requests.clone()));
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().expect("not poisoned").len()
    }
}

async fn serve(mut stream: TcpStream, connection: usize, script: Script, requests: Arc<Mutex<Vec<String>>>) {
    stream.set_nodelay(true).expect("a socket");
    let mut buffer = Vec::new();
    for on_connection in 0.. {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        while buffer.len() < end + length {
            assert!(stream.read_buf(&mut buffer).await.expect("a body") > 0);
        }
        let body = String::from_utf8_lossy(&buffer[end..end + length]).into_owned();
        buffer.drain(..end + length);
        requests.lock().expect("not poisoned").push(format!("{head}{body}"));
        let text = match script(&Seen { connection, on_connection, head }) {
            Do::Close => return,
            Do::Reset => {
                stream.set_zero_linger().expect("a socket");
                return;
            }
            Do::Say(text) => text,
            Do::SayAfter(text, moment) => {
                moment.notified().await;
                text
            }
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}
