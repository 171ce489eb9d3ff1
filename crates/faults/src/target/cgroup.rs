//! `cgroup`: everything within a control group.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{ArgError, FindError, Target, TargetKind, TargetMeta};
use squall_sys::cgroup::Hierarchy;
use squall_sys::process::{ProcessFacts, ProcessId, own_line};

/// The kind of target.
#[derive(Debug)]
pub struct Cgroup;

/// Which control group. One that Squall itself is in is not a match.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CgroupSelector {
    /// Its path, as `/proc/<pid>/cgroup` and `systemd-cgls` show it: `/system.slice/nginx.service`. What is below belongs to it.
    pub path: String,
}

/// What is known of a control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CgroupFacts {
    /// As it was written, without a slash at the end.
    pub path: String,
    /// Whether cgroup v2 has it: its sockets can be told by it then.
    pub unified: bool,
    /// The class of v1's `net_cls`, where it has one that is not 0.
    pub class: Option<u32>,
    /// The processes in it and below, when it was looked at.
    pub members: Vec<ProcessId>,
}

impl TargetKind for Cgroup {
    type Selector = CgroupSelector;

    const META: TargetMeta = TargetMeta {
        name: "cgroup",
        summary: "Everything within a control group and those below it: a systemd service, a slice",
        variables: &[],
        example: "cgroup: { path: /system.slice/nginx.service }",
    };

    fn check(&self, selector: &CgroupSelector) -> Vec<ArgError> {
        let path = &selector.path;
        let wrong = |message: String, hint: &str| vec![ArgError::field("path", message, Some(hint.to_owned()))];
        if path.trim_matches('/').is_empty() {
            return wrong("the root group is the whole host".into(), "write `target: { host: {} }` for it");
        }
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return wrong(format!("`{path}` is not a path from the root of control groups"), "write it as /proc/<pid>/cgroup shows it");
        }
        Vec::new()
    }

    async fn find(&self, selector: &CgroupSelector) -> Result<Vec<Target>, FindError> {
        let hierarchies = Hierarchy::all().map_err(|e| FindError { message: format!("control groups cannot be read: {e}"), hint: None })?;
        let path = selector.path.trim_end_matches('/').to_owned();
        let hint = || Some("`cat /proc/<pid>/cgroup` shows those of a process".to_owned());
        let (directory, facts) = look(&path, &hierarchies)
            .ok_or_else(|| FindError { message: format!("there is no control group {path} on this host"), hint: hint() })?;
        if facts.members.is_empty() {
            let hint = "start what is to be broken first; it may be in another group";
            return Err(FindError { message: format!("there is no process in control group {path}"), hint: Some(hint.to_owned()) });
        }
        if let Some(pid) = ours(&facts.members)? {
            return Err(FindError {
                message: format!("Squall itself, or what it was started by, is in control group {path} (process {pid})"),
                hint: Some("choose a group below it, or single processes".to_owned()),
            });
        }
        // A group of v2 has a number that is not given again; one of v1 is told by its path alone.
        let inode = std::fs::metadata(&directory).map_or(0, |metadata| metadata.ino());
        let (id, label) = (format!("cgroup:{inode}:{path}"), format!("control group {path}"));
        Ok(vec![Target { kind: "cgroup".into(), id, label, facts: serde_json::to_value(facts).unwrap_or_default() }])
    }
}

/// The group in the first hierarchy that has it, v2 before the others.
fn look(path: &str, hierarchies: &[Hierarchy]) -> Option<(PathBuf, CgroupFacts)> {
    let directory = |hierarchy: &Hierarchy| {
        let below = Path::new(path).strip_prefix(&hierarchy.root).ok()?;
        Some(hierarchy.mount_point.join(below)).filter(|directory| directory.is_dir())
    };
    let unified = hierarchies.iter().filter(|h| h.unified).find_map(directory);
    let classes = hierarchies.iter().filter(|h| h.controllers.iter().any(|c| c == "net_cls")).find_map(directory);
    let class = classes.as_ref().and_then(|d| std::fs::read_to_string(d.join("net_cls.classid")).ok()?.trim().parse().ok());
    let found = unified.clone().or_else(|| classes.clone()).or_else(|| hierarchies.iter().find_map(directory))?;
    let mut members = Vec::new();
    collect(&found, &mut members);
    members.sort_by_key(|id| id.pid);
    let class = class.filter(|class| *class != 0);
    Some((found, CgroupFacts { path: path.to_owned(), unified: unified.is_some(), class, members }))
}

/// The processes of a group and of those below it. Groups that end meanwhile have none.
fn collect(directory: &Path, members: &mut Vec<ProcessId>) {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    members.extend(text.lines().filter_map(|line| ProcessId::of(line.trim().parse().ok()?)));
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), members);
        }
    }
}

/// The first of these processes that must never be touched.
pub(super) fn ours(members: &[ProcessId]) -> Result<Option<u32>, FindError> {
    let all = ProcessFacts::all().map_err(|e| FindError { message: format!("processes cannot be listed: {e}"), hint: None })?;
    let own = own_line(&all);
    Ok(members.iter().map(|id| id.pid).find(|pid| own.contains(pid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_and_what_is_no_path_are_refused() {
        let errors = |path: &str| Cgroup.check(&CgroupSelector { path: path.into() }).len();
        assert_eq!(["/", "", "system.slice", "/a/../b", "/a/b/"].map(errors), [1, 1, 1, 1, 0]);
    }

    #[tokio::test]
    async fn a_group_that_is_not_there_is_refused_with_the_next_step() {
        let error = Cgroup.find(&CgroupSelector { path: "/nobody/made/this".into() }).await.expect_err("refused");
        assert!(error.message.contains("there is no control group") && error.hint.is_some());
    }
}
