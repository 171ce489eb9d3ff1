//! What the types cannot say: names that refer to each other, times that fit each other, choices of exactly one.

mod compare;
mod expectation;
mod method;
mod policy;
mod traffic;

use std::collections::BTreeMap;

pub use expectation::{check_comparison, check_threshold};
pub(crate) use policy::policy;

use crate::calendar::CalendarError;
use crate::{Diagnostics, Document, Expectation, Experiment, Metadata, Path, Rollback, Spec, Time, calendar, nearest, quoted};

/// Longer than any experiment: a slip of the unit.
const LONGEST: Time = Time::from_secs(30 * 86_400);

/// Notes what is wrong, with its place, except about what the user did not write.
pub(crate) struct Checker<'a> {
    document: &'a Document,
    mended: &'a [Path],
    /// What is wrong.
    pub(crate) found: Diagnostics,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(document: &'a Document, mended: &'a [Path]) -> Self {
        Self { document, mended, found: Vec::new() }
    }

    fn is_mended(&self, path: &Path) -> bool {
        self.mended.iter().any(|mended| path.starts_with(mended))
    }

    /// An error at a value.
    fn at(&mut self, path: &Path, message: impl Into<String>, hint: impl Into<String>) {
        if self.found.len() <= 100 && !self.is_mended(path) {
            self.found.push(self.document.at(path, message, Some(hint.into())));
        }
    }

    /// An error at a key, or at what should have a key.
    fn at_key(&mut self, path: &Path, message: impl Into<String>, hint: impl Into<String>) {
        if self.found.len() <= 100 && !self.is_mended(path) {
            self.found.push(self.document.at_key(path, message, Some(hint.into())));
        }
    }

    /// Whether the user wrote this.
    fn has(&self, path: &Path) -> bool {
        self.document.has(path)
    }

    /// Names: given, and unique within what `what` says.
    fn names<'n>(&mut self, what: &str, names: impl IntoIterator<Item = (&'n str, Path)>) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, path) in names {
            if name.trim().is_empty() {
                self.at(&path, format!("the name of the {what} is empty"), "write a few words that tell it from the others");
            } else if name.len() > 200 || name.contains(['\n', '\r', '\u{1b}']) {
                self.at(&path, format!("the name of the {what} is too long or has control characters"), "write a few words on one line");
            } else if self.is_mended(&path) {
                // Not the user's name.
            } else if let Some(line) = seen.get(name) {
                let hint = format!("the first is on line {line}; names are how steps, guards and reports refer to it");
                self.at(&path, format!("two {what}s are called `{name}`"), hint);
            } else {
                seen.insert(name, self.document.place(&path).line);
            }
        }
    }

    /// A time that has to be longer than nothing, and within reason.
    fn positive(&mut self, path: &Path, time: Option<Time>, example: &str) {
        let Some(time) = time else { return };
        let name = path.0.last().map(|segment| Path(vec![segment.clone()]).to_string()).unwrap_or_default();
        if time == Time::ZERO {
            self.at(path, format!("`{name}` is no time at all"), format!("write a time such as `{example}`"));
        }
        self.within_reason(path, time);
    }

    fn within_reason(&mut self, path: &Path, time: Time) {
        if time > LONGEST {
            self.at(path, format!("{time} is longer than 30 days"), "check the unit: `ms`, `s`, `m` (minutes), `h`, `d`");
        }
    }

    fn expectation(&mut self, expectation: &Expectation, path: &Path) {
        for (key, message, hint) in check_comparison(expectation) {
            match key {
                Some(key) => self.at(&path.key(key), message, hint),
                // A comparison that could not be read is one too.
                None if self.mended.iter().any(|mended| mended.starts_with(path)) => {}
                None => self.at_key(path, message, hint),
            }
        }
        if let Some(time) = expectation.persist {
            self.within_reason(&path.key("for"), time);
        }
    }

    fn calendar(&mut self, path: &Path, result: Result<(), CalendarError>) {
        if let Err(error) = result {
            self.at(&path.key(error.field), error.message, error.hint);
        }
    }

    /// A reference to a probe of the hypothesis.
    fn probe_reference(&mut self, spec: &Spec, name: &str, path: &Path) {
        // More messages help nobody, and each costs a search for what was meant.
        if self.found.len() > 100 {
            return;
        }
        let probes = Path::default().key("spec").key("hypothesis").key("probes");
        // Where probes could not be read, their names are not known.
        if self.mended.iter().any(|mended| mended.starts_with(&probes) || probes.starts_with(mended)) {
            return;
        }
        let names: Vec<&str> = spec.hypothesis.probes.iter().map(|probe| probe.name.as_str()).collect();
        if !names.contains(&name) && !names.is_empty() {
            let all = || format!("the probes of the hypothesis are {}", quoted(&names));
            let hint = nearest(name, names.iter().copied()).map_or_else(all, |meant| format!("did you mean `{meant}`?"));
            self.at(path, format!("there is no probe `{name}`"), hint);
        }
    }
}

