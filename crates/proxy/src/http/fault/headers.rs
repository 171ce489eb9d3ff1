//! `http.headers`: other header fields.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Action, Settings, check_name, check_value};
use crate::http::plan::{Asked, Draw, FieldEdit, Plan};

/// Replaces, adds and removes header fields of the request, of the response, or of both. The fields that say where a message
/// ends cannot be changed here: that is `http.length`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Headers {
    /// Of the request.
    #[serde(default)]
    request: Edits,
    /// Of the response.
    #[serde(default)]
    response: Edits,
    /// The status code of the response.
    #[serde(default)]
    status: Option<u16>,
}

/// What is done to the fields of a message.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Edits {
    /// Take the place of those with their names.
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// Come on top of those with their names.
    #[serde(default)]
    add: BTreeMap<String, String>,
    /// Go.
    #[serde(default)]
    remove: Vec<String>,
}

impl Edits {
    fn list(&self) -> impl Iterator<Item = FieldEdit> {
        let set = self.set.iter().map(|(name, value)| FieldEdit::Set(name.clone(), value.clone()));
        let add = self.add.iter().map(|(name, value)| FieldEdit::Add(name.clone(), value.clone()));
        set.chain(add).chain(self.remove.iter().map(|name| FieldEdit::Remove(name.clone())))
    }

    fn check(&self) -> Result<(), String> {
        for edit in self.list() {
            let (name, value) = match &edit {
                FieldEdit::Set(name, value) | FieldEdit::Add(name, value) => (name, value.as_str()),
                FieldEdit::Remove(name) => (name, ""),
            };
            check_name(name)?;
            check_value(value)?;
            if ["content-length", "transfer-encoding", "connection", "upgrade"].iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
                return Err(format!("`{name}` says where a message ends; use `http.length` or `http.drop`"));
            }
        }
        Ok(())
    }
}

impl Settings for Headers {
    fn check(&self) -> Result<(), String> {
        self.request.check()?;
        self.response.check()?;
        match self.status {
            Some(status) if !(200..=599).contains(&status) || matches!(status, 204 | 304) => {
                Err(format!("status: {status} cannot take the place of another; 200 to 599 but for 204 and 304"))
            }
            None if self.request.list().chain(self.response.list()).next().is_none() => Err("there is nothing to change".into()),
            _ => Ok(()),
        }
    }
}

impl Action for Headers {
    fn plan(&self, _asked: &Asked<'_>, _draw: &Draw, plan: &mut Plan) {
        plan.request_fields.extend(self.request.list());
        plan.response_fields.extend(self.response.list());
        plan.status = self.status.or(plan.status);
    }
}
