//! All detectors together: an event in, findings out.

use crate::abuse::Abuses;
use crate::beacon::Beacons;
use crate::dga::Draws;
use crate::event::{Event, Flow, Lookup, What};
use crate::finding::Finding;
use crate::name;
use crate::scan::Scans;
use crate::sign::Signs;
use crate::spend::Spending;
use crate::storm::Storms;
use crate::tunnel::Tunnels;
use crate::volume::Volumes;

/// What every detector remembers. Its size is bounded whatever comes; see [`Detectors::evicted`].
#[derive(Debug)]
pub struct Detectors {
    tunnels: Tunnels,
    draws: Draws,
    storms: Storms,
    beacons: Beacons,
    scans: Scans,
    volumes: Volumes,
    signs: Signs,
    spending: Spending,
    abuses: Abuses,
}

impl Default for Detectors {
    fn default() -> Self {
        Self {
            tunnels: Tunnels::new(),
            draws: Draws::new(),
            storms: Storms::new(),
            beacons: Beacons::new(),
            scans: Scans::new(),
            volumes: Volumes::new(),
            signs: Signs::new(),
            spending: Spending::new(),
            abuses: Abuses::new(),
        }
    }
}

impl Detectors {
    /// What is to be said after this event. Events come about in the order of time: one that is late counts as if it came now.
    /// A finding that was told before is told again, under its id, when twice as much speaks for it.
    #[must_use]
    pub fn observe(&mut self, event: &Event) -> Vec<Finding> {
        let mut findings = Vec::new();
        match &event.what {
            What::Lookup(lookup) => self.lookup(event, lookup, &mut findings),
            What::Flow(flow) => self.flow(event, flow, &mut findings),
            What::Sign(sign) => findings.extend(self.signs.see(event, *sign)),
            What::Call(call) => {
                self.spending.see(event, call, &mut findings);
                self.abuses.see(event, call, &mut findings);
            }
        }
        findings
    }

    /// How many things were forgotten because there was no room for them: above 0, something may not have been seen.
    pub fn evicted(&self) -> u64 {
        self.tunnels.evicted()
            + self.draws.evicted()
            + self.storms.evicted()
            + self.beacons.evicted()
            + self.scans.evicted()
            + self.volumes.evicted()
            + self.signs.evicted()
            + self.spending.evicted()
            + self.abuses.evicted()
    }

    fn flow(&mut self, event: &Event, flow: &Flow, findings: &mut Vec<Finding>) {
        findings.extend(self.beacons.see(event, flow));
        findings.extend(self.scans.see(event, flow));
        self.volumes.see(event, flow, findings);
    }

    fn lookup(&mut self, event: &Event, lookup: &Lookup, findings: &mut Vec<Finding>) {
        if name::is_local(&lookup.name) {
            return;
        }
        let split = name::split(&lookup.name);
        findings.extend(self.tunnels.see(event, lookup, split));
        if split.is_registrable() {
            findings.extend(self.draws.see(event, lookup, split));
            findings.extend(self.storms.see(event, lookup, split));
        }
    }
}
