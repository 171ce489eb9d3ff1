//! A channel's own words: Jinja templates over the fields of a notice.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use squall_model::{nearest, quoted};
use utoipa::ToSchema;

use crate::Notice;
use crate::channel::Mistake;
use crate::message::{default_text, default_title};

/// A channel's own words in place of Squall's. Jinja templates (<https://docs.rs/minijinja>): `{{ experiment }}`,
/// `{% if verdict == "deviated" %}…{% endif %}`, `{{ hosts | join(", ") }}`, `{{ labels.team }}`. A field that a notice does not have is
/// empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ChannelTemplate)]
pub struct Template {
    /// One line: the subject of an e-mail, the head of a message in Slack, the summary of an alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub title: Option<String>,
    /// What follows it. Plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub text: Option<String>,
}

/// The fields that a template may use, and what they are.
pub const FIELDS: &[(&str, &str)] = &[
    ("event", "what happened, such as `run.ended`"),
    ("severity", "`info`, `warning`, `error` or `critical`"),
    ("title", "what Squall would have written as the title"),
    ("text", "what Squall would have written as the text"),
    ("id", "the notice, unique"),
    ("at", "when it happened, RFC 3339 in UTC"),
    ("subject", "what it is about: the run's id for events of runs"),
    ("run", "the run's id"),
    ("experiment", "name of the experiment"),
    ("labels", "labels of the experiment or host, by name"),
    ("verdict", "how the run ended: `held`, `deviated`, `unsteady`, `aborted`, `inconclusive`, `failed`"),
    ("reason", "why, in one sentence"),
    ("by", "who did it or asked for it"),
    ("hosts", "names of the hosts, a list"),
    ("schedule", "name of the schedule"),
    ("due", "when the run will start, or should have"),
    ("finding", "title of the finding"),
    ("gameDay", "title of the game day"),
    ("url", "where to read more"),
];

/// Far more than any message has steps.
const FUEL: u64 = 20_000;
/// The longest text that a template may make, in bytes; also the longest template.
const LONGEST: usize = 8 << 10;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(false);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment
});

impl Template {
    /// Everything that is wrong with it: what does not parse, fields that there are not, and what fails for any kind of notice.
    pub(crate) fn check(&self) -> Vec<Mistake> {
        let parts = [("template.title", &self.title), ("template.text", &self.text)];
        parts.iter().filter_map(|(path, text)| text.as_ref().and_then(|text| check(path, text))).collect()
    }

    /// The title and the text for a notice. If a template fails, Squall's own words, and why.
    pub(crate) fn apply(&self, notice: &Notice) -> (String, String, Option<String>) {
        let fields = fields(notice);
        let mut failed = None;
        let mut part = |template: &Option<String>, own: String| match template {
            None => own,
            Some(template) => render(template, &fields).unwrap_or_else(|error| {
                failed = Some(format!("the template failed, so these are Squall's own words: {}", told(template, &error).0));
                own
            }),
        };
        let (title, text) = (part(&self.title, default_title(notice)), part(&self.text, default_text(notice)));
        (title, text, failed)
    }
}

fn fields(notice: &Notice) -> Value {
    let mut map = match serde_json::to_value(notice) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    map.insert("severity".into(), notice.severity().word().into());
    map.insert("title".into(), default_title(notice).into());
    map.insert("text".into(), default_text(notice).into());
    for (name, _) in FIELDS {
        map.entry(*name).or_insert(Value::Null);
    }
    // So that `{{ x }}` of what is not there is empty, and not `none`.
    map.retain(|_, value| !value.is_null());
    Value::Object(map)
}

fn render(template: &str, fields: &Value) -> Result<String, Error> {
    let text = ENVIRONMENT.render_str(template, minijinja::value::Serde(fields))?;
    if text.len() > LONGEST {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("it makes {} bytes, and {LONGEST} is the most", text.len())));
    }
    Ok(text.trim().to_owned())
}

fn check(path: &str, text: &str) -> Option<Mistake> {
    if text.len() > LONGEST {
        return Some(Mistake::new(path, format!("{} bytes is too long", text.len()), format!("{LONGEST} is the most")));
    }
    let template = match ENVIRONMENT.template_from_str(text) {
        Ok(template) => template,
        Err(error) => {
            let (message, hint) = told(text, &error);
            return Some(Mistake::new(path, message, hint));
        }
    };
    let known: BTreeSet<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    let globals: BTreeSet<String> = ENVIRONMENT.globals().map(|(name, _)| name.to_owned()).collect();
    let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    unknown.retain(|name| !known.contains(name.as_str()) && !globals.contains(name));
    unknown.sort();
    if let Some(name) = unknown.first() {
        let hint = match nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the fields are {}", quoted(&FIELDS.iter().map(|(name, _)| *name).collect::<Vec<_>>())),
        };
        return Some(Mistake::new(path, format!("{}: there is no field `{name}`", place(text, word(text, name))), hint));
    }
    // Also with nothing set, so that a template that needs a field that most notices lack is found now.
    let bare = Notice::samples().into_iter().map(|sample| Notice::new("sample", sample.event, sample.at, "sample"));
    for notice in Notice::samples().into_iter().chain(bare) {
        if let Err(error) = render(text, &fields(&notice)) {
            let (message, hint) = told(text, &error);
            return Some(Mistake::new(path, format!("{message} (for `{}`)", notice.event.name()), hint));
        }
    }
    None
}

