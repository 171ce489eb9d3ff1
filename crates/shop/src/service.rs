//! One service as a process: its arguments, its name, its end when its starter ends.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use rustix::process::{Pid, Signal};
use tokio::net::TcpListener;

use crate::cache::Cache;
use crate::gateway::Gateway;
use crate::http::{self, Upstream};
use crate::ledger::Ledger;
use crate::orders::Orders;
use crate::payments::{self, Payments};

/// One of the shop's services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// What customers talk to.
    Gateway,
    /// Takes orders and has them paid.
    Orders,
    /// Charges customers.
    Payments,
    /// Keeps the books.
    Ledger,
    /// Keeps prices at hand.
    Cache,
}

impl Service {
    /// All of them, in the order of the ports from [`crate::Ports::From`].
    pub const ALL: [Self; 5] = [Self::Gateway, Self::Orders, Self::Payments, Self::Ledger, Self::Cache];

    /// Its name, which is also its process's (`comm`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Ledger => "ledger",
            Self::Cache => "cache",
        }
    }

    /// What it calls.
    pub const fn upstreams(self) -> &'static [Self] {
        match self {
            Self::Gateway => &[Self::Orders, Self::Cache],
            Self::Orders => &[Self::Payments],
            Self::Payments => &[Self::Ledger],
            Self::Ledger | Self::Cache => &[],
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which service to run.
#[derive(Debug, Clone, Subcommand)]
pub enum ServiceCommand {
    /// What customers talk to
    Gateway(ServiceArgs),
    /// Takes orders and has them paid
    Orders(ServiceArgs),
    /// Charges customers
    Payments(ServiceArgs),
    /// Keeps the books
    Ledger(ServiceArgs),
    /// Keeps prices at hand
    Cache(ServiceArgs),
}

/// How to run a service.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// Where to listen; only the loopback interface
    #[arg(long, value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where a service that this one calls listens
    #[arg(long = "upstream", value_name = "NAME=ADDRESS")]
    pub upstreams: Vec<UpstreamArg>,
    /// The ledger's books, or the gateway's flag file for maintenance
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// End when this process, which must be the parent, ends
    #[arg(long, value_name = "PID")]
    pub parent: Option<i32>,
}

/// `NAME=ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamArg {
    /// The service's name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
}

impl FromStr for UpstreamArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once('=').ok_or("expected NAME=ADDRESS, such as orders=127.0.0.1:8081")?;
        Ok(Self { name: name.into(), address: address.parse().map_err(|e| format!("`{address}`: {e}"))? })
    }
}

impl fmt::Display for UpstreamArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.address)
    }
}

/// A service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Not an address of this machine alone.
    #[error("{0} is not a loopback address; the shop has no locks on its doors, so use 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// A service that is called is missing.
    #[error("{service} calls {upstream}; say where with --upstream {upstream}=ADDRESS")]
    NoUpstream {
        /// The caller.
        service: Service,
        /// The called.
        upstream: Service,
    },
    /// The ledger has no file.
    #[error("the ledger needs a file; name one with --data")]
    NoData,
    /// The starter is gone already.
    #[error("process {0}, which was to be the parent, is gone")]
    Orphan(i32),
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl ServiceError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl ServiceCommand {
    /// Runs the service until the process is killed. To be called on the main thread, whose name is the process's.
    pub fn serve(self) -> Result<(), ServiceError> {
        let (service, args) = match self {
            Self::Gateway(args) => (Service::Gateway, args),
            Self::Orders(args) => (Service::Orders, args),
            Self::Payments(args) => (Service::Payments, args),
            Self::Ledger(args) => (Service::Ledger, args),
            Self::Cache(args) => (Service::Cache, args),
        };
        if !args.listen.ip().is_loopback() {
            return Err(ServiceError::NotLoopback(args.listen));
        }
        if let Some(parent) = args.parent {
            die_with(parent)?;
        }
        let name = std::ffi::CString::new(service.name()).unwrap_or_default();
        rustix::thread::set_name(&name).map_err(|e| ServiceError::io("setting the process's name")(e.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServiceError::io("starting"))?;
        runtime.block_on(run(service, args))
    }
}

/// Has the kernel kill this process when its starter ends. The starter may have ended before that was asked for.
fn die_with(parent: i32) -> Result<(), ServiceError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| ServiceError::io("asking to be told of the parent's end")(e.into()))?;
    if rustix::process::getppid().map(Pid::as_raw_pid) == Some(parent) { Ok(()) } else { Err(ServiceError::Orphan(parent)) }
}

async fn run(service: Service, args: ServiceArgs) -> Result<(), ServiceError> {
    let upstream = |upstream: Service| {
        let found = args.upstreams.iter().find(|u| u.name == upstream.name());
        found.map(|u| Upstream::new(u.address)).ok_or(ServiceError::NoUpstream { service, upstream })
    };
    match service {
        Service::Gateway => {
            let app = Gateway::new(upstream(Service::Orders)?, upstream(Service::Cache)?, args.data.clone());
            http::serve(listen(args.listen).await?, app).await;
        }
        Service::Orders => {
            let app = Orders::new(upstream(Service::Payments)?);
            http::serve(listen(args.listen).await?, app).await;
        }
        Service::Payments => {
            let app = Payments::new(upstream(Service::Ledger)?);
            crate::timing::work(payments::START, 0).await;
            http::serve(listen(args.listen).await?, app).await;
        }
        Service::Ledger => {
            let data = args.data.as_deref().ok_or(ServiceError::NoData)?;
            let app = Ledger::open(data).map_err(ServiceError::io(format!("opening {}", data.display())))?;
            http::serve(listen(args.listen).await?, app).await;
        }
        Service::Cache => http::serve(listen(args.listen).await?, Cache::default()).await,
    }
    Ok(())
}

/// Listens, and tells the starter, who reads the first line of standard output.
async fn listen(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    let listener = TcpListener::bind(address).await.map_err(ServiceError::io(format!("listening on {address}")))?;
    let address = listener.local_addr().map_err(ServiceError::io("asking for the own address"))?;
    // A starter that does not listen is its own business.
    let _ = writeln!(io::stdout(), "listening on http://{address}");
    Ok(listener)
}
