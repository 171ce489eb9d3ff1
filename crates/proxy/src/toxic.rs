//! Toxics: faults on bytes, in Toxiproxy's vocabulary. One file each; the list below is what there is.
//!
//! A toxic at work on one direction of one connection is a stage: a machine without I/O between two ends of a pipe.
//! Stages stand in a row, which may change while bytes are in it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod bandwidth;
mod latency;
mod limit_data;
mod noop;
mod packet_loss;
mod reset_peer;
mod slicer;
mod slow_close;
mod slow_open;
mod stage;
mod stall;
mod timeout;

pub use bandwidth::Bandwidth;
pub use latency::Latency;
pub use limit_data::LimitData;
pub use noop::Noop;
pub use packet_loss::PacketLoss;
pub use reset_peer::ResetPeer;
pub use slicer::Slicer;
pub use slow_close::SlowClose;
pub use slow_open::SlowOpen;
pub(crate) use stage::{Ending, Out, Stage};
pub use stall::Stall;
pub use timeout::Timeout;

/// The direction that bytes flow in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the client to the upstream.
    Upstream,
    /// From the upstream to the client.
    Downstream,
}

/// A toxic as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct ToxicSpec {
    /// Unique in its proxy, over both directions.
    pub name: String,
    /// What it does.
    pub toxic: Toxic,
    /// Which direction it works on.
    pub stream: Direction,
    /// The share of connections that it works on, from 0 to 1.
    pub toxicity: f64,
}

/// The attributes were not what the toxic takes. The message is that of Go's JSON decoder, as clients know it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("json: cannot unmarshal {found} into Go struct field {toxic}.{field} of type {wanted}")]
pub struct AttributeError {
    found: String,
    toxic: &'static str,
    field: String,
    wanted: &'static str,
}

macro_rules! toxics {
    ($($name:literal => $type:ident,)*) => {
        /// What a toxic does, with its attributes.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Toxic {
            $(#[doc = concat!("`", $name, "`")] $type($type),)*
        }

        impl Toxic {
            /// The names of all types.
            pub const TYPES: &[&str] = &[$($name),*];

            /// The toxic of this type with default attributes; `None` where there is no such type.
            pub fn of_type(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$type($type::default())),)*
                    _ => None,
                }
            }

            /// The JSON Schema of a type's attributes, with their units and defaults; its description says what the type does.
            pub fn schema(name: &str) -> Option<schemars::Schema> {
                match name {
                    $($name => Some(schemars::schema_for!($type)),)*
                    _ => None,
                }
            }

            /// Its type.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$type(_) => $name,)*
                }
            }

            /// All its attributes, as JSON.
            pub fn attributes(&self) -> Map<String, Value> {
                let value = match self {
                    $(Self::$type(toxic) => serde_json::to_value(toxic),)*
                };
                match value {
                    Ok(Value::Object(map)) => map,
                    // Attributes are numbers in a struct.
                    _ => Map::new(),
                }
            }

            fn with_attributes(&self, attributes: Map<String, Value>) -> Result<Self, serde_json::Error> {
                Ok(match self {
                    $(Self::$type(_) => Self::$type(serde_json::from_value(Value::Object(attributes))?),)*
                })
            }

            /// A stage that does this to one direction of one connection. `seed` is where its randomness comes from.
            pub(crate) fn stage(&self, seed: u64) -> Box<dyn Stage> {
                match self {
                    $(Self::$type(toxic) => toxic.stage(seed),)*
                }
            }
        }
    };
}

toxics! {
    "latency" => Latency,
    "bandwidth" => Bandwidth,
    "slow_close" => SlowClose,
    "timeout" => Timeout,
    "reset_peer" => ResetPeer,
    "slicer" => Slicer,
    "limit_data" => LimitData,
    "packet_loss" => PacketLoss,
    "noop" => Noop,
    "slow_open" => SlowOpen,
    "stall" => Stall,
}

impl Toxic {
    /// One of each type, as [`parse_toxic`](crate::control::parse_toxic) reads it.
    pub const EXAMPLES: &[&str] = &[
        "latency:latency=200,jitter=50",
        "bandwidth:rate=100;stream=upstream",
        "slow_close:delay=2000",
        "timeout:timeout=5000",
        "reset_peer:timeout=100;toxicity=0.1",
        "slicer:average_size=64,size_variation=32,delay=100",
        "limit_data:bytes=4096",
        "packet_loss:loss_rate=0.05,correlation=0.25",
        "noop",
        "slow_open:delay=2000",
        "stall:bytes=4096,duration=5000",
    ];

