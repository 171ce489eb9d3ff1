//! Which connections those are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use squall_sys::cpu_time::boottime;
use squall_sys::sockets::{self, Protocol, Socket, State, inodes_of};

use super::Line;

/// Programs that SSH sessions come in by, by their names or file names.
const SSH: [&str; 5] = ["sshd", "sshd-session", "sshd-auth", "dropbear", "tinysshd"];
/// Where they are expected.
const SSH_PORT: u16 = 22;
/// The file name of Squall's program.
const PROGRAM: &str = "squall";
/// Commands of Squall whose connections are the traffic itself.
const TRAFFIC: [&str; 3] = ["proxy", "shop", "demo"];

/// A look is good for so long: faults that begin together look once, and so do a fault's plan and its injection.
const GOOD_FOR: Duration = Duration::from_millis(100);

/// What is looked at of a process, which is little, as every process is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// The kernel's name of it.
    name: String,
    /// The file name of its program, where that may be read.
    program: Option<String>,
}

impl Process {
    /// None if it is gone, or a kernel thread.
    fn of(pid: u32) -> Option<Self> {
        // A kernel thread has no program, which is told sooner than what it does have.
        let program = match std::fs::read_link(format!("/proc/{pid}/exe")) {
            Ok(path) => Some(path.file_name()?.to_str()?.trim_end_matches(" (deleted)").to_owned()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            Err(_) => return None,
        };
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned();
        Some(Self { pid, name, program })
    }

    fn all() -> io::Result<Vec<Self>> {
        let pids = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Ok(pids.filter_map(Self::of).collect())
    }

    fn is_ssh(&self) -> bool {
        SSH.contains(&self.name.as_str()) || self.program.as_deref().is_some_and(|name| SSH.contains(&name))
    }

    /// An engine, an agent, a carrier: whatever of Squall is not the traffic itself.
    fn is_squall(&self) -> bool {
        let is_traffic = || self.arguments().get(1).is_some_and(|command| TRAFFIC.contains(&command.as_str()));
        self.program.as_deref() == Some(PROGRAM) && !is_traffic()
    }

    fn arguments(&self) -> Vec<String> {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    fn label(&self) -> String {
        format!("{} (pid {})", self.name, self.pid)
    }
}

/// A process that may have lines, and the sockets that it has open, in whatever namespace.
#[derive(Debug)]
struct Holder {
    process: Process,
    inodes: BTreeSet<u64>,
}

impl Holder {
    fn new(process: Process) -> Self {
        let inodes = inodes_of(process.pid).unwrap_or_default();
        Self { process, inodes }
    }

    /// Its own among the listed ones.
    fn of<'a>(&self, sockets: &'a [Socket]) -> Vec<&'a Socket> {
        sockets.iter().filter(|socket| self.inodes.contains(&socket.inode)).collect()
    }
}

/// What one look at the host has found, whatever the namespace.
#[derive(Debug)]
struct Look {
    ssh: Vec<Holder>,
    squall: Vec<Holder>,
    ancestors: Vec<Holder>,
    environments: Vec<HashMap<String, String>>,
}

impl Look {
    fn now() -> io::Result<Self> {
        let all = Process::all()?;
        let own = std::process::id();
        let ancestors = ancestors(own);
        let environments = ancestors.iter().map(|ancestor| environment(ancestor.pid)).chain([environment(own)]).collect();
        let chosen = |is_one: fn(&Process) -> bool| all.iter().filter(|process| is_one(process)).cloned().map(Holder::new).collect();
        let ancestors = ancestors.into_iter().map(Holder::new).collect();
        Ok(Self { ssh: chosen(Process::is_ssh), squall: chosen(Process::is_squall), ancestors, environments })
    }

    /// As of a moment ago.
    fn recent() -> io::Result<Arc<Self>> {
        static LAST: Mutex<Option<(Duration, Arc<Look>)>> = Mutex::new(None);
        // Held while it looks, so that the others wait for what it sees.
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, look)) = last.as_ref().filter(|(at, _)| boottime() < *at + GOOD_FOR) {
            return Ok(Arc::clone(look));
        }
        let at = boottime();
        let look = Arc::new(Self::now()?);
        *last = Some((at, Arc::clone(&look)));
        Ok(look)
    }
}

