//! Reverts what is still open in the ledger of a run whose engine is gone, or late: for the watchdog, `squall recover` and
//! `squall stop`.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use squall_model::{InjectionId, RevertedBy};

use crate::armed::Armed;
use crate::file::{LedgerError, LedgerFile, now_micros, pause};
use crate::ledger::Undoer;
use crate::record::{ArmedRecord, Record};

/// How long a revert is waited for before the next one begins beside it: an undo that hangs must not hold up the others.
const STAGGER: Duration = Duration::from_millis(200);
/// One try of one undo.
const TRY: Duration = Duration::from_secs(30);
/// Waits between tries of one undo; there is one try more than there are waits.
const BACKOFF: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// The longest wait for somebody else who is reverting the same ledger.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// The injection.
    pub injection: InjectionId,
    /// The kind of fault.
    pub fault: String,
    /// Id of the target.
    pub target: String,
    /// What was done, or why it could not be.
    pub result: Result<String, String>,
}

/// Reverts every open entry of a run whose engine is gone, and closes the ledger if nothing is left. Last armed first; each is
/// tried several times, failures hold up nothing, and everything is recorded.
pub async fn revert_outstanding(run_dir: &Path, undoer: &dyn Undoer, by: RevertedBy) -> Result<Vec<Outcome>, LedgerError> {
    revert_open(&LedgerFile::open(crate::state_dir::ledger_in(run_dir))?, undoer, by).await
}

/// See [`revert_outstanding`].
pub(crate) async fn revert_open(file: &LedgerFile, undoer: &dyn Undoer, by: RevertedBy) -> Result<Vec<Outcome>, LedgerError> {
    let _lock = file.lock(LOCK_PATIENCE).await;
    // Read under the lock: what somebody else has just reverted is not reverted again.
    let view = file.read()?;
    let entries: Vec<ArmedRecord> = view.open().map(|entry| entry.armed.clone()).collect();
    let outcomes = revert_entries(file, entries, undoer, by, true).await;
    if view.closed.is_none() && file.read()?.open().next().is_none() {
        // Nothing is lost if it cannot be written: the next reader finds nothing open either.
        let _ = file.append(&Record::Closed { by, at: now_micros() }).and_then(|()| file.release());
    }
    Ok(outcomes)
}

/// Reverts these entries, given last armed first. `last` says that nothing can touch the targets any more.
pub(crate) async fn revert_entries(
    file: &LedgerFile,
    entries: Vec<ArmedRecord>,
    undoer: &dyn Undoer,
    by: RevertedBy,
    last: bool,
) -> Vec<Outcome> {
    // Within an injection strictly one after another; across injections the next begins when the one before is done or slow.
    let mut order = Vec::new();
    let mut chains: BTreeMap<InjectionId, Vec<ArmedRecord>> = BTreeMap::new();
    for entry in entries {
        chains.entry(entry.injection).or_insert_with_key(|injection| {
            order.push(*injection);
            Vec::new()
        });
        if let Some(chain) = chains.get_mut(&entry.injection) {
            chain.push(entry);
        }
    }
    let mut outcomes = Vec::new();
    let mut running = FuturesUnordered::new();
    for injection in order {
        running.push(revert_chain(file, chains.remove(&injection).unwrap_or_default(), undoer, by, last));
        if let Either::Left((Some(done), _)) = select(running.next(), Box::pin(pause(STAGGER))).await {
            outcomes.extend::<Vec<Outcome>>(done);
        }
    }
    while let Some(done) = running.next().await {
        outcomes.extend(done);
    }
    outcomes
}

async fn revert_chain(file: &LedgerFile, chain: Vec<ArmedRecord>, undoer: &dyn Undoer, by: RevertedBy, last: bool) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(chain.len());
    for entry in chain {
        let result = revert_entry(file, &entry, undoer, by, last).await;
        outcomes.push(Outcome { injection: entry.injection, fault: entry.fault, target: entry.target, result });
    }
    outcomes
}

async fn revert_entry(file: &LedgerFile, entry: &ArmedRecord, undoer: &dyn Undoer, by: RevertedBy, last: bool) -> Result<String, String> {
    let mut waits = BACKOFF.iter();
    loop {
        let armed = Armed::on_disk();
        // One undo that panics must not take the others along.
        let revert = AssertUnwindSafe(undoer.revert(&entry.fault, &entry.undo, &armed)).catch_unwind();
        let tried = tokio::time::timeout(TRY, revert).await;
        let error = match tried {
            Ok(Ok(Ok(how))) => {
                let record = Record::Reverted { entry: entry.entry, by, how: how.clone(), last, at: now_micros() };
                return Ok(match file.append(&record) {
                    Ok(()) => how,
                    Err(error) => format!("{how}; not recorded: {error}"),
                });
            }
            Ok(Ok(Err(error))) => error,
            Ok(Err(_)) => "the undo panicked; that is a defect of Squall".to_owned(),
            Err(_) => format!("no end after {} s", TRY.as_secs()),
        };
        // The outcome tells of it too; the record is for `squall show` alone.
        let _ = file.append(&Record::RevertFailed { entry: entry.entry, by, error: error.clone(), at: now_micros() });
        match waits.next() {
            Some(wait) => pause(*wait).await,
            None => return Err(error),
        }
    }
}
