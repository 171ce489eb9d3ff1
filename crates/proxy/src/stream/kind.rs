//! What a kind of fault on bodies, or of refusal, is to those who list, check and carry out rules.

use std::fmt::Debug;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::scan::Framing;
use crate::body::BodyFault;

/// The body that a fault is made for.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    /// The response's `content-type`; empty where there is none.
    pub content_type: &'a str,
    /// The response's `content-encoding`; empty where there is none. Faults look at no body that is compressed: who wants them
    /// to, asks the upstream for none (`accept-encoding: identity`).
    pub content_encoding: &'a str,
    /// Where this exchange's randomness comes from: 64 bits of a [`Decider`](crate::decide::Decider).
    pub seed: u64,
}

impl Body<'_> {
    /// Whether its bytes are what they stand for.
    pub(crate) fn is_readable(&self) -> bool {
        self.content_encoding.is_empty() || self.content_encoding.trim().eq_ignore_ascii_case("identity")
    }

    /// How it is divided into events; `None` where it is no stream.
    pub(crate) fn framing(&self) -> Option<Framing> {
        Framing::of(self.content_type).filter(|_| self.is_readable())
    }
}

/// A fault's settings, checked.
pub trait OnBody: Debug + Send + Sync {
    /// The fault at work on this body; `None` where it is no body for it (no stream, no JSON) and stays untouched.
    fn fault(&self, body: &Body) -> Option<Box<dyn BodyFault>>;
}

/// An answer that is given instead of the upstream's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// All header fields but `content-length`, `date` and `connection`.
    pub headers: Vec<(&'static str, String)>,
    /// The whole body.
    pub body: Bytes,
}

/// A refusal's settings, checked.
pub trait Instead: Debug + Send + Sync {
    /// The answer to a request for this path. `seed` as in [`Body::seed`].
    fn answer(&self, path: &str, seed: u64) -> Answer;
}

/// What a kind makes of a rule's `with`.
#[derive(Debug)]
pub enum Compiled {
    /// Works on the body of the response.
    Body(Box<dyn OnBody>),
    /// Answers, so that the upstream is not asked.
    Answer(Box<dyn Instead>),
}

/// Settings that are not what the kind takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("with: {0}")]
pub struct SettingsError(pub(crate) String);

/// One kind of fault, as its family lists it.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// As rules name it: `stream.stall`.
    pub name: &'static str,
    /// The JSON schema of its settings. The schema's description says what the kind does.
    pub schema: fn() -> schemars::Schema,
    /// Checks its settings.
    pub compile: fn(&Map<String, Value>) -> Result<Compiled, SettingsError>,
}

/// Settings that check themselves beyond their types.
pub(crate) trait Settings: DeserializeOwned + schemars::JsonSchema {
    /// What is wrong with them, and what to write instead.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Reads and checks settings.
pub(crate) fn settings<S: Settings>(with: &Map<String, Value>) -> Result<S, SettingsError> {
    let settings: S = serde_json::from_value(Value::Object(with.clone())).map_err(|error| SettingsError(error.to_string()))?;
    settings.check().map_err(SettingsError)?;
    Ok(settings)
}

/// The list entry of a kind that works on bodies.
macro_rules! body_kind {
    ($name:literal, $settings:ty) => {
        $crate::stream::Kind {
            name: $name,
            schema: || schemars::schema_for!($settings),
            compile: |with| Ok($crate::stream::Compiled::Body(Box::new($crate::stream::kind::settings::<$settings>(with)?))),
        }
    };
}

/// The list entry of a kind that answers instead of the upstream.
macro_rules! answer_kind {
    ($name:literal, $settings:ty) => {
        $crate::stream::Kind {
            name: $name,
            schema: || schemars::schema_for!($settings),
            compile: |with| Ok($crate::stream::Compiled::Answer(Box::new($crate::stream::kind::settings::<$settings>(with)?))),
        }
    };
}

pub(crate) use {answer_kind, body_kind};
