//! Signals by name or number (signal(7)).

use std::fmt;

use rustix::process::Signal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use squall_sys::process::{REALTIME, realtime_signal};

/// A signal as users write it: `TERM`, `SIGTERM`, 15 or `RTMIN+3`.
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

    /// Does nothing to a process without a handler for it (signal(7), "Ign" and "Cont").
    pub fn ignored_by_default(self) -> bool {
        [Signal::CHILD, Signal::CONT, Signal::URG, Signal::WINCH].contains(&self.0)
    }

    /// By convention a request to end, after which a process may first tidy up.
    pub fn asks_to_end(self) -> bool {
        [Signal::TERM, Signal::INT, Signal::QUIT].contains(&self.0)
    }

    fn by_name(text: &str) -> Option<Self> {
        let name = text.to_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let named = NAMES.iter().find(|(n, _)| *n == name).map(|(_, s)| Self(*s));
        named.or_else(|| {
            let (end, offset) = [("RTMIN", *REALTIME.start()), ("RTMAX", *REALTIME.end())]
                .into_iter()
                .find_map(|(word, number)| Some((number, name.strip_prefix(word)?)))?;
            let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
            realtime_signal(end.checked_add(offset)?).map(Self)
        })
    }

    fn by_number(number: i64) -> Option<Self> {
        let named = NAMES.iter().find(|(_, s)| i64::from(s.as_raw()) == number).map(|(_, s)| Self(*s));
        named.or_else(|| realtime_signal(i32::try_from(number).ok()?).map(Self))
    }
}

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, s)| *s == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "SIGRTMIN+{}", self.0.as_raw() - REALTIME.start()),
        }
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
        json_schema!({ "type": ["string", "integer"], "description": "A signal by name or number, such as TERM, SIGTERM, 15 or RTMIN+3.", "examples": ["KILL", "TERM", 15] })
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
        for wrong in ["TERN", "RTMIN+31", "RTMAX+1", "RTMIN+x", "0", "65", "32"] {
            assert!(serde_json::from_value::<SignalName>(wrong.into()).is_err(), "{wrong}");
        }
        for text in ["RTMIN+3", "SIGRTMIN+3", "37", "RTMAX-27"] {
            let signal = serde_json::from_value::<SignalName>(text.into()).expect(text);
            assert_eq!((signal.0.as_raw(), signal.to_string()), (37, "SIGRTMIN+3".to_owned()));
        }
    }
}
