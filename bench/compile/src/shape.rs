//! Two clusters of published sizes.

use policy::{
    Action, Dns, Generation, Labels, Namespace, NamespaceScope, Node, ObjectRef, Peer, Peers, Pod, Policy,
    PolicySet, PortMatch, Ports, Protocol, Reason, Requirement, Rule, RuleEntry, RuleId, Section, Selector,
    Subject, Tier, WorkloadRef, World,
};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// 25,000 namespaces of 4 pods and 3 policies each, on 1,000 nodes: the size Antrea publishes. A policy selects one
/// app of its namespace, allows from another app of it, and to one app of the next namespace.
pub(crate) fn namespaces() -> PolicySet {
    let mut build = Build::new(1000);
    for number in 0..25_000_u32 {
        let namespace: Arc<str> = format!("ns-{number:05}").into();
        build.namespace(&namespace);
        for pod in 0..4_u32 {
            build.pod(&namespace, number * 4 + pod, &format!("app-{pod}"));
        }
        for policy in 0..3_u32 {
            let own = NamespaceScope::Own(namespace.clone());
            let ingress = peer(own, &format!("app-{}", policy + 1));
            let next = format!("ns-{:05}", (number + 1) % 25_000);
            let next = Selector::from_iter([one("kubernetes.io/metadata.name", &next)]);
            let egress = peer(NamespaceScope::Matching(next), "app-0");
            let app = Selector::from_iter([one("app", &format!("app-{policy}"))]);
            build.policy(&namespace, policy, app, (ingress, egress), 80);
        }
    }
    build.set()
}

/// One namespace with 10,000 policies and 10,000 pods on 100 nodes; every policy selects every pod.
pub(crate) fn policies() -> PolicySet {
    let mut build = Build::new(100);
    let namespace: Arc<str> = "crowded".into();
    build.namespace(&namespace);
    for pod in 0..10_000 {
        build.pod(&namespace, pod, &format!("app-{}", pod % 100));
    }
    for policy in 0..10_000_u32 {
        let app =
            |number: u32| peer(NamespaceScope::Own(namespace.clone()), &format!("app-{}", number % 100));
        let port = u16::try_from(1000 + policy).unwrap_or(u16::MAX);
        build.policy(&namespace, policy, Selector::everything(), (app(policy), app(policy / 100)), port);
    }
    build.set()
}

fn one(key: &str, value: &str) -> Requirement {
    Requirement::In(key.into(), vec![value.into()])
}

fn peer(namespaces: NamespaceScope, app: &str) -> Peer {
    Peer::Pods { namespaces, pods: Selector::from_iter([one("app", app)]) }
}

struct Build {
    nodes: u32,
    world: World,
    policies: Vec<Policy>,
    entries: Vec<RuleEntry>,
}

impl Build {
    fn new(nodes: u32) -> Self {
        let mut world = World::default();
        for number in 0..nodes {
            let name: Arc<str> = format!("node-{number:04}").into();
            let addresses = vec![address(172, number)];
            world.nodes.insert(name.clone(), Node { name, labels: Labels::default(), addresses });
        }
        Self { nodes, world, policies: Vec::new(), entries: policy::set::built_in_rules() }
    }

    fn namespace(&mut self, name: &Arc<str>) {
        let labels = Labels::from_iter([("kubernetes.io/metadata.name", name.as_ref())]);
        self.world.namespaces.insert(name.clone(), Namespace { name: name.clone(), labels });
    }

    fn pod(&mut self, namespace: &Arc<str>, number: u32, app: &str) {
        let name: Arc<str> = format!("pod-{number:06}").into();
        self.world.pods.push(Arc::new(Pod {
            namespace: namespace.clone(),
            name: name.clone(),
            labels: Labels::from_iter([("app", app)]),
            service_account: "default".into(),
            // Neighbours in a namespace run on different nodes, and every node runs every app.
            node: Some(format!("node-{:04}", (number / 4 + number % 4 * 250) % self.nodes).into()),
            addresses: vec![address(10, number)],
            ports: Vec::new(),
            host_network: false,
            workload: WorkloadRef { kind: "Pod".into(), name },
        }));
    }

    fn policy(&mut self, namespace: &Arc<str>, number: u32, pods: Selector, peers: (Peer, Peer), port: u16) {
        let object = ObjectRef {
            kind: "NetworkPolicy".into(),
            namespace: namespace.clone(),
            name: format!("policy-{number:05}").into(),
        };
        let mut section = |peer: Peer| {
            let ports =
                Ports::AnyOf(vec![PortMatch::Numbers { protocol: Protocol::TCP, first: port, last: port }]);
            let id = self.entry(&object, Reason::NetworkPolicyAllow);
            Section::Rules(vec![Rule { id, action: Action::Accept, peers: Peers::AnyOf(vec![peer]), ports }])
        };
        let (ingress, egress) = (section(peers.0), section(peers.1));
        let isolation = [self.entry(&object, Reason::Isolated), self.entry(&object, Reason::Isolated)];
        self.policies.push(Policy {
            source: None,
            tier: Tier::NetworkPolicy,
            priority: 0,
            subject: Subject { namespaces: NamespaceScope::Own(namespace.clone()), pods },
            ingress,
            egress,
            isolation,
            dns: Dns::default(),
            object,
        });
    }

    fn entry(&mut self, object: &ObjectRef, reason: Reason) -> RuleId {
        let id = RuleId(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        let (object, field) = (Some(object.clone()), "spec".into());
        self.entries.push(RuleEntry {
            reason,
            object,
            direction: None,
            index: None,
            name: None,
            field,
            source: None,
            upload: None,
            requests: None,
        });
        id
    }

    fn set(self) -> PolicySet {
        let mut set = PolicySet::empty(Generation(1), self.world);
        set.policies = self.policies;
        set.rules = Arc::new(self.entries);
        set
    }
}

fn address(first: u8, number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from((u32::from(first) << 24) + number + 1))
}
