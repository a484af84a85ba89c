//! `policy.networking.k8s.io`: ClusterNetworkPolicy v1alpha2, and the shape its v1alpha1 dialect
//! (AdminNetworkPolicy, BaselineAdminNetworkPolicy) is read into as well.

use crate::decode::{Decoder, Map, Stray};
use crate::diagnostic::Position;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::{Node, Place, Value};
use crate::meta::{Located, ObjectMeta};
use crate::meta::{Scope, short};
use crate::name;
use crate::network_policy::Section;
use crate::network_policy::strict_cidr;
use crate::pod::Protocol;
use crate::pod::port_number;
use crate::selector::LabelSelector;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A cluster-wide policy of any of the three kinds.
///
/// When it is `broken`, what could be read is there, so that the pods it may select can be closed; its rules must
/// not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPolicy {
    /// Which kind it was written as.
    pub kind: ClusterPolicyKind,
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// An error was reported; the policy cannot be applied as written.
    pub broken: bool,
    /// `None`: it could not be read.
    pub tier: Option<Tier>,
    /// 0 to 1000; 0 for a BaselineAdminNetworkPolicy. `None`: it could not be read.
    pub priority: Option<u16>,
    /// `None`: it could not be read.
    pub subject: Option<Subject>,
    /// `spec.ingress`
    pub ingress: Section<ClusterRule>,
    /// `spec.egress`
    pub egress: Section<ClusterRule>,
}

/// Which kind a cluster-wide policy was written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterPolicyKind {
    /// `policy.networking.k8s.io/v1alpha2`
    ClusterNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`
    BaselineAdminNetworkPolicy,
}

impl ClusterPolicyKind {
    /// The kind as written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
        }
    }
}

/// `spec.tier`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Before NetworkPolicy.
    Admin,
    /// After NetworkPolicy.
    Baseline,
}

/// `spec.subject`: which pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All pods of these namespaces.
    Namespaces(LabelSelector),
    /// These pods.
    Pods {
        /// In these namespaces; left out means all.
        namespaces: LabelSelector,
        /// With these labels.
        pods: LabelSelector,
    },
}

/// One ingress or egress rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRule {
    /// Where.
    pub position: Position,
    /// Its own name, if it has one.
    pub name: Option<Arc<str>>,
    /// What it does.
    pub action: RuleAction,
    /// `from` or `to`; at least one in a policy that is not broken.
    pub peers: Vec<Located<ClusterPeer>>,
    /// `protocols` (`ports` in v1alpha1). Empty: all traffic.
    pub ports: Vec<Located<ClusterPort>>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleAction {
    /// `Accept` (`Allow` in v1alpha1).
    Accept,
    /// `Deny`
    Deny,
    /// `Pass`
    Pass,
}

/// One entry of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterPeer {
    /// All pods of these namespaces.
    Namespaces(LabelSelector),
    /// These pods.
    Pods {
        /// In these namespaces; left out means all.
        namespaces: LabelSelector,
        /// With these labels.
        pods: LabelSelector,
    },
    /// Any address in these blocks, host bits cleared; egress only.
    Networks(Vec<IpNet>),
    /// Nodes with these labels; egress only.
    Nodes(LabelSelector),
    /// Names or `*.` patterns, checked and in lower case without a trailing dot; egress `Accept` only.
    DomainNames(Vec<Arc<str>>),
    /// No known field, as a newer version of the API may bring. The rule must fail closed.
    Unknown {
        /// Fields that were there.
        fields: Vec<String>,
    },
}

/// One entry of `protocols` or `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterPort {
    /// Ports `first` to `last`, both included.
    Numbers {
        /// Protocol.
        protocol: Protocol,
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
    /// A container port by name, with whatever protocol it has.
    Named(Arc<str>),
}

/// What differs between the kinds and versions.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) kind: ClusterPolicyKind,
    pub(crate) spec: &'static [&'static str],
    pub(crate) actions: &'static [(&'static str, RuleAction)],
    /// Peers of ingress and of egress rules.
    pub(crate) ingress_peers: &'static [&'static str],
    pub(crate) egress_peers: &'static [&'static str],
    /// Name of the list of ports.
    pub(crate) ports: &'static str,
    /// Most rules, peers, ports.
    pub(crate) most: usize,
    /// Reads one entry of the list of ports.
    pub(crate) port: for<'n> fn(&mut Decoder<'n>, &'n Node<'n>) -> Option<ClusterPort>,
}

