//! A rate on the network, as people of networks write it: bits a second.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use squall_model::Bytes;

/// Bytes a second, from `1Mbit/s` (bits, decimal) or `125kB/s` (bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkRate(pub u64);

const EXPECTED: &str = "a rate, such as 1Mbit/s, 500kbit/s or 10MB/s";
/// Bits, decimal as everywhere on networks (IEC 80000-13).
const BITS: [(&str, f64); 4] = [("Gbit", 1e9), ("Mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)];

impl FromStr for NetworkRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not {EXPECTED}");
        let amount = text.trim().strip_suffix("/s").ok_or_else(wrong)?.trim_end();
        let bits = BITS.iter().find_map(|(unit, bits)| Some((amount.strip_suffix(unit)?, bits)));
        let Some((number, bits)) = bits else {
            return amount.parse::<Bytes>().map(|Bytes(bytes)| Self(bytes)).map_err(|_| wrong());
        };
        let number: f64 = number.trim_end().parse().map_err(|_| wrong())?;
        let bytes = number * bits / 8.0;
        if !bytes.is_finite() || !(0.0..1e15).contains(&bytes) {
            return Err(wrong());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10^15")]
        Ok(Self(bytes.round() as u64))
    }
}

impl fmt::Display for NetworkRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0 * 8;
        match bits {
            0..1_000 => write!(f, "{bits}bit/s"),
            1_000..1_000_000 => write!(f, "{}kbit/s", bits as f64 / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{}Mbit/s", bits as f64 / 1e6),
            _ => write!(f, "{}Gbit/s", bits as f64 / 1e9),
        }
    }
}

impl<'de> Deserialize<'de> for NetworkRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = NetworkRate;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<NetworkRate, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for NetworkRate {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NetworkRate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = r"^\s*[0-9.eE+-]+\s*([kMG]?bit|B|[kKMGT]B|[KMGT]iB)\s*/s\s*$";
        json_schema!({ "type": "string", "pattern": pattern, "description": EXPECTED, "examples": ["1Mbit/s", "10MB/s"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_in_bits_or_in_bytes() {
        assert_eq!("1Mbit/s".parse(), Ok(NetworkRate(125_000)));
        assert_eq!("500 kbit/s".parse(), Ok(NetworkRate(62_500)));
        assert_eq!("10MB/s".parse(), Ok(NetworkRate(10_000_000)));
        assert_eq!(NetworkRate(125_000).to_string(), "1Mbit/s");
        for bad in ["", "1", "1Mbit", "1mbit/s", "-1Mbit/s", "x/s", "NaNbit/s"] {
            assert!(bad.parse::<NetworkRate>().is_err(), "{bad}");
        }
    }
}
