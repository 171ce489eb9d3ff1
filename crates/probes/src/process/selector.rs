//! Which processes match.

use std::collections::HashSet;

use procfs::ProcError;
use procfs::net::TcpState;
use procfs::process::{FDTarget, Process, Stat, all_processes};
use regex::Regex;
use squall_engine::ArgError;

use super::Args;

/// What the types of the arguments cannot say.
pub(super) fn check(args: &Args) -> Vec<ArgError> {
    let mut errors = Vec::new();
    if describe(args).is_empty() {
        let hint = "write one of `pid`, `name`, `commandLine`, `user`, `parent`, `port`, `unit`, `cgroup`".to_owned();
        errors.push(ArgError { path: squall_model::Path::default(), message: "selects every process".into(), hint: Some(hint) });
    }
    for (field, pid) in [("pid", args.pid), ("parent", args.parent)] {
        if pid.is_some_and(|pid| pid <= 0) {
            errors.push(ArgError::field(field, "a process id is 1 or more", None));
        }
    }
    for (field, text) in [("name", &args.name), ("user", &args.user), ("unit", &args.unit), ("cgroup", &args.cgroup)] {
        if text.as_deref() == Some("") {
            errors.push(ArgError::field(field, format!("`{field}` is empty"), "leave it out".to_owned()));
        }
    }
    if args.port == Some(0) {
        errors.push(ArgError::field("port", "nothing listens on port 0", "write a port from 1 to 65535".to_owned()));
    }
    if let Some(Err(error)) = args.command_line.as_deref().map(Regex::new) {
        let reason = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        errors.push(ArgError::field("commandLine", format!("not a regular expression: {reason}"), None));
    }
    errors
}

/// The conditions in words: `name payments, port 8080`.
pub(super) fn describe(args: &Args) -> String {
    let number = |n: Option<i32>| n.map(|n| n.to_string());
    [
        ("pid", number(args.pid)),
        ("name", args.name.clone()),
        ("command line", args.command_line.as_ref().map(|pattern| format!("/{pattern}/"))),
        ("user", args.user.clone()),
        ("parent", number(args.parent)),
        ("port", args.port.map(|p| p.to_string())),
        ("unit", args.unit.clone()),
        ("cgroup", args.cgroup.clone()),
    ]
    .into_iter()
    .filter_map(|(what, value)| value.map(|value| format!("{what} {value}")))
    .collect::<Vec<_>>()
    .join(", ")
}

/// The conditions made ready.
pub(super) struct Matcher {
    args: Args,
    command_line: Option<Regex>,
}

impl Matcher {
    pub(super) fn new(args: &Args) -> Result<Self, String> {
        let command_line = args.command_line.as_deref().map(Regex::new).transpose().map_err(|e| e.to_string())?;
        Ok(Self { args: args.clone(), command_line })
    }

    /// Every match. Squall itself and what started it are none (their command lines name what they are to look for),
    /// unless selected by `pid`. Threads that have ended and wait to be reaped are none either.
    pub(super) fn find(&self) -> Result<Vec<(Process, Stat)>, String> {
        let user = self.args.user.as_deref().map(user_id).transpose()?;
        let sockets = self.args.port.map(listening).transpose()?;
        if sockets.as_ref().is_some_and(HashSet::is_empty) {
            return Ok(Vec::new());
        }
        let own = if self.args.pid.is_some() { HashSet::new() } else { ancestry() };
        let mut found = Vec::new();
        let mut hidden = None;
        for process in self.candidates()? {
            if own.contains(&process.pid) {
                continue;
            }
            match self.matches(&process, user, sockets.as_ref()) {
                Ok(Some(stat)) => found.push((process, stat)),
                Err(ProcError::PermissionDenied(_)) => hidden = Some(process.pid),
                // Ended while it was looked at.
                Ok(None) | Err(_) => {}
            }
        }
        match hidden {
            Some(pid) if found.is_empty() => {
                Err(format!("process {pid} could match but is not ours to see (whose sockets or cgroups); run as its user or as root"))
            }
            _ => Ok(found),
        }
    }