/// ClusterNetworkPolicy v1alpha2, experimental channel.
pub(crate) const V1ALPHA2: Dialect = Dialect {
    kind: ClusterPolicyKind::ClusterNetworkPolicy,
    spec: &["tier", "priority", "subject", "ingress", "egress"],
    actions: &[("Accept", RuleAction::Accept), ("Deny", RuleAction::Deny), ("Pass", RuleAction::Pass)],
    ingress_peers: &["namespaces", "pods"],
    egress_peers: &["namespaces", "pods", "networks", "nodes", "domainNames"],
    ports: "protocols",
    most: 25,
    port: protocol,
};

/// Longest list of `networks` or `domainNames`.
const MOST_IN_PEER: usize = 25;
const MOST_PRIORITY: i64 = 1000;
pub(crate) const MOST_NAME: usize = 100;

impl ClusterPolicy {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>, dialect: Dialect) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Cluster, true);
        let mut policy = Self::unreadable(dialect.kind, meta, d.position(object.place));
        d.required(object, "spec", |d, node| {
            let map = d.strict(node, dialect.spec)?;
            policy.spec(d, map, dialect);
            Some(())
        });
        policy.broken = d.is_broken();
        policy
    }

    /// A policy of which no more than the metadata is known.
    pub(crate) fn unreadable(kind: ClusterPolicyKind, meta: ObjectMeta, position: Position) -> Self {
        Self {
            kind,
            meta,
            position,
            broken: true,
            tier: None,
            priority: None,
            subject: None,
            ingress: Section::unreadable(),
            egress: Section::unreadable(),
        }
    }

    fn spec<'n>(&mut self, d: &mut Decoder<'n>, map: Map<'n>, dialect: Dialect) {
        (self.tier, self.priority) = match dialect.kind {
            ClusterPolicyKind::ClusterNetworkPolicy => {
                let tiers = [("Admin", Tier::Admin), ("Baseline", Tier::Baseline)];
                let tier = d.required(map, "tier", |d, node| d.one_of(node, &tiers));
                (tier, d.required(map, "priority", priority))
            }
            ClusterPolicyKind::AdminNetworkPolicy => {
                (Some(Tier::Admin), d.required(map, "priority", priority))
            }
            ClusterPolicyKind::BaselineAdminNetworkPolicy => (Some(Tier::Baseline), Some(0)),
        };
        self.subject = d.required(map, "subject", |d, node| subject(d, node, dialect));
        self.ingress = Section::decode(d, map, "ingress", dialect.most, |d, node| {
            rule(d, node, dialect, "from", dialect.ingress_peers)
        });
        self.egress = Section::decode(d, map, "egress", dialect.most, |d, node| {
            rule(d, node, dialect, "to", dialect.egress_peers)
        });
        self.warn_of_names_in_baseline(d);
        if map.keys().any(|key| !dialect.spec.contains(&key)) {
            // A section under a misspelt name may be either.
            self.ingress.written = true;
            self.egress.written = true;
        }
    }
}

impl ClusterPolicy {
    /// NPEP-133 wants names in the Admin tier only, the API's own announcement allows them in Baseline as well.
    fn warn_of_names_in_baseline(&self, d: &mut Decoder<'_>) {
        let by_name = |peer: &&Located<ClusterPeer>| matches!(peer.value, ClusterPeer::DomainNames(_));
        let first = self.egress.rules.iter().flat_map(|rule| &rule.peers).find(by_name);
        if let (Some(Tier::Baseline), Some(peer)) = (self.tier, first) {
            let place = Place { line: peer.position.line, column: peer.position.column };
            let message = "other implementations may take domainNames in the Admin tier only";
            d.report(place, Diagnostic::warning(Code::Unsupported, message));
        }
    }
}

