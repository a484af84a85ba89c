//! Our own records, as `cofferdam flows`, `dns`, `connections`, `calls` and `ledger show` print them with `--json`. Fields that are not needed here may be
//! there or not, so records of later releases are read as well.

use crate::event::{
    self, Asks, Call, Carrier, Event, Fate, RecordId, Scene, Tool, clean_name, clean_text, is_refusal,
};
use crate::own::{self, Access, Head, Held, Party, Question};
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
    rcode: Option<Code<'a>>,
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
    usage: Option<Usage<'a>>,
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
    #[serde(default, borrow)]
    probe: Option<Probe<'a>>,
    #[serde(default)]
    status: u16,
    #[serde(default, borrow)]
    node: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    rule: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    nearest: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    tools: Vec<Listed<'a>>,
}

/// A tool that a server of MCP lists.
#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    sha256: Cow<'a, str>,
    #[serde(default, borrow)]
    standing: Cow<'a, str>,
    #[serde(default)]
    is_quarantined: bool,
}

/// How lines of gateways that run by themselves begin.
const WRAPPED: [&str; 4] = ["{\"request\":", "{\"central\":", "{\"note\":", "{\"finding\":"];

/// What gateways that run by themselves print: a record in a field that says what it is.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(default, borrow, alias = "central")]
    request: Option<Row<'a>>,
    #[serde(default, alias = "finding")]
    note: Option<serde::de::IgnoredAny>,
}

/// Fields that say that a line is an entry of a ledger, which has the record in its detail.
const IN_A_LEDGER: [&str; 3] = ["\"detail\":", "\"count\":", "\"bytes_received\":"];

/// An entry of a ledger, as `cofferdam ledger show` and what is exported have it.
#[derive(Deserialize)]
struct Kept<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    node: Option<Cow<'a, str>>,
    #[serde(default)]
    detail: Option<serde_json::Value>,
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
    #[serde(default, borrow)]
    kind: Cow<'a, str>,
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
struct Usage<'a> {
    #[serde(default, alias = "input")]
    input_tokens: Option<u64>,
    #[serde(default, alias = "output")]
    output_tokens: Option<u64>,
    #[serde(default, borrow)]
    finish: Vec<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Probe<'a> {
    logprobs: u64,
    choices: u64,
    is_greedy: bool,
    texts: u64,
    #[serde(default, borrow)]
    question: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    template: Option<Cow<'a, str>>,
}

impl Probe<'_> {
    fn asks(&self) -> Asks {
        Asks {
            is_likelihood_wanted: self.logprobs > 0,
            choices: self.choices,
            is_greedy: self.is_greedy,
            texts: self.texts,
            template: self.template.as_deref().map(Arc::from),
            is_refused: false,
        }
    }
}

#[derive(Deserialize)]
struct Cost {
    nanos: u64,
}

/// What DNS answered: as records have it, or by its name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Code<'a> {
    Number(u16),
    #[serde(borrow)]
    Name(Cow<'a, str>),
}

/// With what else is known, or by its rule alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Found<'a> {
    Fact {
        #[serde(borrow)]
        rule: Cow<'a, str>,
        #[serde(default, borrow)]
        layer: Option<Cow<'a, str>>,
        #[serde(default, borrow)]
        what: Option<Cow<'a, str>>,
        #[serde(default)]
        blocked: bool,
        #[serde(default)]
        masked: bool,
        #[serde(default, borrow)]
        action: Option<Cow<'a, str>>,
    },
    #[serde(borrow)]
    Rule(Cow<'a, str>),
}

impl Found<'_> {
    fn found(&self, place: Carrier) -> event::Found {
        let (rule, what, fate) = match self {
            Self::Rule(rule) => (rule, "", Fate::Told),
            Self::Fact { rule, layer, what, blocked, masked, action } => {
                let fate = match (*blocked, *masked, action.as_deref()) {
                    (true, _, _) | (_, _, Some("blocked")) => Fate::Blocked,
                    (false, true, _) | (_, _, Some("masked")) => Fate::Masked,
                    (false, false, _) => Fate::Told,
                };
                (rule, layer.as_deref().or(what.as_deref()).unwrap_or_default(), fate)
            }
        };
        event::Found { rule: clean_text(rule), what: clean_text(what), place, fate }
    }
}

