//! Data in the names of questions: how much different names below one registered domain could carry.

use crate::bounded::Bounded;
use crate::catalog::DNS_TUNNEL;
use crate::distinct::{Seen, key};
use crate::event::{Event, HOUR, Lookup, MINUTE};
use crate::finding::{Evidence, Finding, Number, Told};
use crate::name::{self, Split};

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
    Scale { window: MINUTE, words: "a minute", names: 5, bytes: 300.0, bytes_else: 1500.0 },
    Scale { window: HOUR, words: "an hour", names: 20, bytes: 1200.0, bytes_else: 20_000.0 },
];
/// Mean length of names, without the domain, from which on they are full of something.
const LONG: f64 = 40.0;
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
    /// Of the names that are no address turned round: however long one is, it is full of nothing.
    length: u64,
    names: u32,
    carrying: u32,
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
        if split.below.is_empty() {
            return None;
        }
        let zone = self.0.entry(&key((&event.who, split.registered)));
        let mut told = None;
        for (tally, scale) in zone.0.iter_mut().zip(&SCALES) {
            tally.add(event, lookup, split, scale);
            if told.is_none() && tally.is_over(event, scale) && tally.evidence.is_due() {
                told = Some(tally.tell(event, split.registered, scale));
            }
        }
        told
    }
}

impl Tally {
    fn add(&mut self, event: &Event, lookup: &Lookup, split: Split<'_>, scale: &Scale) {
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
        if !self.seen.is_new(key(split.below)) {
            return;
        }
        if let Some(bytes) = name::turned_address(&lookup.name, split.below) {
            self.bytes += f64::from(bytes) * TURNED;
        } else {
            let length = u32::try_from(split.below.len()).unwrap_or(u32::MAX);
            self.bytes += f64::from(length) * name::entropy(split.below) / 8.0;
            self.length += u64::from(length);
        }
        self.names += 1;
        self.carrying += u32::from(carries(lookup.kind));
        self.answered += u64::from(lookup.answer_bytes);
        self.evidence.add(event);
    }

    fn mean(&self) -> f64 {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        f64::from(length) / f64::from(self.names.max(1))
    }

    fn looks_like_one(&self) -> bool {
        self.carrying * 2 >= self.names || self.mean() >= LONG
    }

    fn is_over(&self, event: &Event, scale: &Scale) -> bool {
        self.names >= scale.names && self.bytes >= self.limit(event, scale)
    }

    fn limit(&self, event: &Event, scale: &Scale) -> f64 {
        let bytes = if self.looks_like_one() { scale.bytes } else { scale.bytes_else };
        event.limit(&DNS_TUNNEL, bytes)
    }

    fn tell(&self, event: &Event, domain: &str, scale: &Scale) -> Finding {
        let bytes = self.limit(event, scale);
        let share = f64::from(self.carrying) / f64::from(self.names.max(1));
        let sentence = format!(
            "{} asked for {} different names below {domain} within {}; they can carry {:.0} bytes ({} bytes are the limit), \
             are {:.0} bytes long on average, and {:.0}% are of types that carry data back: DNS is likely used as a tunnel",
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

/// Whether answers of a type hold text or names, and so whatever a server wants to say. Those of addresses, keys of zones and
/// services that clients ask for by themselves do not count.
fn carries(kind: u16) -> bool {
    // A, NS, SOA, PTR, AAAA, DS, RRSIG, NSEC, DNSKEY, NSEC3, SVCB, HTTPS.
    !matches!(kind, 1 | 2 | 6 | 12 | 28 | 43 | 46 | 47 | 48 | 50 | 64 | 65)
}
