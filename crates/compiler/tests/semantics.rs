//! One test per sentence of the policy APIs that the compiler, not the evaluator, decides.

use crate::support::{
    self, check, check_protocol, cluster_policy, judge, network_policy, pod_with, set, world,
};
use policy::Reason;
use policy::Verdict::{Allow, Deny};

const OUTSIDE: &str = "192.0.2.1";

fn with(policies: &[String]) -> policy::PolicySet {
    set(&(world() + &policies.concat()))
}

#[test]
fn an_omitted_pod_selector_selects_all_pods_of_the_namespace() {
    let set = with(&[network_policy("x", "p", "{policyTypes: [Ingress]}")]);
    check(&set, "y/a", "x/a", 80, Deny);
    check(&set, "y/a", "x/b", 80, Deny);
    check(&set, "x/a", "y/a", 80, Allow);
}

#[test]
fn policy_types_left_out_mean_ingress_and_egress_only_with_an_egress_rule() {
    let set = with(&[network_policy("x", "p", "{podSelector: {}, egress: []}")]);
    check(&set, "x/a", "y/a", 80, Allow);
    check(&set, "y/a", "x/a", 80, Deny);
    let set = with(&[network_policy("x", "p", "{podSelector: {}, egress: [{ports: [{port: 80}]}]}")]);
    check(&set, "x/a", "y/a", 80, Allow);
    check(&set, "x/a", "y/a", 81, Deny);
    check(&set, "y/a", "x/a", 80, Deny);
}

#[test]
fn rules_of_a_direction_that_policy_types_leave_out_have_no_effect() {
    let set = with(&[network_policy(
        "x",
        "p",
        "{podSelector: {}, policyTypes: [Egress], ingress: [], egress: [{}]}",
    )]);
    check(&set, "y/a", "x/a", 80, Allow);
}

#[test]
fn nil_and_empty_lists_are_the_same() {
    for empty in ["", ", ingress: []", ", ingress: null"] {
        let set = with(&[network_policy(
            "x",
            "p",
            &format!("{{podSelector: {{}}, policyTypes: [Ingress]{empty}}}"),
        )]);
        check(&set, "y/a", "x/a", 80, Deny);
    }
    for everyone in ["{}", "{from: []}", "{ports: []}", "{from: [], ports: []}"] {
        let set = with(&[network_policy("x", "p", &format!("{{podSelector: {{}}, ingress: [{everyone}]}}"))]);
        check(&set, OUTSIDE, "x/a", 80, Allow);
        check_protocol(&set, "y/a", "x/a", ("SCTP", 9), Allow);
    }
}

#[test]
fn selector_pointers_inside_a_peer_matter() {
    let from = |peers: &str| {
        with(&[network_policy("x", "p", &format!("{{podSelector: {{}}, ingress: [{{from: {peers}}}]}}"))])
    };
    let own = from("[{podSelector: {}}]");
    check(&own, "x/b", "x/a", 80, Allow);
    check(&own, "y/a", "x/a", 80, Deny);
    let all = from("[{namespaceSelector: {}}]");
    check(&all, "y/a", "x/a", 80, Allow);
    check(&all, "x/b", "x/a", 80, Allow);
    check(&all, OUTSIDE, "x/a", 80, Deny);
    let both = from("[{namespaceSelector: {matchLabels: {ns: x}}, podSelector: {matchLabels: {pod: a}}}]");
    check(&both, "x/a", "x/b", 80, Allow);
    check(&both, "y/a", "x/b", 80, Deny);
    let either =
        from("[{namespaceSelector: {matchLabels: {ns: y}}}, {podSelector: {matchLabels: {pod: b}}}]");
    check(&either, "y/a", "x/a", 80, Allow);
    check(&either, "x/b", "x/a", 80, Allow);
    check(&either, "x/a", "x/b", 80, Deny);
}

