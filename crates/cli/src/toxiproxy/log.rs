//! Lines of a log: JSON as `toxiproxy-server` writes it to standard output, or text for people on standard error.

use std::io::{self, Write};

use serde_json::{Map, Value};

/// What a line is worth, in the order of `LOG_LEVEL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything that happens on connections.
    Trace,
    /// Every request to the API.
    Debug,
    /// What starts and what stops.
    Info,
    /// What may be a mistake.
    Warn,
    /// What failed.
    Error,
    /// Nothing has it: `fatal`, `panic`, `disabled` show no line.
    Disabled,
}

impl Level {
    /// By its name or number, as zerolog's `ParseLevel` reads it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "trace" | "-1" | "" => Self::Trace,
            "debug" | "0" => Self::Debug,
            "info" | "1" => Self::Info,
            "warn" | "2" => Self::Warn,
            "error" | "3" => Self::Error,
            "fatal" | "panic" | "disabled" | "4" | "5" | "7" => Self::Disabled,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error | Self::Disabled => "error",
        }
    }
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line on standard output.
    Json,
    /// `message key=value …` on standard error.
    Text,
}

/// A log. Lines below its level are not written.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// The lowest that is written.
    pub level: Level,
    form: Form,
}

impl Log {
    /// At the level that `LOG_LEVEL` names, or else at this one.
    pub fn from_environment(form: Form, default: Level) -> Self {
        let asked = std::env::var("LOG_LEVEL").ok();
        let level = asked.as_deref().map(Level::parse);
        let log = Self { level: level.flatten().unwrap_or(default), form };
        if let (Some(asked), Some(None)) = (asked, level) {
            log.line(Level::Error, &format!("unknown LOG_LEVEL value: \"{asked}\""), &[]);
        }
        log
    }

    /// Writes a line.
    pub fn line(self, level: Level, message: &str, fields: &[(&str, Value)]) {
        if level < self.level {
            return;
        }
        // A log that nobody reads any more stops nothing.
        let _ = match self.form {
            Form::Json => {
                let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                writeln!(io::stdout().lock(), "{}", json(level, message, fields, &now))
            }
            Form::Text => writeln!(io::stderr().lock(), "{}", text(message, fields)),
        };
    }
}

fn json(level: Level, message: &str, fields: &[(&str, Value)], now: &str) -> String {
    let mut map = Map::new();
    map.insert("level".into(), level.name().into());
    map.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    map.insert("time".into(), now.into());
    if !message.is_empty() {
        map.insert("message".into(), message.into());
    }
    Value::Object(map).to_string()
}

fn text(message: &str, fields: &[(&str, Value)]) -> String {
    let fields = fields.iter().map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    std::iter::once(message.to_owned()).filter(|message| !message.is_empty()).chain(fields).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_order_of_toxiproxys() {
        let line = json(Level::Info, "Started proxy", &[("name", "p".into()), ("n", 5.into())], "2026-01-01T00:00:00Z");
        assert_eq!(line, r#"{"level":"info","name":"p","n":5,"time":"2026-01-01T00:00:00Z","message":"Started proxy"}"#);
        assert_eq!(text("started", &[("name", "p".into()), ("n", 5.into())]), "started name=p n=5");
    }

    #[test]
    fn levels_are_read_by_name_and_number() {
        assert_eq!(Level::parse("WARN"), Some(Level::Warn));
        assert_eq!(Level::parse("0"), Some(Level::Debug));
        assert_eq!(Level::parse("loud"), None);
        assert!(Level::Debug < Level::Info);
    }
}
