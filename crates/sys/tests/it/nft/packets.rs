//! What rules do to packets.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto};
use squall_sys::cgroup::Hierarchy;
use squall_sys::nft::{
    ChainKind, Element, Expression as E, Family, Hook, Owned, Queueing, Reject, Rule, Set, SetKind, Side, Table, supports,
};
use squall_sys::queue::{Queue, Settings};

use super::{armed, chain, command, counted, in_namespace, outgoing, rule, run, send};

fn counting(comment: &str, conditions: impl Into<Vec<E>>) -> Rule {
    let mut expressions = conditions.into();
    expressions.push(E::Counter);
    rule(comment, expressions)
}

#[test]
fn each_condition_counts_what_it_names_and_nothing_else() {
    let address = |set: &str, family, not| E::Address { side: Side::Destination, set: set.into(), family, not };
    let port = |not| E::Port { side: Side::Destination, set: "ports".into(), not };
    let here = "127.0.0.2".parse().expect("an address");
    // 2 datagrams to 127.0.0.2:53, 3 to 127.0.0.1:99, 4 to [::1]:53, 1 ping to 127.0.0.1.
    let expected: Vec<(Rule, u64)> = vec![
        (counting("udp", [E::Protocol(vec![17])]), 9),
        (counting("udp or tcp", [E::Protocol(vec![6, 17])]), 9),
        (counting("tcp", [E::Protocol(vec![6])]), 0),
        (counting("echo and its answer", [E::Protocol(vec![1])]), 2),
        (counting("by lo, IPv6, UDP", [E::LeavesBy("lo".into()), E::Family(Family::V6), E::Protocol(vec![17])]), 4),
        (counting("not by lo", [E::NotLeavesBy("lo".into())]), 0),
        (counting("by l", [E::LeavesBy("l".into())]), 0),
        (counting("in set, UDP", [address("four", Family::V4, false), E::Protocol(vec![17])]), 2),
        (counting("not in set, UDP", [address("four", Family::V4, true), E::Protocol(vec![17])]), 3),
        (counting("in IPv6 set", [address("six", Family::V6, false), E::Protocol(vec![17])]), 4),
        (counting("in no set", [address("none", Family::V4, false)]), 0),
        (counting("is", [E::AddressIs(Side::Destination, here)]), 2),
        (counting("port", [port(false)]), 6),
        (counting("not port", [port(true)]), 3),
        (counting("tcp port", [E::Protocol(vec![6]), port(true)]), 0),
        (counting("port is", [E::PortIs(Side::Destination, 99)]), 3),
        (counting("flags", [E::TcpFlags { mask: 0, value: 0 }]), 0),
        (counting("root, UDP", [E::User(0), E::Protocol(vec![17])]), 9),
        (counting("nobody", [E::User(65534)]), 0),
        (counting("mark", [E::Mark(1)]), 0),
        (rule("marks", [E::PortIs(Side::Destination, 99), E::SetMark(1)]), 0),
        (counting("marked", [E::Mark(1)]), 3),
        (counting("unmarked UDP", [E::NotMark(1), E::Protocol(vec![17])]), 6),
        (counting("class", [E::NetClass(0x1234_5678)]), 0),
    ];
    in_namespace(|| {
        let set = |name: &str, kind, elements| Set { name: name.into(), kind, elements };
        let mut table = outgoing("conditions", expected.iter().map(|(rule, _)| rule.clone()).collect());
        table.sets = vec![
            set("four", SetKind::Ipv4, vec![Element::Ipv4([127, 0, 0, 2].into(), [127, 0, 0, 9].into())]),
            set("none", SetKind::Ipv4, Vec::new()),
            set("six", SetKind::Ipv6, vec![Element::Ipv6("::1".parse().expect("one"), "::1".parse().expect("one"))]),
            set("ports", SetKind::Port, vec![Element::Port(50, 54)]),
        ];
        let _owned = Owned::create(&armed(), &table).expect("the table is made");
        // So that nobody answers with ICMP.
        let _listeners = ["127.0.0.2:53", "127.0.0.1:99", "[::1]:53"].map(|a| UdpSocket::bind(a).expect("a listener"));
        send("127.0.0.2:53", 2);
        send("127.0.0.1:99", 3);
        send("[::1]:53", 4);
        ping();
        let counts = counted("conditions");
        for (rule, packets) in expected.iter().filter(|(rule, _)| rule.expressions.contains(&E::Counter)) {
            let found = counts.iter().find(|(comment, _)| *comment == rule.comment).expect("is counted").1;
            assert_eq!(found, *packets, "{}", rule.comment);
        }
    });
}

/// One ICMP echo request, which the kernel answers.
fn ping() {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).expect("a socket");
    let request = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    let to: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &to).expect("sent");
}

