//! EgressPolicy and ClusterEgressPolicy: what is accepted, what is refused and where, and what is kept of what is broken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the failure report")]

use crds::{
    Answers, Budget, Budgets, Capture, Code, Credential, EgressPeer, EgressPolicy, EgressPolicyKind,
    EgressReach, HostedTools, LeakAction, Leaks, MOST_BYTES, Object, Operations, ProviderEgress, Purpose,
    Read, Requests, Resolver, RuleAction, UploadLimits, Verb, WhenUnopened, read_objects,
};
use std::sync::Arc;

fn read(kind: &str, spec: &str) -> (EgressPolicy, Read) {
    let yaml = format!(
        "apiVersion: cofferdam.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: p, namespace: x}}\nspec: {spec}\n"
    );
    let read = read_objects("t.yaml", yaml.as_bytes());
    let Some(Object::EgressPolicy(policy)) = read.objects.first() else { panic!("{read:#?}") };
    (policy.clone(), read)
}

fn own(spec: &str) -> (EgressPolicy, Read) {
    read("EgressPolicy", spec)
}

fn errors(read: &Read) -> Vec<(Code, &str)> {
    let errors = read.diagnostics.iter().filter(|it| it.is_error());
    errors.map(|it| (it.code, it.field.as_str())).collect()
}

