//! An amount of memory a second.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use squall_model::Bytes;

/// Bytes a second. Written `10MiB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRate(pub u64);

const EXPECTED: &str = "an amount of memory a second, such as 10MiB/s";

impl FromStr for ByteRate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let amount = text.trim().strip_suffix("/s").ok_or_else(|| format!("`{text}` is not {EXPECTED}"))?;
        amount.trim_end().parse().map(|Bytes(bytes)| Self(bytes)).map_err(|error| format!("`{text}` is not {EXPECTED}: {error}"))
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Bytes(self.0))
    }
}

impl<'de> Deserialize<'de> for ByteRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteRate;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteRate, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for ByteRate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteRate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = r"^\s*([0-9.eE+-]+\s*(B|[kKMGT]B|[KMGT]iB)|0)\s*/s\s*$";
        json_schema!({ "type": "string", "pattern": pattern, "description": EXPECTED, "examples": ["10MiB/s"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_bytes_a_second_and_nothing_else() {
        assert_eq!("10MiB/s".parse(), Ok(ByteRate(10 << 20)));
        assert_eq!("1.5 GB/s".parse::<ByteRate>().expect("a rate").to_string(), "1.397GiB/s");
        assert_eq!("10MiB".parse::<ByteRate>(), Err("`10MiB` is not an amount of memory a second, such as 10MiB/s".into()));
        assert!("10/s".parse::<ByteRate>().expect_err("no unit").contains("has no unit"));
    }
}
