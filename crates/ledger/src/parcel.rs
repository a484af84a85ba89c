//! What one ledger hands to another, which joins several: entries with their numbers, and how far the sender is.
//!
//! Enters and leaves: JSON, over whatever carries it. Guarantees: a number means one entry of one ledger, so that what is handed
//! over twice is known. Does not: say who sends; who receives must know that from elsewhere.

use crate::entry::Entry;
use serde::{Deserialize, Serialize};

/// Entries of one ledger, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// For which node or gateway it is said.
    pub node: String,
    /// Which ledger of its: [`crate::Reader::origin`].
    pub ledger: String,
    /// The number up to which the ledger is handed over with this; entries before that are not in it were forgotten, or handed
    /// over before.
    pub last: i64,
    /// Entries that wait after it.
    pub waiting: u64,
    /// Entries that were forgotten before they could be handed over, of all parcels so far.
    pub lost: u64,
    /// Each with its number.
    pub entries: Vec<(i64, Entry)>,
}

/// What became of a parcel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Entries that were added.
    pub taken: u64,
    /// Entries that were there already.
    pub known: u64,
    /// Connections that were denied, as what was added says; not told to the sender.
    #[serde(skip)]
    pub denied: u64,
    /// Entries that were refused for good.
    pub refused: u64,
    /// Why those were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
