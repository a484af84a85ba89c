//! Measures the ledger beside DuckDB and the ClickHouse engine: `bench-ledger [--quick]`.
//!
//! Enters: a Python with `duckdb` and `chdb` in `$BENCH_LEDGER_PYTHON`; without, only the ledger is measured. Leaves: raw samples as
//! JSON on standard output, a table and progress on standard error. Files are written below the folder for temporary files.

mod own;
mod peer;
mod shape;
mod times;

use anyhow::Result;
use clap::Parser;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use times::quantile;

/// Records of a whole run, and of a quick one.
const RECORDS: u64 = 5_000_000;
const QUICK: u64 = 200_000;

/// Measure what the ledger takes and how soon it answers while it is written, beside DuckDB and the ClickHouse engine
///
/// $BENCH_LEDGER_PYTHON names a Python with the packages duckdb and chdb-core; without it only the ledger is measured. Files are written
/// below the folder for temporary files. Raw samples go to standard output as JSON, a table and progress to standard error.
#[derive(Parser, Debug)]
#[command(after_help = "Example:
  BENCH_LEDGER_PYTHON=target/bench-stores/bin/python cargo run --release -p bench-ledger -- --quick")]
struct Args {
    /// 200,000 records instead of 5,000,000, to see that it works
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<()> {
    let records = if Args::parse().quick { QUICK } else { RECORDS };
    let machine = bench_machine::describe();
    let folder = tempfile::tempdir()?;
    say("the ledger");
    let mut measured = vec![own::measure(folder.path(), records)?];
    if let Some(python) = std::env::var_os("BENCH_LEDGER_PYTHON").map(PathBuf::from) {
        let batches = tempfile::tempdir()?;
        peer::write(batches.path(), records)?;
        for module in ["duckdb", "chdb"] {
            say(module);
            let folder = tempfile::tempdir()?;
            match peer::measure(&python, module, batches.path(), folder.path())? {
                Some(found) => measured.push(found),
                None => say(&format!("NOT MEASURED: {module} (its package is not there)")),
            }
        }
    } else {
        say("NOT MEASURED: other stores (BENCH_LEDGER_PYTHON is not set)");
    }
    writeln!(std::io::stderr(), "{}", table(&measured))?;
    let report = json!({
        "what": "records of a week written as fast as they are taken, with four questions a second meanwhile; times in ms",
        "machine": machine,
        "measured": measured,
    });
    writeln!(std::io::stdout(), "{report:#}")?;
    Ok(())
}

fn table(measured: &[Value]) -> String {
    let mut text = String::from(
        "| store | records/s | per CPU second | bytes/record | top talkers: p50, p99 ms | new edges | at most 1,000 | a workload's history |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for it in measured {
        let number = |key: &str| it.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        for (when, is) in [
            ("during", "while written"),
            ("during_cpu", "while written, processor time"),
            ("after", "afterwards"),
            ("after_cpu", "afterwards, processor time"),
        ] {
            let Some(times) = it.get(when) else { continue };
            let cell = |question: &str| {
                let all = times.get(question).unwrap_or(&Value::Null);
                format!("{:.1}, {:.1}", quantile(all, 0.5), quantile(all, 0.99))
            };
            text.push_str(&format!(
                "| {}, {} | {:.0} | {:.0} | {:.0} | {} | {} | {} | {} |\n",
                it.get("store").and_then(Value::as_str).unwrap_or_default(),
                is,
                number("records") / number("writing_seconds"),
                number("records") / number("writing_cpu_seconds"),
                number("bytes") / number("rows").max(number("records")),
                cell("top"),
                cell("edges"),
                cell("first_edges"),
                cell("history"),
            ));
        }
    }
    text
}

fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
