//! All detectors together: an event in, findings out.

use crate::abuse::Abuses;
use crate::beacon::Beacons;
use crate::dga::Draws;
use crate::event::{Event, Flow, Lookup, Scene, What};
use crate::finding::Finding;
use crate::limit::Limits;
use crate::name;
use crate::probe::Probes;
use crate::scan::Scans;
use crate::sign::Signs;
use crate::spend::Spending;
use crate::storm::Storms;
use crate::tool::Tools;
use crate::tunnel::Tunnels;
use crate::volume::Volumes;
use observe::Time;
use std::sync::Arc;

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
    probes: Probes,
    limits: Limits,
    tools: Tools,
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
            probes: Probes::new(),
            limits: Limits::new(),
            tools: Tools::new(),
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
                findings.extend(self.probes.see(event, call));
                self.limits.called(event, call, &mut findings);
            }
            What::Reached(reached) => findings.extend(self.limits.reached(event, reached)),
            What::Tool(tool) => findings.extend(self.tools.see(event, tool)),
        }
        for finding in &mut findings {
            let Scene { node, pod, rule } = event.scene.clone();
            (finding.node, finding.pod, finding.rule) = (node, pod, rule);
        }
        findings
    }

    /// What an earlier process saw, so that it is not new: who reached whom, by the words of [`crate::own::Party::word`] or the name
    /// that it was reached by, and when first.
    pub fn remember(&mut self, who: &Arc<str>, whom: &str, first: Time) {
        self.volumes.remember(who, whom, first.0);
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
            + self.probes.evicted()
            + self.limits.evicted()
            + self.tools.evicted()
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
