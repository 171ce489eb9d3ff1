//! One proxy by its name: where it listens, what its toxics and rules are, and whether it is enabled.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};
use squall_model::Time;

use super::error::ControlError;
use super::listen::Listen;
use super::notice::{Notice, Notices};
use super::rules::Check;
use super::{ProxyMetrics, end_of};
use crate::address::Address;
use crate::rule::RuleSpec;
use crate::server::{Counters, Proxies, Route};
use crate::tls::TlsSpec;
use crate::toxic::{Direction, Toxic, ToxicSpec};

/// A proxy to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewProxy {
    /// Unique.
    pub name: String,
    /// Where it listens: `host:port`, `[v6]:port`, `:port`, `unix:/path`; empty for any port of all interfaces.
    pub listen: String,
    /// Where it connects to, in the same forms.
    pub upstream: String,
    /// Whether it listens from the start.
    pub enabled: bool,
    /// What it does to bytes, in the order in which they pass.
    pub toxics: Vec<NewToxic>,
    /// What it does to requests.
    pub rules: Vec<RuleSpec>,
    /// How it terminates TLS; none is not at all.
    pub tls: Option<TlsSpec>,
}

impl NewProxy {
    /// One that is enabled, on any port of all interfaces, without toxics and rules.
    pub fn new(name: &str, upstream: &str) -> Self {
        let (name, listen, upstream) = (name.to_owned(), String::new(), upstream.to_owned());
        Self { name, listen, upstream, enabled: true, toxics: Vec::new(), rules: Vec::new(), tls: None }
    }

    pub(super) fn check(&self) -> Result<(), ControlError> {
        if self.name.is_empty() {
            return Err(ControlError::Missing("name"));
        }
        if self.upstream.is_empty() {
            return Err(ControlError::Missing("upstream"));
        }
        check_upstream(&self.upstream)
    }
}

fn check_upstream(upstream: &str) -> Result<(), ControlError> {
    let parsed = Address::parse(upstream).map_err(|error| {
        let text = error.to_string();
        ControlError::Upstream(text.strip_prefix("listen tcp: ").unwrap_or(&text).to_owned())
    });
    parsed.map(drop)
}

/// What is to change on a proxy; the rest stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProxyUpdate {
    /// Where it listens.
    pub listen: Option<String>,
    /// Where it connects to.
    pub upstream: Option<String>,
    /// Whether it listens.
    pub enabled: Option<bool>,
    /// How it terminates TLS.
    pub tls: Option<TlsSpec>,
}

impl ProxyUpdate {
    pub(super) fn check(&self) -> Result<(), ControlError> {
        match self.upstream.as_deref() {
            // Without one it could never connect.
            Some("") => Err(ControlError::Missing("upstream")),
            Some(upstream) => check_upstream(upstream),
            None => Ok(()),
        }
    }
}

/// A toxic to be added.
#[derive(Debug, Clone, PartialEq)]
pub struct NewToxic {
    /// Unique in its proxy; `<type>_<stream>` where it is empty.
    pub name: String,
    /// `latency`, …: one of [`Toxic::TYPES`].
    pub kind: String,
    /// `upstream` or `downstream`, in any case; downstream where it is empty.
    pub stream: String,
    /// The share of connections that it works on, from 0 to 1.
    pub toxicity: f64,
    /// Its attributes; those left out are 0.
    pub attributes: Map<String, Value>,
    /// The proxy removes it by itself after this time.
    pub time_box: Option<Time>,
}

impl NewToxic {
    /// A toxic of this type for everything that comes back to the client.
    pub fn new(kind: &str, attributes: Map<String, Value>) -> Self {
        Self { name: String::new(), kind: kind.into(), stream: String::new(), toxicity: 1.0, attributes, time_box: None }
    }

    /// In Toxiproxy's order: its clients see the first error.
    fn spec(&self, taken: impl Fn(&str) -> bool) -> Result<ToxicSpec, ControlError> {
        let stream = match self.stream.to_ascii_lowercase().as_str() {
            "" | "downstream" => Direction::Downstream,
            "upstream" => Direction::Upstream,
            _ => return Err(ControlError::Stream),
        };
        let toxic = Toxic::of_type(&self.kind).ok_or(ControlError::ToxicType)?;
        let name = match self.name.as_str() {
            "" => format!("{}_{}", self.kind, stream_name(stream)),
            name => name.to_owned(),
        };
        if taken(&name) {
            return Err(ControlError::ToxicExists);
        }
        Ok(ToxicSpec { name, toxic: toxic.merged(&self.attributes)?, stream, toxicity: self.toxicity })
    }
}

