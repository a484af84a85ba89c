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

/// Members below which is what the request said, told again at once: of no text of it a later event has more.
const WHOLE: [&str; 1] = ["tools"];

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
    /// All texts in it are whole.
    is_whole: bool,
    /// Members or elements so far.
    count: usize,
    /// A hash of the way here.
    path: u64,
    /// Which object.
    object: usize,
}

/// Which of several things of a kind an object is: the one that its [`INDICES`] say, or without these the one at its place.
#[derive(Clone, Copy, Default)]
struct Which {
    place: u64,
    said: Option<u64>,
}

/// The texts of a JSON text, in order. `joins`: whether texts go on from event to event.
pub(super) fn leaves(text: &str, joins: bool) -> Vec<Leaf> {
    let mut reader = Reader { text, frames: Vec::new(), which: Vec::new(), name: "", joins };
    let mut found: Vec<(Leaf, Vec<usize>)> =
        Tokens::of(text).filter_map(|token| reader.take(&token)).collect();
    for (leaf, objects) in &mut found {
        if let Some(key) = &mut leaf.key {
            let which = objects.iter().filter_map(|object| reader.which.get(*object));
            *key = which.fold(*key, |key, which| hash(&(key, which.said.unwrap_or(which.place))));
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
    /// Of each object.
    which: Vec<Which>,
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
        let around = self.frames.last();
        let is_element = around.is_some_and(|frame| frame.is_array);
        let is_whole =
            around.is_some_and(|frame| frame.is_whole) || !is_element && WHOLE.contains(&self.name);
        // What says itself which one it is, is the same wherever it stands.
        let (path, place) = match around {
            Some(frame) if is_element && !is_array => {
                (hash(&(frame.path, "")), hash(&(frame.path, frame.count)))
            }
            Some(_) | None => (self.way(), 0),
        };
        self.step();
        self.which.push(Which { place, said: None });
        self.frames.push(Frame { is_array, is_whole, count: 0, path, object: self.which.len() - 1 });
    }

    /// A value begins.
    fn step(&mut self) {
        self.frames.last_mut().into_iter().for_each(|frame| frame.count += 1);
    }

    /// A hash of the way to the value that begins.
    fn way(&self) -> u64 {
        match self.frames.last() {
            None => 0,
            Some(frame) if frame.is_array => hash(&(frame.path, frame.count)),
            Some(frame) => hash(&(frame.path, self.name)),
        }
    }

    fn is_alone(&self) -> bool {
        let is_one = |frame: &Frame| frame.is_whole || !frame.is_array && ALONE.contains(&self.name);
        self.frames.last().is_some_and(is_one)
    }

    fn index(&mut self, written: &str) {
        self.step();
        let Some(frame) = self.frames.last().filter(|frame| !frame.is_array) else { return };
        if INDICES.contains(&self.name)
            && let Some(which) = self.which.get_mut(frame.object)
        {
            *which.said.get_or_insert_default() ^= hash(&(self.name, written));
        }
    }

    fn joined(&mut self, token: &Token) -> (Leaf, Vec<usize>) {
        let key = Some(self.way());
        self.step();
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
    fn what_says_which_one_it_is_is_the_same_wherever_it_stands() {
        let choice =
            |index: u32, text: &str| format!("{{\"index\":{index},\"delta\":{{\"content\":\"{text}\"}}}}");
        let event = |choices: &[String]| format!("{{\"choices\":[{}]}}", choices.join(","));
        let both = check(&event(&[choice(0, "a"), choice(1, "b")]), true, &["a", "b"]);
        let second = check(&event(&[choice(1, "c")]), true, &["c"]);
        assert_eq!(both[1], second[0]);
        assert_ne!(both[0], both[1]);
        let places = check(r#"[{"text":"a"},{"text":"b"},["c"],"d"]"#, true, &["a", "b", "c", "d"]);
        assert!(places.iter().enumerate().all(|(at, key)| !places[..at].contains(key)));
    }

    #[test]
    fn what_a_request_said_is_told_again_whole() {
        let text = r#"{"response":{"tools":[{"description":"looks for a page"}],"output":[{"text":"a"}]}}"#;
        let keys = check(text, true, &["response", "description", "looks for a page", "a"]);
        assert_eq!(keys.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, false, true]);
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
