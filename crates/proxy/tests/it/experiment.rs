//! The proxy's faults in experiments: what is promised of every fault, against a proxy with its API.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use squall_engine::{AnyFault, Target};
use squall_proxy::Options;
use squall_proxy::api::{Api, ApiOptions};
use squall_proxy::control::Control;
use squall_testkit::Execution;
use squall_testkit::conformance::{self as bench, Subject, World};

/// A proxy before a server that sends back what it gets.
struct Edge {
    control: Control,
    api: Option<Api>,
    target: Target,
    args: Value,
}

impl Edge {
    fn new(args: Value) -> Self {
        let echo = TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = echo.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in echo.incoming().flatten() {
                std::thread::spawn(move || std::io::copy(&mut stream.try_clone()?, &mut stream));
            }
        });
        let control = Control::start(&Options { workers: 1, ..Options::default() }).unwrap();
        control.proxy("edge", &upstream).unwrap();
        let api = Api::start(control.clone(), "127.0.0.1:0", ApiOptions::default()).unwrap();
        let url = format!("http://{}", api.address());
        let info = control.get("edge").unwrap();
        let target = Target {
            kind: "proxy".into(),
            id: format!("proxy:{url}/edge"),
            label: "edge".into(),
            facts: json!({ "api": url, "name": "edge", "listen": info.listen, "upstream": info.upstream }),
        };
        Self { control, api: Some(api), target, args }
    }

    fn boxed(args: Value) -> Box<dyn World> {
        Box::new(Self::new(args))
    }

    /// What is on the proxy, as the process itself knows it.
    fn faults(&self) -> usize {
        let info = self.control.get("edge").unwrap();
        info.toxics.len() + info.rules.len() + usize::from(!info.enabled)
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.control.get("edge").unwrap().listen)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    }
}

fn is(good: bool, otherwise: &str) -> Result<(), String> {
    if good { Ok(()) } else { Err(otherwise.to_owned()) }
}

impl World for Edge {
    fn target(&self) -> Target {
        self.target.clone()
    }
    fn args(&self) -> Value {
        self.args.clone()
    }
    fn untouched(&self) -> Result<(), String> {
        is(self.faults() == 0, "there is a fault on the proxy")
    }
    fn broken(&self) -> Result<(), String> {
        is(self.faults() > 0, "there is no fault on the proxy")
    }
    fn restored(&self) -> Result<(), String> {
        self.untouched()
    }
}

fn fault(name: &str) -> Arc<dyn AnyFault> {
    squall_proxy::experiment::all().into_iter().find(|fault| fault.meta().name == name).unwrap_or_else(|| panic!("{name} is no fault"))
}

fn row(name: &'static str, world: fn() -> Box<dyn World>, bad: Vec<Value>) -> Subject {
    Subject { row: name, fault: fault(name), world, bad }
}

fn table() -> Vec<Subject> {
    vec![
        row("proxy.latency", || Edge::boxed(json!({ "delay": "50ms", "jitter": "5ms" })), vec![json!({}), json!({ "delay": "10us" })]),
        row("proxy.bandwidth", || Edge::boxed(json!({ "rate": "1MB/s" })), vec![json!({}), json!({ "rate": "10B/s" })]),
        row("proxy.slowClose", || Edge::boxed(json!({ "delay": "1s" })), vec![json!({})]),
        row("proxy.slowOpen", || Edge::boxed(json!({ "delay": "1s" })), vec![json!({})]),
        row("proxy.timeout", || Edge::boxed(json!({ "after": "1s" })), vec![json!({ "after": 1 })]),
        row("proxy.stall", || Edge::boxed(json!({ "after": "1KB" })), vec![json!({ "after": "x" })]),
        row("proxy.resetPeer", || Edge::boxed(json!({})), vec![json!({ "stream": "sideways" })]),
        row("proxy.slicer", || Edge::boxed(json!({ "size": "64B" })), vec![json!({})]),
        row("proxy.limitData", || Edge::boxed(json!({ "bytes": "1KB" })), vec![json!({ "bytes": "1KB", "toxicity": "101%" })]),
        row("proxy.packetLoss", || Edge::boxed(json!({ "loss": "5%" })), vec![json!({})]),
        row("proxy.down", || Edge::boxed(Value::Null), vec![json!({ "x": 1 })]),
        row(
            "tls.expired",
            || Edge::boxed(json!({ "ago": "1h", "percent": "50%", "match": { "host": "*.example" } })),
            vec![json!({ "percent": "much" }), json!({ "match": { "colour": "red" } })],
        ),
        row("stream.stall", || Edge::boxed(json!({ "after": 3, "sticky": { "header": "x-user" } })), vec![json!({ "after": "x" })]),
    ]
}

