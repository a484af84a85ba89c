//! One text that is written piece by piece.
//!
//! Enters: its pieces. Leaves: hits, and up to where it is judged. Guarantees: what was cut out of it is remembered until all of
//! it was given on. Does not: know which events the pieces came in.

use super::prompt::Echo;
use super::{Cut, Hit, Looking, Stop};
use crate::leak::{Layer, LeakRules, Scanner, Tail};
use std::ops::Range;
use std::sync::Arc;

/// What may be cut out of what was not given on yet.
const MAX_CUTS: usize = 1024;

#[derive(Debug)]
pub(super) struct Channel {
    tail: Tail,
    echo: Echo,
    /// Looks below encodings.
    scanner: Scanner,
    /// How many of its leaks were told.
    told: usize,
    end: u64,
    cuts: Vec<Cut>,
    /// The last unit with a piece of it.
    pub(super) last: u64,
}

impl Channel {
    pub(super) fn new(rules: &Arc<LeakRules>) -> Self {
        Self {
            tail: Tail::default(),
            echo: Echo::default(),
            scanner: Scanner::new(Arc::clone(rules)),
            told: 0,
            end: 0,
            cuts: Vec::new(),
            last: 0,
        }
    }

    /// Takes a piece; where it stands, and what was found.
    pub(super) fn push(&mut self, looking: &Looking, bytes: &[u8], unit: u64) -> (Range<u64>, Vec<Hit>) {
        let range = self.end..self.end + bytes.len() as u64;
        (self.end, self.last) = (range.end, unit);
        let mut found = Vec::new();
        self.tail.push(&looking.rules, bytes, looking.hold, &mut |span| found.push(Hit::of(&span)));
        if !looking.prompt.is_empty() {
            self.echo.push(&looking.prompt, bytes, &mut |range| found.push(Hit::prompt(range)));
        }
        self.scanner.push(bytes);
        found.extend(self.encoded());
        (range, found)
    }

    /// Judges all that is there as if nothing followed; `is_over`: nothing does.
    pub(super) fn settle(&mut self, looking: &Looking, is_over: bool) -> Vec<Hit> {
        let mut found = Vec::new();
        self.tail.flush(&looking.rules, &mut |span| found.push(Hit::of(&span)));
        if !looking.prompt.is_empty() {
            self.echo.flush(&looking.prompt, &mut |range| found.push(Hit::prompt(range)));
        }
        if is_over {
            self.scanner.end();
            found.extend(self.encoded());
        }
        found
    }

    /// Up to where it is judged. What is open of a repetition waits for no more than may be held.
    pub(super) fn judged(&self, looking: &Looking) -> u64 {
        let judged = self.tail.judged();
        if looking.prompt.is_empty() {
            return judged;
        }
        let hold = looking.hold as u64;
        judged.min(self.echo.judged(&looking.prompt).max(self.end.saturating_sub(hold)))
    }

    pub(super) fn waits(&self, looking: &Looking) -> bool {
        self.judged(looking) < self.end
    }

    pub(super) fn cut(&mut self, cut: Cut) -> Result<(), Stop> {
        if self.cuts.len() >= MAX_CUTS {
            return Err(Stop::Leak("more than can be masked"));
        }
        let at = self.cuts.partition_point(|known| known.range.start <= cut.range.start);
        self.cuts.insert(at, cut);
        Ok(())
    }

    /// What is cut out of this part of it.
    pub(super) fn cuts(&self, range: &Range<u64>) -> impl Iterator<Item = &Cut> {
        let range = range.clone();
        self.cuts.iter().filter(move |cut| cut.range.start < range.end && range.start < cut.range.end)
    }

    /// All before was given on.
    pub(super) fn given(&mut self, end: u64) {
        self.cuts.retain(|cut| cut.range.end > end);
    }

    fn encoded(&mut self) -> Vec<Hit> {
        // Leaks are kept in the order of their places, so that one found late may stand before others.
        if self.scanner.leaks().len() == self.told {
            return Vec::new();
        }
        self.told = self.scanner.leaks().len();
        encoded(&self.scanner).collect()
    }
}

/// What stands below an encoding.
pub(super) fn encoded(scanner: &Scanner) -> impl Iterator<Item = Hit> {
    let leaks = scanner.leaks().iter().filter(|leak| leak.layer != Layer::Raw);
    leaks.map(|leak| Hit::of_class(leak.rule, leak.class, leak.is_confirmed))
}
