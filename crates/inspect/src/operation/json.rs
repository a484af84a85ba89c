//! JSON as it arrives: a few wanted values of a text that is never held.
//!
//! Enters: bytes, split anywhere. Leaves: the wanted values ([`Found`]), each when it is complete. Guarantees: one
//! value of RFC 8259 and nothing behind it, valid UTF-8, at most [`MAX_DEPTH`] deep; a wanted field or what it is in is
//! there once and in its own case, escapes undone, for readers differ in which of two they take and some do not mind
//! case; memory bounded by the depth, and by the room for what is held. Does not: look for duplicates of what nobody wants.

use super::contacts::Watch;
use super::text::{MAX_VALUE, NOT_JSON, Text};
use crate::fold::fold;

/// Objects and arrays within each other.
pub(super) const MAX_DEPTH: usize = 64;

const TOO_DEEP: &str = "the body has more than 64 objects and arrays within each other";
const TWICE: &str = "a field that decides is there twice";
const OTHER_CASE: &str = "a field that decides is there in another case, which some readers take for it";

/// Keys from the outside in; `*` is every element of an array.
pub(super) type Path = &'static [&'static str];

/// A scalar, or that there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Bool(bool),
    Null,
    /// A number, an object or an array.
    Other,
}

/// What a byte completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The value of the wanted path of this number.
    Value(usize, Value),
    /// The object at the held path of this number, as it was written, behind its [`Found::Value`]; `None`: it is longer
    /// than there is room.
    Object(usize, Option<Vec<u8>>),
    /// An element of the array that is the whole text.
    Element,
}

/// An object or an array that is not closed. Wanted paths are bits.
#[derive(Debug)]
struct Level {
    is_object: bool,
    /// Paths that lead through it.
    alive: u16,
    /// Those whose key was here.
    seen: u16,
}

#[derive(Debug)]
enum State {
    Value { may_close: bool },
    Key { may_close: bool },
    Colon,
    After,
    Text(Text),
    Number(Number),
    Word(&'static [u8], Value),
}

/// What of a number was last.
#[derive(Clone, Copy, Debug)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

/// Objects of some wanted paths, held as they are written.
#[derive(Debug, Default)]
struct Holding {
    /// Those paths, as bits.
    paths: u16,
    /// Bytes that may still be held.
    room: usize,
    under_way: Option<Held>,
}

/// An object that is not closed.
#[derive(Debug)]
struct Held {
    at: usize,
    /// Objects and arrays around it.
    depth: usize,
    /// `None`: there was no room.
    bytes: Option<Vec<u8>>,
}

impl Holding {
    fn take(&mut self, byte: u8) {
        let Some(held) = &mut self.under_way else { return };
        match (&mut held.bytes, self.room.checked_sub(1)) {
            (Some(bytes), Some(room)) => {
                bytes.push(byte);
                self.room = room;
            }
            (bytes, _) => *bytes = None,
        }
    }
}

/// Reads one JSON text.
#[derive(Debug)]
pub(super) struct Json {
    holding: Holding,
    /// Looks at all keys and texts beside the wanted paths.
    watch: Option<Box<Watch>>,
    wanted: Vec<Path>,
    /// Wanted paths at which a text may be longer, as bits, and how many bytes it may have.
    room: (u16, usize),
    levels: Vec<Level>,
    state: State,
    /// Paths that lead to or through the value that comes.
    coming: u16,
}

impl Json {
    /// A reader of these paths, at most 16.
    pub(super) fn new(wanted: Vec<Path>) -> Self {
        let coming = wanted.iter().take(16).enumerate().fold(0, |all, (at, _)| all | bit(at));
        let holding = Holding::default();
        let state = State::Value { may_close: false };
        Self { holding, watch: None, wanted, room: (0, MAX_VALUE), levels: Vec::new(), state, coming }
    }

    /// The same, looked at for whom it has the provider contact.
    pub(super) fn watched(mut self, watch: Option<Watch>) -> Self {
        self.watch = watch.map(Box::new);
        self
    }

    /// Whether there was anything of it.
    pub(super) fn has_begun(&self) -> bool {
        !(self.levels.is_empty() && matches!(self.state, State::Value { .. }))
    }

    /// What looks at it.
    pub(super) fn watch(&mut self) -> Option<&mut Watch> {
        self.watch.as_deref_mut()
    }

