//! Pods of other clusters: who is meant, and who is not believed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

use compiler::lower::{Cluster, lower};
use policy::{Access, Endpoint, Generation, Party, PolicySet, Protocol, Verdict, decide};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Namespace ml, which imports from west and south; a pod of it at 10.0.0.2, and one at 10.0.0.3 that no egress policy selects.
const HERE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: ml, labels: {import.cofferdam.dev/west: identities, import.cofferdam.dev/south: identities}}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.0.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: ml, labels: {app: api}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: train-0, namespace: ml, labels: {app: train}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
status: {podIP: 10.0.0.3}
";

const ALLOW: &str = "
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: to-west, namespace: ml}
spec:
  subject: {podSelector: {matchLabels: {app: api}}}
  egress:
  - action: Allow
    to:
    - clusters: [west]
      namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ml}}
      podSelector: {matchLabels: {app: train}}
    ports: [{port: 8080}]
";

const DENY: &str = "
---
apiVersion: cofferdam.dev/v1alpha1
kind: ClusterEgressPolicy
metadata: {name: not-to-west}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  egress:
  - action: Deny
    to:
    - clusters: ['*']
      namespaceSelector: {}
      podSelector: {matchLabels: {app: train}}
";

fn slice(cluster: &str, name: &str, pods: &str) -> String {
    format!(
        "---\napiVersion: cofferdam.dev/v1alpha1\nkind: IdentitySlice\nmetadata: {{name: {name}, namespace: {cluster}}}\n\
         spec: {{cluster: {cluster}, namespace: ml, namespaceLabels: {{team: a}}, pods: [{pods}]}}\n"
    )
}

fn train(address: &str) -> String {
    format!("{{name: train-0, labels: {{app: train}}, addresses: [{address}]}}")
}

fn compile(text: &str) -> (PolicySet, String) {
    let read = crds::read_objects("t.yaml", text.as_bytes());
    let wrong: Vec<_> = read.diagnostics.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let compiled = compiler::compile_unlinted(read.objects, Generation(1));
    let told: Vec<_> = compiled.diagnostics.iter().map(ToString::to_string).collect();
    (compiled.set, told.join("\n"))
}

/// What the reference says of a connection from a pod of ml, and the table of its node as well.
fn verdict(set: &PolicySet, from: &str, to: &str, port: u16) -> Verdict {
    let pod = set.world.find_pod("ml", from).unwrap();
    let to: IpAddr = to.parse().unwrap();
    let from = Endpoint::pod(&set.world, pod);
    let access = Access { from, to: Endpoint::at(&set.world, to), protocol: Protocol::TCP, port };
    let decision = decide(set, &access);
    let view = Cluster::load(set).view("n1").of(set);
    for set in [set, &view] {
        let table = lower(set, "n1", &BTreeMap::new()).unwrap();
        let judged = table.judge(pod.addresses[0], to, Protocol::TCP, port).egress.unwrap();
        assert_eq!((judged.verdict, judged.rule), (decision.egress.verdict, decision.egress.rule), "{to}");
    }
    decision.egress.verdict
}

#[test]
fn a_pod_of_another_cluster_is_meant_by_who_names_its_cluster() {
    let west = slice("west", "ml-0", &train("10.8.0.2"));
    let south = slice("south", "ml-0", &train("10.9.0.2"));
    let (set, told) = compile(&format!("{HERE}{ALLOW}{west}{south}"));
    assert_eq!(told, "");
    assert_eq!(verdict(&set, "api", "10.8.0.2", 8080), Verdict::Allow);
    assert_eq!(verdict(&set, "api", "10.8.0.2", 8081), Verdict::Deny);
    assert_eq!(verdict(&set, "api", "10.9.0.2", 8080), Verdict::Deny, "south is not west");
    assert_eq!(verdict(&set, "api", "10.0.0.3", 8080), Verdict::Deny, "nor is the pod of the same name here");
    assert_eq!(verdict(&set, "api", "10.8.0.3", 8080), Verdict::Deny, "nor is a stranger");
    let end = Endpoint::at(&set.world, "10.8.0.2".parse().unwrap());
    assert_eq!(end.to_string(), "pod ml@west/train-0");
    assert!(matches!(end.party, Party::Pod(pod) if pod.cluster() == Some("west")));
}

