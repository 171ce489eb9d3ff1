//! Random histories, against the database in memory.

use std::mem::discriminant;
use std::time::Duration;

use serde_json::json;
use squall_store::{Batch, CommitError, Database, Document, Fence, List, Write};

use super::{World, create, delete, memory_world, put, replace};
use crate::sample::audit_entry;

/// `SplitMix64`: the same histories everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// A write whose version is still to be found: each database counts in its own way.
#[derive(Debug, Clone)]
enum Sketch {
    Create(String, u64),
    /// Of the present version, or of one that it had before.
    Replace(String, u64, bool),
    Put(String, u64),
    Delete(String, Option<bool>),
    Audit(u64),
}

fn sketch(chance: &mut Chance) -> Sketch {
    let id = ["a", "ab", "b", "B", "ä", "c"][usize::try_from(chance.below(6)).expect("small")].to_owned();
    let body = chance.below(1000);
    match chance.below(9) {
        0 | 1 => Sketch::Create(id, body),
        2 | 3 => Sketch::Replace(id, body, chance.below(4) > 0),
        4 | 5 => Sketch::Put(id, body),
        6 => Sketch::Delete(id, None),
        7 => Sketch::Delete(id, Some(chance.below(4) > 0)),
        _ => Sketch::Audit(body),
    }
}

async fn written(db: &dyn Database, sketch: &Sketch) -> Write {
    let version = async |id: &str, present: bool| {
        let version = db.get("thing", id).await.expect("read").map_or(1, |d| d.version);
        if present { version } else { version - 1 }
    };
    match sketch {
        Sketch::Create(id, body) => create(id, json!(body)),
        Sketch::Replace(id, body, present) => replace(id, version(id, *present).await, json!(body)),
        Sketch::Put(id, body) => put(id, json!(body)),
        Sketch::Delete(id, None) => delete(id, None),
        Sketch::Delete(id, Some(present)) => delete(id, Some(version(id, *present).await)),
        Sketch::Audit(n) => Write::Audit(audit_entry(&n.to_string())),
    }
}

async fn commit(db: &dyn Database, sketches: &[Sketch], fence: Option<Fence>) -> Result<usize, CommitError> {
    let mut writes = Vec::new();
    for sketch in sketches {
        writes.push(written(db, sketch).await);
    }
    Ok(db.commit(Batch { writes, fence, sync: false }).await?.versions.len())
}

async fn content(db: &dyn Database) -> Vec<(String, serde_json::Value)> {
    let all = db.list("thing", &List::default()).await.expect("listed");
    all.into_iter().map(|Document { id, body, .. }| (id, body)).collect()
}

pub async fn every_database_answers_as_the_one_in_memory_does(w: &World) {
    let model = memory_world();
    let (db, model) = (w.db.as_ref(), model.db.as_ref());
    let mut chance = Chance(2026);
    let mut fences: Vec<(Fence, Fence)> = Vec::new();
    for step in 0..600 {
        if chance.below(20) == 0 {
            let (holder, long) = (format!("holder-{}", chance.below(3)), Duration::from_mins(10));
            let given = (db.acquire("x", &holder, long).await.expect("answers"), model.acquire("x", &holder, long).await.expect("answers"));
            assert_eq!(given.0.is_some(), given.1.is_some(), "step {step}: {given:?}");
            fences.extend(given.0.zip(given.1));
        }
        if let Some((one, two)) = fences.last().filter(|_| chance.below(40) == 0) {
            db.release(one).await.expect("answers");
            model.release(two).await.expect("answers");
        }
        let fence = fences.get(usize::try_from(chance.below(60)).expect("small")).cloned().unzip();
        let sketches: Vec<Sketch> = (0..=chance.below(4)).map(|_| sketch(&mut chance)).collect();
        match (commit(db, &sketches, fence.0).await, commit(model, &sketches, fence.1).await) {
            (Ok(one), Ok(two)) => assert_eq!(one, two),
            (Err(CommitError::Store(error)), _) | (_, Err(CommitError::Store(error))) => panic!("step {step}: {error}"),
            (Err(one), Err(two)) => {
                assert_eq!(discriminant(&one), discriminant(&two), "step {step}: {one} and {two}, of {sketches:?}");
                assert_eq!(one.to_string(), two.to_string());
            }
            other => panic!("step {step}: {other:?}, of {sketches:?}"),
        }
        assert_eq!(content(db).await, content(model).await, "step {step}: {sketches:?}");
    }
    assert!(fences.len() > 5, "{}", fences.len());
    // The same entries in the same order: the same chain.
    let (one, two) = (db.audit_verify(None).await.expect("sound"), model.audit_verify(None).await.expect("sound"));
    assert!(one.seq > 40, "{one:?}");
    assert_eq!(one, two);
}
