//! Deliveries as documents. Beside each that waits, or is dead, stands a small document that says so: the deliverer reads only
//! what waits, however many there have been.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use squall_store::{Batch, Changes, CommitError, Database, Document, Fence, List, StoreError, Write};

use crate::{Channel, Delivery, DeliveryState, Notice};

/// Deliveries and channels in a database.
#[derive(Clone)]
pub struct Outbox {
    database: Arc<dyn Database>,
    fence: Option<Fence>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// A value, and the version that it has in the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Known<T> {
    /// Its version.
    pub version: u64,
    /// What it is.
    pub value: T,
}

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// There is no such delivery.
    #[error("there is no delivery `{0}`")]
    Unknown(String),
    /// Somebody else changed it in the meantime.
    #[error("the delivery `{0}` was changed in the meantime; read it again")]
    Changed(String),
    /// Another server delivers now.
    #[error("another server delivers now")]
    Fenced,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the deliverer must know of a delivery to decide when it is its turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Waiting {
    pub(crate) channel: String,
    pub(crate) subject: String,
    pub(crate) at: Timestamp,
    pub(crate) sequence: u64,
    pub(crate) not_before: Timestamp,
}

/// A page of deliveries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deliveries {
    /// The newest first.
    pub items: Vec<Delivery>,
    /// The id to give for the next page, if there is one.
    pub next: Option<String>,
}

impl Outbox {
    /// Kind of the documents of channels; their ids are their names.
    pub const CHANNEL: &str = "channel";
    /// Kind of the documents of deliveries.
    pub const DELIVERY: &str = "delivery";
    /// Kind of the documents that stand for deliveries that wait.
    pub const WAITING: &str = "delivery-waiting";
    /// Kind of the documents that stand for dead letters.
    pub const DEAD: &str = "delivery-dead";

    /// What is in a database.
    pub fn new(database: Arc<dyn Database>) -> Self {
        Self { database, fence: None }
    }

    /// The same, written to only while this lease is held.
    #[must_use]
    pub fn fenced(&self, fence: Fence) -> Self {
        Self { database: self.database.clone(), fence: Some(fence) }
    }

    /// Every channel by its name; one that cannot be read is left out and named in the second list.
    pub async fn channels(&self) -> Result<(Vec<(String, Channel)>, Vec<StoreError>), OutboxError> {
        let documents = self.database.list(Self::CHANNEL, &List::default()).await?;
        let (mut channels, mut damaged) = (Vec::new(), Vec::new());
        for document in documents {
            match document.decode() {
                Ok(channel) => channels.push((document.id, channel)),
                Err(error) => damaged.push(error),
            }
        }
        Ok((channels, damaged))
    }

    /// Writes a delivery of the notice for every channel that wants it. What was written before is left as it is. Says how
    /// many are new. They are on disk when this is ready.
    pub async fn add(&self, notice: &Notice, now: Timestamp) -> Result<usize, OutboxError> {
        let mut new = 0;
        for (name, channel) in self.channels().await?.0 {
            if channel.wants(notice) {
                new += usize::from(self.add_for(&name, notice, now).await?);
            }
        }
        Ok(new)
    }