#[test]
fn nobody_elsewhere_is_where_a_cloud_hands_out_credentials() {
    for place in &policy::metadata::PLACES {
        let address = place.address;
        let west = slice("west", "ml-0", &train(&format!("\"{address}\"")));
        let read = crds::read_objects("t.yaml", format!("{HERE}{ALLOW}{west}").as_bytes());
        let compiled = compiler::compile_unlinted(read.objects, Generation(1));
        let told = read.diagnostics.iter().chain(&compiled.diagnostics).map(ToString::to_string);
        let told: Vec<_> = told.filter(|line| line.contains(&address.to_string())).collect();
        assert_eq!(told.len(), 1, "{address}: {told:?}");
        let found = Endpoint::at(&compiled.set.world, address);
        assert!(matches!(found.party, Party::Outside), "{address} is {found}");
    }
}

#[test]
fn no_standard_policy_and_no_subject_means_pods_of_other_clusters() {
    let standard = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all, namespace: ml}
spec: {podSelector: {}, policyTypes: [Egress, Ingress], egress: [{to: [{namespaceSelector: {}}, {podSelector: {}}]}]}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: all}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {}}
  ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: a}}}]}]
";
    let (set, _) = compile(&format!("{HERE}{standard}{}", slice("west", "ml-0", &train("10.8.0.2"))));
    assert_eq!(verdict(&set, "api", "10.0.0.3", 80), Verdict::Allow, "of this cluster");
    assert_eq!(verdict(&set, "api", "10.8.0.2", 80), Verdict::Deny);
    let [from, to] = ["10.0.0.2", "10.8.0.2"].map(|text| Endpoint::at(&set.world, text.parse().unwrap()));
    for (from, to) in [(from, to), (to, from)] {
        let decision = decide(&set, &Access { from, to, protocol: Protocol::TCP, port: 80 });
        let [of_other, _] = match from.to_string().contains("west") {
            true => [decision.egress, decision.ingress],
            false => [decision.ingress, decision.egress],
        };
        assert_eq!(of_other.reason, policy::Reason::NotSubject, "its own cluster judges for it");
    }
}

#[test]
fn nothing_written_in_a_file_is_a_pod_of_another_cluster_but_a_slice() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: train-0, namespace: ml@west}\nspec: {containers: []}\nstatus: {podIP: 10.0.0.7}\n";
    let read = crds::read_objects("t.yaml", pod.as_bytes());
    assert!(read.diagnostics.iter().any(crds::Diagnostic::is_error));
    let set = compiler::compile_unlinted(read.objects, Generation(1)).set;
    assert!(set.world.pods.iter().all(|pod| pod.cluster().is_none()), "{:?}", set.world.pods);
}

#[test]
fn a_namespace_that_does_not_import_knows_nobody() {
    let here = HERE.replace("import.cofferdam.dev/west: identities, ", "");
    let (set, told) = compile(&format!("{here}{ALLOW}{}", slice("west", "ml-0", &train("10.8.0.2"))));
    assert_eq!(verdict(&set, "api", "10.8.0.2", 8080), Verdict::Deny);
    assert!(told.contains("kubectl label namespace ml import.cofferdam.dev/west=identities"), "{told}");
    assert!(!set.world.namespaces.contains_key("ml@west"));
}

#[test]
fn an_address_of_this_cluster_is_nobody_elsewhere() {
    for (claimed, holder) in [
        ("10.0.0.3", "pod ml/train-0"),
        ("192.0.2.2", "node n2"),
        ("10.0.0.99", "the pods' network 10.0.0.0/24 of node n1"),
    ] {
        let west = slice("west", "ml-0", &train(claimed));
        let (set, told) = compile(&format!("{HERE}{ALLOW}{west}"));
        assert_eq!(verdict(&set, "api", claimed, 8080), Verdict::Deny, "{claimed}");
        let line = format!("address {claimed} of pod ml@west/train-0 is also that of {holder}");
        assert!(told.contains(&line) && told.contains("IdentitySlice west/ml-0"), "{told}");
        // Nor can a claim have the pods of this cluster denied.
        let (set, _) = compile(&format!("{HERE}{DENY}{west}"));
        assert_eq!(verdict(&set, "api", claimed, 8080), Verdict::Allow, "{claimed}");
    }
}

