//! Users.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::json;
use squall_api::users::{NewPassword, NewUser, User, UserChange};
use squall_api::{Page, PageQuery, Problem};
use squall_store::{Batch, Document, List, Write};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging;
use crate::auth::records::{LINK, LinkRecord, TOKEN, TokenRecord, USER, UserRecord};
use crate::auth::{self, Admin, Outcome, Role, audit, session, user};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, change, delete)).routes(routes!(set_password))
}

/// All users
#[utoipa::path(get, path = "/users", tag = "users", params(PageQuery), responses((status = 200, description = "Users by name", body = Page<User>)))]
async fn list(State(app): State<App>, Admin(_): Admin, Query(query): Query<PageQuery>) -> Result<Json<Page<User>>, ApiError> {
    let asked = List { after: paging::after(query.after.as_deref())?, limit: Some(query.items() + 1), ..List::default() };
    let mut documents = app.db.list(USER, &asked).await?;
    let more = documents.len() > query.items();
    documents.truncate(query.items());
    let next = documents.last().filter(|_| more).map(|document| document.id.clone());
    let items = documents.iter().map(shown).collect::<Result<_, _>>()?;
    Ok(Json(Page { items, next }))
}

fn shown(document: &Document) -> Result<User, ApiError> {
    Ok(document.decode::<UserRecord>()?.shown(document))
}

async fn found(app: &App, name: &str) -> Result<(Document, UserRecord), ApiError> {
    user::find(app, name).await?.ok_or_else(|| Problem::not_found("user", name).into())
}

/// A new user
#[utoipa::path(post, path = "/users", tag = "users", request_body = NewUser, responses(
    (status = 201, description = "Created", body = User),
    (status = 409, description = "There is one of the name", body = Problem, content_type = "application/problem+json"),
))]
async fn create(State(app): State<App>, Admin(caller): Admin, Json(new): Json<NewUser>) -> Result<(StatusCode, Json<User>), ApiError> {
    user::check_name(&new.name)?;
    check_texts(new.display.as_deref(), new.email.as_deref())?;
    let inner = app.auth.inner();
    let password = match new.password {
        Some(password) => {
            auth::check_new(&password, &new.name, inner.config.password_length)?;
            Some(inner.passwords.hash(password).await?)
        }
        None => None,
    };
    let roles = if new.roles.is_empty() { [Role::Viewer].into() } else { new.roles };
    let record =
        UserRecord { display: new.display, email: new.email, roles, must_change: password.is_some(), password, ..UserRecord::default() };
    let row = audit(&app, &caller, "user.create", &format!("user/{}", new.name), Outcome::Ok, json!({ "roles": record.roles }));
    let write = Write::Create { kind: USER.into(), id: new.name.clone(), body: json!(record) };
    app.db.commit(Batch::new([write, row])).await?;
    let (document, _) = found(&app, &new.name).await?;
    Ok((StatusCode::CREATED, Json(record.shown(&document))))
}

fn check_texts(display: Option<&str>, email: Option<&str>) -> Result<(), ApiError> {
    let short = |text: &str| text.chars().count() <= 200 && !text.chars().any(char::is_control);
    if !display.is_none_or(short) {
        return Err(Problem::invalid("`display` has at most 200 characters, none of them a control character").into());
    }
    if !email.is_none_or(|email| short(email) && email.contains('@')) {
        return Err(Problem::invalid("`email` is no address").into());
    }
    Ok(())
}

/// One user
#[utoipa::path(get, path = "/users/{name}", tag = "users", params(("name" = String, Path, description = "The user's name")), responses(
    (status = 200, description = "The user", body = User),
    (status = 404, description = "There is no such user", body = Problem, content_type = "application/problem+json"),
))]
async fn get(State(app): State<App>, Admin(_): Admin, Path(name): Path<String>) -> Result<Json<User>, ApiError> {
    let (document, record) = found(&app, &name).await?;
    Ok(Json(record.shown(&document)))
}

