//! What an EgressPolicy means: one test a sentence of `docs/decisions/0011-egress-policies.md`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the failure report")]

use crate::support::{
    self, check, check_protocol, cluster_egress_policy, cluster_policy, compile, egress_policy, endpoint,
    judge, network_policy, set, world,
};
use crds::{Catalog, Code};
use policy::{
    Direction, DnsName, PolicySet, Reason, UploadLimits, Verdict, Verdict::Allow, Verdict::Deny,
    decide_question, decide_resolver, dns_rules,
};

const OUTSIDE: &str = "203.0.113.10";
const ELSEWHERE: &str = "203.0.113.99";
const ALL: &str = "{networks: [0.0.0.0/0]}";

fn with(policies: &[String]) -> PolicySet {
    set(&(world() + &policies.concat()))
}

/// As [`with`], after these names were resolved to these addresses.
fn resolved(policies: &[String], names: &[(&str, &str)]) -> PolicySet {
    learn(with(policies), names)
}

/// Every pod resolved these.
fn learn(mut set: PolicySet, names: &[(&str, &str)]) -> PolicySet {
    for (name, address) in names {
        set.world.answer_everyone(&DnsName::parse(name).unwrap(), address.parse().unwrap());
    }
    set
}

fn reason(set: &PolicySet, from: &str, to: &str, port: u16) -> Reason {
    judge(set, from, to, "TCP", port).egress.reason
}

fn asks(set: &PolicySet, pod: &str, name: &str, expected: Reason) {
    let (namespace, pod) = pod.split_once('/').unwrap();
    let pod = set.world.find_pod(namespace, pod).unwrap();
    let judged = decide_question(set, pod, &DnsName::parse(name).unwrap());
    assert_eq!((judged.reason, judged.verdict), (expected, expected.verdict()), "{pod} asks for {name}");
}

#[test]
fn selecting_a_pod_isolates_it_for_egress_and_leaves_ingress_alone() {
    let policy = egress_policy("x", "p", "{subject: {podSelector: {matchLabels: {pod: a}}}}");
    let set = with(&[policy]);
    check(&set, "x/a", OUTSIDE, 443, Deny);
    check(&set, "x/a", "y/a", 80, Deny);
    check(&set, "y/a", "x/a", 80, Allow);
    check(&set, "x/b", OUTSIDE, 443, Allow);
    assert_eq!(reason(&set, "x/a", OUTSIDE, 443), Reason::Isolated);
    let entry = set.rule(judge(&set, "x/a", OUTSIDE, "TCP", 443).egress.rule).unwrap().to_string();
    assert!(entry.starts_with("EgressPolicy x/p spec.subject"), "{entry}");
}

#[test]
fn its_allow_adds_to_what_network_policies_allow() {
    let own = egress_policy(
        "x",
        "p",
        "{egress: [{action: Allow, to: [{networks: [203.0.113.10/32]}], ports: [{port: 443}]}]}",
    );
    let other = network_policy(
        "x",
        "n",
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}",
    );
    let set = with(&[own, other]);
    check(&set, "x/a", OUTSIDE, 443, Allow);
    check(&set, "x/a", "x/b", 80, Allow);
    check(&set, "x/a", OUTSIDE, 80, Deny);
    check(&set, "x/a", "y/a", 80, Deny);
    assert_eq!(reason(&set, "x/a", OUTSIDE, 443), Reason::EgressPolicyAllow);
}

#[test]
fn its_deny_beats_every_allow_of_the_tier_whatever_the_order() {
    let allow = format!("{{egress: [{{action: Allow, to: [{ALL}]}}]}}");
    let deny = "{egress: [{action: Deny, to: [{networks: [203.0.113.10/32]}]}]}";
    let others = network_policy("x", "z", "{podSelector: {}, policyTypes: [Egress], egress: [{}]}");
    for (first, second) in [("a", "b"), ("b", "a")] {
        let set =
            with(&[egress_policy("x", first, &allow), egress_policy("x", second, deny), others.clone()]);
        check(&set, "x/a", OUTSIDE, 443, Deny);
        check(&set, "x/a", ELSEWHERE, 443, Allow);
        assert_eq!(reason(&set, "x/a", OUTSIDE, 443), Reason::EgressPolicyDeny);
    }
    // Within one policy too.
    let both = format!(
        "{{egress: [{{action: Allow, to: [{ALL}]}}, {{action: Deny, to: [{{networks: [203.0.113.10/32]}}], ports: [{{port: 443}}]}}]}}"
    );
    let set = with(&[egress_policy("x", "p", &both)]);
    check(&set, "x/a", OUTSIDE, 443, Deny);
    check(&set, "x/a", OUTSIDE, 80, Allow);
}

#[test]
fn an_admin_accept_beats_its_deny_and_baseline_is_not_reached() {
    let deny = egress_policy("x", "p", "{egress: [{action: Deny, to: [{networks: [203.0.113.10/32]}]}]}");
    let admin = cluster_egress_policy(
        "a",
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Allow, to: [{networks: [203.0.113.10/32]}], ports: [{port: 443}]}]}",
    );
    let baseline = cluster_egress_policy(
        "b",
        "{tier: Baseline, priority: 1, subject: {namespaces: {}}, egress: [{action: Allow, to: [{networks: [0.0.0.0/0]}]}]}",
    );
    let set = with(&[deny, admin, baseline]);
    assert_eq!(reason(&set, "x/a", OUTSIDE, 443), Reason::AdminAccept);
    assert_eq!(reason(&set, "x/a", OUTSIDE, 80), Reason::EgressPolicyDeny);
    assert_eq!(reason(&set, "x/a", ELSEWHERE, 80), Reason::Isolated);
    assert_eq!(reason(&set, "y/a", ELSEWHERE, 80), Reason::BaselineAccept);
}

