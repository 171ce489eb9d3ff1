//! HTTP/2 and gRPC through a proxy, cleartext by prior knowledge: streams, trailers, and the same rules as HTTP/1.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use squall_proxy::time::now;
use squall_proxy::{Options, Proxies, Route, RuleSpec};

/// A gRPC server as far as the wire is concerned: echoes the body, says in trailers that all is well.
async fn answer(request: Request<Incoming>) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let asked = request.uri().to_string();
    let odd = request.headers().get("x-odd").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = [Ok(Frame::data(body)), Ok(Frame::trailers(trailers))];
    let response = Response::builder().header("content-type", "application/json").header("asked", asked).header("odd", odd);
    Ok(response.body(http_body_util::StreamBody::new(futures_util::stream::iter(frames))).unwrap())
}

async fn upstream() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let served =
                hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(served);
        }
    });
    address
}

struct Edge {
    route: Route,
    sender: SendRequest<Full<Bytes>>,
    _proxies: Proxies,
}

async fn edge(rules: Value) -> Edge {
    let proxies = Proxies::start(&Options { workers: 2, seed: 1, ..Options::default() }).unwrap();
    let route = proxies.open("p", "127.0.0.1:0", &upstream().await.to_string()).unwrap();
    let mut rules: Vec<RuleSpec> = serde_json::from_value(rules).unwrap();
    let never = json!({ "name": "never", "fault": "http.abort", "with": { "status": 500 }, "match": { "path": "/no/such/path" } });
    rules.push(serde_json::from_value(never).unwrap());
    route.set_rules(&rules, None).unwrap();
    let stream = tokio::net::TcpStream::connect(route.listen()).await.unwrap();
    let (sender, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(driver);
    Edge { route, sender, _proxies: proxies }
}

/// Head, body and trailers of an answer; an error where the stream was reset.
async fn ask(edge: &Edge, path: &str, body: &'static str) -> Result<(http::response::Parts, Bytes, Option<HeaderMap>), hyper::Error> {
    let mut sender = edge.sender.clone();
    sender.ready().await?;
    let request = Request::post(format!("http://shop{path}")).header("content-type", "application/json").header("x-odd", "old");
    let response = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    Ok((parts, body.to_bytes(), trailers))
}

#[tokio::test]
async fn streams_and_trailers_pass_and_many_at_once() {
    let edge = edge(json!([])).await;
    let asked: Vec<_> = (0..50).map(|_| ask(&edge, "/a?b=c", "{\"n\":1}")).collect();
    for answer in futures_util::future::join_all(asked).await {
        let (parts, body, trailers) = answer.unwrap();
        assert_eq!(
            (parts.status.as_u16(), parts.headers["asked"].to_str().unwrap(), &body[..]),
            (200, "http://shop/a?b=c", &b"{\"n\":1}"[..])
        );
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
    }
    assert_eq!(edge.route.counters().accepted, 1);
}

#[tokio::test]
async fn a_grpc_abort_is_trailers_only_and_the_other_streams_go_on() {
    let edge = edge(json!([{ "fault": "http.abort", "with": { "grpcStatus": 14 }, "match": { "path": "/pay.Payments/*" } }])).await;
    let (parts, body, _) = ask(&edge, "/pay.Payments/Charge", "x").await.unwrap();
    assert_eq!((parts.status.as_u16(), parts.headers["grpc-status"].to_str().unwrap(), body.len()), (200, "14", 0));
    assert!(ask(&edge, "/other", "x").await.is_ok());
    assert_eq!(edge.route.arms()[0].1.injected, 1);
}

#[tokio::test]
async fn bodies_and_headers_are_changed_and_streams_cut() {
    let rules = json!([
        { "fault": "http.body", "with": { "merge": { "n": 2 } }, "match": { "path": "/merge", "body": { "/n": 1 } } },
        { "fault": "http.headers", "with": { "request": { "set": { "x-odd": "new" } }, "response": { "remove": ["asked"] } }, "match": { "path": "/merge" } },
        { "fault": "http.drop", "with": { "after": "2B", "cut": "reset" }, "match": { "path": "/cut" } },
        { "fault": "http.delay", "with": { "delay": "150ms" }, "match": { "path": "/late" } },
    ]);
    let edge = edge(rules).await;
    let (parts, body, trailers) = ask(&edge, "/merge", "{\"n\":1}").await.unwrap();
    assert_eq!((&body[..], parts.headers["odd"].to_str().unwrap()), (&b"{\"n\":2}"[..], "new"));
    assert!(!parts.headers.contains_key("asked") && trailers.is_some());
    assert!(ask(&edge, "/cut", "abcdef").await.is_err(), "the stream is reset");
    let start = now();
    ask(&edge, "/late", "x").await.unwrap();
    assert!(now() - start >= Duration::from_millis(150), "and the connection goes on");
}
