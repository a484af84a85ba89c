//! The rule book of one generation: what the rule ids and addresses in its events stand for.
//!
//! Enters: the tables that were enforced, the world they were compiled from, which pods' rules speak of names. Leaves: rule entries, ends and
//! what the tables say about an access, on whichever node each end lives.
//! Guarantees: answers come from the tables the kernel was given, never from the policies again.
//! Does not: change after it was made.

use crate::record::{End, EndKind};
use policy::table::{Row, Ruling, Table, TableVerdict};
use policy::{Direction, Generation, Protocol, RuleEntry, RuleId, World};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Everything needed to read the events of one generation.
#[derive(Clone, Debug)]
pub struct Book {
    generation: Generation,
    rules: Arc<Vec<RuleEntry>>,
    tables: BTreeMap<Arc<str>, Arc<Table>>,
    /// The node whose table judges a pod's address.
    homes: HashMap<IpAddr, Arc<str>>,
    ends: HashMap<IpAddr, End>,
    /// Pods for which rules speak of names.
    led_by_names: HashSet<IpAddr>,
}

impl Book {
    /// The book of tables compiled from one policy set, `rules` being that set's.
    pub fn new(
        generation: Generation,
        rules: Arc<Vec<RuleEntry>>,
        world: &World,
        tables: impl IntoIterator<Item = Arc<Table>>,
    ) -> Self {
        let tables: BTreeMap<_, _> = tables.into_iter().map(|table| (table.node.clone(), table)).collect();
        let homes = tables
            .values()
            .flat_map(|table| table.endpoints.keys().map(|address| (*address, table.node.clone())))
            .collect();
        Self { generation, rules, tables, homes, ends: ends(world), led_by_names: HashSet::new() }
    }

    /// The same book, with the addresses of the pods whose egress rules speak of names.
    #[must_use]
    pub fn with_led_by_names(self, pods: impl IntoIterator<Item = IpAddr>) -> Self {
        Self { led_by_names: pods.into_iter().collect(), ..self }
    }

    /// Whether egress rules of the pod at this address speak of names.
    pub fn is_led_by_names(&self, address: IpAddr) -> bool {
        self.led_by_names.contains(&address)
    }

    /// The state of policy it is about.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What a rule id stands for.
    pub fn rule(&self, rule: RuleId) -> Option<&RuleEntry> {
        self.rules.get(rule.0 as usize)
    }

    /// The node that enforces for a pod's address, if one of this book's does.
    pub fn home(&self, address: IpAddr) -> Option<&Arc<str>> {
        self.homes.get(&address)
    }

    /// Who has an address. An IPv4 address in IPv6 notation is that IPv4 address.
    pub fn end(&self, socket: SocketAddr) -> End {
        let address = socket.ip().to_canonical();
        let outside = End {
            kind: EndKind::Outside,
            namespace: None,
            name: None,
            address,
            port: socket.port(),
            workload: None,
            labels: Arc::default(),
            names: Arc::default(),
        };
        match self.ends.get(&address) {
            Some(end) => End { address, port: socket.port(), ..end.clone() },
            None => outside,
        }
    }

    /// A pod by its name; of several addresses, any. Takes time linear in the world.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&End> {
        self.ends.values().find(|end| {
            end.kind == EndKind::Pod
                && end.namespace.as_deref() == Some(namespace)
                && end.name.as_deref() == Some(name)
        })
    }

    /// What the tables say: egress by the table of the source's node, ingress by that of the destination's. `bound` is
    /// what holds between the two by name; it comes and goes while a generation is in force.
    pub fn judge(
        &self,
        from: IpAddr,
        to: IpAddr,
        protocol: Protocol,
        port: u16,
        bound: Option<&Row>,
    ) -> TableVerdict {
        let side = |end: IpAddr, direction: Direction| -> Option<Ruling> {
            let verdict = self.tables.get(self.home(end)?)?.judge_bound(from, to, protocol, port, bound);
            match direction {
                Direction::Egress => verdict.egress,
                Direction::Ingress => verdict.ingress,
            }
        };
        TableVerdict { egress: side(from, Direction::Egress), ingress: side(to, Direction::Ingress) }
    }
}

/// Pods win over nodes, as in [`policy::Endpoint::at`]; of two with one address the first.
fn ends(world: &World) -> HashMap<IpAddr, End> {
    let mut ends = HashMap::new();
    for pod in world.pods.iter().filter(|pod| !pod.host_network) {
        for address in &pod.addresses {
            ends.entry(*address).or_insert_with(|| End {
                kind: EndKind::Pod,
                namespace: Some(pod.namespace.clone()),
                name: Some(pod.name.clone()),
                address: *address,
                port: 0,
                workload: Some(pod.workload.clone()),
                labels: Arc::clone(&pod.labels.0),
                names: Arc::default(),
            });
        }
    }
    for node in world.nodes.values() {
        for address in &node.addresses {
            ends.entry(*address).or_insert_with(|| End {
                kind: EndKind::Node,
                namespace: None,
                name: Some(node.name.clone()),
                address: *address,
                port: 0,
                workload: None,
                labels: Arc::default(),
                names: Arc::default(),
            });
        }
    }
    ends
}