/// An error in words with its place, and what to do.
fn told(text: &str, error: &Error) -> (String, String) {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let message = match (error.range(), error.line()) {
        (Some(range), _) => format!("{}: {what}", place(text, range.start)),
        (None, Some(line)) => format!("line {line}: {what}"),
        (None, None) => what,
    };
    let hint = match error.kind() {
        ErrorKind::SyntaxError => "see https://docs.rs/minijinja/latest/minijinja/syntax",
        ErrorKind::UnknownFilter => "the filters are at https://docs.rs/minijinja/latest/minijinja/filters",
        ErrorKind::OutOfFuel => "write one that does less",
        ErrorKind::UndefinedError => "ask first: `{% if labels.team %}…{% endif %}`",
        _ => "try it with a test message",
    };
    (message, hint.to_owned())
}

/// Where a name stands as a word of its own.
fn word(text: &str, name: &str) -> usize {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name)
        .find(|(at, _)| !text[..*at].ends_with(part) && !text[at + name.len()..].starts_with(part))
        .map_or(0, |(at, _)| at)
}

fn place(text: &str, at: usize) -> String {
    let before = &text.as_bytes()[..at.min(text.len())];
    let before = String::from_utf8_lossy(before);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

#[cfg(test)]
mod tests {
    use squall_model::Verdict;

    use super::*;
    use crate::EventKind;

    fn mistake(text: &str) -> String {
        check("template.text", text).map(|mistake| format!("{} | {}", mistake.message, mistake.hint)).unwrap_or_default()
    }

    #[test]
    fn every_documented_field_can_be_used_and_no_field_is_undocumented() {
        let all: String = FIELDS.iter().map(|(name, _)| format!("{{{{ {name} }}}} ")).collect();
        assert_eq!(mistake(&all), "");
        let known: BTreeSet<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        for sample in Notice::samples() {
            let fields = fields(&sample);
            for name in fields.as_object().expect("an object").keys().filter(|name| *name != "sequence") {
                assert!(known.contains(name.as_str()), "`{name}` is not documented");
            }
        }
    }

    #[test]
    fn mistakes_are_found_when_it_is_saved_and_say_where() {
        assert_eq!(mistake("ok\n{{ experimnt }}"), "line 2, column 4: there is no field `experimnt` | did you mean `experiment`?");
        assert!(mistake("{{ nothing_like_it_at_all }}").contains("the fields are `event`, `severity`"));
        let open = mistake("a\n{% if verdict %}");
        assert!(open.starts_with("line 2, column") && open.contains("minijinja/syntax"), "{open}");
        let filter = mistake("{{ verdict | shout }}");
        assert!(filter.contains("shout") && filter.contains("filters"), "{filter}");
        let endless = mistake("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}");
        assert!(endless.contains("line 1") && endless.contains("does less"), "{endless}");
        let long = mistake("{{ 'x' * 9000 }}");
        assert!(long.contains("8192 is the most"), "{long}");
        let other = mistake("{{ labels.a.b }}");
        assert!(other.contains("line 1") && other.contains("for `run.starting`"), "{other}");
    }

    #[test]
    fn a_template_says_it_in_the_channels_words() {
        let mut notice = Notice::samples().into_iter().find(|notice| notice.verdict == Some(Verdict::Deviated)).expect("a sample");
        notice.event = EventKind::RunEnded;
        let template = Template {
            title: Some("{{ experiment }}: {{ verdict | upper }}".into()),
            text: Some("{% if labels.team %}@{{ labels.team }} {% endif %}{{ hosts | join('+') }} {{ labels.none }}".into()),
        };
        let (title, text, failed) = template.apply(&notice);
        assert_eq!((title.as_str(), text.as_str(), failed), ("checkout-survives-slow-payments: DEVIATED", "@payments host-a+host-b", None));
    }

    #[test]
    fn a_template_that_fails_after_all_loses_nothing() {
        let notice = Notice::samples().remove(0);
        let (title, _, failed) = Template { title: Some("{{ by.a.b }}".into()), text: None }.apply(&notice);
        assert_eq!(title, default_title(&notice));
        assert!(failed.is_some_and(|why| why.contains("line 1")));
    }
}