pub(crate) fn priority<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u16> {
    let written = d.integer(node)?;
    if !(0..=MOST_PRIORITY).contains(&written) {
        d.error(
            node.place,
            Code::InvalidValue,
            format!("{written} is no priority: priorities are 0 to 1000"),
        );
    }
    u16::try_from(written).ok().filter(|priority| i64::from(*priority) <= MOST_PRIORITY)
}

pub(crate) fn subject<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, dialect: Dialect) -> Option<Subject> {
    d.sound(|d| {
        let map = d.strict_or(node, &["namespaces", "pods"], |stray| match stray {
            Stray::Field("podSelector", _) => {
                Some("write it under pods: {namespaceSelector: {}, podSelector: {}}".to_owned())
            }
            Stray::Field("namespaceSelector", _) => {
                Some("write what it selects by under namespaces: {}".to_owned())
            }
            Stray::Field(..) | Stray::Scalar(_) => None,
        })?;
        let namespaces = d.field(map, "namespaces", namespaces);
        let pods = d.field(map, "pods", |d, node| pods(d, node, dialect));
        match (namespaces, pods) {
            (Some(selector), None) => selector.map(Subject::Namespaces),
            (None, Some(pods)) => pods.map(|(namespaces, pods)| Subject::Pods { namespaces, pods }),
            (Some(_), Some(_)) | (None, None) => {
                d.error(node.place, Code::ExactlyOne, "exactly one of namespaces and pods is needed");
                None
            }
        }
    })
}

/// A selector; v0.1.1 of the API wrapped it in one more mapping.
fn namespaces<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<LabelSelector> {
    if let Value::Mapping(entries) = &node.value
        && let [entry] = entries.as_slice()
        && matches!(entry.key.as_ref(), "namespaceSelector" | "sameLabels" | "notSameLabels")
    {
        let message = format!("{:?} was removed from the API with v0.1.2", entry.key);
        d.report(
            entry.place,
            Diagnostic::error(Code::UnknownField, message)
                .suggest("write matchLabels or matchExpressions here directly"),
        );
        return None;
    }
    LabelSelector::decode(d, node)
}

fn pods<'n>(
    d: &mut Decoder<'n>,
    node: &'n Node<'n>,
    dialect: Dialect,
) -> Option<(LabelSelector, LabelSelector)> {
    let map = d.strict(node, &["namespaceSelector", "podSelector"])?;
    let namespaces = d.field(map, "namespaceSelector", LabelSelector::decode);
    let pods = d.field(map, "podSelector", LabelSelector::decode);
    // Written without a value it is there, and means all pods. The older kinds are read as their engines did.
    let may_lack = dialect.kind != ClusterPolicyKind::ClusterNetworkPolicy;
    if !may_lack && !map.entries().iter().any(|entry| entry.key == "podSelector") {
        return d.required(map, "podSelector", |_, _| None);
    }
    Some((namespaces.unwrap_or_else(everything)?, pods.unwrap_or_else(everything)?))
}

#[expect(clippy::unnecessary_wraps, reason = "stands in for a selector that was not written")]
fn everything() -> Option<LabelSelector> {
    Some(LabelSelector::default())
}

