//! Every warning: a manifest that deserves it, and one that does not.

use crate::support::{
    cluster_egress_policy, cluster_policy, compile, egress_policy, network_policy, pod, pod_with, world,
};
use crds::{Code, Severity};

/// Findings of one code about [`world`] with these policies, as text.
fn found(code: Code, policies: &[String]) -> Vec<String> {
    let compiled = compile(&(world() + &policies.concat()));
    let of_code = compiled.diagnostics.iter().filter(|d| d.code == code);
    let texts: Vec<String> = of_code.clone().map(ToString::to_string).collect();
    assert!(of_code.clone().all(|d| d.severity != Severity::Error), "{texts:?}");
    assert!(of_code.clone().all(|d| d.position.is_some() && d.object.is_some()), "{texts:?}");
    texts
}

#[track_caller]
fn warns(code: Code, policies: &[String], parts: &[&str]) {
    let texts = found(code, policies);
    let all_in = |text: &String| parts.iter().all(|part| text.contains(part));
    assert!(texts.iter().any(all_in), "wanted {parts:?} in {texts:#?}");
}

#[track_caller]
fn silent(code: Code, policies: &[String]) {
    let texts = found(code, policies);
    assert!(texts.is_empty(), "{texts:#?}");
}

fn admin(name: &str, priority: u32, rest: &str) -> String {
    cluster_policy(name, &format!("{{tier: Admin, priority: {priority}, {rest}}}"))
}

const X: &str = "subject: {namespaces: {matchLabels: {ns: x}}}";
const ACCEPT_Y: &str = "ingress: [{action: Accept, from: [{namespaces: {matchLabels: {ns: y}}}]}]";

#[test]
fn equal_priority_names_both_policies() {
    let policies =
        [admin("one", 5, &format!("{X}, {ACCEPT_Y}")), admin("two", 5, &format!("{X}, {ACCEPT_Y}"))];
    warns(
        Code::EqualPriority,
        &policies,
        &["ClusterNetworkPolicy two", "ClusterNetworkPolicy one", "test.yaml:43"],
    );
    let policies =
        [admin("one", 5, &format!("{X}, {ACCEPT_Y}")), admin("two", 6, &format!("{X}, {ACCEPT_Y}"))];
    silent(Code::EqualPriority, &policies);
}

#[test]
fn a_named_port_no_destination_has_is_reported_with_the_nearest_name() {
    let policy = |port: &str| {
        network_policy("x", "p", &format!("{{podSelector: {{}}, ingress: [{{ports: [{{port: {port}}}]}}]}}"))
    };
    warns(Code::UnresolvedPort, &[policy("wep")], &["\"wep\"", "did you mean \"web\""]);
    silent(Code::UnresolvedPort, &[policy("web")]);
    let udp = network_policy("x", "p", "{podSelector: {}, ingress: [{ports: [{port: web, protocol: UDP}]}]}");
    warns(Code::UnresolvedPort, &[udp], &["set protocol: TCP"]);
}

#[test]
fn a_subject_without_pods_is_reported_with_the_nearest_label() {
    let policy =
        |labels: &str| network_policy("x", "p", &format!("{{podSelector: {{matchLabels: {labels}}}}}"));
    warns(Code::SelectsNothing, &[policy("{pods: a}")], &["pods=a in namespace x", "did you mean pod=a?"]);
    warns(Code::SelectsNothing, &[policy("{ns: x}")], &["use namespaceSelector"]);
    silent(Code::SelectsNothing, &[policy("{pod: a}")]);
}

#[test]
fn a_peer_without_pods_is_reported() {
    let policy = |peer: &str| {
        network_policy("x", "p", &format!("{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"))
    };
    let pods_label = policy("{namespaceSelector: {matchLabels: {pod: a}}}");
    warns(Code::SelectsNothing, &[pods_label], &["spec.ingress[0].from", "use podSelector"]);
    let by_name = policy("{namespaceSelector: {matchLabels: {name: y}}}");
    warns(Code::SelectsNothing, &[by_name], &["kubernetes.io/metadata.name=y"]);
    silent(Code::SelectsNothing, &[policy("{namespaceSelector: {matchLabels: {ns: y}}}")]);
}

