//! Chooses the targets of a step: those that match, less those that are excepted or protected, by the run's seed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use squall_model::{Event, Percent, Select, TargetRef, inline};

use super::{GateRequest, Shared, inject};
use crate::program::{FaultNode, NodeKind};
use crate::{Gate, Registry, Target};

pub(super) struct Request {
    pub node: usize,
    pub round: u32,
    pub percent: Option<Percent>,
    pub in_force: usize,
    /// Ids of targets that this step has under a fault now.
    pub taken: Vec<String>,
}

pub(super) async fn select(shared: Arc<Shared>, request: Request) {
    let node = request.node;
    match chosen(&shared, &request).await {
        Ok((matched, targets, control)) => {
            let refs = targets.into_iter().map(|target| {
                let (id, label) = (target.id.clone(), target.label.clone());
                TargetRef { injection: inject::remember(&shared, node, target), id, label }
            });
            let targets = refs.collect();
            let control = control.into_iter().map(|target| target.label).collect();
            shared.tell(Event::Selected { node, matched, targets, control });
        }
        Err(error) => shared.tell(Event::SelectFailed { node, error }),
    }
}

async fn chosen(shared: &Shared, request: &Request) -> Result<(usize, Vec<Target>, Vec<Target>), String> {
    let NodeKind::Fault(fault) = &shared.program.nodes[request.node].kind else { return Err("it is no fault".into()) };
    let matches = matches(&shared.registry, shared.gate.as_ref(), fault).await?;
    let matched = matches.targets.len();
    let order = shuffled(matches.targets, shared.seed, request.node, request.round);
    let chance = chance(shared.seed, request.node, request.round);
    let count = |percent| wanted(fault, percent, matched, chance).ok_or_else(|| unmet(fault, percent, matched, matches.protected));
    let (wanted, most) = (count(request.percent)?, count(fault.stages.last().copied().flatten())?);
    let (order, control) = shared.groups.lock().unwrap_or_else(PoisonError::into_inner).choose(request.node, fault, order, wanted, most)?;
    let gate = GateRequest {
        fault: &fault.fault,
        targets: &order,
        matched,
        chosen: order.len(),
        duration: fault.duration,
        in_force: request.in_force,
    };
    shared.gate.allow(&gate).map_err(|denied| denied.message)?;
    let questions = shared.program.questions(request.node, &shared.registry, &order, &control)?;
    shared.questions.lock().unwrap_or_else(PoisonError::into_inner).extend(questions);
    let targets = order.into_iter().filter(|t| !request.taken.contains(&t.id)).collect();
    Ok((matched, targets, control))
}

/// What matches a step's target, for the run itself and for `squall plan`.
pub(crate) struct Matches {
    pub targets: Vec<Target>,
    /// Matches that must not be touched.
    pub protected: usize,
}

pub(crate) async fn matches(registry: &Registry, gate: &dyn Gate, fault: &FaultNode) -> Result<Matches, String> {
    let kind = registry.target(&fault.target.kind).ok_or_else(|| format!("`{}` is not a kind of target", fault.target.kind))?;
    let explain = |e: crate::FindError| e.hint.map_or_else(|| e.message.clone(), |hint| format!("{}; {hint}", e.message));
    let hosts = fault.target.hosts.as_ref();
    let mut targets = kind.find_on(hosts, &fault.target.selector).await.map_err(explain)?;
    if let Some(except) = &fault.target.except {
        let left_out = kind.find_on(hosts, except).await.map_err(explain)?;
        targets.retain(|t| !left_out.iter().any(|o| o.id == t.id));
    }
    let before = targets.len();
    targets.retain(|t| gate.protected(t).is_none());
    Ok(Matches { protected: before - targets.len(), targets })
}

/// How many targets a step (or a stage of its ramp) has in all; none where the selection cannot be met.
pub(crate) fn wanted(fault: &FaultNode, percent: Option<Percent>, matched: usize, chance: f64) -> Option<usize> {
    percent.map_or(fault.target.select, Select::Percent).count(matched, chance)
}

pub(crate) fn unmet(fault: &FaultNode, percent: Option<Percent>, matched: usize, protected: usize) -> String {
    let select = percent.map_or(fault.target.select, Select::Percent);
    let beside = if protected > 0 { format!(" ({protected} more are protected)") } else { String::new() };
    let selector = format!("{}: {}", fault.target.kind, inline(&fault.target.selector));
    if matched == 0 {
        format!("nothing matches {selector}{beside}")
    } else {
        format!("`select: {select}` cannot be met: {matched} match {selector}{beside}")
    }
}

/// What a run keeps apart: the control groups of its steps, and what it has touched.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Ids, by step. A group is chosen once, with the step's first targets, and stays.
    control: HashMap<usize, Vec<String>>,
    touched: HashSet<String>,
}

