//! The demo shop: five small services as real processes, with the mistakes left in that real shops have.
//!
//! ```text
//! customer → gateway → orders → payments → ledger (an append-only file)
//!               └────→ cache
//! ```
//!
//! Plain HTTP/1.1 on the loopback interface. Every service answers `/healthz` and `/metrics` (Prometheus text) besides its
//! own routes, and is a process of the same binary, named after itself, so that `process: { name: payments }` finds it.
//! A killed service is started again by its supervisor, a thread of whoever started the shop; all of them die with their
//! starter.
//!
//! ```no_run
//! # fn main() -> Result<(), squall_shop::ShopError> {
//! let shop = squall_shop::Shop::start("/usr/bin/squall".as_ref(), "/tmp/shop".as_ref(), squall_shop::Ports::Free)?;
//! assert!(shop.url(squall_shop::Service::Gateway).starts_with("http://127.0.0.1:"));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod cache;
mod gateway;
mod http;
mod ledger;
mod metrics;
mod mistakes;
mod orders;
mod payments;
mod ports;
mod service;
mod shop;
mod supervisor;
mod timing;

pub use mistakes::{Mistake, mistakes};
pub use ports::Ports;
pub use service::{Service, ServiceArgs, ServiceCommand, ServiceError, UpstreamArg};
pub use shop::{Edge, Shop, ShopError};
