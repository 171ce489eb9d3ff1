//! A client, a real name server (dnsmasq), and faults on the client's queries.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::{Value as Json, json};
use squall_engine::{AnyFault, Effect, InjectError, Target};
use squall_faults::dns;
use squall_faults::stressor::Launcher;
use squall_testkit::net::{Family, Host, Lab};
use squall_testkit::{Execution, eventually};

use crate::kinds::kind;

const PROGRAM: &str = env!("CARGO_BIN_EXE_squall-stressor");

/// What dnsmasq knows: names with an IPv4 and an IPv6 address, and a text of more than 512 bytes.
const RECORDS: [&str; 6] = [
    "--host-record=web.example.com,10.9.9.1,fd99::1",
    "--host-record=db.example.com,10.9.9.2,fd99::2",
    "--host-record=other.org,10.9.9.3,fd99::3",
    "--mx-host=web.example.com,mail.example.com,10",
    "--local-ttl=300",
    "--txt-record=one.example.com,one",
];

/// A fault of the family, with the program that carries it in tests.
pub fn fault(name: &str) -> Arc<dyn AnyFault> {
    let launcher = Launcher::of_program(PROGRAM);
    match name {
        "dns.error" => Arc::new(dns::error::DnsError::with(launcher)),
        "dns.timeout" => Arc::new(dns::timeout::DnsTimeout::with(launcher)),
        "dns.latency" => Arc::new(dns::latency::DnsLatency::with(launcher)),
        "dns.wrong-answer" => Arc::new(dns::wrong_answer::DnsWrongAnswer::with(launcher)),
        "dns.random" => Arc::new(dns::random::DnsRandom::with(launcher)),
        other => panic!("{other} is no DNS fault"),
    }
}

/// A program, until it is dropped.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts dnsmasq on a host, and waits until it answers. `more` are further options.
pub fn name_server(host: &Host, addresses: &[String], port: u16, more: &[String]) -> Running {
    let mut command = host.command("dnsmasq");
    let port = format!("--port={port}");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-hosts",
        "--no-resolv",
        "--user=root",
        "--pid-file=",
        "--bind-interfaces",
    ]);
    command.args(addresses.iter().map(|address| format!("--listen-address={address}"))).arg(&port).args(more);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = Running(child.expect("nsenter: install the Debian packages util-linux and dnsmasq-base"));
    let ask = format!("dig +short +tries=1 +time=1 -p {} @{} other.org A", port.trim_start_matches("--port="), addresses[0]);
    eventually("dnsmasq answers", || host.output(&ask).stdout == b"10.9.9.3\n");
    child
}

/// A program that runs on the client and finds its name servers in `/etc/resolv.conf`.
fn client_program(client: &Host, directory: &Path, program: &[&str]) -> Command {
    let mut command = client.command("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""]);
    command.arg(directory.join("resolv.conf")).args(program);
    command
}

/// Two hosts: one asks, the other knows.
pub struct Bench {
    pub server: Host,
    pub client: Host,
    directory: tempfile::TempDir,
    target: Target,
    _running: (Running, Running),
    /// Last: its end is the end of every process in it.
    _lab: Lab,
}

impl Bench {
    pub fn new() -> Self {
        let lab = Lab::new();
        let (server, client) = (lab.host("server"), lab.host("client"));
        let mut records: Vec<String> = RECORDS.map(str::to_owned).to_vec();
        // One record for each text, so that the answer is of several hundred bytes.
        records.extend((0..8).map(|n| format!("--txt-record=big.example.com,{n}{}", "x".repeat(180))));
        let addresses = Family::BOTH.map(|family| server.address(family).to_string());
        let name_server = name_server(&server, &addresses, 53, &records);
        let directory = tempfile::tempdir().expect("a directory");
        let text = format!("nameserver {}\nnameserver {}\noptions timeout:1 attempts:1\n", addresses[0], addresses[1]);
        fs::write(directory.path().join("resolv.conf"), text).expect("written");
        let program = client_program(&client, directory.path(), &["sleep", "1000"]).spawn().expect("nsenter");
        let program = Running(program);
        let mut found = Vec::new();
        eventually("a program runs on the client", || {
            found = crate::kinds::found(&json!({ "pid": program.0.id(), "name": "sleep" }));
            !found.is_empty()
        });
        Self { server, client, directory, target: found.remove(0), _running: (name_server, program), _lab: lab }
    }

    /// A process of the client, which is alone in its network namespace, and so that whole namespace.
    pub fn target(&self) -> Target {
        self.target.clone()
    }

    /// The namespace as such: it has the name servers of the host that the tests run on, and cannot reach them.
    pub fn namespace(&self) -> Target {
        let found = kind("namespace").find(&json!({ "path": self.client.path() })).now_or_never().expect("looks without waiting");
        found.expect("found").remove(0)
    }

    /// The addresses that `getaddrinfo(3)` finds, and how it ended.
    pub fn getent(&self, name: &str) -> (bool, Vec<String>) {
        let output = client_program(&self.client, self.directory.path(), &["getent", "ahosts", name]).output().expect("getent");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut addresses: Vec<String> = text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect();
        addresses.sort();
        addresses.dedup();
        (output.status.success(), addresses)
    }

    /// What `dig` says: the whole of it. `line` is name, type and options.
    pub fn dig(&self, family: Family, line: &str) -> String {
        let server = self.server.address(family);
        let output = self.client.output(&format!("dig +tries=1 +time=1 @{server} {line}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The short form: the data of the answers, sorted.
    pub fn short(&self, family: Family, line: &str) -> Vec<String> {
        let mut lines: Vec<String> = self.dig(family, &format!("+short {line}")).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Puts a fault in force on the whole client, and makes sure that it says so itself.
    pub async fn inject(&self, name: &str, args: Json) -> InForce {
        self.inject_on(name, args, &self.target()).await
    }

    /// The same, on another target.
    pub async fn inject_on(&self, name: &str, args: Json, target: &Target) -> InForce {
        let (fault, run) = (fault(name), Execution::default());
        let undo = run.inject(&fault, &args, target).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let made = InForce { fault, run, undo };
        let effect = made.verify().await;
        assert!(effect.in_force, "{name}: {effect:?}");
        made
    }

    /// The same, where it has to fail.
    pub async fn refused(&self, name: &str, args: Json) -> String {
        let run = Execution::default();
        let error = run.inject(&fault(name), &args, &self.target()).await.expect_err("refused");
        assert!(matches!(error, InjectError::Failed(_)) && run.armed() == 0, "{error}");
        error.to_string()
    }
}

/// A fault in force.
pub struct InForce {
    pub fault: Arc<dyn AnyFault>,
    pub run: Execution,
    pub undo: Json,
}

impl InForce {
    pub async fn verify(&self) -> Effect {
        self.fault.verify(&self.undo).await.expect("looked at")
    }

    pub async fn revert(&self) -> String {
        self.run.revert(&self.fault).await.expect("reverted")
    }

    /// The process that carries it.
    pub fn carrier(&self) -> u32 {
        let marker = self.undo["marker"].as_str().expect("a marker");
        let found = squall_sys::stressor::find(marker).expect("looked for");
        assert_eq!(found.len(), 1, "{found:?}");
        found[0]
    }
}
