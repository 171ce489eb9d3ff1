//! What the demo's experiments taught, in plain words and with the numbers of this very run.

use std::collections::HashMap;
use std::time::Duration;

use squall_engine::{Phase, State};
use squall_shop::{Mistake, Shop, mistakes};

use super::edges::Edges;
use crate::live::{seconds, span};

/// A slow way to payments.
pub fn slow(_: &Shop, _: &Edges, state: &State) -> Vec<String> {
    let name = "checkout p99";
    let mut lines = Vec::new();
    if let (Some(before), Some(during)) = (number(state, name, Part::Before), number(state, name, Part::During)) {
        lines.push(format!(
            "Learned: 100 ms more on the way to payments made a checkout go from {} to {} (p99).",
            seconds(before),
            seconds(during)
        ));
        lines.push("It crosses that way once, and waits for it once: no chatter, no queue.".to_owned());
    }
    lines
}

/// Three in ten calls answered with 503.
pub fn storm(_: &Shop, edges: &Edges, state: &State) -> Vec<String> {
    let (calls, refused) = edges.hits("http.abort");
    let Some(errors) = number(state, "checkout errors", Part::During).filter(|_| refused > 0) else {
        return vec!["Nothing was learned: no call met the fault.".to_owned()];
    };
    let mut lines = vec![format!(
        "Learned: {refused} of {calls} calls to orders were answered with 503, and up to {:.1}% of the customers saw an error.",
        errors * 100.0
    )];
    lines.push("The gateway tries again, which hides single errors well. What the same retries do to a shop that is slow".to_owned());
    lines.push("instead, the last experiment shows.".to_owned());
    lines
}

/// A stream that breaks.
pub fn cut(_: &Shop, _: &Edges, state: &State) -> Vec<String> {
    let name = "products in the catalogue";
    let mut lines = Vec::new();
    if let (Some(before), Some(during)) = (number(state, name, Part::Before), number(state, name, Part::Least)) {
        lines.push(format!("Learned: the catalogue has {before} products. When its stream was cut after 4 KB, customers saw {during}"));
        lines.push("and a status of 200: half of a page that looks whole.".to_owned());
    }
    lines.push("What would put it right:".to_owned());
    lines.extend(mistakes().iter().filter(|mistake| mistake.name == CUT).flat_map(remedy));
    lines
}

/// The mistake that has nothing to do with payments.
const CUT: &str = "cut-stream";

/// A cache that hangs.
pub fn cache(_: &Shop, _: &Edges, state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(before), Some(during)) = (number(state, "product page p99", Part::Before), number(state, "product page p99", Part::During))
    {
        lines.push(format!("Learned: with the cache hanging, the product page went from {} to {} (p99)", seconds(before), seconds(during)));
        lines.push("and lost nobody: the gateway waits 50 ms for the cache, then shows prices that it knows itself.".to_owned());
    }
    lines.push("A short timeout and something good enough to fall back to. Now you know that it works.".to_owned());
    lines
}

/// Payments that hang.
pub fn payments(shop: &Shop, _: &Edges, state: &State) -> Vec<String> {
    let charged = charged_again(shop);
    let mut lines = Vec::new();
    if let (Some(before), Some(during)) = (number(state, "order page p99", Part::Before), number(state, "order page p99", Part::During)) {
        lines.push(format!(
            "Learned: a page that needs no payment went from {} to {} (p99) because payments hung,",
            seconds(before),
            seconds(during)
        ));
    }
    if let Some(errors) = number(state, "order page errors", Part::During) {
        lines.push(format!("and up to {:.0}% of its visitors got an error.", errors * 100.0));
    }
    let health = state.program.probes.iter().zip(&state.probes).find(|(spec, _)| spec.name == "health of orders");
    if health.is_some_and(|(_, probe)| probe.during.violated == 0 && probe.during.measured() > 0) {
        lines.push("The health check of orders said all was well the whole time.".to_owned());
    }
    if let (Some(back), Some(well)) = (state.reverted_at, state.recovered_at) {
        lines.push(format!("It was well again {} after payments was.", span(Duration::from_micros(well.saturating_sub(back)))));
    }
    if charged.customers > 0 {
        let ChargedAgain { customers, most } = &charged;
        lines.push(format!("And it is worse than slow: {customers} customers were charged more than once, up to {most} times."));
    }
    lines.push("What would put it right:".to_owned());
    lines.extend(mistakes().iter().filter(|mistake| mistake.name != CUT).flat_map(remedy));
    lines
}

fn remedy(mistake: &Mistake) -> [String; 2] {
    [format!("  {}:{}  {};", mistake.file, mistake.line, mistake.what), format!("      {}", mistake.fix)]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Before,
    During,
    Least,
}

/// The last value of a probe before the fault, or the largest or least while it was in force.
fn number(state: &State, name: &str, part: Part) -> Option<f64> {
    let index = state.program.probes.iter().position(|spec| spec.name == name)?;
    let began = state.first_injection?;
    let reverting = state.phases.iter().find(|(phase, _)| *phase == Phase::Revert).map_or(u64::MAX, |(_, at)| *at);
    let mut numbers = state.probes[index].recent.iter().filter_map(|(at, number, _)| Some((*at, (*number)?)));
    match part {
        Part::Before => numbers.rfind(|(at, _)| *at < began).map(|(_, number)| number),
        Part::During | Part::Least => {
            let pick = if part == Part::During { f64::max } else { f64::min };
            numbers.filter(|(at, _)| *at >= began && *at < reverting).map(|(_, number)| number).reduce(pick)
        }
    }
}

/// Customers whom the ledger has more than once.
struct ChargedAgain {
    customers: usize,
    most: usize,
}

fn charged_again(shop: &Shop) -> ChargedAgain {
    let books = std::fs::read_to_string(shop.books()).unwrap_or_default();
    let mut charges: HashMap<&str, usize> = HashMap::new();
    // Each line is an order with its amount; the same line again is the same order charged again.
    for line in books.lines() {
        *charges.entry(line).or_default() += 1;
    }
    let again = charges.values().filter(|count| **count > 1);
    ChargedAgain { customers: again.clone().count(), most: again.copied().max().unwrap_or(0) }
}
