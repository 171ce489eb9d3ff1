//! Documents.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value as Json, json};
use squall_store::{Batch, Change, Changes, CommitError, List, StoreError, Write};

use super::{World, create, delete, put, replace};
use crate::sample::{audit_entry, first, run};

pub async fn what_is_committed_is_read_back(w: &World) {
    // Texts and numbers that a careless database changes.
    let body = json!({ "z": "\u{0}\u{1f600}\\u0000", "a": [5e-324, 0.1, -0.0, u64::MAX, i64::MIN, null, true], "": {} });
    let version = w.commit([create("one", body.clone())]).await.expect("created").versions[0];
    let document = w.get("one").await.expect("there");
    assert_eq!((document.kind.as_str(), document.id.as_str(), document.version), ("thing", "one", version));
    assert_eq!(document.body, body);
    assert_eq!(document.body.to_string(), body.to_string(), "fields keep their order");
    assert_eq!(document.created, document.updated);
    w.tick().await;
    w.commit([put("one", json!(2)), create("two", json!(3)).of("other")]).await.expect("committed");
    let changed = w.get("one").await.expect("there");
    assert_eq!((changed.created, changed.body), (document.created, json!(2)));
    assert!(changed.updated > document.updated && changed.version > version);
    assert_eq!(w.get("two").await, None, "another kind");
    assert_eq!(w.db.count("other", "").await.expect("counted"), 1);
    w.commit([delete("one", None)]).await.expect("deleted");
    assert_eq!(w.get("one").await, None);
    w.db.ping().await.expect("it answers");
}

/// The same write to a document of another kind.
trait Of {
    fn of(self, kind: &str) -> Self;
}

impl Of for Write {
    fn of(mut self, other: &str) -> Self {
        if let Write::Create { kind, .. } | Write::Replace { kind, .. } | Write::Put { kind, .. } | Write::Delete { kind, .. } = &mut self {
            other.clone_into(kind);
        }
        self
    }
}

pub async fn a_batch_is_all_or_nothing(w: &World) {
    w.commit([create("old", json!(1))]).await.expect("created");
    let before = w.get("old").await;
    let writes = [put("new", json!(1)), put("old", json!(2)), Write::Audit(audit_entry("x")), create("old", json!(3))];
    match w.commit(writes).await {
        Err(CommitError::Conflict { index: 3, kind, id }) => assert_eq!((kind.as_str(), id.as_str()), ("thing", "old")),
        other => panic!("{other:?}"),
    }
    assert_eq!((w.get("new").await, w.get("old").await), (None, before));
    assert_eq!(w.db.audit(None, 9, &squall_store::AuditFilter::default()).await.expect("read"), []);
    assert_eq!(w.db.audit_verify(None).await.expect("sound").seq, 0);
    assert_eq!(w.commit([]).await.expect("nothing").versions, [0; 0]);
}

pub async fn a_write_sees_what_the_ones_before_it_left(w: &World) {
    let writes = [create("a", json!(1)), put("a", json!(2)), delete("a", None), create("a", json!(3)), put("b", json!(4))];
    let versions = w.commit(writes).await.expect("committed").versions;
    assert_eq!(versions[2], versions[1], "what was deleted");
    assert_eq!(w.get("a").await.map(|d| (d.version, d.body)), Some((versions[3], json!(3))));
    assert!(matches!(w.commit([delete("b", None), delete("b", None)]).await, Err(CommitError::NotFound { index: 1, .. })));
    assert_eq!(w.get("b").await.map(|d| d.version), Some(versions[4]));
}

pub async fn what_was_changed_in_the_meantime_is_not_written_over(w: &World) {
    let first = w.commit([create("a", json!(1))]).await.expect("created").versions[0];
    let second = w.commit([replace("a", first, json!(2))]).await.expect("replaced").versions[0];
    for stale in [create("a", json!(0)), replace("a", first, json!(0)), delete("a", Some(first)), replace("a", second + 1, json!(0))] {
        assert!(matches!(w.commit([stale.clone()]).await, Err(CommitError::Conflict { index: 0, .. })), "{stale:?}");
    }
    for missing in [replace("b", first, json!(0)), delete("b", Some(first)), delete("b", None)] {
        assert!(matches!(w.commit([missing.clone()]).await, Err(CommitError::NotFound { index: 0, .. })), "{missing:?}");
    }
    assert_eq!(w.get("a").await.map(|d| (d.version, d.body)), Some((second, json!(2))));
    w.commit([delete("a", Some(second))]).await.expect("deleted");
}

