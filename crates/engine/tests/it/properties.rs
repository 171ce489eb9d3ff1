//! The promises of the loop, over generated experiments and generated interleavings of everything that can happen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use squall_engine::{Command, InjectionState, Phase, Program, State};
use squall_model::{Arm, Event, Experiment, InjectionId, Measured, Record, RevertedBy, TargetRef, Timer, Value, Verdict};

use crate::kinds::registry;

/// A stream of small choices; zero for ever when it is used up, which is always the plain course of things.
struct Choices<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl Choices<'_> {
    fn below(&mut self, n: usize) -> usize {
        self.bytes.next().map_or(0, |b| usize::from(*b) % n)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }
}

fn step(c: &mut Choices, depth: usize) -> Json {
    let mut step = match c.below(if depth == 0 { 5 } else { 7 }) {
        0..=2 => {
            let mut fault = json!({ "fault": "test.lasting", "target": { "thing": {} } });
            if c.one_in(3) {
                fault["quorum"] = if c.one_in(2) { json!({ "count": 1 }) } else { json!({ "percent": "50%" }) };
            }
            if !c.one_in(4) {
                fault["for"] = json!(format!("{}ms", 1 + c.below(8)));
                if c.one_in(4) {
                    fault["ramp"] = json!({ "percent": ["10%", "50%", "100%"], "every": "1ms" });
                }
            }
            fault
        }
        3 => json!({ "wait": format!("{}ms", 1 + c.below(5)) }),
        4 => json!({ "suspend": { "message": "look", "timeout": "5ms", "onTimeout": if c.one_in(2) { "continue" } else { "abort" } } }),
        5 => json!({ "parallel": steps(c, depth - 1) }),
        _ => json!({ "sequence": steps(c, depth - 1) }),
    };
    if c.one_in(6) {
        step["after"] = json!("1ms");
    }
    if c.one_in(6) {
        step["repeat"] = json!({ "times": 2, "pause": if c.one_in(2) { "1ms" } else { "0" } });
    }
    if c.one_in(8) {
        step["when"] = json!({ "probe": "p0", "is": { "eq": 1 } });
    }
    step
}

fn steps(c: &mut Choices, depth: usize) -> Vec<Json> {
    (0..=c.below(3)).map(|_| step(c, depth)).collect()
}

fn experiment(c: &mut Choices) -> Experiment {
    let mut probes = vec![json!({ "name": "p0", "number": {}, "expect": { "eq": 1 } })];
    for i in 0..c.below(3) {
        probes.push(match c.below(3) {
            0 => json!({ "name": format!("q{i}"), "number": {}, "expect": { "eq": 1 } }),
            1 => json!({ "name": format!("q{i}"), "number": {}, "expect": { "eq": 1, "for": "2ms" } }),
            _ => json!({ "name": format!("q{i}"), "number": {} }),
        });
    }
    let mut spec = json!({
        "hypothesis": { "statement": "s", "probes": probes },
        "steady": { "for": format!("{}ms", c.below(4)), "every": "1ms", "warmup": if c.one_in(3) { "1ms" } else { "0" } },
        "method": steps(c, 2),
        "recovery": { "within": "10ms", "stable": format!("{}ms", c.below(3)) },
    });
    if c.one_in(2) {
        let persist = if c.one_in(2) { "2ms" } else { "0" };
        spec["guards"] = json!([{ "probe": "p0", "abort": { "eq": 0, "for": persist } }]);
    }
    if c.one_in(4) {
        let mut half = json!({ "name": "half", "fault": "test.lasting", "target": { "thing": {}, "control": true }, "for": "8ms" });
        if c.one_in(6) {
            half["when"] = json!({ "probe": "p0", "is": { "eq": 0 } });
        }
        let method = spec["method"].as_array_mut().expect("steps");
        method.insert(0, half);
        let every = if c.one_in(3) { "1ms" } else { "1s" };
        let then = if c.one_in(2) { "continue" } else { "abort" };
        spec["compare"] = json!([
            { "name": "c", "step": "half", "number": {}, "expect": { "eq": 1 }, "every": every, "whenWorse": then, "confidence": "80%" },
        ]);
    }
    if c.one_in(4) {
        spec["timeout"] = json!("12ms");
    }
    if c.one_in(3) {
        spec["rollback"] = json!({ "actions": [{ "name": "a", "command": ["true"] }, { "name": "b", "command": ["true"] }] });
    }
    if c.one_in(3) {
        spec["observe"] = json!("2ms");
    }
    let whole = json!({ "apiVersion": "squall.dev/v1", "kind": "Experiment", "metadata": { "name": "x" }, "spec": spec });
    serde_json::from_value(whole).expect("a good experiment")
}