#[test]
fn cluster_policies_share_the_order_of_cluster_network_policies() {
    let own = |priority: u32, action: &str| {
        let spec = format!(
            "{{tier: Admin, priority: {priority}, subject: {{namespaces: {{}}}}, egress: [{{action: {action}, to: [{ALL}]}}]}}"
        );
        cluster_egress_policy("m", &spec)
    };
    let standard = |name: &str| {
        cluster_policy(
            name,
            "{tier: Admin, priority: 5, subject: {namespaces: {}}, egress: [{action: Accept, to: [{networks: [0.0.0.0/0]}]}]}",
        )
    };
    assert_eq!(reason(&with(&[own(4, "Deny"), standard("s")]), "x/a", OUTSIDE, 1), Reason::AdminDeny);
    assert_eq!(reason(&with(&[own(6, "Deny"), standard("s")]), "x/a", OUTSIDE, 1), Reason::AdminAccept);
    assert_eq!(reason(&with(&[own(4, "Pass"), standard("s")]), "x/a", OUTSIDE, 1), Reason::NoPolicy);
    // Of equal priority by name, then by kind; and that is warned about.
    for (name, expected) in [("a", Reason::AdminAccept), ("z", Reason::AdminDeny), ("m", Reason::AdminDeny)] {
        let compiled = compile(&(world() + &own(5, "Deny") + &standard(name)));
        assert_eq!(reason(&compiled.set, "x/a", OUTSIDE, 1), expected, "{name}");
        assert!(compiled.diagnostics.iter().any(|it| it.code == Code::EqualPriority));
    }
}

#[test]
fn one_star_is_one_label_and_two_are_one_or_more() {
    let policy = |domain: &str| {
        egress_policy("x", "p", &format!("{{egress: [{{action: Allow, to: [{{domains: ['{domain}']}}]}}]}}"))
    };
    let names = [("hub.io", "192.0.2.1"), ("a.hub.io", "192.0.2.2"), ("b.a.hub.io", "192.0.2.3")];
    for (domain, expected) in [
        ("hub.io", [Allow, Deny, Deny]),
        ("*.hub.io", [Deny, Allow, Deny]),
        ("**.hub.io", [Deny, Allow, Allow]),
    ] {
        let set = resolved(&[policy(domain)], &names);
        for ((_, address), expected) in names.iter().zip(expected) {
            check(&set, "x/a", address, 443, expected);
        }
    }
}

#[test]
fn a_deny_by_name_means_what_was_resolved_under_it() {
    let policies = [
        egress_policy("x", "p", &format!("{{egress: [{{action: Allow, to: [{ALL}]}}]}}")),
        egress_policy("x", "q", "{egress: [{action: Deny, to: [{domains: ['**.paste.io']}]}]}"),
    ];
    let set = resolved(&policies, &[("x.paste.io", OUTSIDE), ("fine.io", ELSEWHERE)]);
    assert_eq!(reason(&set, "x/a", OUTSIDE, 443), Reason::EgressPolicyDeny);
    check(&set, "x/a", ELSEWHERE, 443, Allow);
    // Whoever knows the address without asking is not stopped by the name.
    check(&with(&policies), "x/a", OUTSIDE, 443, Allow);
}

#[test]
fn an_explicit_deny_holds_for_the_own_node_too() {
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [{type: InternalIP, address: 172.31.0.1}]}\n";
    let pod = support::pod_with("x", "n", "10.0.1.9", "{pod: n}", "  nodeName: n1\n", "");
    let of = |spec: &str| set(&(world() + node + &pod + &egress_policy("x", "p", spec)));
    assert_eq!(reason(&of("{}"), "x/n", "172.31.0.1", 10250), Reason::OwnNode);
    let deny = of("{egress: [{action: Deny, to: [{networks: [172.31.0.0/16]}], ports: [{port: 10250}]}]}");
    assert_eq!(reason(&deny, "x/n", "172.31.0.1", 10250), Reason::EgressPolicyDeny);
    assert_eq!(reason(&deny, "x/n", "172.31.0.1", 80), Reason::OwnNode);
    assert_eq!(judge(&deny, "172.31.0.1", "x/n", "TCP", 80).verdict, Allow);
}

#[test]
fn ports_are_tcp_unless_written_and_all_where_left_out() {
    let of = |ports: &str| {
        with(&[egress_policy("x", "p", &format!("{{egress: [{{action: Allow, to: [{ALL}]{ports}}}]}}"))])
    };
    let all = of("");
    for (protocol, port) in [("TCP", 1), ("UDP", 443), ("SCTP", 9), ("ICMP", 0)] {
        check_protocol(&all, "x/a", OUTSIDE, (protocol, port), Allow);
    }
    let some = of(", ports: [{port: 443}, {port: 8000, endPort: 8100}, {protocol: UDP}]");
    for (protocol, port, expected) in [
        ("TCP", 443, Allow),
        ("TCP", 7999, Deny),
        ("TCP", 8000, Allow),
        ("TCP", 8100, Allow),
        ("TCP", 8101, Deny),
        ("UDP", 1, Allow),
        ("SCTP", 443, Deny),
        ("ICMP", 0, Deny),
    ] {
        check_protocol(&some, "x/a", OUTSIDE, (protocol, port), expected);
    }
}

/// A rule to a provider, and what was said.
fn to_provider(catalog: &Catalog, entry: &str, more: &str) -> compiler::Compiled {
    let spec = format!(
        "{{egress: [{{name: hub, action: Allow, to: [{{domains: [own.example]}}, {entry}]{more}}}]}}"
    );
    let read = crds::read_objects("t.yaml", (world() + &egress_policy("x", "p", &spec)).as_bytes());
    assert!(read.diagnostics.iter().all(|it| !it.is_error()), "{:#?}", read.diagnostics);
    compiler::compile_with(read.objects, catalog, policy::Generation(1))
}

