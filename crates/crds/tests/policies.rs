//! Policies: what is accepted, what is rejected and how, and what is left of a policy that is rejected.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use crds::{
    ClusterPeer, ClusterPolicy, Code, NetworkPolicy, NetworkPolicyPeer, Object, PolicyTypes, Read,
    read_objects,
};

fn network_policy(spec: &str) -> (NetworkPolicy, Read) {
    let text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: web}}\nspec: {spec}\n"
    );
    let read = read_objects("x.yaml", text.as_bytes());
    let [Object::NetworkPolicy(policy)] = read.objects.as_slice() else { panic!("{read:?}") };
    (policy.clone(), read)
}

fn cluster_policy(rest: &str) -> (ClusterPolicy, Read) {
    let text = format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: c}}\n\
         spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, {rest}}}\n"
    );
    let read = read_objects("x.yaml", text.as_bytes());
    let [Object::ClusterPolicy(policy)] = read.objects.as_slice() else { panic!("{read:?}") };
    (policy.clone(), read)
}

fn check(read: &Read, expected: &[(Code, &str)]) {
    let found: Vec<_> =
        read.diagnostics.iter().filter(|d| d.is_error()).map(|d| (d.code, d.field.as_str())).collect();
    assert_eq!(found, expected, "{:#?}", read.diagnostics);
}

#[test]
fn network_policies_are_accepted_as_the_api_accepts_them() {
    for spec in [
        "{}",
        "{podSelector: null}",
        "{podSelector: {}, ingress: [], egress: null}",
        "{podSelector: {}, ingress: [{}], policyTypes: []}",
        "{podSelector: {}, ingress: [{ports: [{}]}]}",
        "{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 80}]}]}",
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/8}}]}]}",
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0', except: ['fd00::/8']}}]}]}",
    ] {
        let (policy, read) = network_policy(spec);
        check(&read, &[]);
        assert!(!policy.broken, "{spec}");
    }
}

#[test]
fn network_policies_are_rejected_with_field_and_code() {
    for (spec, code, field) in [
        ("{podSelecter: {}}", Code::UnknownField, "spec"),
        ("[]", Code::WrongType, "spec"),
        ("{podSelector: {app: web}}", Code::UnknownField, "spec.podSelector"),
        ("{podSelector: {matchLabels: {a: 1}}}", Code::WrongType, "spec.podSelector.matchLabels.a"),
        ("{podSelector: {matchLabels: {a: yes}}}", Code::WrongType, "spec.podSelector.matchLabels.a"),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: in, values: [b]}]}}",
            Code::InvalidValue,
            "spec.podSelector.matchExpressions[0].operator",
        ),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: In}]}}",
            Code::InvalidSelector,
            "spec.podSelector.matchExpressions[0]",
        ),
        (
            "{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}",
            Code::InvalidSelector,
            "spec.podSelector.matchExpressions[0]",
        ),
        ("{policyTypes: [ingress]}", Code::InvalidValue, "spec.policyTypes[0]"),
        ("{ingress: {}}", Code::WrongType, "spec.ingress"),
        ("{ingress: [{to: []}]}", Code::UnknownField, "spec.ingress[0]"),
        ("{ingress: [{ports: [{port: 0}]}]}", Code::InvalidPort, "spec.ingress[0].ports[0].port"),
        ("{ingress: [{ports: [{port: 65536}]}]}", Code::InvalidPort, "spec.ingress[0].ports[0].port"),
        ("{ingress: [{ports: [{port: '80'}]}]}", Code::InvalidPort, "spec.ingress[0].ports[0].port"),
        (
            "{ingress: [{ports: [{port: 80, endPort: 79}]}]}",
            Code::InvalidPort,
            "spec.ingress[0].ports[0].endPort",
        ),
        ("{ingress: [{ports: [{endPort: 79}]}]}", Code::InvalidPort, "spec.ingress[0].ports[0].endPort"),
        ("{ingress: [{ports: [{protocol: tcp}]}]}", Code::InvalidValue, "spec.ingress[0].ports[0].protocol"),
        (
            "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0}}]}]}",
            Code::InvalidCidr,
            "spec.ingress[0].from[0].ipBlock.cidr",
        ),
        (
            "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}",
            Code::InvalidCidr,
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (
            "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}]}",
            Code::InvalidCidr,
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (
            "{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}",
            Code::ExactlyOne,
            "spec.ingress[0].from[0]",
        ),
        ("{policyTypes: [Ingress, Egress, Ingress]}", Code::ListLength, "spec.policyTypes"),
        (
            "{ingress: [{from: [{podSelector: {}, namespaceSelecter: {}}]}]}",
            Code::UnknownField,
            "spec.ingress[0].from[0]",
        ),
    ] {
        let (policy, read) = network_policy(spec);
        check(&read, &[(code, field)]);
        assert!(policy.broken, "{spec}");
    }
}