/// The world around the loop: what has been asked for and not yet answered.
struct World<'a, 'b> {
    c: &'a mut Choices<'b>,
    state: State,
    records: Vec<Record>,
    now: u64,
    timers: BTreeMap<Timer, u64>,
    asked: Vec<usize>,
    selecting: Vec<usize>,
    injecting: BTreeMap<InjectionId, bool>,
    cancelled: BTreeSet<InjectionId>,
    verifying: Vec<InjectionId>,
    reverting: Vec<InjectionId>,
    rolling: Vec<usize>,
    comparing: bool,
    probing: bool,
    next: u32,
    /// Truth about the outside: touched and not put back.
    broken: BTreeSet<InjectionId>,
    baseline: BTreeMap<usize, bool>,
    finish: Option<(Verdict, String)>,
    stopped_in_method: bool,
}

impl World<'_, '_> {
    fn event(&mut self, event: Event) {
        let before = self.state.phase;
        self.records.push(Record { seq: self.records.len() as u64, at: self.now, event: event.clone() });
        let commands = self.state.step(self.now, &event);
        let stop = matches!(event, Event::StopRequested { .. }) && matches!(before, Phase::Inject | Phase::Observe);
        if stop {
            self.stopped_in_method = true;
            assert!(self.state.phases.iter().any(|(p, _)| *p == Phase::Revert), "a stop in {before:?} must lead to Revert");
        }
        for command in commands {
            self.command(command);
        }
    }

    fn command(&mut self, command: Command) {
        assert!(self.finish.is_none(), "nothing is asked for after the end: {command:?}");
        match command {
            Command::StartProbes => self.probing = true,
            Command::Ask { probe } => self.asked.push(probe),
            Command::SetTimer { timer, at } => {
                self.timers.insert(timer, at);
            }
            Command::Select { node, .. } => {
                assert!(!self.stopped_in_method, "a stopped run begins nothing");
                self.selecting.push(node);
            }
            Command::Inject { injection, .. } => {
                assert!(!self.stopped_in_method, "a stopped run begins nothing");
                assert!(!self.state.phases.iter().any(|(p, _)| *p == Phase::Revert), "nothing is injected once the revert began");
                for (i, spec) in self.state.program.probes.iter().enumerate() {
                    let good = self.baseline.get(&i) == Some(&true);
                    assert!(spec.bound.is_none() || good, "injected though probe {i} was not steady");
                }
                self.injecting.insert(injection, false);
            }
            Command::Cancel { injection } => {
                self.cancelled.insert(injection);
            }
            Command::Verify { injection } => self.verifying.push(injection),
            Command::Revert { injection } => {
                assert!(self.state.injections[&injection].armed, "only what was armed is reverted");
                self.reverting.push(injection);
            }
            Command::Compare { node, .. } => {
                assert_eq!(self.state.program.comparisons[0].node, node);
                self.comparing = true;
            }
            Command::Rollback { action } => self.rolling.push(action),
            Command::Finish { verdict, reason } => self.finish = Some((verdict, reason)),
        }
    }

    fn sample(&mut self, probe: usize) {
        let value = match self.c.below(12) {
            0..=8 => Measured::Value(Value::Number(1.0)),
            9 | 10 => Measured::Value(Value::Number(0.0)),
            _ => Measured::Unmeasured("no answer".into()),
        };
        if self.state.phase == Phase::Steady {
            self.baseline.insert(probe, value == Measured::Value(Value::Number(1.0)));
        }
        let took = self.c.below(6) as u64 * 1_000;
        self.event(Event::Sampled { probe, took: took.min(self.now), measured: value });
    }