fn catalog() -> Catalog {
    let text = "
apiVersion: cofferdam.dev/v1alpha1
kind: Catalog
providers:
- name: hub
  hosts:
  - {host: api.hub.io, for: api}
  - {host: '**.cdn.hub.io', for: content, ports: [443, 8443]}
- name: cloud
  hosts: [{host: 's3.{region}.cloud.io', for: storage}]
- {name: mirror, hosts: [], note: Say which are yours.}
";
    Catalog::read("catalog.yaml", text.as_bytes()).unwrap()
}

fn answers(set: PolicySet) -> PolicySet {
    learn(
        set,
        &[
            ("own.example", "192.0.2.1"),
            ("api.hub.io", "192.0.2.2"),
            ("eu.cdn.hub.io", "192.0.2.3"),
            ("s3.eu-1.cloud.io", "192.0.2.4"),
        ],
    )
}

#[test]
fn a_provider_is_its_hosts_each_with_its_ports() {
    let set = answers(to_provider(&catalog(), "{provider: hub}", "").set);
    for (address, port, expected) in [
        ("192.0.2.1", 1, Allow),
        ("192.0.2.2", 443, Allow),
        ("192.0.2.2", 8443, Deny),
        ("192.0.2.3", 443, Allow),
        ("192.0.2.3", 8443, Allow),
        ("192.0.2.3", 80, Deny),
        ("192.0.2.4", 443, Deny),
    ] {
        check(&set, "x/a", address, port, expected);
    }
    check_protocol(&set, "x/a", "192.0.2.2", ("UDP", 443), Deny);
    let rule = judge(&set, "x/a", "192.0.2.3", "TCP", 8443).egress.rule;
    let entry = set.rule(rule).unwrap();
    assert_eq!(
        (&*entry.field, entry.index, entry.name.as_deref()),
        ("spec.egress[0].to[1]", Some(0), Some("hub"))
    );
}

#[test]
fn a_provider_can_be_part_of_it_filled_in_and_have_other_ports() {
    let part = answers(to_provider(&catalog(), "{provider: hub, for: [content]}", "").set);
    check(&part, "x/a", "192.0.2.2", 443, Deny);
    check(&part, "x/a", "192.0.2.3", 443, Allow);
    let filled = answers(to_provider(&catalog(), "{provider: cloud, with: {region: eu-1}}", "").set);
    check(&filled, "x/a", "192.0.2.4", 443, Allow);
    let ports = answers(to_provider(&catalog(), "{provider: hub}", ", ports: [{port: 9}]").set);
    check(&ports, "x/a", "192.0.2.2", 9, Allow);
    check(&ports, "x/a", "192.0.2.2", 443, Deny);
}

#[test]
fn what_the_catalog_does_not_have_closes_the_pods_and_says_what_is_near() {
    for (entry, message, hint) in [
        ("{provider: hubb}", "no provider \"hubb\"", "did you mean \"hub\"?"),
        ("{provider: quite-another}", "no provider", "catalog list"),
        ("{provider: hub, for: [upload]}", "hub has no host for upload", "api, content"),
        ("{provider: cloud}", "depend on region", "with: {region: ...}"),
        ("{provider: cloud, with: {region: a, zone: b}}", "depends on \"zone\"", "region"),
        ("{provider: hub, with: {region: a}}", "depends on \"region\"", "nothing"),
        ("{provider: mirror}", "leaves the hosts of mirror to be named", "Say which are yours."),
    ] {
        let compiled = to_provider(&catalog(), entry, "");
        let found = compiled.diagnostics.iter().find(|it| it.code == Code::UnknownProvider).unwrap();
        assert!(found.is_error() && found.message.contains(message), "{entry}: {found}");
        assert!(found.suggestion.as_ref().unwrap().contains(hint), "{entry}: {found}");
        assert_eq!(found.field, "spec.egress[0].to[1].provider");
        assert!(found.position.is_some());
        let set = answers(compiled.set);
        assert_eq!(reason(&set, "x/a", "192.0.2.1", 443), Reason::PolicyUnreadable, "{entry}");
        check(&set, "y/a", "x/a", 80, Allow);
        check(&set, "y/a", OUTSIDE, 443, Allow);
    }
    // Without any catalog nothing of it is open.
    let closed = to_provider(&Catalog::default(), "{provider: hub}", "");
    assert_eq!(reason(&closed.set, "x/a", "192.0.2.1", 443), Reason::PolicyUnreadable);
}

#[test]
fn a_policy_that_cannot_be_read_closes_egress_of_what_it_may_select() {
    let broken = |subject: &str| {
        egress_policy("x", "p", &format!("{{{subject}egress: [{{action: Permit, to: [{ALL}]}}]}}"))
    };
    let some = compile(&(world() + &broken("subject: {podSelector: {matchLabels: {pod: a}}}, "))).set;
    assert_eq!(reason(&some, "x/a", OUTSIDE, 1), Reason::PolicyUnreadable);
    check(&some, "y/a", "x/a", 80, Allow);
    check(&some, "x/b", OUTSIDE, 1, Allow);
    asks(&some, "x/a", "a.io", Reason::PolicyUnreadable);
    let namespace = compile(&(world() + &broken("subject: {podSelector: 1}, "))).set;
    check(&namespace, "x/b", OUTSIDE, 1, Deny);
    check(&namespace, "y/a", OUTSIDE, 1, Allow);
    let cluster = compile(&(world() + &cluster_egress_policy("c", "{tier: Admin}"))).set;
    check(&cluster, "y/a", OUTSIDE, 1, Deny);
    assert_eq!(judge(&cluster, OUTSIDE, "y/a", "TCP", 80).verdict, Allow);
}

