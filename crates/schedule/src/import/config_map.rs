//! A Kubernetes `ConfigMap` with a configuration of Chaos Monkey in its `data`: a `chaosmonkey.toml`, or YAML with one map
//! `chaosmonkey` of `schedule`, `accounts`, `spinnaker` and `kill`.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use squall_model::{Cron, Diagnostics, Document, Path, Percent, Weekday, calendar};

use super::source::{Section, Source};
use super::{Import, app, labels, toml};
use crate::{Frequency, Hours};

impl Import {
    /// Reads a `ConfigMap`.
    pub(super) fn config_map(&mut self, document: &Document) -> Result<(), Diagnostics> {
        let outer = Source::yaml(document);
        let data = Path::default().key("data");
        let Some(entries) = document.value.get("data").and_then(Value::as_object) else {
            return Err(vec![outer.at(&data, "the ConfigMap has no `data`", "Chaos Monkey's configuration is one of its entries")]);
        };
        for (key, text) in entries {
            let path = data.key(key);
            let Some(text) = text.as_str() else {
                return Err(vec![outer.at(&path, format!("`{key}` has to be a text"), "write it as a block, after `|`")]);
            };
            // The text of a block begins on the line after its key.
            let before = document.key_place(&path).line;
            let moved = |found: Diagnostics| -> Diagnostics {
                found
                    .into_iter()
                    .map(|d| squall_model::Diagnostic { line: d.line + before, path: format!("{path}.{}", d.path), ..d })
                    .collect()
            };
            if key.rsplit('.').next().is_some_and(|end| end.eq_ignore_ascii_case("toml")) {
                let source = toml::source(text).map_err(moved)?.within(path, before);
                self.toml_source(&source)?;
            } else {
                let inner = Document::parse(text).map_err(moved)?;
                self.monkey_yaml(&Source::yaml(&inner).within(path, before))?;
            }
        }
        Ok(())
    }

    fn monkey_yaml(&mut self, source: &Source) -> Result<(), Diagnostics> {
        let root = Path::default();
        let path = root.key("chaosmonkey");
        let mut warnings = Vec::new();
        if let Some(mut top) = Section::new(source, &root)? {
            top.known(&["chaosmonkey"]);
            top.finish(&mut warnings)?;
        }
        let Some(mut section) = Section::new(source, &path)? else {
            return Err(vec![source.at(&root, "there is no `chaosmonkey`", "its settings are expected under that key")]);
        };
        self.monkey.spec.enabled = section.truth("enabled").unwrap_or(false);
        self.unleashed |= section.truth("leashed").is_some_and(|leashed| !leashed);
        self.monkey.spec.time_zone = section.text("time_zone");
        if self.monkey.spec.time_zone.is_none() {
            section.warn("", "no time zone is given, so hours and days are those of UTC", "write the `timeZone` that is meant");
        }
        section.known(&["schedule", "accounts", "spinnaker", "kill"]);
        let accounts = section.length("accounts");
        section.finish(&mut warnings)?;
        if let Some(mut section) = Section::new(source, &path.key("schedule"))? {
            self.hours(&mut section);
            section.finish(&mut warnings)?;
        }
        for i in 0..accounts {
            self.account(source, &path.key("accounts").index(i), &mut warnings)?;
        }
        if let Some(mut section) = Section::new(source, &path.key("spinnaker"))? {
            section.without_equivalent("enabled", &[json!(false)], "hosts and their labels come from Squall's agents");
            section.without_equivalent("endpoint", &[json!("")], "hosts and their labels come from Squall's agents");
            section.finish(&mut warnings)?;
        }
        if let Some(mut section) = Section::new(source, &path.key("kill"))? {
            self.unleashed |= section.truth("enabled").unwrap_or(false);
            self.monkey.spec.frequency = kill_frequency(&mut section);
            section.finish(&mut warnings)?;
        }
        self.warnings.append(&mut warnings);
        Ok(())
    }