#[test]
fn everything_that_can_be_written_is_read() {
    let (policy, read) = own("
  subject: {podSelector: {matchLabels: {app: trainer}}}
  egress:
  - name: hub
    action: Allow
    to:
    - domains: ['*.Example.com.', '**.example.org', api.example.net]
    - {provider: s3, for: [storage], with: {bucket: mine, region: eu-west-1}}
    - networks: [203.0.113.0/24]
    ports: [{port: 443}, {port: 8000, endPort: 8100}, {protocol: UDP}]
  - {action: Deny, to: [{domains: [paste.example.com]}]}
  dns:
    names: ['**.cluster.local']
    fromRules: true
    resolvers:
    - pods: {namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}
    - networks: [192.0.2.53/32]
");
    assert_eq!(errors(&read), []);
    assert!(!policy.broken && policy.kind() == EgressPolicyKind::EgressPolicy);
    let [hub, paste] = policy.egress.rules.as_slice() else { panic!("{policy:#?}") };
    assert_eq!(
        (hub.name.as_deref(), hub.action, paste.action),
        (Some("hub"), RuleAction::Accept, RuleAction::Deny)
    );
    let peers: Vec<&EgressPeer> = hub.peers.iter().map(|peer| &peer.value).collect();
    let [EgressPeer::Domains(domains), EgressPeer::Provider(provider), EgressPeer::Networks(networks)] =
        peers[..]
    else {
        panic!("{peers:#?}")
    };
    assert!(domains.iter().map(|it| &**it).eq(["*.example.com", "**.example.org", "api.example.net"]));
    assert_eq!((&*provider.name, &*provider.purposes), ("s3", [Purpose::Storage].as_slice()));
    assert!(
        provider.with.iter().map(|(k, v)| (&**k, &**v)).eq([("bucket", "mine"), ("region", "eu-west-1")])
    );
    assert_eq!(networks.len(), 1);
    let ports: Vec<_> = hub.ports.iter().map(|port| port.value.range).collect();
    assert_eq!(ports, [Some((443, 443)), Some((8000, 8100)), None]);
    assert_eq!(policy.dns.names.as_ref().unwrap().value.len(), 1);
    assert!(policy.dns.from_rules.is_some());
    let resolvers = &policy.dns.resolvers.as_ref().unwrap().value;
    assert!(matches!(resolvers[..], [Resolver::Pods { .. }, Resolver::Networks(_)]));
}

/// A rule of each kind of policy, with these fields beside `action` and `to`.
fn rule_with(action: &str, to: &str, more: &str) -> [(EgressPolicy, Read); 2] {
    let egress = format!("egress: [{{action: {action}, to: [{to}]{more}}}]");
    let cluster = format!("{{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, {egress}}}");
    [own(&format!("{{{egress}}}")), read("ClusterEgressPolicy", &cluster)]
}

#[test]
fn what_may_be_uploaded_is_whole_bytes_or_a_quantity() {
    let all = "{domains: [a.io]}, {provider: hub}";
    for (written, connection, hour, day) in [
        ("{connection: 1Mi, hour: 50Mi, day: 1Gi}", Some(1 << 20), Some(50 << 20), Some(1 << 30)),
        ("{connection: 1048576}", Some(1 << 20), None, None),
        ("{hour: '1'}", None, Some(1), None),
        ("{day: 2Ki, hour: 3k}", None, Some(3000), Some(2048)),
        (
            "{day: 2M, hour: 3G, connection: 4T}",
            Some(4_000_000_000_000),
            Some(3_000_000_000),
            Some(2_000_000),
        ),
        ("{day: 4194304Ti}", None, None, Some(MOST_BYTES)),
        ("{day: 4611686018427387904, hour: null}", None, None, Some(MOST_BYTES)),
    ] {
        for (only, download_only) in
            [("", false), (", downloadOnly: false", false), (", downloadOnly: true", true)]
        {
            for (policy, read) in rule_with("Allow", all, &format!(", maxUploadBytes: {written}{only}")) {
                assert_eq!(errors(&read), [], "{written}");
                let expected = UploadLimits { connection, hour, day, download_only };
                assert_eq!(policy.egress.rules[0].upload, Some(expected), "{written}");
            }
        }
    }
    for (policy, read) in
        rule_with("Allow", all, ", downloadOnly: true, ports: [{port: 443}, {protocol: TCP}]")
    {
        assert_eq!(errors(&read), []);
        let expected = UploadLimits { download_only: true, ..UploadLimits::default() };
        assert_eq!(policy.egress.rules[0].upload, Some(expected));
    }
    // False is as if it were not written.
    for (action, to) in [("Allow", "{networks: [192.0.2.0/24]}"), ("Deny", all)] {
        for (policy, read) in rule_with(action, to, ", downloadOnly: false, ports: [{protocol: UDP}]") {
            assert_eq!(errors(&read), []);
            assert_eq!(policy.egress.rules[0].upload, None);
        }
    }
}

#[test]
fn limits_of_uploads_that_cannot_be_counted_are_refused_with_field_and_way_out() {
    let (names, network) = ("{domains: [a.io]}", "{provider: hub}, {networks: [192.0.2.0/24]}");
    let limit = ", maxUploadBytes: {hour: 1Mi}";
    let value = |text: &str| format!(", maxUploadBytes: {{hour: {text}}}");
    let mut cases = vec![
        ("Allow", names, ", maxUploadBytes: {}".to_owned(), Code::MissingField, "maxUploadBytes"),
        ("Allow", names, ", maxUploadBytes: 1Mi".to_owned(), Code::WrongType, "maxUploadBytes"),
        ("Allow", names, ", maxUploadBytes: {week: 1Mi}".to_owned(), Code::UnknownField, "maxUploadBytes"),
        ("Allow", names, ", downloadOnly: 'true'".to_owned(), Code::WrongType, "downloadOnly"),
        ("Allow", names, ", uploadOnly: true".to_owned(), Code::UnknownField, ""),
        ("Deny", names, limit.to_owned(), Code::InvalidValue, "maxUploadBytes"),
        ("Deny", names, ", downloadOnly: true".to_owned(), Code::InvalidValue, "downloadOnly"),
        ("Allow", network, limit.to_owned(), Code::InvalidValue, "to[1].networks"),
        ("Allow", network, ", downloadOnly: true".to_owned(), Code::InvalidValue, "to[1].networks"),
        (
            "Allow",
            names,
            format!("{limit}, ports: [{{port: 443}}, {{protocol: UDP}}]"),
            Code::InvalidValue,
            "ports[1].protocol",
        ),
        (
            "Allow",
            names,
            format!("{limit}, ports: [{{protocol: SCTP, port: 1}}]"),
            Code::InvalidValue,
            "ports[0].protocol",
        ),
    ];
    for text in [
        "0",
        "-1",
        "0Ki",
        "1.5Gi",
        "'1.5'",
        "1Pi",
        "1 Mi",
        "+1k",
        "-1k",
        "'010'",
        "Mi",
        "''",
        "4194305Ti",
        "99999999999999999999",
    ] {
        let code = if text == "99999999999999999999" { Code::WrongType } else { Code::InvalidValue };
        cases.push(("Allow", names, value(text), code, "maxUploadBytes.hour"));
    }
    cases.push(("Allow", names, value("1.5"), Code::WrongType, "maxUploadBytes.hour"));
    cases.push(("Allow", names, value("[1]"), Code::WrongType, "maxUploadBytes.hour"));
    for (action, to, more, code, field) in cases {
        let field = format!("spec.egress[0].{field}");
        for (policy, read) in rule_with(action, to, &more) {
            let found = read.diagnostics.iter().find(|it| it.is_error());
            let Some(found) = found else { panic!("{action} {to}{more} was accepted") };
            assert_eq!((found.code, found.field.as_str()), (code, field.trim_end_matches('.')), "{found}");
            assert!(found.position.is_some() && found.object.is_some(), "{found}");
            assert!(found.suggestion.is_some() || code == Code::WrongType, "{found}");
            assert!(policy.broken, "{found}");
        }
    }
    let [_, (policy, read)] = rule_with("Pass", names, limit);
    assert_eq!(errors(&read), [(Code::InvalidValue, "spec.egress[0].maxUploadBytes")]);
    assert!(policy.broken);
}

#[test]
fn a_cluster_policy_has_tier_priority_and_pass() {
    let (policy, read) = read(
        "ClusterEgressPolicy",
        "
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  egress: [{action: Pass, to: [{domains: [a.io]}]}]
",
    );
    // That it stands in a namespace is told, and changes nothing.
    assert_eq!(errors(&read), []);
    assert!(matches!(
        policy.reach,
        EgressReach::Cluster { tier: Some(_), priority: Some(10), subject: Some(_) }
    ));
    assert_eq!((policy.egress.rules[0].action, &*policy.meta.namespace), (RuleAction::Pass, ""));
}

#[test]
fn left_out_is_everything_or_nothing_as_documented() {
    for spec in ["{}", "{subject: {}}", "{subject: {podSelector: {}}, egress: []}"] {
        let (policy, read) = own(spec);
        assert_eq!(errors(&read), []);
        let EgressReach::Namespaced { pods: Some(pods) } = &policy.reach else { panic!("{policy:#?}") };
        assert!(pods.is_everything() && policy.egress.rules.is_empty(), "{spec}");
        assert_eq!(policy.dns, crds::EgressDns::default());
    }
}

#[test]
fn what_is_wrong_is_refused_with_field_and_code() {
    let to = |entry: &str| format!("{{egress: [{{action: Allow, to: [{entry}]}}]}}");
    let ports =
        |ports: &str| format!("{{egress: [{{action: Allow, to: [{{domains: [a.io]}}], ports: [{ports}]}}]}}");
    let dns = |dns: &str| format!("{{dns: {{{dns}}}}}");
    for (spec, code, field) in [
        ("{subjet: {}}".to_owned(), Code::UnknownField, "spec"),
        ("{subject: {namespaces: {}}}".to_owned(), Code::UnknownField, "spec.subject"),
        ("{egress: [{to: [{domains: [a.io]}]}]}".to_owned(), Code::MissingField, "spec.egress[0].action"),
        (
            "{egress: [{action: Pass, to: [{domains: [a.io]}]}]}".to_owned(),
            Code::InvalidValue,
            "spec.egress[0].action",
        ),
        (
            "{egress: [{action: Accept, to: [{domains: [a.io]}]}]}".to_owned(),
            Code::InvalidValue,
            "spec.egress[0].action",
        ),
        ("{egress: [{action: Allow}]}".to_owned(), Code::MissingField, "spec.egress[0].to"),
        ("{egress: [{action: Allow, to: []}]}".to_owned(), Code::ListLength, "spec.egress[0].to"),
        ("{ingress: []}".to_owned(), Code::UnknownField, "spec"),
        (to("{}"), Code::ExactlyOne, "spec.egress[0].to[0]"),
        (to("{domains: [a.io], networks: [192.0.2.0/24]}"), Code::ExactlyOne, "spec.egress[0].to[0]"),
        (to("{domains: [a.io], for: [api]}"), Code::InvalidValue, "spec.egress[0].to[0].for"),
        (to("{domains: []}"), Code::ListLength, "spec.egress[0].to[0].domains"),
        (to("{domains: ['a.*.io']}"), Code::InvalidDomain, "spec.egress[0].to[0].domains[0]"),
        (to("{domains: ['*']}"), Code::InvalidDomain, "spec.egress[0].to[0].domains[0]"),
        (to("{domains: [192.0.2.1]}"), Code::InvalidDomain, "spec.egress[0].to[0].domains[0]"),
        (to("{networks: ['::ffff:192.0.2.0/120']}"), Code::InvalidCidr, "spec.egress[0].to[0].networks[0]"),
        (to("{networks: [192.0.2.1]}"), Code::InvalidCidr, "spec.egress[0].to[0].networks[0]"),
        (to("{provider: hub, for: [fun]}"), Code::InvalidValue, "spec.egress[0].to[0].for[0]"),
        (to("{provider: hub, with: {region: 'a.b'}}"), Code::InvalidDomain, "spec.egress[0].to[0].with"),
        (to("{pods: {}}"), Code::UnknownField, "spec.egress[0].to[0]"),
        (ports("{port: https}"), Code::InvalidPort, "spec.egress[0].ports[0].port"),
        (ports("{port: 0}"), Code::InvalidPort, "spec.egress[0].ports[0].port"),
        (ports("{port: 80, endPort: 79}"), Code::InvalidPort, "spec.egress[0].ports[0].endPort"),
        (ports("{endPort: 79}"), Code::InvalidPort, "spec.egress[0].ports[0].endPort"),
        (ports(""), Code::ListLength, "spec.egress[0].ports"),
        (dns("names: []"), Code::ListLength, "spec.dns.names"),
        (dns("names: [a]"), Code::InvalidDomain, "spec.dns.names[0]"),
        (dns("fromRules: maybe"), Code::WrongType, "spec.dns.fromRules"),
        (dns("resolvers: []"), Code::ListLength, "spec.dns.resolvers"),
        (dns("resolvers: [{}]"), Code::ExactlyOne, "spec.dns.resolvers[0]"),
        (
            dns("resolvers: [{pods: {podSelector: {}}}]"),
            Code::MissingField,
            "spec.dns.resolvers[0].pods.namespaceSelector",
        ),
    ] {
        let (policy, read) = own(&spec);
        assert!(errors(&read).contains(&(code, field)), "{spec}: {:#?}", read.diagnostics);
        assert!(policy.broken, "{spec}");
    }
}

#[test]
fn what_is_broken_never_selects_less_than_was_meant() {
    let pods = |spec: &str| match own(spec).0.reach {
        EgressReach::Namespaced { pods } => pods,
        EgressReach::Cluster { .. } => panic!("{spec}"),
    };
    assert_eq!(pods("{subject: {podSelector: {matchLabels: {a: 1}}}}"), None);
    assert_eq!(pods("[]"), None);
    assert!(pods("{subjet: {podSelector: {matchLabels: {a: b}}}}").unwrap().is_everything());
    let (policy, _) = read("ClusterEgressPolicy", "{tier: admin, priority: -1, subject: {}}");
    assert!(policy.broken);
    assert_eq!(policy.reach, EgressReach::Cluster { tier: None, priority: None, subject: None });
}

#[test]
fn a_document_that_is_no_yaml_and_a_version_that_is_not_known_are_broken_policies() {
    for (kind, namespace) in [("EgressPolicy", "x"), ("ClusterEgressPolicy", "")] {
        let yaml = format!(
            "apiVersion: cofferdam.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: p, namespace: x}}\nspec: {{egress: [\n"
        );
        for text in [yaml.clone(), yaml.replace("v1alpha1", "v9").replace("[\n", "[]}\n")] {
            let read = read_objects("t.yaml", text.as_bytes());
            let Some(Object::EgressPolicy(policy)) = read.objects.first() else { panic!("{read:#?}") };
            assert!(policy.broken && policy.kind().as_str() == kind, "{text}");
            assert_eq!(&*policy.meta.namespace, namespace);
        }
    }
}

#[test]
fn kinds_of_other_groups_are_not_meant_and_near_misses_of_ours_are_told() {
    let of = |kind: &str, group: &str| {
        let yaml = format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: p}}\n");
        read_objects("t.yaml", yaml.as_bytes())
    };
    let other = of("EgressPolicy", "example.com/v1");
    assert!(other.objects.is_empty() && errors(&other).is_empty());
    let near = of("EgresPolicy", "cofferdam.dev/v1alpha1");
    assert_eq!(errors(&near), [(Code::UnknownPolicyKind, "")]);
    let hint = near.diagnostics[0].suggestion.clone().unwrap();
    assert!(hint.contains("EgressPolicy of cofferdam.dev/v1alpha1"), "{hint}");
}

