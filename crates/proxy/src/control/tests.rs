//! Proxies by name against a model of what they should be, and time boxes.

use std::collections::BTreeMap;
use std::sync::mpsc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::toxic::Direction;

fn control() -> Control {
    Control::start(&Options { workers: 1, seed: 1, events: 100, ..Options::default() }).unwrap()
}

fn latency(name: &str, stream: &str) -> NewToxic {
    let attributes = json!({"latency": 1}).as_object().unwrap().clone();
    NewToxic { name: name.into(), stream: stream.into(), ..NewToxic::new("latency", attributes) }
}

#[test]
fn toxics_are_listed_upstream_first_and_in_order_of_insertion() {
    let control = control();
    let proxy = control.proxy("p", "127.0.0.1:1").unwrap();
    for (name, stream) in [("a", "downstream"), ("b", "upstream"), ("c", ""), ("d", "UPSTREAM")] {
        control.add_toxic("p", latency(name, stream)).unwrap();
    }
    let names: Vec<_> = proxy.info().unwrap().toxics.into_iter().map(|toxic| toxic.spec.name).collect();
    assert_eq!(names, ["b", "d", "a", "c"]);
}

#[test]
fn the_first_error_is_the_one_that_clients_of_toxiproxy_know() {
    let control = control();
    control.proxy("p", "127.0.0.1:1").unwrap();
    control.add_toxic("p", latency("a", "")).unwrap();
    let error = |new: NewToxic| control.add_toxic("p", new).unwrap_err().to_string();
    let bad = |kind: &str, stream: &str| NewToxic { kind: kind.into(), ..latency("a", stream) };
    assert_eq!(error(bad("none", "sideways")), "stream was invalid, can be either upstream or downstream");
    assert_eq!(error(bad("none", "")), "invalid toxic type");
    assert_eq!(error(bad("latency", "")), "toxic already exists");
    assert_eq!(control.add_toxic("q", latency("a", "")).unwrap_err().to_string(), "proxy not found");
    let twice = control.create(NewProxy { listen: "nowhere".into(), ..NewProxy::new("p", "127.0.0.1:1") });
    assert_eq!(twice.unwrap_err().to_string(), "proxy already exists");
}

#[test]
fn a_time_box_ends_by_itself_and_only_what_it_was_for() {
    let (sender, notices) = mpsc::channel();
    let control = Control::start_with(&Options { workers: 1, seed: 1, events: 0, ..Options::default() }, Notices::to(sender)).unwrap();
    let proxy = control.proxy("p", "127.0.0.1:1").unwrap();
    control.add_toxic("p", latency("stays", "")).unwrap();
    control.add_toxic("p", NewToxic { time_box: Some(Time::from_secs(3600)), ..latency("long", "") }).unwrap();
    control.add_toxic("p", NewToxic { time_box: Some(Time::from_millis(30)), ..latency("goes", "") }).unwrap();
    let update = ToxicUpdate { time_box: Some(Time::from_millis(20)), ..ToxicUpdate::default() };
    control.update_toxic("p", "long", &update).unwrap();
    let patience = std::time::Duration::from_secs(20);
    let expired: Vec<_> = std::iter::from_fn(|| notices.recv_timeout(patience).ok())
        .filter_map(|notice| if let Notice::Expired { name, .. } = notice { Some(name) } else { None })
        .take(2)
        .collect();
    assert!(expired.contains(&"goes".to_owned()) && expired.contains(&"long".to_owned()), "{expired:?}");
    let names: Vec<_> = proxy.info().unwrap().toxics.into_iter().map(|toxic| toxic.spec.name).collect();
    assert_eq!(names, ["stays"]);
}

#[test]
fn moving_a_proxy_keeps_its_toxics_and_frees_its_port() {
    let control = control();
    let proxy = control.proxy("p", "127.0.0.1:1").unwrap();
    proxy.toxic("latency:latency=5").unwrap();
    let before = proxy.listen().unwrap();
    let moved = control.update("p", &ProxyUpdate { listen: Some("localhost:0".into()), ..ProxyUpdate::default() }).unwrap();
    assert_ne!(moved.listen, before);
    assert_eq!((moved.toxics.len(), moved.enabled), (1, true));
    assert!(std::net::TcpListener::bind(&before).is_ok());
    let same = control.update("p", &ProxyUpdate { listen: Some(moved.listen.clone()), ..ProxyUpdate::default() }).unwrap();
    assert_eq!(same, moved);
}

