//! `cofferdam explain`: all that is known of one record.
//!
//! Enters: a record's id; where they are at hand, the running `up` or agent, a ledger and policies. Leaves: text, or one JSON object.
//! Guarantees: what is shown as joined shares the connection, or the question that opened its address; what is no longer kept
//! is said to be missing. Does not: judge by anything but the policies that are named, which may be other than those of then.

mod record;

use crate::catalog::CatalogArg;
use crate::form::{Clock, FormArgs, Output};
use crate::ledger_cmd::open;
use crate::plain::printable;
use crate::policy::{ExplainArgs, Sources};
use crate::remote::RemoteArgs;
use crate::up::client::ask;
use crate::up::finding::FindingQuery;
use crate::up::lookup::Filter;
use crate::up::protocol::{Answer, Request};
use ::ledger::{EntryFilter, Kind, Store, Stored};
use anyhow::{Context, Result, bail};
use clap::Args;
use observe::{Pattern, Query, Time};
use record::{Id, Known, Rule};
use serde_json::{Value, json};
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How far apart records of one connection are looked for.
const AROUND: Duration = Duration::from_secs(3600);
/// How far apart entries of a ledger are that belong together: they have the time of the first of 15 seconds.
const NEAR: Duration = Duration::from_secs(60);
/// Joined records that are shown.
const JOINED: usize = 20;

/// Everything known about one record, down to its YAML lines
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam flows --ids --verdict deny --since 5m
  cofferdam explain flow:1041
  cofferdam explain flow:1041 -f manifests/           and how these policies judge it, tier by tier
  cofferdam explain ai_call:7 --json
  cofferdam explain 6c1f0a9be2d44f10                  a finding
  cofferdam explain ledger:88123 --ledger /backup/ledger.db
  cofferdam explain ledger:88123 --api http://127.0.0.1:8080 --token token    of a collector

flow, dns, tls (`cofferdam connections`), ai_call (`calls`, `tools`) and findings are in the memory of what runs, and numbered anew
when it starts again; ledger:N is the number in `cofferdam ledger show`. With --ledger or --api a finding is looked for there.")]
pub(crate) struct RecordArgs {
    /// Its id: flow:N, dns:N, tls:N, ai_call:N, ledger:N, or the 16 digits of a finding
    record: Id,
    /// Policies to judge it by as well: manifest or folder of manifests; may be repeated
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// The ledger's file [default: that of the running `up` or agent]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Local socket of the running `up` or agent
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    form: FormArgs,
}

/// All that is known.
struct Told {
    known: Known,
    rules: Vec<Rule>,
    joined: Vec<Known>,
    /// Ids of records that are no longer kept.
    gone: Vec<String>,
    findings: Vec<Known>,
    /// How the policies that are named judge it.
    judged: Option<Result<Vec<u8>>>,
}

/// Runs the command.
pub(crate) fn run(args: &RecordArgs, out: &mut impl Write) -> Result<()> {
    let is_json = match args.form.output(args.json) {
        Output::Table => false,
        Output::Json | Output::Jsonl => true,
        Output::Csv => bail!("what is known of one record is no table: leave -o out, or use -o json"),
    };
    let known = args.find(&args.record)?;
    let (joined, gone) = args.joined(&known)?;
    let findings = args.findings(&known, &joined)?;
    let judged = args.judged(&known, is_json);
    let told = Told { rules: known.rules(), known, joined, gone, findings, judged };
    if is_json {
        writeln!(out, "{}", told.json()?)?;
        return Ok(());
    }
    told.write(&args.form.clock(Output::Table).dated(), out)
}

impl RecordArgs {
    fn ask(&self, request: &Request) -> Result<Vec<Known>> {
        let mut found = Vec::new();
        for answer in ask(self.socket.as_deref(), request)? {
            match answer? {
                Answer::End { .. } => break,
                Answer::Missed(_) => {}
                answer => found.extend(Known::of(answer)),
            }
        }
        Ok(found)
    }

