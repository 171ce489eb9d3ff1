//! Signals by name or number (signal(7)).

use std::fmt;

use rustix::process::Signal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// A signal as users write it: `TERM`, `SIGTERM` or 15.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalName(pub Signal);

const NAMES: &[(&str, Signal)] = &[
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

impl SignalName {
    /// Ends every process that can be ended, whatever it does about it.
    pub const KILL: Self = Self(Signal::KILL);

    /// Stops the process rather than ending it.
    pub fn stops(self) -> bool {
        [Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU].contains(&self.0)
    }

    /// Does nothing to a process that does not ask for it.
    pub fn harmless(self) -> bool {
        [Signal::CHILD, Signal::CONT, Signal::URG, Signal::WINCH].contains(&self.0)
    }

    fn by_name(text: &str) -> Option<Self> {
        let name = text.to_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        NAMES.iter().find(|(n, _)| *n == name).map(|(_, s)| Self(*s))
    }

    fn by_number(number: i64) -> Option<Self> {
        NAMES.iter().find(|(_, s)| i64::from(s.as_raw()) == number).map(|(_, s)| Self(*s))
    }
}

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, s)| *s == self.0).map_or("?", |(n, _)| n);
        write!(f, "SIG{name}")
    }
}

impl Serialize for SignalName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SignalName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = SignalName;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a signal by name or number, such as TERM, SIGTERM or 15")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<SignalName, E> {
                let found = SignalName::by_name(text).or_else(|| SignalName::by_number(text.parse().ok()?));
                found.ok_or_else(|| E::custom(format!("`{text}` is not a signal; write a name or number of signal(7), such as TERM or 15")))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<SignalName, E> {
                SignalName::by_number(number).ok_or_else(|| E::custom(format!("{number} is not a signal; see signal(7)")))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<SignalName, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for SignalName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Signal".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "description": "A signal by name or number, such as TERM, SIGTERM or 15.", "examples": ["KILL", "TERM", 15] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_name_and_number() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(serde_json::from_value::<SignalName>(text.into()).expect(text).to_string(), "SIGTERM");
        }
        assert_eq!(serde_json::from_value::<SignalName>(9.into()).expect("9"), SignalName::KILL);
        assert!(serde_json::from_value::<SignalName>("TERN".into()).is_err());
    }
}
