//! Puts pieces that arrive in any order, and more than once, into one message.

use crate::client_hello::MAX_HELLO;

/// Most pieces with gaps between them. Browsers that shuffle their hello on purpose make some ten.
pub(super) const MAX_PIECES: usize = 256;

/// Why a piece is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Beyond the bounds.
    TooLarge,
    /// It says other than what was there.
    Overlap,
}

/// What arrived.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Where there is something: disjoint, in order, not touching each other.
    there: Vec<(usize, usize)>,
}

impl Pieces {
    pub(super) fn add(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Unfit> {
        if bytes.is_empty() {
            return Ok(());
        }
        let start = usize::try_from(offset).map_err(|_| Unfit::TooLarge)?;
        let end = start.checked_add(bytes.len()).filter(|end| *end <= MAX_HELLO).ok_or(Unfit::TooLarge)?;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let first = self.there.partition_point(|(_, its_end)| *its_end < start);
        let last = self.there.partition_point(|(its_start, _)| *its_start <= end);
        let mut merged = (start, end);
        for (its_start, its_end) in self.there.drain(first..last) {
            let (from, to) = (its_start.max(start), its_end.min(end));
            let new = bytes.get(from - start..to - start);
            if from < to && self.bytes.get(from..to) != new {
                return Err(Unfit::Overlap);
            }
            merged = (merged.0.min(its_start), merged.1.max(its_end));
        }
        self.there.insert(first, merged);
        if let Some(place) = self.bytes.get_mut(start..end) {
            place.copy_from_slice(bytes);
        }
        if self.there.len() > MAX_PIECES { Err(Unfit::TooLarge) } else { Ok(()) }
    }

    /// The bytes from the beginning to the first gap.
    pub(super) fn start(&self) -> &[u8] {
        match self.there.first() {
            Some((0, end)) => self.bytes.get(..*end).unwrap_or_default(),
            Some(_) | None => &[],
        }
    }

    /// Where the last piece ends.
    pub(super) fn end(&self) -> usize {
        self.there.last().map_or(0, |(_, end)| *end)
    }
}
