//! Measures the DNS proxy beside unbound and dnsdist: `bench-dns [--quick] [ROW]`, only rows that have `ROW` in their name.
//!
//! Enters: the machine, with Debian's packages unbound and dnsdist, and their configurations from
//! `$COFFERDAM_SHARED/peers` (default `../shared/peers`). Leaves: raw samples as JSON on standard output, a table and
//! progress on standard error.
//! Each server runs alone on the first processor; questions and the resolver behind it come from the second. Every row is
//! measured once per round, one after the other, so that a machine that gets slower or faster in between hits all.
//! A peer that is not installed is named, and its rows are missing.

mod engine;
mod load;
mod report;
mod servers;
mod stub;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use load::{Names, Sample};
use serde_json::json;
use servers::{Kind, Server};
use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

/// One row: which server, and what it is asked.
struct Row {
    name: &'static str,
    kind: Kind,
    names: Names,
}

/// What was measured of one row in one round.
struct Measured {
    round: u32,
    row: &'static str,
    /// As fast as it goes.
    full: Sample,
    /// At half of that rate.
    half: Sample,
}

const ROWS: [Row; 9] = [
    Row { name: "cofferdam, kept", kind: Kind::Cofferdam { bound: false }, names: Names::Thousand },
    Row { name: "cofferdam, kept and bound", kind: Kind::Cofferdam { bound: true }, names: Names::Thousand },
    Row { name: "dnsdist, kept", kind: Kind::Dnsdist { cache: true }, names: Names::Thousand },
    Row { name: "unbound, kept", kind: Kind::Unbound { cache: true }, names: Names::Thousand },
    Row { name: "cofferdam, asked", kind: Kind::Cofferdam { bound: false }, names: Names::Unique },
    Row { name: "nothing, asked", kind: Kind::Nothing, names: Names::Unique },
    Row { name: "cofferdam, asked and bound", kind: Kind::Cofferdam { bound: true }, names: Names::Unique },
    Row { name: "dnsdist, asked", kind: Kind::Dnsdist { cache: false }, names: Names::Unique },
    Row { name: "unbound, asked", kind: Kind::Unbound { cache: false }, names: Names::Unique },
];

/// Measure what an answer of the DNS proxy costs, beside unbound and dnsdist
///
/// Needs Debian's packages unbound and dnsdist (a peer that is missing is named, and not measured) and their configurations in
/// $COFFERDAM_SHARED/peers, by default ../shared/peers. Raw samples go to standard output as JSON, a table and progress to standard
/// error.
#[derive(Parser, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "Examples:
  cargo run --release -p bench-dns -- --quick
  cargo run --release -p bench-dns -- unbound      only the rows of unbound
  cargo run --release -p bench-dns -- engine       only what the proxy's own code takes"
)]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// Only rows that have this in their name
    row: Option<String>,
    /// One short round instead of seven, to see that it works
    #[arg(long)]
    quick: bool,
}

#[derive(Subcommand, Debug)]
enum Part {
    /// Measure only what the proxy's own code takes for a question, without sockets
    Engine,
    /// The process that is measured
    #[command(hide = true)]
    Proxy,
    /// The process that stands for the resolver behind it
    #[command(hide = true)]
    Stub { port: u16 },
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.part {
        Some(Part::Proxy) => return Ok(dns::run_proxy(std::io::stdin().as_fd().try_clone_to_owned()?)?),
        Some(Part::Stub { port }) => return stub::run(port),
        Some(Part::Engine) => return Ok(writeln!(std::io::stdout(), "{:#}", engine::measure(200_000)?)?),
        None => {}
    }
    let (quick, only) = (args.quick, args.row.unwrap_or_default());
    let rows: Vec<&Row> = ROWS.iter().filter(|row| row.name.contains(&only)).collect();
    if rows.is_empty() {
        bail!("no row has {only} in its name");
    }
    let (rounds, time) = if quick { (1, Duration::from_millis(500)) } else { (7, Duration::from_secs(2)) };
    // Before this process has one processor only.
    let machine = bench_machine::describe();
    servers::pin(std::process::id(), servers::OTHERS)?;
    let _stub = stub::start(stub::PORT, servers::OTHERS)?;
    let mut measured = Vec::new();
    for round in 0..rounds {
        // Of the row before: nothing at all is asked at the rate of something.
        let mut rate = 0.0;
        for row in &rows {
            say(&format!("round {} of {rounds}: {}", round + 1, row.name));
            let Some(server) = Server::start(row.kind).with_context(|| row.name)? else { continue };
            // The thousand names are kept before the time starts; the rest warms up as well.
            load::warm_up(&server, row.names)?;
            let full = load::as_fast_as_it_goes(&server, row.names, time)?;
            if row.kind != Kind::Nothing || rate == 0.0 {
                rate = full.per_second / 2.0;
            }
            let half = load::at_rate(&server, row.names, rate, time)?;
            measured.push(Measured { round, row: row.name, full, half });
        }
    }
    let memory = servers::memory(if quick { 10_000 } else { 100_000 })?;
    let sample = |it: &Measured| json!({ "round": it.round, "row": it.row, "full": it.full.to_json(), "half": it.half.to_json() });
    let report = json!({
        "what": "one server on one processor, per row and round; times in microseconds",
        "machine": machine,
        "rounds": rounds,
        "samples": measured.iter().map(sample).collect::<Vec<_>>(),
        "memory": &memory,
        "engine": engine::measure(200_000)?,
    });
    writeln!(std::io::stdout(), "{report:#}")?;
    writeln!(std::io::stderr(), "{}", report::table(&measured, &memory))?;
    Ok(())
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

#[cfg(test)]
mod tests {
    use super::{Args, Part};
    use clap::Parser;

    fn parsed(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split(' '))
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in ["--fast", "unbound dnsdist", "--quick stub 53", "stub", "stub port"] {
            let taken = parsed(&format!("bench-dns {wrong}"));
            assert!(taken.is_err(), "{wrong} was taken as {taken:?}");
        }
    }

    #[test]
    fn a_row_is_no_command() {
        assert!(matches!(
            parsed("bench-dns --quick unbound"),
            Ok(Args { part: None, row: Some(_), quick: true })
        ));
        assert!(matches!(parsed("bench-dns stub 53"), Ok(Args { part: Some(Part::Stub { port: 53 }), .. })));
    }
}
