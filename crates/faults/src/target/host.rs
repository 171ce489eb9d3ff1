//! `host`: this host as a whole.

use schemars::JsonSchema;
use serde::Deserialize;
use squall_engine::{FindError, Target, TargetKind, TargetMeta};

/// The kind of target.
#[derive(Debug)]
pub struct Host;

/// Nothing to choose: there is one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostSelector {}

impl TargetKind for Host {
    type Selector = HostSelector;

    const META: TargetMeta = TargetMeta {
        name: "host",
        summary: "This host as a whole; what a step without `target` is applied to",
        variables: &[],
        example: "host: {}",
    };

    async fn find(&self, _: &HostSelector) -> Result<Vec<Target>, FindError> {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(vec![Target { kind: "host".into(), id: "host".into(), label: format!("this host ({name})"), facts: serde_json::Value::Null }])
    }
}
