//! The record of an access: the one shape that the store keeps, queries return and JSON shows.
//!
//! JSON, one object per record; fields that do not apply are left out, others are never renamed or removed:
//!
//! | field | meaning |
//! |---|---|
//! | `sequence` | number in the store that kept it, from 1, without gaps |
//! | `time` | RFC 3339, UTC, microseconds |
//! | `kind` | `open`: a connection was allowed; `close`: an open one ended; `deny`: packets were dropped |
//! | `verdict` | `allow` or `deny` |
//! | `node` | the enforcement point that saw it |
//! | `generation` | state of policy that judged it |
//! | `connection` | joins a close to its open |
//! | `from`, `to` | `kind` (`pod`, `node`, `outside`), `namespace`, `name`, `address`, `port`, `workload`, `labels`; `to` also `names`: those that DNS gave `from` for the address, of those that rules speak of |
//! | `protocol`, `port` | transport protocol and destination port (0 where the protocol has none) |
//! | `reason` | why, from the closed table of reasons |
//! | `deciding` | `egress` or `ingress`: the direction whose rule decided |
//! | `egress`, `ingress` | the rule of each direction that was judged: `verdict`, `reason`, `rule`, `object`, `field`, `name`, `source` (`file`, `line`, `column`) |
//! | `traffic` | close only: packets and bytes each way, and microseconds from open to close |
//! | `about` | deny of egress only: what the connection was about, from the closed table of [`crate::about`] |
//! | `suppressed` | deny only: equal denials before this one that were counted instead of recorded |
//! | `shadow` | where a candidate is judged beside what is enforced: what it would have done, in the form of `egress` |
//!
//! Does not: hold payload, names from the wire, or anything that is not in the table above.

use crate::about::About;
use crate::time::Time;
use policy::{
    Direction, DnsName, Generation, ObjectRef, Protocol, Reason, RuleEntry, RuleId, SourceRef, Verdict,
    WorkloadRef,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A connection was opened.
    Open,
    /// An opened connection ended.
    Close,
    /// Packets that would have opened or continued a connection were dropped.
    Deny,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Deny => "deny",
        })
    }
}

/// What one end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndKind {
    /// A pod with a network of its own.
    Pod,
    /// A node or a host-network pod on it.
    Node,
    /// Anything else.
    Outside,
}

/// One end of an access, as it was known at the generation that judged it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// What it is.
    pub kind: EndKind,
    /// Namespace of a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Name of a pod or node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Address on the wire.
    pub address: IpAddr,
    /// Port on the wire; 0 where the protocol has none.
    pub port: u16,
    /// What the pod is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadRef>,
    /// Labels of the pod.
    #[serde(default, skip_serializing_if = "no_labels")]
    pub labels: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    /// Names by which the other end knows the address.
    #[serde(default, skip_serializing_if = "no_names")]
    pub names: Arc<[DnsName]>,
}

fn no_names(names: &Arc<[DnsName]>) -> bool {
    names.is_empty()
}

fn no_labels(labels: &Arc<BTreeMap<Arc<str>, Arc<str>>>) -> bool {
    labels.is_empty()
}

impl End {
    /// `namespace/Kind/name` of the workload, or what the end is.
    pub fn workload(&self) -> String {
        match (&self.namespace, &self.workload) {
            (Some(namespace), Some(workload)) if &*workload.kind != "Pod" => {
                format!("{namespace}/{}/{}", workload.kind, workload.name)
            }
            (_, _) => self.to_string(),
        }
    }

    /// The name by which the other end knows it, or its workload.
    pub fn called(&self) -> String {
        self.names.first().map_or_else(|| self.workload(), ToString::to_string)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &self.namespace, &self.name) {
            (EndKind::Pod, Some(namespace), Some(name)) => write!(f, "{namespace}/{name}"),
            (EndKind::Node, _, Some(name)) => write!(f, "node {name}"),
            (EndKind::Pod | EndKind::Node | EndKind::Outside, _, _) => match self.names.first() {
                Some(name) => write!(f, "{name} ({})", self.address),
                None => write!(f, "{}", self.address),
            },
        }
    }
}

