//! The carrier: what the child of a network fault does, from its order to its end.
//!
//! It enters the namespace, finds the owner's sockets, looks names up, opens the queue, and only then makes the table, in one
//! transaction: from then on the fault is in force. Asked to end, it takes the table away first, then lets go of what it holds,
//! so that no packet is lost by the end itself. Killed, the kernel takes table and queue away, and drops what the queue held.

use std::collections::BTreeSet;
use std::io::{PipeReader, PipeWriter, Write};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use squall_sys::nft::{self, Element, Owned};
use squall_sys::queue::{self, Queue};
use squall_undo::Armed;

use super::job::{Action, NetworkJob, Resolved, number_of};
use super::netem;
use super::owner::Keeper;
use super::pass::PassBit;
use super::rules::{self, Queues};
use super::scope::Peer;
use super::shaper::{self, ShaperCounters};
use crate::stressor::say;

/// How often names are looked up again.
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);
/// How often the owner's ports are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A carrier at work.
pub(crate) struct Carrier {
    /// Readable when something in it has failed.
    pub(crate) alive: PipeReader,
    /// Readable when it is asked to end.
    pub(crate) asked: OwnedFd,
    armed: Arc<Armed>,
    stop: PipeWriter,
    ended: Arc<AtomicBool>,
    follower: JoinHandle<Option<Owned>>,
    shaper: Option<JoinHandle<()>>,
}

/// Puts the fault in force, and says that it is ready.
pub(crate) fn start(armed: Armed, marker: &str, job: &NetworkJob) -> Result<Carrier, String> {
    let asked = squall_sys::stop_signal::catch().map_err(|e| format!("SIGTERM cannot be caught: {e}"))?;
    job.namespace.enter().map_err(|e| format!("the network namespace {} cannot be entered: {e}", job.namespace.path.display()))?;
    let keeper = Keeper::start(&armed, &job.owner).map_err(|e| e.to_string())?;
    let (alive, failed) = std::io::pipe().map_err(|e| format!("pipe: {e}"))?;
    let (stopped, stop) = std::io::pipe().map_err(|e| format!("pipe: {e}"))?;
    let ended = Arc::new(AtomicBool::new(false));
    let resolved = look_up(job)?;
    let (queue, queues) = open_queue(&armed, marker, job)?;
    if let (Some(device), Action::Shape { shape }) = (&job.device, &job.action) {
        netem::inject(&armed, device, shape).map_err(|e| e.to_string())?;
    }
    let pass = queue.is_some().then(|| PassBit::take(&job.owner)).transpose().map_err(|e| e.to_string())?;
    let table = rules::table(marker, job, &resolved, &keeper.local_ports(), queues, pass.as_ref());
    let owned = Owned::create(&armed, &table).map_err(|e| e.to_string())?;
    let armed = Arc::new(armed);
    let shaper = match (queue, pass, &job.action) {
        (Some(queue), Some(pass), Action::Shape { shape }) => {
            let counters = Arc::new(ShaperCounters::default());
            tell_counters(marker, &counters).map_err(|e| format!("the socket for counters: {e}"))?;
            let (shape, armed, mut failed) = (shape.clone(), Arc::clone(&armed), failed.try_clone().map_err(|e| e.to_string())?);
            let work = move || {
                let carried = shaper::run(&armed, queue, &shape, &|mark| pass.passed(mark), stopped.as_fd(), &counters);
                carried.unwrap_or_else(|error| fail(&error, &mut failed));
            };
            Some(thread("shaper", work)?)
        }
        _ => None,
    };
    let (job, token, stopping, mut failed) = (job.clone(), Arc::clone(&armed), Arc::clone(&ended), failed);
    let work = move || match follow(&token, owned, &keeper, &job, resolved, &stopping) {
        Ok(table) => Some(table),
        Err(error) => {
            fail(&error, &mut failed);
            None
        }
    };
    let follower = thread("follower", work)?;
    say("ready");
    Ok(Carrier { alive, asked, armed, stop, ended, follower, shaper })
}

fn thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, String> {
    std::thread::Builder::new().name(name.into()).spawn(work).map_err(|e| format!("a thread cannot be started: {e}"))
}

/// Tells the parent, and wakes the main thread, which ends the process; one that is gone needs no waking.
fn fail(error: &str, wake: &mut PipeWriter) {
    say(&format!("error: {error}"));
    let _ = wake.write_all(b"!");
}

