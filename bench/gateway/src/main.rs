//! Measures proxies that pass TLS through by the name in its hello, interleaved: `bench-gateway [--quick]`; and what a request costs
//! that is judged: `bench-gateway requests [--quick]` ([`requests`]).
//!
//! Enters: nothing but the machine, with `haproxy` installed, and `envoy` if it is to be measured too. Leaves: raw samples as JSON on standard output, a table
//! and progress on standard error. Every row is measured once per round, in an order drawn anew. What counts is the
//! processor time of the proxy's process, from the kernel's scheduler, for each connection and byte; samples are compared
//! with HAProxy's of the same round. Proxies have one thread on one processor; clients and server share another.

mod http2;
mod idle;
mod load;
mod proxies;
mod requests;
mod streams;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use load::{Sample, Size};
use proxies::Row;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;

/// Measure what the gateway costs a connection, a byte, a request and an event of a stream, beside other proxies
///
/// Without a command: TLS that is passed on by its server name, beside HAProxy and Envoy. Needs haproxy; Envoy, nginx and Squid are
/// measured where they are installed. Raw samples go to standard output as JSON, a table and progress to standard error.
#[derive(Parser, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "Examples:
  cargo run --release -p bench-gateway -- --quick
  cargo run --release -p bench-gateway -- requests --only nginx
  cargo run --release -p bench-gateway -- idle haproxy"
)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Two short rounds instead of seven, to see that it works
    #[arg(long)]
    quick: bool,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Measure requests that are judged, over open connections, beside HAProxy, Envoy, nginx and Squid
    Requests {
        /// Two short rounds instead of five, to see that it works
        #[arg(long)]
        quick: bool,
        /// Only rows that have this in their name
        #[arg(long, value_name = "PART")]
        only: Option<String>,
    },
    /// Measure what is added to the time of an event of a stream, beside HAProxy, Envoy and nginx
    Streams {
        /// One short round instead of five, to see that it works
        #[arg(long)]
        quick: bool,
        /// Only the row of this name
        #[arg(long, value_name = "ROW")]
        only: Option<String>,
    },
    /// Measure the memory of a connection that does nothing; a line for each row on standard error
    Idle {
        /// Only rows that have this in their name
        name: Option<String>,
    },
    /// The process that is measured
    #[command(hide = true)]
    Proxy {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.what {
        Some(What::Requests { quick, only }) => requests::run(quick, only.as_deref()),
        Some(What::Streams { quick, only }) => streams::run(quick, only.as_deref()),
        Some(What::Idle { name }) => idle::run(&name.unwrap_or_default()),
        Some(What::Proxy { arguments }) => proxies::serve(&arguments),
        None => passthrough(args.quick),
    }
}

/// TLS that is passed on by the name in its hello.
fn passthrough(quick: bool) -> Result<()> {
    let (rounds, size) = if quick { (2, Size::QUICK) } else { (7, Size::FULL) };
    // Before this process keeps to one processor, which would be taken for all there are.
    let machine = bench_machine::describe();
    load::pin(1)?;
    let server = load::Server::start()?;
    let mut rows = Row::all();
    let mut samples: Vec<(usize, &'static str, Sample)> = Vec::new();
    let mut dice = bench_machine::Dice(1);
    for round in 0..rounds {
        dice.shuffle(&mut rows);
        for row in &rows {
            say(&format!("round {} of {rounds}: {}", round + 1, row.name()));
            let proxy = row.start(server.port())?;
            if !load::is_refused(proxy.port()) {
                bail!("{}: a name that is not allowed is let through", row.name());
            }
            samples.push((round, row.name(), load::measure(&proxy, size).context(row.name())?));
        }
    }
    let report = json!({
        "what": "TLS passthrough by server name; processor seconds of the proxy's process, wall-clock rates beside",
        "machine": machine,
        "haproxy": proxies::haproxy_version()?,
        "envoy": proxies::envoy_version(),
        "size": size.to_json(),
        "rounds": rounds,
        "samples": samples.iter().map(|(round, row, sample)| sample.to_json(*round, row)).collect::<Vec<_>>(),
    });
    writeln!(std::io::stdout(), "{report:#}")?;
    say(&table(&samples));
    Ok(())
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// The columns of the table.
const COLUMNS: [fn(&Sample) -> f64; 4] = [
    |sample| sample.cpu_per_connection,
    |sample| sample.connections_per_second,
    |sample| sample.cpu_per_byte,
    |sample| sample.bytes_per_second,
];

type Samples = [(usize, &'static str, Sample)];

/// Least, median and most of a row's ratios to HAProxy's, round by round.
fn ratios(samples: &Samples, row: &str, of: fn(&Sample) -> f64) -> Option<(f64, f64, f64)> {
    let find = |round: usize, name: &str| {
        samples.iter().find(|(r, n, _)| *r == round && *n == name).map(|(_, _, sample)| of(sample))
    };
    let last = samples.iter().map(|(round, ..)| *round).max()?;
    let mut found: Vec<f64> =
        (0..=last).filter_map(|round| Some(find(round, row)? / find(round, Row::HaProxy.name())?)).collect();
    found.sort_by(f64::total_cmp);
    Some((*found.first()?, *found.get(found.len() / 2)?, *found.last()?))
}

/// Markdown.
fn table(samples: &Samples) -> String {
    let mut text =
        "| row | CPU/connection | connections/s | CPU/byte | bytes/s |\n| --- | --- | --- | --- | --- |"
            .to_owned();
    for row in Row::all() {
        let _ = write!(text, "\n| {} |", row.name());
        for of in COLUMNS {
            if let Some((least, median, most)) = ratios(samples, row.name(), of) {
                let _ = write!(text, " {median:.2} ({least:.2}-{most:.2}) |");
            }
        }
    }
    for row in Row::all() {
        let mine: Vec<&Sample> =
            samples.iter().filter(|(_, name, _)| *name == row.name()).map(|(.., s)| s).collect();
        let median = |of: fn(&Sample) -> f64| {
            let mut all: Vec<f64> = mine.iter().map(|sample| of(sample)).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        let _ = write!(
            text,
            "\n{}: {:.1} µs/connection, {:.0} connections per CPU second, {:.2} CPU s/GiB, {:.2} GiB/s, {:.1} MiB",
            row.name(),
            median(|sample| sample.cpu_per_connection * 1e6),
            median(|sample| 1.0 / sample.cpu_per_connection),
            median(|sample| sample.cpu_per_byte * f64::from(1 << 30)),
            median(|sample| sample.bytes_per_second / f64::from(1 << 30)),
            median(|sample| sample.memory / f64::from(1 << 20)),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Args, What};
    use clap::Parser;

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in
            ["--fast", "--only nginx", "reqests", "--quick requests", "requests idle", "idle --quick"]
        {
            let taken = Args::try_parse_from(["bench-gateway"].into_iter().chain(wrong.split(' ')));
            assert!(taken.is_err(), "{wrong} was taken as {taken:?}");
        }
    }

    #[test]
    fn the_process_that_is_measured_gets_its_arguments_as_they_are() {
        let args = Args::try_parse_from(["bench-gateway", "proxy", "--requests", "rules.json"]);
        let Ok(Args { what: Some(What::Proxy { arguments }), .. }) = &args else { panic!("{args:?}") };
        assert_eq!(arguments, &["--requests", "rules.json"]);
    }
}