    /// An answer of one of the groups: the fault makes most of its targets' bad.
    fn compare(&mut self) {
        let control = self.c.one_in(2);
        let (arm, target) = if control || self.state.injections.is_empty() {
            (Arm::Control, "kept".to_owned())
        } else {
            let at = self.c.below(self.state.injections.len());
            (Arm::Experiment, self.state.injections.values().nth(at).expect("in range").target.clone())
        };
        let measured = match self.c.below(16) {
            15 => Measured::Unmeasured("no answer".into()),
            14 => Measured::Value(Value::Number(if arm == Arm::Control { 1.0 } else { f64::NAN })),
            1..=13 if arm == Arm::Experiment => Measured::Value(Value::Number(0.0)),
            _ => Measured::Value(Value::Number(1.0)),
        };
        let took = if self.c.one_in(4) { (self.c.below(6) as u64 * 1_000).min(self.now) } else { 0 };
        self.event(Event::Compared { comparison: 0, arm, target, took, measured });
    }

    fn inject_on(&mut self, injection: InjectionId, armed: bool) {
        if !armed && !self.c.one_in(10) {
            // On disk, and from here on touched.
            self.broken.insert(injection);
            self.injecting.insert(injection, true);
            return self.event(Event::Armed { injection });
        }
        self.injecting.remove(&injection);
        let cancelled = self.cancelled.contains(&injection) && !self.c.one_in(3);
        if armed && !cancelled && !self.c.one_in(10) {
            self.event(Event::Injected { injection });
        } else {
            self.event(Event::InjectFailed { injection, error: "no".into() });
        }
    }

    /// Lets one thing happen. Things that were asked for come in any order; timers never early, but late.
    fn turn(&mut self) {
        self.now += self.c.below(8) as u64 * 150;
        let due = self.timers.iter().filter(|(_, at)| **at <= self.now).map(|(t, _)| *t).next();
        match self.c.below(12) {
            0..=2 if due.is_some() => {
                let timer = due.expect("checked");
                self.timers.remove(&timer);
                self.event(Event::Elapsed { timer });
            }
            3 if !self.selecting.is_empty() => {
                let node = self.selecting.remove(0);
                if self.c.one_in(12) {
                    return self.event(Event::SelectFailed { node, error: "none".into() });
                }
                let targets = (0..=self.c.below(2)).map(|_| {
                    self.next += 1;
                    TargetRef { injection: InjectionId(self.next), id: format!("t{}", self.next), label: "t".into() }
                });
                let targets = targets.collect();
                self.event(Event::Selected { node, matched: 3, targets, control: Vec::new() });
            }
            4 | 5 if !self.injecting.is_empty() => {
                let at = self.c.below(self.injecting.len());
                let (id, armed) = self.injecting.iter().nth(at).map(|(i, a)| (*i, *a)).expect("in range");
                self.inject_on(id, armed);
            }
            6 if !self.verifying.is_empty() => {
                let injection = self.verifying.remove(0);
                let in_force = !self.c.one_in(10);
                self.event(Event::Verified { injection, in_force, evidence: "e".into() });
            }
            7 | 8 if !self.reverting.is_empty() => {
                let at = self.c.below(self.reverting.len());
                let injection = self.reverting.remove(at);
                if self.c.one_in(6) {
                    return self.event(Event::RevertFailed { injection, error: "busy".into() });
                }
                self.broken.remove(&injection);
                let by = if self.c.one_in(5) { RevertedBy::Watchdog } else { RevertedBy::Engine };
                self.event(Event::Reverted { injection, by, how: "done".into() });
            }
            9 if !self.rolling.is_empty() => {
                let action = self.rolling.remove(0);
                let error = self.c.one_in(8).then(|| "no".to_owned());
                self.event(Event::RolledBack { action, error });
            }
            10 if self.c.one_in(12) => match self.c.below(3) {
                0 => self.event(Event::StopRequested { by: "a test".into() }),
                1 => self.event(Event::ContinueRequested { by: "a test".into() }),
                _ => self.event(Event::SafetyLost { reason: "a test".into() }),
            },
            11 if self.comparing => (0..6).for_each(|_| self.compare()),
            _ if !self.asked.is_empty() => {
                let probe = self.asked.remove(0);
                self.sample(probe);
            }
            _ if self.probing => {
                let probe = self.c.below(self.state.probes.len());
                self.sample(probe);
            }
            _ => {}
        }
    }
}

