//! One direction of one connection: copied while little comes, moved by the kernel when much does, through the toxics when
//! there are any.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::chain::{Chain, Parcel, Waits};
use super::pipe::Pipe;
use super::{Over, buffer};
use crate::server::Connection;
use crate::socket::End;
use crate::time::{self, Sleep};
use crate::toxic::Direction;

/// Full reads in a row that make a bulk transfer.
const BULK: u8 = 4;
/// Turns of one direction before others have theirs.
const TURNS: usize = 32;

pub(super) struct Flow {
    direction: Direction,
    /// The version of the proxy's toxics that the chain follows.
    version: u64,
    toxic: Option<Box<(Chain, Option<Sleep>)>>,
    /// Read, and not yet taken by the receiver.
    pending: Bytes,
    pipe: Option<Box<Pipe>>,
    /// Full reads in a row; with a pipe, small fills in a row.
    streak: u8,
    source: Source,
    done: bool,
    last: bool,
    /// Toxics and counters are somebody else's.
    quiet: bool,
}

/// How far the sender is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Open,
    Ended,
    Failed,
}

impl Flow {
    pub(super) fn new(direction: Direction) -> Self {
        Self {
            direction,
            version: 0,
            toxic: None,
            pending: Bytes::new(),
            pipe: None,
            streak: 0,
            source: Source::Open,
            done: false,
            last: false,
            quiet: false,
        }
    }

    pub(super) fn leave_toxics_to_others(&mut self) {
        self.quiet = true;
    }

    /// Whether the end has been passed on.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The other direction is done: when this one is, the whole connection is closed.
    pub(super) fn is_last(&mut self) {
        self.last = true;
    }

