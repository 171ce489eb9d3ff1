//! `process`: processes of this host, by what is known of them.

use std::fmt;

use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};
use squall_engine::{ArgError, FindError, Target, TargetKind, TargetMeta, Variable};
use squall_model::ProtectedProcess;
use squall_sys::process::{ProcessFacts, listening, listening_on, own_line, uid_of};

/// The kind of target.
#[derive(Debug)]
pub struct Process;

/// Which processes. All of the conditions that are written must be met. Squall itself, its ancestors, the watchdogs and
/// stressors of any run, process 1 and kernel threads never match.
#[derive(Debug, Clone, Default, serde::Deserialize, JsonSchema)]
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
    pub user: Option<NameOrNumber>,
    /// Its parent: a process id, or the parent's name.
    #[serde(default)]
    pub parent: Option<NameOrNumber>,
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

/// A name or a number, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameOrNumber(pub String);

impl<'de> Deserialize<'de> for NameOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = NameOrNumber;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<NameOrNumber, E> {
                Ok(NameOrNumber(text.to_owned()))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<NameOrNumber, E> {
                Ok(NameOrNumber(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for NameOrNumber {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NameOrNumber".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0 })
    }
}

/// A selector, made ready to look at many processes.
#[derive(Default)]
struct Ready<'a> {
    selector: ProcessSelector,
    command_line: Option<Regex>,
    uid: Option<u32>,
    all: &'a [ProcessFacts],
}

impl<'a> Ready<'a> {
    fn new(selector: &ProcessSelector, all: &'a [ProcessFacts]) -> Result<Self, FindError> {
        let wrong = |e: regex::Error| FindError { message: e.to_string(), hint: None };
        let command_line = selector.command_line.as_deref().map(Regex::new).transpose().map_err(wrong)?;
        // Not in `check`: a manifest may be checked on another host.
        let nobody = |user: &str| FindError {
            message: format!("there is no user `{user}` on this host"),
            hint: Some("write a name of /etc/passwd, or a number".to_owned()),
        };
        let uid = selector.user.as_ref().map(|user| uid_of(&user.0).ok_or_else(|| nobody(&user.0))).transpose()?;
        Ok(Self { selector: selector.clone(), command_line, uid, all })
    }

    /// Everything but the port, which is looked up once for all.
    fn matches(&self, process: &ProcessFacts) -> bool {
        let s = &self.selector;
        let in_unit = |unit: &str| process.unit().is_some_and(|of| of == unit || of.strip_suffix(".service") == Some(unit));
        s.pid.is_none_or(|pid| process.id.pid == pid)
            && s.name.as_deref().is_none_or(|name| named(process, name))
            && self.command_line.as_ref().is_none_or(|regex| regex.is_match(&process.arguments.join(" ")))
            && self.uid.is_none_or(|uid| uid == process.uid)
            && s.parent.as_ref().is_none_or(|parent| is_parent(&parent.0, process.parent, self.all))
            && s.unit.as_deref().is_none_or(in_unit)
            && s.cgroup.as_deref().is_none_or(|group| process.cgroups.iter().any(|path| within(path, group)))
    }
}

impl TargetKind for Process {
    type Selector = ProcessSelector;

    const META: TargetMeta = TargetMeta {
        name: "process",
        summary: "Processes by pid, name, command line, user, parent, port, systemd unit or control group",
        variables: &[
            Variable { name: "pid", place: "/id/pid", number: true, what: "its process id" },
            Variable { name: "name", place: "/name", number: false, what: "its name, as `ps -o comm` shows it" },
            Variable { name: "port", place: "/ports/0", number: true, what: "the lowest TCP port that it listens on" },
        ],
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
        if s.pid == Some(1) {
            errors.push(ArgError::field("pid", "process 1 is never a target", Some("without it the host is gone".to_owned())));
        }
        errors
    }

    async fn find(&self, selector: &ProcessSelector) -> Result<Vec<Target>, FindError> {
        let failed = |e: std::io::Error| FindError { message: format!("processes cannot be listed: {e}"), hint: None };
        let all = ProcessFacts::all().map_err(failed)?;
        let own = own_line(&all);
        let ready = Ready::new(selector, &all)?;
        let mut matches: Vec<&ProcessFacts> = all.iter().filter(|p| !own.contains(&p.id.pid) && ready.matches(p)).collect();
        if let Some(port) = selector.port.filter(|_| !matches.is_empty()) {
            let listeners = listening_on(port).map_err(failed)?;
            matches.retain(|p| listeners.contains(&p.id.pid));
        }
        let mut ports = listening(matches.iter().map(|process| process.id.pid));
        let known = |process: &ProcessFacts| ProcessFacts { ports: ports.remove(&process.id.pid).unwrap_or_default(), ..process.clone() };
        Ok(matches.into_iter().map(known).map(|process| target(&process)).collect())
    }
}

fn target(process: &ProcessFacts) -> Target {
    let id = format!("process:{}:{}", process.id.pid, process.id.start_ticks);
    let facts = serde_json::to_value(process).unwrap_or_default();
    Target { kind: "process".into(), id, label: process.label(), facts }
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
    let user = user.clone().map(NameOrNumber);
    let selector = ProcessSelector { name: name.clone(), user, unit: unit.clone(), ..ProcessSelector::default() };
    let says_something = name.is_some() || selector.user.is_some() || port.is_some() || unit.is_some();
    // A port that cannot be looked up protects: better one experiment less than a broken line.
    let on_port = port.is_none_or(|port| listening_on(port).map_or(true, |pids| pids.contains(&process.id.pid)));
    says_something && Ready::new(&selector, &[]).is_ok_and(|ready| ready.matches(&process)) && on_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_matches_itself_and_what_is_below() {
        assert!(within("/a/b", "/a") && within("/a", "/a/") && !within("/ab", "/a"));
    }

    #[tokio::test]
    async fn neither_squall_nor_its_line_nor_process_1_nor_a_kernel_thread_is_ever_found() {
        let everything = ProcessSelector { command_line: Some(String::new()), ..ProcessSelector::default() };
        let found = Process.find(&everything).await.expect("listed");
        let is_found = |pid: u32| found.iter().any(|t| t.id.starts_with(&format!("process:{pid}:")));
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
        // 2 is kthreadd on a host; in a container another may have that number.
        let kernel = std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd");
        let never = [std::process::id(), parent, 1].into_iter().chain(kernel.then_some(2));
        assert_eq!(never.filter(|pid| is_found(*pid)).collect::<Vec<_>>(), [0_u32; 0]);
        let mine = ProcessSelector { pid: Some(std::process::id()), ..ProcessSelector::default() };
        assert!(Process.find(&mine).await.expect("listed").is_empty());
    }
}
