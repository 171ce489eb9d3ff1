//! What people are told about.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_model::Verdict;
use utoipa::ToSchema;

/// What happened. The names are those of the events on the wire (`type` of the Standard Webhooks payload).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
pub enum EventKind {
    /// A run is about to start: its time has come, or will within the lead time of its schedule.
    #[serde(rename = "run.starting")]
    RunStarting,
    /// A run has started.
    #[serde(rename = "run.started")]
    RunStarted,
    /// A guard, a lost promise or the end of its time stopped a run; it is being reverted.
    #[serde(rename = "run.aborted")]
    RunAborted,
    /// A person or the red button stopped a run; it is being reverted.
    #[serde(rename = "run.stopped")]
    RunStopped,
    /// A run is over, and everything that could be reverted is. `verdict` says how it went.
    #[serde(rename = "run.ended")]
    RunEnded,
    /// Somebody's approval is wanted before something may run.
    #[serde(rename = "approval.wanted")]
    ApprovalWanted,
    /// A schedule could not start a run when it should have.
    #[serde(rename = "schedule.missed")]
    ScheduleMissed,
    /// A host was not heard of for longer than its lease.
    #[serde(rename = "host.lost")]
    HostLost,
    /// A lost host is back.
    #[serde(rename = "host.back")]
    HostBack,
    /// A finding was opened, or opened again.
    #[serde(rename = "finding.opened")]
    FindingOpened,
    /// Somebody has taken a finding on.
    #[serde(rename = "finding.acknowledged")]
    FindingAcknowledged,
    /// A finding is verified fixed, or will not be fixed.
    #[serde(rename = "finding.closed")]
    FindingClosed,
    /// A game day has started.
    #[serde(rename = "gameday.started")]
    GameDayStarted,
    /// A game day is over; its report is there.
    #[serde(rename = "gameday.ended")]
    GameDayEnded,
    /// Somebody tries a channel out. Every channel takes it.
    #[serde(rename = "test")]
    Test,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::RunStarting,
        Self::RunStarted,
        Self::RunAborted,
        Self::RunStopped,
        Self::RunEnded,
        Self::ApprovalWanted,
        Self::ScheduleMissed,
        Self::HostLost,
        Self::HostBack,
        Self::FindingOpened,
        Self::FindingAcknowledged,
        Self::FindingClosed,
        Self::GameDayStarted,
        Self::GameDayEnded,
        Self::Test,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunStarting => "run.starting",
            Self::RunStarted => "run.started",
            Self::RunAborted => "run.aborted",
            Self::RunStopped => "run.stopped",
            Self::RunEnded => "run.ended",
            Self::ApprovalWanted => "approval.wanted",
            Self::ScheduleMissed => "schedule.missed",
            Self::HostLost => "host.lost",
            Self::HostBack => "host.back",
            Self::FindingOpened => "finding.opened",
            Self::FindingAcknowledged => "finding.acknowledged",
            Self::FindingClosed => "finding.closed",
            Self::GameDayStarted => "gameday.started",
            Self::GameDayEnded => "gameday.ended",
            Self::Test => "test",
        }
    }
}

/// How much it matters. The words are `PagerDuty`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look when there is time.
    Warning,
    /// Something is wrong.
    Error,
    /// Squall could not put something back, or does not know.
    Critical,
}

impl Severity {
    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// Something that happened, with what is known of it. It is `data` of a generic webhook's payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notice {
    /// Unique and the same however often the same thing is told: the run and the number of its journal's record, for example.
    pub id: String,
    /// What happened.
    pub event: EventKind,
    /// When.
    #[schemars(with = "String")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What it is about: a run's id, `host:` and a name, `schedule:` and a name, `gameday:` and an id. Notices about the same reach a
    /// channel in order; for `PagerDuty` it is the deduplication key.
    pub subject: String,
    /// Its place among the notices about the same subject.
    #[serde(default)]
    pub sequence: u64,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Name of the experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// Labels of the experiment; for events of hosts, of the host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub verdict: Option<Verdict>,
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who started, stopped, asked or decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The hosts it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Name of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// When a run will start, or should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub due: Option<Timestamp>,
    /// Title of the finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    /// Title of the game day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub game_day: Option<String>,
    /// Where to read more: a page of the console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Notice {
    /// A notice of which nothing else is known yet.
    pub fn new(id: impl Into<String>, event: EventKind, at: Timestamp, subject: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            event,
            at,
            subject: subject.into(),
            sequence: 0,
            run: None,
            experiment: None,
            labels: BTreeMap::new(),
            verdict: None,
            reason: None,
            by: None,
            hosts: Vec::new(),
            schedule: None,
            due: None,
            finding: None,
            game_day: None,
            url: None,
        }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match (self.event, self.verdict) {
            (EventKind::RunEnded, Some(Verdict::Failed)) => Severity::Critical,
            (EventKind::RunEnded, Some(Verdict::Deviated)) | (EventKind::FindingOpened | EventKind::HostLost, _) => Severity::Error,
            (EventKind::RunEnded, Some(Verdict::Aborted | Verdict::Unsteady | Verdict::Inconclusive))
            | (EventKind::RunAborted | EventKind::ScheduleMissed, _) => Severity::Warning,
            _ => Severity::Info,
        }
    }

    /// One notice of each kind with every field set, to try templates with.
    pub fn samples() -> Vec<Self> {
        let at = Timestamp::UNIX_EPOCH;
        let all = EventKind::ALL.into_iter().flat_map(|event| {
            let verdicts: &[Option<Verdict>] = if event == EventKind::RunEnded { &Verdict::ALL.map(Some) } else { &[None] };
            verdicts.iter().map(move |verdict| (event, *verdict)).collect::<Vec<_>>()
        });
        all.map(|(event, verdict)| Self {
            run: Some("r000000000000".into()),
            experiment: Some("checkout-survives-slow-payments".into()),
            labels: BTreeMap::from([("team".into(), "payments".into())]),
            verdict,
            reason: Some("the error rate stayed below 1%".into()),
            by: Some("somebody".into()),
            hosts: vec!["host-a".into(), "host-b".into()],
            schedule: Some("every-morning".into()),
            due: Some(at),
            finding: Some("checkout fails when payments is slow".into()),
            game_day: Some("black friday rehearsal".into()),
            url: Some("https://squall.example/runs/r000000000000".into()),
            ..Self::new("sample", event, at, "r000000000000")
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_on_the_wire() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.name());
        }
    }

    #[test]
    fn what_could_not_be_put_back_matters_most() {
        let mut notice = Notice::new("x", EventKind::RunEnded, Timestamp::UNIX_EPOCH, "r");
        let of = |notice: &mut Notice, verdict| {
            notice.verdict = Some(verdict);
            notice.severity()
        };
        assert_eq!(of(&mut notice, Verdict::Failed), Severity::Critical);
        assert_eq!(of(&mut notice, Verdict::Deviated), Severity::Error);
        assert_eq!(of(&mut notice, Verdict::Aborted), Severity::Warning);
        assert_eq!(of(&mut notice, Verdict::Held), Severity::Info);
    }
}
