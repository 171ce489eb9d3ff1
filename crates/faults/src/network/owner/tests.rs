//! Whose packets the kernel counts, on real hosts.

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};

use squall_sys::nft::{Base, Chain, ChainKind, Element, Expression, Hook, Owned, Rule, Set, SetKind, Side, Table, counters};
use squall_sys::process::ProcessId;
use squall_sys::{bpf, sockets};
use squall_testkit::eventually;
use squall_testkit::net::probe::Echo;
use squall_testkit::net::{Family, Host, Lab};
use squall_undo::Armed;

use super::*;

const PORT: u16 = 4711;
const OWN: &str = "own";

fn token_of_test() -> Armed {
    Armed::received(b"go").expect("a token")
}

/// A process on a host that does what it is told, in Python.
struct Speaker {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Speaker {
    fn on(host: &Host) -> Self {
        const OBEY: &str = "import sys, os, socket, subprocess, encodings.idna
for line in sys.stdin:
    exec(line, globals())
    print('done', flush=True)";
        let mut child = host.command("python3").args(["-c", OBEY]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut speaker = Self { child, lines };
        // With TCP_QUICKACK: an acknowledgement that comes later would be counted with what comes after.
        speaker.tell("def say(s):\n    s.setsockopt(6, 12, 1); s.send(b'to and fro'); assert s.recv(99) == b'to and fro'");
        speaker
    }

    /// Does it, and waits until it is done.
    fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "exec({line:?})").expect("told");
        assert_eq!(self.lines.next().expect("it did not fail").expect("read"), "done", "{line}");
    }

    /// Opens a connection to the echo and says something over it.
    fn connect(&mut self, name: &str, to: IpAddr) {
        self.tell(&format!("{name} = socket.create_connection(('{to}', {PORT})); say({name})"));
    }

    fn datagram(&mut self, name: &str, to: IpAddr) {
        let family = if to.is_ipv4() { "AF_INET" } else { "AF_INET6" };
        self.tell(&format!(
            "{name} = socket.socket(socket.{family}, socket.SOCK_DGRAM); {name}.sendto(b'x', ('{to}', {PORT})); {name}.recv(9)"
        ));
    }

