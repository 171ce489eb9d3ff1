//! Faults within a service that has the layer, and services that are not there.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use http::{Request, Response};
use serde_json::json;
use squall_engine::Target;
use squall_testkit::{Execution, in_time};
use squall_tower::Faults;
use tempfile::TempDir;
use tower::{Layer, Service};

use crate::kinds::{fault, kind};

/// A service with the layer, in a thread and a directory of its own.
pub struct Application {
    name: &'static str,
    faults: Faults,
    scratch: TempDir,
}

/// The service within answers at once.
#[derive(Clone)]
struct AtOnce;

impl Service<Request<String>> for AtOnce {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        ready(Ok(Response::new(request.into_body())))
    }
}

impl Application {
    pub fn new(name: &'static str) -> Self {
        let scratch = tempfile::Builder::new().prefix("squall-app-").tempdir().expect("a directory");
        let faults = Faults::watch_in(name, [scratch.path().join("faults")]);
        Self { name, faults, scratch }
    }

    fn directory(&self) -> PathBuf {
        self.scratch.path().join("faults")
    }

    pub fn target(&self) -> Target {
        target(self.name, &self.directory())
    }

    /// The status of a request that is answered at once; none if it is held back.
    pub fn get(&self, path: &str) -> Option<u16> {
        let mut service = self.faults.layer().layer(AtOnce);
        let request = Request::get(format!("http://app{path}")).body(String::new()).expect("a request");
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        match pin!(service.call(request)).poll(&mut cx) {
            Poll::Ready(Ok(response)) => Some(response.status().as_u16()),
            Poll::Pending => None,
        }
    }

    /// The same at a point in the code.
    pub fn at(&self, point: &str) -> Option<u16> {
        self.faults.point(point).now_or_never().map(|result| result.map_or_else(|injected| injected.status, |()| 200))
    }

    /// What is left in the directory.
    pub fn files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.directory()).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
    }
}

fn target(service: &str, directory: &std::path::Path) -> Target {
    let selector = json!({ "service": service, "directory": directory });
    assert_eq!(kind("app").check(&selector), []);
    kind("app").find(&selector).now_or_never().expect("looks without waiting").expect("found").remove(0)
}

#[tokio::test]
async fn a_fault_that_no_service_obeys_is_not_in_force_and_says_what_to_look_at() {
    let (run, scratch) = (Execution::default(), tempfile::tempdir().expect("a directory"));
    let error = fault("app.error");
    let undo = run.inject(&error, &json!({}), &target("nobody", scratch.path())).await.expect("set");
    let effect = error.verify(&undo).await.expect("looked at");
    assert!(!effect.in_force, "{effect:?}");
    assert!(effect.evidence.contains("is squall-tower in service `nobody`"), "{effect:?}");
    run.revert(&error).await.expect("reverted");
}

#[tokio::test]
async fn a_fault_for_another_service_is_not_in_force() {
    let (run, app) = (Execution::default(), Application::new("payments"));
    let latency = fault("app.latency");
    let undo = run.inject(&latency, &json!({ "delay": "9s" }), &target("checkout", &app.directory())).await.expect("set");
    assert!(!latency.verify(&undo).await.expect("looked at").in_force);
    assert_eq!(app.get("/cart"), Some(200));
    run.revert(&latency).await.expect("reverted");
}

#[tokio::test]
async fn the_evidence_names_the_process_that_obeys() {
    let (run, app) = (Execution::default(), Application::new("checkout"));
    let error = fault("app.error");
    let undo = run.inject(&error, &json!({ "status": 503, "paths": ["/cart"] }), &app.target()).await.expect("set");
    let effect = error.verify(&undo).await.expect("looked at");
    assert!(effect.in_force && effect.evidence.contains(&format!("process {}", std::process::id())), "{effect:?}");
    in_time("the path fails", || if app.get("/cart") == Some(503) { Ok(()) } else { Err("not yet".into()) }).await;
    assert_eq!(app.get("/products"), Some(200));
    let how = run.revert(&error).await.expect("reverted");
    assert!(how.contains("no process obeys it any more"), "{how}");
    assert_eq!(app.get("/cart"), Some(200));
}

#[tokio::test]
async fn a_service_that_is_gone_takes_its_word_back() {
    let (run, app) = (Execution::default(), Application::new("checkout"));
    let error = fault("app.error");
    let undo = run.inject(&error, &json!({}), &app.target()).await.expect("set");
    assert!(error.verify(&undo).await.expect("looked at").in_force);
    let Application { faults, scratch, .. } = app;
    drop(faults);
    in_time("its lock is gone", || {
        let standing = squall_tower::file::look(&scratch.path().join("faults"), undo["id"].as_str().expect("an id")).expect("looked at");
        if standing.is_some_and(|standing| standing.taken) { Err("still obeyed".into()) } else { Ok(()) }
    })
    .await;
    assert!(!error.verify(&undo).await.expect("looked at").in_force);
    run.revert(&error).await.expect("reverted");
}
