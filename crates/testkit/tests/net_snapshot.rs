//! A snapshot shows what faults could leave behind, and nothing that changes by itself.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::time::Duration;

use squall_testkit::net::{Family, Host, Lab};
use squall_testkit::{NetSnapshot, eventually};

fn shell(host: &Host, line: &str) {
    let output = host.command("sh").args(["-ec", line]).output().expect("sh");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_kind_of_change_is_seen_and_its_undoing_as_well() {
    let lab = Lab::new();
    let host = lab.host("a");
    let dev = host.interface();
    // What is done, what undoes it, and what the difference says.
    let changes = [
        (
            format!("tc qdisc add dev {dev} root tbf rate 1mbit burst 10k latency 1s"),
            format!("tc qdisc del dev {dev} root"),
            "tc qdisc: qdisc tbf",
        ),
        (format!("tc qdisc add dev {dev} clsact"), format!("tc qdisc del dev {dev} clsact"), "tc qdisc: qdisc clsact"),
        (
            "tc actions add action mirred egress redirect dev lo index 7".into(),
            "tc actions del action mirred index 7".into(),
            "tc action mirred: ",
        ),
        ("nft add table inet left".into(), "nft delete table inet left".into(), "nft ruleset: table inet left"),
        ("ip link add left type ifb".into(), "ip link del left".into(), "ip link: "),
        (format!("ip link set {dev} mtu 1400"), format!("ip link set {dev} mtu 1500"), "mtu 1400"),
        (format!("ip addr add 192.0.2.1/32 dev {dev}"), format!("ip addr del 192.0.2.1/32 dev {dev}"), "ip address:     inet 192.0.2.1"),
        ("ip route add blackhole 198.51.100.0/24".into(), "ip route del blackhole 198.51.100.0/24".into(), "ip -4 route: blackhole"),
        (
            "ip -6 route add unreachable 2001:db8:1::/48".into(),
            "ip -6 route del unreachable 2001:db8:1::/48".into(),
            "ip -6 route: unreachable",
        ),
        ("ip rule add fwmark 7 lookup 7".into(), "ip rule del fwmark 7".into(), "ip -4 rule: "),
        ("ip -6 rule add fwmark 7 lookup 7".into(), "ip -6 rule del fwmark 7".into(), "ip -6 rule: "),
        (
            "echo 40000 40001 > /proc/sys/net/ipv4/ip_local_port_range".into(),
            "echo 32768 60999 > /proc/sys/net/ipv4/ip_local_port_range".into(),
            "sysctl: /proc/sys/net/ipv4/ip_local_port_range:40000",
        ),
    ];
    shell(&host, "echo 32768 60999 > /proc/sys/net/ipv4/ip_local_port_range");
    let before = NetSnapshot::take(&host.path());
    for (change, undo, shown) in changes {
        shell(&host, &change);
        let diff = before.diff(&NetSnapshot::take(&host.path()));
        assert!(diff.contains(shown), "{change}:\n{diff}");
        shell(&host, &undo);
        before.returns(&host.path(), Duration::from_secs(10));
    }
}

#[test]
fn what_others_had_is_seen_to_be_made_again() {
    let lab = Lab::new();
    let host = lab.host("a");
    let dev = host.interface();
    let tree = format!(
        "tc qdisc add dev {dev} root handle 1: htb default 10; tc class add dev {dev} parent 1: classid 1:10 htb rate 10mbit; \
         tc qdisc add dev {dev} clsact; tc filter add dev {dev} egress prio 1 u32 match u32 0 0 flowid 1:10; \
         nft 'add table ip theirs; add chain ip theirs c; add rule ip theirs c counter'"
    );
    shell(&host, &tree);
    let before = NetSnapshot::take(&host.path());
    shell(&host, &format!("tc filter del dev {dev} egress"));
    let diff = before.diff(&NetSnapshot::take(&host.path()));
    assert!(diff.contains(&format!("- tc filter {dev} egress: ")), "{diff}");
    shell(&host, &format!("tc filter add dev {dev} egress prio 1 u32 match u32 0 0 flowid 1:10"));
    shell(&host, &format!("tc class change dev {dev} classid 1:10 htb rate 20mbit"));
    let diff = before.diff(&NetSnapshot::take(&host.path()));
    assert!(diff.contains(&format!("+ tc class {dev}: class htb 1:10")), "{diff}");
    shell(&host, &format!("tc class change dev {dev} classid 1:10 htb rate 10mbit"));
    shell(&host, "nft 'flush chain ip theirs c; add rule ip theirs c counter'");
    let diff = before.diff(&NetSnapshot::take(&host.path()));
    assert!(diff.contains("nft ruleset: ") && diff.contains("counter # handle"), "{diff}");
}

#[test]
fn traffic_alone_changes_nothing() {
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    let dev = a.interface();
    shell(
        &a,
        &format!(
            "tc qdisc add dev {dev} root handle 1: htb default 10; tc class add dev {dev} parent 1: classid 1:10 htb rate 1gbit; tc qdisc add dev {dev} clsact; \
             tc filter add dev {dev} egress u32 match u32 0 0 flowid 1:10; \
             nft 'add table inet t; add chain inet t c {{ type filter hook output priority 0; }}; add rule inet t c counter'"
        ),
    );
    let before = NetSnapshot::take(&a.path());
    for family in Family::BOTH {
        let receiver = b.within(|| UdpSocket::bind(b.socket(family, 7)).expect("a socket"));
        let sender = a.within(|| UdpSocket::bind((family.unspecified(), 0)).expect("a socket"));
        for _ in 0..100 {
            sender.send_to(&[0; 1000], b.socket(family, 7)).expect("sent");
        }
        let mut buffer = [0; 1000];
        receiver.recv(&mut buffer).expect("received");
    }
    assert_eq!(before.diff(&NetSnapshot::take(&a.path())), "");
}

/// Loads a program that lets everything through, puts it on a socket, and says its number. Keeps the descriptor of the program
/// or closes it; ends with its input.
const LOADS_BPF: &str = r#"
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = ctypes.create_string_buffer(struct.pack("=BBhi", 0xb7, 0, 0, -1) + struct.pack("=BBhi", 0x95, 0, 0, 0))
licence = ctypes.create_string_buffer(b"GPL")
load = ctypes.create_string_buffer(struct.pack("=IIQQ", 1, 2, ctypes.addressof(code), ctypes.addressof(licence)) + bytes(96))
fd = libc.syscall(321 if os.uname().machine == "x86_64" else 280, 5, load, 120)
assert fd >= 0, os.strerror(ctypes.get_errno())
holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
holder.setsockopt(socket.SOL_SOCKET, 50, struct.pack("=i", fd))
number = [l.split()[1] for l in open(f"/proc/self/fdinfo/{fd}") if l.startswith("prog_id")][0]
if sys.argv[1] == "close": os.close(fd)
print(number, flush=True)
sys.stdin.read()
"#;

fn with_program(host: &Host, keeps: &str, detached: bool) -> (Child, u32) {
    let words: &[&str] = if detached { &["setsid", "--fork", "python3"] } else { &["python3"] };
    let mut command = host.command(words[0]);
    command.args(&words[1..]).args(["-c", LOADS_BPF, keeps]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its number");
    (child, line.trim().parse().expect("a number"))
}

#[test]
fn a_program_that_is_left_is_seen_but_not_one_that_another_process_holds() {
    let lab = Lab::new();
    let host = lab.host("a");
    let before = NetSnapshot::take(&host.path());
    let left = |id| before.diff(&NetSnapshot::take(&host.path())).contains(&format!("+ bpf: program {id}\n"));
    for (keeps, detached, seen) in [("close", true, true), ("keep", true, false), ("keep", false, true)] {
        let (mut child, id) = with_program(&host, keeps, detached);
        if detached {
            // The one between is gone, so that the program's holder does not descend from this process.
            eventually("setsid has ended", || child.try_wait().is_ok_and(|ended| ended.is_some()));
        }
        assert_eq!(left(id), seen, "{keeps}, detached: {detached}");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.flush().expect("flushed");
        drop(stdin);
        before.returns(&host.path(), Duration::from_secs(10));
        child.wait().expect("ended");
    }
}
