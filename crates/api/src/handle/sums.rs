//! Sums of entries: edges, the largest, counts over time, words for filters.

use super::records::filter;
use super::{Asked, Reply, Span, json, lost};
use crate::problem::Problem;
use crate::shape::records::{EdgeAnswer, Edges, Hint, Hints, OneSeries, Series, SumAnswer};
use crate::shape::{List, Moment};
use ledger::query::TEXTS;
use ledger::write::OTHER;
use ledger::{
    BoundedStore, EdgeFilter, EdgePage, EntryFilter, Field, Measure, Point, Reader, SeriesBy, TopBy,
};
use std::collections::BTreeMap;

/// Values of one series, at most.
const STEPS: u64 = 2000;
/// Steps that are taken where none is asked for, in seconds; and beyond these.
const FITTING: [u64; 5] = [60, 300, 900, 3600, 6 * 3600];
const LONGEST: u64 = 24 * 3600;
/// Series that are told apart.
const SERIES: usize = 10;
const MICROS: u64 = 1_000_000;

/// `GET /edges`.
pub(crate) fn edges(asked: &Asked<'_>, store: &dyn BoundedStore) -> Result<Reply, Problem> {
    let query = asked.query;
    let since = query.time("since");
    if query.flag("new") && since.is_none() {
        return Err(Problem::bad("new: since when? give since, too"));
    }
    let (first_since, last_since) = if query.flag("new") { (since, None) } else { (None, since) };
    let EntryFilter { texts, port, verdict, .. } = filter(query)?;
    let after = query.text("before").map(str::parse).transpose();
    let after = after.map_err(|_| Problem::bad("before: `next` of an earlier answer is wanted"))?;
    let asked_for = EdgeFilter {
        texts,
        port,
        verdict,
        first_since,
        last_since,
        first_until: query.time("until"),
        after,
        limit: Some(query.limit(1000)),
        ..EdgeFilter::default()
    };
    let EdgePage { edges, next } = store.edge_page_within(&asked_for, TEXTS)?;
    let next = next.map(|mark| mark.to_string());
    json(&Edges { items: edges.into_iter().map(EdgeAnswer::from).collect(), next, lost: lost(store)? })
}

/// `GET /top`.
pub(crate) fn top(asked: &Asked<'_>, store: &dyn BoundedStore) -> Result<Reply, Problem> {
    let by = match asked.query.text("by") {
        Some("destination") => TopBy::Destination,
        Some("rule") => TopBy::Rule,
        Some(_) | None => TopBy::Source,
    };
    let measure = match asked.query.text("measure") {
        Some("count") => Measure::Count,
        Some("denied") => Measure::Denied,
        Some(_) | None => Measure::Bytes,
    };
    let since = asked.query.time("since").unwrap_or(0);
    let found = store.top(by, measure, since, asked.query.limit(20))?;
    json(&List { items: found.into_iter().map(SumAnswer::from).collect(), next: None, lost: lost(store)? })
}

/// `GET /hints`.
pub(crate) fn hints(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let field = field(asked.query.text("field").unwrap_or("source"));
    let prefix = asked.query.text("prefix").unwrap_or("");
    let filter = asked.filter(24)?;
    let found = reader.hints(field, prefix, &filter, asked.query.limit(20))?;
    json(&Hints { items: found.into_iter().map(|(value, count)| Hint { value, count }).collect() })
}

fn field(name: &str) -> Field {
    match name {
        "destination" => Field::Destination,
        "rule" => Field::Rule,
        "reason" => Field::Reason,
        "node" => Field::Node,
        _ => Field::Source,
    }
}

/// The shortest step, in seconds, by which a time has no more values than are answered.
fn fitting(span: &Span) -> u64 {
    let lasts = span.until.saturating_sub(span.since);
    let fits = |step: &u64| lasts / (step * MICROS) + 2 <= STEPS;
    FITTING.into_iter().find(fits).unwrap_or(LONGEST)
}

/// `GET /series`.
pub(crate) fn series(asked: &Asked<'_>, store: &dyn BoundedStore) -> Result<Reply, Problem> {
    let query = asked.query;
    let mut span = asked.span(1);
    let step =
        query.number("step").and_then(|step| u64::try_from(step).ok()).unwrap_or_else(|| fitting(&span));
    let micros = step * MICROS;
    // Steps begin where clocks do, so that answers asked for later have the same ones.
    span.since -= span.since % micros;
    let steps = span.until.saturating_sub(span.since) / micros + 1;
    if steps > STEPS {
        return Err(Problem::bad(format!(
            "step: {steps} values would be answered, and at most {STEPS} are: make it longer, or the time shorter"
        )));
    }
    let by = match query.text("by").unwrap_or("verdict") {
        "verdict" => SeriesBy::Verdict,
        "kind" => SeriesBy::Kind,
        name => SeriesBy::Field(field(name)),
    };
    let filter = EntryFilter { since: Some(span.since), until: Some(span.until), ..filter(query)? };
    let points = store.series(&filter, by, micros, SERIES)?;
    json(&Series { step, start: Moment::of(span.since), series: lines(points, steps) })
}

/// The largest, and all others as one.
fn lines(points: Vec<Point>, steps: u64) -> Vec<OneSeries> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for point in &points {
        let sum = sums.entry(&point.of).or_default();
        *sum = sum.saturating_add(point.count);
    }
    let has_others = sums.remove(OTHER).is_some();
    let mut names: Vec<(&str, u64)> = sums.into_iter().collect();
    names.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let length = usize::try_from(steps).unwrap_or(0);
    let line = |name: &str| OneSeries { name: name.to_owned(), values: vec![0; length] };
    let mut lines: Vec<_> = names.iter().take(SERIES).map(|(name, _)| line(name)).collect();
    if has_others || names.len() > SERIES {
        lines.push(line(OTHER));
    }
    let places = names.iter().map(|(name, _)| *name).chain([OTHER]).enumerate();
    let places: BTreeMap<&str, usize> = places.map(|(place, name)| (name, place.min(SERIES))).collect();
    for point in &points {
        let line = places.get(point.of.as_str()).and_then(|place| lines.get_mut(*place));
        let step = usize::try_from(point.step).unwrap_or(usize::MAX);
        if let Some(value) = line.and_then(|line| line.values.get_mut(step)) {
            *value = value.saturating_add(point.count);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_largest_is_one_and_nothing_is_left_out() {
        let points: Vec<_> = (0..30)
            .map(|number| Point { step: number % 3, of: format!("name-{number:02}"), count: number + 1 })
            .collect();
        let lines = lines(points, 3);
        assert_eq!(lines.len(), SERIES + 1);
        assert_eq!(lines[0], OneSeries { name: "name-29".into(), values: vec![0, 0, 30] });
        assert_eq!(lines[SERIES].name, OTHER);
        let sum: u64 = lines.iter().flat_map(|line| &line.values).sum();
        assert_eq!(sum, 30 * 31 / 2);
        // What the ledger did not tell apart is one of none.
        let point = |of: &str, count| Point { step: 0, of: of.to_owned(), count };
        let lines = super::lines(vec![point(OTHER, 9), point("b", 1), point("a", 2)], 1);
        let told: Vec<_> = lines.iter().map(|line| (line.name.as_str(), line.values[0])).collect();
        assert_eq!(told, [("a", 2), ("b", 1), (OTHER, 9)]);
    }
}
