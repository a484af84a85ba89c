//! What is sent at once.

use ledger::Stored;

/// Entries of the ledger in order, and before them what is missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// What was forgotten before these.
    pub(crate) lost: Option<Lost>,
    /// The oldest first.
    pub(crate) entries: Vec<Stored>,
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
    /// Single things in it.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + usize::from(self.lost.is_some())
    }
}
