//! One record for each connection, whatever becomes of it.
//!
//! JSON, one object per record: `time` (accepted), `pod`, `destination` (address and port), `claim` (`kind`: `tls`,
//! `http`, `opaque`, `none`, `connect` of the central gateway; `name`, `alpn`, `ech`, `method`, `flaw` where they apply), `verdict`, `reason`, `rule`,
//! `nearest`, `generation`, `bytes_up`, `bytes_down`, `duration_micros`, `end`; `via` and `asked_by` where they apply;
//! `explicit` (of those by the explicit proxy: `method`, `asked`, `request_id`).
//! Guarantees: a guard emits it when the connection goes, so a connection whose task is cancelled has one as well.
//! Does not: hold what was said over the connection, except the name it is for.

use crate::call::{Call, request_id};
use crate::capture::Content;
use crate::counters::{Counters, add};
use crate::decide::{Claim, Judgement, Unreadable};
use crate::reason::{End, Reason};
use crate::uploads::Reached;
use ::inspect::http_head::Host;
use observe::Time;
use policy::{DnsName, Generation, Verdict};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};
use tokio::sync::watch;

/// Longest text of a client's that is kept in a record.
const MAX_TEXT: usize = 64;
/// Most protocols of a hello that are kept in a record.
const MAX_ALPN: usize = 8;

/// What a connection claimed, as records show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `tls`, `http`, `opaque`, `none` or `connect`.
    pub kind: String,
    /// For whom it said it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Protocols that a hello offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// Whether a hello may hide another name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ech: bool,
    /// Method of an HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flaw: Option<String>,
}

impl From<&Claim> for Facts {
    fn from(claim: &Claim) -> Self {
        let of = |kind: &str| Self { kind: kind.into(), ..Self::default() };
        let cut = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
        match claim {
            Claim::Tls(hello) => Self {
                name: hello.sni.as_ref().map(ToString::to_string),
                alpn: hello.alpn.iter().take(MAX_ALPN).map(|name| cut(name)).collect(),
                ech: hello.ech,
                ..of("tls")
            },
            Claim::Http { host, method } => {
                Self { name: Some(host.to_string()), method: Some(cut(method)), ..of("http") }
            }
            Claim::Opaque => of("opaque"),
            Claim::Unreadable(Unreadable::Tls(flaw)) => Self { flaw: Some(flaw.to_string()), ..of("tls") },
            Claim::Unreadable(Unreadable::TlsTooLarge) => of("tls"),
            Claim::Unreadable(Unreadable::Http(flaw)) => Self { flaw: Some(flaw.to_string()), ..of("http") },
            Claim::Unreadable(Unreadable::Timeout | Unreadable::Incomplete) => of("none"),
        }
    }
}

/// One connection, when it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it was accepted.
    pub time: Time,
    /// Who opened it.
    pub pod: SocketAddr,
    /// Where it was going.
    pub destination: SocketAddr,
    /// For whom it said it is.
    pub claim: Facts,
    /// Allow, or deny also where it was cut later.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The rule that let it in, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// Of what was refused, the first rule that allows something at its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Arc<str>>,
    /// State of policy that judged it; 0 where none was asked.
    pub generation: Generation,
    /// Bytes forwarded from the pod to the server.
    pub bytes_up: u64,
    /// Bytes forwarded from the server to the pod.
    pub bytes_down: u64,
    /// From accepted to ended.
    pub duration_micros: u64,
    /// How it ended.
    pub end: End,
    /// The replica of the central gateway that it went through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<SocketAddr>,
    /// Of the central gateway's records: the node that asked for it, or the id in the certificate of who came by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<Arc<str>>,
    /// Of a connection by the explicit proxy, what it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explicit: Option<Box<Explicit>>,
}

/// What the explicit proxy was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explicit {
    /// `CONNECT`, or the method of a request; empty where none could be read.
    pub method: String,
    /// Host and port; empty where none could be read. The client's text, as it was understood.
    pub asked: String,
    /// The same as in a refusal that the client was told.
    pub request_id: String,
}

/// Where records go. Must not block: what finds no room is counted by the caller's [`Counters`].
pub trait Sink: Send + Sync {
    /// Takes a record; false if there was no room.
    fn take(&self, record: Record) -> bool;

    /// Takes what became of a request; false if there was no room.
    fn call(&self, _call: Call) -> bool {
        true
    }

    /// Takes what was kept of a request; false if there was no room.
    fn content(&self, _content: Content) -> bool {
        true
    }

    /// Takes that a workload which comes by itself used up the upload of its rule. Once for each hour or day.
    fn reached(&self, _reached: Reached) {}
}

/// Bytes forwarded, counted while a connection is open.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) up: AtomicU64,
    pub(crate) down: AtomicU64,
}

impl Traffic {
    pub(crate) fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    pub(crate) fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }
}

/// The record of a connection under way. Emits it when dropped, once.
#[must_use]
pub(crate) struct Guard {
    sink: Arc<dyn Sink>,
    counters: Arc<Counters>,
    accepted: Instant,
    record: Record,
    pub(crate) traffic: Arc<Traffic>,
    over: Option<Over>,
}

/// Says why somebody's connections must end, once they must.
pub(crate) type Over = watch::Receiver<Option<Reason>>;

