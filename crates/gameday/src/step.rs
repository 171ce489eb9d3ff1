//! What may happen to a game day, and when.

use jiff::Timestamp;
use squall_model::Verdict;

use crate::mistake::text;
use crate::{DayState, GameDay, Happened, Mark, Marked, NewActionItem, Plan, Scenario, ScenarioState, action};

/// Something that happens to a game day.
#[derive(Debug, Clone, PartialEq)]
pub enum DayStep {
    /// The plan is changed.
    Replan(Box<Plan>),
    /// It begins.
    Start,
    /// A scenario's run has been started.
    StartScenario {
        /// Which scenario, from 0.
        scenario: usize,
        /// Its run.
        run: String,
    },
    /// The first fault of a run is in force.
    FaultInForce {
        /// Which scenario.
        scenario: usize,
        /// Since when.
        since: Timestamp,
    },
    /// A scenario's run is over.
    RunEnded {
        /// Which scenario.
        scenario: usize,
        /// How.
        verdict: Verdict,
        /// Why.
        reason: String,
    },
    /// A scenario is left out.
    Skip {
        /// Which scenario.
        scenario: usize,
        /// Why.
        reason: String,
    },
    /// Somebody noticed, or the service is well again. The first to say so counts.
    Mark {
        /// Which scenario.
        scenario: usize,
        /// Which of the two.
        mark: Marked,
    },
    /// A mark was a mistake.
    Unmark {
        /// Which scenario.
        scenario: usize,
        /// Which of the two.
        mark: Marked,
    },
    /// What people and systems did.
    Actual {
        /// Which scenario.
        scenario: usize,
        /// In words.
        text: String,
    },
    /// Somebody notes something.
    Note {
        /// The scenario that it is about.
        scenario: Option<usize>,
        /// In words.
        text: String,
    },
    /// Something was learned.
    Lesson {
        /// In words.
        text: String,
    },
    /// Something is to be done.
    AddAction(Box<NewActionItem>),
    /// What is to be done has changed.
    ChangeAction {
        /// Its number.
        id: u32,
        /// What it is now.
        what: Box<NewActionItem>,
    },
    /// It is over.
    Finish,
    /// It is called off.
    Cancel {
        /// Why.
        reason: String,
    },
}

/// Why something cannot happen to a game day now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DayError {
    /// It is in another state.
    #[error("the game day is {}; {hint}", .state.name())]
    Day {
        /// Where it stands.
        state: DayState,
        /// What to do.
        hint: &'static str,
    },
    /// The scenario is in another state.
    #[error("scenario {scenario} is {}; {hint}", .state.name())]
    Scenario {
        /// Which.
        scenario: usize,
        /// Where it stands.
        state: ScenarioState,
        /// What to do.
        hint: &'static str,
    },
    /// Another scenario is under way.
    #[error("scenario {0} is still running; times of two at once would mean nothing")]
    Busy(usize),
    /// There is no such scenario.
    #[error("there is no scenario {0}; they count from 0")]
    NoScenario(usize),
    /// There is no such action item.
    #[error("there is no action item {0}")]
    NoAction(u32),
    /// What was said says nothing, or too much.
    #[error("{0}")]
    Words(String),
}

impl GameDay {
    /// Does it, if it may happen now, and says what goes into the timeline: nothing, if nothing has changed (somebody else was
    /// first with a mark, or it is told twice that a run is over). `entries` counts it already.
    pub fn apply(&mut self, step: DayStep, by: &str, at: Timestamp) -> Result<Option<Happened>, DayError> {
        let happened = match step {
            DayStep::Replan(plan) => {
                self.in_state(DayState::Planned, "a plan can be changed until it starts")?;
                *self = Self { entries: self.entries, ..Self::new(*plan, &self.by) };
                None
            }
            DayStep::Start => {
                self.in_state(DayState::Planned, "it can start once")?;
                (self.state, self.started) = (DayState::Running, Some(at));
                Some(Happened::Started {})
            }
            DayStep::StartScenario { scenario, run } => self.start_scenario(scenario, run, by, at)?,
            DayStep::FaultInForce { scenario, since } => {
                let known = self.scenario(scenario)?;
                if known.fault_at.is_some() || known.started.is_none() {
                    None
                } else {
                    known.fault_at = Some(since);
                    Some(Happened::FaultInForce { scenario })
                }
            }
            DayStep::RunEnded { scenario, verdict, reason } => self.run_ended(scenario, verdict, reason, at)?,
            DayStep::Skip { scenario, reason } => {
                self.in_state(DayState::Running, "start it first")?;
                words(&reason)?;
                let known = self.scenario(scenario)?;
                in_scenario(scenario, known, ScenarioState::Waiting, "only one that waits can be left out")?;
                (known.state, known.reason) = (ScenarioState::Skipped, Some(reason.clone()));
                Some(Happened::Skipped { scenario, reason })
            }
            DayStep::Mark { scenario, mark } => self.mark(scenario, mark, by, at)?,
            DayStep::Unmark { scenario, mark } => {
                self.in_state(DayState::Running, "marks can be taken back while it runs")?;
                let known = self.scenario(scenario)?;
                slot(known, mark).take().map(|_| Happened::Unmarked { scenario, mark })
            }
            DayStep::Actual { scenario, text } => {
                self.begun()?;
                words(&text)?;
                self.scenario(scenario)?.actual = Some(text.clone());
                Some(Happened::Actual { scenario, text })
            }
            DayStep::Note { scenario, text } => {
                words(&text)?;
                scenario.map(|index| self.scenario(index).map(|_| ())).transpose()?;
                Some(Happened::Note { scenario, text })
            }
            DayStep::Lesson { text } => {
                self.begun()?;
                words(&text)?;
                self.lessons.push(text.clone());
                Some(Happened::Lesson { text })
            }
            DayStep::AddAction(what) => {
                self.begun()?;
                item(&what)?;
                let text = what.text.clone();
                Some(Happened::Action { id: action::add(&mut self.actions, *what, by, at), text })
            }
            DayStep::ChangeAction { id, what } => {
                item(&what)?;
                let known = self.actions.iter_mut().find(|action| action.id == id).ok_or(DayError::NoAction(id))?;
                let text = format!("{} ({})", what.text, what.state.name());
                known.change(*what, at);
                Some(Happened::Action { id, text })
            }
            DayStep::Finish => {
                self.in_state(DayState::Running, "only one that runs can be finished")?;
                if let Some(live) = self.scenarios.iter().position(|scenario| scenario.state == ScenarioState::Running) {
                    return Err(DayError::Busy(live));
                }
                (self.state, self.ended) = (DayState::Finished, Some(at));
                Some(Happened::Finished {})
            }
            DayStep::Cancel { reason } => {
                if !matches!(self.state, DayState::Planned | DayState::Running) {
                    return Err(DayError::Day { state: self.state, hint: "it is over already" });
                }
                words(&reason)?;
                (self.state, self.ended, self.cancelled) = (DayState::Cancelled, Some(at), Some(reason.clone()));
                Some(Happened::Cancelled { reason })
            }
        };
        self.entries += u64::from(happened.is_some());
        Ok(happened)
    }

