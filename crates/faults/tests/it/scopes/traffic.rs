//! A host between two networks, and all kinds of traffic to, from, on and through it.
//!
//! `here` (eth0, eth1) is what faults are on. `there` and `other` are on its first network, `far` is on the second. Two programs
//! on it hold sockets: the target, which has a user and a control group of its own, and another one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::{Value as Json, json};
use squall_sys::cgroup::Hierarchy;
use squall_sys::cpu_time::monotonic;
use squall_testkit::eventually;
use squall_testkit::net::probe::{Echo, ping};
use squall_testkit::net::{Family, Host, Lab};

const MS: Duration = Duration::from_millis(1);
/// How long is waited for what must not come.
const CUT: Duration = Duration::from_millis(200);
/// How long something may take that is not broken, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(5);
/// Ports of the target's datagrams, and of the other program's.
const OURS: [u16; 2] = [5001, 6001];
const OTHERS: [u16; 2] = [5002, 6002];
const REMOTE: [u16; 3] = [7001, 7002, 8050];
/// Where connections go, on `there` and on `far`; and where they come in here.
const ECHO: [u16; 2] = [7003, 8051];
const DOOR: u16 = 5005;
/// Stands for ports that the kernel chooses.
const CHOSEN: u16 = 40_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Out,
    In,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Own,
    Loopback,
    Routed,
}

/// A packet as the host sees it.
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub peer: IpAddr,
    pub local: u16,
    pub remote: u16,
    pub ours: bool,
    pub interface: &'static str,
    pub place: Place,
}

/// Packets of one kind, and how they are sent.
#[derive(Debug)]
pub struct Flow {
    pub name: String,
    pub protocol: &'static str,
    pub views: Vec<(Way, View)>,
    path: Path,
}

/// By what. Numbers are places in the lists of sockets.
#[derive(Debug)]
enum Path {
    /// Datagrams one way.
    Datagram {
        from: usize,
        to: SocketAddr,
    },
    /// A connection that is there already.
    Kept(usize),
    /// A new one, from here or to here.
    New {
        out: bool,
        to: SocketAddr,
    },
    Ping {
        out: bool,
        to: IpAddr,
    },
}

impl Flow {
    /// What it is, whatever the selector says.
    pub fn nature(&self) -> &'static str {
        match (&self.path, self.views[0].1.place) {
            (_, Place::Loopback) => "on the loopback interface",
            (_, Place::Routed) => "passed on for others",
            (Path::Datagram { .. }, _) => "datagrams",
            (Path::Kept(_), _) => "existing TCP connections",
            (Path::New { .. }, _) => "new TCP connections",
            (Path::Ping { .. }, _) => "ICMP",
        }
    }
}

/// What came of a flow.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    /// How many exchanges or datagrams were begun.
    pub begun: u32,
    /// How long those took that arrived.
    pub took: Vec<Duration>,
}

/// A program that makes sockets and holds them.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const HOLD: &str = r"
import json, os, socket, sys
uid, group, plan = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
if group:
    open(group + '/cgroup.procs', 'w').write(str(os.getpid()))
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
kept = []
for address, local, to in plan:
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_STREAM if to else socket.SOCK_DGRAM)
    if ':' in address: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((address, local))
    if to: s.connect((to[0], to[1]))
    kept.append(s)
print(json.dumps([s.fileno() for s in kept]), flush=True)
sys.stdin.read()
";

/// A control group of v2, gone with it.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let top = Hierarchy::all().expect("mounts").into_iter().find(|h| h.unified).expect("cgroup v2 is mounted").mount_point;
        let directory = top.join(format!("squall-scopes-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("made");
        Self(directory)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        eventually("the group is empty", || std::fs::remove_dir(&self.0).is_ok());
    }
}

pub struct Traffic {
    pub here: Host,
    pub flows: Vec<Flow>,
    there: Host,
    datagrams: Vec<UdpSocket>,
    connections: Vec<TcpStream>,
    number: AtomicU64,
    _echoes: Vec<Echo>,
    target: Holder,
    _other: Holder,
    group: Group,
    _lab: Lab,
}

/// The target's user: one that nobody is.
pub const UID: u32 = 54_977;

