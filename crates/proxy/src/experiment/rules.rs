//! Each kind of rule as a fault. Its `with` is the rule's, with the choice of traffic (`match`, `percent`, `sticky`, `control`,
//! `attempts`) beside the rule's own settings.

use std::sync::{Arc, LazyLock, OnceLock};

use schemars::Schema;
use serde_json::{Map, Value, json};
use squall_engine::{
    AnyFault, BoxFuture, Effect, ErasedCx, HostFacts, InjectError, KindError, Meta, Plan, PlanError, PlannedChange, RevertError, Reverted,
    Target, Undone, VerifyError,
};
use squall_model::Path;
use squall_undo::Armed;

use super::placed::{Placed, What, time_box};
use super::target::ProxyFacts;
use crate::http;
use crate::rule::{self, RuleKind, RuleSpec};

/// What stands beside a rule's own settings.
const CHOICE: [&str; 5] = ["match", "percent", "sticky", "control", "attempts"];

/// What is made when it is asked for.
type Lazy = LazyLock<(Meta, Schema), Box<dyn FnOnce() -> (Meta, Schema) + Send>>;

/// A kind of rule as a fault.
struct RuleFault {
    name: &'static str,
    known: Lazy,
}

/// Every kind of rule as a fault.
pub(super) fn all() -> Vec<Arc<dyn AnyFault>> {
    static ALL: OnceLock<Vec<RuleFault>> = OnceLock::new();
    let all = ALL.get_or_init(|| rule::listed().map(|(name, make)| RuleFault { name, known: lazily(make) }).collect());
    all.iter().map(|fault| Arc::new(fault) as Arc<dyn AnyFault>).collect()
}

fn lazily(make: impl FnOnce() -> RuleKind + Send + 'static) -> Lazy {
    LazyLock::new(Box::new(|| RuleFault::made(make())))
}

