//! Whose traffic: what makes a packet "the target's", and how the kernel is made to see it.

mod keeper;
mod mark;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use squall_engine::{HostFacts, PlanError, Target};
use squall_sys::netns::Namespace;
use squall_sys::nft::Expression;
use squall_sys::process::{ProcessFacts, ProcessId, descendants, own_line};

use crate::target::{CgroupFacts, ContainerFacts, NamespaceFacts, UserFacts};

pub use keeper::{KeepError, Keeper};
pub use mark::clean;

/// Whose packets a fault is for, within a network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Owner {
    /// Everybody's in the namespace, and what is routed through it.
    Everything,
    /// Those of a user's sockets, by number, as the kernel tells them: not what it sends for a socket that is closed.
    User(u32),
    /// Those of a user's sockets, which are given a mark and keep it to the last packet.
    MarkedUser {
        /// The user.
        uid: u32,
        /// The mark (`SO_MARK`), the same for every fault on this user.
        mark: u32,
    },
    /// Those of sockets that were made in a control group of cgroup v2 or below it: its path from the root.
    CgroupV2(String),
    /// Those of sockets of a class of cgroup v1's `net_cls`.
    NetClass(u32),
    /// Those of processes and of all that they have started: their sockets are given a mark.
    Processes {
        /// The processes that were chosen.
        roots: Vec<ProcessId>,
        /// The mark (`SO_MARK`), the same for every fault on these processes.
        mark: u32,
    },
}

/// Where a fault acts, and on whose packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The network namespace.
    pub namespace: Namespace,
    /// Whose.
    pub owner: Owner,
}

impl Owner {
    /// The conditions of a rule for the owner's packets, sent (hook output) or received (hook input).
    ///
    /// A received packet is told by the socket that it is for. The kernel knows it before the hook where the socket is
    /// connected, and looks it up for `socket …`; for the others see [`Owner::needs_ports`].
    pub fn conditions(&self, outgoing: bool) -> Vec<Expression> {
        let _ = outgoing;
        match self {
            Self::Everything => Vec::new(),
            Self::User(uid) => vec![Expression::User(*uid)],
            Self::CgroupV2(path) => vec![Expression::CgroupV2(path.clone())],
            Self::NetClass(class) => vec![Expression::NetClass(*class)],
            Self::MarkedUser { mark, .. } | Self::Processes { mark, .. } => vec![Expression::SocketMark(*mark)],
        }
    }

    /// Whether some of the owner's packets can be told by its own ports alone, in both directions: what the kernel sends for a
    /// connection that is only beginning (SYN-ACK), and what comes to sockets that are not connected, where the kernel does
    /// not look those up. [`Keeper::local_ports`] has these ports.
    pub const fn needs_ports(&self) -> bool {
        !matches!(self, Self::Everything)
    }

    /// Whether the conditions can be used in the hook postrouting. `socket …` cannot.
    pub const fn survives_postrouting(&self) -> bool {
        matches!(self, Self::Everything | Self::User(_) | Self::NetClass(_))
    }
}

/// Where the target's traffic is, and how it is told. Reads, and changes nothing.
pub fn place(target: &Target, host: &HostFacts) -> Result<Place, PlanError> {
    match target.kind.as_str() {
        "host" => Ok(Place { namespace: own()?, owner: Owner::Everything }),
        "namespace" => Ok(Place { namespace: facts::<NamespaceFacts>(target)?.namespace, owner: Owner::Everything }),
        "user" => user(target, facts::<UserFacts>(target)?.uid, host),
        "cgroup" => group(target, &facts(target)?, host),
        "container" => container(target, &facts(target)?, host),
        "process" => process(target, &facts(target)?, host),
        other => Err(PlanError { message: format!("the network of a `{other}` cannot be told from others'"), hint: None }),
    }
}

fn facts<T: serde::de::DeserializeOwned>(target: &Target) -> Result<T, PlanError> {
    serde_json::from_value(target.facts.clone())
        .map_err(|e| PlanError { message: format!("what is known of {} cannot be read: {e}", target.label), hint: None })
}

fn own() -> Result<Namespace, PlanError> {
    Namespace::own().map_err(|e| PlanError { message: format!("the host's network namespace cannot be read: {e}"), hint: None })
}

fn of_process(label: &str, pid: u32) -> Result<Namespace, PlanError> {
    Namespace::of_process(pid).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => PlanError { message: format!("{label} has ended"), hint: None },
        _ => {
            PlanError { message: format!("the network namespace of {label} cannot be read: {error}"), hint: Some("run as root".to_owned()) }
        }
    })
}

