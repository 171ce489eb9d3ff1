//! Faults that a child of Squall carries (see [`crate::stressor`]), each of which differs from the next only in what it wishes for.

use std::future::Future;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use squall_engine::{
    ArgError, Cx, Effect, Fault, HostFacts, InjectError, Meta, Plan, PlanError, RevertError, Reverted, Target, VerifyError,
};
use squall_undo::Armed;

use crate::stressor::Launcher;

/// Arguments of a fault that say what is wished for: all that such a fault is.
pub trait Wanted: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// As [`Fault::Undo`].
    type Undo: Serialize + DeserializeOwned + Send + Sync;
    /// What is made of the arguments.
    type Wish<'a>: Wish<Undo = Self::Undo>;

    /// As [`Fault::META`].
    const META: Meta;

    /// As [`Fault::check`].
    fn check(&self) -> Vec<ArgError>;

    /// What is wished for, with what decides random choices.
    fn wish(&self, seed: u64) -> Self::Wish<'_>;
}

/// A wish of a family: how it is planned, carried out, and taken back.
pub trait Wish: Send + Sync {
    /// As [`Fault::Undo`].
    type Undo;

    /// What would be made. Looks at the host and changes nothing.
    fn plan(&self, target: &Target, host: &HostFacts) -> Result<Plan, PlanError>;

    /// Arms the undo and puts the fault in force.
    fn inject(&self, launcher: &Launcher, target: &Target, cx: &Cx<'_, Self::Undo>)
    -> impl Future<Output = Result<(), InjectError>> + Send;

    /// As [`Fault::verify`].
    fn verify(undo: &Self::Undo) -> impl Future<Output = Result<Effect, VerifyError>> + Send;

    /// As [`Fault::revert`].
    fn revert(undo: &Self::Undo, armed: &Armed) -> impl Future<Output = Result<Reverted, RevertError>> + Send;
}

/// The fault with those arguments.
#[derive(Debug, Clone)]
pub struct Carried<A> {
    launcher: Launcher,
    args: PhantomData<fn(A)>,
}

impl<A> Carried<A> {
    /// With another program as the carrier.
    pub fn with(launcher: Launcher) -> Self {
        Self { launcher, args: PhantomData }
    }
}

impl<A> Default for Carried<A> {
    fn default() -> Self {
        Self::with(Launcher::default())
    }
}

impl<A: Wanted> Fault for Carried<A> {
    type Args = A;
    type Undo = A::Undo;

    const META: Meta = A::META;

    fn check(&self, args: &A) -> Vec<ArgError> {
        args.check()
    }

    fn plan(&self, args: &A, target: &Target, host: &HostFacts) -> Result<Plan, PlanError> {
        args.wish(0).plan(target, host)
    }

    async fn inject(&self, args: &A, target: &Target, cx: &Cx<'_, A::Undo>) -> Result<(), InjectError> {
        args.wish(cx.seed).inject(&self.launcher, target, cx).await
    }

    async fn verify(&self, undo: &A::Undo) -> Result<Effect, VerifyError> {
        A::Wish::verify(undo).await
    }

    async fn revert(&self, undo: &A::Undo, armed: &Armed) -> Result<Reverted, RevertError> {
        A::Wish::revert(undo, armed).await
    }
}
