//! Rollouts as objects of a hub: what is understood, what is said, and who has which cluster.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "in a test a panic is the failure report"
)]

use fleet::hub::{Accepted, ClusterStatus, Contender, Effective, Labels, RolloutSpec, RolloutStatus, share};
use fleet::rollout::{
    Cluster, Denial, Evidence, Findings, Member, Mode, Phase, Plan, Seen, State, Told, Verb, look, step,
};
use fleet::{Digest, Envelope, Header, MOST_DENIALS, Memory, Ref, Release};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn reference(number: u64) -> Ref {
    Ref { number, digest: Digest::of(&number.to_be_bytes()) }
}

fn spec() -> Value {
    let stage = |name: &str| json!({ "name": name, "clusters": { "matchLabels": { "env": name } }, "gate": { "seconds": 60, "flows": 10 } });
    json!({ "release": reference(8), "fallback": reference(7), "stages": [stage("dev"), stage("prod")] })
}

fn with(path: &str, value: Value) -> Value {
    let mut spec = spec();
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = spec.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        Value::Object(fields) => drop(fields.insert(key.to_owned(), value)),
        _ => panic!("{path}"),
    }
    spec
}

fn plan(spec: &Value) -> Result<Plan, String> {
    RolloutSpec::read(Some(spec))?.plan().map_err(|wrong| wrong.join("; "))
}

#[test]
fn what_is_left_out_is_the_careful_choice() {
    let plan = plan(&spec()).unwrap();
    assert_eq!((plan.spike, plan.silence, plan.stages[0].gate.findings), (1, 120, 0));
    assert_eq!((plan.stages.len(), plan.stages[1].approval, plan.accepted.len()), (2, false, 0));
    let read = RolloutSpec::read(Some(&spec())).unwrap();
    assert_eq!((read.drift, read.paused, read.commands.len()), (None, false, 0));
}

#[test]
fn what_is_no_plan_is_told_with_its_field() {
    for (path, value, says) in [
        ("/release/number", json!(0), "spec.release.number: 0 is what clusters had"),
        ("/fallback/number", json!(8), "spec.fallback.number: 8 does not come before release 8"),
        ("/stages", json!([]), "spec.stages: there must be 1 to 16"),
        ("/stages/1/name", json!("dev"), "spec.stages[1].name: \"dev\" is no name of its own"),
        ("/stages/1/clusters", json!({ "matchLabel": {} }), "spec.stages[1].clusters: "),
        (
            "/stages/0/clusters",
            json!({ "matchExpressions": [{ "key": "env", "operator": "In" }] }),
            "In and NotIn need at least one value",
        ),
        ("/stages/0/clusters", json!({ "matchLabels": { "a b": "x" } }), "spec.stages[0].clusters: "),
        ("/accepted", json!([{}]), "spec.accepted[0]: it accepts every denial"),
        ("/spike", json!(0), "spec.spike: it must be at least 1"),
        ("/silenceSeconds", json!(0), "spec.silenceSeconds: it must be at least 1"),
        ("/stages/0/gate/errorPercent", json!(101), "spec.stages[0].gate.errorPercent: 101 is no part of"),
        ("/fleet", json!("My fleet"), "\"My fleet\" is no name of a fleet"),
        ("/gates", json!({}), "unknown field `gates`"),
        ("/stages/0/gate", json!({ "seconds": 1 }), "missing field `flows`"),
        ("/commands", json!([{ "id": 1, "by": "ann", "verb": "Skip" }]), "unknown variant `Skip`"),
    ] {
        let said = plan(&with(path, value)).unwrap_err();
        assert!(said.contains(says), "{path}: {said}");
    }
    assert_eq!(RolloutSpec::read(None).unwrap_err(), "spec is missing");
}

fn eight() -> Release {
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "podSelector": {} },
    });
    let header = Header { number: 8, fallback: Some(reference(7)), rollback_to: None };
    Release::build(header, &[policy]).unwrap().0
}

#[test]
fn the_release_at_the_hub_must_be_the_one_that_is_meant() {
    let eight = eight();
    let asked = |release: Ref, fallback: Value| {
        let spec = with("/fallback", fallback);
        RolloutSpec { release, ..RolloutSpec::read(Some(&spec)).unwrap() }
    };
    let sealed = Envelope::seal(&eight, &[]);
    let seven = json!(reference(7));
    assert_eq!(asked(eight.reference(), seven.clone()).agrees_with(&sealed), Ok(()));
    let other = asked(Ref { number: 8, ..reference(1) }, seven).agrees_with(&sealed).unwrap_err();
    assert!(other.contains("release-8 at the hub is release 8"), "{other}");
    for fallback in [json!(reference(6)), Value::Null] {
        let said = asked(eight.reference(), fallback).agrees_with(&sealed).unwrap_err();
        assert!(said.contains("was signed to fall back to {number: 7, digest: sha256:"), "{said}");
    }
}

