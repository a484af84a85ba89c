//! Questions as queries of ClickHouse. What is asked for is bound as parameters (`{p0:String}`), and is never a part of the text.

use crate::clickhouse::{EDGES, TABLE};
use ledger::query::MOST;
use ledger::search::WORDS;
use ledger::sums::MOST_SUM;
use ledger::write::OTHER;
use ledger::{
    Column, EdgeFilter, EdgeMark, EntryFilter, Kind, Match, Measure, Order, SeriesBy, TopBy, Verdict,
};
use std::fmt::Write as _;

/// The last time that a column of the table can have (`DateTime64`), in microseconds since 1970.
const LAST: u64 = 10_413_791_999_999_999;

/// What stands for names in marks, which are shorter than names may be.
const ENDS: &str = "cityHash64(source) AS source_number, cityHash64(destination) AS destination_number";

/// A query, and what is bound in it.
#[derive(Debug, Default)]
pub(super) struct Query {
    text: String,
    conditions: Vec<String>,
    bound: Vec<String>,
}

impl Query {
    /// Columns: number, time, kind, verdict, node, source, destination, port, protocol, rule, reason, count, sent, received, detail,
    /// and of how many ledgers are all those that the filter means.
    pub(super) fn entries(database: &str, filter: &EntryFilter) -> Self {
        let mut query = Self::default();
        query.meant(filter);
        let all = query.conditions();
        query.compare("number <", "Int64", filter.before);
        query.compare("number >", "Int64", filter.after);
        let page = query.conditions();
        let order = match filter.order {
            Order::NewestFirst => "DESC",
            Order::OldestFirst => "ASC",
        };
        // Details are long: only those of the answer are read, by the key of the table.
        query.text = format!(
            "SELECT number, toUnixTimestamp64Micro(time), kind, verdict, node, source, destination, port, protocol, rule, reason, \
             count, bytes_sent, bytes_received, detail, (SELECT uniqExact(ledger) FROM {database}.{TABLE} WHERE {all}) \
             FROM {database}.{TABLE} FINAL WHERE (kind, source, time, node, number) IN (SELECT DISTINCT kind, source, time, node, \
             number FROM {database}.{TABLE} WHERE {page} ORDER BY number {order} LIMIT {most}) ORDER BY number {order} LIMIT {most}",
            most = limit(filter.limit)
        );
        query
    }

    /// Columns: source, destination, port, protocol, first, last, allowed, denied, sent, received, rule, and the numbers that stand
    /// for source and destination in marks.
    pub(super) fn edges(database: &str, filter: &EdgeFilter) -> Self {
        let mut query = Self::default();
        for (column, wanted) in filter.texts() {
            match column {
                Column::Source | Column::Destination | Column::Rule => {
                    query.matches(column.columns(), &wanted)
                }
                Column::Any => query.matches(&["source", "destination", "rule"], &wanted),
                // An edge has none.
                Column::Node | Column::Reason => query.conditions.push("0".to_owned()),
            }
        }
        query.compare("seen_first >=", "UInt64", filter.first_since);
        query.compare("seen_first <=", "UInt64", filter.first_until);
        query.compare("seen_last >=", "UInt64", filter.last_since);
        query.compare("port =", "UInt16", filter.port);
        match filter.verdict {
            Some(Verdict::Allow) => query.conditions.push("allows > 0".to_owned()),
            Some(Verdict::Deny | Verdict::Fail | Verdict::None) => {
                query.conditions.push("denials > 0".to_owned())
            }
            None => {}
        }
        if let Some(EdgeMark { of: _, first, source, destination, port, protocol }) = filter.after {
            let first = query.bind("UInt64", first);
            let (source, destination) = (query.bind("UInt64", source), query.bind("UInt64", destination));
            let (port, protocol) = (query.bind("UInt16", port), query.bind("UInt8", protocol));
            query.conditions.push(format!(
                "(seen_first, source_number, destination_number, port, protocol) < ({first}, {source}, {destination}, {port}, {protocol})"
            ));
        }
        let most = i64::MAX;
        let sum = |column: &str| format!("toUInt64(least(sum({column}), toUInt128({most})))");
        query.text = format!(
            "SELECT source, destination, port, protocol, seen_first, seen_last, allows, denials, up, down, rule, source_number, \
             destination_number FROM (SELECT source, destination, {ENDS}, port, protocol, toUInt64(toUnixTimestamp64Micro(min(first_seen))) AS seen_first, \
             toUInt64(toUnixTimestamp64Micro(max(last_seen))) AS seen_last, {} AS allows, {} AS denials, {} AS up, {} AS down, \
             argMaxMerge(last_rule) AS rule FROM {database}.{EDGES} GROUP BY source, destination, port, protocol) \
             WHERE {} ORDER BY seen_first DESC, source_number DESC, destination_number DESC, port DESC, protocol DESC LIMIT {}",
            sum("allowed"),
            sum("denied"),
            sum("sent"),
            sum("received"),
            query.conditions(),
            limit(filter.limit)
        );
        query
    }