#[test]
fn pods_that_are_left_out_are_counted_and_meant_by_nothing() {
    let west = slice("west", "ml-0", &train("10.8.0.2"));
    let rest = slice("west", "ml-1", &train("10.8.0.3").replace("train-0", "train-1"))
        .replace("namespaceLabels: {team: a}, ", "withheld: 7, ");
    let (set, told) = compile(&format!("{HERE}{ALLOW}{west}{rest}"));
    assert_eq!(verdict(&set, "api", "10.8.0.2", 8080), Verdict::Allow);
    assert_eq!(verdict(&set, "api", "10.8.0.3", 8080), Verdict::Deny);
    assert!(
        told.contains("cluster west exports more pods of its namespace ml than are taken: 7 are not known"),
        "{told}"
    );
    assert!(told.contains("IdentitySlice west/ml-1"), "{told}");
    let (_, told) = compile(&format!("{HERE}{ALLOW}{west}"));
    assert!(!told.contains("than are taken"), "{told}");
}

#[test]
fn an_address_of_two_clusters_opens_nothing_and_stays_denied() {
    let both = slice("west", "ml-0", &train("10.8.0.2")) + &slice("south", "ml-0", &train("10.8.0.2"));
    let (set, told) = compile(&format!("{HERE}{ALLOW}{both}"));
    assert_eq!(verdict(&set, "api", "10.8.0.2", 8080), Verdict::Deny);
    for line in [
        "address 10.8.0.2 of pod ml@west/train-0 is also that of pod ml@south/train-0",
        "address 10.8.0.2 of pod ml@south/train-0 is also that of pod ml@west/train-0",
    ] {
        assert!(told.contains(line), "{told}");
    }
    let (set, _) = compile(&format!("{HERE}{DENY}{both}"));
    assert_eq!(verdict(&set, "api", "10.8.0.2", 8080), Verdict::Deny);
}

#[test]
fn a_cluster_that_is_silent_opens_nothing_and_stays_denied() {
    let live = slice("west", "ml-0", &train("10.8.0.2"));
    let silent = live.replace("spec: {", "spec: {expired: true, ");
    for (slice, expected) in [(&live, Verdict::Allow), (&silent, Verdict::Deny)] {
        let (set, told) = compile(&format!("{HERE}{ALLOW}{slice}"));
        assert_eq!((verdict(&set, "api", "10.8.0.2", 8080), told.as_str()), (expected, ""));
        let (set, _) = compile(&format!("{HERE}{DENY}{slice}"));
        assert_eq!(verdict(&set, "api", "10.8.0.2", 8080), Verdict::Deny);
        assert_eq!(verdict(&set, "api", "10.8.0.3", 8080), Verdict::Allow, "nobody else is denied for it");
    }
}

#[test]
fn of_labels_of_a_namespace_those_hold_that_all_its_slices_agree_on_and_no_claim_makes_it_another() {
    let first = slice("west", "ml-0", &train("10.8.0.2")).replace(
        "{team: a}",
        "{team: a, kubernetes.io/metadata.name: kube-system, cofferdam.dev/cluster: south}",
    );
    let second = slice("west", "ml-1", "{name: db, addresses: [10.8.0.3]}").replace("team: a", "team: b");
    let (set, _) = compile(&format!("{HERE}{first}{second}"));
    let labels: Vec<_> = set.world.namespaces["ml@west"].labels.iter().collect();
    assert_eq!(labels, [("cofferdam.dev/cluster", "west"), ("kubernetes.io/metadata.name", "ml")]);
}

#[test]
fn a_pod_that_two_slices_say_differently_is_not_believed() {
    let twice = slice("west", "ml-0", &train("10.8.0.2")) + &slice("west", "ml-1", &train("10.8.0.2"));
    let (set, told) = compile(&format!("{HERE}{ALLOW}{twice}"));
    assert_eq!((verdict(&set, "api", "10.8.0.2", 8080), told.as_str()), (Verdict::Allow, ""));
    let differing = slice("west", "ml-0", &train("10.8.0.2")) + &slice("west", "ml-1", &train("10.8.0.7"));
    let (set, _) = compile(&format!("{HERE}{ALLOW}{differing}"));
    for address in ["10.8.0.2", "10.8.0.7"] {
        assert_eq!(verdict(&set, "api", address, 8080), Verdict::Deny, "{address}");
    }
}

#[test]
fn a_claimed_address_keeps_no_new_pod_of_this_cluster_from_it() {
    let here =
        HERE.replace("spec: {podCIDRs: [10.0.0.0/24]}\n", "").replace("status: {podIP: 10.0.0.2}\n", "");
    let (set, told) = compile(&format!("{here}{ALLOW}{}", slice("west", "ml-0", &train("10.0.0.2"))));
    assert_eq!(told, "", "nobody knows the address of the new pod yet");
    let address: IpAddr = "10.0.0.2".parse().unwrap();
    let placement = BTreeMap::from([(("ml".into(), "api".into()), vec![address])]);
    let table = lower(&set, "n1", &placement).unwrap();
    assert!(table.endpoints.contains_key(&address), "its node judges for it");
}

