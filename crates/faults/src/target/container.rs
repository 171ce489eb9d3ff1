//! `container`: containers of this host, whichever runtime made them.
//!
//! Which processes belong to a container is read from their control groups, which all runtimes name by its id. Names are asked
//! of Docker's API (Podman has it too) where its socket is there, and read from the runtimes' own files where it is not.

mod names;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{ArgError, FindError, Target, TargetKind, TargetMeta, Variable};
use squall_sys::cgroup::Group;
use squall_sys::netns::Namespace;
use squall_sys::process::{ProcessFacts, ProcessId, own_line};

/// The kind of target.
#[derive(Debug)]
pub struct Container;

/// Which containers. The one that Squall itself runs in never matches.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerSelector {
    /// Its id, or how that begins.
    #[serde(default)]
    pub id: Option<String>,
    /// Its name, as `docker ps` or `podman ps` shows it.
    #[serde(default)]
    pub name: Option<String>,
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerFacts {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Where it is known.
    pub name: Option<String>,
    /// Its first process.
    pub init: ProcessId,
    /// The network namespace of its first process: the host's own where it uses the host's network.
    pub namespace: Namespace,
    /// Its control group of cgroup v2; none where the runtime uses v1 alone.
    pub cgroup: Option<String>,
}

impl TargetKind for Container {
    type Selector = ContainerSelector;

    const META: TargetMeta = TargetMeta {
        name: "container",
        summary: "Containers of Docker, Podman, containerd or CRI-O on this host, by id or name",
        variables: &[
            Variable { name: "id", place: "/id", number: false, what: "its id, 64 hexadecimal digits" },
            Variable { name: "name", place: "/name", number: false, what: "its name, as `docker ps` shows it" },
        ],
        example: "container: { name: payments }",
    };

    fn check(&self, selector: &ContainerSelector) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if selector.id.is_none() && selector.name.is_none() {
            let hint = Some("write `id` or `name`".to_owned());
            let path = squall_model::Path::default();
            errors.push(ArgError { path, message: "an empty selector would match every container".into(), hint });
        }
        if let Some(id) = selector.id.as_deref().filter(|id| id.is_empty() || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_hexdigit())) {
            let hint = Some("`docker ps` shows the first 12 digits; a name is written as `name`".to_owned());
            errors.push(ArgError::field("id", format!("`{id}` is not how an id of a container begins"), hint));
        }
        errors
    }

    async fn find(&self, selector: &ContainerSelector) -> Result<Vec<Target>, FindError> {
        let selector = selector.clone();
        let gone = |message: String| FindError { message, hint: None };
        crate::stressor::blocking(move || look(&selector)).await.map_err(gone)?
    }
}

fn look(selector: &ContainerSelector) -> Result<Vec<Target>, FindError> {
    let all = ProcessFacts::all().map_err(|e| FindError { message: format!("processes cannot be listed: {e}"), hint: None })?;
    let found = containers(&all);
    let wanted = |id: &str| selector.id.as_deref().is_none_or(|start| id.starts_with(&start.to_ascii_lowercase()));
    let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).filter(|id| wanted(id)).collect();
    let names = names::of(&ids);
    if let (Some(name), true) = (&selector.name, names.is_empty() && !ids.is_empty()) {
        return Err(FindError {
            message: format!("no container's name can be read here, so `{name}` is not found ({} containers run)", ids.len()),
            hint: Some(
                "write its `id`; or let Squall reach the runtime's socket (DOCKER_HOST, /run/docker.sock, /run/podman/podman.sock)".into(),
            ),
        });
    }
    let mut targets = Vec::new();
    for (id, init) in found.iter().filter(|(id, _)| wanted(id)) {
        let name = names.get(id.as_str()).cloned();
        if selector.name.is_some() && selector.name != name {
            continue;
        }
        // One that has ended meanwhile is no match.
        let Ok(namespace) = Namespace::of_process(init.pid) else { continue };
        let cgroup = group_of(init.pid, id);
        let label = match &name {
            Some(name) => format!("container {name} ({})", &id[..12]),
            None => format!("container {}", &id[..12]),
        };
        let facts = ContainerFacts { id: id.clone(), name, init: *init, namespace, cgroup };
        let facts = serde_json::to_value(facts).unwrap_or_default();
        targets.push(Target { kind: "container".into(), id: format!("container:{id}"), label, facts });
    }
    Ok(targets)
}

