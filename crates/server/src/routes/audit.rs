//! The audit trail.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use squall_api::audit::{AuditQuery, AuditRow, AuditVerdict, KeptHead};
use squall_api::{Page, PageQuery, Problem};
use squall_store::{AuditError, AuditFilter, AuditHead, Batch, StoreError};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Admin, Outcome, audit as row};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(verify)).routes(routes!(export))
}

fn filter(query: &AuditQuery) -> AuditFilter {
    AuditFilter {
        actor: query.actor.clone(),
        action: query.action.clone(),
        subject: query.subject.clone(),
        outcome: query.outcome.clone(),
        from: query.from,
        until: query.until,
        descending: query.newest,
    }
}

fn after(query: &AuditQuery) -> Result<Option<u64>, ApiError> {
    let bad = || Problem::bad_request("`after` is not from the page before").hint("give `next` of the page before, as it is");
    query
        .after
        .as_deref()
        .map(|text| text.parse().ok().filter(|seq: &u64| i64::try_from(*seq).is_ok()).ok_or_else(bad))
        .transpose()
        .map_err(Into::into)
}

/// Texts that no database can look for are in no row.
fn check(query: &AuditQuery) -> Result<(), ApiError> {
    let texts = [&query.actor, &query.action, &query.subject, &query.outcome];
    if texts.into_iter().flatten().any(|text| text.contains('\0') || text.len() > 512) {
        return Err(Problem::bad_request("a filter is longer than 512 bytes or contains a NUL").into());
    }
    Ok(())
}

fn shown(row: squall_store::AuditRow) -> AuditRow {
    let squall_store::AuditRow { seq, hash, entry } = row;
    AuditRow {
        seq,
        hash,
        at: entry.at,
        actor: entry.actor,
        action: entry.action,
        subject: entry.subject,
        outcome: entry.outcome,
        detail: entry.detail,
    }
}

/// Rows of the audit trail
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditQuery), responses(
    (status = 200, description = "Rows, by number", body = Page<AuditRow>),
))]
async fn list(State(app): State<App>, Admin(_): Admin, Query(query): Query<AuditQuery>) -> Result<Json<Page<AuditRow>>, ApiError> {
    check(&query)?;
    let limit = PageQuery { limit: query.limit, after: None }.items();
    let mut rows = app.db.audit(after(&query)?, limit + 1, &filter(&query)).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| row.seq.to_string());
    Ok(Json(Page { items: rows.into_iter().map(shown).collect(), next }))
}

/// Compute the chain anew
///
/// Every row is read and hashed. With `seq` and `hash` of an earlier answer, that row must still be what it was: only so can it
/// be found that the trail was cut off, or written anew as a whole.
#[utoipa::path(get, path = "/audit/verify", tag = "audit", params(KeptHead), responses(
    (status = 200, description = "Whether the trail is as it was written", body = AuditVerdict),
))]
async fn verify(State(app): State<App>, Admin(_): Admin, Query(kept): Query<KeptHead>) -> Result<Json<AuditVerdict>, ApiError> {
    let kept = match (kept.seq, kept.hash) {
        (Some(seq), Some(hash)) => Some(AuditHead { seq, hash }),
        (None, None) => None,
        _ => return Err(Problem::bad_request("`seq` and `hash` belong together").into()),
    };
    let verdict = match app.db.audit_verify(kept.as_ref()).await {
        Ok(head) => AuditVerdict { intact: true, seq: head.seq, hash: Some(head.hash), why: None },
        Err(AuditError::Broken { seq, why }) => {
            tracing::error!(seq, why, "the audit trail is broken");
            AuditVerdict { intact: false, seq, hash: None, why: Some(why) }
        }
        Err(AuditError::Store(error)) => return Err(error.into()),
    };
    Ok(Json(verdict))
}

/// The trail as a file
///
/// One JSON document a line, each a row. `limit` does not count.
#[utoipa::path(get, path = "/audit/export", tag = "audit", params(AuditQuery), responses(
    (status = 200, description = "Rows, one a line", body = String, content_type = "application/x-ndjson"),
))]
async fn export(State(app): State<App>, Admin(caller): Admin, Query(query): Query<AuditQuery>) -> Result<Response, ApiError> {
    check(&query)?;
    let (after, filter) = (after(&query)?, filter(&query));
    app.db.commit(Batch::new([row(&app, &caller, "audit.export", "audit", Outcome::Ok, json!({}))])).await?;
    let lines = futures_util::stream::try_unfold((app, Some(after)), move |(app, after)| {
        let filter = filter.clone();
        async move {
            let Some(after) = after else { return Ok::<_, StoreError>(None) };
            let rows = app.db.audit(after, 500, &filter).await?;
            let next = rows.last().filter(|_| rows.len() == 500).map(|row| Some(row.seq));
            let lines: String =
                rows.into_iter().filter_map(|row| serde_json::to_string(&shown(row)).ok()).map(|line| line + "\n").collect();
            Ok(Some((Bytes::from(lines), (app, next))))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"squall-audit.ndjson\"")),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}
