//! Telling people what happens, where they read: Slack, a signed webhook, e-mail, `PagerDuty`.
//!
//! ```text
//! Notice ──▶ Channel::wants ──▶ Outbox (documents) ──▶ Deliverer ──▶ Transport ──▶ slack · webhook · email · pagerduty
//! ```
//!
//! A [`Notice`] is something that happened. For every [`Channel`] whose [`Filter`] wants it a [`Delivery`] is written to the
//! [`Outbox`], and that is all that whoever makes the notice waits for. The [`Deliverer`] sends from there, at least once:
//! the id of a delivery is made from notice and channel, so writing it twice gives one, and a receiver that gets it twice
//! (the process was killed between sending and writing that down) can tell. What fails is tried again with growing, random
//! pauses ([`Retry`]); what keeps failing, or can never work, ends as a dead letter that can be delivered again by hand.
//!
//! Channels hold no secrets but [`SecretRef`]s, and [`Reach`] keeps them from being pointed at what only the server can reach.
//!
//! ```
//! use squall_notify::{Channel, Guards};
//! let channel: Channel = serde_json::from_value(serde_json::json!({
//!     "to": { "slack": { "url": { "env": "SQUALL_SECRET_SLACK" } } },
//!     "filter": { "events": ["run.aborted", "run.ended"], "labels": { "team": "payments" } },
//!     "template": { "title": "{{ experiment }} {{ verdict }}" },
//! }))?;
//! assert!(channel.check(&Guards::default()).is_empty());
//! # Ok::<(), serde_json::Error>(())
//! ```
#![forbid(unsafe_code)]

mod address;
mod backoff;
mod channel;
mod deliverer;
mod delivery;
mod filter;
mod message;
mod notice;
mod outbox;
mod rate;
mod secret;
mod template;
mod to;
mod transport;

pub use address::{Reach, ReachError};
pub use backoff::Retry;
pub use channel::{Channel, ChannelDocument, ChannelName, ChannelTest, ChannelView, Destination, Guards, Mistake, Rate};
pub use deliverer::{Counts, Deliverer, Settings};
pub use delivery::{Attempt, Delivery, DeliveryState, delivery_id};
pub use filter::Filter;
pub use message::{Fact, Message};
pub use notice::{EventKind, Notice, Severity};
pub use outbox::{Deliveries, Known, Outbox, OutboxError};
pub use secret::{Secret, SecretError, SecretPlaces, SecretRef};
pub use template::{FIELDS, Template};
pub use to::{Email, PagerDuty, Security, Slack, Webhook};
pub use transport::{Receipt, SendError, Sending, Transport};