/// The containers that these processes belong to with the first process of each, by id. Not the one that Squall is in.
fn containers(all: &[ProcessFacts]) -> Vec<(String, ProcessId)> {
    let own = own_line(all);
    let id = |process: &ProcessFacts| process.cgroups.iter().find_map(|path| id_in(path).map(|(id, _)| id.to_owned()));
    // Process 1 is of everybody's line; within a container it is of Squall's own container, too.
    let ours: Vec<String> = all.iter().filter(|p| own.contains(&p.id.pid)).filter_map(id).collect();
    let mut found: std::collections::BTreeMap<String, ProcessId> = std::collections::BTreeMap::new();
    for process in all {
        let Some(id) = id(process).filter(|id| !ours.contains(id)) else { continue };
        let first = found.entry(id).or_insert(process.id);
        if (process.id.start_ticks, process.id.pid) < (first.start_ticks, first.pid) {
            *first = process.id;
        }
    }
    found.into_iter().collect()
}

/// The container's group of v2, also where the process is in one below it.
fn group_of(pid: u32, id: &str) -> Option<String> {
    let groups = Group::of_process(pid).ok()?;
    let path = groups.into_iter().find(|group| group.unified)?.path;
    let (found, end) = id_in(&path)?;
    (found == id).then(|| path[..end].to_owned())
}

/// The container's id in the path of a control group, and where the container's own group ends in it: a part of the path that
/// is the id, or ends in it (`docker-<id>.scope`, `cri-containerd-<id>.scope`, `libpod-<id>`). The runtimes' own processes
/// beside a container (`libpod-conmon-<id>.scope`, `crio-conmon-<id>`) do not belong to it.
fn id_in(path: &str) -> Option<(&str, usize)> {
    let mut start = 0;
    for part in path.split('/') {
        let end = start + part.len();
        let name = part.strip_suffix(".scope").unwrap_or(part);
        if let Some((prefix, id)) = name.len().checked_sub(64).and_then(|at| name.split_at_checked(at)) {
            let hex = id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if hex && (prefix.is_empty() || prefix.ends_with(['-', ':'])) && !prefix.contains("conmon") {
                return Some((id, end));
            }
        }
        start = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_in_the_control_groups_of_each_runtime() {
        let id = "0123456789abcdef".repeat(4);
        let own = [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope"),
            format!("/libpod_parent/libpod-{id}"),
            format!("/kubepods/besteffort/pod2d6f/{id}"),
            format!("/kubepods.slice/kubepods-pod2d6f.slice/cri-containerd-{id}.scope"),
            format!("/kubepods.slice/kubepods-pod2d6f.slice/crio-{id}.scope"),
            format!("/system.slice/containerd.service/kubepods-pod2d6f.slice:cri-containerd:{id}"),
        ];
        for path in &own {
            assert_eq!(id_in(path), Some((id.as_str(), path.len())), "{path}");
            assert_eq!(id_in(&format!("{path}/init.scope")), Some((id.as_str(), path.len())), "{path}, within");
        }
        let others = [
            format!("/machine.slice/libpod-conmon-{id}.scope"),
            format!("/system.slice/crio-conmon-{id}.scope"),
            format!("/docker/{}", &id[1..]),
            format!("/x{id}"),
            "/system.slice/nginx.service".to_owned(),
            "/".to_owned(),
        ];
        for path in &others {
            assert_eq!(id_in(path), None, "{path}");
        }
    }

    #[test]
    fn the_first_process_of_a_container_stands_for_it() {
        let id = "ab".repeat(32);
        let process = |pid, start_ticks, group: &str| ProcessFacts {
            ports: Vec::new(),
            id: ProcessId { pid, start_ticks },
            name: "x".into(),
            program: None,
            arguments: Vec::new(),
            uid: 0,
            parent: 2,
            cgroups: vec!["/".into(), group.into()],
        };
        let group = format!("/docker/{id}");
        let all = [process(900_001, 30, &group), process(900_002, 20, &group), process(900_003, 10, "/docker")];
        assert_eq!(containers(&all), [(id, ProcessId { pid: 900_002, start_ticks: 20 })]);
    }

    #[test]
    fn selectors_that_cannot_be_meant_are_refused() {
        let id = |id: &str| ContainerSelector { id: Some(id.into()), name: None };
        assert_eq!([ContainerSelector::default(), id("web"), id(""), id("3f2a")].map(|s| Container.check(&s).len()), [1, 1, 1, 0]);
    }
}
