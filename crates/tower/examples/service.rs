//! A service that Squall can break from within.
//!
//! `cargo run -p squall-tower --example service -- 127.0.0.1:3000`, and then, in another terminal as the same user, one of
//! `curl --unix-socket … http://agent/faults -d '{"target": "checkout", "path": "/cart", "latencyMs": 200}'` (with an agent) or
//! `squall run library:app-latency --set url=http://127.0.0.1:3000/cart` (without).
#![expect(clippy::print_stdout, reason = "an example that says where it listens")]

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use squall_tower::Faults;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("checkout listens on http://{}", listener.local_addr()?);
    axum::serve(listener, app(Faults::watch("checkout"))).await
}

fn app(faults: Faults) -> Router {
    let broken = faults.clone();
    Router::new()
        .route("/cart", get(|| async { Json(json!({ "things": 3 })) }))
        .route("/pay", post(move || pay(faults.clone())))
        // Around everything above; what is added below is never broken.
        .layer(broken.layer())
        .route("/health", get(|| async { "good" }))
}

/// A part of a request that can be broken by itself, with `"point": "charge-card"`.
async fn pay(faults: Faults) -> (StatusCode, Json<Value>) {
    match faults.point("charge-card").await {
        Ok(()) => (StatusCode::OK, Json(json!({ "paid": true }))),
        Err(error) => (StatusCode::BAD_GATEWAY, Json(json!({ "paid": false, "why": error.to_string() }))),
    }
}
