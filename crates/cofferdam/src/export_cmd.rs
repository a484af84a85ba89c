//! `--export` of `up` and the agent, and `cofferdam ledger export`: what the ledger has, sent elsewhere.
//!
//! Enters: URLs of targets. Leaves: what is sent. Guarantees: what makes no sense is refused before anything runs. Does not: make
//! records; only what is in a ledger is sent.

use crate::flows::moment;
use crate::ledger_cmd::Place;
use crate::plain::printable;
use crate::sending::Outlet;
use anyhow::{Context, Result};
use clap::Args;
use export::{ExportError, Exports, Settings, Target};
use observe::Time;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where what is kept on disk is sent to as well.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ExportArgs {
    /// Send what the ledger gets there, too: file:/path, stdout:, https://host/path, each with ocsf+ in front for OCSF;
    /// otlp+https://host; syslog+udp://host, syslog+tcp://host, syslog+tls://host;
    /// clickhouse+https://host/database; nats-tls://host/subject; may be repeated
    #[arg(long = "export", value_name = "URL", requires = "ledger")]
    targets: Vec<Target>,
    #[command(flatten)]
    with: WithArgs,
}

/// What goes with targets.
#[derive(Args, Clone, Debug, Default)]
struct WithArgs {
    /// File with headers for HTTP targets, one `Name: value` per line, read anew for each request; of NATS its Authorization
    #[arg(long = "export-headers", value_name = "FILE")]
    headers: Option<PathBuf>,
    /// File with certificates (PEM) of the authorities to believe instead of the system's
    #[arg(long = "export-ca", value_name = "FILE")]
    authorities: Option<PathBuf>,
}

impl WithArgs {
    fn settings(&self) -> Settings {
        Settings { headers: self.headers.clone(), authorities: self.authorities.clone(), sender: None }
    }
}

impl ExportArgs {
    /// Who will be sent what a ledger has, if that is asked for.
    ///
    /// # Errors
    /// A target, or a file that goes with it, is not what it should be.
    pub(crate) fn exports(&self, ledger: &Path, outlet: Option<Outlet>) -> Result<Option<Exports>> {
        let (mut targets, mut settings) = (self.targets.clone(), self.with.settings());
        if let Some(Outlet { target, sender }) = outlet {
            targets.push(target);
            settings.sender = Some(sender);
        }
        if targets.is_empty() {
            return Ok(None);
        }
        Exports::new(ledger, &targets, &settings).map(Some).context("--export")
    }
}

/// Send what a ledger has elsewhere, once.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam ledger export --to file:/tmp/records.jsonl --since 1d
  cofferdam ledger export --ledger /backup/ledger.db --to ocsf+stdout:
  cofferdam ledger export --to otlp+https://otel.example:4318 --export-headers headers

Exits with 1 when a target took nothing five times in a row, and says where to go on. For sending for good, see --export of
`cofferdam up` and `cofferdam agent`.")]
pub(crate) struct OnceArgs {
    #[command(flatten)]
    place: Place,
    /// Where to, written like --export of `cofferdam up`
    #[arg(long, value_name = "URL")]
    to: Target,
    /// Not older: 90s, 5m, 2h, 1d, or a time like 2026-11-23T21:06:27Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Time>,
    /// Only entries with a higher number: to go on where it was given up
    #[arg(long, value_name = "NUMBER", conflicts_with = "since")]
    after: Option<i64>,
    #[command(flatten)]
    with: WithArgs,
}

/// Runs `cofferdam ledger export`.
pub(crate) fn run(args: &OnceArgs, out: &mut impl Write) -> Result<()> {
    let reader = args.place.open()?;
    let after = match (args.after, args.since) {
        (Some(after), _) => after,
        (None, Some(since)) => reader.before(since.0)?,
        (None, None) => 0,
    };
    let done = match export::once(&reader, after, &args.to, &args.with.settings()) {
        // As of every other command that prints.
        Err(ExportError::Closed(error)) => return Err(error.into()),
        done => done?,
    };
    if args.place.is_json() {
        let all = serde_json::json!({"sent": done.sent, "refused": done.refused, "last": done.last, "says": done.says});
        writeln!(out, "{all}")?;
        return Ok(());
    }
    if args.to.is_stdout() {
        return Ok(());
    }
    writeln!(out, "{} entries sent, {} refused, up to number {}", done.sent, done.refused, done.last)?;
    if let Some(says) = &done.says {
        writeln!(out, "  {}", printable(says))?;
    }
    Ok(())
}

/// For which database.
#[derive(Args, Debug)]
pub(crate) struct DdlArgs {
    /// Name of the database
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = name)]
    database: String,
    /// Days for which rows are kept
    #[arg(long, value_name = "N", default_value_t = 90)]
    days: u16,
}

fn name(text: &str) -> Result<String, String> {
    let is_name = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !text.is_empty();
    if is_name { Ok(text.to_owned()) } else { Err("a name has letters, digits and _".to_owned()) }
}

/// Runs `cofferdam ledger clickhouse-ddl`.
pub(crate) fn ddl(args: &DdlArgs, out: &mut impl Write) -> Result<()> {
    write!(out, "{}", export::clickhouse_ddl(&args.database, args.days))?;
    Ok(())
}