    fn id(&self) -> ProcessId {
        ProcessId::of(self.child.id()).expect("it runs")
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts packets to and from the echo's port: all of them, and the owner's.
struct Counting {
    host: Host,
    table: Owned,
}

/// Packets sent and received: the owner's, then all.
type Counts = [u64; 4];

impl Counting {
    fn start(host: &Host, owner: &Owner, keeper: &Keeper) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("squall-owner-{}-{number}", std::process::id());
        let chain = |name: &str, hook, out: bool| {
            let (to, own) = if out { (Side::Destination, Side::Source) } else { (Side::Source, Side::Destination) };
            let rule = |conditions: Vec<Expression>, comment: &str, verdict: Option<Expression>| {
                let head = [Expression::Protocol(vec![6, 17]), Expression::PortIs(to, PORT)];
                let expressions = head.into_iter().chain(conditions).chain([Expression::Counter]).chain(verdict).collect();
                Rule { expressions, comment: comment.into() }
            };
            let by_port = vec![Expression::Port { side: own, set: OWN.into(), not: false }];
            // An acknowledgement may come long after what it is for, while somebody else is looked at: not counted.
            let late = vec![Expression::Protocol(vec![6]), Expression::TcpFlags { mask: 0x1f, value: 0x10 }];
            let mut rules = vec![
                rule(late, "late", Some(Expression::Accept)),
                rule(Vec::new(), "all", None),
                rule(owner.conditions(out), "owner", Some(Expression::Accept)),
            ];
            rules.push(rule(by_port, "owner", Some(Expression::Accept)));
            Chain { name: name.into(), base: Some(Base { hook, priority: -150, kind: ChainKind::Filter }), rules }
        };
        let sets = vec![Set { name: OWN.into(), kind: SetKind::Port, elements: host.within(|| keeper.local_ports()) }];
        let chains = vec![chain("sent", Hook::Output, true), chain("received", Hook::Input, false)];
        let table = Table { name, sets, chains };
        let table = host.within(|| Owned::create(&token_of_test(), &table)).expect("made");
        Self { host: host.clone(), table }
    }

    fn counts(&self) -> Counts {
        let found = self.host.within(|| counters(self.table.name())).expect("read").expect("there");
        let sum = |chain: &str, comment: &str| found.iter().filter(|c| c.chain == chain && c.comment == comment).map(|c| c.packets).sum();
        [sum("sent", "owner"), sum("received", "owner"), sum("sent", "all"), sum("received", "all")]
    }

    /// What is counted while something is done.
    fn during(&self, mut work: impl FnMut()) -> Counts {
        let before = self.counts();
        work();
        let after = self.counts();
        std::array::from_fn(|i| after[i] - before[i])
    }

    fn assert_all(&self, what: &str, work: impl FnMut()) {
        let [sent, received, all_sent, all_received] = self.during(work);
        assert!(
            sent > 0 && received > 0 && sent == all_sent && received == all_received,
            "{what}: {sent} of {all_sent}, {received} of {all_received}"
        );
    }

    fn assert_none(&self, what: &str, work: impl FnMut()) {
        let [sent, received, all_sent, all_received] = self.during(work);
        assert!(
            sent == 0 && received == 0 && all_sent > 0 && all_received > 0,
            "{what}: {sent} of {all_sent}, {received} of {all_received}"
        );
    }
}

fn two() -> (Lab, Host, Host, Echo) {
    let lab = Lab::new();
    let (here, there) = (lab.host("here"), lab.host("there"));
    let echo = Echo::start(&there, PORT);
    (lab, here, there, echo)
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What one speaker says is the owner's, and what the other says is not, over both protocols and families.
fn told_apart(count: &Counting, ours: &mut Speaker, other: &mut Speaker, there: &Host) {
    for family in FAMILIES {
        let to = there.address(family);
        count.assert_all("a new connection", || ours.connect("fresh", to));
        count.assert_all("its end", || {
            ours.tell("fresh.close()");
            // Until its end is acknowledged.
            let at_rest = |s: &sockets::Socket| {
                matches!(s.state, sockets::State::Listen | sockets::State::Established | sockets::State::Close) || s.local.port() != PORT
            };
            let closed = || there.within(|| sockets::list().expect("listed").iter().all(at_rest));
            eventually("the other side has closed", closed);
        });
        count.assert_all("datagrams", || ours.datagram("first", to));
        count.assert_none("another's connection", || other.connect("fresh", to));
        count.assert_none("another's datagrams", || other.datagram("first", to));
    }
}

/// The same for owners that the kernel knows of open sockets alone. `u` is a bound one that is not connected.
fn told_apart_while_open(count: &Counting, ours: &mut Speaker, other: &mut Speaker, there: &Host) {
    for family in FAMILIES {
        let to = there.address(family);
        count.assert_all("a new connection", || ours.connect("fresh", to));
        count.assert_all("more over it", || ours.tell("say(fresh)"));
        // What the kernel sends for a socket that is closed is nobody's any more: a reset at once, before the next count.
        ours.tell("fresh.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\\x01\\0\\0\\0\\0\\0\\0\\0'); fresh.close()");
        count.assert_none("another's connection", || other.connect("fresh", to));
        count.assert_none("another's datagrams", || other.datagram("first", to));
    }
    count.assert_all("a bound socket that is not connected", || {
        ours.tell(&format!("u.sendto(b'x', ('{}', {PORT})); u.recv(9)", there.v4()));
    });
}

#[test]
fn a_process_its_old_and_new_sockets_and_its_children_are_told_from_others() {
    let (_lab, here, there, _echo) = two();
    let (mut ours, mut other) = (Speaker::on(&here), Speaker::on(&here));
    for (family, name) in FAMILIES.into_iter().zip(["old4", "old6"]) {
        ours.connect(name, there.address(family));
        other.connect(name, there.address(family));
    }
    let target = crate::target::Process;
    let target = target_of(&target, ours.child.id());
    let Place { namespace, owner } = place(&target, &squall_sys::facts()).expect("a place");
    assert_eq!(namespace.inode, here.namespace().inode);
    let Owner::Processes { mark, ref roots } = owner else { panic!("{owner:?}: another process is in that namespace") };
    assert_eq!(roots, &[ours.id()]);
    let keeper = here.within(|| Keeper::start(&token_of_test(), &owner)).expect("kept");
    let count = Counting::start(&here, &owner, &keeper);
    for name in ["old4", "old6"] {
        count.assert_all("an old connection", || ours.tell(&format!("say({name})")));
        count.assert_none("another's old connection", || other.tell(&format!("say({name})")));
    }
    told_apart(&count, &mut ours, &mut other, &there);
    count.assert_all("a child's", || {
        ours.tell(&format!("subprocess.run(['python3', '-c', \"import socket; s = socket.create_connection(('{}', {PORT})); s.send(b'x'); s.recv(9)\"], check=True)", there.v4()));
    });
    // The same target under a second fault: the mark stays as long as one of them needs it.
    let again = here.within(|| place(&target, &squall_sys::facts()).expect("a place").owner);
    assert_eq!(again, owner);
    let second = here.within(|| Keeper::start(&token_of_test(), &again)).expect("kept");
    drop(keeper);
    count.assert_all("an old connection, still", || ours.tell("say(old4)"));
    drop(second);
    count.assert_none("nothing is marked any more", || ours.tell("say(old4)"));
    assert!(here.within(|| sockets::list().expect("listed").iter().all(|s| s.mark != Some(mark) || s.inode == 0)));
}

#[test]
fn a_server_and_what_it_has_accepted_are_told_from_others_from_the_first_packet() {
    let lab = Lab::new();
    let (here, there) = (lab.host("here"), lab.host("there"));
    let (mut ours, mut client) = (Speaker::on(&here), Speaker::on(&there));
    ours.tell("listener = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)");
    let mut other = Speaker::on(&here);
    other.tell("listener = socket.create_server(('::', 81), family=socket.AF_INET6, dualstack_ipv6=True)");
    let owner = here.within(|| {
        let target = target_of(&crate::target::Process, ours.child.id());
        place(&target, &squall_sys::facts()).expect("a place").owner
    });
    let keeper = here.within(|| Keeper::start(&token_of_test(), &owner)).expect("kept");
    let count = Counting::start(&here, &owner, &keeper);
    for to in FAMILIES.map(|family| here.address(family)) {
        for (port, server) in [(80, &mut ours), (81, &mut other)] {
            // The client's port is the one that is counted.
            let talk = format!(
                "c = socket.create_connection(('{to}', {port}), source_address=('', {PORT})); c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\\x01\\0\\0\\0\\0\\0\\0\\0')"
            );
            let mut session = || {
                client.tell(&talk);
                server.tell("s, _ = listener.accept(); s.send(b'hello')");
                client.tell("assert c.recv(9) == b'hello'; c.send(b'hi')");
                server.tell("assert s.recv(9) == b'hi'");
                client.tell("c.close()");
                server.tell("s.close()");
            };
            if port == 80 {
                count.assert_all("a session", &mut session);
            } else {
                count.assert_none("another's session", &mut session);
            }
        }
    }
}

#[test]
fn nothing_is_left_of_the_programs_and_marks_when_it_is_dropped() {
    let lab = Lab::new();
    let here = lab.host("here");
    let (mut ours, _other) = (Speaker::on(&here), Speaker::on(&here));
    ours.tell("s = socket.create_server(('', 80)); u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 53))");
    let marks = || here.within(|| sockets::of_process(ours.child.id())).expect("listed").into_iter().map(|s| s.mark).collect::<Vec<_>>();
    let owner = Owner::Processes { roots: vec![ours.id()], mark: 0x5a00_3fff & !(std::process::id() & 0xff) };
    let Owner::Processes { mark, .. } = owner else { panic!("as above") };
    let keeper = here.within(|| Keeper::start(&token_of_test(), &owner)).expect("kept");
    let links = bpf::links().expect("listed");
    assert!(links.len() >= 2, "one for sockets, one for children");
    assert_eq!(marks(), [Some(mark), Some(mark)]);
    assert_eq!(here.within(|| keeper.local_ports()), [Element::Port(80, 80)], "where connections begin");
    drop(keeper);
    assert_eq!(marks(), [Some(0), Some(0)]);
    eventually("its links are gone", || bpf::links().is_ok_and(|now| links.iter().filter(|link| !now.contains(link)).count() >= 2));
    // After a kill the marks are left, and whoever reverts takes them away, once.
    here.within(|| squall_sys::socket_mark::mark(&token_of_test(), ours.child.id(), mark, &BTreeSet::new())).expect("marked");
    let cleaned = clean(&token_of_test(), &owner, &here.namespace()).expect("cleaned").expect("something to do");
    assert!(cleaned.contains("2 sockets"), "{cleaned}");
    assert_eq!((marks(), clean(&token_of_test(), &owner, &here.namespace()).expect("cleaned")), (vec![Some(0), Some(0)], None));
}

#[test]
fn the_marks_of_others_are_left_and_the_target_refused() {
    let lab = Lab::new();
    let here = lab.host("here");
    let (mut ours, _other) = (Speaker::on(&here), Speaker::on(&here));
    ours.tell("s = socket.create_server(('', 80)); s.setsockopt(socket.SOL_SOCKET, 36, 16)");
    let owner = Owner::Processes { roots: vec![ours.id()], mark: 0x5a00_0001 };
    let error = here.within(|| Keeper::start(&token_of_test(), &owner)).expect_err("refused").to_string();
    assert!(error.contains("0x10") && error.contains("another program"), "{error}");
    let marks: Vec<_> = here.within(|| sockets::of_process(ours.child.id())).expect("listed").into_iter().map(|s| s.mark).collect();
    assert_eq!(marks, [Some(16)]);
    let gone = Owner::Processes { roots: vec![ProcessId { start_ticks: 1, ..ours.id() }], mark: 0x5a00_0001 };
    assert!(here.within(|| Keeper::start(&token_of_test(), &gone)).is_err(), "another process has that number");
}

#[test]
fn a_mark_that_a_routing_rule_or_anothers_socket_has_is_not_chosen() {
    let lab = Lab::new();
    let here = lab.host("here");
    let (ours, mut other) = (Speaker::on(&here), Speaker::on(&here));
    let choose = || mark::choose("process:1:1", &here.namespace(), &[ours.id()]).expect("chosen");
    let first = choose();
    assert_eq!(choose(), first);
    here.run(&format!("ip rule add fwmark {first:#x}/0xffffff lookup main"));
    let second = choose();
    assert_ne!(second, first);
    other.tell(&format!("s = socket.create_server(('', 80)); s.setsockopt(socket.SOL_SOCKET, 36, {second})"));
    let third = choose();
    assert!(third != first && third != second && mark::is_ours(third));
}

#[test]
fn the_marked_sockets_of_a_user_are_told_from_others_to_the_last_packet() {
    let (_lab, here, there, _echo) = two();
    let (mut ours, mut other) = (Speaker::on(&here), Speaker::on(&here));
    ours.connect("old", there.v4().into());
    ours.tell("os.setuid(54321)");
    let target = squall_engine::Target {
        kind: "user".into(),
        id: "user:54321".into(),
        label: "user 54321".into(),
        facts: serde_json::json!({ "uid": 54321 }),
    };
    let owner = place(&target, &squall_sys::facts()).expect("a place").owner;
    assert!(matches!(owner, Owner::MarkedUser { uid: 54321, .. }), "{owner:?}");
    let keeper = here.within(|| Keeper::start(&token_of_test(), &owner)).expect("kept");
    let count = Counting::start(&here, &owner, &keeper);
    count.assert_all("a connection from before", || ours.tell("say(old)"));
    told_apart(&count, &mut ours, &mut other, &there);
    count.assert_all("what is left to be sent when the process ends", || {
        ours.tell(&format!("subprocess.run(['bash', '-c', 'exec 5<>/dev/tcp/{}/{PORT}; echo hello >&5'], check=True)", there.v4()));
    });
    drop(keeper);
    count.assert_none("nothing is marked any more", || ours.tell("say(old)"));
}

#[test]
fn the_sockets_of_a_user_are_told_from_others_while_they_are_open() {
    let (_lab, here, there, _echo) = two();
    let (mut ours, mut other) = (Speaker::on(&here), Speaker::on(&here));
    ours.tell("os.setuid(54321)");
    let owner = Owner::User(54321);
    let keeper = here.within(|| Keeper::start(&token_of_test(), &owner)).expect("kept");
    ours.tell("u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 5300))");
    let count = Counting::start(&here, &owner, &keeper);
    told_apart_while_open(&count, &mut ours, &mut other, &there);
}

/// A control group that is gone with it.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let root = bpf::marking_possible().expect("cgroup v2").mount_point;
        let path = root.join(format!("squall-owner-{}", std::process::id()));
        std::fs::create_dir(&path).expect("made");
        Self(path)
    }

