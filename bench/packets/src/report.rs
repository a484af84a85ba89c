//! Samples to a table and a picture: each row against plain conntrack of the same round.

use crate::load::Sample;
use crate::rows::{BASE, RULES};
use serde_json::Value;
use std::fmt::Write;

type Samples = [(usize, String, Sample)];
/// A column: its name and what it compares.
type Column = (&'static str, fn(&Sample) -> f64);

const COLUMNS: [Column; 6] = [
    ("CPU/connection", |sample| sample.per_connection),
    ("CPU/question", |sample| sample.per_question),
    ("CPU/byte", |sample| sample.per_byte),
    ("connections/s", |sample| sample.connections),
    ("answer p50", |sample| sample.answer.0),
    ("stream", |sample| sample.stream),
];

/// Least, median and most of a row's ratios to [`BASE`], round by round.
fn ratios(samples: &Samples, row: &str, of: fn(&Sample) -> f64) -> Option<(f64, f64, f64)> {
    let find = |round: usize, name: &str| {
        samples.iter().find(|(r, n, _)| *r == round && n == name).map(|(_, _, sample)| of(sample))
    };
    let rounds = samples.iter().map(|(round, ..)| *round).max()?;
    let mut found: Vec<f64> =
        (0..=rounds).filter_map(|round| Some(find(round, row)? / find(round, BASE)?)).collect();
    found.sort_by(f64::total_cmp);
    Some((*found.first()?, *found.get(found.len() / 2)?, *found.last()?))
}

/// Whether many linear rules cost clearly more than few.
pub(crate) fn chains_were_walked(samples: &Samples) -> bool {
    let median =
        |row: &str| ratios(samples, row, |sample| sample.per_connection).map(|(_, median, _)| median);
    matches!((median("linear 10"), median("linear 10000")), (Some(few), Some(many)) if many > 1.5 * few)
}

/// Markdown.
pub(crate) fn table(samples: &Samples, changes: &Value) -> String {
    // From nothing to most, however the rounds were shuffled.
    let rank = |name: &str| {
        let kinds = ["none", "conntrack", "cofferdam", "linear"];
        (kinds.iter().position(|kind| name.starts_with(kind)), name.len(), name.to_owned())
    };
    let mut rows: Vec<&str> = samples.iter().map(|(_, name, _)| name.as_str()).collect();
    rows.sort_unstable_by_key(|name| rank(name));
    rows.dedup();
    let mut text = "| row |".to_owned();
    for (name, _) in COLUMNS {
        let _ = write!(text, " {name} |");
    }
    text += "\n| --- |";
    text += &" --- |".repeat(COLUMNS.len());
    for row in rows {
        let _ = write!(text, "\n| {row} |");
        for (_, of) in COLUMNS {
            if let Some((least, median, most)) = ratios(samples, row, of) {
                let _ = write!(text, " {median:.2} ({least:.2}-{most:.2}) |");
            }
        }
    }
    text += "\n\n| change of 10,000 rules | median ms | least | most |\n| --- | --- | --- | --- |";
    for (name, times) in changes.as_object().into_iter().flatten() {
        let mut times: Vec<f64> = times.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        times.sort_by(f64::total_cmp);
        if let (Some(least), Some(median), Some(most)) =
            (times.first(), times.get(times.len() / 2), times.last())
        {
            let name = name.trim_end_matches("_ms").replace('_', " ");
            let _ = write!(text, "\n| {name} | {median:.3} | {least:.3} | {most:.3} |");
        }
    }
    text
}

/// Processor time per new connection by number of rules, in units of plain conntrack; bars are the spread over rounds.
pub(crate) fn svg(samples: &Samples) -> String {
    let (left, bottom, width, height) = (60.0, 250.0, 440.0, 210.0);
    let series = [("cofferdam", "#1f6f8b", 60.0), ("linear", "#c8553d", 78.0)];
    let points = |name: &str| -> Vec<(f64, (f64, f64, f64))> {
        let of = |sample: &Sample| sample.per_connection;
        let found = |rules: &u32| {
            Some((f64::from(*rules).log10() - 1.0, ratios(samples, &format!("{name} {rules}"), of)?))
        };
        RULES.iter().filter_map(found).collect()
    };
    let top =
        series.iter().flat_map(|(name, ..)| points(name)).map(|(_, (_, _, most))| most).fold(1.5, f64::max);
    let x = |log: f64| left + log / 3.0 * width;
    let y = |ratio: f64| bottom - ratio / top * height;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 560 300\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{left}\" y=\"22\">Processor time per new connection (1 = plain conntrack)</text>\n"
    );
    let mut tick = 0.0;
    while tick <= top {
        let at = y(tick);
        let _ = writeln!(
            text,
            "<path d=\"M{left} {at:.1}h{width}\" stroke=\"#dddddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            left - 6.0,
            at + 4.0
        );
        tick += if top > 6.0 { 2.0 } else { 0.5 };
    }
    for rules in RULES {
        let at = x(f64::from(rules).log10() - 1.0);
        let _ = writeln!(
            text,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{rules} rules</text>",
            bottom + 20.0
        );
    }
    for (name, colour, legend) in series {
        let mut line = String::new();
        for (log, (least, median, most)) in points(name) {
            let (at, letter) = (x(log), if line.is_empty() { 'M' } else { 'L' });
            let _ = write!(line, "{letter}{at:.1} {:.1}", y(median));
            let _ = writeln!(
                text,
                "<path d=\"M{at:.1} {:.1}V{:.1}\" stroke=\"{colour}\" stroke-width=\"5\" opacity=\"0.4\"/>",
                y(least),
                y(most)
            );
        }
        let _ = writeln!(text, "<path d=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let _ =
            writeln!(text, "<text x=\"{:.1}\" y=\"{legend}\" fill=\"{colour}\">{name}</text>", left + 20.0);
    }
    text + "</svg>\n"
}
