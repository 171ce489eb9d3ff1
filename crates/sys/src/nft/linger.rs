//! Closing sockets when nobody has to wait for it.
//!
//! The kernel frees what a transaction removed after an RCU grace period, on its own time. But as a netfilter socket is closed,
//! it waits for all that is still to be freed, and every other transaction of the network namespace waits for it
//! (`nft_rcv_nl_event` in `nf_tables_api.c`): some ten milliseconds for each of many faults that end together, one after
//! another. A moment later there is nothing to wait for.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::netlink::Socket;

/// Several grace periods, also on a busy machine. Nothing but speed depends on it.
const LATER: Duration = Duration::from_millis(100);

/// Sockets that are open still, and who waits for them.
static OPEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Closes a socket whose table is gone.
pub(super) fn close_later(socket: Socket) {
    count(|open| open + 1);
    let close = move || {
        std::thread::sleep(LATER);
        drop(socket);
        count(|open| open - 1);
    };
    // Without a thread, it was closed right here.
    if std::thread::Builder::new().name("nft-linger".into()).spawn(close).is_err() {
        count(|open| open - 1);
    }
}

fn count(change: impl FnOnce(usize) -> usize) {
    let mut open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
    *open = change(*open);
    OPEN.1.notify_all();
}

/// Waits until a process that has removed its tables can end without making others wait: a tenth of a second at the most
/// after the last was removed. To be called once everybody who waits for the removal has been told.
pub fn settle() {
    let open = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
    drop(OPEN.1.wait_while(open, |open| *open > 0).unwrap_or_else(PoisonError::into_inner));
}