#[test]
fn a_socket_is_known_by_its_mark() {
    in_namespace(|| {
        let table = outgoing("marked", vec![counting("ours", [E::SocketMark(77)]), counting("all", [E::Protocol(vec![17])])]);
        let _owned = Owned::create(&armed(), &table).expect("the table is made");
        let _listener = UdpSocket::bind("127.0.0.1:99").expect("a listener");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mark: libc::c_uint = 77;
        let size = libc::socklen_t::try_from(size_of_val(&mark)).expect("four");
        // SAFETY: the kernel reads four bytes from `mark`, which lives until the call returns; rustix does not have this option.
        let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, (&raw const mark).cast(), size) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
        socket.send_to(b"x", "127.0.0.1:99").expect("sent");
        send("127.0.0.1:99", 2);
        assert_eq!(counted("marked"), [("ours".to_owned(), 1), ("all".to_owned(), 3)]);
    });
}

/// A group of cgroup v2 that is gone when this is dropped.
struct Group(std::path::PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_socket_is_known_by_its_control_group_and_those_above_it() {
    let hierarchy = Hierarchy::all().expect("mounts").into_iter().find(|h| h.unified).expect("cgroup v2 is mounted");
    let name = format!("squall-nft-{}", std::process::id());
    let groups = [name.clone(), format!("{name}/inner"), format!("{name}/other")].map(|n| {
        let group = Group(hierarchy.mount_point.join(n));
        std::fs::create_dir(&group.0).expect("a group can be made");
        group
    });
    in_namespace(|| {
        let conditions = [("outer", name.clone()), ("inner", format!("/{name}/inner")), ("other", format!("{name}/other"))];
        let rules = conditions.map(|(comment, path)| counting(comment, [E::CgroupV2(path)])).to_vec();
        let _owned = Owned::create(&armed(), &outgoing("groups", rules)).expect("the table is made");
        let _listener = UdpSocket::bind("127.0.0.1:99").expect("a listener");
        send("127.0.0.1:99", 1);
        let program = std::env::current_exe().expect("this program");
        let args = ["nft::packets::sends_a_datagram_from_another_control_group", "--exact", "--ignored"];
        let mut sender = command(program.to_str().expect("a path of text"), &args);
        let output = sender.env(GROUP, &groups[1].0).output().expect("a process");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(counted("groups"), [("outer".to_owned(), 1), ("inner".to_owned(), 1), ("other".to_owned(), 0)]);
        assert!(std::fs::metadata(&groups[0].0).is_ok_and(|m| m.ino() > 0));
    });
    let [outer, inner, other] = groups;
    drop((inner, other));
    drop(outer);
}

/// The directory of the group to join.
const GROUP: &str = "SQUALL_TEST_GROUP";

#[test]
#[ignore = "the process of another test, which names the group"]
fn sends_a_datagram_from_another_control_group() {
    // Not started by it: there is nothing to be sent.
    let Some(group) = std::env::var_os(GROUP) else { return };
    std::fs::write(std::path::Path::new(&group).join("cgroup.procs"), std::process::id().to_string()).expect("joined");
    send("127.0.0.1:99", 1);
}

#[test]
fn a_chance_is_met_as_often_as_it_says() {
    const PACKETS: u32 = 10_000;
    let shares = [0.01, 0.5, 0.0, 1.0];
    let inside = |share: f64, found: u64| {
        let expected = share * f64::from(PACKETS);
        // 99% of all binomial counts are within 2.576 standard deviations.
        (found as f64 - expected).abs() <= 2.576 * (expected * (1.0 - share)).sqrt() + 0.5
    };
    let trial = || {
        in_namespace(|| {
            let rules = shares.map(|share| counting(&share.to_string(), [E::Chance(share)])).to_vec();
            let _owned = Owned::create(&armed(), &outgoing("chance", rules)).expect("the table is made");
            let _listener = UdpSocket::bind("127.0.0.1:99").expect("a listener");
            send("127.0.0.1:99", PACKETS as usize);
            let counts = counted("chance");
            shares.iter().zip(&counts).all(|(share, (_, found))| inside(*share, *found)).then_some(()).ok_or(counts)
        })
    };
    // One trial in fifty is outside by chance; four in a row are not.
    let failures: Vec<_> = (0..4).map_while(|_| trial().err()).collect();
    assert!(failures.len() < 4, "{failures:?}");
}

#[test]
fn a_queue_without_a_listener_swallows_what_a_bypass_lets_through() {
    in_namespace(|| {
        let to = |port, bypass| rule("queue", [E::PortIs(Side::Destination, port), E::Queue { number: 4711, bypass }]);
        let table = outgoing("queue", vec![to(98, true), to(99, false)]);
        let _owned = Owned::create(&armed(), &table).expect("the table is made");
        for (address, port_98, port_99) in [("127.0.0.1:0", "127.0.0.1:98", "127.0.0.1:99"), ("[::1]:0", "[::1]:98", "[::1]:99")] {
            let (through, swallowed) = (UdpSocket::bind(port_98).expect("a listener"), UdpSocket::bind(port_99).expect("a listener"));
            let sender = UdpSocket::bind(address).expect("a socket");
            assert_eq!(sender.send_to(b"lost", port_99).expect("the sender does not notice"), 4);
            sender.send_to(b"kept", port_98).expect("sent");
            let mut buffer = [0; 4];
            through.recv(&mut buffer).expect("comes through");
            swallowed.set_nonblocking(true).expect("set");
            // Loopback delivers before the sending call returns.
            assert!(swallowed.recv(&mut buffer).is_err());
        }
    });
}

#[test]
fn what_waits_in_a_queue_can_be_let_go_after_its_table_is_disarmed() {
    in_namespace(|| {
        let settings = Settings { number: 4712, length: 10, copy: 100 };
        let mut queue = Queue::bind(&armed(), settings).expect("a queue");
        let rules = vec![rule("queue", [E::PortIs(Side::Destination, 99), E::Queue { number: 4712, bypass: false }])];
        let chains = vec![chain("in", Some((ChainKind::Filter, Hook::Input, 0)), rules)];
        let mut owned = Owned::create(&armed(), &Table { name: "held".into(), sets: Vec::new(), chains }).expect("the table is made");
        let receiver = UdpSocket::bind("127.0.0.1:99").expect("a listener");
        receiver.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let mut inbox = queue.inbox();
        send("127.0.0.1:99", 1);
        queue.receive(&mut inbox).expect("received");
        let held: Vec<u32> = inbox.packets().map(|p| p.id).collect();
        assert_eq!(held.len(), 1, "loopback delivers before the sending call returns");
        owned.disarm(&armed()).expect("disarmed");
        queue.accept(&armed(), held[0], None).and_then(|()| queue.flush(&armed())).expect("a verdict");
        receiver.recv(&mut [0; 1]).expect("it was held, not dropped");
        send("127.0.0.1:99", 1);
        receiver.recv(&mut [0; 1]).expect("not queued any more");
        owned.remove(&armed()).expect("removed");
    });
}

#[test]
fn a_refusal_tells_the_sender_over_ipv4_and_ipv6() {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable};
    in_namespace(|| {
        let to = |port, how| rule("reject", [E::PortIs(Side::Destination, port), E::Reject(how)]);
        let incoming = vec![to(97, Reject::TcpReset), to(98, Reject::PortUnreachable), to(99, Reject::HostUnreachable)];
        let chains = vec![chain("in", Some((ChainKind::Filter, Hook::Input, 0)), incoming)];
        let _owned = Owned::create(&armed(), &Table { name: "reject".into(), sets: Vec::new(), chains }).expect("the table is made");
        let attempt = |host: &str, port: u16, expected| {
            let _listener = TcpListener::bind(format!("{host}:{port}")).expect("a listener");
            let error = TcpStream::connect(format!("{host}:{port}")).expect_err("is refused");
            assert_eq!(error.kind(), expected, "{host} {port}");
        };
        // At once, for over loopback a sender takes the news from ICMP only when it tries again.
        std::thread::scope(|scope| {
            for host in ["127.0.0.1", "[::1]"] {
                for (port, expected) in [(97, ConnectionRefused), (98, ConnectionRefused), (99, HostUnreachable)] {
                    scope.spawn(move || attempt(host, port, expected));
                }
            }
        });
    });
}

#[test]
fn a_connection_is_redirected_over_ipv4_and_ipv6() {
    in_namespace(|| {
        let rules = vec![rule("redirect", [E::PortIs(Side::Destination, 80), E::Redirect(8080)])];
        let chains = vec![chain("nat", Some((ChainKind::Nat, Hook::Output, -100)), rules)];
        let _owned = Owned::create(&armed(), &Table { name: "redirect".into(), sets: Vec::new(), chains }).expect("the table is made");
        for host in ["127.0.0.1", "[::1]"] {
            let listener = TcpListener::bind(format!("{host}:8080")).expect("a listener");
            let _client = TcpStream::connect(format!("{host}:80")).expect("somebody answers");
            listener.accept().expect("the redirected connection");
        }
    });
}

#[test]
fn what_the_kernel_is_said_to_have_it_has() {
    let support = in_namespace(supports);
    assert_eq!(support.refusal, None);
    assert!(support.tables && support.random && support.reject && support.redirect && support.socket_mark, "{support:?}");
    assert_ne!(support.queue, Queueing::Missing);
    println!("{support:?}");
    in_namespace(|| {
        supports();
        assert_eq!(run("nft", &["list", "ruleset"]), "", "asking leaves nothing");
    });
}
