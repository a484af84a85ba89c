//! Measures what the Core Rule Set costs a request, beside libmodsecurity: `bench-waf [--quick] [REQUEST]`, only those that
//! have `REQUEST` in their name.
//!
//! Enters: the rules of `$COFFERDAM_SHARED/data/waf` (default `../shared`), and `$BENCH_WAF_PYTHON`, a Python with the
//! package libmodsecurity; without one the peer's rows are missing, and that is said. Leaves: raw samples as JSON on standard
//! output, a table on standard error. Every request is run by each engine once per round, one after the other. What is
//! measured is processor time of the thread, for phases 1 and 2 of one transaction with the same rules and options.

mod chance;
mod differ;
mod peer;
mod requests;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use peer::Peer;
use requests::Request;
use serde_json::{Value, json};
use waf::{Profile, RuleSet, Start, Transaction};

const VERSION: &str = "crs-4.28.0";

/// Measure what the OWASP Core Rule Set costs a request, beside libmodsecurity
///
/// The rules are read from $COFFERDAM_SHARED/data/waf, by default ../shared/data/waf. $BENCH_WAF_PYTHON names a Python with the package
/// libmodsecurity, by default python3; without the package the peer is not measured. Raw samples go to standard output as JSON, a
/// table to standard error.
#[derive(Parser, Debug)]
#[command(after_help = "Example:
  BENCH_WAF_PYTHON=target/bench-modsecurity/bin/python cargo run --release -p bench-waf -- --quick")]
struct Args {
    /// Only requests that have this in their name
    request: Option<String>,
    /// One short round instead of five, to see that it works
    #[arg(long)]
    quick: bool,
    /// Measure nothing: compare with libmodsecurity which of so many sets of rules made by chance match which requests; the exit code
    /// is 1 if any differ
    #[arg(long, value_name = "COUNT")]
    differ: Option<u64>,
    /// The number of the first of these sets
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "differ")]
    from: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let python = std::env::var_os("BENCH_WAF_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    if let Some(count) = args.differ {
        let mut peer =
            Peer::to_compare(&python)?.context("BENCH_WAF_PYTHON names no Python that has libmodsecurity")?;
        let (text, differ) = differ::run(&mut peer, args.from, count)?;
        write!(std::io::stdout(), "{}: {text}", peer.name)?;
        if differ > 0 {
            bail!("{differ} cases differ");
        }
        return Ok(());
    }
    let (quick, only) = (args.quick, args.request.unwrap_or_default());
    let (rounds, budget) = if quick { (1, 5_000_000) } else { (5, 100_000_000) };
    let machine = bench_machine::describe();
    let shared =
        std::env::var_os("COFFERDAM_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let found = files(&shared.join("data/waf").join(VERSION))?;
    let license =
        found.iter().find(|(name, _)| name.ends_with("LICENSE")).context("no LICENSE, which is the prose")?;
    let mut requests = requests::all(&String::from_utf8_lossy(&license.1));
    requests.retain(|request| request.name.contains(&only));
    if requests.is_empty() {
        bail!("no request has {only} in its name");
    }
    let ordered = waf::setup::order(found, &[]);
    let paths: Vec<String> = ordered.rules.iter().skip(1).map(|(path, _)| path.clone()).collect();
    let rules = RuleSet::load(&ordered).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let mut peer = Peer::start(&python, &paths, &requests)?;
    if peer.is_none() {
        say("NOT MEASURED: libmodsecurity (BENCH_WAF_PYTHON names no Python that has it)");
    }
    let mut samples = Vec::new();
    for round in 0..rounds {
        for (number, request) in requests.iter().enumerate() {
            for (engine, profile) in [("crs", Profile::Crs), ("field-aware", Profile::FieldAware)] {
                samples.push(sample(round, request.name, engine, &ours(&rules, request, profile, budget)?));
            }
            if let Some(peer) = &mut peer {
                samples.push(sample(round, request.name, "libmodsecurity", &peer.run(number, budget)?));
            }
        }
    }
    let report = json!({
        "what": "nanoseconds of processor time for one transaction, phases 1 and 2",
        "machine": machine,
        "rules": VERSION,
        "peer": peer.as_ref().map(|peer| peer.name.clone()),
        "rounds": rounds,
        "samples": samples,
    });
    writeln!(std::io::stdout(), "{report:#}")?;
    table(&requests, &samples);
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for folder in [folder.to_owned(), folder.join("rules")] {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_file() {
                found.push((path.display().to_string(), std::fs::read(&path)?));
            }
        }
    }
    Ok(found)
}

fn sample(round: u32, request: &str, engine: &str, measured: &Value) -> Value {
    json!({
        "round": round, "request": request, "engine": engine,
        "nanoseconds": measured["nanoseconds"], "runs": measured["runs"], "blocked": measured["blocked"],
    })
}

fn ours(rules: &RuleSet, request: &Request, profile: Profile, budget: u64) -> Result<Value> {
    let (before, mut runs, mut blocked) = (on_processor()?, 0_u64, false);
    while runs == 0 || on_processor()? - before < budget {
        blocked = run(rules, request, profile);
        runs += 1;
    }
    Ok(json!({ "nanoseconds": (on_processor()? - before) / runs, "runs": runs, "blocked": blocked }))
}

fn run(rules: &RuleSet, request: &Request, profile: Profile) -> bool {
    let mut transaction = Transaction::new(rules, Start { profile, ..Start::default() });
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    transaction.connection(local(40_000), local(80));
    transaction.request_line(request.method.as_bytes(), request.target.as_bytes(), b"HTTP/1.1");
    for (name, value) in &request.headers {
        transaction.request_header(name.as_bytes(), value.as_bytes());
    }
    if transaction.request_headers_done().is_some() {
        return true;
    }
    transaction.request_body(request.body.as_bytes());
    transaction.request_body_done().is_some()
}

/// Nanoseconds that this thread has run.
fn on_processor() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_ascii_whitespace().next().context("no schedstat")?.parse()?)
}

/// Medians over the rounds, and by how much libmodsecurity costs more.
fn table(requests: &[Request], samples: &[Value]) {
    let median = |request: &str, engine: &str| {
        let mine = samples.iter().filter(|sample| sample["request"] == request && sample["engine"] == engine);
        let mut all: Vec<u64> = mine.filter_map(|sample| sample["nanoseconds"].as_u64()).collect();
        all.sort_unstable();
        all.get(all.len() / 2).map(|nanoseconds| *nanoseconds as f64 / 1000.0)
    };
    say("request | crs, us | field-aware, us | libmodsecurity, us | times crs | times field-aware");
    for request in requests {
        let [crs, aware, peer] =
            ["crs", "field-aware", "libmodsecurity"].map(|engine| median(request.name, engine));
        let (Some(crs), Some(aware)) = (crs, aware) else { continue };
        match peer {
            Some(peer) => say(&format!(
                "{} | {crs:.0} | {aware:.0} | {peer:.0} | {:.1} | {:.1}",
                request.name,
                peer / crs,
                peer / aware
            )),
            None => say(&format!("{} | {crs:.0} | {aware:.0} | | |", request.name)),
        }
    }
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
