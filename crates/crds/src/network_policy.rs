//! `networking.k8s.io/v1` NetworkPolicy, as written, with the API server's validation.

use crate::decode::{Decoder, Map, Stray};
use crate::diagnostic::Position;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::{Node, Value};
use crate::meta::{Located, ObjectMeta};
use crate::meta::{Scope, short};
use crate::pod::port_number;
use crate::pod::{PortRef, Protocol};
use crate::selector::LabelSelector;
use ipnet::IpNet;

/// A NetworkPolicy.
///
/// When it is `broken`, what could be read is there, so that the pods it may select can be closed; its rules must
/// not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// An error was reported; the policy cannot be applied as written.
    pub broken: bool,
    /// Pods of the policy's namespace. Left out means all, which is the empty selector. `None`: it could not be read.
    pub pod_selector: Option<LabelSelector>,
    /// `policyTypes`.
    pub policy_types: PolicyTypes,
    /// `spec.ingress`. Left out and empty are the same.
    pub ingress: Section<NetworkPolicyRule>,
    /// `spec.egress`. Left out and empty are the same.
    pub egress: Section<NetworkPolicyRule>,
}

/// `policyTypes` of a NetworkPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyTypes {
    /// Left out or empty: the API server's default applies (Ingress; Egress if there is an egress rule).
    Defaulted,
    /// As listed.
    Listed {
        /// `Ingress` is listed.
        ingress: bool,
        /// `Egress` is listed.
        egress: bool,
    },
    /// Could not be read: it may be either or both.
    Unreadable,
}

/// The rules of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<R> {
    /// Rules that could be read. In a policy that is not broken, all of them, in order.
    pub rules: Vec<R>,
    /// The section has at least one entry, or could not be read.
    pub written: bool,
}

impl<R> Default for Section<R> {
    fn default() -> Self {
        Self { rules: Vec::new(), written: false }
    }
}

/// One ingress or egress rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicyRule {
    /// Where.
    pub position: Position,
    /// `from` or `to`. Empty: everyone.
    pub peers: Vec<Located<NetworkPolicyPeer>>,
    /// Empty: all ports and protocols.
    pub ports: Vec<Located<NetworkPolicyPort>>,
}

/// One entry of `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkPolicyPeer {
    /// At least one of the two is there.
    Selectors {
        /// `podSelector`
        pods: Option<LabelSelector>,
        /// `namespaceSelector`. Left out: the policy's own namespace.
        namespaces: Option<LabelSelector>,
    },
    /// `ipBlock`
    Block {
        /// `cidr`, host bits cleared.
        cidr: IpNet,
        /// `except`, host bits cleared.
        except: Vec<IpNet>,
    },
    /// No known field. Must never be read as "everyone".
    Unknown {
        /// Fields that were there.
        fields: Vec<String>,
    },
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicyPort {
    /// TCP if not written.
    pub protocol: Protocol,
    /// `None`: every port of the protocol.
    pub port: Option<PortRef>,
    /// Last port of a range; only with a number, and not below it.
    pub end_port: Option<u16>,
}

impl NetworkPolicy {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Namespaced, true);
        let mut policy = Self {
            meta,
            position: d.position(object.place),
            broken: false,
            pod_selector: Some(LabelSelector::default()),
            policy_types: PolicyTypes::Defaulted,
            ingress: Section::default(),
            egress: Section::default(),
        };
        d.field(object, "spec", |d, node| policy.spec(d, node));
        policy.broken = d.is_broken();
        policy
    }

    /// A policy of which no more than the metadata is known.
    pub(crate) fn unreadable(meta: ObjectMeta, position: Position) -> Self {
        Self {
            meta,
            position,
            broken: true,
            pod_selector: None,
            policy_types: PolicyTypes::Unreadable,
            ingress: Section::unreadable(),
            egress: Section::unreadable(),
        }
    }

    fn spec<'n>(&mut self, d: &mut Decoder<'n>, node: &'n Node<'n>) {
        let Some(map) = d.strict(node, &["podSelector", "policyTypes", "ingress", "egress"]) else {
            *self = Self::unreadable(self.meta.clone(), self.position.clone());
            return;
        };
        // A selector under a misspelt name would otherwise read as "all pods", which closes more, never less.
        if let Some(selector) = d.field(map, "podSelector", LabelSelector::decode) {
            self.pod_selector = selector;
        }
        if let Some(types) = d.field(map, "policyTypes", policy_types) {
            self.policy_types = types.unwrap_or(PolicyTypes::Unreadable);
        }
        self.ingress = Section::decode(d, map, "ingress", usize::MAX, |d, node| rule(d, node, "from"));
        self.egress = Section::decode(d, map, "egress", usize::MAX, |d, node| rule(d, node, "to"));
        let misspelt =
            map.keys().any(|key| !matches!(key, "podSelector" | "policyTypes" | "ingress" | "egress"));
        if misspelt && self.policy_types == PolicyTypes::Defaulted {
            self.policy_types = PolicyTypes::Unreadable;
        }
    }
}

