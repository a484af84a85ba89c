//! Pods that may reach something but not resolve a name.

use super::by_name::is_own;
use super::crowd::{Crowd, Group, GroupId};
use super::{Findings, peers_field};
use crds::{Code, Diagnostic};
use policy::{
    Action, Direction, Labels, NamespaceScope, Peer, Peers, Policy, PortMatch, Ports, Protocol, Rule,
    Section, Selector, Tier, World,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const DNS_PORT: u16 = 53;
const SYSTEM: &str = "kube-system";

/// How many Admin tier rules that accept DNS are taken into account.
const MOST_ADMIN_RULES: usize = 64;

/// How many pairs of pod group and selector are looked at in one namespace.
const MOST_PAIRS: usize = 2_000_000;

const ALLOW_DNS: &str = "allow it:
  egress:
  - to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
    ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}";

const ALLOW_RESOLVERS: &str = "allow it:
  dns:
    resolvers:
    - pods:
        namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
        podSelector: {matchLabels: {k8s-app: kube-dns}}";

/// What the NetworkPolicies with one pod selector say together about egress.
#[derive(Clone, Copy, Default)]
struct Egress<'s> {
    /// A policy that isolates and allows something; the one to name.
    speaks: Option<&'s Policy>,
    dns: bool,
}

/// Pods isolated for egress that are allowed something, but not DNS. A plain "deny all egress" is taken as meant.
pub(super) fn not_allowed(findings: &mut Findings<'_>, crowd: &Crowd<'_>) {
    let set = findings.set;
    let servers = servers(crowd);
    let mut by_namespace: BTreeMap<&str, HashMap<&Selector, Egress<'_>>> = BTreeMap::new();
    for policy in set.policies.iter().filter(|policy| policy.tier == Tier::NetworkPolicy) {
        let Section::Rules(rules) = &policy.egress else { continue };
        let of_namespace = by_namespace.entry(policy.object.namespace.as_ref()).or_default();
        let said = of_namespace.entry(&policy.subject.pods).or_default();
        let accepted = || rules.iter().filter(|rule| rule.action == Action::Accept);
        let speaks = accepted().any(|rule| rule.peers != Peers::AnyOf(Vec::new()));
        if speaks {
            said.speaks.get_or_insert(policy);
        }
        said.dns = said.dns || accepted().any(|rule| allows_dns(&set.world, crowd, &servers, rule));
    }
    let admin: Vec<&Policy> = set
        .policies
        .iter()
        .filter(|policy| policy.tier == Tier::Admin)
        .filter(|policy| {
            let accepts =
                |rule: &&Rule| rule.action == Action::Accept && allows_dns(&set.world, crowd, &servers, rule);
            policy.egress.rules().iter().any(|rule| accepts(&rule))
        })
        .take(MOST_ADMIN_RULES)
        .collect();
    for (namespace, selectors) in by_namespace {
        if selectors.values().all(|said| said.dns || said.speaks.is_none()) {
            continue;
        }
        let scope = NamespaceScope::Own(namespace.into());
        let Some(pods) = by_pod(crowd, &scope, &selectors) else {
            let Some(policy) = selectors.values().filter_map(|said| said.speaks).min_by_key(|p| &p.object)
            else {
                continue;
            };
            findings.about_policy(policy, "spec.egress", Code::LimitExceeded, || {
                let message =
                    format!("namespace {namespace} has too many pods and selectors to check access to DNS");
                Diagnostic::note(Code::LimitExceeded, message)
            });
            continue;
        };
        let mut named: BTreeSet<&policy::ObjectRef> = BTreeSet::new();
        let mut ids: Vec<_> = pods.into_iter().collect();
        ids.sort_unstable_by_key(|(id, _)| *id);
        for (id, said) in ids {
            let (false, Some(policy), Some(group)) = (said.dns, said.speaks, crowd.group(id)) else {
                continue;
            };
            if named.contains(&policy.object) || admin.iter().any(|by| covers(crowd, by, group)) {
                continue;
            }
            named.insert(&policy.object);
            findings.about_policy(policy, "spec.egress", Code::DnsNotAllowed, || {
                let message = format!(
                    "the pods it isolates may not reach DNS: no egress rule for them allows UDP port {DNS_PORT}, so names \
                     do not resolve"
                );
                let allow = if is_own(policy) { ALLOW_RESOLVERS } else { ALLOW_DNS };
                Diagnostic::warning(Code::DnsNotAllowed, message).suggest(allow)
            });
        }
    }
}