/// By marks where this host can give them, otherwise by what the kernel knows of open sockets.
fn user(target: &Target, uid: u32, host: &HostFacts) -> Result<Place, PlanError> {
    let namespace = own()?;
    let owner = if host.uid == 0 && squall_sys::bpf::marking_possible().is_ok() {
        let theirs: Vec<ProcessId> = listed()?.into_iter().filter(|process| process.uid == uid).map(|process| process.id).collect();
        Owner::MarkedUser { uid, mark: chosen(target, &namespace, &theirs)? }
    } else {
        Owner::User(uid)
    };
    Ok(Place { namespace, owner })
}

fn chosen(target: &Target, namespace: &Namespace, roots: &[ProcessId]) -> Result<u32, PlanError> {
    mark::choose(&target.id, namespace, roots)
        .map_err(|error| PlanError { message: format!("no mark can be chosen for the sockets of {}: {error}", target.label), hint: None })
}

fn process(target: &Target, process: &ProcessFacts, host: &HostFacts) -> Result<Place, PlanError> {
    let namespace = of_process(&target.label, process.id.pid)?;
    let all = listed()?;
    let tree: BTreeSet<u32> = descendants(&all, process.id.pid).into_iter().map(|id| id.pid).chain([process.id.pid]).collect();
    if !namespace.is_own() && alone(&namespace, &all, |p| tree.contains(&p.id.pid)) {
        return Ok(Place { namespace, owner: Owner::Everything });
    }
    processes(target, namespace, vec![process.id], host)
}

fn container(target: &Target, container: &ContainerFacts, host: &HostFacts) -> Result<Place, PlanError> {
    let namespace = of_process(&target.label, container.init.pid)?;
    let of_container = |p: &ProcessFacts| p.cgroups.iter().any(|path| path.contains(&container.id));
    if !namespace.is_own() && alone(&namespace, &listed()?, of_container) {
        return Ok(Place { namespace, owner: Owner::Everything });
    }
    // It shares the network with the host, or with the other containers of its pod.
    match &container.cgroup {
        Some(path) => Ok(Place { namespace, owner: Owner::CgroupV2(path.clone()) }),
        None => processes(target, namespace, vec![container.init], host),
    }
}

fn group(target: &Target, group: &CgroupFacts, host: &HostFacts) -> Result<Place, PlanError> {
    let mut namespaces: Vec<Namespace> = Vec::new();
    for member in &group.members {
        // One that has ended since has none.
        let Ok(namespace) = Namespace::of_process(member.pid) else { continue };
        if !namespaces.iter().any(|known| known.inode == namespace.inode) {
            namespaces.push(namespace);
        }
    }
    let namespace = match namespaces.as_slice() {
        [] => return Err(PlanError { message: format!("no process is left in {}", target.label), hint: None }),
        [one] => one.clone(),
        several => {
            let message = format!("the processes of {} are in {} network namespaces", target.label, several.len());
            return Err(PlanError { message, hint: Some("choose a group below it, a `container`, or a `namespace`".to_owned()) });
        }
    };
    if group.unified {
        return Ok(Place { namespace, owner: Owner::CgroupV2(group.path.clone()) });
    }
    match group.class {
        Some(class) => Ok(Place { namespace, owner: Owner::NetClass(class) }),
        None => processes(target, namespace, group.members.clone(), host),
    }
}

/// The owner whose sockets are marked, where this host can.
fn processes(target: &Target, namespace: Namespace, roots: Vec<ProcessId>, host: &HostFacts) -> Result<Place, PlanError> {
    if host.uid != 0 {
        return Err(PlanError {
            message: format!("the packets of {} can be told from others only by marking its sockets, as root", target.label),
            hint: Some("run as root, or choose a `user`".to_owned()),
        });
    }
    squall_sys::bpf::marking_possible().map_err(|error| PlanError {
        message: format!("the packets of {} cannot be told from others: {error}", target.label),
        hint: Some("a `user`, a `cgroup` or a `container` can be told by the kernel itself".to_owned()),
    })?;
    let mark = chosen(target, &namespace, &roots)?;
    Ok(Place { namespace, owner: Owner::Processes { roots, mark } })
}

fn listed() -> Result<Vec<ProcessFacts>, PlanError> {
    ProcessFacts::all().map_err(|e| PlanError { message: format!("processes cannot be listed: {e}"), hint: None })
}

/// Whether every process of a namespace is one of these. What holds a pod's namespace open (`pause`) sends nothing; and a carrier
/// of a fault that is in force there already is not somebody else.
fn alone(namespace: &Namespace, all: &[ProcessFacts], is_one: impl Fn(&ProcessFacts) -> bool) -> bool {
    let within = |p: &&ProcessFacts| Namespace::of_process(p.id.pid).is_ok_and(|of| of.inode == namespace.inode);
    let own = own_line(all);
    all.iter().filter(within).all(|p| is_one(p) || p.name == "pause" || own.contains(&p.id.pid))
}
