//! What other policies would have said of the accesses that were seen.
//!
//! Enters: a candidate's tables, as a [`Book`]; records as they are made. Leaves: the rule that the candidate would have
//! decided by, and how often it differs from what happened, by who, to whom and why.
//! Guarantees: nothing that happened changes by it; what could not be judged is counted, never taken for the same; the list
//! of differences is bounded, and what finds no room is counted.
//! Does not: read policies, know what the kernel has, or keep anything over a restart.

use crate::book::Book;
use crate::record::{EndKind, Record, RuleVerdict};
use crate::time::Time;
use policy::table::{Row, Ruling};
use policy::{Protocol, Reason, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Differences that are told apart.
pub const MOST_DIFFERENCES: usize = 2048;

/// Policies that are judged by and not enforced.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Counts what was written: another number begins to count anew.
    pub edition: u64,
    /// Its tables.
    pub book: Arc<Book>,
    /// What holds from one address to another, for DNS gave the one the other for a name.
    pub rows: HashMap<(IpAddr, IpAddr), Arc<Row>>,
    /// Pods whose DNS is followed, so that it is known by which names they know addresses.
    pub followed: HashSet<IpAddr>,
}

/// What a candidate says of one access.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// No pod of its tables is an end of it.
    Nothing,
    /// It would go by names that are not known.
    Unknown,
    /// By this rule.
    By(RuleVerdict),
}

impl Candidate {
    fn judge(&self, record: &Record) -> Said {
        let (from, to) = (record.from.address, record.to.address);
        let row = self.rows.get(&(from, to)).map(AsRef::as_ref);
        let tables = self.book.judge(from, to, record.protocol, record.port, row);
        let side =
            |ruling: Ruling| RuleVerdict::new(ruling.verdict, ruling.rule, self.book.rule(ruling.rule));
        let (egress, ingress) = (tables.egress.map(side), tables.ingress.map(side));
        let denies = |rule: &Option<RuleVerdict>| rule.as_ref().is_some_and(|it| it.verdict == Verdict::Deny);
        // As policy says which direction decided: the one that denied, egress first.
        let is_subject = ingress.as_ref().is_some_and(|it| it.reason != Reason::NotSubject);
        let by = if denies(&egress) {
            egress
        } else if denies(&ingress) || is_subject {
            ingress
        } else {
            egress.or(ingress)
        };
        let Some(by) = by else { return Said::Nothing };
        let is_by_egress = tables.egress.is_some_and(|it| it.verdict == Verdict::Deny);
        let may_be_named = is_by_egress
            && row.is_none()
            && record.to.kind == EndKind::Outside
            && self.book.is_led_by_names(from)
            && !self.followed.contains(&from);
        if may_be_named { Said::Unknown } else { Said::By(by) }
    }
}

/// One way in which what happened differs from what a candidate would have done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Difference {
    /// What the candidate would have done, and did not happen.
    pub verdict: Verdict,
    /// Workload, node or address.
    pub source: Arc<str>,
    /// Name, workload, node or address.
    pub destination: Arc<str>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; 0 where the protocol has none.
    pub port: u16,
    /// The candidate's rule: object, field, file and line.
    pub rule: Arc<str>,
}

/// How often it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sightings {
    /// Accesses.
    pub count: u64,
    /// When first.
    pub first: Time,
    /// When last.
    pub last: Time,
}

/// What a candidate said of all that it was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Accesses of which it said something.
    pub judged: u64,
    /// Of these, allowed ones that it would have denied.
    pub would_deny: u64,
    /// Of these, denied ones that it would have allowed.
    pub would_allow: u64,
    /// Accesses of which it cannot be said.
    pub unknown: u64,
    /// Differences for which there was no room in the list.
    pub unlisted: u64,
    differences: BTreeMap<Difference, Sightings>,
}