#[test]
fn either_where_both_was_meant_is_reported() {
    let client = pod("y", "c", "10.0.2.9", "{app: client}");
    let policy = |peers: &str| {
        network_policy("x", "p", &format!("{{podSelector: {{}}, ingress: [{{from: {peers}}}]}}"))
    };
    let two =
        policy("[{namespaceSelector: {matchLabels: {ns: y}}}, {podSelector: {matchLabels: {app: client}}}]");
    warns(Code::SelectsNothing, &[two, client.clone()], &["two entries", "one entry"]);
    let one =
        policy("[{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {app: client}}}]");
    silent(Code::SelectsNothing, &[one, client]);
}

#[test]
fn isolated_egress_without_dns_is_reported_unless_any_policy_allows_it() {
    let to_y = "egress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}}]}]";
    let narrow = network_policy("x", "p", &format!("{{podSelector: {{}}, policyTypes: [Egress], {to_y}}}"));
    warns(Code::DnsNotAllowed, std::slice::from_ref(&narrow), &["x/p", "k8s-app: kube-dns"]);
    let dns = network_policy(
        "x",
        "dns",
        "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]}",
    );
    silent(Code::DnsNotAllowed, &[narrow, dns]);
    silent(Code::DnsNotAllowed, &[network_policy("x", "p", "{podSelector: {}, policyTypes: [Egress]}")]);
}

#[test]
fn a_shadowed_rule_names_the_one_before_it() {
    let rules = "ingress: [{action: Deny, from: [{namespaces: {}}]}, {action: Accept, from: [{namespaces: {matchLabels: {ns: y}}}], protocols: [{tcp: {destinationPort: {number: 80}}}]}]";
    warns(
        Code::ShadowedRule,
        &[admin("p", 1, &format!("{X}, {rules}"))],
        &["spec.ingress[1]", "spec.ingress[0]"],
    );
    let everyone =
        admin("first", 1, "subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]");
    warns(
        Code::ShadowedRule,
        &[everyone, admin("later", 2, &format!("{X}, {ACCEPT_Y}"))],
        &["later", "first"],
    );
    silent(
        Code::ShadowedRule,
        &[
            admin("first", 1, &format!("{X}, {ACCEPT_Y}")),
            admin(
                "wider",
                2,
                "subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]",
            ),
        ],
    );
}

#[test]
fn locking_out_kube_system_is_reported() {
    let deny = "ingress: [{action: Deny, from: [{namespaces: {}}]}]";
    warns(
        Code::SystemLockedOut,
        &[admin("p", 1, &format!("subject: {{namespaces: {{}}}}, {deny}"))],
        &["kube-system", "NotIn"],
    );
    silent(Code::SystemLockedOut, &[admin("p", 1, &format!("{X}, {deny}"))]);
}

#[test]
fn a_block_with_pod_addresses_is_reported() {
    let policy = |cidr: &str| {
        network_policy(
            "x",
            "p",
            &format!("{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {{cidr: {cidr}}}}}]}}]}}"),
        )
    };
    warns(Code::OverlappingAddress, &[policy("10.0.2.0/24")], &["y/a (10.0.2.1)"]);
    silent(Code::OverlappingAddress, &[policy("192.0.2.0/24")]);
    silent(Code::OverlappingAddress, &[policy("0.0.0.0/0")]);
}

#[test]
fn a_policy_on_host_network_pods_is_reported() {
    let host = pod_with("x", "h", "172.18.0.2", "{app: h}", "  hostNetwork: true\n  nodeName: n1\n", "");
    let policy = network_policy("x", "p", "{podSelector: {matchLabels: {app: h}}}");
    warns(Code::Unsupported, &[host, policy], &["selects only pods of the host network", "x/h"]);
}

#[test]
fn domain_names_need_dns() {
    let names = "{action: Accept, to: [{domainNames: [example.com]}]}";
    let deny = "{action: Deny, to: [{networks: [0.0.0.0/0]}]}";
    let dns = "{action: Accept, to: [{namespaces: {}}], protocols: [{udp: {destinationPort: {number: 53}}}]}";
    warns(
        Code::DnsNotAllowed,
        &[admin("p", 1, &format!("{X}, egress: [{names}, {deny}]"))],
        &["domainNames"],
    );
    silent(Code::DnsNotAllowed, &[admin("p", 1, &format!("{X}, egress: [{dns}, {names}, {deny}]"))]);
}

#[test]
fn pods_without_addresses_are_noted_where_a_block_is_used() {
    let policy =
        network_policy("x", "p", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]}");
    let bare = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: z, namespace: x}\nspec: {containers: [{name: c, image: i}]}\n";
    warns(Code::MissingReference, &[policy.clone(), bare.to_owned()], &["1 pods have no known address"]);
    silent(Code::MissingReference, &[policy]);
}

