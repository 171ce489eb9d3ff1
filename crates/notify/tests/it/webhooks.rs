//! What receivers of HTTP requests get.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use squall_model::Verdict;
use squall_notify::{EventKind, SendError, Sending};

use crate::receiver::{Got, Receiver, answer};
use crate::{Bench, WEBHOOK_SECRET, notice, python, script};

/// What the reference library says of requests: nothing, or why it refuses them.
fn reference(requests: &[Value]) -> Vec<Option<String>> {
    #[expect(clippy::disallowed_methods, reason = "the reference library is in Python")]
    let mut child =
        Command::new(python()).arg(script("verify.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
    let input = serde_json::to_vec(requests).expect("JSON");
    child.stdin.take().expect("piped").write_all(&input).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "verify.py failed");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn request(got: &Got, secret: &str) -> Value {
    json!({ "secret": secret, "headers": got.headers, "body": got.body })
}

#[tokio::test]
async fn the_reference_library_accepts_what_is_signed_and_nothing_else() {
    let (bench, receiver) = (Bench::new(), Receiver::start().await);
    let old = "whsec_HxwdHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";
    let secret = bench.secret("new", &format!("{WEBHOOK_SECRET}\n"));
    let to = json!({
        "url": receiver.url("/hook?token=x"), "secret": secret, "previousSecret": bench.secret("old", old),
        "headers": { "Authorization": bench.secret("token", "Bearer t0ps3cret") },
    });
    bench.channel("hook", json!({ "to": { "webhook": to } })).await;
    let mut what = notice("r000000000000/ended", EventKind::RunEnded);
    (what.verdict, what.reason) = (Some(Verdict::Deviated), Some("errors “at” 4% · ünïcode".into()));
    bench.tell(&what).await;
    let _delivering = bench.deliver();
    let got = receiver.gets(1).await.remove(0);
    assert_eq!(got.headers["authorization"], "Bearer t0ps3cret");
    assert_eq!(got.headers["webhook-signature"].split(' ').count(), 2);
    let body = got.json();
    assert_eq!((&body["type"], &body["timestamp"]), (&json!("run.ended"), &json!("2026-11-21T12:00:00Z")));
    assert_eq!((&body["data"]["verdict"], &body["data"]["experiment"]), (&json!("deviated"), &json!("slow-payments")));
    assert_eq!(body["id"], got.headers["webhook-id"]);
    let mut tampered = request(&got, WEBHOOK_SECRET);
    tampered["body"] = got.body.replace("deviated", "held").into();
    let mut replayed = request(&got, WEBHOOK_SECRET);
    let at: i64 = got.headers["webhook-timestamp"].parse().expect("a number");
    replayed["headers"]["webhook-timestamp"] = (at - 600).to_string().into();
    let other = "whsec_Dx4tPEtaaXiHlqW0w9Lh8A8eLTxLWml4h5altMPS4fA=";
    let verdicts = reference(&[request(&got, WEBHOOK_SECRET), request(&got, old), tampered, replayed, request(&got, other)]);
    let good: Vec<bool> = verdicts.iter().map(Option::is_none).collect();
    assert_eq!(good, [true, true, false, false, false], "{verdicts:?}");
}

#[tokio::test]
async fn slack_gets_blocks_and_pagerduty_triggers_acknowledges_and_resolves_by_run() {
    let (bench, receiver) = (Bench::new(), Receiver::start().await);
    bench.channel("chat", json!({ "to": { "slack": { "url": bench.secret("slack", &receiver.url("/services/T/B/secret")) } } })).await;
    let key = bench.secret("key", "R0UT1NGKEY");
    bench.channel("oncall", json!({ "to": { "pagerduty": { "routingKey": key, "url": receiver.url("/v2/enqueue") } } })).await;
    let mut ended = notice("r/ended", EventKind::RunEnded);
    ended.verdict = Some(Verdict::Deviated);
    let mut all = vec![notice("r/started", EventKind::RunStarted), ended];
    all.push(notice("f/ack", EventKind::FindingAcknowledged));
    all.push(notice("f/closed", EventKind::FindingClosed));
    for (sequence, notice) in all.iter_mut().enumerate() {
        notice.sequence = sequence as u64;
        bench.tell(notice).await;
    }
    let _delivering = bench.deliver();
    let got = receiver.gets(7).await;
    let of = |path: &str| got.iter().filter(|got| got.path == path).map(Got::json).collect::<Vec<_>>();
    let chat = of("/services/T/B/secret");
    assert_eq!(chat.len(), 4);
    assert_eq!(chat[1]["blocks"][0]["text"]["text"], "🔴 slow-payments deviated: a weakness was found");
    let pages = of("/v2/enqueue");
    let actions: Vec<_> = pages.iter().map(|page| page["event_action"].as_str().expect("a text")).collect();
    assert_eq!(actions, ["trigger", "acknowledge", "resolve"]);
    assert!(pages.iter().all(|page| page["dedup_key"] == "r000000000000" && page["routing_key"] == "R0UT1NGKEY"), "{pages:?}");
    assert_eq!(pages[0]["payload"]["severity"], "error");
}

async fn refused(bench: &Bench, url: &str) -> SendError {
    let to = json!({ "slack": { "url": bench.secret("address", url) } });
    let channel = bench.channel("chat", json!({ "to": to, "timeout": "5s" })).await;
    let notice = notice("n", EventKind::Test);
    bench.transport.send(&channel, &Sending { id: "d1", notice: &notice }).await.expect_err("refused")
}

#[tokio::test]
async fn a_channel_is_no_way_into_what_only_the_server_can_reach() {
    let bench = Bench::new();
    let receiver = Receiver::answering(|_, _| {
        let mut answer = answer(307);
        answer.headers_mut().insert("location", "http://169.254.169.254/latest/meta-data/".parse().expect("a header"));
        answer
    })
    .await;
    let redirected = refused(&bench, &receiver.url("/")).await;
    assert!(!redirected.again && redirected.status == Some(307), "{redirected:?}");
    for url in ["http://169.254.169.254/latest/", "http://[::ffff:169.254.169.254]/", "http://[::1]:9/", "http://2852039166/"] {
        let error = refused(&bench, url).await;
        assert!(!error.again && error.reason.contains("no channel may send to"), "{url}: {error:?}");
    }
    // By name, without an exception for loopback.
    let mut strict = Bench::new();
    let mut guards = strict.transport.guards().clone();
    guards.reach.allow.clear();
    strict.transport = squall_notify::Transport::new(guards, Vec::new(), strict.clock.clone()).expect("a transport");
    let url = receiver.url("/").replace("127.0.0.1", "localhost");
    let error = refused(&strict, &url).await;
    assert!(!error.again && error.reason.contains("the server itself"), "{error:?}");
    assert_eq!(receiver.got().len(), 1, "only the redirect was asked for");
}

#[tokio::test]
async fn no_secret_is_in_what_is_said_of_a_failure() {
    let bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = listener.local_addr().expect("an address").port();
    drop(listener);
    let error = refused(&bench, &format!("http://127.0.0.1:{closed}/services/T/B/hunter22")).await;
    assert!(error.again && !error.reason.contains("hunter22"), "{error:?}");
    let error = refused(&bench, "hunter22 is no address").await;
    assert!(!error.again && !error.reason.contains("hunter22"), "{error:?}");
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up_in_time() {
    let bench = Bench::new();
    // Accepts, and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = json!({ "slack": { "url": bench.secret("slow", &format!("http://{}/", listener.local_addr().expect("an address"))) } });
    let channel = bench.channel("chat", json!({ "to": to, "timeout": "1s" })).await;
    let (notice, began) = (notice("n", EventKind::Test), bench.clock.now());
    let error = bench.transport.send(&channel, &Sending { id: "d1", notice: &notice }).await.expect_err("late");
    let took = (bench.clock.now() - began).as_secs_f64();
    assert!(error.again && error.reason == "no answer within 1s" && (1.0..6.0).contains(&took), "{error:?} after {took} s");
}