    fn candidates(&self) -> Result<Vec<Process>, String> {
        if let Some(pid) = self.args.pid {
            return match Process::new(pid) {
                Ok(process) => Ok(vec![process]),
                Err(ProcError::NotFound(_)) => Ok(Vec::new()),
                Err(error) => Err(format!("process {pid}: {error}")),
            };
        }
        Ok(all_processes().map_err(|e| format!("/proc: {e}"))?.filter_map(Result::ok).collect())
    }

    /// Its numbers, if it matches. Cheap conditions come first.
    fn matches(&self, process: &Process, user: Option<u32>, sockets: Option<&HashSet<u64>>) -> Result<Option<Stat>, ProcError> {
        let args = &self.args;
        let stat = process.stat()?;
        if matches!(stat.state, 'Z' | 'X') || args.parent.is_some_and(|parent| stat.ppid != parent) {
            return Ok(None);
        }
        if user.is_some_and(|user| process.uid().is_ok_and(|uid| uid != user)) {
            return Ok(None);
        }
        let needs_words = args.name.as_ref().is_some_and(|name| *name != stat.comm) || self.command_line.is_some();
        let words = if needs_words { process.cmdline()? } else { Vec::new() };
        if let Some(name) = &args.name {
            let program = words.first().map(|word| word.rsplit('/').next().unwrap_or(word));
            if *name != stat.comm && program != Some(name) {
                return Ok(None);
            }
        }
        if self.command_line.as_ref().is_some_and(|pattern| !pattern.is_match(&words.join(" "))) {
            return Ok(None);
        }
        if (args.unit.is_some() || args.cgroup.is_some()) && !self.in_cgroup(process)? {
            return Ok(None);
        }
        if let Some(sockets) = sockets {
            let mut listens = false;
            for descriptor in process.fd()? {
                // A descriptor may be closed while it is looked at.
                listens |= descriptor.is_ok_and(|d| matches!(d.target, FDTarget::Socket(inode) if sockets.contains(&inode)));
            }
            if !listens {
                return Ok(None);
            }
        }
        Ok(Some(stat))
    }

    fn in_cgroup(&self, process: &Process) -> Result<bool, ProcError> {
        let groups = process.cgroups()?.0;
        let unit = self.args.unit.as_deref().map(|unit| if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") });
        let in_unit = unit.is_none_or(|unit| groups.iter().any(|group| group.pathname.split('/').any(|part| part == unit)));
        let in_group = self.args.cgroup.as_deref().is_none_or(|wanted| {
            let wanted = wanted.trim_matches('/');
            groups.iter().any(|group| {
                let path = group.pathname.trim_matches('/');
                path == wanted || path.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/')) || wanted.is_empty()
            })
        });
        Ok(in_unit && in_group)
    }
}

/// This process and those above it.
fn ancestry() -> HashSet<i32> {
    let mut own = HashSet::new();
    let mut next = Process::myself().ok();
    while let Some(process) = next {
        own.insert(process.pid);
        next = process.stat().ok().filter(|stat| stat.ppid > 0 && !own.contains(&stat.ppid)).and_then(|stat| Process::new(stat.ppid).ok());
    }
    own
}

fn user_id(user: &str) -> Result<u32, String> {
    if let Ok(id) = user.parse() {
        return Ok(id);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(|e| format!("/etc/passwd: {e}"))?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user));
    line.and_then(|line| line.split(':').nth(2))
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| format!("there is no user `{user}` in /etc/passwd; write the number of one from another directory"))
}

/// The sockets that listen on the port.
fn listening(port: u16) -> Result<HashSet<u64>, String> {
    let tcp = procfs::net::tcp().map_err(|e| format!("/proc/net/tcp: {e}"))?;
    // A host without IPv6 has no such file.
    let tcp6 = procfs::net::tcp6().unwrap_or_default();
    let entries = tcp.into_iter().chain(tcp6);
    Ok(entries.filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port).map(|entry| entry.inode).collect())
}
