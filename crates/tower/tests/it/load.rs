//! What users see under load.

use std::time::Duration;

use futures_util::StreamExt;
use squall_tower::Setting;
use squall_tower::file;

use crate::field::{Field, eventually_async, failing, in_future, slow, timed};

/// Many requests, 32 at a time.
async fn load(field: &Field, path: &str, count: usize) -> Vec<(u16, Duration)> {
    futures_util::stream::iter((0..count).map(|_| field.ask(path))).buffer_unordered(32).collect().await
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_share_that_fails_is_within_its_99_percent_interval_and_other_paths_are_untouched() {
    let field = Field::new("checkout").await;
    let _held = field.set(&Setting { paths: vec!["/cart".into()], ..failing("squall-r-1", 0.1, 503) }).await;
    let count = 4_000;
    let answers = load(&field, "/cart", count).await;
    let failed = answers.iter().filter(|(status, _)| *status == 503).count();
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count() + failed, count, "nothing but 200 and 503");
    // 400 ± 2.576 × √(4000 × 0.1 × 0.9) = 48.9. The seed decides, so this is as it is each time.
    assert!((352..=448).contains(&failed), "{failed} of {count} failed");
    assert!(load(&field, "/products", 500).await.iter().all(|(status, _)| *status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_the_path_takes_so_much_longer_and_the_next_after_the_end_does_not() {
    let field = Field::new("checkout").await;
    let bare = median(load(&field, "/cart", 400).await.into_iter().map(|(_, took)| took).collect());
    let held = field.set(&Setting { paths: vec!["/ca*".into()], methods: vec!["GET".into()], ..slow("squall-r-1", 80) }).await;
    let times: Vec<Duration> = load(&field, "/cart", 400).await.into_iter().map(|(_, took)| took).collect();
    assert!(times.iter().all(|took| *took >= Duration::from_millis(80)), "{:?}", times.iter().min());
    let extra = median(times).saturating_sub(bare);
    assert!(extra < Duration::from_millis(110), "{extra:?} more than without, at the median; 80 ms were asked for");
    let others = median(load(&field, "/products", 400).await.into_iter().map(|(_, took)| took).collect());
    assert!(others < Duration::from_millis(80), "{others:?} on a path without a fault");
    file::withdraw(&field.directory(), "squall-r-1").expect("ended");
    drop(held);
    eventually_async("it is as fast as before", || async { field.ask("/cart").await.1 < Duration::from_millis(60) }).await;
    assert_eq!(field.faults.in_force(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_untouched_and_a_made_up_response_says_who_made_it() {
    let field = Field::new("checkout").await;
    let _slow = field.set(&slow("squall-r-1", 20)).await;
    let body = "x".repeat(300_000);
    let ask = || field.client.post(format!("{}/echo", field.url)).body(body.clone()).send();
    let answer = ask().await.expect("answered");
    assert!(answer.headers().get("squall-fault").is_none());
    assert_eq!(answer.text().await.expect("a body"), body);
    let _failing = field.set(&failing("squall-r-2", 1.0, 429)).await;
    let answer = ask().await.expect("answered");
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["squall-fault"], "squall-r-2");
    assert_eq!(answer.text().await.expect("a body"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_faults_add_up_their_delays_and_the_first_failure_counts() {
    let field = Field::new("checkout").await;
    let _one = field.set(&slow("squall-r-1", 40)).await;
    let _two = field.set(&slow("squall-r-2", 40)).await;
    let (status, took) = field.ask("/cart").await;
    assert!(status == 200 && took >= Duration::from_millis(80), "{status} after {took:?}");
    let _three = field.set(&failing("squall-r-3", 1.0, 418)).await;
    let (status, took) = field.ask("/cart").await;
    assert!(status == 418 && took >= Duration::from_millis(80), "{status} after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_obeys_faults_of_its_own_name_alone_and_those_for_all() {
    let field = Field::new("payments").await;
    let _other = file::publish(&field.directory(), &failing("squall-r-1", 1.0, 500)).expect("set");
    // The second is seen after the first.
    let _all = field.set(&Setting { service: "*".into(), paths: vec!["/products".into()], ..failing("squall-r-2", 1.0, 502) }).await;
    assert_eq!(field.ask("/cart").await.0, 200);
    assert_eq!(field.ask("/products").await.0, 502);
    assert!(!field.taken("squall-r-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_in_the_code_fails_and_waits_and_requests_do_not() {
    let field = Field::new("checkout").await;
    assert_eq!(field.faults.point("charge-card").await, Ok(()));
    let _held =
        field.set(&Setting { points: vec!["charge-*".into()], latency: slow("x", 30).latency, ..failing("squall-r-1", 1.0, 402) }).await;
    let from = crate::field::now();
    let error = field.faults.point("charge-card").await.expect_err("it fails");
    assert!(crate::field::now() - from >= Duration::from_millis(30));
    assert_eq!(error.to_string(), "fault squall-r-1 was injected at `charge-card` (status 402)");
    assert_eq!(field.faults.point("refund").await, Ok(()));
    assert_eq!(timed(field.client.get(format!("{}/cart", field.url))).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_force_is_told_with_the_time_that_is_left() {
    let field = Field::new("checkout").await;
    let _held = field.set(&Setting { deadline: in_future(Duration::from_secs(30)), ..slow("squall-r-1", 1) }).await;
    let told = field.faults.in_force();
    assert_eq!(told.len(), 1);
    assert!(told[0].id == "squall-r-1" && told[0].left <= Duration::from_secs(30) && told[0].left > Duration::from_secs(5), "{told:?}");
}
