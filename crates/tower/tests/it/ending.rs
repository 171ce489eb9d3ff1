//! Faults end, whatever happens to whoever set them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use squall_tower::Setting;
use squall_tower::file;

use crate::field::{Field, eventually, eventually_async, failing, in_future, names, now, slow};

/// Set for the child that sets a fault and is killed: the directory.
const CHILD: &str = "SQUALL_TOWER_TEST_DIR";

/// Killed at the end of its test at the latest.
struct Setter(Child);

impl Drop for Setter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the child is this test program, and is killed")]
fn setter(field: &Field) -> Setter {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "ending::the_child_sets_a_fault_and_is_killed", "--nocapture"]).env(CHILD, field.directory());
    Setter(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started"))
}

/// Does nothing in an ordinary run of the tests.
#[tokio::test]
async fn the_child_sets_a_fault_and_is_killed() {
    let Some(directory) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let _held = file::publish(&directory, &failing("squall-r-1", 1.0, 503)).expect("set");
    // Killed long before; and if nobody does, no longer here than the fault.
    let _ = tokio::time::timeout(Duration::from_mins(1), std::future::pending::<()>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_over_as_soon_as_whoever_set_it_is_killed() {
    let field = Field::new("checkout").await;
    let mut setter = setter(&field);
    eventually("it is taken up", || field.taken("squall-r-1")).await;
    assert_eq!(field.ask("/cart").await.0, 503);
    setter.0.kill().expect("killed");
    setter.0.wait().expect("reaped");
    let from = now();
    eventually_async("requests are good again", || async { field.ask("/cart").await.0 == 200 }).await;
    let took = now() - from;
    assert!(took < Duration::from_secs(2), "{took:?}: the lease is 50 ms");
    // The file is still there, and stays without effect.
    assert!(field.directory().join("squall-r-1.fault").exists());
    eventually("nobody obeys it", || !field.taken("squall-r-1")).await;
    assert_eq!(field.ask("/cart").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_over_at_its_deadline_though_whoever_set_it_lives() {
    let field = Field::new("checkout").await;
    let end = now() + Duration::from_millis(700);
    let setting = Setting { deadline: u64::try_from(end.as_nanos()).expect("fits"), ..failing("squall-r-1", 1.0, 503) };
    let _held = field.set(&setting).await;
    let mut failed = 0;
    loop {
        let asked = now();
        let status = field.ask("/cart").await.0;
        if asked >= end {
            assert_eq!(status, 200, "asked {:?} after the deadline", asked - end);
            break;
        }
        failed += usize::from(status == 503);
    }
    assert!(failed > 0, "it was in force before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_held_back_goes_on_when_its_fault_ends() {
    let field = Field::new("checkout").await;
    let held = field.set(&slow("squall-r-1", 60_000)).await;
    let ending = async {
        assert!(tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>()).await.is_err());
        file::withdraw(&field.directory(), "squall-r-1").expect("ended");
        now()
    };
    let ((status, _), ended) = tokio::join!(field.ask("/cart"), ending);
    let late = now() - ended;
    assert!(status == 200 && late < Duration::from_secs(2), "{status} {late:?} after the end");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_a_fault_leaves_nothing_and_ending_it_again_is_no_error() {
    let field = Field::new("checkout").await;
    let held = field.set(&failing("squall-r-1", 1.0, 503)).await;
    let ended = file::withdraw(&field.directory(), "squall-r-1").expect("ended").expect("there was one");
    drop(held);
    eventually("the service lets go", || !ended.is_obeyed().expect("looked at")).await;
    assert!(field.ask("/cart").await.0 == 200, "what lets go does not break any more");
    assert!(file::withdraw(&field.directory(), "squall-r-1").expect("ended before").is_none());
    assert_eq!(names(&field.directory()), [""; 0]);
    eventually_async("requests are good again", || async { field.ask("/cart").await.0 == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_tells_who_obeys_and_that_nobody_does_once_it_is_over() {
    let field = Field::new("checkout").await;
    let held = field.set(&failing("squall-r-1", 1.0, 503)).await;
    let standing = file::look(&field.directory(), "squall-r-1").expect("looked at").expect("there");
    assert_eq!((standing.held, standing.taken, standing.by), (true, true, vec![std::process::id()]));
    drop(held);
    eventually("nobody obeys it", || !field.taken("squall-r-1")).await;
    let standing = file::look(&field.directory(), "squall-r-1").expect("looked at").expect("still there");
    assert_eq!((standing.held, standing.taken, standing.by), (false, false, Vec::new()));
    assert_eq!(file::look(&field.directory(), "squall-r-2").expect("looked at"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_made_anew_is_watched_again() {
    let field = Field::new("checkout").await;
    for round in 1..=2 {
        let id = format!("squall-r-{round}");
        let _held = field.set(&Setting { deadline: in_future(Duration::from_mins(1)), ..failing(&id, 1.0, 503) }).await;
        assert_eq!(field.ask("/cart").await.0, 503);
        std::fs::remove_dir_all(field.directory()).expect("removed");
        eventually_async("requests are good again", || async { field.ask("/cart").await.0 == 200 }).await;
    }
}
