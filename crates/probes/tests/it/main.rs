//! Probes and load against the real thing: sockets, processes, files, Prometheus.

mod command;
mod dns;
mod files;
mod http;
mod icmp;
mod load;
mod process;
mod prometheus;
mod support;
mod support_tls;
mod tcp;
mod tls;
