//! The rules of a proxy made ready, and what they decide for each request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::attempts::Attempts;
use super::fault::{self, Action};
use super::plan::{Asked, Draw, Plan};
use crate::decide::{Decider, Purpose};
use crate::rule::{MatchSpec, RuleSpec, StickySpec};

/// The HTTP rules of one proxy.
#[derive(Debug, Default)]
pub(crate) struct RuleSet {
    rules: Vec<Arc<Rule>>,
    /// Whether any rule looks into the body of requests.
    pub(crate) reads_body: bool,
}

/// What a rule did, by group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arms {
    /// Requests that matched.
    pub matched: u64,
    /// Of those, requests that got the fault.
    pub injected: u64,
    /// Of those, requests of the control group.
    pub control: u64,
}

#[derive(Debug)]
struct Rule {
    spec: RuleSpec,
    name: String,
    fault: String,
    matches: Matches,
    sticky: Option<StickySpec>,
    share: f64,
    control: f64,
    attempts: Option<u64>,
    decider: Decider,
    action: Box<dyn Action>,
    seen: Mutex<Attempts>,
    matched: AtomicU64,
    injected: AtomicU64,
    controlled: AtomicU64,
}

/// A decision, for the event log.
pub(crate) struct Decided {
    pub(crate) rule: String,
    pub(crate) key: String,
    pub(crate) attempt: u64,
    pub(crate) fault: Option<String>,
    pub(crate) control: bool,
}

impl RuleSet {
    /// Makes the rules of `http.*`, `stream.*`, `data.*`, `model.*` and `function.*` ready; others are passed over. A rule that
    /// stands in `before` with the same name and content is that one, with its counts, its attempts and its bucket.
    ///
    /// # Errors
    /// The rule's name, what is wrong, and what to do.
    pub(crate) fn compile(
        proxy: &str,
        seed: u64,
        specs: &[RuleSpec],
        before: Option<&Self>,
    ) -> Result<Self, (String, String, Option<String>)> {
        let known = |spec: &RuleSpec| before?.rules.iter().find(|rule| rule.spec == *spec).cloned();
        let rules = specs.iter().filter(|spec| !spec.fault.starts_with("tls."));
        let ready = |spec| known(spec).map_or_else(|| Rule::compile(proxy, seed, spec).map(Arc::new), Ok);
        let rules = rules.map(ready).collect::<Result<Vec<_>, _>>()?;
        let reads_body = rules.iter().any(|rule| !rule.matches.body.is_empty());
        Ok(Self { rules, reads_body })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What each rule did, by name.
    pub(crate) fn arms(&self) -> Vec<(String, Arms)> {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let arms =
            |rule: &Arc<Rule>| Arms { matched: load(&rule.matched), injected: load(&rule.injected), control: load(&rule.controlled) };
        self.rules.iter().map(|rule| (rule.name.clone(), arms(rule))).collect()
    }

    /// What is done to this request; `None` where no rule matches it, or none that does hits it.
    pub(crate) fn decide(&self, asked: &Asked<'_>, now: Duration, mut tell: impl FnMut(Decided)) -> Option<Plan> {
        let mut plan: Option<Plan> = None;
        for rule in self.rules.iter().filter(|rule| rule.matches.covers(asked)) {
            let fault = rule.decide(asked, now, &mut tell);
            if let Some(draw) = fault {
                rule.action.plan(asked, &draw, plan.get_or_insert_default());
            }
        }
        plan
    }
}

impl Rule {
    fn compile(proxy: &str, seed: u64, spec: &RuleSpec) -> Result<Self, (String, String, Option<String>)> {
        let name = if spec.name.is_empty() { spec.fault.clone() } else { spec.name.clone() };
        let wrong = |message: String, hint: Option<String>| (format!("rule {name}"), message, hint);
        let action = fault::compile(&spec.fault, &spec.with).map_err(|(message, hint)| wrong(message, hint))?;
        let matches = Matches::compile(spec.matches.as_ref());
        Ok(Self {
            spec: spec.clone(),
            fault: spec.fault.clone(),
            matches,
            sticky: spec.sticky.clone(),
            share: spec.percent.map_or(1.0, squall_model::Percent::share),
            control: spec.control.map_or(0.0, squall_model::Percent::share),
            attempts: spec.attempts,
            decider: Decider::new(seed, &format!("{proxy}/{name}")),
            action,
            seen: Mutex::default(),
            matched: AtomicU64::new(0),
            injected: AtomicU64::new(0),
            controlled: AtomicU64::new(0),
            name,
        })
    }

