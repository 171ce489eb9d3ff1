//! The mark of a target's sockets: choosing it, saying that it is in use, and taking it away.
//!
//! It follows from the target, not from the injection: a socket has room for one mark, and several faults may be in force on
//! one process. Each of their carriers binds an abstract socket named by the mark for as long as it lives (`unix(7)`), so that
//! only the last one that ends, or whoever cleans up after it, takes the mark away.

use std::collections::BTreeSet;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use squall_engine::marks::OWNER_MARK;
use squall_sys::netlink::{Attributes, Bus, Message, Socket, flags};
use squall_sys::netns::Namespace;
use squall_sys::process::{ProcessFacts, ProcessId, descendants};
use squall_sys::{socket_mark, sockets};
use squall_undo::Armed;

use super::Owner;

/// Bits that are never set: `kube-proxy` takes a packet that has one of them for its own.
const NEVER: u32 = 0xc000;
/// `RTM_GETRULE` and the length of `struct fib_rule_hdr`.
const GET_RULE: u16 = 34;
const RULE: usize = 12;
/// `FRA_FWMARK` and `FRA_FWMASK`.
const RULE_MARK: u16 = 10;
const RULE_MASK: u16 = 16;

/// Whether a mark is one that Squall gives.
pub(super) const fn is_ours(mark: u32) -> bool {
    mark & 0xff00_0000 == OWNER_MARK
}

/// The mark for a target: always the same, unless a routing rule or somebody else's socket has it.
pub(super) fn choose(target: &str, namespace: &Namespace, roots: &[ProcessId]) -> io::Result<u32> {
    let all = ProcessFacts::all()?;
    let trees = roots.iter().flat_map(|root| descendants(&all, root.pid).into_iter().chain([*root]));
    let theirs: BTreeSet<u64> = trees.flat_map(|id| sockets::inodes_of(id.pid).unwrap_or_default()).collect();
    namespace.within(|| {
        let rules = routing_rules()?;
        let foreign: BTreeSet<u32> =
            sockets::list()?.into_iter().filter(|s| s.inode != 0 && !theirs.contains(&s.inode)).filter_map(|s| s.mark).collect();
        let free = |mark: &u32| !foreign.contains(mark) && !rules.iter().any(|(value, mask)| mark & mask == *value);
        candidates(target).find(free).ok_or_else(|| io::Error::other("routing rules or sockets have every one that was tried"))
    })
}

/// FNV-1a over the target's id, and over a number behind it.
fn candidates(target: &str) -> impl Iterator<Item = u32> {
    let hash = |bytes: &[u8]| bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (0_u32..4096).map(move |number| {
        let text = if number == 0 { target.to_owned() } else { format!("{target}/{number}") };
        OWNER_MARK | (hash(text.as_bytes()) & 0x00ff_ffff & !NEVER)
    })
}

/// The marks, with their masks, that routing rules of this namespace look at (`ip rule … fwmark`).
fn routing_rules() -> io::Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    // AF_INET and AF_INET6.
    for family in [2, 10] {
        let mut header = [0_u8; RULE];
        header[0] = family;
        let replies = match Socket::open(Bus::Route)?.dump(Message::new(GET_RULE, flags::REQUEST | flags::DUMP, &header)) {
            // A kernel without rules for that family.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => continue,
            replies => replies?,
        };
        for reply in replies {
            let attributes = Attributes(reply.body.get(RULE..).unwrap_or_default());
            let number = |kind| attributes.find(kind).and_then(|a| u32::try_from(a.number()?).ok());
            let (mark, mask) = (number(RULE_MARK), number(RULE_MASK));
            if let Some(mask) = mask.or(mark.map(|_| u32::MAX)).filter(|mask| *mask != 0) {
                found.push((mark.unwrap_or_default() & mask, mask));
            }
        }
    }
    Ok(found)
}

/// Says that a mark is in use, to whoever looks in this network namespace, until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct InUse {
    name: String,
    socket: UnixDatagram,
}

impl InUse {
    /// From now on.
    pub fn say(mark: u32) -> io::Result<Self> {
        // Two keepers of one process are told apart by the number behind it.
        for number in 0..1000 {
            let name = format!("{}{}-{number}", name_of(mark), std::process::id());
            match UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => return bound.map(|socket| Self { name, socket }),
            }
        }
        Err(io::Error::other("a thousand faults on one process"))
    }

    /// No longer: takes the mark away if nobody else needs it.
    pub fn end(self, armed: &Armed, mark: u32) -> io::Result<usize> {
        let Self { name, socket } = self;
        drop(socket);
        // A process that is being started at this moment may have a copy for as long as it is not another program.
        clear_for(armed, mark, Some(&name))
    }
}

fn name_of(mark: u32) -> String {
    format!("squall-mark-{mark:08x}-")
}

fn is_in_use(mark: u32, but_for: Option<&str>) -> io::Result<bool> {
    // Abstract names have an @ for the zero that they begin with.
    let name = format!("@{}", name_of(mark));
    let text = std::fs::read_to_string("/proc/thread-self/net/unix")?;
    let mut names = text.lines().filter_map(|line| line.split_whitespace().nth(7)).filter(|path| path.starts_with(&name));
    Ok(names.any(|path| path.strip_prefix('@') != but_for))
}

/// Takes the mark from all sockets of the calling thread's network namespace, unless a carrier lives that needs it.
fn clear_for(armed: &Armed, mark: u32, but_for: Option<&str>) -> io::Result<usize> {
    if is_in_use(mark, but_for)? { Ok(0) } else { socket_mark::clear(armed, mark) }
}

/// Cleans up after a carrier that is gone, from a fresh process; again is no error. Says what was done, if there was
/// something to do.
pub fn clean(armed: &Armed, owner: &Owner, namespace: &Namespace) -> io::Result<Option<String>> {
    let (Owner::Processes { mark, .. } | Owner::MarkedUser { mark, .. }) = owner else { return Ok(None) };
    match namespace.within(|| clear_for(armed, *mark, None)) {
        Ok(0) => Ok(None),
        Ok(count) => Ok(Some(format!("took the mark {mark:#x} from {count} sockets"))),
        // Its sockets are gone with it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_a_target_is_always_the_same_and_never_one_that_kube_proxy_takes_for_its_own() {
        let some: Vec<u32> = candidates("process:12:34").take(100).collect();
        assert_eq!(some, candidates("process:12:34").take(100).collect::<Vec<_>>());
        assert!(some.iter().all(|mark| is_ours(*mark) && mark & NEVER == 0));
        assert_ne!(some[0], candidates("process:12:35").next().expect("one"));
        assert!(some.iter().collect::<BTreeSet<_>>().len() > 95, "they differ");
    }

    #[test]
    fn a_mark_is_in_use_for_as_long_as_somebody_says_so() {
        let mark = OWNER_MARK | (std::process::id() & 0x3fff);
        assert!(!is_in_use(mark, None).expect("looked"));
        let (first, second) = (InUse::say(mark).expect("said"), InUse::say(mark).expect("said"));
        drop(first);
        assert!(is_in_use(mark, None).expect("looked"));
        drop(second);
        assert!(!is_in_use(mark, None).expect("looked"));
    }
}
