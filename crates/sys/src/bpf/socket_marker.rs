//! Marks every socket of IPv4 and IPv6 that a user or certain processes make in a network namespace, from its first moment, and
//! follows the processes' children.
//!
//! A program runs when a socket is made (`BPF_CGROUP_INET_SOCK_CREATE` at the root of cgroup v2, so for every process of the
//! host): if the process is in a map of process numbers, or the user's, and the socket has no mark, it gets ours. Another, for
//! processes, runs at `sched_process_fork`: if the parent is in the map, the child is put in before it runs for the first time, so
//! not one socket of a child is missed. The kernel takes both away with their links, that is with this process.

use std::io;
use std::os::fd::OwnedFd;

use squall_undo::Armed;

use super::assembly::{Instruction, Program, helper};
use super::btf::Btf;
use super::{Kind, Map, attach_to_group, attach_to_tracepoint, load};
use crate::cgroup::Hierarchy;

/// Far more than any process has descendants; the map takes memory for those that are in it alone.
const PROCESSES: u32 = 1 << 17;
/// Where `struct bpf_sock` has the mark.
const MARK: i16 = 16;
/// The inode of the first namespace of process numbers, in which BPF counts (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Marks the sockets of processes, until it is dropped or this process ends.
#[derive(Debug)]
pub struct SocketMarker {
    members: Map,
    follows: Result<OwnedFd, String>,
    _sockets: OwnedFd,
}

/// Marks the sockets of a user, until it is dropped or this process ends.
#[derive(Debug)]
pub struct UserMarker {
    uid: u32,
    _sockets: OwnedFd,
}

/// Whether this host has what it takes, as far as that can be seen without doing it: the root of cgroup v2, or the reason and
/// the next step.
pub fn marking_possible() -> io::Result<Hierarchy> {
    // Where it cannot be read, the numbers are taken to be the host's.
    if std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() != FIRST_PID_NAMESPACE) {
        return Err(unsupported(
            "Squall is in a pid namespace of its own, where BPF counts processes differently; start it with the host's (`--pid=host`)",
        ));
    }
    let root = Hierarchy::all()?.into_iter().find(|hierarchy| hierarchy.unified);
    root.ok_or_else(|| unsupported("cgroup v2 is not mounted; mount it: `mount -t cgroup2 none /sys/fs/cgroup/unified`"))
}

/// What an error of a step means, and the next step.
fn refused(what: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| match error.raw_os_error() {
        Some(libc::ENOSYS) => unsupported("this kernel has no bpf(2) (CONFIG_BPF_SYSCALL)"),
        Some(libc::EPERM) => io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{what} is not allowed (bpf(2)): run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"),
        ),
        _ => io::Error::new(error.kind(), format!("{what}: {error}")),
    }
}

/// Loads the program that marks, and attaches it.
fn mark_new(armed: &Armed, program: &[Instruction]) -> io::Result<OwnedFd> {
    let root = marking_possible()?;
    let program = load(armed, Kind::SocketCreate, "squall_mark", program).map_err(refused("a program"))?;
    attach_to_group(armed, &program, &root.mount_point, Kind::SocketCreate).map_err(refused("a link to cgroup v2"))
}

impl UserMarker {
    /// From now on every socket that this user makes in the calling thread's network namespace has the mark. `Unsupported`
    /// with a reason and the next step where this host cannot.
    pub fn start(armed: &Armed, uid: u32, mark: u32) -> io::Result<Self> {
        Ok(Self { uid, _sockets: mark_new(armed, &marking(&Whose::User(uid), mark)?)? })
    }

    /// The user.
    pub const fn uid(&self) -> u32 {
        self.uid
    }
}

impl SocketMarker {
    /// Attaches the programs, for the calling thread's network namespace; nobody is in yet. `Unsupported` with a reason and the
    /// next step where this host cannot.
    pub fn start(armed: &Armed, mark: u32) -> io::Result<Self> {
        marking_possible()?;
        let members = Map::create(armed, "squall_members", PROCESSES).map_err(refused("a map"))?;
        let sockets = mark_new(armed, &marking(&Whose::Members(&members), mark)?)?;
        let follows = follow(armed, &members).map_err(|error| error.to_string());
        Ok(Self { members, follows, _sockets: sockets })
    }

