//! Takes orders, has them paid, and shows them: `POST /orders`, `GET /orders/{id}`, `GET /orders/latest`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::http::{App, Call, Reply, Upstream};
use crate::timing::work;

/// Requests that are worked on at the same time; the others wait.
const WORKERS: usize = 32;
/// Orders that are remembered.
const REMEMBERED: usize = 1000;

/// The orders service.
pub struct Orders(Arc<Inner>);

struct Inner {
    payments: Upstream,
    workers: Semaphore,
    recent: Mutex<VecDeque<Value>>,
    requests: AtomicU64,
}

impl Orders {
    /// An orders service before payments.
    pub fn new(payments: Upstream) -> Self {
        let workers = Semaphore::new(WORKERS);
        Self(Arc::new(Inner { payments, workers, recent: Mutex::default(), requests: AtomicU64::new(0) }))
    }
}

impl Inner {
    // MISTAKE one-pool: paying and looking up share one pool of workers, and waiting for it has no limit. When paying
    // hangs, every worker hangs, and customers cannot even look at the orders that they have.
    async fn work_on(&self, call: Call) -> Reply {
        let Ok(_worker) = self.workers.acquire().await else {
            return Reply::error(StatusCode::SERVICE_UNAVAILABLE, "shutting down");
        };
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        match (&call.method, call.path.as_str()) {
            (&Method::POST, "/orders") => self.place(number, call.json).await,
            (&Method::GET, path) => match path.strip_prefix("/orders/") {
                Some(id) => self.show(number, id).await,
                None => Reply::not_found(),
            },
            _ => Reply::not_found(),
        }
    }

    async fn place(&self, number: u64, order: Value) -> Reply {
        work(Duration::from_millis(2), number).await;
        // MISTAKE no-timeout: payments gets as long as it likes, and the worker waits with it.
        match self.payments.call(Method::POST, "/charge", &order).await {
            Ok(reply) if reply.status.is_success() => {
                let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
                if recent.len() == REMEMBERED {
                    recent.pop_front();
                }
                recent.push_back(order.clone());
                Reply::ok(json!({ "placed": order, "payment": reply.json }))
            }
            Ok(reply) => Reply::error(StatusCode::BAD_GATEWAY, &format!("payments answered {}", reply.status)),
            Err(error) => Reply::error(StatusCode::BAD_GATEWAY, &format!("payments: {error}")),
        }
    }

    async fn show(&self, number: u64, id: &str) -> Reply {
        work(Duration::from_millis(1), number).await;
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        match id {
            // A shop without an order yet is a shop all the same.
            "latest" => Reply::ok(recent.back().cloned().unwrap_or_else(|| json!({ "order": null }))),
            id => recent.iter().find(|o| o["order"] == id).map_or_else(Reply::not_found, |order| Reply::ok(order.clone())),
        }
    }
}

impl App for Orders {
    async fn answer(&self, call: Call) -> Reply {
        let inner = self.0.clone();
        // Work goes on when the caller gives up, as in most frameworks that hand a request to a pool of workers.
        match tokio::spawn(async move { inner.work_on(call).await }).await {
            Ok(reply) => reply,
            Err(error) => Reply::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }
}
