//! Monkeys: now and then something is done to one host of each group.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use squall_api::schedules::{Firing, ImportWarning, ImportedMonkey, MonkeyDay, MonkeyGroup, MonkeyImport, NewMonkey, SavedMonkey};
use squall_api::{Page, PageQuery, Problem};
use squall_schedule::import::Import;
use squall_schedule::{Candidate, Planner};
use squall_store::{Batch, Document, Write};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::paging;
use crate::auth::{Operator, Outcome, Viewer, audit};
use crate::error::json_of;
use crate::scheduler::{MONKEY, MONKEY_STATE, MonkeyDocument};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one, save, remove))
        .routes(routes!(history))
        .routes(routes!(today))
        .routes(routes!(import))
}

/// Reads a monkey.
pub(super) fn planner(document: &MonkeyDocument) -> Result<Planner, ApiError> {
    Ok(Planner::new(&document.read()?).map_err(|e| Problem::invalid(format!("{}: {}", e.path, e.message)))?)
}

fn seen(document: &Document) -> Result<SavedMonkey, ApiError> {
    let kept: MonkeyDocument = document.decode()?;
    let spec = kept.read()?.spec;
    Ok(SavedMonkey {
        name: document.id.clone(),
        monkey: kept.monkey,
        enabled: spec.enabled,
        leashed: spec.leashed,
        version: document.version,
        by: kept.by,
        updated: document.updated,
    })
}

async fn known(app: &App, name: &str) -> Result<Document, ApiError> {
    Ok(app.db.get(MONKEY, name).await?.ok_or_else(|| Problem::not_found("monkey", name))?)
}

/// List monkeys
#[utoipa::path(get, path = "/monkeys", tag = "monkeys", params(PageQuery), responses(
    (status = 200, description = "Monkeys, by name", body = Page<SavedMonkey>),
    (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
))]
async fn list(_: Viewer, State(app): State<App>, Query(page): Query<PageQuery>) -> Result<Json<Page<SavedMonkey>>, ApiError> {
    Ok(Json(paging::documents(&app, MONKEY, &page, seen).await?))
}

/// See a monkey
#[utoipa::path(get, path = "/monkeys/{name}", tag = "monkeys", params(("name" = String, Path, description = "Its name")), responses(
    (status = 200, description = "The monkey", body = SavedMonkey),
    (status = 404, description = "There is no such monkey", body = Problem, content_type = "application/problem+json"),
))]
async fn one(_: Viewer, State(app): State<App>, Path(name): Path<String>) -> Result<Json<SavedMonkey>, ApiError> {
    Ok(Json(seen(&known(&app, &name).await?)?))
}

/// Save a monkey
///
/// It applies from now on.
#[utoipa::path(put, path = "/monkeys/{name}", tag = "monkeys", request_body = NewMonkey, params(
    ("name" = String, Path, description = "Its name, as in `metadata.name`"),
), responses(
    (status = 200, description = "It was changed", body = SavedMonkey),
    (status = 201, description = "It is new", body = SavedMonkey),
    (status = 400, description = "The request cannot be understood", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Somebody else has changed it just now", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The body is too long", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The monkey is wrong", body = Problem, content_type = "application/problem+json"),
))]
async fn save(
    Operator(caller): Operator,
    State(app): State<App>,
    Path(name): Path<String>,
    Json(new): Json<NewMonkey>,
) -> Result<Response, ApiError> {
    let kept = MonkeyDocument { monkey: new.monkey, by: caller.name.clone() };
    let monkey = kept.read()?;
    if monkey.metadata.name != name {
        return Err(Problem::invalid(format!("the monkey's `metadata.name` is `{}`, and not `{name}`", monkey.metadata.name)).into());
    }
    // What it will do is checked as the manifest that each kill becomes.
    if let Some(hypothesis) = &monkey.spec.hypothesis {
        for (rule, fault) in faults(&monkey) {
            let kill = squall_schedule::Kill {
                id: "check".into(),
                group: rule,
                date: jiff::civil::Date::ZERO,
                at: app.wall.now(),
                target: "host".into(),
                fault,
                leashed: true,
            };
            if let Some(experiment) = monkey.experiment(&kill) {
                let text = serde_json::to_string(&experiment).map_err(|e| Problem::internal(e.to_string()))?;
                let what = format!("the experiment that a kill becomes (`{}`)", hypothesis.statement);
                app.runs.check(&text).map_err(|e| Problem { detail: Some(format!("{what} is wrong")), ..*e.0 })?;
            }
        }
    }
    let was = app.db.get(MONKEY, &name).await?;
    let body = json_of(&kept)?;
    let (kind, id) = (MONKEY.to_owned(), name.clone());
    let write = match &was {
        Some(was) => Write::Replace { kind, id, version: was.version, body },
        None => Write::Create { kind, id, body },
    };
    let detail = json!({ "new": was.is_none(), "enabled": monkey.spec.enabled, "leashed": monkey.spec.leashed });
    let row = audit(&app, &caller, "monkey.save", &format!("monkey/{name}"), Outcome::Ok, detail);
    app.db.commit(Batch::new(vec![write, row])).await?;
    let status = if was.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(seen(&known(&app, &name).await?)?)).into_response())
}

