//! Faults on the network.
//!
//! A network fault is carried by a child of Squall (the same as carries loads, see [`crate::stressor`]): it enters the target's
//! network namespace, makes a table of `nf_tables` that the kernel takes away with it, and, where packets have to be held or
//! changed, a queue of `nfnetlink_queue`, or netem or tbf behind an `ifb` device, whose undo is in the ledger.

pub mod bandwidth;
pub(crate) mod carried;
pub(crate) mod carrier;
pub mod corrupt;
mod describe;
mod down;
pub mod duplicate;
pub mod emulate;
mod holding;
mod interface;
mod job;
pub mod latency;
pub mod loss;
mod mtu;
pub mod netem;
pub mod own_line;
mod own_packet;
pub mod owner;
pub mod partition;
mod pass;
mod port_exhaustion;
mod rate;
pub mod redirect;
pub mod reject;
pub mod reorder;
pub mod reset;
mod rules;
mod scope;
pub mod shape;
pub mod shaper;

use std::sync::Arc;

use squall_engine::AnyFault;

pub use carried::NetworkUndo;
pub use down::{Down, DownArgs, DownUndo};
pub use job::{Action, Mechanism, NetworkJob, Refusal};
pub use mtu::{Mtu, MtuArgs, MtuUndo};
pub use port_exhaustion::{PortExhaustion, PortExhaustionArgs, PortExhaustionUndo};
pub use rate::NetworkRate;
pub use scope::{Direction, PortRange, Protocol, Scope};
pub use shape::{Delay, Distribution, Loss, Rate, Reorder, Shape, Share};

/// The kinds of target that have traffic.
pub(crate) const TARGETS: [&str; 6] = ["host", "process", "container", "cgroup", "user", "namespace"];

/// Every fault of the family: those that are carried by a child, then those that are in the ledger.
pub fn all() -> Vec<Arc<dyn AnyFault>> {
    vec![
        Arc::new(latency::Latency::default()),
        Arc::new(loss::NetworkLoss::default()),
        Arc::new(duplicate::Duplicate::default()),
        Arc::new(corrupt::Corrupt::default()),
        Arc::new(reorder::NetworkReorder::default()),
        Arc::new(bandwidth::Bandwidth::default()),
        Arc::new(partition::Partition::default()),
        Arc::new(reject::NetworkReject::default()),
        Arc::new(reset::Reset::default()),
        Arc::new(redirect::Redirect::default()),
        Arc::new(Down),
        Arc::new(Mtu),
        Arc::new(PortExhaustion),
    ]
}