impl Guard {
    pub(crate) fn new(
        sink: Arc<dyn Sink>,
        counters: Arc<Counters>,
        pod: SocketAddr,
        destination: SocketAddr,
    ) -> Self {
        add(&counters.open, 1);
        let record = Record {
            time: SystemTime::now().into(),
            pod,
            destination,
            claim: Facts { kind: "none".into(), ..Facts::default() },
            verdict: Verdict::Deny,
            reason: Reason::NotJudged,
            rule: None,
            nearest: None,
            generation: Generation::default(),
            bytes_up: 0,
            bytes_down: 0,
            duration_micros: 0,
            end: End::Cancelled,
            via: None,
            asked_by: None,
            explicit: None,
        };
        Self { sink, counters, accepted: Instant::now(), record, traffic: Arc::default(), over: None }
    }

    /// Who opened it.
    pub(crate) fn pod(&self) -> SocketAddr {
        self.record.pod
    }

    /// It is forwarded by a replica of the central gateway.
    pub(crate) fn went_by(&mut self, replica: SocketAddr) {
        self.record.via = Some(replica);
    }

    /// A node asks for it, by these names.
    pub(crate) fn asked_by(&mut self, node: Arc<str>, names: &[DnsName]) {
        let name = names.first().map(ToString::to_string);
        self.record.claim = Facts { kind: "connect".into(), name, ..Facts::default() };
        self.record.asked_by = Some(node);
    }

    /// Who opened it showed this id, which is good until `over` says otherwise.
    pub(crate) fn presented(&mut self, id: Option<Arc<str>>, over: Over) {
        self.record.asked_by = id;
        self.over = Some(over);
    }

    /// Who asked the central gateway for it.
    pub(crate) fn asker(&self) -> Option<Arc<str>> {
        self.record.asked_by.clone()
    }

    /// Returns when it must end for who opened it.
    pub(crate) fn over(&self) -> impl Future<Output = Reason> + use<> {
        let over = self.over.clone();
        async move {
            if let Some(mut over) = over
                && let Ok(reason) = over.wait_for(Option::is_some).await
                && let Some(reason) = *reason
            {
                return reason;
            }
            // Whoever would say it is gone, or nobody would.
            std::future::pending().await
        }
    }

    pub(crate) fn claims(&mut self, claim: &Claim) {
        self.record.claim = claim.into();
    }

    pub(crate) fn judged(&mut self, judgement: &Judgement) {
        self.record.rule.clone_from(&judgement.rule);
        self.record.nearest.clone_from(&judgement.nearest);
        self.record.generation = judgement.generation;
        self.refused(judgement.reason);
    }

    /// A later reason takes the place of the one before; the rule stays, for it is the one that let it in.
    pub(crate) fn refused(&mut self, reason: Reason) {
        self.record.reason = reason;
        self.record.verdict = reason.verdict();
    }

    pub(crate) fn ended(&mut self, end: End) {
        self.record.end = end;
    }

    /// It came by the explicit proxy; the number by which a client is told of it.
    pub(crate) fn explicit(&mut self) -> String {
        let request_id = request_id(self.record.time);
        let explicit = Explicit { request_id: request_id.clone(), ..Explicit::default() };
        self.record.explicit = Some(Box::new(explicit));
        request_id
    }

    /// Whether it came by the explicit proxy.
    pub(crate) fn is_explicit(&self) -> bool {
        self.record.explicit.is_some()
    }

    /// What it asked for.
    pub(crate) fn asked(&mut self, method: &str, host: &Host, port: u16) {
        if let Some(explicit) = &mut self.record.explicit {
            explicit.method = method.to_owned();
            explicit.asked = match host {
                Host::Address(IpAddr::V6(address)) => format!("[{address}]:{port}"),
                Host::Address(_) | Host::Name(_) => format!("{host}:{port}"),
            };
        }
    }

    /// Where it was found to go.
    pub(crate) fn goes_to(&mut self, destination: SocketAddr) {
        self.record.destination = destination;
    }

    /// A rule behind its refusal that is no rule of its address.
    pub(crate) fn near_to(&mut self, rule: Option<Arc<str>>) {
        if rule.is_some() {
            self.record.nearest = rule;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut record = self.record.clone();
        record.bytes_up = self.traffic.up();
        record.bytes_down = self.traffic.down();
        record.duration_micros = u64::try_from(self.accepted.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.open.fetch_sub(1, Ordering::Relaxed);
        self.counters.ended(record.reason, record.end);
        add(&self.counters.bytes_up, record.bytes_up);
        add(&self.counters.bytes_down, record.bytes_down);
        if !self.sink.take(record) {
            add(&self.counters.records_lost, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Has room for one.
    #[derive(Default)]
    struct Small(Mutex<Vec<Record>>);

    impl Sink for Small {
        fn take(&self, record: Record) -> bool {
            let mut kept = self.0.lock().unwrap();
            let room = kept.is_empty();
            kept.extend(room.then_some(record));
            room
        }
    }

    #[test]
    fn each_guard_gives_one_record_and_those_without_room_are_counted() {
        let (sink, counters) = (Arc::new(Small::default()), Arc::new(Counters::new()));
        let address = SocketAddr::from(([10, 0, 0, 1], 443));
        for _ in 0..3 {
            let guard = Guard::new(sink.clone(), counters.clone(), address, address);
            add(&guard.traffic.up, 5);
            assert_eq!(counters.read().open, 1);
        }
        let kept = sink.0.lock().unwrap();
        assert_eq!((kept.len(), kept[0].reason, kept[0].end), (1, Reason::NotJudged, End::Cancelled));
        let counts = counters.read();
        assert_eq!((counts.open, counts.records_lost, counts.bytes_up), (0, 2, 15));
        assert_eq!(counts.reasons[&Reason::NotJudged], 3);
        let json = serde_json::to_string(&kept[0]).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), kept[0]);
    }
}
