//! `custom.http`: any HTTP call as a fault.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted, Target, Undone,
    VerifyError,
};
use squall_model::Time;
use squall_undo::Armed;

use super::program::default_timeout;

/// Makes an HTTP call as a fault.
#[derive(Debug)]
pub struct Http;

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Call {
    /// GET, POST, PUT, DELETE…; by default POST, and GET for `verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `http://` or `https://`.
    pub url: String,
    /// Sent with it. Values are never shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Sent with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The status that means success; any from 200 to 299 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_status: Option<u16>,
    /// When to give up.
    #[serde(default = "default_timeout")]
    pub timeout: Time,
}

/// The calls that break, look and put back.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpArgs {
    /// Breaks something.
    pub inject: Call,
    /// Looks whether it is broken: the expected status means in force.
    #[serde(default)]
    pub verify: Option<Call>,
    /// Puts it back. It may be made more than once, and although `inject` was not.
    #[serde(default)]
    pub undo: Option<Call>,
}

/// The call that puts it back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpUndo {
    verify: Option<Call>,
    undo: Option<Call>,
}

/// The undo of a rollback action, `METHOD URL`.
pub(super) fn undo_of(call: &str, timeout: Option<Time>) -> Result<serde_json::Value, String> {
    let (method, url) = call.trim().split_once(' ').ok_or_else(|| format!("`{call}` is not like `POST http://127.0.0.1:8080/reset`"))?;
    let timeout = timeout.unwrap_or_else(default_timeout);
    let call = Call {
        method: Some(method.to_owned()),
        url: url.trim().into(),
        headers: BTreeMap::new(),
        body: None,
        expect_status: None,
        timeout,
    };
    if let Some(error) = call.check("http").into_iter().next() {
        return Err(error.message);
    }
    serde_json::to_value(HttpUndo { verify: None, undo: Some(call) }).map_err(|e| e.to_string())
}

impl Call {
    fn check(&self, field: &str) -> Vec<ArgError> {
        let at = |name: &str| squall_model::Path::default().key(field).key(name);
        let mut errors = Vec::new();
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") || reqwest::Url::parse(&self.url).is_err() {
            let hint = Some("write it like `http://127.0.0.1:8080/path`".to_owned());
            errors.push(ArgError { path: at("url"), message: format!("`{}` is not an HTTP address", self.url), hint });
        }
        if let Some(method) = self.method.as_ref().filter(|m| reqwest::Method::from_bytes(m.as_bytes()).is_err()) {
            let hint = Some("write GET, POST, PUT, PATCH or DELETE".to_owned());
            errors.push(ArgError { path: at("method"), message: format!("`{method}` is not an HTTP method"), hint });
        }
        for (name, value) in &self.headers {
            let name_is_good = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok();
            if !name_is_good || reqwest::header::HeaderValue::from_str(value).is_err() {
                let what = if name_is_good { "has a value that" } else { "is a name that" };
                let hint = Some("use printable ASCII, and no spaces in names".to_owned());
                errors.push(ArgError { path: at("headers").key(name), message: format!("`{name}` {what} HTTP cannot carry"), hint });
            }
        }
        if let Some(status) = self.expect_status.filter(|status| !(100..600).contains(status)) {
            let hint = Some("write one from 100 to 599, such as 204".to_owned());
            errors.push(ArgError { path: at("expectStatus"), message: format!("{status} is not an HTTP status"), hint });
        }
        errors
    }

    /// With the method that it has when none is written.
    fn or_method(&self, method: &str) -> Self {
        Self { method: Some(self.method.clone().unwrap_or_else(|| method.to_owned())), ..self.clone() }
    }

    fn method(&self) -> &str {
        self.method.as_deref().unwrap_or("POST")
    }

    /// For people, without what may be secret.
    fn shown(&self) -> String {
        let url = reqwest::Url::parse(&self.url).ok().filter(|url| url.password().is_some()).map(|mut url| {
            let _ = url.set_password(Some("***"));
            url.to_string()
        });
        format!("{} {}", self.method(), url.as_deref().unwrap_or(&self.url))
    }

    /// Whether the answer was the expected one, and what it was.
    async fn make(&self) -> Result<(bool, String), String> {
        let method = reqwest::Method::from_bytes(self.method().as_bytes()).map_err(|e| e.to_string())?;
        let mut request = client()?.request(method, &self.url).timeout(self.timeout.std());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let answer = request.send().await.map_err(|e| format!("{}: {}", self.shown(), whole(&e.without_url())))?;
        let status = answer.status().as_u16();
        let good = self.expect_status.map_or((200..300).contains(&status), |expected| status == expected);
        Ok((good, format!("{} answered {status}", self.shown())))
    }
}

