//! What a node's DNS proxy is told to do.
//!
//! Enters: a policy set, the table of the node, options. Leaves: the proxy's state. Guarantees: every pod that the table
//! judges for is in it, with the rules of the same set. Does not: talk to the proxy (`keeper`).

use super::egress::EgressArgs;
use super::enforce::Answering;
use super::gate::{Front, Holding};
use super::inspection::{Home, InspectionArgs};
use super::spending::SpendingArgs;
use anyhow::Result;
use clap::Args;
use compiler::lower::Placement;
use dns::{Addresses, AllowedName, Names, Questions, Resolvers, Settings, State};
use gateway::Rules;
use ipnet::IpNet;
use policy::dns::{DnsRules, Lists, dns_rules};
use policy::table::Table;
use policy::{
    DnsName, DomainPattern, NamespaceScope, OwnEgress, Peer, Pod, PodName, PolicySet, RuleId, Verdict, World,
    own_egress,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// How pods' DNS is treated.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "DNS")]
pub(crate) struct DnsArgs {
    /// Leave pods' DNS alone; rules on names then open nothing
    #[arg(long)]
    no_dns: bool,
    /// Judge connections to named addresses by their address alone, not by the name that they ask for; limits of upload are
    /// then not enforced, and what is selected by rules that look at requests is closed
    #[arg(long)]
    no_gateway: bool,
    /// Do not look for whom the certificate of a server is (in TLS up to 1.2): for clients that are told to accept any
    #[arg(long)]
    gateway_any_certificate: bool,
    /// Never open TLS to these names (`*.x`: one label more, `**.x`: any); where a rule looks at their requests, they are
    /// refused. May be repeated
    #[arg(long, value_name = "NAME", value_parser = pattern, conflicts_with_all = ["no_dns", "no_gateway"])]
    never_open: Vec<DomainPattern>,
    /// Answer the DNS of all pods, for its records; else only of those that a rule on names or on DNS is for
    #[arg(long)]
    pub(crate) dns_all: bool,
    /// Believe this resolver, besides the cluster's DNS pods and those in /etc/resolv.conf; no other stands in for it; may be
    /// repeated
    #[arg(long = "dns-resolver", value_name = "ADDRESS")]
    pub(crate) resolvers: Vec<IpAddr>,
    /// Names in this zone may lead to private addresses; may be repeated. clusterset.local is where imported Services have their names
    #[arg(long = "dns-private-zone", value_name = "NAME", default_values = ["cluster.local", "clusterset.local"], value_parser = zone)]
    pub(crate) private_zones: Vec<DnsName>,
    /// Keep an address open to a pod for at least so many seconds after an answer gave it; ten more are always added
    #[arg(long = "dns-hold", value_name = "SECONDS", default_value_t = Settings::default().binding_floor)]
    pub(crate) hold: u32,
    /// Leave ECH in HTTPS records; server names of connections are then hidden
    #[arg(long)]
    pub(crate) dns_keep_ech: bool,
    /// Serve pods of this node as an explicit proxy (HTTPS_PROXY) here; may be repeated
    #[arg(
        long = "proxy-listen",
        value_name = "ADDRESS:PORT",
        value_parser = crate::http::address,
        conflicts_with_all = ["no_dns", "no_gateway"]
    )]
    proxy_listen: Vec<SocketAddr>,
    /// Let the explicit proxy connect to this private network as well, where policies allow it; may be repeated. It must
    /// hold no pod, node or Service
    #[arg(long = "proxy-to", value_name = "CIDR", requires = "proxy_listen")]
    proxy_to: Vec<IpNet>,
    #[command(flatten)]
    inspection: InspectionArgs,
    #[command(flatten)]
    pub(crate) egress: EgressArgs,
    #[command(flatten)]
    spending: SpendingArgs,
}

/// An option with names.
pub(crate) fn pattern(text: &str) -> Result<DomainPattern, String> {
    DomainPattern::parse_own(text).map_err(|error| error.to_string())
}

fn zone(text: &str) -> Result<DnsName, String> {
    DnsName::parse(text).map_err(|error| error.to_string())
}

impl DnsArgs {
    /// How to answer; `control` is where the proxy outlives this process, `home` where the gateway's authority comes from.
    pub(crate) fn answering(&self, control: Option<PathBuf>, home: &Home<'_>) -> Result<Option<Answering>> {
        if self.no_dns {
            return Ok(None);
        }
        let never_open = self.never_open.clone();
        let rules = Rules { certificates: !self.gateway_any_certificate, never_open, ..Rules::default() };
        let gateway = match self.no_gateway {
            true => None,
            false => {
                let (prices, store) = (self.spending.prices()?, self.spending.store()?);
                let (inspection, egress) = (self.inspection.means(home)?, self.egress.unknown());
                let front = Front { listen: self.proxy_listen.clone(), private: self.proxy_to.clone() };
                Some(Holding { rules, inspection, egress, prices, store, front })
            }
        };
        Ok(Some(Answering { control, gateway }))
    }
}

