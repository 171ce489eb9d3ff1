//! DNS faults in namespaces, with a real name server, `dig` and `getaddrinfo(3)`.

mod bench;
mod effects;
mod healing;
mod neighbours;
mod owners;
pub mod wire;

pub use bench::{Bench, fault, name_server};