fn rule<'n>(
    d: &mut Decoder<'n>,
    node: &'n Node<'n>,
    dialect: Dialect,
    side: &'static str,
    known: &'static [&'static str],
) -> Option<ClusterRule> {
    let map = d.strict(node, &["name", "action", side, dialect.ports])?;
    let name = d.field(map, "name", |d, node| {
        let name = d.string(node)?;
        if name.chars().count() > MOST_NAME {
            d.error(
                node.place,
                Code::InvalidName,
                format!("a rule's name has at most {MOST_NAME} characters"),
            );
        }
        Some(name)
    });
    let action = d.required(map, "action", |d, node| d.one_of(node, dialect.actions));
    let peers = d.required(map, side, |d, node| {
        d.check_length(node, 1, dialect.most);
        d.located(node, |d, node| peer(d, node, dialect, known))
    });
    let ports = d.field(map, dialect.ports, |d, node| {
        // An empty list is invalid where the API speaks of protocols; in v1alpha1 it is the same as none.
        let least = usize::from(dialect.kind == ClusterPolicyKind::ClusterNetworkPolicy);
        d.check_length(node, least, dialect.most);
        d.located(node, dialect.port)
    });
    let rule = ClusterRule {
        position: d.position(node.place),
        name: name.flatten(),
        action: action?,
        peers: peers?,
        ports: ports.flatten().unwrap_or_default(),
    };
    check_rule(d, node, &rule);
    Some(rule)
}

/// What the CRD's CEL rules say about fields of one rule together.
fn check_rule<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, rule: &ClusterRule) {
    let peers = || rule.peers.iter().map(|peer| &peer.value);
    let unnamed = |peer: &ClusterPeer| match peer {
        ClusterPeer::Networks(_) | ClusterPeer::Nodes(_) | ClusterPeer::DomainNames(_) => true,
        ClusterPeer::Namespaces(_) | ClusterPeer::Pods { .. } | ClusterPeer::Unknown { .. } => false,
    };
    if rule.ports.iter().any(|port| matches!(port.value, ClusterPort::Named(_))) && peers().any(unnamed) {
        let message = "a named port is a pod's; it cannot stand beside networks, nodes or domainNames";
        d.error(node.place, Code::InvalidPort, message);
    }
    let by_name = peers().any(|peer| matches!(peer, ClusterPeer::DomainNames(_)));
    if by_name && rule.action != RuleAction::Accept {
        d.error(node.place, Code::InvalidValue, "domainNames are for rules that accept only");
    }
}

/// Fields of other policies, and what is written instead in a peer.
const MEANT_OF_PEER: [(&str, &str); 4] = [
    ("podSelector", "write pods: {namespaceSelector: {}, podSelector: {}}"),
    ("namespaceSelector", "write what it selects by under namespaces: {}"),
    ("ipBlock", "write networks: [203.0.113.0/24], which egress rules have"),
    ("cidr", "write networks: [203.0.113.0/24], which egress rules have"),
];

fn peer<'n>(
    d: &mut Decoder<'n>,
    node: &'n Node<'n>,
    dialect: Dialect,
    known: &'static [&'static str],
) -> Option<ClusterPeer> {
    let map = d.map(node)?;
    if !map.keys().any(|key| known.contains(&key)) {
        let fields = d.unknown_peer(map, known, &MEANT_OF_PEER);
        return Some(ClusterPeer::Unknown { fields });
    }
    let map = d.strict(node, known)?;
    if map.keys().filter(|key| known.contains(key)).count() > 1 {
        d.report(
            node.place,
            Diagnostic::error(Code::ExactlyOne, format!("exactly one of {} is needed", known.join(", ")))
                .suggest("make it several entries, which means any of them"),
        );
        return None;
    }
    let field = *known.iter().find(|name| map.get(name).is_some())?;
    let peer = d.field(map, field, |d, node| match field {
        "namespaces" => namespaces(d, node).map(ClusterPeer::Namespaces),
        "pods" => pods(d, node, dialect).map(|(namespaces, pods)| ClusterPeer::Pods { namespaces, pods }),
        "nodes" => LabelSelector::decode(d, node).map(ClusterPeer::Nodes),
        "networks" => {
            d.check_length(node, 1, MOST_IN_PEER);
            check_distinct(d, node, dialect);
            d.list(node, strict_cidr).map(ClusterPeer::Networks)
        }
        _ => {
            d.check_length(node, 1, MOST_IN_PEER);
            check_distinct(d, node, dialect);
            d.list(node, domain_name).map(ClusterPeer::DomainNames)
        }
    });
    peer.flatten()
}

