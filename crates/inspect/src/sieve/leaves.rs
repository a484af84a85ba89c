//! The texts of one JSON value, and which of them belong together over the events of a stream.
//!
//! Enters: a text that is JSON. Leaves: its texts with their places, what they say, and a key: what models write piece by piece
//! has the same key in every event, also where several answers are written at once. Guarantees: linear in the text times its
//! depth, which serde_json bounds. Does not: look at numbers, which no model writes as such.

use crate::rewrite::tokens::{Kind, Token, Tokens};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// Members whose number says which of several texts an event goes on with.
const INDICES: [&str; 4] = ["index", "output_index", "content_index", "summary_index"];

/// Members that say the same in every event, so that together they are no text.
const ALONE: [&str; 24] = [
    "id",
    "object",
    "type",
    "role",
    "model",
    "name",
    "status",
    "event",
    "item_id",
    "response_id",
    "request_id",
    "call_id",
    "tool_call_id",
    "created_at",
    "system_fingerprint",
    "service_tier",
    "finish_reason",
    "stop_reason",
    "done_reason",
    "obfuscation",
    "signature",
    "uri",
    "url",
    "jsonrpc",
];

/// Bytes from which on a text of its own is looked at: nothing that is looked for is shorter.
pub(super) const LEAST: usize = 8;

/// One text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Its token, with the quotes.
    pub(super) at: Range<usize>,
    /// What it says.
    pub(super) text: String,
    /// What it goes on with; `None`: it is whole.
    pub(super) key: Option<u64>,
    /// Whether it may be changed: names may not.
    pub(super) is_value: bool,
}

/// Where the reader is.
struct Frame {
    is_array: bool,
    /// Members or elements so far.
    count: usize,
    /// A hash of the way here.
    path: u64,
    /// Which object.
    object: usize,
}

/// The texts of a JSON text, in order. `joins`: whether texts go on from event to event.
pub(super) fn leaves(text: &str, joins: bool) -> Vec<Leaf> {
    let mut reader = Reader { text, frames: Vec::new(), indices: Vec::new(), name: "", joins };
    let mut found: Vec<(Leaf, Vec<usize>)> =
        Tokens::of(text).filter_map(|token| reader.take(&token)).collect();
    for (leaf, objects) in &mut found {
        if let Some(key) = &mut leaf.key {
            let indices = objects.iter().filter_map(|object| reader.indices.get(*object));
            *key = indices.fold(*key, |key, index| hash(&(key, index)));
        }
    }
    found.into_iter().map(|(leaf, _)| leaf).collect()
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

struct Reader<'t> {
    text: &'t str,
    frames: Vec<Frame>,
    /// Of each object, a hash of its members that are [`INDICES`].
    indices: Vec<u64>,
    name: &'t str,
    joins: bool,
}

impl Reader<'_> {
    fn take(&mut self, token: &Token) -> Option<(Leaf, Vec<usize>)> {
        let written = self.text.get(token.range.clone()).unwrap_or_default();
        match token.kind {
            Kind::Object | Kind::Array => self.open(token.kind == Kind::Array),
            Kind::Close => drop(self.frames.pop()),
            Kind::Name => {
                self.name = written.trim_matches('"');
                return self.whole(token, false);
            }
            Kind::Bare => self.index(written),
            Kind::Text if self.joins && !self.is_alone() => return Some(self.joined(token)),
            Kind::Text => {
                self.step();
                return self.whole(token, true);
            }
        }
        None
    }

    fn open(&mut self, is_array: bool) {
        let path = self.step();
        self.indices.push(0);
        self.frames.push(Frame { is_array, count: 0, path, object: self.indices.len() - 1 });
    }

    /// A value begins; a hash of the way to it.
    fn step(&mut self) -> u64 {
        let Some(frame) = self.frames.last_mut() else { return 0 };
        frame.count += 1;
        if frame.is_array { hash(&(frame.path, frame.count)) } else { hash(&(frame.path, self.name)) }
    }

    fn is_alone(&self) -> bool {
        let is_member = self.frames.last().is_some_and(|frame| !frame.is_array);
        is_member && ALONE.contains(&self.name)
    }

    fn index(&mut self, written: &str) {
        self.step();
        let Some(frame) = self.frames.last().filter(|frame| !frame.is_array) else { return };
        if INDICES.contains(&self.name)
            && let Some(slot) = self.indices.get_mut(frame.object)
        {
            *slot ^= hash(&(self.name, written));
        }
    }

    fn joined(&mut self, token: &Token) -> (Leaf, Vec<usize>) {
        let key = Some(self.step());
        let objects = self.frames.iter().map(|frame| frame.object).collect();
        let text = said(self.text.get(token.range.clone()).unwrap_or_default());
        (Leaf { at: token.range.clone(), text, key, is_value: true }, objects)
    }

    fn whole(&self, token: &Token, is_value: bool) -> Option<(Leaf, Vec<usize>)> {
        let written = self.text.get(token.range.clone())?;
        if written.len() < LEAST + 2 {
            return None;
        }
        Some((Leaf { at: token.range.clone(), text: said(written), key: None, is_value }, Vec::new()))
    }
}

/// What is between the quotes. Half a character in UTF-16 is taken as it is written.
fn said(written: &str) -> String {
    let plain = || written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
    if written.contains('\\') {
        return serde_json::from_str(written).unwrap_or_else(|_| plain().to_owned());
    }
    plain().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, joins: bool, expected: &[&str]) -> Vec<Option<u64>> {
        let found = leaves(text, joins);
        let said: Vec<_> = found.iter().map(|leaf| leaf.text.as_str()).collect();
        assert_eq!(said, expected, "{text}");
        found.iter().map(|leaf| leaf.key).collect()
    }

    #[test]
    fn pieces_of_one_text_have_one_key_and_those_of_another_another() {
        let key = |index: u32, content: &str, is_first: bool| {
            let (before, behind) = match is_first {
                true => (format!("\"index\":{index},"), String::new()),
                false => (String::new(), format!(",\"index\":{index}")),
            };
            let delta = format!("\"delta\":{{\"content\":\"{content}\"}}");
            let text = format!("{{\"id\":\"x\",\"choices\":[{{{before}{delta}{behind}}}]}}");
            check(&text, true, &[&content.replace("\\n", "\n")]).remove(0).unwrap()
        };
        assert_eq!(key(0, "a", false), key(0, "b\\n", true), "the order of members does not matter");
        assert_ne!(key(0, "a", false), key(1, "a", false));
        let event = r#"{"type":"a","output_index":1,"content_index":0,"delta":"x"}"#;
        let keys = check(event, true, &["output_index", "content_index", "x"]);
        assert!(keys[2].is_some() && keys[0].is_none());
    }

    #[test]
    fn texts_that_are_whole_have_no_key_and_short_ones_are_left_out() {
        for (text, expected) in [
            (r#"{"a":["short","as long as it takes"]}"#, "as long as it takes"),
            (r#""just a text""#, "just a text"),
            (r#"["\ud83d is half a letter"]"#, r"\ud83d is half a letter"),
        ] {
            assert_eq!(check(text, false, &[expected]), [None]);
        }
    }

    #[test]
    fn a_deep_text_is_read() {
        let text = format!("{}\"deep enough\"{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(leaves(&text, true).len(), 1);
    }
}