    /// Whether the kernel puts children in by itself; otherwise why not, and it is for the caller to find them.
    pub fn follows_children(&self) -> Result<(), &str> {
        self.follows.as_ref().map(drop).map_err(String::as_str)
    }

    /// From now on the process's new sockets are marked, and those of children that it starts.
    pub fn add(&self, armed: &Armed, pid: u32) -> io::Result<()> {
        self.members.insert(armed, pid, 1)
    }

    /// No longer: the process has ended.
    pub fn remove(&self, armed: &Armed, pid: u32) -> io::Result<()> {
        self.members.remove(armed, pid)
    }

    /// The processes that are in, with those that have ended and were not removed.
    pub fn members(&self) -> io::Result<Vec<u32>> {
        self.members.keys()
    }
}

fn unsupported(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, message)
}

/// Whose sockets are marked.
enum Whose<'a> {
    Members(&'a Map),
    User(u32),
}

/// `if (!sk->mark && netns_cookie(sk) == here && members[tgid]) sk->mark = mark; return 1;`, or `uid == …` for the map.
fn marking(whose: &Whose<'_>, mark: u32) -> io::Result<Vec<Instruction>> {
    let mut program = Program::default();
    program.copy(6, 1).load32(0, 6, MARK).jump_unless(0, 0, "out");
    // Sockets of other namespaces are nobody's concern here. Kernels before 5.14 do not tell, and all are marked.
    if let Ok(here) = crate::socket_mark::namespace() {
        program.copy(1, 6).call(helper::NETNS_COOKIE).set64(1, here).jump_unless_same(0, 1, "out");
    }
    match whose {
        Whose::Members(members) => {
            program.call(helper::CURRENT_PID_TGID).shift_right(0, 32).store32(10, -4, 0);
            program.map(1, &members.0).copy(2, 10).add(2, -4).call(helper::MAP_LOOKUP).jump_if(0, 0, "out");
        }
        Whose::User(uid) => {
            // The group is in the upper half; the lower, stored and loaded again, has no sign.
            program.call(helper::CURRENT_UID_GID).store32(10, -4, 0).load32(0, 10, -4);
            program.set64(1, u64::from(*uid)).jump_unless_same(0, 1, "out");
        }
    }
    program.set(1, mark.cast_signed()).store32(6, MARK, 1);
    program.label("out").set(0, 1).exit();
    program.finish()
}

/// Attaches the program that follows children.
fn follow(armed: &Armed, members: &Map) -> io::Result<OwnedFd> {
    let btf = Btf::of_kernel()?;
    let tgid = btf.offset("task_struct", "tgid").and_then(|offset| i32::try_from(offset).ok());
    let tgid = tgid.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the kernel's task_struct has no tgid"))?;
    let program = load(armed, Kind::RawTracepoint, "squall_follow", &following(members, tgid)?)?;
    attach_to_tracepoint(armed, &program, c"sched_process_fork")
}

