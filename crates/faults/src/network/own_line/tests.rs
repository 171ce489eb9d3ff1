//! Lines on real hosts, and that they hold when everything else is cut.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use squall_sys::nft::{Base, Chain, ChainKind, Hook, Owned, Table};
use squall_testkit::eventually;
use squall_testkit::net::{Family, Host, Lab};
use squall_undo::Armed;

use super::*;

/// A child that is killed at the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An SSH server on a host with a key that is let in, and what a client needs.
struct Ssh {
    directory: tempfile::TempDir,
    port: u16,
    _server: Running,
}

impl Ssh {
    fn start(host: &Host, port: u16) -> Self {
        let directory = tempfile::Builder::new().prefix("squall-ssh-").tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for key in ["host", "client"] {
            #[expect(clippy::disallowed_methods, reason = "makes the keys of a test")]
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at(key)).status();
            assert!(made.expect("openssh-client").success());
        }
        // Where the server leaves its rights behind; the package makes it at boot.
        std::fs::create_dir_all("/run/sshd").expect("made");
        std::fs::set_permissions("/run/sshd", Permissions::from_mode(0o755)).expect("as it has to be");
        let path = |name: &str| at(name).display().to_string();
        let config = format!(
            "Port {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nUseDNS no\n",
            path("host"),
            path("client.pub")
        );
        std::fs::write(at("config"), config).expect("written");
        let mut server = host.command("/usr/sbin/sshd");
        let server = server.args(["-D", "-q", "-f"]).arg(at("config")).spawn().expect("openssh-server");
        let ssh = Self { directory, port, _server: Running(server) };
        eventually("it listens", || host.within(|| TcpStream::connect(("127.0.0.1", port)).is_ok()));
        ssh
    }

    /// A client's command, with a shell at the other end.
    fn client(&self, from: &Host, to: &Host, family: Family) -> Command {
        let key: &Path = &self.directory.path().join("client");
        let mut command = from.command("ssh");
        command.args(["-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5", "-i"]);
        command.arg(key).args(["-p", &self.port.to_string(), &format!("root@{}", to.address(family)), "sh"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }
}

/// Somebody's service.
const LISTEN: &str = "import socket, time
s = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)
time.sleep(600)";