    fn path(&self) -> String {
        format!("/{}", self.0.file_name().expect("a name").to_string_lossy())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        eventually("the group is gone", || std::fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn the_sockets_of_a_control_group_are_told_from_others() {
    let (_lab, here, there, _echo) = two();
    let group = Group::new();
    let (mut ours, mut other) = (Speaker::on(&here), Speaker::on(&here));
    std::fs::write(group.0.join("cgroup.procs"), ours.child.id().to_string()).expect("joined");
    let owner = Owner::CgroupV2(group.path());
    let keeper = here.within(|| Keeper::start(&token_of_test(), &owner)).expect("kept");
    ours.tell("u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 5301))");
    let count = Counting::start(&here, &owner, &keeper);
    told_apart(&count, &mut ours, &mut other, &there);
    count.assert_all("a bound socket that is not connected", || {
        ours.tell(&format!("u.sendto(b'x', ('{}', {PORT})); u.recv(9)", there.v4()));
    });
    drop(ours);
}

/// A group of cgroup v1's `net_cls`, in a hierarchy that is mounted for it and gone with it.
struct Class<'a> {
    host: &'a Host,
    mount: tempfile::TempDir,
    name: String,
}

impl<'a> Class<'a> {
    const NUMBER: u32 = 0x0010_4711;

    fn new(host: &'a Host) -> Self {
        let mount = tempfile::tempdir().expect("a directory");
        host.run(&format!("mount -t cgroup -o net_cls squall {}", mount.path().display()));
        let class = Self { host, mount, name: format!("squall-class-{}", std::process::id()) };
        std::fs::create_dir(class.directory()).expect("made");
        std::fs::write(class.directory().join("net_cls.classid"), Self::NUMBER.to_string()).expect("written");
        class
    }

    fn directory(&self) -> PathBuf {
        self.mount.path().join(&self.name)
    }
}

impl Drop for Class<'_> {
    fn drop(&mut self) {
        eventually("the group is gone", || std::fs::remove_dir(self.directory()).is_ok());
        self.host.run(&format!("umount {}", self.mount.path().display()));
    }
}

#[test]
fn the_sockets_of_a_class_of_net_cls_are_told_from_others() {
    use futures_util::FutureExt;
    use squall_engine::TargetKind;
    // Once somebody mounts net_cls, kernels before 5.16 tell no packets by groups of v2 until they are booted again.
    let release: Vec<u32> = squall_sys::facts().kernel.split('.').map_while(|part| part.parse().ok()).collect();
    if release < vec![5, 16] {
        return;
    }
    let (_lab, here, there, _echo) = two();
    let class = Class::new(&here);
    let (mut ours, mut other) = (Speaker::on(&here), Speaker::on(&here));
    std::fs::write(class.directory().join("cgroup.procs"), ours.child.id().to_string()).expect("joined");
    let selector = serde_json::from_value(serde_json::json!({ "path": format!("/{}", class.name) })).expect("a selector");
    let target = crate::target::Cgroup.find(&selector).now_or_never().expect("at once").expect("found").remove(0);
    let Place { namespace, owner } = place(&target, &squall_sys::facts()).expect("a place");
    assert_eq!((namespace.inode, &owner), (here.namespace().inode, &Owner::NetClass(Class::NUMBER)));
    let keeper = here.within(|| Keeper::start(&token_of_test(), &owner)).expect("kept");
    ours.tell("u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 5302))");
    let count = Counting::start(&here, &owner, &keeper);
    told_apart_while_open(&count, &mut ours, &mut other, &there);
}

#[test]
fn a_process_that_is_alone_in_its_namespace_is_everything_in_it() {
    let lab = Lab::new();
    let here = lab.host("here");
    let speaker = Speaker::on(&here);
    let target = target_of(&crate::target::Process, speaker.child.id());
    let place = place(&target, &squall_sys::facts()).expect("a place");
    assert_eq!((place.owner, place.namespace.inode), (Owner::Everything, here.namespace().inode));
}

fn target_of(kind: &crate::target::Process, pid: u32) -> squall_engine::Target {
    use futures_util::FutureExt;
    use squall_engine::TargetKind;
    let selector = crate::target::ProcessSelector { pid: Some(pid), ..Default::default() };
    kind.find(&selector).now_or_never().expect("at once").expect("found").remove(0)
}