impl Groups {
    /// The targets of a step out of its matches in order, and its control group if that is chosen now. `most` is how many targets the step
    /// has in its last stage.
    pub fn choose(
        &mut self,
        node: usize,
        fault: &FaultNode,
        mut order: Vec<Target>,
        wanted: usize,
        most: usize,
    ) -> Result<(Vec<Target>, Vec<Target>), String> {
        let matched = order.len();
        order.retain(|target| !self.control.values().flatten().any(|id| *id == target.id));
        if order.is_empty() && matched > 0 {
            return Err(format!("all {matched} matches are in control groups of this run"));
        }
        let mut control = Vec::new();
        if fault.target.control && !self.control.contains_key(&node) {
            let group: Vec<Target> = at_most(order.clone(), fault, most)?.into_iter().take(most).collect();
            let free = |target: &Target| !self.touched.contains(&target.id) && !group.iter().any(|other| other.id == target.id);
            control = fitting(order.iter().filter(|target| free(target)).cloned().collect(), fault);
            if control.len() < group.len() {
                let (size, left) = (group.len(), control.len());
                return Err(format!(
                    "a control group of {size} cannot be had: {matched} match, and {left} are left beside those that are touched"
                ));
            }
            control.truncate(group.len());
            self.control.insert(node, control.iter().map(|target| target.id.clone()).collect());
            order.retain(|target| !control.iter().any(|other| other.id == target.id));
        }
        let mut chosen = at_most(order, fault, wanted)?;
        chosen.truncate(wanted);
        self.touched.extend(chosen.iter().map(|target| target.id.clone()));
        Ok((chosen, control))
    }
}

/// The targets that may be taken beside each other, in order. A share is cut to that; a number that cannot be met is an error.
fn at_most(order: Vec<Target>, fault: &FaultNode, wanted: usize) -> Result<Vec<Target>, String> {
    let fitting = fitting(order, fault);
    let number = matches!(fault.target.select, Select::Count(_) | Select::One | Select::Specific);
    if fitting.len() < wanted && (number || fitting.is_empty()) {
        let limits: Vec<String> = fault.target.at_most.iter().map(|(label, most)| format!("{label}: {most}")).collect();
        let left = fitting.len();
        let what =
            if limits.is_empty() { "what is beside control groups".to_owned() } else { format!("`atMost: {{ {} }}`", limits.join(", ")) };
        return Err(format!("`select: {}` cannot be met: {what} leaves {left}", fault.target.select));
    }
    Ok(fitting)
}

/// At most so many with the same value of a label of their host, in order.
fn fitting(order: Vec<Target>, fault: &FaultNode) -> Vec<Target> {
    let limits = &fault.target.at_most;
    let mut taken: HashMap<(&str, String), u32> = HashMap::new();
    let fits = |target: &Target| {
        let values: Vec<(&str, String)> =
            limits.keys().map(|label| (label.as_str(), target.label_of_host(label).unwrap_or_default().to_owned())).collect();
        let full = values.iter().any(|key| taken.get(key).copied().unwrap_or_default() >= limits[key.0]);
        if !full {
            for key in values {
                *taken.entry(key).or_default() += 1;
            }
        }
        !full
    };
    order.into_iter().filter(fits).collect()
}

/// The matches in the order in which this step takes them: by a hash of seed, step, round and target, so that the same
/// seed takes the same ones, and one that comes or goes does not change the order of the others.
pub(crate) fn shuffled(mut targets: Vec<Target>, seed: u64, node: usize, round: u32) -> Vec<Target> {
    targets.sort_by_cached_key(|t| keyed_hash(seed, node as u64, u64::from(round), t.id.as_bytes()));
    targets
}

/// A number in `0..1` for choices of a count.
pub fn chance(seed: u64, node: usize, round: u32) -> f64 {
    (keyed_hash(seed, node as u64, u64::from(round), b"count") >> 11) as f64 / (1_u64 << 53) as f64
}

/// Mixes with `SplitMix64` (Steele, Lea, Flood 2014): enough to choose with, not to hide with.
pub fn keyed_hash(seed: u64, a: u64, b: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed;
    let words = bytes.chunks(8).map(|chunk| chunk.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte)));
    for word in [a, b, bytes.len() as u64].into_iter().chain(words) {
        hash = split_mix(hash ^ word);
    }
    hash
}

