//! JSON of any length, read as it comes: every leaf with its path, and nothing else kept.
//!
//! Enters: bytes, split anywhere; one value after another. Leaves: each text, number and literal, with a path such as
//! `choices/*/delta/content`, where `*` is any place of an array. Guarantees: bounded memory ([`MAX_DEPTH`], [`MAX_KEY`], and
//! of each text as much as was asked for); every byte looked at once. Does not: refuse all that is not JSON. It reads what
//! servers answer, and what cannot be read tells nothing.

/// Containers within each other.
pub(crate) const MAX_DEPTH: usize = 64;

/// Bytes of a key; a longer one is like none that is looked for.
const MAX_KEY: usize = 64;

/// Bytes of a number that are kept: more than any that is a count.
pub(crate) const MAX_BARE: usize = 32;

/// Stands in a path for what cannot be in a key that is looked for.
const NEVER: char = '\0';

/// What is at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf<'a> {
    /// As much as is kept of a text, and the characters that it has in all.
    Text(&'a str, u64),
    /// A whole number that is not negative, in digits.
    Count(u64),
    /// Another number as it is written; of one that is too long only its beginning ([`MAX_BARE`]).
    Number(&'a str),
    /// `true`, `false` or `null`.
    Other,
    /// Here an object or an array begins.
    Opens { is_object: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// The value is whole; another may begin.
    Done,
    /// It is no JSON.
    Broken,
}

#[derive(Clone, Copy, Debug)]
enum Token {
    Between,
    Text,
    Escape,
    /// The value so far of an escape in hexadecimal, and the digits it lacks.
    Hex(u16, u8),
    /// A number or a literal.
    Bare,
}

#[derive(Clone, Copy, Debug)]
struct Container {
    is_object: bool,
    /// How long the path of the container itself is.
    path: usize,
}

/// Reads JSON.
#[derive(Debug)]
pub(crate) struct Json {
    /// How many bytes of the text at a path are kept.
    keep: fn(&str) -> usize,
    expect: Expect,
    token: Token,
    stack: Vec<Container>,
    path: String,
    kept: Vec<u8>,
    chars: u64,
    /// The first half of a pair of UTF-16.
    high: Option<u16>,
    whole: u64,
}

impl Json {
    pub(crate) fn new(keep: fn(&str) -> usize) -> Self {
        Self {
            keep,
            expect: Expect::Value,
            token: Token::Between,
            stack: Vec::new(),
            path: String::new(),
            kept: Vec::new(),
            chars: 0,
            high: None,
            whole: 0,
        }
    }

    /// How many objects and arrays are whole: those that stand alone, and those in an array that does.
    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }

    /// Whether it turned out to be no JSON, or to be nested too deep.
    pub(crate) fn is_broken(&self) -> bool {
        self.expect == Expect::Broken
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8], on: &mut impl FnMut(&str, Leaf<'_>)) {
        while let Some((first, behind)) = bytes.split_first() {
            if self.expect == Expect::Broken {
                return;
            }
            bytes = match self.token {
                Token::Text => self.text(bytes, on),
                Token::Bare if !is_delimiter(*first) => {
                    self.keep_byte(*first, MAX_BARE);
                    behind
                }
                Token::Bare => {
                    self.end_bare(on);
                    bytes
                }
                Token::Escape => {
                    self.escape(*first);
                    behind
                }
                Token::Hex(value, left) => {
                    self.hex(*first, value, left);
                    behind
                }
                Token::Between => {
                    self.structure(*first, on);
                    behind
                }
            };
        }
    }

    /// What came is all of it. The next bytes begin anew.
    pub(crate) fn end(&mut self, on: &mut impl FnMut(&str, Leaf<'_>)) {
        if matches!(self.token, Token::Bare) {
            self.end_bare(on);
        }
        self.expect = Expect::Value;
        self.token = Token::Between;
        self.stack.clear();
        self.path.clear();
        self.kept.clear();
    }

    fn structure(&mut self, byte: u8, on: &mut impl FnMut(&str, Leaf<'_>)) {
        use Expect::{Broken, Colon, CommaOrEnd, Done, Key, KeyOrEnd, Value, ValueOrEnd};
        if self.expect == Done && !is_blank(byte) {
            self.expect = Value;
            self.path.clear();
        }
        match (byte, self.expect) {
            (blank, _) if is_blank(blank) => {}
            (b'{' | b'[', Value | ValueOrEnd) => self.open(byte == b'{', on),
            (b'}', KeyOrEnd | CommaOrEnd) => self.close(true),
            (b']', ValueOrEnd | CommaOrEnd) => self.close(false),
            (b',', CommaOrEnd) => {
                let in_object = self.stack.last().is_some_and(|last| last.is_object);
                self.expect = if in_object { Key } else { Value };
            }
            (b':', Colon) => self.expect = Value,
            (b'"', Value | ValueOrEnd | Key | KeyOrEnd) => self.begin(Token::Text),
            (b'-' | b'0'..=b'9' | b't' | b'f' | b'n', Value | ValueOrEnd) => {
                self.begin(Token::Bare);
                self.keep_byte(byte, MAX_BARE);
            }
            _ => self.expect = Broken,
        }
    }

    fn open(&mut self, is_object: bool, on: &mut impl FnMut(&str, Leaf<'_>)) {
        if self.stack.len() >= MAX_DEPTH {
            self.expect = Expect::Broken;
            return;
        }
        on(&self.path, Leaf::Opens { is_object });
        self.stack.push(Container { is_object, path: self.path.len() });
        if !is_object {
            self.go_to("*");
        }
        self.expect = if is_object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
    }

    fn close(&mut self, is_object: bool) {
        let Some(closed) = self.stack.pop().filter(|last| last.is_object == is_object) else {
            self.expect = Expect::Broken;
            return;
        };
        self.path.truncate(closed.path);
        let is_whole = match self.stack.as_slice() {
            [] => is_object,
            [outer] => !outer.is_object,
            _ => false,
        };
        self.whole += u64::from(is_whole);
        self.end_value();
    }

    fn end_value(&mut self) {
        self.expect = if self.stack.is_empty() { Expect::Done } else { Expect::CommaOrEnd };
    }

    /// The path of a member of the innermost container.
    fn go_to(&mut self, key: &str) {
        self.path.truncate(self.stack.last().map_or(0, |last| last.path));
        if !self.path.is_empty() {
            self.path.push('/');
        }
        self.path.push_str(key);
    }

    fn begin(&mut self, token: Token) {
        self.token = token;
        self.kept.clear();
        self.chars = 0;
        self.high = None;
    }

    fn is_key(&self) -> bool {
        matches!(self.expect, Expect::Key | Expect::KeyOrEnd)
    }

    fn keep_byte(&mut self, byte: u8, limit: usize) {
        if self.kept.len() < limit {
            self.kept.push(byte);
        }
    }

    fn limit(&self) -> usize {
        // One more than a key may have, so that a longer one can be told.
        if self.is_key() { MAX_KEY + 1 } else { (self.keep)(&self.path) }
    }

    /// Takes a part of a text without escapes, or the byte that ends it.
    fn text<'a>(&mut self, bytes: &'a [u8], on: &mut impl FnMut(&str, Leaf<'_>)) -> &'a [u8] {
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
        let length = bytes.iter().position(is_special).unwrap_or(bytes.len());
        let (plain, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        if !plain.is_empty() {
            self.broken_pair();
            let room = self.limit().saturating_sub(self.kept.len()).min(plain.len());
            self.kept.extend_from_slice(plain.get(..room).unwrap_or_default());
            self.chars += plain.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as u64;
        }
        let Some((special, behind)) = rest.split_first() else { return rest };
        match special {
            b'\\' => self.token = Token::Escape,
            b'"' => self.end_text(on),
            _ => self.expect = Expect::Broken,
        }
        behind
    }

    fn end_text(&mut self, on: &mut impl FnMut(&str, Leaf<'_>)) {
        self.broken_pair();
        self.token = Token::Between;
        let mut kept = std::mem::take(&mut self.kept);
        if self.is_key() {
            let is_long = kept.len() > MAX_KEY;
            let mut key = String::from_utf8_lossy(&kept).replace(['/', '*'], &NEVER.to_string());
            if is_long {
                key = NEVER.to_string();
            }
            self.go_to(&key);
            self.expect = Expect::Colon;
        } else {
            let whole = match std::str::from_utf8(&kept) {
                Ok(text) => text.len(),
                // A character that the limit cut through.
                Err(flaw) => flaw.valid_up_to(),
            };
            kept.truncate(whole);
            on(&self.path, Leaf::Text(std::str::from_utf8(&kept).unwrap_or_default(), self.chars));
            self.end_value();
        }
        self.kept = kept;
    }

    fn escape(&mut self, byte: u8) {
        self.token = Token::Text;
        let meant = match byte {
            b'u' => {
                self.token = Token::Hex(0, 4);
                return;
            }
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => {
                self.expect = Expect::Broken;
                return;
            }
        };
        self.broken_pair();
        self.add(meant);
    }

    fn hex(&mut self, byte: u8, value: u16, left: u8) {
        let Some(digit) = char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok()) else {
            self.expect = Expect::Broken;
            return;
        };
        let value = value << 4 | digit;
        if left > 1 {
            self.token = Token::Hex(value, left - 1);
            return;
        }
        self.token = Token::Text;
        match (self.high.take(), value) {
            (Some(high), 0xdc00..=0xdfff) => {
                let one = char::decode_utf16([high, value]).next().and_then(Result::ok);
                self.add(one.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (before, value) => {
                self.high = before;
                self.broken_pair();
                match char::from_u32(value.into()) {
                    Some(one) => self.add(one),
                    None if value < 0xdc00 => self.high = Some(value),
                    None => self.add(char::REPLACEMENT_CHARACTER),
                }
            }
        }
    }

    /// A first half that no second one follows.
    fn broken_pair(&mut self) {
        if self.high.take().is_some() {
            self.add(char::REPLACEMENT_CHARACTER);
        }
    }

    fn add(&mut self, one: char) {
        self.chars += 1;
        let limit = self.limit();
        for byte in one.encode_utf8(&mut [0; 4]).bytes() {
            self.keep_byte(byte, limit);
        }
    }

    fn end_bare(&mut self, on: &mut impl FnMut(&str, Leaf<'_>)) {
        self.token = Token::Between;
        let text = std::str::from_utf8(&self.kept).unwrap_or_default();
        let is_number =
            text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        if !is_number && !matches!(text, "true" | "false" | "null") {
            self.expect = Expect::Broken;
            return;
        }
        let count = text.parse().ok().filter(|_| text.len() < MAX_BARE).map(Leaf::Count);
        on(&self.path, count.unwrap_or(if is_number { Leaf::Number(text) } else { Leaf::Other }));
        self.end_value();
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_delimiter(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b',' | b']' | b'}' | b'[' | b'{' | b':' | b'"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every leaf, a line each.
    fn leaves<'a>(parts: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, u64) {
        let mut found = vec![];
        let mut on = |path: &str, leaf: Leaf<'_>| {
            found.push(match leaf {
                Leaf::Text(text, chars) => format!("{path} = {text:?} of {chars}"),
                Leaf::Count(count) => format!("{path} = {count}"),
                Leaf::Number(text) => format!("{path} = {text}"),
                Leaf::Other => format!("{path} = ?"),
                Leaf::Opens { .. } => return,
            });
        };
        let mut json = Json::new(|_| 8);
        for part in parts {
            json.push(part, &mut on);
        }
        json.end(&mut on);
        let whole = json.whole();
        (found, whole)
    }

    fn check(text: &str, expected: &[&str], whole: u64) {
        assert_eq!(leaves(std::iter::once(text.as_bytes())), leaves(text.as_bytes().chunks(1)), "{text}");
        let (found, count) = leaves(std::iter::once(text.as_bytes()));
        assert_eq!((found, count), (expected.iter().map(ToString::to_string).collect(), whole), "{text}");
    }

    #[test]
    fn every_leaf_has_its_path() {
        check(
            r#"{"a":1,"b":{"c":"x"},"d":[2,{"e":3}],"f":4}"#,
            &["a = 1", "b/c = \"x\" of 1", "d/* = 2", "d/*/e = 3", "f = 4"],
            1,
        );
        check(r#"[{"a":1}, {"a":[]} ,3]"#, &["*/a = 1", "* = 3"], 2);
        check(
            r#"{"a":true,"b":null,"c":-1,"d":1.5,"e":99999999999999999999}"#,
            &["a = ?", "b = ?", "c = -1", "d = 1.5", "e = 99999999999999999999"],
            1,
        );
        // What is cut is no count: nobody knows what follows.
        let (long, cut) = (format!("{}1", "0".repeat(40)), format!(" = {}", "0".repeat(MAX_BARE)));
        check(&long, &[&cut], 0);
        check(" 7 ", &[" = 7"], 0);
        check("7", &[" = 7"], 0);
        check("{\"a\":1}\n{\"a\":2}{\"a\":3}", &["a = 1", "a = 2", "a = 3"], 3);
    }

    #[test]
    fn a_text_is_kept_up_to_a_limit_and_counted_whole() {
        check(r#""abcdefghij""#, &[" = \"abcdefgh\" of 10"], 0);
        check(r#""abcdefgü!""#, &[" = \"abcdefg\" of 9"], 0);
        check(r#""\u00fc\n\ud83d\ude00""#, &[" = \"ü\\n😀\" of 3"], 0);
        check(r#""\ud83dx\ude00""#, &[" = \"\u{fffd}x\u{fffd}\" of 3"], 0);
        check(r#""\ud83d\ud83d""#, &[" = \"\u{fffd}\u{fffd}\" of 2"], 0);
    }

    #[test]
    fn an_escaped_key_is_the_same_key_and_none_looks_like_a_path() {
        check(r#"{"\u0061":1}"#, &["a = 1"], 1);
        check(r#"{"a/b":1,"*":2,"a":{"b":3}}"#, &["a\0b = 1", "\0 = 2", "a/b = 3"], 1);
        let long = format!("{{\"{}\":1,\"{}\":2}}", "k".repeat(MAX_KEY), "k".repeat(MAX_KEY + 1));
        check(&long, &[&format!("{} = 1", "k".repeat(MAX_KEY)), "\0 = 2"], 1);
    }

    #[test]
    fn what_is_no_json_ends_it() {
        for text in [
            "[DONE]",
            "{1:2}",
            "{\"a\" 1}",
            "]",
            "}",
            "[1 2]",
            "[1}",
            "\"\\x\"",
            "\"a\nb\"",
            "nul",
            "{,}",
            "<html>",
        ] {
            let (found, whole) = leaves(std::iter::once(text.as_bytes()));
            assert!(found.len() <= 1 && whole == 0, "{text}: {found:?}");
            let more = format!("{text},\"z\":9,{{\"z\":9}}");
            assert_eq!(leaves(std::iter::once(more.as_bytes())), (found, 0), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(leaves(std::iter::once(nested(MAX_DEPTH).as_bytes())).0.len(), 1);
        assert_eq!(leaves(std::iter::once(nested(MAX_DEPTH + 1).as_bytes())).0.len(), 0);
    }

    proptest! {
        #[test]
        fn where_it_is_split_changes_nothing(text in r#"[\[\]{}":,\\ u0dtruen19aü\n]{0,40}"#, size in 1_usize..5) {
            let bytes = text.as_bytes();
            prop_assert_eq!(leaves(std::iter::once(bytes)), leaves(bytes.chunks(size)));
        }
    }
}