    /// Whether this request gets the fault, and with which randomness.
    fn decide(&self, asked: &Asked<'_>, now: Duration, tell: &mut impl FnMut(Decided)) -> Option<Draw> {
        self.matched.fetch_add(1, Ordering::Relaxed);
        let key = self.key(asked);
        let attempt = self.count(&key);
        // Who is sticky has one fate. All others are known by what they ask for, and each time is another draw.
        let draw = if self.sticky.is_some() { 0 } else { attempt };
        let control = self.control > 0.0 && self.decider.happens(self.control, Purpose::Arm, &key, draw);
        let hit = !control
            && self.attempts.is_none_or(|most| attempt < most)
            && self.decider.happens(self.share, Purpose::Share, &key, draw)
            && self.action.wants(asked);
        let group = if control { Some(&self.controlled) } else { hit.then_some(&self.injected) };
        if let Some(group) = group {
            group.fetch_add(1, Ordering::Relaxed);
        }
        tell(Decided {
            rule: self.name.clone(),
            key: String::from_utf8_lossy(&key).into_owned(),
            attempt,
            fault: hit.then(|| self.fault.clone()),
            control,
        });
        hit.then(|| Draw { seed: self.decider.bits(Purpose::Magnitude, &key, attempt), now })
    }

    fn key(&self, asked: &Asked<'_>) -> Vec<u8> {
        let sticky = match &self.sticky {
            None => return [asked.method, b" ", asked.path()].concat(),
            Some(StickySpec::Header(name)) => (asked.field)(name).map(<[u8]>::to_vec),
            Some(StickySpec::Cookie(name)) => asked.cookie(name).map(<[u8]>::to_vec),
            Some(StickySpec::Query(name)) => asked.query().find(|(known, _)| known == name).map(|(_, value)| value.into_bytes()),
            Some(StickySpec::Client) => asked.client.map(|ip| ip.to_canonical().to_string().into_bytes()),
        };
        // Those without the key share a fate, as one unknown user.
        sticky.unwrap_or_default()
    }

    /// How often this key was seen before.
    fn count(&self, key: &[u8]) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).count(key)
    }
}

/// Which requests a rule is for.
#[derive(Debug, Default)]
struct Matches {
    method: Vec<String>,
    path: Option<Pattern>,
    host: Option<Pattern>,
    header: Vec<(String, Pattern)>,
    query: Vec<(String, Pattern)>,
    body: Vec<(String, Value)>,
}

impl Matches {
    fn compile(spec: Option<&MatchSpec>) -> Self {
        let Some(spec) = spec else { return Self::default() };
        let patterns = |map: &std::collections::BTreeMap<String, String>| {
            map.iter().map(|(name, value)| (name.clone(), Pattern::new(value))).collect()
        };
        Self {
            method: spec.method.clone(),
            path: spec.path.as_deref().map(Pattern::new),
            host: spec.host.as_ref().map(|host| Pattern::new(&host.to_ascii_lowercase())),
            header: patterns(&spec.header),
            query: patterns(&spec.query),
            body: spec.body.iter().map(|(pointer, value)| (pointer.clone(), value.clone())).collect(),
        }
    }

    fn covers(&self, asked: &Asked<'_>) -> bool {
        (self.method.is_empty() || self.method.iter().any(|method| method.as_bytes().eq_ignore_ascii_case(asked.method)))
            && self.path.as_ref().is_none_or(|path| path.covers(asked.path()))
            && self.host.as_ref().is_none_or(|host| host.covers(&asked.host.to_ascii_lowercase()))
            && self.header.iter().all(|(name, value)| (asked.field)(name).is_some_and(|found| value.covers(found)))
            && self.query.iter().all(|(name, value)| asked.query().any(|(known, found)| known == *name && value.covers(found.as_bytes())))
            && self.body.iter().all(|(pointer, value)| asked.body.and_then(|body| body.pointer(pointer)) == Some(value))
    }
}

/// A text in which `*` is anything.
#[derive(Debug)]
struct Pattern(Vec<Vec<u8>>);

impl Pattern {
    fn new(text: &str) -> Self {
        Self(text.split('*').map(|part| part.as_bytes().to_vec()).collect())
    }

    fn covers(&self, text: &[u8]) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return text.is_empty() };
        let Some(mut left) = text.strip_prefix(first.as_slice()) else { return false };
        let Some((last, middle)) = rest.split_last() else { return left.is_empty() };
        for part in middle {
            match memchr::memmem::find(left, part) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        left.ends_with(last)
    }
}