    /// The record itself.
    fn find(&self, id: &Id) -> Result<Known> {
        let none = || match id {
            Id::Ledger(_) => format!("{id} is not in the ledger: it was forgotten, or never written"),
            Id::Flow(_) | Id::Dns(_) | Id::Tls(_) | Id::AiCall(_) => format!(
                "{id} is not in memory: it was evicted, or what runs was started again; denials and requests are also in the \
                 ledger, if there is one: `cofferdam ledger show`"
            ),
            Id::Finding(_) => format!("there is no finding {id}"),
        };
        let (query, one) = (Query { limit: Some(1), ..Query::default() }, Some(1));
        let before = |number: &u64| Some(number.saturating_sub(1));
        let request = match id {
            Id::Flow(_) | Id::Dns(_) | Id::Tls(_) | Id::AiCall(_) if self.remote.is_named() => bail!(
                "{id} is a number in the memory of one node, which an API does not tell: with --api ask for ledger:N, as lists \
                 with --api --ids have it, or for a finding"
            ),
            Id::Flow(number) => Request::Flows { query, after: before(number), follow: false },
            Id::Dns(number) => {
                let query = Filter { limit: one, ..Filter::default() };
                Request::Lookups { query, after: before(number), follow: false }
            }
            Id::Tls(number) => {
                let query = Filter { limit: one, ..Filter::default() };
                Request::Passages { query, after: before(number), follow: false }
            }
            Id::AiCall(number) => {
                let query = Filter { limit: one, ..Filter::default() };
                Request::Calls { query, after: before(number), follow: false }
            }
            Id::Finding(id) if self.ledger.is_some() || self.remote.is_named() => {
                return self.kept_finding(id)?.with_context(none);
            }
            Id::Finding(_) => all_findings(),
            Id::Ledger(number) => {
                let filter = EntryFilter {
                    after: Some(number.saturating_sub(1)),
                    before: Some(number.saturating_add(1)),
                    limit: Some(1),
                    ..EntryFilter::default()
                };
                let entry = self.store()?.entries(&filter)?.pop();
                return entry.map(|entry| Known::Entry(Box::new(entry))).with_context(none);
            }
        };
        // Of a finding the last is the truth.
        self.ask(&request)?.into_iter().rfind(|known| known.id() == *id).with_context(none)
    }

    /// A finding of the ledger's file, as it was told last.
    fn kept_finding(&self, id: &str) -> Result<Option<Known>> {
        let filter = EntryFilter { kind: Some(Kind::Finding), ..EntryFilter::default() };
        let found = self.store()?.entries(&filter)?.into_iter();
        let mut found = found.filter(|stored| incident::Finding::read(stored).id == *id);
        Ok(found.next().map(|entry| Known::Entry(Box::new(entry))))
    }

    fn store(&self) -> Result<Box<dyn Store>> {
        match self.remote.or_ledger(self.ledger.as_deref())? {
            Some(remote) => Ok(Box::new(remote)),
            None => Ok(Box::new(open(self.ledger.as_deref(), self.socket.as_deref())?)),
        }
    }

    /// Records that belong to the same connection, by time; and the ids of those that are gone.
    fn joined(&self, known: &Known) -> Result<(Vec<Known>, Vec<String>)> {
        if let Known::Entry(entry) = known {
            let joined = match entry.entry.kind {
                Kind::Finding => self.records_of(entry),
                Kind::Flow | Kind::Dns | Kind::Tls | Kind::AiCall | Kind::Audit => self.near(entry)?,
            };
            return Ok((joined, Vec::new()));
        }
        if let Known::Finding(finding) = known {
            let (mut joined, mut gone) = (Vec::new(), Vec::new());
            for id in finding.told.records.iter().take(JOINED).map(ToString::to_string) {
                // What is no record of ours, such as a budget, has no more to say.
                let Ok(read) = id.parse::<Id>() else { continue };
                match self.find(&read) {
                    Ok(found) => joined.push(found),
                    Err(_) => gone.push(id),
                }
            }
            return Ok((joined, gone));
        }
        let Some(pod) = known.pod() else { return Ok((Vec::new(), Vec::new())) };
        let mut joined: Vec<Known> = self.around(pod.0, known.time())?;
        joined.retain(|other| other.id() != known.id() && known.belongs(other));
        joined.sort_by_key(Known::time);
        // Of the questions that led to an address only the last before the connection opened it.
        let asked: Vec<usize> =
            (0..joined.len()).filter(|at| matches!(joined.get(*at), Some(Known::Lookup(_)))).collect();
        if let ([older @ .., _], false) = (asked.as_slice(), matches!(known, Known::Lookup(_))) {
            let older = older.to_vec();
            let mut at = 0;
            joined.retain(|_| {
                at += 1;
                !older.contains(&(at - 1))
            });
        }
        joined.truncate(JOINED);
        Ok((joined, Vec::new()))
    }

