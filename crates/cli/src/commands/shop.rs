//! `squall shop`: the demo shop by hand, and (hidden) its services one by one.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use rustix::fs::{FlockOperation, flock};
use squall_shop::{Edge, Ports, Service, ServiceCommand, Shop};
use tokio::signal::unix::{SignalKind, signal};

use super::demo::edges::Edges;
use super::proxy::serve::authority_in;
use crate::context::{CliError, Context, Style};

/// Run the demo shop, to try experiments on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall shop up                                            in one terminal
  squall run library:process-pause                          in another: the library's defaults fit the shop
  squall shop up --proxies                                  for experiments on the edges, such as
  squall run library:dependency-latency
  squall run examples/first.yaml")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the shop's five services and keep them running until Ctrl-C
    Up(Up),
    /// A single service, as `up` and `squall demo` start them
    #[command(flatten)]
    Service(ServiceCommand),
}

#[derive(Debug, clap::Args)]
struct Up {
    /// The gateway's port; orders, payments, ledger and cache get the four that follow. 0 takes any that are free
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Put a fault proxy on every edge and a front door with TLS before the gateway, with their API on this port: 8474 if none is given
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "8474")]
    proxies: Option<u16>,
}

/// Does it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Up(up) => run_up(&up, cx),
        Command::Service(service) => {
            service.serve()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_up(up: &Up, cx: &Context) -> anyhow::Result<ExitCode> {
    let ports = if up.port == 0 { Ports::Free } else { Ports::From(up.port) };
    // Before the shop is there, so that no Ctrl-C comes too early to be noticed.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut int, mut term) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let directory = Scratch::new()?;
    let edges = up.proxies.map(|port| Edges::start(&format!("127.0.0.1:{port}"), authority_in(cx.state_dir()))).transpose()?;
    let shop = start_through(&directory, ports, |edge| edges.as_ref().map_or(Ok(edge.address), |edges| edges.through(edge)))?;
    tell(cx, &shop)?;
    if let Some(edges) = &edges {
        let port = if up.port == 0 { 0 } else { up.port.saturating_add(FRONT) };
        let front = edges.front(shop.address(Service::Gateway), &format!("127.0.0.1:{port}"))?;
        edges.tell(cx)?;
        cx.say(format!("the front door with TLS is https://{front} (squall proxy ca --pem > squall-ca.pem, for clients)"))?;
    }
    cx.say("\nCtrl-C stops it.")?;
    runtime.block_on(async {
        tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
    });
    drop(shop);
    Ok(ExitCode::SUCCESS)
}

/// The front door with TLS comes so many ports after the gateway, behind all services.
const FRONT: u16 = 5;

/// Starts the shop from this same program, with what stands between its services, if anything does.
pub fn start_through(directory: &Scratch, ports: Ports, through: impl FnMut(Edge) -> io::Result<SocketAddr>) -> anyhow::Result<Shop> {
    let program = std::env::current_exe()?;
    Shop::start_through(&program, directory.path(), ports, through).map_err(|error| {
        let hint = match ports {
            Ports::From(port) => {
                format!("perhaps a shop runs already; another place for it: squall shop up --port {}", port.saturating_add(100))
            }
            Ports::Free => "the shop needs the loopback interface and a directory for temporary files (TMPDIR)".to_owned(),
        };
        CliError::failed(error.to_string(), hint).into()
    })
}

/// Says where everything is, and what to try.
pub fn tell(cx: &Context, shop: &Shop) -> anyhow::Result<()> {
    cx.result("the shop is open: gateway → orders → payments → ledger, and a cache beside the gateway\n")?;
    for service in Service::ALL {
        let name = cx.style(Style::Bold, format!("{:9}", service.name()));
        cx.result(format!("  {name} {}  (pid {})", shop.url(service), shop.pid(service).unwrap_or_default()))?;
    }
    cx.result(format!("  {:9} {}", "books", shop.books().display()))?;
    let gateway = shop.url(Service::Gateway);
    cx.say(format!("\ntry:\n  curl {gateway}/products\n  curl -X POST {gateway}/checkout"))?;
    if shop.port(Service::Gateway) == 8080 {
        return cx.say(
            "  squall run library:process-pause     (the library's defaults fit this shop)\n  squall run examples/demo/payments-hangs.yaml",
        );
    }
    let [gateway, orders, payments] = [Service::Gateway, Service::Orders, Service::Payments].map(|s| shop.port(s));
    let set = format!("--set gateway_port={gateway} --set orders_port={orders} --set payments_port={payments}");
    cx.say(format!("  squall run examples/demo/payments-hangs.yaml {set}"))
}

/// A directory for temporary files that is gone in the end. The lock in it tells that its maker is alive.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    const PREFIX: &str = "squall-shop-";

    /// Makes one that nobody else has, and removes those whose makers were killed.
    pub fn new() -> anyhow::Result<Self> {
        let base = std::env::temp_dir();
        Self::sweep(&base);
        for number in 0..1000_u32 {
            let path = base.join(format!("{}{}-{number}", Self::PREFIX, std::process::id()));
            match Self::make(&path) {
                Ok(lock) => return Ok(Self { path, _lock: lock }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let hint = "name another place for temporary files with TMPDIR".to_owned();
                    return Err(CliError::failed(format!("{} cannot be made: {error}", path.display()), hint).into());
                }
            }
        }
        Err(CliError::failed(format!("{} is full of {}* directories", base.display(), Self::PREFIX), "remove them".to_owned()).into())
    }

    fn make(path: &Path) -> io::Result<File> {
        std::fs::create_dir(path)?;
        let lock = File::create(path.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(lock)
    }

    /// Removes what is nobody's any more. What is somebody else's, or cannot be removed, stays.
    fn sweep(base: &Path) {
        let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(Self::PREFIX)) {
            let lock = File::open(entry.path().join("lock"));
            if lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is a few kilobytes in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
