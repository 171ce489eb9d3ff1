//! Traffic control (`tc(8)`) over rtnetlink: queueing disciplines, classes, and filters that redirect packets by their mark.
//!
//! What is written here is byte for byte what `tc` of iproute2 6.1 sends for the same words (`golden/`), but for what each type
//! says of itself.

mod classifier;
mod control;
mod dump;
mod features;
mod htb;
mod netem;
mod qdisc;
mod rate;
mod tbf;

#[cfg(test)]
mod golden_tests;

pub use classifier::{Filter, FilterId, Protocol, by_mark};
pub use control::Traffic;
pub use dump::{Row, Stats};
pub use features::Part;
pub use htb::{Htb, HtbClass};
pub use netem::{Delay, Netem, NetemLoss, NetemRate, NetemReorder, NetemShare};
pub use qdisc::{Class, Handle, Kind, Qdisc, Way};
pub use tbf::Tbf;
