//! `http.query`: another target.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Action, Settings};
use crate::http::plan::{Asked, Draw, Plan};

/// Changes the query and the path of the request before it is passed on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Query {
    /// Parameters that take the place of those with their names, or come on top.
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// Parameters that go.
    #[serde(default)]
    remove: Vec<String>,
    /// A path that takes the place of the request's.
    #[serde(default)]
    path: Option<String>,
}

impl Settings for Query {
    fn check(&self) -> Result<(), String> {
        if self.set.is_empty() && self.remove.is_empty() && self.path.is_none() {
            return Err("there is nothing to change".into());
        }
        match &self.path {
            Some(path) if !path.starts_with('/') || path.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#')) => {
                Err(format!("path: `{path}` is no path; it begins with `/` and is percent-encoded"))
            }
            _ => Ok(()),
        }
    }
}

impl Action for Query {
    fn plan(&self, asked: &Asked<'_>, _draw: &Draw, plan: &mut Plan) {
        let old = String::from_utf8_lossy(asked.target).into_owned();
        let (path, query) = old.split_once('?').unwrap_or((&old, ""));
        let kept = query.split('&').filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !pair.is_empty() && !self.remove.iter().any(|gone| gone == name) && !self.set.contains_key(name)
        });
        let set = self.set.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let query: Vec<String> = kept.map(str::to_owned).chain(set).collect();
        let path = self.path.as_deref().unwrap_or(path);
        plan.target = Some(if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) });
    }
}

/// Percent-encodes what is not unreserved (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
