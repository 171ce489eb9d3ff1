//! What a process inherits, and so would get from Squall or its watchdog instead of from whoever once started it: user and
//! groups, file mode mask, nice value, OOM score, resource limits, control groups.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;

use procfs::process::{Limit, LimitValue, Limits, Process};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use serde::{Deserialize, Serialize};

use crate::cgroup::Group;

/// The attributes of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Attributes {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// File mode creation mask (`umask(2)`).
    umask: Option<u32>,
    /// `nice(2)`: -20 to 19.
    nice: i32,
    /// `/proc/PID/oom_score_adj`: -1000 to 1000.
    oom_score_adj: Option<i32>,
    /// By number of `RLIMIT_*` (`getrlimit(2)`): soft and hard; none is no limit.
    limits: Vec<(u32, Option<u64>, Option<u64>)>,
    /// Directories of its control groups, one a hierarchy.
    cgroups: Vec<std::path::PathBuf>,
}

/// The kinds of limit, and where procfs has each.
type LimitRow = (Resource, fn(&Limits) -> Limit);

const LIMITS: &[LimitRow] = &[
    (Resource::Cpu, |l| l.max_cpu_time),
    (Resource::Fsize, |l| l.max_file_size),
    (Resource::Data, |l| l.max_data_size),
    (Resource::Stack, |l| l.max_stack_size),
    (Resource::Core, |l| l.max_core_file_size),
    (Resource::Nproc, |l| l.max_processes),
    (Resource::Nofile, |l| l.max_open_files),
    (Resource::Memlock, |l| l.max_locked_memory),
    (Resource::As, |l| l.max_address_space),
    (Resource::Sigpending, |l| l.max_pending_signals),
    (Resource::Msgqueue, |l| l.max_msgqueue_size),
    (Resource::Nice, |l| l.max_nice_priority),
    (Resource::Rtprio, |l| l.max_realtime_priority),
    (Resource::Rttime, |l| l.max_realtime_timeout),
];

impl Attributes {
    /// Of a process that runs.
    pub(crate) fn of(process: &Process) -> io::Result<Self> {
        let failed = |e: procfs::ProcError| io::Error::other(e.to_string());
        let status = process.status().map_err(failed)?;
        let limits = process.limits().map_err(failed)?;
        let value = |limit: LimitValue| match limit {
            LimitValue::Unlimited => None,
            LimitValue::Value(value) => Some(value),
        };
        let pid = u32::try_from(process.pid).unwrap_or_default();
        Ok(Self {
            uid: status.euid,
            gid: status.egid,
            groups: status.groups,
            umask: status.umask,
            nice: i32::try_from(process.stat().map_err(failed)?.nice).unwrap_or_default(),
            oom_score_adj: std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok().and_then(|text| text.trim().parse().ok()),
            limits: LIMITS
                .iter()
                .map(|(resource, find)| {
                    let limit = find(&limits);
                    (*resource as u32, value(limit.soft_limit), value(limit.hard_limit))
                })
                .collect(),
            cgroups: Group::of_process(pid).unwrap_or_default().into_iter().map(|group| group.directory).collect(),
        })
    }

    /// Made ready to be taken on by a new process, which may not allocate.
    pub(crate) fn prepare(&self) -> Prepared {
        let procs = |directory: &std::path::PathBuf| CString::new(directory.join("cgroup.procs").as_os_str().as_bytes()).ok();
        let limits = self.limits.iter().filter_map(|(number, soft, hard)| {
            let (resource, _) = LIMITS.iter().find(|(resource, _)| *resource as u32 == *number)?;
            Some((*resource, Rlimit { current: *soft, maximum: *hard }))
        });
        Prepared {
            user: rustix::process::geteuid().is_root().then(|| User {
                uid: Uid::from_raw(self.uid),
                gid: Gid::from_raw(self.gid),
                groups: self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect(),
            }),
            umask: self.umask.map(Mode::from_raw_mode),
            nice: self.nice,
            oom_score_adj: self.oom_score_adj.map(|score| score.to_string().into_bytes()),
            limits: limits.collect(),
            cgroups: self.cgroups.iter().filter_map(procs).collect(),
        }
    }
}

/// Attributes, as system calls take them.
pub(crate) struct Prepared {
    /// None where this process is not root, and so cannot be anybody else.
    user: Option<User>,
    umask: Option<Mode>,
    nice: i32,
    oom_score_adj: Option<Vec<u8>>,
    limits: Vec<(Resource, Rlimit)>,
    cgroups: Vec<CString>,
}

struct User {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Prepared {
    /// Takes them on, in a new process before `exec`: system calls alone, nothing is allocated. Only the user is insisted on;
    /// the rest as far as it may be had (a control group may be gone with its last process).
    pub(crate) fn take_on(&self) -> io::Result<()> {
        for procs in &self.cgroups {
            // "0" is whoever writes (`cgroups(7)`).
            write(procs, b"0");
        }
        if let Some(score) = &self.oom_score_adj {
            write(c"/proc/self/oom_score_adj", score);
        }
        let _ = rustix::process::setpriority_process(None, self.nice);
        if let Some(mask) = self.umask {
            rustix::process::umask(mask);
        }
        for (resource, limit) in &self.limits {
            let _ = rustix::process::setrlimit(*resource, *limit);
        }
        if let Some(User { uid, gid, groups }) = &self.user {
            rustix::thread::set_thread_groups(groups)?;
            rustix::thread::set_thread_res_gid(*gid, *gid, *gid)?;
            rustix::thread::set_thread_res_uid(*uid, *uid, *uid)?;
        }
        Ok(())
    }
}

fn write(path: &std::ffi::CStr, bytes: &[u8]) {
    if let Ok(file) = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::io::write(&file, bytes);
    }
}
