//! What a probe is to the engine: something that is asked again and again for one value.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use squall_model::{Dimension, Time, Value};

use crate::{ArgError, BoxFuture, Clock, TrafficControl};

/// A kind of probe. Adding one is one file with this implementation and one entry in the list of `squall-probes`.
pub trait Probe: Send + Sync + 'static {
    /// What the user writes under the kind's key.
    type Args: DeserializeOwned + JsonSchema + Send + Sync;

    /// Name, summary, example.
    const META: ProbeMeta;

    /// Checks what the types cannot say.
    fn check(&self, args: &Self::Args) -> Vec<ArgError> {
        let _ = args;
        Vec::new()
    }

    /// What the values are measured in.
    fn dimension(&self, args: &Self::Args) -> Dimension;

    /// What is measured, in a few words for people: `status of GET http://…`.
    fn describe(&self, args: &Self::Args) -> String;

    /// Makes ready to measure. Called once a run, before the steady phase; does not wait for the network.
    fn open(&self, args: Self::Args, cx: &ProbeCx) -> Result<Box<dyn Measure>, String>;
}

/// A probe made ready.
pub trait Measure: Send + 'static {
    /// Measures once. An error is "could not measure" and says why. The caller sets the timeout and drops the future when
    /// it has passed; dropping must leave nothing running.
    fn measure(&mut self) -> BoxFuture<'_, Result<Value, String>>;
}

/// What is said of a kind of probe.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ProbeMeta {
    /// The key in the manifest.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// It sees the same from any host; the others look at the host that they are asked on.
    pub from_anywhere: bool,
    /// One probe, in YAML.
    pub example: &'static str,
}

/// What a probe is given besides its arguments.
#[derive(Clone)]
pub struct ProbeCx {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The run's own load.
    pub traffic: Arc<dyn TrafficControl>,
    /// How often this probe will be asked.
    pub every: Time,
    /// After how long an answer comes too late.
    pub timeout: Time,
    /// The host of the target that is asked about, in a comparison through a server. What looks at its host looks there.
    pub host: Option<String>,
}
