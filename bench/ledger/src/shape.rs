//! What is written: records of a week, the same for every run and every store.
//!
//! 400 workloads and 6,000 domains. Seven records of ten are connections, two are DNS queries, the rest connections that were held
//! to their name and requests to models. One of fifty is denied; those and the requests have a detail. A workload goes to 60 places
//! of its own, the first ones far more often; one connection of a thousand goes to any place at all.

use ledger::{Entry, Kind, Verdict};
use std::fmt::Write as _;
use std::sync::Arc;

/// Monday, 2026-11-16, 00:00 UTC, in microseconds since 1970.
pub(crate) const BEGIN: u64 = 1_795_046_400_000_000;
/// Microseconds of a day.
pub(crate) const DAY: u64 = 86_400_000_000;
const WEEK: u64 = 7 * DAY;
const WORKLOADS: u64 = 400;
const DOMAINS: u64 = 6000;
/// Places of a workload's own.
const OWN: u64 = 60;

/// The records, one after the other.
pub(crate) struct Shape {
    state: u64,
    number: u64,
    /// Microseconds between two records.
    step: u64,
    node: [Arc<str>; 4],
    workloads: Vec<Arc<str>>,
    domains: Vec<Arc<str>>,
    rules: Vec<Arc<str>>,
    reasons: [Arc<str>; 3],
}

impl Shape {
    /// `records` of them are a week.
    pub(crate) fn new(records: u64) -> Self {
        let all = |count, name: &dyn Fn(u64) -> String| (0..count).map(|it| name(it).into()).collect();
        Self {
            state: 0x9e37_79b9_7f4a_7c15,
            number: 0,
            step: WEEK / records.max(1),
            node: ["node-a", "node-b", "node-c", "node-d"].map(Arc::from),
            workloads: all(WORKLOADS, &workload),
            domains: all(DOMAINS, &|it| format!("host-{it}.service-{}.example.com", it % 700)),
            rules: all(120, &|it| {
                format!(
                    "EgressPolicy team-{}/allow-{it} spec.egress[{}] (policies/{it}.yaml:{})",
                    it % 20,
                    it % 5,
                    9 + it
                )
            }),
            reasons: ["egress-policy-allow", "egress-policy-isolated", "model"].map(Arc::from),
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % limit.max(1)
    }

    /// The next ones.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Entry> {
        (0..count).map(|_| self.entry()).collect()
    }

    fn entry(&mut self) -> Entry {
        let time = BEGIN + self.number * self.step;
        self.number += 1;
        let who = self.below(WORKLOADS);
        let place = self.place(who);
        let is_denied = self.below(50) == 0;
        let kind = match self.below(100) {
            0..70 => Kind::Flow,
            70..90 => Kind::Dns,
            90..97 => Kind::Tls,
            _ => Kind::AiCall,
        };
        let (port, protocol) = if kind == Kind::Dns { (53, 17) } else { (443, 6) };
        let (sent, received) =
            if kind == Kind::Dns { (0, 0) } else { (200 + self.below(9000), 500 + self.below(400_000)) };
        let pick = |all: &[Arc<str>], at: u64| at_of(all, at);
        Entry {
            time,
            node: pick(&self.node, who),
            source: pick(&self.workloads, who),
            destination: pick(&self.domains, place),
            port,
            protocol,
            rule: pick(&self.rules, who.wrapping_mul(7).wrapping_add(place % 3)),
            reason: pick(
                &self.reasons,
                if is_denied {
                    1
                } else if kind == Kind::AiCall {
                    2
                } else {
                    0
                },
            ),
            sent,
            received,
            detail: (is_denied || kind == Kind::AiCall).then(|| self.detail(who, time)),
            ..Entry::new(kind, if is_denied { Verdict::Deny } else { Verdict::Allow })
        }
    }

    fn place(&mut self, who: u64) -> u64 {
        if self.below(1000) == 0 {
            return self.below(DOMAINS);
        }
        // The smaller of two is small more often.
        let own = self.below(OWN).min(self.below(OWN));
        (who * 15 + own) % DOMAINS
    }

    /// About as long as that of a denied connection or a request.
    fn detail(&mut self, who: u64, time: u64) -> String {
        let (id, tokens) = (self.below(u64::MAX), self.below(4000));
        let mut text = String::with_capacity(400);
        let _ = write!(
            text,
            r#"{{"time":{time},"from":{{"kind":"pod","namespace":"team-{}","name":"app-{who}-7d9f","address":"10.{}.{}.7"}},"request_id":"{id:016x}","method":"POST","path":"/v1/chat/completions","operation":{{"provider":"openai","api":"chat","verb":"call","model":"model-{}","stream":true}},"usage":{{"input_tokens":{tokens},"output_tokens":{}}},"generation":{}}}"#,
            who % 20,
            who / 250,
            who % 250,
            who % 5,
            tokens / 3,
            time / DAY % 1000
        );
        text
    }
}

fn at_of(all: &[Arc<str>], at: u64) -> Arc<str> {
    let place = usize::try_from(at).unwrap_or(0) % all.len().max(1);
    all.get(place).map_or_else(|| "".into(), Arc::clone)
}

/// Name of a workload, by its number.
pub(crate) fn workload(number: u64) -> String {
    format!("team-{}/Deployment/app-{number}", number % 20)
}

/// Records as lines of values between tabs, for stores that read such files. Times are in microseconds.
pub(crate) fn lines(entries: &[Entry]) -> String {
    let mut text = String::with_capacity(entries.len() * 200);
    for entry in entries {
        let Entry {
            time,
            node,
            source,
            destination,
            port,
            protocol,
            rule,
            reason,
            count,
            sent,
            received,
            detail,
            ..
        } = entry;
        let (kind, verdict) = (entry.kind.name(), entry.verdict.name());
        // None of the texts has a tab, a backslash or an end of line in it. Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{time}\t{kind}\t{verdict}\t{node}\t{source}\t{destination}\t{port}\t{protocol}\t{rule}\t{reason}\t{count}\t{sent}\t\
             {received}\t{}",
            detail.as_deref().unwrap_or_default()
        );
    }
    text
}
