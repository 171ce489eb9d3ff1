//! `http.abort`: an error instead of the upstream's answer.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Action, Settings, check_name, check_value};
use crate::http::plan::{Asked, Draw, OwnAnswer, Plan};

/// Answers with a status of its own. The upstream is not asked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Abort {
    /// The status code, 200 to 599. With `grpcStatus` it is 200 where it is left out; otherwise it must be said.
    #[serde(default)]
    status: Option<u16>,
    /// The body; none by default.
    #[serde(default)]
    body: String,
    /// Header fields.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The status of a gRPC call, 0 to 16: 14 is unavailable, 4 deadline exceeded, 8 resource exhausted.
    #[serde(default)]
    grpc_status: Option<u8>,
    /// What a gRPC client is told.
    #[serde(default)]
    grpc_message: String,
}

impl Settings for Abort {
    fn check(&self) -> Result<(), String> {
        match (self.status, self.grpc_status) {
            (None, None) => return Err("say which `status` (or `grpcStatus`) it answers with".into()),
            (Some(status), _) if !(200..=599).contains(&status) => return Err(format!("status: {status} is not from 200 to 599")),
            (_, Some(17..)) => return Err("grpcStatus: is from 0 to 16".into()),
            _ => {}
        }
        check_value(&self.grpc_message)?;
        self.headers.iter().try_for_each(|(name, value)| check_name(name).and_then(|()| check_value(value)))
    }
}

impl Action for Abort {
    fn plan(&self, _asked: &Asked<'_>, _draw: &Draw, plan: &mut Plan) {
        let mut fields: Vec<_> = self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        let has_type = fields.iter().any(|(name, _)| name == "content-type");
        if let Some(status) = self.grpc_status {
            fields.push(("grpc-status".into(), status.to_string()));
            if !self.grpc_message.is_empty() {
                fields.push(("grpc-message".into(), self.grpc_message.clone()));
            }
        }
        match (has_type, self.grpc_status) {
            (false, Some(_)) => fields.push(("content-type".into(), "application/grpc".into())),
            (false, None) if !self.body.is_empty() => fields.push(("content-type".into(), "text/plain; charset=utf-8".into())),
            _ => {}
        }
        let answer = OwnAnswer { status: self.status.unwrap_or(200), fields, body: self.body.clone().into() };
        plan.answer.get_or_insert(answer);
    }
}
