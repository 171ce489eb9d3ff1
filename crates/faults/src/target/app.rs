//! `app`: Rust services with the layer of `squall-tower`, by the names that they give themselves.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{ArgError, FindError, Target, TargetKind, TargetMeta};

/// The kind of target.
#[derive(Debug)]
pub struct App;

/// Which services. Whether one of that name runs is seen when a fault is set: it is in force only if a process obeys it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppSelector {
    /// The name that the service gives its layer, `FaultLayer::new("checkout")`. `*` in it is anything.
    pub service: String,
    /// The directory that the service watches, where it is not the usual one: `$SQUALL_FAULTS_DIR`, else `/run/squall/faults` for
    /// root and `$XDG_RUNTIME_DIR/squall/faults` for others.
    #[serde(default)]
    pub directory: Option<PathBuf>,
}

/// What is known of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppFacts {
    /// Its name, in which `*` is anything.
    pub service: String,
    /// Where faults are set for it.
    pub directory: PathBuf,
}

impl AppFacts {
    /// Of a target of this kind.
    pub(crate) fn of(target: &Target) -> Result<Self, String> {
        serde_json::from_value(target.facts.clone()).map_err(|error| format!("{} is no service: {error}", target.label))
    }
}

impl TargetKind for App {
    type Selector = AppSelector;

    const META: TargetMeta = TargetMeta {
        name: "app",
        summary: "Rust services with the layer of `squall-tower`, by the names that they give themselves",
        variables: &[],
        example: "app: { service: checkout }",
    };

    fn check(&self, selector: &AppSelector) -> Vec<ArgError> {
        let mut errors = Vec::new();
        if selector.service.is_empty() {
            let hint = "write the name that the service gives its layer, or `\"*\"` for all".to_owned();
            errors.push(ArgError::field("service", "a service without a name", Some(hint)));
        }
        if let Some(directory) = selector.directory.as_ref().filter(|directory| !directory.is_absolute()) {
            let message = format!("`{}` depends on where Squall was started", directory.display());
            errors.push(ArgError::field("directory", message, Some("write it from the root, such as `/run/squall/faults`".to_owned())));
        }
        errors
    }

    async fn find(&self, selector: &AppSelector) -> Result<Vec<Target>, FindError> {
        let service = selector.service.clone();
        let directory = selector.directory.clone().or_else(squall_tower::directory::to_write).ok_or_else(|| FindError {
            message: "it is not known where faults of services are set: XDG_RUNTIME_DIR is not set".into(),
            hint: Some("set SQUALL_FAULTS_DIR, here and for the service, or run as root".into()),
        })?;
        let label = if service == "*" { "every service".to_owned() } else { format!("service {service}") };
        let facts = serde_json::to_value(AppFacts { service: service.clone(), directory }).unwrap_or_default();
        Ok(vec![Target { kind: "app".into(), id: format!("app:{service}"), label, facts }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_a_name_and_a_directory_a_root() {
        let errors = |service: &str, directory: Option<&str>| {
            App.check(&AppSelector { service: service.into(), directory: directory.map(PathBuf::from) }).len()
        };
        assert_eq!([errors("a", None), errors("", None), errors("a", Some("x")), errors("*", Some("/x"))], [0, 1, 1, 0]);
    }
}
