//! Monkeys: how often, when, whom and what.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan};
use squall_schedule::{Candidate, History, PassedBecause, Planner, parse_monkey};

use crate::simulation;

#[test]
fn over_ten_thousand_work_weeks_the_mean_is_what_was_asked() {
    // The cases by themselves take seconds each without optimisation, so they share the cores.
    let cases = simulation::cases();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let found = simulation::run(case, 4, 10_000);
            let name = format!("{} in {}", case.name(), case.zone);
            assert!(found.deviation.abs() < 0.02, "{name}: the mean is {} work days, {:.2}% off", found.mean, found.deviation * 100.0);
            assert_eq!((found.below_minimum, found.outside_hours, found.on_days_off), (0, 0, 0), "{name}");
            assert!(found.weeks == 10_000 && found.kills > 10_000, "{name}: {}", found.kills);
            assert!(found.worst_group.abs() < 0.06, "{name}: a single group is {:.2}% off", found.worst_group * 100.0);
            assert_eq!(found.on_changes > 100, case.every_day, "{name}: {} kills on days on which the clock changed", found.on_changes);
            // Uniform: a chi-square of 11 degrees of freedom is above 38 once in 12,000 times.
            let even = found.kills as f64 / 12.0;
            let chi: f64 = found.twelfths.iter().map(|count| (*count as f64 - even).powi(2) / even).sum();
            assert!(chi < 38.0, "{name}: {:?}", found.twelfths);
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work();
        other.join().expect("the other half");
    });
}

const MONKEY: &str = "\
apiVersion: squall.dev/v1
kind: Monkey
metadata: { name: prod }
spec:
  timeZone: Europe/Berlin
  hours: { from: '09:00', to: '17:00' }
  holidays: [{ date: 12-25, name: Christmas }]
  frequency: { mean: 2, minimum: 1 }
  seed: 11
  groups:
    - { name: services, by: [app] }
  faults:
    - { fault: process.kill, target: { process: { name: app } }, acceptIrreversible: true, weight: 3 }
    - { fault: process.pause, target: { process: { name: app } }, for: 30s }
";

fn planner(text: &str) -> Planner {
    Planner::new(&parse_monkey(text).expect("good").0).expect("good")
}

fn fleet(count: usize) -> Vec<Candidate> {
    let app = |i: usize| BTreeMap::from([("app".to_owned(), format!("app-{}", i / 5))]);
    (0..count).map(|i| Candidate { id: format!("h{i}"), labels: app(i) }).collect()
}

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

#[test]
fn a_kill_comes_once_and_only_from_its_time_on() {
    let planner = planner(MONKEY);
    let fleet = fleet(50);
    let mut history = BTreeMap::new();
    let morning = planner.decide(at("2026-11-23T05:00:00Z"), &fleet, &history);
    assert!(morning.kills.is_empty() && !morning.ahead.is_empty());
    let mut done = Vec::new();
    // Looked at every 40 seconds, all day.
    for second in (0..24 * 3600).step_by(40) {
        let now = at("2026-11-23T05:00:00Z") + second.seconds();
        let decided = planner.decide(now, &fleet, &history);
        for kill in decided.kills {
            assert!(kill.at <= now && now.duration_since(kill.at).as_secs() < 40);
            history.insert(kill.group.clone(), History { last_kill: Some(kill.date), decided: Some(kill.date) });
            done.push(kill);
        }
        assert!(decided.missed.is_empty(), "{:?}", decided.missed);
    }
    let mut ahead = morning.ahead;
    ahead.sort_by(|a, b| a.id.cmp(&b.id));
    done.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(done, ahead);
}

#[test]
fn a_kill_that_nobody_was_there_for_is_missed_and_does_not_count() {
    let planner = planner(MONKEY);
    let fleet = fleet(50);
    let morning = planner.decide(at("2026-11-23T05:00:00Z"), &fleet, &BTreeMap::new());
    let kill = morning.ahead.iter().min_by_key(|kill| kill.at).expect("one");
    let at_once = planner.decide(kill.at + 899.seconds(), &fleet, &BTreeMap::new());
    assert!(at_once.kills.contains(kill), "a quarter of an hour late is still good");
    let late = planner.decide(kill.at + 901.seconds(), &fleet, &BTreeMap::new());
    assert!(late.missed.contains(kill));
    let history = BTreeMap::from([(kill.group.clone(), History { last_kill: None, decided: Some(kill.date) })]);
    let again = planner.decide(kill.at + 902.seconds(), &fleet, &history);
    assert!(again.passed.iter().any(|passed| passed.group == kill.group && passed.because == PassedBecause::Done));
}

