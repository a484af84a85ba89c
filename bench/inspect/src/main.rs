//! What it costs to say what a request does, and to look for leaks in it.
//!
//! Enters: nothing but an optional `--quick`. Leaves: one JSON object: MB/s (10^6 bytes) of the leak scanner by class and by
//! kind of body, beside a regular expression of the same literals (`regex` crate) and `grep -F`; microseconds for one call of 2 KB,
//! classified and scanned for everything. Every rate is the best of its rounds, rows interleaved.

mod bodies;

use anyhow::{Context, Result};
use clap::Parser;
use inspect::leak::{LeakOptions, LeakRules, SECRETS, Scanner};
use inspect::operation::{Head, Reader};
use serde_json::{Map, Value, json};
use std::hint::black_box;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that arrive at a time, as from a socket.
const PIECE: usize = 16 * 1024;

/// Bytes of a body.
const BODY: usize = 1 << 20;

/// Calls whose time is taken.
const CALLS: usize = 20_000;

/// Measure what it costs to say what a request does and to look for leaks in it, beside the regex crate and grep -F
///
/// One JSON object goes to standard output.
#[derive(Parser, Debug)]
#[command(after_help = "Example:
  cargo run --release -p bench-inspect -- --quick")]
struct Args {
    /// One round instead of ten, to see that it works
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<()> {
    let Args { quick } = Args::parse();
    let rounds = if quick { 1 } else { 10 };
    let classes = classes()?;
    let literals = literals()?;
    let mut rates: Vec<(String, f64)> = Vec::new();
    let bodies = bodies::bodies(BODY);
    for _ in 0..rounds {
        for (kind, body) in &bodies {
            for (class, rules) in &classes {
                keep(&mut rates, &format!("{kind}/{class}"), rate(body.len(), || scan(rules, body))?);
            }
            let searched = rate(body.len(), || {
                black_box(literals.find_iter(body).count());
            })?;
            keep(&mut rates, &format!("{kind}/peer: regex crate, literals only"), searched);
        }
    }
    let whole = &bodies.first().context("there is no body")?.1;
    if let Some(rate) = grep(whole)? {
        keep(&mut rates, "chat/peer: grep -F -c, literals only", rate);
    }
    let rates: Map<String, Value> =
        rates.into_iter().map(|(name, rate)| (name, json!(rate.round()))).collect();
    let all = &classes.last().context("there is no class")?.1;
    let result = json!({
        "machine": bench_machine::describe(),
        "rounds": rounds,
        "body_bytes": BODY,
        "mb_per_second": rates,
        "call_of_2_kb": call(all, if quick { CALLS / 10 } else { CALLS }),
    });
    writeln!(std::io::stdout(), "{result:#}")?;
    Ok(())
}

fn classes() -> Result<Vec<(&'static str, Arc<LeakRules>)>> {
    let none = LeakOptions::default();
    let canaries = vec![b"canary-4711-do-not-send".to_vec(), b"internal use only 0815".to_vec()];
    let rows = [
        ("nothing", none.clone()),
        ("secrets", LeakOptions { secrets: true, ..none.clone() }),
        ("pii", LeakOptions { pii: true, ..none.clone() }),
        ("canaries", LeakOptions { canaries: canaries.clone(), ..none.clone() }),
        ("files", LeakOptions { files: true, ..none.clone() }),
        ("opaque", LeakOptions { opaque_from: Some(1 << 16), ..none }),
        (
            "all",
            LeakOptions {
                secrets: true,
                pii: true,
                canaries,
                files: true,
                opaque_from: Some(1 << 16),
                salt: b"salt".to_vec(),
            },
        ),
    ];
    let made = rows.into_iter().map(|(name, options)| {
        let rules = LeakRules::new(&options).map_err(|flaw| anyhow::anyhow!("{name}: {flaw:?}"))?;
        Ok((name, Arc::new(rules)))
    });
    made.collect()
}

fn scan(rules: &Arc<LeakRules>, body: &[u8]) {
    let mut scanner = Scanner::new(Arc::clone(rules));
    body.chunks(PIECE).for_each(|piece| scanner.push(piece));
    scanner.end();
    black_box(scanner.leaks().len());
}

/// By time of the processor, not of the clock: what else runs does not count.
fn rate(bytes: usize, work: impl Fn()) -> Result<f64> {
    let began = processor()?;
    let mut rounds = 0.0;
    loop {
        work();
        rounds += 1.0;
        let spent = processor()? - began;
        // The kernel counts in ticks of some milliseconds.
        if spent > Duration::from_millis(40) {
            return Ok(rounds * megabytes(bytes) / spent.as_secs_f64());
        }
    }
}

/// For how long this thread ran (`Documentation/scheduler/sched-stats.rst`).
fn processor() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split(' ').next().unwrap_or_default();
    Ok(Duration::from_nanos(first.parse().context("the kernel does not say for how long a thread ran")?))
}

