//! `cofferdam flows`: the records of a running `up`, as a table or as JSON lines.
//!
//! Enters: filters. Leaves: one line per record, oldest first; with `--follow` as they come.
//! Guarantees: text from records cannot steer the terminal; records that were missed are mentioned where they
//! belong.
//! Does not: judge anything, or need privilege beyond being the user who runs `up`.

use crate::form::{Clock, FormArgs, Sheet};
use crate::ledger_cmd::entry_cells;
use crate::listing::{ID_WIDTH, entry_json, kept_verdict, show_kept};
use crate::plain::printable;
use crate::remote::{Kept, Remote, RemoteArgs, Seen, Sought, is_end};
use crate::room;
use crate::up::client::ask;
use crate::up::protocol::{Answer, Request};
use ::ledger::{Entry, EntryFilter, Stored};
use anyhow::{Result, bail, ensure};
use clap::Args;
use observe::{About, Kind, Pattern, Query, Record, RuleVerdict, Time, Traffic, parse_duration};
use policy::{Protocol, Verdict};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Connections: allowed or denied, and why.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam flows --follow
  cofferdam flows --verdict deny --since 5m
  cofferdam flows --summary --since 1h
  cofferdam flows --about address-not-resolved
  cofferdam flows --shadow-differs --follow
  cofferdam flows --from 'train/*' --to vector-db --port 6333
  cofferdam flows --json | jq -r 'select(.kind == \"deny\") | .ingress.source.file'
  cofferdam flows --verdict deny --follow --api http://127.0.0.1:8080 --token token    of a whole cluster, by its collector

With --api these are entries of the ledger there, as `cofferdam ledger show` has them: of all nodes, and what was allowed summed up
by 15 seconds. A name without * or ? matches anywhere in namespace/name, the workload or the address.")]
pub(crate) struct FlowsArgs {
    /// Go on with records as they come
    #[arg(long, short = 'f', visible_short_alias = 'F')]
    follow: bool,
    /// Only this verdict: allow or deny
    #[arg(long, value_parser = verdict)]
    verdict: Option<Verdict>,
    /// Only this kind: open, close or deny
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Who opened: part of a name or address, or a glob such as 'prod/*'
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// Who received: part of a name or address, or a glob
    #[arg(long, value_name = "NAME", visible_alias = "name")]
    to: Option<String>,
    /// Not older: 90s, 5m, 2h, 1d, or a time like 2026-11-23T21:06:27Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Time>,
    /// Not younger: written like --since
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Time>,
    /// Destination port
    #[arg(long)]
    port: Option<u16>,
    /// TCP, UDP, SCTP, ICMP, ICMPv6 or a number
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Only denials about this: metadata-service, api-server, dns-elsewhere, dns-over-tls, dns-over-https or
    /// address-not-resolved
    #[arg(long, value_name = "WORD")]
    about: Option<About>,
    /// Only where the candidate that `up --shadow` judges by would not have done what happened
    #[arg(long)]
    shadow_differs: bool,
    /// At most so many, the newest ones
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Count by workloads, port and rule instead of listing; denials first
    #[arg(long, conflicts_with_all = ["follow", "json", "output"])]
    summary: bool,
    /// The same as -o jsonl
    #[arg(long)]
    json: bool,
    /// Each record's id as well, as `cofferdam explain` takes it
    #[arg(long)]
    ids: bool,
    #[command(flatten)]
    form: FormArgs,
    /// Local socket of the running `up`
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// What `--verdict` says.
pub(crate) fn verdict(text: &str) -> Result<Verdict, String> {
    match text {
        "allow" => Ok(Verdict::Allow),
        "deny" => Ok(Verdict::Deny),
        _ => Err("use allow or deny".into()),
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "open" => Ok(Kind::Open),
        "close" => Ok(Kind::Close),
        "deny" => Ok(Kind::Deny),
        _ => Err("use open, close or deny".into()),
    }
}

/// A time, or how long ago.
pub(crate) fn moment(text: &str) -> Result<Time, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = parse_duration(text).map_err(|_| {
        format!("{text:?} is neither a duration like 5m nor a time like 2026-11-23T21:06:27Z")
    })?;
    Ok(Time::from(SystemTime::now()).before(ago))
}

