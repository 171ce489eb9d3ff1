//! The audit trail: entries, and the chain of hashes that shows what was changed afterwards.
//!
//! Row `n` holds the entry as canonical JSON (keys sorted, no spaces) and the SHA-256 of the hash of row `n - 1` (in hex; 64
//! zeros before the first), `n` in decimal and the JSON, with a newline between them. Who changes, inserts or deletes a row
//! must compute all later ones anew, and then the head differs from one that was kept elsewhere.

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::StoreError;

/// One thing that was done, or refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditEntry {
    /// When, by the server's wall clock.
    pub at: Timestamp,
    /// Who: a user, a token, an agent, or the server itself.
    pub actor: String,
    /// What, as `run.start`.
    pub action: String,
    /// With what, as `experiment/checkout`.
    pub subject: String,
    /// How it ended, as `ok` or `refused`.
    pub outcome: String,
    /// What else is worth knowing. Never a secret.
    pub detail: Json,
}

/// One row of the trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditRow {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// SHA-256 over the row before and this one, in hex.
    pub hash: String,
    /// What it tells.
    pub entry: AuditEntry,
}

/// The end of the trail at some time. Kept elsewhere, it shows later that nothing up to it was changed or cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditHead {
    /// Number of the last row; 0 when there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for AuditHead {
    /// Of an empty trail.
    fn default() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }
}

/// Which rows to list. Every part that is set must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// The actor.
    pub actor: Option<String>,
    /// What the action starts with.
    pub action: Option<String>,
    /// What the subject starts with.
    pub subject: Option<String>,
    /// The outcome.
    pub outcome: Option<String>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// The newest first.
    pub descending: bool,
}

impl AuditFilter {
    /// Whether the entry passes.
    pub fn passes(&self, entry: &AuditEntry) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|wanted| wanted == text);
        let starts = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|wanted| text.starts_with(wanted));
        is(&self.actor, &entry.actor)
            && starts(&self.action, &entry.action)
            && starts(&self.subject, &entry.subject)
            && is(&self.outcome, &entry.outcome)
            && self.from.is_none_or(|from| entry.at >= from)
            && self.until.is_none_or(|until| entry.at < until)
    }
}

/// Why a trail does not stand.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Somebody changed it.
    #[error("the audit trail is broken at row {seq}: {why}")]
    Broken {
        /// The first row that is not as it was written.
        seq: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A row as a database keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub seq: u64,
    pub hash: String,
    pub entry: String,
}

impl Link {
    /// The row that follows on the head.
    pub fn after(head: &AuditHead, entry: &AuditEntry) -> Result<Self, StoreError> {
        let seq = head.seq + 1;
        let entry = serde_json::to_value(entry).map_err(|e| StoreError::Encode { seq, reason: e.to_string() })?;
        let entry = canonical(&entry);
        Ok(Self { seq, hash: hash(&head.hash, seq, &entry), entry })
    }

    pub fn head(&self) -> AuditHead {
        AuditHead { seq: self.seq, hash: self.hash.clone() }
    }

    pub fn row(self) -> Result<AuditRow, StoreError> {
        let Self { seq, hash, entry } = self;
        let entry = serde_json::from_str(&entry).map_err(|e| StoreError::DamagedAudit { seq, reason: e.to_string() })?;
        Ok(AuditRow { seq, hash, entry })
    }
}

/// Goes along the chain, row by row.
pub(crate) struct Verifier<'a> {
    head: AuditHead,
    kept: Option<&'a AuditHead>,
}

impl<'a> Verifier<'a> {
    pub fn new(kept: Option<&'a AuditHead>) -> Self {
        Self { head: AuditHead::default(), kept }
    }

    /// The next row must be this one.
    pub fn row(&mut self, link: &Link) -> Result<(), AuditError> {
        let seq = self.head.seq + 1;
        let broken = |why: &str| Err(AuditError::Broken { seq, why: why.to_owned() });
        if link.seq != seq {
            return broken("it is missing");
        }
        if link.hash != hash(&self.head.hash, seq, &link.entry) {
            return broken("its content, or that of the row before, is not what was hashed");
        }
        if serde_json::from_str::<AuditEntry>(&link.entry).is_err() {
            return broken("it is no entry");
        }
        if let Some(kept) = self.kept.filter(|kept| kept.seq == seq && kept.hash != link.hash) {
            return broken(&format!("its hash was {} once", kept.hash));
        }
        self.head = link.head();
        Ok(())
    }

    /// After the last row; `stored` is the head as the database remembers it beside the rows.
    pub fn end(self, stored: &AuditHead) -> Result<AuditHead, AuditError> {
        let Self { head, kept } = self;
        let longest = stored.seq.max(kept.map_or(0, |kept| kept.seq));
        if longest > head.seq {
            return Err(AuditError::Broken { seq: head.seq + 1, why: format!("the trail ends before it, and had {longest} rows once") });
        }
        if *stored != head {
            return Err(AuditError::Broken { seq: head.seq, why: "the trail's end is not the one that was remembered".into() });
        }
        Ok(head)
    }
}

fn hash(previous: &str, seq: u64, entry: &str) -> String {
    let hashed = digest::digest(&digest::SHA256, format!("{previous}\n{seq}\n{entry}").as_bytes());
    hashed.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// JSON with sorted keys and no spaces, so that equal values are equal texts.
fn canonical(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Json::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            let fields = fields.into_iter().map(|(key, value)| format!("{}:{}", Json::from(key.as_str()), canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_chain_is_what_its_description_says() {
        let at = "2026-11-21T05:39:34.848Z".parse().expect("a time");
        let text = |text: &str| text.to_owned();
        let detail = json!({ "b": [1, { "z": null, "a": 0.1 }], "a": "\u{0}é\"" });
        let entry = AuditEntry { at, actor: text("ada"), action: text("run.start"), subject: text("x"), outcome: text("ok"), detail };
        let link = Link::after(&AuditHead::default(), &entry).expect("encoded");
        let canonical = r#"{"action":"run.start","actor":"ada","at":"2026-11-21T05:39:34.848Z","detail":{"a":"\u0000é\"","b":[1,{"a":0.1,"z":null}]},"outcome":"ok","subject":"x"}"#;
        assert_eq!(link.entry, canonical);
        // By `printf '%064d\n1\n%s' 0 "$canonical" | sha256sum`: trails that were written stay valid.
        assert_eq!(link.hash, "8f87b57b27411035b0bc9bc78bfceb1a5902399c40e5a2efeedff1b8bf53a524");
        assert_eq!(link.row().expect("read").entry, entry);
    }
}
