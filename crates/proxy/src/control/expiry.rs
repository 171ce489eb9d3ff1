//! The end of time boxes. A thread of its own, so that nobody who added a toxic has to be there to remove it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Entries;
use super::notice::Notice;
use crate::time;

#[derive(Debug, Default)]
struct Wake {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    look: bool,
    stop: bool,
}

/// Ends with its drop.
#[derive(Debug)]
pub(super) struct Expiry {
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Expiry {
    pub(super) fn start(entries: Arc<Entries>) -> io::Result<Self> {
        let wake = Arc::<Wake>::default();
        let waiting = wake.clone();
        let thread = std::thread::Builder::new().name("proxy-expiry".into()).spawn(move || watch(&entries, &waiting))?;
        Ok(Self { wake, thread: Some(thread) })
    }

    /// Something may end earlier than all that did before.
    pub(super) fn look_again(&self) {
        self.wake.state.lock().unwrap_or_else(PoisonError::into_inner).look = true;
        self.wake.changed.notify_one();
    }
}

impl Drop for Expiry {
    fn drop(&mut self) {
        self.wake.state.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.wake.changed.notify_one();
        // One that panicked has said so on standard error.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn watch(entries: &Entries, wake: &Wake) {
    loop {
        let next = expire(entries);
        let state = wake.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut State| !state.look && !state.stop;
        let mut state = match next {
            None => wake.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let left = at.saturating_sub(time::now());
                wake.changed.wait_timeout_while(state, left, idle).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        if state.stop {
            return;
        }
        state.look = false;
    }
}

/// Removes what is over; the result is when the next will be.
fn expire(entries: &Entries) -> Option<Duration> {
    let now = time::now();
    let mut next: Option<Duration> = None;
    for (proxy, entry) in entries.lock().iter_mut() {
        let (over, ends) = entry.expire(now);
        for name in over {
            entries.notices.tell(|| Notice::Expired { proxy: proxy.clone(), name });
        }
        next = [next, ends].into_iter().flatten().min();
    }
    next
}
