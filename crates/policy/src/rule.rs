//! One rule model for every policy kind: NetworkPolicy, ClusterNetworkPolicy and its v1alpha1 dialect, EgressPolicy and
//! ClusterEgressPolicy.

use crate::access::{Direction, Protocol};
use crate::domain::DomainPattern;
use crate::labels::Selector;
use crate::operation::Requests;
use crate::reason::Reason;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The object a user wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// For example `NetworkPolicy`.
    pub kind: Arc<str>,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return write!(f, "{} {}", self.kind, self.name);
        }
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Where in a file something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceRef {
    /// Path as it was given.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Order of judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Judged first; what it accepts or denies is final.
    Admin,
    /// `networking.k8s.io/v1` NetworkPolicy and EgressPolicy: isolate what they select, allow what their rules say. A Deny
    /// (only an EgressPolicy has one) beats every Accept of the tier, whatever the order.
    NetworkPolicy,
    /// Judged when nothing before decided.
    Baseline,
}

/// What a rule does with an access it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Allow this direction; stop.
    Accept,
    /// Drop; stop.
    Deny,
    /// Leave the tier.
    Pass,
}

/// Which pods a policy applies to. Host-network pods never are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Which namespaces.
    pub namespaces: NamespaceScope,
    /// Which of their pods.
    pub pods: Selector,
}

/// Which namespaces a selector reaches into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamespaceScope {
    /// One namespace by name: that of a namespaced policy.
    Own(Arc<str>),
    /// Every namespace of this cluster whose labels match.
    Matching(Selector),
    /// Every namespace of other clusters whose labels match; [`crate::CLUSTER_LABEL`] is among them. Never of a subject.
    Elsewhere(Selector),
}

/// What one direction of a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// The policy does not speak about this direction.
    Untouched,
    /// Judged top to bottom. In the NetworkPolicy tier this isolates, even when empty.
    Rules(Vec<Rule>),
}

impl Section {
    /// The rules; none where the direction is untouched.
    pub fn rules(&self) -> &[Rule] {
        match self {
            Self::Untouched => &[],
            Self::Rules(rules) => rules,
        }
    }
}

/// One policy object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What the user wrote.
    pub object: ObjectRef,
    /// Where, if it came from a file.
    pub source: Option<SourceRef>,
    /// Tier.
    pub tier: Tier,
    /// Lower wins; 0 to 1000; always 0 in the NetworkPolicy tier, where order never matters.
    pub priority: u16,
    /// Which pods.
    pub subject: Subject,
    /// For connections to the subject.
    pub ingress: Section,
    /// For connections from the subject.
    pub egress: Section,
    /// Rule id of the isolation this policy brings, by direction (egress, ingress). Only in the NetworkPolicy tier.
    pub isolation: [RuleId; 2],
    /// What it says about names and resolvers; nothing for kinds that cannot.
    pub dns: Dns,
}

/// Kind of the objects that cut pods off: of one tier and priority they are judged before all others.
pub const CONTAINMENT: &str = "Containment";

/// By what policies are judged one after another: tier and priority, whether it is no containment, namespace, name and kind.
pub type Order<'a> = (Tier, u16, bool, &'a Arc<str>, &'a Arc<str>, &'a Arc<str>);

/// The place of a policy among others.
pub fn order(tier: Tier, priority: u16, object: &ObjectRef) -> Order<'_> {
    (tier, priority, &*object.kind != CONTAINMENT, &object.namespace, &object.name, &object.kind)
}

impl Policy {
    /// Its place among others.
    pub fn order(&self) -> Order<'_> {
        order(self.tier, self.priority, &self.object)
    }
}

/// What a policy says about the subject's DNS. The default says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Names that may be asked for.
    pub names: DnsNames,
    /// Resolvers that may be asked.
    pub resolvers: DnsResolvers,
}

/// Names that a policy lets its subject ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DnsNames {
    /// It does not speak of them.
    #[default]
    Any,
    /// Only these, as far as this policy goes.
    Only {
        /// Rule id of a name that is listed.
        listed: RuleId,
        /// Rule id of a name that is not.
        unlisted: RuleId,
        /// The list.
        patterns: Vec<DomainPattern>,
        /// And every name that an Accept rule for the same pod speaks of, whichever policy that is in.
        from_rules: bool,
    },
}

/// Resolvers that a policy lets its subject ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DnsResolvers {
    /// It does not speak of them.
    #[default]
    Any,
    /// Only these, as far as this policy goes.
    Only {
        /// Rule id of a resolver that is listed.
        listed: RuleId,
        /// Rule id of a resolver that is not.
        unlisted: RuleId,
        /// The list.
        peers: Vec<Peer>,
    },
}

