//! Asking hosts for something.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use squall_api::link::{Answer, COMMAND_EVENT, Command, Request};
use squall_api::runs::HostStopped;
use tokio::sync::oneshot;

use super::host::{HostEntry, Pending};
use super::{CallError, Fleet};

/// What the red button did.
#[derive(Debug, Clone, PartialEq)]
pub struct StoppedHosts {
    /// Hosts that have tried to put everything back.
    pub hosts: Vec<HostStopped>,
    /// Hosts that are not linked, or did not answer: their leases end by themselves.
    pub unreached: Vec<String>,
    /// Until the last host had answered, or was given up.
    pub took: Duration,
}

fn frame(id: u64, request: Request) -> Bytes {
    // Frames are plain values: encoding them cannot fail.
    let command = serde_json::to_string(&Command { id, request }).unwrap_or_default();
    Bytes::from(format!("id: {id}\nevent: {COMMAND_EVENT}\ndata: {command}\n\n"))
}

/// A command that is under way; nobody waits for its answer any more once this is dropped.
struct Asked<'a>(&'a HostEntry, u64);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.state().pending.remove(&self.1);
    }
}

impl Fleet {
    /// Asks a host for something. If its link breaks meanwhile and comes back within the grace, it is asked again: every request may
    /// come twice.
    pub async fn call(&self, host: &str, request: Request, within: Duration) -> Result<Answer, CallError> {
        let entry = self.entry(host).ok_or_else(|| CallError::Unknown(host.to_owned()))?;
        let id = self.next_id();
        self.ask(&entry, id, frame(id, request), within).await
    }

    async fn ask(&self, host: &Arc<HostEntry>, id: u64, frame: Bytes, within: Duration) -> Result<Answer, CallError> {
        let clock = &self.0.config.clock;
        let grace = self.0.config.grace;
        let deadline = clock.now() + within;
        let (answer, mut answered) = oneshot::channel();
        let _asked = Asked(host, id);
        let mut sent = {
            let mut state = host.state();
            if state.live.is_none() && state.down + grace < clock.now() {
                return Err(CallError::NotConnected { host: host.name.clone(), since: state.seen });
            }
            let sent = state.send(frame.clone());
            state.pending.insert(id, Pending { frame, answer });
            sent
        };
        loop {
            let changed = host.changed.notified();
            let down = {
                let state = host.state();
                sent |= state.live.is_some();
                state.live.is_none().then_some(state.down)
            };
            let until = down.map_or(deadline, |down| deadline.min(down + grace));
            tokio::select! {
                biased;
                answer = &mut answered => return match answer {
                    Ok(Answer::Refused(refusal)) => Err(CallError::Refused { host: host.name.clone(), refusal }),
                    Ok(answer) => Ok(answer),
                    // The host was forgotten.
                    Err(_) => Err(host.unknown()),
                },
                () = changed => {}
                () = clock.sleep_until(until) => {
                    let state = host.state();
                    if state.live.is_none() && state.down + grace <= clock.now() {
                        let name = host.name.clone();
                        return Err(if sent { CallError::Lost(name) } else { CallError::NotConnected { host: name, since: state.seen } });
                    }
                    if clock.now() >= deadline {
                        return Err(CallError::TimedOut(host.name.clone()));
                    }
                }
            }
        }
    }

    /// Makes every host put everything back, at the same time: whoever drives it. With `block`, nothing can be injected on them any
    /// more until each is unblocked.
    pub async fn stop_all(&self, by: &str, block: bool, within: Duration) -> StoppedHosts {
        let start = self.now();
        let id = self.next_id();
        let frame = frame(id, Request::StopAll { by: by.to_owned(), block });
        let hosts = self.all();
        let answers = join_all(hosts.iter().map(|host| self.ask(host, id, frame.clone(), within))).await;
        let mut stopped = StoppedHosts { hosts: Vec::new(), unreached: Vec::new(), took: self.now() - start };
        for (host, answer) in hosts.iter().zip(answers) {
            let host = host.name.clone();
            match answer {
                Ok(Answer::Stopped { reverted, failed }) => stopped.hosts.push(HostStopped { host, reverted, failed }),
                Ok(_) => stopped.hosts.push(HostStopped { host, reverted: Vec::new(), failed: vec!["it answered something else".into()] }),
                Err(CallError::Refused { refusal, .. }) => {
                    stopped.hosts.push(HostStopped { host, reverted: Vec::new(), failed: vec![refusal.to_string()] });
                }
                Err(error) => {
                    tracing::warn!(host, %error, "the red button did not reach a host");
                    stopped.unreached.push(host);
                }
            }
        }
        stopped
    }
}
