//! Quantities with units. A bare number where a unit is needed is an error that says which units there are.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a quantity is a quantity of. Two quantities compare only within one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// A plain number without a unit (a count, a status code, a PromQL result).
    Number,
    /// A share of a whole, 0 to 1; `1%` is 0.01.
    Ratio,
    /// A time, kept in seconds.
    Time,
    /// An amount of data, kept in bytes.
    Bytes,
    /// Events a second.
    Rate,
    /// Text, compared with `eq`, `ne`, `in` and `matches`.
    Text,
}

impl Dimension {
    /// How a quantity of this dimension is written, for messages.
    pub const fn example(self) -> &'static str {
        match self {
            Self::Number => "3",
            Self::Ratio => "1% or 0.01",
            Self::Time => "500ms",
            Self::Bytes => "64MiB",
            Self::Rate => "100/s",
            Self::Text => "some text",
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "number",
            Self::Ratio => "ratio",
            Self::Time => "time",
            Self::Bytes => "amount of data",
            Self::Rate => "rate",
            Self::Text => "text",
        })
    }
}

/// Why a text is not a quantity. The message names the text and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No number at the start.
    #[error("`{text}` is not a {dimension}; write it like `{example}`")]
    NotANumber {
        /// The text as written.
        text: String,
        /// What was expected.
        dimension: Dimension,
        /// An example of it.
        example: &'static str,
    },
    /// A number without its unit.
    #[error("`{text}` has no unit; write it like `{example}`")]
    NoUnit {
        /// The text as written.
        text: String,
        /// An example of a good one.
        example: &'static str,
    },
    /// A unit that is not one of the dimension's.
    #[error("`{unit}` in `{text}` is not a unit of {dimension}; use one of {units}")]
    UnknownUnit {
        /// The text as written.
        text: String,
        /// The part that was read as the unit.
        unit: String,
        /// What was expected.
        dimension: Dimension,
        /// The units there are.
        units: &'static str,
    },
    /// Outside what the quantity can be.
    #[error("`{text}` is out of range; {range}")]
    OutOfRange {
        /// The text as written.
        text: String,
        /// The allowed range in words.
        range: &'static str,
    },
}