impl<R> Section<R> {
    pub(crate) fn unreadable() -> Self {
        Self { rules: Vec::new(), written: true }
    }

    /// Reads a list of rules; those with errors are left out.
    pub(crate) fn decode<'n>(
        d: &mut Decoder<'n>,
        spec: Map<'n>,
        name: &'n str,
        most: usize,
        mut rule: impl FnMut(&mut Decoder<'n>, &'n Node<'n>) -> Option<R>,
    ) -> Self {
        let section = d.field(spec, name, |d, node| {
            d.check_length(node, 0, most);
            let mut written = false;
            let rules = d.list(node, |d, node| {
                written = true;
                d.sound(|d| rule(d, node))
            });
            match rules {
                Some(rules) => Self { rules, written },
                None => Self::unreadable(),
            }
        });
        section.unwrap_or_default()
    }
}

fn policy_types<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<PolicyTypes> {
    let words = [("Ingress", true), ("Egress", false)];
    let listed = d.sound(|d| {
        d.check_length(node, 0, words.len());
        d.list(node, |d, node| d.one_of(node, &words))
    })?;
    if listed.is_empty() {
        return Some(PolicyTypes::Defaulted);
    }
    Some(PolicyTypes::Listed { ingress: listed.contains(&true), egress: listed.contains(&false) })
}

fn rule<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, peers: &'static str) -> Option<NetworkPolicyRule> {
    let map = d.strict_or(node, &["ports", peers], |stray| match stray {
        Stray::Field("podSelector" | "namespaceSelector" | "ipBlock", _) => {
            Some(format!("write it in an entry of {peers}"))
        }
        Stray::Field("to", _) => Some("where pods connect to is said under spec.egress".to_owned()),
        Stray::Field("from", _) => Some("who connects to pods is said under spec.ingress".to_owned()),
        Stray::Field("port" | "protocol", _) => Some("write it in an entry of ports".to_owned()),
        Stray::Field(..) | Stray::Scalar(_) => None,
    })?;
    Some(NetworkPolicyRule {
        position: d.position(node.place),
        peers: d.field(map, peers, |d, node| d.located(node, peer)).flatten().unwrap_or_default(),
        ports: d.field(map, "ports", |d, node| d.located(node, port)).flatten().unwrap_or_default(),
    })
}

const NO_NAMES: &str = "it knows no names: write an EgressPolicy of cofferdam.dev/v1alpha1";

/// Fields that are known of elsewhere, and what is written instead in a peer.
const MEANT_OF_PEER: [(&str, &str); 8] = [
    ("cidr", "write ipBlock: {cidr: 203.0.113.0/24}"),
    ("networks", "write ipBlock: {cidr: 203.0.113.0/24}"),
    ("ports", "write ports in the rule, beside from or to"),
    ("matchLabels", "write podSelector: {matchLabels: {}}"),
    ("domains", NO_NAMES),
    ("domainNames", NO_NAMES),
    ("provider", NO_NAMES),
    ("fqdn", NO_NAMES),
];

fn peer<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<NetworkPolicyPeer> {
    const KNOWN: [&str; 3] = ["podSelector", "namespaceSelector", "ipBlock"];
    if !matches!(node.value, Value::Mapping(_)) {
        d.strict(node, &KNOWN);
        return None;
    }
    let map = d.map(node)?;
    if !map.keys().any(|key| KNOWN.contains(&key)) {
        let fields = d.unknown_peer(map, &KNOWN, &MEANT_OF_PEER);
        return Some(NetworkPolicyPeer::Unknown { fields });
    }
    let map = d.strict_or(node, &KNOWN, |stray| match stray {
        Stray::Field(written, _) => {
            let found = MEANT_OF_PEER.iter().find(|(field, _)| *field == written);
            found.map(|(_, instead)| (*instead).to_owned())
        }
        Stray::Scalar(_) => None,
    })?;
    let selectors = map.get("podSelector").is_some() || map.get("namespaceSelector").is_some();
    if let Some(block) = d.field(map, "ipBlock", ip_block) {
        if selectors {
            let message = "ipBlock excludes podSelector and namespaceSelector in one entry";
            d.report(
                node.place,
                Diagnostic::error(Code::ExactlyOne, message)
                    .suggest("make it two entries, which means either"),
            );
        }
        return block;
    }
    let pods = d.field(map, "podSelector", LabelSelector::decode);
    let namespaces = d.field(map, "namespaceSelector", LabelSelector::decode);
    if pods == Some(None) || namespaces == Some(None) {
        return None;
    }
    Some(NetworkPolicyPeer::Selectors { pods: pods.flatten(), namespaces: namespaces.flatten() })
}

