//! Closing sockets when nobody has to wait for it.
//!
//! The kernel frees what a transaction removed after an RCU grace period, on its own time. But as a netfilter socket is closed,
//! it waits for all that is still to be freed, and every other transaction of the network namespace waits for it
//! (`nft_rcv_nl_event` in `nf_tables_api.c`): some ten milliseconds for each of many faults that end together, one after
//! another. A moment later there is nothing to wait for.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::cpu_time::monotonic;
use crate::netlink::Socket;

/// Several grace periods, also on a busy machine. Nothing but speed depends on it.
const LATER: Duration = Duration::from_millis(100);

/// Sockets that are open still, and when each is to be closed.
#[derive(Debug)]
struct Open {
    sockets: VecDeque<(Duration, Socket)>,
    /// There is a thread that closes them.
    attended: bool,
}

static OPEN: (Mutex<Open>, Condvar) = (Mutex::new(Open { sockets: VecDeque::new(), attended: false }), Condvar::new());

/// Closes a socket that is of no more use.
pub(super) fn close_later(socket: Socket) {
    let mut open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
    open.sockets.push_back((monotonic() + LATER, socket));
    if !open.attended {
        open.attended = std::thread::Builder::new().name("nft-linger".into()).spawn(attend).is_ok();
    }
    if !open.attended {
        // Without a thread, now.
        let sockets = std::mem::take(&mut open.sockets);
        drop(open);
        drop(sockets);
    }
}

fn attend() {
    let mut open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some((due, socket)) = open.sockets.pop_front() {
        drop(open);
        std::thread::sleep(due.saturating_sub(monotonic()));
        drop(socket);
        open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
    }
    open.attended = false;
    OPEN.1.notify_all();
}

/// Waits until a process that has removed its tables, or looked at some, can end without making others wait: a tenth of a second
/// at the most after it did so last. To be called once everybody who waits for the removal has been told.
pub fn settle() {
    let open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
    drop(OPEN.1.wait_while(open, |open| open.attended).unwrap_or_else(PoisonError::into_inner));
}
