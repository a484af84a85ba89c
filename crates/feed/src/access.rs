//! What a node's pods open, or try to, what of that fails, and what its detectors find, as the node says when it is asked.
//!
//! Enters: what a controller asks, what a node saw. Leaves: the same at the other end. Guarantees: bounded; what finds no
//! room, or is not understood, is counted. Does not: judge, or remember.

use crate::decode::{self, DecodeError};
use crate::encode;
use crate::wire;
use policy::{DnsName, DomainPattern, PodName, Protocol, Verdict};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Accesses, told apart, in one report. What comes after them is counted.
pub const MOST: usize = 16_384;
/// Names of one address in a report.
const MOST_NAMES: usize = 16;
/// Findings in one report. What comes after them is counted.
pub const MOST_FOUND: usize = 1024;
/// Pods of which one report says what they tried. What comes after them is counted.
pub const MOST_TRIED: usize = 4096;
/// Most bytes of a finding's id.
const MOST_ID: usize = 64;

/// What nodes are asked to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// Under which number; 0: nothing any more.
    pub number: u64,
    /// Names for which is wanted by which a pod knows an address.
    pub names: Arc<[DomainPattern]>,
}

/// One end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// Its address.
    pub address: IpAddr,
    /// Whose that was, where it was a pod's.
    pub pod: Option<PodName>,
}

/// An access as policy sees it, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// Who opened.
    pub from: End,
    /// Who received.
    pub to: End,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; 0 where the protocol has none.
    pub port: u16,
    /// What the node did.
    pub verdict: Verdict,
    /// Names by which the one knows the other, of those that were asked for or that rules speak of.
    pub names: Vec<DnsName>,
    /// Whether more names than these may be known to the pod.
    pub unfollowed: bool,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Look at it today.
    Medium,
    /// Look at it now.
    High,
}

/// What a detector told. What it tells again has the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Of detector, workload and subject.
    pub id: String,
    /// Of whom, where it is a pod.
    pub pod: Option<PodName>,
    /// How much it matters.
    pub severity: Severity,
}

/// How often something was tried, and how often it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// All of them.
    pub tried: u64,
    /// Of these. What fails may be told later than that it was tried.
    pub failed: u64,
}

/// What became of what one pod tried, or others tried at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Connections over TCP that no rule on addresses denied.
    pub connections: Rate,
    /// Questions to DNS.
    pub names: Rate,
    /// Requests to APIs.
    pub requests: Rate,
}

/// What a node saw since it said so last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accesses {
    /// Under which number it was asked.
    pub number: u64,
    /// How often each.
    pub seen: Vec<(Seen, u64)>,
    /// Those that found no room, findings among them.
    pub lost: u64,
    /// What was found, but for what policies suppress.
    pub found: Vec<Found>,
    /// What became of what pods tried. `None`: nobody counts there; agents of an older version do not.
    pub tried: Option<Vec<(PodName, Tried)>>,
}

/// A node's report, as it comes to whoever asked.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its name, by its certificate.
    pub node: Arc<str>,
    /// Another number for another connection: between two, something may have been lost.
    pub connection: u64,
    /// What it saw.
    pub accesses: Accesses,
}

/// Whom reports go to.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is asked.
    pub asks: Asks,
    /// Who hears; where that finds no room, reports are left out, and counted.
    pub to: mpsc::Sender<Told>,
}

pub(crate) fn encode_asks(asks: &Asks) -> wire::Asks {
    wire::Asks { number: asks.number, names: Some(encode::names(&asks.names)) }
}

pub(crate) fn decode_asks(sent: &wire::Asks) -> Result<Asks, DecodeError> {
    let names = sent.names.as_ref().map(decode::patterns).transpose()?.unwrap_or_default();
    Ok(Asks { number: sent.number, names: names.into() })
}

