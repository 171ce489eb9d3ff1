//! Charges a customer and writes it into the ledger: `POST /charge`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::http::{App, Call, Reply, Upstream};
use crate::timing::work;

/// How long the service takes to start, before it listens: as if it read its keys.
pub const START: Duration = Duration::from_millis(400);
/// How long the ledger may take to answer.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(1);

/// The payments service.
pub struct Payments {
    ledger: Upstream,
    charges: AtomicU64,
}

impl Payments {
    /// A payments service before a ledger.
    pub fn new(ledger: Upstream) -> Self {
        Self { ledger, charges: AtomicU64::new(0) }
    }
}

impl App for Payments {
    async fn answer(&self, call: Call) -> Reply {
        if (&call.method, call.path.as_str()) != (&Method::POST, "/charge") {
            return Reply::not_found();
        }
        let number = self.charges.fetch_add(1, Ordering::Relaxed);
        work(Duration::from_millis(4), number).await;
        // MISTAKE charged-twice: an order that is charged already is charged again. The order's number would do as a key
        // that makes a charge the same however often it is asked for.
        match self.ledger.call_within(LEDGER_TIMEOUT, Method::POST, "/entries", &call.json).await {
            Ok(reply) if reply.status.is_success() => Reply::ok(json!({ "charged": call.json["amount"], "entry": reply.json["entry"] })),
            Ok(reply) => Reply::error(StatusCode::BAD_GATEWAY, &format!("the ledger answered {}", reply.status)),
            Err(error) => Reply::error(StatusCode::BAD_GATEWAY, &format!("the ledger: {error}")),
        }
    }
}
