//! A hub with its clusters, as tests see it.

use fleet::rollout::*;
use fleet::{Digest, Ref};
use std::collections::BTreeMap;

pub(super) fn reference(number: u64) -> Ref {
    if number == 0 { Ref::nothing() } else { Ref { number, digest: Digest::of(&number.to_be_bytes()) } }
}

pub(super) fn selector(env: &str) -> crds::LabelSelector {
    let match_labels = BTreeMap::from([("env".into(), env.into())]);
    crds::LabelSelector { match_labels, match_expressions: Vec::new() }
}

pub(super) fn stage(name: &str, approval: bool) -> Stage {
    let gate = Gate { seconds: 60, flows: 100, findings: 0, ..Gate::default() };
    Stage { name: name.to_owned(), clusters: selector(name), gate, approval, hold: 30 }
}

pub(super) fn plan() -> Plan {
    let accepted = vec![Accepted { destination: Some("192.0.2.1".to_owned()), ..Accepted::default() }];
    Plan {
        release: reference(8),
        fallback: Some(reference(7)),
        stages: vec![stage("dev", false), stage("prod", true)],
        accepted,
        spike: 5,
        silence: 120,
    }
}

/// A hub with its clusters, which do at once what they are told.
pub(super) struct Hub {
    pub(super) plan: Plan,
    pub(super) state: State,
    pub(super) seen: Seen,
    pub(super) now: u64,
    pub(super) next: u64,
}

impl Hub {
    pub(super) fn new(plan: Plan) -> Self {
        let mut hub = Self { plan, state: State::default(), seen: Seen::default(), now: 1000, next: 1 };
        for (name, env) in [("a", "dev"), ("b", "dev"), ("p", "prod")] {
            hub.join(name, env, 7);
        }
        hub
    }

    pub(super) fn join(&mut self, name: &str, env: &str, enforced: u64) {
        let enforced = reference(enforced);
        let report = Report { heard: self.now, enforced, shadow: None, evidence: None, problems: Vec::new() };
        let labels = BTreeMap::from([("env".into(), env.into())]);
        self.seen
            .clusters
            .insert(name.to_owned(), Cluster { labels, report: Some(report), ..Cluster::default() });
    }

    pub(super) fn step(&mut self) {
        let (state, actions) = step(&self.plan, self.state.clone(), &self.seen, self.now);
        self.state = state;
        for Action::Want { cluster, wanted } in actions {
            self.seen.clusters.get_mut(&cluster).unwrap().wanted = Some(wanted);
        }
    }

    pub(super) fn report(&mut self, name: &str) -> &mut Report {
        self.seen.clusters.get_mut(name).unwrap().report.as_mut().unwrap()
    }

    /// Every cluster has what it was told, and has seen so much of it.
    pub(super) fn obey(&mut self, seconds: u64, flows: u64) {
        self.now += seconds;
        for cluster in self.seen.clusters.values_mut() {
            let (Some(wanted), Some(report)) = (&cluster.wanted, &mut cluster.report) else { continue };
            (report.enforced, report.shadow, report.heard) =
                (wanted.enforce.clone(), wanted.shadow.clone(), self.now);
            let (of, mode) = match &wanted.shadow {
                Some(shadow) => (shadow.clone(), Mode::Shadow),
                None => (wanted.enforce.clone(), Mode::Enforce),
            };
            report.evidence = Some(Evidence {
                of,
                mode,
                seconds,
                flows,
                denials: Vec::new(),
                more_denials: 0,
                findings: 0,
                by_severity: Findings::default(),
                errors: None,
                unwatched: None,
            });
        }
    }

    pub(super) fn find(&mut self, name: &str, severity: Severity) {
        let evidence = self.report(name).evidence.as_mut().unwrap();
        let mut findings = evidence.by_severity;
        findings.add(severity);
        *evidence = evidence.clone().with(findings);
    }

    pub(super) fn deny(&mut self, name: &str, destination: &str, count: u64) {
        let denial = Denial {
            source: "shop/Deployment/web".to_owned(),
            destination: destination.to_owned(),
            port: 443,
            count,
        };
        self.report(name).evidence.as_mut().unwrap().denials.push(denial);
    }

    pub(super) fn ask(&mut self, verb: Verb) {
        self.seen.commands.push(Command {
            id: self.next,
            by: "ann".to_owned(),
            verb,
            stage: None,
            cluster: None,
            why: None,
        });
        self.next += 1;
        self.step();
    }

    /// Asks it of one cluster. What was decided of it.
    pub(super) fn ask_of(&mut self, name: &str, verb: Verb) -> Decision {
        let (by, cluster) = ("ann".to_owned(), Some(name.to_owned()));
        self.seen.commands.push(Command { id: self.next, by, verb, stage: None, cluster, why: None });
        self.next += 1;
        self.step();
        self.last()
    }

    pub(super) fn last(&self) -> Decision {
        self.state.decisions.last().unwrap().clone()
    }

    pub(super) fn has(&self, name: &str) -> &Wanted {
        self.seen.clusters[name].wanted.as_ref().unwrap()
    }

    /// A rollout that is done, and a cluster that came late.
    pub(super) fn done_with_late(plan: Plan, env: &str, enforced: u64) -> Self {
        let mut hub = Self::at_dev(plan);
        hub.obey(30, 40);
        hub.step();
        hub.step();
        hub.obey(60, 100);
        hub.ask(Verb::Approve);
        hub.obey(30, 0);
        hub.step();
        assert_eq!((hub.state.phase, hub.enforced_by().as_str()), (Phase::Done, "abp"));
        hub.join("late", env, enforced);
        hub.step();
        hub
    }

    pub(super) fn words(&self) -> Vec<Word> {
        self.state.decisions.iter().map(|it| it.what).collect()
    }

    pub(super) fn enforced_by(&self) -> String {
        let has = |it: &&String| {
            self.seen.clusters[*it].wanted.as_ref().is_some_and(|it| it.enforce == self.plan.release)
        };
        self.seen.clusters.keys().filter(has).map(String::as_str).collect()
    }

    /// Up to dev enforcing.
    pub(super) fn at_dev(plan: Plan) -> Self {
        let mut hub = Self::new(plan);
        hub.step();
        hub.obey(60, 50);
        hub.step();
        assert_eq!((hub.state.phase, hub.enforced_by().as_str()), (Phase::Enforce, "ab"));
        hub
    }
}
