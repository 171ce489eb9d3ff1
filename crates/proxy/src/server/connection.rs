//! One accepted connection, as everything that works on it knows it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use super::route::Shared;
use super::table::Table;
use super::worker::Open;
use crate::events::Happened;
use crate::socket::Socket;
use crate::toxic::Direction;

/// An accepted connection. When the last one who knows it is gone, it has ended.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    open: Rc<Open>,
    number: u64,
    original: Option<SocketAddr>,
    received: [Cell<u64>; 2],
    because: RefCell<Option<Box<str>>>,
    reset: Cell<bool>,
}

impl Connection {
    /// `original`: where the client wanted to go, if it was redirected here.
    pub(super) fn new(shared: Arc<Shared>, open: Rc<Open>, original: Option<SocketAddr>) -> Rc<Self> {
        let number = shared.opened();
        Rc::new(Self { shared, open, number, original, received: Default::default(), because: RefCell::default(), reset: Cell::new(false) })
    }

    /// Counted from 1 in its proxy.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn toxics(&self) -> Arc<Table> {
        self.shared.toxics()
    }

    pub(crate) fn toxics_version(&self) -> u64 {
        self.shared.toxics_version()
    }

    pub(crate) fn has_toxics(&self) -> bool {
        self.toxics_version() > 0 && !self.toxics().is_empty()
    }

    /// Whoever waits for bytes is to be polled when the proxy's toxics change.
    pub(crate) fn wake_on_change(&self, waker: &Waker) {
        self.open.wake_on_change(self.number, waker);
    }

    /// Runs something of this connection beside it, on the same thread, until the proxy closes.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.open.spawn(task);
    }

    pub(crate) fn received(&self, direction: Direction, bytes: usize) {
        let count = &self.received[direction as usize];
        count.set(count.get() + bytes as u64);
        self.shared.received(direction, bytes);
    }

    pub(crate) fn sent(&self, direction: Direction, bytes: usize) {
        self.shared.sent(direction, bytes);
    }

    /// The end that a relay of its own serves is to be reset when it ends.
    pub(crate) fn reset_behind(&self) {
        self.reset.set(true);
    }

    pub(crate) fn is_reset_behind(&self) -> bool {
        self.reset.get()
    }

    /// Why it ends. The first reason counts.
    pub(crate) fn because(&self, reason: impl Into<Box<str>>) {
        self.because.borrow_mut().get_or_insert_with(|| reason.into());
    }

    /// Connects to the upstream.
    pub(super) async fn connect(&self) -> io::Result<Socket> {
        self.shared.upstream.connect(self.original).await
    }

    /// The upstream cannot be had.
    pub(crate) fn unreachable(&self, error: &io::Error) {
        self.record(Happened::Unreachable { error: error.to_string() });
        self.because(format!("upstream: {error}"));
    }

    pub(crate) fn record(&self, what: Happened) {
        self.shared.events.record(&self.shared.name, self.number, what);
    }

    /// [`record`](Self::record), made only where somebody could read it.
    pub(crate) fn record_with(&self, what: impl FnOnce() -> Happened) {
        if self.shared.events.keeps() {
            self.record(what());
        }
    }

    pub(crate) fn toxic_decided(&self, name: &str, applies: bool) {
        self.record(Happened::Toxic { name: name.to_owned(), applies });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.closed();
        self.open.forget(self.number);
        if self.shared.events.keeps() {
            let because = self.because.borrow_mut().take().map(Into::into);
            self.record(Happened::Closed { upstream: self.received[0].get(), downstream: self.received[1].get(), because });
        }
    }
}
