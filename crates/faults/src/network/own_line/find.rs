//! Which connections those are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use squall_sys::cpu_time::boottime;
use squall_sys::process::ProcessFacts;
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

/// A look at all processes is good for so long.
const GOOD_FOR: Duration = Duration::from_millis(100);

/// Every process, as of a moment ago: faults that begin together look once.
fn processes() -> io::Result<Arc<Vec<ProcessFacts>>> {
    static LAST: Mutex<Option<(Duration, Arc<Vec<ProcessFacts>>)>> = Mutex::new(None);
    // Held while it looks, so that the others wait for what it sees.
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, all)) = last.as_ref().filter(|(at, _)| boottime() < *at + GOOD_FOR) {
        return Ok(Arc::clone(all));
    }
    let at = boottime();
    let all = Arc::new(ProcessFacts::all()?);
    *last = Some((at, Arc::clone(&all)));
    Ok(all)
}

/// The lines in the calling thread's network namespace, whoever's processes they belong to.
pub fn connections() -> io::Result<Vec<Line>> {
    let all = processes()?;
    let sockets = sockets::list()?;
    let ancestors = ancestors(&all);
    let mut lines = ssh(&all, &sockets);
    lines.extend(ancestors.iter().flat_map(|ancestor| {
        let why = format!("open by {}, which Squall was started by", ancestor.label());
        of(ancestor, &sockets).into_iter().filter_map(move |socket| line(socket, &why))
    }));
    lines.extend(served(&all, &sockets));
    let own = std::process::id();
    for pid in ancestors.iter().map(|ancestor| ancestor.id.pid).chain([own]) {
        let environment = environment(pid);
        lines.extend(ssh_connection(&environment));
        lines.extend(cluster(&environment));
    }
    Ok(without_repeats(lines))
}

/// Everything above Squall but process 1, whose sockets are those of every service that it holds ports for.
fn ancestors(all: &[ProcessFacts]) -> Vec<&ProcessFacts> {
    let by_pid: HashMap<u32, &ProcessFacts> = all.iter().map(|process| (process.id.pid, process)).collect();
    let mut found: Vec<&ProcessFacts> = Vec::new();
    let mut at = by_pid.get(&std::process::id()).map_or(0, |own| own.parent);
    while let Some(process) = by_pid.get(&at).filter(|process| process.id.pid != 1) {
        // An exit in between can make a circle.
        if found.iter().any(|known| known.id.pid == at) {
            break;
        }
        found.push(process);
        at = process.parent;
    }
    found
}

/// Those of the listed sockets that a process has open.
fn of<'a>(process: &ProcessFacts, sockets: &'a [Socket]) -> Vec<&'a Socket> {
    let inodes = inodes_of(process.id.pid).unwrap_or_default();
    sockets.iter().filter(|socket| inodes.contains(&socket.inode)).collect()
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
fn ssh(all: &[ProcessFacts], sockets: &[Socket]) -> Vec<Line> {
    let is_ssh = |p: &&ProcessFacts| SSH.contains(&p.name.as_str()) || p.program_name().is_some_and(|name| SSH.contains(&name));
    let servers: Vec<(&ProcessFacts, Vec<&Socket>)> = all.iter().filter(is_ssh).map(|p| (p, of(p, sockets))).collect();
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
        // `sshd: root@pts/0` is all of its arguments.
        let title = server.arguments.first().map_or(server.name.as_str(), |title| title.trim());
        let why = format!("an SSH session ({title}, process {})", server.id.pid);
        let sessions = open.iter().filter(|s| s.is_connected() && ports.contains(&s.local.port()));
        lines.extend(sessions.filter_map(|socket| line(socket, &why)));
    }
    lines
}

/// What comes in at ports of Squall's own: of engines and agents on this host, this process among them.
fn served(all: &[ProcessFacts], sockets: &[Socket]) -> Vec<Line> {
    let is_squall = |p: &&ProcessFacts| {
        let for_traffic = p.arguments.get(1).is_some_and(|command| TRAFFIC.contains(&command.as_str()));
        p.program_name() == Some(PROGRAM) && !for_traffic
    };
    let mut lines = Vec::new();
    for process in all.iter().filter(is_squall) {
        let open = of(process, sockets);
        let ports: BTreeSet<u16> = open.iter().filter(|s| s.state == State::Listen).map(|s| s.local.port()).collect();
        let why = format!("Squall's own (process {})", process.id.pid);
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