/// What all policies of a namespace say together, by pods; `None` if that is too much to work out here.
fn by_pod<'s>(
    crowd: &Crowd<'_>,
    scope: &NamespaceScope,
    selectors: &HashMap<&Selector, Egress<'s>>,
) -> Option<HashMap<GroupId, Egress<'s>>> {
    let mut pods: HashMap<GroupId, Egress<'s>> = HashMap::new();
    let mut pairs = 0;
    for (selector, said) in selectors {
        for id in crowd.matching(scope, selector) {
            pairs += 1;
            if pairs > MOST_PAIRS {
                return None;
            }
            let whole = pods.entry(id).or_default();
            whole.dns |= said.dns;
            whole.speaks = earlier(whole.speaks, said.speaks);
        }
    }
    Some(pods)
}

/// The policy to name is the first one, whatever order selectors are visited in.
fn earlier<'s>(a: Option<&'s Policy>, b: Option<&'s Policy>) -> Option<&'s Policy> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if a.object <= b.object { a } else { b }),
        (one, other) => one.or(other),
    }
}

/// Rules that allow by name in a policy that denies DNS itself. (That they are in the wrong tier is validation's to say.)
pub(super) fn domain_names(findings: &mut Findings<'_>) {
    let set = findings.set;
    for policy in &set.policies {
        let rules = policy.egress.rules();
        let by_name = |rule: &&Rule| has_names(rule) && rule.action == Action::Accept;
        let Some(first) = rules.iter().find(by_name) else { continue };
        let denied = match policy.tier {
            // No order: a Deny beats what allows DNS as well.
            Tier::NetworkPolicy => rules.iter().any(|rule| means_dns(rule) && rule.action == Action::Deny),
            Tier::Admin | Tier::Baseline => {
                rules.iter().find(|rule| means_dns(rule)).is_some_and(|rule| rule.action == Action::Deny)
            }
        };
        if denied {
            findings.about_rule(first, peers_field(Direction::Egress), Code::DnsNotAllowed, || {
                let (message, suggestion) = match policy.tier {
                    Tier::Admin | Tier::Baseline => (
                        "domainNames allow connections to addresses that DNS gave, not DNS itself, which a later rule of the \
                         policy denies",
                        "put a rule before it that accepts UDP and TCP port 53 to the DNS pods (k8s-app: kube-dns in \
                         kube-system)",
                    ),
                    Tier::NetworkPolicy => (
                        "domains allow connections to addresses that DNS gave, not DNS itself, which a rule of the policy \
                         denies, and a Deny beats every Allow",
                        "leave the way to the resolvers out of what is denied",
                    ),
                };
                Diagnostic::warning(Code::DnsNotAllowed, message).suggest(suggestion)
            });
        }
    }
}

fn has_names(rule: &Rule) -> bool {
    match &rule.peers {
        Peers::Everyone => false,
        Peers::AnyOf(list) => list.iter().any(|peer| matches!(peer, Peer::Names(_))),
    }
}

