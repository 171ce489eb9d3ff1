//! An HTTP server on loopback that remembers what it was sent and answers as it is told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use squall_testkit::in_time;

/// What it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

type Answer = Arc<dyn Fn(usize, &Got) -> Response<Full<Bytes>> + Send + Sync>;

/// Stops when it is dropped.
pub(crate) struct Receiver {
    got: Arc<Mutex<Vec<Got>>>,
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

pub(crate) fn answer(status: u16) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(Bytes::from_static(b"said"))).expect("an answer")
}

impl Receiver {
    /// Answers 204 to everything.
    pub(crate) async fn start() -> Self {
        Self::answering(|_, _| answer(204)).await
    }

    /// Answers by the number of the request, from 0.
    pub(crate) async fn answering(by: impl Fn(usize, &Got) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (port, got) = (listener.local_addr().expect("an address").port(), Arc::<Mutex<Vec<Got>>>::default());
        let (all, by): (_, Answer) = (got.clone(), Arc::new(by));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (all, by) = (all.clone(), by.clone());
                tokio::spawn(async move {
                    let service = service_fn(|request| take(request, all.clone(), by.clone()));
                    // A client that goes away is none of its business.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { got, port, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().expect("not poisoned").clone()
    }

    /// Waits until it was sent so many.
    pub(crate) async fn gets(&self, count: usize) -> Vec<Got> {
        in_time("the receiver gets it", || match self.got().len() {
            got if got >= count => Ok(()),
            got => Err(format!("{got} of {count}")),
        })
        .await;
        self.got()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(request: Request<Incoming>, all: Arc<Mutex<Vec<Got>>>, by: Answer) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").to_owned())).collect();
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let got = Got { path, headers, body: String::from_utf8(body.to_vec()).expect("UTF-8") };
    let index = {
        let mut all = all.lock().expect("not poisoned");
        all.push(got.clone());
        all.len() - 1
    };
    Ok(by(index, &got))
}
