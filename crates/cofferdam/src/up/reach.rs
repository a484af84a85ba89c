//! Where policy lets a workload go, from the policy set in force.

use compiler::connectivity::{Entry, Peer as End, PortRange, Protocols, connectivity_from};
use incident::{Could, Reachable};
use policy::decide::selects;
use policy::{Action, Peer, Peers, Pod, PolicySet, PortMatch, Ports, Rule, Tier, WorkloadRef};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Places that are listed.
const MOST: usize = 5000;

/// Where policy lets a workload go: other workloads and ranges of addresses, and the names that rules for it speak of.
pub(crate) fn reachable(set: &PolicySet, workload: &str) -> Option<Reachable> {
    let pods: Vec<&Arc<Pod>> =
        set.world.pods.iter().filter(|pod| word(&pod.namespace, &pod.workload) == workload).collect();
    let first = pods.first()?;
    let from = End::Workload { namespace: first.namespace.clone(), workload: first.workload.clone() };
    let mut places: BTreeSet<Could> = connectivity_from(set, &from).iter().flat_map(of_entry).collect();
    pods.iter().for_each(|pod| places.extend(by_name(set, pod)));
    let is_complete = places.len() <= MOST;
    Some(Reachable { places: places.into_iter().take(MOST).collect(), is_complete })
}

/// A workload as the ledger writes it.
pub(crate) fn word(namespace: &str, workload: &WorkloadRef) -> String {
    match &*workload.kind {
        "Pod" => format!("{namespace}/{}", workload.name),
        kind => format!("{namespace}/{kind}/{}", workload.name),
    }
}

fn of_entry(entry: &Entry) -> Vec<Could> {
    let destination = match &entry.to {
        End::Workload { namespace, workload } => word(namespace, workload),
        End::Range(first, last) if first == last => first.to_string(),
        End::Range(first, last) => format!("{first}-{last}"),
        End::IngressController => return Vec::new(),
    };
    let port = |range: &PortRange| match entry.protocol {
        Protocols::All => "*".to_owned(),
        Protocols::One(protocol) => format!("{range}/{protocol}"),
        Protocols::Portless => "without ports".to_owned(),
    };
    let could = |range| Could { destination: destination.clone(), port: port(range), rule: String::new() };
    entry.ports.iter().map(could).collect()
}

/// Names that rules let the pod reach, up to a rule of the Admin tier that denies everything.
fn by_name(set: &PolicySet, pod: &Pod) -> Vec<Could> {
    let denies_all = |rule: &Rule| {
        rule.action == Action::Deny
            && matches!(rule.peers, Peers::Everyone)
            && matches!(rule.ports, Ports::All)
    };
    let mut found = Vec::new();
    for policy in set.policies.iter().filter(|policy| selects(&set.world, &policy.subject, pod)) {
        for rule in policy.egress.rules() {
            if policy.tier == Tier::Admin && denies_all(rule) {
                return found;
            }
            let Peers::AnyOf(peers) = &rule.peers else { continue };
            let patterns = peers.iter().filter_map(|peer| match peer {
                Peer::Names(patterns) => Some(patterns),
                Peer::Pods { .. } | Peer::Network { .. } | Peer::Nodes(_) => None,
            });
            let text = set.rule(rule.id).map(ToString::to_string).unwrap_or_default();
            for pattern in patterns.flatten().filter(|_| rule.action == Action::Accept) {
                found.extend(ports(&rule.ports).into_iter().map(|port| Could {
                    destination: pattern.to_string(),
                    port,
                    rule: text.clone(),
                }));
            }
        }
    }
    found
}

fn ports(ports: &Ports) -> Vec<String> {
    let Ports::AnyOf(list) = ports else { return vec!["*".to_owned()] };
    let text = |port: &PortMatch| match port {
        PortMatch::Numbers { protocol, first, last } => {
            format!("{}/{protocol}", PortRange { first: *first, last: *last })
        }
        PortMatch::Named { name, .. } => name.to_string(),
    };
    list.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Generation;

    const TEXT: &str = "\
apiVersion: v1
kind: Pod
metadata: { name: web, namespace: prod, labels: { app: web } }
spec: { containers: [{ name: c, image: i }] }
---
apiVersion: v1
kind: Pod
metadata: { name: db, namespace: prod, labels: { app: db } }
spec: { containers: [{ name: c, image: i }] }
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: web, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      to: [{ domains: ['*.example.com'] }]
      ports: [{ protocol: TCP, port: 443 }]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: prod }
spec:
  podSelector: { matchLabels: { app: web } }
  policyTypes: [Egress]
  egress:
    - to: [{ podSelector: { matchLabels: { app: db } } }]
      ports: [{ protocol: TCP, port: 5432 }]
";

    #[test]
    fn a_workload_reaches_what_rules_list_by_name_and_by_pod_and_nothing_when_cut_off() {
        let compiled =
            compiler::compile(crds::read_objects("t.yaml", TEXT.as_bytes()).objects, Generation(1));
        assert!(!compiled.diagnostics.iter().any(crds::Diagnostic::is_error), "{:#?}", compiled.diagnostics);
        let mut set = compiled.set;
        let found = reachable(&set, "prod/web").unwrap();
        let places: Vec<_> =
            found.places.iter().map(|it| (it.destination.as_str(), it.port.as_str())).collect();
        assert_eq!(places, [("*.example.com", "443/TCP"), ("prod/db", "5432/TCP")]);
        assert!(found.is_complete && found.places[0].rule.contains("t.yaml:"), "{found:?}");
        assert_eq!(reachable(&set, "prod/nobody"), None);
        let quarantine = incident::Quarantine {
            workload: "prod/web".to_owned(),
            namespace: "prod".to_owned(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            until: observe::Time(0),
            by: String::new(),
            incident: String::new(),
        };
        let read = crds::read_objects("q.yaml", quarantine.manifest().as_bytes());
        assert_eq!(read.diagnostics, []);
        compiler::overlay::put_first(&mut set, &compiler::compile_unlinted(read.objects, Generation(0)).set);
        assert_eq!(reachable(&set, "prod/web").unwrap().places, []);
    }
}