/// As docs/how-to/select-workloads-of-other-clusters.md says it.
#[test]
fn a_service_of_all_clusters_is_meant_by_its_selector_here_and_elsewhere() {
    let policy = "
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: to-train-anywhere, namespace: ml}
spec:
  subject: {podSelector: {matchLabels: {app: api}}}
  dns: {names: ['**.cluster.local', train.ml.svc.clusterset.local]}
  egress:
  - action: Allow
    to:
    - clusters: ['*']
      namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ml}}
      podSelector: {matchLabels: {app: train}}
    ports: [{port: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: to-train-here, namespace: ml}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to:
    - podSelector: {matchLabels: {app: train}}
    ports: [{port: 8080}]
";
    let slices = [slice("west", "ml-0", &train("10.8.0.2")), slice("south", "ml-0", &train("10.9.0.2"))];
    let (set, told) = compile(&format!("{HERE}{policy}{}", slices.concat()));
    assert_eq!(told, "");
    for endpoint in ["10.8.0.2", "10.9.0.2", "10.0.0.3"] {
        assert_eq!(verdict(&set, "api", endpoint, 8080), Verdict::Allow, "{endpoint}");
        assert_eq!(verdict(&set, "api", endpoint, 80), Verdict::Deny, "the service's own port is translated");
    }
    assert_eq!(verdict(&set, "api", "10.8.0.3", 8080), Verdict::Deny, "a gateway that translates");
}

/// Endpoints of one cluster, as an implementation of KEP-1645 imports them.
fn imported(name: &str, service: &str, addresses: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: ml, labels: \
         {{multicluster.kubernetes.io/service-name: {service}, multicluster.kubernetes.io/source-cluster: id-of-west}}}}\n\
         addressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{{addresses: [{addresses}]}}]\n"
    )
}

const TO_SERVICE: &str = "
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: to-train, namespace: ml}
spec:
  subject: {podSelector: {matchLabels: {app: api}}}
  egress: [{action: Allow, to: [{serviceImport: {namespace: ml, name: train}}], ports: [{port: 8080}]}]
";

#[test]
fn behind_a_service_of_all_clusters_are_its_endpoints_that_are_pods_of_its_namespace() {
    // Another label than the service selects by: who is behind it, its slices say.
    let west = slice("west", "ml-0", &train("10.8.0.2").replace("app: train", "x: y"));
    let south = slice("south", "ml-0", &train("10.9.0.2"));
    let other = slice("west", "ml-1", "{name: db, labels: {app: train}, addresses: [10.8.0.4]}");
    let here = "
---
apiVersion: v1
kind: Pod
metadata: {name: sink, namespace: kube-system}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
status: {podIP: 10.0.0.9}
";
    let slices = imported("train-a", "train", "10.8.0.2, 10.0.0.3, 10.0.0.9, 203.0.113.7")
        + &imported("train-b", "train", "10.9.0.2")
        + &imported("db", "db", "10.8.0.4");
    let (set, told) = compile(&format!("{HERE}{TO_SERVICE}{west}{south}{other}{here}{slices}"));
    assert!(!told.contains("error"), "{told}");
    for endpoint in ["10.8.0.2", "10.9.0.2", "10.0.0.3"] {
        assert_eq!(verdict(&set, "api", endpoint, 8080), Verdict::Allow, "{endpoint}");
        assert_eq!(verdict(&set, "api", endpoint, 8081), Verdict::Deny, "{endpoint}");
    }
    for (stranger, why) in [
        ("10.8.0.4", "it is behind another service"),
        ("10.0.0.9", "it is of another namespace"),
        ("203.0.113.7", "nobody knows whose it is"),
    ] {
        assert_eq!(verdict(&set, "api", stranger, 8080), Verdict::Deny, "{why}");
    }
    // Nothing is taken for an endpoint by a label of its own.
    let claim = train("10.8.0.7")
        .replace("train-0", "evil")
        .replace("app: train", "serviceimport.cofferdam.dev/train: 'true'");
    let claims = slice("west", "ml-2", &claim);
    let (set, _) = compile(&format!("{HERE}{TO_SERVICE}{west}{claims}{slices}"));
    assert_eq!(verdict(&set, "api", "10.8.0.7", 8080), Verdict::Deny);
    assert_eq!(verdict(&set, "api", "10.8.0.2", 8080), Verdict::Allow);
}

