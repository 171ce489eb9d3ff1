//! API tokens.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use squall_api::tokens::{CreatedToken, NewToken, Token};
use squall_api::{Page, PageQuery, Problem};
use squall_model::Time;
use squall_store::{Batch, Document, List, Write};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging;
use crate::auth::records::{TOKEN, TokenRecord};
use crate::auth::{Caller, Outcome, Role, Via, audit, token, user};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// How long a token is good for where nothing is said: 90 days.
const LASTS: Time = Time::from_secs(90 * 24 * 3600);

/// Whose tokens.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TokenQuery {
    /// Whose: for admins. By default one's own.
    owner: Option<String>,
    /// Everybody's: for admins.
    #[serde(default)]
    all: bool,
    /// At most so many items: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

fn shown(document: Document, record: TokenRecord) -> Token {
    Token {
        id: document.id,
        name: record.name,
        owner: record.owner,
        roles: record.roles,
        resources: record.families,
        created: record.created,
        created_by: record.created_by,
        expires: record.expires,
        used: record.used,
        used_from: record.used_from,
    }
}

/// Tokens, without their secrets
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(TokenQuery), responses(
    (status = 200, description = "Tokens by id", body = Page<Token>),
))]
async fn list(State(app): State<App>, caller: Caller, Query(query): Query<TokenQuery>) -> Result<Json<Page<Token>>, ApiError> {
    let owner = query.owner.as_deref().unwrap_or(&caller.name);
    if query.all || owner != caller.name {
        caller.need(Role::Admin)?;
    }
    let mut tokens = Vec::new();
    for document in app.db.list(TOKEN, &List::default()).await? {
        let record: TokenRecord = document.decode()?;
        if query.all || record.owner == owner {
            tokens.push(shown(document, record));
        }
    }
    Ok(Json(paging::page(tokens, &PageQuery { limit: query.limit, after: query.after }, |token| &token.id)?))
}

/// A new token
///
/// Its secret is shown here and never again. A token can make another, which can do no more and lasts no longer than itself.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = NewToken, responses(
    (status = 201, description = "Created", body = CreatedToken),
))]
async fn create(State(app): State<App>, caller: Caller, Json(new): Json<NewToken>) -> Result<(StatusCode, Json<CreatedToken>), ApiError> {
    if new.name.is_empty() || new.name.chars().count() > 100 || new.name.chars().any(char::is_control) {
        return Err(Problem::invalid("`name` has 1 to 100 characters, none of them a control character").into());
    }
    let name = new.owner.as_deref().unwrap_or(&caller.name);
    if name != caller.name {
        caller.need(Role::Admin)?;
    }
    let Some((owner, user)) = user::find(&app, name).await? else {
        return Err(Problem::invalid(format!("there is no user `{name}`"))
            .hint("make one for the program first: `POST /api/v1/users`")
            .into());
    };
    let by_default = new.lasts.is_none();
    let mut record = TokenRecord {
        owner: name.to_owned(),
        owner_since: owner.created,
        created: app.wall.now(),
        roles: new.roles.unwrap_or_else(|| user.roles.clone()),
        families: new.resources,
        expires: expires(&app, new.lasts.as_deref())?,
        name: new.name,
        hash: String::new(),
        created_by: caller.name.clone(),
        used: None,
        used_from: None,
    };
    check_scope(&record, &user.roles)?;
    if let Via::Token { id } = &caller.via {
        let Some((_, parent)) = token::find(&app, id).await? else { return Err(Problem::unauthenticated("the token was revoked").into()) };
        if by_default {
            record.expires = record.expires.min(parent.expires.or(record.expires));
        }
        within(&record, &parent, &caller, name)?;
    }
    let (id, secret, hash) = token::make()?;
    record.hash = hash;
    let detail = json!({ "name": record.name, "owner": record.owner, "roles": record.roles, "resources": record.families, "expires": record.expires });
    let row = audit(&app, &caller, "token.create", &format!("token/{id}"), Outcome::Ok, detail);
    app.db.commit(Batch::new([Write::Create { kind: TOKEN.into(), id: id.clone(), body: json!(record) }, row])).await?;
    let document = app.db.get(TOKEN, &id).await?.ok_or_else(|| Problem::conflict("the token was revoked at once"))?;
    Ok((StatusCode::CREATED, Json(CreatedToken { secret, token: shown(document, record) })))
}

fn expires(app: &App, lasts: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let lasts = match lasts {
        Some("never") => return Ok(None),
        Some(text) => text.parse::<Time>().map_err(|e| Problem::invalid(format!("`lasts`: {e}")).hint("write it as `90d`, or `never`"))?,
        None => LASTS,
    };
    if lasts < Time::from_secs(60) || lasts > Time::from_secs(3650 * 24 * 3600) {
        return Err(Problem::invalid("`lasts` is between a minute and ten years, or `never`").into());
    }
    Ok(Some(app.wall.now().checked_add(lasts.std()).unwrap_or(Timestamp::MAX)))
}

/// A token without anything it may do, or for more than its owner may, is a mistake.
fn check_scope(record: &TokenRecord, owner: &BTreeSet<Role>) -> Result<(), ApiError> {
    if record.roles.is_empty() || record.families.as_ref().is_some_and(BTreeSet::is_empty) {
        return Err(Problem::invalid("the token would be good for nothing")
            .hint("name at least one role, and one resource where any are named")
            .into());
    }
    if let Some(role) = record.roles.iter().find(|role| !owner.iter().any(|has| has.includes(**role))) {
        return Err(Problem::invalid(format!("`{}` is not {role}", record.owner)).into());
    }
    let word = |family: &String| {
        (1..=64).contains(&family.len()) && family.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if let Some(odd) = record.families.iter().flatten().find(|family| !word(family)) {
        return Err(Problem::invalid(format!("`{odd}` is no resource"))
            .hint("the first part of a path after `/api/v1/`, as `runs`")
            .into());
    }
    Ok(())
}

/// Whether a token may make this one: for the same owner, and no wider than itself in any respect.
fn within(new: &TokenRecord, parent: &TokenRecord, caller: &Caller, owner: &str) -> Result<(), ApiError> {
    let roles = owner == caller.name && new.roles.iter().all(|role| caller.may(*role)) || caller.may(Role::Admin);
    let families = match (&new.families, &parent.families) {
        (_, None) => true,
        (Some(new), Some(parent)) => new.is_subset(parent),
        (None, Some(_)) => false,
    };
    let expires = parent.expires.is_none_or(|parent| new.expires.is_some_and(|new| new <= parent));
    if roles && families && expires {
        return Ok(());
    }
    let which = if !roles {
        "do more"
    } else if !families {
        "be good for more resources"
    } else {
        "last longer"
    };
    Err(Problem::forbidden(format!("the new token would {which} than the one it is made with"))
        .hint("sign in with a password to make it")
        .into())
}

/// Revoke a token
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", params(("id" = String, Path, description = "The token's id")), responses(
    (status = 204, description = "Revoked"),
    (status = 404, description = "There is no such token", body = Problem, content_type = "application/problem+json"),
))]
async fn revoke(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let found = token::find(&app, &id).await?.filter(|(_, record)| record.owner == caller.name || caller.may(Role::Admin));
    let Some((document, record)) = found else { return Err(Problem::not_found("token", &id).into()) };
    let row =
        audit(&app, &caller, "token.revoke", &format!("token/{id}"), Outcome::Ok, json!({ "name": record.name, "owner": record.owner }));
    app.db.commit(Batch::new([Write::Delete { kind: TOKEN.into(), id: document.id, version: None }, row])).await?;
    Ok(StatusCode::NO_CONTENT)
}