pub(crate) fn encode_accesses(accesses: &Accesses) -> wire::Accesses {
    let one = |(seen, count): &(Seen, u64)| wire::Seen {
        from: Some(end(&seen.from)),
        to: Some(end(&seen.to)),
        protocol: seen.protocol.0.into(),
        port: seen.port.into(),
        denied: seen.verdict == Verdict::Deny,
        names: seen.names.iter().take(MOST_NAMES).map(ToString::to_string).collect(),
        unfollowed: seen.unfollowed || seen.names.len() > MOST_NAMES,
        count: *count,
    };
    let seen = accesses.seen.iter().take(MOST).map(one).collect();
    let beyond = accesses.seen.iter().skip(MOST).fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
    let unfound = accesses.found.len().saturating_sub(MOST_FOUND) as u64;
    let untold = accesses.tried.as_ref().map_or(0, |it| it.len().saturating_sub(MOST_TRIED)) as u64;
    let lost = accesses.lost.saturating_add(beyond).saturating_add(unfound).saturating_add(untold);
    let found = accesses.found.iter().take(MOST_FOUND).map(encode_found).collect();
    let tried = accesses
        .tried
        .as_ref()
        .map(|it| wire::Tried { pods: it.iter().take(MOST_TRIED).map(encode_tried).collect() });
    wire::Accesses { number: accesses.number, seen, lost, found, tried }
}

fn encode_tried((pod, tried): &(PodName, Tried)) -> wire::TriedByPod {
    let [namespace, name] = names_of(Some(pod));
    let rate = |it: Rate| Some(wire::Rate { tried: it.tried, failed: it.failed });
    wire::TriedByPod {
        namespace,
        name,
        connections: rate(tried.connections),
        names: rate(tried.names),
        requests: rate(tried.requests),
    }
}

fn tried(sent: &wire::TriedByPod) -> Option<(PodName, Tried)> {
    let rate = |it: Option<wire::Rate>| {
        it.map_or_else(Rate::default, |it| Rate { tried: it.tried, failed: it.failed })
    };
    let tried =
        Tried { connections: rate(sent.connections), names: rate(sent.names), requests: rate(sent.requests) };
    (!sent.name.is_empty()).then(|| ((sent.namespace.as_str().into(), sent.name.as_str().into()), tried))
}

fn encode_found(found: &Found) -> wire::Found {
    let [namespace, name] = names_of(found.pod.as_ref());
    let severity = match found.severity {
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
    };
    wire::Found { id: found.id.clone(), namespace, name, severity }
}

fn found(sent: &wire::Found) -> Option<Found> {
    let severity = match sent.severity {
        1 => Severity::Low,
        2 => Severity::Medium,
        _ => Severity::High,
    };
    let pod = (!sent.name.is_empty()).then(|| (sent.namespace.as_str().into(), sent.name.as_str().into()));
    (sent.id.len() <= MOST_ID).then(|| Found { id: sent.id.clone(), pod, severity })
}

/// What is not understood is counted as lost.
pub(crate) fn decode_accesses(sent: &wire::Accesses) -> Accesses {
    let counts = sent.tried.is_some().then(Vec::new);
    let mut accesses =
        Accesses { number: sent.number, lost: sent.lost, tried: counts, ..Accesses::default() };
    for (at, it) in sent.seen.iter().enumerate() {
        match seen(it) {
            Some(seen) if at < MOST => accesses.seen.push((seen, it.count)),
            Some(_) | None => accesses.lost = accesses.lost.saturating_add(it.count.max(1)),
        }
    }
    for (at, it) in sent.found.iter().enumerate() {
        match found(it) {
            Some(found) if at < MOST_FOUND => accesses.found.push(found),
            Some(_) | None => accesses.lost = accesses.lost.saturating_add(1),
        }
    }
    for (at, it) in sent.tried.iter().flat_map(|it| it.pods.iter().enumerate()) {
        match tried(it) {
            Some(tried) if at < MOST_TRIED => accesses.tried.get_or_insert_default().push(tried),
            Some(_) | None => accesses.lost = accesses.lost.saturating_add(1),
        }
    }
    accesses
}

fn seen(sent: &wire::Seen) -> Option<Seen> {
    let names = sent.names.iter().take(MOST_NAMES).map(|name| DnsName::parse(name).ok());
    Some(Seen {
        from: end_of(sent.from.as_ref()?)?,
        to: end_of(sent.to.as_ref()?)?,
        protocol: Protocol(u8::try_from(sent.protocol).ok()?),
        port: u16::try_from(sent.port).ok()?,
        verdict: if sent.denied { Verdict::Deny } else { Verdict::Allow },
        names: names.collect::<Option<_>>()?,
        unfollowed: sent.unfollowed || sent.names.len() > MOST_NAMES,
    })
}

fn end(end: &End) -> wire::End {
    let [namespace, name] = names_of(end.pod.as_ref());
    wire::End { address: encode::address(&end.address), namespace, name }
}

