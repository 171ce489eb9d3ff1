//! `proxy`: a proxy of a running `squall proxy` or Toxiproxy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use squall_engine::{ArgError, FindError, PlanError, Target, TargetKind, TargetMeta, Variable};

use super::client::Client;

/// The kind of target.
#[derive(Debug)]
pub struct ProxyTarget;

/// Which proxies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxySelector {
    /// Where the HTTP API of `squall proxy` (or of Toxiproxy) is.
    #[serde(default = "usual_api")]
    pub api: String,
    /// The proxy's name; every proxy of that API where it is left out.
    #[serde(default)]
    pub name: Option<String>,
}

fn usual_api() -> String {
    "http://127.0.0.1:8474".into()
}

/// What faults need to know of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProxyFacts {
    pub(super) api: String,
    pub(super) name: String,
    pub(super) listen: String,
    pub(super) upstream: String,
}

impl ProxyFacts {
    pub(super) fn of(target: &Target) -> Result<Self, PlanError> {
        serde_json::from_value(target.facts.clone())
            .map_err(|error| PlanError { message: format!("{} is no proxy: {error}", target.label), hint: None })
    }

    /// For plans: the edge that is broken.
    pub(super) fn edge(&self) -> String {
        format!("proxy `{}` ({} → {})", self.name, self.listen, self.upstream)
    }
}

impl TargetKind for ProxyTarget {
    type Selector = ProxySelector;

    const META: TargetMeta = TargetMeta {
        name: "proxy",
        summary: "Proxies of a running `squall proxy`, or of a Toxiproxy, by name",
        variables: &[
            Variable { name: "name", place: "/name", number: false, what: "its name" },
            Variable { name: "listen", place: "/listen", number: false, what: "the address that it listens on" },
            Variable { name: "upstream", place: "/upstream", number: false, what: "the address that it leads to" },
        ],
        example: "proxy: { api: \"http://127.0.0.1:8474\", name: payments }",
    };

    fn check(&self, selector: &ProxySelector) -> Vec<ArgError> {
        let good = reqwest::Url::parse(&selector.api).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if good {
            return Vec::new();
        }
        let hint = "write it like `http://127.0.0.1:8474`".to_owned();
        vec![ArgError::field("api", format!("`{}` is not the address of an HTTP API", selector.api), Some(hint))]
    }

    async fn find(&self, selector: &ProxySelector) -> Result<Vec<Target>, FindError> {
        let api = selector.api.trim_end_matches('/');
        let failed =
            |message: String| FindError { message, hint: Some("start one with `squall proxy`, or write its address as `api`".into()) };
        let all = Client(api).call(reqwest::Method::GET, &["proxies"], None).await.map_err(|error| failed(error.to_string()))?;
        let all = all.as_object().ok_or_else(|| failed(format!("{api} does not answer as a fault proxy does")))?;
        let mut targets: Vec<Target> = all
            .iter()
            .filter(|(name, _)| selector.name.as_ref().is_none_or(|wanted| wanted == *name))
            .map(|(name, proxy)| target(api, name, proxy))
            .collect();
        targets.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(targets)
    }
}

fn target(api: &str, name: &str, proxy: &Value) -> Target {
    let text = |field: &str| proxy[field].as_str().unwrap_or_default().to_owned();
    let facts = ProxyFacts { api: api.to_owned(), name: name.to_owned(), listen: text("listen"), upstream: text("upstream") };
    Target {
        kind: "proxy".into(),
        id: format!("proxy:{api}/{name}"),
        label: format!("{name} (proxy at {})", facts.listen),
        facts: serde_json::to_value(&facts).unwrap_or_default(),
    }
}
