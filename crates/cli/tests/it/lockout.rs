//! A host that is reached over one interface, by SSH, and thirty plans that would cut that line. Each is run from a session on
//! that line; each is refused, or leaves the line alone. The line answers all through.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use squall_testkit::net::{Host, Lab};

/// How long the line may take to answer while a fault is in force. A cut one never does.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A host with an SSH server, and one from which it is reached.
struct Site {
    host: Host,
    desk: Host,
    sshd: Child,
    dir: tempfile::TempDir,
    _lab: Lab,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        let (host, desk) = (lab.host("host"), lab.host("desk"));
        let dir = tempfile::tempdir().expect("a directory");
        for key in ["host_key", "user_key"] {
            #[expect(clippy::disallowed_methods, reason = "the keys of a real SSH server")]
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.path().join(key)).status();
            assert!(made.expect("ssh-keygen (Debian: openssh-client)").success());
        }
        std::fs::create_dir_all("/run/sshd").expect("the directory that sshd wants");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let options = [
            format!("HostKey={}", path("host_key")),
            format!("AuthorizedKeysFile={}", path("user_key.pub")),
            "StrictModes=no".into(),
            "UsePAM=no".into(),
            "PermitRootLogin=yes".into(),
            "PidFile=none".into(),
        ];
        let mut sshd = host.command("/usr/sbin/sshd");
        sshd.args(["-D", "-f", "/dev/null", "-p", "22"]);
        for option in options {
            sshd.arg("-o").arg(option);
        }
        let sshd = sshd.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("sshd (Debian: openssh-server)");
        let site = Self { host, desk, sshd, dir, _lab: lab };
        squall_testkit::eventually("sshd answers", || site.ssh("true").output().is_ok_and(|output| output.status.success()));
        site
    }

    /// A command on the host, from the desk.
    fn ssh(&self, line: &str) -> Command {
        let mut ssh = self.desk.command("ssh");
        ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]);
        ssh.arg("-i").arg(self.dir.path().join("user_key")).arg(format!("root@{}", self.host.v4())).arg(line);
        ssh
    }

    fn run(&self, manifest: &Path) -> Output {
        let squall = env!("CARGO_BIN_EXE_squall");
        let line = format!("{squall} --state-dir {} run --plain --quiet {}", self.dir.path().join("state").display(), manifest.display());
        self.ssh(&line).stdin(Stdio::null()).output().expect("ssh runs")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

/// A session that sends back each line that it gets.
struct Line {
    ssh: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    sent: u32,
}

impl Line {
    fn open(site: &Site) -> Self {
        let mut ssh = site.ssh("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ssh runs");
        let (tell, answers) = channel();
        let output = ssh.stdout.take().expect("piped");
        std::thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let input = ssh.stdin.take().expect("piped");
        let mut line = Self { ssh, input, answers, sent: 0 };
        line.answers("nothing has happened yet");
        line
    }

    /// One word there and back.
    fn answers(&mut self, when: &str) {
        self.sent += 1;
        writeln!(self.input, "{}", self.sent).unwrap_or_else(|error| panic!("the line is gone, {when}: {error}"));
        match self.answers.recv_timeout(ANSWERS_WITHIN) {
            Ok(answer) => assert_eq!(answer, self.sent.to_string(), "{when}"),
            Err(error) => panic!("the line does not answer, {when}: {error}"),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

/// Fault and arguments that would cut the line. `@DESK@` and `@DESK6@` are the other end's addresses.
const PLANS: [(&str, &str); 30] = [
    ("network.partition", "{}"),
    ("network.partition", "{ scope: { direction: in } }"),
    ("network.partition", "{ scope: { direction: out } }"),
    ("network.partition", "{ scope: { peers: [@DESK@] } }"),
    ("network.partition", "{ scope: { peers: [0.0.0.0/0, '::/0'] } }"),
    ("network.partition", "{ scope: { peers: ['^192.0.2.1'] } }"),
    ("network.partition", "{ scope: { protocol: tcp } }"),
    ("network.partition", "{ scope: { localPorts: [22] } }"),
    ("network.partition", "{ scope: { localPorts: [1-1000] } }"),
    ("network.partition", "{ scope: { remotePorts: [1024-65535] } }"),
    ("network.partition", "{ scope: { interface: eth0 } }"),
    ("network.partition", "{ scope: { interface: eth0, peers: [@DESK@], direction: in } }"),
    ("network.reject", "{}"),
    ("network.reject", "{ with: noRoute }"),
    ("network.reject", "{ scope: { localPorts: [22] } }"),
    ("network.reject", "{ with: prohibited, scope: { peers: [@DESK@] } }"),
    ("network.reset", "{}"),
    ("network.reset", "{ scope: { localPorts: [22], direction: in } }"),
    ("network.loss", "{ percent: 100% }"),
    ("network.loss", "{ percent: 100%, scope: { direction: both, peers: [@DESK@] } }"),
    ("network.loss", "{ bursts: { enter: 100%, leave: 0.001% } }"),
    ("network.latency", "{ delay: 5m }"),
    ("network.latency", "{ delay: 5m, scope: { direction: both, interface: eth0 } }"),
    ("network.latency", "{ delay: 5m, scope: { localPorts: [22] } }"),
    ("network.bandwidth", "{ rate: 800bit/s }"),
    ("network.corrupt", "{ percent: 100%, scope: { direction: both } }"),
    ("network.reorder", "{ percent: 1%, delay: 5m }"),
    ("network.down", "{ interface: eth0 }"),
    ("network.mtu", "{ interface: eth0, mtu: 1280 }"),
    ("network.duplicate", "{ percent: 100%, scope: { localPorts: [22] } }"),
];

fn manifest(site: &Site, number: usize, fault: &str, with: &str) -> PathBuf {
    let with = with.replace("@DESK6@", &site.desk.v6().to_string()).replace("@DESK@", &site.desk.v4().to_string());
    let text = format!(
        "apiVersion: squall.dev/v1
kind: Experiment
metadata: {{ name: cut-{number} }}
spec:
  hypothesis:
    statement: Squall does not cut its own line.
    probes:
      - {{ name: still here, command: {{ run: [\"true\"] }}, expect: {{ eq: 0 }} }}
  steady: {{ for: 10ms }}
  method:
    - {{ fault: {fault}, target: {{ host: {{}} }}, with: {with}, for: 300ms }}
  recovery: {{ within: 2s, stable: 10ms }}
"
    );
    let path = site.dir.path().join(format!("cut-{number}.yaml"));
    std::fs::write(&path, text).expect("written");
    path
}

#[test]
fn thirty_plans_that_would_cut_the_line_are_refused_or_leave_it_alone() {
    let site = Site::new();
    let mut line = Line::open(&site);
    let before = site.host.run("ip addr") + &site.host.run("nft list ruleset") + &site.host.run("tc qdisc show");
    let mut refused = 0;
    for (number, (fault, with)) in PLANS.iter().enumerate() {
        let when = format!("plan {number}: {fault} {with}");
        let manifest = manifest(&site, number, fault, with);
        let output = std::thread::scope(|scope| {
            let run = scope.spawn(|| site.run(&manifest));
            while !run.is_finished() {
                line.answers(&when);
                std::thread::sleep(Duration::from_millis(20));
            }
            run.join().expect("the run's thread")
        });
        line.answers(&when);
        // 255 is ssh's own: the line that the run itself was started over.
        let code = output.status.code();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(code.is_some_and(|code| code != 255), "{when}: {code:?} {said}");
        refused += usize::from(said.contains("is reached over eth0"));
        let after = site.host.run("ip addr") + &site.host.run("nft list ruleset") + &site.host.run("tc qdisc show");
        assert_eq!(after, before, "{when}: {said}");
    }
    assert_eq!(refused, 2, "what cannot leave the line alone is refused, and nothing else");
}