const TIME_UNITS: &[(&str, f64)] =
    &[("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("min", 60.0), ("h", 3600.0), ("d", 86400.0)];
const BYTE_UNITS: &[(&str, f64)] = &[
    ("B", 1.0),
    ("kB", 1e3),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
];
const RATE_UNITS: &[(&str, f64)] = &[("/s", 1.0), ("/m", 1.0 / 60.0), ("/min", 1.0 / 60.0), ("/h", 1.0 / 3600.0)];

/// Splits `12.5ms` into 12.5 and `ms`. Spaces between the two are allowed.
fn split(text: &str) -> Option<(f64, &str)> {
    let trimmed = text.trim();
    let mut end = 0;
    let bytes = trimmed.as_bytes();
    while end < bytes.len() {
        let c = bytes[end];
        let exponent_sign = (c == b'-' || c == b'+') && end > 0 && matches!(bytes[end - 1], b'e' | b'E');
        let exponent = matches!(c, b'e' | b'E')
            && end > 0
            && bytes
                .get(end + 1)
                .is_some_and(|n| n.is_ascii_digit() || ((*n == b'-' || *n == b'+') && bytes.get(end + 2).is_some_and(u8::is_ascii_digit)));
        if c.is_ascii_digit() || c == b'.' || (end == 0 && (c == b'-' || c == b'+')) || exponent || exponent_sign {
            end += 1;
        } else {
            break;
        }
    }
    let number: f64 = trimmed[..end].parse().ok()?;
    number.is_finite().then(|| (number, trimmed[end..].trim()))
}

fn with_unit(text: &str, dimension: Dimension, units: &'static [(&str, f64)], names: &'static str) -> Result<f64, UnitError> {
    let example = dimension.example();
    let Some((number, unit)) = split(text) else {
        return Err(UnitError::NotANumber { text: text.into(), dimension, example });
    };
    if unit.is_empty() {
        return Err(UnitError::NoUnit { text: text.into(), example });
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(UnitError::UnknownUnit { text: text.into(), unit: unit.into(), dimension, units: names });
    };
    Ok(number * factor)
}

fn trim_float(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

macro_rules! text_quantity {
    ($type:ident, $pattern:literal, $description:literal, $examples:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($description)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<$type, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": ["string", "number"], "pattern": $pattern, "description": $description, "examples": $examples })
            }
        }
    };
}

/// A length of time, kept in whole nanoseconds. Written `250ms`, `1.5s`, `2m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(std::time::Duration);

impl Time {
    /// No time at all.
    pub const ZERO: Self = Self(std::time::Duration::ZERO);

    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// As the standard library's type.
    pub const fn std(self) -> std::time::Duration {
        self.0
    }

    /// In seconds.
    pub fn seconds(self) -> f64 {
        self.0.as_secs_f64()
    }
}

impl From<std::time::Duration> for Time {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Time {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        // Zero needs no unit: it is the same in all of them.
        if text.trim() == "0" {
            return Ok(Self::ZERO);
        }
        let seconds = with_unit(text, Dimension::Time, TIME_UNITS, "`ns`, `us`, `ms`, `s`, `m`, `h`, `d`")?;
        // A century is far beyond any experiment and far below what the type can hold.
        if !(0.0..=3.2e9).contains(&seconds) {
            return Err(UnitError::OutOfRange { text: text.into(), range: "a time is from 0 to 100 years" });
        }
        Ok(Self(std::time::Duration::from_secs_f64(seconds)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let seconds = self.0.as_secs_f64();
        if nanos == 0 {
            f.write_str("0s")
        } else if nanos < 1_000 {
            write!(f, "{nanos}ns")
        } else if nanos < 1_000_000 {
            write!(f, "{}us", trim_float(seconds * 1e6))
        } else if seconds < 1.0 {
            write!(f, "{}ms", trim_float(seconds * 1e3))
        } else if seconds >= 60.0 && nanos.is_multiple_of(3_600_000_000_000) {
            write!(f, "{}h", nanos / 3_600_000_000_000)
        } else if seconds >= 60.0 && nanos.is_multiple_of(60_000_000_000) {
            write!(f, "{}m", nanos / 60_000_000_000)
        } else {
            write!(f, "{}s", trim_float(seconds))
        }
    }
}

text_quantity!(
    Time,
    r"^\s*([0-9.eE+-]+\s*(ns|us|µs|ms|s|m|min|h|d)|0)\s*$",
    "a time with its unit, such as 500ms, 30s or 2m",
    ["500ms", "30s", "2m"]
);

/// An amount of data, kept in bytes. Written `64MiB` (powers of 1024) or `64MB` (powers of 1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = UnitError;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked on the line before")]
    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.trim() == "0" {
            return Ok(Self(0));
        }
        let bytes = with_unit(text, Dimension::Bytes, BYTE_UNITS, "`B`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB`, `TB`")?;
        if !(0.0..=1e18).contains(&bytes) {
            return Err(UnitError::OutOfRange { text: text.into(), range: "an amount of data is from 0 to 1 EB" });
        }
        Ok(Self(bytes.round() as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..=1023 => write!(f, "{}B", self.0),
            1024..=1_048_575 => write!(f, "{}KiB", trim_float(bytes / 1024.0)),
            1_048_576..=1_073_741_823 => write!(f, "{}MiB", trim_float(bytes / 1_048_576.0)),
            _ => write!(f, "{}GiB", trim_float(bytes / 1_073_741_824.0)),
        }
    }
}

text_quantity!(
    Bytes,
    r"^\s*([0-9.eE+-]+\s*(B|[kKMGT]B|[KMGT]iB)|0)\s*$",
    "an amount of data with its unit, such as 64MiB or 1GB",
    ["64MiB", "1GB"]
);

/// Events a second. Written `100/s`, `30/m`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Rate(pub f64);

impl FromStr for Rate {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let rate = with_unit(text, Dimension::Rate, RATE_UNITS, "`/s`, `/m`, `/h`")?;
        if !(0.0..=1e9).contains(&rate) {
            return Err(UnitError::OutOfRange { text: text.into(), range: "a rate is from 0 to 1e9 a second" });
        }
        Ok(Self(rate))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", trim_float(self.0))
    }
}

text_quantity!(Rate, r"^\s*[0-9.eE+-]+\s*/(s|m|min|h)\s*$", "a rate with its unit, such as 100/s or 30/m", ["100/s", "30/m"]);

/// A percentage from 0 to 100, kept as written (`30` and `30%` are the same).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Percent(pub f64);

impl Percent {
    /// As a share from 0 to 1.
    pub fn share(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let not_a_number = || UnitError::NotANumber { text: text.into(), dimension: Dimension::Ratio, example: "30%" };
        let (number, unit) = split(text).ok_or_else(not_a_number)?;
        if !matches!(unit, "" | "%") {
            return Err(UnitError::UnknownUnit { text: text.into(), unit: unit.into(), dimension: Dimension::Ratio, units: "`%`" });
        }
        if !(0.0..=100.0).contains(&number) {
            return Err(UnitError::OutOfRange { text: text.into(), range: "a percentage is from 0 to 100" });
        }
        Ok(Self(number))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", trim_float(self.0))
    }
}

text_quantity!(Percent, r"^\s*[0-9.eE+-]+\s*%?\s*$", "a percentage from 0 to 100, such as 30 or 30%", ["30%", "50"]);

/// A number with the dimension that its unit says, as thresholds are written: `500ms`, `1%`, `0.05`, `64MiB`, `100/s`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    /// In the dimension's base unit (seconds, bytes, share of one, events a second).
    pub value: f64,
    /// What it is a quantity of.
    pub dimension: Dimension,
}

