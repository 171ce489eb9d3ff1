//! `chaosmonkey.toml`: hours, time zone, accounts, and whether anything is done at all. The keys are those of Chaos Monkey 2.x
//! ("Configuration file format" of its documentation, and its `config/param`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use squall_model::{Diagnostic, Diagnostics, Path, PathSegment, Place};
use toml::de::{DeTable, DeValue};

use super::{Import, Source};
use crate::Labels;
use crate::import::source::Section;

impl Import {
    /// Reads a `chaosmonkey.toml`.
    pub(super) fn toml(&mut self, text: &str) -> Result<(), Diagnostics> {
        self.toml_source(&source(text)?)
    }

    pub(super) fn toml_source(&mut self, source: &Source) -> Result<(), Diagnostics> {
        let root = Path::default();
        let mut warnings = Vec::new();
        if let Some(mut top) = Section::new(source, &root)? {
            top.known(&["chaosmonkey"]);
            let reasons = [
                ("database", "Squall keeps its own records"),
                ("spinnaker", "hosts and their labels come from Squall's agents"),
                ("dynamic", "the configuration is the monkey's document; change it there"),
            ];
            for (key, why) in reasons {
                top.without_equivalent(key, &[json!({})], why);
            }
            top.finish(&mut warnings)?;
        }
        if let Some(mut section) = Section::new(source, &root.key("chaosmonkey"))? {
            self.settings(&mut section);
            without_equivalent(&mut section);
            section.finish(&mut warnings)?;
        } else {
            let hint = "Chaos Monkey's own settings are under `[chaosmonkey]`; without them it is disabled";
            warnings.push(source.at(&root, "there is no table `chaosmonkey`", hint));
            self.monkey.spec.enabled = false;
        }
        self.warnings.append(&mut warnings);
        Ok(())
    }

    fn settings(&mut self, section: &mut Section<'_>) {
        let spec = &mut self.monkey.spec;
        let (enabled, scheduled) = (section.truth("enabled").unwrap_or(false), section.truth("schedule_enabled").unwrap_or(false));
        spec.enabled = enabled && scheduled;
        if enabled && !scheduled {
            section.warn("", "`schedule_enabled` is false, so Chaos Monkey would never act by itself: the monkey is disabled", "");
        } else if !enabled {
            section.warn("", "Chaos Monkey is disabled by `enabled`, which is false by default: so is the monkey", "");
        }
        self.unleashed |= !section.truth("leashed").unwrap_or(true);
        let (from, to) = (section.whole("start_hour", 23).unwrap_or(9), section.whole("end_hour", 23).unwrap_or(15));
        if to <= from {
            section.error("end_hour", format!("`end_hour` is {to}, and has to be after `start_hour`, which is {from}"), "");
        }
        spec.hours = crate::Hours { from: format!("{from:02}:00"), to: format!("{to:02}:00") };
        match section.text("time_zone").as_deref() {
            None => {}
            Some("Local") => {
                spec.time_zone = None;
                let hint = "write the `timeZone` that is meant; until then it is UTC";
                section.warn("time_zone", "`Local` is the zone of whichever host it runs on, and a team's server has no such place", hint);
            }
            Some(zone) if squall_model::calendar::zone(Some(zone)).is_err() => {
                section.error("time_zone", format!("`{zone}` is not a time zone"), "write a name of the IANA list");
            }
            Some(zone) => spec.time_zone = Some(zone.to_owned()),
        }
        match section.texts("accounts") {
            Some(accounts) if !accounts.is_empty() => {
                spec.opt_in = accounts.into_iter().map(|account| Labels::from([("account".to_owned(), account)])).collect();
            }
            _ => {
                if spec.enabled {
                    let hint = "write under `optIn` which hosts it may touch, and `enabled: true`";
                    section.warn("accounts", "no account is enabled, so Chaos Monkey would touch nothing: the monkey is disabled", hint);
                }
                spec.enabled = false;
            }
        }
    }
}

/// The settings of Chaos Monkey's surroundings, which here are Squall itself.
fn without_equivalent(section: &mut Section<'_>) {
    let none = [json!(""), json!([])];
    let script = "the fault is injected by the agent on the host; no script is run for it";
    section.without_equivalent("term_path", &[], script);
    section.without_equivalent("term_account", &[], script);
    for key in ["cron_path", "schedule_cron_path", "schedule_path", "cron_expression"] {
        section.without_equivalent(key, &[], "the server itself decides each work day; no cron is involved");
    }
    section.without_equivalent("log_path", &[], "every decision is in the history of the monkey");
    section.without_equivalent("max_apps", &[json!(2_147_483_647)], "limit whom it may touch with `optIn`, or how often with `frequency`");
    section.without_equivalent("trackers", &none, "use notifications for it");
    section.without_equivalent("error_counter", &none, "use the server's metrics for it");
    section.without_equivalent(
        "outage_checker",
        &none,
        "write a probe under `hypothesis`: where it fails before the fault, nothing is injected",
    );
    section.without_equivalent("decryptor", &none, "secrets are given by reference, from the environment or a file");
}

/// A TOML text as a tree.
pub(super) fn source(text: &str) -> Result<Source, Diagnostics> {
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let Place { line, column, span } = place(text, span);
        vec![Diagnostic {
            message: error.message().to_lowercase(),
            line,
            column,
            span,
            path: String::new(),
            hint: Some("this is not TOML".into()),
        }]
    })?;
    let mut places = BTreeMap::new();
    let value = tree(table.get_ref(), &Path::default(), text, &mut places);
    Ok(Source::toml(value, places))
}

fn tree(table: &DeTable<'_>, path: &Path, text: &str, places: &mut BTreeMap<String, Place>) -> Value {
    let mut map = Map::new();
    for (key, value) in table {
        let path = path.key(key.get_ref());
        places.insert(path.to_string(), place(text, key.span()));
        map.insert(key.get_ref().to_string(), plain(value.get_ref(), &path, text, places));
    }
    Value::Object(map)
}

fn plain(value: &DeValue<'_>, path: &Path, text: &str, places: &mut BTreeMap<String, Place>) -> Value {
    match value {
        DeValue::String(string) => json!(string),
        DeValue::Boolean(truth) => json!(truth),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or_else(|_| json!(number.as_str()), |n| json!(n))
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or_else(|_| json!(number.as_str()), |n| json!(n)),
        DeValue::Datetime(moment) => json!(moment.to_string()),
        DeValue::Array(items) => {
            let item = |(i, item): (usize, &toml::Spanned<DeValue<'_>>)| {
                let path = Path(path.0.iter().cloned().chain([PathSegment::Index(i)]).collect());
                places.insert(path.to_string(), place(text, item.span()));
                plain(item.get_ref(), &path, text, places)
            };
            Value::Array(items.iter().enumerate().map(item).collect())
        }
        DeValue::Table(table) => tree(table, path, text, places),
    }
}

fn place(text: &str, span: std::ops::Range<usize>) -> Place {
    let before = text.get(..span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1, span }
}