/// Change a user
///
/// What is absent stays as it is. Roles of a user who signs in by a provider are the provider's to say.
#[utoipa::path(patch, path = "/users/{name}", tag = "users", params(("name" = String, Path, description = "The user's name")), request_body = UserChange, responses(
    (status = 200, description = "Changed", body = User),
    (status = 404, description = "There is no such user", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The last admin, roles of a provider, or somebody was faster", body = Problem, content_type = "application/problem+json"),
))]
async fn change(
    State(app): State<App>,
    Admin(caller): Admin,
    Path(name): Path<String>,
    Json(change): Json<UserChange>,
) -> Result<Json<User>, ApiError> {
    let (document, mut record) = found(&app, &name).await?;
    check_texts(change.display.as_deref(), change.email.as_deref())?;
    let detail = json!({ "before": { "roles": record.roles, "disabled": record.disabled }, "change": change });
    if let (Some(_), Some(external)) = (&change.roles, &record.external) {
        let provider = &external.provider;
        return Err(Problem::conflict(format!("the roles of `{name}` come from `{provider}`")).hint("change them there").into());
    }
    let was_admin = record.roles.contains(&Role::Admin) && !record.disabled;
    record.display = change.display.or(record.display);
    record.email = change.email.or(record.email);
    record.roles = change.roles.unwrap_or(record.roles);
    record.disabled = change.disabled.unwrap_or(record.disabled);
    let mut writes = vec![Write::Replace { kind: USER.into(), id: name.clone(), version: document.version, body: json!(record) }];
    if was_admin && (record.disabled || !record.roles.contains(&Role::Admin)) {
        writes.push(user::keep_an_admin(&app, &name).await?);
    }
    if record.disabled {
        writes.extend(session::end_all(&app, &name).await?);
    }
    writes.push(audit(&app, &caller, "user.change", &format!("user/{name}"), Outcome::Ok, detail));
    app.db.commit(Batch::new(writes)).await?;
    Ok(Json(record.shown(&document)))
}

/// Remove a user
///
/// Ends their sessions and tokens.
#[utoipa::path(delete, path = "/users/{name}", tag = "users", params(("name" = String, Path, description = "The user's name")), responses(
    (status = 204, description = "Removed"),
    (status = 404, description = "There is no such user", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The last admin, or somebody was faster", body = Problem, content_type = "application/problem+json"),
))]
async fn delete(State(app): State<App>, Admin(caller): Admin, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let (document, record) = found(&app, &name).await?;
    let mut writes = vec![Write::Delete { kind: USER.into(), id: name.clone(), version: Some(document.version) }];
    if record.roles.contains(&Role::Admin) && !record.disabled {
        writes.push(user::keep_an_admin(&app, &name).await?);
    }
    writes.extend(session::end_all(&app, &name).await?);
    writes.push(audit(&app, &caller, "user.delete", &format!("user/{name}"), Outcome::Ok, json!({})));
    app.db.commit(Batch::new(writes)).await?;
    // Of no use to anybody from here on, also not to a later user of the name; removing them is tidiness.
    let tokens = owned(&app, TOKEN, |document| Ok(document.decode::<TokenRecord>()?.owner == name)).await?;
    let links = owned(&app, LINK, |document| Ok(document.decode::<LinkRecord>()?.user == name)).await?;
    for write in tokens.into_iter().chain(links) {
        let _ = app.db.commit(Batch::new([write]).unsynced()).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn owned(app: &App, kind: &str, is: impl Fn(&Document) -> Result<bool, ApiError>) -> Result<Vec<Write>, ApiError> {
    let mut writes = Vec::new();
    for document in app.db.list(kind, &List::default()).await? {
        if is(&document)? {
            writes.push(Write::Delete { kind: kind.to_owned(), id: document.id, version: Some(document.version) });
        }
    }
    Ok(writes)
}

/// Set somebody's password
///
/// They have to change it at the next login. Ends their sessions.
#[utoipa::path(put, path = "/users/{name}/password", tag = "users", params(("name" = String, Path, description = "The user's name")), request_body = NewPassword, responses(
    (status = 204, description = "Set"),
    (status = 404, description = "There is no such user", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "They sign in by a provider, or somebody was faster", body = Problem, content_type = "application/problem+json"),
))]
async fn set_password(
    State(app): State<App>,
    Admin(caller): Admin,
    Path(name): Path<String>,
    Json(new): Json<NewPassword>,
) -> Result<StatusCode, ApiError> {
    let (document, mut record) = found(&app, &name).await?;
    if let Some(external) = &record.external {
        return Err(Problem::conflict(format!("`{name}` signs in by `{}`", external.provider)).into());
    }
    let inner = app.auth.inner();
    auth::check_new(&new.password, &name, inner.config.password_length)?;
    record.password = Some(inner.passwords.hash(new.password).await?);
    record.must_change = true;
    let mut writes = session::end_all(&app, &name).await?;
    writes.push(Write::Replace { kind: USER.into(), id: name.clone(), version: document.version, body: json!(record) });
    writes.push(audit(&app, &caller, "user.password", &format!("user/{name}"), Outcome::Ok, json!({ "set": true })));
    app.db.commit(Batch::new(writes)).await?;
    auth::forget(&app, &name);
    Ok(StatusCode::NO_CONTENT)
}
