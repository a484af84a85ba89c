//! The journal's records -> what detectors look at, without a way through JSON.

use super::calls::ApiCall;
use super::lookup::Lookup;
use super::passage::Passage;
use detect::Event;
use detect::event::{Call, Carrier, Fate, Found, Reached, RecordId, Scene, clean_text};
use detect::own::{self, Access, Head, Held, Party, Question};
use observe::{End, Record, Time};
use std::net::IpAddr;
use std::sync::Arc;

/// Something that the journal heard.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// A connection.
    Flow(Arc<Record>),
    /// A DNS query.
    Lookup(Arc<Lookup>),
    /// A connection that was held to its name.
    Passage(Arc<Passage>),
    /// A request.
    Call(Arc<ApiCall>),
    /// A budget of bytes that is used up.
    Spent(Box<Spent>),
}

/// A budget of bytes that is used up.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    /// When it was noticed.
    pub(crate) time: Time,
    /// Where.
    pub(crate) node: Arc<str>,
    /// Whose.
    pub(crate) pod: (Arc<str>, Arc<str>),
    /// Who that is; `None`: nobody that policy knows any more.
    pub(crate) from: Option<End>,
    /// The rule that has it.
    pub(crate) rule: Arc<str>,
    /// Which.
    pub(crate) reached: Reached,
}

/// Words of kinds of records, as ids of records have them: those of the ledger.
#[derive(Debug)]
pub(crate) struct Sight {
    flow: Arc<str>,
    dns: Arc<str>,
    tls: Arc<str>,
    ai_call: Arc<str>,
    budget: Arc<str>,
}

impl Default for Sight {
    fn default() -> Self {
        Self {
            flow: "flow".into(),
            dns: "dns".into(),
            tls: "tls".into(),
            ai_call: "ai_call".into(),
            budget: "budget".into(),
        }
    }
}

impl Sight {
    /// The events of what was heard, and who it was.
    pub(crate) fn events<'s>(&self, seen: &'s Seen, events: &mut Vec<Event>) -> Option<&'s End> {
        match seen {
            Seen::Flow(record) => self.flow(record, events),
            Seen::Lookup(lookup) => self.lookup(lookup, events),
            Seen::Passage(passage) => self.passage(passage, events),
            Seen::Call(call) => self.call(call, events),
            Seen::Spent(spent) => self.spent(spent, events),
        }
        match seen {
            Seen::Flow(record) => Some(&record.from),
            Seen::Lookup(lookup) => lookup.from.as_ref(),
            Seen::Passage(passage) => passage.from.as_ref(),
            Seen::Call(call) => call.from.as_ref(),
            Seen::Spent(spent) => spent.from.as_ref(),
        }
    }

    fn flow(&self, record: &Record, events: &mut Vec<Event>) {
        let rule = record.rule().filter(|rule| rule.object.is_some()).map(|rule| rule.to_string().into());
        let from = (Some(&record.from), record.from.address);
        let head = head(&self.flow, record.sequence, record.time, from, (&record.node, rule));
        let traffic = record.traffic.unwrap_or_default();
        let access = Access {
            kind: record.kind,
            from_node: record.from.kind == observe::EndKind::Node,
            to: Party::from(&record.to),
            name: record.to.names.first().map(policy::DnsName::as_str),
            port: record.port,
            protocol: record.protocol.0,
            bytes: (traffic.bytes_sent, traffic.bytes_received),
            duration: traffic.duration_micros.unwrap_or(0),
            about: record.about,
        };
        own::access(&head, &access, events);
    }

    fn lookup(&self, lookup: &Lookup, events: &mut Vec<Event>) {
        let query = &lookup.query;
        let from = (lookup.from.as_ref(), query.pod);
        let head = head(&self.dns, lookup.sequence, query.time, from, (&lookup.node, query.rule.clone()));
        let question = Question {
            name: &query.name,
            kind: query.kind.0,
            is_denied: query.verdict == dns::Verdict::Deny,
            is_rebinding: query.reason == dns::Reason::Rebinding,
            rcode: Some(query.rcode.0),
            addresses: &query.addresses,
            alias_bytes: query.aliases.iter().map(|alias| alias.len()).sum(),
        };
        own::question(&head, &question, events);
    }

    fn passage(&self, passage: &Passage, events: &mut Vec<Event>) {
        let record = &passage.record;
        let from = (passage.from.as_ref(), record.pod.ip());
        let rule = record.rule.clone().or_else(|| record.nearest.clone());
        let head = head(&self.tls, passage.sequence, record.time, from, (&passage.node, rule));
        let held = Held {
            is_denied: record.verdict == policy::Verdict::Deny,
            reason: record.reason.as_str(),
            destination: record.destination,
            name: record.claim.name.as_deref(),
            bytes: (record.bytes_up, record.bytes_down),
            duration: record.duration_micros,
            // To the kernel a connection by the explicit proxy is one to the proxy.
            is_told_by_kernel: record.explicit.is_none(),
        };
        own::held(&head, &held, events);
    }

    fn call(&self, record: &ApiCall, events: &mut Vec<Event>) {
        let call = &record.call;
        let from = (record.from.as_ref(), call.pod.ip());
        let rule = call.rule.clone().or_else(|| call.nearest.clone());
        let head = head(&self.ai_call, record.sequence, call.time, from, (&record.node, rule));
        own::call(&head, seen_of(call), events);
    }

    fn spent(&self, spent: &Spent, events: &mut Vec<Event>) {
        let Spent { time, node, pod, from, rule, reached } = spent;
        let pod = Arc::<str>::from(format!("{}/{}", pod.0, pod.1));
        let who = from.as_ref().map_or_else(|| Arc::clone(&pod), |from| Party::from(from).word());
        let scene = Scene { node: Some(Arc::clone(node)), pod: Some(pod), rule: Some(Arc::clone(rule)) };
        // A budget has no record: its number is the time.
        let record = RecordId { source: Arc::clone(&self.budget), number: time.0 };
        own::reached(&Head { time: *time, who, record, scene }, reached.clone(), events);
    }
}