pub(super) fn read(line: &str, record: &RecordId, events: &mut Vec<Event>) -> Result<(), String> {
    let told = |error: serde_json::Error| format!("not a record of cofferdam: {error}");
    if IN_A_LEDGER.iter().all(|field| line.contains(field)) {
        let entry: Kept<'_> = serde_json::from_str(line).map_err(told)?;
        return kept(&entry, record, events);
    }
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
    take(&row, record, events)
}

/// The record of an entry. What was summed up has none, and findings and what people did are none.
fn kept(entry: &Kept<'_>, record: &RecordId, events: &mut Vec<Event>) -> Result<(), String> {
    let is_traffic = matches!(&*entry.kind, "flow" | "dns" | "tls" | "ai_call");
    let Some(detail) = entry.detail.as_ref().filter(|_| is_traffic) else { return Ok(()) };
    let row =
        Row::deserialize(detail).map_err(|error| format!("not an entry of a ledger: detail: {error}"))?;
    let before = events.len();
    take(&row, record, events)?;
    let node = entry.node.as_deref().filter(|node| !node.is_empty());
    for event in events.iter_mut().skip(before) {
        if event.scene.node.is_none() {
            event.scene.node = node.map(Arc::from);
        }
    }
    Ok(())
}

fn take(row: &Row<'_>, record: &RecordId, events: &mut Vec<Event>) -> Result<(), String> {
    if row.missed.is_some() {
        return Ok(());
    }
    let Some(head) = row.head(record)? else {
        return Err("not a record of cofferdam: it does not say from whom it is".into());
    };
    if row.operation.is_some() {
        own::call(&head, call(row), events);
        row.tools.iter().for_each(|listed| own::tool(&head, tool(row, listed), events));
    } else if row.asked.is_some() {
        question(row, &head, events);
    } else if row.claim.is_some() {
        held(row, &head, events)?;
    } else {
        access(row, &head, events)?;
    }
    Ok(())
}

impl Row<'_> {
    /// `None`: it does not say who it was.
    fn head(&self, record: &RecordId) -> Result<Option<Head>, String> {
        let Some(time) = self.time else { return Err("not a record of cofferdam: it has no time".into()) };
        let Some(who) = self.who() else { return Ok(None) };
        let scene = Scene {
            node: self.node.as_deref().map(Arc::from),
            pod: self.from.as_ref().and_then(|from| from.party().pod()),
            rule: self.rule.as_deref().or(self.nearest.as_deref()).map(Arc::from),
        };
        Ok(Some(Head { time, who, record: record.clone(), scene }))
    }

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
        Some(end.party().word())
    }
}

impl End<'_> {
    fn party(&self) -> Party<'_> {
        Party {
            kind: self.kind,
            namespace: self.namespace.as_deref(),
            name: self.name.as_deref(),
            workload: self.workload.as_ref().map(|workload| (&*workload.kind, &*workload.name)),
            address: self.address,
        }
    }
}

