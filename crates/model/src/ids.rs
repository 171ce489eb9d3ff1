//! Names of runs and injections. Everything that Squall makes on a host carries the run's id in its name.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// One execution of an experiment: `r` and 12 characters of lower-case Crockford base32 (milliseconds since 1970 in the
/// first 9, then 3 of chance), so that ids sort by start and fit into kernel names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct RunId(String);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl RunId {
    /// The id for a run that starts at `millis` since 1970, with 15 bits of chance.
    pub fn new(millis: u64, chance: u16) -> Self {
        let number = (millis << 15) | u64::from(chance & 0x7fff);
        let digits = (0..12).rev().map(|i| char::from(ALPHABET[((number >> (i * 5)) & 31) as usize]));
        Self(std::iter::once('r').chain(digits).collect())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a run id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a run id; `squall history` lists them")]
pub struct RunIdError(String);

impl FromStr for RunId {
    type Err = RunIdError;
    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let good = text.len() == 13 && text.starts_with('r') && text.bytes().skip(1).all(|b| ALPHABET.contains(&b));
        if good { Ok(Self(text.to_owned())) } else { Err(RunIdError(text.to_owned())) }
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One fault applied to one target, numbered from 1 within its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct InjectionId(pub u32);

impl fmt::Display for InjectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_sort_by_start_and_parse_back() {
        let early = RunId::new(1_700_000_000_000, 0x7fff);
        let late = RunId::new(1_700_000_000_001, 0);
        assert!(early < late);
        assert_eq!(early.as_str().parse::<RunId>(), Ok(early.clone()));
        assert!("../../etc".parse::<RunId>().is_err());
    }
}
