//! The query of a request, read by the table of what its route knows.
//!
//! Enters: what stands behind the `?`. Leaves: values of the types that the table names. Guarantees: what the table does not
//! have is refused, with the names that it has; nothing is guessed, cut or ignored. Does not: know routes.

use crate::problem::Problem;
use observe::{Time, parse_duration};
use std::collections::BTreeMap;

/// Longest query, in bytes.
const QUERY_BYTES: usize = 8192;
/// Longest value, in bytes.
const VALUE_BYTES: usize = 1024;
/// Values of one parameter that may be repeated.
const VALUES: usize = 64;

/// One parameter that a route knows.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub kind: ParameterKind,
    /// What it does.
    pub about: &'static str,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub enum ParameterKind {
    /// Any text.
    Text,
    /// Some texts, each as a parameter of its own.
    Texts,
    /// A whole number in these bounds.
    Number(i64, i64),
    /// A time, or how long ago.
    Time,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Some of these words, each as a parameter of its own.
    SomeOf(&'static [&'static str]),
}

/// What was asked, each value as its kind wants it.
#[derive(Clone, Debug, Default)]
pub struct Query {
    values: BTreeMap<&'static str, Vec<String>>,
    now: Time,
}

impl Query {
    /// Reads a query; `now` is what ages are counted from.
    ///
    /// # Errors
    /// A parameter is unknown, repeated, too long or not of its kind.
    pub fn read(text: &str, known: &[Parameter], now: Time) -> Result<Self, Problem> {
        if text.len() > QUERY_BYTES {
            return Err(Problem::bad(format!("the query is longer than {QUERY_BYTES} bytes")));
        }
        let mut query = Self { values: BTreeMap::new(), now };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name, true)?, decode(value, true)?);
            let Some(parameter) = known.iter().find(|it| it.name == name) else {
                return Err(unknown(&name, known));
            };
            query.add(parameter, value)?;
        }
        Ok(query)
    }

    fn add(&mut self, parameter: &Parameter, value: String) -> Result<(), Problem> {
        let Parameter { name, kind, .. } = *parameter;
        if value.len() > VALUE_BYTES {
            return Err(Problem::bad(format!("{name}: longer than {VALUE_BYTES} bytes")));
        }
        let wrong = match kind {
            ParameterKind::Text | ParameterKind::Texts => {
                value.is_empty().then(|| "it is empty: leave it out instead".to_owned())
            }
            ParameterKind::Number(least, most) => {
                let fits = value.parse::<i64>().is_ok_and(|number| (least..=most).contains(&number));
                (!fits).then(|| format!("a whole number from {least} to {most} is wanted"))
            }
            ParameterKind::Time => (moment(&value, self.now).is_none()).then(|| {
                "a time like 2026-11-23T21:06:27Z, or how long ago like 90s, 5m, 2h or 1d, is wanted"
                    .to_owned()
            }),
            ParameterKind::Flag => {
                (value != "true" && value != "false").then(|| "true or false is wanted".to_owned())
            }
            ParameterKind::OneOf(words) | ParameterKind::SomeOf(words) => {
                (!words.contains(&value.as_str())).then(|| format!("one of {} is wanted", words.join(", ")))
            }
        };
        if let Some(wrong) = wrong {
            return Err(Problem::bad(format!("{name}: {wrong}")));
        }
        let most = match kind {
            ParameterKind::SomeOf(_) | ParameterKind::Texts => VALUES,
            ParameterKind::Text
            | ParameterKind::Number(..)
            | ParameterKind::Time
            | ParameterKind::Flag
            | ParameterKind::OneOf(_) => 1,
        };
        let values = self.values.entry(name).or_default();
        if values.len() >= most {
            return Err(Problem::bad(format!("{name}: at most {most} of them may be given")));
        }
        values.push(value);
        Ok(())
    }

    /// A text or word.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.first().map(String::as_str)
    }

    /// Words, or texts.
    pub fn texts(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// How many at most.
    pub fn limit(&self, default: usize) -> usize {
        self.number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(default)
    }

    /// A flag; false where it is not given.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    /// A time, in microseconds since 1970.
    pub fn time(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(|text| moment(text, self.now)).map(|time| time.0)
    }

    /// When the request came.
    pub fn now(&self) -> Time {
        self.now
    }
}

fn unknown(name: &str, known: &[Parameter]) -> Problem {
    let name: String = name.chars().take(64).flat_map(char::escape_default).collect();
    let names: Vec<_> = known.iter().map(|it| it.name).collect();
    let known = if names.is_empty() { "none is known here".to_owned() } else { names.join(", ") };
    Problem::bad(format!("{name:?} is not a parameter of this: known are {known}"))
}

fn moment(text: &str, now: Time) -> Option<Time> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let ago = parse_duration(text).ok()?;
    let micros = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
    Some(Time(now.0.saturating_sub(micros)))
}

/// Reads percent signs (RFC 3986), and in a form's text `+` as a space.
///
/// # Errors
/// What follows a percent sign is no byte, or the whole is no UTF-8.
pub(crate) fn decode(text: &str, is_form: bool) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' if is_form => bytes.push(b' '),
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit(), digit());
                let byte = high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                bytes.push(byte.ok_or_else(|| Problem::bad("two hexadecimal digits must follow a '%'"))?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| Problem::bad("the address is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Parameter] = &[
        Parameter { name: "source", kind: ParameterKind::Text, about: "" },
        Parameter { name: "limit", kind: ParameterKind::Number(1, 10), about: "" },
        Parameter { name: "since", kind: ParameterKind::Time, about: "" },
        Parameter { name: "kind", kind: ParameterKind::SomeOf(&["flow", "dns"]), about: "" },
        Parameter { name: "new", kind: ParameterKind::Flag, about: "" },
    ];

    fn read(text: &str) -> Result<Query, Problem> {
        Query::read(text, KNOWN, Time(10_000_000))
    }

    #[test]
    fn values_are_read_as_their_kind_wants() {
        let query = read("source=a%2Fb+c&limit=7&since=3s&kind=flow&kind=dns&new=true").unwrap();
        assert_eq!(query.text("source"), Some("a/b c"));
        assert_eq!((query.number("limit"), query.time("since")), (Some(7), Some(7_000_000)));
        assert_eq!(query.texts("kind"), ["flow", "dns"]);
        assert!(query.flag("new"));
        assert_eq!(read("since=1970-01-01T00:00:01Z").unwrap().time("since"), Some(1_000_000));
    }

    #[test]
    fn what_is_not_known_is_refused_and_told_of() {
        for (text, says) in [
            ("colour=red", "known are source, limit, since, kind, new"),
            ("%1b[31m=1", "\\\\u{1b}"),
            ("limit=0", "from 1 to 10"),
            ("limit=ten", "from 1 to 10"),
            ("limit=99999999999999999999", "from 1 to 10"),
            ("since=yesterday", "how long ago"),
            ("kind=tcp", "flow, dns"),
            ("new=yes", "true or false"),
            ("source=", "empty"),
            ("source=a&source=b", "at most 1"),
            ("source=%zz", "hexadecimal"),
            ("source=%", "hexadecimal"),
            ("source=%ff", "UTF-8"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.detail.contains(says), "{text}: {}", problem.detail);
        }
        assert!(read(&format!("source={}", "x".repeat(2000))).is_err());
        assert!(read(&"kind=flow&".repeat(2000)).is_err());
        assert!(read(&"kind=flow&".repeat(65)).is_err());
    }
}
