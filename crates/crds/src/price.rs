//! What models cost: a file of the user's own.
//!
//! Enters: a file. Leaves: a [`PriceList`]. Guarantees: a list with an error is none; amounts are whole billionths of its
//! currency, so nothing is ever rounded by reading. Does not: know any price by itself, for prices change.

use crate::decode::{Decoder, Kept};
use crate::diagnostic::{Code, Diagnostic, ObjectName, Position};
use crate::document::{self, Document, Node};
use crate::egress_policy::MOST_PATTERN;
use crate::meta::short;
use std::sync::Arc;

/// Of a price list.
pub(crate) const KIND: &str = "PriceList";
const API_VERSION: &str = "cofferdam.dev/v1alpha1";
/// Longest list.
pub const MOST_PRICES: usize = 1000;
/// Digits before the point, and decimals: an amount stays below 2^62 billionths.
const MOST_DIGITS: usize = 9;

/// What models cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceList {
    /// Three capital letters (ISO 4217).
    pub currency: Arc<str>,
    /// In order: the first that is meant counts.
    pub prices: Vec<Price>,
}

/// What some models of a provider cost, in billionths of the currency for a million tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// As records name it.
    pub provider: Arc<str>,
    /// A pattern, as in `models`.
    pub model: Arc<str>,
    /// `input`: of tokens that go in.
    pub input: u64,
    /// `cachedInput`: of those of them that were found in a cache. `None`: as the others.
    pub cached_input: Option<u64>,
    /// `cacheWrite`: of those of them that were written to a cache. `None`: as the others.
    pub cache_write: Option<u64>,
    /// `output`: of tokens that come out.
    pub output: u64,
    /// Where the price is from.
    pub source: Arc<str>,
    /// When it was looked up: `2026-01-31`.
    pub date: Arc<str>,
    /// Where it is written.
    pub position: Position,
}

impl PriceList {
    /// Reads a file with one list.
    ///
    /// # Errors
    /// All that is wrong with it; nothing of it is used then.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, Vec<Diagnostic>> {
        let file: Arc<str> = file.into();
        let bytes = document::in_utf8(bytes);
        let documents = document::read(&file, &bytes).map_err(|diagnostic| vec![*diagnostic])?;
        let (mut lists, mut kept) = (Vec::new(), Kept::default());
        for document in documents {
            let mut decoder = Decoder::new(file.clone(), kept);
            decoder.begin(Some(ObjectName { kind: KIND.into(), namespace: "".into(), name: "".into() }));
            match &document {
                Document::Broken { diagnostic, .. } => decoder.add(diagnostic.clone()),
                Document::Read { root, flaws } => {
                    flaws.iter().for_each(|flaw| decoder.add(flaw.diagnostic.clone()));
                    if !lists.is_empty() {
                        decoder.error(root.place, Code::DuplicateObject, "a file has one price list");
                    }
                    lists.push(list(&mut decoder, root));
                }
            }
            kept = decoder.finish();
        }
        let mut diagnostics = kept.diagnostics;
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(diagnostics);
        }
        lists.into_iter().flatten().next().ok_or_else(|| {
            diagnostics.push(Diagnostic::error(Code::MissingField, "there is no price list in it"));
            diagnostics
        })
    }
}

fn list<'n>(d: &mut Decoder<'n>, root: &'n Node<'n>) -> Option<PriceList> {
    let map = d.strict(root, &["apiVersion", "kind", "currency", "prices"])?;
    for (field, only) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        d.required(map, field, |d, node| d.one_of(node, &[(only, ())]));
    }
    let currency = d.required(map, "currency", |d, node| {
        let text = d.string(node)?;
        if text.len() != 3 || !text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            let message =
                format!("{:?} is no currency: three capital letters, for example USD", short(&text));
            d.error(node.place, Code::InvalidValue, message);
        }
        Some(text)
    });
    let prices = d.required(map, "prices", |d, node| {
        d.check_length(node, 1, MOST_PRICES);
        d.list(node, price)
    });
    Some(PriceList { currency: currency?, prices: prices? })
}

fn price<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Price> {
    const FIELDS: [&str; 8] =
        ["provider", "model", "input", "cachedInput", "cacheWrite", "output", "source", "date"];
    let map = d.strict(node, &FIELDS)?;
    let mut named = |field| {
        d.required(map, field, |d, node| {
            let text = d.string(node)?;
            if text.is_empty() || text.len() > MOST_PATTERN {
                d.error(node.place, Code::InvalidValue, format!("it has 1 to {MOST_PATTERN} bytes"));
            }
            Some(text)
        })
    };
    let [provider, model, source] = ["provider", "model", "source"].map(&mut named);
    let date = d.required(map, "date", |d, node| {
        let text = d.string(node)?;
        if !is_date(&text) {
            let message = format!("{:?} is no date: year, month and day, as in 2026-01-31", short(&text));
            d.error(node.place, Code::InvalidValue, message);
        }
        Some(text)
    });
    let [input, output] = ["input", "output"].map(|field| d.required(map, field, amount));
    let [cached_input, cache_write] =
        ["cachedInput", "cacheWrite"].map(|field| d.field(map, field, amount).flatten());
    Some(Price {
        provider: provider?,
        model: model?,
        input: input?,
        cached_input,
        cache_write,
        output: output?,
        source: source?,
        date: date?,
        position: d.position(node.place),
    })
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |text: &str, length: usize| {
        text.parse::<u32>()
            .ok()
            .filter(|_| text.len() == length && text.bytes().all(|it| it.is_ascii_digit()))
    };
    let &[year, month, day] = parts.as_slice() else { return false };
    number(year, 4).is_some()
        && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
        && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
}

