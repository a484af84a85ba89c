//! What is sent at once.

use ledger::{Parcel, Stored};

/// Entries of the ledger in order, and before them what is missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// What was forgotten before these.
    pub(crate) lost: Option<Lost>,
    /// The oldest first.
    pub(crate) entries: Vec<Stored>,
    /// Where these are in their ledger.
    pub(crate) place: Place,
}

/// Where a batch is in its ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which ledger; `None` where that is not known.
    pub(crate) ledger: Option<String>,
    /// The number to go on from after it.
    pub(crate) last: i64,
    /// Entries that wait after it.
    pub(crate) waiting: u64,
    /// Entries that were forgotten before they could be sent, with those of this batch.
    pub(crate) lost: u64,
}

/// Entries that were forgotten before they could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// How many.
    pub(crate) records: u64,
    /// The number of the last one.
    pub(crate) up_to: i64,
    /// When it was noticed, in microseconds since 1970.
    pub(crate) time: u64,
}

impl Batch {
    /// As a collector takes it from this node; `None` where it is not known of which ledger it is.
    pub(crate) fn parcel(&self, node: &str) -> Option<Parcel> {
        let Place { ledger, last, waiting, lost } = self.place.clone();
        let entries = self.entries.iter().map(|Stored { id, entry }| (*id, entry.clone())).collect();
        Some(Parcel { node: node.to_owned(), ledger: ledger?, last, waiting, lost, entries })
    }

    /// Single things in it.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + usize::from(self.lost.is_some())
    }
}
