//! A worker: one thread with one event loop, which accepts for every proxy and keeps what it has accepted.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::connection::Connection;
use super::layers::Layers;
use super::route::Shared;
use super::unread::Unread;
use crate::address::{Address, original_destination};
use crate::events::Happened;
use crate::http;
use crate::relay::{Relay, Toxed};
use crate::socket::Socket;
use crate::time;
use crate::tls::{self, Bridged, Facts, TlsError};

/// After a failure to accept (no descriptor left), until the next try.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two looks at memory that may be given back.
const SHRINK: Duration = Duration::from_secs(1);

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Command {
    ListenTcp(Arc<Shared>, std::net::TcpListener),
    ListenUnix(Arc<Shared>, std::os::unix::net::UnixListener),
    /// The proxy's toxics changed: wake its connections.
    Changed(Arc<Shared>),
    /// Drop the proxy's listener and connections, and say when that is done.
    Close(Arc<Shared>, mpsc::Sender<()>),
    Stop,
}

/// The handle to a worker's thread.
#[derive(Debug)]
pub(super) struct Worker {
    commands: UnboundedSender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    pub(super) fn start(number: usize) -> io::Result<Self> {
        let (commands, receiver) = unbounded_channel();
        let (started, has_started) = mpsc::channel();
        let run = move || {
            // It cannot leave the thread that it is made on.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            // Whoever starts a worker waits for this.
            let _ = started.send(Ok(()));
            runtime.block_on(obey(receiver));
        };
        let thread = std::thread::Builder::new().name(format!("proxy-{number}")).spawn(run)?;
        has_started.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended at once")))?;
        Ok(Self { commands, thread: Mutex::new(Some(thread)) })
    }

    /// A worker that has ended has nothing to do any more.
    pub(super) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    pub(super) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // One that panicked has said so on standard error.
        let _ = thread.map(JoinHandle::join);
    }
}

/// The connections of one proxy on this worker.
#[derive(Debug, Default)]
pub(crate) struct Open {
    wakers: RefCell<HashMap<u64, Waker>>,
    tasks: RefCell<HashMap<u64, AbortHandle>>,
    next_task: Cell<u64>,
}

impl Open {
    pub(super) fn wake_on_change(&self, connection: u64, waker: &Waker) {
        self.wakers.borrow_mut().insert(connection, waker.clone());
    }

    pub(super) fn forget(&self, connection: u64) {
        self.wakers.borrow_mut().remove(&connection);
    }

    pub(super) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let number = self.next_task.get();
        self.next_task.set(number + 1);
        let open = self.clone();
        let handle = tokio::task::spawn_local(async move {
            task.await;
            open.tasks.borrow_mut().remove(&number);
        });
        self.tasks.borrow_mut().insert(number, handle.abort_handle());
    }

    fn wake_all(&self) {
        // Each is forgotten when its connection ends, which a wake alone never does.
        self.wakers.borrow().values().for_each(Waker::wake_by_ref);
    }

    fn abort_all(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        for task in tasks.into_values() {
            task.abort();
        }
    }
}

struct Listener {
    shared: Arc<Shared>,
    open: Rc<Open>,
    task: tokio::task::JoinHandle<()>,
}

/// Gives back memory after a bulk transfer through toxics.
async fn shrink() {
    while time::sleep(SHRINK).await.is_ok() {
        crate::relay::shrink();
    }
}

async fn obey(mut commands: UnboundedReceiver<Command>) {
    tokio::task::spawn_local(shrink());
    let mut listeners: Vec<Listener> = Vec::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::ListenTcp(shared, listener) => {
                let open = Rc::<Open>::default();
                let task = tokio::task::spawn_local(accept_tcp(shared.clone(), open.clone(), listener));
                listeners.push(Listener { shared, open, task });
            }
            Command::ListenUnix(shared, listener) => {
                let open = Rc::<Open>::default();
                let task = tokio::task::spawn_local(accept_unix(shared.clone(), open.clone(), listener));
                listeners.push(Listener { shared, open, task });
            }
            Command::Changed(shared) => {
                for listener in listeners.iter().filter(|l| Arc::ptr_eq(&l.shared, &shared)) {
                    listener.open.wake_all();
                }
            }
            Command::Close(shared, done) => {
                let (closed, kept) = listeners.into_iter().partition(|l| Arc::ptr_eq(&l.shared, &shared));
                listeners = kept;
                close(closed).await;
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
            Command::Stop => break,
        }
    }
    close(listeners).await;
}

async fn close(listeners: Vec<Listener>) {
    for listener in listeners {
        listener.task.abort();
        // It ends with the abort, and its socket with it.
        let _ = listener.task.await;
        listener.open.abort_all();
    }
}