impl Dns {
    /// Every rule id in it, to be numbered anew.
    pub fn rule_ids(&mut self) -> impl Iterator<Item = &mut RuleId> {
        let of_names = match &mut self.names {
            DnsNames::Any => [None, None],
            DnsNames::Only { listed, unlisted, .. } => [Some(listed), Some(unlisted)],
        };
        let of_resolvers = match &mut self.resolvers {
            DnsResolvers::Any => [None, None],
            DnsResolvers::Only { listed, unlisted, .. } => [Some(listed), Some(unlisted)],
        };
        of_names.into_iter().chain(of_resolvers).flatten()
    }
}

impl Policy {
    /// The section for a direction.
    pub fn section(&self, direction: Direction) -> &Section {
        match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        }
    }

    /// The id of the default deny this policy brings for a direction.
    pub fn isolation(&self, direction: Direction) -> RuleId {
        let [egress, ingress] = self.isolation;
        match direction {
            Direction::Egress => egress,
            Direction::Ingress => ingress,
        }
    }
}

/// One rule. It matches when a peer matches and a port matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Dense within the policy set.
    pub id: RuleId,
    /// What it does.
    pub action: Action,
    /// Who is at the other end.
    pub peers: Peers,
    /// Protocols and ports at the destination.
    pub ports: Ports,
}

/// The other end of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Everyone: pods, nodes, the outside.
    Everyone,
    /// Whoever matches one of these. An empty list matches nobody.
    AnyOf(Vec<Peer>),
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Pods, never host-network pods.
    Pods {
        /// Which namespaces.
        namespaces: NamespaceScope,
        /// Which of their pods.
        pods: Selector,
    },
    /// Any address in `cidr` and in none of `except`, pods' addresses included.
    Network {
        /// The block.
        cidr: IpNet,
        /// Carved out of this peer only.
        except: Vec<IpNet>,
    },
    /// Nodes by label, with every address of theirs.
    Nodes(Selector),
    /// Addresses that DNS gave for a matching name.
    Names(Vec<DomainPattern>),
}

/// Protocols and ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// All protocols and ports.
    All,
    /// Whatever matches one of these. An empty list matches nothing.
    AnyOf(Vec<PortMatch>),
}

/// One entry of a port list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// Ports `first` to `last`, both included.
    Numbers {
        /// Protocol.
        protocol: Protocol,
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
    },
    /// The destination pod's container port of that name; matches nothing but pods.
    Named {
        /// Port name.
        name: Arc<str>,
        /// `None`: whatever protocol the container port has.
        protocol: Option<Protocol>,
    },
}

/// Dense number of a rule within one policy set. Fits the 21 bits a connection mark has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub u32);

impl RuleId {
    /// Largest id a connection mark can carry.
    pub const MAX: Self = Self((1 << 21) - 1);
    /// No policy decides: the API's default allow.
    pub const NO_POLICY: Self = Self(0);
    /// This end cannot be selected by a policy.
    pub const NOT_SUBJECT: Self = Self(1);
    /// A pod reaching itself.
    pub const SAME_ENDPOINT: Self = Self(2);
    /// A pod and its own node.
    pub const OWN_NODE: Self = Self(3);
    /// Pods nobody manages yet.
    pub const UNMANAGED: Self = Self(4);
    /// Packets of no tracked connection.
    pub const UNTRACKED: Self = Self(5);
    /// First id of a rule that a user wrote.
    pub const FIRST_WRITTEN: Self = Self(16);
}

/// What a rule id stands for: all that a record or an explanation needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleEntry {
    /// Why a verdict of this rule was given.
    pub reason: Reason,
    /// The object; `None` for the built-in ids below [`RuleId::FIRST_WRITTEN`].
    pub object: Option<ObjectRef>,
    /// Which section.
    pub direction: Option<Direction>,
    /// Index in the section; `None` for the isolation that a NetworkPolicy brings.
    pub index: Option<u32>,
    /// The rule's own name, where its kind has one.
    pub name: Option<Arc<str>>,
    /// Field path, for example `spec.ingress[2]`.
    pub field: Arc<str>,
    /// File and line.
    pub source: Option<SourceRef>,
    /// What may be uploaded under the rule; `None`: nothing limits it. One rule that a user wrote can be several entries, with
    /// equal object and index: they have the same limits, and share them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadLimits>,
    /// Which requests the rule allows over the connections that it allows; `None`: it does not look at them. Only a rule whose
    /// peers are names has it, and it matches no pod or node by them: what goes there passes no gateway that would judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Arc<Requests>>,
}