#[test]
fn an_undeclared_namespace_is_reported_unless_every_cluster_has_it() {
    warns(
        Code::MissingReference,
        &[network_policy("z", "p", "{podSelector: {}}")],
        &["namespace z is not declared"],
    );
    silent(Code::MissingReference, &[network_policy("default", "p", "{podSelector: {}}")]);
}

#[test]
fn findings_of_one_kind_are_listed_up_to_a_limit_and_counted_beyond() {
    let many: String = (0..1005)
        .map(|i| network_policy("x", &format!("p{i}"), "{podSelector: {matchLabels: {none: x}}}"))
        .collect();
    let compiled = compile(&(world() + &many));
    let count = compiled.diagnostics.iter().filter(|d| d.code == Code::SelectsNothing).count();
    assert_eq!(count, compiler::lint::MOST_OF_A_KIND + 1);
    assert!(compiled.diagnostics.iter().any(|d| d.message.starts_with("5 more findings")));
}

fn own(name: &str, spec: &str) -> String {
    egress_policy("x", name, spec)
}

const ALL: &str = "{action: Allow, to: [{networks: [0.0.0.0/0]}]}";
const RESOLVERS: &str = "dns: {resolvers: [{networks: [192.0.2.53/32]}]}";

#[test]
fn an_egress_policy_needs_dns_to_allow_by_name() {
    let names = "egress: [{action: Allow, to: [{domains: [example.com]}]}]";
    warns(Code::DnsNotAllowed, &[own("p", &format!("{{{names}}}"))], &["EgressPolicy x/p", "resolvers:"]);
    silent(Code::DnsNotAllowed, &[own("p", &format!("{{{names}, {RESOLVERS}}}"))]);
    let denied = format!(
        "{{egress: [{ALL}, {{action: Allow, to: [{{domains: [example.com]}}]}}, {{action: Deny, to: [{{networks: [0.0.0.0/0]}}], \
         ports: [{{protocol: UDP, port: 53}}]}}]}}"
    );
    warns(Code::DnsNotAllowed, &[own("p", &denied)], &["a Deny beats every Allow", "spec.egress[1].to"]);
}

#[test]
fn a_name_that_a_rule_allows_and_nobody_may_ask_for_is_reported() {
    let policy = |dns: &str| {
        let spec = format!(
            "{{egress: [{{action: Allow, to: [{{domains: ['*.hub.io']}}]}}], dns: {{resolvers: [{{networks: [192.0.2.53/32]}}], {dns}}}}}"
        );
        own("p", &spec)
    };
    warns(Code::DnsNotAllowed, &[policy("names: [a.io]")], &["\"*.hub.io\"", "fromRules: true"]);
    for fine in
        ["names: ['**.io.example', '**.hub.io']", "names: [a.hub.io]", "names: [a.io], fromRules: true"]
    {
        silent(Code::DnsNotAllowed, &[policy(fine)]);
    }
    silent(Code::DnsNotAllowed, &[policy("names: [a.io]"), own("q", "{dns: {names: ['*.hub.io']}}")]);
}

#[test]
fn a_deny_by_name_needs_something_that_denies_the_rest() {
    let deny = "{action: Deny, to: [{domains: ['**.paste.io']}]}";
    let both = format!("{{egress: [{ALL}, {deny}], {RESOLVERS}}}");
    warns(Code::UnbackedDeny, &[own("p", &both)], &["x/p", "spec.egress[1].to", "hosts file"]);
    // Isolation is enough, where nothing allows everything.
    silent(Code::UnbackedDeny, &[own("p", &format!("{{egress: [{deny}]}}"))]);
    let others = network_policy("x", "n", "{podSelector: {}, policyTypes: [Egress], egress: [{}]}");
    warns(Code::UnbackedDeny, &[own("p", &format!("{{egress: [{deny}]}}")), others], &["x/p"]);
    let cluster = |name: &str, tier: &str, rule: &str| {
        cluster_egress_policy(
            name,
            &format!(
                "{{tier: {tier}, priority: 1, subject: {{namespaces: {{matchLabels: {{ns: x}}}}}}, egress: [{rule}]}}"
            ),
        )
    };
    warns(Code::UnbackedDeny, &[cluster("c", "Admin", deny)], &["ClusterEgressPolicy c"]);
    let rest = cluster("d", "Baseline", "{action: Deny, to: [{networks: [0.0.0.0/0]}]}");
    silent(Code::UnbackedDeny, &[cluster("c", "Admin", deny), rest]);
}

