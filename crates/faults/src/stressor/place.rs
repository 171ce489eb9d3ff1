//! Where a stressor runs: on the host, or in a target process's control groups.

use squall_engine::{Claim, Target};
use squall_sys::cgroup::Group;

/// The process of a target, from its id `process:<pid>:<start>`; `None` for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TargetProcess {
    pub pid: u32,
    start: u64,
}

impl TargetProcess {
    /// From the target's id. An id of another form is an error in words.
    pub(crate) fn of(target: &Target) -> Result<Option<Self>, String> {
        if target.kind != "process" {
            return Ok(None);
        }
        let mut numbers = target.id.split(':').skip(1);
        let pid = numbers.next().and_then(|n| n.parse().ok());
        let start = numbers.next().and_then(|n| n.parse().ok());
        match (pid, start) {
            (Some(pid), Some(start)) => Ok(Some(Self { pid, start })),
            _ => Err(format!("`{}` does not name a process", target.id)),
        }
    }

    /// Whether the process still is the one that was selected (same start time: field 22 of `/proc/<pid>/stat`).
    pub(crate) fn is_there(self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name in parentheses may hold anything: fields are counted from its end.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest);
        fields.and_then(|rest| rest.split_whitespace().nth(19)?.parse().ok()) == Some(self.start)
    }

    /// The groups that govern these controllers for the process, each once, without those that this process is in itself.
    pub(crate) fn groups(self, controllers: &[&str]) -> std::io::Result<Vec<Group>> {
        let mut groups: Vec<Group> = Vec::new();
        for controller in controllers {
            let theirs = Group::governing(self.pid, controller)?;
            let ours = Group::governing(std::process::id(), controller)?;
            let Some(group) = theirs.filter(|group| ours.as_ref() != Some(group)) else { continue };
            if !groups.iter().any(|known| known.directory == group.directory) {
                groups.push(group);
            }
        }
        Ok(groups)
    }
}

/// What nobody else may load at the same time: the resource on the whole host, or as one process's groups have it.
pub(crate) fn claim(target: &Target, resource: &str) -> Claim {
    Claim(if target.kind == "process" { format!("{}:{resource}", target.id) } else { format!("host:{resource}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: &str) -> Target {
        Target { kind: "process".into(), id: id.into(), label: String::new(), facts: serde_json::Value::Null }
    }

    #[test]
    fn a_target_is_the_same_process_only_with_the_same_start() {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
        let start: u64 = stat.rsplit_once(')').expect("a name").1.split_whitespace().nth(19).expect("22 fields").parse().expect("ticks");
        let at =
            |start: u64| TargetProcess::of(&target(&format!("process:{}:{start}", std::process::id()))).expect("a process").expect("some");
        assert!(at(start).is_there());
        assert!(!at(start + 1).is_there());
        assert!(TargetProcess::of(&target("process:x")).is_err());
    }
}
