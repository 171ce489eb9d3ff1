//! The kinds of a run that a server drives: what they do is done by the agent on the target's host.
//!
//! To the engine they are kinds like any other. A target's facts are [`Placed`]: the host, and the target as the host knows it. A fault's undo is
//! the pair of host and injection: the true undo is in the agent's own ledger, on the disk of the host that it is about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use squall_api::link::{Answer, Inject, Measure as MeasureRequest, Refusal, Request};
use squall_engine::{
    AnyFault, AnyProbe, AnyTargetKind, BoxFuture, Claim, Clock, Effect, ErasedCx, FindError, HostFacts, InjectError, KindError, Measure,
    Meta, Placed, Plan, PlanError, PlannedChange, ProbeCx, ProbeMeta, Registry, RegistryUndoer, RevertError, Reverted, Target, TargetMeta,
    VerifyError,
};
use squall_model::{Dimension, HostSelector, InjectionId, Measured, RunId, Time, Value};
use squall_undo::{Armed, Undoer};
use tokio::sync::broadcast;

use crate::fleet::{CallError, Fleet};

/// How long an agent may take to look for targets, to plan, and to look at an effect.
const LOOK: Duration = Duration::from_secs(10);
/// How long an agent may take to put a fault in force.
const INJECT: Duration = Duration::from_mins(1);
/// How long an agent may take to put a fault back, once it is linked.
const REVERT: Duration = Duration::from_secs(30);
/// After the end of a lease, an agent has put everything back within this.
const LEASE_SLACK: Duration = Duration::from_secs(2);
/// Hosts that are asked for targets at the same time.
const ASKED_AT_ONCE: usize = 64;

/// What the stand-ins of one run share.
pub(super) struct Remote {
    pub fleet: Fleet,
    pub run: RunId,
    pub clock: Arc<dyn Clock>,
    pub lease: Time,
    /// The longest that a fault without a time box stays.
    pub longest: Time,
    /// The host that probes are asked from; none is the server.
    pub from: Option<String>,
    /// Hosts that the run has touched.
    pub touched: Mutex<BTreeSet<String>>,
    pub probes: AtomicUsize,
}

impl Remote {
    async fn call(&self, host: &str, request: Request, within: Duration) -> Result<Answer, String> {
        self.fleet.call(host, request, within).await.map_err(|error| error.to_string())
    }

    /// The stand-ins for every kind.
    pub fn registry(self: &Arc<Self>, local: &Registry) -> Registry {
        let faults = local.faults.iter().map(|kind| Arc::new(Fault { kind: kind.clone(), remote: self.clone() }) as Arc<dyn AnyFault>);
        let probes = local.probes.iter().map(|kind| Arc::new(Probe { kind: kind.clone(), remote: self.clone() }) as Arc<dyn AnyProbe>);
        let targets =
            local.targets.iter().map(|kind| Arc::new(Kind { kind: kind.clone(), remote: self.clone() }) as Arc<dyn AnyTargetKind>);
        Registry { faults: faults.collect(), probes: probes.collect(), targets: targets.collect() }
    }
}

/// Ready when a host is linked to this server.
async fn linked(fleet: &Fleet, name: &str) {
    let mut events = fleet.events();
    while !fleet.connected().iter().any(|host| host.name == name) {
        // A reader that is behind looks again, as does one that was told of something else.
        if matches!(events.recv().await, Err(broadcast::error::RecvError::Closed)) {
            return std::future::pending().await;
        }
    }
}

fn unexpected(host: &str, answer: &Answer) -> String {
    format!("{host}: the agent answered something else than it was asked for ({answer:?})")
}

/// The undo of an injection on another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RemoteUndo {
    pub host: String,
    pub run: RunId,
    pub injection: InjectionId,
}

impl RemoteUndo {
    fn read(undo: &Json) -> Result<Self, String> {
        Self::deserialize(undo).map_err(|e| format!("the undo of a fault on another host cannot be read: {e}"))
    }

