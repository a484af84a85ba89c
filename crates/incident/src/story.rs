//! All that is to be told of one incident: by commands that read a ledger, and by those that ask an API over it.

use crate::finding::Finding;
use crate::radius::{Radius, Reach, radius};
use crate::timeline::{Item, timeline};
use crate::view::{Case, Incident};
use ledger::{LedgerError, Reader};
use observe::Time;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One incident and all about it. JSON: the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// What it is.
    pub incident: Incident,
    /// What it is made of: each finding once, as it was told last, those that began first before others.
    pub findings: Vec<Finding>,
    /// What happened, in order.
    pub timeline: Vec<Item>,
    /// Whether more happened.
    pub timeline_truncated: bool,
    /// How far its workloads reach. Who tells it may leave out the last of many workloads.
    pub blast_radius: Vec<Radius>,
}

impl Story {
    /// Reads it, with the reach of all its workloads.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn of(reader: &Reader, case: &Case, reach: &impl Reach) -> Result<Self, LedgerError> {
        let timeline = timeline(reader, case)?;
        Ok(Self {
            incident: case.incident.clone(),
            findings: each_once(&case.findings),
            timeline: timeline.items,
            timeline_truncated: timeline.truncated,
            blast_radius: radius(reader, reach, &case.incident.workloads)?,
        })
    }
}

/// What was told again after a long time is one finding, and began when it was told of first.
fn each_once(all: &[Finding]) -> Vec<Finding> {
    let mut found: HashMap<&str, (Time, &Finding)> = HashMap::new();
    for finding in all {
        let (first, newest) = found.entry(finding.id.as_str()).or_insert((finding.time, finding));
        *first = finding.time.min(*first);
        if finding.entries.last() > newest.entries.last() {
            *newest = finding;
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by(|(first, a), (other, b)| (first, &a.id).cmp(&(other, &b.id)));
    found.into_iter().map(|(_, finding)| finding.clone()).collect()
}