    /// Objects at these of the wanted paths are held as they are written, as long as all together have at most so many
    /// bytes. None of them is within another.
    pub(super) fn holding(mut self, paths: &[usize], room: usize) -> Self {
        let paths = paths.iter().fold(0, |all, at| all | bit(*at));
        self.holding = Holding { paths, room, under_way: None };
        self
    }

    /// Texts at those of the wanted paths for which it is said may have so many bytes.
    pub(super) fn with_room(mut self, paths: impl Iterator<Item = bool>, most: usize) -> Self {
        let bits = paths.enumerate().filter(|(_, is_meant)| *is_meant).fold(0, |all, (at, _)| all | bit(at));
        self.room = (bits, most);
        self
    }

    /// Takes the next bytes. An error is final.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut found: impl FnMut(Found) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            if self.is_passing() && self.holding.under_way.is_none() {
                let plain = rest.iter().take_while(|byte| is_plain(**byte)).count();
                if plain > 0 {
                    rest = rest.get(plain..).unwrap_or_default();
                    continue;
                }
            }
            self.holding.take(*byte);
            self.step(*byte, &mut found)?;
            rest = behind;
        }
        Ok(())
    }

    /// Nothing follows.
    pub(super) fn end(&mut self) -> Result<(), &'static str> {
        match self.state {
            State::After if self.levels.is_empty() => Ok(()),
            State::Number(Number::Zero | Number::Digits | Number::Fraction | Number::Power)
                if self.levels.is_empty() =>
            {
                Ok(())
            }
            State::Value { .. }
            | State::Key { .. }
            | State::Colon
            | State::After
            | State::Text(_)
            | State::Number(_)
            | State::Word(..) => Err("the body ends within its JSON"),
        }
    }

    /// Whether it is in a string that nobody wants, at no particular place.
    fn is_passing(&self) -> bool {
        matches!(&self.state, State::Text(text) if text.is_passing())
    }

    fn step(
        &mut self,
        byte: u8,
        found: &mut impl FnMut(Found) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        match &mut self.state {
            State::Text(text) => {
                if !text.take(byte)? {
                    return Ok(());
                }
                let (is_key, is_cut, kept) = (text.is_key(), text.is_cut(), text.take_kept());
                if is_key {
                    return self.key(kept);
                }
                if let Some(watch) = &mut self.watch {
                    watch.scalar(kept.as_deref(), is_cut);
                }
                let kept = kept.filter(|_| self.leaves() != 0);
                self.told(text_value(kept)?, found)
            }
            State::Word(rest, _) => {
                let Some(behind) = rest.strip_prefix(&[byte]) else { return Err(NOT_JSON) };
                *rest = behind;
                if !behind.is_empty() {
                    return Ok(());
                }
                let State::Word(_, value) = std::mem::replace(&mut self.state, State::After) else {
                    return Err(NOT_JSON);
                };
                self.scalar(value, found)
            }
            State::Number(number) => match number.next(byte)? {
                Some(next) => {
                    *number = next;
                    Ok(())
                }
                None => {
                    self.scalar(Value::Other, found)?;
                    self.step(byte, found)
                }
            },
            State::Value { .. } | State::Key { .. } | State::Colon | State::After
                if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') =>
            {
                Ok(())
            }
            State::Value { may_close } => {
                if *may_close && byte == b']' {
                    return self.close(b']', found);
                }
                self.value(byte, found)
            }
            State::Key { may_close } => match byte {
                b'"' => {
                    let is_wanted = self.levels.last().is_some_and(|level| level.alive != 0);
                    let is_watched = !is_wanted && self.watch.is_some();
                    self.state = State::Text(if is_watched {
                        Text::watched(true)
                    } else {
                        Text::new(true, is_wanted)
                    });
                    Ok(())
                }
                b'}' if *may_close => self.close(b'}', found),
                _ => Err(NOT_JSON),
            },
            State::Colon if byte == b':' => {
                self.state = State::Value { may_close: false };
                Ok(())
            }
            State::Colon => Err(NOT_JSON),
            State::After => self.after(byte, found),
        }
    }

    fn value(
        &mut self,
        byte: u8,
        found: &mut impl FnMut(Found) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        self.state = match byte {
            b'"' => {
                let is_wanted = self.leaves() != 0;
                let is_watched = !is_wanted && self.watch.as_ref().is_some_and(|watch| watch.wants());
                let text = if is_watched { Text::watched(false) } else { Text::new(false, is_wanted) };
                let has_room = self.leaves() & self.room.0 != 0;
                State::Text(if has_room { text.with_room(self.room.1) } else { text })
            }
            b't' => State::Word(b"rue", Value::Bool(true)),
            b'f' => State::Word(b"alse", Value::Bool(false)),
            b'n' => State::Word(b"ull", Value::Null),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Digits),
            b'{' | b'[' => return self.open(byte == b'{', found),
            _ => return Err(NOT_JSON),
        };
        Ok(())
    }

    fn open(
        &mut self,
        is_object: bool,
        found: &mut impl FnMut(Found) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        if self.levels.len() == MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        self.report(&Value::Other, found)?;
        if let Some(watch) = &mut self.watch {
            watch.open(is_object);
        }
        let depth = self.levels.len();
        let held = self.leaves() & self.holding.paths;
        if is_object && held != 0 {
            let at = usize::try_from(held.trailing_zeros()).unwrap_or_default();
            self.holding.under_way = Some(Held { at, depth, bytes: Some(Vec::new()) });
            self.holding.take(b'{');
        }
        let is_through = |path: &Path| path.get(depth).is_some_and(|step| (*step == "*") != is_object);
        let alive = self.coming & self.paths(is_through);
        self.levels.push(Level { is_object, alive, seen: 0 });
        self.coming = if is_object { 0 } else { alive };
        self.state =
            if is_object { State::Key { may_close: true } } else { State::Value { may_close: true } };
        Ok(())
    }

    fn close(
        &mut self,
        byte: u8,
        found: &mut impl FnMut(Found) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        let Some(level) = self.levels.pop() else { return Err(NOT_JSON) };
        if level.is_object != (byte == b'}') {
            return Err(NOT_JSON);
        }
        if let Some(watch) = &mut self.watch {
            watch.close();
        }
        if let Some(held) = self.holding.under_way.take_if(|held| held.depth == self.levels.len()) {
            found(Found::Object(held.at, held.bytes))?;
        }
        self.is_over(found)
    }

    fn scalar(
        &mut self,
        value: Value,
        found: &mut impl FnMut(Found) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        if let Some(watch) = &mut self.watch {
            watch.scalar(None, false);
        }
        self.told(value, found)
    }

    fn told(
        &mut self,
        value: Value,
        found: &mut impl FnMut(Found) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        self.report(&value, found)?;
        self.is_over(found)
    }

    /// A value is complete.
    fn is_over(
        &mut self,
        found: &mut impl FnMut(Found) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        self.state = State::After;
        match self.levels.as_slice() {
            [Level { is_object: false, .. }] => found(Found::Element),
            _ => Ok(()),
        }
    }

    fn after(
        &mut self,
        byte: u8,
        found: &mut impl FnMut(Found) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        let Some(level) = self.levels.last() else { return Err("something follows the JSON of the body") };
        match byte {
            b',' => {
                self.coming = if level.is_object { 0 } else { level.alive };
                self.state = if level.is_object {
                    State::Key { may_close: false }
                } else {
                    State::Value { may_close: false }
                };
                Ok(())
            }
            b'}' | b']' => self.close(byte, found),
            _ => Err(NOT_JSON),
        }
    }

    /// A key is complete.
    fn key(&mut self, kept: Option<Vec<u8>>) -> Result<(), &'static str> {
        self.state = State::Colon;
        self.coming = 0;
        if let Some(watch) = &mut self.watch {
            watch.key(kept.as_deref());
        }
        let depth = self.levels.len().saturating_sub(1);
        let Some(key) = kept.and_then(|kept| String::from_utf8(kept).ok()) else { return Ok(()) };
        let here = self.paths(|path| path.get(depth).is_some_and(|step| *step == key));
        let folded = fold(&key);
        let alike = self.paths(|path| path.get(depth).is_some_and(|step| fold(step) == folded));
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        if level.alive & alike & !here != 0 {
            return Err(OTHER_CASE);
        }
        let coming = level.alive & here;
        if level.seen & coming != 0 {
            return Err(TWICE);
        }
        level.seen |= coming;
        self.coming = coming;
        Ok(())
    }

    fn report(
        &mut self,
        value: &Value,
        found: &mut impl FnMut(Found) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        let leaves = self.leaves();
        (0..self.wanted.len())
            .filter(|at| leaves & bit(*at) != 0)
            .try_for_each(|at| found(Found::Value(at, value.clone())))
    }

    /// Paths that end at the value that comes.
    fn leaves(&self) -> u16 {
        let depth = self.levels.len();
        self.coming & self.paths(|path| path.len() == depth)
    }

    fn paths(&self, is_meant: impl Fn(&Path) -> bool) -> u16 {
        let meant = self.wanted.iter().enumerate().filter(|(_, path)| is_meant(path));
        meant.fold(0, |all, (at, _)| all | bit(at))
    }
}