impl DnsArgs {
    /// Certificates (DER) by which servers are believed, where there is a gateway that waits for an authority to open TLS with.
    pub(crate) fn awaits_authority(&self) -> Result<Option<Vec<Vec<u8>>>> {
        let has_gateway = !self.no_dns && !self.no_gateway;
        if has_gateway && !self.inspection.has_authority() {
            self.inspection.roots().map(Some)
        } else {
            Ok(None)
        }
    }
}

/// The state for the proxy of a table's node.
pub(crate) fn state(
    set: &PolicySet,
    table: &Table,
    addresses: &BTreeMap<PodName, Vec<IpAddr>>,
    args: &DnsArgs,
) -> State {
    let local = |(pod, addresses): (&PodName, &Vec<IpAddr>)| {
        let is_here = addresses.iter().any(|address| table.endpoints.contains_key(address));
        let pod = set.world.find_pod(&pod.0, &pod.1).filter(|_| is_here)?;
        Some(of_pod(set, pod, addresses))
    };
    State {
        generation: set.generation,
        pods: addresses.iter().filter_map(local).collect(),
        trusted: trusted(set.world.cluster_dns().collect(), &args.resolvers, &configured_resolvers()),
        private_zones: args.private_zones.clone(),
        settings: Settings { strip_ech: !args.dns_keep_ech, binding_floor: args.hold, ..Settings::default() },
    }
}

/// Where pods of a node may go by themselves, of those whose requests are judged: for the gateway, which judges by it whom they
/// have providers contact. Names that may be asked for are part of it.
pub(crate) fn own_egresses(
    set: &PolicySet,
    table: &Table,
    addresses: &BTreeMap<PodName, Vec<IpAddr>>,
) -> HashMap<IpAddr, Arc<OwnEgress>> {
    let mut all = HashMap::new();
    if set.rules.iter().all(|entry| entry.requests.is_none()) {
        return all;
    }
    for (pod, addresses) in addresses {
        let here = addresses.iter().filter(|address| table.endpoints.contains_key(*address));
        let mut here = here.peekable();
        let found = here.peek().and_then(|_| set.world.find_pod(&pod.0, &pod.1));
        let Some(own) = found.map(|pod| own_egress(set, pod)).filter(OwnEgress::is_asked) else { continue };
        let own = Arc::new(own);
        all.extend(here.map(|address| (*address, Arc::clone(&own))));
    }
    all
}

/// Addresses whose DNS goes to the proxy.
pub(crate) fn steered(state: &State, args: &DnsArgs) -> BTreeSet<IpAddr> {
    let is_governed = |pod: &&dns::Pod| {
        args.dns_all
            || !pod.patterns.is_empty()
            || pod.questions != Questions::Any
            || pod.resolvers != Resolvers::Any
    };
    state.pods.iter().filter(is_governed).flat_map(|pod| pod.addresses.iter().copied()).collect()
}

/// Has the proxy tell by which of these names pods know addresses, too, of pods whose DNS it answers anyway: what nobody
/// enforces makes no pod's DNS go there.
pub(crate) fn follow(state: &mut State, steered: &BTreeSet<IpAddr>, names: &BTreeSet<DomainPattern>) {
    if names.is_empty() {
        return;
    }
    for pod in state.pods.iter_mut().filter(|pod| pod.addresses.iter().any(|it| steered.contains(it))) {
        let own: BTreeSet<DomainPattern> = pod.patterns.iter().cloned().collect();
        pod.patterns.extend(names.difference(&own).cloned());
    }
}

/// Addresses by pod: those that the world knows, or the ones that were placed.
pub(crate) fn addresses(world: &World, placed: &Placement) -> BTreeMap<PodName, Vec<IpAddr>> {
    let own = world.pods.iter().filter(|pod| !pod.host_network && !pod.addresses.is_empty());
    let own = own.map(|pod| ((pod.namespace.clone(), pod.name.clone()), pod.addresses.clone()));
    own.chain(placed.iter().map(|(pod, addresses)| (pod.clone(), addresses.clone()))).collect()
}

