//! What is in the scope of a fault is affected, and nothing else is: selectors drawn at random, against all kinds of traffic at
//! once. Some of them in every run; `SQUALL_TEST_SIZE=full` takes forty and measures what a fault costs others.

mod selector;
mod traffic;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value as Json, json};
use squall_engine::{AnyFault, Target};
use squall_faults::network::latency::Latency;
use squall_faults::network::partition::Partition;
use squall_faults::stressor::Launcher;
use squall_testkit::net::InForce;
use squall_testkit::net::statistics::{quantile, sorted};

use crate::kinds::kind;
use selector::Selector;
use traffic::{Flow, Passed, Traffic, UID};

const SEED: u64 = 4;
/// The delay that is injected, but for rounding: longer is late.
const LATE: Duration = Duration::from_millis(99);
/// What a fault may cost traffic that it is not on, in the median.
const COST: f64 = 0.2;
/// To the process that injects on the host itself: fault and arguments.
const ORDER: &str = "SQUALL_TEST_SCOPES_ORDER";

fn one(of: &str, selector: &Json) -> Target {
    let found = kind(of).find(selector).now_or_never().expect("looks without waiting").expect("found");
    assert_eq!(found.len(), 1, "{selector}: {found:?}");
    found.into_iter().next().expect("one")
}

fn fault(name: &str) -> Arc<dyn AnyFault> {
    let launcher = Launcher::of_program(env!("CARGO_BIN_EXE_squall-stressor"));
    match name {
        "network.partition" => Arc::new(Partition::with(launcher)),
        "network.latency" => Arc::new(Latency::with(launcher)),
        other => panic!("{other} is not tried here"),
    }
}

fn inject(name: &str, args: &Json, target: &Target) -> InForce {
    InForce::try_new(&fault(name), args, target).unwrap_or_else(|error| panic!("{name} with {args}: {error}"))
}

/// A fault in force.
enum Broken {
    Within(Box<InForce>),
    /// With what it says: it must have somewhere to say it.
    Apart(Child, BufReader<ChildStdout>),
}

impl Broken {
    fn new(selector: &Selector, traffic: &Traffic) -> Self {
        let (pid, group) = traffic.target();
        let target = match selector.owner {
            "namespace" => traffic.here.target(),
            "process" => one("process", &json!({ "pid": pid })),
            "cgroup" => one("cgroup", &json!({ "path": group })),
            _ => return Self::apart(selector, traffic),
        };
        Self::Within(Box::new(inject(selector.fault(), &selector.args(), &target)))
    }

