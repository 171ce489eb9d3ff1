//! What the host can do: a table of named facts, each looked at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use squall_engine::{Feature, HostFacts};
use squall_model::Bytes;

/// One row of the table: a name, and how it is found out.
type Row = (&'static str, fn() -> Feature);

/// Every feature that a fault may need, in the order of `squall doctor`.
const FEATURES: &[Row] = &[
    ("root", root),
    ("pidfd", pidfd),
    ("cgroup-v1", cgroup_v1),
    ("cgroup-v2", cgroup_v2),
    ("cgroup-cpu", || controller("cpu")),
    ("cgroup-memory", || controller("memory")),
    ("cgroup-freezer", freezer),
    ("cpuacct", cpuacct),
    ("systemd", systemd),
    ("boottime", boottime),
    ("ptrace", ptrace),
    ("proc", || exists("/proc/self/stat", "process information", "mount /proc")),
    ("nf-tables", nf_tables),
    ("nfqueue", nfqueue),
];

/// What the kernel has of traffic control, and of looking at sockets. To find it out may take a network namespace for each, or
/// load modules, so that only those ask who want to know.
const TRAFFIC_CONTROL: &[Row] = &[
    ("sock-diag", sock_diag),
    ("ifb", || kernel_part(crate::tc::Part::Ifb, "ifb: packets can be sent through a device of Squall's own", "CONFIG_IFB")),
    ("netem", || kernel_part(crate::tc::Part::Netem, "netem: the kernel delays and loses packets", "CONFIG_NET_SCH_NETEM")),
    ("tbf", || kernel_part(crate::tc::Part::Tbf, "tbf: the kernel limits rates", "CONFIG_NET_SCH_TBF")),
    ("tc-redirect", || {
        let configs = "CONFIG_NET_CLS_BPF, CONFIG_NET_ACT_MIRRED and CONFIG_NET_SCH_INGRESS";
        kernel_part(crate::tc::Part::Redirection, "cls_bpf and mirred: marked packets can be redirected", configs)
    }),
];

/// What is known of this host. Looked at once; memory that is free is looked at each time.
pub fn facts() -> HostFacts {
    static FOUND: OnceLock<HostFacts> = OnceLock::new();
    let mut facts = FOUND.get_or_init(look).clone();
    facts.memory_available = memory("MemAvailable:");
    facts
}

/// The same with [`traffic_control`].
pub fn facts_in_full() -> HostFacts {
    let mut facts = facts();
    facts.features.extend(traffic_control().clone());
    facts
}

/// What the kernel has of traffic control and of looking at sockets, by name. Looked at once.
pub fn traffic_control() -> &'static BTreeMap<String, Feature> {
    static FOUND: OnceLock<BTreeMap<String, Feature>> = OnceLock::new();
    FOUND.get_or_init(|| found(TRAFFIC_CONTROL))
}

fn found(rows: &[Row]) -> BTreeMap<String, Feature> {
    rows.iter().map(|(name, find)| ((*name).to_owned(), find())).collect()
}

fn look() -> HostFacts {
    HostFacts {
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory: memory("MemTotal:"),
        memory_available: Bytes(0),
        uid: rustix::process::geteuid().as_raw(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        features: found(FEATURES),
    }
}

/// A line of `/proc/meminfo`, which counts in KiB.
fn memory(name: &str) -> Bytes {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    Bytes(line.and_then(|l| l.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or_default() * 1024)
}

fn feature(available: bool, detail: impl Into<String>, hint: &str) -> Feature {
    Feature { available, detail: detail.into(), hint: (!available).then(|| hint.to_owned()) }
}

fn exists(path: &str, what: &str, hint: &str) -> Feature {
    let there = Path::new(path).exists();
    feature(there, if there { format!("{what} at {path}") } else { format!("{path} is missing") }, hint)
}

fn root() -> Feature {
    let uid = rustix::process::geteuid();
    let detail = if uid.is_root() { "runs as root".to_owned() } else { format!("runs as user {}", uid.as_raw()) };
    feature(uid.is_root(), detail, "with sudo, processes of other users and the network can be broken, too")
}

fn pidfd() -> Feature {
    let works = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty());
    match works {
        Ok(_) => feature(true, "pidfd_open(2) works: signals cannot hit a reused process number", ""),
        Err(error) => feature(false, format!("pidfd_open(2): {error}"), "use Linux 5.3 or newer, and a container runtime that allows it"),
    }
}

/// Several rows look at these two: they are read once.
fn mounts() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| std::fs::read_to_string("/proc/mounts").unwrap_or_default())
}

fn own_cgroups() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default())
}

fn mounted(kind: &str) -> Vec<String> {
    let text = mounts();
    let mounts = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields.get(2) == Some(&kind)).then(|| (*fields.get(1).unwrap_or(&"")).to_owned())
    });
    mounts.collect()
}

fn cgroup_v1() -> Feature {
    let mounts = mounted("cgroup");
    feature(!mounts.is_empty(), format!("{} hierarchies", mounts.len()), "not needed where cgroup v2 has the controllers")
}

fn cgroup_v2() -> Feature {
    let mounts = mounted("cgroup2");
    let controllers = mounts.first().and_then(|m| std::fs::read_to_string(format!("{m}/cgroup.controllers")).ok()).unwrap_or_default();
    let detail = mounts.first().map_or_else(
        || "not mounted".to_owned(),
        |m| format!("at {m}, controllers: {}", if controllers.trim().is_empty() { "none" } else { controllers.trim() }),
    );
    feature(!mounts.is_empty(), detail, "mount a cgroup2 file system")
}