#[test]
fn a_service_is_meant_by_its_own_name_in_dns_as_well_and_by_no_other() {
    let west = slice("west", "ml-0", &train("10.8.0.2"));
    let slices = imported("train-a", "train", "10.8.0.2, 10.0.0.3");
    for (domain, rest, expected) in [
        ("train.ml.svc.clusterset.local", "", Verdict::Allow),
        ("train.ml.svc.cluster.local", "", Verdict::Deny),
        ("'*.ml.svc.clusterset.local'", "", Verdict::Deny),
        ("'**.clusterset.local'", "", Verdict::Deny),
        ("train-0.west.train.ml.svc.clusterset.local", "", Verdict::Deny),
        // Nobody would count what is sent.
        ("train.ml.svc.clusterset.local", "downloadOnly: true, ", Verdict::Deny),
    ] {
        let policy = TO_SERVICE
            .replace("serviceImport: {namespace: ml, name: train}", &format!("domains: [{domain}]"))
            .replace("action: Allow, ", &format!("action: Allow, {rest}"));
        let (set, _) = compile(&format!("{HERE}{policy}{west}{slices}"));
        for endpoint in ["10.8.0.2", "10.0.0.3"] {
            assert_eq!(verdict(&set, "api", endpoint, 8080), expected, "{domain} {rest} {endpoint}");
        }
    }
}

#[test]
fn who_imports_endpoints_does_not_say_whose_they_are() {
    let slices = imported("train-a", "train", "10.8.0.2");
    let west = slice("west", "ml-0", &train("10.8.0.2"));
    let silent = west.replace("spec: {", "spec: {expired: true, ");
    let contested = format!("{west}{}", slice("south", "ml-0", &train("10.8.0.2")));
    let unlabelled = HERE.replace("import.cofferdam.dev/west: identities, ", "");
    let of_service = slices.replace("multicluster.kubernetes.io/service-name", "kubernetes.io/service-name");
    for (case, text, expected) in [
        ("exported and imported", format!("{HERE}{west}{slices}"), Verdict::Allow),
        ("no identities are exchanged", format!("{HERE}{slices}"), Verdict::Deny),
        ("the namespace does not import", format!("{unlabelled}{west}{slices}"), Verdict::Deny),
        ("the cluster is silent", format!("{HERE}{silent}{slices}"), Verdict::Deny),
        ("two clusters claim the address", format!("{HERE}{contested}{slices}"), Verdict::Deny),
        ("the slice is of a Service of this cluster", format!("{HERE}{west}{of_service}"), Verdict::Deny),
        ("nothing was imported", format!("{HERE}{west}"), Verdict::Deny),
    ] {
        let (set, _) = compile(&format!("{text}{TO_SERVICE}"));
        assert_eq!(verdict(&set, "api", "10.8.0.2", 8080), expected, "{case}");
    }
}

#[test]
fn only_a_rule_that_allows_and_limits_nothing_names_a_service() {
    for (from, to, expected) in [
        ("action: Allow", "action: Deny", "only a rule that allows can name a service"),
        (
            "action: Allow",
            "action: Allow, downloadOnly: true",
            "a pod of another cluster is known by its address",
        ),
        ("namespace: ml, name: train", "name: train", "namespace"),
        ("name: train}}]", "name: tr.ain}}]", "is no service name"),
        ("serviceImport: {", "clusters: [west], serviceImport: {", "exactly one of"),
    ] {
        let text = TO_SERVICE.replacen(from, to, 1);
        assert_ne!(text, TO_SERVICE, "{from}");
        let read = crds::read_objects("t.yaml", format!("{HERE}{text}").as_bytes());
        let told: Vec<_> = read.diagnostics.iter().map(ToString::to_string).collect();
        assert!(told.join("\n").contains(expected), "{to}: {told:?}");
        let west = slice("west", "ml-0", &train("10.8.0.2")) + &imported("a", "train", "10.8.0.2");
        let objects = read.objects.into_iter().chain(crds::read_objects("w.yaml", west.as_bytes()).objects);
        let set = compiler::compile_unlinted(objects.collect(), Generation(1)).set;
        assert_eq!(verdict(&set, "api", "10.8.0.2", 8080), Verdict::Deny, "{to}");
    }
}