#[test]
fn a_proxy_that_cannot_move_is_disabled_where_it_was_sent() {
    let control = control();
    let (first, second) = (control.proxy("a", "127.0.0.1:1").unwrap(), control.proxy("b", "127.0.0.1:1").unwrap());
    let taken = first.listen().unwrap();
    let error = control.update("b", &ProxyUpdate { listen: Some(taken.clone()), ..ProxyUpdate::default() }).unwrap_err();
    assert_eq!(error.to_string(), format!("listen tcp {taken}: bind: address already in use"));
    let info = second.info().unwrap();
    assert_eq!((info.listen, info.enabled), (taken, false));
}

#[test]
fn populate_leaves_what_is_the_same_and_checks_all_before_it_makes_any() {
    let control = control();
    let proxy = control.proxy("p", "127.0.0.1:1").unwrap();
    proxy.toxic("latency:latency=5").unwrap();
    let listen = proxy.listen().unwrap();
    let same = NewProxy { listen: listen.clone(), ..NewProxy::new("p", "127.0.0.1:1") };
    assert_eq!(control.populate(vec![same.clone()]).unwrap()[0].toxics.len(), 1);
    let with = NewProxy { toxics: vec![latency("x", ""), latency("y", "")], ..same.clone() };
    assert_eq!(control.populate(vec![with]).unwrap()[0].toxics.len(), 2);
    let other = NewProxy { upstream: "127.0.0.1:2".into(), ..same };
    assert_eq!(control.populate(vec![other.clone()]).unwrap()[0].toxics.len(), 0);
    let bad = NewProxy { toxics: vec![latency("x", "sideways")], ..NewProxy::new("new", "127.0.0.1:1") };
    let (made, error) = control.populate(vec![NewProxy::new("early", "127.0.0.1:1"), bad]).unwrap_err();
    assert_eq!((made.len(), error.to_string().as_str()), (0, "stream was invalid, can be either upstream or downstream at proxy 2"));
    assert_eq!(control.list().len(), 1);
}

#[test]
fn an_upstream_that_is_none_is_refused_before_anything_listens() {
    let control = control();
    assert_eq!(control.proxy("p", "nowhere").unwrap_err().to_string(), "upstream address nowhere: missing port in address");
    assert!(control.list().is_empty());
}

#[derive(Debug, Clone)]
enum Act {
    Create(u8),
    Delete(u8),
    Enable(u8, bool),
    Add(u8, u8, bool),
    Remove(u8, u8),
    Move(u8),
    Reset,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..3_u8).prop_map(Act::Create),
        (0..3_u8).prop_map(Act::Delete),
        (0..3_u8, any::<bool>()).prop_map(|(p, on)| Act::Enable(p, on)),
        (0..3_u8, 0..4_u8, any::<bool>()).prop_map(|(p, t, up)| Act::Add(p, t, up)),
        (0..3_u8, 0..4_u8).prop_map(|(p, t)| Act::Remove(p, t)),
        (0..3_u8).prop_map(Act::Move),
        Just(Act::Reset),
    ]
}

#[derive(Debug, Default)]
struct Model {
    enabled: bool,
    toxics: Vec<(String, Direction)>,
}

