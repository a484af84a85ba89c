//! What calls of models used.

use super::{Asked, Reply, json};
use crate::problem::Problem;
use crate::shape::records::{Usage, UsageItem};
use ledger::{Call, Column, EntryFilter, Reader, Span, Verdict};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;

/// Calls that are looked at, the newest.
const CALLS: usize = 50_000;
/// What is told apart; the rest is one.
const ITEMS: usize = 1000;
const OTHER: &str = "(other)";

/// `GET /usage`.
pub(crate) fn usage(asked: &Asked<'_>, reader: &Reader) -> Result<Reply, Problem> {
    let filter = asked.filter(24)?;
    let mut used = Used::default();
    let truncated = reader.calls(&filter, CALLS, |call| used.add(&call))?;
    // Nobody decided about a finding: no verdict, port or rule of calls is its.
    let Span { since, until } = asked.span(24);
    let of_calls = |column: &Column| matches!(column, Column::Rule | Column::Reason | Column::Any);
    let texts = filter.texts.iter().filter(|(column, _)| !of_calls(column)).cloned().collect();
    let about = EntryFilter { texts, ..Span { since, until }.all() };
    let findings: HashMap<(String, String), u64> = reader
        .findings_by_pair(&about)?
        .into_iter()
        .map(|(source, destination, count)| ((source, destination), count))
        .collect();
    let mut items = used.items();
    for item in &mut items {
        let key = (item.workload.clone(), item.service.clone());
        item.findings = findings.get(&key).copied().unwrap_or(0);
    }
    json(&Usage { items, budgets: asked.known.live.budgets(), truncated })
}

/// Sums by workload, service, model and currency.
#[derive(Default)]
struct Used(HashMap<[String; 4], Sum>);

#[derive(Default)]
struct Sum {
    item: UsageItem,
    /// Of those that were allowed, in microseconds.
    took: Vec<u64>,
    began: Vec<u64>,
}

/// What is counted of a record; all else is passed over.
#[derive(Default, Deserialize)]
struct Detail<'a> {
    #[serde(borrow)]
    usage: Option<Tokens<'a>>,
    #[serde(borrow)]
    operation: Option<Operation<'a>>,
    #[serde(borrow)]
    cost: Option<Cost<'a>>,
    duration_micros: Option<u64>,
    first_byte_micros: Option<u64>,
}

#[derive(Default, Deserialize)]
struct Tokens<'a> {
    #[serde(borrow, default)]
    model: Cow<'a, str>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct Operation<'a> {
    #[serde(borrow, default)]
    model: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
struct Cost<'a> {
    nanos: Option<u64>,
    #[serde(borrow, default)]
    currency: Cow<'a, str>,
}

impl<'a> Detail<'a> {
    /// Of a record; of one that does not have the form of ours, whatever of it has.
    fn of(text: &'a str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self::of_any(text))
    }

    fn of_any(text: &str) -> Self {
        let detail: Value = serde_json::from_str(text).unwrap_or_default();
        let text = |path: &str| -> Cow<'a, str> {
            detail.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned().into()
        };
        let number = |path: &str| detail.pointer(path).and_then(Value::as_u64);
        Self {
            usage: Some(Tokens {
                model: text("/usage/model"),
                input_tokens: number("/usage/input_tokens"),
                output_tokens: number("/usage/output_tokens"),
            }),
            operation: Some(Operation { model: text("/operation/model") }),
            cost: Some(Cost { nanos: number("/cost/nanos"), currency: text("/cost/currency") }),
            duration_micros: number("/duration_micros"),
            first_byte_micros: number("/first_byte_micros"),
        }
    }
}

impl Used {
    fn add(&mut self, call: &Call) {
        self.count(call, Detail::of(call.detail.as_deref().unwrap_or_default()));
    }

    fn count(&mut self, call: &Call, detail: Detail<'_>) {
        let Detail { usage, operation, cost, duration_micros, first_byte_micros } = detail;
        let (usage, cost) = (usage.unwrap_or_default(), cost.unwrap_or_default());
        let asked = operation.unwrap_or_default().model;
        let model = if usage.model.is_empty() { asked } else { usage.model };
        let mut key =
            [call.source.clone(), call.destination.clone(), model.into_owned(), cost.currency.into_owned()];
        if self.0.len() >= ITEMS && !self.0.contains_key(&key) {
            let [.., currency] = key;
            key = [OTHER.to_owned(), OTHER.to_owned(), OTHER.to_owned(), currency];
        }
        let sum = self.0.entry(key).or_default();
        let item = &mut sum.item;
        item.calls += 1;
        let add = |to: &mut u64, more: Option<u64>| *to = to.saturating_add(more.unwrap_or(0));
        add(&mut item.input_tokens, usage.input_tokens);
        add(&mut item.output_tokens, usage.output_tokens);
        add(&mut item.cost_nanos, cost.nanos);
        match call.verdict {
            Verdict::Allow => {
                sum.took.extend(duration_micros);
                sum.began.extend(first_byte_micros);
            }
            Verdict::Deny => item.denied += 1,
            Verdict::Fail | Verdict::None => {}
        }
    }

