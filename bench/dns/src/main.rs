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

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("proxy") => return Ok(dns::run_proxy(std::io::stdin().as_fd().try_clone_to_owned()?)?),
        Some("stub") => return stub::run(arguments.get(1).context("which port?")?.parse()?),
        Some("engine") => return Ok(writeln!(std::io::stdout(), "{:#}", engine::measure(200_000)?)?),
        _ => {}
    }
    let (options, only): (Vec<_>, Vec<_>) = arguments.iter().partition(|it| it.starts_with('-'));
    if options.iter().any(|it| *it != "--quick") || only.len() > 1 {
        bail!("bench-dns [--quick] [ROW], not {}", arguments.join(" "));
    }
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| only.iter().all(|part| row.name.contains(part.as_str()))).collect();
    if rows.is_empty() {
        bail!("no row has {} in its name", only.first().map_or("", |it| it.as_str()));
    }
    let quick = !options.is_empty();
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