#[test]
fn two_stars_in_a_standard_policy_are_refused_with_what_they_mean_there() {
    let yaml = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\n\
                spec: {tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Accept, to: \
                [{domainNames: ['**.a.io']}]}]}\n";
    let read = read_objects("t.yaml", yaml.as_bytes());
    let hint = read.diagnostics[0].suggestion.clone().unwrap();
    assert!(hint.contains("\"*.a.io\" already means one or more labels"), "{hint}");
}

#[test]
fn which_requests_are_allowed_is_read_as_written() {
    let digest = "0123456789abcdef".repeat(4);
    let more = format!(
        ", operations: [{{verbs: [download, meta], resources: ['acme/*', '**']}}, {{verbs: [unknown]}}], models: ['gpt-4o*'], \
         tools: [read], credentials: [{{sha256: {digest}}}, {{awsKeyId: AKIA0123456789ABCDEF}}]"
    );
    for (policy, read) in rule_with("Allow", "{provider: hub}", &more) {
        assert_eq!(errors(&read), []);
        let texts = |texts: &[&str]| texts.iter().map(|text| Arc::from(*text)).collect::<Vec<Arc<str>>>();
        let expected = Requests {
            operations: vec![
                Operations { verbs: vec![Verb::Download, Verb::Meta], resources: texts(&["acme/*", "**"]) },
                Operations { verbs: vec![Verb::Unknown], resources: vec![] },
            ],
            models: texts(&["gpt-4o*"]),
            tools: texts(&["read"]),
            credentials: vec![
                Credential::Sha256(digest.as_str().into()),
                Credential::AwsKeyId("AKIA0123456789ABCDEF".into()),
            ],
            ..Requests::default()
        };
        assert_eq!(policy.egress.rules[0].requests, Some(expected));
    }
    let more = ", onlyReferred: true, leaks: {secrets: Block, personal: Mask, files: Block, canaries: {values: [a-mark-of-ours], \
                action: Report}, opaque: {action: Block}}, budgets: {requests: {hour: 10}, tokens: {hour: 2k, day: 1M}, \
                money: {day: '5.00'}}, capture: {answers: true, maxBytes: 4Ki}, answers: {pickles: Block, archives: Report}";
    for (policy, read) in rule_with("Allow", "{provider: hub}", more) {
        assert_eq!(errors(&read), []);
        let expected = Requests {
            only_referred: true,
            leaks: Leaks {
                secrets: Some(LeakAction::Block),
                personal: Some(LeakAction::Mask),
                files: Some(LeakAction::Block),
                canaries: Some((vec!["a-mark-of-ours".into()], LeakAction::Report)),
                opaque: Some((LeakAction::Block, 65536)),
            },
            answers: Answers { pickles: Some(LeakAction::Block), archives: Some(LeakAction::Report) },
            budgets: Budgets {
                requests: Budget { hour: Some(10), day: None },
                tokens: Budget { hour: Some(2000), day: Some(1_000_000) },
                money: Budget { hour: None, day: Some(5_000_000_000) },
            },
            capture: Some(Capture { requests: false, answers: true, max_bytes: Some(4096) }),
            ..Requests::default()
        };
        assert_eq!(policy.egress.rules[0].requests, Some(expected));
    }
    let kind = |policy: &crds::EgressPolicy| policy.kind();
    for (grant, expected) in [("1s", 1), ("60s", 60), ("5m", 300), ("1h", 3600)] {
        let more = format!(", redirects: {{grant: {grant}}}");
        for (policy, read) in rule_with("Allow", "{provider: hub}", &more) {
            let read_as = policy.egress.rules.first().and_then(|rule| rule.requests.as_ref()?.redirects);
            match kind(&policy) {
                crds::EgressPolicyKind::EgressPolicy => {
                    assert_eq!(errors(&read), []);
                    assert_eq!(read_as, Some(expected));
                }
                crds::EgressPolicyKind::ClusterEgressPolicy => {
                    let refused = [(Code::InvalidValue, "spec.egress[0].redirects")];
                    assert_eq!(errors(&read), refused, "{grant}");
                    assert!(policy.broken);
                }
            }
        }
    }
    let egress = ", providerEgress: {domains: ['*.A.io.', '**'], hostedTools: AllowedDomains}";
    for (policy, read) in rule_with("Allow", "{provider: hub}", egress) {
        assert_eq!(errors(&read), []);
        let domains = vec!["*.a.io".into(), "**".into()];
        let expected = ProviderEgress { domains, hosted_tools: HostedTools::AllowedDomains };
        let requests = Requests { provider_egress: expected, ..Requests::default() };
        assert_eq!(policy.egress.rules[0].requests, Some(requests));
    }
    let conditions = ", toolConditions: [{tool: 'write_*', when: 'args.n < 5'}]";
    for (policy, read) in rule_with("Allow", "{provider: hub}", conditions) {
        assert_eq!(errors(&read), []);
        let written = &policy.egress.rules[0].requests.as_ref().unwrap().tool_conditions[0].value;
        assert_eq!((&*written.tool, &*written.when.value), ("write_*", "args.n < 5"));
    }
    for (policy, read) in rule_with("Allow", "{networks: [192.0.2.0/24]}", ", onlyReferred: false") {
        assert_eq!(errors(&read), []);
        assert_eq!(policy.egress.rules[0].requests, None);
    }
}

