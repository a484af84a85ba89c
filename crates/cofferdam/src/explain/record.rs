//! One record of any kind: its id, whom it is about, and the rules that it names.

use crate::form::Clock;
use crate::policy::Asked;
use crate::up::calls::ApiCall;
use crate::up::finding::Finding;
use crate::up::lookup::Lookup;
use crate::up::passage::Passage;
use crate::up::protocol::Answer;
use crate::{calls, connections, findings, flows, ledger_cmd, lookups};
use ::ledger::{Kind, Stored};
use anyhow::Result;
use observe::{End, Record, RuleVerdict, Time};
use policy::Protocol;
use serde_json::Value;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// Lines of a rule that are shown.
const LINES: usize = 12;
/// Longest line that is shown.
const LINE_BYTES: usize = 400;
/// How far into a file its lines are looked for.
const MOST_LINES: usize = 1_000_000;

/// Which record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Id {
    Flow(u64),
    Dns(u64),
    Tls(u64),
    AiCall(u64),
    /// Sixteen hexadecimal digits.
    Finding(String),
    Ledger(i64),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flow(number) => write!(f, "flow:{number}"),
            Self::Dns(number) => write!(f, "dns:{number}"),
            Self::Tls(number) => write!(f, "tls:{number}"),
            Self::AiCall(number) => write!(f, "ai_call:{number}"),
            Self::Finding(digits) => f.write_str(digits),
            Self::Ledger(number) => write!(f, "ledger:{number}"),
        }
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no record: write flow:N, dns:N, tls:N, ai_call:N, ledger:N or the 16 digits of a finding"
            )
        };
        let (kind, rest) = text.split_once(':').unwrap_or(("finding", text));
        let number = || rest.parse().map_err(|_| wrong());
        match kind {
            "flow" => Ok(Self::Flow(number()?)),
            "dns" => Ok(Self::Dns(number()?)),
            "tls" => Ok(Self::Tls(number()?)),
            "ai_call" => Ok(Self::AiCall(number()?)),
            "ledger" => Ok(Self::Ledger(rest.parse().map_err(|_| wrong())?)),
            "finding" if rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Ok(Self::Finding(rest.to_ascii_lowercase()))
            }
            _ => Err(wrong()),
        }
    }
}

/// One record.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Flow(Arc<Record>),
    Lookup(Arc<Lookup>),
    Passage(Arc<Passage>),
    Call(Arc<ApiCall>),
    Finding(Arc<Finding>),
    Entry(Box<Stored>),
}

/// A rule that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Where it was judged, or what it is to the record.
    pub(super) at: &'static str,
    /// The rule, with its object and place.
    pub(super) text: String,
    /// File and line, where it was written in one.
    place: Option<(String, usize)>,
}

