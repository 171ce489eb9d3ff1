//! Channels and deliveries.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use squall_api::{Page, PageQuery, Problem};
use squall_notify::{Channel, ChannelTest, ChannelView, Delivery, DeliveryState, EventKind, Notice, Outbox, OutboxError, Sending};
use squall_store::{Batch, Document, StoreError, Write};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging::{after, documents};
use crate::auth::{Admin, Operator, Outcome, Viewer, audit};
use crate::error::{fields, json_of};
use crate::versions::{key, put, tagged};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, save, remove))
        .routes(routes!(try_out))
        .routes(routes!(deliveries))
        .routes(routes!(delivery, discard))
        .routes(routes!(redeliver))
}

fn seen(document: &Document) -> Result<ChannelView, StoreError> {
    let (name, channel) = (document.id.clone(), document.decode()?);
    Ok(ChannelView { name, version: document.version, updated: document.updated, channel })
}

async fn known(app: &App, name: &str) -> Result<Document, ApiError> {
    Ok(app.db.get(Outbox::CHANNEL, key("channel", name)?).await?.ok_or_else(|| Problem::not_found("channel", name))?)
}

fn failed(error: OutboxError) -> ApiError {
    match error {
        OutboxError::Unknown(id) => Problem::not_found("delivery", &id).into(),
        OutboxError::Changed(_) | OutboxError::Fenced => Problem::conflict(error.to_string()).hint("try again").into(),
        OutboxError::Store(error) => error.into(),
    }
}

/// List channels
#[utoipa::path(get, path = "/channels", tag = "notifications", params(PageQuery), responses(
    (status = 200, description = "Channels, by name", body = Page<ChannelView>),
))]
async fn list(_: Operator, State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Json<Page<ChannelView>>, ApiError> {
    Ok(Json(documents(&app, Outbox::CHANNEL, &page, seen).await?))
}

/// See a channel
///
/// Its secrets are named and never shown.
#[utoipa::path(get, path = "/channels/{name}", tag = "notifications", params(("name" = String, Path, description = "Its name")), responses(
    (status = 200, description = "The channel", body = ChannelView, headers(("ETag" = String, description = "Its version"))),
    (status = 404, description = "There is no such channel", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Operator, State(app): State<App>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let view = seen(&known(&app, &name).await?)?;
    Ok(tagged(StatusCode::OK, view.version, view))
}

/// Save a channel
///
/// With `If-Match`, only if it is still of that version.
#[utoipa::path(put, path = "/channels/{name}", tag = "notifications", request_body = Channel, params(
    ("name" = String, Path, description = "Its name: lower-case letters, digits and dashes"),
    ("If-Match" = Option<String>, Header, description = "The `ETag` that the change was made from"),
), responses(
    (status = 200, description = "It was changed", body = ChannelView),
    (status = 201, description = "It is new", body = ChannelView),
    (status = 404, description = "There is none to be changed", body = Problem, content_type = "application/problem+json"),
))]
async fn save(
    Admin(caller): Admin,
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(channel): Json<Channel>,
) -> Result<Response, ApiError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=63).contains(&name.len()) || !name.bytes().all(plain) || name.starts_with('-') {
        return Err(Problem::invalid("a channel's name has 1 to 63 of `a-z`, `0-9` and `-`, and does not start with a dash").into());
    }
    let mistakes = channel.check(app.notifications.transport().guards());
    if !mistakes.is_empty() {
        return Err(fields("the channel cannot be used", mistakes.into_iter().map(|m| (m.path, m.message, m.hint))).into());
    }
    let body = json_of(&channel)?;
    let was = app.db.get(Outbox::CHANNEL, &name).await?;
    let write = put(&headers, was.as_ref(), Outbox::CHANNEL, &name, body)?;
    let detail = json!({ "new": was.is_none(), "kind": channel.kind() });
    let row = audit(&app, &caller, "channel.save", &format!("channel/{name}"), Outcome::Ok, detail);
    app.db.commit(Batch::new(vec![write, row])).await?;
    let view = seen(&known(&app, &name).await?)?;
    Ok(tagged(if was.is_some() { StatusCode::OK } else { StatusCode::CREATED }, view.version, view))
}