    /// Has it put back. Where the host is not linked now, waits for it until its lease has ended in any case.
    pub async fn revert(&self, fleet: &Fleet, lease: Duration) -> Result<String, String> {
        let request = || Request::Revert { run: self.run.clone(), injection: self.injection };
        let first = fleet.call(&self.host, request(), REVERT).await;
        let answer = match first {
            Err(CallError::NotConnected { .. } | CallError::Lost(_) | CallError::TimedOut(_)) => {
                let back = tokio::time::timeout(lease + LEASE_SLACK, linked(fleet, &self.host)).await;
                if back.is_err() {
                    let lease = Time::from(lease);
                    return Err(format!(
                        "{} has not been heard of for {lease}: its agent has put the fault back by itself, unless the host itself hangs",
                        self.host
                    ));
                }
                fleet.call(&self.host, request(), REVERT).await
            }
            other => other,
        };
        match answer.map_err(|error| error.to_string())? {
            Answer::Done { how } => Ok(format!("{}: {how}", self.host)),
            other => Err(unexpected(&self.host, &other)),
        }
    }
}

/// A fault on another host.
struct Fault {
    kind: Arc<dyn AnyFault>,
    remote: Arc<Remote>,
}

fn placed(target: &Target) -> Result<Placed, String> {
    Placed::deserialize(&target.facts).map_err(|e| format!("{} is not on a host with an agent: {e}", target.label))
}

/// What an agent plans, as it is seen from afar.
fn seen_from_afar(host: &str, plan: Plan) -> Plan {
    let change = |change: PlannedChange| PlannedChange { what: format!("{} on {host}", change.what), ..change };
    let claim = |claim: Claim| Claim(format!("{host}/{}", claim.0));
    Plan {
        changes: plan.changes.into_iter().map(change).collect(),
        claims: plan.claims.into_iter().map(claim).collect(),
        irreversible: plan.irreversible,
    }
}

impl AnyFault for Fault {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn meta(&self) -> &'static Meta {
        self.kind.meta()
    }

    fn schema(&self) -> schemars::Schema {
        self.kind.schema()
    }

    fn check(&self, args: &Json) -> Vec<KindError> {
        self.kind.check(args)
    }

    fn plan<'a>(&'a self, args: &'a Json, target: &'a Target, _: &'a HostFacts) -> BoxFuture<'a, Result<Plan, PlanError>> {
        Box::pin(async move {
            let error = |message: String| PlanError { message, hint: None };
            let Placed { host, target, .. } = placed(target).map_err(error)?;
            let request = Request::Plan { fault: self.kind.name().to_owned(), args: args.clone(), target: *target };
            match self.remote.fleet.call(&host, request, LOOK).await {
                Ok(Answer::Planned(plan)) => Ok(seen_from_afar(&host, plan)),
                Ok(other) => Err(error(unexpected(&host, &other))),
                Err(CallError::Refused { refusal: Refusal { message, hint }, .. }) => Err(PlanError { message, hint }),
                Err(failed) => Err(error(failed.to_string())),
            }
        })
    }

    fn inject<'a>(&'a self, args: &'a Json, target: &'a Target, cx: ErasedCx<'a>) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            let Placed { host, target, .. } = placed(target).map_err(InjectError::Failed)?;
            let remote = &self.remote;
            let cx = cx.typed::<RemoteUndo>();
            let undo = RemoteUndo { host: host.clone(), run: remote.run.clone(), injection: cx.injection };
            // From here on the revert goes to the agent, whether it has heard of the injection or not.
            let _armed = cx.arm(&undo)?;
            remote.fleet.drive(remote.run.clone(), [host.clone()]);
            remote.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(host.clone());
            let left = cx.deadline.map(|at| Time::from(at.saturating_sub(remote.clock.now())));
            let inject = Inject {
                run: remote.run.clone(),
                injection: cx.injection,
                fault: self.kind.name().to_owned(),
                args: args.clone(),
                target: *target,
                duration: left,
                latest: left.unwrap_or(remote.longest),
                seed: cx.seed,
                // The engine has asked the manifest before it came here.
                accept_irreversible: true,
                lease: remote.lease,
            };
            match remote.call(&host, Request::Inject(Box::new(inject)), INJECT).await.map_err(InjectError::Failed)? {
                Answer::Done { .. } => Ok(()),
                other => Err(InjectError::Failed(unexpected(&host, &other))),
            }
        })
    }

    fn verify<'a>(&'a self, undo: &'a Json) -> BoxFuture<'a, Result<Effect, VerifyError>> {
        Box::pin(async move {
            let RemoteUndo { host, run, injection } = RemoteUndo::read(undo).map_err(VerifyError)?;
            match self.remote.call(&host, Request::Verify { run, injection }, LOOK).await.map_err(VerifyError)? {
                Answer::Effect { in_force, evidence } => Ok(Effect { in_force, evidence: format!("{host}: {evidence}") }),
                other => Err(VerifyError(unexpected(&host, &other))),
            }
        })
    }

    fn revert<'a>(&'a self, undo: &'a Json, _: &'a Armed) -> BoxFuture<'a, Result<Reverted, RevertError>> {
        Box::pin(async move {
            let undo = RemoteUndo::read(undo).map_err(RevertError)?;
            let how = undo.revert(&self.remote.fleet, self.remote.lease.std()).await.map_err(RevertError)?;
            Ok(Reverted { how })
        })
    }
}

