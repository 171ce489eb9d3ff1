//! What a game day comes to.

use askama::Template;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::{Time, Verdict};
use utoipa::ToSchema;

use crate::{ActionItem, DayState, Entry, GameDay, Mark, Participant, ScenarioState};

/// What a game day comes to, for programs. The pages are made from the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GameDayReport)]
pub struct DayReport {
    /// What it was called.
    pub title: String,
    /// What it was for.
    pub description: Option<String>,
    /// How far it is.
    pub state: DayState,
    /// Why it was cancelled.
    pub cancelled: Option<String>,
    /// When it began.
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// Who took part.
    pub participants: Vec<Participant>,
    /// How each scenario went.
    pub scenarios: Vec<ScenarioReport>,
    /// Objectives with a time that were met, of those that could be.
    pub objectives_met: usize,
    /// Objectives with a time, of scenarios that were run.
    pub objectives: usize,
    /// What happened, in order.
    pub timeline: Vec<Entry>,
    /// What was learned.
    pub lessons: Vec<String>,
    /// What is to be done.
    pub actions: Vec<ActionItem>,
}

/// How a scenario went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioReport {
    /// What it was called.
    pub title: String,
    /// What was run.
    pub experiment: String,
    /// How far it is.
    pub state: ScenarioState,
    /// Its run.
    pub run: Option<String>,
    /// How its run ended.
    #[schema(value_type = Option<String>)]
    pub verdict: Option<Verdict>,
    /// Why, or why it was left out.
    pub reason: Option<String>,
    /// What was to be reached, in words.
    pub objective: Option<String>,
    /// When the fault was in force; where that is not known, when the scenario was started.
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<Timestamp>,
    /// From then until somebody noticed.
    pub time_to_detect: Measured,
    /// From then until the service was well again.
    pub time_to_resolve: Measured,
    /// What people and systems should have done.
    pub expected: Option<String>,
    /// What they did.
    pub actual: Option<String>,
    /// Where it says what to do.
    pub runbook: Option<String>,
    /// The service that it is about.
    pub service: Option<String>,
}

/// A time against its objective.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = MeasuredTime)]
pub struct Measured {
    /// In seconds. Absent where nobody marked it.
    pub seconds: Option<f64>,
    /// Who marked it.
    pub by: Option<String>,
    /// The objective, in seconds.
    pub objective_seconds: Option<f64>,
    /// Whether it was met. Absent without an objective, and while it may still be.
    pub met: Option<bool>,
}

/// A report could not be written. Always a mistake in Squall itself.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be written: {0}")]
pub struct RenderError(String);

