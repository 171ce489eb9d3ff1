//! The faults of a service, as the service sees them.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::fault::{Active, Subject};
use crate::layer::{FaultLayer, Treatment};
use crate::watch::Watcher;
use crate::{clock, directory};

/// Faults of which nobody has looked for so long whether they go on are over.
const STALE: Duration = Duration::from_secs(2);

/// The faults that are set for one service. Cheap to clone; the thread behind it ends with the last clone.
#[derive(Clone)]
pub struct Faults(Arc<Shared>);

/// What the thread writes and requests read.
#[derive(Default)]
pub(crate) struct Shared {
    /// Whether there is any: all that a request looks at while there is none.
    any: AtomicBool,
    active: RwLock<Arc<[Arc<Active>]>>,
    /// When it was last looked at, in nanoseconds of `CLOCK_BOOTTIME`.
    looked: AtomicU64,
    problem: RwLock<Option<String>>,
}

/// A fault that is in force in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Its name.
    pub id: String,
    /// Until it ends by itself.
    pub left: Duration,
}

/// A point in the code was made to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// The point.
    pub point: String,
    /// The name of the fault.
    pub fault: String,
    /// The status that the fault asks for; a point makes of it what it likes.
    pub status: u16,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault {} was injected at `{}` (status {})", self.fault, self.point, self.status)
    }
}

impl std::error::Error for Injected {}

impl Faults {
    /// Watches for faults for the service of this name, where [`directory::to_watch`] says. Starts a thread, so a program that
    /// forks into the background has to do that first. Never fails: see [`Faults::problem`].
    pub fn watch(service: &str) -> Self {
        Self::watch_in(service, directory::to_watch())
    }

    /// The same in directories of the caller's choice.
    pub fn watch_in(service: &str, directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let shared = Arc::new(Shared::default());
        let watcher = Watcher::new(service, directories.into_iter().collect());
        let weak = Arc::downgrade(&shared);
        let thread = std::thread::Builder::new().name("squall-faults".into());
        if let Err(error) = thread.spawn(move || watcher.run(&weak)) {
            shared.set(Vec::new(), Some(format!("no thread can be started, so no fault will be obeyed: {error}")));
        }
        Self(shared)
    }

    /// The layer that obeys them.
    pub fn layer(&self) -> FaultLayer {
        FaultLayer::of(self.clone())
    }

    /// A point in the code that can be broken by its name: waits as long as the faults that are set for it say, and fails as
    /// often. While no fault is set this costs one load of an atomic flag.
    ///
    /// ```
    /// # async fn charge(faults: &squall_tower::Faults) -> Result<(), Box<dyn std::error::Error>> {
    /// faults.point("charge-card").await?;
    /// // … call the bank …
    /// # Ok(())
    /// # }
    /// ```
    pub async fn point(&self, name: &str) -> Result<(), Injected> {
        let Some(treatment) = self.treatment(Subject::Point(name)) else { return Ok(()) };
        match treatment.endured().await {
            Some((fault, status)) => Err(Injected { point: name.to_owned(), fault, status }),
            None => Ok(()),
        }
    }

    /// The faults that are in force in this process now.
    pub fn in_force(&self) -> Vec<InForce> {
        let now = clock::nanos();
        let left = |active: &Arc<Active>| InForce {
            id: active.setting.id.clone(),
            left: Duration::from_nanos(active.setting.deadline.saturating_sub(now)),
        };
        self.active().iter().filter(|active| !active.is_over()).map(left).collect()
    }

    /// Why faults may not get here, as far as that was seen at the last look.
    pub fn problem(&self) -> Option<String> {
        self.0.problem.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What has to be done to a subject; none at all in most lives.
    #[inline]
    pub(crate) fn treatment(&self, subject: Subject<'_>) -> Option<Treatment> {
        if !self.0.any.load(Ordering::Acquire) {
            return None;
        }
        self.chosen(subject)
    }

    #[cold]
    fn chosen(&self, subject: Subject<'_>) -> Option<Treatment> {
        let mut treatment = Treatment::default();
        for active in self.active().iter().filter(|active| active.is_for(subject) && !active.is_over()) {
            let (delay, failure) = active.decide();
            treatment.add(active, delay, failure);
        }
        treatment.some()
    }

    /// Those that are obeyed: none if nobody has looked for too long.
    fn active(&self) -> Arc<[Arc<Active>]> {
        let age = Duration::from_nanos(clock::nanos().saturating_sub(self.0.looked.load(Ordering::Acquire)));
        if age > STALE { Arc::default() } else { self.0.active.read().unwrap_or_else(PoisonError::into_inner).clone() }
    }
}

impl Shared {
    /// What was seen.
    pub(crate) fn set(&self, active: Vec<Arc<Active>>, problem: Option<String>) {
        let any = !active.is_empty();
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = active.into();
        self.looked.store(clock::nanos(), Ordering::Release);
        self.any.store(any, Ordering::Release);
        *self.problem.write().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("in_force", &self.in_force()).field("problem", &self.problem()).finish()
    }
}