/// A kind of target on other hosts.
struct Kind {
    kind: Arc<dyn AnyTargetKind>,
    remote: Arc<Remote>,
}

impl Kind {
    async fn find(&self, hosts: Option<&HostSelector>, selector: &Json) -> Result<Vec<Target>, FindError> {
        // Right after this server's start, hosts may be on their way.
        self.remote.fleet.settled().await;
        let chosen = chosen(&self.remote, hosts)?;
        let ask = |(host, labels): Labelled| async move {
            let request = Request::Find { kind: self.kind.meta().name.to_owned(), selector: selector.clone(), except: None };
            match self.remote.call(&host, request, LOOK).await? {
                Answer::Found { targets, .. } => Ok(targets.into_iter().map(|target| place(&host, &labels, target)).collect::<Vec<_>>()),
                other => Err(unexpected(&host, &other)),
            }
        };
        let mut found = Vec::new();
        let mut answers = futures_util::stream::iter(chosen).map(ask).buffer_unordered(ASKED_AT_ONCE);
        while let Some(answer) = answers.next().await {
            found.extend(
                answer
                    .map_err(|message| FindError { message, hint: Some("leave the host out with `hosts`, or look at its agent".into()) })?,
            );
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }
}

/// A target as the server's engine has it.
fn place(host: &str, labels: &BTreeMap<String, String>, target: Target) -> Target {
    let (kind, id, label) = (target.kind.clone(), format!("{host}/{}", target.id), format!("{} on {host}", target.label));
    let facts = Placed { host: host.to_owned(), labels: labels.clone(), target: Box::new(target) };
    Target { kind, id, label, facts: serde_json::to_value(facts).unwrap_or_default() }
}

/// A host's name and its labels.
type Labelled = (String, BTreeMap<String, String>);

/// The hosts that a selector means, by name. One that is named and not linked is an error; one that only matches is left out.
fn chosen(remote: &Remote, hosts: Option<&HostSelector>) -> Result<Vec<Labelled>, FindError> {
    let everywhere = HostSelector::default();
    let selector = hosts.unwrap_or(&everywhere);
    let linked = remote.fleet.connected();
    let mut matching: Vec<Labelled> = linked
        .iter()
        .filter(|host| selector.matches(&host.name, &host.labels))
        .map(|host| (host.name.clone(), host.labels.clone()))
        .collect();
    matching.sort();
    let error = |message: String, hint: &str| FindError { message, hint: Some(hint.to_owned()) };
    if let Some(absent) = selector.names.iter().find(|name| !name.contains('*') && !linked.iter().any(|host| host.name == **name)) {
        return Err(error(format!("the host `{absent}` is not linked"), "`squall hosts` lists those that are"));
    }
    if matching.is_empty() {
        return Err(error("no linked host matches `hosts`".into(), "`squall hosts` lists hosts and labels"));
    }
    let Some(select) = selector.select else { return Ok(matching) };
    let seed = remote.run.as_str().bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte));
    let chance = squall_engine::chance(seed, 0, 0);
    let Some(count) = select.count(matching.len(), chance) else {
        return Err(error(format!("`hosts.select: {select}` cannot be met: {} match", matching.len()), "choose fewer, or match more"));
    };
    matching.sort_by_cached_key(|(name, _)| squall_engine::keyed_hash(seed, 0, 0, name.as_bytes()));
    matching.truncate(count);
    Ok(matching)
}