fn of_pod(set: &PolicySet, pod: &Pod, addresses: &[IpAddr]) -> dns::Pod {
    let rules: DnsRules = dns_rules(set, pod);
    let text = |rule: RuleId| -> Arc<str> {
        set.rule(rule).map_or_else(|| "a rule that is gone".into(), |entry| entry.to_string().into())
    };
    let questions = match rules.names() {
        Lists::Settled(ruling) => match ruling.verdict {
            Verdict::Allow => Questions::Any,
            Verdict::Deny => {
                Questions::Only(vec![Names { allowed: Vec::new(), otherwise: text(ruling.rule) }])
            }
        },
        Lists::Each(lists) if lists.is_empty() => Questions::Any,
        Lists::Each(lists) => {
            let names = |(list, otherwise): (Vec<_>, RuleId)| Names {
                allowed: list
                    .into_iter()
                    .map(|(pattern, rule)| AllowedName { pattern, rule: text(rule) })
                    .collect(),
                otherwise: text(otherwise),
            };
            Questions::Only(lists.into_iter().map(names).collect())
        }
    };
    let resolvers = match rules.resolvers() {
        // What settles the names settles all.
        Lists::Settled(_) => Resolvers::Any,
        Lists::Each(lists) if lists.is_empty() => Resolvers::Any,
        Lists::Each(lists) => {
            let addresses = |(peers, otherwise): (Vec<Peer>, RuleId)| Addresses {
                allowed: peers.iter().flat_map(|peer| networks(&set.world, peer)).collect(),
                otherwise: text(otherwise),
            };
            Resolvers::Only(lists.into_iter().map(addresses).collect())
        }
    };
    dns::Pod {
        identity: format!("{}/{}", pod.namespace, pod.name).into(),
        addresses: addresses.to_vec(),
        patterns: rules.spoken.into_iter().collect(),
        questions,
        resolvers,
    }
}

/// Where a resolver that a policy lists is.
fn networks(world: &World, peer: &Peer) -> Vec<IpNet> {
    match peer {
        // What is carved out is not asked: a list of resolvers has no exceptions to write.
        Peer::Network { cidr, except } if except.is_empty() => vec![*cidr],
        Peer::Network { .. } | Peer::Names(_) => Vec::new(),
        Peer::Nodes(selector) => {
            let nodes = world.nodes.values().filter(|node| selector.matches(&node.labels));
            nodes.flat_map(|node| &node.addresses).copied().map(IpNet::from).collect()
        }
        Peer::Pods { namespaces, pods } => {
            let in_scope = |pod: &Pod| match namespaces {
                NamespaceScope::Own(name) => *name == pod.namespace,
                NamespaceScope::Matching(selector) => {
                    pod.cluster().is_none() && selector.matches(&world.namespace_labels(&pod.namespace))
                }
                // No list of resolvers can name one of another cluster.
                NamespaceScope::Elsewhere(_) => false,
            };
            let meant = |pod: &&Arc<Pod>| !pod.host_network && in_scope(pod) && pods.matches(&pod.labels);
            world.pods.iter().filter(meant).flat_map(|pod| &pod.addresses).copied().map(IpNet::from).collect()
        }
    }
}

/// Resolvers whose answers are believed, in groups of those that know the same names: the cluster's, each option's, the node's.
/// Only the cluster's DNS knows the cluster's names: any other says that there are none.
fn trusted(cluster: BTreeSet<IpAddr>, options: &[IpAddr], node: &BTreeSet<IpAddr>) -> Vec<Vec<IpAddr>> {
    let is_known = |address: &IpAddr| cluster.contains(address) || node.contains(address);
    let alone = |address: &IpAddr| [*address].into_iter().filter(|it| !is_known(it)).collect();
    let options: Vec<Vec<IpAddr>> = options.iter().map(alone).collect();
    let node = node.iter().copied().collect();
    [vec![cluster.into_iter().collect()], options, vec![node]].concat()
}

/// Those that the node itself asks.
fn configured_resolvers() -> BTreeSet<IpAddr> {
    let configured = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = configured.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let servers = servers.filter_map(|rest| rest.trim().parse::<IpAddr>().ok());
    servers.filter(|address| !address.is_loopback()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_that_know_other_names_do_not_stand_in_for_each_other() {
        let all = |lasts: &[u8]| lasts.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect::<Vec<_>>();
        let set = |lasts: &[u8]| all(lasts).into_iter().collect::<BTreeSet<_>>();
        let groups = trusted(set(&[1, 2]), &all(&[3, 2, 4, 5]), &set(&[5, 6]));
        assert_eq!(groups, [all(&[1, 2]), all(&[3]), all(&[]), all(&[4]), all(&[]), all(&[5, 6])]);
    }

    #[test]
    fn names_of_a_candidate_are_followed_only_where_dns_is_answered_anyway() {
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let pattern = |text: &str| DomainPattern::parse(text).unwrap();
        let pod = |last: u8| dns::Pod {
            identity: "a/b".into(),
            addresses: vec![address(last)],
            patterns: vec![pattern("a.example.com")],
            questions: Questions::Any,
            resolvers: Resolvers::Any,
        };
        let mut state = State {
            generation: policy::Generation(1),
            pods: vec![pod(1), pod(2)],
            trusted: Vec::new(),
            private_zones: Vec::new(),
            settings: Settings::default(),
        };
        let names = BTreeSet::from([pattern("a.example.com"), pattern("*.b.example.com")]);
        follow(&mut state, &BTreeSet::from([address(2)]), &names);
        let counts: Vec<usize> = state.pods.iter().map(|pod| pod.patterns.len()).collect();
        assert_eq!(counts, [1, 2], "each once, and nobody's DNS is answered for a candidate's sake");
    }
}
