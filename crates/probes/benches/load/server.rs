//! A server that answers after an exact time, and keeps a record of how long it really took.

use std::cell::{Cell, RefCell};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use squall_probes::Pacer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::now;

struct State {
    delay: Duration,
    stalled_until: Cell<Duration>,
    /// When the last answer was written to a request that was read during a stall.
    last_late: Cell<Duration>,
    record: RefCell<Histogram<u64>>,
    waiting: mpsc::UnboundedSender<(Duration, oneshot::Sender<()>)>,
}

/// Serves until its standard input closes.
pub fn main(delay: u64) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let (waiting, timer) = mpsc::unbounded_channel();
        tokio::task::spawn_local(answer_in_time(timer));
        let record = RefCell::new(Histogram::new(3).expect("a histogram"));
        let state = Rc::new(State {
            delay: Duration::from_micros(delay),
            stalled_until: Cell::default(),
            last_late: Cell::default(),
            record,
            waiting,
        });
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::task::spawn_local(serve(stream, state.clone()));
            }
        });
        let _ = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await;
    });
    ExitCode::SUCCESS
}

/// Deadlines come in order, as the delay is the same for all: one timer is enough.
async fn answer_in_time(mut waiting: mpsc::UnboundedReceiver<(Duration, oneshot::Sender<()>)>) {
    let pacer = Pacer::new().expect("a timer");
    while let Some((deadline, sender)) = waiting.recv().await {
        let left = deadline.saturating_sub(now());
        pacer.sleep(left).await.expect("a timer");
        let _ = sender.send(());
    }
}

async fn serve(mut stream: TcpStream, state: Rc<State>) {
    let mut buffer = Vec::with_capacity(4096);
    loop {
        buffer.clear();
        while !buffer.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let start = now();
        if buffer.starts_with(b"GET / ") {
            let deadline = (start + state.delay).max(state.stalled_until.get());
            if deadline > start {
                let (sender, receiver) = oneshot::channel();
                if state.waiting.send((deadline, sender)).is_err() || receiver.await.is_err() {
                    return;
                }
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                return;
            }
            let (written, backlog) = (now(), state.stalled_until.get());
            if start < backlog && written >= backlog {
                state.last_late.set(written);
            }
            let took = u64::try_from(written.saturating_sub(start).as_micros()).unwrap_or(u64::MAX);
            state.record.borrow_mut().saturating_record(took.max(1));
        } else {
            let body = control(&buffer, &state);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
    }
}

fn control(request: &[u8], state: &State) -> String {
    let mut record = state.record.borrow_mut();
    if request.starts_with(b"GET /reset ") {
        record.reset();
    } else if request.starts_with(b"GET /stall ") {
        state.stalled_until.set(now() + Duration::from_secs(1));
    }
    let seconds = |q: f64| record.value_at_quantile(q) as f64 / 1e6;
    let drain = state.last_late.get().saturating_sub(state.stalled_until.get());
    format!("{} {} {} {}", record.len(), seconds(0.5), seconds(0.99), drain.as_secs_f64())
}
