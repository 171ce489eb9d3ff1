//! Keeps prices at hand: `GET /prices`, and all that there is to buy, line by line: `GET /catalogue`. Empty after a start, and
//! filled by the first request.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::http::{App, Call, Reply};
use crate::timing::work;

/// The prices in cents; what the gateway falls back to as well.
pub const PRICES: [(&str, u32); 3] = [("umbrella", 4200), ("raincoat", 8900), ("wellingtons", 3900)];
/// Products in the catalogue.
pub const CATALOGUE: usize = 200;
/// How long the cache takes to fill.
const FILL: Duration = Duration::from_millis(150);

/// The cache service.
#[derive(Default)]
pub struct Cache {
    filled: Arc<OnceCell<()>>,
}

impl App for Cache {
    async fn answer(&self, call: Call) -> Reply {
        let prices = match (&call.method, call.path.as_str()) {
            (&Method::GET, "/prices") => true,
            (&Method::GET, "/catalogue") => false,
            _ => return Reply::not_found(),
        };
        let filled = self.filled.clone();
        // On its own, or a caller that does not wait as long as it takes would stop it each time.
        let fill = tokio::spawn(async move {
            filled.get_or_init(|| work(FILL, 0)).await;
        });
        if fill.await.is_err() {
            return Reply::error(StatusCode::INTERNAL_SERVER_ERROR, "the cache could not be filled");
        }
        if prices {
            return Reply::ok(json!(PRICES.map(|(name, cents)| json!({ "name": name, "cents": cents }))));
        }
        let product = |number: usize| {
            let (name, cents) = PRICES[number % PRICES.len()];
            json!({ "name": format!("{name} no. {number}"), "cents": cents })
        };
        Reply::stream((1..=CATALOGUE).map(product).collect())
    }
}