    /// What a pod did about that time.
    fn around(&self, pod: IpAddr, time: Time) -> Result<Vec<Known>> {
        let (since, until) = (Some(time.before(AROUND)), Some(Time(time.0.saturating_add(micros(AROUND)))));
        let from = Some(Pattern(pod.to_string().into()));
        let (after, follow) = (None, false);
        let flows = Query { from: from.clone(), since, until, ..Query::default() };
        let mut found = self.ask(&Request::Flows { query: flows, after, follow })?;
        let query = Filter { from: from.clone(), since, until, ..Filter::default() };
        found.extend(self.ask(&Request::Lookups { query, after, follow })?);
        let query = Filter { from, since, until, ..Filter::default() };
        found.extend(self.ask(&Request::Passages { query: query.clone(), after, follow })?);
        found.extend(self.ask(&Request::Calls { query, after, follow })?);
        Ok(found)
    }

    /// The entries of a ledger that a finding in it names: those of a collector name its own. What nodes name is in their memory.
    fn records_of(&self, finding: &Stored) -> Vec<Known> {
        let named = incident::Finding::read(finding).records;
        let ids =
            named.iter().filter_map(|id| id.parse::<Id>().ok()).filter(|id| matches!(id, Id::Ledger(_)));
        ids.take(JOINED).filter_map(|id| self.find(&id).ok()).collect()
    }

    /// Entries of a ledger with the same ends about the same time.
    fn near(&self, stored: &Stored) -> Result<Vec<Known>> {
        let Stored { id, entry } = stored;
        // An API cannot be asked for what has no name.
        if self.remote.is_named() && (entry.source.is_empty() || entry.destination.is_empty()) {
            return Ok(Vec::new());
        }
        let filter = EntryFilter {
            source: Some(entry.source.to_string()),
            destination: Some(entry.destination.to_string()),
            since: Some(entry.time.saturating_sub(micros(NEAR))),
            until: Some(entry.time.saturating_add(micros(NEAR))),
            limit: Some(JOINED),
            ..EntryFilter::default()
        };
        let mut found = self.store()?.entries(&filter)?;
        found.retain(|other| other.id != *id && other.entry.kind != Kind::Finding);
        found.reverse();
        Ok(found.into_iter().map(|entry| Known::Entry(Box::new(entry))).collect())
    }

