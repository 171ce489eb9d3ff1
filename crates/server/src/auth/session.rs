//! Sessions: a secret in a cookie, and a document under its hash.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use squall_api::Problem;
use squall_store::{Batch, Document, List, StoreError, Write};

use super::authenticate::Identified;
use super::records::{SESSION, SessionRecord};
use super::{Caller, Via, secrets, user};
use crate::{ApiError, App};

/// The session's cookie where the server is reached over TLS: the prefix makes browsers insist on `Secure`, `Path=/` and no
/// `Domain` (RFC 6265bis, 4.1.3.2).
pub const SESSION_COOKIE: &str = "__Host-squall-session";
/// The session's cookie where the server is reached without TLS.
pub const PLAIN_SESSION_COOKIE: &str = "squall-session";

/// `seen` is written when it is older than this.
const SEEN: SignedDuration = SignedDuration::from_secs(60);

/// The name of the session's cookie here.
pub(crate) fn cookie_name(app: &App) -> &'static str {
    if app.auth.over_tls() { SESSION_COOKIE } else { PLAIN_SESSION_COOKIE }
}

/// `Set-Cookie` for a secret; for none, the one that takes the cookie away.
pub(crate) fn cookie(app: &App, secret: Option<&str>) -> HeaderValue {
    let age = secret.map_or(0, |_| app.auth.inner().config.session_lasts.std().as_secs());
    set_cookie(app, cookie_name(app), secret.unwrap_or_default(), "Strict", "/", age)
}

/// `Set-Cookie` with all that keeps it from scripts and other sites. The value is of a cookie's characters.
pub(crate) fn set_cookie(app: &App, name: &str, value: &str, same_site: &str, path: &str, age: u64) -> HeaderValue {
    let secure = if app.auth.over_tls() { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path={path}; Max-Age={age}; HttpOnly; SameSite={same_site}{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// The one value of a cookie. Two of a name are refused: one of them was put there by somebody else.
pub(crate) fn cookie_value(headers: &HeaderMap, name: &str) -> Result<Option<String>, ApiError> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('=')).filter(|(key, _)| *key == name);
    let first = values.next().map(|(_, value)| value.to_owned());
    if values.next().is_some() {
        return Err(Problem::unauthenticated(format!("there is more than one cookie `{name}`"))
            .hint("remove the cookies of this site")
            .into());
    }
    Ok(first.filter(|value| !value.is_empty()))
}

/// The session's secret as a request brings it.
pub(crate) fn presented(app: &App, headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    cookie_value(headers, cookie_name(app))
}

/// A session's CSRF token: bound to it, and of no use to find the secret.
pub(crate) fn csrf(secret: &str) -> String {
    secrets::sha256(&format!("squall csrf {secret}"))
}

/// A session that is about to be made.
pub(crate) struct NewSession {
    pub secret: String,
    pub id: String,
    pub ends: Timestamp,
    pub write: Write,
}

/// A new session of a user, with a new secret.
pub(crate) fn start(
    app: &App,
    user: &str,
    since: Timestamp,
    by: &str,
    from: Option<IpAddr>,
    headers: &HeaderMap,
) -> Result<NewSession, ApiError> {
    let (secret, now) = (secrets::secret()?, app.wall.now());
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(|agent| agent.chars().take(200).collect());
    let address = from.map(|address| address.to_string());
    let record = SessionRecord { user: user.to_owned(), user_since: since, started: now, seen: now, address, agent, by: by.to_owned() };
    let id = secrets::sha256(&secret);
    let write = Write::Create { kind: SESSION.into(), id: id.clone(), body: json!(record) };
    Ok(NewSession { ends: ends(app, &record), secret, id, write })
}

/// When a session ends at the latest.
pub(crate) fn ends(app: &App, record: &SessionRecord) -> Timestamp {
    let config = &app.auth.inner().config;
    let after = |from: Timestamp, time: squall_model::Time| from.saturating_add(time.std()).unwrap_or(Timestamp::MAX);
    after(record.started, config.session_lasts).min(after(record.seen, config.session_idle))
}

/// Who has this session.
pub(crate) async fn identify(app: &App, secret: &str, from: Option<IpAddr>) -> Result<Identified, ApiError> {
    let over = || ApiError::from(Problem::unauthenticated("the session has ended").hint("sign in again"));
    let id = secrets::sha256(secret);
    let document = app.db.get(SESSION, &id).await?.ok_or_else(over)?;
    let mut record: SessionRecord = document.decode()?;
    let now = app.wall.now();
    if ends(app, &record) <= now {
        end(app, &document).await;
        return Err(over());
    }
    let (_, user) = user::enabled(app, &record.user).await?.filter(|(user, _)| user.created == record.user_since).ok_or_else(over)?;
    if now.duration_since(record.seen) > SEEN {
        record.seen = now;
        let write = Write::Replace { kind: SESSION.into(), id: id.clone(), version: document.version, body: json!(record) };
        // Another request, or a logout, was faster.
        let _ = app.db.commit(Batch::new([write]).unsynced()).await;
    }
    let caller = Caller { name: record.user, roles: user.roles, via: Via::Session { id }, address: from };
    Ok(Identified { caller, families: None, csrf: Some(csrf(secret)), must_change: user.must_change })
}

async fn end(app: &App, document: &Document) {
    let write = Write::Delete { kind: SESSION.into(), id: document.id.clone(), version: None };
    // Gone already, or gone the next time.
    let _ = app.db.commit(Batch::new([write]).unsynced()).await;
}

/// All sessions, of one user or of everybody; those that are over are removed on the way.
pub(crate) async fn list(app: &App, user: Option<&str>) -> Result<Vec<(Document, SessionRecord)>, StoreError> {
    let now = app.wall.now();
    let mut found = Vec::new();
    for document in app.db.list(SESSION, &List::default()).await? {
        let record: SessionRecord = document.decode()?;
        if ends(app, &record) <= now {
            end(app, &document).await;
        } else if user.is_none_or(|user| user == record.user) {
            found.push((document, record));
        }
    }
    Ok(found)
}

/// The write that ends a session. Not a deletion, which would fail, and with it all of its batch, when the session ends by
/// itself at the same time: its place is taken by one that was over long ago, and is swept.
pub(crate) fn over(id: &str, record: &SessionRecord) -> Write {
    let record = SessionRecord { started: Timestamp::UNIX_EPOCH, seen: Timestamp::UNIX_EPOCH, ..record.clone() };
    Write::Put { kind: SESSION.into(), id: id.to_owned(), body: json!(record) }
}

/// Writes that end all of a user's sessions.
pub(crate) async fn end_all(app: &App, user: &str) -> Result<Vec<Write>, StoreError> {
    Ok(list(app, Some(user)).await?.iter().map(|(document, record)| over(&document.id, record)).collect())
}

/// One session that is not over.
pub(crate) async fn find(app: &App, id: &str) -> Result<Option<(Document, SessionRecord)>, ApiError> {
    if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let Some(document) = app.db.get(SESSION, id).await? else { return Ok(None) };
    let record: SessionRecord = document.decode()?;
    Ok((ends(app, &record) > app.wall.now()).then_some((document, record)))
}
