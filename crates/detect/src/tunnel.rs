//! Data in the names of questions: how much different names below one registered domain could carry.

use crate::bounded::Bounded;
use crate::catalog::DNS_TUNNEL;
use crate::distinct::{Seen, key};
use crate::event::{Event, HOUR, Lookup, MINUTE};
use crate::finding::{Evidence, Finding, Number, Told};
use crate::name::{self, Split};
use observe::Time;

/// Workloads and domains that are followed at a time.
const ZONES: usize = 1 << 15;

/// How long, and from where on.
struct Scale {
    window: u64,
    words: &'static str,
    names: u32,
    /// Bytes where the questions look like those of a tunnel.
    bytes: f64,
    /// Bytes where they do not.
    bytes_else: f64,
}

const SCALES: [Scale; 2] = [
    Scale { window: MINUTE, words: "a minute", names: 5, bytes: 300.0, bytes_else: 1200.0 },
    Scale { window: HOUR, words: "an hour", names: 20, bytes: 1200.0, bytes_else: 20_000.0 },
];
/// Bytes of a list of names, without times, where they do not look like those of a tunnel.
const LISTED: f64 = 20_000.0;
/// Mean length of what is new in names, without the domain, from which on they are full of something.
const LONG: f64 = 40.0;
/// What each byte of an answer counts for that may hold whatever its server wants: an answer can be long for harmless reasons.
const BROUGHT: f64 = 0.1;
/// What the bytes are multiplied by where only the length of the names speaks for a tunnel: addresses come back, which say little.
const BLIND: f64 = 2.0;
/// What they are divided by where half of the questions are of types that no client of anything else asks for.
const UNUSED: f64 = 10.0;
/// Whose names those are that no registry has a place for.
const NOWHERE: &str = "no zone";
/// What each byte of an address turned round counts for: who is looked up, not what is said.
const TURNED: f64 = 0.25;

/// What is followed.
#[derive(Debug)]
pub(crate) struct Tunnels(Bounded<u64, Zone>);

/// A registered domain, asked by one workload, over each scale.
#[derive(Debug, Default)]
struct Zone([Tally; SCALES.len()]);

#[derive(Debug, Default)]
struct Tally {
    start: u64,
    seen: Seen,
    bytes: f64,
    /// Of what is new in names that are no address turned round: however long one is, it is full of nothing.
    length: u64,
    names: u32,
    carrying: u32,
    unused: u32,
    answered: u64,
    evidence: Evidence,
}

impl Tunnels {
    pub(crate) fn new() -> Self {
        Self(Bounded::new(ZONES))
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    pub(crate) fn see(&mut self, event: &Event, lookup: &Lookup, split: Split<'_>) -> Option<Finding> {
        // All of it is data then, and its end no zone of anybody's.
        let (below, zone_name) =
            if split.is_nowhere() { (&*lookup.name, NOWHERE) } else { (split.below, split.registered) };
        if below.is_empty() || name::is_of_digests(zone_name) {
            return None;
        }
        let zone = self.0.entry(&key((&event.who, zone_name)));
        let mut told = None;
        for (tally, scale) in zone.0.iter_mut().zip(&SCALES) {
            tally.add(event, lookup, below, scale);
            if told.is_none() && tally.is_over(event, scale) && tally.evidence.is_due() {
                told = Some(tally.tell(event, zone_name, scale));
            }
        }
        told
    }
}

impl Tally {
    fn add(&mut self, event: &Event, lookup: &Lookup, below: &str, scale: &Scale) {
        if event.ends(self.start, scale.window) {
            // A tunnel that goes on is one finding: what was told of it stays.
            let evidence = if self.is_over(event, scale) {
                std::mem::take(&mut self.evidence)
            } else {
                Evidence::default()
            };
            let mut seen = std::mem::take(&mut self.seen);
            seen.clear(event.micros());
            *self = Self { start: event.micros(), seen, evidence, ..Self::default() };
        }
        if !self.seen.is_new(key(below)) {
            return;
        }
        if let Some(bytes) = name::turned_address(&lookup.name, below) {
            self.bytes += f64::from(bytes) * TURNED;
        } else {
            let fresh = self.fresh(below);
            let length = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
            self.bytes += f64::from(length) * name::entropy(&fresh) / 8.0;
            self.length += u64::from(length);
        }
        self.names += 1;
        self.carrying += u32::from(carries(lookup.kind));
        self.unused += u32::from(is_unused(lookup.kind));
        self.answered += u64::from(lookup.answer_bytes);
        if is_free(lookup.kind) {
            self.bytes += f64::from(lookup.answer_bytes) * BROUGHT;
        }
        self.evidence.add(event);
    }

