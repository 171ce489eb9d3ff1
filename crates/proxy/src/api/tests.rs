//! Every route, status and body, as Toxiproxy's clients know them, over a real connection.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::server::Options;

struct Served {
    control: Control,
    api: Api,
}

fn serve() -> Served {
    let control = Control::start(&Options { workers: 1, seed: 1, events: 100, ..Options::default() }).unwrap();
    let options = ApiOptions { proxy_metrics: true, ..ApiOptions::default() };
    let api = Api::start(control.clone(), "localhost:0", options).unwrap();
    Served { control, api }
}

/// Head and body of the answer.
fn raw(served: &Served, method: &str, path: &str, headers: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(served.api.address()).unwrap();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

fn call(served: &Served, request: &str, body: &str) -> (u16, String) {
    let (method, path) = request.split_once(' ').unwrap();
    let (head, body) = raw(served, method, path, "", body);
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

fn error(message: &str, status: u16) -> (u16, String) {
    (status, format!("{{\"error\":\"{message}\",\"status\":{status}}}\n"))
}

/// The proxies' ports in these bodies are free ones.
fn masked(served: &Served, body: &str) -> String {
    served.control.list().iter().fold(body.to_owned(), |body, info| body.replace(&info.listen, "HERE"))
}

#[test]
fn a_proxys_life_is_told_in_toxiproxys_words() {
    let served = serve();
    let go = |request: &str, body: &str| {
        let (status, body) = call(&served, request, body);
        (status, masked(&served, &body))
    };
    let p = r#"{"name":"p","listen":"HERE","upstream":"localhost:1","enabled":true,"Logger":{},"toxics":[]}"#;
    assert_eq!(go("GET /proxies", ""), (200, "{}".into()));
    assert_eq!(go("POST /proxies", r#"{"name":"p","listen":"localhost:0","upstream":"localhost:1","x":1}"#), (201, p.into()));
    assert_eq!(go("GET /proxies", ""), (200, format!("{{\"p\":{p}}}")));
    assert_eq!(go("GET /proxies/p", ""), (200, p.into()));
    let disabled = p.replace("true", "false");
    assert_eq!(go("PATCH /proxies/p", r#"{"enabled":false}"#), (200, disabled.clone()));
    assert_eq!(go("POST /proxies/p", r#"{"upstream":"localhost:2"}"#), (200, disabled.replace("localhost:1", "localhost:2")));
    assert_eq!(go("POST /reset", ""), (204, String::new()));
    assert_eq!(go("GET /proxies/p", ""), (200, p.replace("localhost:1", "localhost:2")));
    assert_eq!(go("DELETE /proxies/p", ""), (204, String::new()));
    assert_eq!(go("DELETE /proxies/p", ""), error("proxy not found", 404));
    let off = r#"{"name":"off","listen":"localhost:3310","upstream":"localhost:1","enabled":false}"#;
    let shown = r#"{"name":"off","listen":"localhost:3310","upstream":"localhost:1","enabled":false,"Logger":{},"toxics":[]}"#;
    assert_eq!(call(&served, "POST /proxies", off), (201, shown.into()));
}

#[test]
fn a_toxics_life_is_told_in_toxiproxys_words() {
    let served = serve();
    served.control.proxy("p", "127.0.0.1:1").unwrap();
    let go = |request: &str, body: &str| call(&served, request, body);
    let down =
        r#"{"attributes":{"latency":100,"jitter":0},"name":"latency_downstream","type":"latency","stream":"downstream","toxicity":1}"#;
    let up = r#"{"attributes":{},"name":"n","type":"noop","stream":"upstream","toxicity":0.2}"#;
    assert_eq!(go("GET /proxies/p/toxics", ""), (200, "[]".into()));
    assert_eq!(go("POST /proxies/p/toxics", r#"{"type":"latency","attributes":{"latency":100,"other":1}}"#), (200, down.into()));
    assert_eq!(
        go("POST /proxies/p/toxics", r#"{"name":"n","type":"noop","stream":"upstream","toxicity":0.2,"attributes":null}"#),
        (200, up.into())
    );
    assert_eq!(go("GET /proxies/p/toxics", ""), (200, format!("[{up},{down}]")));
    assert_eq!(go("GET /proxies/p/toxics/n", ""), (200, up.into()));
    let changed = down.replace("\"jitter\":0", "\"jitter\":5").replace("\"toxicity\":1", "\"toxicity\":0.5");
    assert_eq!(go("POST /proxies/p/toxics/latency_downstream", r#"{"toxicity":0.5,"attributes":{"jitter":5}}"#), (200, changed.clone()));
    let renamed = r#"{"name":"x","stream":"upstream","type":"noop","attributes":{}}"#;
    assert_eq!(go("PATCH /proxies/p/toxics/latency_downstream", renamed), (200, changed));
    assert_eq!(go("DELETE /proxies/p/toxics/n", ""), (204, String::new()));
    assert_eq!(go("DELETE /proxies/p/toxics/n", ""), error("toxic not found", 404));
    let boxed =
        r#"{"attributes":{"bytes":5},"name":"limit_data_downstream","type":"limit_data","stream":"downstream","toxicity":1,"for":"1h"}"#;
    assert_eq!(go("POST /proxies/p/toxics", r#"{"type":"limit_data","attributes":{"bytes":5},"for":"1h"}"#), (200, boxed.into()));
}

#[test]
fn errors_have_toxiproxys_texts_and_statuses() {
    let served = serve();
    let taken = served.control.proxy("p", "127.0.0.1:1").unwrap().listen().unwrap();
    served.control.handle("p").toxic("latency").unwrap();
    let in_use = format!("{{\"name\":\"q\",\"listen\":\"{taken}\",\"upstream\":\"localhost:1\"}}");
    let bound = format!("listen tcp {taken}: bind: address already in use");
    let table: &[(&str, &str, (u16, String))] = &[
        ("POST /proxies", "", error("bad request body: EOF", 400)),
        ("POST /proxies", "[]", error("bad request body: json: cannot unmarshal array into Go value of type toxiproxy.Proxy", 400)),
        ("POST /proxies", "{}", error("missing required field: name", 400)),
        ("POST /proxies", r#"{"name":"q"}"#, error("missing required field: upstream", 400)),
        (
            "POST /proxies",
            r#"{"name":5}"#,
            error("bad request body: json: cannot unmarshal number into Go struct field Proxy.name of type string", 400),
        ),
        ("POST /proxies", r#"{"name":"p","upstream":"localhost:1"}"#, error("proxy already exists", 409)),
        ("POST /proxies", &in_use, error(&bound, 500)),
        (
            "POST /proxies",
            r#"{"name":"q","listen":"here","upstream":"localhost:1"}"#,
            error("listen tcp: address here: missing port in address", 500),
        ),
        ("GET /proxies/q", "", error("proxy not found", 404)),
        ("PATCH /proxies/q", "{}", error("proxy not found", 404)),
        ("PATCH /proxies/p", "x", error("bad request body: invalid character 'x' looking for beginning of value", 400)),
        (
            "PATCH /proxies/p",
            r#"{"enabled":"yes"}"#,
            error("bad request body: json: cannot unmarshal string into Go struct field Proxy.enabled of type bool", 400),
        ),
        ("GET /proxies/q/toxics", "", error("proxy not found", 404)),
        ("POST /proxies/q/toxics", "x", error("proxy not found", 404)),
        ("POST /proxies/p/toxics", "{", error("bad request body: unexpected EOF", 400)),
        (
            "POST /proxies/p/toxics",
            r#"{"type":"latency","stream":"lol"}"#,
            error("stream was invalid, can be either upstream or downstream", 400),
        ),
        (
            "POST /proxies/p/toxics",
            r#"{"type":"latency","stream":""}"#,
            error("stream was invalid, can be either upstream or downstream", 400),
        ),
        ("POST /proxies/p/toxics", "{}", error("invalid toxic type", 400)),
        ("POST /proxies/p/toxics", r#"{"type":"latency"}"#, error("toxic already exists", 409)),
        (
            "POST /proxies/p/toxics",
            r#"{"type":"latency","stream":"upstream","name":"latency_downstream"}"#,
            error("toxic already exists", 409),
        ),
        (
            "POST /proxies/p/toxics",
            r#"{"type":"timeout","attributes":{"timeout":"5"}}"#,
            error(
                "bad request body: json: cannot unmarshal string into Go struct field TimeoutToxic.attributes.timeout of type int64",
                400,
            ),
        ),
        (
            "POST /proxies/p/toxics",
            r#"{"type":"timeout","toxicity":"1"}"#,
            error("bad request body: json: cannot unmarshal string into Go struct field ToxicWrapper.toxicity of type float32", 400),
        ),
        ("GET /proxies/p/toxics/x", "", error("toxic not found", 404)),
        ("POST /proxies/p/toxics/x", "x", error("toxic not found", 404)),
        (
            "PATCH /proxies/p/toxics/latency_downstream",
            r#"{"attributes":{"latency":1.5}}"#,
            error(
                "bad request body: json: cannot unmarshal number 1.5 into Go struct field LatencyToxic.attributes.latency of type int64",
                400,
            ),
        ),
        ("GET /nothing", "", (404, "404 page not found\n".into())),
        ("GET /proxies/", "", (404, "404 page not found\n".into())),
        ("PUT /proxies", "", (405, String::new())),
        ("GET /reset", "", (405, String::new())),
        ("GET /proxies/q/rules", "", error("proxy not found", 404)),
        ("DELETE /proxies/p/rules/x", "", error("rule not found", 404)),
    ];
    for (request, body, wanted) in table {
        assert_eq!(call(&served, request, body), *wanted, "{request} {body}");
    }
    assert_eq!(served.control.list().len(), 1);
    let (status, text) = call(&served, "POST /proxies/p/rules", r#"{"fault":"http.abort","percnt":5}"#);
    assert!(status == 400 && text.contains("percnt"), "{text}");
}

#[test]
fn populate_answers_with_what_was_made_even_when_it_fails() {
    let served = serve();
    let go = |body: &str| call(&served, "POST /populate", body);
    assert_eq!(go("[]"), (201, r#"{"proxies":null}"#.into()));
    let missing = r#"{"error":"missing required field: name at proxy 2","status":400,"proxies":null}"#;
    assert_eq!(go(r#"[{"name":"a","upstream":"localhost:1"},{}]"#), (400, missing.into()));
    let object = r#"{"error":"bad request body: json: cannot unmarshal object into Go value of type []struct { toxiproxy.Proxy; Enabled *bool \"json:\\\"enabled\\\"\" }","status":400,"proxies":null}"#;
    assert_eq!(go("{}"), (400, object.into()));
    let (status, body) = go(
        r#"[{"name":"a","listen":"localhost:0","upstream":"localhost:1","toxics":[{"type":"noop"}]},{"name":"b","listen":"local","upstream":"localhost:1"}]"#,
    );
    let a = r#"{"name":"a","listen":"HERE","upstream":"localhost:1","enabled":true,"Logger":{},"toxics":[{"attributes":{},"name":"noop_downstream","type":"noop","stream":"downstream","toxicity":1}]}"#;
    let failed = format!("{{\"error\":\"listen tcp: address local: missing port in address\",\"status\":500,\"proxies\":[{a}]}}");
    assert_eq!((status, masked(&served, &body)), (500, failed));
    // As a Go client sends what it was given.
    let listen = served.control.get("a").unwrap().listen;
    let again = format!(r#"[{{"name":"a","listen":"{listen}","upstream":"localhost:1","enabled":true,"toxics":null}}]"#);
    let (status, body) = go(&again);
    assert_eq!((status, masked(&served, &body)), (201, format!("{{\"proxies\":[{a}]}}")));
}

#[test]
fn headers_are_toxiproxys_too() {
    let served = serve();
    let (head, body) = raw(&served, "GET", "/version", "", "");
    assert_eq!(body, "{\"version\": \"2.12.0\"}\n");
    assert!(head.contains("content-type: application/json;charset=utf-8"), "{head}");
    let id = head.lines().find_map(|line| line.strip_prefix("x-toxiproxy-request-id: ")).unwrap();
    assert_eq!(id.len(), 20);
    let (head, body) = raw(&served, "GET", "/proxies", "user-agent: Mozilla/5.0 (X11)\r\n", "");
    assert!(head.starts_with("http/1.1 403"), "{head}");
    assert_eq!(body, "User agent not allowed\n");
    let (head, _) = raw(&served, "GET", "/proxies/none", "", "");
    assert!(head.contains("content-type: text/plain; charset=utf-8") && head.contains("x-content-type-options: nosniff"), "{head}");
    let (head, _) = raw(&served, "GET", "/proxies", "", "");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
}

#[test]
fn metrics_count_what_is_passing_and_go_on_over_a_restart() {
    let served = serve();
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = served.control.proxy("p", &upstream.local_addr().unwrap().to_string()).unwrap();
    let metric = || call(&served, "GET /metrics", "").1;
    let mut open = Vec::new();
    for round in 1..=2 {
        let mut client = TcpStream::connect(proxy.listen().unwrap()).unwrap();
        client.write_all(b"hello").unwrap();
        let (mut server, _) = upstream.accept().unwrap();
        server.read_exact(&mut [0; 5]).unwrap();
        open.push((client, server));
        let deadline = crate::time::now() + Duration::from_secs(20);
        let line = format!("direction=\"upstream\",listener=\"{}\"", proxy.listen().unwrap());
        let bytes = format!("}} {}", round * 5);
        while metric().lines().filter(|l| l.contains(&line) && l.ends_with(&bytes)).count() != 2 {
            assert!(crate::time::now() < deadline, "{}", metric());
            std::thread::yield_now();
        }
        proxy.disable().unwrap();
        proxy.enable().unwrap();
    }
    assert_eq!(proxy.counters().accepted, 2);
}

#[test]
fn events_are_exported_from_a_number_on() {
    let served = serve();
    let proxy = served.control.proxy("p", "127.0.0.1:1").unwrap();
    for _ in 0..2 {
        let mut client = TcpStream::connect(proxy.listen().unwrap()).unwrap();
        // It ends when the upstream was found not to be there.
        let _ = client.read(&mut [0]);
    }
    let deadline = crate::time::now() + Duration::from_secs(20);
    while proxy.events().len() < 6 {
        assert!(crate::time::now() < deadline, "{:?}", proxy.events());
        std::thread::yield_now();
    }
    let lines = |path: &str| -> Vec<serde_json::Value> {
        let (status, body) = call(&served, path, "");
        assert_eq!(status, 200);
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(lines("GET /events").len(), 6);
    let late = lines("GET /events?after=4");
    assert_eq!(late.iter().map(|e| e["number"].as_u64().unwrap()).collect::<Vec<_>>(), [5, 6]);
    assert_eq!(call(&served, "GET /events?after=x", "").0, 400);
}

#[test]
fn an_upstream_that_does_not_answer_and_a_body_that_does_not_come_hold_up_nobody() {
    let served = serve();
    // Its queue is full: what connects to it waits.
    let hanging = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    hanging.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    hanging.listen(0).unwrap();
    let upstream = hanging.local_addr().unwrap().as_socket().unwrap();
    let _first = TcpStream::connect(upstream).unwrap();
    let proxy = served.control.proxy("p", &upstream.to_string()).unwrap();
    let waiting: Vec<_> = (0..5).map(|_| TcpStream::connect(proxy.listen().unwrap()).unwrap()).collect();
    let mut slow = TcpStream::connect(served.api.address()).unwrap();
    write!(slow, "POST /proxies HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n").unwrap();
    let start = crate::time::now();
    assert_eq!(call(&served, "GET /proxies/p", "").0, 200);
    assert_eq!(call(&served, "DELETE /proxies/p", "").0, 204);
    assert!(crate::time::now() - start < Duration::from_secs(5));
    drop(waiting);
}

#[test]
fn the_api_ends_and_frees_its_port() {
    let served = serve();
    let address = served.api.address();
    let idle = TcpStream::connect(address).unwrap();
    drop(served.api);
    assert!(TcpStream::connect(address).is_err());
    drop(idle);
}