impl Carrier {
    /// Takes the rules away, lets go of what is held, and removes the table. In this order: what comes after must not be queued
    /// for nobody, and the kernel drops what is queued as a table is removed.
    pub(crate) fn end(self) {
        self.ended.store(true, Ordering::Release);
        self.follower.thread().unpark();
        let table = self.follower.join().ok().flatten();
        drop(self.stop);
        if let Some(shaper) = self.shaper {
            let _ = shaper.join();
        }
        // The end of this process removes one that cannot be removed now.
        let _ = table.map(|table| table.remove(&self.armed));
        nft::settle();
    }
}

/// The queue that packets are held in, if they are, and the numbers of queues.
fn open_queue(armed: &Armed, marker: &str, job: &NetworkJob) -> Result<(Option<Queue>, Queues), String> {
    let wanted = 0x4000 | u16::try_from(number_of(marker) & 0x3ffe).unwrap_or_default();
    let free = |wanted: u16| queue::free_number(wanted).map_err(|e| format!("queues cannot be looked at: {e}"));
    let unheard = free(wanted | 0x8000)?;
    let Action::Shape { shape } = &job.action else { return Ok((None, Queues { served: 0, unheard })) };
    if job.device.is_some() {
        return Ok((None, Queues { served: 0, unheard }));
    }
    let served = free(wanted)?;
    let queue = shaper::open(armed, served, shape).map_err(|e| format!("queue {served} cannot be opened: {e}"))?;
    Ok((Some(queue), Queues { served, unheard }))
}

/// Looks the names of the scope up, as any program of this host does (`getaddrinfo(3)`).
pub(crate) fn look_up(job: &NetworkJob) -> Result<Resolved, String> {
    let (meant, left_out) = job.scope.read_peers();
    let all = |peers: &[Peer]| -> Result<Vec<IpAddr>, String> {
        let mut found = BTreeSet::new();
        for peer in peers {
            let Peer::Host(name) = peer else { continue };
            let addresses = (name.as_str(), 0_u16)
                .to_socket_addrs()
                .map_err(|e| format!("host `{name}` cannot be looked up: {e}; correct the name, or write an address"))?;
            found.extend(addresses.map(|a| a.ip()));
        }
        Ok(found.into_iter().collect())
    };
    Ok(Resolved { meant: all(&meant)?, left_out: all(&left_out)? })
}

/// Keeps the sets of the table true until the end, and gives it back without its rules: names that are looked up again, and the owner's ports.
fn follow(
    armed: &Armed,
    mut table: Owned,
    keeper: &Keeper,
    job: &NetworkJob,
    mut resolved: Resolved,
    ended: &AtomicBool,
) -> Result<Owned, String> {
    let with_names = job.has_names();
    let with_ports = rules::with_own_ports(job);
    let mut ports: Vec<Element> = keeper.local_ports();
    let mut looked_up = squall_sys::cpu_time::boottime();
    while !ended.load(Ordering::Acquire) {
        std::thread::park_timeout(if with_ports { LOOK_EVERY } else { LOOK_UP_EVERY });
        if with_ports {
            let now = keeper.local_ports();
            if now != ports {
                table.replace(armed, rules::OWN_PORTS, &now).map_err(|e| e.to_string())?;
                ports = now;
            }
        }
        if with_names && squall_sys::cpu_time::boottime() >= looked_up + LOOK_UP_EVERY {
            looked_up = squall_sys::cpu_time::boottime();
            // A name server that does not answer now (this fault may be why) leaves the addresses as they are.
            let Ok(now) = look_up(job) else { continue };
            if now != resolved {
                for set in rules::peer_sets(job, &now) {
                    table.replace(armed, &set.name, &set.elements).map_err(|e| e.to_string())?;
                }
                resolved = now;
            }
        }
    }
    table.disarm(armed).map_err(|e| e.to_string())?;
    Ok(table)
}

/// Where the counters of a carrier are asked for: a socket without a file, in the namespace (`unix(7)`, abstract).
pub(crate) fn counters_address(marker: &str) -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("{marker}-counters"))
}

/// Answers whoever connects with the counters as JSON, for as long as the process lives.
fn tell_counters(marker: &str, counters: &Arc<ShaperCounters>) -> std::io::Result<()> {
    let listener = UnixListener::bind_addr(&counters_address(marker)?)?;
    let counters = Arc::clone(counters);
    let answer = move || {
        for mut connection in listener.incoming().flatten() {
            // Whoever went away without waiting needs no answer.
            let _ = serde_json::to_writer(&mut connection, &counters.read());
        }
    };
    std::thread::Builder::new().name("counters".into()).spawn(answer)?;
    Ok(())
}
