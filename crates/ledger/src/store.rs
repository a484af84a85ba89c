//! Questions that are asked of the ledger's file, or of another store that its entries were sent to.
//!
//! Guarantees: of the same entries, every store gives the same answers, but where it says otherwise. Does not: have what only the
//! file can answer, which is the chain of hashes ([`Reader::verify`]) and what incidents are made of.

use crate::edges::{Edge, EdgeFilter, EdgePage};
use crate::entries::{EntryFilter, Stored};
use crate::error::LedgerError;
use crate::query::Reader;
use crate::sums::{Pair, Point, SeriesBy};
use crate::top::{Measure, Sum, TopBy};

/// A store that can be asked what was recorded. Waits for the answer.
pub trait Store {
    /// Entries, in the order of their numbers, the newest first where the filter says no other.
    ///
    /// # Errors
    /// The store cannot be read, or cannot answer this.
    fn entries(&self, filter: &EntryFilter) -> Result<Vec<Stored>, LedgerError>;

    /// Edges, those first that were first seen last, and where the next page begins. Those that were first seen in the same
    /// microsecond have an order that is the store's own, and the same each time; so are its marks.
    ///
    /// # Errors
    /// As [`Self::entries`], or the mark is another store's.
    fn edge_page(&self, filter: &EdgeFilter) -> Result<EdgePage, LedgerError>;

    /// The edges alone.
    ///
    /// # Errors
    /// As [`Self::entries`].
    fn edges(&self, filter: &EdgeFilter) -> Result<Vec<Edge>, LedgerError> {
        self.edge_page(filter).map(|page| page.edges)
    }

    /// The largest of all connections since a time (microseconds since 1970), by what is asked for; then by name.
    ///
    /// # Errors
    /// As [`Self::entries`].
    fn top(&self, by: TopBy, measure: Measure, since: u64, most: usize) -> Result<Vec<Sum>, LedgerError>;
}

/// A store that answers whoever asks over a network: what one answer holds at once is bounded.
pub trait BoundedStore: Store {
    /// [`Store::entries`], of which no more come once they have so many bytes; and whether that was why it ended. At least one comes
    /// where there is one.
    ///
    /// # Errors
    /// As [`Store::entries`].
    fn page(&self, filter: &EntryFilter, bytes: usize) -> Result<(Vec<Stored>, bool), LedgerError>;

    /// [`Store::edge_page`], and no more once they have so many bytes.
    ///
    /// # Errors
    /// As [`Store::edge_page`].
    fn edge_page_within(&self, filter: &EdgeFilter, bytes: usize) -> Result<EdgePage, LedgerError>;

    /// [`Reader::series`], in the order of steps. Of words that are as frequent as each other, which are told apart is the store's own.
    ///
    /// # Errors
    /// As [`Store::entries`].
    fn series(
        &self,
        filter: &EntryFilter,
        by: SeriesBy,
        step: u64,
        most: usize,
    ) -> Result<Vec<Point>, LedgerError>;

    /// [`Reader::each_pair`].
    ///
    /// # Errors
    /// As [`Store::entries`]; what was shown until then is not all.
    fn each_pair(
        &self,
        filter: &EntryFilter,
        new_since: Option<u64>,
        show: &mut dyn FnMut(Pair),
    ) -> Result<(), LedgerError>;

    /// How many entries are known not to be in it.
    ///
    /// # Errors
    /// As [`Store::entries`].
    fn missing(&self) -> Result<u64, LedgerError>;
}

impl Store for Reader {
    fn entries(&self, filter: &EntryFilter) -> Result<Vec<Stored>, LedgerError> {
        Self::entries(self, filter)
    }

    fn edge_page(&self, filter: &EdgeFilter) -> Result<EdgePage, LedgerError> {
        Self::edge_page(self, filter)
    }

    fn top(&self, by: TopBy, measure: Measure, since: u64, most: usize) -> Result<Vec<Sum>, LedgerError> {
        Self::top(self, by, measure, since, most)
    }
}

impl BoundedStore for Reader {
    fn page(&self, filter: &EntryFilter, bytes: usize) -> Result<(Vec<Stored>, bool), LedgerError> {
        Self::page(self, filter, bytes)
    }

    fn edge_page_within(&self, filter: &EdgeFilter, bytes: usize) -> Result<EdgePage, LedgerError> {
        Self::edge_page_within(self, filter, bytes)
    }

    fn series(
        &self,
        filter: &EntryFilter,
        by: SeriesBy,
        step: u64,
        most: usize,
    ) -> Result<Vec<Point>, LedgerError> {
        Self::series(self, filter, by, step, most)
    }

    fn each_pair(
        &self,
        filter: &EntryFilter,
        new_since: Option<u64>,
        show: &mut dyn FnMut(Pair),
    ) -> Result<(), LedgerError> {
        Self::each_pair(self, filter, new_since, show)
    }

    fn missing(&self) -> Result<u64, LedgerError> {
        Ok(self.lost()?.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count)))
    }
}