pub async fn a_version_is_never_used_again(w: &World) {
    let mut last = 0;
    for _ in 0..3 {
        let version = w.commit([create("a", json!(1))]).await.expect("created").versions[0];
        assert!(version > last, "{version} after {last}");
        if last > 0 {
            assert!(matches!(w.commit([replace("a", last, json!(2))]).await, Err(CommitError::Conflict { .. })));
        }
        last = version;
        w.commit([delete("a", Some(version))]).await.expect("deleted");
    }
}

pub async fn ids_sort_by_their_bytes_and_pages_follow_each_other(w: &World) {
    // Order of bytes, which is none that people use.
    let letters = [
        "%",
        "-",
        "B",
        "_",
        "a",
        "a b",
        "a-",
        "aB",
        "ab",
        "ab\u{d7ff}",
        "ab\u{d7ff}x",
        "ab\u{e000}",
        "ab\u{10ffff}",
        "ab\u{10ffff}\u{10ffff}x",
        "ac",
        "z",
        "ä",
        "\u{10ffff}",
        "\u{10ffff}a",
    ];
    let mut ids: Vec<&str> = letters.to_vec();
    ids.sort_unstable();
    w.commit(letters.iter().rev().map(|id| create(id, json!(id))).collect::<Vec<_>>()).await.expect("created");
    w.commit([create("aa", json!(0)).of("thin"), create("aa", json!(0)).of("things")]).await.expect("created");
    let list = |list: List| async move { w.db.list("thing", &list).await.expect("listed").into_iter().map(|d| d.id).collect::<Vec<_>>() };
    assert_eq!(list(List::default()).await, ids);
    for prefix in ["", "a", "ab", "ab\u{d7ff}", "ab\u{10ffff}", "\u{10ffff}", "_", "%", "q", "a "] {
        let matching: Vec<&str> = ids.iter().copied().filter(|id| id.starts_with(prefix)).collect();
        assert_eq!(w.db.count("thing", prefix).await.expect("counted"), matching.len() as u64, "{prefix}");
        for descending in [false, true] {
            let mut expected = matching.clone();
            if descending {
                expected.reverse();
            }
            assert_eq!(list(List { descending, ..List::prefix(prefix) }).await, expected, "{prefix}");
            let mut paged = Vec::new();
            loop {
                let page = List { after: paged.last().cloned(), limit: Some(2), descending, prefix: prefix.into() };
                let page = list(page).await;
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            assert_eq!(paged, expected, "{prefix} in pages");
        }
    }
    // After what does not exist, and after what cannot.
    for after in ["ab\0", "ab\0x"] {
        let list = |descending| list(List { after: Some(after.into()), limit: Some(1), descending, ..List::default() });
        assert_eq!((list(false).await, list(true).await), (vec!["ab\u{d7ff}".to_owned()], vec!["ab".to_owned()]), "{after:?}");
    }
    assert_eq!(list(List::prefix("a\0")).await, [""; 0]);
    assert_eq!(list(List { after: Some("aC".into()), limit: Some(1), ..List::default() }).await, ["ab"]);
    assert_eq!(list(List { after: Some("aC".into()), limit: Some(1), descending: true, ..List::default() }).await, ["aB"]);
}

pub async fn keys_that_not_every_database_can_keep_are_refused(w: &World) {
    for bad in ["", "a\0b", &"x".repeat(513)] {
        for write in [create(bad, json!(1)), create("a", json!(1)).of(bad), delete(bad, None)] {
            let refused = w.commit([write]).await;
            assert!(matches!(refused, Err(CommitError::Store(StoreError::BadKey { .. }))), "{bad:?}: {refused:?}");
        }
        assert!(matches!(w.db.acquire(bad, "me", Duration::from_secs(1)).await, Err(StoreError::BadKey { .. })));
    }
    let longest = "ä".repeat(256);
    w.commit([create(&longest, json!(1))]).await.expect("kept");
    assert_eq!(w.get(&longest).await.expect("there").id, longest);
    // What cannot have been kept is not there, and that is no error.
    assert_eq!((w.get("a\0b").await, w.get("").await), (None, None));
    assert_eq!(w.db.count("thing", "a\0").await.expect("counted"), 0);
}

pub async fn of_many_who_replace_one_version_one_wins(w: &World) {
    let mut version = w.commit([create("a", json!("nobody"))]).await.expect("created").versions[0];
    for _ in 0..5 {
        let tries = (0..12).map(|n| async move { (n, w.commit([replace("a", version, json!(n))]).await) });
        let mut won = Vec::new();
        for (n, outcome) in join_all(tries).await {
            match outcome {
                Ok(committed) => won.push((n, committed.versions[0])),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let document = w.get("a").await.expect("there");
        assert_eq!(won.iter().map(|(n, version)| (json!(n), *version)).collect::<Vec<_>>(), [(document.body, document.version)]);
        version = document.version;
    }
}

pub async fn no_increment_is_lost_among_many_writers(w: &World) {
    w.commit([create("sum", json!(0))]).await.expect("created");
    join_all((0..8).map(|_| async move {
        for _ in 0..6 {
            loop {
                let document = w.get("sum").await.expect("there");
                let next = json!(document.body.as_u64().expect("a number") + 1);
                match w.commit([replace("sum", document.version, next)]).await {
                    Ok(_) => break,
                    Err(CommitError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }))
    .await;
    assert_eq!(w.get("sum").await.expect("there").body, json!(48));
}

pub async fn batches_in_opposite_orders_all_come_through(w: &World) {
    let ids: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    let forth: Vec<Write> = ids.iter().map(|id| put(id, json!("forth"))).collect();
    let back: Vec<Write> = ids.iter().rev().map(|id| put(id, json!("back"))).collect();
    for _ in 0..10 {
        let both = (0..8).map(|n| w.commit(if n % 2 == 0 { forth.clone() } else { back.clone() }));
        for outcome in join_all(both).await {
            outcome.expect("committed");
        }
        let bodies: Vec<Json> = w.db.list("thing", &List::default()).await.expect("listed").into_iter().map(|d| d.body).collect();
        assert!(bodies.iter().all(|body| *body == bodies[0]), "halves of two batches: {bodies:?}");
    }
}

async fn told(changes: &mut Changes) -> Change {
    tokio::time::timeout(Duration::from_secs(20), changes.next()).await.expect("in time").expect("the database lives")
}

pub async fn watchers_are_told_of_each_change(w: &World) {
    w.commit([create("before", json!(1))]).await.expect("created");
    let (mut one, mut two) = (w.db.watch(), w.db.watch());
    // Where changes come over a connection, that may be telling of what was before.
    w.commit([create("mark", json!(1))]).await.expect("created");
    let change = |id: &str| Change::Document { kind: "thing".into(), id: id.into() };
    for changes in [&mut one, &mut two] {
        while told(changes).await != change("mark") {}
    }
    let awkward = "\u{1}\u{7f}\"'\\ä".repeat(40);
    w.commit([create(&awkward, json!(1)), Write::Audit(audit_entry("x")), delete("before", None)]).await.expect("committed");
    assert!(w.commit([put("never", json!(1)), create("mark", json!(1))]).await.is_err());
    w.db.append(&run(1), &[first(&run(1), "one")], false, None).await.expect("appended");
    for changes in [&mut one, &mut two] {
        let mut seen = Vec::new();
        while seen.last() != Some(&Change::Run(run(1))) {
            seen.push(told(changes).await);
        }
        assert_eq!(seen, [change(&awkward), change("before"), Change::Run(run(1))]);
    }
}

pub async fn a_watcher_that_is_too_slow_is_told_that_it_missed_something(w: &World) {
    let mut changes = w.db.watch();
    for batch in 0..4 {
        let writes: Vec<Write> = (0..500).map(|n| put(&format!("{batch}-{n}"), json!(1))).collect();
        w.db.commit(Batch::new(writes).unsynced()).await.expect("committed");
    }
    w.commit([put("last", json!(1))]).await.expect("committed");
    let mut told = w.db.watch();
    drop(w.commit([put("mark", json!(1))]).await.expect("committed"));
    // By now the first watcher's buffer has run over.
    while self::told(&mut told).await != (Change::Document { kind: "thing".into(), id: "mark".into() }) {}
    assert_eq!(self::told(&mut changes).await, Change::Missed);
}