/// A shell at the other end of a line.
struct Shell {
    child: Running,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Shell {
    fn start(mut command: Command) -> Self {
        let mut child = Running(command.spawn().expect("started"));
        let lines = BufReader::new(child.0.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// Says a word and hears it back.
    fn answers(&mut self) {
        let stdin = self.child.0.stdin.as_mut().expect("piped");
        writeln!(stdin, "echo here").expect("written");
        assert_eq!(self.lines.next().expect("an answer").expect("read"), "here");
    }
}

/// Cuts everything of a host but these lines.
fn cut(host: &Host, lines: &[Line]) -> Owned {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let discovery = Expression::Protocol(vec![58]);
    let rules = |mut rules: Vec<Rule>| {
        rules.push(Rule { expressions: vec![discovery.clone(), Expression::Accept], comment: "neighbours".into() });
        rules.push(Rule { expressions: vec![Expression::Drop], comment: "cut".into() });
        rules
    };
    let base = |hook| Some(Base { hook, priority: -150, kind: ChainKind::Filter });
    let chains = [("sent", Hook::Output), ("received", Hook::Input)].map(|(name, hook)| Chain {
        name: name.into(),
        base: base(hook),
        rules: rules(exclusions(lines)),
    });
    let table = Table { name: format!("squall-line-{}-{number}", std::process::id()), sets: Vec::new(), chains: chains.into() };
    let armed = Armed::received(b"go").expect("a token");
    host.within(|| Owned::create(&armed, &table)).expect("made")
}

fn reaches(from: &Host, to: SocketAddr) -> bool {
    from.within(|| TcpStream::connect_timeout(&to, std::time::Duration::from_millis(300)).is_ok())
}

#[test]
fn ssh_sessions_and_new_logins_survive_when_all_else_of_the_host_is_cut() {
    let lab = Lab::new();
    let (operator, victim) = (lab.host("operator"), lab.host("victim"));
    let ssh = Ssh::start(&victim, 2022);
    let _service = Running(victim.command("python3").args(["-c", LISTEN]).spawn().expect("python3"));
    eventually("it listens", || reaches(&operator, victim.socket(Family::V6, 80)));
    for family in [Family::V4, Family::V6] {
        let mut session = Shell::start(ssh.client(&operator, &victim, family));
        session.answers();
        let lines = victim.within(connections).expect("found");
        let found = |what: &str, with_peer: bool| {
            let is = |l: &&Line| l.why.contains(what) && l.local.is_some_and(|a| a.port() == 2022) && l.peer.is_some() == with_peer;
            lines.iter().any(|l| is(&l))
        };
        assert!(found("an SSH session", true) && found("where SSH sessions come in", false), "{lines:#?}");
        assert!(lines.iter().any(|l| l.peer.is_some_and(|peer| peer.ip() == operator.address(family))), "{lines:#?}");
        let interfaces = victim.within(|| interfaces(&lines)).expect("looked");
        assert!(interfaces.contains(&victim.interface().to_owned()), "{interfaces:?}");
        assert!(reaches(&operator, victim.socket(family, 80)));
        let table = cut(&victim, &lines);
        session.answers();
        assert!(!reaches(&operator, victim.socket(family, 80)), "the rest is cut");
        Shell::start(ssh.client(&operator, &victim, family)).answers();
        drop(table);
        assert!(reaches(&operator, victim.socket(family, 80)));
    }
}

/// What an agent does in short: a port of its own, a probe of a service elsewhere, and each order is answered.
const AGENT: &str = "use IO::Socket::INET; $| = 1;
my $port = IO::Socket::INET->new(Listen => 5, LocalPort => 7777, ReuseAddr => 1) or die;
my $probe = IO::Socket::INET->new(PeerAddr => shift, PeerPort => 80) or die;
print $probe->sockport, qq(\\n);
while (my $line = $port->accept) { next if fork; while (<$line>) { print $line $_; $line->flush } exit }";

#[test]
fn what_comes_in_at_a_port_of_squalls_own_holds_and_its_own_probes_do_not() {
    let lab = Lab::new();
    let (server, host) = (lab.host("server"), lab.host("agent"));
    let service = server.within(|| TcpListener::bind("[::]:80")).expect("bound");
    // A program by the name of Squall's.
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("squall");
    std::fs::copy("/usr/bin/perl", &program).expect("perl");
    let start = |subcommand: &str| {
        let mut command = host.command(&program);
        // Perl takes the first for its option, as Squall does for its command.
        command.arg("-e").arg(AGENT).arg(server.v4().to_string()).arg(subcommand).stdout(Stdio::piped());
        command
    };
    let mut agent = Running(start("agent").spawn().expect("started"));
    let mut said = BufReader::new(agent.0.stdout.take().expect("piped")).lines();
    let probes_port: u16 = said.next().expect("a port").expect("read").parse().expect("a number");
    let address = host.socket(Family::V4, 7777);
    let mut line = server.within(|| TcpStream::connect(address)).expect("connected");
    let mut order = move || {
        line.write_all(b"order\n").expect("sent");
        line.read_exact(&mut [0; 6]).expect("answered");
    };
    order();
    let lines = host.within(connections).expect("found");
    assert!(lines.iter().all(|l| l.local.is_none_or(|local| local.port() != probes_port)), "{lines:#?}");
    assert_eq!(lines.iter().filter(|l| l.why.starts_with("Squall's own")).count(), 2, "the port and its connection: {lines:#?}");
    let table = cut(&host, &lines);
    order();
    assert!(reaches(&server, address), "a new line may come in");
    assert!(!reaches(&host, server.socket(Family::V4, 80)), "a probe feels the fault");
    drop((table, service));
}

#[test]
fn lines_are_those_of_the_namespace_that_is_asked_about() {
    let lab = Lab::new();
    let (one, other) = (lab.host("one"), lab.host("other"));
    let _ssh = Ssh::start(&one, 2023);
    let has = |host: &Host| host.within(connections).expect("found").iter().any(|l| l.local.is_some_and(|local| local.port() == 2023));
    assert!(has(&one) && !has(&other));
}

#[test]
fn a_line_is_let_pass_both_ways_and_only_it() {
    let line = Line {
        protocol: 6,
        local: Some("0.0.0.0:22".parse().expect("an address")),
        peer: None,
        why: "where SSH sessions come in".repeat(9),
    };
    let [out, back] = &exclusions(std::slice::from_ref(&line))[..] else { panic!("two rules") };
    assert_eq!(out.expressions, [Expression::Protocol(vec![6]), Expression::PortIs(Side::Source, 22), Expression::Accept]);
    assert_eq!(back.expressions, [Expression::Protocol(vec![6]), Expression::PortIs(Side::Destination, 22), Expression::Accept]);
    assert!(out.comment.len() < 128);
    // A line that says nothing would let everything pass.
    assert_eq!(exclusions(&[Line { local: None, ..line }]), []);
}