impl Traffic {
    pub fn new() -> Self {
        let lab = Lab::new();
        let (first, second) = (lab.first(), lab.segment());
        let (there, other, far) = (lab.host("there"), lab.host("other"), lab.host_on(second, "far"));
        let here = lab.router("here", &[first, second]);
        for host in [&here, &there, &far] {
            // After a fault connections go on at once, and not only after some doubled times.
            host.run("sysctl -q -w net.ipv4.tcp_thin_linear_timeouts=1");
        }
        let echoes = vec![Echo::start(&there, ECHO[0]), Echo::start(&far, ECHO[1]), Echo::start(&here, DOOR)];
        let group = Group::new();
        let mut made = Vec::new();
        for (ports, group) in [(OURS, group.0.to_str().expect("text")), (OTHERS, "")] {
            let mut plan = Vec::new();
            for family in Family::BOTH {
                let any = family.unspecified();
                plan.extend(ports.map(|port| json!([any, port, null])));
                let to = [there.address(family), far.address(family)];
                plan.extend([0, 1].map(|i| json!([any, ports[i] + 2, [to[i], ECHO[i]]])));
            }
            made.push(hold(&here, group, &plan));
        }
        let ((other_program, others), (target, ours)) = (made.pop().expect("two"), made.pop().expect("two"));
        let mut traffic = Self {
            here,
            flows: Vec::new(),
            there,
            datagrams: Vec::new(),
            connections: Vec::new(),
            number: AtomicU64::new(1),
            _echoes: echoes,
            target,
            _other: other_program,
            group,
            _lab: lab,
        };
        traffic.add([ours, others], [&other, &far]);
        for socket in &traffic.datagrams {
            socket.set_nonblocking(true).expect("a mode");
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, 4 << 20);
        }
        traffic
    }

    /// The target's process, and its control group as its path from the root.
    pub fn target(&self) -> (u32, String) {
        (self.target.0.id(), format!("/{}", self.group.0.file_name().expect("a name").to_string_lossy()))
    }

    fn add(&mut self, held: [Vec<OwnedFd>; 2], others: [&Host; 2]) {
        let hosts = [self.there.clone(), others[0].clone(), others[1].clone()];
        // Of the other hosts first: by host, family and port.
        for host in &hosts {
            for family in Family::BOTH {
                let sockets = host.within(|| REMOTE.map(|port| UdpSocket::bind(host.socket(family, port)).expect("a socket")));
                self.datagrams.extend(sockets);
            }
        }
        for (program, held) in held.into_iter().enumerate() {
            let mut held = held.into_iter();
            let (ports, ours) = ([OURS, OTHERS][program], program == 0);
            for (version, family) in Family::BOTH.into_iter().enumerate() {
                for port in ports {
                    self.datagrams.push(UdpSocket::from(held.next().expect("as many")));
                    self.add_datagrams(&hosts, version, family, port, ours);
                }
                for i in [0, 1] {
                    let place = [0, 2][i];
                    self.connections.push(TcpStream::from(held.next().expect("as many")));
                    let view = view(&hosts[place], family, ports[i] + 2, ECHO[i], ours, place);
                    let name = format!("TCP kept by {} to {}, {family:?}", whose(ours), hosts[place].name());
                    self.both_ways(name, "tcp", view, Path::Kept(self.connections.len() - 1));
                }
            }
        }
        for (version, family) in Family::BOTH.into_iter().enumerate() {
            self.add_routed(&hosts, version, family);
            for (place, port) in [(0, ECHO[0]), (2, ECHO[1])] {
                let to = hosts[place].socket(family, port);
                let view = view(&hosts[place], family, CHOSEN, port, false, place);
                self.both_ways(format!("TCP to {to}"), "tcp", view, Path::New { out: true, to });
            }
            let view_of = |local, remote| view(&hosts[0], family, local, remote, false, 0);
            let (door, from) = (self.here.socket(family, DOOR), hosts[0].address(family));
            self.both_ways(format!("TCP from {from} to our {DOOR}"), "tcp", view_of(DOOR, CHOSEN), Path::New { out: false, to: door });
            self.both_ways(format!("ping from {from}"), "icmp", view_of(0, 0), Path::Ping { out: false, to: door.ip() });
            for (place, host) in hosts.iter().enumerate() {
                let to = host.address(family);
                self.both_ways(format!("ping to {to}"), "icmp", view(host, family, 0, 0, false, place), Path::Ping { out: true, to });
            }
        }
    }

    /// Of the socket that was added last.
    fn add_datagrams(&mut self, hosts: &[Host], version: usize, family: Family, port: u16, ours: bool) {
        let socket = self.datagrams.len() - 1;
        for (place, host) in hosts.iter().enumerate() {
            for (i, remote) in REMOTE.into_iter().enumerate() {
                let view = view(host, family, port, remote, ours, place);
                let name = |way| format!("UDP {way} {} of {}, {} of {}", port, whose(ours), remote, host.address(family));
                let to = host.socket(family, remote);
                let out = Path::Datagram { from: socket, to };
                self.flows.push(Flow { name: name("from"), protocol: "udp", views: vec![(Way::Out, view)], path: out });
                // `here` is known by its address on the network of the other.
                let address = if place == 2 { far_side(family) } else { self.here.address(family) };
                let back = Path::Datagram { from: (place * 2 + version) * REMOTE.len() + i, to: SocketAddr::new(address, port) };
                self.flows.push(Flow { name: name("to"), protocol: "udp", views: vec![(Way::In, view)], path: back });
            }
        }
        let peer = if family == Family::V4 { [127, 0, 0, 1].into() } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        let local = if ours { OTHERS } else { OURS };
        for remote in local {
            let view = View { peer, local: port, remote, ours, interface: "lo", place: Place::Loopback };
            let seen_there = View { local: remote, remote: port, ours: !ours, ..view };
            let (name, path) =
                (format!("UDP {port} to {remote} over {peer}"), Path::Datagram { from: socket, to: SocketAddr::new(peer, remote) });
            self.flows.push(Flow { name, protocol: "udp", views: vec![(Way::Out, view), (Way::In, seen_there)], path });
        }
    }

    /// From `far` to `there` and back: what is received on one side and sent on the other.
    fn add_routed(&mut self, hosts: &[Host], version: usize, family: Family) {
        for (from, to) in [(0, 2), (2, 0)] {
            for (i, (source, port)) in REMOTE.into_iter().zip([7002, 8050, 7001]).enumerate() {
                let came = View { place: Place::Routed, ..view(&hosts[from], family, port, source, false, from) };
                let leaves = View { place: Place::Routed, ..view(&hosts[to], family, source, port, false, to) };
                let destination = hosts[to].socket(family, port);
                let path = Path::Datagram { from: (from * 2 + version) * REMOTE.len() + i, to: destination };
                let name = format!("UDP {source} of {} through here to {destination}", hosts[from].address(family));
                self.flows.push(Flow { name, protocol: "udp", views: vec![(Way::Out, leaves), (Way::In, came)], path });
            }
        }
    }

    fn both_ways(&mut self, name: String, protocol: &'static str, view: View, path: Path) {
        self.flows.push(Flow { name, protocol, views: vec![(Way::Out, view), (Way::In, view)], path });
    }

    /// Lets everything pass, `rounds` times each. Of what is in `cut`, none is waited for longer than it takes to see that it does not
    /// come.
    pub fn pass(&self, rounds: u32, cut: &[bool]) -> Vec<Passed> {
        std::thread::scope(|scope| {
            let exchanges: Vec<_> = self
                .flows
                .iter()
                .zip(cut)
                .map(|(flow, cut)| {
                    let limit = if *cut { CUT } else { PATIENCE };
                    (!matches!(flow.path, Path::Datagram { .. })).then(|| scope.spawn(move || self.exchange(flow, rounds, limit)))
                })
                .collect();
            let datagrams = self.send_all(rounds, cut);
            let done = exchanges.into_iter().map(|exchange| exchange.map(|thread| thread.join().expect("exchanged")));
            done.zip(datagrams).map(|(exchange, datagrams)| exchange.unwrap_or(datagrams)).collect()
        })
    }

    fn exchange(&self, flow: &Flow, rounds: u32, limit: Duration) -> Passed {
        let mut passed = Passed::default();
        for _ in 0..rounds {
            passed.begun += 1;
            let took = match flow.path {
                Path::Kept(number) => self.say(&self.connections[number], limit),
                Path::New { out, to } => {
                    let from = if out { &self.here } else { &self.there };
                    from.within(|| {
                        let begin = monotonic();
                        let stream = TcpStream::connect_timeout(&to, limit).ok()?;
                        self.say(&stream, limit).map(|_| monotonic() - begin)
                    })
                }
                Path::Ping { out, to } => ping(if out { &self.here } else { &self.there }, to, 1, MS, limit)[0],
                Path::Datagram { .. } => None,
            };
            passed.took.extend(took);
            if took.is_none() {
                break;
            }
        }
        passed
    }

    /// A number and back. Of an earlier one, which was lost for a while, the answer may come now.
    fn say(&self, mut stream: &TcpStream, limit: Duration) -> Option<Duration> {
        let (begin, number) = (monotonic(), self.number.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        stream.write_all(&number).ok()?;
        let mut answer = [0; 8];
        while answer != number {
            let left = limit.checked_sub(monotonic() - begin).filter(|left| !left.is_zero())?;
            stream.set_read_timeout(Some(left)).expect("a time limit");
            stream.read_exact(&mut answer).ok()?;
        }
        Some(monotonic() - begin)
    }

    fn send_all(&self, rounds: u32, cut: &[bool]) -> Vec<Passed> {
        let (stop, run) = (AtomicBool::new(false), self.number.fetch_add(1, Ordering::Relaxed));
        let came = std::sync::Mutex::new(BTreeMap::<usize, Vec<Duration>>::new());
        let is_datagram = |number: usize| matches!(self.flows[number].path, Path::Datagram { .. });
        let mut sent = vec![0; self.flows.len()];
        std::thread::scope(|scope| {
            scope.spawn(|| self.receive(run, &came, &stop));
            for _ in 0..rounds {
                for (number, flow) in self.flows.iter().enumerate() {
                    let Path::Datagram { from, to } = flow.path else { continue };
                    let mut bytes = [run.to_be_bytes(), (number as u64).to_be_bytes(), [0; 8]];
                    bytes[2] = u64::try_from(monotonic().as_nanos()).expect("not so long ago").to_be_bytes();
                    // One that is refused did not arrive.
                    let _ = self.datagrams[from].send_to(bytes.as_flattened(), to);
                    sent[number] += 1;
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            let last = monotonic();
            let all_here = || {
                let came = came.lock().expect("whole");
                let missing =
                    |number: &usize| is_datagram(*number) && !cut[*number] && came.get(number).is_none_or(|c| c.len() < rounds as usize);
                !(0..self.flows.len()).any(|number| missing(&number))
            };
            while monotonic() < last + CUT || (!all_here() && monotonic() < last + PATIENCE) {
                std::thread::sleep(MS);
            }
            stop.store(true, Ordering::Relaxed);
        });
        let mut came = came.into_inner().expect("whole");
        (0..).zip(sent).map(|(number, begun)| Passed { begun, took: came.remove(&number).unwrap_or_default() }).collect()
    }

    fn receive(&self, run: u64, came: &std::sync::Mutex<BTreeMap<usize, Vec<Duration>>>, stop: &AtomicBool) {
        let limit = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        let mut waiting: Vec<PollFd<'_>> = self.datagrams.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        while !stop.load(Ordering::Relaxed) {
            let _ = poll(&mut waiting, Some(&limit));
            for socket in self.datagrams.iter().zip(&waiting).filter(|(_, ready)| !ready.revents().is_empty()).map(|(socket, _)| socket) {
                let mut bytes = [[0; 8]; 3];
                while socket.recv(bytes.as_flattened_mut()).is_ok() {
                    let [of, number, at] = bytes.map(u64::from_be_bytes);
                    if of == run {
                        let took = monotonic().saturating_sub(Duration::from_nanos(at));
                        came.lock().expect("whole").entry(usize::try_from(number).expect("small")).or_default().push(took);
                    }
                }
            }
        }
    }
}

fn whose(ours: bool) -> &'static str {
    if ours { "the target" } else { "another" }
}