    /// Columns: of what, count, denied, sent, received.
    pub(super) fn top(database: &str, by: TopBy, measure: Measure, since: u64, most: usize) -> Self {
        let column = match by {
            TopBy::Source => "source",
            TopBy::Destination => "destination",
            TopBy::Rule => "rule",
        };
        let order = match measure {
            Measure::Bytes => "up + down",
            Measure::Count => "number_of",
            Measure::Denied => "denials",
        };
        let mut query = Self::default();
        query.meant(&EntryFilter { kind: Some(Kind::Flow), since: Some(since), ..EntryFilter::default() });
        query.text = format!(
            "SELECT {column} AS word, {} AS number_of, {} AS denials, {} AS up, {} AS down FROM {database}.{TABLE} FINAL WHERE {} \
             GROUP BY word ORDER BY {order} DESC, word LIMIT {}",
            summed("sum(toUInt128(count))"),
            summed("sumIf(toUInt128(count), verdict = 'deny')"),
            summed("sum(toUInt128(bytes_sent))"),
            summed("sum(toUInt128(bytes_received))"),
            query.conditions(),
            limit(Some(most))
        );
        query
    }

    /// Columns: number of the step, of what, count.
    pub(super) fn series(database: &str, filter: &EntryFilter, by: SeriesBy, step: u64, most: usize) -> Self {
        let mut query = Self::of_entries(filter);
        let conditions = query.conditions();
        let count = summed("sum(toUInt128(count))");
        let word = match by {
            SeriesBy::Verdict => "toString(verdict)".to_owned(),
            SeriesBy::Kind => "toString(kind)".to_owned(),
            SeriesBy::Field(field) => format!(
                "if({column} IN (SELECT {column} FROM {database}.{TABLE} FINAL WHERE {conditions} GROUP BY {column} \
                 ORDER BY {count} DESC, {column} LIMIT {most}), toString({column}), '{OTHER}')",
                column = field.column()
            ),
        };
        let since = query.bind("Int64", filter.since.unwrap_or(0).min(LAST));
        let step = query.bind("Int64", step.clamp(1, LAST));
        query.text = format!(
            "SELECT intDiv(toUnixTimestamp64Micro(time) - {since}, {step}) AS step, {word} AS word, {count} AS number_of \
             FROM {database}.{TABLE} FINAL WHERE {conditions} GROUP BY step, word ORDER BY step, word"
        );
        query
    }

