//! The one timer of all links: beats, agents that have fallen silent, and what is written now and then.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use squall_api::link::{BEAT_EVENT, Beat};
use squall_model::RunId;
use squall_store::{Batch, Write};

use super::host::{HostEntry, SEEN, SeenDocument};
use super::{Fleet, Inner};

/// Hosts are beaten in so many groups, one after another, so that their answers do not come all at once.
pub(super) const GROUPS: usize = 30;
/// An agent that is not heard of for so many beats is lost.
const SILENT: u32 = 3;
/// How often the database is told when hosts were heard of.
const WRITE_SEEN_EVERY: Duration = Duration::from_mins(1);

/// Texts of beats, each made once.
#[derive(Default)]
pub(super) struct Frames(HashMap<BTreeSet<RunId>, Bytes>);

impl Frames {
    /// More different lists of runs than any moment has.
    const MOST: usize = 1024;

    pub fn of(&mut self, runs: &BTreeSet<RunId>) -> Bytes {
        if let Some(frame) = self.0.get(runs) {
            return frame.clone();
        }
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        let beat = serde_json::to_string(&Beat { runs: runs.iter().cloned().collect() }).unwrap_or_default();
        let frame = Bytes::from(format!("event: {BEAT_EVENT}\ndata: {beat}\n\n"));
        self.0.insert(runs.clone(), frame.clone());
        frame
    }
}

/// Goes on while the fleet is there.
pub(super) async fn keep(fleet: Weak<Inner>) {
    let Some(inner) = fleet.upgrade() else { return };
    let clock = inner.config.clock.clone();
    let every = inner.config.beat_every;
    drop(inner);
    let step = every / u32::try_from(GROUPS).unwrap_or(1);
    let (mut next, mut group, mut written) = (clock.now(), 0, clock.now());
    loop {
        // Late ones are not made up for: what counts is when an agent hears of it.
        next = (next + step).max(clock.now());
        clock.sleep_until(next).await;
        let Some(inner) = fleet.upgrade() else { return };
        let fleet = Fleet(inner);
        fleet.beat(group);
        group = (group + 1) % GROUPS;
        if group == 0 {
            fleet.look_at_own_certificate();
        }
        if clock.now() >= written + WRITE_SEEN_EVERY {
            written = clock.now();
            tokio::spawn(async move { fleet.write_seen().await });
        }
    }
}

impl Fleet {
    /// Beats one group of hosts, and drops those that are silent.
    fn beat(&self, group: usize) {
        let hosts = self.0.hosts.read().unwrap_or_else(std::sync::PoisonError::into_inner).group(group);
        let now = self.0.config.clock.now();
        let patience = self.0.config.beat_every * SILENT + Duration::from_secs(1);
        for host in hosts {
            let silent = {
                let state = host.state();
                let silent = state.live.is_some() && state.heard + patience < now;
                if !silent && state.live.is_some() {
                    self.send_beat(&state);
                }
                silent
            };
            if silent {
                tracing::warn!(host = host.name, "its agent has fallen silent");
                self.lost(&host, None);
            }
        }
    }

    /// Sends a beat to a host while its runs cannot change.
    pub(super) fn send_beat(&self, state: &super::host::HostState) {
        let frame = self.0.frames.lock().unwrap_or_else(std::sync::PoisonError::into_inner).of(&state.runs);
        state.send(frame);
    }

    async fn write_seen(&self) {
        let hosts: Vec<Arc<HostEntry>> = self.0.hosts.read().unwrap_or_else(std::sync::PoisonError::into_inner).all();
        let writes: Vec<Write> = hosts
            .iter()
            .filter_map(|host| {
                let mut state = host.state();
                std::mem::take(&mut state.seen_is_news).then_some(())?;
                let body = serde_json::to_value(SeenDocument { seen: state.seen }).ok()?;
                Some(Write::Put { kind: SEEN.into(), id: host.name.clone(), body })
            })
            .collect();
        if !writes.is_empty()
            && let Err(error) = self.0.db.commit(Batch::new(writes).unsynced()).await
        {
            tracing::warn!(%error, "when hosts were heard of could not be written");
        }
        self.register().await;
    }
}
