//! What pods opened, or tried to, for a controller that judges it by other policies.
//!
//! Enters: what is asked, records. Leaves: how often each access was seen since it was last taken, and how much of what each pod
//! tried failed. Guarantees: bounded, and what finds no room is counted; where nobody asks, a record costs a look at a flag. Does
//! not: judge.

use super::calls::ApiCall;
use super::lookup::Lookup;
use super::passage::Passage;
use dns::Verdict as Answer;
use dns::kind::Rcode;
use feed::access::{Accesses, End, MOST, MOST_TRIED, Rate, Seen, Tried};
use gateway::{End as Ending, Reason};
use observe::{EndKind, Kind, Record};
use policy::{PodName, Protocol, RuleId, Verdict};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was seen since it was taken last.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    is_asked: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    number: u64,
    seen: HashMap<Seen, u64>,
    tried: HashMap<PodName, Tried>,
    lost: u64,
}

impl Held {
    /// Counts what a pod tried. What has no room is lost, as an access is.
    fn tried(&mut self, pod: Option<PodName>, count: impl FnOnce(&mut Tried)) {
        let Some(pod) = pod else { return };
        if self.tried.len() < MOST_TRIED || self.tried.contains_key(&pod) {
            count(self.tried.entry(pod).or_default());
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

impl Sightings {
    fn held(&self) -> MutexGuard<'_, Held> {
        // Counts are worth keeping after a panic elsewhere.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew under a number; 0: ends.
    pub(crate) fn ask(&self, number: u64) {
        *self.held() = Held { number, ..Held::default() };
        self.is_asked.store(number > 0, Ordering::Release);
    }

    fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    /// Takes in a record, where somebody asks.
    pub(crate) fn note(&self, record: &Record) {
        if !self.is_asked() {
            return;
        }
        self.note_end(record);
        if record.kind == Kind::Close {
            return;
        }
        // What comes before all policy comes before every other, too.
        let by = record.rule().map(|rule| rule.rule);
        if matches!(by, Some(RuleId::UNMANAGED | RuleId::UNTRACKED)) {
            return;
        }
        let seen = Seen {
            from: end(&record.from),
            to: end(&record.to),
            protocol: record.protocol,
            port: record.port,
            verdict: record.verdict,
            names: Vec::new(),
            unfollowed: false,
        };
        let count = record.suppressed.saturating_add(1);
        let mut held = self.held();
        if held.seen.len() < MOST || held.seen.contains_key(&seen) {
            let counted = held.seen.entry(seen).or_default();
            *counted = counted.saturating_add(count);
        } else {
            held.lost = held.lost.saturating_add(count);
        }
    }

    /// Counts a connection for each pod at its ends: when it is opened, and when it ends without an answer. One that a rule denies is
    /// told apart, with the rule.
    fn note_end(&self, record: &Record) {
        let is_tried = record.kind == Kind::Open;
        if record.protocol != Protocol::TCP || !(is_tried || is_unanswered(record)) {
            return;
        }
        for end in [&record.from, &record.to] {
            self.held().tried(pod(end), |it| count(&mut it.connections, is_tried, !is_tried));
        }
    }

    /// Takes in a query, where somebody asks.
    pub(crate) fn note_lookup(&self, lookup: &Lookup) {
        if self.is_asked() {
            let query = &lookup.query;
            let is_none = matches!(query.rcode, Rcode::SERVFAIL | Rcode::REFUSED);
            let fails = is_none || query.verdict != Answer::Allow;
            self.held().tried(lookup.from.as_ref().and_then(pod), |it| count(&mut it.names, true, fails));
        }
    }

    /// Takes in a connection that was held to its name. That it was tried, the record of the connection says.
    pub(crate) fn note_passage(&self, passage: &Passage) {
        let record = &passage.record;
        // A server that breaks off after it said something may have said all.
        let is_lost =
            record.end == Ending::Unreachable || (record.end == Ending::ServerGone && record.bytes_down == 0);
        if self.is_asked() && (is_lost || is_refused(record.verdict, record.reason)) {
            self.held()
                .tried(passage.from.as_ref().and_then(pod), |it| count(&mut it.connections, false, true));
        }
    }

    /// Takes in a request, where somebody asks.
    pub(crate) fn note_call(&self, asked: &ApiCall) {
        if self.is_asked() {
            let call = &asked.call;
            let is_lost = matches!(call.end, Ending::Unreachable | Ending::ServerGone) || call.status >= 500;
            let fails = is_lost || is_refused(call.verdict, call.reason);
            self.held().tried(asked.from.as_ref().and_then(pod), |it| count(&mut it.requests, true, fails));
        }
    }

    /// Takes what was seen.
    pub(crate) fn take(&self) -> Accesses {
        let mut held = self.held();
        let seen = std::mem::take(&mut held.seen);
        Accesses {
            number: held.number,
            seen: seen.into_iter().collect(),
            lost: std::mem::take(&mut held.lost),
            found: Vec::new(),
            tried: Some(std::mem::take(&mut held.tried).into_iter().collect()),
        }
    }
}

fn count(rate: &mut Rate, is_tried: bool, has_failed: bool) {
    rate.tried = rate.tried.saturating_add(is_tried.into());
    rate.failed = rate.failed.saturating_add(has_failed.into());
}

/// Whether a connection ended without an answer, or with none but resets, which are bare headers: the answer to a SYN has options.
fn is_unanswered(record: &Record) -> bool {
    let bare = if record.to.address.is_ipv4() { 40 } else { 60 };
    record.traffic.is_some_and(|it| it.bytes_received <= it.packets_received.saturating_mul(bare))
}

/// Whether the gateway refused or cut it. What the pod itself left off is none of that.
fn is_refused(verdict: Verdict, reason: Reason) -> bool {
    let is_left_off = matches!(reason, Reason::NotJudged | Reason::Incomplete | Reason::Timeout);
    verdict == Verdict::Deny && !is_left_off
}

fn pod(end: &observe::End) -> Option<PodName> {
    match (end.kind, &end.namespace, &end.name) {
        (EndKind::Pod, Some(namespace), Some(name)) => Some((namespace.clone(), name.clone())),
        (EndKind::Pod | EndKind::Node | EndKind::Outside, _, _) => None,
    }
}

fn end(end: &observe::End) -> End {
    End { address: end.address, pod: pod(end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::sight::example::{flow, outside, pod};
    use observe::{Time, Traffic};
    use serde_json::{Value, json};

    fn record(port: u16, kind: Kind) -> Record {
        let (from, to) = (pod("team", "web"), outside([10, 0, 0, 2]));
        Record { port, suppressed: u64::from(kind == Kind::Deny), ..flow(Time(1), &from, &to, kind) }
    }

    #[test]
    fn accesses_are_counted_while_somebody_asks_and_ends_are_none() {
        let sightings = Sightings::default();
        sightings.note(&record(80, Kind::Open));
        sightings.ask(3);
        assert_eq!(sightings.take(), Accesses { number: 3, tried: Some(Vec::new()), ..Accesses::default() });
        for kind in [Kind::Open, Kind::Open, Kind::Close, Kind::Deny] {
            sightings.note(&record(80, kind));
        }
        let mut counts: Vec<u64> = sightings.take().seen.into_iter().map(|(_, count)| count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [2, 2], "two opens, and a denial with an equal one before it");
        sightings.ask(0);
        sightings.note(&record(80, Kind::Open));
        assert!(sightings.take().seen.is_empty());
    }

    fn tried(sightings: &Sightings) -> Vec<(PodName, Tried)> {
        let mut tried = sightings.take().tried.unwrap();
        tried.sort_by(|a, b| a.0.cmp(&b.0));
        tried
    }

    /// A record of the pod's, with these of its fields.
    fn of_web<R: serde::de::DeserializeOwned>(own: &Value) -> R {
        let mut record = json!({
            "sequence": 0, "node": "a", "from": pod("team", "web"), "time": "2026-01-01T00:00:00Z", "name": "web.example",
            "generation": 1, "bytes_up": 0, "bytes_down": 0, "duration_micros": 1,
        });
        record.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        serde_json::from_value(record).unwrap()
    }

    fn rate(tried: u64, failed: u64) -> Rate {
        Rate { tried, failed }
    }

    #[test]
    fn a_connection_fails_for_both_ends_where_nothing_but_resets_comes_back() {
        let sightings = Sightings::default();
        sightings.ask(1);
        let (web, other) = (pod("team", "web"), pod("other", "db"));
        let closed = |packets_received, bytes_received| Record {
            traffic: Some(Traffic { packets_received, bytes_received, ..Traffic::default() }),
            ..flow(Time(1), &web, &other, Kind::Close)
        };
        sightings.note(&flow(Time(1), &web, &other, Kind::Deny));
        for (packets, bytes) in [(0, 0), (1, 40), (1, 60), (3, 180)] {
            sightings.note(&flow(Time(1), &web, &other, Kind::Open));
            sightings.note(&closed(packets, bytes));
        }
        // One of which the kernel did not count says nothing, and one over UDP may want no answer.
        sightings.note(&Record { traffic: None, ..closed(0, 0) });
        sightings.note(&Record { protocol: Protocol::UDP, ..closed(0, 0) });
        let connections = Tried { connections: rate(4, 2), ..Tried::default() };
        let name = |namespace: &str| (namespace.into(), "pod".into());
        assert_eq!(tried(&sightings), [(name("other"), connections), (name("team"), connections)]);
        assert_eq!(tried(&sightings), [], "it is told once");
    }

    #[test]
    fn names_fail_where_they_are_refused_or_unanswered_and_not_where_there_is_no_such_name() {
        let sightings = Sightings::default();
        let ask = |reason: dns::Reason, rcode: Rcode| {
            sightings.note_lookup(&of_web(&json!({
                "pod": "10.0.0.1", "resolver": "10.0.0.2", "transport": "udp", "type": dns::kind::RecordType::A, "micros": 1, "learned": false,
                "verdict": reason.verdict(), "reason": reason, "rcode": rcode,
            })));
        };
        ask(dns::Reason::Name, Rcode::REFUSED);
        sightings.ask(1);
        ask(dns::Reason::Answered, Rcode::NOERROR);
        ask(dns::Reason::Cached, Rcode::NXDOMAIN);
        ask(dns::Reason::Answered, Rcode::SERVFAIL);
        ask(dns::Reason::Name, Rcode::REFUSED);
        ask(dns::Reason::UpstreamSilent, Rcode::SERVFAIL);
        assert_eq!(tried(&sightings)[0].1, Tried { names: rate(5, 3), ..Tried::default() });
    }

    #[test]
    fn what_the_gateway_refuses_or_loses_fails_and_what_the_pod_leaves_off_does_not() {
        let sightings = Sightings::default();
        sightings.ask(1);
        for (reason, end, bytes_down) in [
            (Reason::NameAllowed, Ending::Closed, 10),
            (Reason::NameAllowed, Ending::ServerGone, 10),
            (Reason::NameAllowed, Ending::ServerGone, 0),
            (Reason::NameAllowed, Ending::Unreachable, 0),
            (Reason::NameAllowed, Ending::PodGone, 0),
            (Reason::ClientDistrusts, Ending::Refused, 0),
            (Reason::Incomplete, Ending::Refused, 0),
        ] {
            sightings.note_passage(&of_web(&json!({
                "pod": "10.0.0.1:1", "destination": "10.0.0.2:443", "claim": { "kind": "tls" }, "verdict": reason.verdict(),
                "reason": reason, "end": end, "bytes_down": bytes_down,
            })));
        }
        for (reason, end, status) in [
            (Reason::RequestAllowed, Ending::Closed, 200),
            (Reason::RequestAllowed, Ending::Closed, 404),
            (Reason::RequestAllowed, Ending::Closed, 503),
            (Reason::RequestAllowed, Ending::PodGone, 0),
            (Reason::RequestAllowed, Ending::ServerGone, 200),
            (Reason::RequestNotAllowed, Ending::Refused, 403),
            (Reason::NotJudged, Ending::PodGone, 0),
        ] {
            sightings.note_call(&of_web(&json!({
                "pod": "10.0.0.1:1", "destination": "10.0.0.2:443", "request_id": "1", "method": "GET", "path": "/",
                "operation": policy::Operation::unknown("test"), "verdict": reason.verdict(), "reason": reason, "end": end, "status": status,
            })));
        }
        let expected = Tried { connections: rate(0, 3), requests: rate(7, 3), ..Tried::default() };
        assert_eq!(tried(&sightings)[0].1, expected);
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let sightings = Sightings::default();
        sightings.ask(1);
        for port in 0..=u16::MAX {
            sightings.note(&record(port, Kind::Open));
        }
        let taken = sightings.take();
        assert_eq!((taken.seen.len(), taken.lost), (MOST, 65_536 - MOST as u64));
        assert_eq!(sightings.take().lost, 0, "it is told once");
    }
}