impl AnyTargetKind for Kind {
    fn meta(&self) -> &'static TargetMeta {
        self.kind.meta()
    }

    fn schema(&self) -> schemars::Schema {
        self.kind.schema()
    }

    fn check(&self, selector: &Json) -> Vec<KindError> {
        self.kind.check(selector)
    }

    fn find<'a>(&'a self, selector: &'a Json) -> BoxFuture<'a, Result<Vec<Target>, FindError>> {
        Box::pin(Kind::find(self, None, selector))
    }

    fn find_on<'a>(&'a self, hosts: Option<&'a HostSelector>, selector: &'a Json) -> BoxFuture<'a, Result<Vec<Target>, FindError>> {
        Box::pin(Kind::find(self, hosts, selector))
    }
}

/// A probe, of the server or of a host.
struct Probe {
    kind: Arc<dyn AnyProbe>,
    remote: Arc<Remote>,
}

impl AnyProbe for Probe {
    fn meta(&self) -> &'static ProbeMeta {
        self.kind.meta()
    }

    fn schema(&self) -> schemars::Schema {
        self.kind.schema()
    }

    fn check(&self, args: &Json) -> Vec<KindError> {
        self.kind.check(args)
    }

    fn dimension(&self, args: &Json) -> Dimension {
        self.kind.dimension(args)
    }

    fn describe(&self, args: &Json) -> String {
        self.kind.describe(args)
    }

    fn open(&self, args: &Json, cx: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        let ProbeMeta { name, from_anywhere, .. } = *self.kind.meta();
        let host = match (&cx.host, &self.remote.from) {
            // The load is the server's own, and so is what is read off it.
            _ if name == "traffic" => None,
            (Some(host), _) if !from_anywhere => Some(host),
            (_, from) => from.as_ref(),
        };
        match host {
            Some(host) => Ok(Box::new(FarMeasure {
                remote: self.remote.clone(),
                host: host.clone(),
                request: MeasureRequest {
                    run: self.remote.run.clone(),
                    probe: self.remote.probes.fetch_add(1, Ordering::Relaxed),
                    kind: name.to_owned(),
                    args: args.clone(),
                    every: cx.every,
                    timeout: cx.timeout,
                },
            })),
            None if from_anywhere => self.kind.open(args, cx),
            None => Err(needs_a_host(name)),
        }
    }
}

fn needs_a_host(kind: &str) -> String {
    format!("a `{kind}` probe looks at the host that it runs on, and the server is none of yours: start the run with `from: HOST`")
}

/// Kinds of probe of an experiment that the server itself does not ask.
pub(super) fn probes_that_need_a_host<'a>(registry: &Registry, mut kinds: impl Iterator<Item = &'a str>) -> Option<String> {
    kinds.find(|kind| registry.probe(kind).is_some_and(|known| !known.meta().from_anywhere)).map(needs_a_host)
}

/// A probe that is asked from a host.
struct FarMeasure {
    remote: Arc<Remote>,
    host: String,
    request: MeasureRequest,
}

impl Measure for FarMeasure {
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>> {
        Box::pin(async move {
            self.remote.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(self.host.clone());
            let within = self.request.timeout.std() + LOOK;
            match self.remote.call(&self.host, Request::Measure(Box::new(self.request.clone())), within).await? {
                Answer::Measured { measured: Measured::Value(value), .. } => Ok(value),
                Answer::Measured { measured: Measured::Unmeasured(why), .. } => Err(why),
                other => Err(unexpected(&self.host, &other)),
            }
        })
    }
}

/// Undoes of a run that a server drives: on the hosts, and rollback actions here.
pub(super) struct RemoteUndoer {
    pub fleet: Fleet,
    pub lease: Duration,
    /// For rollback actions, which the server does itself.
    pub local: RegistryUndoer,
}

impl Undoer for RemoteUndoer {
    fn revert<'a>(&'a self, fault: &'a str, undo: &'a Json, armed: &'a Armed) -> BoxFuture<'a, Result<String, String>> {
        Box::pin(async move {
            if let Ok(remote) = RemoteUndo::read(undo) {
                return remote.revert(&self.fleet, self.lease).await;
            }
            self.local.revert(fault, undo, armed).await
        })
    }
}