#[test]
fn what_could_be_read_of_a_broken_policy_never_selects_less_than_was_meant() {
    let (policy, _) = network_policy("{podSelector: {matchLabels: {a: b, c: 1}}, policyTypes: [Egress]}");
    assert_eq!(policy.pod_selector, None);
    assert_eq!(policy.policy_types, PolicyTypes::Listed { ingress: false, egress: true });
    let (policy, _) = network_policy("{podSelector: {}, policyType: [Egress]}");
    assert_eq!(policy.policy_types, PolicyTypes::Unreadable);
    let (policy, _) = network_policy("{podSelector: {}, egress: [{too: []}]}");
    assert!(policy.egress.written && policy.egress.rules.is_empty());
}

#[test]
fn a_peer_without_a_known_field_is_kept_and_is_never_everyone() {
    for (peer, fields) in [("{}", vec![]), ("{serviceSelector: {}}", vec!["serviceSelector".to_owned()])] {
        let (policy, read) = network_policy(&format!("{{ingress: [{{from: [{peer}]}}]}}"));
        check(&read, &[(Code::UnknownPeer, "spec.ingress[0].from[0]")]);
        assert!(!policy.broken);
        assert_eq!(
            policy.ingress.rules[0].peers[0].value,
            NetworkPolicyPeer::Unknown { fields: fields.clone() }
        );
        let (policy, read) = cluster_policy(&format!("egress: [{{action: Deny, to: [{peer}]}}]"));
        check(&read, &[(Code::UnknownPeer, "spec.egress[0].to[0]")]);
        assert!(!policy.broken);
        assert_eq!(policy.egress.rules[0].peers[0].value, ClusterPeer::Unknown { fields });
    }
}

#[test]
fn cluster_policies_are_rejected_with_field_and_code() {
    for (rest, code, field) in [
        ("x: 1", Code::UnknownField, "spec"),
        (
            "ingress: [{action: Allow, from: [{namespaces: {}}]}]",
            Code::InvalidValue,
            "spec.ingress[0].action",
        ),
        ("ingress: [{action: Deny}]", Code::MissingField, "spec.ingress[0].from"),
        ("ingress: [{action: Deny, from: []}]", Code::ListLength, "spec.ingress[0].from"),
        (
            "ingress: [{action: Deny, from: [{namespaces: {}, pods: {}}]}]",
            Code::ExactlyOne,
            "spec.ingress[0].from[0]",
        ),
        (
            "ingress: [{action: Deny, from: [{pods: {namespaceSelector: {}}}]}]",
            Code::MissingField,
            "spec.ingress[0].from[0].pods.podSelector",
        ),
        ("egress: [{action: Deny, to: [{networks: []}]}]", Code::ListLength, "spec.egress[0].to[0].networks"),
        (
            "egress: [{action: Deny, to: [{networks: [10.0.0.0/8, 10.0.0.0/8]}]}]",
            Code::InvalidValue,
            "spec.egress[0].to[0].networks",
        ),
        (
            "egress: [{action: Accept, to: [{domainNames: [a.b, c.d, a.b]}]}]",
            Code::InvalidValue,
            "spec.egress[0].to[0].domainNames",
        ),
        (
            "egress: [{action: Deny, to: [{networks: ['::/0', '::ffff:192.0.2.0/120']}]}]",
            Code::InvalidCidr,
            "spec.egress[0].to[0].networks[1]",
        ),
        ("egress: [{action: Deny, to: [{domainNames: [a.b]}]}]", Code::InvalidValue, "spec.egress[0]"),
        (
            "egress: [{action: Accept, to: [{domainNames: ['a.*.b']}]}]",
            Code::InvalidDomain,
            "spec.egress[0].to[0].domainNames[0]",
        ),
        (
            "egress: [{action: Accept, to: [{nodes: {}}], protocols: [{destinationNamedPort: web}]}]",
            Code::InvalidPort,
            "spec.egress[0]",
        ),
        (
            "egress: [{action: Accept, to: [{pods: {podSelector: {}}}], protocols: []}]",
            Code::ListLength,
            "spec.egress[0].protocols",
        ),
        (
            "egress: [{action: Accept, to: [{pods: {podSelector: {}}}], protocols: [{tcp: {}}]}]",
            Code::MissingField,
            "spec.egress[0].protocols[0].tcp",
        ),
        (
            "egress: [{action: Accept, to: [{pods: {podSelector: {}}}], protocols: [{tcp: {destinationPort: {range: {start: 5, end: 5}}}}]}]",
            Code::InvalidPort,
            "spec.egress[0].protocols[0].tcp.destinationPort.range",
        ),
        (
            "egress: [{action: Accept, to: [{pods: {podSelector: {}}}], protocols: [{tcp: {destinationPort: {number: 5}}, destinationNamedPort: a}]}]",
            Code::ExactlyOne,
            "spec.egress[0].protocols[0]",
        ),
    ] {
        let (policy, read) = cluster_policy(rest);
        check(&read, &[(code, field)]);
        assert!(policy.broken && policy.subject.is_some(), "{rest}");
    }
    let rules = vec!["{action: Deny, from: [{pods: {podSelector: null}}]}"; 26].join(", ");
    check(&cluster_policy(&format!("ingress: [{rules}]")).1, &[(Code::ListLength, "spec.ingress")]);
}