/// What a rule demands of the connections that it allows; in the NetworkPolicy tier the more demanding decides first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Demand {
    /// Its requests are judged.
    Requests,
    /// What it uploads is limited.
    Upload,
    /// Nothing.
    Nothing,
    /// That an answer granted it. It allows where nothing else does, so it takes nothing from any other rule.
    Grant,
}

impl Demand {
    /// Whether requests are judged: only of what goes out, where the gateway is.
    pub fn judges(self) -> bool {
        match self {
            Self::Requests | Self::Grant => true,
            Self::Upload | Self::Nothing => false,
        }
    }
}

impl RuleEntry {
    /// What it demands; of several things the first.
    pub fn demand(&self) -> Demand {
        match (&self.requests, &self.upload) {
            (Some(requests), _) if requests.granted => Demand::Grant,
            (Some(_), _) => Demand::Requests,
            (None, Some(_)) => Demand::Upload,
            (None, None) => Demand::Nothing,
        }
    }

    /// The rule as its author knows it, for what is counted over states of policy: its position may change with any edit of its
    /// file; where it has a name, that stays. A rule without a name is not taken for one whose name is a number.
    pub fn known_as(&self) -> String {
        let object = self.object.as_ref().map(ToString::to_string).unwrap_or_default();
        match &self.name {
            Some(name) => format!("{object} {name}"),
            None => format!("{object}#{}", self.index.unwrap_or_default()),
        }
    }
}

/// What a rule lets a pod send, in bytes; counted for each pod and rule that a user wrote. At least one field says something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadLimits {
    /// Payload that one connection may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// What all connections may send in one hour of UTC, counted on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hour: Option<u64>,
    /// What all connections may send in one day of UTC, counted on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<u64>,
    /// A connection may send little more than what asking for a download takes.
    #[serde(default)]
    pub download_only: bool,
}

impl UploadLimits {
    /// Whether several connections together are limited.
    pub fn counts_over_time(&self) -> bool {
        self.hour.is_some() || self.day.is_some()
    }
}

impl fmt::Display for UploadLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows = [("a connection", self.connection), ("an hour", self.hour), ("a day", self.day)];
        let most =
            windows.iter().filter_map(|(window, bytes)| Some(format!("{} {window}", quantity((*bytes)?))));
        let only = self.download_only.then(|| "download only".to_owned());
        f.write_str(&most.chain(only).collect::<Vec<_>>().join(", "))
    }
}

/// Bytes as a user writes them.
fn quantity(bytes: u64) -> String {
    let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    match units.iter().find(|(_, bits)| bytes.trailing_zeros() >= *bits && bytes > 0) {
        Some((suffix, bits)) => format!("{}{suffix}", bytes >> bits),
        None => bytes.to_string(),
    }
}

impl fmt::Display for RuleEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) if self.field.is_empty() => write!(f, "{object}")?,
            Some(object) => write!(f, "{object} {}", self.field)?,
            None => write!(f, "{}", self.reason)?,
        }
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        Ok(())
    }
}

/// Pods that are closed because a policy which may select them could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedScope {
    /// The rule id that denials carry; its entry names the object and line.
    pub rule: RuleId,
    /// Which pods.
    pub subject: Subject,
    /// Which directions.
    pub directions: Vec<Direction>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_without_a_name_is_known_as_no_rule_with_a_name_is() {
        let entry = |index, name: Option<&str>| RuleEntry {
            reason: Reason::EgressPolicyAllow,
            object: Some(ObjectRef { kind: "EgressPolicy".into(), namespace: "x".into(), name: "p".into() }),
            direction: Some(Direction::Egress),
            index: Some(index),
            name: name.map(Into::into),
            field: "".into(),
            source: None,
            upload: None,
            requests: None,
        };
        assert_eq!(entry(3, None).known_as(), "EgressPolicy x/p#3");
        assert_ne!(entry(3, None).known_as(), entry(0, Some("3")).known_as());
        assert_ne!(entry(3, None).known_as(), entry(0, Some("#3")).known_as());
        assert_eq!(entry(0, Some("chat")).known_as(), entry(7, Some("chat")).known_as());
    }

    #[test]
    fn limits_are_told_as_they_are_written() {
        let all = UploadLimits {
            connection: Some(1 << 20),
            hour: Some(50 << 20),
            day: Some(1_000_000_000),
            download_only: true,
        };
        assert_eq!(all.to_string(), "1Mi a connection, 50Mi an hour, 1000000000 a day, download only");
        let day = UploadLimits { day: Some(1 << 62), ..UploadLimits::default() };
        assert_eq!(day.to_string(), "4194304Ti a day");
    }
}
