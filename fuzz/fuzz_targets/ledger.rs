//! Any bytes as an undo ledger: never a panic, and bytes behind a ledger never hide an entry that was read without them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squall_undo::LedgerView;

/// A whole ledger of version 1.
const LEDGER: &[u8] = include_bytes!("../../crates/undo/tests/golden/ledger-v1");

fuzz_target!(|data: &[u8]| {
    let alone = LedgerView::parse(data);
    let mut behind = LEDGER.to_vec();
    behind.extend_from_slice(data);
    let known = LedgerView::parse(LEDGER).expect("the golden ledger is read");
    // A header of a newer format behind it is refused, and nothing is said of the entries then.
    if let (Ok(view), Ok(_)) = (LedgerView::parse(&behind), alone) {
        assert!(view.entries.len() >= known.entries.len());
        for (now, then) in view.entries.iter().zip(&known.entries) {
            assert_eq!(now.armed, then.armed);
            assert!(now.is_open() <= then.is_open());
        }
    }
});
