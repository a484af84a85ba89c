//! `cofferdam ledger`, `edges` and `top`: what was kept on disk.
//!
//! Enters: filters, a ledger's file or, without one, the file of the running `up` or agent. Leaves: lines or JSON.
//! Guarantees: as [`crate::flows`]; works while the file is written, and when nobody writes it any more. Does not: change it.

use crate::agent::credentials::Credentials;
use crate::export_cmd::{DdlArgs, ExportArgs, OnceArgs};
use crate::flows::{Table, bytes, moment};
use crate::form::{Clock, FormArgs, Output, csv};
use crate::plain::{counted, printable};
use crate::sending::{Outlet, SendingArgs};
use crate::store::StoreArgs;
use crate::up::client::ask;
use crate::up::pen::Pen;
use crate::up::protocol::{Answer, Request};
use ::ledger::{
    Column, Edge, EdgeFilter, EdgeMark, EdgePage, EntryFilter, Kind, Match, Measure, Reader, Retention,
    Stored, Sum, TopBy, Verdict,
};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use export::Exports;
use incident::record;
use observe::{Time, parse_duration};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Size of a ledger that is kept beside the socket, which often is in memory.
const BESIDE_BYTES: u64 = 256 << 20;

/// Whether and how records are kept on disk.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LedgerArgs {
    /// Keep records in this file, too, which outlives the process; see `cofferdam ledger --help`
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Forget what is older: 12h, 30d [default: 30d]
    #[arg(long, value_name = "AGE", requires = "ledger", value_parser = age)]
    ledger_age: Option<Duration>,
    /// Forget the oldest where the file would have more MiB in use [default: 2048]
    #[arg(long, value_name = "MIB", requires = "ledger")]
    ledger_size: Option<u64>,
    #[command(flatten)]
    export: ExportArgs,
    #[command(flatten)]
    sending: SendingArgs,
}

fn age(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

impl LedgerArgs {
    /// Who keeps them, if that is asked for: where `beside` says, smaller, if it is asked for only by what needs a ledger.
    ///
    /// # Errors
    /// They cannot be exported as is asked for.
    pub(crate) fn pen(&self, beside: Option<PathBuf>, outlet: Option<Outlet>) -> Result<Option<Pen>> {
        let Some((path, retention)) = self.kept(beside) else { return Ok(None) };
        let exports = self.exports(&path, outlet)?;
        Ok(Some(Pen::new(&path, retention).exported(exports)))
    }

    /// In which file, and for how long.
    pub(crate) fn kept(&self, beside: Option<PathBuf>) -> Option<(PathBuf, Retention)> {
        let default = Retention::default();
        let bytes = if self.ledger.is_some() { default.bytes } else { BESIDE_BYTES };
        let path = self.ledger.clone().or(beside)?;
        let age = self.ledger_age.map(|age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
        let asked = self.ledger_size.map(|size| size.saturating_mul(1 << 20));
        Some((path, Retention { age: age.unwrap_or(default.age), bytes: asked.unwrap_or(bytes) }))
    }

    /// Who sends elsewhere what such a file gets.
    ///
    /// # Errors
    /// They cannot be exported as is asked for.
    pub(crate) fn exports(&self, path: &Path, outlet: Option<Outlet>) -> Result<Option<Exports>> {
        self.export.exports(path, outlet)
    }

    /// How the collector of the cluster is sent records of a node, if that is asked for; `own` is by what the node is known
    /// where nothing else is named.
    ///
    /// # Errors
    /// The system gives no thread, or what `own` says.
    pub(crate) fn outlet(
        &self,
        node: &str,
        own: impl FnOnce() -> Result<(Credentials, Vec<String>)>,
    ) -> Result<Option<Outlet>> {
        self.sending.outlet(node, own)
    }
}

/// Show, verify, export or send what is kept on disk.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    Show(Box<ShowArgs>),
    Verify(VerifyArgs),
    Export(OnceArgs),
    /// Print the statements that make the tables of ClickHouse that entries can be exported to
    #[command(
        after_help = "Example:\n  cofferdam ledger clickhouse-ddl --database security --days 90 | clickhouse-client --multiquery"
    )]
    ClickhouseDdl(DdlArgs),
}