/// `upstream` or `downstream`.
pub(crate) fn stream_name(stream: Direction) -> &'static str {
    match stream {
        Direction::Upstream => "upstream",
        Direction::Downstream => "downstream",
    }
}

/// What is to change on a toxic; the rest stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToxicUpdate {
    /// Attributes.
    pub attributes: Map<String, Value>,
    /// The share of connections.
    pub toxicity: Option<f64>,
    /// A time box that starts now.
    pub time_box: Option<Time>,
}

/// A proxy as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyInfo {
    /// Its name.
    pub name: String,
    /// Where it listens, resolved once it has been started.
    pub listen: String,
    /// Where it connects to, as it was given.
    pub upstream: String,
    /// Whether it listens.
    pub enabled: bool,
    /// Those of the upstream direction first; in each direction in the order in which bytes pass them.
    pub toxics: Vec<ToxicInfo>,
    /// In order.
    pub rules: Vec<RuleSpec>,
    /// How it terminates TLS.
    pub tls: Option<TlsSpec>,
}

/// A toxic as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct ToxicInfo {
    /// What it does.
    pub spec: ToxicSpec,
    /// Its time box as it was given.
    pub time_box: Option<Time>,
}

/// Something that is there until it is removed, or until its time is over.
#[derive(Debug, Clone)]
struct Boxed<T> {
    spec: T,
    time_box: Option<Time>,
    ends: Option<Duration>,
}

impl<T> Boxed<T> {
    fn new(spec: T, time_box: Option<Time>) -> Self {
        Self { spec, time_box, ends: end_of(time_box) }
    }

    fn is_over(&self, now: Duration) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    name: String,
    listen: String,
    upstream: String,
    route: Option<Route>,
    toxics: Vec<Boxed<ToxicSpec>>,
    rules: Vec<Boxed<RuleSpec>>,
    tls: Option<TlsSpec>,
    check: Check,
    /// What passed before it was last stopped, by its addresses then.
    past: BTreeMap<(String, String), Counters>,
}

impl Entry {
    /// A proxy that does not listen yet, with its toxics and rules, which are checked.
    pub(super) fn filled(new: NewProxy, check: &Check) -> Result<Self, ControlError> {
        let NewProxy { name, listen, upstream, toxics, rules, tls, enabled: _ } = new;
        check.rules(&name, &[], tls.as_ref())?;
        let (check, past) = (check.clone(), BTreeMap::new());
        let mut entry = Self { name, listen, upstream, route: None, toxics: Vec::new(), rules: Vec::new(), tls, check, past };
        for toxic in toxics {
            entry.add_toxic(toxic)?;
        }
        for rule in rules {
            entry.add_rule(rule)?;
        }
        Ok(entry)
    }