impl Number {
    /// After one more byte; `None`: the byte is behind it.
    fn next(self, byte: u8) -> Result<Option<Self>, &'static str> {
        let is_digit = byte.is_ascii_digit();
        Ok(Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus | Self::Digits, _) if is_digit => Self::Digits,
            (Self::Zero | Self::Digits, b'.') => Self::Point,
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Point | Self::Fraction, _) if is_digit => Self::Fraction,
            (Self::Exponent, b'+' | b'-') => Self::Sign,
            (Self::Exponent | Self::Sign | Self::Power, _) if is_digit => Self::Power,
            (Self::Zero | Self::Digits | Self::Fraction | Self::Power, _) => return Ok(None),
            (Self::Minus | Self::Point | Self::Exponent | Self::Sign, _) => return Err(NOT_JSON),
        }))
    }
}

fn text_value(kept: Option<Vec<u8>>) -> Result<Value, &'static str> {
    let Some(kept) = kept else { return Ok(Value::Other) };
    String::from_utf8(kept).map(Value::Text).map_err(|_| NOT_JSON)
}

fn bit(at: usize) -> u16 {
    u32::try_from(at).ok().and_then(|at| 1u16.checked_shl(at)).unwrap_or(0)
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::super::text::{HALF, MAX_VALUE, TOO_LONG};
    use super::*;
    use proptest::prelude::*;

    const WANTED: [Path; 4] = [&["model"], &["params", "name"], &["*", "method"], &["*", "params", "name"]];

    fn read(parts: &[&[u8]]) -> Result<Vec<Found>, &'static str> {
        let (mut json, mut all) = (Json::new(WANTED.to_vec()), vec![]);
        for part in parts {
            json.push(part, |found| {
                all.push(found);
                Ok(())
            })?;
        }
        json.end().map(|()| all)
    }

    #[test]
    fn an_object_is_held_as_it_is_written_where_there_is_room() {
        let whole = r#"{ "x":["}",{"a":{}}], "é":"\"{" }"#;
        let read = |body: &str, room: usize, size: usize| {
            let mut json = Json::new(vec![&["params", "args"], &["*", "args"]]).holding(&[0, 1], room);
            let mut held = vec![];
            for part in body.as_bytes().chunks(size) {
                json.push(part, |found| {
                    if let Found::Object(at, bytes) = found {
                        held.push((at, bytes.map(|bytes| String::from_utf8(bytes).unwrap())));
                    }
                    Ok(())
                })
                .unwrap();
            }
            json.end().unwrap();
            held
        };
        for (body, room, expected) in [
            (
                format!(r#"{{"params":{{"args": {whole} ,"b":{{}}}},"args":{{}}}}"#),
                99,
                vec![(0, Some(whole))],
            ),
            (format!(r#"{{"params":{{"args":{whole}}}}}"#), whole.len(), vec![(0, Some(whole))]),
            (format!(r#"{{"params":{{"args":{whole}}}}}"#), whole.len() - 1, vec![(0, None)]),
            (
                r#"[{"args":{}},{"args":{ }},{"args":{}}]"#.to_owned(),
                5,
                vec![(1, Some("{}")), (1, Some("{ }")), (1, None)],
            ),
            (r#"{"params":{"args":[{}]}}"#.to_owned(), 99, vec![]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(at, text)| (at, text.map(str::to_owned))).collect();
            for size in [1, 3, 1000] {
                assert_eq!(read(&body, room, size), expected, "{body} {size}");
            }
        }
    }

    fn text(at: usize, text: &str) -> Found {
        Found::Value(at, Value::Text(text.into()))
    }

    #[test]
    fn wanted_values_are_found_wherever_they_are() {
        for (body, expected) in [
            (r#"{"model":"a"}"#, vec![text(0, "a")]),
            (
                r#" { "x" : [ 1 , -0.5e+3, {"model":"no"}] , "\u006dodel" : "a\n\u00e9\ud83d\ude00" } "#,
                vec![text(0, "a\né😀")],
            ),
            (
                r#"{"params":{"name":"t","arguments":{"name":"no"}},"model":null}"#,
                vec![text(1, "t"), Found::Value(0, Value::Null)],
            ),
            (r#"{"model":{"model":1}}"#, vec![Found::Value(0, Value::Other)]),
            (r#"{"model":12,"x":"\ud800","":true}"#, vec![Found::Value(0, Value::Other)]),
            (
                r#"[{"method":"m","params":{"name":"t"}},1,[]]"#,
                vec![text(2, "m"), text(3, "t"), Found::Element, Found::Element, Found::Element],
            ),
            (r#"{"*":{"method":"no"}}"#, vec![]),
            (r#"{"x":{"model":"a","model":"b"},"x":0}"#, vec![]),
            ("[]", vec![]),
            ("0", vec![]),
        ] {
            assert_eq!(read(&[body.as_bytes()]), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_an_error() {
        let deep = "[".repeat(MAX_DEPTH + 1);
        let long = format!(r#"{{"model":"{}"}}"#, "a".repeat(MAX_VALUE + 1));
        for (body, expected) in [
            (r#"{"model":"a","\u006dodel":"b"}"#, TWICE),
            (r#"{"params":{},"params":{"name":"x"}}"#, TWICE),
            (r#"{"Model":"a"}"#, OTHER_CASE),
            (r#"{"paramſ":{"name":"x"}}"#, OTHER_CASE),
            (r#"{"mode\ud800l":"a"}"#, HALF),
            (r#"{"model":"\udc00"}"#, HALF),
            (r#"{"model":"a"} {}"#, "something follows the JSON of the body"),
            (r#"{"model":"a"}x"#, "something follows the JSON of the body"),
            (r#"{"model":"a""#, "the body ends within its JSON"),
            (r#"{"model":"a",}"#, NOT_JSON),
            (r#"{"model":'a'}"#, NOT_JSON),
            (r#"{"x":[}"#, NOT_JSON),
            (r#"{"x":01}"#, NOT_JSON),
            (r#"{"x":1.}"#, NOT_JSON),
            (r#"{"x":NaN}"#, NOT_JSON),
            (r#"{"x":"\x41"}"#, NOT_JSON),
            ("{\"x\":\"a\nb\"}", "a text of the body has bytes that no text has"),
            ("\u{feff}{}", NOT_JSON),
            ("model=a", NOT_JSON),
            ("", "the body ends within its JSON"),
            (deep.as_str(), TOO_DEEP),
            (long.as_str(), TOO_LONG),
        ] {
            assert_eq!(read(&[body.as_bytes()]), Err(expected), "{body}");
        }
        assert_eq!(read(&[b"{\"x\":\"\xff\"}"]), Err("a text of the body has bytes that no text has"));
        assert_eq!(read(&[b"{\"x\":\"\xc3\"}"]), Err("a text of the body has bytes that no text has"));
    }

    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"a\":1,",
            "\"é\\n\"",
            "1.5e3",
            "-",
            "0",
            "1",
            "true",
            "null",
            " ",
            "\"",
            "\\",
            "\u{1}",
            "{\"a\":",
            "[1,",
        ]);
        prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn it_takes_for_json_what_another_reader_does(body in pieces()) {
            let mut json = Json::new(vec![]);
            let ours = json.push(body.as_bytes(), |_| Ok(())).and_then(|()| json.end());
            // Read as a value, a number that no f64 holds would be an error; the grammar has it.
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&body);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{} {:?} {:?}", body, ours, theirs);
        }
    }

    #[test]
    fn a_number_that_no_float_holds_is_a_number() {
        let mut json = Json::new(vec![]);
        json.push(b"1.5e310", |_| Ok(())).and_then(|()| json.end()).unwrap();
    }

    proptest! {
        #[test]
        fn where_it_is_split_changes_nothing(
            body in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"model\"", "\"params\"", "\"name\"", "\"method\"", "\"\\u006dodel\"",
                "\"é\\n\"", "1.5e3", "-", "true", "null", " ", "\"", "\\", "\u{1}",
            ]), 0..24),
            size in 1usize..5,
        ) {
            let body = body.concat();
            let parts: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
            prop_assert_eq!(read(&parts), read(&[body.as_bytes()]));
        }
    }
}