    /// A cron expression stands for the hours and days between its first and last time.
    fn hours(&mut self, section: &mut Section<'_>) {
        if let Some(kind) = section.text("type")
            && kind != "cron"
        {
            section.error("type", format!("`{kind}` is not a type of schedule that is known"), "it is `cron`");
        }
        let Some(text) = section.text("path") else { return };
        let fields: Vec<&str> = text.split_whitespace().collect();
        // Quartz and Spring have a field for seconds in front, and `?` for any day.
        let five = if fields.len() == 6 { &fields[1..] } else { &fields[..] };
        let five: Vec<&str> = five.iter().map(|field| if *field == "?" { "*" } else { field }).collect();
        let Ok(cron) = Cron::new(&five.join(" "), TimeZone::UTC) else {
            return section.error("path", format!("`{text}` is not a cron expression of five fields, or six with seconds"), "");
        };
        let (hours, days) = extent(&cron);
        let (Some(first), Some(last)) = (hours.first().copied(), hours.last().copied()) else {
            return section.error("path", format!("`{text}` comes on no day of a week"), "");
        };
        if last > first && last < 24 {
            self.monkey.spec.hours = Hours { from: format!("{first:02}:00"), to: format!("{last:02}:00") };
        } else {
            section.warn("path", format!("`{text}` has no span of hours, so they are from 9:00 to 15:00"), "write `hours`");
        }
        self.monkey.spec.work_days = days;
        let message = format!("`{text}` was read as hours and work days: at most one kill a day and group, at any minute of them");
        section.warn("path", message, "Squall does not flip a coin at each time of an expression");
    }

    fn account(&mut self, source: &Source, path: &Path, warnings: &mut Diagnostics) -> Result<(), Diagnostics> {
        let Some(mut section) = Section::new(source, path)? else { return Ok(()) };
        let found = labels([
            ("account", section.text("name")),
            ("region", section.text("region")),
            ("stack", section.text("stack")),
            ("detail", section.text("detail")),
        ]);
        if let Some(owner) = section.text("owner") {
            let owners = self.monkey.metadata.annotations.entry("owner".into()).or_default();
            if !owners.split(", ").any(|known| known == owner) {
                *owners = if owners.is_empty() { owner } else { format!("{owners}, {owner}") };
            }
            section.warn("owner", "an account has no owner here: it is kept as the annotation `owner` of the monkey", "");
        }
        if found.is_empty() {
            section.warn("", "this account names every host, so it limits nothing", "");
        } else {
            self.monkey.spec.opt_in.push(found);
        }
        section.finish(warnings)
    }
}

/// The hours of a day and the days of a week at which an expression comes.
fn extent(cron: &Cron) -> (Vec<i8>, Vec<Weekday>) {
    // A week that starts on a Monday and does not start a month or a year.
    let start = Timestamp::from_second(1_718_582_400).unwrap_or(Timestamp::UNIX_EPOCH); // 2024-06-17
    let mut times = std::iter::successors(cron.next(start - jiff::SignedDuration::from_nanos(1)), |last| cron.next(*last))
        .take_while(|time| time.duration_since(start) < jiff::SignedDuration::from_hours(7 * 24))
        .map(|time| time.to_zoned(TimeZone::UTC))
        .map(|time| (time.hour(), calendar::weekday(time.date())))
        .fold((Vec::new(), Vec::new()), |(mut hours, mut days), (hour, day)| {
            hours.push(hour);
            if !days.contains(&day) {
                days.push(day);
            }
            (hours, days)
        });
    times.0.sort_unstable();
    times.0.dedup();
    times
}

/// A mean is Chaos Monkey's own; a probability is taken for one a work day.
fn kill_frequency(section: &mut Section<'_>) -> Frequency {
    let probability = section.number("probability");
    section.known(&["probability", "meanTimeBetweenKillsInWorkDays", "minTimeBetweenKillsInWorkDays"]);
    let has_mean = section.has("meanTimeBetweenKillsInWorkDays");
    let frequency = app::frequency(section);
    match probability {
        Some(chance) if !(chance > 0.0 && chance <= 1.0) => {
            section.error("probability", format!("`probability` is {chance}, and has to be above 0 and up to 1"), "");
            frequency
        }
        Some(chance) if has_mean => {
            let message =
                format!("`probability` and a mean say the same thing twice: the mean is taken, and the chance of {chance} is not");
            section.warn("probability", message, "to have the chance instead, write `frequency: { probability: … }`");
            frequency
        }
        Some(chance) => {
            section.warn("probability", "the probability is taken for that of a kill on a work day", "check `frequency`");
            Frequency { mean: None, probability: Some(Percent(chance * 100.0)), ..frequency }
        }
        None => frequency,
    }
}
