//! Timers of the loop: one deadline for each, the nearest first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use squall_model::Timer;

use super::Shared;
use crate::state::Micros;

#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Micros>,
    order: BTreeSet<(Micros, Timer)>,
}

impl Timers {
    /// Sets a timer, in place of an earlier one of the same name.
    pub fn set(&mut self, timer: Timer, at: Micros) {
        if let Some(old) = self.at.insert(timer, at) {
            self.order.remove(&(old, timer));
        }
        self.order.insert((at, timer));
    }

    /// Waits for the next timer and takes it. Never returns while there is none; safe to drop.
    pub async fn next(&mut self, shared: &Arc<Shared>) -> Timer {
        let Some(&(at, timer)) = self.order.first() else { return std::future::pending().await };
        shared.clock.sleep_until(shared.absolute(at)).await;
        self.order.remove(&(at, timer));
        self.at.remove(&timer);
        timer
    }
}
