//! What packets go through between two hosts, measured with plain sockets and the kernel's counters.

mod counters;
mod echo;
mod flood;
mod icmp;
mod tcp;
mod train;

pub use counters::counter;
pub use echo::{Echo, Transport, exchange};
pub use flood::Flood;
pub use icmp::ping;
pub use tcp::{Bulk, connect};
pub use train::{Arrival, Journey, Train};

/// Puts the calling thread before all others, where that is allowed: what is measured is the network, not who else runs.
fn urgent() {
    let id = rustix::thread::gettid().as_raw_nonzero().to_string();
    #[expect(clippy::disallowed_methods, reason = "there is no safe call for it")]
    let mut command = std::process::Command::new("chrt");
    let _ = command.args(["--fifo", "--pid", "40", &id]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status();
}