#[test]
fn domain_names_in_the_baseline_tier_are_taken_with_a_warning() {
    let text = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\n\
        spec: {tier: Baseline, priority: 1, subject: {namespaces: {}}, egress: [{action: Accept, to: [{domainNames: ['*.A.b.']}]}]}";
    let read = read_objects("x.yaml", text.as_bytes());
    assert_eq!(
        read.diagnostics.iter().map(|d| (d.code, d.is_error())).collect::<Vec<_>>(),
        [(Code::Unsupported, false)]
    );
    let [Object::ClusterPolicy(policy)] = read.objects.as_slice() else { panic!("{read:?}") };
    assert_eq!(policy.egress.rules[0].peers[0].value, ClusterPeer::DomainNames(vec!["*.a.b".into()]));
}

#[test]
fn policy_kinds_nobody_knows_are_errors_and_other_kinds_are_notes() {
    for (version, kind, code, error) in [
        ("policy.networking.k8s.io/v1", "FleetPolicy", Code::UnknownPolicyKind, true),
        ("policy.networking.k8s.io/v1beta9", "ClusterNetworkPolicy", Code::UnknownPolicyKind, true),
        ("networking.k8s.io/v1", "Networkpolicy", Code::UnknownPolicyKind, true),
        ("v1", "NetworkPolicy", Code::UnknownPolicyKind, true),
        ("cofferdam.dev/v1alpha1", "Budget", Code::UnknownPolicyKind, true),
        ("cilium.io/v2", "CiliumNetworkPolicy", Code::UnknownKind, false),
        ("v1", "ConfigMap", Code::UnknownKind, false),
    ] {
        let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n");
        let read = read_objects("x.yaml", text.as_bytes());
        let found = read.diagnostics.iter().find(|d| d.code == code).expect(kind);
        assert_eq!(found.is_error(), error, "{found}");
    }
}

#[test]
fn a_duplicate_key_breaks_only_the_policy_it_is_in() {
    let policy = |name: &str, more: &str| {
        format!(
            "- {{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}}}, spec: {{podSelector: {{}}{more}}}}}\n"
        )
    };
    let text = format!(
        "apiVersion: v1\nkind: List\nitems:\n{}{}{}",
        policy("a", ""),
        policy("b", ", podSelector: {matchLabels: {x: z}}"),
        policy("c", "")
    );
    let read = read_objects("x.yaml", text.as_bytes());
    let broken: Vec<_> = read
        .objects
        .iter()
        .filter_map(|o| if let Object::NetworkPolicy(p) = o { Some(p.broken) } else { None })
        .collect();
    assert_eq!(broken, [false, true, false]);
    assert_eq!(read.diagnostics[0].object.as_ref().unwrap().to_string(), "NetworkPolicy default/b");
}

#[test]
fn a_diagnostic_reads_well_and_serializes() {
    let (_, read) = network_policy("\n  podSelector: {}\n  ingress:\n  - form: []\n");
    assert_eq!(
        read.diagnostics[0].to_string(),
        "error: x.yaml:7:5: NetworkPolicy default/web: spec.ingress[0]: unknown field \"form\" [unknown-field]\n  help: did you mean \"from\"?"
    );
    let json = serde_json::to_value(&read.diagnostics[0]).unwrap();
    assert_eq!((&json["severity"], &json["code"]), (&"error".into(), &"unknown-field".into()));
    assert_eq!((&json["position"]["line"], &json["object"]["name"]), (&7.into(), &"web".into()));
}
