//! What of traffic control this kernel has.

use std::io;
use std::path::Path;

use crate::netlink::{Bus, Message, Socket};

use super::{Delay, Filter, FilterId, Handle, Kind, Netem, Protocol, Qdisc, Tbf, Way, by_mark};

/// Kernel modules, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The interface that packets are redirected to.
    Ifb,
    /// The discipline.
    Netem,
    /// The discipline.
    Tbf,
    /// Filters by a BPF program that redirect: `cls_bpf`, `act_mirred` and `clsact`.
    Redirection,
}

impl Part {
    fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Ifb => &["ifb"],
            Self::Netem => &["sch_netem"],
            Self::Tbf => &["sch_tbf"],
            Self::Redirection => &["cls_bpf", "act_mirred", "sch_ingress"],
        }
    }

    /// Whether the kernel has it, built in or to be loaded. By the lists of its modules; where there are none, by trying it out
    /// in a network namespace that is made for it and gone at once, which needs root.
    pub fn available(self) -> io::Result<bool> {
        match listed(self.modules()) {
            Some(there) => Ok(there),
            None => self.tried(),
        }
    }

    fn tried(self) -> io::Result<bool> {
        let refused = |error: io::Error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV) => Ok(false),
            _ => Err(error),
        };
        // Only with `ifb` is there something to hang the others to.
        let messages = [make_interface()].into_iter().chain(self.messages()).collect();
        elsewhere(|| Socket::open(Bus::Route)?.request(messages).map(drop)).map(|()| true).or_else(refused)
    }

    fn messages(self) -> Vec<Message> {
        let root = |kind| Qdisc { interface: INDEX, parent: Handle::ROOT, handle: Handle::new(1, 0), kind }.message(Way::Add);
        match self {
            Self::Ifb => Vec::new(),
            Self::Netem => vec![root(Kind::Netem(Box::new(Netem { limit: 1, delay: Delay::default(), ..Netem::default() })))],
            Self::Tbf => vec![root(Kind::Tbf(Tbf { bytes_per_second: 1000, burst: 2000, limit: 2000 }))],
            Self::Redirection => {
                let id = FilterId { interface: INDEX, parent: Handle::EGRESS, preference: 1, protocol: Protocol::All, handle: 1 };
                let filter = Filter { id, program: by_mark(1), redirect: INDEX, cookie: None };
                vec![Qdisc::clsact(INDEX).message(Way::Add), filter.message()]
            }
        }
    }
}

/// Of the interface that is made to try things out.
const INDEX: u32 = 2000;

fn make_interface() -> Message {
    crate::link::ifb_message("try", INDEX)
}

/// `None` where there is no list.
fn listed(modules: &[&str]) -> Option<bool> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let directory = Path::new("/lib/modules").join(release);
    let lists: Vec<String> =
        ["modules.builtin", "modules.dep"].iter().filter_map(|name| std::fs::read_to_string(directory.join(name)).ok()).collect();
    // `kernel/net/sched/sch_netem.ko.xz: …`
    let has = |module: &&str| {
        let loaded = Path::new("/sys/module").join(module).exists();
        loaded || lists.iter().any(|list| list.contains(&format!("/{module}.ko")))
    };
    (!lists.is_empty()).then(|| modules.iter().all(has))
}

/// Does something in a new network namespace that is gone afterwards.
fn elsewhere<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let there = || {
        // SAFETY: only the network namespace of this thread changes, which opens its own sockets afterwards and ends; no file
        // descriptor is shared less than before. There is no safe call, as other flags can unshare descriptors.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(there).join()).map_err(|_| io::Error::other("the thread in the new namespace panicked"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_out_and_the_lists_agree() {
        for part in [Part::Ifb, Part::Netem, Part::Tbf, Part::Redirection] {
            let tried = part.tried().expect("this test needs root");
            assert_eq!(part.available().expect("looked"), tried, "{part:?}");
        }
        assert!(Part::Ifb.available().expect("looked") && Part::Redirection.available().expect("looked"));
    }
}
