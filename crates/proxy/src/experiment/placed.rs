//! What was put on a proxy: how it is looked at, and taken away, from any process.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use squall_engine::{Effect, InjectError, RevertError, Reverted, VerifyError};
use squall_model::Time;

use super::client::{CallError, Client};
use super::target::ProxyFacts;

/// The proxy keeps a fault for so long after its time box, so that its own end is never taken for a loss.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);

/// The undo of every fault on a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Placed {
    api: String,
    proxy: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum What {
    /// A toxic of this name.
    Toxic(String),
    /// A rule of this name.
    Rule(String),
    /// The proxy was disabled.
    Disabled,
}

/// The time box for the proxy.
pub(super) fn time_box(duration: Option<Time>) -> Option<String> {
    duration.map(|time| Time::from(time.std() + GRACE).to_string())
}

impl Placed {
    pub(super) fn on(facts: &ProxyFacts, what: What) -> Self {
        Self { api: facts.api.clone(), proxy: facts.name.clone(), what }
    }

    fn path(&self) -> Vec<&str> {
        match &self.what {
            What::Toxic(name) => vec!["proxies", &self.proxy, "toxics", name],
            What::Rule(name) => vec!["proxies", &self.proxy, "rules", name],
            What::Disabled => vec!["proxies", &self.proxy],
        }
    }

    async fn call(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Value, CallError> {
        Client(&self.api).call(method, path, body).await
    }

    /// Puts it there. The undo is armed by now.
    pub(super) async fn place(&self, body: &Value) -> Result<(), InjectError> {
        let mut path = self.path();
        if !matches!(self.what, What::Disabled) {
            path.pop();
        }
        let failed = |error: CallError| match error {
            CallError::Gone(api) => InjectError::TargetGone(format!("the proxy at {api}")),
            CallError::NotFound(said) if said == "proxy not found" => InjectError::TargetGone(format!("proxy `{}`", self.proxy)),
            CallError::NotFound(_) if matches!(self.what, What::Rule(_)) => InjectError::Failed(format!(
                "the proxy at {} has no rules: it is a Toxiproxy, which knows the `proxy.*` faults alone; put `squall proxy` in its place",
                self.api
            )),
            other => InjectError::Failed(other.to_string()),
        };
        self.call(Method::POST, &path, Some(body)).await.map(drop).map_err(failed)
    }

    /// Asks the proxy whether it is in force.
    pub(super) async fn look(&self) -> Result<Effect, VerifyError> {
        let answer = match self.call(Method::GET, &self.path(), None).await {
            Ok(answer) => answer,
            Err(error @ (CallError::NotFound(_) | CallError::Gone(_))) => {
                return Ok(Effect { in_force: false, evidence: format!("{} is not in force: {error}", self.name()) });
            }
            Err(error) => return Err(VerifyError(error.to_string())),
        };
        if self.what == What::Disabled {
            let enabled = answer["enabled"].as_bool().unwrap_or(true);
            let state = if enabled { "is enabled" } else { "is disabled: it listens no more" };
            return Ok(Effect { in_force: !enabled, evidence: format!("proxy `{}` {state}", self.proxy) });
        }
        // Without the proxy's name for it, which says nothing to a reader.
        let mut shown = answer;
        shown.as_object_mut().and_then(|map| map.remove("name"));
        Ok(Effect { in_force: true, evidence: format!("proxy `{}` has {shown}{}", self.proxy, self.hits().await) })
    }

    /// Takes it away.
    pub(super) async fn remove(&self) -> Result<Reverted, RevertError> {
        let hits = if self.what == What::Disabled { String::new() } else { self.hits().await };
        let done = match self.what {
            What::Disabled => self.call(Method::POST, &self.path(), Some(&json!({ "enabled": true }))).await,
            What::Toxic(_) | What::Rule(_) => self.call(Method::DELETE, &self.path(), None).await,
        };
        let how = match done {
            Ok(_) if self.what == What::Disabled => format!("enabled proxy `{}` again", self.proxy),
            Ok(_) => format!("removed {} from proxy `{}`{hits}", self.name(), self.proxy),
            Err(CallError::NotFound(said)) => format!("{} is there no more ({said}), nothing to do{hits}", self.name()),
            Err(CallError::Gone(api)) => format!("the proxy at {api} is gone, and all that was on it, nothing to do"),
            Err(error) => return Err(RevertError(error.to_string())),
        };
        Ok(Reverted { how })
    }

    fn name(&self) -> String {
        match &self.what {
            What::Toxic(name) => format!("toxic `{name}`"),
            What::Rule(name) => format!("rule `{name}`"),
            What::Disabled => format!("proxy `{}`", self.proxy),
        }
    }

    /// What it was applied to so far, by the proxy's events. Nothing of a proxy that keeps none, as Toxiproxy.
    async fn hits(&self) -> String {
        let Ok(events) = Client(&self.api).text(Method::GET, &["events"], None).await else { return String::new() };
        let events =
            events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|event| event["proxy"] == *self.proxy);
        let (mut seen, mut hit, mut handshakes) = (0_u64, 0_u64, 0_u64);
        for event in events {
            let what = &event["what"];
            let (about, applied) = match &self.what {
                What::Toxic(name) => (what["kind"] == "toxic" && what["name"] == **name, what["applies"] == true),
                What::Rule(name) => (what["kind"] == "decided" && what["rule"] == **name, !what["fault"].is_null()),
                What::Disabled => (false, false),
            };
            handshakes += u64::from(matches!(&self.what, What::Rule(name) if what["kind"] == "handshake" && what["rule"] == **name));
            seen += u64::from(about);
            hit += u64::from(about && applied);
        }
        match (&self.what, seen) {
            (What::Toxic(_), 0) => "; no connection has met it".into(),
            (What::Toxic(_), _) => format!("; it works on {hit} of the {seen} connections that met it"),
            (What::Rule(_), _) if handshakes > 0 => format!("; {handshakes} handshakes got the fault"),
            (What::Rule(_), 0) => "; nothing has matched it".into(),
            (What::Rule(_), _) => format!("; {hit} of {seen} that matched got the fault"),
            (What::Disabled, _) => String::new(),
        }
    }
}
