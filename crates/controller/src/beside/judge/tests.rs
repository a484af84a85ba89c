//! Nodes that say what their pods open, and what a candidate makes of it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use super::*;
use feed::access::Accesses;
use policy::{DnsName, Generation, Protocol};

const PARTIES: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: team, labels: {app: web}}, spec: {nodeName: n1, containers: [{name: c, image: i}]}, status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: team, labels: {app: db}}, spec: {nodeName: n2, containers: [{name: c, image: i}]}, status: {podIP: 10.0.0.2}}
";

const RELEASE: &str = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: team}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 5432}]}]}
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: web, namespace: team}
spec:
  subject: {podSelector: {matchLabels: {app: web}}}
  egress: [{action: Allow, to: [{domains: [api.example.com]}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: team}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}
";

fn candidate(number: u64, objects: &str) -> Arc<Candidate> {
    let read = crds::read_objects("t.yaml", objects.as_bytes());
    assert!(!read.diagnostics.iter().any(crds::Diagnostic::is_error), "{:?}", read.diagnostics);
    let compiled = compiler::compile(read.objects, Generation(0));
    assert!(!compiled.diagnostics.iter().any(crds::Diagnostic::is_error), "{:?}", compiled.diagnostics);
    let of = Ref { number, digest: Ref::nothing().digest };
    let about = of.clone();
    let subjects = compiled.set.policies.iter().map(|it| it.subject.clone()).collect();
    Arc::new(Candidate { of, about, set: Ok(compiled.set), names: Arc::default(), subjects: Some(subjects) })
}

fn judge() -> Judge {
    Judge::new(candidate(4, &format!("{PARTIES}{RELEASE}")), 7)
}

fn pod(name: &str, last: u8) -> End {
    End { address: IpAddr::from([10, 0, 0, last]), pod: Some(("team".into(), name.into())) }
}

fn outside() -> End {
    End { address: IpAddr::from([203, 0, 113, 9]), pod: None }
}

fn seen(from: End, to: End, port: u16, verdict: Verdict) -> Seen {
    Seen { from, to, protocol: Protocol::TCP, port, verdict, names: Vec::new(), unfollowed: false }
}

fn told(node: &str, connection: u64, seen: Vec<(Seen, u64)>) -> Told {
    Told { node: node.into(), connection, accesses: Accesses { number: 7, seen, ..Accesses::default() } }
}

fn denials(beside: &Beside) -> Vec<(&str, &str, u16, u64)> {
    beside.denials.iter().map(|it| (&*it.source, &*it.destination, it.port, it.count)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_two_nodes_saw_is_judged_once_and_what_would_be_denied_is_named() {
    let mut judge = judge();
    judge.hear(&told("n1", 1, Vec::new()));
    judge.hear(&told("n2", 2, Vec::new()));
    assert_eq!(judge.said(Instant::now()).seconds, 0);
    let open = |port| seen(pod("web", 1), pod("db", 2), port, Verdict::Allow);
    for (node, connection) in [("n1", 1), ("n2", 2)] {
        judge.hear(&told(node, connection, vec![(open(5432), 2), (open(22), 3)]));
    }
    // What is denied now and would be allowed is no denial.
    judge.hear(&told("n2", 2, vec![(seen(pod("web", 1), pod("db", 2), 5432, Verdict::Deny), 1)]));
    tokio::time::advance(Duration::from_secs(5)).await;
    let beside = judge.said(Instant::now());
    assert_eq!((beside.flows, beside.seconds, beside.problem.as_ref()), (6, 5, None));
    assert_eq!(denials(&beside), [("team/web", "team/db", 22, 3)]);
    assert!(beside.rules[0].contains("NetworkPolicy team/db"), "{:?}", beside.rules);
    assert_eq!(beside.more_denials, 0);
}

#[test]
fn findings_count_once_by_how_much_they_matter_where_the_release_selects_whom_they_are_about() {
    let cache = "
---
{apiVersion: v1, kind: Pod, metadata: {name: cache, namespace: team, labels: {app: cache}}, spec: {nodeName: n1, containers: [{name: c, image: i}]}, status: {podIP: 10.0.0.3}}
";
    let mut judge = Judge::new(candidate(4, &format!("{PARTIES}{cache}{RELEASE}")), 7);
    let found = |id: &str, pod: Option<&str>, severity| Found {
        id: id.to_owned(),
        pod: pod.map(|name| ("team".into(), name.into())),
        severity,
    };
    let mut hear = |node: &str, found: Vec<Found>| {
        let accesses = Accesses { number: 7, found, ..Accesses::default() };
        judge.hear(&Told { node: node.into(), connection: 1, accesses });
        judge.said(Instant::now()).findings
    };
    let low = access::Severity::Low;
    let told =
        hear("n1", vec![found("a", Some("web"), low), found("b", Some("cache"), access::Severity::High)]);
    assert_eq!(told, Findings { low: 1, ..Findings::default() }, "nobody of the release's is cache");
    // The same again, and it matters more by now; a node says nothing of a pod of another; one of whom nobody knows counts.
    let told =
        hear("n1", vec![found("a", Some("web"), access::Severity::Medium), found("c", Some("db"), low)]);
    assert_eq!(told, Findings { medium: 1, ..Findings::default() });
    let told = hear("n2", vec![found("d", Some("gone"), low), found("e", None, access::Severity::High)]);
    assert_eq!(told, Findings { low: 1, medium: 1, high: 1 });
    let many = (0..MOST_FOUND).map(|number| found(&format!("m{number}"), Some("web"), low)).collect();
    assert_eq!(hear("n1", many), Findings { low: MOST_FOUND as u64 - 2, medium: 1, high: 1 + 3 });

    // For whom a policy is, is not known of each kind: then everybody counts.
    let mut everybody = Arc::into_inner(candidate(5, &format!("{PARTIES}{cache}{RELEASE}"))).unwrap();
    everybody.subjects = None;
    let mut judge = Judge::new(Arc::new(everybody), 7);
    let accesses = Accesses { number: 7, found: vec![found("b", Some("cache"), low)], ..Accesses::default() };
    judge.hear(&Told { node: "n1".into(), connection: 1, accesses });
    assert_eq!(judge.said(Instant::now()).findings.all(), 1);
}

#[test]
fn what_fails_counts_where_the_release_selects_whose_it_is_and_not_where_a_node_does_not_count() {
    let mut judge = judge();
    let of = |name: &str, failed| {
        (
            ("team".into(), name.into()),
            Tried { requests: access::Rate { tried: 10, failed }, ..Tried::default() },
        )
    };
    let tell = |judge: &mut Judge, node: &str, tried| {
        let accesses = Accesses { number: 7, tried, ..Accesses::default() };
        judge.hear(&Told { node: node.into(), connection: 1, accesses });
        judge.said(Instant::now()).errors
    };
    assert_eq!(tell(&mut judge, "n2", None), None, "an agent of an older version");
    // `db` is on the other node: nobody speaks of it here.
    assert_eq!(tell(&mut judge, "n1", Some(vec![of("web", 1), of("db", 9)])), None);
    let errors = tell(&mut judge, "n2", Some(vec![of("db", 3), of("gone", 1)])).unwrap();
    assert_eq!(errors.requests, Rate { tried: 30, failed: 5 }, "who is not known may be selected");
    assert_eq!(tell(&mut judge, "n3", None), Some(errors), "it has no pods");
}

#[test]
fn a_release_that_is_judged_by_the_same_for_another_is_judged_anew() {
    let first = candidate(4, PARTIES);
    let of = first.about.clone();
    let about = Ref { number: 6, ..of.clone() };
    let set = Ok(PolicySet::empty(Generation(0), policy::World::default()));
    let another = Candidate { of, about, set, names: Arc::default(), subjects: None };
    assert!(first.is_of(&candidate(4, "")) && !first.is_of(&another));
}

#[tokio::test(start_paused = true)]
async fn names_are_the_pods_own_and_what_is_not_followed_counts_as_denied() {
    let mut judge = judge();
    let to = |names: &[&str], unfollowed| Seen {
        names: names.iter().map(|name| DnsName::parse(name).unwrap()).collect(),
        unfollowed,
        ..seen(pod("web", 1), outside(), 443, Verdict::Allow)
    };
    let all = vec![
        (to(&["api.example.com"], false), 1),
        (to(&["other.example.com"], false), 2),
        (to(&[], true), 4),
    ];
    judge.hear(&told("n1", 1, all));
    let beside = judge.said(Instant::now());
    assert_eq!(
        denials(&beside),
        [("team/web", "203.0.113.9", 443, 4), ("team/web", "other.example.com", 443, 2)]
    );
    assert!(
        beside.rules[0].contains("DNS is not followed") && !beside.rules[1].contains("DNS"),
        "{:?}",
        beside.rules
    );
}

#[tokio::test(start_paused = true)]
async fn a_gap_begins_the_time_anew_and_a_silent_node_is_named() {
    let mut judge = judge();
    let both = |judge: &mut Judge, connection| {
        judge.hear(&told("n1", 1, Vec::new()));
        judge.hear(&told("n2", connection, vec![(seen(pod("web", 1), pod("db", 2), 22, Verdict::Allow), 1)]));
    };
    let after = async |judge: &mut Judge, seconds| {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        let beside = judge.said(Instant::now());
        (beside.seconds, beside.flows, beside.problem)
    };
    both(&mut judge, 2);
    assert_eq!(after(&mut judge, 0).await, (0, 0, None));
    both(&mut judge, 2);
    assert_eq!(after(&mut judge, 9).await, (9, 1, None));
    // Its agent came back: nobody knows what it saw in between.
    both(&mut judge, 3);
    assert_eq!(after(&mut judge, 0).await, (0, 0, None));
    both(&mut judge, 3);
    let mut lost = told("n1", 1, Vec::new());
    lost.accesses.lost = 1;
    judge.hear(&lost);
    assert_eq!(after(&mut judge, 1).await, (0, 0, None), "what found no room is a gap, too");
    let (seconds, _, problem) = after(&mut judge, 16).await;
    assert!(seconds == 0 && problem.as_ref().unwrap().contains("2 nodes do not say"), "{problem:?}");
    // What would have been denied stays so over all gaps.
    assert_eq!(denials(&judge.said(Instant::now())).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_speaks_only_of_its_own_pods_and_pods_that_are_gone_are_judged_as_they_were() {
    let mut judge = judge();
    judge.hear(&told("n1", 1, Vec::new()));
    judge.hear(&told("n2", 2, Vec::new()));
    judge.said(Instant::now());
    let foreign = seen(outside(), pod("db", 2), 22, Verdict::Allow);
    judge.hear(&told("n1", 1, vec![(foreign.clone(), 1)]));
    assert!(denials(&judge.said(Instant::now())).is_empty());
    let without = PARTIES.split("---").next().unwrap();
    judge.go_by(candidate(4, &format!("{without}{RELEASE}")));
    judge.hear(&told("n2", 2, vec![(foreign, 1)]));
    let gone = seen(pod("job", 77), outside(), 443, Verdict::Allow);
    judge.hear(&told("n1", 1, vec![(gone, 5)]));
    let beside = judge.said(Instant::now());
    assert_eq!(denials(&beside), [("team/job", "203.0.113.9", 443, 5), ("203.0.113.9", "team/db", 22, 1)]);
}