#[test]
fn planning_changes_nothing() {
    for subject in table() {
        bench::plan_changes_nothing(&subject, &squall_engine::HostFacts::default());
    }
}

#[test]
fn bad_arguments_are_refused_with_a_hint() {
    for subject in table() {
        bench::bad_arguments_are_refused_with_a_hint(&subject);
    }
}

#[tokio::test]
async fn nothing_is_touched_before_the_undo_is_on_disk() {
    for subject in table() {
        bench::nothing_is_touched_before_the_undo_is_on_disk(&subject, &squall_engine::HostFacts::default()).await;
    }
}

#[tokio::test]
async fn each_fault_is_in_force_and_gone_after_each_of_two_reverts() {
    for subject in table() {
        bench::it_is_in_force_and_gone_after_each_of_two_reverts(&subject, &squall_engine::HostFacts::default()).await;
    }
}

#[tokio::test]
async fn two_at_once_are_refused_or_composed() {
    for subject in table() {
        bench::two_at_once_are_refused_or_composed(&subject, &squall_engine::HostFacts::default()).await;
    }
}

#[tokio::test]
async fn each_fault_is_put_back_by_a_fresh_process_after_kill_9() {
    for subject in table() {
        bench::it_is_put_back_by_a_fresh_process_after_kill_9(&subject, "experiment::the_child_injects_and_is_killed").await;
    }
}

#[tokio::test]
async fn the_child_injects_and_is_killed() {
    bench::be_the_child(&table(), &squall_engine::HostFacts::default()).await;
}

#[test]
fn every_toxic_is_in_the_table_and_every_example_is_good() {
    let rows = table();
    for fault in squall_proxy::experiment::all() {
        let meta = fault.meta();
        assert!(meta.family != "proxy" || rows.iter().any(|row| row.row == meta.name), "{} is missing in the table", meta.name);
        let example = squall_model::Document::parse(meta.example).unwrap().value;
        assert_eq!(fault.check(&example["with"]), [], "{}", meta.example);
        assert!(!meta.summary.is_empty() && !meta.summary.ends_with('.'), "{}: {}", meta.name, meta.summary);
    }
}

#[tokio::test]
async fn latency_is_felt_and_what_met_it_is_told() {
    let (edge, run) = (Edge::new(json!({ "delay": "80ms" })), Execution::default());
    let fault = fault("proxy.latency");
    run.inject(&fault, &edge.args, &edge.target).await.unwrap();
    let start = squall_proxy::time::now();
    let mut stream = edge.connect().unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let took = squall_proxy::time::now() - start;
    assert!(took >= Duration::from_millis(80), "{took:?}");
    let how = run.revert(&fault).await.unwrap();
    assert!(how.contains("it works on 1 of the 1 connections"), "{how}");
}

#[tokio::test]
async fn what_nothing_met_is_said_and_a_proxy_that_is_gone_is_reverted() {
    let (mut edge, run) = (Edge::new(json!({ "delay": "80ms" })), Execution::default());
    let fault = fault("proxy.latency");
    let undo = run.inject(&fault, &edge.args, &edge.target).await.unwrap();
    let effect = fault.verify(&undo).await.unwrap();
    assert!(effect.in_force && effect.evidence.contains("no connection has met it"), "{effect:?}");
    assert!(effect.evidence.contains(r#""for":"70s""#), "the proxy has the time box: {effect:?}");
    edge.api = None;
    assert!(!fault.verify(&undo).await.unwrap().in_force);
    let how = run.revert(&fault).await.unwrap();
    assert!(how.contains("is gone"), "{how}");
}

#[tokio::test]
async fn proxies_are_found_by_name_and_by_api() {
    let edge = Edge::new(Value::Null);
    let kind = &squall_proxy::experiment::targets()[0];
    let api = edge.target.facts["api"].clone();
    let find = |selector: Value| async move { kind.find(&selector).await };
    assert_eq!(find(json!({ "api": api, "name": "edge" })).await.unwrap()[0].facts, edge.target.facts);
    assert_eq!(find(json!({ "api": api })).await.unwrap().len(), 1);
    assert_eq!(find(json!({ "api": api, "name": "other" })).await.unwrap(), []);
    let error = find(json!({ "api": "http://127.0.0.1:1" })).await.unwrap_err();
    assert!(error.message.contains("nothing listens") && error.hint.is_some(), "{error:?}");
    assert_eq!(kind.check(&json!({ "api": "somewhere" })).len(), 1);
}
