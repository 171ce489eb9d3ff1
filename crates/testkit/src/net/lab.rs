//! Several hosts, the switches between them, and routers.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use squall_sys::netns::Namespace;

use super::host::{Host, Port};
use crate::waiting::eventually;

/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";
/// What every name begins with.
const PREFIX: &str = "sq-";
/// The last byte of a router's addresses.
const ROUTER: u8 = 254;

/// Hosts in namespaces of their own, on switches that are bridges in further namespaces. Nothing touches the network that the
/// tests run in. Every lab has the same addresses: no lab sees another.
///
/// Segment `k` is `10.0.k.0/24` and `fd00:0:0:k::/64`; its hosts count from 1.
#[derive(Debug)]
pub struct Lab {
    /// `sq-<pid>-<start time of that process>-<number>`
    name: String,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    segments: Vec<Switch>,
    namespaces: Vec<String>,
}

#[derive(Debug)]
struct Switch {
    namespace: String,
    hosts: Vec<Host>,
    ports: u8,
    routed: bool,
}

/// One switch and the hosts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment(u8);

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// One segment without hosts. What labs of processes that are gone have left behind is removed first.
    pub fn new() -> Self {
        static STALE: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        STALE.call_once(remove_stale);
        let pid = std::process::id();
        let start = start_time(pid).expect("this process is in /proc");
        let name = format!("{PREFIX}{pid}-{start}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let lab = Self { name, plan: Mutex::default() };
        lab.segment();
        lab
    }

    /// The segment that is there from the beginning.
    pub fn first(&self) -> Segment {
        Segment(0)
    }

    /// One more segment.
    pub fn segment(&self) -> Segment {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let number = u8::try_from(plan.segments.len()).expect("few segments");
        let namespace = format!("{}-switch{number}", self.name);
        plan.namespaces.push(namespace.clone());
        ip(None, &format!("netns add {namespace}\n"));
        // A switch that says nothing of its own accord, and forwards at once whatever comes.
        let bridge = "link set lo up\n\
             link add bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set bridge addrgenmode none\n\
             link set bridge up\n";
        ip(Some(&namespace), bridge);
        plan.segments.push(Switch { namespace, hosts: Vec::new(), ports: 0, routed: false });
        Segment(number)
    }

    /// A host on the first segment. Its interface is `eth0`; its addresses work at once.
    pub fn host(&self, name: &str) -> Host {
        self.host_on(self.first(), name)
    }

    /// A host on a segment.
    pub fn host_on(&self, segment: Segment, name: &str) -> Host {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let namespace = self.namespace(&mut plan, name);
        let switch = &mut plan.segments[usize::from(segment.0)];
        let number = u8::try_from(switch.hosts.len() + 1).ok().filter(|n| *n < ROUTER).expect("not so many hosts");
        let port = plug(switch, segment, &namespace, "eth0", number);
        let host = Host::new(name, namespace, port);
        if switch.routed {
            add_routes(segment, &host);
        }
        switch.hosts.push(host.clone());
        host
    }

    /// A host that is on several segments, as `eth0`, `eth1` and so on, and passes packets on between them. It is the default
    /// gateway of all other hosts there.
    pub fn router(&self, name: &str, segments: &[Segment]) -> Host {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let namespace = self.namespace(&mut plan, name);
        let mut first = None;
        for (number, segment) in segments.iter().enumerate() {
            let switch = &mut plan.segments[usize::from(segment.0)];
            assert!(!switch.routed, "one router to a segment");
            let port = plug(switch, *segment, &namespace, &format!("eth{number}"), ROUTER);
            switch.routed = true;
            first.get_or_insert(port);
        }
        let host = Host::new(name, namespace, first.expect("a segment"));
        host.within(|| {
            for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                std::fs::write(format!("/proc/sys/net/{file}"), "1").expect("forwards");
            }
        });
        for segment in segments {
            for host in &plan.segments[usize::from(segment.0)].hosts {
                add_routes(*segment, host);
            }
        }
        host
    }

    /// A namespace with nothing in it but a loopback.
    fn namespace(&self, plan: &mut Plan, name: &str) -> String {
        let namespace = format!("{}-{name}", self.name);
        assert!(!plan.namespaces.contains(&namespace), "two hosts named {name}");
        plan.namespaces.push(namespace.clone());
        ip(None, &format!("netns add {namespace}\n"));
        // No router announces itself here: nobody needs to ask for one.
        let quiet = || {
            for file in ["accept_ra", "router_solicitations"] {
                std::fs::write(format!("/proc/sys/net/ipv6/conf/default/{file}"), "0")?;
            }
            Ok(())
        };
        let at = Namespace::at(&Path::new(NAMES).join(&namespace));
        at.and_then(|at| at.within(quiet)).unwrap_or_else(|error| panic!("{namespace}: {error}"));
        namespace
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let plan = self.plan.get_mut().unwrap_or_else(PoisonError::into_inner);
        remove(&plan.namespaces);
    }
}

