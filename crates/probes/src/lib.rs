//! Probes, which measure one value each, and the load generator.
//!
//! A kind of probe is one file with an implementation of [`squall_engine::Probe`] and one entry in [`all`]. What they
//! share (connections, TLS, results of queries) lives as long as the list:
//!
//! ```
//! let kinds = squall_probes::all();
//! let http = kinds.iter().find(|kind| kind.meta().name == "http").expect("listed");
//! let args = serde_json::json!({ "url": "http://127.0.0.1:8080/health", "measure": "latency" });
//! assert!(http.check(&args).is_empty());
//! assert_eq!(http.describe(&args), "latency of GET http://127.0.0.1:8080/health");
//! ```
//!
//! [`LoadGenerator`] makes a run's own load; `traffic` probes read it.
#![forbid(unsafe_code)]

mod command;
mod dns;
mod file;
mod http;
mod icmp;
mod load;
mod log;
mod process;
mod prometheus;
mod tcp;
mod tls;
mod traffic;
mod wire;

use std::sync::Arc;

use squall_engine::AnyProbe;

pub use load::{LONGEST_WINDOW, LoadGenerator, Pacer};

/// Every kind of probe, in the order of the reference. Make one list for a program: what its probes share is in it.
pub fn all() -> Vec<Arc<dyn AnyProbe>> {
    let client = Arc::new(wire::Client::default());
    vec![
        Arc::new(http::Http::new(client.clone())),
        Arc::new(tcp::Tcp::new(client.clone())),
        Arc::new(tls::Tls::new(client.clone())),
        Arc::new(dns::Dns),
        Arc::new(icmp::Icmp::new(client.clone())),
        Arc::new(command::Command),
        Arc::new(prometheus::Prometheus::new(client)),
        Arc::new(process::Process),
        Arc::new(file::File),
        Arc::new(log::Log),
        Arc::new(traffic::Traffic),
    ]
}