async fn accept_tcp(shared: Arc<Shared>, open: Rc<Open>, listener: std::net::TcpListener) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, client)) => start(&shared, &open, Socket::Tcp(stream), Some(client)),
            Err(error) => pause(&shared, &error).await,
        }
    }
}

async fn accept_unix(shared: Arc<Shared>, open: Rc<Open>, listener: std::os::unix::net::UnixListener) {
    let Ok(listener) = tokio::net::UnixListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => start(&shared, &open, Socket::Unix(stream), None),
            Err(error) => pause(&shared, &error).await,
        }
    }
}

/// Connections wait in the kernel until one of ours has ended and left its descriptors.
async fn pause(shared: &Shared, error: &io::Error) {
    shared.cannot_accept(error);
    if time::sleep(PAUSE).await.is_err() {
        // Not even a timer: others go on, and may close something.
        tokio::task::yield_now().await;
    }
}

fn start(shared: &Arc<Shared>, open: &Rc<Open>, client: Socket, from: Option<SocketAddr>) {
    let original = match &client {
        Socket::Tcp(stream) if shared.upstream == Address::Original => original_destination(stream),
        _ => None,
    };
    let connection = Connection::new(shared.clone(), open.clone(), original);
    connection.record_with(|| Happened::Opened { client: from.map_or_else(|| "unix".to_owned(), |address| address.to_string()) });
    open.spawn(serve(connection, client, from.map(|address| address.ip())));
}

async fn serve(connection: Rc<Connection>, client: Socket, from: Option<IpAddr>) {
    let layers = connection.shared().layers();
    if !layers.is_plain() {
        return Box::pin(serve_layers(connection, layers, client, from)).await;
    }
    // In a box of its own, so that a connection that is open does not carry the room that connecting took.
    if let Some(upstream) = Box::pin(connect(&connection)).await {
        let upstream = Unread::new(connection.clone(), from, upstream);
        Relay::new(connection, client, upstream).await;
    }
}

/// The upstream, or a record of why not.
async fn connect(connection: &Connection) -> Option<Socket> {
    match connection.connect().await {
        Ok(upstream) => Some(upstream),
        Err(error) => {
            connection.unreachable(&error);
            None
        }
    }
}

/// A connection of which more than the bytes matters.
async fn serve_layers(connection: Rc<Connection>, layers: Arc<Layers>, client: Socket, from: Option<IpAddr>) {
    let shared = connection.shared().clone();
    let facts = Facts { proxy: &shared.name, connection: connection.number(), client: from, local: client.local(), events: &shared.events };
    let client = Toxed::new(connection.clone(), client);
    let Some(tls) = &layers.tls else {
        return http::serve(connection.clone(), client, from, Upstream::<Socket> { connection, ready: RefCell::default() }).await;
    };
    match tls::bridge(client, tls, &facts, shared.upstream.host(), || connection.connect()).await {
        Ok(Bridged::PassThrough { client, upstream, .. }) => Relay::over_toxed(connection, client, upstream).await,
        Ok(Bridged::Terminated { client, upstream, alpn, .. }) if layers.http.is_some() => {
            let upstream = Upstream::ready(connection.clone(), upstream);
            match alpn.as_deref() {
                Some(b"h2") => Box::pin(http::serve_two(connection, client, from, upstream)).await,
                _ => http::serve(connection, client, from, upstream).await,
            }
        }
        Ok(Bridged::Terminated { client, upstream, .. }) => Relay::over_toxed(connection, client, upstream).await,
        Err(TlsError::Upstream(error)) => connection.unreachable(&error),
        Err(error) => connection.because(error.to_string()),
    }
}

/// The upstream of an HTTP connection: one that is there already, or one to be connected to.
pub(super) struct Upstream<S> {
    connection: Rc<Connection>,
    ready: RefCell<Option<S>>,
}

impl<S> Upstream<S> {
    pub(super) fn ready(connection: Rc<Connection>, upstream: S) -> Self {
        Self { connection, ready: RefCell::new(Some(upstream)) }
    }
}

impl http::Connect for Upstream<Socket> {
    type Stream = Socket;

    async fn connect(&self) -> Option<Socket> {
        let ready = self.ready.borrow_mut().take();
        if ready.is_some() { ready } else { connect(&self.connection).await }
    }
}

impl http::Connect for Upstream<tls::Upstream<Socket>> {
    type Stream = tls::Upstream<Socket>;

    /// The one that the handshake was made with. There is no second.
    async fn connect(&self) -> Option<Self::Stream> {
        let ready = self.ready.borrow_mut().take();
        if ready.is_none() {
            self.connection.because("the upstream has closed");
        }
        ready
    }
}
