//! `data.invalid`

use schemars::JsonSchema;
use serde::Deserialize;
use squall_model::Percent;

use super::json::{Edit, Kind, Node, quoted};
use super::whole::{Change, Fields, check_fields, on_json};
use crate::body::BodyFault;
use crate::stream::kind::Settings;
use crate::stream::{Body, OnBody};

/// Changes the type of values, as a new version of the other side does. Finds code that trusts a type.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Invalid {
    /// JSON Pointers; `*` stands for any element or member, as `/items/*/price`.
    pub fields: Vec<String>,
    /// The new type; `other` by default.
    #[serde(default)]
    pub to: To,
    /// Which share of them, decided one by one; all where it is left out.
    #[serde(default)]
    pub share: Option<Percent>,
}

/// What a value becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum To {
    /// A string becomes a number (its length), anything else a string with its JSON.
    #[default]
    Other,
    /// A string with the value's JSON.
    String,
    /// `0`
    Number,
    /// `false`
    Boolean,
    /// An array with the value in it.
    Array,
    /// An object with the value in it, under `value`.
    Object,
}

impl Settings for Invalid {
    fn check(&self) -> Result<(), String> {
        check_fields(&self.fields)
    }
}

impl OnBody for Invalid {
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>> {
        on_json(body, Retyping { fields: Fields::new(&self.fields, self.share, body, "data.invalid"), to: self.to })
    }
}

struct Retyping {
    fields: Fields,
    to: To,
}

impl Change for Retyping {
    fn edits(&mut self, text: &[u8], json: &Node, edits: &mut Vec<Edit>) {
        for (found, _) in self.fields.hit(json) {
            let range = found.value.range.clone();
            let was = String::from_utf8_lossy(&text[range.clone()]);
            let new = match self.to {
                To::Other if found.value.kind == Kind::String => found.value.text(text).map_or(0, |text| text.chars().count()).to_string(),
                To::Other | To::String => quoted(&was),
                To::Number => "0".into(),
                To::Boolean => "false".into(),
                To::Array => format!("[{was}]"),
                To::Object => format!("{{\"value\":{was}}}"),
            };
            edits.push((range, new));
        }
    }
}