    /// A user is one of Squall's own host: somebody injects there.
    fn apart(selector: &Selector, traffic: &Traffic) -> Self {
        let mut command = traffic.here.command(std::env::current_exe().expect("this program"));
        command.args(["--exact", "scopes::somebody_on_the_host_injects", "--nocapture"]);
        command.env(ORDER, json!([selector.fault(), selector.args()]).to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let in_force = said.by_ref().lines().map_while(Result::ok).any(|line| line.contains("in force"));
        let made = Self::Apart(child, said);
        assert!(in_force, "{selector:?}: it could not be injected");
        made
    }

    fn revert(mut self) {
        match &mut self {
            Self::Within(made) => drop(made.revert()),
            Self::Apart(child, said) => {
                drop(child.stdin.take());
                said.read_to_end(&mut Vec::new()).expect("read to its end");
                assert!(child.wait().expect("waited for").success(), "it could not be reverted");
            }
        }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if let Self::Apart(child, _) = self {
            // One that has ended is as good; a carrier ends with it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn somebody_on_the_host_injects() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let (name, args): (String, Json) = serde_json::from_str(&order).expect("an order");
    let made = inject(&name, &args, &one("user", &json!({ "name": UID })));
    println!("\nin force");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    made.revert();
}

/// What is not as it has to be, in words, and whether it can be chance.
fn judge(selector: &Selector, flow: &Flow, passed: &Passed) -> Option<(String, bool)> {
    let (meant, came) = (selector.includes(flow), u32::try_from(passed.took.len()).expect("few"));
    let soonest = passed.took.iter().min().copied().unwrap_or_default();
    let (wrong, chance) = match (meant, selector.late) {
        (true, false) => (came > 0, false),
        (false, false) => (came != passed.begun, false),
        (_, true) if came != passed.begun => (true, false),
        (true, true) => (soonest < LATE, false),
        (false, true) => (soonest >= LATE, true),
    };
    let within = if meant { "inside".to_owned() } else { format!("outside ({})", selector.outside_by(flow).join(", ")) };
    wrong.then(|| (format!("{}: {within}, {came} of {} came, the soonest after {soonest:?}", flow.name, passed.begun), chance))
}

/// Delays of what is outside, by kind, in milliseconds.
#[derive(Default)]
struct Costs(BTreeMap<&'static str, [Vec<f64>; 2]>);

impl Costs {
    fn add(&mut self, traffic: &Traffic, selector: &Selector, passed: &[Passed], in_force: bool) {
        for (flow, passed) in traffic.flows.iter().zip(passed).filter(|(flow, _)| !selector.includes(flow)) {
            for kind in selector.outside_by(flow).into_iter().chain([flow.nature()]) {
                self.0.entry(kind).or_default()[usize::from(in_force)].extend(passed.took.iter().map(|t| t.as_secs_f64() * 1e3));
            }
        }
    }

    /// Median without and with a fault, by kind.
    fn medians(self) -> impl Iterator<Item = (&'static str, usize, f64, f64)> {
        self.0.into_iter().map(|(kind, [without, with])| {
            let (count, median) = (with.len(), |values| quantile(&sorted(values), 0.5));
            (kind, count, median(without), median(with))
        })
    }
}

/// Injects, lets everything pass, and reverts. Adds to the costs what was measured before, meanwhile and after.
fn try_out(selector: &Selector, traffic: &Traffic, rounds: u32, costs: &mut Costs) -> Vec<String> {
    let nothing = vec![false; traffic.flows.len()];
    let cut: Vec<bool> = traffic.flows.iter().map(|flow| selector.includes(flow) && !selector.late).collect();
    costs.add(traffic, selector, &traffic.pass(rounds, &nothing), false);
    let broken = Broken::new(selector, traffic);
    let (mut passed, mut wrong) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        passed = traffic.pass(rounds, &cut);
        wrong = traffic.flows.iter().zip(&passed).filter_map(|(flow, passed)| judge(selector, flow, passed)).collect();
        // A machine that is busy elsewhere for a while is late without any fault.
        if !wrong.iter().any(|(_, chance)| *chance) {
            break;
        }
    }
    broken.revert();
    costs.add(traffic, selector, &passed, true);
    let after = traffic.pass(rounds, &nothing);
    let lost = traffic.flows.iter().zip(&after).filter(|(_, passed)| passed.took.len() < passed.begun as usize);
    let lost: Vec<String> = lost.map(|(flow, _)| format!("{}: broken after the revert", flow.name)).collect();
    costs.add(traffic, selector, &after, false);
    wrong.into_iter().map(|(text, _)| text).chain(lost).collect()
}

#[test]
fn what_is_in_scope_is_affected_and_nothing_else_is() {
    let full = std::env::var("SQUALL_TEST_SIZE").as_deref() == Ok("full");
    let (count, rounds) = if full { (40, 20) } else { (10, 3) };
    let traffic = Traffic::new();
    let fits = |selector: &Selector| {
        let inside = traffic.flows.iter().filter(|flow| selector.includes(flow)).count();
        inside >= 4 && traffic.flows.len() - inside >= 20
    };
    let (mut costs, mut wrong) = (Costs::default(), Vec::new());
    for (number, selector) in Selector::some(SEED, count, fits).iter().enumerate() {
        let found = try_out(selector, &traffic, rounds, &mut costs);
        let inside = traffic.flows.iter().filter(|flow| selector.includes(flow)).count();
        let text = format!("{number}: {} on a {} with {}", selector.fault(), selector.owner, selector.args());
        println!("{text}: {inside} flows inside, {} outside, {} wrong", traffic.flows.len() - inside, found.len());
        wrong.extend(found.into_iter().map(|one| format!("{text}\n    {one}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut kinds = 0;
    for (kind, count, without, with) in costs.medians() {
        kinds += 1;
        println!(
            "{kind}: {count} passed, none lost; median {without:.3} ms without a fault, {with:.3} ms with one: {:+.3} ms",
            with - without
        );
        assert!(!full || with - without <= COST, "{kind}");
    }
    assert!(kinds >= 10, "{kinds} kinds of traffic outside of a scope");
}