    /// Columns: source, destination, port, protocol, allowed, denied, sent, received, first and last in the time, first at all.
    pub(super) fn pairs(database: &str, filter: &EntryFilter, new_since: Option<u64>) -> Self {
        let mut query = Self::of_entries(filter);
        query.conditions.push("destination != ''".to_owned());
        let conditions = query.conditions();
        // Of who is in no view of edges, a join says 0, or nothing where the server is set up so.
        let ever = "ifNull(seen_ever, 0)";
        let new = new_since.map(|since| query.bind("UInt64", since.max(1)));
        let new = new.map_or_else(|| "1".to_owned(), |since| format!("{ever} >= {since}"));
        query.text = format!(
            "SELECT source, destination, port, protocol, allows, denials, up, down, seen_first, seen_last, \
             if({ever} = 0, seen_first, {ever}) FROM (SELECT source, destination, port, protocol, {} AS allows, {} AS denials, \
             {} AS up, {} AS down, toUInt64(toUnixTimestamp64Micro(min(time))) AS seen_first, \
             toUInt64(toUnixTimestamp64Micro(max(time))) AS seen_last FROM {database}.{TABLE} FINAL WHERE {conditions} \
             GROUP BY source, destination, port, protocol) AS met LEFT JOIN (SELECT source, destination, port, protocol, \
             toUInt64(toUnixTimestamp64Micro(min(first_seen))) AS seen_ever FROM {database}.{EDGES} \
             GROUP BY source, destination, port, protocol) AS known USING (source, destination, port, protocol) WHERE {new}",
            summed("sumIf(toUInt128(count), verdict = 'allow')"),
            summed("sumIf(toUInt128(count), verdict != 'allow')"),
            summed("sum(toUInt128(bytes_sent))"),
            summed("sum(toUInt128(bytes_received))"),
        );
        query
    }

    /// With the conditions of a filter, but for its order and limit, and no text yet.
    fn of_entries(filter: &EntryFilter) -> Self {
        let mut query = Self::default();
        query.meant(filter);
        query.compare("number <", "Int64", filter.before);
        query.compare("number >", "Int64", filter.after);
        query
    }

    /// Column: of how many entries it was said that they were forgotten before they could be sent. What was said twice counts once.
    pub(super) fn missing(database: &str) -> Self {
        let text = format!(
            "SELECT toUInt64(least(sum(toUInt128(records)), toUInt128({most}))) FROM (SELECT max(count) AS records FROM \
             {database}.{TABLE} WHERE kind = 'lost' GROUP BY ledger, id)",
            most = u64::MAX
        );
        Self { text, ..Self::default() }
    }

    /// The text, which has nothing of what somebody asked for.
    pub(super) fn text(&self) -> String {
        format!("{} FORMAT JSONCompactEachRow", self.text)
    }