#[test]
fn what_cannot_be_opened_passes_only_where_that_is_written_beside_a_limit() {
    for (more, expected) in [
        (", models: [a]", WhenUnopened::Deny),
        (", models: [a], whenUnopened: Deny", WhenUnopened::Deny),
        (", models: [a], whenUnopened: Pass, downloadOnly: true", WhenUnopened::Pass),
        (", leaks: {secrets: Block}, whenUnopened: Pass, maxUploadBytes: {day: 1Mi}", WhenUnopened::Pass),
    ] {
        for (policy, read) in rule_with("Allow", "{provider: hub}", more) {
            assert_eq!(errors(&read), [], "{more}");
            let requests = policy.egress.rules[0].requests.as_ref().unwrap();
            assert_eq!(requests.when_unopened, expected, "{more}");
        }
    }
}

#[test]
fn requests_that_cannot_be_judged_are_refused_with_field_and_way_out() {
    let (names, network) = ("{domains: [a.io]}", "{networks: [192.0.2.0/24]}");
    let download = "operations: [{verbs: [download]}]";
    let long = format!("models: [{}]", "m".repeat(513));
    for (action, to, more, code, field) in [
        ("Allow", names, "operations: []", Code::ListLength, "operations"),
        ("Allow", names, "operations: [{}]", Code::MissingField, "operations[0].verbs"),
        ("Allow", names, "operations: [{verbs: []}]", Code::ListLength, "operations[0].verbs"),
        ("Allow", names, "operations: [{verbs: [pull]}]", Code::InvalidValue, "operations[0].verbs[0]"),
        ("Allow", names, "operations: [{verbs: [call], host: a}]", Code::UnknownField, "operations[0]"),
        ("Allow", names, "models: ['']", Code::InvalidValue, "models[0]"),
        ("Allow", names, &long, Code::InvalidValue, "models[0]"),
        ("Allow", names, "tools: read", Code::WrongType, "tools"),
        ("Allow", names, "credentials: [{}]", Code::ExactlyOne, "credentials[0]"),
        ("Allow", names, "credentials: [{sha256: abc}]", Code::InvalidValue, "credentials[0].sha256"),
        ("Allow", names, "credentials: [{awsKeyId: AKIA-1}]", Code::InvalidValue, "credentials[0].awsKeyId"),
        (
            "Allow",
            names,
            "models: [a], downloadOnly: true, whenUnopened: Allow",
            Code::InvalidValue,
            "whenUnopened",
        ),
        ("Allow", names, "models: [a], whenUnopened: Pass", Code::InvalidValue, "whenUnopened"),
        (
            "Allow",
            names,
            "models: [a], downloadOnly: false, whenUnopened: Pass",
            Code::InvalidValue,
            "whenUnopened",
        ),
        ("Allow", names, "downloadOnly: true, whenUnopened: Pass", Code::InvalidValue, "whenUnopened"),
        ("Allow", names, "whenUnopened: Deny", Code::InvalidValue, "whenUnopened"),
        ("Deny", names, "whenUnopened: Deny", Code::InvalidValue, "whenUnopened"),
        ("Allow", names, "providerEgress: {}", Code::MissingField, "providerEgress"),
        ("Allow", names, "providerEgress: {domains: []}", Code::ListLength, "providerEgress.domains"),
        (
            "Allow",
            names,
            "providerEgress: {domains: ['*']}",
            Code::InvalidDomain,
            "providerEgress.domains[0]",
        ),
        (
            "Allow",
            names,
            "providerEgress: {hostedTools: Some}",
            Code::InvalidValue,
            "providerEgress.hostedTools",
        ),
        ("Allow", names, "providerEgress: {hosts: [a.io]}", Code::UnknownField, "providerEgress"),
        ("Deny", names, "providerEgress: {hostedTools: Deny}", Code::InvalidValue, "providerEgress"),
        ("Allow", names, "redirects: {}", Code::MissingField, "redirects.grant"),
        ("Allow", names, "redirects: {grant: 61m}", Code::InvalidValue, "redirects.grant"),
        ("Allow", names, "redirects: {grant: 0s}", Code::InvalidValue, "redirects.grant"),
        ("Allow", names, "redirects: {grant: 60}", Code::WrongType, "redirects.grant"),
        ("Allow", names, "redirects: {grant: 60s, hosts: [a.io]}", Code::UnknownField, "redirects"),
        ("Deny", names, "redirects: {grant: 60s}", Code::InvalidValue, "redirects"),
        ("Allow", network, "redirects: {grant: 60s}", Code::InvalidValue, "to[0].networks"),
        ("Allow", names, "leaks: {}", Code::MissingField, "leaks"),
        ("Allow", names, "leaks: {secrets: Hide}", Code::InvalidValue, "leaks.secrets"),
        ("Allow", names, "leaks: {files: Mask}", Code::InvalidValue, "leaks.files"),
        ("Allow", names, "capture: {}", Code::MissingField, "capture"),
        ("Allow", names, "capture: {requests: false}", Code::MissingField, "capture"),
        (
            "Allow",
            names,
            "capture: {requests: true, maxBytes: 257Ki}",
            Code::InvalidValue,
            "capture.maxBytes",
        ),
        ("Allow", names, "capture: {requests: true, maxBytes: 0}", Code::InvalidValue, "capture.maxBytes"),
        ("Allow", names, "capture: {requests: true, headers: true}", Code::UnknownField, "capture"),
        ("Deny", names, "capture: {requests: true}", Code::InvalidValue, "capture"),
        (
            "Allow",
            names,
            "leaks: {canaries: {values: [short], action: Block}}",
            Code::InvalidValue,
            "leaks.canaries.values[0]",
        ),
        (
            "Allow",
            names,
            "leaks: {canaries: {values: [a-mark-of-ours]}}",
            Code::MissingField,
            "leaks.canaries.action",
        ),
        ("Allow", names, "leaks: {opaque: {minBytes: 1Mi}}", Code::MissingField, "leaks.opaque.action"),
        (
            "Allow",
            names,
            "leaks: {opaque: {action: Block, minBytes: 4095}}",
            Code::InvalidValue,
            "leaks.opaque.minBytes",
        ),
        ("Allow", names, "answers: {}", Code::MissingField, "answers"),
        ("Allow", names, "answers: {pickles: Mask}", Code::InvalidValue, "answers.pickles"),
        ("Allow", names, "answers: {links: Block}", Code::UnknownField, "answers"),
        ("Deny", names, "answers: {archives: Block}", Code::InvalidValue, "answers"),
        ("Allow", names, "budgets: {tokens: {}}", Code::MissingField, "budgets.tokens"),
        ("Allow", names, "budgets: {tokens: {day: 0}}", Code::InvalidValue, "budgets.tokens.day"),
        ("Allow", names, "budgets: {cost: {day: 1}}", Code::UnknownField, "budgets"),
        ("Allow", names, "budgets: {money: {}}", Code::MissingField, "budgets.money"),
        ("Allow", names, "budgets: {money: {day: 5.00}}", Code::WrongType, "budgets.money.day"),
        ("Allow", names, "budgets: {money: {day: '0.00'}}", Code::InvalidValue, "budgets.money.day"),
        ("Allow", names, "budgets: {money: {hour: '1,50'}}", Code::InvalidValue, "budgets.money.hour"),
        ("Allow", names, "toolConditions: []", Code::ListLength, "toolConditions"),
        ("Allow", names, "toolConditions: [{tool: a}]", Code::MissingField, "toolConditions[0].when"),
        ("Allow", names, "toolConditions: [{when: a}]", Code::MissingField, "toolConditions[0].tool"),
        (
            "Allow",
            names,
            "toolConditions: [{tool: '', when: a}]",
            Code::InvalidValue,
            "toolConditions[0].tool",
        ),
        ("Allow", names, "toolConditions: [{tool: a, when: 1}]", Code::WrongType, "toolConditions[0].when"),
        ("Deny", names, "toolConditions: [{tool: a, when: 'true'}]", Code::InvalidValue, "toolConditions"),
        ("Deny", names, "onlyReferred: true", Code::InvalidValue, "onlyReferred"),
        ("Deny", names, "leaks: {secrets: Block}", Code::InvalidValue, "leaks"),
        ("Deny", names, download, Code::InvalidValue, "operations"),
        ("Deny", names, "models: [a]", Code::InvalidValue, "models"),
        ("Allow", network, download, Code::InvalidValue, "to[0].networks"),
        (
            "Allow",
            names,
            &format!("{download}, ports: [{{protocol: UDP}}]"),
            Code::InvalidValue,
            "ports[0].protocol",
        ),
    ] {
        for (policy, read) in rule_with(action, to, &format!(", {more}")) {
            let errors = errors(&read);
            assert!(policy.broken, "{more}");
            let place = format!("spec.egress[0].{field}");
            assert!(errors.iter().any(|(found, at)| *found == code && *at == place), "{more}: {errors:?}");
        }
    }
}
