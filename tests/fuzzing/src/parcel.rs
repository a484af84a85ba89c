//! Any bytes as a parcel that a node sends a collector: each entry is taken, known or refused, none is taken twice, none is of
//! another node, and the ledger can be read and verified afterwards.

use ledger::{EntryFilter, Ledger, Parcel, Reader};
use std::cell::RefCell;

/// A moment of 2026, in microseconds.
const NOW: u64 = 1_780_000_000_000_000;

thread_local! {
    /// A ledger in a file of its own, for each thread; parcels of a run add up in it.
    static LEDGER: RefCell<(tempfile::TempDir, Ledger, usize)> = RefCell::new(fresh());
}

fn fresh() -> (tempfile::TempDir, Ledger, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, _) = Ledger::open(&folder.path().join("ledger")).expect("a ledger");
    (folder, ledger, 0)
}

pub(crate) fn run(bytes: &[u8]) {
    let Ok(mut parcel) = serde_json::from_slice::<Parcel>(bytes) else { return };
    // It is the certificate that says who sends.
    "node-a".clone_into(&mut parcel.node);
    LEDGER.with_borrow_mut(|(folder, ledger, count)| {
        *count += 1;
        if *count > 200 {
            (*folder, *ledger, *count) = fresh();
        }
        let all = parcel.entries.len() as u64;
        let Ok(receipt) = ledger.join(&parcel, NOW) else { return };
        assert_eq!(receipt.taken + receipt.known + receipt.refused, all);
        let again = ledger.join(&parcel, NOW).expect("the same again");
        assert_eq!(again.taken, 0, "nothing is taken twice");
        let reader = Reader::open(&folder.path().join("ledger")).expect("it can be read");
        let kept =
            reader.entries(&EntryFilter { limit: Some(50), ..EntryFilter::default() }).expect("entries");
        assert!(kept.iter().all(|stored| &*stored.entry.node == "node-a"));
    });
}
