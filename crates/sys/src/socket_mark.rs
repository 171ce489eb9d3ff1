//! Marking sockets of other processes (`SO_MARK`, `socket(7)`), so that `nf_tables` can tell whose packets they send and get.
//!
//! A socket is reached through its holder: `pidfd_open(2)` and `pidfd_getfd(2)`. A mark that somebody else has given is left.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use squall_undo::Armed;

use crate::sockets::{self, Holder};

/// `asm-generic/socket.h`.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// What was found on the sockets of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marked {
    /// Inodes of sockets that have the mark now.
    pub ours: BTreeSet<u64>,
    /// Inodes of sockets with a mark of somebody else, which they keep, and that mark.
    pub foreign: Vec<(u64, u32)>,
}

/// Marks the sockets of a process, as far as they are in the calling thread's network namespace and have no mark. Those in
/// `known` are not looked at. A process that has ended has none.
/// `PermissionDenied` where it may not be looked into.
pub fn mark(armed: &Armed, pid: u32, mark: u32, known: &BTreeSet<u64>) -> io::Result<Marked> {
    let _ = armed;
    let mut marked = Marked::default();
    // Kernels before 5.14 do not tell; all are marked then.
    let here = namespace().ok();
    let Some(process) = open(pid)? else { return Ok(marked) };
    let descriptors = match sockets::descriptors_of(pid) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(marked),
        descriptors => descriptors?,
    };
    for holder in descriptors {
        if known.contains(&holder.inode) || marked.ours.contains(&holder.inode) {
            continue;
        }
        let Some(socket) = take(&process, holder)? else { continue };
        // Those of netlink, of unix and of the others send nothing that a packet filter sees.
        if !matches!(socket_domain(&socket)?, AddressFamily::INET | AddressFamily::INET6) {
            continue;
        }
        if here.is_some() && namespace_of(&socket).ok() != here {
            continue;
        }
        match read(&socket)? {
            0 => {
                write(&socket, mark)?;
                marked.ours.insert(holder.inode);
            }
            theirs if theirs == mark => drop(marked.ours.insert(holder.inode)),
            theirs => marked.foreign.push((holder.inode, theirs)),
        }
    }
    Ok(marked)
}

/// Takes the mark from every socket of the calling thread's network namespace that has it, whoever holds it now; works from
/// any process, and when done again. Gives how many there were. A socket that no process holds (a connection on its way out,
/// or not accepted yet) keeps it to its end.
pub fn clear(armed: &Armed, mark: u32) -> io::Result<usize> {
    let _ = armed;
    // One whose mark was not told is looked at itself, below.
    let mut inodes: BTreeSet<u64> =
        sockets::list()?.into_iter().filter(|s| s.mark.is_none_or(|its| its == mark) && s.inode != 0).map(|s| s.inode).collect();
    inodes.extend(sockets::unlisted());
    let mut cleared = BTreeSet::new();
    for holder in sockets::holders(&inodes)? {
        let Some(process) = open(holder.pid)? else { continue };
        let Some(socket) = take(&process, holder)? else { continue };
        if read(&socket)? == mark {
            write(&socket, 0)?;
            cleared.insert(holder.inode);
        }
    }
    Ok(cleared.len())
}

fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Ok(Some(fd)),
        // EINVAL: the number of a thread that leads no process.
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A copy of the descriptor; none if the process has closed it, or has another thing behind that number by now.
fn take(process: &OwnedFd, holder: Holder) -> io::Result<Option<OwnedFd>> {
    let fd = match pidfd_getfd(process, holder.fd, PidfdGetfdFlags::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::BADF | rustix::io::Errno::SRCH) => return Ok(None),
        Err(rustix::io::Errno::PERM) => {
            let message = format!("descriptors of process {} cannot be reached (pidfd_getfd): CAP_SYS_PTRACE is missing", holder.pid);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&fd)?;
    Ok((stat.st_ino == holder.inode).then_some(fd))
}

/// The number of the calling thread's network namespace, never given again (`SO_NETNS_COOKIE`, Linux 5.14).
pub(crate) fn namespace() -> io::Result<u64> {
    namespace_of(&rustix::net::socket(AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None)?)
}

fn namespace_of(socket: &OwnedFd) -> io::Result<u64> {
    option(socket, SO_NETNS_COOKIE).map(u64::from_ne_bytes)
}