#[test]
fn one_star_where_another_policy_or_the_catalog_means_more_is_reported() {
    let policy = |domain: &str| {
        own("p", &format!("{{egress: [{{action: Allow, to: [{{domains: ['{domain}']}}]}}], {RESOLVERS}}}"))
    };
    let standard =
        admin("c", 1, &format!("{X}, egress: [{{action: Accept, to: [{{domainNames: ['*.hub.io']}}]}}]"));
    warns(
        Code::WildcardLabels,
        &[policy("*.hub.io"), standard.clone()],
        &["x/p", "ClusterNetworkPolicy c", "write \"**.hub.io\"", "spec.egress[0].to"],
    );
    silent(Code::WildcardLabels, &[policy("**.hub.io"), standard.clone()]);
    silent(Code::WildcardLabels, &[policy("*.other.io"), standard]);
    warns(Code::WildcardLabels, &[policy("*.hf.co")], &["huggingface", "**.hf.co"]);
    silent(Code::WildcardLabels, &[policy("**.hf.co")]);
}

#[test]
fn a_wildcard_above_a_private_zone_is_told_where_it_ends() {
    let rule = |action: &str, domain: &str| format!("{{action: {action}, to: [{{domains: ['{domain}']}}]}}");
    let notes = |kind: &dyn Fn(String) -> String, action: &str, domain: &str| {
        let text = world() + &kind(rule(action, domain));
        let mut catalog = crds::Catalog::built_in();
        catalog.private_zones.insert("k8s.hub.io".into());
        let read = crds::read_objects("test.yaml", text.as_bytes());
        let compiled = compiler::compile_with(read.objects, &catalog, policy::Generation(1));
        let of_code = compiled.diagnostics.into_iter().filter(|it| it.code == Code::WildcardLabels);
        of_code.map(|it| (it.severity, it.to_string())).collect::<Vec<_>>()
    };
    let namespaced = |rule: String| own("p", &format!("{{egress: [{rule}], {RESOLVERS}}}"));
    let of_cluster = |rule: String| {
        let spec = format!("{{tier: Admin, priority: 1, {X}, egress: [{rule}]}}");
        cluster_egress_policy("c", &spec)
    };
    for (kind, actions) in [
        (&namespaced as &dyn Fn(String) -> String, ["Allow"].as_slice()),
        (&of_cluster as &dyn Fn(String) -> String, ["Allow", "Pass"].as_slice()),
    ] {
        for action in actions {
            let found = notes(kind, action, "**.hub.io");
            let [(Severity::Note, text)] = found.as_slice() else { panic!("{action}: {found:?}") };
            for part in
                ["\"**.hub.io\" means no name in k8s.hub.io", "spec.egress[0].to", "ends in k8s.hub.io"]
            {
                assert!(text.contains(part), "no {part:?} in {text}");
            }
            for within in
                ["**.k8s.hub.io", "*.x.svc.k8s.hub.io", "db.x.svc.k8s.hub.io", "**.svc.cluster.local"]
            {
                assert!(notes(kind, action, within).is_empty(), "{action} {within}");
            }
        }
        assert!(notes(kind, "Deny", "**.hub.io").is_empty());
    }
}

#[test]
fn an_allow_that_a_deny_beats_entirely_is_reported() {
    let allow = "{action: Allow, to: [{domains: [a.paste.io]}], ports: [{port: 443}]}";
    let policy = |deny: &str| {
        [own("p", &format!("{{egress: [{allow}], {RESOLVERS}}}")), own("q", &format!("{{egress: [{deny}]}}"))]
    };
    let wide = "{action: Deny, to: [{domains: ['**.paste.io']}]}";
    warns(
        Code::ShadowedRule,
        &policy(wide),
        &["x/p", "EgressPolicy x/q spec.egress[0]", "beats every Allow"],
    );
    silent(Code::ShadowedRule, &policy("{action: Deny, to: [{domains: ['*.other.io']}]}"));
    silent(
        Code::ShadowedRule,
        &policy("{action: Deny, to: [{domains: ['**.paste.io']}], ports: [{port: 80}]}"),
    );
}