impl Tally {
    /// Takes in accesses alike. `difference` is asked for where the candidate would not have done what happened.
    pub fn add(
        &mut self,
        [happened, would]: [Verdict; 2],
        (count, time): (u64, Time),
        difference: impl FnOnce() -> Difference,
    ) {
        self.judged = self.judged.saturating_add(count);
        let side = match (happened, would) {
            (Verdict::Allow, Verdict::Deny) => &mut self.would_deny,
            (Verdict::Deny, Verdict::Allow) => &mut self.would_allow,
            (Verdict::Allow, Verdict::Allow) | (Verdict::Deny, Verdict::Deny) => return,
        };
        *side = side.saturating_add(count);
        let difference = difference();
        if let Some(seen) = self.differences.get_mut(&difference) {
            (seen.count, seen.last) = (seen.count.saturating_add(count), time);
        } else if self.differences.len() < MOST_DIFFERENCES {
            self.differences.insert(difference, Sightings { count, first: time, last: time });
        } else {
            self.unlisted = self.unlisted.saturating_add(count);
        }
    }

    /// Each difference, would-be denials first, those seen most often first.
    pub fn differences(&self) -> Vec<(&Difference, &Sightings)> {
        let mut all: Vec<_> = self.differences.iter().collect();
        all.sort_by_key(|(difference, seen)| {
            (std::cmp::Reverse(difference.verdict), std::cmp::Reverse(seen.count))
        });
        all
    }
}

/// A candidate, and what it said so far.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) candidate: Candidate,
    pub(crate) tally: Tally,
}

impl Beside {
    /// Has the candidate judge an access, and notes what it says in the record.
    pub(crate) fn judge(&mut self, record: &mut Record) {
        let count = record.suppressed.saturating_add(1);
        match self.candidate.judge(record) {
            Said::Nothing => {}
            Said::Unknown => self.tally.unknown = self.tally.unknown.saturating_add(count),
            Said::By(rule) => {
                let verdicts = [record.verdict, rule.verdict];
                self.tally.add(verdicts, (count, record.time), || Difference {
                    verdict: rule.verdict,
                    source: record.from.workload().into(),
                    destination: record.to.called().into(),
                    protocol: record.protocol,
                    port: record.port,
                    rule: rule.to_string().into(),
                });
                record.shadow = Some(Box::new(rule));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(port: u16, verdict: Verdict) -> Difference {
        Difference {
            verdict,
            source: "team/web".into(),
            destination: "10.0.0.9".into(),
            protocol: Protocol::TCP,
            port,
            rule: "NetworkPolicy team/next spec.egress[0]".into(),
        }
    }

    #[test]
    fn what_is_alike_is_counted_once_and_what_finds_no_room_is_counted_too() {
        let mut tally = Tally::default();
        let (allow, deny) = (Verdict::Allow, Verdict::Deny);
        tally.add([allow, allow], (3, Time(1)), || unreachable!("nothing differs"));
        tally.add([deny, deny], (2, Time(1)), || unreachable!("nothing differs"));
        tally.add([allow, deny], (1, Time(2)), || difference(80, deny));
        tally.add([allow, deny], (4, Time(9)), || difference(80, deny));
        tally.add([deny, allow], (9, Time(3)), || difference(81, allow));
        assert_eq!((tally.judged, tally.would_deny, tally.would_allow, tally.unlisted), (19, 5, 9, 0));
        let told: Vec<_> = tally.differences().into_iter().map(|(it, seen)| (it.port, *seen)).collect();
        let seen = |count, first, last| Sightings { count, first: Time(first), last: Time(last) };
        assert_eq!(told, [(80, seen(5, 2, 9)), (81, seen(9, 3, 3))], "would-be denials come first");

        let most = u16::try_from(MOST_DIFFERENCES).unwrap();
        for port in 1000..1000 + most {
            tally.add([allow, deny], (1, Time(10)), || difference(port, deny));
        }
        assert_eq!((tally.differences().len(), tally.unlisted), (MOST_DIFFERENCES, 2));
    }
}
