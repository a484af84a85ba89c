//! How much one pod may ask, so that it does not slow the others.
//!
//! Two buckets of tokens for each pod: one for queries that are answered, one for refusals of those beyond. A pod that
//! floods is told so as often as it may ask, and beyond that gets nothing. Buckets exist for pods of the state and one
//! for all other sources, so their number is bounded by the state's.

use std::time::{Duration, Instant};

/// What to do with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Go on.
    Within,
    /// Refuse it.
    Beyond,
    /// Not even that.
    FarBeyond,
}

/// What one pod has left, and what it has waiting.
#[derive(Debug)]
pub(crate) struct Meter {
    queries: Bucket,
    refusals: Bucket,
    /// Queries that wait for an answer.
    pub(crate) waiting: usize,
}

impl Meter {
    pub(crate) fn new(now: Instant, burst: u32) -> Self {
        Self { queries: Bucket::new(now, burst), refusals: Bucket::new(now, burst), waiting: 0 }
    }

    pub(crate) fn query(&mut self, now: Instant, rate: u32, burst: u32) -> Pace {
        if self.queries.take(now, rate, burst) {
            Pace::Within
        } else if self.refusals.take(now, rate, burst) {
            Pace::Beyond
        } else {
            Pace::FarBeyond
        }
    }
}

/// Thousandths of tokens, so that any rate is exact to a millisecond's worth.
#[derive(Debug)]
struct Bucket {
    level: u64,
    filled: Instant,
}

const TOKEN: u64 = 1_000_000;

impl Bucket {
    fn new(now: Instant, burst: u32) -> Self {
        Self { level: u64::from(burst) * TOKEN, filled: now }
    }

    fn take(&mut self, now: Instant, rate: u32, burst: u32) -> bool {
        // More than an hour fills any bucket.
        let passed = now.saturating_duration_since(self.filled).min(Duration::from_secs(3600));
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        self.level = self.level.saturating_add(micros.saturating_mul(u64::from(rate)));
        self.level = self.level.min(u64::from(burst) * TOKEN);
        self.filled = now;
        if self.level < TOKEN {
            return false;
        }
        self.level -= TOKEN;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_answered_then_refused_then_ignored() {
        let start = Instant::now();
        let mut meter = Meter::new(start, 20);
        let mut count = |now, pace| (0..100).filter(|_| meter.query(now, 10, 20) == pace).count();
        assert_eq!(count(start, Pace::Within), 20);
        // The refusals of those beyond were used up meanwhile.
        let later = start + Duration::from_secs(1);
        assert_eq!(count(later, Pace::Within), 10);
        assert_eq!(count(later, Pace::Within), 0);
        let much_later = later + Duration::from_secs(3600);
        assert_eq!(count(much_later, Pace::Beyond), 20);
    }

    #[test]
    fn slow_rates_fill_between_queries() {
        let start = Instant::now();
        let mut meter = Meter::new(start, 1);
        let answered = (0..1000)
            .filter(|milli| meter.query(start + Duration::from_millis(*milli), 3, 1) == Pace::Within);
        assert_eq!(answered.count(), 3);
    }
}