#[test]
fn two_policies_of_one_name_that_differ_close_egress() {
    let one = |names: &str| egress_policy("x", "p", &format!("{{dns: {{names: [{names}]}}}}"));
    let same = compile(&(world() + &one("a.io") + &one("a.io"))).set;
    assert_eq!(reason(&same, "x/a", OUTSIDE, 1), Reason::Isolated);
    let differ = compile(&(world() + &one("a.io") + &one("b.io"))).set;
    assert_eq!(reason(&differ, "x/a", OUTSIDE, 1), Reason::PolicyUnreadable);
    check(&differ, "y/a", "x/a", 80, Allow);
    // A NetworkPolicy of the same name is another object.
    let other = compile(&(world() + &one("a.io") + &network_policy("x", "p", "{podSelector: {}}"))).set;
    assert_eq!((other.policies.len(), other.closed.len()), (2, 0));
}

const LIMIT: &str = "maxUploadBytes: {hour: 1Mi}";

#[test]
fn a_rule_that_limits_uploads_matches_tcp_and_quic_only() {
    let of = |ports: &str| {
        let spec = format!(
            "{{egress: [{{action: Allow, to: [{{domains: [hub.io]}}], downloadOnly: true{ports}}}]}}"
        );
        resolved(&[egress_policy("x", "p", &spec)], &[("hub.io", OUTSIDE)])
    };
    for (ports, accesses) in [
        (
            "",
            [
                ("TCP", 1, Allow),
                ("TCP", 65535, Allow),
                ("UDP", 443, Allow),
                ("UDP", 442, Deny),
                ("UDP", 444, Deny),
                ("SCTP", 443, Deny),
                ("ICMP", 0, Deny),
            ]
            .as_slice(),
        ),
        (", ports: [{port: 443}]", &[("TCP", 443, Allow), ("TCP", 80, Deny), ("UDP", 443, Allow)]),
        (", ports: [{port: 80}]", &[("TCP", 80, Allow), ("TCP", 443, Deny), ("UDP", 443, Deny)]),
        (
            ", ports: [{port: 400, endPort: 500}]",
            &[("TCP", 400, Allow), ("UDP", 443, Allow), ("UDP", 400, Deny)],
        ),
        (", ports: [{protocol: TCP}]", &[("TCP", 9, Allow), ("UDP", 443, Allow), ("UDP", 9, Deny)]),
    ] {
        let set = of(ports);
        for (protocol, port, expected) in accesses {
            check_protocol(&set, "x/a", OUTSIDE, (protocol, *port), *expected);
        }
    }
}

#[test]
fn every_entry_of_a_rule_has_its_limits() {
    let more = ", maxUploadBytes: {connection: 1Mi, hour: 50Mi, day: 1G}, downloadOnly: true";
    let set = answers(to_provider(&catalog(), "{provider: hub}", more).set);
    for (address, protocol, port, expected) in [
        ("192.0.2.1", "TCP", 9, Allow),
        ("192.0.2.1", "UDP", 9, Deny),
        ("192.0.2.2", "UDP", 443, Allow),
        ("192.0.2.3", "TCP", 8443, Allow),
        ("192.0.2.3", "UDP", 443, Allow),
        ("192.0.2.3", "UDP", 8443, Deny),
    ] {
        check_protocol(&set, "x/a", address, (protocol, port), expected);
        let rule = judge(&set, "x/a", address, protocol, port).egress.rule;
        let limits = UploadLimits {
            connection: Some(1 << 20),
            hour: Some(50 << 20),
            day: Some(1_000_000_000),
            download_only: true,
        };
        assert_eq!(set.upload(rule), (expected == Allow).then_some(limits), "{address} {protocol} {port}");
        assert_eq!(set.rule(rule).unwrap().index, (expected == Allow).then_some(0));
    }
    let cluster = cluster_egress_policy(
        "c",
        "{tier: Baseline, priority: 1, subject: {namespaces: {}}, egress: [{action: Allow, to: [{domains: [hub.io]}], maxUploadBytes: {day: 1}}]}",
    );
    let set = resolved(&[cluster], &[("hub.io", OUTSIDE)]);
    let rule = judge(&set, "x/a", OUTSIDE, "TCP", 443).egress.rule;
    assert_eq!(set.upload(rule), Some(UploadLimits { day: Some(1), ..UploadLimits::default() }));
}

#[test]
fn a_rule_that_looks_at_requests_decides_first_and_only_for_what_goes_out() {
    let models = "models: ['gpt-4o*']";
    let rules = format!(
        "{{egress: [{{action: Allow, to: [{{domains: [hub.io]}}]}}, {{action: Allow, to: [{{domains: [hub.io]}}], {LIMIT}}}, \
         {{action: Allow, to: [{{domains: [hub.io]}}], {models}}}]}}"
    );
    let pod = support::set(&world()).world.find_pod("y", "a").unwrap().addresses[0].to_string();
    let set = resolved(&[egress_policy("x", "p", &rules)], &[("hub.io", OUTSIDE), ("hub.io", &pod)]);
    let index = |to: &str, protocol, port| {
        let rule = judge(&set, "x/a", to, protocol, port).egress.rule;
        set.rule(rule).unwrap().index
    };
    assert_eq!(index(OUTSIDE, "TCP", 443), Some(2));
    // QUIC would be its too, and is refused by the gateway; other protocols are not.
    assert_eq!((index(OUTSIDE, "UDP", 443), index(OUTSIDE, "UDP", 53)), (Some(2), Some(0)));
    // Nobody judges requests on the way to a pod.
    assert_eq!(index("y/a", "TCP", 443), Some(1));
    let rule = judge(&set, "x/a", OUTSIDE, "TCP", 443).egress.rule;
    let requests = set.requests(rule).unwrap();
    let call = |verb, model: &str| policy::Operation {
        verb,
        model: Some(model.to_owned()),
        ..policy::Operation::unknown("test")
    };
    // Who names models means calls.
    assert_eq!(requests.allows(&call(policy::Verb::Call, "gpt-4o-mini")), Ok(()));
    assert_eq!(requests.allows(&call(policy::Verb::Call, "o3")), Err(policy::Mismatch::Model));
    assert_eq!(requests.allows(&call(policy::Verb::Upload, "gpt-4o")), Err(policy::Mismatch::Verb));
}