fn v4(segment: Segment, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, segment.0, host)
}

fn v6(segment: Segment, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, u16::from(segment.0), 0, 0, 0, u16::from(host))
}

/// A cable from a namespace to a switch, and addresses at its end.
fn plug(switch: &mut Switch, segment: Segment, namespace: &str, interface: &str, number: u8) -> Port {
    let (port, hub) = (switch.ports, &switch.namespace);
    switch.ports += 1;
    ip(None, &format!("link add {interface} netns {namespace} type veth peer name port{port} netns {hub}\n"));
    let (v4, v6) = (v4(segment, number), v6(segment, number));
    // Without duplicate address detection an address can be used at once. A router asks for its neighbours with its link-local
    // one, and does not ask when it has none.
    ip(
        Some(namespace),
        &format!(
            "link set lo up\nlink set {interface} addrgenmode none\nlink set {interface} up\naddr add {v4}/24 dev {interface}\n\
             addr add fe80::{number:x}/64 dev {interface} nodad\naddr add {v6}/64 dev {interface} nodad\n"
        ),
    );
    // Last: the carrier comes on when both ends are up, and the switch's port must see it when it comes up.
    ip(Some(hub), &format!("link set port{port} addrgenmode none\nlink set port{port} master bridge\nlink set port{port} up\n"));
    // Until the kernel has taken note of the carrier, a moment later, both ends lose what is sent.
    for (namespace, interface) in [(namespace, interface), (hub, &format!("port{port}"))] {
        eventually("the cable is in", || link(namespace, interface).contains(" state UP "));
    }
    Port { interface: interface.to_owned(), v4, v6 }
}

/// What `ip link` says of an interface.
fn link(namespace: &str, interface: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "looks at what `ip` has made")]
    let output = Command::new("ip").args(["-n", namespace, "-o", "link", "show", "dev", interface]).output();
    String::from_utf8_lossy(&output.expect("ip").stdout).into_owned()
}

fn add_routes(segment: Segment, host: &Host) {
    let (v4, v6) = (v4(segment, ROUTER), v6(segment, ROUTER));
    ip(Some(host.name_of_namespace()), &format!("route add default via {v4}\nroute add default via {v6}\n"));
}

/// Lines for `ip -batch`, in a namespace. A batch costs as much as one call of `ip`.
pub(super) fn ip(namespace: Option<&str>, lines: &str) {
    let result = try_ip(namespace, lines, false);
    assert!(result.is_ok(), "ip -batch in {namespace:?}: {}\n{lines}", result.expect_err("failed"));
}

fn try_ip(namespace: Option<&str>, lines: &str, go_on: bool) -> Result<(), String> {
    #[expect(clippy::disallowed_methods, reason = "hosts are made by the tool that people make them with, not by what is tested")]
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    if go_on {
        command.arg("-force");
    }
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{error}: install the Debian package iproute2"))?;
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    match (output.status.success(), written) {
        (true, Some(Ok(()))) => Ok(()),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Ends all processes in these namespaces, and takes their names away.
fn remove(namespaces: &[String]) {
    let here = std::fs::metadata("/proc/self/ns/net").map(|file| inode(&file)).unwrap_or_default();
    let inodes: Vec<u64> =
        namespaces.iter().filter_map(|name| Some(inode(&std::fs::metadata(Path::new(NAMES).join(name)).ok()?))).collect();
    for pid in processes() {
        let Ok(file) = std::fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
        if inode(&file) != here
            && inodes.contains(&inode(&file))
            && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let lines: String = namespaces.iter().map(|name| format!("netns del {name}\n")).collect();
    // One that is gone already is as it should be.
    let _ = try_ip(None, &lines, true);
}

/// Removes the labs of processes that are gone.
fn remove_stale() {
    let Ok(names) = std::fs::read_dir(NAMES) else { return };
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let stale: Vec<String> = names.filter(|name| owner(name).is_some_and(|(pid, start)| start_time(pid) != Some(start))).collect();
    if !stale.is_empty() {
        remove(&stale);
    }
}

/// Whose namespace it is: the number of the process, and when that was started.
fn owner(namespace: &str) -> Option<(u32, u64)> {
    let mut parts = namespace.strip_prefix(PREFIX)?.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// In ticks since boot; none when there is no such process.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn inode(file: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(file)
}
