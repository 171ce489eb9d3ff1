//! Probes and load against the real thing: sockets, processes, files, Prometheus.

mod command;
mod files;
mod http;
mod load;
mod process;
mod prometheus;
mod support;
mod support_tls;
mod tcp;
mod tls;