#[test]
fn hosts_that_come_and_go_do_not_change_the_choice_among_the_others() {
    let planner = planner(MONKEY);
    let now = at("2026-11-23T05:00:00Z");
    let all = fleet(50);
    let chosen = planner.decide(now, &all, &BTreeMap::new()).ahead;
    for gone in &all {
        let others: Vec<Candidate> = all.iter().filter(|host| *host != gone).cloned().collect();
        let without = planner.decide(now, &others, &BTreeMap::new()).ahead;
        assert_eq!(chosen.len(), without.len());
        for (before, after) in chosen.iter().zip(&without) {
            assert_eq!((&before.id, before.at, before.fault), (&after.id, after.at, after.fault));
            assert!(before.target == after.target || before.target == gone.id);
        }
    }
}

#[test]
fn every_host_and_every_fault_gets_its_share() {
    let planner = planner(MONKEY);
    let all = fleet(5);
    let (mut hosts, mut faults, mut date) = (BTreeMap::new(), [0_u32; 2], at("2026-01-01T00:00:00Z"));
    for _ in 0..20_000 {
        for kill in planner.decide(date, &all, &BTreeMap::new()).ahead {
            *hosts.entry(kill.target).or_insert(0_u32) += 1;
            faults[kill.fault] += 1;
        }
        date += 24.hours();
    }
    let kills: u32 = hosts.values().sum();
    // Five standard deviations.
    let within = |count: u32, share: f64| (f64::from(count) - f64::from(kills) * share).abs() < 5.0 * (f64::from(kills) * share).sqrt();
    assert!(hosts.len() == 5 && hosts.values().all(|count| within(*count, 0.2)), "{hosts:?}");
    assert!(within(faults[0], 0.75) && within(faults[1], 0.25), "{faults:?}");
}

#[test]
fn nothing_is_done_on_a_day_off_and_it_says_why() {
    let planner = planner(MONKEY);
    let off = |now: &str| planner.decide(at(now), &fleet(50), &BTreeMap::new()).off;
    assert_eq!(off("2026-12-25T10:00:00Z").as_deref(), Some("a holiday: Christmas"));
    assert_eq!(off("2026-11-22T10:00:00Z").as_deref(), Some("no work day"));
    // Still Sunday in UTC, and Monday in Berlin.
    assert_eq!(off("2026-11-22T23:30:00Z"), None);
    let disabled = parse_monkey(&MONKEY.replace("spec:\n", "spec:\n  enabled: false\n")).expect("good").0;
    let decided = Planner::new(&disabled).expect("good").decide(at("2026-11-23T10:00:00Z"), &fleet(50), &BTreeMap::new());
    assert_eq!(decided.off.as_deref(), Some("the monkey is disabled"));
}

#[test]
fn a_clock_that_goes_back_a_day_kills_nobody_twice() {
    let planner = planner(&MONKEY.replace("mean: 2", "mean: 1"));
    let fleet = fleet(5);
    let known = BTreeMap::from([(
        "services/app=app-0".to_owned(),
        History { last_kill: Some("2026-11-24".parse().expect("a date")), decided: Some("2026-11-24".parse().expect("a date")) },
    )]);
    for now in ["2026-11-23T10:00:00Z", "2026-11-24T15:59:00Z"] {
        let decided = planner.decide(at(now), &fleet, &known);
        assert!(decided.kills.is_empty() && decided.ahead.is_empty() && decided.missed.is_empty(), "{now}");
    }
}

#[test]
fn a_kill_becomes_an_experiment_that_the_manifest_reader_takes() {
    let text = MONKEY.to_owned()
        + "  leashed: false
  hypothesis:
    statement: the shop answers
    probes:
      - name: shop
        http: { url: http://127.0.0.1:8080/ }
        expect: { lt: 500ms }
";
    let monkey = parse_monkey(&text).expect("good").0;
    let planner = Planner::new(&monkey).expect("good");
    let decided = planner.decide(at("2026-11-23T05:00:00Z"), &fleet(50), &BTreeMap::new());
    let kill = decided.ahead.first().expect("one");
    assert!(!kill.leashed);
    let experiment = monkey.experiment(kill).expect("with a hypothesis");
    let json = serde_json::to_string(&experiment).expect("good");
    let (read, _) = squall_model::parse_experiment(&json).expect("a good manifest");
    assert_eq!(read, experiment);
    assert_eq!(read.spec.method.len(), 1);
    let hosts = read.spec.method[0].target.as_ref().and_then(|target| target.hosts.as_ref()).expect("one host");
    assert_eq!(hosts.names, [kill.target.as_str()]);
}