/// `if (members[parent->tgid]) members[child->tgid] = 1; return 0;`: the tracepoint's arguments are parent and child.
fn following(members: &Map, tgid: i32) -> io::Result<Vec<Instruction>> {
    let mut program = Program::default();
    program.copy(6, 1);
    for (argument, place) in [(0, -4), (8, -8)] {
        program.load64(3, 6, argument).add(3, tgid).copy(1, 10).add(1, place).set(2, 4);
        program.call(helper::READ_KERNEL).jump_unless(0, 0, "out");
    }
    program.map(1, &members.0).copy(2, 10).add(2, -4).call(helper::MAP_LOOKUP).jump_if(0, 0, "out");
    program.store32_value(10, -12, 1);
    program.map(1, &members.0).copy(2, 10).add(2, -8).copy(3, 10).add(3, -12).set(4, 0).call(helper::MAP_UPDATE);
    program.label("out").set(0, 0).exit();
    program.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets;
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    fn token() -> Armed {
        Armed::received(b"go").expect("a token")
    }

    /// A shell that makes sockets when told to.
    struct Shell {
        child: Child,
        lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    }

    impl Shell {
        fn new() -> Self {
            Self::of(&mut Self::command())
        }

        fn of_user(uid: u32) -> Self {
            Self::of(std::os::unix::process::CommandExt::uid(&mut Self::command(), uid))
        }

        fn command() -> Command {
            #[expect(clippy::disallowed_methods, reason = "a process that makes sockets")]
            Command::new("bash")
        }

        fn of(command: &mut Command) -> Self {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
            let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
            Self { child, lines }
        }

        fn tell(&mut self, line: &str) -> String {
            let stdin = self.child.stdin.as_mut().expect("piped");
            writeln!(stdin, "{line}").expect("told");
            self.lines.next().expect("a line").expect("read")
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn marks_of(pid: u32) -> Vec<Option<u32>> {
        sockets::of_process(pid).expect("listed").into_iter().map(|socket| socket.mark).collect()
    }

    #[test]
    fn sockets_of_a_user_are_marked_and_others_are_not() {
        const UID: u32 = 54_323;
        let mark = 0x5a31_0000 | (std::process::id() & 0x3fff);
        let marker = UserMarker::start(&token(), UID, mark).expect("started");
        let (mut theirs, mut other) = (Shell::of_user(UID), Shell::new());
        let open = "exec 5<>/dev/udp/127.0.0.1/9; echo done";
        assert_eq!([theirs.tell(open), other.tell(open)], ["done", "done"]);
        assert_eq!((marks_of(theirs.child.id()), marks_of(other.child.id())), (vec![Some(mark)], vec![Some(0)]));
        drop(marker);
        assert_eq!(theirs.tell("exec 5>&-; exec 6<>/dev/udp/127.0.0.1/9; echo done"), "done");
        assert_eq!(marks_of(theirs.child.id()), [Some(0)]);
    }

    #[test]
    fn sockets_that_members_make_in_another_namespace_are_left() {
        let mark = 0x5a32_0000 | (std::process::id() & 0x3fff);
        let mut member = Shell::new();
        let marker = SocketMarker::start(&token(), mark).expect("started");
        marker.add(&token(), member.child.id()).expect("added");
        let child = "unshare --net bash -c 'ip link set lo up; exec 5<>/dev/udp/127.0.0.1/9; echo $$; exec sleep 60' 2>/dev/null &";
        let child = member.tell(child).parse::<u32>().expect("a number");
        let there = crate::netns::Namespace::of_process(child).expect("a namespace");
        let marks: Vec<_> = there.within(|| sockets::of_process(child)).expect("listed").into_iter().map(|s| s.mark).collect();
        let id = crate::process::ProcessId::of(child).expect("it runs");
        id.signal(&token(), rustix::process::Signal::KILL).expect("ended");
        assert_eq!(marks, [Some(0)]);
    }

    #[test]
    fn sockets_of_members_and_of_their_children_are_marked_from_the_first_and_others_are_not() {
        let mark = 0x5a30_0000 | (std::process::id() & 0xffff);
        let (mut member, mut other) = (Shell::new(), Shell::new());
        let marker = SocketMarker::start(&token(), mark).expect("started");
        marker.follows_children().expect("this kernel has type information and tracepoints");
        marker.add(&token(), member.child.id()).expect("added");
        let open = "exec 5<>/dev/udp/127.0.0.1/9; echo done";
        assert_eq!([member.tell(open), other.tell(open)], ["done", "done"]);
        assert_eq!(marks_of(member.child.id()), [Some(mark)]);
        assert_eq!(marks_of(other.child.id()), [Some(0)]);
        // A grandchild whose parent is gone by the time it makes a socket.
        let child = "exec 5>&-; (bash -c 'exec 6<>/dev/udp/127.0.0.1/9; echo $$; sleep 60' &) & wait";
        let child = member.tell(child).parse::<u32>().expect("a number");
        let marked = marks_of(child);
        assert!(marker.members().expect("walked").contains(&child));
        let pid = rustix::process::Pid::from_raw(child.cast_signed()).expect("a number");
        let of_child = crate::process::ProcessFacts::all().expect("listed");
        for end in crate::process::descendants(&of_child, child).into_iter().map(|id| id.pid.cast_signed()) {
            let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(end).expect("a number"), rustix::process::Signal::KILL);
        }
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        assert_eq!(marked, [Some(mark)]);
        drop(marker);
        let again = member.tell("exec 7<>/dev/udp/127.0.0.1/9; echo done");
        assert_eq!((again.as_str(), marks_of(member.child.id())), ("done", vec![Some(0)]), "nothing is in force any more");
    }
}