/// Everything of an experiment that needs no kinds.
pub(crate) fn experiment(experiment: &Experiment, checker: &mut Checker<'_>) {
    metadata(&experiment.metadata, checker);
    let path = Path::default().key("spec");
    let spec = &experiment.spec;
    hypothesis(spec, &path.key("hypothesis"), checker);
    traffic::check(&spec.traffic, &path.key("traffic"), checker);
    times(spec, &path, checker);
    method::check(spec, &path.key("method"), checker);
    for (i, guard) in spec.guards.iter().enumerate() {
        let path = path.key("guards").index(i);
        checker.probe_reference(spec, &guard.probe, &path.key("probe"));
        checker.expectation(&guard.abort, &path.key("abort"));
    }
    compare::check(spec, &path.key("compare"), checker);
    if let Some(rollback) = &spec.rollback {
        rollback_actions(rollback, &path.key("rollback").key("actions"), checker);
    }
    if let Some(schedule) = &spec.schedule {
        checker.calendar(&path.key("schedule"), calendar::check_schedule(schedule));
    }
}

fn metadata(metadata: &Metadata, checker: &mut Checker<'_>) {
    let name = &metadata.name;
    let path = Path::default().key("metadata").key("name");
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = (1..=63).contains(&name.len()) && name.bytes().all(good) && !name.starts_with('-') && !name.ends_with('-');
    if !label {
        let plain = name.to_lowercase().replace('ä', "ae").replace('ö', "oe").replace('ü', "ue").replace('ß', "ss");
        let words = plain.replace(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit(), "-");
        let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
        let mut better = words.join("-");
        better.truncate(63);
        let better = better.trim_end_matches('-');
        let better = if better.is_empty() { "my-experiment" } else { better };
        let message = if name.len() > 63 {
            "the name is longer than 63 characters".into()
        } else {
            format!("`{name}` cannot be the name of a manifest")
        };
        checker.at(&path, message, format!("lower-case letters, digits and dashes, as in `{better}`"));
    }
}

fn hypothesis(spec: &Spec, path: &Path, checker: &mut Checker<'_>) {
    let hypothesis = &spec.hypothesis;
    if hypothesis.statement.trim().is_empty() {
        checker.at(&path.key("statement"), "the statement is empty", "say what you believe stays true while the fault is in force");
    }
    let probes = path.key("probes");
    if hypothesis.probes.is_empty() {
        let hint = "without a measurement there is no verdict; add one such as `{ name: up, http: { url: \"http://127.0.0.1:8080/\" }, expect: { eq: 200 } }`";
        checker.at(&probes, "no probes", hint);
    }
    checker.names("probe", hypothesis.probes.iter().enumerate().map(|(i, probe)| (probe.name.as_str(), probes.index(i).key("name"))));
    for (i, probe) in hypothesis.probes.iter().enumerate() {
        let path = probes.index(i);
        checker.positive(&path.key("every"), probe.every, "1s");
        checker.positive(&path.key("timeout"), probe.timeout, "2s");
        if let Some(expect) = &probe.expect {
            checker.expectation(expect, &path.key("expect"));
        }
    }
    let watched_only = !hypothesis.probes.is_empty() && hypothesis.probes.iter().all(|probe| probe.expect.is_none());
    if watched_only && !checker.mended.iter().any(|mended| mended.starts_with(&probes) || probes.starts_with(mended)) {
        checker.at_key(
            &probes,
            "no probe has an `expect`",
            "say of at least one probe what its value must be, such as `expect: { lt: 500ms }`",
        );
    }
}