fn split_mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Six targets on three hosts in two zones.
    fn placed() -> Vec<Target> {
        let place = |i: usize| json!({ "host": format!("h{}", i / 2), "labels": { "zone": if i < 4 { "a" } else { "b" } } });
        targets(6).into_iter().enumerate().map(|(i, target)| Target { facts: place(i), ..target }).collect()
    }

    fn node(select: Select, limits: &[(&str, u32)]) -> FaultNode {
        let at_most = limits.iter().map(|(label, most)| ((*label).to_owned(), *most)).collect();
        let target =
            squall_model::Target { kind: "t".into(), selector: json!({}), select, except: None, hosts: None, at_most, control: false };
        FaultNode {
            fault: "f".into(),
            target,
            with: json!({}),
            duration: None,
            stages: vec![None],
            stage_every: squall_model::Time::ZERO,
            quorum: squall_model::Quorum::All,
            accept_irreversible: false,
        }
    }

    #[test]
    fn no_host_and_no_zone_has_more_than_it_may() {
        let all = node(Select::All, &[("host", 1)]);
        assert_eq!(ids(at_most(placed(), &all, 6).expect("cut")), ["t:0", "t:2", "t:4"]);
        let zones = node(Select::All, &[("host", 1), ("zone", 1)]);
        assert_eq!(ids(at_most(placed(), &zones, 6).expect("cut")), ["t:0", "t:4"]);
        assert_eq!(at_most(placed(), &node(Select::All, &[]), 6).expect("all").len(), 6);
    }

    #[test]
    fn a_number_that_the_limits_do_not_leave_is_refused() {
        let error = at_most(placed(), &node(Select::Count(4), &[("host", 1)]), 4).expect_err("three hosts");
        assert_eq!(error, "`select: 4` cannot be met: `atMost: { host: 1 }` leaves 3");
        assert!(at_most(placed(), &node(Select::Count(3), &[("host", 1)]), 3).is_ok());
        assert!(at_most(placed(), &node(Select::All, &[("zone", 0)]), 6).is_err());
    }

    fn targets(n: usize) -> Vec<Target> {
        (0..n).map(|i| Target { kind: "t".into(), id: format!("t:{i}"), label: String::new(), facts: serde_json::Value::Null }).collect()
    }

    fn ids(targets: Vec<Target>) -> Vec<String> {
        targets.into_iter().map(|t| t.id).collect()
    }

    #[test]
    fn the_same_seed_takes_the_same_targets_in_the_same_order() {
        let mut backwards = targets(20);
        backwards.reverse();
        assert_eq!(ids(shuffled(targets(20), 7, 1, 1)), ids(shuffled(backwards, 7, 1, 1)));
        assert_ne!(ids(shuffled(targets(20), 7, 1, 1)), ids(shuffled(targets(20), 8, 1, 1)));
        assert_ne!(ids(shuffled(targets(20), 7, 1, 1)), ids(shuffled(targets(20), 7, 1, 2)), "another round takes others");
    }

    #[test]
    fn a_target_that_goes_does_not_change_the_order_of_the_others() {
        let whole = ids(shuffled(targets(20), 7, 1, 1));
        let mut fewer = targets(20);
        fewer.remove(3);
        let fewer = ids(shuffled(fewer, 7, 1, 1));
        assert_eq!(whole.into_iter().filter(|id| id != "t:3").collect::<Vec<_>>(), fewer);
    }

    #[test]
    fn every_target_is_taken_first_about_equally_often() {
        let mut firsts = [0_u32; 10];
        for seed in 0..10_000 {
            let first = ids(shuffled(targets(10), seed, 1, 1)).remove(0);
            firsts[first[2..].parse::<usize>().expect("a number")] += 1;
        }
        // 1,000 expected of each; five standard deviations are 150.
        assert!(firsts.iter().all(|n| (850..1_150).contains(n)), "{firsts:?}");
    }

    #[test]
    fn a_control_group_is_as_large_as_the_last_stage_and_nothing_of_the_run_touches_it() {
        let mut compared = node(Select::Percent(Percent(30.0)), &[]);
        compared.target.control = true;
        let mut groups = Groups::default();
        let order = |node| shuffled(targets(10), 7, node, 1);
        let (first, control) = groups.choose(1, &compared, order(1), 1, 3).expect("enough");
        assert_eq!((first.len(), control.len()), (1, 3));
        let control = ids(control);
        let (last, again) = groups.choose(1, &compared, order(1), 3, 3).expect("the last stage");
        assert!(again.is_empty(), "it is chosen once");
        assert!(last.len() == 3 && last[0].id == first[0].id && ids(last.clone()).iter().all(|id| !control.contains(id)));
        let (others, _) = groups.choose(2, &node(Select::All, &[]), order(2), 10, 10).expect("another step");
        assert_eq!(others.len(), 7);
        assert!(ids(others).iter().all(|id| !control.contains(id)));
        // All but the group of the first step are touched by now.
        let error = groups.choose(3, &compared, order(3), 3, 3).expect_err("nobody is left");
        assert_eq!(error, "a control group of 3 cannot be had: 10 match, and 0 are left beside those that are touched");
    }

    #[test]
    fn a_control_group_keeps_to_the_limits_of_hosts_and_zones() {
        let mut compared = node(Select::Count(1), &[("zone", 1)]);
        compared.target.control = true;
        let (touched, control) = Groups::default().choose(1, &compared, placed(), 1, 1).expect("enough");
        assert_eq!((ids(touched), ids(control)), (vec!["t:0".to_owned()], vec!["t:1".to_owned()]));
        compared.target.select = Select::Count(2);
        assert!(Groups::default().choose(1, &compared, placed(), 2, 2).is_ok(), "one in each zone, twice");
    }
}