/// An amount of money, in billionths: a decimal number that is written as a text, for an unquoted one is a binary fraction to
/// some readers.
pub(crate) fn amount<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u64> {
    let text = d.str(node)?;
    let amount = nanos(text);
    if amount.is_none() {
        let message = format!("{:?} is no amount of money", short(text));
        let way_out = "write at most 9 digits, a point and at most 9 decimals, in quotes: \"2.50\"";
        d.report(node.place, Diagnostic::error(Code::InvalidValue, message).suggest(way_out));
    }
    amount
}

fn nanos(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| {
        (1..=MOST_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !is_number(whole) || !is_number(decimals) || whole.len() > 1 && whole.starts_with('0') {
        return None;
    }
    format!("{whole}{decimals:0<MOST_DIGITS$}").parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

    use super::*;

    #[test]
    fn amounts_are_exact_and_what_could_be_read_differently_is_none() {
        for (text, expected) in [
            ("0", Some(0)),
            ("5.00", Some(5_000_000_000)),
            ("0.000000001", Some(1)),
            ("999999999.999999999", Some(999_999_999_999_999_999)),
            ("1.5", Some(1_500_000_000)),
            ("", None),
            (".5", None),
            ("5.", None),
            ("05", None),
            ("1,50", None),
            ("-1", None),
            ("+1", None),
            ("1e3", None),
            ("1.2.3", None),
            ("1000000000", None),
            ("0.0000000001", None),
            ("٣", None),
        ] {
            assert_eq!(nanos(text), expected, "{text}");
        }
    }

    const HEAD: &str = "apiVersion: cofferdam.dev/v1alpha1\nkind: PriceList\ncurrency: EUR\nprices:\n";

    fn entry(changed: &str) -> String {
        let usual = [
            ("provider", "openai"),
            ("model", "'m*'"),
            ("input", "'2.50'"),
            ("output", "'10'"),
            ("source", "a page"),
            ("date", "2026-01-31"),
        ];
        let (field, value) = changed.split_once(": ").unwrap_or((changed, ""));
        let kept = usual.iter().filter(|(name, _)| *name != field);
        let kept: Vec<String> = kept.map(|(name, value)| format!("{name}: {value}")).collect();
        let own = if value.is_empty() { String::new() } else { format!(", {changed}") };
        format!("- {{{}{own}}}\n", kept.join(", "))
    }

    #[test]
    fn a_list_is_read_whole_or_not_at_all_and_errors_say_where() {
        let list = PriceList::read("p.yaml", format!("{HEAD}{}", entry("cachedInput: '1.25'")).as_bytes());
        let list = list.unwrap();
        assert_eq!((&*list.currency, list.prices.len()), ("EUR", 1));
        let price = &list.prices[0];
        assert_eq!((price.input, price.output), (2_500_000_000, 10_000_000_000));
        assert_eq!((price.cached_input, price.cache_write), (Some(1_250_000_000), None));
        assert_eq!(price.position.line, 5);
        for (changed, code) in [
            ("input: 2.50", Code::WrongType),
            ("input: '2,50'", Code::InvalidValue),
            ("output", Code::MissingField),
            ("source", Code::MissingField),
            ("date: 31.1.2026", Code::InvalidValue),
            ("date: 2026-13-01", Code::InvalidValue),
            ("model: ''", Code::InvalidValue),
            ("perToken: '1'", Code::UnknownField),
        ] {
            let wrong =
                PriceList::read("p.yaml", format!("{HEAD}{}{}", entry("-"), entry(changed)).as_bytes());
            let wrong = wrong.unwrap_err();
            let found: Vec<_> =
                wrong.iter().map(|it| (it.code, it.position.as_ref().map(|at| at.line))).collect();
            assert_eq!(found, [(code, Some(6))], "{changed}: {wrong:?}");
        }
        for text in
            ["", "prices: []", &HEAD.replace("EUR", "eur"), &format!("{HEAD}{0}---\n{HEAD}{0}", entry("-"))]
        {
            assert!(PriceList::read("p.yaml", text.as_bytes()).is_err(), "{text}");
        }
    }
}