impl Known {
    /// The record in an answer.
    pub(super) fn of(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Record(record) => Some(Self::Flow(record)),
            Answer::Lookup(lookup) => Some(Self::Lookup(lookup)),
            Answer::Passage(passage) => Some(Self::Passage(passage)),
            Answer::Call(call) => Some(Self::Call(call)),
            Answer::Finding(finding) => Some(Self::Finding(finding)),
            _ => None,
        }
    }

    pub(super) fn id(&self) -> Id {
        match self {
            Self::Flow(record) => Id::Flow(record.sequence),
            Self::Lookup(lookup) => Id::Dns(lookup.sequence),
            Self::Passage(passage) => Id::Tls(passage.sequence),
            Self::Call(call) => Id::AiCall(call.sequence),
            Self::Finding(finding) => Id::Finding(finding.told.id.clone()),
            Self::Entry(stored) => Id::Ledger(stored.id),
        }
    }

    pub(super) fn time(&self) -> Time {
        match self {
            Self::Flow(record) => record.time,
            Self::Lookup(lookup) => lookup.query.time,
            Self::Passage(passage) => passage.record.time,
            Self::Call(call) => call.call.time,
            Self::Finding(finding) => finding.told.until,
            Self::Entry(stored) => Time(stored.entry.time),
        }
    }

    /// As its command lists it.
    pub(super) fn cells(&self, clock: &Clock) -> Vec<String> {
        match self {
            Self::Flow(record) => flows::cells(record, clock).to_vec(),
            Self::Lookup(lookup) => lookups::cells(lookup, clock).to_vec(),
            Self::Passage(passage) => connections::cells(passage, clock).to_vec(),
            Self::Call(call) => calls::cells(call, clock).to_vec(),
            Self::Finding(finding) => findings::cells(finding, clock).to_vec(),
            Self::Entry(stored) => ledger_cmd::entry_cells(stored, clock).into_iter().skip(1).collect(),
        }
    }

    /// The address and port that opened.
    pub(super) fn pod(&self) -> Option<(IpAddr, u16)> {
        let socket = |it: SocketAddr| Some((it.ip(), it.port()));
        match self {
            Self::Flow(record) => Some((record.from.address, record.from.port)),
            Self::Lookup(lookup) => Some((lookup.query.pod, 0)),
            Self::Passage(passage) => socket(passage.record.pod),
            Self::Call(call) => socket(call.call.pod),
            Self::Finding(_) | Self::Entry(_) => None,
        }
    }

    fn destination(&self) -> Option<(IpAddr, u16)> {
        let socket = |it: SocketAddr| Some((it.ip(), it.port()));
        match self {
            Self::Flow(record) => Some((record.to.address, record.port)),
            Self::Passage(passage) => socket(passage.record.destination),
            Self::Call(call) => socket(call.call.destination),
            Self::Lookup(_) | Self::Finding(_) | Self::Entry(_) => None,
        }
    }

    /// Whether the other is about the same connection; of a DNS question, whether it led there.
    pub(super) fn belongs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Lookup(_), Self::Lookup(_)) => false,
            (Self::Lookup(lookup), connection) | (connection, Self::Lookup(lookup)) => {
                let query = &lookup.query;
                connection.pod().is_some_and(|pod| pod.0 == query.pod)
                    && connection.destination().is_some_and(|to| query.addresses.contains(&to.0))
                    && query.time <= connection.time()
            }
            (_, _) => {
                let ends = |it: &Self| it.pod().zip(it.destination());
                ends(self).is_some_and(|ends_of| ends_of.0.1 != 0 && ends(other) == Some(ends_of))
            }
        }
    }

    /// What the records beside it are to it.
    pub(super) fn joined_head(&self) -> &'static str {
        match self {
            Self::Flow(_) | Self::Passage(_) | Self::Call(_) => {
                "of the same connection, and the question that opened its address"
            }
            Self::Lookup(_) => "connections to the addresses that it led to",
            Self::Finding(_) => "the first records that it rests on",
            Self::Entry(stored) if stored.entry.kind == Kind::Finding => {
                "the first records that it rests on, as far as they are in this ledger"
            }
            Self::Entry(_) => "entries of the same source and destination, within a minute",
        }
    }

    /// What its line does not say.
    pub(super) fn facts(&self) -> Vec<String> {
        let judged = |node: &str, generation: policy::Generation| {
            format!("seen by {node}, judged under policy generation {}", generation.0)
        };
        match self {
            Self::Flow(record) => {
                let mut facts = vec![
                    judged(&record.node, record.generation),
                    format!("decided at {}: {}", record.deciding, record.reason.describe()),
                ];
                facts.extend(record.connection.map(|number| format!("connection {number} of that node")));
                facts.extend(record.about.map(|about| about.describe().to_owned()));
                facts
            }
            Self::Lookup(lookup) => {
                let generation = lookup.query.generation.unwrap_or(policy::Generation(0));
                vec![judged(&lookup.node, generation), lookup.query.reason.describe().to_owned()]
            }
            Self::Passage(passage) => vec![judged(&passage.node, passage.record.generation)],
            Self::Call(call) => vec![
                judged(&call.node, call.call.generation),
                format!("request {}: {}", call.call.request_id, call.call.operation.reason),
            ],
            Self::Finding(finding) => {
                let told = &finding.told;
                let mut facts = vec![format!("begun {}, {} records speak for it", told.time, told.count)];
                for number in &told.numbers {
                    let mut text = format!("{}: {}", number.name, number.value);
                    text.extend(number.baseline.map(|baseline| format!(", usual {baseline}")));
                    text.extend(number.threshold.map(|threshold| format!(", told from {threshold}")));
                    facts.push(text);
                }
                if !told.techniques.is_empty() {
                    facts.push(told.techniques.join(" "));
                }
                facts
            }
            Self::Entry(stored) if stored.entry.kind == Kind::Finding => {
                let told = incident::Finding::read(stored);
                let mut facts =
                    vec![told.sentence, format!("begun {}, {} records speak for it", told.time, told.count)];
                facts.extend(told.numbers.iter().filter_map(number));
                if !told.techniques.is_empty() {
                    facts.push(told.techniques.join(" "));
                }
                facts
            }
            Self::Entry(stored) => {
                let entry = &stored.entry;
                vec![format!(
                    "sent {} bytes, received {}; {} of the kind in it",
                    entry.sent, entry.received, entry.count
                )]
            }
        }
    }

    /// The rules that it names; where it is a flow, those of both directions.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let named = |at: &'static str, text: Option<&Arc<str>>| text.map(|text| Rule::of_text(at, text));
        match self {
            Self::Flow(record) => {
                let sides = [("at its source", &record.egress), ("at its destination", &record.ingress)];
                let mut rules: Vec<Rule> = sides
                    .into_iter()
                    .filter_map(|(at, rule)| Some(Rule::of_verdict(at, rule.as_ref()?)))
                    .collect();
                rules.extend(record.shadow.as_deref().map(|rule| Rule::of_verdict("by the candidate", rule)));
                rules
            }
            Self::Lookup(lookup) => named("by", lookup.query.rule.as_ref()).into_iter().collect(),
            Self::Passage(passage) => {
                let record = &passage.record;
                named("by", record.rule.as_ref())
                    .into_iter()
                    .chain(named("nearest", record.nearest.as_ref()))
                    .collect()
            }
            Self::Call(call) => {
                let call = &call.call;
                named("by", call.rule.as_ref())
                    .into_iter()
                    .chain(named("nearest", call.nearest.as_ref()))
                    .collect()
            }
            Self::Finding(finding) => named("by", finding.told.rule.as_ref()).into_iter().collect(),
            Self::Entry(stored) => {
                named("by", Some(&stored.entry.rule).filter(|rule| !rule.is_empty())).into_iter().collect()
            }
        }
    }

    /// As JSON.
    pub(super) fn json(&self) -> Result<Value> {
        Ok(match self {
            Self::Flow(record) => serde_json::to_value(&**record)?,
            Self::Lookup(lookup) => serde_json::to_value(&**lookup)?,
            Self::Passage(passage) => serde_json::to_value(&**passage)?,
            Self::Call(call) => serde_json::to_value(&**call)?,
            Self::Finding(finding) => serde_json::to_value(&**finding)?,
            Self::Entry(stored) => incident::record::json(stored),
        })
    }

    /// What policies can be asked about it.
    pub(super) fn access(&self) -> Option<Asked> {
        let who = |from: Option<&End>, address: IpAddr| match from.map(|from| (&from.namespace, &from.name)) {
            Some((Some(namespace), Some(name))) => format!("{namespace}/{name}"),
            Some((None, Some(name))) => format!("node:{name}"),
            Some((_, None)) | None => address.to_string(),
        };
        let asked = |from, name: Option<String>, to: SocketAddr| Asked {
            from,
            name,
            to: Some(to.ip().to_string()),
            port: to.port(),
            protocol: Protocol::TCP,
        };
        match self {
            Self::Flow(record) => {
                let name = record.to.names.first().map(ToString::to_string);
                Some(Asked {
                    from: who(Some(&record.from), record.from.address),
                    to: Some(if name.is_some() {
                        record.to.address.to_string()
                    } else {
                        who(Some(&record.to), record.to.address)
                    }),
                    name,
                    port: record.port,
                    protocol: record.protocol,
                })
            }
            Self::Lookup(lookup) => Some(Asked {
                from: who(lookup.from.as_ref(), lookup.query.pod),
                to: None,
                name: Some(lookup.query.name.to_string()),
                port: 0,
                protocol: Protocol::TCP,
            }),
            Self::Passage(passage) => {
                let record = &passage.record;
                Some(asked(
                    who(passage.from.as_ref(), record.pod.ip()),
                    record.claim.name.clone(),
                    record.destination,
                ))
            }
            Self::Call(call) => {
                let (from, call) = (call.from.as_ref(), &call.call);
                Some(asked(who(from, call.pod.ip()), Some(call.name.to_string()), call.destination))
            }
            Self::Finding(_) | Self::Entry(_) => None,
        }
    }
}