fn head(
    kind: &Arc<str>,
    number: u64,
    time: Time,
    (from, address): (Option<&End>, IpAddr),
    (node, rule): (&Arc<str>, Option<Arc<str>>),
) -> Head {
    let party = from.map(Party::from);
    let who = party.map_or_else(|| address.to_string().into(), |party| party.word());
    let pod = party.and_then(|party| party.pod());
    let scene = Scene { node: Some(Arc::clone(node)), pod, rule };
    Head { time, who, record: RecordId { source: Arc::clone(kind), number }, scene }
}

/// What detectors look at of a request.
fn seen_of(call: &gateway::Call) -> Call {
    let operation = &call.operation;
    let leaks = call.leaks.iter().map(|leak| Found {
        rule: Arc::from(&*leak.rule),
        what: Arc::from(&*leak.layer),
        place: Carrier::Request,
        fate: match (leak.blocked, leak.masked) {
            (true, _) => Fate::Blocked,
            (false, true) => Fate::Masked,
            (false, false) => Fate::Told,
        },
    });
    let files = call.answers.iter().map(|fact| Found {
        rule: Arc::from(&*fact.rule),
        what: clean_text(&fact.what),
        place: Carrier::File,
        fate: if fact.blocked { Fate::Blocked } else { Fate::Told },
    });
    let tokens = |of: fn(&gateway::Usage) -> Option<u64>| call.usage.as_ref().and_then(of).unwrap_or(0);
    Call {
        service: call.name.as_str().into(),
        verb: operation.verb.as_str().into(),
        subject: operation.model.as_deref().or(operation.resource.as_deref()).map(clean_text),
        allowed: call.verdict == policy::Verdict::Allow,
        reason: call.reason.as_str().into(),
        input_tokens: tokens(|usage| usage.input_tokens),
        output_tokens: tokens(|usage| usage.output_tokens),
        cost_nanos: call.cost.map_or(0, |cost| cost.nanos),
        sent: call.bytes_up,
        received: call.bytes_down,
        keys: operation.credentials.iter().map(|key| key.to_string().into()).collect(),
        body: call.request_sha256.as_deref().map(Arc::from),
        found: leaks.chain(files).collect(),
        is_suspicious: false,
        asks: None,
    }
}

/// Records for tests.
#[cfg(test)]
pub(crate) mod example {
    use super::*;
    use observe::{EndKind, Kind, Traffic};
    use policy::{Direction, Generation, Protocol, Reason, Verdict, WorkloadRef};

    /// A pod of a Deployment `web`.
    pub(crate) fn pod(namespace: &str, app: &str) -> End {
        End {
            kind: EndKind::Pod,
            namespace: Some(namespace.into()),
            name: Some("pod".into()),
            workload: Some(WorkloadRef { kind: "Deployment".into(), name: "web".into() }),
            labels: Arc::new([("app".into(), app.into())].into()),
            ..outside([10, 0, 0, 1])
        }
    }

    /// An address outside.
    pub(crate) fn outside(address: [u8; 4]) -> End {
        End {
            kind: EndKind::Outside,
            namespace: None,
            name: None,
            address: address.into(),
            port: 0,
            workload: None,
            labels: Arc::default(),
            names: Arc::default(),
        }
    }

    /// A connection to port 443.
    pub(crate) fn flow(time: Time, from: &End, to: &End, kind: Kind) -> Record {
        Record {
            sequence: 0,
            time,
            kind,
            verdict: if kind == Kind::Deny { Verdict::Deny } else { Verdict::Allow },
            node: "a".into(),
            generation: Generation(1),
            connection: None,
            from: from.clone(),
            to: to.clone(),
            protocol: Protocol::TCP,
            port: 443,
            reason: Reason::NoPolicy,
            deciding: Direction::Egress,
            egress: None,
            ingress: None,
            traffic: (kind == Kind::Close).then(Traffic::default),
            about: None,
            suppressed: 0,
            shadow: None,
        }
    }
}
