//! A rule: a fault on what the bytes mean, for a part of the traffic of one proxy. This is what the API and a file say.

mod kinds;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::{Percent, Time};

pub(crate) use kinds::listed;
pub use kinds::{RuleKind, kinds, names};

/// A fault for those exchanges of a proxy that match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleSpec {
    /// Unique among the rules of its proxy; the fault's name where it is left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The fault: `http.delay`, `tls.expired`, `stream.stall`, …
    pub fault: String,
    /// The fault's own settings.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub with: serde_json::Map<String, serde_json::Value>,
    /// Which exchanges; all where it is left out.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<MatchSpec>,
    /// Of those that match, how many get the fault. 100% where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// What keeps the same fate over many requests: a user, a session. Each request has its own where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickySpec>,
    /// Of those that match, how many form the control group, which never gets the fault and is counted beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Percent>,
    /// Only the first so many attempts of a key get the fault: fail twice, then succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u64>,
    /// The proxy removes the rule by itself after this time, whatever became of who added it.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub time_box: Option<Time>,
}

/// Which exchanges a rule is for. All that is given must be true.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchSpec {
    /// One of these methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub method: Vec<String>,
    /// The path without the query: exact, or with `*` for anything, as `/v1/*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The host without the port, as asked for (`Host`, `:authority` or the TLS server name); `*` for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Headers by name (any case) and value; `*` in a value for anything.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, String>,
    /// Query parameters by name and value; `*` in a value for anything.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Fields of a JSON body, by JSON Pointer (RFC 6901) and value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub body: BTreeMap<String, serde_json::Value>,
}

/// By what a request is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum StickySpec {
    /// The value of this header.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The value of this query parameter.
    Query(String),
    /// The client's address.
    Client,
}