/// Where the ledger is, and the form of what is told of it.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// The ledger's file [default: that of the running `up` or agent]
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
    /// Local socket of the running `up` or agent, to ask for the file
    #[arg(long, value_name = "PATH", conflicts_with = "ledger")]
    pub(crate) socket: Option<PathBuf>,
    /// One JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// The same, of commands that print a table.
#[derive(Args, Debug)]
pub(crate) struct Rows {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The same as -o csv
    #[arg(long, conflicts_with_all = ["json", "output"])]
    csv: bool,
    #[command(flatten)]
    form: FormArgs,
}

impl Place {
    /// Opens it.
    ///
    /// # Errors
    /// Nothing says where it is, or it cannot be read.
    pub(crate) fn open(&self) -> Result<Reader> {
        open(self.ledger.as_deref(), self.socket.as_deref())
    }

    /// Whether JSON is asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }
}

/// Opens a ledger, or that of what runs.
///
/// # Errors
/// Nothing says where it is, or it cannot be read.
pub(crate) fn open(ledger: Option<&Path>, socket: Option<&Path>) -> Result<Reader> {
    if let Some(path) = ledger {
        return Ok(Reader::open(path)?);
    }
    let answer = ask(socket, &Request::Status {})
        .context("which ledger? name its file with --ledger")?
        .next()
        .context("no answer")??;
    let Answer::Status(status) = answer else { bail!("the answer is not a status") };
    let ledger = status.ledger.context(
        "what runs keeps no ledger: start it with --ledger FILE, or name another file with --ledger",
    )?;
    Ok(Reader::open(&ledger.path)?)
}

impl Rows {
    /// The form that is asked for.
    pub(crate) fn output(&self) -> Output {
        if self.csv { Output::Csv } else { self.form.output(self.place.json) }
    }

    /// How times are shown, always with their date.
    pub(crate) fn clock(&self) -> Clock {
        self.form.clock(self.output()).dated()
    }

    /// A sentence beside the rows, where no program reads them.
    pub(crate) fn note(&self, text: &str, out: &mut impl Write) -> std::io::Result<()> {
        match self.output() {
            Output::Table => writeln!(out, "{text}"),
            Output::Json | Output::Jsonl | Output::Csv => writeln!(std::io::stderr(), "{text}"),
        }
    }

    /// All in the form that is asked for, with these heads.
    pub(crate) fn print<T, const COLUMNS: usize>(
        &self,
        found: impl IntoIterator<Item = T>,
        heads: [&str; COLUMNS],
        cells: impl Fn(&T) -> [String; COLUMNS],
        json: impl Fn(&T) -> Value,
        out: &mut impl Write,
    ) -> Result<()> {
        let found: Vec<T> = found.into_iter().collect();
        let rows = found.iter().map(|it| cells(it).map(|cell| printable(&cell)));
        let rows = [heads.map(str::to_owned)].into_iter().chain(rows);
        match self.output() {
            Output::Json => writeln!(out, "{}", Value::from_iter(found.iter().map(json)))?,
            Output::Jsonl => found.iter().try_for_each(|it| writeln!(out, "{}", json(it)))?,
            Output::Csv => {
                for row in rows {
                    writeln!(out, "{}", row.map(|cell| csv(&cell)).join(","))?;
                }
            }
            Output::Table if found.is_empty() => writeln!(std::io::stderr(), "there are none that match")?,
            Output::Table => {
                // The first time only widens the columns.
                let mut table = Table::<COLUMNS>::new([0; COLUMNS]).shown();
                let rows: Vec<_> = rows.inspect(|row| drop(table.row(row.clone()))).collect();
                for row in rows {
                    write!(out, "{}", table.row(row))?;
                }
            }
        }
        Ok(())
    }
}

/// Show entries, the oldest first: all denials, requests and findings, and allowed connections and DNS queries by 15 seconds.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam ledger show --since 1h --verdict deny
  cofferdam ledger show --ledger /var/lib/cofferdam/ledger.db --kind ai-call --source ai/Job/train --json
  cofferdam ledger show --store clickhouse+https://ch.example:8443/security --store-headers headers --kind dns --since 90d
  cofferdam ledger show --kind audit --since 1d --api http://127.0.0.1:8080 --token token    that of a collector

