//! `limits` of an InferencePolicy: how much.
//!
//! Guarantees: every limit limits something, and whatever is counted by time has a window. Does not: count.

use super::values::{patterns, text};
use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node;
use crate::egress_policy::{bytes, some_money};
use std::sync::Arc;

/// Most streams at once that a limit may speak of.
const MOST_STREAMS: u32 = 1_000_000;
/// Bytes of the name of a limit.
const MOST_NAME: usize = 253;

/// How much there may be. At least one amount is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// `name`
    pub name: Option<Arc<str>>,
    /// `per`
    pub per: LimitPer,
    /// `consumers`, patterns: it holds for these. Empty: for all.
    pub consumers: Vec<Arc<str>>,
    /// `groups`, patterns: it holds for consumers in one of them. Empty: for all.
    pub groups: Vec<Arc<str>>,
    /// `models`, patterns: it counts what is asked of these. Empty: everything.
    pub models: Vec<Arc<str>>,
    /// `requests` in a window.
    pub requests: Option<u64>,
    /// `streams`: requests that are under way at once.
    pub streams: Option<u32>,
    /// `inputTokens` in a window.
    pub input_tokens: Option<u64>,
    /// `outputTokens` in a window.
    pub output_tokens: Option<u64>,
    /// `tokens` in a window, those in and those out.
    pub tokens: Option<u64>,
    /// `money` in a window, in billionths of the currency of the price list, 1 to 10^18 - 1.
    pub money: Option<u64>,
    /// `window`; there if anything but streams is limited.
    pub window: Option<LimitWindow>,
}

/// Who shares an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitPer {
    /// `consumer`: each has an own one.
    Consumer,
    /// `policy`: all have one together.
    Policy,
}

/// In which time. Windows begin at whole minutes, hours and days of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitWindow {
    /// `1m`
    Minute,
    /// `1h`
    Hour,
    /// `1d`
    Day,
}

impl LimitWindow {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 3] =
        [("1m", Self::Minute), ("1h", Self::Hour), ("1d", Self::Day)];

    /// Its length.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 24 * 3600,
        }
    }
}

const IN_WINDOWS: [&str; 5] = ["requests", "inputTokens", "outputTokens", "tokens", "money"];

pub(super) fn limit<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Limit> {
    const FIELDS: [&str; 12] = [
        "name",
        "per",
        "consumers",
        "groups",
        "models",
        "requests",
        "streams",
        "inputTokens",
        "outputTokens",
        "tokens",
        "money",
        "window",
    ];
    let map = d.strict(node, &FIELDS)?;
    let name = d.field(map, "name", |d, node| text(d, node, MOST_NAME)).flatten();
    let pers = [("consumer", LimitPer::Consumer), ("policy", LimitPer::Policy)];
    let per = d.required(map, "per", |d, node| d.one_of(node, &pers));
    let [consumers, groups, models] = ["consumers", "groups", "models"]
        .map(|field| d.field(map, field, patterns).flatten().unwrap_or_default());
    let [requests, input_tokens, output_tokens, tokens] =
        ["requests", "inputTokens", "outputTokens", "tokens"]
            .map(|field| d.field(map, field, bytes).flatten());
    let money = d.field(map, "money", some_money).flatten();
    let streams = d.field(map, "streams", streams).flatten();
    let window = d.field(map, "window", |d, node| d.one_of(node, &LimitWindow::WORDS)).flatten();
    check_window(d, node, map);
    Some(Limit {
        name,
        per: per?,
        consumers,
        groups,
        models,
        requests,
        streams,
        input_tokens,
        output_tokens,
        tokens,
        money,
        window,
    })
}

fn check_window<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, map: Map<'n>) {
    let counts = IN_WINDOWS.iter().any(|field| map.get(field).is_some());
    if !counts && map.get("streams").is_none() {
        let diagnostic = Diagnostic::error(Code::MissingField, "it limits nothing");
        d.report(node.place, diagnostic.suggest("for example requests: 100, window: 1m"));
    }
    if counts != map.get("window").is_some() {
        let message = match counts {
            true => "window is missing: in which time there may be as much",
            false => "streams are counted while they are under way, and in no window",
        };
        d.error(node.place, Code::InvalidValue, message);
    }
}

fn streams<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u32> {
    let count = d.count(node)?;
    if !(1..=MOST_STREAMS).contains(&count) {
        let message = format!("it is no number from 1 to {MOST_STREAMS}");
        d.error(node.place, Code::InvalidValue, message);
    }
    Some(count)
}
