//! `namespace`: everything within a network namespace.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{ArgError, FindError, Target, TargetKind, TargetMeta};
use squall_sys::netns;

/// Where `ip netns` keeps namespaces by name (`ip-netns(8)`).
const NAMED: &str = "/run/netns";
/// The type of the file system that namespaces are files of (`NSFS_MAGIC`).
const NSFS: i64 = 0x6e73_6673;

/// The kind of target.
#[derive(Debug)]
pub struct Namespace;

/// Which network namespace: one of the three. That of the host itself is not a match; `host: {}` is for it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSelector {
    /// Its name, as `ip netns` lists it.
    #[serde(default)]
    pub name: Option<String>,
    /// A file that leads to it: `/run/netns/blue`, `/proc/1234/ns/net`.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// A process that is in it.
    #[serde(default)]
    pub pid: Option<u32>,
}

/// What is known of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceFacts {
    /// The namespace.
    pub namespace: netns::Namespace,
}

impl TargetKind for Namespace {
    type Selector = NamespaceSelector;

    const META: TargetMeta = TargetMeta {
        name: "namespace",
        summary: "Everything within a network namespace, by its name, its file, or a process that is in it",
        variables: &[],
        example: "namespace: { name: blue }",
    };

    fn check(&self, selector: &NamespaceSelector) -> Vec<ArgError> {
        let given = [selector.name.is_some(), selector.path.is_some(), selector.pid.is_some()];
        let path = squall_model::Path::default();
        match given.iter().filter(|given| **given).count() {
            1 => selector.name.as_deref().filter(|name| name.is_empty() || name.contains('/')).map_or_else(Vec::new, |name| {
                vec![ArgError::field("name", format!("`{name}` is not the name of a namespace"), Some("write a file as `path`".to_owned()))]
            }),
            0 => vec![ArgError { path, message: "no namespace is named".into(), hint: Some("write `name`, `path` or `pid`".into()) }],
            _ => vec![ArgError {
                path,
                message: "a namespace is named in more than one way".into(),
                hint: Some("write one of `name`, `path`, `pid`".into()),
            }],
        }
    }

    async fn find(&self, selector: &NamespaceSelector) -> Result<Vec<Target>, FindError> {
        let (path, label) = match selector {
            NamespaceSelector { name: Some(name), .. } => (Path::new(NAMED).join(name), format!("network namespace {name}")),
            NamespaceSelector { path: Some(path), .. } => (path.clone(), format!("network namespace {}", path.display())),
            NamespaceSelector { pid, .. } => {
                let pid = pid.unwrap_or_default();
                (PathBuf::from(format!("/proc/{pid}/ns/net")), format!("network namespace of process {pid}"))
            }
        };
        let namespace = look(&path)?;
        if namespace.is_own() {
            return Err(FindError {
                message: format!("the {label} is the one that Squall itself is in"),
                hint: Some("write `target: { host: {} }` for everything on this host".to_owned()),
            });
        }
        let id = format!("namespace:{}", namespace.inode);
        let facts = serde_json::to_value(NamespaceFacts { namespace }).unwrap_or_default();
        Ok(vec![Target { kind: "namespace".into(), id, label, facts }])
    }
}

/// The namespace that a file leads to.
fn look(path: &Path) -> Result<netns::Namespace, FindError> {
    let hint = "`ip netns` lists those that have a name; a process's own is /proc/<pid>/ns/net";
    let wrong = |message: String| FindError { message, hint: Some(hint.to_owned()) };
    let stat = rustix::fs::statfs(path).map_err(|error| match error {
        rustix::io::Errno::NOENT => wrong(format!("there is no {}", path.display())),
        error => wrong(format!("{} cannot be looked at: {error}", path.display())),
    })?;
    if stat.f_type != NSFS {
        return Err(wrong(format!("{} is not a network namespace", path.display())));
    }
    netns::Namespace::at(path).map_err(|error| wrong(format!("{} cannot be looked at: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_namespace_that_is_not_there_or_is_our_own_is_refused_with_the_next_step() {
        let find = async |selector: NamespaceSelector| Namespace.find(&selector).await.expect_err("refused");
        let at = |path: &str| NamespaceSelector { path: Some(path.into()), ..NamespaceSelector::default() };
        let own = find(NamespaceSelector { pid: Some(std::process::id()), ..NamespaceSelector::default() }).await;
        assert!(own.message.contains("Squall itself") && own.hint.is_some_and(|hint| hint.contains("host")));
        assert!(find(at("/run/netns/nobody-made-this")).await.message.contains("there is no"));
        assert!(find(at("/etc/passwd")).await.message.contains("is not a network namespace"));
    }

    #[test]
    fn a_selector_names_one_namespace_in_one_way() {
        let both = NamespaceSelector { name: Some("a".into()), pid: Some(3), path: None };
        let wrong = NamespaceSelector { name: Some("/run/netns/a".into()), ..NamespaceSelector::default() };
        let good = NamespaceSelector { name: Some("a".into()), ..NamespaceSelector::default() };
        assert_eq!([NamespaceSelector::default(), both, wrong, good].map(|s| Namespace.check(&s).len()), [1, 1, 1, 0]);
    }
}
