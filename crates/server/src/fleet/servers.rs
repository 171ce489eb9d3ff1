//! The servers that share a database: each says where agents reach it, and agents keep a link to each of them.

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use squall_api::link::SERVERS_EVENT;
use squall_store::{Batch, List, Write};

use super::{Fleet, FleetError};

/// The kind of the documents of servers: where agents reach each.
pub(super) const SERVER: &str = "server";
/// A server that was not heard of for so long is not named to agents any more.
const GONE: Duration = Duration::from_mins(10);

/// A server, as the others know it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServerDocument {
    url: String,
    seen: Timestamp,
}

impl Fleet {
    /// Agent URLs of every server, this one's first.
    pub(super) fn servers(&self) -> Vec<String> {
        self.0.servers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says in the database where agents reach this server, and looks where they reach the others.
    pub(super) async fn register(&self) {
        let config = &self.0.config;
        if let Some(url) = config.urls.first()
            && let Ok(body) = serde_json::to_value(ServerDocument { url: url.clone(), seen: self.wall() })
        {
            let put = Write::Put { kind: SERVER.into(), id: config.server.clone(), body };
            if let Err(error) = self.0.db.commit(Batch::new(vec![put]).unsynced()).await {
                tracing::warn!(%error, "where this server is could not be written");
            }
        }
        if let Err(error) = self.look_at_servers().await {
            tracing::warn!(%error, "where the other servers are could not be read");
        }
    }

    /// Looks where agents reach the other servers, and tells them if that has changed.
    pub(super) async fn look_at_servers(&self) -> Result<(), FleetError> {
        let config = &self.0.config;
        // A server of several URLs is one server: agents need just one of them.
        let mut urls: Vec<String> = config.urls.first().cloned().into_iter().collect();
        let gone = self.wall().checked_sub(GONE).unwrap_or(Timestamp::MIN);
        for document in self.0.db.list(SERVER, &List::default()).await? {
            let other = document.decode::<ServerDocument>().ok().filter(|other| document.id != config.server && other.seen > gone);
            urls.extend(other.map(|other| other.url).filter(|url| !config.urls.contains(url)));
        }
        let changed = {
            let mut servers = self.0.servers.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *servers, urls.clone()) != urls
        };
        if changed {
            let frame = frame(&urls);
            for host in self.all() {
                host.state().send(frame.clone());
            }
        }
        Ok(())
    }

    /// The frame that tells an agent all servers.
    pub(super) fn servers_frame(&self) -> Bytes {
        frame(&self.servers())
    }
}

fn frame(urls: &[String]) -> Bytes {
    // Texts can always be encoded.
    let data = serde_json::to_string(urls).unwrap_or_default();
    Bytes::from(format!("event: {SERVERS_EVENT}\ndata: {data}\n\n"))
}
