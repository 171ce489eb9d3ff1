//! API tokens: `sqt_<id>_<secret>`, with 256 random bits of secret.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::SignedDuration;
use serde_json::json;
use squall_api::Problem;
use squall_api::users::Role;
use squall_store::{Batch, Document, Write};

use super::authenticate::Identified;
use super::records::{TOKEN, TokenRecord};
use super::{Caller, Outcome, Via, audit, secrets, user};
use crate::{ApiError, App};

/// What every token starts with, so that scanners for leaked secrets know it.
pub(crate) const PREFIX: &str = "sqt_";

/// `used` is written when it is older than this.
const USED: SignedDuration = SignedDuration::from_secs(600);

/// A new id and secret: the id, the whole token, and the secret's hash.
pub(crate) fn make() -> Result<(String, String, String), ApiError> {
    let (id, secret) = (secrets::hex(&secrets::random::<6>()?), secrets::secret()?);
    Ok((id.clone(), format!("{PREFIX}{id}_{secret}"), secrets::sha256(&secret)))
}

/// Who has this token.
pub(crate) async fn identify(app: &App, presented: &str, from: Option<IpAddr>) -> Result<Identified, ApiError> {
    let bad = |detail: &str| ApiError::from(Problem::unauthenticated(detail).hint("make another with `squall token create`"));
    let unknown = || bad("there is no such API token");
    let (id, secret) = presented.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or_else(unknown)?;
    let (document, record) = find(app, id).await?.ok_or_else(unknown)?;
    if !secrets::equal(&secrets::sha256(secret), &record.hash) {
        return Err(unknown());
    }
    // From here on it is somebody who has, or had, the token: worth a row, and no stranger can write one.
    let refused = async |why: &str| {
        let caller = Caller { name: record.owner.clone(), roles: [].into(), via: Via::Token { id: id.to_owned() }, address: from };
        super::audit::record(app, audit(app, &caller, "token.use", &format!("token/{id}"), Outcome::Refused, json!({ "why": why }))).await;
        bad(why)
    };
    let now = app.wall.now();
    if record.expires.is_some_and(|expires| expires <= now) {
        return Err(refused("the API token has expired").await);
    }
    let owner = user::enabled(app, &record.owner).await?.filter(|(owner, _)| owner.created == record.owner_since);
    let Some((_, owner)) = owner else {
        return Err(refused("the API token's owner may not sign in").await);
    };
    let families = record.families.clone();
    // Both must have it: what the owner loses, the token loses.
    let roles = both(&owner.roles, &record.roles);
    let caller = Caller { name: record.owner.clone(), roles, via: Via::Token { id: id.to_owned() }, address: from };
    used(app, &document, record, from).await;
    Ok(Identified { caller, families, csrf: None, must_change: false })
}

/// The roles that both sets include.
pub(crate) fn both(one: &BTreeSet<Role>, other: &BTreeSet<Role>) -> BTreeSet<Role> {
    let has = |roles: &BTreeSet<Role>, role: Role| roles.iter().any(|has| has.includes(role));
    Role::ALL.into_iter().filter(|role| has(one, *role) && has(other, *role)).collect()
}

/// A token, if there is one of the id.
pub(crate) async fn find(app: &App, id: &str) -> Result<Option<(Document, TokenRecord)>, ApiError> {
    if id.len() != 12 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let Some(document) = app.db.get(TOKEN, id).await? else { return Ok(None) };
    let record = document.decode()?;
    Ok(Some((document, record)))
}

/// Remembers that it was used, now and then.
async fn used(app: &App, document: &Document, mut record: TokenRecord, from: Option<IpAddr>) {
    let now = app.wall.now();
    if record.used.is_some_and(|used| now.duration_since(used) <= USED) {
        return;
    }
    record.used = Some(now);
    record.used_from = from.map(|address| address.to_string());
    let write = Write::Replace { kind: TOKEN.into(), id: document.id.clone(), version: document.version, body: json!(record) };
    // Another request was faster, or it was revoked.
    let _ = app.db.commit(Batch::new([write]).unsynced()).await;
}
