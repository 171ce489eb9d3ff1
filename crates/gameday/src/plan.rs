//! The plan of a game day, as people write it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Time;
use utoipa::ToSchema;

use crate::Mistake;
use crate::mistake::{link, text};

/// A plan as a file: `squall gameday plan FILE`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanDocument {
    /// Always `squall.dev/v1`.
    #[schemars(extend("const" = "squall.dev/v1"))]
    pub api_version: String,
    /// Always `GameDay`.
    #[schemars(extend("const" = "GameDay"))]
    pub kind: String,
    /// The plan.
    pub spec: Plan,
}

/// What is meant to happen on a game day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GameDayPlan)]
pub struct Plan {
    /// What it is called.
    pub title: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it is meant to start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub starts: Option<Timestamp>,
    /// Who takes part, and as what.
    pub participants: Vec<Participant>,
    /// What is done to the system, in order.
    pub scenarios: Vec<ScenarioPlan>,
    /// What happens around it, such as a briefing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agenda: Vec<AgendaItem>,
}

/// Somebody who takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Participant {
    /// Their user name.
    pub name: String,
    /// As what.
    pub role: Role,
}

/// As what somebody takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = GameDayRole)]
pub enum Role {
    /// Leads it: starts it and its scenarios, and ends it.
    Facilitator,
    /// Starts scenarios, and does what the runbooks say.
    Operator,
    /// Watches, marks and notes.
    Observer,
    /// Writes down what happens.
    Scribe,
}

impl Role {
    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Facilitator => "facilitator",
            Self::Operator => "operator",
            Self::Observer => "observer",
            Self::Scribe => "scribe",
        }
    }

    /// Whether it may start, end and cancel.
    pub const fn leads(self) -> bool {
        matches!(self, Self::Facilitator | Self::Operator)
    }
}

/// Something on the agenda.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgendaItem {
    /// How long after the start.
    #[schema(value_type = String, example = "30m")]
    pub after: Time,
    /// What.
    pub text: String,
}

/// Something that is done to the system, and what is expected of those who look after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioPlan {
    /// What it is called.
    pub title: String,
    /// What is run.
    pub experiment: Experiment,
    /// Parameters of the experiment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// The host that probes and traffic are asked from; by default the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What is to be reached.
    #[serde(default)]
    pub objective: Objective,
    /// What people and systems should do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Where it says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// The service that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// What a scenario runs: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ScenarioExperiment)]
pub enum Experiment {
    /// A saved experiment, by its name.
    Saved(String),
    /// An experiment of the library, by its name.
    Library(String),
}

impl Experiment {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Saved(name) | Self::Library(name) => name,
        }
    }
}

/// What a scenario is to reach.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Objective {
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Somebody notices within so long after the fault is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "5m")]
    pub detect_within: Option<Time>,
    /// The service is well again within so long after the fault is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "30m")]
    pub resolve_within: Option<Time>,
}

/// More than any game day has.
const MOST: usize = 100;

impl Plan {
    /// Everything that is wrong with it.
    pub fn check(&self) -> Vec<Mistake> {
        let mut mistakes: Vec<_> = text("title", &self.title, 200).into_iter().collect();
        mistakes.extend(self.description.as_deref().and_then(|description| text("description", description, 20_000)));
        self.people(&mut mistakes);
        if self.scenarios.is_empty() || self.scenarios.len() > MOST {
            let count = self.scenarios.len();
            mistakes.push(Mistake::new("scenarios", format!("{count} scenarios"), format!("a game day has 1 to {MOST}")));
        }
        for (index, scenario) in self.scenarios.iter().enumerate() {
            scenario.check(&format!("scenarios[{index}]"), &mut mistakes);
        }
        if self.agenda.len() > MOST {
            mistakes.push(Mistake::new("agenda", format!("{} items", self.agenda.len()), format!("{MOST} is the most")));
        }
        mistakes.extend(self.agenda.iter().enumerate().filter_map(|(index, item)| text(format!("agenda[{index}].text"), &item.text, 500)));
        mistakes
    }

    fn people(&self, mistakes: &mut Vec<Mistake>) {
        if !self.participants.iter().any(|participant| participant.role == Role::Facilitator) {
            let hint = "add `{ name: somebody, role: facilitator }`";
            mistakes.push(Mistake::new("participants", "nobody is the facilitator", hint));
        }
        if self.participants.len() > MOST {
            mistakes.push(Mistake::new("participants", format!("{} people", self.participants.len()), format!("{MOST} is the most")));
        }
        for (index, participant) in self.participants.iter().enumerate() {
            mistakes.extend(text(format!("participants[{index}].name"), &participant.name, 100));
            if self.participants[..index].iter().any(|other| other.name == participant.name) {
                let message = format!("`{}` is there twice", participant.name);
                mistakes.push(Mistake::new(format!("participants[{index}].name"), message, "give everybody one role"));
            }
        }
    }
}

impl ScenarioPlan {
    fn check(&self, path: &str, mistakes: &mut Vec<Mistake>) {
        mistakes.extend(text(format!("{path}.title"), &self.title, 200));
        mistakes.extend(text(format!("{path}.experiment"), self.experiment.name(), 200));
        mistakes.extend(self.expected.as_deref().and_then(|expected| text(format!("{path}.expected"), expected, 5_000)));
        mistakes.extend(self.objective.statement.as_deref().and_then(|words| text(format!("{path}.objective.statement"), words, 1_000)));
        mistakes.extend(self.runbook.as_deref().and_then(|url| link(format!("{path}.runbook"), url)));
        mistakes.extend(self.service.as_deref().and_then(|service| text(format!("{path}.service"), service, 100)));
        if let (Some(detect), Some(resolve)) = (self.objective.detect_within, self.objective.resolve_within)
            && resolve < detect
        {
            let message = format!("{resolve} is shorter than `detectWithin: {detect}`");
            let hint = "both count from when the fault is in force";
            mistakes.push(Mistake::new(format!("{path}.objective.resolveWithin"), message, hint));
        }
    }
}
