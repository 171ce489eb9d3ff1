//! Rows of the audit trail.

use serde_json::{Value as Json, json};
use squall_store::{AuditEntry, Batch, Write};

use super::{Caller, Via};
use crate::App;

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// Whoever asked may not do it, or a rule stands against it.
    Refused,
    /// It was tried and did not work.
    Failed,
}

impl Outcome {
    /// As in the trail: `ok`, `refused`, `failed`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The row of the trail that says who did what, for the batch that does it.
///
/// `action` is as `run.start`, `subject` as `run/01J…`. The detail never holds a secret; an object gets the caller's address and
/// token, where there are any, as `from` and `token`.
pub fn audit(app: &App, caller: &Caller, action: &str, subject: &str, outcome: Outcome, detail: Json) -> Write {
    let mut detail = match detail {
        Json::Null => json!({}),
        detail => detail,
    };
    if let Some(fields) = detail.as_object_mut() {
        if let Via::Token { id } = &caller.via {
            fields.insert("token".into(), json!(id));
        }
        if let Some(address) = caller.address {
            fields.insert("from".into(), json!(address.to_string()));
        }
    }
    Write::Audit(AuditEntry {
        at: app.wall.now(),
        actor: caller.name.clone(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        outcome: outcome.name().to_owned(),
        detail,
    })
}

/// Records something that changed nothing, as a refusal. That it could not be recorded must not make the refusal an approval,
/// nor hide it: the log has it then.
pub(crate) async fn record(app: &App, write: Write) {
    if let Err(error) = app.db.commit(Batch::new([write]).unsynced()).await {
        tracing::error!(%error, "a refusal could not be written into the audit trail");
    }
}
