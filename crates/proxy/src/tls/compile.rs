//! The `tls` block and the `tls.*` rules of a proxy, made ready; and which rule hits which connection.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;

use super::accept::Facts;
use super::authority::{Authority, AuthorityDir};
use super::kinds;
use super::mint::Minted;
use super::originate::client_config;
use super::plan::Plan;
use super::spec::{TlsSpec, UpstreamTls};
use crate::decide::{Decider, Purpose};
use crate::http::Arms;
use crate::http::attempts::Attempts;
use crate::rule::{MatchSpec, RuleSpec, StickySpec};

/// A rule or the `tls` block says something that cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct TlsRuleError {
    /// `rule NAME`, or `tls`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// What compiling needs to know.
#[derive(Debug, Clone)]
pub struct CompileCx<'a> {
    /// The proxy's name.
    pub proxy: &'a str,
    /// What its decisions start from.
    pub seed: u64,
    /// Who signs its certificates.
    pub authority: &'a AuthorityDir,
    /// What this takes the place of. Rules that are in it as they are here keep what they counted.
    pub before: Option<&'a CompiledTls>,
}

/// How one proxy treats TLS.
pub struct CompiledTls {
    spec: TlsSpec,
    authority: Arc<Authority>,
    rules: Vec<Arc<Rule>>,
    client: Option<Arc<ClientConfig>>,
    pub(super) good: Arc<Minted>,
}

/// A rule made ready.
pub(crate) struct Rule {
    spec: RuleSpec,
    pub(crate) name: String,
    pub(crate) fault: &'static str,
    pub(crate) plan: Plan,
    pub(crate) minted: Minted,
    host: Option<String>,
    share: f64,
    control: f64,
    by_client: bool,
    attempts: Option<u64>,
    decider: Decider,
    seen: Mutex<Attempts>,
    matched: AtomicU64,
    injected: AtomicU64,
    controlled: AtomicU64,
}

/// What becomes of a connection.
pub(crate) enum Decision<'a> {
    PassThrough,
    Terminate(Option<&'a Rule>),
}

/// Makes ready what a proxy's `tls` block and its rules say. Rules of other families are passed over.
///
/// Takes up to a second where a weak key has to be made.
pub fn compile(spec: Option<&TlsSpec>, rules: &[RuleSpec], cx: &CompileCx<'_>) -> Result<CompiledTls, TlsRuleError> {
    let spec = spec.cloned().unwrap_or_else(TlsSpec::untouched);
    let wrong = |message: String| TlsRuleError { place: "tls".into(), message, hint: None };
    let authority = cx.authority.get().map_err(|e| wrong(e.to_string()))?;
    let client = match spec.upstream {
        UpstreamTls::Tls => Some(client_config(&spec).map_err(wrong)?),
        UpstreamTls::Plain => None,
    };
    let rules = rules.iter().filter(|rule| rule.fault.starts_with("tls."));
    // Certificates of another authority are not to be shown again.
    let before = cx.before.filter(|before| Arc::ptr_eq(&before.authority, &authority));
    let known = |spec: &RuleSpec| before?.rules.iter().find(|rule| rule.spec == *spec).cloned();
    let ready = |spec| known(spec).map_or_else(|| compile_rule(spec, &authority, cx).map(Arc::new), Ok);
    let rules = rules.map(ready).collect::<Result<_, _>>()?;
    let good = before.map(|before| before.good.clone()).unwrap_or_default();
    Ok(CompiledTls { spec, authority, rules, client, good })
}

fn compile_rule(spec: &RuleSpec, authority: &Arc<Authority>, cx: &CompileCx<'_>) -> Result<Rule, TlsRuleError> {
    let name = if spec.name.is_empty() { &spec.fault } else { &spec.name };
    let error = |message: String, hint: &str| TlsRuleError {
        place: format!("rule {name}"),
        message,
        hint: (!hint.is_empty()).then(|| hint.to_owned()),
    };
    let Some(kind) = kinds::KINDS.iter().find(|kind| kind.name == spec.fault) else {
        let names: Vec<&str> = kinds::KINDS.iter().map(|kind| kind.name).collect();
        return Err(error(format!("there is no fault `{}`", spec.fault), &format!("one of {}", names.join(", "))));
    };
    let matches = spec.matches.clone().unwrap_or_default();
    if matches != (MatchSpec { host: matches.host.clone(), ..MatchSpec::default() }) {
        return Err(error("a TLS handshake has only a `host` to match".into(), "leave out what is of HTTP"));
    }
    let by_client = match spec.sticky {
        None => false,
        Some(StickySpec::Client) => true,
        Some(_) => return Err(error("a TLS handshake has no headers, cookies or queries".into(), "use `sticky: client`")),
    };
    let plan = kind.plan(&spec.with, authority).map_err(|message| error(message, ""))?;
    Ok(Rule {
        spec: spec.clone(),
        name: name.clone(),
        fault: kind.name,
        plan,
        minted: Minted::default(),
        host: matches.host.map(|host| host.to_ascii_lowercase()),
        share: spec.percent.map_or(1.0, squall_model::Percent::share),
        control: spec.control.map_or(0.0, squall_model::Percent::share),
        by_client,
        attempts: spec.attempts,
        decider: Decider::new(cx.seed, &format!("{}/{name}", cx.proxy)),
        seen: Mutex::default(),
        matched: AtomicU64::new(0),
        injected: AtomicU64::new(0),
        controlled: AtomicU64::new(0),
    })
}