With --json, `detail` has the whole record where there is one. `count` is 0 where only bytes were added to connections that
were counted before.")]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    rows: Rows,
    #[command(flatten)]
    store: StoreArgs,
    /// Only this kind; may be repeated
    #[arg(long)]
    kind: Vec<KindArg>,
    /// Only this verdict
    #[arg(long)]
    verdict: Option<VerdictArg>,
    /// Who, as `edges` shows it: for example ai/Job/train, or 'ai/*' for all that begin so
    #[arg(long, value_name = "NAME", visible_alias = "from")]
    source: Option<String>,
    /// To whom, as `edges` shows it; with * at the end all that begin so
    #[arg(long, value_name = "NAME", visible_alias = "to")]
    destination: Option<String>,
    /// At this destination port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The rule that decided, as it is told; with * at the end all that begin so
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Why, in one word
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Of this node, or replica of a gateway: in a ledger of several; with * at the end all that begin so
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Requests that offer or call a tool of this name; '*' for any
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// With this in source, destination, rule or reason, in either case
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Not older: 90s, 5m, 2h, 1d, or a time like 2026-11-23T21:06:27Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Time>,
    /// Not younger: written like --since
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Time>,
    /// Only entries with a lower number: to go on from the first one of an earlier answer
    #[arg(long, value_name = "NUMBER")]
    before: Option<i64>,
    /// At most so many, the newest ones; at most 10,000
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindArg {
    Flow,
    Dns,
    Tls,
    AiCall,
    Finding,
    Audit,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Flow => Self::Flow,
            KindArg::Dns => Self::Dns,
            KindArg::Tls => Self::Tls,
            KindArg::AiCall => Self::AiCall,
            KindArg::Finding => Self::Finding,
            KindArg::Audit => Self::Audit,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VerdictArg {
    Allow,
    Deny,
    Fail,
}

impl From<VerdictArg> for Verdict {
    fn from(verdict: VerdictArg) -> Self {
        match verdict {
            VerdictArg::Allow => Self::Allow,
            VerdictArg::Deny => Self::Deny,
            VerdictArg::Fail => Self::Fail,
        }
    }
}

/// Check that nothing in a ledger was changed since it was written.
///
/// Entries are sealed in blocks, each with a hash over its entries and the block before. Exits with 1 where something does
/// not hold. Who cut off the end of the chain can only be found out by its newest hash, kept elsewhere.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam ledger verify
  cofferdam ledger verify --ledger /backup/ledger.db \
    --newest 6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    place: Place,
    /// Hash that the last block had when it was looked at before: it must be in the chain
    #[arg(long, value_name = "HASH", value_parser = hash)]
    newest: Option<String>,
}

/// Who reached whom, each source, destination and port once.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam edges --new --since 24h
  cofferdam edges --source ai/Job/train --json
  cofferdam edges --new --since 24h --api http://127.0.0.1:8080 --token token    of a whole cluster, by its collector

Those first that were first seen last.")]
pub(crate) struct EdgesArgs {
    #[command(flatten)]
    rows: Rows,
    #[command(flatten)]
    store: StoreArgs,
    /// Only those that were first seen since --since
    #[arg(long, requires = "since")]
    new: bool,
    /// Seen since: 90s, 5m, 2h, 1d, or a time like 2026-11-23T21:06:27Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Time>,
    /// First seen until: written like --since
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Time>,
    /// Who, as it is shown; with * at the end all that begin so
    #[arg(long, value_name = "NAME", visible_alias = "from")]
    source: Option<String>,
    /// To whom, as it is shown; with * at the end all that begin so
    #[arg(long, value_name = "NAME", visible_alias = "to")]
    destination: Option<String>,
    /// At this destination port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The rule that decided last, as it is told; with * at the end all that begin so
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Of which some were let through, or some were not
    #[arg(long)]
    verdict: Option<VerdictArg>,
    /// With this in source, destination or rule, in either case
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only what follows an earlier answer, which says how
    #[arg(long, value_name = "MARK")]
    before: Option<EdgeMark>,
    /// At most so many; at most 10,000
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
}

/// Who sent, received or was denied most.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam top --since 1h
  cofferdam top rule --measure denied --since 1d
  cofferdam top --since 1h --api http://127.0.0.1:8080 --token token    of a whole cluster, by its collector")]
