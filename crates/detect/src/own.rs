//! Our own records -> events: the one mapping, for records as they are made and for records that are read as JSON.
//!
//! Enters: what detectors look at of a record. Leaves: events, of which one record may be several. Guarantees: what a record
//! means does not depend on how it came here. Does not: know the types of records of other crates, or read JSON
//! ([`crate::read`] does).

use crate::event::{
    Call, Event, Factors, Flow, Limit, Lookup, Phase, Place, Reached, RecordId, Scene, Sign, Tool, What,
    clean_name,
};
use observe::{About, End, EndKind, Kind, Time};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Number of the transport protocol of what the gateway holds.
const TCP: u8 = 6;

/// What all kinds of records have.
#[derive(Clone, Debug)]
pub struct Head {
    /// When.
    pub time: Time,
    /// Who.
    pub who: Arc<str>,
    /// Which record.
    pub record: RecordId,
    /// What else is known.
    pub scene: Scene,
}

impl Head {
    fn event(&self, what: What) -> Event {
        Event {
            time: self.time,
            who: Arc::clone(&self.who),
            record: self.record.clone(),
            what,
            scene: self.scene.clone(),
            factors: Factors::default(),
        }
    }
}

/// One end of a record.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a> {
    /// What it is.
    pub kind: EndKind,
    /// Namespace of a pod.
    pub namespace: Option<&'a str>,
    /// Name of a pod or node.
    pub name: Option<&'a str>,
    /// Kind and name of what a pod is part of.
    pub workload: Option<(&'a str, &'a str)>,
    /// Its address.
    pub address: IpAddr,
}

impl<'a> From<&'a End> for Party<'a> {
    fn from(end: &'a End) -> Self {
        Self {
            kind: end.kind,
            namespace: end.namespace.as_deref(),
            name: end.name.as_deref(),
            workload: end.workload.as_ref().map(|workload| (&*workload.kind, &*workload.name)),
            address: end.address,
        }
    }
}

impl Party<'_> {
    /// What a person, and the ledger, calls it: `namespace/kind/name` of a workload, `namespace/name` of a pod that is part of
    /// none, `node name`, or an address.
    pub fn word(&self) -> Arc<str> {
        match (self.kind, self.namespace, self.workload, self.name) {
            (EndKind::Pod, Some(namespace), Some((kind, name)), _) if !matches!(kind, "Pod" | "") => {
                format!("{namespace}/{kind}/{name}").into()
            }
            (EndKind::Pod, Some(namespace), _, Some(name)) => format!("{namespace}/{name}").into(),
            (EndKind::Node, _, _, Some(name)) => format!("node {name}").into(),
            (EndKind::Pod | EndKind::Node | EndKind::Outside, _, _, _) => self.address.to_string().into(),
        }
    }

    /// `namespace/name` of a pod.
    pub fn pod(&self) -> Option<Arc<str>> {
        let (EndKind::Pod, Some(namespace), Some(name)) = (self.kind, self.namespace, self.name) else {
            return None;
        };
        Some(format!("{namespace}/{name}").into())
    }

    fn place(&self) -> Place {
        match self.kind {
            EndKind::Pod | EndKind::Node => Place::Inside,
            EndKind::Outside => Place::Outside,
        }
    }
}

/// A DNS query.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The name asked for.
    pub name: &'a str,
    /// Type asked for, by its number.
    pub kind: u16,
    /// Whether policy refused it.
    pub is_denied: bool,
    /// Whether that was because the answer leads a public name inside.
    pub is_rebinding: bool,
    /// Response code.
    pub rcode: Option<u16>,
    /// Addresses of the answer.
    pub addresses: &'a [IpAddr],
    /// Bytes of the aliases of the answer.
    pub alias_bytes: usize,
}

/// The events of a DNS query.
pub fn question(head: &Head, it: &Question<'_>, events: &mut Vec<Event>) {
    let addresses = it.addresses.iter().map(|address| if address.is_ipv4() { 4 } else { 16 }).sum::<usize>();
    events.push(head.event(What::Lookup(Lookup {
        name: clean_name(it.name.as_bytes()),
        kind: it.kind,
        // What was refused by policy says nothing of whether the name exists, and was still asked for.
        rcode: it.rcode.filter(|_| !it.is_denied),
        answer_bytes: u32::try_from(addresses.saturating_add(it.alias_bytes)).unwrap_or(u32::MAX),
    })));
    if it.is_rebinding {
        events.push(head.event(What::Sign(Sign::Rebinding)));
    }
}

