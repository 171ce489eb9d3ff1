//! When things are tried, and tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use squall_notify::{DeliveryState, EventKind, Notice, delivery_id};
use squall_store::MemoryDatabase;
use squall_testkit::{FakeClock, in_time};

use crate::receiver::{Receiver, answer};
use crate::{Bench, WEBHOOK_SECRET, notice};

async fn hook(bench: &Bench, name: &str, receiver: &Receiver, more: Value) {
    let secret = bench.secret("hook", WEBHOOK_SECRET);
    let mut body = json!({ "to": { "webhook": { "url": receiver.url(&format!("/{name}")), "secret": secret } } });
    let Value::Object(more) = more else { panic!("an object") };
    body.as_object_mut().expect("an object").extend(more);
    bench.channel(name, body).await;
}

fn numbered(count: usize) -> Vec<Notice> {
    let one = |n: usize| {
        let mut notice = notice(&format!("n{n}"), EventKind::RunStarted);
        notice.sequence = n as u64;
        notice
    };
    (0..count).map(one).collect()
}

async fn state(bench: &Bench, id: &str, wanted: DeliveryState) {
    let end = bench.clock.now() + Duration::from_secs(20);
    loop {
        let known = bench.outbox.get(id).await.expect("read").expect("known").value;
        if known.state == wanted {
            return;
        }
        assert!(bench.clock.now() < end, "{known:?}");
        bench.clock.sleep_until(bench.clock.now() + Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_fails_is_tried_again_with_the_same_id_until_it_arrives() {
    let bench = Bench::new();
    let receiver = Receiver::answering(|index, _| answer(if index < 3 { 503 } else { 200 })).await;
    hook(&bench, "hook", &receiver, json!({ "retry": { "base": "100ms", "cap": "200ms" } })).await;
    let what = notice("n1", EventKind::RunStarted);
    bench.tell(&what).await;
    bench.tell(&what).await;
    let _delivering = bench.deliver();
    let got = receiver.gets(4).await;
    let id = delivery_id("hook", &what);
    assert!(got.iter().all(|got| got.headers["webhook-id"] == id));
    state(&bench, &id, DeliveryState::Delivered).await;
    let delivery = bench.outbox.get(&id).await.expect("read").expect("known").value;
    let statuses: Vec<_> = delivery.attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [Some(503), Some(503), Some(503), Some(200)]);
    assert!(delivery.attempts[0].error.as_deref().is_some_and(|error| error.contains("503")), "{delivery:?}");
}

#[tokio::test]
async fn what_cannot_work_or_has_failed_too_often_is_a_dead_letter_that_can_be_delivered_again() {
    let bench = Bench::new();
    let works = Arc::new(AtomicBool::new(false));
    let now_works = works.clone();
    let receiver = Receiver::answering(move |_, got| match (works.load(Ordering::SeqCst), got.path.as_str()) {
        (true, _) => answer(200),
        (false, "/gone") => answer(410),
        (false, _) => answer(500),
    })
    .await;
    let retry = json!({ "retry": { "tries": 3, "base": "100ms", "cap": "100ms" } });
    hook(&bench, "gone", &receiver, retry.clone()).await;
    hook(&bench, "broken", &receiver, retry).await;
    let what = notice("n1", EventKind::RunStarted);
    bench.tell(&what).await;
    let (gone, broken) = (delivery_id("gone", &what), delivery_id("broken", &what));
    let delivering = bench.deliver();
    state(&bench, &gone, DeliveryState::Dead).await;
    state(&bench, &broken, DeliveryState::Dead).await;
    let tries = |path: &str| receiver.got().iter().filter(|got| got.path == path).count();
    assert_eq!((tries("/gone"), tries("/broken")), (1, 3));
    let dead = bench.outbox.list(None, Some(DeliveryState::Dead), None, 10).await.expect("listed");
    assert_eq!(dead.items.len(), 2);
    let one = bench.outbox.list(Some("gone"), Some(DeliveryState::Dead), None, 10).await.expect("listed");
    assert_eq!(one.items[0].id, gone);
    now_works.store(true, Ordering::SeqCst);
    bench.outbox.redeliver(&gone, bench.wall()).await.expect("known");
    state(&bench, &gone, DeliveryState::Delivered).await;
    let left = bench.outbox.list(None, Some(DeliveryState::Dead), None, 10).await.expect("listed");
    assert_eq!(left.items.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [broken.as_str()]);
    bench.outbox.discard(&broken).await.expect("known");
    assert!(bench.outbox.list(None, None, None, 10).await.expect("listed").items.iter().all(|one| one.id != broken));
    drop(delivering);
}

#[tokio::test]
async fn notices_about_one_run_arrive_in_order_and_a_channel_that_hangs_delays_no_other() {
    let bench = Bench::new();
    let receiver = Receiver::answering(|index, got| answer(if got.path == "/flaky" && index % 2 == 0 { 500 } else { 200 })).await;
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", hangs.local_addr().expect("an address"));
    let slow = json!({ "to": { "slack": { "url": bench.secret("slow", &url) } }, "timeout": "60s" });
    bench.channel("slow", slow).await;
    hook(
        &bench,
        "flaky",
        &receiver,
        json!({ "retry": { "tries": 50, "base": "100ms", "cap": "100ms" }, "rate": { "perMinute": 6000, "burst": 100 } }),
    )
    .await;
    for notice in numbered(8) {
        bench.tell(&notice).await;
    }
    let _delivering = bench.deliver();
    let last = delivery_id("flaky", &numbered(8)[7]);
    state(&bench, &last, DeliveryState::Delivered).await;
    let mut order: Vec<u64> = receiver.got().iter().map(|got| got.json()["data"]["sequence"].as_u64().expect("a number")).collect();
    order.dedup();
    assert_eq!(order, (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_channel_takes_no_more_than_it_says_and_a_paused_one_nothing() {
    let clock = FakeClock::default();
    let bench = Bench::with(Arc::new(clock.clone()), Arc::new(MemoryDatabase::new(Arc::new(clock.clone()))), Vec::new());
    let receiver = Receiver::start().await;
    hook(&bench, "hook", &receiver, json!({ "rate": { "perMinute": 60, "burst": 2 } })).await;
    for notice in numbered(4) {
        bench.tell(&notice).await;
    }
    let delivering = bench.deliver();
    receiver.gets(2).await;
    // Nothing moves until the clock does: the third has no token.
    in_time("it waits", || if clock.waiting() > 0 { Ok(()) } else { Err("nobody waits".into()) }).await;
    assert_eq!(receiver.got().len(), 2);
    clock.advance(Duration::from_secs(1));
    receiver.gets(3).await;
    hook(&bench, "hook", &receiver, json!({ "paused": true })).await;
    bench.tell(&notice("while paused", EventKind::RunStarted)).await;
    clock.advance(Duration::from_mins(1));
    drop(delivering);
    let waiting = bench.outbox.list(None, Some(DeliveryState::Pending), None, 10).await.expect("listed").items;
    assert!(waiting.len() <= 1 && waiting.iter().all(|one| one.notice.id == "n3"), "{waiting:?}");
}

#[tokio::test]
async fn a_receiver_gets_the_time_that_it_asks_for() {
    let clock = FakeClock::default();
    let bench = Bench::with(Arc::new(clock.clone()), Arc::new(MemoryDatabase::new(Arc::new(clock.clone()))), Vec::new());
    let receiver = Receiver::answering(|index, _| {
        let mut answer = answer(if index == 0 { 429 } else { 200 });
        answer.headers_mut().insert("retry-after", "3600".parse().expect("a header"));
        answer
    })
    .await;
    hook(&bench, "hook", &receiver, json!({ "retry": { "base": "1s", "cap": "1s" } })).await;
    let what = notice("n1", EventKind::RunStarted);
    bench.tell(&what).await;
    let _delivering = bench.deliver();
    receiver.gets(1).await;
    let id = delivery_id("hook", &what);
    let due = bench.wall() + Duration::from_hours(1);
    loop {
        let known = bench.outbox.get(&id).await.expect("read").expect("known").value;
        if known.attempts[0].error.is_some() {
            assert_eq!(known.not_before, due);
            break;
        }
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(3599));
    in_time("it waits again", || if clock.waiting() > 0 { Ok(()) } else { Err("nobody waits".into()) }).await;
    assert_eq!(receiver.got().len(), 1);
    clock.advance(Duration::from_secs(2));
    receiver.gets(2).await;
}

#[tokio::test]
async fn a_delivery_whose_channel_is_gone_is_given_up() {
    let (bench, receiver) = (Bench::new(), Receiver::start().await);
    let what = notice("n1", EventKind::RunStarted);
    bench.outbox.add_for("gone", &what, bench.wall()).await.expect("written");
    let _delivering = bench.deliver();
    state(&bench, &delivery_id("gone", &what), DeliveryState::Dead).await;
    assert_eq!(receiver.got().len(), 0);
}
