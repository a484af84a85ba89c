//! Who exists, what closes, and how workloads expand.

use crate::support::{check, cluster_policy, compile, judge, network_policy, pod, set, world};
use policy::Reason;
use policy::Verdict::{Allow, Deny};

/// The messages of all errors.
fn errors(yaml: &str) -> Vec<String> {
    compile(yaml).diagnostics.iter().filter(|d| d.is_error()).map(ToString::to_string).collect()
}

fn names(set: &policy::PolicySet) -> Vec<String> {
    set.world.pods.iter().map(ToString::to_string).collect()
}

#[test]
fn a_broken_network_policy_closes_what_it_could_select() {
    let selected =
        "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress], ingress: [{ports: [{port: 99999}]}]}";
    let closed = compile(&(world() + &network_policy("x", "p", selected))).set;
    check(&closed, "y/a", "x/a", 80, Deny);
    assert_eq!(judge(&closed, "y/a", "x/a", "TCP", 80).ingress.reason, Reason::PolicyUnreadable);
    check(&closed, "x/a", "y/a", 80, Allow);
    check(&closed, "y/a", "x/b", 80, Allow);
    let unreadable = "{podSelector: 7, policyTypes: 7}";
    let closed = compile(&(world() + &network_policy("x", "p", unreadable))).set;
    check(&closed, "x/b", "y/a", 80, Deny);
    check(&closed, "y/a", "x/b", 80, Deny);
}

#[test]
fn a_broken_cluster_policy_closes_its_subject_or_everything() {
    let of_x = "{tier: Admin, priority: 2000, subject: {namespaces: {matchLabels: {ns: x}}}, egress: [{action: Accept, to: [{namespaces: {}}]}]}";
    let closed = compile(&(world() + &cluster_policy("p", of_x))).set;
    check(&closed, "x/a", "y/a", 80, Deny);
    check(&closed, "y/a", "x/a", 80, Allow);
    let of_nobody_knows =
        "{tier: Admin, priority: 1, subject: {}, egress: [{action: Accept, to: [{namespaces: {}}]}]}";
    let closed = compile(&(world() + &cluster_policy("p", of_nobody_knows))).set;
    check(&closed, "y/a", "x/a", 80, Deny);
    assert_eq!(judge(&closed, "y/a", "x/a", "TCP", 80).egress.reason, Reason::PolicyUnreadable);
}

#[test]
fn two_policies_of_one_name_close_both_scopes() {
    let a = network_policy("x", "p", "{podSelector: {matchLabels: {pod: a}}, ingress: [{}]}");
    let b = network_policy("x", "p", "{podSelector: {matchLabels: {pod: b}}, ingress: [{}]}");
    let yaml = world() + &a + &b;
    let found = errors(&yaml);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("test.yaml:48") && found[0].contains("test.yaml:43"), "{found:?}");
    let set = compile(&yaml).set;
    check(&set, "y/a", "x/a", 80, Deny);
    check(&set, "y/a", "x/b", 80, Deny);
    check(&set, "x/a", "y/a", 80, Allow);
}

#[test]
fn the_same_policy_twice_counts_once() {
    let a = network_policy("x", "p", "{podSelector: {}, ingress: [{}]}");
    let set = set(&(world() + &a + &a));
    assert_eq!((set.policies.len(), set.closed.len()), (1, 0));
}

#[test]
fn pods_that_share_an_address_are_closed() {
    let twin = pod("y", "b", "10.0.1.1", "{pod: b}");
    let yaml = world() + &twin;
    let found = errors(&yaml);
    assert!(found.len() == 1 && found[0].contains("x/a") && found[0].contains("y/b"), "{found:?}");
    let set = compile(&yaml).set;
    for (from, to) in [("x/a", "x/b"), ("x/b", "x/a"), ("y/b", "x/b"), ("x/b", "y/b"), ("10.0.1.1", "x/b")] {
        check(&set, from, to, 80, Deny);
    }
    check(&set, "y/a", "x/b", 80, Allow);
}

#[test]
fn two_pods_of_one_name_are_one_closed_pod() {
    let yaml = world() + &pod("x", "a", "10.0.1.5", "{pod: z}");
    assert_eq!(errors(&yaml).len(), 1);
    let set = compile(&yaml).set;
    assert_eq!(set.world.pods.len(), 3);
    check(&set, "10.0.1.5", "x/b", 80, Deny);
    check(&set, "10.0.1.1", "x/b", 80, Deny);
}

#[test]
fn a_namespace_with_contradicting_labels_is_closed() {
    let yaml = world() + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: y, labels: {ns: other}}\n";
    assert_eq!(errors(&yaml).len(), 1);
    let set = compile(&yaml).set;
    check(&set, "y/a", "x/a", 80, Deny);
    check(&set, "x/a", "y/a", 80, Deny);
    check(&set, "x/a", "x/b", 80, Allow);
}

