//! What is ahead, as a list and as a feed for calendar programs.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use squall_api::Problem;
use squall_api::gamedays::DaySummary;
use squall_gameday::DayState;
use squall_model::Freeze;
use squall_model::calendar::Calendar;
use squall_schedule::{Entry, EntryKind, Listing};
use squall_store::List;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Viewer;
use crate::scheduler::{MONKEY, MonkeyDocument, SCHEDULE, ScheduleDocument};
use crate::{ApiError, App, Json, Query};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(calendar)).routes(routes!(feed))
}

/// The longest span that is listed.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 366);
/// So many times of one schedule are listed.
const EACH: usize = 500;
/// So many game days are looked at, the newest first.
const GAME_DAYS: usize = 1000;

/// Which span.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Span {
    /// Start, RFC 3339; now by default.
    from: Option<String>,
    /// End, not included; 31 days after the start by default, and at most 366.
    to: Option<String>,
}

impl Span {
    fn read(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), ApiError> {
        let time = |name: &str, text: &Option<String>| {
            let read = |text: &String| text.parse::<Timestamp>().map_err(|e| Problem::bad_request(format!("`{name}={text}`: {e}")));
            text.as_ref().map(read).transpose()
        };
        let from = time("from", &self.from)?.unwrap_or(now);
        let usual = from.checked_add(SignedDuration::from_hours(24 * 31)).unwrap_or(Timestamp::MAX);
        let to = time("to", &self.to)?.unwrap_or(usual);
        if to <= from || to.duration_since(from) > LONGEST {
            return Err(Problem::bad_request("`to` has to be after `from`, by up to 366 days").into());
        }
        Ok((from, to))
    }
}

async fn listing(app: &App, span: (Timestamp, Timestamp)) -> Result<Listing, ApiError> {
    let all = List::default();
    let mut timetables = Vec::new();
    for document in app.db.list(SCHEDULE, &all).await? {
        timetables.push(super::schedules::timetable(&document.decode::<ScheduleDocument>()?)?);
    }
    let mut planners = Vec::new();
    for document in app.db.list(MONKEY, &all).await? {
        planners.push(super::monkeys::planner(&document.decode::<MonkeyDocument>()?)?);
    }
    let mut more = Vec::new();
    for document in app.db.list(crate::policy::KIND, &all).await? {
        let saved: crate::policy::Saved = document.decode()?;
        // One that cannot be read lets nothing run; that is told where something would.
        let Ok((policy, _)) = squall_model::parse_policy(&saved.policy) else { continue };
        more.extend(policy.spec.freezes.iter().enumerate().filter_map(|(i, freeze)| frozen(&document.id, i, freeze)));
    }
    more.extend(crate::gamedays::list(app, None, GAME_DAYS).await?.into_iter().filter_map(game_day));
    Ok(squall_schedule::calendar(&timetables, &planners, more, span, EACH))
}

/// A game day with a time. One that was called off does not take place.
fn game_day(day: DaySummary) -> Option<Entry> {
    let start = day.started.or(day.starts).filter(|_| day.state != DayState::Cancelled)?;
    Some(Entry {
        uid: day.id,
        kind: EntryKind::GameDay,
        start,
        end: day.ended.filter(|end| *end > start),
        title: format!("{} (game day)", day.title),
        detail: day.participants.join(", "),
        skipped: None,
    })
}

fn frozen(policy: &str, i: usize, freeze: &Freeze) -> Option<Entry> {
    let calendar = Calendar::new(&[], std::slice::from_ref(freeze)).ok()?;
    let (start, end) = calendar.freezes().next()?;
    Some(Entry {
        uid: format!("{policy}-freeze-{i}-{}", freeze.from),
        kind: EntryKind::Freeze,
        start,
        end: Some(end),
        title: format!("Frozen ({policy})"),
        detail: freeze.reason.clone(),
        skipped: None,
    })
}

/// What is ahead
///
/// Times of schedules, hours of monkeys, game days, and freezes of policies.
#[utoipa::path(get, path = "/calendar", tag = "calendar", params(Span), responses(
    (status = 200, description = "Entries in order of their start, and the schedules of which not all are listed", body = Object),
    (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
))]
async fn calendar(_: Viewer, State(app): State<App>, Query(span): Query<Span>) -> Result<Json<Listing>, ApiError> {
    let span = span.read(app.wall.now())?;
    Ok(Json(listing(&app, span).await?))
}

/// What is ahead, as iCalendar
///
/// For calendar programs that send a bearer token: RFC 5545.
#[utoipa::path(get, path = "/calendar.ics", tag = "calendar", params(Span), responses(
    (status = 200, description = "The feed", body = String, content_type = "text/calendar"),
    (status = 400, description = "The query cannot be understood", body = Problem, content_type = "application/problem+json"),
))]
async fn feed(_: Viewer, State(app): State<App>, Query(span): Query<Span>) -> Result<Response, ApiError> {
    let now = app.wall.now();
    let listing = listing(&app, span.read(now)?).await?;
    let text = squall_schedule::feed("Squall", &listing.entries, now);
    Ok(([(header::CONTENT_TYPE, "text/calendar; charset=utf-8")], text).into_response())
}