/// A number of a finding, as the ledger has it.
fn number(told: &Value) -> Option<String> {
    let name = told.get("name")?.as_str()?;
    let mut text = format!("{name}: {}", told.get("value")?);
    text.extend(told.get("baseline").map(|baseline| format!(", usual {baseline}")));
    text.extend(told.get("threshold").map(|threshold| format!(", told from {threshold}")));
    Some(text)
}

impl Rule {
    fn of_verdict(at: &'static str, rule: &RuleVerdict) -> Self {
        let place = rule.source.as_ref().map(|source| (source.file.to_string(), source.line as usize));
        // What no rule decided is told by its reason alone.
        let by = rule.object.as_ref().map(|_| format!(": {rule}")).unwrap_or_default();
        Self { at, text: format!("{}{by}: {}", rule.verdict, rule.reason.describe()), place }
    }

    /// A rule as records name it, with its place in parentheses at the end.
    fn of_text(at: &'static str, text: &str) -> Self {
        let place = || {
            let (_, place) = text.strip_suffix(')')?.rsplit_once('(')?;
            let (before, number) = place.rsplit_once(':')?;
            // Behind the line there may be its column.
            let with_column =
                before.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?)));
            let (file, line) = match with_column {
                Some(found) => found,
                None => (before, number.parse().ok()?),
            };
            Some((file.to_owned(), line))
        };
        Self { at, text: text.to_owned(), place: place() }
    }

    /// Its lines as they stand in the file now, with their numbers: the first, and those below it that are indented deeper; of a
    /// whole object, those up to the next one.
    pub(super) fn lines(&self) -> Option<Result<Vec<(usize, String)>, String>> {
        let (file, line) = self.place.as_ref()?;
        Some(lines(file, *line).map_err(|error| format!("{file}:{line}: {error}")))
    }
}