/// The verdict of one direction and the rule it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleVerdict {
    /// Allow or deny.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Number of the rule within its generation.
    pub rule: RuleId,
    /// The object that a user wrote; left out for built-in rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    /// Path of the field that decided, for example `spec.ingress[2]`.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub field: Arc<str>,
    /// The rule's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Where it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceRef>,
}

impl RuleVerdict {
    /// What a rule id stands for, with the verdict that was given in its name. `None` where the book lacks the id.
    pub fn new(verdict: Verdict, rule: RuleId, entry: Option<&RuleEntry>) -> Self {
        let Some(entry) = entry else {
            // Nobody vouches for an id without an entry; the verdict is what the enforcement point did.
            let reason = match verdict {
                Verdict::Allow => Reason::NoPolicy,
                Verdict::Deny => Reason::Unmanaged,
            };
            return Self { verdict, reason, rule, object: None, field: "".into(), name: None, source: None };
        };
        Self {
            verdict,
            reason: entry.reason,
            rule,
            object: entry.object.clone(),
            field: entry.field.clone(),
            name: entry.name.clone(),
            source: entry.source.clone(),
        }
    }
}

impl fmt::Display for RuleVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(object) = &self.object else { return f.write_str(self.reason.describe()) };
        write!(f, "{object}")?;
        // What decides as a whole, such as a policy that cannot be read, has no field.
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
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

/// What passed over a connection in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets from `from` to `to`.
    pub packets_sent: u64,
    /// Bytes from `from` to `to`, with IP headers.
    pub bytes_sent: u64,
    /// Packets from `to` to `from`.
    pub packets_received: u64,
    /// Bytes from `to` to `from`, with IP headers.
    pub bytes_received: u64,
    /// Microseconds from open to close; left out when the open was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_micros: Option<u64>,
}

/// One access, or its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Number in the store; 0 until a store has it.
    pub sequence: u64,
    /// When.
    pub time: Time,
    /// What happened.
    pub kind: Kind,
    /// Allow or deny.
    pub verdict: Verdict,
    /// Who saw it.
    pub node: Arc<str>,
    /// State of policy.
    pub generation: Generation,
    /// Joins a close to its open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// Who opened.
    pub from: End,
    /// Who received.
    pub to: End,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
    /// Why.
    pub reason: Reason,
    /// The direction whose rule decided.
    pub deciding: Direction,
    /// Judged at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<RuleVerdict>,
    /// Judged at the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<RuleVerdict>,
    /// Of a close.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Of a denied egress: what it was about, where the destination tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    /// Of a deny: how many equal ones were counted instead of recorded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
    /// What the candidate would have done, and by which rule. `None`: there is no candidate, or it cannot be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Box<RuleVerdict>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    /// The rule that decided, where one was judged.
    pub fn rule(&self) -> Option<&RuleVerdict> {
        match self.deciding {
            Direction::Egress => self.egress.as_ref(),
            Direction::Ingress => self.ingress.as_ref(),
        }
    }

    /// Whether the candidate would not have done what happened.
    pub fn differs(&self) -> bool {
        self.shadow.as_ref().is_some_and(|shadow| shadow.verdict != self.verdict)
    }

    /// Bytes of memory, at most: text that records share is counted for each.
    pub fn weight(&self) -> usize {
        let end = |end: &End| {
            let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
            let workload = end.workload.as_ref().map_or(0, |it| it.kind.len() + it.name.len());
            let names: usize = end.names.iter().map(|name| size_of_val(name) + name.as_str().len()).sum();
            text(&end.namespace) + text(&end.name) + workload + names
        };
        let rule = |rule: Option<&RuleVerdict>| {
            let Some(rule) = rule else { return 0 };
            let object =
                rule.object.as_ref().map_or(0, |it| it.kind.len() + it.namespace.len() + it.name.len());
            let source = rule.source.as_ref().map_or(0, |it| it.file.len());
            object + source + rule.field.len() + rule.name.as_ref().map_or(0, |name| name.len())
        };
        let shadow = self.shadow.as_deref();
        let rules = rule(self.egress.as_ref()) + rule(self.ingress.as_ref()) + rule(shadow);
        size_of::<Self>() + end(&self.from) + end(&self.to) + rules + shadow.map_or(0, size_of_val)
    }
}
