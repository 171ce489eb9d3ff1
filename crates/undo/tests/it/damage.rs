//! Ledgers that were torn or damaged: never a panic, and what was on disk before the damage is never forgotten.

use proptest::prelude::*;
use serde_json::json;
use squall_model::{InjectionId, RevertedBy, RunId};
use squall_undo::{Entry, Ledger, LedgerView, NewerFormat, StateDir};

use crate::undoer::TestUndoer;

/// A real ledger with six entries, each reverted, and the size of the file after each entry was armed.
fn sample() -> (Vec<u8>, Vec<usize>) {
    let directory = tempfile::tempdir().expect("scratch");
    let state = StateDir::new(directory.path()).expect("state");
    let ledger = Ledger::create(&state, &RunId::new(1_700_000_000_000, 7)).expect("create");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let mut sizes = Vec::new();
    for number in 1..=6 {
        let undo = json!({ "path": "/nonexistent/squall", "text": "line\nwith \"quotes\" and ünicode" });
        let (fault, target, claims) = ("test.file".into(), "process:1:2".into(), vec!["process:1:2".into()]);
        ledger.arm(Entry { injection: InjectionId(number), fault, target, undo, claims, deadline: None }).expect("arm");
        sizes.push(std::fs::read(ledger.path()).expect("read").len());
        runtime.block_on(ledger.revert(InjectionId(number), &TestUndoer, RevertedBy::Engine)).expect("revert");
    }
    (std::fs::read(ledger.path()).expect("read"), sizes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_torn_tail_forgets_nothing_before_it(cut in 0.0..=1.0_f64, junk in proptest::collection::vec(any::<u8>(), 0..40)) {
        let (bytes, sizes) = SAMPLE.get_or_init(sample);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small length")]
        let cut = (bytes.len() as f64 * cut) as usize;
        let mut torn = bytes[..cut].to_vec();
        torn.extend(junk);
        let whole = sizes.iter().filter(|size| **size <= cut).count();
        if let Ok(view) = LedgerView::parse(&torn) {
            prop_assert!(view.entries.len() >= whole);
        }
    }

    #[test]
    fn damage_in_the_middle_forgets_only_what_it_hit(at in any::<prop::sample::Index>(), with in proptest::collection::vec(any::<u8>(), 1..30)) {
        let (bytes, sizes) = SAMPLE.get_or_init(sample);
        let at = at.index(bytes.len());
        let end = (at + with.len()).min(bytes.len());
        let mut damaged = bytes.clone();
        damaged[at..end].copy_from_slice(&with[..end - at]);
        let before = sizes.iter().filter(|size| **size <= at).count();
        let view = LedgerView::parse(&damaged).expect("no newer format comes of chance");
        let numbers: Vec<u32> = view.entries.iter().map(|e| e.armed.entry).collect();
        prop_assert!(numbers.iter().take(before).copied().eq(1..=u32::try_from(before).expect("small")));
        // Thirty bytes are less than one record: they can hit two at most, of which one is the mark of a revert.
        prop_assert!(numbers.len() >= sizes.len() - 1, "{numbers:?}");
        prop_assert!(numbers.contains(&6) || at < sizes[5]);
    }

    #[test]
    fn chance_bytes_are_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = LedgerView::parse(&bytes);
    }
}

static SAMPLE: std::sync::OnceLock<(Vec<u8>, Vec<usize>)> = std::sync::OnceLock::new();

#[test]
fn a_ledger_of_version_1_is_read() {
    let view = LedgerView::parse(include_bytes!("../golden/ledger-v1")).expect("version 1");
    assert_eq!(view.damaged, 1, "the torn record in the middle");
    let states: Vec<_> = view.entries.iter().map(|e| (e.armed.entry, e.is_open(), e.is_outstanding())).collect();
    assert_eq!(states, [(1, false, false), (2, true, false), (3, true, true)]);
    assert_eq!(view.entries[2].armed.deadline, Some(5_000_000));
    assert_eq!(view.entries[2].failures.len(), 1);
    assert_eq!(view.notes.len(), 1);
    assert_eq!(view.closed, Some(RevertedBy::Recover));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let json = br#"{"header":{"version":2,"shape":"unknown"}}"#;
    let mut bytes = format!("\n{:08x} {:08x} ", json.len(), crc32fast::hash(json)).into_bytes();
    bytes.extend_from_slice(json);
    assert_eq!(LedgerView::parse(&bytes), Err(NewerFormat { found: 2 }));
}
