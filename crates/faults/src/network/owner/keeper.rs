//! Keeps the kernel's knowledge of the owner's sockets true, for as long as a fault is in force. Lives in the carrier.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use squall_sys::bpf::{SocketMarker, UserMarker};
use squall_sys::cgroup::Hierarchy;
use squall_sys::cpu_time::monotonic;
use squall_sys::nft::Element;
use squall_sys::process::ProcessId;
use squall_sys::socket_mark;
use squall_sys::sockets::{self, Socket, State};
use squall_undo::Armed;

use super::Owner;
use super::mark::{self, InUse};

/// How often sockets that the kernel could not mark as they were made are looked for: those that were accepted, or handed
/// over by others, without a mark.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often children are looked for where the kernel does not follow them.
const FOLLOW_EVERY: Duration = Duration::from_millis(20);
/// The same, where all processes of the host have to be looked at for it.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_millis(500);
/// When sockets that were marked are looked at again: somebody may have taken the mark away.
const AGAIN: Duration = Duration::from_secs(1);

/// The owner's sockets cannot be told from others.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Nobody is left.
    #[error("the processes of the target have ended")]
    Gone,
    /// The programs cannot be attached.
    #[error("new sockets cannot be marked: {0}")]
    New(#[source] io::Error),
    /// The sockets cannot be reached.
    #[error("sockets of process {pid} cannot be marked: {source}")]
    Existing {
        /// Whose.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// They belong to somebody else in a way.
    #[error("{count} sockets of the target have a mark of {whose} already ({mark:#x}), which they keep; choose a `user` or a `cgroup`")]
    Foreign {
        /// How many.
        count: usize,
        /// `another fault` or `another program`.
        whose: &'static str,
        /// The mark of the first.
        mark: u32,
    },
    /// Anything else of the system.
    #[error("{0}: {1}")]
    System(&'static str, #[source] io::Error),
}

/// Keeps the owner's sockets known until it is dropped. To be made in the target's network namespace.
#[derive(Debug)]
pub struct Keeper {
    owner: Owner,
    _marking: Option<Marking>,
}

/// The thread that follows processes and marks sockets. When this is dropped it ends, and takes the marks away.
#[derive(Debug)]
struct Marking {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Makes the owner's sockets known: when it returns, all of them are, and new ones will be.
    pub fn start(armed: &Armed, owner: &Owner) -> Result<Self, KeepError> {
        let mut follower = match owner {
            Owner::Processes { roots, mark } => Follower::start(armed.again(), Whose::Processes(roots), *mark)?,
            Owner::MarkedUser { uid, mark } => Follower::start(armed.again(), Whose::User(*uid), *mark)?,
            _ => return Ok(Self { owner: owner.clone(), _marking: None }),
        };
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        let thread = std::thread::Builder::new().name("sockets".into()).spawn(move || follower.follow(&stop));
        let thread = Some(thread.map_err(|e| KeepError::System("a thread cannot be started", e))?);
        Ok(Self { owner: owner.clone(), _marking: Some(Marking { ended, thread }) })
    }

    /// The owner's ports that packets can be told by: those that its sockets have to themselves, and no socket of others.
    /// Empty where the sockets cannot be listed now.
    pub fn local_ports(&self) -> Vec<Element> {
        let groups = if let Owner::CgroupV2(path) = &self.owner { numbers_of(path) } else { BTreeSet::new() };
        // Of open sockets the kernel looks mark and group up; what it sends for a connection that is only beginning is told by
        // the port that it came in at. The user or class it knows of connected sockets alone.
        let (sockets, udp_too) = match &self.owner {
            Owner::Everything => return Vec::new(),
            Owner::User(_) | Owner::NetClass(_) => (sockets::list(), true),
            Owner::MarkedUser { .. } | Owner::CgroupV2(_) | Owner::Processes { .. } => (sockets::bound(), false),
        };
        let is_owners = |socket: &Socket| match &self.owner {
            Owner::Everything => false,
            Owner::User(uid) => socket.uid == *uid,
            Owner::CgroupV2(_) => socket.cgroup.is_some_and(|group| groups.contains(&group)),
            Owner::NetClass(class) => socket.class == Some(*class),
            Owner::MarkedUser { mark, .. } | Owner::Processes { mark, .. } => socket.mark == Some(*mark),
        };
        let (mut own, mut others) = (BTreeSet::new(), BTreeSet::new());
        for socket in sockets.unwrap_or_default() {
            if is_owners(&socket) {
                if socket.state == State::Listen || (udp_too && !socket.is_connected()) {
                    own.insert(socket.local.port());
                }
            } else if socket.inode != 0 {
                // What has no process yet, or none any more, is known by its listener.
                others.insert(socket.local.port());
            }
        }
        own.difference(&others).filter(|port| **port != 0).map(|port| Element::Port(*port, *port)).collect()
    }
}

impl Drop for Marking {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Whose sockets are to be marked.
enum Whose<'a> {
    Processes(&'a [ProcessId]),
    User(u32),
}

/// By what new sockets are marked, and how it is known whose the existing ones are.
enum Marker {
    Processes(SocketMarker),
    User(UserMarker),
}

/// What the thread does, in the target's network namespace from the beginning.
struct Follower {
    armed: Armed,
    mark: u32,
    marker: Option<Marker>,
    in_use: Option<InUse>,
    /// Sockets that need not be looked at now.
    known: BTreeSet<u64>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        // No new ones from here on.
        self.marker = None;
        // What cannot be cleared here is left to whoever reverts, and looks again.
        let _ = self.in_use.take().map(|in_use| in_use.end(&self.armed, self.mark));
    }
}

impl Follower {
    /// Attaches the programs, puts all processes in, and marks the sockets that exist.
    fn start(armed: Armed, whose: Whose<'_>, mark: u32) -> Result<Self, KeepError> {
        let in_use = InUse::say(mark).map_err(|e| KeepError::System("the mark cannot be claimed", e))?;
        let marker = match whose {
            Whose::Processes(_) => SocketMarker::start(&armed, mark).map(Marker::Processes),
            Whose::User(uid) => UserMarker::start(&armed, uid, mark).map(Marker::User),
        };
        let marker = Some(marker.map_err(KeepError::New)?);
        // From here on, whatever fails, the marks that were given are taken away again.
        let mut follower = Self { armed, mark, marker, in_use: Some(in_use), known: BTreeSet::new() };
        if let Whose::Processes(roots) = whose {
            follower.add_roots(roots)?;
        }
        let mut foreign = Vec::new();
        for pid in follower.members()? {
            let source = |source| KeepError::Existing { pid, source };
            let marked = socket_mark::mark(&follower.armed, pid, mark, &follower.known).map_err(source)?;
            follower.known.extend(marked.ours);
            foreign.extend(marked.foreign);
        }
        if let Some((_, first)) = foreign.first() {
            let whose = if mark::is_ours(*first) { "another fault" } else { "another program" };
            return Err(KeepError::Foreign { count: foreign.len(), whose, mark: *first });
        }
        Ok(follower)
    }

    fn add_roots(&self, roots: &[ProcessId]) -> Result<(), KeepError> {
        let alive: Vec<u32> = roots.iter().filter(|root| ProcessId::of(root.pid) == Some(**root)).map(|root| root.pid).collect();
        if alive.is_empty() {
            return Err(KeepError::Gone);
        }
        alive.into_iter().try_for_each(|pid| self.add(pid))?;
        // A child that was made before its parent was in is found by a look that begins after that.
        while self.add_children()? {}
        Ok(())
    }

    fn add(&self, pid: u32) -> Result<(), KeepError> {
        let Some(Marker::Processes(marker)) = &self.marker else { return Ok(()) };
        marker.add(&self.armed, pid).map_err(KeepError::New)
    }

    /// Those that have ended are among them for a while.
    fn members(&self) -> Result<BTreeSet<u32>, KeepError> {
        let members = match &self.marker {
            Some(Marker::Processes(marker)) => marker.members().map_err(KeepError::New)?,
            Some(Marker::User(marker)) => of_user(marker.uid()).map_err(|e| KeepError::System("processes cannot be listed", e))?,
            None => Vec::new(),
        };
        Ok(members.into_iter().collect())
    }

    /// Puts the children of all that are in in; true if there were any.
    fn add_children(&self) -> Result<bool, KeepError> {
        let parents = parents().map_err(|e| KeepError::System("processes cannot be listed", e))?;
        let mut members = self.members()?;
        let before = members.len();
        loop {
            let new: Vec<u32> =
                parents.iter().filter(|(pid, parent)| members.contains(parent) && !members.contains(pid)).map(|(pid, _)| *pid).collect();
            for pid in &new {
                self.add(*pid)?;
            }
            if new.is_empty() {
                return Ok(members.len() > before);
            }
            members.extend(new);
        }
    }

    fn follow(&mut self, ended: &AtomicBool) {
        let by_looks = matches!(&self.marker, Some(Marker::Processes(marker)) if marker.follows_children().is_err());
        let pause = match &self.marker {
            _ if by_looks => FOLLOW_EVERY,
            Some(Marker::User(..)) => LOOK_AT_ALL_EVERY,
            _ => LOOK_EVERY,
        };
        let mut known_since = monotonic();
        while !ended.load(Ordering::Acquire) {
            std::thread::park_timeout(pause);
            if monotonic() >= known_since + AGAIN {
                known_since = monotonic();
                self.known.clear();
            }
            // What fails now is tried again at the next look; that the fault has an effect is verified elsewhere.
            let _ = self.look(by_looks);
        }
    }

    fn look(&mut self, for_children: bool) -> Result<(), KeepError> {
        if for_children {
            self.add_children()?;
        }
        for pid in self.members()? {
            if !Path::new(&format!("/proc/{pid}")).exists() {
                if let Some(Marker::Processes(marker)) = &self.marker {
                    marker.remove(&self.armed, pid).map_err(KeepError::New)?;
                }
                continue;
            }
            if let Ok(marked) = socket_mark::mark(&self.armed, pid, self.mark, &self.known) {
                self.known.extend(marked.ours);
                self.known.extend(marked.foreign.into_iter().map(|(inode, _)| inode));
            }
        }
        Ok(())
    }
}

/// The processes of a user: those whose real or effective user it is.
fn of_user(uid: u32) -> io::Result<Vec<u32>> {
    let is_theirs = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        uids.is_some_and(|uids| uids.split_whitespace().take(2).any(|text| text.parse() == Ok(uid)))
    };
    Ok(pids()?.filter(is_theirs).collect())
}

fn pids() -> io::Result<impl Iterator<Item = u32>> {
    Ok(std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// Every process and its parent.
fn parents() -> io::Result<BTreeMap<u32, u32>> {
    let mut found = BTreeMap::new();
    for pid in pids()? {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // `pid (name) state parent …`, and the name may hold anything.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if let Some(parent) = parent {
            found.insert(pid, parent);
        }
    }
    Ok(found)
}

/// The numbers of a group of v2 and of all below it: the inodes of their directories.
fn numbers_of(path: &str) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    let hierarchies = Hierarchy::all().unwrap_or_default();
    let Some(hierarchy) = hierarchies.iter().find(|h| h.unified) else { return numbers };
    let absolute = Path::new("/").join(path);
    let below = absolute.strip_prefix(&hierarchy.root).unwrap_or(&absolute);
    let mut directories = vec![hierarchy.mount_point.join(below.strip_prefix("/").unwrap_or(below))];
    while let Some(directory) = directories.pop() {
        numbers.extend(std::fs::metadata(&directory).map(|metadata| metadata.ino()));
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        directories.extend(entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()));
    }
    numbers
}