fn lines(file: &str, line: usize) -> std::io::Result<Vec<(usize, String)>> {
    let reader = BufReader::new(File::open(file)?);
    let mut found: Vec<(usize, String)> = Vec::new();
    let (mut first, mut is_object) = (0, false);
    for (number, text) in (1..).zip(reader.lines().take(MOST_LINES)).skip(line.saturating_sub(1)) {
        let text = text?;
        let indent = text.len() - text.trim_start().len();
        if found.is_empty() {
            first = indent;
            is_object = indent == 0 && !text.starts_with('-');
        } else {
            let is_over =
                if is_object { text.starts_with("---") } else { indent <= first && !text.trim().is_empty() };
            if is_over || found.len() >= LINES {
                break;
            }
        }
        found.push((number, text.chars().take(LINE_BYTES).collect()));
    }
    while found.last().is_some_and(|(_, text)| text.trim().is_empty()) {
        found.pop();
    }
    if found.is_empty() { Err(std::io::Error::other("the file has no such line")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written_and_nothing_else_is() {
        for text in ["flow:1041", "dns:1", "tls:2", "ai_call:3", "ledger:88123", "6c1f0a9be2d44f10"] {
            assert_eq!(text.parse::<Id>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "1",
            "flow:",
            "flow:x",
            "flow:-1",
            "budget:3",
            "6c1f0a9be2d44f1",
            "6c1f0a9be2d44f1z",
            "a:b:1",
        ] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rule_is_shown_from_its_line_to_the_end_of_its_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        let text = "spec:\n  egress:\n    - action: Allow\n      to: []\n\n      ports: []\n    - action: Deny\n---\nkind: Pod\n";
        std::fs::write(&path, text).unwrap();
        let shown = |line: usize| {
            let rule =
                Rule::of_text("by", &format!("EgressPolicy a/b spec.egress[0] ({}:{line})", path.display()));
            rule.lines().unwrap()
        };
        let numbers = |line| shown(line).unwrap().into_iter().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(numbers(3), [3, 4, 5, 6]);
        assert_eq!(numbers(7), [7]);
        assert_eq!(numbers(2), [2, 3, 4, 5, 6, 7]);
        assert_eq!(numbers(1), [1, 2, 3, 4, 5, 6, 7], "a whole object, and not the next one");
        let with_column = Rule::of_text("by", &format!("InferencePolicy a/b spec ({}:7:5)", path.display()));
        assert_eq!(with_column.lines().unwrap().unwrap().len(), 1, "the column is not the line");
        assert!(shown(99).unwrap_err().contains("no such line"));
        let gone = Rule::of_text("by", "NetworkPolicy a/b (none.yaml:3)").lines().unwrap();
        assert!(gone.unwrap_err().starts_with("none.yaml:3: "));
        assert_eq!(Rule::of_text("by", "NetworkPolicy a/b").lines(), None);
    }
}