#[test]
fn a_condition_on_arguments_means_calls_and_one_that_cannot_be_read_closes_the_policy() {
    let compiled = |when: &str| {
        let rule = format!(
            "{{action: Allow, to: [{{domains: [hub.io]}}, {{provider: openai}}], toolConditions: [{{tool: 't*', when: \"{when}\"}}]}}"
        );
        compile(&[world(), egress_policy("x", "p", &format!("{{egress: [{rule}]}}"))].concat())
    };
    let set = compiled("args.n < 5").set;
    let requests = set.rules.iter().find_map(|entry| entry.requests.as_ref()).unwrap();
    assert_eq!(requests.to_string(), "call, meta; tool t* when args.n < 5");
    for (when, told) in [
        (
            "args.n <",
            "the expression ends too early, at character 9; what the policy may select is closed for egress",
        ),
        (
            "arg.n < 5",
            "`arg` is no variable here; there are args, tool, server, at character 1; what the policy",
        ),
        ("tool", "it is a string, not true or false, at character 1"),
    ] {
        let output = compiled(when);
        let wrong: Vec<_> = output.diagnostics.iter().filter(|it| it.is_error()).collect();
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].message.starts_with(told), "{}", wrong[0].message);
        assert_eq!(wrong[0].field, "spec.egress[0].toolConditions[0].when");
        assert!(wrong[0].position.is_some());
        assert!(!output.set.closed.is_empty(), "{when}");
    }
}

#[test]
fn an_allow_that_limits_uploads_decides_before_one_that_does_not() {
    let limited = |more: &str| {
        format!(
            "{{egress: [{{action: Allow, to: [{{domains: [hub.io]}}], {LIMIT}, ports: [{{port: 443}}]}}{more}]}}"
        )
    };
    let wide = format!("{{egress: [{{action: Allow, to: [{ALL}, {{domains: [hub.io]}}]}}]}}");
    let standard =
        |name: &str| network_policy("x", name, "{podSelector: {}, policyTypes: [Egress], egress: [{}]}");
    let by = |policies: &[String], protocol: &str, port: u16| {
        let set = resolved(policies, &[("hub.io", OUTSIDE)]);
        let judged = judge(&set, "x/a", OUTSIDE, protocol, port).egress;
        (judged.reason, set.upload(judged.rule).is_some())
    };
    for (first, second) in [("a", "m"), ("m", "a")] {
        let others = [egress_policy("x", first, &limited("")), egress_policy("x", second, &wide)];
        assert_eq!(by(&others, "TCP", 443), (Reason::EgressPolicyAllow, true), "{first}");
        assert_eq!(by(&others, "UDP", 443), (Reason::EgressPolicyAllow, true), "{first}");
        assert_eq!(by(&others, "TCP", 80), (Reason::EgressPolicyAllow, false), "{first}");
        let with_standard = [egress_policy("x", first, &limited("")), standard(second)];
        assert_eq!(by(&with_standard, "TCP", 443), (Reason::EgressPolicyAllow, true), "{first}");
        assert_eq!(by(&with_standard, "TCP", 80), (Reason::NetworkPolicyAllow, false), "{first}");
    }
    // Within one policy too, but not before a Deny, and not in an ordered tier.
    let same = "{egress: [{action: Allow, to: [{domains: [hub.io]}]}, {action: Allow, to: [{domains: [hub.io]}], downloadOnly: true}]}";
    assert_eq!(by(&[egress_policy("x", "p", same)], "TCP", 9), (Reason::EgressPolicyAllow, true));
    let denied = [egress_policy("x", "p", &limited(", {action: Deny, to: [{domains: [hub.io]}]}"))];
    assert_eq!(by(&denied, "TCP", 443), (Reason::EgressPolicyDeny, false));
    for tier in ["Admin", "Baseline"] {
        let spec =
            same.replacen('{', &format!("{{tier: {tier}, priority: 1, subject: {{namespaces: {{}}}}, "), 1);
        let (_, is_limited) = by(&[cluster_egress_policy("c", &spec)], "TCP", 9);
        assert!(!is_limited, "{tier}");
    }
}