/// A connection that the kernel saw begin, end, or be refused.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// What happened.
    pub kind: Kind,
    /// Whether a node opened it.
    pub from_node: bool,
    /// Whom it was for.
    pub to: Party<'a>,
    /// A name by which the one who opened it knows that.
    pub name: Option<&'a str>,
    /// Destination port.
    pub port: u16,
    /// Number of the transport protocol.
    pub protocol: u8,
    /// Bytes sent and received.
    pub bytes: (u64, u64),
    /// Microseconds from begin to end.
    pub duration: u64,
    /// What a refused one was about.
    pub about: Option<About>,
}

/// The events of a connection.
pub fn access(head: &Head, it: &Access<'_>, events: &mut Vec<Event>) {
    let name = match it.to.kind {
        EndKind::Pod | EndKind::Node => Some(it.to.word()),
        EndKind::Outside => it.name.map(|name| clean_name(name.as_bytes())),
    };
    events.push(head.event(What::Flow(Flow {
        phase: match it.kind {
            Kind::Open => Phase::Open,
            Kind::Close => Phase::Close,
            Kind::Deny => Phase::Failed,
        },
        from_node: it.from_node,
        address: it.to.address,
        name,
        place: it.to.place(),
        port: it.port,
        protocol: it.protocol,
        sent: it.bytes.0,
        received: it.bytes.1,
        duration: it.duration,
    })));
    events.extend(it.about.map(|about| head.event(What::Sign(sign(about)))));
}

/// A connection that the gateway held to its name. It tells of it when it ended, with the time when it began.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// Whether it was refused or cut.
    pub is_denied: bool,
    /// Why, in the word of its record.
    pub reason: &'a str,
    /// Where it was going.
    pub destination: SocketAddr,
    /// For whom it said that it is.
    pub name: Option<&'a str>,
    /// Bytes sent and received.
    pub bytes: (u64, u64),
    /// Microseconds from begin to end.
    pub duration: u64,
    /// Whether the records of the kernel are at hand, which have a connection that passed as well.
    pub is_told_by_kernel: bool,
}

/// The events of a connection through the gateway.
pub fn held(head: &Head, it: &Held<'_>, events: &mut Vec<Event>) {
    let name = it.name.map(|name| clean_name(name.as_bytes()));
    let whom = name.clone().unwrap_or_else(|| it.destination.ip().to_string().into());
    let flow = Flow {
        phase: if it.is_denied { Phase::Failed } else { Phase::Whole },
        from_node: false,
        address: it.destination.ip(),
        name,
        place: Place::Outside,
        port: it.destination.port(),
        protocol: TCP,
        sent: it.bytes.0,
        received: it.bytes.1,
        duration: it.duration,
    };
    // To the kernel a connection that the gateway refuses is an open one.
    if it.is_denied || !it.is_told_by_kernel {
        events.push(head.event(What::Flow(flow)));
    }
    events.extend(held_sign(it.reason).map(|sign| head.event(What::Sign(sign))));
    let reached = |limit| Reached { limit, whom: Some(whom), bytes: it.bytes.0 };
    events.extend(limit(it.reason).map(reached).map(|reached| head.event(What::Reached(reached))));
}

/// The events of a request.
pub fn call(head: &Head, call: Call, events: &mut Vec<Event>) {
    events.push(head.event(What::Call(Box::new(call))));
}

/// The event of a limit that something else than one connection came to.
pub fn reached(head: &Head, reached: Reached, events: &mut Vec<Event>) {
    events.push(head.event(What::Reached(reached)));
}

/// The event of a tool that a server lists.
pub fn tool(head: &Head, tool: Tool, events: &mut Vec<Event>) {
    events.push(head.event(What::Tool(tool)));
}

fn sign(about: About) -> Sign {
    match about {
        About::MetadataService => Sign::MetadataService,
        About::ApiServer => Sign::ApiServer,
        About::DnsElsewhere => Sign::DnsElsewhere,
        About::DnsOverTls => Sign::DnsOverTls,
        About::DnsOverHttps => Sign::DnsOverHttps,
        About::AddressNotResolved => Sign::NotResolved,
    }
}

/// What a refusal of the gateway is a sign of.
fn held_sign(reason: &str) -> Option<Sign> {
    match reason {
        "name-mismatch" | "host-mismatch" | "later-host" | "second-hello" | "certificate-name" => {
            Some(Sign::OtherName)
        }
        "encrypted-hello" | "opaque" | "not-tls" | "http-tunnel" | "quic" | "no-name" => Some(Sign::Hidden),
        "not-resolved" => Some(Sign::NotResolved),
        _ => None,
    }
}

/// Which limit a connection came to.
fn limit(reason: &str) -> Option<Limit> {
    match reason {
        "upload-ceiling" => Some(Limit::UploadConnection),
        "download-only" => Some(Limit::DownloadOnly),
        "passed-unopened" => Some(Limit::Unopened),
        _ => None,
    }
}
