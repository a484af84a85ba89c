//! How often one workload may be told of: who draws a thousand domains, or scans under a thousand names, must not push what is
//! said of others out of sight.

use crate::bounded::Bounded;
use crate::distinct::key;
use crate::event::{HOUR, is_over};
use crate::finding::Finding;

/// Findings of one detector about one workload in an hour, each time one is told.
pub const MOST_OF_HOUR: u32 = 64;
/// Workloads and detectors that are followed at a time.
const PAIRS: usize = 1 << 15;

/// What was told in this hour.
#[derive(Debug)]
pub struct Pace(Bounded<u64, Told>);

#[derive(Debug, Default)]
struct Told {
    hour: u64,
    count: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self(Bounded::new(PAIRS))
    }
}

impl Pace {
    /// Whether it may be told. What may not is for the caller to count.
    #[must_use]
    pub fn lets(&mut self, finding: &Finding) -> bool {
        let told = self.0.entry(&key((&finding.workload, &finding.detector)));
        if is_over(told.hour * HOUR, HOUR, finding.until.0) {
            *told = Told { hour: finding.until.0 / HOUR, count: 0 };
        }
        told.count = told.count.saturating_add(1);
        told.count <= MOST_OF_HOUR
    }
}