pub(crate) struct TopArgs {
    /// By what connections are summed up
    #[arg(default_value = "source")]
    by: ByArg,
    #[command(flatten)]
    rows: Rows,
    #[command(flatten)]
    store: StoreArgs,
    /// What counts
    #[arg(long, default_value = "bytes")]
    measure: MeasureArg,
    /// Not older: 90s, 5m, 2h, 1d, or a time like 2026-11-23T21:06:27Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Time>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ByArg {
    Source,
    Destination,
    Rule,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MeasureArg {
    Bytes,
    Count,
    Denied,
}

/// Runs `cofferdam ledger`. False: something does not hold.
pub(crate) fn run(command: &LedgerCommand, out: &mut impl Write) -> Result<bool> {
    match command {
        LedgerCommand::Show(args) => show(args, out).map(|()| true),
        LedgerCommand::Verify(args) => verify(args, out),
        LedgerCommand::Export(args) => crate::export_cmd::run(args, out).map(|()| true),
        LedgerCommand::ClickhouseDdl(args) => crate::export_cmd::ddl(args, out).map(|()| true),
    }
}

fn show(args: &ShowArgs, out: &mut impl Write) -> Result<()> {
    let with = |column, text: &Option<String>| Some((column, Match::wanted(text.as_deref()?)));
    let mut texts: Vec<_> = [
        with(Column::Source, &args.source),
        with(Column::Destination, &args.destination),
        with(Column::Rule, &args.rule),
        with(Column::Node, &args.node),
    ]
    .into_iter()
    .flatten()
    .collect();
    texts.extend(args.reason.iter().map(|reason| (Column::Reason, Match::Is(reason.clone()))));
    texts.extend(args.text.iter().map(|text| (Column::Any, Match::Has(text.clone()))));
    let filter = EntryFilter {
        kinds: args.kind.iter().copied().map(Kind::from).collect(),
        verdict: args.verdict.map(Verdict::from),
        port: args.port,
        tool: args.tool.as_deref().map(Match::wanted),
        since: args.since.map(|time| time.0),
        until: args.until.map(|time| time.0),
        before: args.before,
        limit: Some(args.limit),
        texts,
        ..EntryFilter::default()
    };
    let mut entries = args.store.open(&args.rows.place)?.entries(&filter)?;
    entries.reverse();
    let heads = ["NUMBER", "TIME", "NODE", "KIND", "VERDICT", "COUNT", "FROM", "TO", "PORT", "DECIDED BY"];
    let clock = args.rows.clock();
    args.rows.print(entries, heads, |entry| entry_cells(entry, &clock), export::line, out)
}

pub(crate) fn entry_cells(Stored { id, entry }: &Stored, clock: &Clock) -> [String; 10] {
    let why = if entry.rule.is_empty() { &entry.reason } else { &entry.rule };
    [
        id.to_string(),
        clock.show(Time(entry.time)),
        if entry.node.is_empty() { "-".to_owned() } else { entry.node.to_string() },
        entry.kind.name().to_owned(),
        verdict(entry.verdict).to_owned(),
        entry.count.to_string(),
        entry.source.to_string(),
        entry.destination.to_string(),
        port(entry.port, entry.protocol),
        why.to_string(),
    ]
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
        Verdict::Fail => "fail",
        Verdict::None => "-",
    }
}

pub(crate) fn port(port: u16, protocol: u8) -> String {
    match (port, protocol) {
        (0, 0) => "-".to_owned(),
        (_, _) => format!("{port}/{}", policy::Protocol(protocol)),
    }
}

/// As `ledger verify` prints it. One that is cut short would be taken for one that is not in the chain.
fn hash(text: &str) -> Result<String, String> {
    let is_whole = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_whole
        .then(|| text.to_ascii_lowercase())
        .ok_or_else(|| "no whole hash: it has 64 hexadecimal digits".to_owned())
}