#[test]
fn pods_of_generated_names_are_different_pods() {
    let one = |address: &str| pod("x", "z", address, "{}").replace("name: z", "generateName: z-");
    let set = set(&(one("10.0.1.1") + &one("10.0.1.2")));
    assert_eq!(names(&set), ["x/z-0", "x/z-1"]);
}

fn workload(kind: &str, name: &str, replicas: u32) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: x}}\nspec:\n  replicas: {replicas}\n  selector: \
         {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      containers:\n      - name: c\n        \
         image: i\n        ports: [{{containerPort: 80, name: web}}]\n"
    )
}

#[test]
fn a_workload_without_pods_expands_to_its_replicas() {
    let set = set(&workload("Deployment", "web", 2));
    assert_eq!(names(&set), ["x/web-0", "x/web-1"]);
    let found = set.world.find_pod("x", "web-1").unwrap();
    assert_eq!((&*found.workload.kind, &*found.workload.name), ("Deployment", "web"));
    assert_eq!((found.labels.get("app"), found.ports.len()), (Some("web"), 1));
}

#[test]
fn a_workload_scaled_to_nothing_has_no_pods() {
    assert!(set(&workload("Deployment", "web", 0)).world.pods.is_empty());
}

#[test]
fn a_workload_expands_to_a_thousand_pods_and_says_so() {
    let compiled = compile(&workload("Deployment", "web", 100_000));
    assert_eq!(compiled.set.world.pods.len(), 1000);
    assert!(compiled.diagnostics.iter().any(|d| d.code == crds::Code::LimitExceeded));
}

#[test]
fn workloads_of_one_name_and_several_kinds_all_expand() {
    let set = set(&(workload("Deployment", "web", 1) + &workload("StatefulSet", "web", 1)));
    assert_eq!(set.world.pods.len(), 2);
}

fn owned(name: &str, kind: &str, owner: &str) -> String {
    let reference = format!("name: {name}, ownerReferences: [{{kind: {kind}, name: {owner}}}],");
    pod("x", name, "10.0.1.1", "{app: web}").replace(&format!("name: {name},"), &reference)
}

#[test]
fn a_workload_with_pods_does_not_expand() {
    let deployment = workload("Deployment", "web", 3);
    for (kind, owner) in [("Deployment", "web"), ("ReplicaSet", "web-5d4f8"), ("Foo", "bar")] {
        let set = set(&(deployment.clone() + &owned("web-5d4f8-abcde", kind, owner)));
        assert_eq!(names(&set), ["x/web-5d4f8-abcde"], "{kind}");
        let workload = &set.world.pods[0].workload;
        assert_eq!((&*workload.kind, &*workload.name), (kind, owner));
    }
    let middle = workload("ReplicaSet", "rs", 3)
        .replace("{name: rs, ", "{name: rs, ownerReferences: [{kind: Deployment, name: web}], ");
    let set = set(&(deployment + &middle + &owned("p", "ReplicaSet", "rs")));
    assert_eq!(names(&set), ["x/p"]);
}

#[test]
fn a_pod_goes_by_its_first_owner_but_never_by_its_node() {
    let set = set(&owned("static", "Node", "n1"));
    let workload = &set.world.pods[0].workload;
    assert_eq!((&*workload.kind, &*workload.name), ("Pod", "static"));
}

#[test]
fn a_daemon_set_runs_on_every_node() {
    let node = |name: &str| format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n");
    let set = set(&(node("n1") + &node("n2") + &workload("DaemonSet", "agent", 1)));
    let nodes: Vec<_> = set.world.pods.iter().map(|pod| pod.node.as_deref().unwrap()).collect();
    assert_eq!(nodes, ["n1", "n2"]);
}

#[test]
fn compiling_twice_gives_the_same() {
    let policies =
        network_policy("x", "p", "{podSelector: {}}") + &network_policy("y", "p", "{podSelector: {}}");
    let yaml = world() + &policies + &workload("Deployment", "web", 3) + &pod("y", "b", "10.0.1.1", "{}");
    let (a, b) = (compile(&yaml), compile(&yaml));
    assert_eq!(
        (&a.set.world, &a.set.policies, &a.set.closed),
        (&b.set.world, &b.set.policies, &b.set.closed)
    );
    assert_eq!((&a.set.rules, a.diagnostics), (&b.set.rules, b.diagnostics));
}

#[test]
fn rule_ids_are_dense_and_name_their_own_rules() {
    let set = set(&(world()
        + &network_policy("x", "b", "{podSelector: {}, ingress: [{}, {}]}")
        + &network_policy("x", "a", "{podSelector: {}}")));
    let ids: Vec<u32> = set
        .policies
        .iter()
        .flat_map(|p| [p.isolation[1].0].into_iter().chain(p.ingress.rules().iter().map(|rule| rule.id.0)))
        .collect();
    assert_eq!(ids, [16, 17, 18, 19]);
    assert_eq!(set.rules.len(), 20);
    for policy in &set.policies {
        assert_eq!(set.rule(policy.isolation[1]).unwrap().object.as_ref(), Some(&policy.object));
    }
}