/// The lines in the calling thread's network namespace, whoever's processes they belong to; as of a moment ago.
pub fn connections() -> io::Result<Vec<Line>> {
    /// By the number of the namespace.
    type Seen = HashMap<u64, (Duration, Vec<Line>)>;
    static LAST: Mutex<Option<Seen>> = Mutex::new(None);
    let last = || LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let here = std::fs::metadata("/proc/thread-self/ns/net")?.ino();
    let at = boottime();
    if let Some((_, lines)) = last().as_ref().and_then(|seen| seen.get(&here)).filter(|(then, _)| at < *then + GOOD_FOR) {
        return Ok(lines.clone());
    }
    let lines = look(&*Look::recent()?)?;
    let mut last = last();
    let seen = last.get_or_insert_default();
    seen.retain(|_, (then, _)| at < *then + GOOD_FOR);
    seen.insert(here, (at, lines.clone()));
    Ok(lines)
}

fn look(host: &Look) -> io::Result<Vec<Line>> {
    let sockets = sockets::list()?;
    let mut lines = ssh(&host.ssh, &sockets);
    lines.extend(host.ancestors.iter().flat_map(|ancestor| {
        let why = format!("open by {}, which Squall was started by", ancestor.process.label());
        ancestor.of(&sockets).into_iter().filter_map(move |socket| line(socket, &why))
    }));
    lines.extend(served(&host.squall, &sockets));
    for environment in &host.environments {
        lines.extend(ssh_connection(environment));
        lines.extend(cluster(environment));
    }
    Ok(without_repeats(lines))
}