fn times(spec: &Spec, path: &Path, checker: &mut Checker<'_>) {
    let (steady, at) = (&spec.steady, path.key("steady"));
    checker.within_reason(&at.key("for"), steady.duration);
    checker.positive(&at.key("every"), Some(steady.every), "1s");
    // With `for: 0s` each probe is asked once, and `every` counts only later.
    if steady.duration > Time::ZERO && steady.every > steady.duration && checker.has(&at.key("every")) {
        let message = format!("`every` is {}, longer than the whole steady phase of {}", steady.every, steady.duration);
        checker.at(&at.key("every"), message, "make `every` shorter, or `for` longer");
    }
    if steady.warmup > Time::ZERO && steady.warmup >= steady.duration {
        let message = format!("`warmup` is {}, and leaves nothing to judge of the steady phase of {}", steady.warmup, steady.duration);
        checker.at(&at.key("warmup"), message, "make `for` longer than `warmup`, which is its first part");
    }
    let (recovery, at) = (&spec.recovery, path.key("recovery"));
    checker.within_reason(&at.key("within"), recovery.within);
    if recovery.stable > recovery.within {
        let message = format!("recovery could never be seen: `stable` is {}, but there is only {}", recovery.stable, recovery.within);
        let place = if checker.has(&at.key("stable")) { at.key("stable") } else { at.key("within") };
        checker.at(&place, message, "make `within` longer than `stable`");
    }
    checker.positive(&path.key("timeout"), spec.timeout, "10m");
    if let Some(observe) = spec.observe {
        checker.within_reason(&path.key("observe"), observe);
    }
}

fn rollback_actions(rollback: &Rollback, path: &Path, checker: &mut Checker<'_>) {
    if rollback.actions.is_empty() {
        checker.at(path, "no actions", "add one such as `{ name: reset, command: [./reset.sh] }`, or remove `rollback`");
    }
    checker
        .names("rollback action", rollback.actions.iter().enumerate().map(|(i, action)| (action.name.as_str(), path.index(i).key("name"))));
    for (i, action) in rollback.actions.iter().enumerate() {
        let path = path.index(i);
        match (&action.command, &action.http) {
            (Some(_), Some(_)) => {
                checker.at_key(&path.key("http"), "an action is one thing, but here are `command` and `http`", "make two actions of it");
            }
            (None, None) if !checker.is_mended(&path.key("command")) && !checker.is_mended(&path.key("http")) => {
                checker.at(&path, "this action does nothing", "add `command: [./reset.sh]` or `http: POST http://127.0.0.1:8080/reset`");
            }
            (None, None) => {}
            (Some(command), None) => {
                if command.first().is_none_or(|program| program.trim().is_empty()) {
                    checker.at(
                        &path.key("command"),
                        "the command is empty",
                        "write the program and its arguments, such as `[./reset.sh, --all]`",
                    );
                }
            }
            (None, Some(http)) => {
                let parts: Vec<&str> = http.split_whitespace().collect();
                let problem = match parts.as_slice() {
                    [method, url] => traffic::method_problem(method).or_else(|| traffic::url_problem(url)),
                    _ => Some("expected a method and a URL".into()),
                };
                if let Some(problem) = problem {
                    checker.at(&path.key("http"), format!("`{http}`: {problem}"), "write it like `POST http://127.0.0.1:8080/reset`");
                }
            }
        }
        checker.positive(&path.key("timeout"), action.timeout, "10s");
    }
}