    fn start_scenario(&mut self, scenario: usize, run: String, by: &str, at: Timestamp) -> Result<Option<Happened>, DayError> {
        self.may_start(scenario)?;
        let known = self.scenario(scenario)?;
        known.state = ScenarioState::Running;
        known.run = Some(run.clone());
        known.started = Some(Mark { at, by: by.to_owned() });
        Ok(Some(Happened::ScenarioStarted { scenario, run }))
    }

    /// Whether a scenario's run may be started now.
    pub fn may_start(&self, scenario: usize) -> Result<(), DayError> {
        self.in_state(DayState::Running, "start it first")?;
        let known = self.scenarios.get(scenario).ok_or(DayError::NoScenario(scenario))?;
        in_scenario(scenario, known, ScenarioState::Waiting, "each can be started once")?;
        match self.scenarios.iter().position(|scenario| scenario.state == ScenarioState::Running) {
            Some(live) => Err(DayError::Busy(live)),
            None => Ok(()),
        }
    }

    fn run_ended(&mut self, scenario: usize, verdict: Verdict, reason: String, at: Timestamp) -> Result<Option<Happened>, DayError> {
        // Also when the day has been cancelled meanwhile: it is the truth.
        let known = self.scenario(scenario)?;
        if known.state != ScenarioState::Running {
            return Ok(None);
        }
        (known.state, known.ended) = (ScenarioState::Done, Some(at));
        (known.verdict, known.reason) = (Some(verdict), Some(reason.clone()));
        let run = known.run.clone().unwrap_or_default();
        Ok(Some(Happened::ScenarioEnded { scenario, run, verdict, reason }))
    }

    fn mark(&mut self, scenario: usize, mark: Marked, by: &str, at: Timestamp) -> Result<Option<Happened>, DayError> {
        self.in_state(DayState::Running, "marks are set while it runs")?;
        let known = self.scenario(scenario)?;
        if known.started.is_none() {
            return Err(DayError::Scenario { scenario, state: known.state, hint: "there is nothing to notice before it starts" });
        }
        let slot = slot(known, mark);
        if slot.is_some() {
            return Ok(None);
        }
        *slot = Some(Mark { at, by: by.to_owned() });
        Ok(Some(Happened::Marked { scenario, mark }))
    }

    fn scenario(&mut self, index: usize) -> Result<&mut Scenario, DayError> {
        self.scenarios.get_mut(index).ok_or(DayError::NoScenario(index))
    }

    fn in_state(&self, state: DayState, hint: &'static str) -> Result<(), DayError> {
        if self.state == state { Ok(()) } else { Err(DayError::Day { state: self.state, hint }) }
    }

    fn begun(&self) -> Result<(), DayError> {
        if self.started.is_some() { Ok(()) } else { Err(DayError::Day { state: self.state, hint: "start it first" }) }
    }
}

fn slot(scenario: &mut Scenario, mark: Marked) -> &mut Option<Mark> {
    match mark {
        Marked::Detected => &mut scenario.detected,
        Marked::Resolved => &mut scenario.resolved,
    }
}

fn in_scenario(index: usize, scenario: &Scenario, state: ScenarioState, hint: &'static str) -> Result<(), DayError> {
    if scenario.state == state { Ok(()) } else { Err(DayError::Scenario { scenario: index, state: scenario.state, hint }) }
}

fn words(said: &str) -> Result<(), DayError> {
    text("text", said, 10_000).map_or(Ok(()), |mistake| Err(DayError::Words(format!("{}; {}", mistake.message, mistake.hint))))
}

fn item(what: &NewActionItem) -> Result<(), DayError> {
    let first = what.check().into_iter().next();
    first.map_or(Ok(()), |mistake| Err(DayError::Words(format!("`{}`: {}; {}", mistake.path, mistake.message, mistake.hint))))
}
