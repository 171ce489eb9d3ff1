//! The proxy in experiments: proxies as targets, and toxics and rules as faults, put in force through the HTTP API.
//!
//! A fault adds one toxic or rule under the run's own name and removes it by that name, from whatever process. The proxy
//! is given the time box too, so that it drops the fault by itself when nobody is left to do so. Toxics work on Toxiproxy as
//! well; that a proxy knows rules is found by asking.

mod client;
mod down;
mod placed;
mod rate;
mod rules;
mod target;
mod toxics;

use std::sync::Arc;

use squall_engine::{AnyFault, AnyTargetKind};

pub use target::{ProxySelector, ProxyTarget};

/// Every fault that a proxy can be given.
pub fn all() -> Vec<Arc<dyn AnyFault>> {
    let mut all = toxics::all();
    all.push(Arc::new(down::Down));
    all.extend(rules::all());
    all
}

/// Every kind of target here.
pub fn targets() -> Vec<Arc<dyn AnyTargetKind>> {
    vec![Arc::new(ProxyTarget)]
}