    /// Findings that rest on the record or on one of the same connection; of a ledger's entry, those of its source about then.
    fn findings(&self, known: &Known, joined: &[Known]) -> Result<Vec<Known>> {
        if let Known::Entry(stored) = known {
            if self.remote.is_named() && stored.entry.source.is_empty() {
                return Ok(Vec::new());
            }
            let filter = EntryFilter {
                kind: Some(Kind::Finding),
                source: Some(stored.entry.source.to_string()),
                since: Some(stored.entry.time.saturating_sub(micros(NEAR))),
                until: Some(stored.entry.time.saturating_add(micros(AROUND))),
                limit: Some(JOINED),
                ..EntryFilter::default()
            };
            let found = self.store()?.entries(&filter)?.into_iter().filter(|other| other.id != stored.id);
            return Ok(found.map(|entry| Known::Entry(Box::new(entry))).collect());
        }
        if matches!(known, Known::Finding(_)) {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = [known].into_iter().chain(joined).map(|it| it.id().to_string()).collect();
        let names = |finding: &Known| match finding {
            Known::Finding(finding) => finding.told.records.iter().any(|it| ids.contains(&it.to_string())),
            Known::Flow(_) | Known::Lookup(_) | Known::Passage(_) | Known::Call(_) | Known::Entry(_) => false,
        };
        let mut newest: Vec<Known> = Vec::new();
        for finding in self.ask(&all_findings())?.into_iter().filter(names) {
            newest.retain(|known| known.id() != finding.id());
            newest.push(finding);
        }
        Ok(newest)
    }

    /// How the policies that are named judge such an access.
    fn judged(&self, known: &Known, is_json: bool) -> Option<Result<Vec<u8>>> {
        if self.files.is_empty() {
            return None;
        }
        let sources = Sources { files: self.files.clone(), catalog: self.catalog.clone() };
        let judge = || {
            let access = known.access().context("of this record it is not known which access it is about")?;
            let mut text = Vec::new();
            crate::policy::explain(&ExplainArgs::of(sources, access, is_json), &mut text)?;
            Ok(text)
        };
        Some(judge())
    }
}

fn all_findings() -> Request {
    Request::Findings {
        query: FindingQuery { suppressed: true, ..FindingQuery::default() },
        after: None,
        follow: false,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Told {
    fn write(&self, clock: &Clock, out: &mut impl Write) -> Result<()> {
        writeln!(out, "{}", line(&self.known, clock))?;
        for fact in self.known.facts() {
            writeln!(out, "  {}", printable(&fact))?;
        }
        for rule in &self.rules {
            writeln!(out, "{}: {}", rule.at, printable(&rule.text))?;
            match rule.lines() {
                Some(Ok(lines)) => {
                    for (number, text) in lines {
                        writeln!(out, "  {number:>5} | {}", printable(&text))?;
                    }
                }
                Some(Err(why)) => writeln!(out, "  its lines are not shown: {}", printable(&why))?,
                None => {}
            }
        }
        if !self.joined.is_empty() || !self.gone.is_empty() {
            writeln!(out, "{}", self.known.joined_head())?;
            for known in &self.joined {
                writeln!(out, "  {}", line(known, clock))?;
            }
            if !self.gone.is_empty() {
                writeln!(out, "  no longer in memory: {}", self.gone.join(" "))?;
            }
        }
        if !self.findings.is_empty() {
            writeln!(out, "findings about it")?;
            for finding in &self.findings {
                writeln!(out, "  {}", line(finding, clock))?;
            }
        }
        match &self.judged {
            Some(Ok(text)) => {
                writeln!(out, "by the policies that are named now")?;
                for text in String::from_utf8_lossy(text).lines() {
                    writeln!(out, "  {text}")?;
                }
            }
            Some(Err(why)) => {
                writeln!(out, "by the policies that are named it could not be judged: {why:#}")?
            }
            None => {}
        }
        Ok(())
    }

    fn json(&self) -> Result<Value> {
        let all = |known: &[Known]| {
            known
                .iter()
                .map(|it| Ok(json!({"id": it.id().to_string(), "record": it.json()?})))
                .collect::<Result<Vec<_>>>()
        };
        let rules = self.rules.iter().map(|rule| {
            let lines = rule.lines().and_then(Result::ok);
            json!({"at": rule.at, "text": rule.text, "lines": lines})
        });
        let judged = match &self.judged {
            Some(Ok(text)) => serde_json::from_slice(text)?,
            Some(Err(why)) => json!({"error": format!("{why:#}")}),
            None => Value::Null,
        };
        Ok(json!({
            "id": self.known.id().to_string(),
            "record": self.known.json()?,
            "rules": rules.collect::<Vec<_>>(),
            "joined": all(&self.joined)?,
            "gone": self.gone,
            "findings": all(&self.findings)?,
            "judged": judged,
        }))
    }
}

fn line(known: &Known, clock: &Clock) -> String {
    let cells = known.cells(clock);
    let cells = cells.iter().filter(|cell| !cell.is_empty()).map(|cell| printable(cell));
    [known.id().to_string()].into_iter().chain(cells).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::ledger::{Entry, Ledger, Verdict};
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: RecordArgs,
    }

    #[test]
    fn a_finding_of_a_ledger_says_what_was_found_and_shows_the_entries_that_it_rests_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let flow = |node: &str| Entry {
            time: 1_800_000_000_000_000,
            node: node.into(),
            source: "ai/web".into(),
            destination: format!("of-{node}.example").into(),
            detail: Some("{}".to_owned()),
            ..Entry::new(Kind::Flow, Verdict::Deny)
        };
        let detail = json!({
            "id": "00112233445566aa", "detector": "port-scan", "workload": "ai/web", "subject": "ports",
            "sentence": "it looks for what is open", "count": 24, "records": ["ledger:1", "ledger:2", "flow:7"],
            "numbers": [{"name": "nodes", "value": 2.0, "threshold": 2.0}], "techniques": ["T1046"],
        });
        let finding = Entry {
            time: 1_800_000_000_000_001,
            source: "ai/web".into(),
            reason: "port-scan".into(),
            detail: Some(detail.to_string()),
            ..Entry::new(Kind::Finding, Verdict::None)
        };
        Ledger::open(&path).unwrap().0.append(&[flow("a"), flow("b"), flow("c"), finding]).unwrap();
        for id in ["ledger:4", "00112233445566aa"] {
            let file = path.to_str().unwrap();
            let program = Program::parse_from(["explain", id, "--ledger", file]);
            let mut out = Vec::new();
            run(&program.args, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            for says in [
                "it looks for what is open",
                "nodes: 2.0, told from 2.0",
                "of-a.example",
                "of-b.example",
                "T1046",
            ] {
                assert!(text.contains(says), "{id}: {says}: {text}");
            }
            assert!(!text.contains("of-c.example"), "{text}");
        }
    }
}
