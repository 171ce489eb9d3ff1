//! The configuration of one application, as Spinnaker keeps it: `{ "name": …, "attributes": { "chaosMonkey": { … } } }`, or
//! that last object alone.

use squall_model::{Diagnostics, Path};

use super::source::{Section, Source};
use super::{Import, labels};
use crate::{Frequency, GroupRule, Labels, MonkeyFault};

impl Import {
    /// Reads an application's configuration.
    pub(super) fn app(&mut self, source: Source) -> Result<(), Diagnostics> {
        let root = Path::default();
        let mut warnings = Vec::new();
        let (mut name, mut path) = (None, root.clone());
        if source.value.get("attributes").is_some() {
            if let Some(mut top) = Section::new(&source, &root)? {
                name = top.text("name");
                top.known(&["attributes"]);
                top.finish(&mut warnings)?;
            }
            // Go reads JSON without regard to case, and so both are in use.
            let attributes = root.key("attributes");
            let key = ["chaosMonkey", "chaosmonkey"].into_iter().find(|key| source.value["attributes"].get(key).is_some());
            let Some(key) = key else {
                return Err(vec![source.at(&attributes, "there is no `chaosMonkey` under `attributes`", "")]);
            };
            if source.value["attributes"].get("exceptions").is_some() {
                let message = "`exceptions` beside `chaosMonkey` are read by nobody, not even by Chaos Monkey";
                warnings.push(source.at(&attributes.key("exceptions"), message, "put them under `chaosMonkey`"));
            }
            path = attributes.key(key);
        }
        let Some(mut section) = Section::new(&source, &path)? else {
            return Err(vec![source.at(&path, "this is not the configuration of an application", "")]);
        };
        let rule = self.rule(&mut section, name.as_deref());
        for key in ["exceptions", "whitelist"] {
            let count = section.length(key);
            for i in 0..count {
                let found = account(&source, &path.key(key).index(i), name.as_deref(), &mut warnings)?;
                let into = if key == "exceptions" { &mut self.monkey.spec.exceptions } else { &mut self.monkey.spec.opt_in };
                into.push(found);
            }
            if key == "whitelist" && count > 0 {
                section.warn(
                    key,
                    "Chaos Monkey itself refuses applications with a whitelist; here it limits all applications",
                    "check `optIn`",
                );
            }
        }
        section.finish(&mut warnings)?;
        self.monkey.spec.groups.push(rule);
        self.warnings.append(&mut warnings);
        Ok(())
    }

    fn rule(&mut self, section: &mut Section<'_>, name: Option<&str>) -> GroupRule {
        let enabled = section.truth("enabled").unwrap_or(false);
        let independent = section.truth("regionsAreIndependent").unwrap_or(false);
        let mut by = vec!["app".to_owned(), "account".to_owned()];
        match section.text("grouping").as_deref() {
            Some("app") => {}
            Some("stack") => by.push("stack".into()),
            Some("cluster") => by.push("cluster".into()),
            None if !enabled => by.push("cluster".into()),
            other => {
                let message = format!("`{}` is not a grouping", other.unwrap_or_default());
                section.error("grouping", message, "Chaos Monkey has `app`, `stack` and `cluster`");
            }
        }
        if independent {
            by.push("region".into());
        }
        let select = name.map(|name| Labels::from([("app".to_owned(), name.to_owned())])).unwrap_or_default();
        let own = name.map_or_else(|| format!("app-{}", self.monkey.spec.groups.len() + 1), |name| name.replace('/', "-"));
        let faults = name.map(killed).into_iter().collect();
        GroupRule { name: own, select, by, frequency: Some(frequency(section)), faults, disabled: !enabled }
    }
}

/// `meanTimeBetweenKillsInWorkDays` and `minTimeBetweenKillsInWorkDays`.
pub(super) fn frequency(section: &mut Section<'_>) -> Frequency {
    let minimum = section.whole("minTimeBetweenKillsInWorkDays", 1000).unwrap_or(1);
    let mut mean = section.number("meanTimeBetweenKillsInWorkDays").unwrap_or(2.0);
    let key = "meanTimeBetweenKillsInWorkDays";
    if !(1.0..=10_000.0).contains(&mean) {
        section.error(key, format!("`{key}` is {mean}, and has to be from 1 to 10000"), "");
        mean = 2.0;
    }
    if mean < f64::from(minimum) {
        let message = format!("a mean of {mean} work days cannot be met with a minimum of {minimum}: the mean is {minimum} now");
        section.warn(key, message, "Chaos Monkey would kill every mean + minimum - 1 work days");
        mean = f64::from(minimum);
    }
    Frequency { mean: Some(mean), probability: None, minimum }
}

/// An instance of an application ends: here, the process of its name does.
fn killed(app: &str) -> MonkeyFault {
    MonkeyFault {
        fault: "process.kill".into(),
        target: squall_model::Target {
            kind: "process".into(),
            selector: serde_json::json!({ "name": app }),
            select: squall_model::Select::default(),
            except: None,
            hosts: None,
            at_most: std::collections::BTreeMap::new(),
            control: false,
        },
        with: None,
        duration: None,
        accept_irreversible: true,
        weight: 1,
    }
}

/// An exception: account, region, stack and detail. One of an application that is known is for that application.
fn account(source: &Source, path: &Path, app: Option<&str>, warnings: &mut Diagnostics) -> Result<Labels, Diagnostics> {
    let Some(mut section) = Section::new(source, path)? else { return Ok(Labels::new()) };
    let mut found = labels([
        ("account", section.text("account")),
        ("region", section.text("region")),
        ("stack", section.text("stack")),
        ("detail", section.text("detail")),
    ]);
    if let Some(app) = app {
        found.insert("app".into(), app.into());
    }
    section.finish(warnings)?;
    Ok(found)
}
