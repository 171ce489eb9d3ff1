//! What programs and people of this host can ask of the agent, without a server: `POST`, `GET` and `DELETE /faults`.
//!
//! - `order.rs`: what is asked for, and the kinds of fault that it stands for: `app.latency`, `app.error`, `cpu.load`, `memory.pressure`.
//! - [`LocalFaults`]: the faults of one run on this host, with an undo ledger and a watchdog. Whoever else injects here uses it too.
//! - [`LocalApi`]: what is set for each target, its time boxes, and the stop file.
//! - [`serve`]: HTTP on a Unix socket, where the kernel says who asks, and on loopback TCP, where a token does.
//!
//! Whatever is set is over at the end of its time, when the agent ends or dies (its watchdog reverts), when the stop file appears,
//! and when its watchdog is lost.

mod access;
mod api;
mod faults;
mod order;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use squall_engine::Gate;
use squall_model::Time;

pub use api::{ActiveFault, AppliedEffect, LocalApi, StoppedAll};
pub use faults::{FaultError, Ground, LocalFaults, Order, StartWatchdog};
pub use order::{Amount, Effects, FaultOrder};
pub use serve::{LocalError, serve};

/// How long a fault lasts if its order does not say.
pub const DEFAULT_DURATION: Time = Time::from_secs(600);
/// The longest that a fault may last, unless the configuration says otherwise; a policy may allow less.
pub const LONGEST_DURATION: Time = Time::from_secs(3600);

/// Whether faults may be set at this time: windows and freezes of policies. An error says why not.
pub type AllowedNow = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// How the local API is run.
#[derive(Clone)]
pub struct LocalConfig {
    /// What all runs on this host have in common.
    pub ground: Ground,
    /// The agent's own limits. Each fault has to pass them: kinds, time boxes, protected processes, faults at the same time.
    pub gate: Arc<dyn Gate>,
    /// Its windows and freezes.
    pub allowed_now: AllowedNow,
    /// Where services with `squall-tower` watch; none for the usual place.
    pub faults_directory: Option<PathBuf>,
    /// The Unix socket, if there is to be one: `/run/squall/agent.sock`.
    pub socket: Option<PathBuf>,
    /// Users besides root and the agent's own who may use the Unix socket, by number.
    pub users: Vec<u32>,
    /// The loopback address, if there is to be one. It needs a token file.
    pub tcp: Option<SocketAddr>,
    /// The file with the token for TCP; made with a random one (mode 0600) where there is none.
    pub token_file: Option<PathBuf>,
    /// How long a fault lasts if its order does not say: [`DEFAULT_DURATION`].
    pub default_duration: Time,
    /// The longest that a fault may last: [`LONGEST_DURATION`].
    pub longest: Time,
}