/// What of a state can be compared: all but the program.
fn fingerprint(state: &State) -> String {
    let State { phase, phases, now, events, probes, guards, nodes, injections, stop, first_injection, .. } = state;
    format!(
        "{phase:?} {phases:?} {now} {events} {probes:?} {guards:?} {nodes:?} {injections:?} {stop:?} {first_injection:?} {:?} {:?} {:?}",
        state.verdict, state.rolled_back, state.comparisons
    )
}

/// The verdict, how many injections there were, whether it held without some of its targets, and whether a comparison was decided.
fn run(bytes: &[u8]) -> (Verdict, usize, bool, bool) {
    let mut c = Choices { bytes: bytes.iter() };
    let program = Arc::new(Program::compile(&experiment(&mut c), &registry()).expect("a good program"));
    let cut = c.below(200);
    let mut world = World {
        c: &mut c,
        state: State::new(program.clone()),
        records: Vec::new(),
        now: 0,
        timers: BTreeMap::new(),
        asked: Vec::new(),
        selecting: Vec::new(),
        injecting: BTreeMap::new(),
        cancelled: BTreeSet::new(),
        verifying: Vec::new(),
        reverting: Vec::new(),
        rolling: Vec::new(),
        comparing: false,
        probing: false,
        next: 0,
        broken: BTreeSet::new(),
        baseline: BTreeMap::new(),
        finish: None,
        stopped_in_method: false,
    };
    world.event(Event::Planned);
    let mut snapshot = None;
    for turn in 0..6_000 {
        if world.finish.is_some() {
            break;
        }
        if world.c.bytes.len() == 0 {
            calm(&mut world, turn);
        } else {
            world.turn();
        }
        if world.records.len() >= cut && snapshot.is_none() {
            snapshot = Some((world.records.len(), fingerprint(&world.state)));
        }
    }
    let (verdict, reason) = world.finish.clone().expect("every run ends");
    world.records.push(Record { seq: 0, at: world.now, event: Event::Ended { verdict, reason: reason.clone() } });
    world.state.step(world.now, &Event::Ended { verdict, reason: reason.clone() });

    // No end with something broken that is not reported.
    if !world.broken.is_empty() {
        assert_eq!(verdict, Verdict::Failed, "{:?} left, and the run says {verdict}", world.broken);
        assert!(reason.contains("could not be reverted"), "{reason}");
    }
    if verdict == Verdict::Held {
        let seen = |i: &InjectionState| i.reverted.is_some() && i.verified.as_ref().is_some_and(|v| v.0);
        assert!(world.state.injections.values().all(|i| if i.left_out { i.settled() } else { seen(i) }));
        // Whatever was left out, some of each step's targets were under its fault.
        for out in world.state.injections.values().filter(|i| i.left_out) {
            assert!(world.state.injections.values().any(|i| i.node == out.node && !i.left_out && seen(i)));
        }
    }
    if verdict == Verdict::Held {
        // Whatever was asked while something was broken counts, however late its answer came.
        let began = world.state.first_injection.expect("something was injected");
        let revert = world.state.phases.iter().find(|(phase, _)| *phase == Phase::Revert).map(|(_, at)| *at).expect("reverted");
        for record in &world.records {
            if let Event::Sampled { probe, took, measured: Measured::Value(Value::Number(n)) } = &record.event {
                let spec = &world.state.program.probes[*probe];
                let under_fault = record.at > began && record.at - took < revert;
                assert!(
                    !(under_fault && spec.bound.is_some() && spec.persist == squall_model::Time::ZERO && *n < 0.5),
                    "{record:?} and yet it held"
                );
            }
        }
    }
    compared(&world, verdict);
    if verdict == Verdict::Unsteady {
        assert!(world.state.injections.is_empty());
    }
    if let Some((length, before)) = snapshot {
        let again = State::replay(program.clone(), &world.records[..length]);
        assert_eq!(fingerprint(&again), before, "replay of a prefix gives the same state");
    }
    assert_eq!(fingerprint(&State::replay(program, &world.records)), fingerprint(&world.state));
    let without = verdict == Verdict::Held && world.state.injections.values().any(|i| i.left_out);
    let worse = world.state.comparisons.iter().any(|comparison| comparison.worse.is_some());
    (verdict, world.state.injections.len(), without, worse)
}

