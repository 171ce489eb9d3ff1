//! The kinds of fault on TLS, one file each.

mod client_certificate;
mod close_in_handshake;
mod expired;
mod handshake_failure;
mod missing_intermediate;
mod not_yet_valid;
mod revoked;
mod self_signed;
mod stalled_handshake;
mod truncated;
mod unknown_issuer;
mod version;
mod weak_key;
mod weak_signature;
mod wrong_alpn;
mod wrong_host;

use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::authority::Authority;
use super::plan::Plan;

/// Every kind of fault on TLS, in the order of the reference.
pub const KINDS: &[Kind] = &[
    Kind::of::<expired::Expired>(),
    Kind::of::<not_yet_valid::NotYetValid>(),
    Kind::of::<wrong_host::WrongHost>(),
    Kind::of::<unknown_issuer::UnknownIssuer>(),
    Kind::of::<missing_intermediate::MissingIntermediate>(),
    Kind::of::<self_signed::SelfSigned>(),
    Kind::of::<revoked::Revoked>(),
    Kind::of::<weak_key::WeakKey>(),
    Kind::of::<weak_signature::WeakSignature>(),
    Kind::of::<version::Version>(),
    Kind::of::<wrong_alpn::WrongAlpn>(),
    Kind::of::<client_certificate::ClientCertificate>(),
    Kind::of::<handshake_failure::HandshakeFailure>(),
    Kind::of::<stalled_handshake::StalledHandshake>(),
    Kind::of::<close_in_handshake::CloseInHandshake>(),
    Kind::of::<truncated::Truncated>(),
];

/// A kind of fault on TLS.
#[derive(Clone, Copy)]
pub struct Kind {
    /// As rules name it: `tls.expired`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// One rule, in YAML.
    pub example: &'static str,
    schema: fn() -> Schema,
    plan: fn(&Map<String, Value>, &Authority) -> Result<Plan, String>,
}

/// What a kind's file says.
pub(super) trait TlsFault {
    /// What a rule writes under `with`. The doc comments are the user's documentation.
    type Args: DeserializeOwned + JsonSchema;
    const NAME: &'static str;
    const SUMMARY: &'static str;
    const EXAMPLE: &'static str;

    fn plan(args: Self::Args, authority: &Authority) -> Result<Plan, String>;
}

impl Kind {
    const fn of<T: TlsFault>() -> Self {
        Self { name: T::NAME, summary: T::SUMMARY, example: T::EXAMPLE, schema: schema_of::<T>, plan: plan_of::<T> }
    }

    /// The JSON Schema of its settings.
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    pub(super) fn plan(&self, with: &Map<String, Value>, authority: &Authority) -> Result<Plan, String> {
        (self.plan)(with, authority)
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kind").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whole seconds, as certificates count.
fn seconds(time: squall_model::Time) -> Result<i64, String> {
    i64::try_from(time.std().as_secs()).map_err(|e| e.to_string())
}

fn schema_of<T: TlsFault>() -> Schema {
    schemars::schema_for!(T::Args)
}

fn plan_of<T: TlsFault>(with: &Map<String, Value>, authority: &Authority) -> Result<Plan, String> {
    let args = serde_json::from_value(Value::Object(with.clone())).map_err(|e| e.to_string())?;
    T::plan(args, authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_does_with_its_defaults_and_documents_its_settings() {
        let authority = Authority::in_memory().unwrap();
        for kind in KINDS {
            assert!(kind.name.starts_with("tls.") && !kind.summary.is_empty() && kind.example.contains(kind.name), "{}", kind.name);
            assert!(kind.plan(&Map::new(), &authority).is_ok(), "{}", kind.name);
            let schema = kind.schema().to_value();
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                assert!(property.get("description").is_some(), "{} {name}", kind.name);
            }
        }
        let mut names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }
}