/// Whether a rule of an ordered tier speaks about DNS servers as such: everyone, every address, or port 53 of pods.
fn means_dns(rule: &Rule) -> bool {
    let broad = match &rule.peers {
        Peers::Everyone => true,
        Peers::AnyOf(list) => list.iter().any(|peer| match peer {
            Peer::Network { cidr, .. } => cidr.prefix_len() == 0 || names_dns(&rule.ports),
            Peer::Pods { namespaces: NamespaceScope::Matching(selector), pods } => {
                names_dns(&rule.ports) || selector.is_everything() && pods.is_everything()
            }
            Peer::Pods { namespaces: NamespaceScope::Own(_) | NamespaceScope::Elsewhere(_), .. }
            | Peer::Nodes(_) => names_dns(&rule.ports),
            Peer::Names(_) => false,
        }),
    };
    broad && dns_port(&rule.ports)
}

fn covers(crowd: &Crowd<'_>, policy: &Policy, group: &Group<'_>) -> bool {
    crowd.includes(&policy.subject.namespaces, &policy.subject.pods, group)
}

/// Pods that look like the cluster's DNS.
fn servers<'a, 'w>(crowd: &'a Crowd<'w>) -> Vec<&'a Group<'w>> {
    let is_server = |group: &&Group<'_>| {
        let named = |key: &str| {
            group.labels.get(key).is_some_and(|v| matches!(v, "kube-dns" | "coredns" | "node-local-dns"))
        };
        let serves = |port: &policy::NamedPort| port.port == DNS_PORT && port.protocol == Protocol::UDP;
        named("k8s-app")
            || named("app.kubernetes.io/name")
            || &**group.namespace == SYSTEM && group.ports.iter().any(|ports| ports.iter().any(serves))
    };
    crowd.groups.iter().filter(|group| group.is_ours()).filter(is_server).take(MOST_ADMIN_RULES).collect()
}

fn allows_dns(world: &World, crowd: &Crowd<'_>, servers: &[&Group<'_>], rule: &Rule) -> bool {
    if !dns_port(&rule.ports) {
        return false;
    }
    match &rule.peers {
        Peers::Everyone => true,
        Peers::AnyOf(list) => list.iter().any(|peer| match peer {
            // Some resolver outside or on the node may be meant.
            Peer::Network { .. } | Peer::Nodes(_) => true,
            Peer::Names(_) => false,
            // A server of one's own: whoever writes port 53 means DNS.
            Peer::Pods { .. } if names_dns(&rule.ports) && servers.is_empty() => true,
            Peer::Pods { namespaces, pods } if servers.is_empty() => may_be_dns(world, namespaces, pods),
            Peer::Pods { namespaces, pods } => {
                servers.iter().any(|group| crowd.includes(namespaces, pods, group))
            }
        }),
    }
}

/// With no DNS pod known, a peer may mean it if it reaches into `kube-system` and could have its label.
fn may_be_dns(world: &World, namespaces: &NamespaceScope, pods: &Selector) -> bool {
    let reaches = match namespaces {
        NamespaceScope::Own(name) => &**name == SYSTEM,
        NamespaceScope::Matching(selector) => selector.matches(&world.namespace_labels(SYSTEM)),
        NamespaceScope::Elsewhere(_) => false,
    };
    reaches && (pods.is_everything() || pods.matches(&Labels::from_iter([("k8s-app", "kube-dns")])))
}

fn dns_port(ports: &Ports) -> bool {
    match ports {
        Ports::All => true,
        Ports::AnyOf(list) => list.iter().any(|entry| match entry {
            PortMatch::Numbers { protocol, first, last } => {
                *protocol == Protocol::UDP && (*first..=*last).contains(&DNS_PORT)
            }
            PortMatch::Named { name, protocol } => {
                name.starts_with("dns") && protocol.is_none_or(|protocol| protocol == Protocol::UDP)
            }
        }),
    }
}

/// Whether port 53 is what the rule is about.
fn names_dns(ports: &Ports) -> bool {
    match ports {
        Ports::All => false,
        Ports::AnyOf(list) => list.iter().any(|entry| match entry {
            PortMatch::Numbers { protocol, first, last } => {
                *protocol == Protocol::UDP && *first == DNS_PORT && *last == DNS_PORT
            }
            PortMatch::Named { name, .. } => name.starts_with("dns"),
        }),
    }
}