impl DayReport {
    /// From a game day and its timeline, as of now.
    pub fn new(day: &GameDay, timeline: Vec<Entry>, now: Timestamp) -> Self {
        let over = day.ended.is_some();
        let scenarios: Vec<ScenarioReport> = day
            .both()
            .map(|(plan, scenario)| {
                let started = scenario.started.as_ref().map(|mark| mark.at);
                let from = scenario.fault_at.or(started);
                let until = day.ended.unwrap_or(now);
                let measured = |mark: Option<&Mark>, objective| Measured::new(from, mark, objective, until, over);
                ScenarioReport {
                    title: plan.title.clone(),
                    experiment: plan.experiment.name().to_owned(),
                    state: scenario.state,
                    run: scenario.run.clone(),
                    verdict: scenario.verdict,
                    reason: scenario.reason.clone(),
                    objective: plan.objective.statement.clone(),
                    from,
                    time_to_detect: measured(scenario.detected.as_ref(), plan.objective.detect_within),
                    time_to_resolve: measured(scenario.resolved.as_ref(), plan.objective.resolve_within),
                    expected: plan.expected.clone(),
                    actual: scenario.actual.clone(),
                    runbook: plan.runbook.clone(),
                    service: plan.service.clone(),
                }
            })
            .collect();
        let judged = scenarios.iter().flat_map(|scenario| [&scenario.time_to_detect, &scenario.time_to_resolve]);
        let judged: Vec<bool> = judged.filter_map(|measured| measured.met).collect();
        Self {
            title: day.plan.title.clone(),
            description: day.plan.description.clone(),
            state: day.state,
            cancelled: day.cancelled.clone(),
            started: day.started,
            ended: day.ended,
            seconds: day.started.map(|started| seconds(started, day.ended.unwrap_or(now))),
            participants: day.plan.participants.clone(),
            objectives_met: judged.iter().filter(|met| **met).count(),
            objectives: judged.len(),
            scenarios,
            timeline,
            lessons: day.lessons.clone(),
            actions: day.actions.clone(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Result<String, RenderError> {
        serde_json::to_string_pretty(self).map_err(|error| RenderError(error.to_string()))
    }

    /// `CommonMark` with tables.
    pub fn markdown(&self) -> Result<String, RenderError> {
        let text = MarkdownPage { report: self }.render().map_err(|error| RenderError(error.to_string()))?;
        Ok(tidy(&text))
    }

    /// One file that needs nothing else.
    pub fn html(&self) -> Result<String, RenderError> {
        HtmlPage { report: self }.render().map_err(|error| RenderError(error.to_string()))
    }
}

impl Measured {
    fn new(from: Option<Timestamp>, mark: Option<&Mark>, objective: Option<Time>, until: Timestamp, over: bool) -> Self {
        let taken = from.zip(mark).map(|(from, mark)| seconds(from, mark.at));
        let objective = objective.map(Time::seconds);
        let met = objective.zip(from).and_then(|(objective, from)| match taken {
            Some(taken) => Some(taken <= objective),
            // Not marked: it is missed when its time is over, and open until then.
            None => (over || seconds(from, until) > objective).then_some(false),
        });
        Self { seconds: taken, by: mark.map(|mark| mark.by.clone()), objective_seconds: objective, met }
    }

    /// For people: `4m12s of 5m, met`.
    pub fn words(&self) -> String {
        let taken = self.seconds.map_or("not marked".to_owned(), span);
        let objective = self.objective_seconds.map(|objective| format!(" (objective {})", span(objective))).unwrap_or_default();
        let met = match self.met {
            Some(true) => ", met",
            Some(false) => ", missed",
            None => "",
        };
        format!("{taken}{objective}{met}")
    }
}

/// Never below zero: a mark may be set before the journal says that the fault is in force.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// `12s`, `4m12s`, `2h05m`.
fn span(seconds: f64) -> String {
    let whole = std::time::Duration::from_secs_f64(seconds.clamp(0.0, 1e9).round()).as_secs();
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
    }
}

#[derive(Template)]
#[template(path = "day.md", escape = "none")]
struct MarkdownPage<'a> {
    report: &'a DayReport,
}

#[derive(Template)]
#[template(path = "day.html")]
struct HtmlPage<'a> {
    report: &'a DayReport,
}

/// Text that means nothing to Markdown but itself, on one line.
fn md(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        if c.is_control() {
            out.push(' ');
        } else {
            if "\\`*_[]<>#|~&$".contains(c) {
                out.push('\\');
            }
            out.push(c);
        }
    }
    out
}

/// At most one empty line in a row, and none within a list: what the template's branches leave behind.
fn tidy(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.dedup_by(|line, before| line.is_empty() && before.is_empty());
    let item = |index: Option<usize>| index.and_then(|index| lines.get(index)).is_some_and(|line| line.starts_with("- "));
    let kept = (0..lines.len()).filter(|index| !(lines[*index].is_empty() && item(index.checked_sub(1)) && item(Some(index + 1))));
    let kept: Vec<&str> = kept.map(|index| lines[index]).collect();
    kept.join("\n").trim().to_owned() + "\n"
}

fn time(at: &Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

impl DayReport {
    fn when(&self) -> String {
        match (&self.started, &self.ended) {
            (Some(started), Some(ended)) => format!("{} to {}", time(started), time(ended)),
            (Some(started), None) => format!("since {}", time(started)),
            (None, _) => "not started".into(),
        }
    }

    fn scenario_title(&self, index: usize) -> String {
        self.scenarios.get(index).map_or_else(|| format!("scenario {index}"), |scenario| scenario.title.clone())
    }

    /// An entry of the timeline in words.
    fn line(&self, entry: &Entry) -> String {
        entry.what.words(|index| self.scenario_title(index))
    }
}