#[test]
fn a_rollout_of_a_fleet_selects_its_clusters_alone_and_takes_no_release_of_another() {
    let mut of_shops = with("/fleet", json!("shops"));
    let stages = plan(&of_shops).unwrap().stages;
    let labels =
        |of: &[(&str, &str)]| of.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let fleet = "cofferdam.dev/fleet";
    assert!(stages[0].clusters.selects(&labels(&[("env", "dev"), (fleet, "shops")])));
    for others in [&[("env", "dev")][..], &[("env", "dev"), (fleet, "banks")], &[(fleet, "shops")]] {
        assert!(!stages[0].clusters.selects(&labels(others)), "{others:?}");
    }
    of_shops["stages"][1]["clusters"]["matchLabels"][fleet] = "banks".into();
    let said = plan(&of_shops).unwrap_err();
    assert_eq!(said, "spec.stages[1].clusters: it selects clusters of fleet banks, and spec.fleet is shops");

    let release = eight();
    let asked = |of: Option<&str>| {
        let fleet = of.map(|it| it.parse().unwrap());
        let spec = RolloutSpec::read(Some(&spec())).unwrap();
        RolloutSpec { release: release.reference(), fleet, ..spec }
    };
    let unnamed = Envelope::seal(&release, &[]);
    let shops = Envelope::seal(&release.clone().of_fleet("shops".parse().unwrap()).unwrap(), &[]);
    for (of, envelope) in [(None, &shops), (Some("shops"), &shops), (Some("shops"), &unnamed)] {
        assert_eq!(asked(of).agrees_with(envelope), Ok(()), "{of:?}");
    }
    let said = asked(Some("banks")).agrees_with(&shops).unwrap_err();
    assert_eq!(said, "spec.fleet says banks, and release-8 was signed for fleet shops");
}

/// A rollout over clusters with these values of `env`, at an hour, with members.
fn contender(name: &str, hour: u32, stages: &[&str], phase: Phase, members: &[&str]) -> Contender {
    let stage = |env: &&str| json!({ "name": env, "clusters": { "matchLabels": { "env": env } }, "gate": { "seconds": 1, "flows": 1 } });
    let stages: Vec<Value> = stages.iter().map(stage).collect();
    let plan = plan(&with("/stages", json!(stages))).unwrap();
    let member = Member {
        stage: 0,
        before: reference(7),
        told: Told::Shadow,
        failing_since: None,
        settled: false,
        late: false,
    };
    let members = members.iter().map(|it| ((*it).to_owned(), member.clone())).collect();
    let state = State { phase, members, ..State::default() };
    Contender { name: name.to_owned(), created: format!("2026-01-01T{hour:02}:00:00Z"), plan, state }
}

fn clusters() -> Labels {
    let label = |env: &str| BTreeMap::from([("env".into(), env.into())]);
    [("d", "dev"), ("p", "prod"), ("q", "prod")].map(|(name, env)| (name.to_owned(), label(env))).into()
}

