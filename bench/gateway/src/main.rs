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
use load::{Sample, Size};
use proxies::Row;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, rest @ ..] = arguments.as_slice()
        && role == "proxy"
    {
        return proxies::serve(rest);
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    if let [role, rest @ ..] = arguments.as_slice()
        && role == "idle"
    {
        return idle::run(rest.first().map_or("", String::as_str));
    }
    let only = arguments.iter().skip_while(|it| *it != "--only").nth(1);
    if arguments.iter().any(|argument| argument == "streams") {
        return streams::run(quick, only.map(String::as_str));
    }
    if arguments.iter().any(|argument| argument == "requests") {
        return requests::run(quick, only.map(String::as_str));
    }
    let (rounds, size) = if quick { (2, Size::QUICK) } else { (7, Size::FULL) };
    // Before this process keeps to one processor, which would be taken for all there are.
    let machine = bench_machine::describe();
    load::pin(1)?;
    let server = load::Server::start()?;
    let mut rows = Row::all();
    let mut samples: Vec<(usize, &'static str, Sample)> = Vec::new();
    let mut dice = Dice(1);
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

/// A small generator of its own: an order needs no more (Knuth's constants for 64 bits).
struct Dice(u64);

impl Dice {
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let other = usize::try_from(self.0 >> 33).unwrap_or_default() % (last + 1);
            items.swap(last, other);
        }
    }
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
