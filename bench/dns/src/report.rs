//! The table that people read.

use crate::Measured;
use serde_json::Value;
use std::fmt::Write;

/// Medians, and in parentheses the least and the most.
pub(crate) fn table(measured: &[Measured], memory: &Value) -> String {
    let mut out = String::from(
        "| row | CPU/answer, µs | answers/s | of dnsdist's CPU | at half: CPU/answer, µs | p50, µs | p99, µs | lost |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    // Every round has the same rows, in the same order.
    for name in measured.iter().filter(|it| it.round == 0).map(|it| it.row) {
        let of: Vec<&Measured> = measured.iter().filter(|it| it.row == name).collect();
        let cell = |value: &dyn Fn(&Measured) -> Option<f64>, digits: usize| {
            spread(of.iter().filter_map(|it| value(it)).collect(), digits)
        };
        let base = if name.contains("kept") { "dnsdist, kept" } else { "dnsdist, asked" };
        let ratio = |it: &Measured| {
            let peer = measured.iter().find(|peer| peer.round == it.round && peer.row == base)?;
            Some(it.full.cpu / peer.full.cpu)
        };
        let lost: u64 = of.iter().map(|it| it.full.lost + it.half.lost).sum();
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} | {} | {lost} |",
            cell(&|it| Some(it.full.cpu), 1),
            cell(&|it| Some(it.full.per_second), 0),
            cell(&ratio, 2),
            cell(&|it| Some(it.half.cpu), 1),
            cell(&|it| Some(it.half.p50), 0),
            cell(&|it| Some(it.half.p99), 0),
        );
    }
    let _ = writeln!(out, "\nmemory: {memory}");
    out
}

fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    let last = values.len().saturating_sub(1);
    format!("{:.digits$} ({:.digits$}-{:.digits$})", at(values.len() / 2), at(0), at(last))
}