/// Runs the command.
pub(crate) fn run(args: FlowsArgs, out: &mut impl Write) -> Result<()> {
    if let Some(remote) = args.remote.remote()? {
        return of_api(&args, &remote, out);
    }
    let query = Query {
        verdict: args.verdict,
        kind: args.kind,
        from: args.from.map(|text| Pattern(text.into())),
        to: args.to.map(|text| Pattern(text.into())),
        since: args.since,
        until: args.until,
        port: args.port,
        protocol: args.protocol,
        about: args.about,
        shadow_differs: args.shadow_differs,
        limit: args.limit,
    };
    let request = Request::Flows { query, after: None, follow: args.follow };
    let answers = ask(args.socket.as_deref(), &request)?;
    let mut summary = Summary::default();
    let (mut heads, mut widths) = (HEADERS.to_vec(), WIDTHS.to_vec());
    if args.ids {
        heads.insert(0, "RECORD");
        widths.insert(0, ID_WIDTH);
    }
    let mut sheet = Sheet::new(out, &args.form, (args.json, args.follow), heads, widths)?;
    for answer in answers {
        match answer? {
            Answer::Record(record) if args.summary => summary.add(&record),
            Answer::Record(record) => {
                let ids = args.ids.then(|| format!("flow:{}", record.sequence));
                let cells = |clock: &Clock| ids.into_iter().chain(cells(&record, clock)).collect();
                sheet.row(record.kind == Kind::Deny, cells, || Ok(serde_json::to_string(&*record)?))?;
            }
            Answer::Missed(count) => sheet.missed(count, "records")?,
            Answer::End { .. } => break,
            Answer::Lookup(_)
            | Answer::Passage(_)
            | Answer::Call(_)
            | Answer::Finding(_)
            | Answer::Content(_)
            | Answer::Response(_)
            | Answer::Shadow(_)
            | Answer::Settled { .. }
            | Answer::Status(_)
            | Answer::Lab { .. }
            | Answer::Probe(_)
            | Answer::Error(_) => {
                bail!("the answer is not about flows")
            }
        }
    }
    if args.summary {
        drop(sheet);
        write!(out, "{}", summary.text())?;
        return Ok(());
    }
    sheet.end()
}

/// What the ledger behind an API has of them.
fn of_api(args: &FlowsArgs, remote: &Remote, out: &mut impl Write) -> Result<()> {
    ensure!(
        !args.shadow_differs,
        "--shadow-differs: what a candidate would have done is in the memory of a node; an API tells it at GET /policies"
    );
    ensure!(
        args.kind.is_none_or(|kind| kind == Kind::Deny),
        "--kind: a ledger sums up what was opened with how it ended; with --api only deny can be asked for"
    );
    let pattern = |text: &Option<String>| text.as_deref().map(|text| Pattern(text.into()));
    let (from, to) = (pattern(&args.from), pattern(&args.to));
    let is_meant = |stored: &Stored| {
        let entry = &stored.entry;
        let detail: Option<Value> = entry.detail.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let detail = detail.as_ref();
        let about = || detail.and_then(|detail| detail.get("about")?.as_str());
        args.kind.is_none_or(|_| entry.verdict == ::ledger::Verdict::Deny)
            && args.protocol.is_none_or(|protocol| protocol.0 == entry.protocol)
            && args.about.is_none_or(|wanted| about() == Some(wanted.as_str()))
            && is_end(from.as_ref(), &entry.source, detail, "from")
            && is_end(to.as_ref(), &entry.destination, detail, "to")
    };
    let sought = Sought {
        kind: ::ledger::Kind::Flow,
        verdict: args.verdict.map(kept_verdict),
        since: args.since,
        until: args.until,
        more: EntryFilter { port: args.port, ..EntryFilter::default() },
        is_meant: &is_meant,
        limit: args.limit,
        follow: args.follow,
    };
    if args.summary {
        let mut summary = Summary::default();
        remote.list(&sought, |seen| {
            if let Seen::Entry(stored) = seen {
                summary.add_entry(&stored.entry);
            }
            Ok(())
        })?;
        write!(out, "{}", summary.text())?;
        return Ok(());
    }
    let kept = Kept {
        heads: ["TIME", "NODE", "VERDICT", "COUNT", "FROM", "TO", "PORT", "DECIDED BY"],
        widths: [27, 12, 7, 5, 24, 24, 9, 0],
        cells: |stored, clock| {
            let [_, time, node, _, verdict, count, from, to, port, why] = entry_cells(stored, &clock.dated());
            [time, node, verdict, count, from, to, port, why]
        },
        json: entry_json,
    };
    show_kept(remote, &sought, &kept, (&args.form, args.json, args.ids), out)
}