/// How `here` is called on the second network.
fn far_side(family: Family) -> IpAddr {
    match family {
        Family::V4 => [10, 0, 1, 254].into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 254).into(),
    }
}

fn view(host: &Host, family: Family, local: u16, remote: u16, ours: bool, place: usize) -> View {
    View { peer: host.address(family), local, remote, ours, interface: if place == 2 { "eth1" } else { "eth0" }, place: Place::Own }
}

/// A program with these sockets, and the sockets themselves.
fn hold(host: &Host, group: &str, plan: &[Json]) -> (Holder, Vec<OwnedFd>) {
    let mut command = host.command("python3");
    command.args(["-c", HOLD, &UID.to_string(), group, &Json::from(plan).to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    let (mut line, stdout) = (String::new(), child.stdout.take().expect("piped"));
    let holder = Holder(child);
    BufReader::new(stdout).read_line(&mut line).expect("read");
    let numbers: Vec<i32> = serde_json::from_str(&line).expect("numbers of its sockets");
    let pid = Pid::from_raw(i32::try_from(holder.0.id()).expect("small")).expect("a number");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
    let get = |fd| pidfd_getfd(&process, fd, PidfdGetfdFlags::empty()).expect("as root");
    (holder, numbers.into_iter().map(get).collect())
}