/// An error with its causes: the outermost alone says little.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source()).map(|e| format!(": {e}"));
    std::iter::once(error.to_string()).chain(causes).collect()
}

fn client() -> Result<&'static reqwest::Client, String> {
    static CLIENT: OnceLock<Result<reqwest::Client, String>> = OnceLock::new();
    let made = CLIENT.get_or_init(|| build().map_err(|e| whole(&e)));
    made.as_ref().map_err(Clone::clone)
}

/// Connections are not kept: calls are minutes apart.
fn build() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).pool_max_idle_per_host(0).build()
}

impl Fault for Http {
    type Args = HttpArgs;
    type Undo = HttpUndo;

    const META: Meta = Meta {
        name: "custom.http",
        family: "custom",
        summary: "Makes any HTTP call as a fault, with the call that puts it back",
        example: "\
fault: custom.http
with:
  inject: { method: POST, url: \"http://127.0.0.1:8080/maintenance\" }
  undo: { method: DELETE, url: \"http://127.0.0.1:8080/maintenance\" }
for: 30s
",
        targets: &["host"],
        needs: &[],
        undone: Undone::Ledger,
        lasting: false,
    };

    fn check(&self, args: &HttpArgs) -> Vec<ArgError> {
        let mut errors = args.inject.check("inject");
        errors.extend(args.verify.iter().flat_map(|c| c.check("verify")));
        errors.extend(args.undo.iter().flat_map(|c| c.check("undo")));
        errors
    }

    fn plan(&self, args: &HttpArgs, _: &Target, _: &HostFacts) -> Result<Plan, PlanError> {
        let undo = args.undo.as_ref().map_or_else(|| "not at all: there is no `undo`".to_owned(), |u| format!("calls {}", u.shown()));
        let change = PlannedChange { what: "whatever the call touches".into(), mechanism: format!("calls {}", args.inject.shown()), undo };
        Ok(Plan { changes: vec![change], claims: Vec::new(), irreversible: args.undo.is_none() })
    }

    async fn inject(&self, args: &HttpArgs, _: &Target, cx: &Cx<'_, HttpUndo>) -> Result<(), InjectError> {
        let _armed = cx.arm(&HttpUndo { verify: args.verify.as_ref().map(|v| v.or_method("GET")), undo: args.undo.clone() })?;
        let (good, what) = args.inject.make().await.map_err(InjectError::Failed)?;
        if good { Ok(()) } else { Err(InjectError::Failed(what)) }
    }

    async fn verify(&self, undo: &HttpUndo) -> Result<Effect, VerifyError> {
        let Some(verify) = &undo.verify else {
            return Ok(Effect {
                in_force: true,
                evidence: "`inject` was answered as expected; there is no `verify` to look closer".into(),
            });
        };
        let (in_force, evidence) = verify.make().await.map_err(VerifyError)?;
        Ok(Effect { in_force, evidence })
    }

    async fn revert(&self, undo: &HttpUndo, _: &Armed) -> Result<Reverted, RevertError> {
        let Some(undo) = &undo.undo else {
            return Ok(Reverted { how: "there is nothing to undo it with, as the step accepts".into() });
        };
        let (good, what) = undo.make().await.map_err(RevertError)?;
        if good { Ok(Reverted { how: what }) } else { Err(RevertError(what)) }
    }
}
