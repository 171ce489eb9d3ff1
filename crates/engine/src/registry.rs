//! The lists of kinds as objects, so that the engine, the ledger and the command line work with any of them.

use std::sync::Arc;

use schemars::Schema;
use serde_json::Value as Json;
use squall_model::{Decoded, Dimension, HostSelector, Path, Problem};
use squall_undo::{Armed, Undoer};

use crate::fault::{ArgError, Cx, Effect, Fault, InjectError, Meta, Plan, PlanError, RevertError, Reverted, VerifyError};
use crate::probe::{Measure, Probe, ProbeCx, ProbeMeta};
use crate::target::{FindError, Target, TargetKind, TargetMeta};
use crate::{BoxFuture, HostFacts};

/// Every kind of fault, probe and target that this program knows. Explicit lists, put together by the binary.
#[derive(Clone, Default)]
pub struct Registry {
    /// Kinds of fault.
    pub faults: Vec<Arc<dyn AnyFault>>,
    /// Kinds of probe.
    pub probes: Vec<Arc<dyn AnyProbe>>,
    /// Kinds of target.
    pub targets: Vec<Arc<dyn AnyTargetKind>>,
}

impl Registry {
    /// The kind of fault with that name.
    pub fn fault(&self, name: &str) -> Option<&Arc<dyn AnyFault>> {
        self.faults.iter().find(|fault| fault.name() == name)
    }

    /// The kind of probe with that name.
    pub fn probe(&self, name: &str) -> Option<&Arc<dyn AnyProbe>> {
        self.probes.iter().find(|probe| probe.meta().name == name)
    }

    /// The kind of target with that name.
    pub fn target(&self, name: &str) -> Option<&Arc<dyn AnyTargetKind>> {
        self.targets.iter().find(|target| target.meta().name == name)
    }
}

/// Undoes by the list of faults.
pub struct RegistryUndoer(pub Arc<Registry>);

impl Undoer for RegistryUndoer {
    fn revert<'a>(&'a self, fault: &'a str, undo: &'a Json, armed: &'a Armed) -> BoxFuture<'a, Result<String, String>> {
        Box::pin(async move {
            let kind = self.0.fault(fault).ok_or_else(|| format!("this Squall does not know `{fault}`; use the one that made it"))?;
            kind.revert(undo, armed).await.map(|reverted| reverted.how).map_err(|error| error.to_string())
        })
    }
}

/// The arguments of a kind do not fit. The path is within the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindError {
    /// Where, within the arguments.
    pub path: Path,
    /// It is the key that is wrong, not its value.
    pub at_key: bool,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<ArgError> for KindError {
    fn from(error: ArgError) -> Self {
        Self { path: error.path, at_key: false, message: error.message, hint: error.hint }
    }
}

impl From<Problem> for KindError {
    fn from(problem: Problem) -> Self {
        let Problem { path, at_key, message, hint } = problem;
        Self { path, at_key, message, hint }
    }
}

/// What an injection is given, before the type of its undo is known.
pub type ErasedCx<'a> = Cx<'a, Json>;

/// A kind of fault as an object.
pub trait AnyFault: Send + Sync {
    /// The name in [`meta`](Self::meta), for those to whom the rest is work.
    fn name(&self) -> &'static str {
        self.meta().name
    }
    /// What is said of it.
    fn meta(&self) -> &'static Meta;
    /// JSON Schema of its arguments.
    fn schema(&self) -> Schema;
    /// Checks arguments; an absent `with` is `null`.
    fn check(&self, args: &Json) -> Vec<KindError>;
    /// See [`Fault::plan`]. A host that lacks one of the fault's needs is refused before it is asked. One that stands for a fault on
    /// another host has to ask there.
    fn plan<'a>(&'a self, args: &'a Json, target: &'a Target, host: &'a HostFacts) -> BoxFuture<'a, Result<Plan, PlanError>>;
    /// See [`Fault::inject`].
    fn inject<'a>(&'a self, args: &'a Json, target: &'a Target, cx: ErasedCx<'a>) -> BoxFuture<'a, Result<(), InjectError>>;
    /// See [`Fault::verify`].
    fn verify<'a>(&'a self, undo: &'a Json) -> BoxFuture<'a, Result<Effect, VerifyError>>;
    /// See [`Fault::revert`].
    fn revert<'a>(&'a self, undo: &'a Json, armed: &'a Armed) -> BoxFuture<'a, Result<Reverted, RevertError>>;
}

/// A kind of probe as an object.
pub trait AnyProbe: Send + Sync {
    /// What is said of it.
    fn meta(&self) -> &'static ProbeMeta;
    /// JSON Schema of its arguments.
    fn schema(&self) -> Schema;
    /// Checks arguments.
    fn check(&self, args: &Json) -> Vec<KindError>;
    /// See [`Probe::dimension`]. Arguments that do not fit are a number.
    fn dimension(&self, args: &Json) -> Dimension;
    /// See [`Probe::describe`].
    fn describe(&self, args: &Json) -> String;
    /// See [`Probe::open`].
    fn open(&self, args: &Json, cx: &ProbeCx) -> Result<Box<dyn Measure>, String>;
}

