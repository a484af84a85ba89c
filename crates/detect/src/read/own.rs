//! Our own records, as `cofferdam flows`, `dns`, `connections` and `calls` print them with `--json`. Fields that are not needed here may be
//! there or not, so records of later releases are read as well.

use crate::event::{Call, Event, Flow, Lookup, Phase, Place, RecordId, Sign, What, clean_name};
use observe::{About, EndKind, Time};
use policy::{Credential, Protocol};
use serde::Deserialize;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Fields of all kinds of records; which are there says which kind it is.
#[derive(Deserialize)]
struct Row<'a> {
    time: Option<Time>,
    #[serde(default, borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    from: Option<End<'a>>,
    #[serde(default, borrow)]
    to: Option<End<'a>>,
    #[serde(default)]
    protocol: Option<Protocol>,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    traffic: Option<Traffic>,
    #[serde(default)]
    about: Option<About>,
    #[serde(default, borrow)]
    pod: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(default, borrow, rename = "type")]
    asked: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    verdict: Cow<'a, str>,
    #[serde(default, borrow)]
    reason: Cow<'a, str>,
    #[serde(default, borrow)]
    rcode: Option<Cow<'a, str>>,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    #[serde(default, borrow)]
    aliases: Vec<Cow<'a, str>>,
    #[serde(default, borrow)]
    claim: Option<Claim<'a>>,
    #[serde(default)]
    destination: Option<SocketAddr>,
    #[serde(default, borrow)]
    operation: Option<Operation<'a>>,
    #[serde(default, borrow)]
    lacks: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    cost: Option<Cost>,
    #[serde(default)]
    bytes_up: u64,
    #[serde(default)]
    bytes_down: u64,
    #[serde(default)]
    duration_micros: u64,
    #[serde(default, borrow)]
    request_sha256: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    leaks: Vec<Found<'a>>,
    #[serde(default, borrow)]
    answers: Vec<Found<'a>>,
    #[serde(default)]
    missed: Option<u64>,
    #[serde(default)]
    client: Option<SocketAddr>,
    #[serde(default, borrow)]
    consumer: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    host: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    guard: Option<Guard<'a>>,
    #[serde(default)]
    status: u16,
}

/// How lines of gateways that run by themselves begin.
const WRAPPED: [&str; 3] = ["{\"request\":", "{\"central\":", "{\"note\":"];

/// What gateways that run by themselves print: a record in a field that says what it is.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(default, borrow, alias = "central")]
    request: Option<Row<'a>>,
    #[serde(default)]
    note: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Guard<'a> {
    #[serde(borrow)]
    band: Cow<'a, str>,
}

#[derive(Deserialize)]
struct End<'a> {
    kind: EndKind,
    #[serde(default, borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
    address: IpAddr,
    #[serde(default, borrow)]
    workload: Option<Workload<'a>>,
    #[serde(default, borrow)]
    names: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Workload<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Traffic {
    bytes_sent: u64,
    bytes_received: u64,
    #[serde(default)]
    duration_micros: Option<u64>,
}

#[derive(Deserialize)]
struct Claim<'a> {
    #[serde(default, borrow)]
    name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Operation<'a> {
    #[serde(borrow)]
    verb: Cow<'a, str>,
    #[serde(default, borrow)]
    resource: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    credentials: Vec<Credential>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default, alias = "input")]
    input_tokens: Option<u64>,
    #[serde(default, alias = "output")]
    output_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Cost {
    nanos: u64,
}

/// With what else is known, or by its rule alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Found<'a> {
    Fact {
        #[serde(borrow)]
        rule: Cow<'a, str>,
    },
    #[serde(borrow)]
    Rule(Cow<'a, str>),
}

impl Found<'_> {
    fn rule(&self) -> Arc<str> {
        match self {
            Self::Fact { rule } | Self::Rule(rule) => Arc::from(&**rule),
        }
    }
}

