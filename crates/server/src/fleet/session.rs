//! What an agent says over its link.

use std::sync::Arc;

use bytes::Bytes;
use squall_api::link::{Hello, HostReport, LINKED_ALREADY, Message, PROTOCOL, Welcome};
use squall_model::Time;
use tokio::sync::mpsc;

use super::authority::{hex, random};
use super::host::{HostEntry, Session};
use super::join::{Denied, deny};
use super::{Fleet, FleetEvent};

/// An agent has to say hello (again) before it says anything else.
fn no_session() -> Denied {
    deny(409, "this session is over", Some("say hello again".to_owned()))
}

impl Fleet {
    /// `POST /agent/v1/hello`
    pub(super) async fn hello(&self, host: &Arc<HostEntry>, hello: Hello) -> Result<Welcome, Denied> {
        if hello.protocol != PROTOCOL {
            let message = format!("this server speaks protocol {PROTOCOL}, the agent (Squall {}) {}", hello.squall, hello.protocol);
            return Err(deny(426, message, Some("run the same version of Squall on both".to_owned())));
        }
        if hello.host.name != host.name {
            return Err(deny(403, format!("the certificate is of `{}`, and not of `{}`", host.name, hello.host.name), None));
        }
        if hello.linked.contains(&self.0.config.server) && host.state().live.is_some() {
            return Err(deny(LINKED_ALREADY, "another URL leads to this server, too, and the agent is linked by that one", None));
        }
        let report = Arc::new(hello.host);
        self.keep_report(&host.name, &hello.squall, &report).await?;
        let id = random::<16>().map(|id| hex(&id)).map_err(|e| deny(503, e.to_string(), None))?;
        let lost = {
            let mut state = host.state();
            let lost = state.down(self.now());
            state.hear(self.now(), self.wall());
            state.document.report = Some(report);
            state.session = Some(Session { id: id.clone(), link: None, outstanding: hello.outstanding });
            lost
        };
        if lost {
            self.tell(FleetEvent::Lost { host: host.name.clone() });
        }
        let config = &self.0.config;
        let beat_every = Time::from(config.beat_every);
        Ok(Welcome { session: id, server: config.server.clone(), beat_every, servers: self.servers() })
    }

    /// Writes down what a host says of itself, if it is news for longer than a moment.
    async fn keep_report(&self, host: &str, squall: &str, report: &Arc<HostReport>) -> Result<(), Denied> {
        let lasting = |report: &HostReport| {
            let mut report = report.clone();
            report.facts.memory_available = squall_model::Bytes(0);
            report
        };
        let same = self.entry(host).is_some_and(|entry| {
            let state = entry.state();
            state.document.squall == squall && state.document.report.as_ref().is_some_and(|old| lasting(old) == lasting(report))
        });
        if same {
            return Ok(());
        }
        let written = self.change_host(host, |document| {
            squall.clone_into(&mut document.squall);
            document.report = Some(report.clone());
            true
        });
        written.await.map_err(|error| {
            tracing::error!(host, %error, "what a host says of itself could not be written");
            deny(503, "the server cannot do this just now", Some("the agent tries again".to_owned()))
        })
    }

    /// `GET /agent/v1/link`: what is sent to the agent from now on.
    pub(super) fn link(&self, host: &Arc<HostEntry>, session: &str) -> Result<mpsc::UnboundedReceiver<Bytes>, Denied> {
        let (link, frames) = mpsc::unbounded_channel();
        let outstanding = {
            let mut state = host.state();
            let live = state.session.as_mut().filter(|live| live.id == session && live.link.is_none()).ok_or_else(no_session)?;
            let outstanding = std::mem::take(&mut live.outstanding);
            let report = state.document.report.clone().ok_or_else(no_session)?;
            state.hear(self.now(), self.wall());
            // The beat goes first: it says which runs are still there.
            if let Some(live) = &mut state.session {
                live.link = Some(link.clone());
            }
            self.send_beat(&state);
            // They may have changed since its hello.
            state.send(self.servers_frame());
            state.up(&host.name, link, report);
            outstanding
        };
        host.changed.notify_waiters();
        tracing::info!(host = host.name, "its agent is linked");
        self.tell(FleetEvent::Connected { host: host.name.clone(), outstanding });
        Ok(frames)
    }

    /// The link of a session is gone, or that of whichever it has.
    pub(super) fn lost(&self, host: &Arc<HostEntry>, session: Option<&str>) {
        let lost = {
            let mut state = host.state();
            let other = session.is_some_and(|session| state.session.as_ref().is_none_or(|live| live.id != session));
            !other && state.down(self.now())
        };
        if lost {
            host.changed.notify_waiters();
            tracing::info!(host = host.name, "the link to its agent is gone");
            self.tell(FleetEvent::Lost { host: host.name.clone() });
        }
    }

    /// `POST /agent/v1/messages`, one JSON document a line.
    pub(super) async fn messages(&self, host: &Arc<HostEntry>, session: &str, body: &[u8]) -> Result<(), Denied> {
        {
            let mut state = host.state();
            if state.session.as_ref().is_none_or(|live| live.id != session) {
                return Err(no_session());
            }
            state.hear(self.now(), self.wall());
        }
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let message = serde_json::from_slice(line).map_err(|e| deny(400, format!("a message cannot be read: {e}"), None))?;
            self.message(host, message).await?;
        }
        Ok(())
    }

    async fn message(&self, host: &Arc<HostEntry>, message: Message) -> Result<(), Denied> {
        match message {
            Message::Alive { in_force } => host.state().in_force(in_force),
            Message::Answer { id, answer } => {
                let pending = host.state().pending.remove(&id);
                if let Some(pending) = pending {
                    // Who asked has given up meanwhile.
                    let _ = pending.answer.send(answer);
                }
            }
            Message::Reverted { run, injection, by, how } => {
                self.tell(FleetEvent::Reverted { host: host.name.clone(), run, injection, by, how });
            }
            Message::Host(report) => {
                let report = Arc::new(*report);
                let squall = host.state().document.squall.clone();
                self.keep_report(&host.name, &squall, &report).await?;
                host.state().report(&host.name, report);
                self.tell(FleetEvent::Changed { host: host.name.clone() });
            }
        }
        Ok(())
    }
}