#[test]
fn not_in_and_does_not_exist_match_objects_without_the_key() {
    let expression = |text: &str| {
        let peer = format!("{{podSelector: {{matchExpressions: [{text}]}}}}");
        with(&[network_policy("x", "p", &format!("{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"))])
    };
    check(&expression("{key: absent, operator: NotIn, values: [v]}"), "x/a", "x/b", 80, Allow);
    check(&expression("{key: absent, operator: DoesNotExist}"), "x/a", "x/b", 80, Allow);
    check(&expression("{key: pod, operator: NotIn, values: [a]}"), "x/a", "x/b", 80, Deny);
    check(&expression("{key: absent, operator: Exists}"), "x/a", "x/b", 80, Deny);
}

#[test]
fn namespaces_carry_their_name_as_a_label_declared_or_not() {
    let policy = |ns: &str| {
        let peer = format!("{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}}}");
        network_policy("x", "p", &format!("{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"))
    };
    check(&with(&[policy("y")]), "y/a", "x/a", 80, Allow);
    let undeclared = support::pod("z", "a", "10.0.3.1", "{}");
    check(&with(&[policy("z"), undeclared]), "z/a", "x/a", 80, Allow);
}

#[test]
fn a_port_entry_without_protocol_is_tcp() {
    let set = with(&[network_policy("x", "p", "{podSelector: {}, ingress: [{ports: [{}]}]}")]);
    check_protocol(&set, "y/a", "x/a", ("TCP", 65535), Allow);
    check_protocol(&set, "y/a", "x/a", ("UDP", 80), Deny);
    let set = with(&[network_policy("x", "p", "{podSelector: {}, ingress: [{ports: [{protocol: SCTP}]}]}")]);
    check_protocol(&set, "y/a", "x/a", ("SCTP", 1), Allow);
    check_protocol(&set, "y/a", "x/a", ("TCP", 80), Deny);
}

#[test]
fn end_port_is_included() {
    let set =
        with(&[network_policy("x", "p", "{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 82}]}]}")]);
    for (port, verdict) in [(79, Deny), (80, Allow), (82, Allow), (83, Deny)] {
        check(&set, "y/a", "x/a", port, verdict);
    }
}

#[test]
fn named_ports_resolve_on_each_destination_pod_with_their_protocol() {
    let set = with(&[network_policy("x", "p", "{podSelector: {}, ingress: [{ports: [{port: web}]}]}")]);
    check(&set, "y/a", "x/a", 80, Allow);
    check(&set, "y/a", "x/a", 81, Deny);
    check_protocol(&set, "y/a", "x/a", ("UDP", 80), Deny);
    let set = with(&[network_policy(
        "x",
        "p",
        "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web}]}]}",
    )]);
    check(&set, "x/a", "y/a", 80, Allow);
    check(&set, "x/a", OUTSIDE, 80, Deny);
}

#[test]
fn sidecars_have_named_ports_too() {
    let sidecar = "  initContainers:\n  - name: s\n    restartPolicy: Always\n    ports: [{containerPort: 15020, name: metrics}]\n";
    let pod = pod_with("x", "c", "10.0.1.3", "{pod: c}", sidecar, "");
    let set =
        with(&[pod, network_policy("x", "p", "{podSelector: {}, ingress: [{ports: [{port: metrics}]}]}")]);
    check(&set, "y/a", "x/c", 15020, Allow);
    check(&set, "y/a", "x/c", 80, Deny);
}

#[test]
fn an_except_carves_only_its_own_entry() {
    let blocks = "[{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/28]}}, {ipBlock: {cidr: 192.0.2.1/32}}]";
    let set =
        with(&[network_policy("x", "p", &format!("{{podSelector: {{}}, ingress: [{{from: {blocks}}}]}}"))]);
    for (from, verdict) in
        [("192.0.2.1", Allow), ("192.0.2.2", Deny), ("192.0.2.16", Allow), ("2001:db8::1", Deny)]
    {
        check(&set, from, "x/a", 80, verdict);
    }
}