#[test]
fn one_cluster_is_of_one_rollout() {
    use Phase::*;
    // For each rollout in order: clusters that are another's, and whether it may not begin.
    type Expected = &'static [(&'static str, bool)];
    let cases: [(&str, Vec<Contender>, Expected); 11] = [
        (
            "the older of two that have not begun",
            vec![
                contender("b", 2, &["dev"], Waiting, &[]),
                contender("a", 1, &["dev", "prod"], Waiting, &[]),
            ],
            &[("d=a", true), ("", false)],
        ),
        (
            "of two of one age, by name",
            vec![contender("b", 1, &["dev"], Waiting, &[]), contender("a", 1, &["dev"], Waiting, &[])],
            &[("d=a", true), ("", false)],
        ),
        (
            "who has begun, before who is older",
            vec![contender("a", 1, &["dev"], Waiting, &[]), contender("b", 2, &["dev"], Shadow, &["d"])],
            &[("d=b", true), ("", false)],
        ),
        (
            "a stage that is still to come is reserved",
            vec![
                contender("a", 2, &["prod"], Waiting, &[]),
                contender("b", 1, &["dev", "prod"], Shadow, &["d"]),
            ],
            &[("p=b q=b", true), ("", false)],
        ),
        (
            "nobody is in the way of others",
            vec![contender("a", 1, &["dev"], Shadow, &["d"]), contender("b", 2, &["prod"], Waiting, &[])],
            &[("", false), ("", false)],
        ),
        (
            "who is done gives way once it is taken, and not before",
            vec![
                contender("a", 1, &["dev", "prod"], Done, &["d", "p"]),
                contender("b", 2, &["dev", "prod"], Shadow, &["d"]),
            ],
            &[("d=b q=b", false), ("", false)],
        ),
        (
            "of those that are over, the newest",
            vec![contender("a", 1, &["dev"], Done, &["d"]), contender("b", 2, &["dev"], RolledBack, &["d"])],
            &[("d=b", false), ("", false)],
        ),
        (
            "what comes late is of the newest that is done",
            vec![
                contender("a", 1, &["dev", "prod"], Done, &["d"]),
                contender("b", 2, &["prod"], Done, &["p"]),
                contender("c", 3, &["prod"], RolledBack, &[]),
            ],
            &[("p=b q=b", false), ("", false), ("", false)],
        ),
        (
            "what got other labels comes late to the newest that is done, whoever had it before",
            vec![
                contender("a", 1, &["dev"], Done, &["d", "p"]),
                contender("b", 2, &["prod"], Done, &["q"]),
                contender("c", 3, &["dev"], RolledBack, &["d"]),
            ],
            &[("d=c p=b", false), ("", false), ("", false)],
        ),
        (
            "who goes back keeps what it has, and takes no more",
            vec![
                contender("a", 1, &["dev", "prod"], RollingBack, &["d"]),
                contender("b", 2, &["prod"], Waiting, &[]),
            ],
            &[("", false), ("", false)],
        ),
        (
            "who was refused reserves nothing",
            vec![
                contender("a", 1, &["dev"], Shadow, &["d"]),
                contender("b", 2, &["dev", "prod"], Waiting, &[]),
                contender("c", 3, &["prod"], Waiting, &[]),
            ],
            &[("", false), ("d=a p=c q=c", true), ("", false)],
        ),
    ];
    for (case, contenders, expected) in cases {
        let shares = share(&contenders, &clusters());
        let shown: Vec<(String, bool)> = shares
            .iter()
            .map(|it| {
                let held: Vec<String> =
                    it.held_by.iter().map(|(cluster, other)| format!("{cluster}={other}")).collect();
                (held.join(" "), !it.refused.is_empty())
            })
            .collect();
        let expected: Vec<(String, bool)> =
            expected.iter().map(|(held, refused)| ((*held).to_owned(), *refused)).collect();
        assert_eq!(shown, expected, "{case}");
    }
    let two = [contender("a", 1, &["dev"], Shadow, &["d"]), contender("b", 2, &["dev"], Waiting, &[])];
    let refused = &share(&two, &clusters())[1].refused;
    assert_eq!(refused, &["d is of rollout a (Shadow): let that end, or abort or delete it"]);
}

#[test]
fn conditions_say_what_goes_on_and_keep_their_time() {
    let plan = plan(&spec()).unwrap();
    let seen = Seen::default();
    let said = |status: &RolloutStatus| -> String {
        let all = status.conditions.iter().filter(|it| it.status == "True");
        all.map(|it| format!("{}:{}", it.kind, it.reason)).collect::<Vec<_>>().join(" ")
    };
    let (state, _) = step(&plan, State::default(), &seen, 1);
    let stages = look(&plan, &state, &seen, 1);
    let first = RolloutStatus::next(
        &RolloutStatus::default(),
        (state.clone(), &stages),
        &Accepted::Yes,
        3,
        "2026-01-01T00:00:00Z",
    );
    assert_eq!(said(&first), "Accepted:Understood Held:Missing");
    assert_eq!((first.stage.as_str(), first.observed_generation), ("dev", 3));
    assert!(first.waits.contains("the stage selects no cluster"), "{}", first.waits);
    assert!(first.conditions[0].message.contains("no cluster has the labels of stage dev, prod"));

    let wrong = Accepted::Invalid(vec!["spec.spike: it must be at least 1".to_owned()]);
    let second = RolloutStatus::next(&first, (state, &stages), &wrong, 4, "2026-01-01T01:00:00Z");
    assert_eq!(said(&second), "Held:NotAccepted");
    let times: Vec<&str> = second.conditions.iter().map(|it| it.last_transition_time.as_str()).collect();
    assert_eq!(times[0], "2026-01-01T01:00:00Z");
    assert!(times[1..].iter().all(|it| *it == "2026-01-01T00:00:00Z"), "{times:?}");

    for (phase, paused, expected) in [
        (Phase::Shadow, None, "Accepted:Understood Progressing:Shadow"),
        (Phase::RollingBack, None, "Accepted:Understood Progressing:RollingBack"),
        (Phase::RollingBack, Some("ann"), "Accepted:Understood Held:ClustersNotBack"),
        (Phase::Done, None, "Accepted:Understood Done:Done"),
        (Phase::Done, Some("ann"), "Accepted:Understood Held:LateClusters Done:Done"),
        (Phase::RolledBack, None, "Accepted:Understood RolledBack:RolledBack"),
        (Phase::Enforce, Some("ann"), "Accepted:Understood Held:Paused"),
    ] {
        let state =
            State { phase, paused: paused.map(str::to_owned), held: paused.is_some(), ..State::default() };
        let status = RolloutStatus::next(&first, (state, &stages), &Accepted::Yes, 4, "t");
        assert_eq!(said(&status), expected, "{phase:?}");
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<RolloutStatus>(&text).unwrap(), status);
    }
    assert_eq!(serde_json::from_str::<Verb>("\"Abort\"").unwrap(), Verb::Abort);
}