/// Text that is made once in the life of the process, for a field that is constant elsewhere.
fn constant(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

impl RuleFault {
    /// Settings of those on TLS are checked by the proxy alone, which has the authority that they need.
    fn is_tls(&self) -> bool {
        self.name.starts_with("tls.")
    }

    fn made(kind: RuleKind) -> (Meta, Schema) {
        let name = kind.name;
        let summary = constant(kind.summary().to_owned());
        let with = [kind.with, kind.choice].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        let with = if with.is_empty() { with } else { format!("with: {{ {with} }}\n") };
        let example = constant(format!("fault: {name}\ntarget: {{ proxy: {{ name: payments }} }}\n{with}for: 30s\n"));
        let family = name.split('.').next().unwrap_or(name);
        let (targets, needs): (&[&str], &[&str]) = (&["proxy"], &[]);
        let meta = Meta { name, family, summary, example, targets, needs, undone: Undone::Ledger, lasting: true };
        (meta, kind.schema)
    }

    /// The rule of these arguments, and what is wrong with them.
    fn rule(&self, args: &Value) -> (Value, Vec<KindError>) {
        let empty = Map::new();
        let (mut rule, mut with) = (Map::new(), Map::new());
        for (key, value) in args.as_object().unwrap_or(&empty) {
            let to = if CHOICE.contains(&key.as_str()) { &mut rule } else { &mut with };
            to.insert(key.clone(), value.clone());
        }
        let mut errors = self.unknown(&with);
        if !self.is_tls()
            && errors.is_empty()
            && let Err((message, hint)) = http::fault::compile(self.name, &with)
        {
            let hint = hint.or_else(|| Some(format!("see `squall explain {}`", self.name)));
            errors.push(KindError { path: Path::default(), at_key: false, message, hint });
        }
        rule.insert("fault".into(), json!(self.name));
        rule.insert("with".into(), Value::Object(with));
        let rule = Value::Object(rule);
        errors.extend(squall_model::decode::<RuleSpec>(&rule, "`with`").problems.into_iter().map(KindError::from));
        (rule, errors)
    }

    fn unknown(&self, with: &Map<String, Value>) -> Vec<KindError> {
        let known: Vec<&str> = self
            .known
            .1
            .get("properties")
            .and_then(Value::as_object)
            .map(|map| map.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let all = known.iter().chain(&CHOICE).copied().collect::<Vec<_>>().join("`, `");
        with.keys()
            .filter(|key| !known.contains(&key.as_str()))
            .map(|key| KindError {
                path: Path::default().key(key),
                at_key: true,
                message: format!("`{key}` is no setting of {}", self.name),
                hint: Some(format!("it takes `{all}`")),
            })
            .collect()
    }

    fn planned(&self, args: &Value, target: &Target) -> Result<Plan, PlanError> {
        let (rule, errors) = self.rule(args);
        if let Some(error) = errors.into_iter().next() {
            return Err(PlanError { message: error.message, hint: error.hint });
        }
        let facts = ProxyFacts::of(target)?;
        let share = rule["percent"].as_str().map(|percent| format!(" for {percent} of what matches")).unwrap_or_default();
        let mechanism = format!("adds a rule `{}`{share} through {}", self.name, facts.api);
        let undo = "removes the rule; the proxy does so by itself 10 s after the time box".to_owned();
        Ok(Plan { changes: vec![PlannedChange { what: facts.edge(), mechanism, undo }], claims: Vec::new(), irreversible: false })
    }
}

impl AnyFault for &'static RuleFault {
    fn name(&self) -> &'static str {
        self.name
    }

    fn meta(&self) -> &'static Meta {
        let fault: &'static RuleFault = self;
        &fault.known.0
    }

    fn schema(&self) -> Schema {
        let mut schema = self.known.1.clone();
        let mut rule = schemars::schema_for!(RuleSpec);
        let choice = CHOICE.map(|key| (key, rule.pointer_mut(&format!("/properties/{key}")).map(Value::take).unwrap_or_default()));
        let definitions = rule.remove("$defs").unwrap_or_default();
        for (target, entries) in [
            ("properties", choice.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>()),
            ("$defs", definitions.as_object().cloned().unwrap_or_default()),
        ] {
            if let Some(map) = schema.ensure_object().entry(target).or_insert_with(|| json!({})).as_object_mut() {
                for (key, value) in entries {
                    map.entry(key).or_insert(value);
                }
            }
        }
        schema
    }

    fn check(&self, args: &Value) -> Vec<KindError> {
        self.rule(args).1
    }

    fn plan<'a>(&'a self, args: &'a Value, target: &'a Target, _: &'a HostFacts) -> BoxFuture<'a, Result<Plan, PlanError>> {
        Box::pin(std::future::ready(self.planned(args, target)))
    }

    fn inject<'a>(&'a self, args: &'a Value, target: &'a Target, cx: ErasedCx<'a>) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            let facts = ProxyFacts::of(target).map_err(|error| InjectError::Failed(error.message))?;
            let (mut rule, errors) = self.rule(args);
            if let Some(error) = errors.into_iter().next() {
                return Err(InjectError::Failed(error.message));
            }
            rule["name"] = json!(cx.marker);
            if let Some(time) = time_box(cx.duration) {
                rule["for"] = json!(time);
            }
            let placed = Placed::on(&facts, What::Rule(cx.marker.to_owned()));
            let _armed = cx.typed::<Placed>().arm(&placed)?;
            placed.place(&rule).await
        })
    }

    fn verify<'a>(&'a self, undo: &'a Value) -> BoxFuture<'a, Result<Effect, VerifyError>> {
        Box::pin(async move {
            let placed: Placed = serde_json::from_value(undo.clone()).map_err(|error| VerifyError(error.to_string()))?;
            placed.look().await
        })
    }

    fn revert<'a>(&'a self, undo: &'a Value, _: &'a Armed) -> BoxFuture<'a, Result<Reverted, RevertError>> {
        Box::pin(async move {
            let placed: Placed = serde_json::from_value(undo.clone()).map_err(|error| RevertError(error.to_string()))?;
            placed.remove().await
        })
    }
}