    /// Those types that Toxiproxy has too.
    pub const OF_TOXIPROXY: &[&str] = &["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "noop"];

    /// With these attributes changed, and the others as they are. What it does not know it ignores, as Toxiproxy does.
    ///
    /// # Errors
    /// A value of another type: attributes are whole numbers (`5`, not `"5"` or `1.5`), but for the rates of `packet_loss`.
    pub fn merged(&self, changes: &Map<String, Value>) -> Result<Self, AttributeError> {
        let mut attributes = self.attributes();
        for (field, value) in changes {
            // Go matches field names in any case, and lets null leave a value as it is.
            let known = attributes.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(field));
            if let Some((name, known)) = known.filter(|_| !value.is_null()) {
                let float = known.is_f64();
                if !(if float { value.is_number() } else { value.is_i64() }) {
                    return Err(self.error(name.clone(), value, if float { "float64" } else { "int64" }));
                }
                *known = value.clone();
            }
        }
        self.with_attributes(attributes).map_err(|error| self.error(error.to_string(), &Value::Null, "int64"))
    }

    fn error(&self, field: String, value: &Value, wanted: &'static str) -> AttributeError {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) => format!("number {number}"),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        AttributeError { found, toxic: self.go_name(), field: format!("attributes.{field}"), wanted }
    }

    /// The type's name in Toxiproxy's own code, which its messages show.
    fn go_name(&self) -> &'static str {
        match self {
            Self::Latency(_) => "LatencyToxic",
            Self::Bandwidth(_) => "BandwidthToxic",
            Self::SlowClose(_) => "SlowCloseToxic",
            Self::Timeout(_) => "TimeoutToxic",
            Self::ResetPeer(_) => "ResetToxic",
            Self::Slicer(_) => "SlicerToxic",
            Self::LimitData(_) => "LimitDataToxic",
            Self::PacketLoss(_) => "PacketLossToxic",
            Self::Noop(_) => "NoopToxic",
            Self::SlowOpen(_) => "SlowOpenToxic",
            Self::Stall(_) => "StallToxic",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_type_makes_itself_from_its_own_attributes() {
        for name in Toxic::TYPES {
            let toxic = Toxic::of_type(name).unwrap();
            assert_eq!(toxic.type_name(), *name);
            assert_eq!(toxic.merged(&toxic.attributes()).unwrap(), toxic);
        }
        assert_eq!(Toxic::of_type("slow"), None);
    }

    #[test]
    fn every_type_describes_itself_and_its_attributes_with_an_example_and_defaults() {
        for name in Toxic::TYPES {
            let schema = Toxic::schema(name).unwrap().to_value();
            assert!(schema["description"].as_str().is_some_and(|text| text.len() > 20), "{name}");
            let attributes = Toxic::of_type(name).unwrap().attributes();
            for (attribute, default) in &attributes {
                let property = &schema["properties"][attribute];
                assert!(property["description"].is_string() && property["default"] == *default, "{name} {attribute}: {property}");
            }
            let example = Toxic::EXAMPLES.iter().map(|text| crate::control::parse_toxic(text).unwrap()).find(|toxic| toxic.kind == *name);
            let example = example.unwrap_or_else(|| panic!("{name} has no example"));
            assert!(example.attributes.keys().all(|key| attributes.contains_key(key)), "{name}");
        }
        assert!(Toxic::OF_TOXIPROXY.iter().all(|name| Toxic::TYPES.contains(name)));
    }

    #[test]
    fn changes_are_merged_and_what_is_unknown_is_ignored() {
        let toxic = Toxic::of_type("latency").unwrap().merged(&map(json!({"latency": 100, "speed": "x"}))).unwrap();
        let toxic = toxic.merged(&map(json!({"jitter": 5, "latency": null}))).unwrap();
        assert_eq!(toxic, Toxic::Latency(Latency { latency: 100, jitter: 5 }));
    }

    #[test]
    fn numbers_that_are_not_whole_and_text_are_refused() {
        let latency = Toxic::of_type("latency").unwrap();
        for (value, found) in [(json!("5"), "string"), (json!(1.5), "number 1.5"), (json!(true), "bool")] {
            let error = latency.merged(&map(json!({"latency": value}))).unwrap_err().to_string();
            assert_eq!(error, format!("json: cannot unmarshal {found} into Go struct field LatencyToxic.attributes.latency of type int64"));
        }
    }
}