/// Remove a channel
///
/// What still waits for it becomes dead letters.
#[utoipa::path(delete, path = "/channels/{name}", tag = "notifications", params(("name" = String, Path, description = "Its name")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such channel", body = Problem, content_type = "application/problem+json"),
))]
async fn remove(Admin(caller): Admin, State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let delete = Write::Delete { kind: Outbox::CHANNEL.into(), id: key("channel", &name)?.to_owned(), version: None };
    let row = audit(&app, &caller, "channel.remove", &format!("channel/{name}"), Outcome::Ok, serde_json::Value::Null);
    app.db.commit(Batch::new(vec![delete, row])).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Try a channel out
///
/// Sends a test message at once, and says what came of it. Also to a paused channel, whatever its filter.
#[utoipa::path(post, path = "/channels/{name}/test", tag = "notifications", params(("name" = String, Path, description = "Its name")), responses(
    (status = 200, description = "What came of it", body = ChannelTest),
    (status = 404, description = "There is no such channel", body = Problem, content_type = "application/problem+json"),
))]
async fn try_out(Admin(caller): Admin, State(app): State<App>, Path(name): Path<String>) -> Result<Json<ChannelTest>, ApiError> {
    let channel: Channel = known(&app, &name).await?.decode()?;
    let now = app.wall.now();
    let mut notice = Notice::new(format!("test/{name}/{now}"), EventKind::Test, now, format!("test:{name}:{}", now.as_millisecond()));
    notice.by = Some(caller.name.clone());
    let id = squall_notify::delivery_id(&name, &notice);
    let clock = app.notifications.clock();
    let began = clock.now();
    let sent = app.notifications.transport().send(&channel, &Sending { id: &id, notice: &notice }).await;
    let took_ms = u64::try_from(clock.now().saturating_sub(began).as_millis()).unwrap_or(u64::MAX);
    let test = match sent {
        Ok(receipt) => ChannelTest { delivered: true, status: receipt.status, detail: receipt.detail, again: false, took_ms },
        Err(error) => ChannelTest { delivered: false, status: error.status, detail: error.reason, again: error.again, took_ms },
    };
    let detail = json!({ "delivered": test.delivered, "status": test.status });
    let row = audit(&app, &caller, "channel.test", &format!("channel/{name}"), Outcome::Ok, detail);
    app.db.commit(Batch::new(vec![row])).await?;
    Ok(Json(test))
}

/// Which deliveries to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeliveryQuery {
    /// At most so many: 1 to 500, 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
    /// Only of this channel.
    channel: Option<String>,
    /// Only `pending`, `delivered` or `dead` ones.
    #[param(value_type = Option<String>)]
    state: Option<DeliveryState>,
}

/// List deliveries
///
/// The newest first. `state=dead` are the dead letters.
#[utoipa::path(get, path = "/deliveries", tag = "notifications", params(DeliveryQuery), responses(
    (status = 200, description = "Deliveries", body = Page<Delivery>),
))]
async fn deliveries(_: Viewer, State(app): State<App>, Query(query): Query<DeliveryQuery>) -> Result<Json<Page<Delivery>>, ApiError> {
    let limit = PageQuery { limit: query.limit, after: None }.items();
    let outbox = app.notifications.outbox();
    let page = outbox.list(query.channel.as_deref(), query.state, after(query.after.as_deref())?, limit).await.map_err(failed)?;
    Ok(Json(Page { items: page.items, next: page.next }))
}

/// See a delivery
#[utoipa::path(get, path = "/deliveries/{id}", tag = "notifications", params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The delivery, with its tries", body = Delivery),
    (status = 404, description = "There is no such delivery", body = Problem, content_type = "application/problem+json"),
))]
async fn delivery(_: Viewer, State(app): State<App>, Path(id): Path<String>) -> Result<Json<Delivery>, ApiError> {
    let known = app.notifications.outbox().get(key("delivery", &id)?).await.map_err(failed)?;
    Ok(Json(known.ok_or_else(|| Problem::not_found("delivery", &id))?.value))
}

/// Deliver again
///
/// At once, and as often as a new one. Its id stays, so that a receiver that has it can tell.
#[utoipa::path(post, path = "/deliveries/{id}/redeliver", tag = "notifications", params(("id" = String, Path, description = "Its id")), responses(
    (status = 202, description = "It will be tried", body = Delivery),
    (status = 404, description = "There is no such delivery", body = Problem, content_type = "application/problem+json"),
))]
async fn redeliver(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Delivery>), ApiError> {
    let delivery = app.notifications.outbox().redeliver(key("delivery", &id)?, app.wall.now()).await.map_err(failed)?;
    let detail = json!({ "channel": delivery.channel });
    let row = audit(&app, &caller, "delivery.redeliver", &format!("delivery/{id}"), Outcome::Ok, detail);
    app.db.commit(Batch::new(vec![row])).await?;
    Ok((StatusCode::ACCEPTED, Json(delivery)))
}

/// Discard a delivery
#[utoipa::path(delete, path = "/deliveries/{id}", tag = "notifications", params(("id" = String, Path, description = "Its id")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such delivery", body = Problem, content_type = "application/problem+json"),
))]
async fn discard(Operator(caller): Operator, State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    app.notifications.outbox().discard(key("delivery", &id)?).await.map_err(failed)?;
    let row = audit(&app, &caller, "delivery.discard", &format!("delivery/{id}"), Outcome::Ok, serde_json::Value::Null);
    app.db.commit(Batch::new(vec![row])).await?;
    Ok(StatusCode::NO_CONTENT)
}