/// What is said of a comparison rests on what was answered under the fault, and on nothing else.
fn compared(world: &World<'_, '_>, verdict: Verdict) {
    let (specs, comparisons) = (&world.state.program.comparisons, &world.state.comparisons);
    for (spec, comparison) in specs.iter().zip(comparisons) {
        let (experiment, control) = (comparison.experiment, comparison.control);
        let under = |asked: u64, target: Option<&str>| {
            world.state.injections.values().any(|i| {
                let gone = i.reverting.or(i.reverted.as_ref().map(|(at, ..)| *at)).unwrap_or(u64::MAX);
                let of = i.node == spec.node && target.is_none_or(|target| target == i.target);
                // What happens at one moment has an order that the times do not show.
                of && i.in_force.is_some_and(|from| from <= asked) && asked <= gone
            })
        };
        let answers = |wanted: Arm| {
            let of_arm = world.records.iter().filter_map(move |record| match &record.event {
                Event::Compared { arm, target, took, .. } if *arm == wanted => Some((record.at - took, target.as_str())),
                _ => None,
            });
            of_arm.filter(|(asked, target)| under(*asked, (wanted == Arm::Experiment).then_some(target))).count()
        };
        assert!(experiment.all as usize <= answers(Arm::Experiment) && control.all as usize <= answers(Arm::Control));
        if comparison.worse.is_some() {
            assert!(experiment.bad > 0 && control.all > 0, "{comparison:?}");
            assert_ne!(verdict, Verdict::Held);
        }
        if verdict == Verdict::Held && world.state.injections.values().any(|i| i.node == spec.node) {
            assert!(experiment.all > 0 && control.all > 0 && control.bad * 2 <= control.all, "{comparison:?}");
        }
    }
}

/// The plain course of things, when the choices are used up: everything that was asked for is answered, in turn.
fn calm(world: &mut World<'_, '_>, turn: usize) {
    world.now += 200;
    let due = world.timers.iter().filter(|(_, at)| **at <= world.now).map(|(t, _)| *t).next();
    if let Some(injection) = world.reverting.pop() {
        world.broken.remove(&injection);
        world.event(Event::Reverted { injection, by: RevertedBy::Engine, how: "done".into() });
    } else if let Some(timer) = due {
        world.timers.remove(&timer);
        world.event(Event::Elapsed { timer });
    } else if let Some((id, armed)) = world.injecting.iter().next().map(|(i, a)| (*i, *a)) {
        world.inject_on(id, armed);
    } else if let Some(injection) = world.verifying.pop() {
        world.event(Event::Verified { injection, in_force: true, evidence: "e".into() });
    } else if let Some(node) = world.selecting.pop() {
        world.next += 1;
        let target = TargetRef { injection: InjectionId(world.next), id: "t".into(), label: "t".into() };
        world.event(Event::Selected { node, matched: 1, targets: vec![target], control: Vec::new() });
    } else if let Some(action) = world.rolling.pop() {
        world.event(Event::RolledBack { action, error: None });
    } else if let Some(probe) = world.asked.pop() {
        world.sample(probe);
    } else if world.comparing && turn.is_multiple_of(2) {
        world.compare();
    } else if world.probing {
        world.sample(turn % world.state.probes.len());
    }
}

proptest! {
    // SQUALL_CASES sets another number; the 100,000 here run in CI.
    #![proptest_config(ProptestConfig {
        cases: std::env::var("SQUALL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_interleaving_keeps_the_promises(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        run(&bytes);
    }
}

/// A generator that never gets far would make the property above true for nothing.
#[test]
fn the_generated_runs_reach_every_verdict() {
    let (mut held_without, mut decided) = (0, 0);
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut number, mut injections) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    for length in (0..20_000).map(|i| i % 400) {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                // xorshift64 (Marsaglia 2003)
                number ^= number << 13;
                number ^= number >> 7;
                number ^= number << 17;
                number.to_le_bytes()[3]
            })
            .collect();
        let (verdict, injected, without, worse) = run(&bytes);
        held_without += usize::from(without);
        decided += usize::from(worse);
        *seen.entry(verdict.name()).or_default() += 1;
        injections += injected;
    }
    println!("{seen:?}, {injections} injections, {held_without} held without some of their targets, {decided} compared");
    assert!(decided > 20, "{decided}");
    assert!(held_without > 20, "{held_without}");
    assert!(Verdict::ALL.iter().all(|v| seen.get(v.name()).is_some_and(|n| *n > 20)), "{seen:?}");
    assert!(injections > 5_000, "{injections}");
}
