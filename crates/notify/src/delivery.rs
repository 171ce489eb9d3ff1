//! A notice on its way to a channel.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Notice;

/// A notice on its way to a channel, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delivery {
    /// Made from notice and channel, so that the same notice is written once however often it is told. Sorts by the notice's time.
    /// It is what a receiver can tell repetitions by: `webhook-id`, or the `Message-ID` of an e-mail.
    pub id: String,
    /// Name of the channel.
    pub channel: String,
    /// What happened.
    pub notice: Notice,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it has been tried since it was written, or since somebody had it delivered again.
    #[serde(default)]
    pub tries: u32,
    /// When it is tried next, at the earliest.
    #[schemars(with = "String")]
    #[schema(value_type = String, format = DateTime)]
    pub not_before: Timestamp,
    /// The last tries, at most 20, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It will be tried, perhaps again.
    Pending,
    /// The receiver has it.
    Delivered,
    /// It has been given up: a dead letter.
    Dead,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = DeliveryAttempt)]
pub struct Attempt {
    /// When it began.
    #[schemars(with = "String")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How long it took, in milliseconds. Absent while it lasts, and for ever if the server was killed during it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// The status of HTTP or SMTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the receiver said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How many tries are remembered.
const REMEMBERED: usize = 20;

impl Delivery {
    /// A notice for a channel, to be tried at once.
    pub fn new(channel: &str, notice: Notice, now: Timestamp) -> Self {
        let id = delivery_id(channel, &notice);
        Self { id, channel: channel.to_owned(), notice, state: DeliveryState::Pending, tries: 0, not_before: now, attempts: Vec::new() }
    }

    pub(crate) fn begin(&mut self, now: Timestamp, hold: Timestamp) {
        self.tries += 1;
        self.not_before = hold;
        if self.attempts.len() >= REMEMBERED {
            self.attempts.drain(..=self.attempts.len() - REMEMBERED);
        }
        self.attempts.push(Attempt { at: now, took_ms: None, status: None, answer: None, error: None });
    }
}

/// `d`, the notice's time (milliseconds since 1970) and 80 bits of SHA-256 over channel and notice, in Crockford's base32.
pub fn delivery_id(channel: &str, notice: &Notice) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let millis = u64::try_from(notice.at.as_millisecond()).unwrap_or_default();
    let hash = digest(&SHA256, format!("{}\0{channel}\0{}", channel.len(), notice.id).as_bytes());
    let chance = hash.as_ref().iter().take(10).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    let digits = |number: u128, count: u32| {
        (0..count).rev().map(move |place| char::from(ALPHABET[usize::try_from((number >> (place * 5)) & 31).unwrap_or_default()]))
    };
    std::iter::once('d').chain(digits(u128::from(millis), 9)).chain(digits(chance, 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventKind;

    fn notice(id: &str, millis: i64) -> Notice {
        Notice::new(id, EventKind::RunStarted, Timestamp::from_millisecond(millis).expect("a time"), "r")
    }

    #[test]
    fn the_same_notice_for_the_same_channel_has_the_same_id_and_ids_sort_by_time() {
        let id = |channel: &str, id: &str, millis| delivery_id(channel, &notice(id, millis));
        assert_eq!(id("a", "r.1", 1_800_000_000_000), id("a", "r.1", 1_800_000_000_000));
        assert_ne!(id("a", "r.1", 1_800_000_000_000), id("b", "r.1", 1_800_000_000_000));
        assert_ne!(id("a", "r.1", 1_800_000_000_000), id("a", "r.2", 1_800_000_000_000));
        assert!(id("a", "r.1", 1_800_000_000_000) < id("a", "r.0", 1_800_000_000_001));
        let id = id("a", "r.1", 1_800_000_000_000);
        assert!(id.len() == 26 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    }

    #[test]
    fn only_the_last_tries_are_remembered() {
        let mut delivery = Delivery::new("a", notice("n", 5), Timestamp::UNIX_EPOCH);
        for second in 0..50 {
            delivery.begin(Timestamp::from_second(second).expect("a time"), Timestamp::UNIX_EPOCH);
        }
        assert_eq!((delivery.tries, delivery.attempts.len()), (50, REMEMBERED));
        assert_eq!(delivery.attempts[REMEMBERED - 1].at.as_second(), 49);
    }
}