/// `networks` and `domainNames` are sets (`x-kubernetes-list-type: set`): the API refuses an entry that is there twice, letter by letter.
/// Early versions of the older kinds had lists.
fn check_distinct<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, dialect: Dialect) {
    let Value::Sequence(items) = &node.value else { return };
    if dialect.kind != ClusterPolicyKind::ClusterNetworkPolicy {
        return;
    }
    let mut seen = BTreeSet::new();
    for item in items {
        let Value::Scalar { text, .. } = &item.value else { continue };
        if !seen.insert(&**text) {
            let message = format!("{:?} is listed twice", short(text));
            d.report(
                item.place,
                Diagnostic::error(Code::InvalidValue, message).suggest("leave one of them out"),
            );
        }
    }
}

fn domain_name<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.formed(node, "a domain name", "huggingface.co")?;
    if let Some(wrong) = name::domain_pattern(text) {
        let mut diagnostic =
            Diagnostic::error(Code::InvalidDomain, format!("{:?} is no domain name: {wrong}", short(text)));
        if let Some(rest) = text.strip_prefix("**.") {
            let hint = format!("here \"*.{}\" already means one or more labels", short(rest));
            diagnostic = diagnostic.suggest(hint);
        }
        d.report(node.place, diagnostic);
        return None;
    }
    Some(d.intern(&text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()))
}

/// `{tcp|udp|sctp: {destinationPort: ...}}` or `{destinationNamedPort: ...}`.
fn protocol<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<ClusterPort> {
    const KNOWN: [&str; 4] = ["tcp", "udp", "sctp", "destinationNamedPort"];
    let map = d.strict(node, &KNOWN)?;
    if map.keys().count() != 1 {
        d.error(node.place, Code::ExactlyOne, format!("exactly one of {} is needed", KNOWN.join(", ")));
        return None;
    }
    if let Some(name) = d.field(map, "destinationNamedPort", port_name) {
        return name.map(ClusterPort::Named);
    }
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)];
    let (field, protocol) = protocols.into_iter().find(|(name, _)| map.get(name).is_some())?;
    let ports = d.field(map, field, |d, node| {
        let map = d.strict(node, &["destinationPort"])?;
        if map.get("destinationPort").is_none() {
            let message = format!("{field} needs destinationPort");
            d.report(
                node.place,
                Diagnostic::error(Code::MissingField, message)
                    .suggest("for every port: destinationPort: {range: {start: 1, end: 65535}}"),
            );
            return None;
        }
        d.field(map, "destinationPort", destination_port).flatten()
    });
    let (first, last) = ports.flatten()?;
    Some(ClusterPort::Numbers { protocol, first, last })
}

/// A container port's name.
pub(crate) fn port_name<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let name = d.string(node)?;
    if let Some(wrong) = name::port_name(&name) {
        d.error(node.place, Code::InvalidPort, format!("{:?} is no port name: {wrong}", short(&name)));
        return None;
    }
    Some(name)
}

fn destination_port<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<(u16, u16)> {
    let map = d.strict(node, &["number", "range"])?;
    let number = d.field(map, "number", port_number);
    let range = d.field(map, "range", |d, node| {
        let map = d.strict(node, &["start", "end"])?;
        let (start, end) = (d.required(map, "start", port_number), d.required(map, "end", port_number));
        let (start, end) = (start?, end?);
        if start >= end {
            let message = format!("the range's start {start} is not below its end {end}");
            d.report(
                node.place,
                Diagnostic::error(Code::InvalidPort, message).suggest("for one port, write number"),
            );
        }
        Some((start, end))
    });
    match (number, range) {
        (Some(number), None) => number.map(|port| (port, port)),
        (None, Some(range)) => range,
        (Some(_), Some(_)) | (None, None) => {
            d.error(node.place, Code::ExactlyOne, "exactly one of number and range is needed");
            None
        }
    }
}