fn read(socket: &OwnedFd) -> io::Result<u32> {
    option(socket, libc::SO_MARK).map(u32::from_ne_bytes)
}

/// A socket option of so many bytes.
fn option<const LENGTH: usize>(socket: &OwnedFd, name: libc::c_int) -> io::Result<[u8; LENGTH]> {
    let mut value = [0_u8; LENGTH];
    let mut length = libc::socklen_t::try_from(LENGTH).unwrap_or_default();
    // SAFETY: `value` and `length` are valid for writing for the whole call, and `length` is the size of `value`; the
    // descriptor is open, as `socket` is borrowed. Safe code cannot do it: no crate in use has these options.
    let done = unsafe { libc::getsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, name, value.as_mut_ptr().cast(), &raw mut length) };
    if done == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

fn write(socket: &OwnedFd, mark: u32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<u32>()).unwrap_or_default();
    // SAFETY: `mark` is valid for reading for the whole call, and `length` is its size; the descriptor is open, as `socket` is
    // borrowed. Safe code cannot do it: no crate in use has SO_MARK.
    let done = unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, (&raw const mark).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::process::{Child, Stdio};

    /// A process that holds a socket as its standard input.
    struct Sleeper(Child);

    impl Sleeper {
        fn holding(socket: OwnedFd) -> Self {
            #[expect(clippy::disallowed_methods, reason = "a process to look into")]
            let mut command = std::process::Command::new("sleep");
            Self(command.arg("60").stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started"))
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn token() -> Armed {
        Armed::received(b"go").expect("a token")
    }

    #[test]
    fn sockets_of_another_process_are_marked_once_and_cleared_and_foreign_marks_are_left() {
        let mark_of_ours = 0x5a00_0000 | (std::process::id() & 0xffff);
        let listener: OwnedFd = TcpListener::bind("127.0.0.1:0").expect("bound").into();
        let (theirs, ours) = (listener.try_clone().expect("copied"), listener);
        let sleeper = Sleeper::holding(theirs);
        let marked = mark(&token(), sleeper.0.id(), mark_of_ours, &BTreeSet::new()).expect("marked");
        let inode = rustix::fs::fstat(&ours).expect("looked").st_ino;
        assert!(marked.ours.contains(&inode) && marked.foreign.is_empty(), "{marked:?}");
        assert_eq!(read(&ours).expect("read"), mark_of_ours);
        let again = mark(&token(), sleeper.0.id(), mark_of_ours, &BTreeSet::from([inode])).expect("marked");
        assert_eq!(again, Marked::default(), "known ones are not looked at");
        // Another mark, as a router's or another fault's, stays.
        let other = mark(&token(), sleeper.0.id(), mark_of_ours + 0x10_0000, &BTreeSet::new()).expect("marked");
        assert_eq!(other.foreign, [(inode, mark_of_ours)]);
        assert_eq!(clear(&token(), mark_of_ours + 0x10_0000).expect("cleared"), 0);
        assert_eq!(read(&ours).expect("read"), mark_of_ours);
        assert_eq!(clear(&token(), mark_of_ours).expect("cleared"), 1);
        assert_eq!(read(&ours).expect("read"), 0);
        assert_eq!(clear(&token(), mark_of_ours).expect("cleared"), 0, "nothing is left to do");
    }

    #[test]
    fn a_socket_that_was_marked_and_then_handed_on_is_cleared_at_whoever_has_it() {
        let mark_of_ours = 0x5a20_0000 | (std::process::id() & 0xffff);
        let socket: OwnedFd = UdpSocket::bind("[::1]:0").expect("bound").into();
        let ours = socket.try_clone().expect("copied");
        let first = Sleeper::holding(socket);
        assert_eq!(mark(&token(), first.0.id(), mark_of_ours, &BTreeSet::new()).expect("marked").ours.len(), 1);
        drop(first);
        assert_eq!(clear(&token(), mark_of_ours).expect("cleared"), 1, "this process has it");
        assert_eq!(read(&ours).expect("read"), 0);
    }

    #[test]
    fn a_process_that_is_gone_has_no_sockets() {
        assert_eq!(mark(&token(), u32::MAX, 1, &BTreeSet::new()).expect("none"), Marked::default());
    }
}
