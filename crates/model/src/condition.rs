//! Conditions in the Common Expression Language (<https://github.com/google/cel-spec>), read once and asked often.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a condition may ask about.
pub const VARIABLES: [&str; 7] = ["who", "experiment", "fault", "targets", "matched", "chosen", "inForce"];

/// A condition in the Common Expression Language, such as `fault.family == 'disk' && chosen > 2`.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Condition {
    text: String,
    program: Arc<cel::Program>,
}

/// Why a condition says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// It is not of the language.
    #[error("the condition cannot be read: {0}")]
    Syntax(String),
    /// It asks for something that there is not.
    #[error("`{name}` is nothing that a condition can ask for; there are {}", VARIABLES.join(", "))]
    Unknown {
        /// What it asks for.
        name: String,
    },
    /// It came to no answer for this step.
    #[error("the condition `{text}` has no answer here: {why}")]
    Evaluation {
        /// The condition.
        text: String,
        /// Why.
        why: String,
    },
}

impl Condition {
    /// Reads a condition.
    pub fn new(text: impl Into<String>) -> Result<Self, ConditionError> {
        let text = text.into();
        let program = cel::Program::compile(&text).map_err(|error| ConditionError::Syntax(one_line(&error.to_string())))?;
        let condition = Self { text, program: Arc::new(program) };
        condition.check_names()?;
        Ok(condition)
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is true of these facts, which have a field for each of [`VARIABLES`]. Anything but true or false is an error.
    pub fn holds(&self, facts: &serde_json::Map<String, serde_json::Value>) -> Result<bool, ConditionError> {
        let no_answer = |why: String| ConditionError::Evaluation { text: self.text.clone(), why };
        let mut context = cel::Context::default();
        for (name, value) in facts {
            context.add_variable_from_value(name.as_str(), value_of(value));
        }
        match self.program.execute(&context) {
            Ok(cel::Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(no_answer(format!("it is {}, neither true nor false", other.type_of()))),
            Err(error) => Err(no_answer(error.to_string())),
        }
    }

    /// Names that stand for nothing. Those that a macro such as `exists` binds are no names of facts.
    fn check_names(&self) -> Result<(), ConditionError> {
        let references = self.program.references();
        let mut unknown: Vec<&str> = references.variables().into_iter().filter(|name| !VARIABLES.contains(name)).collect();
        unknown.sort_unstable();
        let bound = |name: &str| MACROS.iter().any(|call| self.text.split(call).skip(1).any(|rest| binds(rest, name)));
        let free = unknown.into_iter().find(|name| !bound(name));
        free.map_or(Ok(()), |name| Err(ConditionError::Unknown { name: name.to_owned() }))
    }
}

/// A fact as the language has it: every whole number is an `int`, as those that people write in conditions are.
fn value_of(fact: &serde_json::Value) -> cel::Value {
    use serde_json::Value as Json;
    match fact {
        Json::Null => cel::Value::Null,
        Json::Bool(truth) => (*truth).into(),
        Json::Number(number) => number.as_i64().map_or_else(|| number.as_f64().unwrap_or(f64::MAX).into(), cel::Value::from),
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => items.iter().map(value_of).collect::<Vec<_>>().into(),
        Json::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value_of(value))).collect::<HashMap<_, _>>().into(),
    }
}

/// Calls that bind their first argument (macros of the language's standard definitions).
const MACROS: [&str; 5] = [".all(", ".exists(", ".exists_one(", ".map(", ".filter("];

/// Whether the arguments of a macro begin with this name.
fn binds(arguments: &str, name: &str) -> bool {
    arguments.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(','))
}

/// The first sentence of an error of the reader, which draws below it.
fn one_line(error: &str) -> String {
    let lines = error.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.take(1).collect::<String>().trim_start_matches("ERROR: ").to_owned()
}

impl TryFrom<String> for Condition {
    type Error = ConditionError;

    fn try_from(text: String) -> Result<Self, ConditionError> {
        Self::new(text)
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.text
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(text: &str) -> Result<bool, ConditionError> {
        let facts = json!({
            "who": { "name": "ada", "roles": ["operator"], "cause": "person" },
            "experiment": { "name": "slow", "labels": { "team": "checkout" } },
            "fault": { "kind": "network.latency", "family": "network", "seconds": 59.5 },
            "targets": [{ "id": "a", "label": "a", "host": "h1", "labels": { "env": "production" } }, { "id": "b", "label": "b", "host": "h2", "labels": {} }],
            "matched": 4, "chosen": 2, "inForce": 0,
        });
        Condition::new(text)?.holds(facts.as_object().expect("a map"))
    }

    #[test]
    fn conditions_ask_about_who_what_and_how_wide() {
        for text in [
            "who.name == 'ada' && 'operator' in who.roles",
            "fault.family == 'network' && fault.seconds <= 60",
            "targets.exists(t, has(t.labels.env) && t.labels.env == 'production')",
            "chosen * 2 == matched && size(targets) == chosen",
            "experiment.labels.team.matches('^check')",
            "targets.filter(target, target.host == 'h1').size() == 1",
        ] {
            assert_eq!(holds(text), Ok(true), "{text}");
        }
        assert_eq!(holds("targets.all(t, has(t.labels.env))"), Ok(false));
    }

    #[test]
    fn what_is_no_condition_is_refused_when_it_is_read() {
        assert!(matches!(Condition::new("who.name =="), Err(ConditionError::Syntax(_))));
        assert_eq!(Condition::new("whom.name == 'ada'"), Err(ConditionError::Unknown { name: "whom".into() }));
        assert_eq!(Condition::new("targets.exists(t, u.host == 'a')"), Err(ConditionError::Unknown { name: "u".into() }));
    }

    #[test]
    fn what_has_no_answer_is_an_error_and_not_a_no() {
        assert!(matches!(holds("experiment.labels.env == 'x'"), Err(ConditionError::Evaluation { .. })));
        assert!(matches!(holds("chosen + 1"), Err(ConditionError::Evaluation { .. })));
    }
}