fn verify(args: &VerifyArgs, out: &mut impl Write) -> Result<bool> {
    let reader = args.place.open()?;
    let found = reader.verify()?;
    let lost = reader.lost()?;
    let is_in_chain = match &args.newest {
        Some(hash) => reader.has_block(hash)?,
        None => true,
    };
    let fault = match (&found.fault, &args.newest, is_in_chain) {
        (Some(fault), _, _) => Some(format!("block {}: {}", fault.block, fault.what)),
        (None, Some(hash), false) => Some(format!(
            "no block has the hash {hash}: the chain's end was cut off, or this is another ledger"
        )),
        (None, _, _) => None,
    };
    if args.place.json {
        let lost: serde_json::Map<_, _> =
            lost.into_iter().map(|(what, count)| (what, count.into())).collect();
        let all = json!({
            "holds": fault.is_none(),
            "fault": fault,
            "blocks": found.blocks,
            "entries": found.entries,
            "forgotten_blocks": found.pruned,
            "unsealed_entries": found.unsealed,
            "newest": found.newest,
            "lost": lost,
        });
        writeln!(out, "{all}")?;
        return Ok(fault.is_none());
    }
    match &fault {
        Some(fault) => writeln!(out, "DOES NOT HOLD: {}", printable(fault))?,
        None => writeln!(out, "holds")?,
    }
    writeln!(
        out,
        "{} with {} hold, {} more were forgotten with their entries; {} not sealed yet",
        counted(found.blocks, "block"),
        counted(found.entries, "entry"),
        found.pruned,
        match found.unsealed {
            1 => "1 entry is".to_owned(),
            more => format!("{more} entries are"),
        }
    )?;
    if let Some(newest) = &found.newest {
        writeln!(out, "newest hash {newest}")?;
    }
    for (what, count) in lost {
        writeln!(out, "not in it: {count} {}", printable(&what))?;
    }
    Ok(fault.is_none())
}

/// Runs `cofferdam edges`.
pub(crate) fn edges(args: &EdgesArgs, out: &mut impl Write) -> Result<()> {
    let since = args.since.map(|time| time.0);
    let (first_since, last_since) = if args.new { (since, None) } else { (None, since) };
    let with = |column, text: &Option<String>| Some((column, Match::wanted(text.as_deref()?)));
    let named = [
        with(Column::Source, &args.source),
        with(Column::Destination, &args.destination),
        with(Column::Rule, &args.rule),
    ];
    let has = args.text.iter().map(|text| (Column::Any, Match::Has(text.clone())));
    let filter = EdgeFilter {
        texts: named.into_iter().flatten().chain(has).collect(),
        port: args.port,
        verdict: args.verdict.map(Verdict::from),
        first_since,
        last_since,
        first_until: args.until.map(|time| time.0),
        after: args.before,
        limit: Some(args.limit),
        ..EdgeFilter::default()
    };
    let EdgePage { edges, next } = args.store.open(&args.rows.place)?.edge_page(&filter)?;
    let heads = [
        "FIRST SEEN",
        "LAST SEEN",
        "FROM",
        "TO",
        "PORT",
        "ALLOWED",
        "DENIED",
        "SENT",
        "RECEIVED",
        "DECIDED LAST BY",
    ];
    let clock = args.rows.clock();
    args.rows.print(edges, heads, |edge| edge_cells(edge, &clock), record::edge, out)?;
    if let Some(next) = next {
        args.rows.note(&format!("There may be more: --before {next}"), out)?;
    }
    Ok(())
}

fn edge_cells(edge: &Edge, clock: &Clock) -> [String; 10] {
    [
        clock.show(Time(edge.first)),
        clock.show(Time(edge.last)),
        edge.source.to_string(),
        edge.destination.to_string(),
        port(edge.port, edge.protocol),
        edge.allowed.to_string(),
        edge.denied.to_string(),
        bytes(edge.sent),
        bytes(edge.received),
        edge.rule.to_string(),
    ]
}

/// Runs `cofferdam top`.
pub(crate) fn top(args: &TopArgs, out: &mut impl Write) -> Result<()> {
    let (by, head) = match args.by {
        ByArg::Source => (TopBy::Source, "FROM"),
        ByArg::Destination => (TopBy::Destination, "TO"),
        ByArg::Rule => (TopBy::Rule, "DECIDED BY"),
    };
    let measure = match args.measure {
        MeasureArg::Bytes => Measure::Bytes,
        MeasureArg::Count => Measure::Count,
        MeasureArg::Denied => Measure::Denied,
    };
    let since = args.since.map_or(0, |time| time.0);
    let sums = args.store.open(&args.rows.place)?.top(by, measure, since, args.limit)?;
    let cells = |sum: &Sum| {
        [sum.count.to_string(), sum.denied.to_string(), bytes(sum.sent), bytes(sum.received), sum.of.clone()]
    };
    let json = |sum: &Sum| {
        json!({
            "of": sum.of,
            "count": sum.count,
            "denied": sum.denied,
            "bytes_sent": sum.sent,
            "bytes_received": sum.received,
        })
    };
    args.rows.print(sums, ["COUNT", "DENIED", "SENT", "RECEIVED", head], cells, json, out)
}