#[test]
fn what_answers_grant_is_allowed_where_nothing_else_decides() {
    let granting = |more: &str| {
        let rule = "{action: Allow, to: [{domains: [hub.io]}], operations: [{verbs: [download]}], leaks: {secrets: Block}, \
                    redirects: {grant: 60s}}";
        egress_policy("x", "p", &format!("{{egress: [{rule}{more}]}}"))
    };
    let named = [("hub.io", "198.51.100.7"), ("cdn.io", OUTSIDE)];
    let field = |set: &PolicySet, to: &str, protocol: &str, port: u16| {
        let judged = judge(set, "x/a", to, protocol, port).egress;
        (judged.verdict, set.rule(judged.rule).unwrap().field.to_string())
    };
    let granted = (Allow, "spec.egress[0].redirects".to_owned());
    let set = resolved(&[granting("")], &named);
    assert_eq!(field(&set, "198.51.100.7", "TCP", 443), (Allow, "spec.egress[0]".to_owned()));
    assert_eq!(field(&set, OUTSIDE, "TCP", 443), granted);
    for (protocol, port) in [("TCP", 80), ("TCP", 8443), ("UDP", 443)] {
        assert_eq!(judge(&set, "x/a", OUTSIDE, protocol, port).egress.reason, Reason::Isolated, "{port}");
    }
    // An address that DNS did not give the pod is nobody's object; nor is a pod, which no gateway stands before.
    assert_eq!(reason(&with(&[granting("")]), "x/a", OUTSIDE, 443), Reason::Isolated);
    let pod = set.world.find_pod("y", "a").unwrap().addresses[0].to_string();
    assert_eq!(reason(&learn(set.clone(), &[("in.io", &pod)]), "x/a", "y/a", 443), Reason::Isolated);
    // Whatever else allows it decides, and a Deny forbids it.
    for (more, expected) in [
        (", {action: Allow, to: [{domains: [cdn.io]}]}", (Allow, "spec.egress[1]")),
        (", {action: Allow, to: [{networks: [0.0.0.0/0]}]}", (Allow, "spec.egress[1]")),
        (", {action: Allow, to: [{domains: [cdn.io]}], onlyReferred: true}", (Allow, "spec.egress[1]")),
        (", {action: Deny, to: [{domains: [cdn.io]}]}", (Deny, "spec.egress[1]")),
    ] {
        let set = resolved(&[granting(more)], &named);
        assert_eq!(field(&set, OUTSIDE, "TCP", 443), (expected.0, expected.1.to_owned()), "{more}");
    }
    let standard = network_policy(
        "x",
        "a",
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}",
    );
    assert_eq!(
        reason(&resolved(&[granting(""), standard], &named), "x/a", OUTSIDE, 443),
        Reason::NetworkPolicyAllow
    );
    // Of requests it allows what was granted and nothing else, and looks for what its rule looks for.
    let rule = judge(&set, "x/a", OUTSIDE, "TCP", 443).egress.rule;
    let requests = set.requests(rule).unwrap();
    assert_eq!(requests.leaks.secrets, Some(policy::LeakAction::Block));
    assert!(set.upload(rule).unwrap().download_only);
    let asked = |granted| policy::Operation { granted, ..policy::Operation::unknown("test") };
    assert_eq!(requests.allows(&asked(true)), Ok(()));
    let download = policy::Operation { verb: policy::Verb::Download, referred: true, ..asked(false) };
    assert_eq!(requests.allows(&download), Err(policy::Mismatch::Grant));
    // It opens no question to DNS that a list of names does not have.
    let listed = granting("").replacen("{egress", "{dns: {fromRules: true}, egress", 1);
    let set = with(&[listed]);
    asks(&set, "x/a", "hub.io", Reason::EgressPolicyAllow);
    asks(&set, "x/a", "cdn.io", Reason::DnsNameDeny);
}

#[test]
fn two_policies_of_one_name_with_other_limits_close_egress() {
    let one = |bytes: u32| {
        let limit = format!("maxUploadBytes: {{day: {bytes}}}");
        egress_policy(
            "x",
            "p",
            &format!("{{egress: [{{action: Allow, to: [{{domains: [a.io]}}], {limit}}}]}}"),
        )
    };
    let same = compile(&(world() + &one(1) + &one(1))).set;
    assert_eq!(reason(&same, "x/a", OUTSIDE, 1), Reason::Isolated);
    let differ = compile(&(world() + &one(1) + &one(2))).set;
    assert_eq!(reason(&differ, "x/a", OUTSIDE, 1), Reason::PolicyUnreadable);
}

#[test]
fn names_may_be_listed_and_come_from_rules() {
    let policies = [
        egress_policy(
            "x",
            "p",
            "{egress: [{action: Allow, to: [{domains: ['*.hub.io']}]}, {action: Deny, to: [{domains: [paste.io]}]}], \
             dns: {names: ['**.cluster.local'], fromRules: true}}",
        ),
        cluster_policy(
            "c",
            "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Accept, to: [{domainNames: ['*.wide.io']}]}]}",
        ),
    ];
    let set = with(&policies);
    asks(&set, "x/a", "dns.kube-system.svc.cluster.local", Reason::DnsNameAllow);
    asks(&set, "x/a", "api.hub.io", Reason::EgressPolicyAllow);
    asks(&set, "x/a", "v.api.hub.io", Reason::DnsNameDeny);
    asks(&set, "x/a", "a.b.wide.io", Reason::AdminAccept);
    asks(&set, "x/a", "paste.io", Reason::DnsNameDeny);
    asks(&set, "y/a", "paste.io", Reason::NoPolicy);
    let pod = set.world.find_pod("x", "a").unwrap();
    let spoken: Vec<String> = dns_rules(&set, pod).spoken.iter().map(ToString::to_string).collect();
    assert_eq!(spoken, ["paste.io", "*.hub.io", "**.wide.io"]);
    let entry = set.rule(decide_question(&set, pod, &DnsName::parse("q.io").unwrap()).rule).unwrap();
    assert_eq!((&*entry.field, entry.direction), ("spec.dns.names", Some(Direction::Egress)));
}

/// As [`resolved`], where names below `k8s.hub.io` are the cluster's.
fn zoned(policies: &[String], names: &[(&str, &str)]) -> PolicySet {
    let mut catalog = Catalog::built_in();
    catalog.private_zones.insert("K8s.hub.io.".into());
    let read = crds::read_objects("test.yaml", (world() + &policies.concat()).as_bytes());
    let compiled = compiler::compile_unlinted_with(read.objects, &catalog, policy::Generation(1));
    assert!(!compiled.diagnostics.iter().any(crds::Diagnostic::is_error), "{:#?}", compiled.diagnostics);
    learn(compiled.set, names)
}