fn names_of(pod: Option<&PodName>) -> [String; 2] {
    match pod {
        Some((namespace, name)) => [namespace.to_string(), name.to_string()],
        None => [String::new(), String::new()],
    }
}

fn end_of(sent: &wire::End) -> Option<End> {
    let address = decode::address(&sent.address).ok()?;
    let pod = (!sent.name.is_empty()).then(|| (sent.namespace.as_str().into(), sent.name.as_str().into()));
    Some(End { address, pod })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(port: u16) -> Seen {
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        Seen {
            from: End { address: address(1), pod: Some(("team".into(), "web".into())) },
            to: End { address: address(9), pod: None },
            protocol: Protocol::TCP,
            port,
            verdict: Verdict::Deny,
            names: vec![DnsName::parse("api.example.com").unwrap()],
            unfollowed: true,
        }
    }

    #[test]
    fn what_is_asked_and_told_comes_as_it_was() {
        let asks =
            Asks { number: 7, names: [DomainPattern::parse("*.example.com").unwrap()].into_iter().collect() };
        assert_eq!(decode_asks(&encode_asks(&asks)).unwrap(), asks);
        let allowed = Seen { verdict: Verdict::Allow, names: Vec::new(), unfollowed: false, ..seen(81) };
        let found = |severity, pod| Found { id: "a1".to_owned(), pod, severity };
        let web = Some(("team".into(), "web".into()));
        let found = vec![
            found(Severity::Low, web.clone()),
            found(Severity::Medium, web),
            found(Severity::High, None),
        ];
        let rate = |tried, failed| Rate { tried, failed };
        let did = Tried { connections: rate(9, 1), names: rate(0, 0), requests: rate(4, 4) };
        let pods = vec![(("team".into(), "web".into()), did)];
        for tried in [None, Some(Vec::new()), Some(pods)] {
            let seen = vec![(seen(80), 3), (allowed.clone(), 1)];
            let accesses = Accesses { number: 7, seen, lost: 2, found: found.clone(), tried };
            assert_eq!(decode_accesses(&encode_accesses(&accesses)), accesses);
        }
    }

    #[test]
    fn what_finds_no_room_or_makes_no_sense_is_counted() {
        let many = (0..=u16::MAX).map(|port| (seen(port), 2)).collect();
        let accesses = Accesses { number: 1, seen: many, lost: 1, ..Accesses::default() };
        let mut sent = encode_accesses(&accesses);
        let beyond = 2 * (65_536 - MOST as u64);
        assert_eq!((sent.seen.len(), sent.lost), (MOST, 1 + beyond));
        sent.seen[0].from = None;
        sent.seen[1].names = vec!["..".to_owned()];
        sent.seen[2].port = 1 << 20;
        sent.seen.push(sent.seen[3].clone());
        let heard = decode_accesses(&sent);
        assert_eq!((heard.seen.len(), heard.lost), (MOST - 3, 1 + beyond + 8));
    }

    #[test]
    fn findings_beyond_what_has_room_are_counted_and_one_that_is_not_understood_is_no_small_one() {
        let one = Found { id: "a1".to_owned(), pod: None, severity: Severity::Low };
        let accesses = Accesses { number: 1, found: vec![one; MOST_FOUND + 5], ..Accesses::default() };
        let mut sent = encode_accesses(&accesses);
        assert_eq!((sent.found.len(), sent.lost), (MOST_FOUND, 5));
        sent.found[0].severity = 9;
        sent.found[1].id = "a".repeat(65);
        let heard = decode_accesses(&sent);
        assert_eq!((heard.found[0].severity, heard.found[1].severity), (Severity::High, Severity::Low));
        assert_eq!((heard.found.len(), heard.lost), (MOST_FOUND - 1, 6));
    }

    #[test]
    fn pods_beyond_what_has_room_and_such_without_a_name_are_counted() {
        let one = (("team".into(), "web".into()), Tried::default());
        let tried = Some(vec![one; MOST_TRIED + 3]);
        let mut sent = encode_accesses(&Accesses { number: 1, tried, ..Accesses::default() });
        sent.tried.as_mut().unwrap().pods[0].name.clear();
        let heard = decode_accesses(&sent);
        assert_eq!((heard.tried.map(|it| it.len()), heard.lost), (Some(MOST_TRIED - 1), 4));
    }
}
