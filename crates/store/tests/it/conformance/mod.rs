//! What every database of a server does, run over each of them.

use std::sync::Arc;
use std::time::Duration;

use squall_engine::BoxFuture;
use squall_store::{Batch, CommitError, Committed, Database, Document, MemoryDatabase, SqliteDatabase, Write};
use squall_testkit::FakeClock;

mod audit;
mod documents;
mod leases;
mod model;
mod runs;

/// A database, and what makes its time pass.
pub struct World {
    pub db: Arc<dyn Database>,
    pub clock: Option<FakeClock>,
}

impl World {
    /// Lets some time pass: at once where the clock is a fake.
    #[expect(clippy::disallowed_methods, reason = "PostgreSQL has a clock of its own")]
    pub async fn tick(&self) {
        match &self.clock {
            Some(clock) => clock.advance(Duration::from_millis(20)),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }

    pub async fn commit(&self, writes: impl Into<Vec<Write>>) -> Result<Committed, CommitError> {
        self.db.commit(Batch::new(writes)).await
    }

    pub async fn get(&self, id: &str) -> Option<Document> {
        self.db.get("thing", id).await.expect("read")
    }
}

/// The suite: every case is a test for the databases that cost nothing to make; PostgreSQL, which does, runs all in one.
macro_rules! suite {
    ($($part:ident::$name:ident,)*) => {
        pub const CASES: &[(&str, for<'a> fn(&'a World) -> BoxFuture<'a, ()>)] =
            &[$((stringify!($name), |world| Box::pin($part::$name(world))),)*];

        mod memory {
            $(#[tokio::test] async fn $name() {
                super::$part::$name(&super::memory_world()).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $name() {
                let directory = tempfile::tempdir().expect("a directory");
                super::$part::$name(&super::sqlite_world(directory.path())).await;
            })*
        }
    };
}

suite! {
    documents::what_is_committed_is_read_back,
    documents::a_batch_is_all_or_nothing,
    documents::a_write_sees_what_the_ones_before_it_left,
    documents::what_was_changed_in_the_meantime_is_not_written_over,
    documents::a_version_is_never_used_again,
    documents::ids_sort_by_their_bytes_and_pages_follow_each_other,
    documents::keys_that_not_every_database_can_keep_are_refused,
    documents::of_many_who_replace_one_version_one_wins,
    documents::no_increment_is_lost_among_many_writers,
    documents::batches_in_opposite_orders_all_come_through,
    documents::watchers_are_told_of_each_change,
    documents::a_watcher_that_is_too_slow_is_told_that_it_missed_something,
    leases::one_holder_at_a_time_and_the_next_when_it_lapses,
    leases::who_lost_a_lease_can_write_no_more,
    leases::a_lease_that_was_given_back_is_free_and_its_fence_void,
    leases::a_holder_that_comes_back_need_not_wait,
    leases::a_lapsed_lease_that_nobody_took_can_be_renewed,
    leases::of_many_who_want_a_lease_one_gets_it,
    audit::rows_are_listed_from_both_ends_and_filtered,
    audit::a_trail_stands_against_a_head_that_was_kept,
    audit::rows_of_many_writers_make_one_chain,
    runs::records_are_read_back_in_parts,
    runs::a_journal_has_no_gaps_and_no_forks,
    runs::runs_are_listed_in_pages_with_what_they_were_begun_with,
    model::every_database_answers_as_the_one_in_memory_does,
}

pub fn memory_world() -> World {
    let clock = FakeClock::default();
    World { db: Arc::new(MemoryDatabase::new(Arc::new(clock.clone()))), clock: Some(clock) }
}

pub fn sqlite_world(directory: &std::path::Path) -> World {
    let clock = FakeClock::default();
    let db = SqliteDatabase::open(&directory.join("squall.db"), Arc::new(clock.clone())).expect("opened");
    World { db: Arc::new(db), clock: Some(clock) }
}

pub fn create(id: &str, body: serde_json::Value) -> Write {
    Write::Create { kind: "thing".into(), id: id.into(), body }
}

pub fn put(id: &str, body: serde_json::Value) -> Write {
    Write::Put { kind: "thing".into(), id: id.into(), body }
}

pub fn replace(id: &str, version: u64, body: serde_json::Value) -> Write {
    Write::Replace { kind: "thing".into(), id: id.into(), version, body }
}

pub fn delete(id: &str, version: Option<u64>) -> Write {
    Write::Delete { kind: "thing".into(), id: id.into(), version }
}