#[test]
fn a_wildcard_that_allows_opens_no_private_zone_that_it_is_not_written_within() {
    let names = [("db.y.svc.k8s.hub.io", ELSEWHERE), ("api.hub.io", OUTSIDE)];
    for (domains, public, private) in [
        ("'**.hub.io'", Allow, Deny),
        ("'**.k8s.hub.io'", Deny, Allow),
        ("'*.Y.svc.K8S.hub.io.'", Deny, Allow),
        ("DB.y.svc.k8s.hub.io.", Deny, Allow),
        ("'**.hub.io', '**.svc.k8s.hub.io'", Allow, Allow),
    ] {
        for rest in ["", ", downloadOnly: true", ", operations: [{verbs: [download]}]"] {
            let spec = format!("{{egress: [{{action: Allow, to: [{{domains: [{domains}]}}]{rest}}}]}}");
            let set = zoned(&[egress_policy("x", "p", &spec)], &names);
            check(&set, "x/a", OUTSIDE, 443, public);
            check(&set, "x/a", ELSEWHERE, 443, private);
        }
        let rule = |action: &str| format!("{{action: {action}, to: [{{domains: [{domains}]}}]}}");
        // One that denies means all.
        let spec = format!("{{egress: [{{action: Allow, to: [{ALL}]}}, {}]}}", rule("Deny"));
        let set = zoned(&[egress_policy("x", "p", &spec)], &names);
        check(&set, "x/a", ELSEWHERE, 443, Deny);
        // One that passes lets nothing of the zone past a Deny behind it.
        let spec = format!(
            "{{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, egress: [{}, {{action: Deny, to: [{ALL}]}}]}}",
            rule("Pass")
        );
        let set = zoned(&[cluster_egress_policy("c", &spec)], &names);
        check(&set, "x/a", OUTSIDE, 443, public);
        check(&set, "x/a", ELSEWHERE, 443, private);
    }
    let one_below = egress_policy("x", "p", "{egress: [{action: Allow, to: [{domains: ['*.hub.io']}]}]}");
    let set = zoned(&[one_below], &[("k8s.hub.io", ELSEWHERE), ("api.hub.io", OUTSIDE)]);
    check(&set, "x/a", OUTSIDE, 443, Allow);
    check(&set, "x/a", ELSEWHERE, 443, Deny);
    // NPEP-133 names no such exception: the standard kind means all that its pattern means.
    let standard = cluster_policy(
        "c",
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [\
         {action: Accept, to: [{domainNames: ['*.hub.io']}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}]}",
    );
    let set = zoned(&[standard], &names);
    check(&set, "x/a", OUTSIDE, 443, Allow);
    check(&set, "x/a", ELSEWHERE, 443, Allow);
}

#[test]
fn hosts_of_a_provider_and_what_answers_lead_to_are_in_no_private_zone() {
    let text = "apiVersion: cofferdam.dev/v1alpha1\nkind: Catalog\nprivateZones: [k8s.hub.io]\nproviders: \
                [{name: hub, hosts: [{host: '**.hub.io', for: api}]}]";
    let catalog = Catalog::built_in().with(Catalog::read("t.yaml", text.as_bytes()).unwrap());
    let granting = "{action: Allow, to: [{domains: [models.io]}], operations: [{verbs: [download]}], redirects: {grant: 60s}}";
    for (rule, public) in [("{action: Allow, to: [{provider: hub}]}", "api.hub.io"), (granting, "cdn.io")] {
        let policy = egress_policy("x", "p", &format!("{{egress: [{rule}]}}"));
        let read = crds::read_objects("test.yaml", (world() + &policy).as_bytes());
        let set = compiler::compile_unlinted_with(read.objects, &catalog, policy::Generation(1)).set;
        let names = [
            (public, OUTSIDE),
            ("db.y.svc.k8s.hub.io", "203.0.113.21"),
            ("db.y.svc.cluster.local", "203.0.113.22"),
            ("db.y.svc.clusterset.local", "203.0.113.23"),
        ];
        let set = learn(set, &names);
        check(&set, "x/a", OUTSIDE, 443, Allow);
        let pod = set.world.find_pod("x", "a").unwrap();
        for (name, address) in &names[1..] {
            check(&set, "x/a", address, 443, Deny);
            assert!(!dns_rules(&set, pod).speaks_of(&DnsName::parse(name).unwrap()), "{name}");
        }
    }
}

#[test]
fn names_that_a_wildcard_does_not_mean_are_not_asked_by_its_rule_but_by_a_list_that_says_so() {
    let rule = "egress: [{action: Allow, to: [{domains: ['**.hub.io']}]}]";
    let set = zoned(&[egress_policy("x", "p", &format!("{{{rule}, dns: {{fromRules: true}}}}"))], &[]);
    asks(&set, "x/a", "api.hub.io", Reason::EgressPolicyAllow);
    asks(&set, "x/a", "db.y.svc.k8s.hub.io", Reason::DnsNameDeny);
    let pod = set.world.find_pod("x", "a").unwrap();
    let spoken: Vec<String> = dns_rules(&set, pod).spoken.iter().map(ToString::to_string).collect();
    assert_eq!(spoken, ["**.hub.io except k8s.hub.io"]);
    let whole = own(&set, "x/a", policy::Whom::Domain(DnsName::parse("api.hub.io").unwrap()));
    assert_eq!(whole, policy::Own::Allowed);
    let set = zoned(&[egress_policy("x", "p", &format!("{{{rule}, dns: {{names: ['**.hub.io']}}}}"))], &[]);
    asks(&set, "x/a", "db.y.svc.k8s.hub.io", Reason::DnsNameAllow);
    // All below a domain is more than the wildcard means.
    let all = "{egress: [{action: Allow, to: [{domains: [hub.io, '**.hub.io']}]}]}";
    let domain = policy::Whom::Domain(DnsName::parse("hub.io").unwrap());
    assert_eq!(own(&with(&[egress_policy("x", "p", all)]), "x/a", domain.clone()), policy::Own::Allowed);
    assert!(matches!(
        own(&zoned(&[egress_policy("x", "p", all)], &[]), "x/a", domain),
        policy::Own::Denied(_)
    ));
}

