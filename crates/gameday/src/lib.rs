//! Game days and findings, without the server around them: documents, what may happen to them, reports, and search.
//!
//! - [`GameDay`]: a plan (participants, scenarios, objectives, runbooks) and how it went. [`GameDay::apply`] is the only way it
//!   changes while it runs; what it gives back goes into the timeline, one [`Entry`] after another.
//! - [`DayReport`]: time to detect and to resolve against the objectives, expected against actual response, lessons; as JSON,
//!   Markdown and HTML.
//! - [`Finding`]: a weakness that a run found. [`Finding::observe`] opens it, opens it again and verifies that it is fixed, by
//!   runs alone; [`Finding::apply`] is what people do with it.
//! - [`search()`]: findings by words, the best first.
//!
//! Nothing here reads a clock or a database: times and who did it are given, so that whoever stores a document decides what
//! was first.
#![forbid(unsafe_code)]

mod action;
mod day;
mod finding;
mod mistake;
mod observe;
mod plan;
mod report;
mod search;
mod step;
mod timeline;

pub use action::{ActionItem, ActionState, NewActionItem, Priority};
pub use day::{DayState, GameDay, Mark, Marked, Scenario, ScenarioState};
pub use finding::{Analysis, Finding, FindingChange, FindingError, FindingState, FindingStep, RunRef};
pub use mistake::Mistake;
pub use observe::{Deviation, Observation, Observed, fingerprint};
pub use plan::{AgendaItem, Experiment, Objective, Participant, Plan, PlanDocument, Role, ScenarioPlan};
pub use report::{DayReport, Measured, RenderError, ScenarioReport};
pub use search::{Query, search};
pub use step::{DayError, DayStep};
pub use timeline::{Entry, Happened};
