//! Leases, and what they fence off.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use squall_store::{Batch, BeginRun, CommitError, Fence, LeaseError};

use super::{World, put};
use crate::sample::{first, run, sampled, started};

const LONG: Duration = Duration::from_mins(10);
const SHORT: Duration = Duration::from_millis(100);

async fn acquire(w: &World, name: &str, holder: &str, ttl: Duration) -> Option<Fence> {
    w.db.acquire(name, holder, ttl).await.expect("the database answers")
}

/// Tries until the lease of another has lapsed.
async fn acquire_in_the_end(w: &World, name: &str, holder: &str, ttl: Duration) -> Fence {
    for _ in 0..1000 {
        if let Some(fence) = acquire(w, name, holder, ttl).await {
            return fence;
        }
        w.tick().await;
    }
    panic!("the lease {name} never lapses")
}

pub async fn one_holder_at_a_time_and_the_next_when_it_lapses(w: &World) {
    let first = acquire(w, "leader", "one", SHORT).await.expect("free");
    let third = acquire(w, "leader/x", "three", LONG).await.expect("another lease");
    let second = acquire_in_the_end(w, "leader", "two", LONG).await;
    assert!(second.token > first.token && first.name == "leader");
    assert_eq!(acquire(w, "leader", "one", LONG).await, None);
    let leases = w.db.leases("lead").await.expect("listed");
    let seen: Vec<_> = leases.iter().map(|l| (l.name.as_str(), l.holder.as_str(), l.token)).collect();
    assert_eq!(seen, [("leader", "two", second.token), ("leader/x", "three", third.token)]);
    assert!(leases.iter().all(|l| l.left <= LONG && l.left > LONG / 2), "{leases:?}");
    assert_eq!(w.db.leases("leader/").await.expect("listed").len(), 1);
}

pub async fn who_lost_a_lease_can_write_no_more(w: &World) {
    let old = acquire(w, "leader", "one", SHORT).await.expect("free");
    w.db.commit(Batch::new([put("a", json!("old"))]).fenced(old.clone())).await.expect("held");
    w.db.append(&run(1), &[first(&run(1), "one")], false, Some(&old)).await.expect("held");
    let new = acquire_in_the_end(w, "leader", "two", LONG).await;
    let refused = |outcome: Result<(), CommitError>| matches!(outcome, Err(CommitError::Fenced(fence)) if fence == old);
    assert!(refused(w.db.commit(Batch::new([put("a", json!("late"))]).fenced(old.clone())).await.map(drop)));
    assert!(refused(w.db.commit(Batch::new([]).fenced(old.clone())).await.map(drop)), "even nothing");
    assert!(refused(w.db.append(&run(1), &[sampled(1, 0.0)], true, Some(&old)).await));
    let begin = BeginRun {
        started: started(&run(2), "two"),
        labels: BTreeMap::new(),
        extra: json!(null),
        records: Vec::new(),
        fence: Some(old.clone()),
    };
    assert!(refused(w.db.begin(begin.clone()).await));
    assert!(matches!(w.db.renew(&old, LONG).await, Err(LeaseError::Lost(_))));
    w.db.release(&old).await.expect("nothing happens");
    assert_eq!(w.get("a").await.expect("there").body, json!("old"));
    assert_eq!(w.db.records_from(&run(1), 0, 9).await.expect("read").len(), 1);
    assert!(w.db.run(&run(2)).await.is_err());
    w.db.renew(&new, LONG).await.expect("still held");
    w.db.commit(Batch::new([put("a", json!("new"))]).fenced(new.clone())).await.expect("held");
    w.db.begin(BeginRun { fence: Some(new.clone()), ..begin }).await.expect("held");
    // A fence that was never given.
    let forged = Fence { token: new.token + 1, ..new };
    assert!(matches!(w.db.commit(Batch::new([]).fenced(forged)).await, Err(CommitError::Fenced(_))));
    let unknown = Fence { name: "unknown".into(), token: 1 };
    assert!(matches!(w.db.commit(Batch::new([]).fenced(unknown)).await, Err(CommitError::Fenced(_))));
}

pub async fn a_lease_that_was_given_back_is_free_and_its_fence_void(w: &World) {
    let first = acquire(w, "leader", "one", LONG).await.expect("free");
    w.db.release(&first).await.expect("given back");
    assert!(matches!(w.db.commit(Batch::new([]).fenced(first.clone())).await, Err(CommitError::Fenced(_))));
    assert!(matches!(w.db.renew(&first, LONG).await, Err(LeaseError::Lost(_))));
    let second = acquire(w, "leader", "two", LONG).await.expect("free again");
    assert!(second.token > first.token, "{second:?} after {first:?}");
}

pub async fn a_holder_that_comes_back_need_not_wait(w: &World) {
    let before = acquire(w, "leader", "one", LONG).await.expect("free");
    let after = acquire(w, "leader", "one", LONG).await.expect("its own");
    assert!(after.token > before.token);
    assert!(matches!(w.db.commit(Batch::new([]).fenced(before)).await, Err(CommitError::Fenced(_))));
    w.db.commit(Batch::new([]).fenced(after)).await.expect("held");
}

pub async fn a_lapsed_lease_that_nobody_took_can_be_renewed(w: &World) {
    let fence = acquire(w, "leader", "one", SHORT).await.expect("free");
    while !w.db.leases("").await.expect("listed")[0].left.is_zero() {
        w.tick().await;
    }
    // It cannot do harm: nobody else has been told that they may.
    w.db.commit(Batch::new([]).fenced(fence.clone())).await.expect("nobody else has it");
    w.db.renew(&fence, LONG).await.expect("nobody else has it");
    assert_eq!(acquire(w, "leader", "two", LONG).await, None);
}

pub async fn of_many_who_want_a_lease_one_gets_it(w: &World) {
    for round in 0..10 {
        let name = format!("round-{}", round / 2);
        let holders: Vec<String> = (0..8).map(|n| format!("{round}-{n}")).collect();
        let tries = holders.iter().map(|holder| acquire(w, &name, holder, LONG));
        let got: Vec<Fence> = join_all(tries).await.into_iter().flatten().collect();
        assert_eq!(got.len(), 1, "{got:?}");
        w.db.release(&got[0]).await.expect("given back");
    }
}