/// Each fault that a monkey has: the name of its group's rule, and its index there.
fn faults(monkey: &squall_schedule::Monkey) -> Vec<(String, usize)> {
    let of = |rule: &squall_schedule::GroupRule| {
        let count = if rule.faults.is_empty() { monkey.spec.faults.len() } else { rule.faults.len() };
        let name = rule.name.clone();
        (0..count).map(move |fault| (name.clone(), fault)).collect::<Vec<_>>()
    };
    monkey.spec.groups.iter().flat_map(of).collect()
}

/// Remove a monkey
///
/// Its runs stay, and those under way go on. Its history goes with it.
#[utoipa::path(delete, path = "/monkeys/{name}", tag = "monkeys", params(("name" = String, Path, description = "Its name")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such monkey", body = Problem, content_type = "application/problem+json"),
))]
async fn remove(Operator(caller): Operator, State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    known(&app, &name).await?;
    let delete = |kind: &str| Write::Delete { kind: kind.into(), id: name.clone(), version: None };
    let mut writes = vec![delete(MONKEY)];
    if app.db.get(MONKEY_STATE, &name).await?.is_some() {
        writes.push(delete(MONKEY_STATE));
    }
    writes.push(audit(&app, &caller, "monkey.remove", &format!("monkey/{name}"), Outcome::Ok, json!({})));
    app.db.commit(Batch::new(writes)).await?;
    super::schedules::forget(&app, &format!("monkey/{name}/")).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a monkey did
///
/// The newest first. On the leash: what it would have done.
#[utoipa::path(get, path = "/monkeys/{name}/history", tag = "monkeys", params(("name" = String, Path, description = "Its name"), PageQuery), responses(
    (status = 200, description = "Kills", body = Page<Firing>),
    (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "There is no such monkey", body = Problem, content_type = "application/problem+json"),
))]
async fn history(
    _: Viewer,
    State(app): State<App>,
    Path(name): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Firing>>, ApiError> {
    known(&app, &name).await?;
    super::schedules::firings(&app, "monkey", &name, &page).await
}

/// A monkey's groups, and its day
///
/// Whether something is ahead today, not when and whom.
#[utoipa::path(get, path = "/monkeys/{name}/today", tag = "monkeys", params(("name" = String, Path, description = "Its name")), responses(
    (status = 200, description = "Its day", body = MonkeyDay),
    (status = 404, description = "There is no such monkey", body = Problem, content_type = "application/problem+json"),
))]
async fn today(_: Viewer, State(app): State<App>, Path(name): Path<String>) -> Result<Json<MonkeyDay>, ApiError> {
    let document: MonkeyDocument = known(&app, &name).await?.decode()?;
    let planner = planner(&document)?;
    let candidate = |host: std::sync::Arc<crate::fleet::LiveHost>| Candidate { id: host.name.clone(), labels: host.labels.clone() };
    let hosts: Vec<Candidate> = app.fleet.connected().into_iter().map(candidate).collect();
    let state = crate::scheduler::known(app.db.get(MONKEY_STATE, &name).await?.as_ref(), planner.leashed())?;
    let decided = planner.decide(app.wall.now(), &hosts, &state.groups);
    let passed: BTreeMap<String, String> = decided.passed.into_iter().map(|passed| (passed.group, passed.detail)).collect();
    let ahead = |group: &str| decided.ahead.iter().chain(&decided.kills).any(|kill| kill.group == group);
    let group = |group: squall_schedule::Group<'_>| MonkeyGroup {
        hosts: group.members.iter().map(|member| member.id.clone()).collect(),
        last_kill: state.groups.get(&group.key).and_then(|history| history.last_kill).map(|date| format!("{date}")),
        ahead: ahead(&group.key),
        passed: passed.get(&group.key).cloned(),
        group: group.key,
    };
    let groups = planner.groups(&hosts).into_iter().map(group).collect();
    Ok(Json(MonkeyDay { off: decided.off, groups }))
}

/// Import a configuration of Netflix's Chaos Monkey
///
/// Nothing is saved: look at the warnings, add a hypothesis, and save what came of it.
#[utoipa::path(post, path = "/monkeys/import", tag = "monkeys", request_body = MonkeyImport, responses(
    (status = 200, description = "What came of it", body = ImportedMonkey),
    (status = 400, description = "The request cannot be understood", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The body is too long", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "The body is not JSON", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The configuration cannot be used", body = Problem, content_type = "application/problem+json"),
))]
async fn import(_: Viewer, Json(request): Json<MonkeyImport>) -> Result<Json<ImportedMonkey>, ApiError> {
    let unusable = |found: squall_model::Diagnostics| crate::error::unusable("the configuration", &found);
    let mut import = Import::new(&request.name);
    for file in &request.files {
        import.read(file).map_err(unusable)?;
    }
    let imported = import.finish().map_err(unusable)?;
    let warning =
        |d: squall_model::Diagnostic| ImportWarning { line: d.line, column: d.column, path: d.path, message: d.message, hint: d.hint };
    Ok(Json(ImportedMonkey {
        monkey: serde_json::to_string_pretty(&imported.monkey).map_err(|e| Problem::internal(e.to_string()))?,
        warnings: imported.warnings.into_iter().map(warning).collect(),
    }))
}