impl CompiledTls {
    /// The settings.
    pub fn spec(&self) -> &TlsSpec {
        &self.spec
    }

    /// Who signs its certificates.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    pub(super) fn client(&self) -> Option<&Arc<ClientConfig>> {
        self.client.as_ref()
    }

    /// What each rule did, by its name: connections whose server name it is for and that no rule before it had hit; of those, the
    /// ones that got its fault, and the ones of its control group.
    pub fn arms(&self) -> Vec<(String, Arms)> {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let arms =
            |rule: &Arc<Rule>| Arms { matched: load(&rule.matched), injected: load(&rule.injected), control: load(&rule.controlled) };
        self.rules.iter().map(|rule| (rule.name.clone(), arms(rule))).collect()
    }

    /// What becomes of this connection. The first rule that hits it counts; those behind it are not asked.
    pub(crate) fn decide(&self, facts: &Facts<'_>, server_name: Option<&str>) -> Decision<'_> {
        let name = server_name.unwrap_or_default();
        if self.spec.pass_through.iter().any(|pattern| covers(pattern, name)) {
            return Decision::PassThrough;
        }
        if let Some(rule) = self.rules.iter().find(|rule| rule.hits(facts, name)) {
            return Decision::Terminate(Some(rule));
        }
        let named = self.spec.names.is_empty() || self.spec.names.iter().any(|pattern| covers(pattern, name));
        if self.spec.terminate && named { Decision::Terminate(None) } else { Decision::PassThrough }
    }
}

impl std::fmt::Debug for CompiledTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rules: Vec<_> = self.rules.iter().map(|rule| (&rule.name, rule.fault)).collect();
        f.debug_struct("CompiledTls").field("spec", &self.spec).field("rules", &rules).finish_non_exhaustive()
    }
}

impl Rule {
    fn hits(&self, facts: &Facts<'_>, name: &str) -> bool {
        if self.host.as_ref().is_some_and(|pattern| !covers(pattern, name)) {
            return false;
        }
        self.matched.fetch_add(1, Ordering::Relaxed);
        let key = if self.by_client {
            facts.client.map_or_else(Vec::new, address_bytes)
        } else if self.attempts.is_some() {
            // Attempts of what? Of reaching this name.
            name.as_bytes().to_vec()
        } else {
            facts.connection.to_be_bytes().to_vec()
        };
        if self.control > 0.0 && self.decider.happens(self.control, Purpose::Arm, &key, 0) {
            self.controlled.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let attempt = self.attempts.map_or(0, |_| self.count(&key));
        if self.attempts.is_some_and(|most| attempt >= most) {
            return false;
        }
        let hit = self.decider.happens(self.share, Purpose::Share, &key, if self.by_client { 0 } else { attempt });
        if hit {
            self.injected.fetch_add(1, Ordering::Relaxed);
        }
        hit
    }

    /// How often this key was seen before.
    fn count(&self, key: &[u8]) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).count(key)
    }
}

fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Whether the pattern, in which `*` is anything, covers the name.
fn covers(pattern: &str, name: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::EventLog;

    fn compiled(spec: Option<&TlsSpec>, rules: serde_json::Value) -> Result<CompiledTls, TlsRuleError> {
        let rules: Vec<RuleSpec> = serde_json::from_value(rules).unwrap();
        compile(spec, &rules, &CompileCx { proxy: "p", seed: 1, authority: &AuthorityDir::in_memory(), before: None })
    }

    fn decided(tls: &CompiledTls, connection: u64, name: Option<&str>) -> &'static str {
        let events = EventLog::new(0);
        let facts = Facts { proxy: "p", connection, client: Some([127, 0, 0, 1].into()), local: None, events: &events };
        match tls.decide(&facts, name) {
            Decision::PassThrough => "pass",
            Decision::Terminate(None) => "good",
            Decision::Terminate(Some(rule)) => rule.fault,
        }
    }

    #[test]
    fn patterns_cover_names() {
        for (pattern, name) in [("*", "a"), ("*", ""), ("a.b", "a.b"), ("*.b", "x.b"), ("A.*", "a.c"), ("*.a.*.c", "x.a.b.c"), ("", "")] {
            assert!(covers(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("*.b", "b"), ("a*b", "a"), ("a*a", "a"), ("", "a")] {
            assert!(!covers(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn without_a_block_only_what_a_rule_hits_is_touched() {
        let tls = compiled(None, serde_json::json!([{ "fault": "tls.expired", "match": { "host": "*.example.com" } }])).unwrap();
        assert_eq!(decided(&tls, 1, Some("api.example.com")), "tls.expired");
        assert_eq!(decided(&tls, 1, Some("example.org")), "pass");
        assert_eq!(decided(&tls, 1, None), "pass");
    }

    #[test]
    fn a_block_terminates_its_names_and_never_those_that_pass_through() {
        let spec = TlsSpec { names: vec!["*.a".into()], pass_through: vec!["bank.a".into()], ..TlsSpec::default() };
        let tls = compiled(Some(&spec), serde_json::json!([{ "fault": "tls.selfSigned", "match": { "host": "b*" } }])).unwrap();
        assert_eq!(decided(&tls, 1, Some("x.a")), "good");
        assert_eq!(decided(&tls, 1, Some("b.a")), "tls.selfSigned");
        assert_eq!(decided(&tls, 1, Some("bank.a")), "pass");
        assert_eq!(decided(&tls, 1, Some("x.c")), "pass");
    }

    #[test]
    fn a_share_of_connections_is_hit_and_the_same_ones_in_every_run() {
        let rules = serde_json::json!([{ "fault": "tls.selfSigned", "percent": "30%" }]);
        let fates = || {
            let tls = compiled(None, rules.clone()).unwrap();
            (1..=2000).map(|n| decided(&tls, n, Some("a")) == "tls.selfSigned").collect::<Vec<_>>()
        };
        let first = fates();
        assert_eq!(first, fates());
        let hits = first.iter().filter(|hit| **hit).count();
        // The 99% binomial interval of 600.
        assert!((547..=653).contains(&hits), "{hits}");
    }

    #[test]
    fn the_first_attempts_fail_and_the_next_succeeds() {
        let tls = compiled(None, serde_json::json!([{ "fault": "tls.handshakeFailure", "attempts": 2 }])).unwrap();
        let fates: Vec<_> = (1..=4).map(|n| decided(&tls, n, Some("a"))).collect();
        assert_eq!(fates, ["tls.handshakeFailure", "tls.handshakeFailure", "pass", "pass"]);
        assert_eq!(decided(&tls, 5, Some("b")), "tls.handshakeFailure");
    }

    #[test]
    fn connections_are_counted_by_arm() {
        let rules = serde_json::json!([
            { "fault": "tls.expired", "percent": "50%", "control": "20%", "match": { "host": "a" } },
            { "fault": "tls.selfSigned" }
        ]);
        let tls = compiled(None, rules).unwrap();
        let mut hits = [0, 0];
        for n in 1..=1000 {
            match decided(&tls, n, Some("a")) {
                "tls.expired" => hits[0] += 1,
                "tls.selfSigned" => hits[1] += 1,
                other => panic!("{other}"),
            }
        }
        decided(&tls, 1001, Some("b"));
        let arms = tls.arms();
        let names: Vec<_> = arms.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["tls.expired", "tls.selfSigned"]);
        let [expired, signed] = [arms[0].1, arms[1].1];
        assert_eq!((expired.matched, expired.injected), (1000, hits[0]));
        assert!(expired.control > 100 && expired.control + expired.injected < 1000, "{expired:?}");
        // The second one is asked only about what the first one left.
        assert_eq!((signed.matched, signed.injected, signed.control), (hits[1] + 1, hits[1] + 1, 0));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_hint() {
        let error = |rule: serde_json::Value| compiled(None, serde_json::json!([rule])).unwrap_err();
        let unknown = error(serde_json::json!({ "fault": "tls.old" }));
        assert!(unknown.to_string().contains("`tls.old`") && unknown.hint.unwrap().contains("tls.expired"));
        assert!(error(serde_json::json!({ "fault": "tls.expired", "match": { "path": "/" } })).hint.is_some());
        assert!(error(serde_json::json!({ "fault": "tls.expired", "sticky": { "header": "a" } })).hint.is_some());
        assert!(error(serde_json::json!({ "fault": "tls.expired", "with": { "agoo": "1s" } })).to_string().contains("agoo"));
        assert!(error(serde_json::json!({ "fault": "tls.weakKey", "with": { "bits": 4096 } })).to_string().contains("bits"));
    }
}
