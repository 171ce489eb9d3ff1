//! Faults on the network.
//!
//! A network fault is carried by a child of Squall (the same as carries loads, see [`crate::stressor`]): it enters the target's
//! network namespace, makes a table of `nf_tables` that the kernel takes away with it, and, where packets have to be held or
//! changed, a queue of `nfnetlink_queue`, or netem or tbf behind an `ifb` device, whose undo is in the ledger.

pub mod emulate;
pub mod own_line;
pub mod netem;
pub mod owner;
pub mod shape;
pub mod shaper;

pub use shape::{Delay, Distribution, Loss, Rate, Reorder, Shape, Share};
