//! Steps.

use super::Checker;
use crate::{Path, Quorum, Ramp, Select, Spec, Step, Target, Time, quoted};

/// More repetitions than this are a slip.
const MOST_REPEATS: u32 = 10_000;

pub(super) fn check(spec: &Spec, path: &Path, checker: &mut Checker<'_>) {
    if spec.method.is_empty() {
        let hint = "add a step such as `{ fault: process.pause, target: { process: { name: payments } }, for: 10s }`";
        checker.at(path, "the method has no steps", hint);
    }
    let mut names = Vec::new();
    steps(spec, &spec.method, path, checker, &mut names);
    checker.names("step", names);
}

fn steps<'s>(spec: &Spec, list: &'s [Step], path: &Path, checker: &mut Checker<'_>, names: &mut Vec<(&'s str, Path)>) {
    for (i, step) in list.iter().enumerate() {
        let path = path.index(i);
        if let Some(name) = &step.name {
            names.push((name, path.key("name")));
        }
        one_step(spec, step, &path, checker);
        for (key, group) in [("parallel", &step.parallel), ("sequence", &step.sequence)] {
            let Some(group) = group else { continue };
            if group.is_empty() {
                checker.at(&path.key(key), format!("`{key}` has no steps"), "add steps, or remove it");
            }
            steps(spec, group, &path.key(key), checker, names);
        }
    }
}

fn one_step(spec: &Spec, step: &Step, path: &Path, checker: &mut Checker<'_>) {
    let kinds: Vec<&str> = [
        ("fault", step.fault.is_some()),
        ("parallel", step.parallel.is_some()),
        ("sequence", step.sequence.is_some()),
        ("wait", step.wait.is_some()),
        ("suspend", step.suspend.is_some()),
    ]
    .into_iter()
    .filter_map(|(kind, is)| is.then_some(kind))
    .collect();
    match kinds.as_slice() {
        [] => {
            let all = ["fault", "parallel", "sequence", "wait", "suspend"];
            if let Some(kind) = all.iter().find(|kind| checker.has(&path.key(kind))) {
                checker.at_key(&path.key(kind), format!("`{kind}` has no value"), "write what it does, or remove the step");
            } else if !checker.mended.iter().any(|mended| all.iter().any(|kind| *mended == path.key(kind))) {
                checker.at(path, "this step does nothing", format!("give it one of {}", quoted(&all)));
            }
        }
        [kind] => foreign_fields(step, kind, path, checker),
        [first, second, ..] => {
            let message = format!("a step is one thing, but here are `{first}` and `{second}`");
            checker.at_key(&path.key(second), message, "make two steps of it, or put them into a `parallel` or `sequence`");
        }
    }
    if step.fault.is_some() {
        checker.positive(&path.key("for"), step.duration, "30s");
        if let Some(ramp) = &step.ramp {
            check_ramp(step, ramp, path, checker);
        }
        if let Some(target) = &step.target {
            select(target, &path.key("target"), checker);
        }
        if let Some(quorum) = step.quorum {
            check_quorum(quorum, step.target.as_ref(), &path.key("quorum"), checker);
        }
    }
    checker.positive(&path.key("wait"), step.wait, "10s");
    if let Some(after) = step.after {
        checker.within_reason(&path.key("after"), after);
    }
    if let Some(suspend) = &step.suspend {
        let path = path.key("suspend");
        checker.positive(&path.key("timeout"), Some(suspend.timeout), "10m");
        if suspend.message.trim().is_empty() {
            checker.at(&path.key("message"), "the message is empty", "tell the person what to look at");
        }
    }
    if let Some(repeat) = step.repeat {
        let path = path.key("repeat");
        match repeat.times {
            0 => checker.at(
                &path.key("times"),
                "`times` is 0, so the step is never done",
                "write how often in all, from 1; or remove the step",
            ),
            times if times > MOST_REPEATS => {
                checker.at(&path.key("times"), format!("{times} repetitions are more than 10,000"), "check the number");
            }
            _ => {}
        }
        if let Some(pause) = repeat.pause {
            checker.within_reason(&path.key("pause"), pause);
        }
    }
    if let Some(when) = &step.when {
        checker.probe_reference(spec, &when.probe, &path.key("when").key("probe"));
        checker.expectation(&when.is, &path.key("when").key("is"));
    }
}

