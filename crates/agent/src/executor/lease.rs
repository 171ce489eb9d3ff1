//! What ends by itself: leases, time boxes, runs that a beat leaves out, and everything where the stop file appears.

use std::sync::Arc;
use std::time::Duration;

use squall_model::{RevertedBy, RunId, Time};

use super::run::{Phase, Run};
use super::{Executor, LOOK_EVERY};

/// How often the stop file is looked for where nothing is in force.
const IDLE: Duration = Duration::from_secs(1);

impl Executor {
    /// A beat has come: runs of this server that it leaves out are over.
    pub(crate) fn beat(&self, server: &str, runs: &[RunId]) {
        for run in self.all() {
            if runs.contains(&run.id) {
                continue;
            }
            let orphaned = {
                let mut state = run.state();
                // Another server may have taken it over; then it names it.
                let was = state.named.remove(server).is_some();
                let others = Run::lease_ends(&state);
                let over = was && (state.named.is_empty() || others <= self.clock().now());
                if over && state.named.is_empty() {
                    // So that it is not taken for one whose lease ended.
                    state.named.insert(server.to_owned(), self.clock().now());
                }
                over && state.over.is_none()
            };
            if orphaned {
                self.end_soon(&run, "its server does not drive it any more".to_owned());
            }
        }
    }

    /// The beat that named these runs at `at` is known to have come: their leases are renewed.
    pub(crate) fn renew(&self, server: &str, runs: &[RunId], at: Duration) {
        for run in runs.iter().filter_map(|id| self.run(id)) {
            run.renew(server, at);
        }
    }

    fn end_soon(&self, run: &Arc<Run>, why: String) {
        run.state().over.get_or_insert_with(|| why.clone());
        tracing::warn!(run = %run.id, why, "a run is ended");
        let (executor, run) = (self.clone(), run.clone());
        tokio::spawn(async move { executor.end(&run, &why).await });
    }

    /// Keeps leases, time boxes and the stop file, until it is dropped.
    pub async fn keep(&self) {
        let clock = self.clock();
        loop {
            let runs = self.all();
            let now = clock.now();
            if runs.is_empty() {
                self.0.probes.close_idle();
                tokio::select! {
                    () = self.0.changed.notified() => {}
                    () = clock.sleep_until(now + IDLE) => {}
                }
            } else {
                let next = runs.iter().filter_map(|run| self.look(run, now)).min().unwrap_or(now + LOOK_EVERY);
                clock.sleep_until(next.clamp(now, now + LOOK_EVERY)).await;
            }
            self.look_at_stop_file();
        }
    }

    /// Ends what is to be ended of a run; gives when its lease ends.
    fn look(&self, run: &Arc<Run>, now: Duration) -> Option<Duration> {
        let (over, again, ends, lease, late) = {
            let state = run.state();
            let late = state.injections.values().filter(|one| one.latest <= now && *one.phase.borrow() == Phase::InForce);
            let late: Vec<_> = late.map(|injection| injection.id).collect();
            (state.over.clone(), state.again, Run::lease_ends(&state), state.lease, late)
        };
        if let Some(why) = over {
            if again.is_some_and(|(at, _)| at <= now) {
                // Not before this try is over.
                run.state().again = None;
                self.end_soon(run, why);
            }
            return again.map(|(at, _)| at);
        }
        if ends <= now {
            self.end_soon(run, format!("its lease of {} ended: nothing was heard of its server", Time::from(lease)));
            return None;
        }
        if run.stopped_here() {
            self.end_soon(run, "`squall stop` on this host".to_owned());
            return None;
        }
        if let Some(status) = run.lost_watchdog() {
            self.end_soon(run, format!("its watchdog has ended ({status})"));
            return None;
        }
        for id in late {
            let (executor, run) = (self.clone(), run.clone());
            tokio::spawn(async move {
                if let Ok(how) = run.revert(id, RevertedBy::Agent).await {
                    executor.told(&run.id, vec![(id, RevertedBy::Agent, format!("its time was over: {how}"))], false);
                }
            });
        }
        Some(ends)
    }

    fn look_at_stop_file(&self) {
        let stopped = self.ground().state.stopped();
        if let Some(says) = &stopped {
            for run in self.all().iter().filter(|run| run.state().over.is_none()) {
                self.end_soon(run, format!("the stop file is there ({says})"));
            }
        }
        self.0.blocked.send_if_modified(|blocked| {
            let changed = *blocked != stopped;
            *blocked = stopped;
            changed
        });
    }
}
