//! `data.missing`

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Percent;

use super::json::{Edit, Node, removals};
use super::whole::{Change, Fields, check_fields, on_json};
use crate::body::BodyFault;
use crate::stream::kind::Settings;
use crate::stream::{Body, OnBody};

/// Takes fields out of records, or makes them `null`. Finds code that trusts a field to be there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Missing {
    /// JSON Pointers; `*` stands for any element or member, as `/users/*/email`.
    pub fields: Vec<String>,
    /// Whether they are gone or `null`; `removed` by default.
    #[serde(default)]
    pub how: Absent,
    /// Which share of them, decided one by one; all where it is left out.
    #[serde(default)]
    pub share: Option<Percent>,
}

/// How a field is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Absent {
    /// Name and value are gone.
    #[default]
    Removed,
    /// The value is `null`.
    Null,
}

impl Settings for Missing {
    fn check(&self) -> Result<(), String> {
        check_fields(&self.fields)
    }
}

impl OnBody for Missing {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_json(body, Removing { fields: Fields::new(&self.fields, self.share, body, "data.missing"), how: self.how })
    }
}

struct Removing {
    fields: Fields,
    how: Absent,
}

impl Change for Removing {
    fn edits(&mut self, _text: &[u8], json: &Node, edits: &mut Vec<Edit>) {
        let hit: Vec<_> = self.fields.hit(json).into_iter().map(|(found, _)| found).collect();
        match self.how {
            Absent::Removed => edits.extend(removals(&hit)),
            Absent::Null => edits.extend(hit.iter().map(|found| (found.value.range.clone(), "null".into()))),
        }
    }
}