fn apply(model: &mut BTreeMap<String, Model>, control: &Control, act: &Act) {
    let name = |p: &u8| format!("p{p}");
    match act {
        Act::Create(p) => {
            let made = control.proxy(&name(p), "127.0.0.1:1");
            assert_eq!(made.is_ok(), !model.contains_key(&name(p)));
            model.entry(name(p)).or_insert(Model { enabled: true, toxics: Vec::new() });
        }
        Act::Delete(p) => assert_eq!(control.delete(&name(p)).is_ok(), model.remove(&name(p)).is_some()),
        Act::Enable(p, on) => {
            let done = control.update(&name(p), &ProxyUpdate { enabled: Some(*on), ..ProxyUpdate::default() });
            let known = model.get_mut(&name(p));
            assert_eq!(done.is_ok(), known.is_some());
            if let Some(known) = known {
                known.enabled = *on;
            }
        }
        Act::Add(p, t, up) => {
            let stream = if *up { Direction::Upstream } else { Direction::Downstream };
            let done = control.add_toxic(&name(p), latency(&format!("t{t}"), if *up { "upstream" } else { "downstream" }));
            let free = model.get(&name(p)).is_some_and(|known| !known.toxics.iter().any(|(n, _)| *n == format!("t{t}")));
            assert_eq!(done.is_ok(), free);
            if free {
                model.get_mut(&name(p)).unwrap().toxics.push((format!("t{t}"), stream));
            }
        }
        Act::Remove(p, t) => {
            let known = model.get_mut(&name(p)).map(|known| {
                let before = known.toxics.len();
                known.toxics.retain(|(n, _)| *n != format!("t{t}"));
                before != known.toxics.len()
            });
            assert_eq!(control.remove_toxic(&name(p), &format!("t{t}")).is_ok(), known == Some(true));
        }
        Act::Move(p) => {
            let update = ProxyUpdate { listen: Some("127.0.0.1:0".into()), ..ProxyUpdate::default() };
            assert_eq!(control.update(&name(p), &update).is_ok(), model.contains_key(&name(p)));
        }
        Act::Reset => {
            control.reset().unwrap();
            for known in model.values_mut() {
                *known = Model { enabled: true, toxics: Vec::new() };
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_done_the_proxies_are_what_a_model_says(acts in prop::collection::vec(act(), 1..30)) {
        let control = control();
        let mut model = BTreeMap::new();
        for act in &acts {
            apply(&mut model, &control, act);
            let list = control.list();
            prop_assert_eq!(list.iter().map(|p| &p.name).collect::<Vec<_>>(), model.keys().collect::<Vec<_>>());
            for (info, known) in list.iter().zip(model.values()) {
                prop_assert_eq!(info.enabled, known.enabled);
                prop_assert_eq!(std::net::TcpStream::connect(&info.listen).is_ok(), known.enabled);
                let mut toxics = known.toxics.clone();
                toxics.sort_by_key(|(_, stream)| *stream);
                let found: Vec<_> = info.toxics.iter().map(|t| (t.spec.name.clone(), t.spec.stream)).collect();
                prop_assert_eq!(found, toxics);
            }
        }
    }
}

#[test]
fn rules_answer_requests_are_counted_and_end_with_their_time() {
    use std::io::{Read, Write};
    let control = control();
    // Nobody is there: only what the rule answers itself is an answer of this kind.
    let proxy = control.proxy("p", "127.0.0.1:1").unwrap();
    let status = || {
        let mut client = std::net::TcpStream::connect(proxy.listen().unwrap()).unwrap();
        client.write_all(b"GET /no HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer);
        answer.split(' ').nth(1).map(str::to_owned)
    };
    proxy.rule("http.abort:status=418;path=/no;name=teapot").unwrap();
    assert_eq!(status().as_deref(), Some("418"));
    let arms = proxy.rule_counters("teapot");
    assert_eq!((arms.matched, arms.injected, arms.control), (1, 1, 0));
    assert!(proxy.rule("http.abort:status=418;name=teapot").unwrap_err().to_string().contains("already exists"));
    assert!(proxy.rule("http.nonsense").is_err());
    let off = control.proxy("off", "127.0.0.1:1").unwrap();
    off.disable().unwrap();
    assert!(off.rule("http.nonsense").is_err());
    proxy.remove_rule("teapot").unwrap();
    assert_ne!(status().as_deref(), Some("418"));

    proxy.rule("http.abort:status=418;for=20ms").unwrap();
    let deadline = crate::time::now() + std::time::Duration::from_secs(20);
    while !proxy.info().unwrap().rules.is_empty() {
        assert!(crate::time::now() < deadline, "the rule is still there");
        std::thread::yield_now();
    }
    assert_ne!(status().as_deref(), Some("418"));
}