#[test]
fn completed_pods_leave_with_their_address_and_terminating_ones_stay() {
    let done = pod_with("x", "done", "10.0.1.1", "{pod: z}", "", "  phase: Succeeded\n");
    let set = with(&[
        done,
        network_policy(
            "x",
            "p",
            "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {pod: a}}}]}]}",
        ),
    ]);
    assert!(set.world.find_pod("x", "done").is_none());
    check(&set, "10.0.1.1", "x/b", 80, Allow);
    let leaving = support::pod("x", "l", "10.0.1.9", "{pod: l}")
        .replace("{name: l,", "{name: l, deletionTimestamp: '2026-01-01T00:00:00Z',");
    let set = with(&[leaving, network_policy("x", "p", "{podSelector: {}}")]);
    check(&set, "y/a", "x/l", 80, Deny);
}

#[test]
fn host_network_pods_are_their_node_and_no_policy_selects_them() {
    let spec = "  hostNetwork: true\n  nodeName: n1\n";
    let host = pod_with("x", "h", "172.18.0.2", "{pod: a}", spec, "  hostIP: 172.18.0.2\n");
    let set = with(&[host.clone(), network_policy("x", "p", "{podSelector: {}}")]);
    assert_eq!(set.world.nodes["n1"].addresses, ["172.18.0.2".parse::<std::net::IpAddr>().unwrap()]);
    check(&set, "y/a", "x/h", 80, Allow);
    let from_pods = network_policy("x", "p", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}");
    check(&with(&[host.clone(), from_pods]), "x/h", "x/b", 80, Deny);
    let from_block =
        network_policy("x", "p", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 172.18.0.2/32}}]}]}");
    check(&with(&[host, from_block]), "x/h", "x/b", 80, Allow);
}

#[test]
fn a_pod_is_never_cut_off_from_its_own_node() {
    let pod = pod_with("x", "n", "10.0.1.7", "{pod: n}", "  nodeName: n1\n", "  hostIP: 172.18.0.2\n");
    let other = pod_with("x", "m", "10.0.1.8", "{pod: m}", "  nodeName: n2\n", "  hostIP: 172.18.0.3\n");
    let set =
        with(&[pod, other, network_policy("x", "p", "{podSelector: {}, policyTypes: [Ingress, Egress]}")]);
    check(&set, "172.18.0.2", "x/n", 80, Allow);
    check(&set, "172.18.0.3", "x/n", 80, Deny);
    assert_eq!(judge(&set, "172.18.0.2", "x/n", "TCP", 80).ingress.reason, Reason::OwnNode);
}

#[test]
fn tiers_are_judged_in_order_and_priority_is_ascending() {
    let subject = "subject: {namespaces: {matchLabels: {ns: x}}}";
    let rule = |action: &str| format!("ingress: [{{action: {action}, from: [{{namespaces: {{}}}}]}}]");
    let policy = |name: &str, tier: &str, priority: u32, action: &str| {
        cluster_policy(name, &format!("{{tier: {tier}, priority: {priority}, {subject}, {}}}", rule(action)))
    };
    let isolate = network_policy("x", "np", "{podSelector: {}}");
    let set = with(&[policy("b", "Admin", 1, "Accept"), policy("a", "Admin", 2, "Deny"), isolate.clone()]);
    check(&set, "y/a", "x/a", 80, Allow);
    let set = with(&[policy("b", "Admin", 1, "Pass"), policy("a", "Admin", 2, "Accept"), isolate.clone()]);
    check(&set, "y/a", "x/a", 80, Deny);
    let set = with(&[policy("b", "Baseline", 1, "Accept"), isolate]);
    check(&set, "y/a", "x/a", 80, Deny);
    let set = with(&[policy("b", "Baseline", 1, "Deny")]);
    check(&set, "y/a", "x/a", 80, Deny);
    check(&set, OUTSIDE, "x/a", 80, Allow);
    let set = with(&[policy("a", "Baseline", 1, "Pass"), policy("b", "Baseline", 2, "Deny")]);
    check(&set, "y/a", "x/a", 80, Allow);
}

