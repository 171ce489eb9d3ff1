//! `process`: processes of this host, by what is known of them.

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{ArgError, FindError, Target, TargetKind, TargetMeta};
use squall_model::ProtectedProcess;
use squall_sys::process::{ProcessFacts, listening_on, own_line, uid_of};

/// The kind of target.
#[derive(Debug)]
pub struct Process;

/// Which processes. All of the conditions that are written must be met. Squall itself, its ancestors and descendants, process
/// 1 and kernel threads never match.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessSelector {
    /// Its process id.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Its name: what `ps -o comm` shows, or the file name of its program.
    #[serde(default)]
    pub name: Option<String>,
    /// A regular expression found in its command line (arguments with a space between).
    #[serde(default)]
    pub command_line: Option<String>,
    /// The user that it runs as: a name or a number.
    #[serde(default)]
    pub user: Option<String>,
    /// Its parent: a process id, or the parent's name.
    #[serde(default)]
    pub parent: Option<String>,
    /// A TCP port that it listens on, or a UDP port that it is bound to.
    #[serde(default)]
    pub port: Option<u16>,
    /// The systemd unit that it belongs to: `nginx.service`.
    #[serde(default)]
    pub unit: Option<String>,
    /// The control group that it is in, or one below: `/system.slice/nginx.service`.
    #[serde(default)]
    pub cgroup: Option<String>,
}

impl TargetKind for Process {
    type Selector = ProcessSelector;

    const META: TargetMeta = TargetMeta {
        name: "process",
        summary: "Processes by pid, name, command line, user, parent, port, systemd unit or control group",
        example: "process: { name: payments, user: www-data }",
    };

    fn check(&self, selector: &ProcessSelector) -> Vec<ArgError> {
        let s = selector;
        let mut errors = Vec::new();
        let none = s.pid.is_none() && s.name.is_none() && s.command_line.is_none() && s.user.is_none();
        if none && s.parent.is_none() && s.port.is_none() && s.unit.is_none() && s.cgroup.is_none() {
            let hint = "write one of `pid`, `name`, `commandLine`, `user`, `parent`, `port`, `unit`, `cgroup`";
            let path = squall_model::Path::default();
            errors.push(ArgError { path, message: "an empty selector would match every process".into(), hint: Some(hint.to_owned()) });
        }
        if let Some(Err(error)) = s.command_line.as_deref().map(Regex::new) {
            let message = format!("not a regular expression: {}", error.to_string().lines().last().unwrap_or_default());
            errors.push(ArgError::field("commandLine", message, None));
        }
        if let Some(user) = s.user.as_deref().filter(|user| uid_of(user).is_none()) {
            errors.push(ArgError::field(
                "user",
                format!("there is no user `{user}` on this host"),
                Some("write a name or a number".to_owned()),
            ));
        }
        if s.pid == Some(1) {
            errors.push(ArgError::field("pid", "process 1 is never a target", Some("without it the host is gone".to_owned())));
        }
        errors
    }

    async fn find(&self, selector: &ProcessSelector) -> Result<Vec<Target>, FindError> {
        let failed = |e: std::io::Error| FindError { message: format!("processes cannot be listed: {e}"), hint: None };
        let all = ProcessFacts::all().map_err(failed)?;
        let own = own_line(&all);
        let mut matches: Vec<&ProcessFacts> = all.iter().filter(|p| !own.contains(&p.id.pid) && matches_facts(selector, p, &all)).collect();
        if let Some(port) = selector.port.filter(|_| !matches.is_empty()) {
            let listeners = listening_on(port).map_err(failed)?;
            matches.retain(|p| listeners.contains(&p.id.pid));
        }
        Ok(matches.into_iter().map(target).collect())
    }
}

fn target(process: &ProcessFacts) -> Target {
    let id = format!("process:{}:{}", process.id.pid, process.id.start_ticks);
    let facts = serde_json::to_value(process).unwrap_or_default();
    Target { kind: "process".into(), id, label: process.label(), facts }
}

/// Everything but the port, which is looked up once for all.
fn matches_facts(selector: &ProcessSelector, process: &ProcessFacts, all: &[ProcessFacts]) -> bool {
    let s = selector;
    s.pid.is_none_or(|pid| process.id.pid == pid)
        && s.name.as_deref().is_none_or(|name| named(process, name))
        && s.command_line.as_deref().is_none_or(|regex| Regex::new(regex).is_ok_and(|r| r.is_match(&process.arguments.join(" "))))
        && s.user.as_deref().is_none_or(|user| uid_of(user) == Some(process.uid))
        && s.parent.as_deref().is_none_or(|parent| is_parent(parent, process.parent, all))
        && s.unit.as_deref().is_none_or(|unit| process.unit() == Some(unit) || process.unit() == Some(&format!("{unit}.service")))
        && s.cgroup.as_deref().is_none_or(|group| process.cgroups.iter().any(|path| within(path, group)))
}

fn named(process: &ProcessFacts, name: &str) -> bool {
    // The kernel cuts a name to 15 bytes; a longer one is asked for in full.
    let cut = name.len() > 15 && process.name.len() == 15 && name.starts_with(&process.name);
    process.name == name || process.program_name() == Some(name) || (cut && process.program_name().is_none())
}

fn is_parent(wanted: &str, parent: u32, all: &[ProcessFacts]) -> bool {
    wanted.parse() == Ok(parent) || all.iter().any(|p| p.id.pid == parent && named(p, wanted))
}

fn within(path: &str, group: &str) -> bool {
    let group = group.trim_end_matches('/');
    path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a policy's entry protects a target. All of its conditions must be met; an empty one protects nothing.
pub fn is_protected(entry: &ProtectedProcess, target: &Target) -> bool {
    let Ok(process) = serde_json::from_value::<ProcessFacts>(target.facts.clone()) else { return false };
    let ProtectedProcess { name, user, port, unit } = entry;
    let selector = ProcessSelector { name: name.clone(), user: user.clone(), unit: unit.clone(), ..ProcessSelector::default() };
    let says_something = name.is_some() || user.is_some() || port.is_some() || unit.is_some();
    // A port that cannot be looked up protects: better one experiment less than a broken line.
    let on_port = port.is_none_or(|port| listening_on(port).map_or(true, |pids| pids.contains(&process.id.pid)));
    says_something && matches_facts(&selector, &process, &[]) && on_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_matches_itself_and_what_is_below() {
        assert!(within("/a/b", "/a") && within("/a", "/a/") && !within("/ab", "/a"));
    }

    #[tokio::test]
    async fn neither_squall_nor_its_line_nor_process_1_is_ever_found() {
        let me = std::process::id();
        let mine = ProcessSelector { pid: Some(me), ..ProcessSelector::default() };
        assert!(Process.find(&mine).await.expect("listed").is_empty());
        let everything = ProcessSelector { command_line: Some(String::new()), ..ProcessSelector::default() };
        let found = Process.find(&everything).await.expect("listed");
        assert!(!found.iter().any(|t| t.id.starts_with("process:1:") || t.id.starts_with(&format!("process:{me}:"))));
    }
}
