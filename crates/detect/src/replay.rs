//! What is found in recordings: each finding once, as it was last told.

use crate::engine::Detectors;
use crate::event::Event;
use crate::finding::Finding;
use std::collections::HashMap;

/// Most findings that are kept.
pub const MAX_FINDINGS: usize = 1 << 16;

/// Detectors, and what they said so far.
#[derive(Debug, Default)]
pub struct Replay {
    detectors: Detectors,
    findings: HashMap<String, Finding>,
    events: u64,
    lost: u64,
}

impl Replay {
    /// One more event.
    pub fn observe(&mut self, event: &Event) {
        self.events += 1;
        for mut finding in self.detectors.observe(event) {
            match self.findings.get(&finding.id) {
                Some(earlier) => finding.time = finding.time.min(earlier.time),
                None if self.findings.len() >= MAX_FINDINGS => {
                    self.lost += 1;
                    continue;
                }
                None => {}
            }
            self.findings.insert(finding.id.clone(), finding);
        }
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What there was no room for: things that detectors forgot, and findings.
    pub fn lost(&self) -> u64 {
        self.detectors.evicted() + self.lost
    }

    /// The findings, by time.
    pub fn findings(self) -> Vec<Finding> {
        let mut findings: Vec<_> = self.findings.into_values().collect();
        findings.sort_by(|one, other| (one.time, &one.id).cmp(&(other.time, &other.id)));
        findings
    }
}
