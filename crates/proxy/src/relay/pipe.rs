//! Pipes for `splice(2)`: the kernel moves pages from one socket to the other, and no byte is copied here.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;

use crate::socket::{End, Socket};

/// Asked for, in bytes; a user who may not have it gets what the kernel gives (pipe(7)).
const SIZE: usize = 1 << 20;

/// Pipes that a thread keeps for the next bulk transfer.
const POOLED: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<(OwnedFd, OwnedFd)>> = const { RefCell::new(Vec::new()) };
}

/// Pipes that may be full of delayed bytes at once, in all of the process, if its descriptors allow.
const DELAYED: usize = 1024;

static DELAYED_NOW: AtomicUsize = AtomicUsize::new(0);

/// A pipe on loan from the thread's pool.
#[derive(Debug)]
pub(crate) struct Pipe {
    ends: Option<(OwnedFd, OwnedFd)>,
    held: usize,
    delayed: bool,
}

impl Pipe {
    pub(super) fn take() -> io::Result<Self> {
        if let Some(ends) = POOL.with_borrow_mut(Vec::pop) {
            return Ok(Self { ends: Some(ends), held: 0, delayed: false });
        }
        let ends = rustix::pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // The default of 16 pages works too.
        let _ = rustix::pipe::fcntl_setpipe_size(&ends.1, SIZE);
        Ok(Self { ends: Some(ends), held: 0, delayed: false })
    }

    /// A pipe for bytes that stay in it for some time; `None` where there are many already: the process has other uses for
    /// its descriptors.
    pub(super) fn take_for_delay() -> Option<Self> {
        static LIMIT: OnceLock<usize> = OnceLock::new();
        let limit = *LIMIT.get_or_init(|| {
            let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
            // A quarter of them, two for each pipe.
            DELAYED.min(usize::try_from(descriptors / 8).unwrap_or(DELAYED))
        });
        if DELAYED_NOW.load(Ordering::Relaxed) >= limit {
            return None;
        }
        let mut pipe = Self::take().ok()?;
        pipe.delayed = true;
        DELAYED_NOW.fetch_add(1, Ordering::Relaxed);
        Some(pipe)
    }

    /// Bytes in the pipe.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// From a socket into the empty pipe. Zero is the end of the stream.
    pub(super) fn poll_fill(&mut self, from: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0, "a full pipe would look like an empty socket");
        let Some((_, into)) = &self.ends else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(from.poll_read_ready(cx))?;
            match from.try_io(Interest::READABLE, || Ok(rustix::pipe::splice(from.as_fd(), None, into, None, SIZE, flags())?)) {
                Ok(count) => {
                    self.held = count;
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// From the pipe into a socket, until it is empty.
    pub(super) fn poll_drain(&mut self, to: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((from, _)) = &self.ends else { return Poll::Ready(Ok(())) };
        while self.held > 0 {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || Ok(rustix::pipe::splice(from, None, to.as_fd(), None, self.held, flags())?)) {
                Ok(count) => self.held -= count.min(self.held),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// From the pipe into an end, once: as much as it takes.
    pub(super) fn poll_send<E: End>(&mut self, to: &E, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(socket) = to.socket() else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
        let before = self.held;
        match self.poll_drain(socket, cx) {
            Poll::Pending if self.held == before => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(before - self.held)),
        }
    }

    /// What is in the pipe, for a toxic that came in the middle of a bulk transfer.
    pub(super) fn read_all(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held];
        let mut filled = 0;
        if let Some((from, _)) = &self.ends {
            while filled < bytes.len() {
                filled += rustix::io::read(from, &mut bytes[filled..])?;
            }
        }
        self.held = 0;
        Ok(bytes)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.delayed {
            DELAYED_NOW.fetch_sub(1, Ordering::Relaxed);
        }
        let Some(ends) = self.ends.take().filter(|_| self.held == 0) else { return };
        // A thread that ends has no pool any more.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOLED {
                pool.push(ends);
            }
        });
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}
