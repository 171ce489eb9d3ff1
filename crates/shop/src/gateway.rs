//! What customers talk to: `GET /products`, `GET /catalogue`, `POST /checkout`, `GET /orders/{id}`.
//!
//! While its flag file is there, nothing is sold: `POST /maintenance` makes it, `DELETE /maintenance` removes it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::http::{App, Call, Reply, Upstream};
use crate::timing;

/// How long orders may take to answer.
const ORDERS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the cache may take to answer. Short, because there is a fallback.
const CACHE_TIMEOUT: Duration = Duration::from_millis(50);
/// How often a checkout is tried in all.
const ATTEMPTS: u32 = 4;

/// The gateway.
pub struct Gateway {
    orders: Upstream,
    cache: Upstream,
    /// The flag file; without one there is no maintenance.
    flag: Option<PathBuf>,
    checkouts: AtomicU64,
    /// Makes the numbers of orders differ between two lives of the gateway.
    life: u64,
}

impl Gateway {
    /// A gateway before these services.
    pub fn new(orders: Upstream, cache: Upstream, flag: Option<PathBuf>) -> Self {
        let life = u64::try_from(timing::now().as_millis()).unwrap_or_default();
        Self { orders, cache, flag, checkouts: AtomicU64::new(0), life }
    }

    fn closed(&self) -> bool {
        self.flag.as_ref().is_some_and(|flag| flag.exists())
    }

    fn maintenance(&self, method: &Method) -> Reply {
        let Some(flag) = &self.flag else { return Reply::not_found() };
        let done = match *method {
            Method::POST => std::fs::write(flag, "closed for maintenance\n"),
            Method::DELETE => match std::fs::remove_file(flag) {
                // It is off already: that is what was asked for.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            },
            Method::GET if self.closed() => Ok(()),
            _ => return Reply::not_found(),
        };
        match done {
            Ok(()) => Reply::ok(json!({ "maintenance": self.closed() })),
            Err(error) => Reply::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    async fn checkout(&self) -> Reply {
        if self.closed() {
            return Reply::error(StatusCode::SERVICE_UNAVAILABLE, "closed for maintenance");
        }
        let number = self.checkouts.fetch_add(1, Ordering::Relaxed);
        let order = json!({ "order": format!("{:x}-{number}", self.life), "amount": 4200 });
        let mut why = String::new();
        // MISTAKE retry-storm: tried again at once, and four times over, so that a slow shop gets four times the work; and
        // an attempt that was given up here still goes on in orders, so the customer may be charged more than once.
        for _ in 0..ATTEMPTS {
            match self.orders.call_within(ORDERS_TIMEOUT, Method::POST, "/orders", &order).await {
                Ok(reply) if reply.status.is_success() => return reply,
                Ok(reply) => why = format!("orders answered {}", reply.status),
                Err(error) => why = format!("orders: {error}"),
            }
        }
        Reply::error(StatusCode::SERVICE_UNAVAILABLE, &why)
    }

    async fn order(&self, path: &str) -> Reply {
        match self.orders.call_within(ORDERS_TIMEOUT, Method::GET, path, &Value::Null).await {
            Ok(reply) => reply,
            Err(error) => Reply::error(StatusCode::SERVICE_UNAVAILABLE, &format!("orders: {error}")),
        }
    }

    /// Done well: a short timeout, and something good enough to fall back to.
    async fn products(&self) -> Reply {
        match self.cache.call_within(CACHE_TIMEOUT, Method::GET, "/prices", &Value::Null).await {
            Ok(reply) if reply.status.is_success() => Reply::ok(json!({ "source": "cache", "products": reply.json })),
            _ => Reply::ok(
                json!({ "source": "fallback", "products": crate::cache::PRICES.map(|(name, cents)| json!({ "name": name, "cents": cents })) }),
            ),
        }
    }

    async fn catalogue(&self) -> Reply {
        let open = tokio::time::timeout(ORDERS_TIMEOUT, self.cache.stream("/catalogue")).await;
        let mut lines = match open {
            Ok(Ok(lines)) => lines,
            Ok(Err(error)) => return Reply::error(StatusCode::SERVICE_UNAVAILABLE, &format!("cache: {error}")),
            Err(_) => return Reply::error(StatusCode::SERVICE_UNAVAILABLE, "cache: no answer"),
        };
        let mut products = Vec::new();
        // MISTAKE cut-stream: a stream that breaks in the middle is taken for one that has ended.
        while let Some(Ok(product)) = lines.next().await {
            products.push(product);
        }
        Reply::ok(json!({ "count": products.len(), "products": products }))
    }
}

impl App for Gateway {
    async fn answer(&self, call: Call) -> Reply {
        match (&call.method, call.path.as_str()) {
            (&Method::GET, "/") => Reply::ok(
                json!({ "shop": "squall demo shop", "try": ["GET /products", "GET /catalogue", "POST /checkout", "GET /orders/latest"] }),
            ),
            (&Method::GET, "/products") => self.products().await,
            (&Method::GET, "/catalogue") => self.catalogue().await,
            (&Method::POST, "/checkout") => self.checkout().await,
            (method, "/maintenance") => self.maintenance(method),
            (&Method::GET, path) if path.starts_with("/orders/") => self.order(path).await,
            _ => Reply::not_found(),
        }
    }
}
