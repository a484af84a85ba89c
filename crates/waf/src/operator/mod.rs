//! Operators: what a rule asks of a value.
//!
//! Enters: a value after its transformations. Leaves: whether the operator says yes, and what it captured.
//! Guarantees: time is linear in the value. Source: the reference manual of ModSecurity v3, section Operators.

mod address;
mod encoding;
mod number;
mod parse;
mod phrase;
mod sqli;
mod text;
mod verify;

use libinjectionrs::xss::{Html5Flags, XssDetector};
use memchr::memmem;
use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;

use crate::literal;
use crate::pattern::{self, backtrack};
use crate::template::{Lookup, Template};

pub(crate) use number::integer;
pub(crate) use parse::parse;
pub(crate) use phrase::Phrases;

/// Most groups that a pattern gives to `TX.0` to `TX.9`.
pub(crate) const MAX_CAPTURES: usize = 10;

/// An operator with its argument read.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    pub(crate) negated: bool,
    pub(crate) test: Test,
    /// Sets of literals; one of each set is in every value that the test says yes to.
    pub(crate) literals: Vec<literal::Set>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Always,
    Never,
    Pattern(Regex),
    /// A pattern that only trying can answer; and one that matches whatever it matches, where there is one.
    Tried(Option<Regex>, backtrack::Program),
    PatternOf(Template),
    EachPattern(Regex),
    Phrases(Phrases),
    Text(text::Relation, Template),
    Number(number::Relation, Template),
    Addresses(Vec<address::Net>),
    ByteRange([u64; 4]),
    UrlEncoding,
    Utf8Encoding,
    Sqli,
    Xss,
    Digits(verify::Kind, Regex),
    /// What only a network could answer: loads, because old rule sets have it behind a switch, and denies when asked.
    Missing(&'static str),
}

/// What an operator says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The operator, negation counted in, does not match.
    No,
    /// It does; each capture is a number of a group and its text.
    Yes(Vec<(usize, Vec<u8>)>),
    /// It could not be asked, and why; the caller denies.
    Unable(String),
}

impl Operator {
    /// Asks the operator; `capture` says whether anybody will read captures.
    pub(crate) fn ask(&self, value: &[u8], capture: bool, lookup: &Lookup<'_>) -> Answer {
        match self.raw(value, capture && !self.negated, lookup) {
            Answer::Yes(_) if self.negated => Answer::No,
            Answer::No if self.negated => Answer::Yes(Vec::new()),
            answer => answer,
        }
    }

    /// What asking costs, in units of a byte read once.
    pub(crate) fn cost(&self, value: &[u8]) -> u64 {
        let pieces = match &self.test {
            Test::Sqli => pieces(value).saturating_mul(SQL_PIECE).saturating_mul(sqli::readings(value)),
            Test::Xss => pieces(value).saturating_mul(HTML_PIECE),
            _ => 0,
        };
        pieces.saturating_add(value.len() as u64)
    }