    pub(super) fn info(&self) -> ProxyInfo {
        let mut toxics: Vec<_> = self.toxics.iter().map(|boxed| ToxicInfo { spec: boxed.spec.clone(), time_box: boxed.time_box }).collect();
        toxics.sort_by_key(|toxic| toxic.spec.stream);
        ProxyInfo {
            name: self.name.clone(),
            listen: self.listen.clone(),
            upstream: self.upstream.clone(),
            enabled: self.is_enabled(),
            toxics,
            rules: self.rules.iter().map(|boxed| boxed.spec.clone()).collect(),
            tls: self.tls.clone(),
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.route.is_some()
    }

    pub(super) fn differs(&self, listen: &Listen, upstream: &str) -> bool {
        !listen.is_at(&self.listen) || self.upstream != upstream
    }

    /// Of a proxy that is stopped.
    pub(super) fn move_to(&mut self, listen: &str, upstream: Option<&str>) {
        listen.clone_into(&mut self.listen);
        if let Some(upstream) = upstream {
            upstream.clone_into(&mut self.upstream);
        }
    }

    pub(super) fn start(&mut self, proxies: &Proxies, listen: &Listen, notices: &Notices) -> Result<(), ControlError> {
        let route = proxies.open(&self.name, &listen.address, &self.upstream)?;
        route.set_toxics(self.toxic_specs());
        route.set_rules(&self.rule_specs(), self.tls.as_ref())?;
        route.listen().clone_into(&mut self.listen);
        self.route = Some(route);
        notices.tell(|| Notice::Started { proxy: self.name.clone(), listen: self.listen.clone(), upstream: self.upstream.clone() });
        Ok(())
    }

    pub(super) fn stop(&mut self, notices: &Notices) {
        let Some(route) = self.route.take() else { return };
        route.close();
        let past = self.past.entry((self.listen.clone(), self.upstream.clone())).or_default();
        *past = sum(*past, Counters { open: 0, ..route.counters() });
        notices.tell(|| Notice::Stopped { proxy: self.name.clone(), listen: self.listen.clone() });
    }

    pub(super) fn toxic(&self, name: &str) -> Result<ToxicInfo, ControlError> {
        let boxed = self.toxics.iter().find(|boxed| boxed.spec.name == name).ok_or(ControlError::ToxicNotFound)?;
        Ok(ToxicInfo { spec: boxed.spec.clone(), time_box: boxed.time_box })
    }

    pub(super) fn add_toxic(&mut self, new: NewToxic) -> Result<ToxicInfo, ControlError> {
        let spec = new.spec(|name| self.toxics.iter().any(|boxed| boxed.spec.name == name))?;
        let info = ToxicInfo { spec: spec.clone(), time_box: new.time_box };
        self.toxics.push(Boxed::new(spec, new.time_box));
        self.apply_toxics();
        Ok(info)
    }

    pub(super) fn update_toxic(&mut self, name: &str, update: &ToxicUpdate) -> Result<ToxicInfo, ControlError> {
        let boxed = self.toxics.iter_mut().find(|boxed| boxed.spec.name == name).ok_or(ControlError::ToxicNotFound)?;
        boxed.spec.toxic = boxed.spec.toxic.merged(&update.attributes)?;
        boxed.spec.toxicity = update.toxicity.unwrap_or(boxed.spec.toxicity);
        if update.time_box.is_some() {
            *boxed = Boxed::new(boxed.spec.clone(), update.time_box);
        }
        let info = ToxicInfo { spec: boxed.spec.clone(), time_box: boxed.time_box };
        self.apply_toxics();
        Ok(info)
    }

    pub(super) fn remove_toxic(&mut self, name: &str) -> Result<(), ControlError> {
        let at = self.toxics.iter().position(|boxed| boxed.spec.name == name).ok_or(ControlError::ToxicNotFound)?;
        self.toxics.remove(at);
        self.apply_toxics();
        Ok(())
    }

    pub(super) fn add_rule(&mut self, mut rule: RuleSpec) -> Result<RuleSpec, ControlError> {
        name_rule(&mut rule, &self.rules)?;
        let mut all = self.rule_specs();
        all.push(rule.clone());
        self.check.rules(&self.name, &all, self.tls.as_ref())?;
        self.rules.push(Boxed::new(rule.clone(), rule.time_box));
        self.apply_rules()?;
        Ok(rule)
    }

    pub(super) fn remove_rule(&mut self, name: &str) -> Result<(), ControlError> {
        let at = self.rules.iter().position(|boxed| boxed.spec.name == name).ok_or(ControlError::RuleNotFound)?;
        self.rules.remove(at);
        self.apply_rules()
    }

    pub(super) fn clear_rules(&mut self) -> Result<(), ControlError> {
        self.rules.clear();
        self.apply_rules()
    }

    pub(super) fn set_tls(&mut self, tls: TlsSpec) -> Result<(), ControlError> {
        self.check.rules(&self.name, &self.rule_specs(), Some(&tls))?;
        self.tls = Some(tls);
        self.apply_rules()
    }

    /// Without toxics and rules.
    pub(super) fn clear(&mut self) {
        self.toxics.clear();
        self.apply_toxics();
        // No rules are always good rules.
        let _ = self.clear_rules();
    }

    /// The toxics and rules of a description of this same proxy, where it has any.
    pub(super) fn take_over(&mut self, new: NewProxy) -> Result<(), ControlError> {
        if !new.toxics.is_empty() {
            let mut toxics: Vec<Boxed<ToxicSpec>> = Vec::new();
            for toxic in new.toxics {
                let spec = toxic.spec(|name| toxics.iter().any(|boxed| boxed.spec.name == name))?;
                toxics.push(Boxed::new(spec, toxic.time_box));
            }
            self.toxics = toxics;
            self.apply_toxics();
        }
        if let Some(tls) = new.tls {
            self.set_tls(tls)?;
        }
        if !new.rules.is_empty() {
            let mut rules: Vec<Boxed<RuleSpec>> = Vec::new();
            for mut rule in new.rules {
                name_rule(&mut rule, &rules)?;
                rules.push(Boxed::new(rule.clone(), rule.time_box));
            }
            let all: Vec<RuleSpec> = rules.iter().map(|boxed| boxed.spec.clone()).collect();
            self.check.rules(&self.name, &all, self.tls.as_ref())?;
            // All at once: what stays as it was goes on with what it has counted.
            self.rules = rules;
            self.apply_rules()?;
        }
        Ok(())
    }

    /// Removes what is over, and says what it was; and when the next will be.
    pub(super) fn expire(&mut self, now: Duration) -> (Vec<String>, Option<Duration>) {
        let mut over: Vec<String> = self.toxics.iter().filter(|boxed| boxed.is_over(now)).map(|boxed| boxed.spec.name.clone()).collect();
        if !over.is_empty() {
            self.toxics.retain(|boxed| !boxed.is_over(now));
            self.apply_toxics();
        }
        let rules: Vec<String> = self.rules.iter().filter(|boxed| boxed.is_over(now)).map(|boxed| boxed.spec.name.clone()).collect();
        if !rules.is_empty() {
            self.rules.retain(|boxed| !boxed.is_over(now));
            // Fewer of rules that were good are good rules.
            let _ = self.apply_rules();
        }
        over.extend(rules);
        let ends = self.toxics.iter().filter_map(|boxed| boxed.ends).chain(self.rules.iter().filter_map(|boxed| boxed.ends));
        (over, ends.min())
    }

    pub(super) fn metrics(&self) -> Vec<ProxyMetrics> {
        let mut all = self.past.clone();
        if let Some(route) = &self.route {
            let now = all.entry((self.listen.clone(), self.upstream.clone())).or_default();
            *now = sum(*now, route.counters());
        }
        let row = |((listen, upstream), counters)| {
            let route = self.route.as_ref().filter(|_| listen == self.listen && upstream == self.upstream);
            let (rules, tls_rules) = (route.map(Route::arms).unwrap_or_default(), route.map(Route::tls_arms).unwrap_or_default());
            ProxyMetrics { proxy: self.name.clone(), listen, upstream, counters, rules, tls_rules }
        };
        all.into_iter().map(row).collect()
    }

    fn toxic_specs(&self) -> Vec<ToxicSpec> {
        self.toxics.iter().map(|boxed| boxed.spec.clone()).collect()
    }

    fn rule_specs(&self) -> Vec<RuleSpec> {
        self.rules.iter().map(|boxed| boxed.spec.clone()).collect()
    }

    fn apply_toxics(&self) {
        if let Some(route) = &self.route {
            route.set_toxics(self.toxic_specs());
        }
    }

    fn apply_rules(&self) -> Result<(), ControlError> {
        if let Some(route) = &self.route {
            route.set_rules(&self.rule_specs(), self.tls.as_ref())?;
        }
        Ok(())
    }
}

/// Names a rule by its fault where it has no name, and sees that the name is free.
fn name_rule(rule: &mut RuleSpec, others: &[Boxed<RuleSpec>]) -> Result<(), ControlError> {
    if rule.name.is_empty() {
        rule.name.clone_from(&rule.fault);
    }
    if others.iter().any(|boxed| boxed.spec.name == rule.name) { Err(ControlError::RuleExists) } else { Ok(()) }
}

pub(super) fn sum(a: Counters, b: Counters) -> Counters {
    let pair = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
    Counters {
        accepted: a.accepted + b.accepted,
        open: a.open + b.open,
        received: pair(a.received, b.received),
        sent: pair(a.sent, b.sent),
    }
}