impl Quantity {
    /// A quantity of a dimension, in its base unit.
    pub const fn new(value: f64, dimension: Dimension) -> Self {
        Self { value, dimension }
    }
}

impl FromStr for Quantity {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong =
            || UnitError::NotANumber { text: text.into(), dimension: Dimension::Number, example: "0.01, 1%, 500ms, 64MiB or 100/s" };
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let find = |units: &[(&str, f64)]| units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| number * factor);
        Ok(match unit {
            "" => Self::new(number, Dimension::Number),
            "%" => Self::new(number / 100.0, Dimension::Ratio),
            _ => {
                if let Some(value) = find(TIME_UNITS) {
                    Self::new(value, Dimension::Time)
                } else if let Some(value) = find(BYTE_UNITS) {
                    Self::new(value, Dimension::Bytes)
                } else if let Some(value) = find(RATE_UNITS) {
                    Self::new(value, Dimension::Rate)
                } else {
                    let units = "`%`, `ms`, `s`, `m`, `h`, `B`, `KiB`, `MiB`, `GiB`, `/s`";
                    return Err(UnitError::UnknownUnit { text: text.into(), unit: unit.into(), dimension: Dimension::Number, units });
                }
            }
        })
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for display; saturation at the ends is right")]
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dimension {
            Dimension::Time => Time(std::time::Duration::from_secs_f64(self.value.clamp(0.0, 3.2e9))).fmt(f),
            Dimension::Bytes => Bytes(self.value as u64).fmt(f),
            Dimension::Rate => Rate(self.value).fmt(f),
            Dimension::Ratio => write!(f, "{}%", trim_float(self.value * 100.0)),
            Dimension::Number | Dimension::Text => f.write_str(&trim_float(self.value)),
        }
    }
}

text_quantity!(
    Quantity,
    r"^\s*[0-9.eE+-]+\s*(%|ns|us|µs|ms|s|m|min|h|d|B|[kKMGT]B|[KMGT]iB|/s|/m|/min|/h)?\s*$",
    "a number, with a unit where it has one: 0.01, 1%, 500ms, 64MiB, 100/s",
    ["500ms", "1%", "0.01", "64MiB"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown_with_units() {
        for (text, shown) in
            [("250ms", "250ms"), ("1.5s", "1.5s"), ("2m", "2m"), ("90s", "90s"), ("0", "0s"), ("1h", "1h"), ("10us", "10us")]
        {
            assert_eq!(text.parse::<Time>().expect(text).to_string(), shown);
        }
    }

    #[test]
    fn a_bare_number_is_not_a_time() {
        assert_eq!("500".parse::<Time>().expect_err("no unit").to_string(), "`500` has no unit; write it like `500ms`");
        assert_eq!(
            "5x".parse::<Time>().expect_err("unit").to_string(),
            "`x` in `5x` is not a unit of time; use one of `ns`, `us`, `ms`, `s`, `m`, `h`, `d`"
        );
        assert!("-1s".parse::<Time>().is_err());
        assert!("1e300s".parse::<Time>().is_err());
    }

    #[test]
    fn quantities_carry_the_dimension_of_their_unit() {
        let quantity: Quantity = "500ms".parse().expect("time");
        assert_eq!((quantity.value, quantity.dimension), (0.5, Dimension::Time));
        let quantity: Quantity = "1%".parse().expect("ratio");
        assert_eq!((quantity.value, quantity.dimension), (0.01, Dimension::Ratio));
        let quantity: Quantity = "64MiB".parse().expect("bytes");
        assert_eq!(quantity.to_string(), "64MiB");
    }
}