    fn raw(&self, value: &[u8], capture: bool, lookup: &Lookup<'_>) -> Answer {
        let plain = |yes: bool| if yes { Answer::Yes(Vec::new()) } else { Answer::No };
        match &self.test {
            Test::Always => plain(true),
            Test::Never => plain(false),
            Test::Pattern(pattern) => search(pattern, value, capture),
            Test::Tried(Some(at_least), _) if !at_least.is_match(value) => Answer::No,
            Test::Tried(_, program) => match program.find(value) {
                Ok(found) => found.map_or(Answer::No, |groups| {
                    let text = |(from, to)| value.get(from..to).map(<[u8]>::to_vec);
                    let groups = groups.into_iter().take(MAX_CAPTURES).enumerate();
                    Answer::Yes(groups.filter_map(|(index, group)| Some((index, text(group?)?))).collect())
                }),
                Err(backtrack::Exhausted) => Answer::Unable("a pattern needs too many steps".to_owned()),
            },
            Test::Missing(what) => Answer::Unable(format!("@{what} has nobody to ask")),
            Test::PatternOf(template) => match pattern::compile(&template.expand(lookup), false) {
                Ok(pattern) => search(&pattern.regex, value, capture),
                Err(error) => Answer::Unable(error),
            },
            Test::EachPattern(pattern) => search_each(pattern, value),
            Test::Phrases(phrases) => {
                phrases.find(value).map_or(Answer::No, |found| Answer::Yes(vec![(0, found.to_vec())]))
            }
            Test::Text(relation, template) => plain(relation.holds(value, &template.expand(lookup))),
            Test::Number(relation, template) => plain(relation.holds(value, &template.expand(lookup))),
            Test::Addresses(nets) => plain(address::within(value, nets)),
            Test::ByteRange(allowed) => plain(encoding::outside(value, allowed)),
            Test::UrlEncoding => plain(encoding::bad_escape(value)),
            Test::Utf8Encoding => plain(std::str::from_utf8(value).is_err()),
            Test::Sqli => sqli(value),
            Test::Xss => {
                if xss(value) {
                    Answer::Yes(vec![(0, value.to_vec())])
                } else {
                    Answer::No
                }
            }
            Test::Digits(kind, pattern) => {
                kind.find(pattern, value).map_or(Answer::No, |found| Answer::Yes(vec![(0, found.to_vec())]))
            }
        }
    }
}

fn search(pattern: &Regex, value: &[u8], capture: bool) -> Answer {
    if !capture {
        return if pattern.is_match(value) { Answer::Yes(Vec::new()) } else { Answer::No };
    }
    if pattern.captures_len() == 1 {
        let whole = pattern.find(value).and_then(|found| value.get(found.range()));
        return whole.map_or(Answer::No, |found| Answer::Yes(vec![(0, found.to_vec())]));
    }
    // Whether it matches is cheaper to know than where its groups are.
    if !pattern.is_match(value) {
        return Answer::No;
    }
    let mut groups = pattern.create_captures();
    pattern.captures(value, &mut groups);
    if !groups.is_match() {
        return Answer::No;
    }
    let texts = texts(&groups, value).take(MAX_CAPTURES).enumerate();
    Answer::Yes(texts.filter_map(|(index, text)| Some((index, text?.to_vec()))).collect())
}

/// The texts of a match's groups; none for a group that took no part.
fn texts<'v>(groups: &Captures, value: &'v [u8]) -> impl Iterator<Item = Option<&'v [u8]>> {
    groups.iter().map(|group| value.get(group?.range()))
}

/// All matches one behind the other, their groups counted through.
fn search_each(pattern: &Regex, value: &[u8]) -> Answer {
    let mut found = Vec::new();
    for groups in pattern.captures_iter(value) {
        for text in texts(&groups, value).flatten() {
            found.push((found.len(), text.to_vec()));
        }
        if found.len() >= MAX_CAPTURES {
            break;
        }
    }
    found.truncate(MAX_CAPTURES);
    if found.is_empty() { Answer::No } else { Answer::Yes(found) }
}

/// What one piece of a text costs the reader of SQL, which folds pieces as long as it can: measured, in bytes that a scan
/// reads in the same time.
const SQL_PIECE: u64 = 128;
/// The same of the reader of HTML.
const HTML_PIECE: u64 = 64;

/// How many words, numbers and signs a text has at most.
fn pieces(value: &[u8]) -> u64 {
    let mut count = 0;
    let mut in_word = false;
    for byte in value {
        let word = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | 0x80..);
        let goes_on = byte.is_ascii_whitespace() || (word && in_word);
        count += u64::from(!goes_on);
        in_word = word;
    }
    count
}

/// What the C library reads as one word and the reader used here as two. With a word of one kind in its place the
/// reader comes to the verdict of the library, over all such texts of the library's own corpora.
const TWO_WORDS: [&[u8]; 2] = [b"into outfile", b"into dumpfile"];

