//! One host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};

use squall_engine::Target;
use squall_sys::netns::Namespace;

/// Which Internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// Both: what works for one has to work for the other.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Every address.
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// An interface with its addresses.
#[derive(Debug, Clone)]
pub(super) struct Port {
    pub interface: String,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// A host of a [`crate::net::Lab`]: a network namespace. It is gone with the lab.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    namespace: String,
    port: Port,
}

impl Host {
    pub(super) fn new(name: &str, namespace: String, port: Port) -> Self {
        Self { name: name.to_owned(), namespace, port }
    }

    /// As it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its IPv4 address; of a router, the one on its first segment.
    pub fn v4(&self) -> Ipv4Addr {
        self.port.v4
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> Ipv6Addr {
        self.port.v6
    }

    /// Its address of a family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4().into(),
            Family::V6 => self.v6().into(),
        }
    }

    /// Its address with a port.
    pub fn socket(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(family), port)
    }

    /// Its first interface.
    pub fn interface(&self) -> &str {
        &self.port.interface
    }

    /// What `ip netns` calls it.
    pub fn name_of_namespace(&self) -> &str {
        &self.namespace
    }

    /// The file that leads to its namespace.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.namespace)
    }

    /// Its network namespace.
    pub fn namespace(&self) -> Namespace {
        Namespace::at(&self.path()).expect("the lab is there")
    }

    /// All of it, as what a fault is applied to: a target of the kind `namespace`.
    pub fn target(&self) -> Target {
        let namespace = self.namespace();
        let (id, label) = (format!("namespace:{}", namespace.inode), format!("network namespace {}", self.path().display()));
        Target { kind: "namespace".into(), id, label, facts: serde_json::json!({ "namespace": namespace }) }
    }

    /// Does something on a thread in it. Sockets that are opened there stay in it, programs that are started run in it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace().within(|| Ok(work())).unwrap_or_else(|error| panic!("on host {}: {error}", self.name))
    }

    /// A program that will run in it, whoever starts it. Its process is that of the program.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        #[expect(clippy::disallowed_methods, reason = "tests start programs on hosts")]
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a program to its end, given as one line of words. Fails if it does not succeed; gives what it wrote.
    pub fn run(&self, line: &str) -> String {
        let output = self.output(line);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line} on {}: {text}{}", self.name, String::from_utf8_lossy(&output.stderr));
        text
    }

    /// The same, when it may fail.
    pub fn output(&self, line: &str) -> Output {
        let mut words = line.split_whitespace();
        self.command(words.next().expect("a program")).args(words).output().unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// One of the kernel's counters of its namespace: `("Udp", "InCsumErrors")` of `/proc/net/snmp`, `("Udp6", …)` of
    /// `/proc/net/snmp6`.
    pub fn counter(&self, protocol: &str, name: &str) -> u64 {
        self.within(|| super::probe::counter(protocol, name))
    }
}