    fn items(self) -> Vec<UsageItem> {
        let finished = self.0.into_iter().map(|([workload, service, model, currency], mut sum)| UsageItem {
            workload,
            service,
            model,
            currency: Some(currency).filter(|currency| !currency.is_empty()),
            p50_ms: share(&mut sum.took, 50).unwrap_or(0),
            p95_ms: share(&mut sum.took, 95).unwrap_or(0),
            first_token_p50_ms: share(&mut sum.began, 50),
            ..sum.item
        });
        let mut items: Vec<_> = finished.collect();
        items.sort_by(|one, other| {
            let key = |item: &UsageItem| (item.workload.clone(), item.service.clone(), item.model.clone());
            other.calls.cmp(&one.calls).then_with(|| key(one).cmp(&key(other)))
        });
        items
    }
}

/// So many in a hundred are not more, in milliseconds.
fn share(micros: &mut [u64], percent: usize) -> Option<u64> {
    micros.sort_unstable();
    let place = (micros.len() * percent).div_ceil(100).max(1) - 1;
    micros.get(place).map(|micros| micros.div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(source: &str, verdict: Verdict, detail: &str) -> Call {
        Call {
            source: source.into(),
            destination: "api.example".into(),
            verdict,
            detail: Some(detail.into()),
        }
    }

    #[test]
    fn calls_are_summed_and_what_cannot_be_read_is_a_call_too() {
        let mut used = Used::default();
        let one = r#"{"usage":{"model":"m","input_tokens":3,"output_tokens":4},"duration_micros":1500,
            "first_byte_micros":700,"cost":{"nanos":5,"currency":"USD"}}"#;
        used.add(&call("a", Verdict::Allow, one));
        used.add(&call("a", Verdict::Allow, &one.replace("1500", "9000")));
        used.add(&call("a", Verdict::Deny, r#"{"operation":{"model":"m"}}"#));
        used.add(&call("b", Verdict::Allow, "not JSON"));
        used.add(&call(
            "b",
            Verdict::Allow,
            r#"{"usage":{"input_tokens":-1,"output_tokens":18446744073709551615}}"#,
        ));
        used.add(&call("b", Verdict::Allow, r#"{"usage":{"output_tokens":18446744073709551615}}"#));
        let items = used.items();
        assert_eq!(items.len(), 3);
        let paid = items.iter().find(|item| item.currency.is_some()).unwrap();
        assert_eq!((paid.calls, paid.input_tokens, paid.output_tokens, paid.cost_nanos), (2, 6, 8, 10));
        assert_eq!((paid.p50_ms, paid.p95_ms, paid.first_token_p50_ms), (2, 9, Some(1)));
        let unread = items.iter().find(|item| item.workload == "b").unwrap();
        assert_eq!((unread.calls, unread.output_tokens), (3, u64::MAX));
    }

    #[test]
    fn what_is_read_of_a_record_is_what_all_of_it_says() {
        let texts = [
            r#"{"usage":{"model":"m\u00e4","input_tokens":3,"extra":[{}]},"operation":{"model":"o","tools":["t"]},"name":"x"}"#,
            r#"{"operation":{"model":"o"},"usage":null,"cost":{"nanos":7,"currency":"EUR"},"duration_micros":5}"#,
            r#"{"usage":{"model":"","input_tokens":3.0},"operation":{"model":"o"},"first_byte_micros":9}"#,
            r#"{"usage":{"model":null,"output_tokens":4},"cost":{"nanos":-1,"currency":5}}"#,
            r#"{"usage":"much","duration_micros":"5","cost":{"nanos":3}}"#,
            r#"{"duration_micros":1,"duration_micros":2}"#,
            r#"[{"usage":{"input_tokens":1}}]"#,
            "not JSON",
            "",
        ];
        for text in texts {
            for verdict in [Verdict::Allow, Verdict::Deny] {
                let one = call("a", verdict, text);
                let (mut quick, mut whole) = (Used::default(), Used::default());
                quick.add(&one);
                whole.count(&one, Detail::of_any(text));
                assert_eq!(quick.items(), whole.items(), "{text}");
            }
        }
    }

    #[test]
    fn names_without_number_are_bounded_and_all_calls_counted() {
        let mut used = Used::default();
        for number in 0..ITEMS * 2 {
            used.add(&call(&format!("w{number}"), Verdict::Allow, "{}"));
        }
        let items = used.items();
        assert_eq!(items.len(), ITEMS + 1);
        assert_eq!((items[0].workload.as_str(), items[0].calls), (OTHER, ITEMS as u64));
    }
}
