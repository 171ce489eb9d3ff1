//! Linux, as the rest needs it: the only crate with `unsafe`. Whatever changes something takes an
//! [`Armed`](squall_undo::Armed) token, which exists only once the undo of the change is on disk.

mod attributes;
pub mod bpf;
pub mod cgroup;
mod clock;
pub mod conntrack;
pub mod cpu_time;
pub mod descriptors;
mod detached;
mod host;
pub mod link;
pub mod memory;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod process;
pub mod prompt;
pub mod queue;
pub mod raw_packet;
pub mod relaunch;
pub mod socket_mark;
pub mod sockets;
pub mod stop_signal;
pub mod stressor;
pub mod sysctl;
pub mod tc;

pub use clock::BootClock;
pub use detached::die_with_parent;
pub use host::{facts, facts_in_full, traffic_control};