#[test]
fn resolvers_may_be_listed_and_then_be_reached() {
    let spec = "{dns: {resolvers: [{pods: {namespaceSelector: {matchLabels: {ns: y}}, podSelector: {}}}, {networks: [192.0.2.53/32]}]}}";
    let set = with(&[egress_policy("x", "p", spec)]);
    for (to, expected) in [
        ("y/a", Reason::EgressPolicyAllow),
        ("192.0.2.53", Reason::EgressPolicyAllow),
        ("x/b", Reason::DnsResolverDeny),
    ] {
        let pod = set.world.find_pod("x", "a").unwrap();
        assert_eq!(decide_resolver(&set, pod, endpoint(&set, to)).reason, expected, "{to}");
    }
    for (to, protocol, port, expected) in [
        ("y/a", "UDP", 53, Verdict::Allow),
        ("y/a", "TCP", 53, Verdict::Allow),
        ("y/a", "TCP", 80, Verdict::Deny),
        ("192.0.2.53", "UDP", 53, Verdict::Allow),
        ("192.0.2.54", "UDP", 53, Verdict::Deny),
    ] {
        check_protocol(&set, "x/a", to, (protocol, port), expected);
    }
}

/// Whether a pod may go itself where a request has its provider go, or by which rule not.
fn own(set: &PolicySet, pod: &str, whom: policy::Whom) -> policy::Own {
    let (namespace, pod) = pod.split_once('/').unwrap();
    let mut contacts = [policy::Contact { at: "x".into(), whom, own: policy::Own::Unjudged }];
    policy::own_egress(set, set.world.find_pod(namespace, pod).unwrap()).judge(&mut contacts);
    let [contact] = contacts;
    contact.own
}

#[test]
fn a_provider_is_sent_only_where_the_rules_let_the_pod_go_for_what_is_asked_there() {
    use policy::{Asks, Operation, Own, Verb, Whom};
    let rules = "{egress: [\
        {action: Allow, to: [{domains: [open.io, '**.open.io']}], ports: [{port: 443}]}, \
        {action: Allow, to: [{domains: [fine.io, '**.fine.io']}]}, \
        {action: Deny, to: [{domains: [bad.open.io]}]}, \
        {action: Allow, to: [{domains: [hub.io]}], operations: [{verbs: [download], resources: [ours/*]}]}, \
        {action: Allow, to: [{domains: [slow.io]}], downloadOnly: true}, \
        {action: Allow, to: [{networks: [192.0.2.0/24]}]}], dns: {fromRules: true, names: [idle.io]}}";
    let set = with(&[egress_policy("x", "p", rules)]);
    let of = |verb, resource: &str| {
        Box::new(Operation { verb, resource: Some(resource.into()), ..Operation::unknown("test") })
    };
    let fetch = |resource| Asks::Fetch(of(Verb::Download, resource));
    for (host, port, asks, expected) in [
        ("open.io", 443, Asks::Anything, true),
        ("a.b.open.io", 443, Asks::Anything, true),
        ("open.io", 80, Asks::Anything, false),
        ("bad.open.io", 443, Asks::Anything, false),
        ("hub.io", 443, Asks::Anything, false),
        ("hub.io", 443, fetch("ours/a"), true),
        ("hub.io", 443, fetch("evil/a"), false),
        ("hub.io", 443, Asks::Store(of(Verb::Upload, "ours/a")), false),
        ("slow.io", 443, fetch("x"), true),
        ("slow.io", 443, Asks::Store(of(Verb::Upload, "x")), false),
        ("slow.io", 443, Asks::Anything, false),
        ("evil.io", 443, fetch("x"), false),
        ("idle.io", 443, fetch("x"), false),
        ("192.0.2.7", 443, Asks::Anything, true),
        ("192.0.3.7", 443, Asks::Anything, false),
        ("2001:db8::1", 443, Asks::Anything, false),
    ] {
        let whom = Whom::Host { name: host.into(), port, asks: asks.clone() };
        let own = own(&set, "x/a", whom);
        assert_eq!(own == Own::Allowed, expected, "{host}:{port} {asks:?} {own:?}");
    }
    let domain = |name: &str| own(&set, "x/a", Whom::Domain(DnsName::parse(name).unwrap()));
    assert_eq!(domain("fine.io"), Own::Allowed, "with all below it");
    assert!(matches!(domain("open.io"), Own::Denied(_)), "one below it is denied");
    assert!(matches!(domain("hub.io"), Own::Denied(_)) && matches!(domain("evil.io"), Own::Denied(_)));
    assert!(matches!(domain("bad.open.io"), Own::Denied(_)));
}

#[test]
fn a_pod_that_nobody_selects_may_go_anywhere_and_an_admin_list_comes_first() {
    use policy::{Asks, Own, Whom};
    let host = |name: &str| Whom::Host { name: name.into(), port: 443, asks: Asks::Anything };
    let all = egress_policy("x", "p", &format!("{{egress: [{{action: Allow, to: [{ALL}]}}]}}"));
    let admin = cluster_egress_policy(
        "c",
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, egress: [{action: Deny, to: [{domains: [bad.io]}]}]}",
    );
    let set = with(&[all, admin]);
    assert_eq!(own(&set, "x/a", host("a.io")), Own::Allowed, "by a block of all addresses");
    for pod in ["x/a", "y/a"] {
        let Own::Denied(rule) = own(&set, pod, host("bad.io")) else { panic!("{pod}") };
        assert!(rule.starts_with("ClusterEgressPolicy c spec.egress[0]"), "{rule}");
    }
    assert_eq!(own(&set, "y/a", host("a.io")), Own::Allowed);
}