#[test]
fn baseline_is_reached_in_a_direction_that_no_network_policy_isolates() {
    let deny = "{tier: Baseline, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}";
    let egress_only = network_policy("x", "np", "{podSelector: {}, policyTypes: [Egress], egress: [{}]}");
    let set = with(&[cluster_policy("b", deny), egress_only]);
    check(&set, "y/a", "x/a", 80, Deny);
    assert_eq!(judge(&set, "y/a", "x/a", "TCP", 80).ingress.reason, Reason::BaselineDeny);
}

#[test]
fn a_peer_of_unknown_kind_fails_closed() {
    let policy = |action: &str| {
        let rules =
            format!("egress: [{{action: {action}, to: [{{serviceAccounts: {{}}}}, {{namespaces: {{}}}}]}}]");
        cluster_policy(
            "p",
            &format!(
                "{{tier: Admin, priority: 1, subject: {{namespaces: {{matchLabels: {{ns: x}}}}}}, {rules}}}"
            ),
        )
    };
    let isolate = network_policy("x", "np", "{podSelector: {}, policyTypes: [Egress]}");
    let judged = |policies: &[String]| support::compile(&(world() + &policies.concat())).set;
    let accept = judged(&[policy("Accept"), isolate]);
    check(&accept, "x/a", "y/a", 80, Deny);
    assert_eq!(judge(&accept, "x/a", "y/a", "TCP", 80).egress.reason, Reason::Isolated);
    for action in ["Deny", "Pass"] {
        let closed = judged(&[policy(action)]);
        check(&closed, "x/a", OUTSIDE, 80, Deny);
        assert_eq!(judge(&closed, "x/a", OUTSIDE, "TCP", 80).egress.reason, Reason::AdminDeny);
    }
}

#[test]
fn networks_mean_pods_too_and_a_list_is_an_or() {
    let rules = "egress: [{action: Deny, to: [{networks: [192.0.2.0/24, 10.0.2.0/24]}]}]";
    let policy = format!(
        "{{tier: Admin, priority: 1, subject: {{pods: {{podSelector: {{matchLabels: {{pod: a}}}}}}}}, {rules}}}"
    );
    let set = with(&[cluster_policy("p", &policy)]);
    check(&set, "x/a", "y/a", 80, Deny);
    check(&set, "x/a", OUTSIDE, 80, Deny);
    check(&set, "x/a", "x/b", 80, Allow);
    check(&set, "x/b", "y/a", 80, Allow);
}

#[test]
fn a_cluster_named_port_has_the_protocol_of_the_container_port() {
    let rules =
        "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: web}]}]";
    let set = with(&[cluster_policy(
        "p",
        &format!("{{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, {rules}}}"),
    )]);
    check(&set, "y/a", "x/a", 80, Deny);
    check_protocol(&set, "y/a", "x/a", ("UDP", 80), Allow);
}

#[test]
fn the_older_dialect_is_the_same_model() {
    let anp = "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: a}\nspec: \
               {priority: 5, subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}], ports: [{portNumber: {port: 80}}]}]}\n";
    let banp = "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\nmetadata: {name: default}\nspec: \
               {subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}\n";
    let set = with(&[anp.to_owned(), banp.to_owned()]);
    check(&set, "y/a", "x/a", 80, Allow);
    check(&set, "y/a", "x/a", 81, Deny);
    check_protocol(&set, "y/a", "x/a", ("UDP", 80), Deny);
}

#[test]
fn every_rule_keeps_its_line() {
    let yaml = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: x\nspec:\n  podSelector: {}\n  \
                ingress:\n  - ports: [{port: 80}]\n  - ports: [{port: 81}]\n";
    let set = set(&(yaml.to_owned() + &world()));
    let decision = judge(&set, "y/a", "x/a", "TCP", 81);
    let entry = set.rule(decision.ingress.rule).unwrap();
    assert_eq!(
        (&*entry.field, entry.index, entry.source.as_ref().unwrap().line),
        ("spec.ingress[1]", Some(1), 10)
    );
    let isolated = judge(&set, "y/a", "x/a", "TCP", 82);
    let entry = set.rule(isolated.ingress.rule).unwrap();
    assert_eq!((entry.reason, &*entry.field, entry.index), (Reason::Isolated, "spec.podSelector", None));
}
