//! The event log: who asked, which attempt, what was decided, when each milestone passed. A ring in memory, and its export.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// One thing that happened on a connection of a proxy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Counts up from 1 over the life of the log; a gap means that the ring was full.
    pub number: u64,
    /// Since the log was made.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// The proxy's name.
    pub proxy: String,
    /// The connection, counted from 1 in each proxy.
    pub connection: u64,
    /// What.
    pub what: Happened,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Happened {
    /// A client connected.
    Opened {
        /// From where; `unix` for a Unix socket.
        client: String,
    },
    /// A connection waits that cannot be accepted, as the process has no descriptor left, for example. (Recorded the first
    /// time, and every thousandth.)
    CannotAccept {
        /// Why.
        error: String,
    },
    /// The upstream could not be reached.
    Unreachable {
        /// Why.
        error: String,
    },
    /// The connection was open before the proxy had HTTP rules, and what it carries is no request of HTTP/1: rules do not reach
    /// it.
    Unread,
    /// A toxic was found to apply to this connection, or not (its toxicity decides).
    Toxic {
        /// Its name.
        name: String,
        /// Whether it applies.
        applies: bool,
    },
    /// A request was read and decided on.
    Decided {
        /// The request of this connection, from 1.
        request: u64,
        /// `GET /path`, without the query.
        what: String,
        /// What it is known by for decisions.
        key: String,
        /// How often this key was seen before by the rule.
        attempt: u64,
        /// The rule that matched.
        rule: String,
        /// The fault, as `http.delay`; none for the control group, or where its share did not hit.
        fault: Option<String>,
        /// Whether it belongs to the control group.
        control: bool,
    },
    /// A milestone of a message passed.
    Milestone {
        /// The request of this connection, from 1.
        request: u64,
        /// Which.
        milestone: Milestone,
        /// Bytes of its body that had passed.
        bytes: u64,
    },
    /// A TLS handshake ended.
    Handshake {
        /// The name that the client asked for.
        server_name: Option<String>,
        /// The rule that hit it.
        rule: Option<String>,
        /// The fault that was shown to it, as `tls.expired`.
        fault: Option<String>,
        /// The error, where it failed.
        error: Option<String>,
    },
    /// The connection ended.
    Closed {
        /// Bytes from client to upstream.
        upstream: u64,
        /// Bytes from upstream to client.
        downstream: u64,
        /// The toxic or fault that ended it, or the error; none where both sides were done.
        because: Option<String>,
    },
}

/// Points in the life of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Milestone {
    /// The request's head was passed on.
    RequestSent,
    /// The response's head was read.
    ResponseHead,
    /// The first byte of the response's body was passed on.
    FirstByte,
    /// A fault stopped the body for good, or for some time.
    Stalled,
    /// A fault cut the exchange.
    Cut,
    /// The whole response was passed on.
    Done,
}

/// A ring of the last events. Cheap to write to from every worker; nothing is formatted before somebody reads.
#[derive(Debug)]
pub struct EventLog {
    ring: Mutex<VecDeque<Event>>,
    next: AtomicU64,
    capacity: usize,
    start: Duration,
    /// The last reason for which connections could not be accepted, until somebody takes it.
    trouble: Mutex<Option<String>>,
}

impl EventLog {
    /// Keeps the last `capacity` events; 0 keeps none.
    pub fn new(capacity: usize) -> Self {
        Self { ring: Mutex::new(VecDeque::new()), next: AtomicU64::new(1), capacity, start: crate::time::now(), trouble: Mutex::default() }
    }

    /// Whether anybody could read what is recorded.
    pub fn keeps(&self) -> bool {
        self.capacity > 0
    }

    /// Records that this happened now.
    pub fn record(&self, proxy: &str, connection: u64, what: Happened) {
        if let Happened::CannotAccept { error } = &what {
            *self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(format!("{proxy}: {error}"));
        }
        if !self.keeps() {
            return;
        }
        let at = crate::time::now().saturating_sub(self.start);
        let mut ring = self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if ring.len() == self.capacity {
            ring.pop_front();
        }
        ring.push_back(Event { number, at, proxy: proxy.to_owned(), connection, what });
    }

    /// Why a proxy could not accept connections since this was last asked: its name and the error. For whoever keeps a log.
    pub fn take_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// The events after this number, oldest first.
    pub fn after(&self, number: u64) -> Vec<Event> {
        let ring = self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let from = ring.partition_point(|event| event.number <= number);
        ring.range(from..).cloned().collect()
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_forgets_the_oldest_and_the_numbers_tell() {
        let log = EventLog::new(2);
        for client in ["a", "b", "c"] {
            log.record("p", 1, Happened::Opened { client: client.into() });
        }
        assert_eq!(log.after(0).iter().map(|e| e.number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(log.after(2).len(), 1);
    }
}