    /// Path and query of the request. The answer does not begin before it is whole, so that its status says whether it is.
    pub(super) fn path(&self) -> String {
        let mut path = "/?wait_end_of_query=1".to_owned();
        for (number, value) in self.bound.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(path, "&param_p{number}=");
            for byte in escaped(value).bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                        path.push(char::from(byte))
                    }
                    byte => drop(write!(path, "%{byte:02X}")),
                }
            }
        }
        path
    }

    /// That a row is an entry that a filter means, but for its number, order and limit.
    fn meant(&mut self, filter: &EntryFilter) {
        let one = filter.kind.as_ref().map(std::slice::from_ref);
        // Rows of other kinds say what is missing.
        for kinds in [Some(&Kind::ALL[..]), Some(&filter.kinds[..]), one]
            .into_iter()
            .flatten()
            .filter(|it| !it.is_empty())
        {
            let names: Vec<String> = kinds.iter().map(|kind| format!("'{}'", kind.name())).collect();
            self.conditions.push(format!("kind IN ({})", names.join(", ")));
        }
        if let Some(verdict) = filter.verdict {
            self.conditions.push(format!("verdict = '{}'", verdict.name()));
        }
        for (column, wanted) in filter.texts() {
            self.matches(column.columns(), &wanted);
        }
        self.compare("port =", "UInt16", filter.port);
        for (compare, time) in [("time >=", filter.since), ("time <=", filter.until)] {
            if let Some(time) = time.filter(|time| *time > 0 || compare == "time <=") {
                let bound = self.bind("Int64", time.min(LAST));
                self.conditions.push(format!("{compare} fromUnixTimestamp64Micro({bound}, 'UTC')"));
            }
        }
        if let Some(tool) = &filter.tool {
            let condition = self.condition("tool", tool);
            self.conditions.push(format!(
                "kind = '{}' AND arrayExists(tool -> {condition}, JSONExtract(detail, 'operation', 'tools', 'Array(String)'))",
                Kind::AiCall.name()
            ));
        }
    }

    fn conditions(&self) -> String {
        if self.conditions.is_empty() { "1".to_owned() } else { self.conditions.join(" AND ") }
    }

    /// Where a value goes in the text.
    fn bind(&mut self, kind: &str, value: impl ToString) -> String {
        self.bound.push(value.to_string());
        format!("{{p{}:{kind}}}", self.bound.len() - 1)
    }

    fn compare(&mut self, compare: &str, kind: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            let bound = self.bind(kind, value);
            self.conditions.push(format!("{compare} {bound}"));
        }
    }

    /// That one of these columns has a text that matches.
    fn matches(&mut self, columns: &[&str], wanted: &Match) {
        let each: Vec<String> = columns.iter().map(|column| self.condition(column, wanted)).collect();
        self.conditions.push(format!("({})", each.join(" OR ")));
    }

    fn condition(&mut self, column: &str, wanted: &Match) -> String {
        let mut text = |text: &str| self.bind("String", text);
        match wanted {
            Match::Is(is) => format!("{column} = {}", text(is)),
            Match::AnyOf(texts) if texts.is_empty() => "0".to_owned(),
            Match::AnyOf(texts) => {
                let places: Vec<String> = texts.iter().take(WORDS).map(|it| text(it)).collect();
                format!("{column} IN ({})", places.join(", "))
            }
            Match::Begins(begin) => format!("startsWith({column}, {})", text(begin)),
            Match::Has(part) => format!("position(lower({column}), lower({})) > 0", text(part)),
            Match::Below(name) => {
                let name = name.to_ascii_lowercase();
                let (is, end) = (text(&name), text(&format!(".{name}")));
                format!("(lower({column}) = {is} OR endsWith(lower({column}), {end}))")
            }
        }
    }
}

/// A sum of 128 bits as much as the ledger says at most.
fn summed(sum: &str) -> String {
    format!("toUInt64(least({sum}, toUInt128({MOST_SUM})))")
}

/// A value of a parameter is read like a field of a line with tabs between fields.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\0' => text.push_str("\\0"),
            c => text.push(c),
        }
    }
    text
}

pub(super) fn limit(asked: Option<usize>) -> usize {
    asked.map_or(MOST, |asked| asked.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::Field;

    #[test]
    fn what_is_asked_for_is_in_no_query_but_bound() {
        let hostile = "x') OR 1=1; DROP\tTABLE \\{p0:String} --\n";
        let texts =
            [Match::Is(hostile.into()), Match::AnyOf(vec![hostile.into()]), Match::Begins(hostile.into())];
        let texts = texts.into_iter().chain([Match::Has(hostile.into()), Match::Below(hostile.into())]);
        let texts: Vec<_> =
            texts.flat_map(|wanted| [(Column::Any, wanted.clone()), (Column::Rule, wanted)]).collect();
        let tool = Some(Match::wanted(hostile));
        let entries = EntryFilter {
            texts: texts.clone(),
            tool,
            source: Some(hostile.into()),
            ..EntryFilter::default()
        };
        let edges = EdgeFilter { texts, destination: Some(hostile.into()), ..EdgeFilter::default() };
        for query in [
            Query::entries("security", &entries),
            Query::edges("security", &edges),
            Query::series("security", &entries, SeriesBy::Field(Field::Rule), 7, 9),
            Query::pairs("security", &entries, Some(7)),
        ] {
            assert!(!query.text().contains("DROP"), "{}", query.text());
            assert!(query.bound.len() >= 20);
            let path = query.path();
            assert!(
                path.contains(
                    "&param_p0=x%27%29%20OR%201%3D1%3B%20DROP%5CtTABLE%20%5C%5C%7Bp0%3AString%7D%20--%5Cn&"
                ),
                "{path}"
            );
            assert!(path.parse::<hyper::Uri>().is_ok());
        }
    }
}