#[test]
fn a_limit_of_uploads_behind_a_rule_that_decides_without_it_is_reported() {
    let hub = |verb: &str, more: &str| {
        format!(
            "{{action: Allow, to: [{{domains: [hub.io]}}], ports: [{{port: 443}}], operations: [{{verbs: [{verb}]}}]{more}}}"
        )
    };
    let policy = |rules: [String; 2]| [own("p", &format!("{{egress: [{}], {RESOLVERS}}}", rules.join(", ")))];
    let limited = |limits: &str| policy([hub("download", ""), hub("upload", limits)]);
    for limits in [
        ", maxUploadBytes: {connection: 1Mi}",
        ", maxUploadBytes: {hour: 1Mi}",
        ", maxUploadBytes: {day: 1Mi}",
        ", downloadOnly: true",
    ] {
        warns(
            Code::LimitsNotFirst,
            &limited(limits),
            &["x/p", "spec.egress[1]", "EgressPolicy x/p spec.egress[0]", "limits-changed"],
        );
        // Where it comes first, or both have it, it decides or is no more than what decides.
        silent(Code::LimitsNotFirst, &policy([hub("upload", limits), hub("download", "")]));
        silent(Code::LimitsNotFirst, &policy([hub("download", limits), hub("upload", limits)]));
    }
    silent(Code::LimitsNotFirst, &limited(""));
    // Other servers are other connections; a rule that looks at no requests decides none of those of one that does.
    let most = ", maxUploadBytes: {connection: 1Mi}";
    let elsewhere = hub("download", "").replace("hub.io", "other.io");
    silent(Code::LimitsNotFirst, &policy([elsewhere, hub("upload", most)]));
    let plain = "{action: Allow, to: [{domains: [hub.io]}], ports: [{port: 443}]}".to_owned();
    silent(Code::LimitsNotFirst, &policy([plain, hub("upload", most)]));
}

#[test]
fn a_limit_of_uploads_behind_a_rule_of_another_policy_is_reported_where_both_select_a_pod() {
    let policy = |name: &str, labels: &str, verb: &str, more: &str| {
        own(
            name,
            &format!(
                "{{subject: {{podSelector: {{matchLabels: {labels}}}}}, egress: [{{action: Allow, to: [{{domains: [hub.io]}}], \
                 operations: [{{verbs: [{verb}]}}]{more}}}], {RESOLVERS}}}"
            ),
        )
    };
    let (limits, less) =
        (", maxUploadBytes: {connection: 1Mi}", ", maxUploadBytes: {connection: 1Ki}, downloadOnly: true");
    let both = |first: [&str; 2], second: [&str; 2]| {
        [policy("one", first[0], "download", first[1]), policy("two", second[0], "upload", second[1])]
    };
    let parts =
        ["EgressPolicy x/two", "spec.egress[0]", "EgressPolicy x/one spec.egress[0] (test.yaml:", "by name"];
    // The same pods, some of them in either direction, and a pod that both happen to select.
    for (one, two) in [("{}", "{}"), ("{}", "{pod: a}"), ("{pod: a}", "{}"), ("{pod: a}", "{app: web}")] {
        let web = pod("x", "c", "10.0.1.3", "{pod: a, app: web}");
        let mut policies = both([one, ""], [two, limits]).to_vec();
        policies.push(web);
        warns(Code::LimitsNotFirst, &policies, &parts);
    }
    silent(Code::LimitsNotFirst, &both(["{pod: a}", ""], ["{pod: b}", limits]));
    silent(Code::LimitsNotFirst, &both(["{pod: a}", ""], ["{app: web}", limits]));
    // The one that comes first is limited as much, or is the limited one.
    silent(Code::LimitsNotFirst, &both(["{}", less], ["{}", limits]));
    silent(Code::LimitsNotFirst, &both(["{}", limits], ["{}", ""]));
    // Of three the first decides.
    let three = |first: &str| {
        let [one, two] = both(["{}", ""], ["{}", limits]);
        [policy("a", "{}", "call", first), one, two]
    };
    silent(Code::LimitsNotFirst, &three(limits));
    warns(Code::LimitsNotFirst, &three(""), &["EgressPolicy x/two", "EgressPolicy x/a spec.egress[0]"]);
}

#[test]
fn an_egress_policy_that_selects_nothing_is_reported_at_its_subject() {
    warns(
        Code::SelectsNothing,
        &[own("p", "{subject: {podSelector: {matchLabels: {pod: z}}}}")],
        &["EgressPolicy x/p", "spec.subject"],
    );
}
