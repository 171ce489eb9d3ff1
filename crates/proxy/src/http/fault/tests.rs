//! What each kind makes of a request.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::body::{Cut, Step, Steps};
use crate::http::plan::FieldEdit;

fn plan(name: &str, with: Value, fields: &[(&str, &str)]) -> Option<Plan> {
    let action = compile(name, with.as_object().unwrap()).unwrap();
    planned(&*action, fields)
}

fn planned(action: &dyn Action, fields: &[(&str, &str)]) -> Option<Plan> {
    let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes());
    let asked = Asked { method: b"GET", target: b"/a/b?x=1&y=2", host: b"shop", field: &field, client: None, body: None };
    let mut plan = Plan::default();
    action.wants(&asked).then(|| {
        action.plan(&asked, &Draw { seed: 7, now: crate::time::now() }, &mut plan);
        plan
    })
}

/// The steps for a body that comes in these pieces.
fn body(name: &str, with: Value, pieces: &[&str]) -> (Vec<Step>, Option<u64>) {
    let plan = plan(name, with, &[]).unwrap();
    let mut fault =
        plan.bodies[0].0.fault(&stream::Body { content_type: "application/json", content_encoding: "", seed: plan.bodies[0].1 }).unwrap();
    let length = fault.length(pieces.iter().map(|piece| piece.len() as u64).sum());
    let mut steps = Steps::default();
    for piece in pieces {
        fault.piece(Bytes::copy_from_slice(piece.as_bytes()), &mut steps);
    }
    fault.end(&mut steps);
    (std::iter::from_fn(|| steps.take()).collect(), length)
}

fn text(steps: &[Step]) -> String {
    let bytes: Vec<u8> =
        steps.iter().filter_map(|step| if let Step::Send(bytes) = step { Some(bytes.to_vec()) } else { None }).flatten().collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_kind_has_a_schema_that_says_what_it_does_and_refuses_what_it_does_not_know() {
    for kind in KINDS {
        let schema = (kind.schema)();
        assert!(schema.get("description").and_then(Value::as_str).is_some_and(|text| text.len() > 20), "{}", kind.name);
        let error = (kind.compile)(json!({ "nonsense": 1 }).as_object().unwrap()).unwrap_err();
        assert!(error.contains("nonsense"), "{}: {error}", kind.name);
    }
    assert_eq!(compile("http.dealy", &Map::new()).unwrap_err().1.unwrap(), "did you mean `http.delay`?");
}

#[test]
fn delays_add_up_and_jitter_stays_in_its_bounds() {
    let delay = plan("http.delay", json!({ "delay": "100ms", "jitter": "20ms" }), &[]).unwrap().delay;
    assert!((Duration::from_millis(80)..Duration::from_millis(120)).contains(&delay), "{delay:?}");
    assert_eq!(plan("http.delay", json!({ "delay": "1s", "at": "response" }), &[]).unwrap().response_delay, Duration::from_secs(1));
}

#[test]
fn an_abort_answers_as_http_or_as_grpc() {
    let answer = plan("http.abort", json!({ "status": 503, "body": "no" }), &[]).unwrap().answer.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (503, &b"no"[..]));
    let answer = plan("http.abort", json!({ "grpcStatus": 14, "grpcMessage": "away" }), &[]).unwrap().answer.unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        answer.fields.contains(&("grpc-status".into(), "14".into())) && answer.fields.contains(&("grpc-message".into(), "away".into()))
    );
    for wrong in [json!({}), json!({ "status": 99 }), json!({ "grpcStatus": 17 }), json!({ "status": 500, "headers": { "a b": "c" } })] {
        assert!(compile("http.abort", wrong.as_object().unwrap()).is_err(), "{wrong}");
    }
}

#[test]
fn headers_and_targets_are_edited_but_not_what_says_where_a_message_ends() {
    let plan_made =
        plan("http.headers", json!({ "request": { "set": { "a": "b" } }, "response": { "remove": ["c"] }, "status": 500 }), &[]).unwrap();
    assert_eq!(plan_made.request_fields, [FieldEdit::Set("a".into(), "b".into())]);
    assert_eq!((plan_made.response_fields, plan_made.status), (vec![FieldEdit::Remove("c".into())], Some(500)));
    for wrong in
        [json!({}), json!({ "response": { "set": { "Content-Length": "1" } } }), json!({ "request": { "set": { "a": "b\r\nc: d" } } })]
    {
        assert!(compile("http.headers", wrong.as_object().unwrap()).is_err(), "{wrong}");
    }
    let target = |with: Value| plan("http.query", with, &[]).unwrap().target.unwrap();
    assert_eq!(target(json!({ "set": { "x": "a b" }, "remove": ["y"] })), "/a/b?x=a%20b");
    assert_eq!(target(json!({ "path": "/c", "remove": ["x", "y"] })), "/c");
    assert!(compile("http.query", json!({ "path": "c d" }).as_object().unwrap()).is_err());
}

#[test]
fn bodies_are_replaced_patched_merged_and_searched() {
    let changed = |with: Value, of: &[&str]| text(&body("http.body", with, of).0);
    assert_eq!(changed(json!({ "replace": "x" }), &["abc"]), "x");
    assert_eq!(changed(json!({ "patch": [{ "op": "remove", "path": "/a" }] }), &["{\"a\":1,", "\"b\":2}"]), "{\"b\":2}");
    assert_eq!(changed(json!({ "merge": { "a": null, "c": 3 } }), &["{\"a\":1}"]), "{\"c\":3}");
    assert_eq!(changed(json!({ "text": { "find": "b+", "replace": "-" } }), &["ab", "bc"]), "a-c");
    assert_eq!(changed(json!({ "merge": { "a": 1 } }), &["no json"]), "no json", "what it is not for passes");
    assert!(compile("http.body", json!({ "replace": "a", "merge": {} }).as_object().unwrap()).is_err());
}