fn controller(name: &str) -> Feature {
    let in_v1 = own_cgroups().lines().any(|line| line.split(':').nth(1).is_some_and(|list| list.split(',').any(|c| c == name)));
    let in_v2 = mounted("cgroup2")
        .iter()
        .any(|m| std::fs::read_to_string(format!("{m}/cgroup.controllers")).is_ok_and(|list| list.split_whitespace().any(|c| c == name)));
    let detail = match (in_v1, in_v2) {
        (true, _) => "cgroup v1",
        (false, true) => "cgroup v2",
        (false, false) => "in no hierarchy",
    };
    feature(in_v1 || in_v2, detail, "faults then act on the host as a whole, not within a target's control group")
}

/// v2 freezes every group without a controller (`cgroup.freeze`, Linux 5.2).
fn freezer() -> Feature {
    let v1 = controller("freezer");
    let groups = crate::cgroup::Group::of_process(std::process::id()).unwrap_or_default();
    let v2 = groups.iter().any(|group| group.unified && group.directory.join("cgroup.freeze").exists());
    if v2 && !v1.available { feature(true, "cgroup v2 (cgroup.freeze)", "") } else { Feature { hint: None, ..v1 } }
}

fn boottime() -> Feature {
    match rustix::time::clock_getres(rustix::time::ClockId::Boottime) {
        resolution if resolution.tv_sec == 0 && resolution.tv_nsec <= 1_000_000 => {
            feature(true, format!("CLOCK_BOOTTIME counts in {} ns; deadlines are on it", resolution.tv_nsec), "")
        }
        coarse => feature(false, format!("CLOCK_BOOTTIME counts in {} ns only", coarse.tv_nsec), "deadlines are kept less exactly"),
    }
}

/// A number that the kernel counts up with each change of its tables: cheap to ask for, and refused where tables would be.
fn nf_tables() -> Feature {
    use crate::netlink::{Bus, Message, Socket, flags};
    // `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`, and `struct nfgenmsg`.
    let asked = Message::new(10 << 8 | 16, flags::REQUEST | flags::ACK, &[0; 4]);
    match Socket::open(Bus::Netfilter).and_then(|mut socket| socket.request(vec![asked])) {
        Ok(_) => feature(true, "nf_tables: faults on the network can choose packets", ""),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            feature(false, "nf_tables needs the capability CAP_NET_ADMIN", "run with sudo, or give the container `--cap-add NET_ADMIN`")
        }
        Err(error) => feature(false, format!("nf_tables: {error}"), "use a kernel with CONFIG_NF_TABLES (Linux 5.12 or newer is best)"),
    }
}

fn nfqueue() -> Feature {
    let there = Path::new("/proc/net/netfilter/nfnetlink_queue").exists();
    // A module is loaded when it is first asked for.
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let module = || Path::new("/lib/modules").join(&release).join("kernel/net/netfilter");
    let can_be = || {
        std::fs::read_dir(module())
            .is_ok_and(|mut d| d.any(|f| f.is_ok_and(|f| f.file_name().to_string_lossy().starts_with("nfnetlink_queue.ko"))))
    };
    match (there, there || can_be()) {
        (true, _) => feature(true, "nfnetlink_queue: packets can be held and changed", ""),
        (false, true) => feature(true, "nfnetlink_queue can be loaded: packets can be held and changed", ""),
        (false, false) => feature(
            false,
            "nfnetlink_queue is missing",
            "use a kernel with CONFIG_NETFILTER_NETLINK_QUEUE; partition, reject, reset and random loss work without it",
        ),
    }
}

fn sock_diag() -> Feature {
    match crate::sockets::diagnosed() {
        Ok(()) => feature(true, "sock_diag: sockets are listed with their marks and control groups", ""),
        Err(error) => feature(
            false,
            format!("sock_diag lists no sockets ({error}); /proc/net is read"),
            "use a kernel with CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG",
        ),
    }
}

fn kernel_part(part: crate::tc::Part, what: &str, configs: &str) -> Feature {
    let hint = format!("use a kernel with {configs}; what is shaped goes through NFQUEUE without it");
    match part.available() {
        Ok(true) => feature(true, what, ""),
        Ok(false) => feature(false, format!("{what}: not with this kernel"), &hint),
        Err(error) => feature(false, format!("{what}: cannot be found out: {error}"), "run with sudo"),
    }
}

/// Yama's scope (`kernel.yama.ptrace_scope`): 0 own processes, 1 own children, 2 with `CAP_SYS_PTRACE`, 3 never.
fn ptrace() -> Feature {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok().and_then(|text| text.trim().parse::<u32>().ok());
    let root = rustix::process::geteuid().is_root();
    let detail = scope.map_or_else(|| "not restricted by Yama".to_owned(), |scope| format!("kernel.yama.ptrace_scope is {scope}"));
    let available = match scope {
        None | Some(0) => true,
        Some(1 | 2) => root,
        Some(_) => false,
    };
    feature(available, detail, "needed by no fault of this version")
}

fn cpuacct() -> Feature {
    let precise = ["/sys/fs/cgroup/cpuacct/cpuacct.usage_percpu", "/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage_percpu"];
    match precise.iter().find(|path| Path::new(path).exists()) {
        Some(path) => feature(true, format!("CPU time of the host in nanoseconds at {path}"), ""),
        None => feature(
            false,
            "CPU time of the host is read from /proc/stat, in ticks of 10 ms",
            "`meaning: host` of cpu.load is smoothed then",
        ),
    }
}

fn systemd() -> Feature {
    // The directory alone may be a container's leftover (`sd_booted(3)` looks at it and at nothing else).
    let first = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
    let there = first.trim() == "systemd" && Path::new("/run/systemd/system").is_dir();
    let detail = if there { "systemd is process 1".to_owned() } else { format!("process 1 is {}", first.trim()) };
    feature(there, detail, "`unit` matches only processes whose control groups are named like units")
}
