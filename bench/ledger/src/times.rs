//! How long answers took.

use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// By question, in milliseconds.
#[derive(Default)]
pub(crate) struct Times {
    taken: BTreeMap<&'static str, Vec<f64>>,
    cpu: BTreeMap<&'static str, Vec<f64>>,
    /// Processor time that was used so far, if that counts, too.
    clock: Option<fn() -> Result<Duration>>,
}

impl Times {
    /// Those with processor time.
    pub(crate) fn counting(clock: fn() -> Result<Duration>) -> Self {
        Self { clock: Some(clock), ..Self::default() }
    }

    /// Takes the time of one.
    pub(crate) fn take<T>(&mut self, question: &'static str, ask: impl FnOnce() -> T) -> T {
        let used = |clock: Option<fn() -> Result<Duration>>| clock.and_then(|clock| clock().ok());
        let (begin, cpu) = (Instant::now(), used(self.clock));
        let answer = ask();
        let taken = begin.elapsed();
        if let (Some(before), Some(after)) = (cpu, used(self.clock)) {
            self.cpu.entry(question).or_default().push(millis(after.saturating_sub(before)));
        }
        self.taken.entry(question).or_default().push(millis(taken));
        answer
    }

    /// All of them.
    pub(crate) fn json(&self) -> Value {
        json!(self.taken)
    }

    /// Processor time of all of them.
    pub(crate) fn cpu_json(&self) -> Value {
        json!(self.cpu)
    }
}

/// Rounded to microseconds.
fn millis(taken: Duration) -> f64 {
    (taken.as_secs_f64() * 1e6).round() / 1e3
}

/// Of a list of numbers, the one below which such a part of them is.
pub(crate) fn quantile(all: &Value, part: f64) -> f64 {
    let mut all: Vec<f64> = all.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    all.sort_by(f64::total_cmp);
    let last = all.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, reason = "a place in the list")]
    let place = (last as f64 * part).round() as usize;
    all.get(place).copied().unwrap_or(f64::NAN)
}

/// Most memory that a process had, in MiB.
pub(crate) fn most_memory(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