fn megabytes(bytes: usize) -> f64 {
    u32::try_from(bytes).map_or(f64::INFINITY, f64::from) / 1e6
}

fn keep(rates: &mut Vec<(String, f64)>, name: &str, rate: f64) {
    match rates.iter_mut().find(|(known, _)| known == name) {
        Some((_, best)) => *best = best.max(rate),
        None => rates.push((name.to_owned(), rate)),
    }
}

/// One regular expression of everything by which secrets are told.
fn literals() -> Result<regex::bytes::Regex> {
    let all: Vec<_> =
        SECRETS.iter().flat_map(|secret| secret.prefixes()).map(|text| regex::escape(text)).collect();
    Ok(regex::bytes::RegexBuilder::new(&all.join("|")).unicode(false).build()?)
}

/// With its own start and the pipe, over many bodies, so that neither counts.
fn grep(body: &[u8]) -> Result<Option<f64>> {
    let patterns: Vec<_> = SECRETS.iter().flat_map(|secret| secret.prefixes()).copied().collect();
    let mut command = Command::new("grep");
    command.env("LC_ALL", "C").args(["-a", "-F", "-c", "-e", &patterns.join("\n")]);
    let started = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let Ok(mut grep) = started else { return Ok(None) };
    let began = Instant::now();
    let mut input = grep.stdin.take().context("grep has no input")?;
    for _ in 0..64 {
        input.write_all(body)?;
    }
    drop(input);
    grep.wait()?;
    Ok(Some(megabytes(64 * body.len()) / began.elapsed().as_secs_f64()))
}

/// A call as clients make it: its head, its body in one piece.
fn call(rules: &Arc<LeakRules>, calls: usize) -> Value {
    let body = bodies::call();
    let headers: [(&str, &[u8]); 3] = [
        ("authorization", b"Bearer sk-none"),
        ("content-type", b"application/json"),
        ("user-agent", b"bench"),
    ];
    let (method, host, target) = ("POST", "api.openai.com", "/v1/chat/completions");
    let head = Head { method, host, port: 443, target, headers: &headers };
    let mut classified = Vec::with_capacity(calls);
    let mut scanned = Vec::with_capacity(calls);
    for _ in 0..calls {
        let began = Instant::now();
        let mut reader = Reader::new(&head);
        reader.push(body.as_bytes());
        reader.end();
        black_box(reader.progress());
        let between = Instant::now();
        scan(rules, body.as_bytes());
        classified.push(between - began);
        scanned.push(began.elapsed());
    }
    json!({
        "bytes": body.len(),
        "calls": calls,
        "classified_p50_us": part(&mut classified, 50),
        "classified_and_scanned_p50_us": part(&mut scanned, 50),
        "classified_and_scanned_p99_us": part(&mut scanned, 99),
    })
}

/// Microseconds within which so many of a hundred were done.
fn part(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = times.get(times.len() * percent / 100).copied().unwrap_or_default();
    (at.as_secs_f64() * 1e7).round() / 10.0
}
