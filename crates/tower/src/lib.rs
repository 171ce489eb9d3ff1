//! Lets Squall break a Rust service from within: requests that take longer, and requests that fail, by path and method.
//!
//! Put the layer around a [`tower`](https://docs.rs/tower) service under a name. Whoever may break things on this host (the
//! agent's `POST /faults`, or an experiment with `app.latency` or `app.error`) then sets faults for that name:
//!
//! ```
//! use axum::{Router, routing::get};
//! use squall_tower::FaultLayer;
//!
//! let app: Router = Router::new()
//!     .route("/cart", get(|| async { "3 things" }))
//!     .layer(FaultLayer::new("checkout"));
//! ```
//!
//! ```text
//! curl --unix-socket /run/squall/agent.sock http://agent/faults \
//!   -d '{ "target": "checkout", "path": "/cart", "latencyMs": 200, "failureRate": 0.1, "errorCode": 503, "duration": "30s" }'
//! ```
//!
//! Points in the code that are no requests, such as a call of a database, are broken by [`Faults::point`].
//!
//! # How a fault gets here, and how it ends
//!
//! A fault is a small file in a directory (see [`directory`]) that only root, or the service's own user, can write. A thread of
//! the layer sleeps until that directory changes (`inotify(7)`) and keeps the faults for this service in memory. While there is
//! none, a request costs one load of an atomic flag; nothing is allocated, locked, or looked at.
//!
//! A fault is over, and requests that it holds back go on within 0.1 s, as soon as one of these is so:
//! - its file is gone: somebody ended it;
//! - its deadline has passed, on `CLOCK_BOOTTIME`, which nobody can set;
//! - whoever set it is gone: it holds a lock on the file (`flock(2)`) that the kernel takes away with the process, whatever it
//!   died of. The thread looks every 50 ms while a fault is in force;
//! - the thread itself has not looked for 2 s.
//!
//! In turn the layer holds a lock on a second file for as long as it obeys a fault. So Squall knows that a fault is in force in a
//! process that lives, and says so when nobody listens.
//!
//! Linux only. Delays need a `tokio` runtime with time enabled. Bodies are never touched; a response that was made up is empty
//! and has the header [`HEADER`].
#![forbid(unsafe_code)]

mod clock;
pub mod directory;
mod fault;
mod faults;
pub mod file;
mod layer;
mod pattern;
mod watch;

pub use fault::{Failure, Latency, Setting};
pub use faults::{Faults, InForce, Injected};
pub use layer::{FaultLayer, FaultService, HEADER, ResponseFuture};
