//! What DetectionPolicies say of a pod: from where on detectors tell, and what nobody has to see.
//!
//! Guarantees: a policy holds for pods of its own namespace alone; of several thresholds for one detector the lowest holds; of
//! somebody who is no pod none says anything. Does not: drop a finding; it marks it.

use detect::event::Factors;
use detect::finding::Suppressed;
use observe::End;
use policy::Labels;
use policy::detection::Tuning;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Microseconds of a second.
const SECOND: u64 = 1_000_000;

/// What holds, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Tunings(HashMap<Arc<str>, Vec<Tuning>>);

impl Tunings {
    /// Of all policies.
    pub(crate) fn new(all: &[Tuning]) -> Self {
        let mut tunings = HashMap::<_, Vec<_>>::new();
        for tuning in all {
            tunings.entry(Arc::clone(&tuning.namespace)).or_default().push(tuning.clone());
        }
        Self(tunings)
    }

    /// How many policies there are.
    pub(crate) fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// By what thresholds are multiplied for somebody.
    pub(crate) fn factors(&self, who: Option<&End>) -> Factors {
        if self.0.is_empty() {
            return Factors::default();
        }
        pod(who).map_or_else(Factors::default, |(namespace, labels)| self.factors_of(namespace, &[labels]))
    }

    /// The same for pods of one namespace that are looked at as one: what holds for each of them. No pods: nothing does.
    pub(crate) fn factors_of(&self, namespace: &str, pods: &[Labels]) -> Factors {
        let mut percents = BTreeMap::<&Arc<str>, u32>::new();
        for tuned in self.of(namespace, pods).flat_map(|tuning| &tuning.detectors) {
            if let Some(percent) = tuned.threshold_percent {
                let known = percents.entry(&tuned.detector).or_insert(percent);
                *known = percent.min(*known);
            }
        }
        Factors::new(
            percents.into_iter().map(|(name, percent)| (Arc::clone(name), f64::from(percent) / 100.0)),
        )
    }

    /// Why nobody has to see a finding about somebody.
    pub(crate) fn suppression(&self, who: Option<&End>, finding: &detect::Finding) -> Option<Suppressed> {
        let (namespace, labels) = pod(who)?;
        self.suppression_of(namespace, &[labels], finding)
    }

    /// The same for pods of one namespace that are looked at as one.
    pub(crate) fn suppression_of(
        &self,
        namespace: &str,
        pods: &[Labels],
        finding: &detect::Finding,
    ) -> Option<Suppressed> {
        let second = finding.until.0 / SECOND;
        let tuned = self.of(namespace, pods).filter_map(|tuning| tuning.of(&finding.detector));
        let found = tuned.filter_map(|tuned| tuned.suppression(&finding.subject, second)).next()?;
        Some(Suppressed { policy: Arc::clone(&found.place), reason: Arc::clone(&found.reason) })
    }

    fn of(&self, namespace: &str, pods: &[Labels]) -> impl Iterator<Item = &Tuning> {
        let holds = move |tuning: &&Tuning| {
            !pods.is_empty() && pods.iter().all(|labels| tuning.holds_for(namespace, labels))
        };
        self.0.get(namespace).into_iter().flatten().filter(holds)
    }
}

/// Namespace and labels of a pod.
fn pod(who: Option<&End>) -> Option<(&str, Labels)> {
    let end = who?;
    Some((end.namespace.as_deref()?, Labels(Arc::clone(&end.labels))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::sight::example::{self, pod};
    use crate::up::sight::{Seen, Sight};
    use detect::{Detectors, Event};
    use observe::{EndKind, Kind, Record, Time};
    use policy::{Generation, PolicySet};

    const POLICIES: &str = "
apiVersion: cofferdam.dev/v1alpha1
kind: DetectionPolicy
metadata: {name: scanner, namespace: ops}
spec:
  podSelector: {matchLabels: {app: scanner}}
  detectors:
  - {name: port-scan, thresholdPercent: 200}
---
apiVersion: cofferdam.dev/v1alpha1
kind: DetectionPolicy
metadata: {name: known, namespace: ops}
spec:
  podSelector: {}
  detectors:
  - name: port-scan
    thresholdPercent: 150
    suppress:
    - {subject: 'addresses*', reason: it is our scanner, until: \"2026-12-31\"}
  - {name: beacon, enabled: false, reason: polls}
";

    fn set() -> PolicySet {
        let read = crds::read_objects("ops.yaml", POLICIES.as_bytes());
        let compiled = compiler::compile(read.objects, Generation(1));
        let errors: Vec<_> = compiled.diagnostics.iter().filter(|it| it.is_error()).collect();
        assert!(errors.is_empty() && read.diagnostics.is_empty(), "{errors:?}");
        compiled.set
    }

    /// Denied connections of a pod, to so many ports, and what is said.
    fn scan(from: &End, day: &str, ports: u16) -> Vec<detect::Finding> {
        let (sight, set, mut detectors) = (Sight::default(), set(), Detectors::default());
        let tunings = Tunings::new(&set.detection);
        let mut found = Vec::new();
        for port in 1..=ports {
            let time = format!("{day}T00:00:01Z").parse::<Time>().unwrap();
            let to = example::outside([192, 0, 2, 1]);
            let record = Record { port, ..example::flow(time, from, &to, Kind::Deny) };
            let (seen, mut events) = (Seen::Flow(Arc::new(record)), Vec::new());
            let who = sight.events(&seen, &mut events);
            for event in events {
                let event = Event { factors: tunings.factors(who), ..event };
                for mut finding in detectors.observe(&event) {
                    finding.suppressed = tunings.suppression(who, &finding);
                    found.push(finding);
                }
            }
        }
        found
    }

    #[test]
    fn who_it_is_for_is_told_of_later_and_marked_until_the_day_ends() {
        let threshold = |finding: &detect::Finding| finding.numbers[0].threshold;
        // A few more ports than are told of: of so many, two may be counted as one.
        for (from, day, ports, expected, suppressed) in [
            (pod("ops", "scanner"), "2026-12-31", 34, 30.0, true),
            (pod("ops", "web"), "2026-12-31", 34, 30.0, true),
            (pod("ops", "scanner"), "2027-01-01", 34, 30.0, false),
            (pod("other", "scanner"), "2026-12-31", 24, 20.0, false),
        ] {
            let found = scan(&from, day, ports);
            let [finding] = &found[..] else { panic!("{from} {found:?}") };
            assert_eq!(threshold(finding), Some(expected), "{from}");
            assert_eq!(finding.suppressed.is_some(), suppressed, "{from} {day}");
            assert_eq!(&*finding.workload, from.workload(), "the word that the ledger has");
        }
        let marked = scan(&pod("ops", "scanner"), "2026-12-31", 34).remove(0).suppressed.unwrap();
        assert_eq!(&*marked.reason, "it is our scanner");
        assert_eq!(&*marked.policy, "DetectionPolicy ops/known spec.detectors[0].suppress[0] (ops.yaml:19)");
    }

    #[test]
    fn nobody_is_meant_who_is_no_pod() {
        let outside = End { kind: EndKind::Outside, namespace: None, ..pod("ops", "scanner") };
        let tunings = Tunings::new(&set().detection);
        assert_eq!(tunings.factors(Some(&outside)), Factors::default());
        assert_eq!(tunings.factors(None), Factors::default());
        assert_ne!(tunings.factors(Some(&pod("ops", "web"))), Factors::default());
    }
}