/// Everything above a process but process 1, whose sockets are those of every service that it holds ports for.
fn ancestors(pid: u32) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut at = parent(pid);
    while let Some(process) = at.filter(|pid| *pid > 1).and_then(Process::of) {
        // An exit in between can make a circle.
        if found.iter().any(|known| known.pid == process.pid) {
            break;
        }
        at = parent(process.pid);
        found.push(process);
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state parent …`, and the name may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// The line that a socket is.
fn line(socket: &Socket, why: &str) -> Option<Line> {
    let line = |peer| Line { protocol: socket.protocol.number(), local: Some(socket.local), peer, why: why.to_owned() };
    let bound = socket.local.port() != 0;
    match (socket.protocol, socket.state) {
        (_, _) if !bound => None,
        (Protocol::Tcp, State::Listen) | (Protocol::Udp, State::Close) => Some(line(None)),
        _ if socket.is_connected() => Some(line(Some(socket.peer))),
        _ => None,
    }
}

/// SSH: the ports where sessions come in, and those that have. What a session forwards elsewhere is not the session.
fn ssh(servers: &[Holder], sockets: &[Socket]) -> Vec<Line> {
    let servers: Vec<(&Process, Vec<&Socket>)> = servers.iter().map(|server| (&server.process, server.of(sockets))).collect();
    let listening = |socket: &&&Socket| socket.protocol == Protocol::Tcp && socket.state == State::Listen;
    // Where a socket is activated, process 1 listens.
    let at_its_port = sockets.iter().filter(|s| s.protocol == Protocol::Tcp && s.state == State::Listen && s.local.port() == SSH_PORT);
    let mut doors: BTreeMap<SocketAddr, String> =
        at_its_port.map(|socket| (socket.local, "where SSH sessions come in".to_owned())).collect();
    for (server, open) in &servers {
        for door in open.iter().filter(listening) {
            doors.insert(door.local, format!("where SSH sessions come in ({})", server.label()));
        }
    }
    let mut ports: BTreeSet<u16> = doors.keys().map(SocketAddr::port).collect();
    ports.insert(SSH_PORT);
    let mut lines: Vec<Line> =
        doors.into_iter().map(|(local, why)| Line { protocol: Protocol::Tcp.number(), local: Some(local), peer: None, why }).collect();
    for (server, open) in &servers {
        let mut sessions = open.iter().filter(|s| s.is_connected() && ports.contains(&s.local.port())).peekable();
        if sessions.peek().is_none() {
            continue;
        }
        // `sshd: root@pts/0` is all of its arguments.
        let arguments = server.arguments();
        let title = arguments.first().map_or(server.name.as_str(), |title| title.trim());
        let why = format!("an SSH session ({title}, process {})", server.pid);
        lines.extend(sessions.filter_map(|socket| line(socket, &why)));
    }
    lines
}

/// What comes in at ports of Squall's own: of engines and agents on this host, this process among them.
fn served(squall: &[Holder], sockets: &[Socket]) -> Vec<Line> {
    let mut lines = Vec::new();
    for process in squall {
        let open = process.of(sockets);
        let ports: BTreeSet<u16> = open.iter().filter(|s| s.state == State::Listen).map(|s| s.local.port()).collect();
        let why = format!("Squall's own (process {})", process.process.pid);
        let came_in = open.into_iter().filter(|s| s.protocol == Protocol::Tcp && ports.contains(&s.local.port()));
        lines.extend(came_in.filter_map(|socket| line(socket, &why)));
    }
    lines
}

/// The environment of a process, as far as it may be read.
fn environment(pid: u32) -> HashMap<String, String> {
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let variables = bytes.split(|byte| *byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='));
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The session that a shell says it came by (`SSH_CONNECTION` in `ssh(1)`): also where its server cannot be seen from here.
fn ssh_connection(environment: &HashMap<String, String>) -> Option<Line> {
    let mut words = environment.get("SSH_CONNECTION")?.split(' ');
    let mut address = || {
        // A link-local address has its interface behind it.
        let ip: IpAddr = words.next()?.split('%').next()?.parse().ok()?;
        Some(SocketAddr::new(ip.to_canonical(), words.next()?.parse().ok()?))
    };
    let (peer, local) = (address()?, address()?);
    let why = "the SSH session that Squall was started in".to_owned();
    Some(Line { protocol: Protocol::Tcp.number(), local: Some(local), peer: Some(peer), why })
}

/// The API of the Kubernetes cluster that this is a pod of.
fn cluster(environment: &HashMap<String, String>) -> Option<Line> {
    let ip: IpAddr = environment.get("KUBERNETES_SERVICE_HOST")?.parse().ok()?;
    let port = environment.get("KUBERNETES_SERVICE_PORT").map_or(Some(443), |port| port.parse().ok())?;
    let why = "the API of the Kubernetes cluster".to_owned();
    Some(Line { protocol: Protocol::Tcp.number(), local: None, peer: Some(SocketAddr::new(ip, port)), why })
}

/// Each once, with the first reason.
fn without_repeats(lines: Vec<Line>) -> Vec<Line> {
    let mut seen = BTreeSet::new();
    lines.into_iter().filter(|line| seen.insert((line.protocol, line.local, line.peer))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_shell_says_by_which_session_it_came() {
        let line = ssh_connection(&variables(&[("SSH_CONNECTION", "10.0.0.9 50312 10.0.0.5 22")])).expect("a line");
        assert_eq!(line.label(), "TCP 10.0.0.5:22 to 10.0.0.9:50312, the SSH session that Squall was started in");
        let line = ssh_connection(&variables(&[("SSH_CONNECTION", "fe80::9%eth0 50312 fe80::5%eth0 2222")])).expect("a line");
        assert_eq!(line.peer, Some("[fe80::9]:50312".parse().expect("an address")));
        assert_eq!(ssh_connection(&variables(&[("SSH_CONNECTION", "nonsense")])), None);
    }

    #[test]
    fn the_clusters_api_is_where_its_variables_say() {
        let both = [("KUBERNETES_SERVICE_HOST", "10.96.0.1"), ("KUBERNETES_SERVICE_PORT", "6443")];
        assert_eq!(cluster(&variables(&both)).and_then(|line| line.peer), "10.96.0.1:6443".parse().ok());
        assert_eq!(cluster(&variables(&both[..1])).and_then(|line| line.peer), "10.96.0.1:443".parse().ok());
        assert_eq!(cluster(&variables(&[])), None);
    }
}