    /// Writes a delivery for one channel, whether it wants it or not. Says whether it is new.
    pub async fn add_for(&self, channel: &str, notice: &Notice, now: Timestamp) -> Result<bool, OutboxError> {
        let delivery = Delivery::new(channel, notice.clone(), now);
        let writes = vec![create(Self::DELIVERY, &delivery.id, &delivery)?, marker(&delivery)?];
        match self.commit(Batch::new(writes)).await {
            Ok(_) => Ok(true),
            Err(OutboxError::Changed(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One delivery.
    pub async fn get(&self, id: &str) -> Result<Option<Known<Delivery>>, OutboxError> {
        let document = self.database.get(Self::DELIVERY, id).await?;
        document.map(|document| Ok(Known { version: document.version, value: document.decode()? })).transpose()
    }

    /// Deliveries, the newest first: of one channel, in one state, after an id.
    pub async fn list(
        &self,
        channel: Option<&str>,
        state: Option<DeliveryState>,
        after: Option<String>,
        limit: usize,
    ) -> Result<Deliveries, OutboxError> {
        let kind = match state {
            Some(DeliveryState::Pending) => Self::WAITING,
            Some(DeliveryState::Dead) => Self::DEAD,
            Some(DeliveryState::Delivered) | None => Self::DELIVERY,
        };
        let mut page = Deliveries::default();
        let mut list = List { after, limit: Some(limit.max(1)), descending: true, ..List::default() };
        loop {
            let documents = self.database.list(kind, &list).await?;
            let more = documents.len() == limit.max(1);
            for document in documents {
                list.after = Some(document.id.clone());
                let Some(delivery) = self.whole(document).await? else { continue };
                let wanted = channel.is_none_or(|name| name == delivery.channel) && state.is_none_or(|state| state == delivery.state);
                if wanted {
                    page.items.push(delivery);
                    if page.items.len() == limit.max(1) {
                        page.next = list.after;
                        return Ok(page);
                    }
                }
            }
            if !more {
                return Ok(page);
            }
        }
    }

    async fn whole(&self, document: Document) -> Result<Option<Delivery>, OutboxError> {
        if document.kind == Self::DELIVERY {
            return Ok(Some(document.decode()?));
        }
        Ok(self.get(&document.id).await?.map(|known| known.value))
    }

    /// Has a delivery tried again, at once and as often as a new one. Its id stays.
    pub async fn redeliver(&self, id: &str, now: Timestamp) -> Result<Delivery, OutboxError> {
        let mut known = self.get(id).await?.ok_or_else(|| OutboxError::Unknown(id.to_owned()))?;
        (known.value.state, known.value.tries, known.value.not_before) = (DeliveryState::Pending, 0, now);
        self.save(&known, true).await?;
        Ok(known.value)
    }

    /// Takes a delivery away, whatever its state.
    pub async fn discard(&self, id: &str) -> Result<(), OutboxError> {
        let known = self.get(id).await?.ok_or_else(|| OutboxError::Unknown(id.to_owned()))?;
        let writes = self.forget(id, known.version).await?;
        self.commit(Batch::new(writes)).await?;
        Ok(())
    }

    /// Writes a delivery if it still has the version that is known, with what stands for its state. Returns its new version.
    pub(crate) async fn save(&self, known: &Known<Delivery>, sync: bool) -> Result<u64, OutboxError> {
        let delivery = &known.value;
        let mut writes =
            vec![Write::Replace { kind: Self::DELIVERY.into(), id: delivery.id.clone(), version: known.version, body: json(delivery)? }];
        let (stands, gone) = match delivery.state {
            DeliveryState::Pending => (Some(marker(delivery)?), &[Self::DEAD][..]),
            DeliveryState::Dead => {
                let dead = Write::Put { kind: Self::DEAD.into(), id: delivery.id.clone(), body: Json::Null };
                (Some(dead), &[Self::WAITING][..])
            }
            DeliveryState::Delivered => (None, &[Self::WAITING, Self::DEAD][..]),
        };
        for kind in gone {
            if self.database.get(kind, &delivery.id).await?.is_some() {
                writes.push(Write::Delete { kind: (*kind).into(), id: delivery.id.clone(), version: None });
            }
        }
        writes.extend(stands);
        let batch = Batch::new(writes);
        let versions = self.commit(if sync { batch } else { batch.unsynced() }).await?;
        Ok(versions.first().copied().unwrap_or_default())
    }

    /// What waits, by id, with the versions of what stands for it; at most so many.
    pub(crate) async fn waiting(&self, limit: usize) -> Result<Vec<(String, Known<Waiting>)>, OutboxError> {
        let documents = self.database.list(Self::WAITING, &List { limit: Some(limit), ..List::default() }).await?;
        let waiting = documents.into_iter().map(|document| {
            let value = document.decode()?;
            Ok((document.id, Known { version: document.version, value }))
        });
        waiting.collect()
    }

    /// Takes away what stands for a delivery that waits where there is none.
    pub(crate) async fn unmark(&self, id: &str) -> Result<(), OutboxError> {
        let write = Write::Delete { kind: Self::WAITING.into(), id: id.to_owned(), version: None };
        match self.commit(Batch::new([write])).await {
            Ok(_) | Err(OutboxError::Changed(_) | OutboxError::Unknown(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes away what is older than that and does not wait. Says how many, at most so many at a time.
    pub(crate) async fn sweep(&self, delivered: Timestamp, dead: Timestamp, limit: usize) -> Result<usize, OutboxError> {
        let (mut gone, mut after) = (0, None);
        loop {
            let list = List { limit: Some(200), after, ..List::default() };
            let documents = self.database.list(Self::DELIVERY, &list).await?;
            let last = documents.len() < 200;
            after = documents.last().map(|document| document.id.clone());
            for document in &documents {
                // Ids go by the notice's time: what follows is younger still.
                if document.created >= delivered.max(dead) || gone == limit {
                    return Ok(gone);
                }
                let delivery: Delivery = document.decode()?;
                let old = match delivery.state {
                    DeliveryState::Pending => false,
                    DeliveryState::Delivered => document.updated < delivered,
                    DeliveryState::Dead => document.updated < dead,
                };
                if old {
                    let writes = self.forget(&document.id, document.version).await?;
                    match self.commit(Batch::new(writes).unsynced()).await {
                        Ok(_) => gone += 1,
                        Err(OutboxError::Changed(_) | OutboxError::Unknown(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            if last {
                return Ok(gone);
            }
        }
    }

    async fn forget(&self, id: &str, version: u64) -> Result<Vec<Write>, OutboxError> {
        let mut writes = vec![Write::Delete { kind: Self::DELIVERY.into(), id: id.to_owned(), version: Some(version) }];
        for kind in [Self::WAITING, Self::DEAD] {
            if self.database.get(kind, id).await?.is_some() {
                writes.push(Write::Delete { kind: kind.into(), id: id.to_owned(), version: None });
            }
        }
        Ok(writes)
    }

    pub(crate) fn watch(&self) -> Changes {
        self.database.watch()
    }

    async fn commit(&self, mut batch: Batch) -> Result<Vec<u64>, OutboxError> {
        batch.fence.clone_from(&self.fence);
        match self.database.commit(batch).await {
            Ok(committed) => Ok(committed.versions),
            Err(CommitError::Conflict { id, .. }) => Err(OutboxError::Changed(id)),
            Err(CommitError::NotFound { id, .. }) => Err(OutboxError::Unknown(id)),
            Err(CommitError::Fenced(_)) => Err(OutboxError::Fenced),
            Err(CommitError::Store(error)) => Err(OutboxError::Store(error)),
        }
    }
}

fn json(value: &impl Serialize) -> Result<Json, StoreError> {
    serde_json::to_value(value).map_err(|error| StoreError::Encode { seq: 0, reason: error.to_string() })
}

fn create(kind: &str, id: &str, value: &impl Serialize) -> Result<Write, StoreError> {
    Ok(Write::Create { kind: kind.into(), id: id.into(), body: json(value)? })
}

fn marker(delivery: &Delivery) -> Result<Write, StoreError> {
    let notice = &delivery.notice;
    let waiting = Waiting {
        channel: delivery.channel.clone(),
        subject: notice.subject.clone(),
        at: notice.at,
        sequence: notice.sequence,
        not_before: delivery.not_before,
    };
    Ok(Write::Put { kind: Outbox::WAITING.into(), id: delivery.id.clone(), body: json(&waiting)? })
}