/// Accesses by who, to whom, where and why: (denials before allows, from, to, port, rule) to how many.
#[derive(Debug, Default)]
pub(crate) struct Summary(BTreeMap<(Reverse<Verdict>, [String; 4]), u64>);

impl Summary {
    /// Ends of connections are no accesses of their own.
    pub(crate) fn add(&mut self, record: &Record) {
        if record.kind == Kind::Close {
            return;
        }
        let key = [record.from.workload(), record.to.workload(), port(record), why(record)];
        *self.0.entry((Reverse(record.verdict), key)).or_default() += 1 + record.suppressed;
    }

    /// The same of an entry of a ledger, which stands for several.
    fn add_entry(&mut self, entry: &Entry) {
        let verdict = match entry.verdict {
            ::ledger::Verdict::Allow => Verdict::Allow,
            ::ledger::Verdict::Deny | ::ledger::Verdict::Fail | ::ledger::Verdict::None => Verdict::Deny,
        };
        if entry.count == 0 {
            return;
        }
        let why = if entry.rule.is_empty() { &entry.reason } else { &entry.rule };
        let key = [
            entry.source.to_string(),
            entry.destination.to_string(),
            crate::ledger_cmd::port(entry.port, entry.protocol),
            why.to_string(),
        ];
        *self.0.entry((Reverse(verdict), key)).or_default() += entry.count;
    }

    pub(crate) fn text(&self) -> String {
        let mut rows = vec![["VERDICT", "COUNT", "FROM", "TO", "PORT", "DECIDED BY"].map(str::to_owned)];
        let mut totals = [0, 0];
        for ((Reverse(verdict), [from, to, port, why]), count) in &self.0 {
            let [allowed, denied] = &mut totals;
            let (word, total) = match verdict {
                Verdict::Allow => ("allow", allowed),
                Verdict::Deny => ("DENY", denied),
            };
            *total += count;
            rows.push([word, &count.to_string(), from, to, port, why].map(printable));
        }
        // The first time only widens the columns.
        let mut table = Table::<6>::new([0; 5]).shown();
        for row in &rows {
            table.row(row.clone());
        }
        let mut text: String = rows.into_iter().map(|row| table.row(row)).collect();
        let [allowed, denied] = totals;
        let _ = writeln!(text, "{allowed} allowed, {denied} denied");
        text
    }
}

/// A table that is printed as it grows: columns widen when they must, and never shrink. The last is never padded.
#[derive(Debug)]
pub(crate) struct Table<const COLUMNS: usize> {
    widths: [usize; COLUMNS],
    /// Width of the terminal that it is for.
    room: Option<usize>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// `least` are the first widths of all columns but the last.
    pub(crate) fn new<const PADDED: usize>(least: [usize; PADDED]) -> Self {
        let mut widths = [0; COLUMNS];
        for (width, least) in widths.iter_mut().zip(least) {
            *width = least;
        }
        Self { widths, room: None }
    }

    /// The same, for whoever reads standard output.
    pub(crate) fn shown(mut self) -> Self {
        self.room = room::width();
        self
    }

    /// A line with its end.
    pub(crate) fn row(&mut self, cells: [String; COLUMNS]) -> String {
        for (cell, width) in cells.iter().zip(&mut self.widths) {
            *width = (*width).max(cell.chars().count());
        }
        room::row(&cells, &self.widths, self.room) + "\n"
    }
}

/// Records as lines under headers.
#[derive(Debug)]
pub(crate) struct FlowTable {
    table: Table<6>,
    headed: bool,
}

/// Least widths of their columns.
const WIDTHS: [usize; 5] = [12, 7, 24, 24, 9];
const HEADERS: [&str; 6] = ["TIME", "VERDICT", "FROM", "TO", "PORT", "DECIDED BY"];

impl Default for FlowTable {
    fn default() -> Self {
        Self { table: Table::new(WIDTHS), headed: false }
    }
}