/// A kind of target as an object.
pub trait AnyTargetKind: Send + Sync {
    /// What is said of it.
    fn meta(&self) -> &'static TargetMeta;
    /// JSON Schema of its selector.
    fn schema(&self) -> Schema;
    /// Checks a selector.
    fn check(&self, selector: &Json) -> Vec<KindError>;
    /// See [`TargetKind::find`].
    fn find<'a>(&'a self, selector: &'a Json) -> BoxFuture<'a, Result<Vec<Target>, FindError>>;
    /// The same on hosts of a fleet. Kinds of this host know of none.
    fn find_on<'a>(&'a self, hosts: Option<&'a HostSelector>, selector: &'a Json) -> BoxFuture<'a, Result<Vec<Target>, FindError>> {
        if hosts.is_none() {
            return self.find(selector);
        }
        let message = "`hosts` chooses hosts with an agent, and this run knows of this host alone".to_owned();
        let hint = Some("remove `hosts`, or give the manifest to a server: `squall run --server URL`".to_owned());
        Box::pin(std::future::ready(Err(FindError { message, hint })))
    }
}

/// An absent object is an empty one.
fn decoded<T: serde::de::DeserializeOwned>(json: &Json, root: &str) -> Decoded<T> {
    let empty = Json::Object(serde_json::Map::new());
    squall_model::decode(if json.is_null() { &empty } else { json }, root)
}

/// Arguments as their type, or the first place where they do not fit.
fn decode<T: serde::de::DeserializeOwned>(json: &Json) -> Result<T, KindError> {
    let Decoded { value, problems, .. } = decoded(json, "this");
    match (value, problems.into_iter().next()) {
        (Some(value), None) => Ok(value),
        (_, Some(problem)) => Err(problem.into()),
        (None, None) => Err(KindError { path: Path::default(), at_key: false, message: "the arguments do not fit".into(), hint: None }),
    }
}

/// All that is wrong with arguments; what the kind itself checks is looked at only when the types fit.
fn checked<T: serde::de::DeserializeOwned>(json: &Json, root: &str, check: impl FnOnce(&T) -> Vec<ArgError>) -> Vec<KindError> {
    let Decoded { value, problems, .. } = decoded::<T>(json, root);
    match value {
        Some(args) if problems.is_empty() => check(&args).into_iter().map(KindError::from).collect(),
        _ => problems.into_iter().map(KindError::from).collect(),
    }
}

fn planned<F: Fault>(fault: &F, args: &Json, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
    host.has_needs_of(&F::META)?;
    let args = decode(args).map_err(|e| PlanError { message: e.message, hint: e.hint })?;
    fault.plan(&args, target, host)
}

impl<F: Fault> AnyFault for F {
    fn meta(&self) -> &'static Meta {
        const { &F::META }
    }

    fn schema(&self) -> Schema {
        schemars::schema_for!(F::Args)
    }

    fn check(&self, args: &Json) -> Vec<KindError> {
        checked(args, "`with`", |args| Fault::check(self, args))
    }

    fn plan<'a>(&'a self, args: &'a Json, target: &'a Target, host: &'a HostFacts) -> BoxFuture<'a, Result<Plan, PlanError>> {
        Box::pin(std::future::ready(planned(self, args, target, host)))
    }

    fn inject<'a>(&'a self, args: &'a Json, target: &'a Target, cx: ErasedCx<'a>) -> BoxFuture<'a, Result<(), InjectError>> {
        Box::pin(async move {
            let args = decode(args).map_err(|e| InjectError::Failed(e.message))?;
            Fault::inject(self, &args, target, &cx.typed()).await
        })
    }

    fn verify<'a>(&'a self, undo: &'a Json) -> BoxFuture<'a, Result<Effect, VerifyError>> {
        Box::pin(async move {
            let undo = decode(undo).map_err(|e| VerifyError(format!("undo of {}: {}", F::META.name, e.message)))?;
            Fault::verify(self, &undo).await
        })
    }

    fn revert<'a>(&'a self, undo: &'a Json, armed: &'a Armed) -> BoxFuture<'a, Result<Reverted, RevertError>> {
        Box::pin(async move {
            let undo = decode(undo).map_err(|e| RevertError(format!("undo of {}: {}", F::META.name, e.message)))?;
            Fault::revert(self, &undo, armed).await
        })
    }
}

impl<P: Probe> AnyProbe for P {
    fn meta(&self) -> &'static ProbeMeta {
        const { &P::META }
    }

    fn schema(&self) -> Schema {
        schemars::schema_for!(P::Args)
    }

    fn check(&self, args: &Json) -> Vec<KindError> {
        checked(args, &format!("`{}`", P::META.name), |args| Probe::check(self, args))
    }

    fn dimension(&self, args: &Json) -> Dimension {
        decode(args).map_or(Dimension::Number, |args| Probe::dimension(self, &args))
    }

    fn describe(&self, args: &Json) -> String {
        decode(args).map_or_else(|_| P::META.name.to_owned(), |args| Probe::describe(self, &args))
    }

    fn open(&self, args: &Json, cx: &ProbeCx) -> Result<Box<dyn Measure>, String> {
        Probe::open(self, decode(args).map_err(|e| e.message)?, cx)
    }
}

impl<K: TargetKind> AnyTargetKind for K {
    fn meta(&self) -> &'static TargetMeta {
        const { &K::META }
    }

    fn schema(&self) -> Schema {
        schemars::schema_for!(K::Selector)
    }

    fn check(&self, selector: &Json) -> Vec<KindError> {
        checked(selector, &format!("`{}`", K::META.name), |selector| TargetKind::check(self, selector))
    }

    fn find<'a>(&'a self, selector: &'a Json) -> BoxFuture<'a, Result<Vec<Target>, FindError>> {
        Box::pin(async move {
            let selector = decode(selector).map_err(|e| FindError { message: e.message, hint: e.hint })?;
            TargetKind::find(self, &selector).await
        })
    }
}

impl<'a> Cx<'a, Json> {
    /// The same context for a fault that knows the type of its undo.
    pub fn typed<U>(self) -> Cx<'a, U> {
        self.retype()
    }
}