/// The API server takes a megabyte of anything from a cluster that was taken over.
#[test]
fn whatever_a_cluster_says_of_itself_its_rollout_can_be_written_and_read() {
    let long = "é".repeat(20_000);
    let denial = Denial { source: long.clone(), destination: long.clone(), port: 443, count: u64::MAX };
    let evidence = Evidence {
        seconds: u64::MAX,
        flows: u64::MAX,
        denials: vec![denial; 150],
        more_denials: u64::MAX,
        findings: u64::MAX,
        by_severity: Findings { low: u64::MAX, medium: u64::MAX, high: u64::MAX },
        errors: None,
        unwatched: Some(long.clone()),
        ..Evidence::nothing(reference(8), Mode::Shadow)
    };
    let said = |problems: Vec<String>| ClusterStatus {
        beat: 1,
        enforced: reference(7),
        shadow: Some(reference(8)),
        evidence: Some(evidence.clone()),
        problems,
        drift: Vec::new(),
        effective: Effective::of(&[]),
        memory: Memory::default(),
    };
    let plan = plan(&spec()).unwrap();
    for problems in [Vec::new(), vec![long.clone(); 500]] {
        let report = said(problems.clone()).report(1000);
        assert_eq!(report.problems.is_empty(), problems.is_empty());
        assert_eq!(report.evidence.as_ref().unwrap().denials.len(), MOST_DENIALS);
        let labels = BTreeMap::from([("env".into(), "dev".into())]);
        let cluster = Cluster { labels, report: Some(report), ..Cluster::default() };
        let clusters = (0..40).map(|number| (format!("dev-{number}"), cluster.clone())).collect();
        let seen = Seen { clusters, ..Seen::default() };
        let (state, _) = step(&plan, State::default(), &seen, 1000);
        let (state, _) = step(&plan, state, &seen, 1001);
        assert!(state.phase == Phase::Shadow && state.held, "{state:?}");
        let stages = look(&plan, &state, &seen, 1001);
        let status = RolloutStatus::next(
            &RolloutStatus::default(),
            (state, &stages),
            &Accepted::Yes,
            1,
            "2026-01-01T00:00:00Z",
        );
        let text = serde_json::to_string(&status).unwrap();
        assert!(text.len() < 100_000, "{} bytes", text.len());
        // What is larger comes back from an API server as another kind of number.
        let numbers = status.stages[0].numbers;
        assert!(
            [numbers.flows, numbers.denials, numbers.findings].iter().all(|it| *it < 1 << 53),
            "{numbers:?}"
        );
        assert_eq!(numbers.denials > 0, problems.is_empty(), "what was cut off counts");
    }
}

#[test]
fn the_example_says_the_digests_of_its_own_policies() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/fleet");
    let text = |path: &str| std::fs::read(format!("{folder}/{path}")).unwrap();
    let reference = |number: u64| {
        let values = crds::as_json("policies.yaml", &text(&format!("{number}/policies.yaml")));
        Release::build(Header { number, fallback: None, rollback_to: None }, &values).unwrap().0.reference()
    };
    for number in [8, 9] {
        let object = crds::as_json("rollout.yaml", &text(&format!("rollout-{number}.yaml"))).remove(0);
        let spec = RolloutSpec::read(object.get("spec")).unwrap();
        let plan = spec.plan().unwrap();
        assert_eq!((plan.release, plan.fallback), (reference(number), Some(reference(7))));
        assert_eq!((plan.stages.len(), plan.stages[1].approval), (2, true));
    }
}