pub(super) fn read(line: &str, record: &RecordId, events: &mut Vec<Event>) -> Result<(), String> {
    let told = |error: serde_json::Error| format!("not a record of cofferdam: {error}");
    let is_wrapped = WRAPPED.iter().any(|begin| line.starts_with(begin));
    let row: Row<'_> = if is_wrapped {
        let wrapped: Wrapped<'_> = serde_json::from_str(line).map_err(told)?;
        match (wrapped.request, wrapped.note) {
            (Some(row), _) => row,
            (None, Some(_)) => return Ok(()),
            (None, None) => return Err("not a record of cofferdam: the field that holds it is empty".into()),
        }
    } else {
        serde_json::from_str(line).map_err(told)?
    };
    if row.missed.is_some() {
        return Ok(());
    }
    let Some(time) = row.time else { return Err("not a record of cofferdam: it has no time".into()) };
    let Some(who) = row.who() else {
        return Err("not a record of cofferdam: it does not say from whom it is".into());
    };
    let mut push = |what| events.push(Event { time, who: Arc::clone(&who), record: record.clone(), what });
    if row.operation.is_some() {
        push(What::Call(Box::new(call(&row))));
    } else if row.asked.is_some() {
        push(What::Lookup(lookup(&row)));
        if row.reason == "rebinding" {
            push(What::Sign(Sign::Rebinding));
        }
    } else if row.claim.is_some() {
        push(What::Flow(passage(&row)?));
        if let Some(sign) = passage_sign(&row.reason) {
            push(What::Sign(sign));
        }
    } else {
        push(What::Flow(flow(&row)?));
        if let Some(about) = row.about {
            push(What::Sign(sign(about)));
        }
    }
    Ok(())
}

impl Row<'_> {
    fn who(&self) -> Option<Arc<str>> {
        let Some(end) = &self.from else {
            if let Some(client) = self.client {
                return Some(
                    self.consumer.as_deref().map_or_else(|| client.ip().to_string().into(), Arc::from),
                );
            }
            let pod = self.pod.as_deref()?;
            // Connections have the port of the pod as well, queries do not.
            return Some(
                pod.parse::<SocketAddr>().map_or_else(|_| pod.into(), |pod| pod.ip().to_string().into()),
            );
        };
        Some(end.who())
    }
}

impl End<'_> {
    fn who(&self) -> Arc<str> {
        let name = self.workload.as_ref().map(|workload| &workload.name).or(self.name.as_ref());
        match (self.kind, &self.namespace, name) {
            (EndKind::Pod, Some(namespace), Some(name)) => format!("{namespace}/{name}").into(),
            (EndKind::Node, _, Some(name)) => format!("node {name}").into(),
            (EndKind::Pod | EndKind::Node | EndKind::Outside, _, _) => self.address.to_string().into(),
        }
    }

    fn place(&self) -> Place {
        match self.kind {
            EndKind::Pod | EndKind::Node => Place::Inside,
            EndKind::Outside => Place::Outside,
        }
    }
}

fn lookup(row: &Row<'_>) -> Lookup {
    let answers = row.addresses.iter().map(|address| if address.is_ipv4() { 4 } else { 16 }).sum::<usize>()
        + row.aliases.iter().map(|alias| alias.len()).sum::<usize>();
    Lookup {
        name: clean_name(row.name.as_deref().unwrap_or_default().as_bytes()),
        kind: kind(row.asked.as_deref().unwrap_or_default()),
        // What was refused by policy says nothing of whether the name exists, and was still asked for.
        rcode: (row.verdict != "deny").then(|| rcode(row.rcode.as_deref().unwrap_or_default())).flatten(),
        answer_bytes: u32::try_from(answers).unwrap_or(u32::MAX),
    }
}

/// Types that detectors tell apart; for them, any other is one that carries data.
fn kind(name: &str) -> u16 {
    match name {
        "A" => 1,
        "NS" => 2,
        "CNAME" => 5,
        "SOA" => 6,
        "NULL" => 10,
        "PTR" => 12,
        "MX" => 15,
        "TXT" => 16,
        "AAAA" => 28,
        "SRV" => 33,
        "SVCB" => 64,
        "HTTPS" => 65,
        "DS" => 43,
        "DNSKEY" => 48,
        other => other.strip_prefix("TYPE").and_then(|number| number.parse().ok()).unwrap_or(u16::MAX),
    }
}

