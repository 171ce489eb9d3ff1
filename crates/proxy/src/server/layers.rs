//! What reads meaning from the bytes of a proxy's connections, as its rules and its `tls` block ask for.

use crate::http::RuleSet;
use crate::rule::RuleSpec;
use crate::tls::{AuthorityDir, CompileCx, CompiledTls, TlsSpec};

/// Rules, or a `tls` block, that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}{}", .hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub struct RuleError {
    /// `rule NAME`, or `tls`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// The layers above the bytes. A connection keeps those that it began with, but for what they themselves let change.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(crate) tls: Option<CompiledTls>,
    pub(crate) http: Option<RuleSet>,
}

impl Layers {
    /// Makes rules ready. Those that are in `before` as they are here keep what they know: attempts, counts, buckets.
    pub(crate) fn compile(
        proxy: &str,
        seed: u64,
        authority: &AuthorityDir,
        rules: &[RuleSpec],
        tls: Option<&TlsSpec>,
        before: Option<&Self>,
    ) -> Result<Self, RuleError> {
        let wanted = tls.is_some() || rules.iter().any(|rule| rule.fault.starts_with("tls."));
        let compiled = wanted.then(|| {
            crate::tls::compile(tls, rules, &CompileCx { proxy, seed, authority, before: before.and_then(|layers| layers.tls.as_ref()) })
        });
        let tls = compiled.transpose().map_err(|e| RuleError { place: e.place, message: e.message, hint: e.hint })?;
        let http = RuleSet::compile(proxy, seed, rules, before.and_then(|layers| layers.http.as_ref()));
        let http = http.map_err(|(place, message, hint)| RuleError { place, message, hint })?;
        Ok(Self { tls, http: (!http.is_empty()).then_some(http) })
    }

    /// Whether bytes are all that matters.
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none() && self.http.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::EventLog;
    use crate::http::{Arms, Asked};
    use crate::tls::{Decision, Facts};

    /// A proxy's layers under one rule or two, and what they do.
    struct Bench(AuthorityDir);

    impl Bench {
        fn layers(&self, rules: &[serde_json::Value], before: Option<&Layers>) -> Layers {
            let rules: Vec<RuleSpec> = rules.iter().map(|rule| serde_json::from_value(rule.clone()).unwrap()).collect();
            Layers::compile("p", 1, &self.0, &rules, None, before).unwrap()
        }
    }

    /// Whether a request gets a fault.
    fn requested(layers: &Layers) -> bool {
        let asked = Asked { method: b"GET", target: b"/", host: b"h", field: &|_| None, client: None, body: None };
        layers.http.as_ref().unwrap().decide(&asked, std::time::Duration::from_secs(1), |_| {}).is_some()
    }

    /// Whether a handshake gets a fault.
    fn greeted(layers: &Layers) -> bool {
        let events = EventLog::new(0);
        let facts = Facts { proxy: "p", connection: 1, client: None, local: None, events: &events };
        matches!(layers.tls.as_ref().unwrap().decide(&facts, Some("a")), Decision::Terminate(Some(_)))
    }

    #[test]
    fn a_rule_that_stays_as_it_was_goes_on_with_its_attempts_and_counts() {
        let bench = Bench(AuthorityDir::in_memory());
        let twice = serde_json::json!({ "name": "twice", "fault": "http.abort", "with": { "status": 503 }, "attempts": 2 });
        let never = serde_json::json!({ "name": "never", "fault": "http.delay", "with": { "delay": "1s" }, "percent": "0%" });
        let hello = serde_json::json!({ "name": "hello", "fault": "tls.handshakeFailure", "attempts": 2 });
        let first = bench.layers(&[twice.clone(), hello.clone()], None);
        assert!(requested(&first) && greeted(&first));
        let second = bench.layers(&[never.clone(), twice.clone(), hello.clone()], Some(&first));
        assert!(requested(&second) && greeted(&second));
        let third = bench.layers(&[twice.clone(), hello.clone()], Some(&second));
        assert!(!requested(&third) && !greeted(&third), "both attempts are used up");
        let counted = Arms { matched: 3, injected: 2, control: 0 };
        assert_eq!(third.http.as_ref().unwrap().arms(), [("twice".to_owned(), counted)]);
        assert_eq!(third.tls.as_ref().unwrap().arms(), [("hello".to_owned(), counted)]);
    }

    #[test]
    fn a_bucket_is_not_filled_by_the_change_of_another_rule() {
        let bench = Bench(AuthorityDir::in_memory());
        let limit = serde_json::json!({ "fault": "http.rateLimit", "with": { "rate": "1/h" } });
        let first = bench.layers(std::slice::from_ref(&limit), None);
        assert!(!requested(&first), "the one that an hour has");
        let other = serde_json::json!({ "fault": "http.delay", "with": { "delay": "1s" }, "percent": "0%" });
        let second = bench.layers(&[limit, other], Some(&first));
        assert!(requested(&second));
    }

    #[test]
    fn a_rule_that_changed_begins_anew_under_its_old_name() {
        let bench = Bench(AuthorityDir::in_memory());
        let rule = |status: u16| serde_json::json!({ "name": "a", "fault": "http.abort", "with": { "status": status }, "attempts": 1 });
        let first = bench.layers(&[rule(503)], None);
        assert!(requested(&first) && !requested(&first));
        let second = bench.layers(&[rule(500)], Some(&first));
        assert!(requested(&second));
        assert_eq!(second.http.as_ref().unwrap().arms()[0].1, Arms { matched: 1, injected: 1, control: 0 });
    }
}
