//! What the child of a DNS fault does: it serves as the resolver, and brings queries to itself.

use std::io::{PipeReader, PipeWriter, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use squall_sys::conntrack::{Conntrack, Flow};
use squall_sys::nft::Owned;
use squall_undo::Armed;

use super::job::{DnsJob, PLACES, mark};
use super::resolver::{Listeners, Resolver};
use super::table;
use crate::network::owner::{Keeper, Owner};
use crate::stressor::say;

/// File descriptors that are not for queries.
const RESERVED: u64 = 64;
/// The most queries at once that are waited for.
const MOST_SLOTS: u64 = 60_000;

/// Puts the fault in force, and says that it is ready. What is returned becomes readable when it fails.
pub(crate) fn start(armed: Armed, marker: &str, job: &DnsJob) -> Result<PipeReader, String> {
    job.namespace.enter().map_err(|e| format!("the network namespace {} cannot be entered: {e}", job.namespace.path.display()))?;
    let place = Place::take().map_err(|e| format!("the places of DNS faults cannot be looked at: {e}"))?;
    let keeper = Keeper::start(&armed, &job.owner).map_err(|e| e.to_string())?;
    let slots = more_files().map_err(|e| format!("RLIMIT_NOFILE: {e}"))?;
    let (listeners, with_v6) = Listeners::bind(job.port).map_err(|e| format!("port {} cannot be listened on: {e}", job.port))?;
    let conntrack = |e: std::io::Error| format!("connection tracking cannot be used: {e}; the kernel needs CONFIG_NF_CT_NETLINK");
    let resolver = Resolver::new(job, mark(place.number, &job.owner), Conntrack::open().map_err(conntrack)?, slots);
    let (alive, failed) = std::io::pipe().map_err(|e| format!("pipe: {e}"))?;
    let kept = table::table(marker, job, place.number, with_v6);
    let kept = Owned::create(&armed, &kept).map_err(|e| e.to_string())?;
    let ports = job.ports.clone();
    let everybody = matches!(job.owner, Owner::Everything);
    let is_old =
        |flow: &Flow| !flow.is_redirected() && ports.contains(&flow.original.destination.port()) && may_be_forgotten(flow, everybody);
    Conntrack::open().and_then(|mut all| all.forget(&armed, is_old)).map_err(conntrack)?;
    let serve = move || {
        let _kept = (kept, place, keeper, armed);
        serve(Arc::new(resolver), listeners, failed);
    };
    std::thread::Builder::new().name("resolver".into()).spawn(serve).map_err(|e| format!("a thread: {e}"))?;
    say("ready");
    Ok(alive)
}

/// Returns only if it fails.
fn serve(resolver: Arc<Resolver>, listeners: Listeners, mut failed: PipeWriter) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let error = match runtime.map(|runtime| runtime.block_on(resolver.serve(listeners))) {
        Ok(Ok(())) => "the resolver has ended".to_owned(),
        Ok(Err(error)) | Err(error) => error.to_string(),
    };
    say(&format!("error: {error}"));
    // Wakes the main thread, which ends the process; one that is gone needs no waking.
    let _ = failed.write_all(b"!");
}

/// Rules of translation are looked at for the first packet of a flow only, so a client that keeps its socket would not be reached.
/// Forgetting a flow is harmless where all that follows is a datagram. A TCP connection is cut by it, once its next packet is
/// redirected: that is for those alone whose queries are meant. Flows that are only routed are others'.
fn may_be_forgotten(flow: &Flow, everybody: bool) -> bool {
    let own = std::net::UdpSocket::bind((flow.original.source.ip(), 0)).is_ok();
    own && (flow.original.protocol == 17 || everybody)
}

/// Queries that are waited for each hold a descriptor; the usual limit of 1,024 is for programs that call select(2).
fn more_files() -> std::io::Result<usize> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let slots = maximum.unwrap_or(MOST_SLOTS).saturating_sub(RESERVED).clamp(1, MOST_SLOTS);
    usize::try_from(slots).map_err(std::io::Error::other)
}

/// A place in the row of DNS faults of one namespace, held by a name that only one socket can have (`unix(7)`, abstract sockets).
/// The kernel frees it when the process ends.
struct Place {
    number: u32,
    _held: UnixDatagram,
}

impl Place {
    fn take() -> std::io::Result<Self> {
        for number in 0..PLACES {
            let address = SocketAddr::from_abstract_name(format!("squall-dns-{number}"))?;
            match UnixDatagram::bind_addr(&address) {
                Ok(held) => return Ok(Self { number, _held: held }),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(std::io::Error::other(format!("{PLACES} faults are in force here, which is the most")))
    }
}
