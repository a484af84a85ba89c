//! The ledger: a writer as the agent has one, and a reader of the same file beside it.

use crate::shape::{BEGIN, DAY, Shape, workload};
use crate::times::Times;
use anyhow::{Context, Result};
use ledger::{EdgeFilter, EntryFilter, Ledger, Measure, Reader, Retention, TopBy};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Records of a batch: the most that the agent writes at once.
const BATCH: u64 = 8192;
/// Entries of one answer.
const PAGE: usize = 10_000;
/// Edges of an answer where nobody says how many.
const FIRST: usize = 1000;
const HOUR: u64 = DAY / 24;
/// How often the reader asks.
const PACE: Duration = Duration::from_secs(1);
/// How often each question is asked when nothing is written.
const ROUNDS: usize = 100;

/// What the writer needed.
#[derive(Default)]
struct Written {
    wall: Duration,
    cpu: Duration,
}

/// Writes so many records, asks meanwhile and afterwards, and says how it went.
pub(crate) fn measure(folder: &Path, records: u64) -> Result<Value> {
    let file = folder.join("ledger.db");
    let mut ledger = Ledger::open(&file)?.0;
    let (now, ends) = (AtomicU64::new(BEGIN), AtomicBool::new(false));
    let (written, during) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| ask_meanwhile(&file, &now, &ends));
        let written = write(&mut ledger, records, &now);
        ends.store(true, Ordering::Relaxed);
        let during = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
        anyhow::Ok((written?, during?))
    })?;
    let reader = Reader::open(&file)?;
    let mut after = Times::counting(thread_cpu);
    for round in 0..ROUNDS {
        ask(&reader, now.load(Ordering::Relaxed), round as u64, &mut after)?;
    }
    let rows = count(&reader)?;
    let verified = Instant::now();
    let fault = reader.verify()?.fault;
    let verified = verified.elapsed();
    anyhow::ensure!(fault.is_none(), "the ledger does not hold: {fault:?}");
    drop((reader, ledger));
    let bytes = std::fs::metadata(&file)?.len();
    Ok(json!({
        "store": "cofferdam ledger",
        "version": env!("CARGO_PKG_VERSION"),
        "records": records,
        "rows": rows,
        "batch": BATCH,
        "writing_seconds": written.wall.as_secs_f64(),
        "writing_cpu_seconds": written.cpu.as_secs_f64(),
        "bytes": bytes,
        "verify_seconds": verified.as_secs_f64(),
        "rss_mib": crate::times::most_memory("self"),
        "during": during.json(),
        "during_cpu": during.cpu_json(),
        "after": after.json(),
        "after_cpu": after.cpu_json(),
    }))
}

/// Only what the ledger does is measured, not how records are made.
fn write(ledger: &mut Ledger, records: u64, now: &AtomicU64) -> Result<Written> {
    let mut shape = Shape::new(records);
    let mut written = Written::default();
    let mut left = records;
    while left > 0 {
        let count = left.min(BATCH);
        let entries = shape.take(usize::try_from(count)?);
        let newest = entries.last().context("a batch")?.time;
        let (begin, cpu) = (Instant::now(), thread_cpu()?);
        ledger.append(&entries)?;
        ledger.tend(newest, &Retention::default())?;
        written.wall += begin.elapsed();
        written.cpu += thread_cpu()?.saturating_sub(cpu);
        now.store(newest, Ordering::Relaxed);
        left -= count;
    }
    Ok(written)
}

/// Time that this thread had a processor, of the kernel's scheduler.
fn thread_cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().next().context("the scheduler's times")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

fn ask_meanwhile(file: &Path, now: &AtomicU64, ends: &AtomicBool) -> Result<Times> {
    let reader = Reader::open(file)?;
    let mut times = Times::counting(thread_cpu);
    let mut round = 0;
    while !ends.load(Ordering::Relaxed) {
        let begin = Instant::now();
        ask(&reader, now.load(Ordering::Relaxed), round, &mut times)?;
        round += 1;
        std::thread::sleep(PACE.saturating_sub(begin.elapsed()));
    }
    Ok(times)
}

/// Each of the questions, once.
fn ask(reader: &Reader, now: u64, round: u64, times: &mut Times) -> Result<()> {
    let found =
        times.take("top", || reader.top(TopBy::Source, Measure::Bytes, now.saturating_sub(HOUR), 20))?;
    anyhow::ensure!(round == 0 || !found.is_empty(), "somebody sent something in the last hour");
    let midnight = now / DAY * DAY;
    let filter = EdgeFilter { first_since: Some(midnight), ..EdgeFilter::default() };
    times.take("edges", || reader.edges(&filter))?;
    times.take("history", || history(reader, &workload(round * 37 % 400)))?;
    // As `cofferdam edges` and `GET /edges` ask where nobody says how many; not right after the other, which reads the same pages.
    let first = EdgeFilter { limit: Some(FIRST), ..filter };
    times.take("first_edges", || reader.edges(&first))?;
    Ok(())
}

/// All entries of a workload, page by page.
fn history(reader: &Reader, who: &str) -> Result<u64, ledger::LedgerError> {
    let mut filter =
        EntryFilter { source: Some(who.to_owned()), limit: Some(PAGE), ..EntryFilter::default() };
    let mut all = 0;
    loop {
        let page = reader.entries(&filter)?;
        all += page.len() as u64;
        match page.last() {
            Some(last) if page.len() == PAGE => filter.before = Some(last.id),
            Some(_) | None => return Ok(all),
        }
    }
}

/// Rows of the file: those that are sealed and those that are not yet.
fn count(reader: &Reader) -> Result<u64> {
    let newest = reader.entries(&EntryFilter { limit: Some(1), ..EntryFilter::default() })?;
    Ok(newest.first().map_or(0, |stored| u64::try_from(stored.id).unwrap_or(0)))
}
