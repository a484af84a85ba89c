//! Records on their way to the agent: as rows without field names, and each rule's text once.
//!
//! A proxy writes one for each query. With field names, times as text and rules written out they take twice the bytes and
//! twice the time. Agent and proxy are of one binary, so that this form may change.

use crate::kind::{Rcode, RecordType};
use crate::record::{Query, Reason, Transport};
use observe::Time;
use policy::Generation;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Records of one frame.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// Texts of rules, by the place that rows name.
    rules: Vec<Arc<str>>,
    rows: Vec<Row>,
}

/// One record: time, generation, pod, resolver, upstream; transport, name, type, reason; place of its rule, response code;
/// addresses, aliases; microseconds, whether it was learned, whether the explicit proxy asked.
#[derive(Debug, Serialize, Deserialize)]
struct Row(
    u64,
    Option<Generation>,
    IpAddr,
    IpAddr,
    Option<IpAddr>,
    bool,
    Arc<str>,
    u16,
    u8,
    Option<usize>,
    u16,
    Arc<[IpAddr]>,
    Arc<[Arc<str>]>,
    u64,
    bool,
    bool,
);

impl Batch {
    pub(crate) fn of(records: Vec<Query>) -> Self {
        let mut batch = Self { rules: Vec::new(), rows: Vec::with_capacity(records.len()) };
        let mut known = HashMap::new();
        for query in records {
            let rule = query.rule.map(|rule| {
                *known.entry(Arc::clone(&rule)).or_insert_with(|| {
                    batch.rules.push(rule);
                    batch.rules.len() - 1
                })
            });
            batch.rows.push(Row(
                query.time.0,
                query.generation,
                query.pod,
                query.resolver,
                query.upstream,
                query.transport == Transport::Tcp,
                query.name,
                query.kind.0,
                query.reason as u8,
                rule,
                query.rcode.0,
                query.addresses,
                query.aliases,
                query.micros,
                query.learned,
                query.explicit,
            ));
        }
        batch
    }

    /// The records; an error says what a row names that is not there.
    pub(crate) fn read(self) -> Result<Vec<Query>, String> {
        let Self { rules, rows } = self;
        let read = |row: Row| {
            let Row(
                time,
                generation,
                pod,
                resolver,
                upstream,
                is_tcp,
                name,
                kind,
                reason,
                rule,
                rcode,
                addresses,
                aliases,
                micros,
                learned,
                explicit,
            ) = row;
            let reason = Reason::ALL.get(usize::from(reason)).copied();
            let reason = reason.ok_or("a record with a reason that there is not")?;
            let rule = match rule {
                Some(place) => {
                    Some(rules.get(place).cloned().ok_or("a record with a rule that there is not")?)
                }
                None => None,
            };
            Ok(Query {
                time: Time(time),
                generation,
                pod,
                resolver,
                upstream,
                transport: if is_tcp { Transport::Tcp } else { Transport::Udp },
                name,
                kind: RecordType(kind),
                verdict: reason.verdict(),
                reason,
                rule,
                rcode: Rcode(rcode),
                addresses,
                aliases,
                micros,
                learned,
                explicit,
            })
        };
        rows.into_iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(reason: Reason, rule: Option<&str>) -> Query {
        Query {
            time: Time(1_700_000_000_000_042),
            generation: Some(Generation(7)),
            pod: "10.0.0.1".parse().unwrap(),
            resolver: "fd00::10".parse().unwrap(),
            upstream: rule.map(|_| "10.96.0.10".parse().unwrap()),
            transport: if rule.is_some() { Transport::Tcp } else { Transport::Udp },
            name: "a\\032\"b.example".into(),
            kind: RecordType(65),
            verdict: reason.verdict(),
            reason,
            rule: rule.map(Into::into),
            rcode: Rcode(5),
            addresses: [[192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap()].into(),
            aliases: ["c.example".into()].into(),
            micros: 5,
            learned: reason == Reason::Cached,
            explicit: reason == Reason::Name,
        }
    }

    #[test]
    fn records_survive_the_way_with_each_rule_once() {
        let rules = [None, Some("one"), Some("other")];
        let all = Reason::ALL.into_iter().zip(rules.into_iter().cycle());
        let records: Vec<Query> = all.map(|(reason, rule)| query(reason, rule)).collect();
        let batch = Batch::of(records.clone());
        assert_eq!(batch.rules.len(), 2);
        let text = serde_json::to_string(&batch).unwrap();
        let read = |text: &str| serde_json::from_str::<Batch>(text).unwrap().read();
        assert_eq!(read(&text), Ok(records));
        let fewer = text.replace(r#""rules":["one","other"]"#, r#""rules":["one"]"#);
        assert!(fewer != text && read(&fewer).is_err());
        let mut odd = Batch::of(vec![query(Reason::Name, None)]);
        odd.rows[0].8 = 200;
        assert!(odd.read().is_err());
    }
}
