//! Bytes a second, as `proxy.bandwidth` takes them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};
use squall_model::Bytes;

const EXPECTED: &str = "an amount of data a second, such as 1MB/s";

/// Bytes a second. Written `1MB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ByteRate(pub(super) u64);

impl<'de> Deserialize<'de> for ByteRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let amount = text.trim().strip_suffix("/s").and_then(|amount| amount.trim().parse::<Bytes>().ok());
        amount.map(|bytes| Self(bytes.0)).ok_or_else(|| de::Error::custom(format!("`{text}` is not {EXPECTED}")))
    }
}

impl JsonSchema for ByteRate {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteRate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = r"^\s*[0-9.eE+-]+\s*(B|[kKMGT]B|[KMGT]iB)\s*/s\s*$";
        json_schema!({ "type": "string", "pattern": pattern, "description": EXPECTED, "examples": ["1MB/s"] })
    }
}