    /// The labels that no name before had, joined by dots: what comes again, as `_tcp` and `prod.eu-west-1` do, says nothing new.
    fn fresh(&mut self, below: &str) -> String {
        let mut fresh = String::with_capacity(below.len());
        for label in below.split('.').filter(|label| self.seen.is_new(key(("label", label)))) {
            if !fresh.is_empty() {
                fresh.push('.');
            }
            fresh.push_str(label);
        }
        fresh
    }

    fn mean(&self) -> f64 {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        f64::from(length) / f64::from(self.names.max(1))
    }

    fn is_half(&self, of_these: u32) -> bool {
        of_these * 2 >= self.names
    }

    fn is_over(&self, event: &Event, scale: &Scale) -> bool {
        self.names >= scale.names && self.bytes >= self.limit(event, scale)
    }

    fn limit(&self, event: &Event, scale: &Scale) -> f64 {
        let bytes = if self.is_half(self.unused) {
            scale.bytes / UNUSED
        } else if self.is_half(self.carrying) {
            scale.bytes
        } else if self.mean() >= LONG {
            scale.bytes * BLIND
        } else if event.time == Time::default() {
            // Of a list nobody knows how long it took.
            LISTED
        } else {
            scale.bytes_else
        };
        event.limit(&DNS_TUNNEL, bytes)
    }

    fn tell(&self, event: &Event, domain: &str, scale: &Scale) -> Finding {
        let bytes = self.limit(event, scale);
        let share = f64::from(self.carrying) / f64::from(self.names.max(1));
        let sentence = format!(
            "{} asked for {} different names below {domain} within {}; names and answers can carry {:.0} bytes ({} bytes are the limit), \
             have {:.0} new bytes each on average, and {:.0}% are of types that carry data back: DNS is likely used as a tunnel",
            event.who,
            self.names,
            scale.words,
            self.bytes,
            bytes,
            self.mean(),
            share * 100.0
        );
        let numbers = vec![
            Number::of("bytes_in_names", self.bytes).from(bytes),
            Number::of("distinct_names", f64::from(self.names)).from(f64::from(scale.names)),
            Number::of("mean_name_bytes", self.mean()),
            Number::of("share_of_carrying_types", share),
            Number::of("answer_bytes", f64::from(u32::try_from(self.answered).unwrap_or(u32::MAX))),
        ];
        self.evidence.tell(&DNS_TUNNEL, &event.who, domain, Told { severity: None, sentence, numbers })
    }
}

/// Whether answers of a type have no form but the server's own: those of services (SRV, NAPTR) are long by themselves.
fn is_free(kind: u16) -> bool {
    carries(kind) && !matches!(kind, 33 | 35)
}

/// Whether a type is one that no client asks for but a tunnel: NULL (RFC 1035, section 3.3.10) and those for private use (RFC 6895,
/// section 3.1).
fn is_unused(kind: u16) -> bool {
    matches!(kind, 10 | 0xff00..=0xfffe)
}

/// Whether answers of a type hold text or names, and so whatever a server wants to say. Those of addresses, keys of zones and
/// services that clients ask for by themselves do not count.
fn carries(kind: u16) -> bool {
    // A, NS, SOA, PTR, AAAA, DS, RRSIG, NSEC, DNSKEY, NSEC3, SVCB, HTTPS.
    !matches!(kind, 1 | 2 | 6 | 12 | 28 | 43 | 46 | 47 | 48 | 50 | 64 | 65)
}