    /// Ready when the end has been passed on.
    pub(super) fn poll<A: End, B: End>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
        connection: &Connection,
    ) -> Poll<Result<(), Over>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURNS {
            self.follow(connection)?;
            let turn =
                if self.toxic.is_some() { self.poll_toxic(cx, from, to, connection) } else { self.poll_plain(cx, from, to, connection) };
            ready!(turn)?;
            if self.done {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes up a change of the proxy's toxics.
    fn follow(&mut self, connection: &Connection) -> Result<(), Over> {
        if self.quiet {
            return Ok(());
        }
        let version = connection.toxics_version();
        if version != self.version {
            let table = connection.toxics();
            self.version = table.version;
            if self.toxic.is_some() || table.entries(self.direction).next().is_some() {
                self.rescue_pipe().map_err(|error| Over::Close(error.to_string()))?;
                let (chain, _) = &mut **self.toxic.get_or_insert_default();
                chain.apply(&table, self.direction, connection, time::now());
            }
        }
        if self.toxic.as_ref().is_some_and(|toxic| toxic.0.is_empty()) {
            self.toxic = None;
        }
        Ok(())
    }

    /// What the kernel holds is past the toxics: it was on its way before they came.
    fn rescue_pipe(&mut self) -> io::Result<()> {
        if let Some(mut pipe) = self.pipe.take().filter(|pipe| pipe.held() > 0) {
            self.pending = pipe.read_all()?.into();
        }
        self.streak = 0;
        Ok(())
    }

    fn poll_pending<B: End>(&mut self, cx: &mut Context<'_>, to: &mut B, connection: &Connection) -> Poll<Result<(), Over>> {
        while !self.pending.is_empty() {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending)).map_err(|e| failed(self.direction, &e))?;
            bytes::Buf::advance(&mut self.pending, count);
            count_out(connection, self.direction, self.quiet, count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_plain<A: End, B: End>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
        connection: &Connection,
    ) -> Poll<Result<(), Over>> {
        ready!(self.poll_pending(cx, to, connection))?;
        if self.pipe.is_some() {
            if from.socket().is_some() && to.socket().is_some() {
                return self.poll_pipe(cx, from, to, connection);
            }
            // Somebody reads what passes from now on.
            self.rescue_pipe().map_err(|error| Over::Close(error.to_string()))?;
            ready!(self.poll_pending(cx, to, connection))?;
        }
        match self.source {
            Source::Open => {}
            Source::Ended => return self.poll_finish(cx, to, connection),
            Source::Failed => return Poll::Ready(Err(self.reset())),
        }
        let (direction, quiet) = (self.direction, self.quiet);
        let read = buffer::poll_read_with(from, cx, |bytes, cx| {
            if bytes.is_empty() {
                return (0, Ok(Bytes::new()));
            }
            count_in(connection, direction, quiet, bytes.len());
            // Most of the time the receiver takes it all, and nothing is kept.
            match Pin::new(&mut *to).poll_write(cx, bytes) {
                Poll::Ready(Ok(count)) => {
                    count_out(connection, direction, quiet, count);
                    (bytes.len(), Ok(Bytes::copy_from_slice(&bytes[count..])))
                }
                Poll::Ready(Err(error)) => (bytes.len(), Err(error)),
                Poll::Pending => (bytes.len(), Ok(Bytes::copy_from_slice(bytes))),
            }
        });
        match ready!(read) {
            Ok((0, _)) => self.source = Source::Ended,
            Ok((_, Err(error))) => return Poll::Ready(Err(failed(self.direction, &error))),
            Ok((count, Ok(rest))) => {
                self.pending = rest;
                self.streak = if count == buffer::SIZE { self.streak.saturating_add(1) } else { 0 };
                if self.streak >= BULK && from.socket().is_some() && to.socket().is_some() {
                    self.streak = 0;
                    // Without a descriptor left for a pipe, copying goes on.
                    self.pipe = Pipe::take().ok().map(Box::new);
                }
            }
            Err(_) => self.source = Source::Failed,
        }
        Poll::Ready(Ok(()))
    }

    fn poll_pipe<A: End, B: End>(&mut self, cx: &mut Context<'_>, from: &A, to: &B, connection: &Connection) -> Poll<Result<(), Over>> {
        let (Some(pipe), Some(source), Some(sink)) = (&mut self.pipe, from.socket(), to.socket()) else { return Poll::Ready(Ok(())) };
        let before = pipe.held();
        let drained = pipe.poll_drain(sink, cx);
        count_out(connection, self.direction, self.quiet, before - pipe.held());
        ready!(drained).map_err(|error| failed(self.direction, &error))?;
        match pipe.poll_fill(source, cx) {
            Poll::Ready(Ok(0)) => {
                self.source = Source::Ended;
                self.pipe = None;
            }
            Poll::Ready(Ok(count)) => {
                count_in(connection, self.direction, self.quiet, count);
                // Small messages never pay for pipes: back to copying when the bulk is over.
                self.streak = if count < buffer::SIZE / 4 { self.streak.saturating_add(1) } else { 0 };
                if self.streak >= 4 * BULK {
                    self.rescue_pipe().map_err(|error| Over::Close(error.to_string()))?;
                }
            }
            Poll::Ready(Err(_)) => {
                self.source = Source::Failed;
                self.pipe = None;
            }
            Poll::Pending => {
                // Empty, and the sender has nothing: the pipe is free for others in the meantime.
                self.pipe = None;
                self.streak = BULK - 1;
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_toxic<A: End, B: End>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut A,
        to: &mut B,
        connection: &Connection,
    ) -> Poll<Result<(), Over>> {
        let spliced = to.socket().is_some();
        if self.poll_pending(cx, to, connection)?.is_pending() {
            // Toxics go on taking in behind what waits, as far as they have room.
            self.poll_take_in(cx, from, spliced, connection)?;
            return Poll::Pending;
        }
        let took_in = self.poll_take_in(cx, from, spliced, connection)?;
        let Some(toxic) = &mut self.toxic else { return Poll::Ready(Ok(())) };
        let (chain, sleep) = &mut **toxic;
        let waits = chain.pump(time::now());
        if matches!(waits, Waits::Reset) {
            return Poll::Ready(chain.take_over().map_or(Ok(()), Err));
        }
        let mut wrote = false;
        while let Some(parcel) = chain.out.front_mut() {
            if to.socket().is_none() {
                parcel.read_pipe().map_err(|error| Over::Close(error.to_string()))?;
            }
            let result = match parcel {
                Parcel::Bytes(bytes) => Pin::new(&mut *to).poll_write(cx, bytes),
                Parcel::Pipe(pipe) => pipe.poll_send(to, cx),
            };
            match result {
                Poll::Ready(Ok(count)) => {
                    connection.sent(self.direction, count);
                    chain.written(count);
                    wrote = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(failed(self.direction, &error))),
                Poll::Pending => return Poll::Pending,
            }
        }
        if matches!(waits, Waits::Close) {
            return Poll::Ready(chain.take_over().map_or(Ok(()), Err));
        }
        if chain.ended {
            return if self.source == Source::Failed { Poll::Ready(Err(self.reset())) } else { self.poll_finish(cx, to, connection) };
        }
        if wrote || took_in || chain.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match waits {
            Waits::At(at) => {
                let sleep = sleep.get_or_insert_with(|| time::sleep_until(at));
                sleep.reset(at);
                match ready!(Pin::new(sleep).poll(cx)) {
                    Ok(()) => Poll::Ready(Ok(())),
                    Err(error) => Poll::Ready(Err(Over::Close(format!("no timer: {error}")))),
                }
            }
            _ => Poll::Pending,
        }
    }

    /// Reads as long as the toxics have room. Whether something came.
    fn poll_take_in<A: End>(&mut self, cx: &mut Context<'_>, from: &mut A, spliced: bool, connection: &Connection) -> Result<bool, Over> {
        if spliced
            && self.streak >= BULK
            && self.source == Source::Open
            && let Some(took_in) = self.poll_take_in_pipe(cx, from, connection)?
        {
            return Ok(took_in);
        }
        let Some(toxic) = &mut self.toxic else { return Ok(false) };
        let chain = &mut toxic.0;
        let mut some = false;
        for _ in 0..4 {
            if self.source != Source::Open || chain.room() == 0 {
                break;
            }
            let Poll::Ready(read) = buffer::poll_read(from, cx) else { break };
            some = true;
            let now = time::now();
            match read {
                Ok(bytes) if !bytes.is_empty() => {
                    connection.received(self.direction, bytes.len());
                    self.streak = if bytes.len() >= buffer::SIZE { self.streak.saturating_add(1) } else { 0 };
                    chain.push(bytes, now);
                }
                ended => {
                    self.source = if ended.is_ok() { Source::Ended } else { Source::Failed };
                    chain.end(now);
                }
            }
        }
        Ok(some)
    }

    /// Lets the kernel keep bulk while it is delayed. `None` where that cannot be done now; otherwise whether something came.
    fn poll_take_in_pipe<A: End>(&mut self, cx: &mut Context<'_>, from: &A, connection: &Connection) -> Result<Option<bool>, Over> {
        let (Some(toxic), Some(source)) = (&mut self.toxic, from.socket()) else { return Ok(None) };
        let chain = &mut toxic.0;
        if !chain.takes_pipes() || chain.room() == 0 {
            return Ok(None);
        }
        let Some(mut pipe) = Pipe::take_for_delay() else { return Ok(None) };
        match pipe.poll_fill(source, cx) {
            Poll::Ready(Ok(count @ 1..)) => {
                connection.received(self.direction, count);
                // The bulk is over, and its descriptors are better used elsewhere.
                if count < buffer::SIZE {
                    self.streak = 0;
                }
                chain.push_pipe(pipe, time::now()).map_err(|error| Over::Close(error.to_string()))?;
                Ok(Some(true))
            }
            Poll::Ready(ended) => {
                self.source = if ended.is_ok() { Source::Ended } else { Source::Failed };
                chain.end(time::now());
                Ok(Some(true))
            }
            Poll::Pending => Ok(Some(false)),
        }
    }

    fn poll_finish<B: End>(&mut self, cx: &mut Context<'_>, to: &mut B, connection: &Connection) -> Poll<Result<(), Over>> {
        if self.direction == Direction::Downstream && connection.is_reset_behind() {
            return Poll::Ready(Err(Over::Reset("a fault reset the connection".to_owned())));
        }
        // Closing a socket of which nothing is left to read is an end as good as any.
        if !(self.last && to.socket().is_some()) {
            // A receiver that is gone already needs no end.
            let _ = ready!(Pin::new(to).poll_shutdown(cx));
        }
        self.done = true;
        self.toxic = None;
        Poll::Ready(Ok(()))
    }

    fn reset(&self) -> Over {
        let side = if self.direction == Direction::Upstream { "client" } else { "upstream" };
        Over::Reset(format!("{side} reset the connection"))
    }
}

fn count_in(connection: &Connection, direction: Direction, quiet: bool, bytes: usize) {
    if !quiet {
        connection.received(direction, bytes);
    }
}

fn count_out(connection: &Connection, direction: Direction, quiet: bool, bytes: usize) {
    if !quiet {
        connection.sent(direction, bytes);
    }
}

/// Writing failed: the receiver is gone.
fn failed(direction: Direction, error: &io::Error) -> Over {
    let receiver = if direction == Direction::Upstream { "upstream" } else { "client" };
    Over::Reset(format!("{receiver}: {error}"))
}