#[test]
fn a_body_is_cut_at_the_byte_and_only_if_it_goes_on() {
    let (steps, length) = body("http.truncate", json!({ "after": "4B" }), &["abc", "def"]);
    assert_eq!((text(&steps).as_str(), length), ("abcd", Some(6)));
    assert_eq!(steps.last(), Some(&Step::Cut(Cut::Close)));
    let (steps, length) = body("http.truncate", json!({ "after": "4B", "proper": true }), &["abc", "def"]);
    assert_eq!((steps.last(), length), (Some(&Step::Finish), Some(4)));
    assert_eq!(body("http.truncate", json!({ "after": "6B" }), &["abc", "def"]).0.len(), 2);
    let (steps, _) = body("http.drop", json!({ "after": "1B", "cut": "reset" }), &["abc"]);
    assert_eq!(steps.last(), Some(&Step::Cut(Cut::Reset)));
    assert_eq!(plan("http.drop", json!({}), &[]).unwrap().cut, Some(Cut::Close));
}

#[test]
fn a_patch_that_copies_what_it_copied_ends_before_memory_does() {
    let double = |n: usize| json!({ "op": "copy", "from": "", "path": format!("/{n}") });
    let patched = |times: usize| text(&body("http.body", json!({ "patch": (0..times).map(double).collect::<Vec<_>>() }), &["{}"]).0);
    assert_eq!(patched(2), r#"{"0":{},"1":{"0":{}}}"#);
    // Sixty times the double: the body stays as it is.
    assert_eq!(patched(60), "{}");
}

#[test]
fn a_slow_body_takes_its_time_and_a_malformed_one_its_end() {
    let (steps, length) = body("http.slowBody", json!({ "perSecond": "10B" }), &["abcde"]);
    let waited: Duration = steps.iter().filter_map(|step| if let Step::Wait(time) = step { Some(*time) } else { None }).sum();
    assert_eq!((text(&steps).as_str(), waited, length), ("abcde", Duration::from_millis(500), Some(5)));
    assert_eq!(text(&body("http.malformed", json!({}), &["{\"a\":", "1}\n"]).0), "{\"a\":1,\n");
    assert_eq!(text(&body("http.malformed", json!({}), &["{\"a\":", "1}", "\r", "\n"]).0), "{\"a\":1,\r\n");
    assert_eq!(text(&body("http.malformed", json!({}), &[" \n", " "]).0), " \n ");
    assert!(plan("http.malformed", json!({ "what": "statusLine" }), &[]).unwrap().raw_head.is_some());
}

#[test]
fn a_rate_limit_lets_its_burst_pass_and_says_when_to_come_again() {
    let action = compile("http.rateLimit", json!({ "rate": "1/h", "burst": 2, "after": "30s" }).as_object().unwrap()).unwrap();
    assert!(planned(&*action, &[]).is_none() && planned(&*action, &[]).is_none());
    let answer = planned(&*action, &[]).unwrap().answer.unwrap();
    assert_eq!((answer.status, answer.fields.last().unwrap().1.as_str()), (429, "30"));
    let retry_after = |kind: &str| {
        let answer = plan("http.rateLimit", json!({ "rate": "0/s", "retryAfter": kind }), &[]).unwrap().answer.unwrap();
        answer.fields.into_iter().find(|(name, _)| name == "retry-after").map(|(_, value)| value)
    };
    assert_eq!(retry_after("absent"), None);
    assert!(retry_after("date").unwrap().ends_with(" GMT"));
    assert_eq!(rate_limit::http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
}

#[test]
fn a_caller_may_ask_for_a_fault_as_of_envoy() {
    assert!(plan("http.byHeader", json!({}), &[]).is_none());
    let asked = plan("http.byHeader", json!({ "longest": "2s" }), &[("x-envoy-fault-delay-request", "90000")]).unwrap();
    assert_eq!(asked.delay, Duration::from_secs(2));
    let asked = plan("http.byHeader", json!({}), &[("x-envoy-fault-abort-request", "418")]).unwrap();
    assert_eq!(asked.answer.unwrap().status, 418);
    let never = [("x-envoy-fault-abort-request", "418"), ("x-envoy-fault-abort-request-percentage", "0")];
    assert!(plan("http.byHeader", json!({}), &never).unwrap().answer.is_none());
}

#[test]
fn a_function_is_cold_once_and_times_out_and_is_throttled() {
    let action = compile("function.coldStart", json!({ "delay": "2s", "idle": "1h" }).as_object().unwrap()).unwrap();
    let first = planned(&*action, &[]).unwrap().delay;
    assert!(first > Duration::from_millis(1900) && first <= Duration::from_secs(2));
    assert!(planned(&*action, &[]).unwrap().delay <= first, "who comes while it starts waits for the rest");
    let timeout = plan("function.timeout", json!({ "after": "3s" }), &[]).unwrap();
    assert_eq!((timeout.delay, timeout.answer.unwrap().status), (Duration::from_secs(3), 504));
    assert_eq!(plan("function.throttle", json!({}), &[]).unwrap().answer.unwrap().status, 429);
}