/// Fields of a fault on a step that is none.
fn foreign_fields(step: &Step, kind: &str, path: &Path, checker: &mut Checker<'_>) {
    if kind == "fault" {
        return;
    }
    let fields = [
        ("target", step.target.is_some()),
        ("with", step.with.is_some()),
        ("for", step.duration.is_some()),
        ("ramp", step.ramp.is_some()),
        ("quorum", step.quorum.is_some()),
        ("acceptIrreversible", step.accept_irreversible),
    ];
    for (field, _) in fields.into_iter().filter(|(_, given)| *given) {
        let hint = match (kind, field) {
            ("wait", "for") => "the time stands in `wait` itself: `wait: 30s`".to_owned(),
            ("suspend", "for") => "the longest time to wait is `suspend.timeout`".to_owned(),
            ("parallel" | "sequence", _) => format!("write it on the faults inside the `{kind}`"),
            _ => "remove it, or make it a step with `fault`".to_owned(),
        };
        checker.at_key(&path.key(field), format!("`{field}` means nothing on a `{kind}` step"), hint);
    }
}

fn check_quorum(quorum: Quorum, target: Option<&Target>, path: &Path, checker: &mut Checker<'_>) {
    let most = match target.map(|target| target.select) {
        Some(Select::Count(count)) => count,
        None | Some(Select::One | Select::Specific) => 1,
        Some(Select::All | Select::Percent(_) | Select::RandomUpTo(_)) => u32::MAX,
    };
    match quorum {
        Quorum::Count(0) => checker.at(&path.key("count"), "a step that needs none of its targets says nothing", "write at least 1"),
        Quorum::Count(count) if count > most => {
            checker.at(
                &path.key("count"),
                format!("{count} targets are more than the step has: `select` gives it {most}"),
                "write at most as many, or `all`",
            );
        }
        Quorum::Percent(percent) if percent.0 <= 0.0 || percent.0 > 100.0 => {
            checker.at(&path.key("percent"), format!("{percent} is not within 0% and 100%"), "write a share such as `80%`");
        }
        Quorum::All | Quorum::Count(_) | Quorum::Percent(_) => {}
    }
}

fn check_ramp(step: &Step, ramp: &Ramp, path: &Path, checker: &mut Checker<'_>) {
    let at = path.key("ramp");
    let shares = at.key("percent");
    if ramp.percent.is_empty() {
        checker.at(&shares, "the ramp has no stages", "list growing shares, such as `[10%, 50%, 100%]`");
    }
    let mut before = 0.0;
    for (i, percent) in ramp.percent.iter().enumerate() {
        if percent.0 <= 0.0 {
            checker.at(&shares.index(i), "a stage of 0% does nothing", "start with a share above 0, such as `10%`");
        } else if percent.0 <= before {
            checker.at(
                &shares.index(i),
                format!("{percent} does not grow from {before}%"),
                "each stage adds to the one before: `[10%, 50%, 100%]`",
            );
        }
        before = percent.0;
    }
    checker.positive(&at.key("every"), Some(ramp.every), "30s");
    let before_last = u32::try_from(ramp.percent.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let needed = Time::from(ramp.every.std().saturating_mul(before_last));
    match step.duration {
        Some(time) if time <= needed && needed > Time::ZERO => {
            let message = format!("`for` is {time}, but the ramp reaches its last stage only after {needed}");
            checker.at(&path.key("for"), message, "make `for` longer, or the ramp's `every` shorter");
        }
        None if !checker.is_mended(&path.key("for")) => {
            checker.at_key(&at, "a ramp needs the step's `for`", "say how long the whole fault lasts, such as `for: 2m`");
        }
        _ => {}
    }
    if step.target.is_none() && !checker.is_mended(&path.key("target")) {
        checker.at_key(&at, "a ramp needs a `target` with several matches", "the host is only one; add `target`, or remove `ramp`");
    }
    let select = path.key("target").key("select");
    if checker.has(&select) {
        checker.at_key(&select, "`select` and `ramp` both say how many targets", "remove `select`: the ramp's shares are of all matches");
    }
}

fn select(target: &Target, path: &Path, checker: &mut Checker<'_>) {
    let nothing = match target.select {
        Select::Count(0) => Some("count"),
        Select::Percent(percent) if percent.0 <= 0.0 => Some("percent"),
        Select::RandomUpTo(percent) if percent.0 <= 0.0 => Some("randomUpTo"),
        _ => None,
    };
    if let Some(key) = nothing {
        checker.at(&path.key("select").key(key), "this selects nothing", "write a number above 0, or `one` or `all`");
    }
    if target.control && matches!(target.select, Select::All | Select::Specific) {
        let message = format!("with `select: {}` nobody is left for a control group", target.select);
        checker.at(&path.key("control"), message, "select a part of the matches, such as `select: { percent: 50 }`");
    }
}