fn sqli(value: &[u8]) -> Answer {
    let found = sqli::detect(value).or_else(|| sqli::detect(&one_word(value)?));
    found.map_or(Answer::No, |print| Answer::Yes(vec![(0, print)]))
}

/// The text with one word for those that are two; none where it has none of them.
fn one_word(value: &[u8]) -> Option<Vec<u8>> {
    let lower = value.to_ascii_lowercase();
    let mut places: Vec<(usize, usize)> = TWO_WORDS
        .iter()
        .flat_map(|words| memmem::find_iter(&lower, words).map(|start| (start, start + words.len())))
        .collect();
    places.sort_unstable();
    let mut out = Vec::with_capacity(value.len());
    let mut from = 0;
    for (start, end) in places {
        out.extend_from_slice(value.get(from..start)?);
        out.extend_from_slice(b"limit");
        from = end;
    }
    out.extend_from_slice(value.get(from..)?);
    (from > 0).then_some(out)
}

/// Browsers skip null bytes in names of attributes, and so does the C library; the reader used here does not.
fn xss(value: &[u8]) -> bool {
    // What is found begins as a tag or is an attribute with a value.
    if memchr::memchr2(b'<', b'=', value).is_none() {
        return false;
    }
    html(value)
        || value.contains(&0) && html(&value.iter().copied().filter(|byte| *byte != 0).collect::<Vec<_>>())
}

/// Reads a text as it stands in a page, and as the value of an attribute within each quote. Without that quote all of it is
/// the value, of which nothing is known; and without the end of a tag or a value of its own, nothing comes of attributes.
fn html(value: &[u8]) -> bool {
    let read = |place| XssDetector::is_xss(value, place);
    let within = |quote, place| memchr::memchr(quote, value).is_some() && read(place);
    memchr::memchr(b'<', value).is_some() && read(Html5Flags::DataState)
        || memchr::memchr2(b'>', b'=', value).is_some()
            && (read(Html5Flags::ValueNoQuote)
                || within(b'\'', Html5Flags::ValueSingleQuote)
                || within(b'"', Html5Flags::ValueDoubleQuote)
                || within(b'`', Html5Flags::ValueBackQuote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn injections_are_found_as_the_c_library_finds_them() {
        for (value, expected) in [
            ("1' or '1'='1", true),
            ("1 into outfile 'asd'", true),
            ("1 Into DumpFile 'asd'", true),
            ("-1 UNION SELECT a FROM b", true),
            ("the old rose in the garden", false),
        ] {
            assert_eq!(sqli(value.as_bytes()) != Answer::No, expected, "{value}");
        }
        for (value, expected) in [
            (&b"<script>alert(1)</script>"[..], true),
            (b"x\0onload=y", false),
            (b"<a \0onload=y>", true),
            (b"a < b", false),
        ] {
            assert_eq!(xss(value), expected, "{}", value.escape_ascii());
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 20_000, ..Default::default() })]
        #[test]
        fn places_that_are_left_out_would_have_found_nothing(
            chosen in proptest::collection::vec(0..HTML.len(), 0..12)
        ) {
            let text = chosen.iter().map(|piece| HTML[*piece]).collect::<Vec<_>>().concat();
            let expected = libinjectionrs::detect_xss(text.as_bytes()).is_injection();
            proptest::prop_assert_eq!(html(text.as_bytes()), expected, "{}", text);
        }
    }

    const HTML: &[&str] = &[
        "<",
        ">",
        "/",
        "=",
        "'",
        "\"",
        "`",
        " ",
        "<!",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?",
        "<%",
        "%>",
        "script",
        "svg",
        "a",
        "img",
        "onload",
        "onerror=",
        "style",
        "href=",
        "javascript:",
        "x",
        "[if",
        "xml",
        "import",
        "<!doctype",
        "\0",
        "xmlns",
        "src",
        "\n",
    ];
}