impl FlowTable {
    /// The line (with its end) of a record; the first comes with the headers.
    pub(crate) fn line(&mut self, record: &Record) -> String {
        let mut text = String::new();
        if !self.headed {
            self.headed = true;
            text = self.table.row(HEADERS.map(str::to_owned));
        }
        text.push_str(&self.table.row(cells(record, &Clock::default()).map(|cell| printable(&cell))));
        text
    }
}

pub(crate) fn cells(record: &Record, clock: &Clock) -> [String; 6] {
    let verdict = match record.kind {
        Kind::Open => "allow",
        Kind::Close => "closed",
        Kind::Deny => "DENY",
    };
    let why = match &record.traffic {
        Some(traffic) => passed(traffic),
        None => because(record),
    };
    let time = clock.show(record.time);
    [time, verdict.into(), record.from.to_string(), record.to.to_string(), port(record), why]
}

fn port(record: &Record) -> String {
    if record.protocol.has_ports() {
        format!("{}/{}", record.port, record.protocol)
    } else {
        record.protocol.to_string()
    }
}

fn why(record: &Record) -> String {
    match telling(record) {
        Some(rule) => format!("{rule}: {}", rule.reason),
        None => record.reason.describe().to_owned(),
    }
}

fn because(record: &Record) -> String {
    let mut text = why(record);
    if let Some(about) = record.about {
        let _ = write!(text, "; {}", about.describe());
    }
    if record.suppressed > 0 {
        let _ = write!(text, ", and {} equal before", record.suppressed);
    }
    if let Some(shadow) = record.shadow.as_ref().filter(|_| record.differs()) {
        let verdict = match shadow.verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => "DENY",
        };
        let _ = write!(text, "; the candidate would {verdict}: {shadow}");
    }
    text
}

/// The rule worth showing: the deciding one, or that of the other direction where only that one was written.
fn telling(record: &Record) -> Option<&RuleVerdict> {
    let written = |rule: &&RuleVerdict| rule.object.is_some();
    let deciding = record.rule().filter(written);
    match record.verdict {
        Verdict::Deny => deciding,
        Verdict::Allow => {
            let either =
                || record.ingress.as_ref().filter(written).or(record.egress.as_ref().filter(written));
            deciding.or_else(either)
        }
    }
}

fn passed(traffic: &Traffic) -> String {
    let mut text = format!(
        "sent {} in {}, received {} in {}",
        bytes(traffic.bytes_sent),
        packets(traffic.packets_sent),
        bytes(traffic.bytes_received),
        packets(traffic.packets_received)
    );
    if let Some(micros) = traffic.duration_micros {
        let _ = match Duration::from_micros(micros) {
            // Events are dated when they are read, so less than that says nothing.
            short if short < Duration::from_millis(1) => write!(text, ", under 1 ms"),
            lasted => write!(text, ", {lasted:.1?}"),
        };
    }
    text
}

fn packets(count: u64) -> String {
    if count == 1 { "1 packet".into() } else { format!("{count} packets") }
}

/// Bytes for people, in powers of 1000.
pub(crate) fn bytes(count: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    for (unit, size) in units {
        if count >= size {
            return format!("{}.{} {unit}", count / size, count % size * 10 / size);
        }
    }
    format!("{count} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_like_a_person_would_say_them() {
        let cases =
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_550_000, "1.5 MB"), (2_000_000_000, "2.0 GB")];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn moments_are_durations_ago_or_times() {
        assert_eq!(moment("2026-11-23T21:07:07.000042Z"), Ok(Time(1_795_468_027_000_042)));
        let hour_ago = moment("1h").unwrap();
        assert!(Time::from(SystemTime::now()).since(hour_ago) >= Duration::from_secs(3600));
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn columns_stay_aligned_while_the_table_grows() {
        let mut table = FlowTable::default().table;
        let row = |from: &str| ["t", "DENY", from, "b", "1/TCP", "why"].map(str::to_owned);
        let long = table.row(row("a-namespace/with-a-pod-of-a-long-name"));
        let text = long + &table.row(row("short"));
        let columns: Vec<_> = text.lines().map(|line| line.find(" b ").unwrap()).collect();
        assert_eq!(columns[0], columns[1]);
    }
}