fn rcode(name: &str) -> Option<u16> {
    match name {
        "NOERROR" => Some(0),
        "FORMERR" => Some(1),
        "SERVFAIL" => Some(2),
        "NXDOMAIN" => Some(3),
        "NOTIMP" => Some(4),
        "REFUSED" => Some(5),
        other => other.strip_prefix("RCODE").and_then(|number| number.parse().ok()),
    }
}

fn flow(row: &Row<'_>) -> Result<Flow, String> {
    let Some(to) = &row.to else {
        return Err("not a record of cofferdam: it does not say to whom it is".into());
    };
    let phase = match row.kind.as_deref() {
        Some("open") => Phase::Open,
        Some("close") => Phase::Close,
        Some("deny") => Phase::Failed,
        Some(_) | None => return Err("not a record of cofferdam: kind is none of open, close, deny".into()),
    };
    let traffic = row.traffic.as_ref();
    let name = match to.kind {
        EndKind::Pod | EndKind::Node => Some(to.who()),
        EndKind::Outside => to.names.first().map(|name| clean_name(name.as_bytes())),
    };
    Ok(Flow {
        phase,
        from_node: row.from.as_ref().is_some_and(|from| from.kind == EndKind::Node),
        address: to.address,
        name,
        place: to.place(),
        port: row.port,
        protocol: row.protocol.map_or(0, |protocol| protocol.0),
        sent: traffic.map_or(0, |traffic| traffic.bytes_sent),
        received: traffic.map_or(0, |traffic| traffic.bytes_received),
        duration: traffic.and_then(|traffic| traffic.duration_micros).unwrap_or(0),
    })
}

/// A connection that the gateway let through or not; it tells of it when it ended, with the time when it began.
fn passage(row: &Row<'_>) -> Result<Flow, String> {
    let Some(destination) = row.destination else {
        return Err("not a record of cofferdam: it has no destination".into());
    };
    Ok(Flow {
        phase: if row.verdict == "deny" { Phase::Failed } else { Phase::Whole },
        from_node: false,
        address: destination.ip(),
        name: row
            .claim
            .as_ref()
            .and_then(|claim| claim.name.as_ref())
            .map(|name| clean_name(name.as_bytes())),
        place: Place::Outside,
        port: destination.port(),
        protocol: 6,
        sent: row.bytes_up,
        received: row.bytes_down,
        duration: row.duration_micros,
    })
}

fn call(row: &Row<'_>) -> Call {
    let text = |text: &Cow<'_, str>| Arc::<str>::from(&**text);
    let operation = row.operation.as_ref();
    let keys = operation.map(|operation| &*operation.credentials).unwrap_or_default();
    let is_suspicious = row.guard.as_ref().is_some_and(|guard| guard.band != "allow");
    let said = is_suspicious.then(|| Arc::from("prompt-guard"));
    Call {
        service: row.name.as_ref().or(row.host.as_ref()).map(text).unwrap_or_default(),
        verb: operation.map(|operation| text(&operation.verb)).unwrap_or_default(),
        subject: operation.and_then(|it| it.model.as_ref().or(it.resource.as_ref())).map(text),
        // The ingress gateway says only how it answered.
        allowed: row.verdict == "allow" || (row.client.is_some() && (200..400).contains(&row.status)),
        reason: text(&row.reason),
        lacks: row.lacks.as_ref().map(text),
        input_tokens: row.usage.as_ref().and_then(|usage| usage.input_tokens).unwrap_or(0),
        output_tokens: row.usage.as_ref().and_then(|usage| usage.output_tokens).unwrap_or(0),
        cost_nanos: row.cost.as_ref().map_or(0, |cost| cost.nanos),
        sent: row.bytes_up,
        received: row.bytes_down,
        keys: keys.iter().map(|key| key.to_string().into()).collect(),
        body: row.request_sha256.as_ref().map(text),
        found: row.leaks.iter().chain(&row.answers).map(Found::rule).chain(said).collect(),
    }
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
fn passage_sign(reason: &str) -> Option<Sign> {
    match reason {
        "name-mismatch" | "host-mismatch" | "later-host" | "second-hello" | "certificate-name" => {
            Some(Sign::OtherName)
        }
        "encrypted-hello" | "opaque" | "not-tls" | "http-tunnel" | "quic" | "no-name" => Some(Sign::Hidden),
        "not-resolved" => Some(Sign::NotResolved),
        _ => None,
    }
}