fn ip_block<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<NetworkPolicyPeer> {
    let map = d.strict_or(node, &["cidr", "except"], |stray| match stray {
        Stray::Scalar(text) if text.parse::<IpNet>().is_ok() => Some(format!("write {{cidr: \"{text}\"}}")),
        Stray::Scalar(_) | Stray::Field(..) => None,
    })?;
    let block = d.required(map, "cidr", cidr)?;
    let except = d.field(map, "except", |d, node| {
        d.list(node, |d, node| {
            let carved = cidr(d, node)?;
            if !block.contains(&carved) || carved.prefix_len() <= block.prefix_len() {
                d.error(
                    node.place,
                    Code::InvalidCidr,
                    format!("{carved} does not lie strictly inside {block}"),
                );
            }
            Some(carved)
        })
    });
    Some(NetworkPolicyPeer::Block { cidr: block, except: except.flatten().unwrap_or_default() })
}

/// A block in CIDR notation, host bits cleared with a warning.
pub(crate) fn cidr<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<IpNet> {
    let text = d.formed(node, "a block in CIDR notation", "203.0.113.0/24")?;
    let Ok(written) = text.parse::<IpNet>() else {
        let mut diagnostic =
            Diagnostic::error(Code::InvalidCidr, format!("{:?} is no block in CIDR notation", short(text)));
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            diagnostic = diagnostic.suggest(format!("for one address: {}", IpNet::from(address)));
        }
        d.report(node.place, diagnostic);
        return None;
    };
    let block = written.trunc();
    if block != written {
        let message = format!("{written} has bits set beyond its prefix; it is read as {block}");
        d.report(
            node.place,
            Diagnostic::warning(Code::InvalidCidr, message).suggest(format!("write {block}")),
        );
    }
    Some(block)
}

/// As [`cidr`], in kinds whose definition holds a block to the stricter reading of CEL's `isCIDR`. No packet has an address of IPv4
/// that is written as one of IPv6: a rule that denies it would deny nothing.
pub(crate) fn strict_cidr<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<IpNet> {
    let block = cidr(d, node)?;
    if let IpNet::V6(six) = block
        && six.prefix_len() >= 96
        && let Some(four) = six.addr().to_ipv4_mapped()
    {
        let message = format!("{block} is a block of IPv4 written as IPv6, and matches no packet");
        d.report(
            node.place,
            Diagnostic::error(Code::InvalidCidr, message)
                .suggest(format!("write {four}/{}", six.prefix_len().saturating_sub(96))),
        );
        return None;
    }
    Some(block)
}

fn port<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<NetworkPolicyPort> {
    let map = d.strict_or(node, &["protocol", "port", "endPort"], port_alone)?;
    let protocol = d.field(map, "protocol", Protocol::decode).unwrap_or(Some(Protocol::Tcp));
    let port = d.field(map, "port", PortRef::decode);
    let end = d.field(map, "endPort", |d, node| {
        let end = port_number(d, node)?;
        match &port {
            Some(Some(PortRef::Number(first))) if end < *first => {
                d.error(
                    node.place,
                    Code::InvalidPort,
                    format!("the range ends at {end}, before its first port {first}"),
                );
            }
            Some(Some(PortRef::Name(_))) => {
                d.error(node.place, Code::InvalidPort, "a range needs a port number, and port is a name");
            }
            None => d.error(node.place, Code::InvalidPort, "a range needs port, its first one"),
            Some(Some(PortRef::Number(_)) | None) => {}
        }
        Some(end)
    });
    if port == Some(None) || end == Some(None) {
        return None;
    }
    Some(NetworkPolicyPort { protocol: protocol?, port: port.flatten(), end_port: end.flatten() })
}

/// Of an entry of `ports` that is no more than the port itself.
pub(crate) fn port_alone(stray: Stray<'_>) -> Option<String> {
    match stray {
        Stray::Scalar(text) => text.parse::<u16>().ok().map(|port| format!("write {{port: {port}}}")),
        Stray::Field(..) => None,
    }
}
