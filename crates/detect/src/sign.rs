//! What enforcement points have a word for: each word, by workload.

use crate::beacon::real;
use crate::bounded::Bounded;
use crate::catalog::{BYPASS, Detector, PROBING, RESOLVER_EVASION};
use crate::distinct::key;
use crate::event::{Event, MINUTE, Sign};
use crate::finding::{Evidence, Finding, Number, Told};
use observe::About;

/// Workloads and words that are followed at a time.
const PAIRS: usize = 1 << 15;
/// How long they belong together.
const WINDOW: u64 = 10 * MINUTE;

/// What is followed.
#[derive(Debug)]
pub(crate) struct Signs(Bounded<u64, Seen>);

#[derive(Debug, Default)]
struct Seen {
    start: u64,
    evidence: Evidence,
}

/// Whose it is, how many are told of, and what a person reads.
fn meaning(sign: Sign) -> (&'static Detector, u64, &'static str) {
    match sign {
        Sign::MetadataService => (&PROBING, 1, About::MetadataService.attempted()),
        Sign::ApiServer => (&PROBING, 3, About::ApiServer.attempted()),
        Sign::DnsElsewhere => (&RESOLVER_EVASION, 1, About::DnsElsewhere.attempted()),
        Sign::DnsOverTls => (&RESOLVER_EVASION, 1, About::DnsOverTls.attempted()),
        Sign::DnsOverHttps => (&RESOLVER_EVASION, 3, About::DnsOverHttps.attempted()),
        Sign::NotResolved => (&BYPASS, 10, About::AddressNotResolved.attempted()),
        Sign::OtherName => (&BYPASS, 1, "a connection that says another name than it was opened for"),
        Sign::Hidden => {
            (&BYPASS, 3, "connections that hide for whom they are, or speak what cannot be judged")
        }
        Sign::Rebinding => (&BYPASS, 1, "a public name that leads to an address inside"),
    }
}

impl Signs {
    pub(crate) fn new() -> Self {
        Self(Bounded::new(PAIRS))
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    pub(crate) fn see(&mut self, event: &Event, sign: Sign) -> Option<Finding> {
        let (detector, least, words) = meaning(sign);
        let least = event.count(detector, least);
        let seen = self.0.entry(&key((&event.who, sign)));
        if event.ends(seen.start, WINDOW) {
            // What is told of already goes on as the same finding.
            if seen.evidence.count() < least {
                seen.evidence.clear();
            }
            seen.start = event.micros();
        }
        seen.evidence.add(event);
        if seen.evidence.count() < least || !seen.evidence.is_due() {
            return None;
        }
        let count = seen.evidence.count();
        let often = if count == 1 { "once".to_owned() } else { format!("{count} times") };
        let sentence = format!(
            "{} tried {words}, {often} (the limit is {least} in ten minutes); it was refused",
            event.who
        );
        let numbers = vec![Number::of("attempts", real(count)).from(real(least))];
        Some(seen.evidence.tell(detector, &event.who, words, Told { severity: None, sentence, numbers }))
    }
}