fn question(row: &Row<'_>, head: &Head, events: &mut Vec<Event>) {
    let asked = Question {
        name: row.name.as_deref().unwrap_or_default(),
        kind: kind(row.asked.as_deref().unwrap_or_default()),
        is_denied: row.verdict == "deny",
        is_rebinding: row.reason == "rebinding",
        rcode: row.rcode.as_ref().and_then(rcode),
        addresses: &row.addresses,
        alias_bytes: row.aliases.iter().map(|alias| alias.len()).sum(),
    };
    own::question(head, &asked, events);
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

fn rcode(code: &Code<'_>) -> Option<u16> {
    let name = match code {
        Code::Number(number) => return Some(*number),
        Code::Name(name) => name,
    };
    match &**name {
        "NOERROR" => Some(0),
        "FORMERR" => Some(1),
        "SERVFAIL" => Some(2),
        "NXDOMAIN" => Some(3),
        "NOTIMP" => Some(4),
        "REFUSED" => Some(5),
        other => other.strip_prefix("RCODE").and_then(|number| number.parse().ok()),
    }
}

fn access(row: &Row<'_>, head: &Head, events: &mut Vec<Event>) -> Result<(), String> {
    let Some(to) = &row.to else {
        return Err("not a record of cofferdam: it does not say to whom it is".into());
    };
    let kind = match row.kind.as_deref() {
        Some("open") => observe::Kind::Open,
        Some("close") => observe::Kind::Close,
        Some("deny") => observe::Kind::Deny,
        Some(_) | None => return Err("not a record of cofferdam: kind is none of open, close, deny".into()),
    };
    let traffic = row.traffic.as_ref();
    let access = Access {
        kind,
        from_node: row.from.as_ref().is_some_and(|from| from.kind == EndKind::Node),
        to: to.party(),
        name: to.names.first().map(|name| &**name),
        port: row.port,
        protocol: row.protocol.map_or(0, |protocol| protocol.0),
        bytes: traffic.map_or((0, 0), |traffic| (traffic.bytes_sent, traffic.bytes_received)),
        duration: traffic.and_then(|traffic| traffic.duration_micros).unwrap_or(0),
        about: row.about,
    };
    own::access(head, &access, events);
    Ok(())
}

fn held(row: &Row<'_>, head: &Head, events: &mut Vec<Event>) -> Result<(), String> {
    let Some(destination) = row.destination else {
        return Err("not a record of cofferdam: it has no destination".into());
    };
    let held = Held {
        is_denied: row.verdict == "deny",
        reason: &row.reason,
        destination,
        name: row.claim.as_ref().and_then(|claim| claim.name.as_deref()),
        bytes: (row.bytes_up, row.bytes_down),
        duration: row.duration_micros,
        is_told_by_kernel: false,
    };
    own::held(head, &held, events);
    Ok(())
}

fn call(row: &Row<'_>) -> Call {
    let text = |text: &Cow<'_, str>| Arc::<str>::from(&**text);
    let operation = row.operation.as_ref();
    let keys = operation.map(|operation| &*operation.credentials).unwrap_or_default();
    let carrier = if row.client.is_some() { Carrier::Answer } else { Carrier::Request };
    let leaks = row.leaks.iter().map(|found| found.found(carrier));
    let question = row.probe.as_ref().and_then(|probe| probe.question.as_ref());
    let is_refused = row.usage.as_ref().is_some_and(|usage| usage.finish.iter().any(|word| is_refusal(word)));
    Call {
        service: row.name.as_ref().or(row.host.as_ref()).map(text).unwrap_or_default(),
        verb: operation.map(|operation| text(&operation.verb)).unwrap_or_default(),
        subject: operation.and_then(|it| it.model.as_deref().or(it.resource.as_deref())).map(clean_text),
        // The ingress gateway says only how it answered.
        allowed: row.verdict == "allow" || (row.client.is_some() && (200..400).contains(&row.status)),
        reason: text(&row.reason),
        input_tokens: row.usage.as_ref().and_then(|usage| usage.input_tokens).unwrap_or(0),
        output_tokens: row.usage.as_ref().and_then(|usage| usage.output_tokens).unwrap_or(0),
        cost_nanos: row.cost.as_ref().map_or(0, |cost| cost.nanos),
        sent: row.bytes_up,
        received: row.bytes_down,
        keys: keys.iter().map(|key| key.to_string().into()).collect(),
        body: row.request_sha256.as_ref().or(question).map(text),
        found: leaks.chain(row.answers.iter().map(|found| found.found(Carrier::File))).collect(),
        is_suspicious: row.guard.as_ref().is_some_and(|guard| guard.band != "allow"),
        asks: row.probe.as_ref().map(|probe| Asks { is_refused, ..probe.asks() }),
    }
}

fn tool(row: &Row<'_>, listed: &Listed<'_>) -> Tool {
    Tool {
        server: clean_name(row.host.as_deref().unwrap_or_default().as_bytes()),
        name: clean_text(&listed.name),
        digest: clean_text(&listed.sha256),
        has_changed: listed.standing == "changed",
        is_quarantined: listed.is_quarantined,
    }
}
