//! The relay between two ends: the kernel moves the bytes while no toxic needs them.

mod buffer;
mod chain;
mod flow;
mod pipe;
mod toxed;
mod way;

pub(crate) use buffer::shrink;
pub(crate) use pipe::Pipe;
pub(crate) use toxed::Toxed;
pub(crate) use way::Way;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::server::Connection;
use crate::socket::End;
use crate::toxic::Direction;
use flow::Flow;

/// Why a connection is over before both sides were done.
#[derive(Debug)]
pub(crate) enum Over {
    /// It is closed in order.
    Close(String),
    /// It is reset.
    Reset(String),
}

/// Relays between a client and its upstream until both directions have ended, or a toxic or an error ends it.
pub(crate) struct Relay<C, U> {
    connection: Rc<Connection>,
    client: C,
    upstream: U,
    up: Flow,
    down: Flow,
    registered: bool,
}

impl<C: End, U: End> Relay<C, U> {
    pub(crate) fn new(connection: Rc<Connection>, client: C, upstream: U) -> Self {
        let (up, down) = (Flow::new(Direction::Upstream), Flow::new(Direction::Downstream));
        Self { connection, client, upstream, up, down, registered: false }
    }

    /// Between ends of which the client's is a [`Toxed`], under whatever is on top: toxics are at work there, and count.
    pub(crate) fn over_toxed(connection: Rc<Connection>, client: C, upstream: U) -> Self {
        let mut relay = Self::new(connection, client, upstream);
        relay.up.leave_toxics_to_others();
        relay.down.leave_toxics_to_others();
        relay.registered = true;
        relay
    }

    fn over(&mut self, over: Over) {
        match over {
            Over::Close(because) => {
                self.connection.because(because);
                for end in [self.client.socket(), self.upstream.socket()].into_iter().flatten() {
                    end.discard_received();
                }
            }
            Over::Reset(because) => {
                self.connection.because(because);
                self.client.reset_on_close();
                self.upstream.reset_on_close();
            }
        }
    }
}

impl<C: End, U: End> Future for Relay<C, U> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.registered {
            this.connection.wake_on_change(cx.waker());
            this.registered = true;
        }
        if this.down.is_done() {
            this.up.is_last();
        }
        let up = this.up.poll(cx, &mut this.client, &mut this.upstream, &this.connection);
        if this.up.is_done() {
            this.down.is_last();
        }
        let over = match up {
            Poll::Ready(Err(over)) => Some(over),
            _ => match this.down.poll(cx, &mut this.upstream, &mut this.client, &this.connection) {
                Poll::Ready(Err(over)) => Some(over),
                Poll::Ready(Ok(())) if this.up.is_done() => None,
                _ => return Poll::Pending,
            },
        };
        if let Some(over) = over {
            this.over(over);
        }
        Poll::Ready(())
    }
}
