//! `http.body`: another body.

use std::sync::Arc;

use bytes::Bytes;
use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::delay::Side;
use super::{Action, Settings};
use crate::body::{BodyFault, Steps};
use crate::http::plan::{Asked, Draw, Plan};
use crate::stream::{Body, OnBody};

/// The largest body that is changed; a larger one passes as it is.
const LARGEST: usize = 8 << 20;

/// Replaces or patches the body of the request or of the response. A body that is longer than 8 MiB, or is not what the change
/// is for, passes as it is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BodySettings {
    /// Whose body; the response's by default.
    #[serde(default = "response")]
    of: Side,
    /// A body that takes its place.
    #[serde(default)]
    replace: Option<String>,
    /// A JSON Patch (RFC 6902).
    #[serde(default)]
    patch: Option<Value>,
    /// A JSON Merge Patch (RFC 7396).
    #[serde(default)]
    merge: Option<Value>,
    /// Text to be found and replaced.
    #[serde(default)]
    text: Option<Text>,
}

/// Text to be found and replaced.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Text {
    /// A regular expression.
    find: String,
    /// What takes the place of each find; `$1` is what its first group found.
    replace: String,
}

fn response() -> Side {
    Side::Response
}

/// A change, made ready.
enum Change {
    Replace(Bytes),
    Patch(json_patch::Patch),
    Merge(Value),
    Text(Regex, String),
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Replace(_) => "replace",
            Self::Patch(_) => "patch",
            Self::Merge(_) => "merge",
            Self::Text(..) => "text",
        })
    }
}

impl Change {
    /// The changed body; `None` where it is not what the change is for.
    fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Replace(bytes) => Some(bytes.to_vec()),
            Self::Text(find, replace) => Some(find.replace_all(body, replace.as_bytes()).into_owned()),
            Self::Patch(patch) => {
                let mut value: Value = serde_json::from_slice(body).ok()?;
                patched(&mut value, patch)?;
                serde_json::to_vec(&value).ok()
            }
            Self::Merge(merge) => {
                let mut value: Value = serde_json::from_slice(body).ok()?;
                json_patch::merge(&mut value, merge);
                serde_json::to_vec(&value).ok()
            }
        }
    }
}

/// Applies a patch, unless it makes of the value more than is changed: each `copy` may double what there is.
fn patched(value: &mut Value, patch: &json_patch::Patch) -> Option<()> {
    for operation in &patch.0 {
        if matches!(operation, json_patch::PatchOperation::Copy(_)) && !is_short(value) {
            return None;
        }
        json_patch::patch(value, std::slice::from_ref(operation)).ok()?;
    }
    Some(())
}

/// Whether it takes no more than [`LARGEST`] bytes as text.
fn is_short(value: &Value) -> bool {
    struct Room(usize);
    impl std::io::Write for Room {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Room(LARGEST), value).is_ok()
}

impl BodySettings {
    fn change(&self) -> Result<Change, String> {
        match (&self.replace, &self.patch, &self.merge, &self.text) {
            (Some(text), None, None, None) => Ok(Change::Replace(text.clone().into())),
            (None, Some(patch), None, None) => serde_json::from_value(patch.clone())
                .map(Change::Patch)
                .map_err(|e| format!("patch: {e}; it is a list of operations (RFC 6902)")),
            (None, None, Some(merge), None) => Ok(Change::Merge(merge.clone())),
            (None, None, None, Some(text)) => {
                Regex::new(&text.find).map(|find| Change::Text(find, text.replace.clone())).map_err(|e| format!("text.find: {e}"))
            }
            _ => Err("say one of `replace`, `patch`, `merge` and `text`".into()),
        }
    }
}

impl Settings for BodySettings {
    fn check(&self) -> Result<(), String> {
        self.change().map(drop)
    }
}

impl Action for BodySettings {
    fn plan(&self, _asked: &Asked<'_>, draw: &Draw, plan: &mut Plan) {
        // It was checked when the rule was made ready.
        let Ok(change) = self.change() else { return };
        match self.of {
            Side::Request => plan.request_body.push(Arc::new(move |body| change.apply(body))),
            Side::Response => plan.bodies.push((Arc::new(Changing(Arc::new(change))), draw.seed)),
        }
    }
}

#[derive(Debug)]
struct Changing(Arc<Change>);

impl OnBody for Changing {
    fn fault(&self, _body: &Body) -> Option<Box<dyn BodyFault>> {
        Some(Box::new(Gathering { change: self.0.clone(), gathered: Some(Vec::new()) }))
    }
}

/// Gathers the whole body, and sends the changed one at its end.
struct Gathering {
    change: Arc<Change>,
    /// None when it became too long.
    gathered: Option<Vec<u8>>,
}

impl BodyFault for Gathering {
    fn piece(&mut self, piece: Bytes, out: &mut Steps) {
        let Some(gathered) = &mut self.gathered else { return out.send(piece) };
        gathered.extend_from_slice(&piece);
        if gathered.len() > LARGEST {
            out.send(std::mem::take(gathered));
            self.gathered = None;
        }
    }

    fn end(&mut self, out: &mut Steps) {
        if let Some(gathered) = self.gathered.take() {
            out.send(self.change.apply(&gathered).unwrap_or(gathered));
        }
    }

    fn length(&self, _original: u64) -> Option<u64> {
        None
    }
}
