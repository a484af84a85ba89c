//! Patterns as rules write them (PCRE) to patterns that run in linear time.
//!
//! Enters: a PCRE pattern, bytes. Leaves: a compiled `regex_automata::meta::Regex` and its syntax tree. What both dialects read
//! alike is copied, what they read differently is rewritten, and what a linear-time engine has not (look-around,
//! back-references) is an error. Flags are those of ModSecurity v3: a dot is any byte, `^` and `$` are at lines, and
//! letters, digits and blanks are ASCII.
//! Source: pcre2pattern(3); regex-syntax's documentation of its syntax.

pub(crate) mod backtrack;
mod class;

use regex_automata::MatchKind;
use regex_automata::meta::Regex;
use regex_automata::util::prefilter::Prefilter;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;

/// Largest compiled pattern, bytes.
const MAX_PATTERN: usize = 16 << 20;
/// Memory for one pattern's lazily built automaton, bytes.
const MAX_LAZY: usize = 8 << 20;
/// Deepest nesting of groups.
const MAX_NESTING: u32 = 200;

/// A pattern ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub(crate) regex: Regex,
    pub(crate) tree: Hir,
    /// Whether it matches more than it says: possessive quantifiers and atomic groups became ordinary ones.
    pub(crate) loose: bool,
}

/// Compiles a PCRE pattern that matches what it says and no more.
///
/// # Errors
/// Says which construct cannot be run in linear time, or what is wrong with the pattern.
pub(crate) fn compile(pattern: &[u8], ignore_case: bool) -> Result<Pattern, String> {
    let compiled = compile_loose(pattern, ignore_case)?;
    if compiled.loose {
        return Err("pattern: possessive quantifiers and atomic groups are supported by @rx only".to_owned());
    }
    Ok(compiled)
}

/// Compiles a PCRE pattern, which may be [loose](Pattern::loose).
///
/// # Errors
/// As [`compile`].
pub(crate) fn compile_loose(pattern: &[u8], ignore_case: bool) -> Result<Pattern, String> {
    let (text, loose) = convert(pattern)?;
    let tree = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .multi_line(true)
        .case_insensitive(ignore_case)
        .nest_limit(MAX_NESTING)
        .build()
        .parse(&text)
        .map_err(|error| format!("pattern: {error}"))?;
    // Jumping to where a match may begin is worth it only where that is much faster than reading on: a text can be made of
    // nothing but places where none does.
    let jump = Prefilter::from_hir_prefix(MatchKind::LeftmostFirst, &tree);
    let config = Regex::config()
        .utf8_empty(false)
        .auto_prefilter(jump.is_none_or(|jump| jump.is_fast()))
        .nfa_size_limit(Some(MAX_PATTERN))
        .hybrid_cache_capacity(MAX_LAZY);
    let regex = Regex::builder()
        .configure(config)
        .build_from_hir(&tree)
        .map_err(|error| format!("pattern: {error}"))?;
    Ok(Pattern { regex, tree, loose })
}

/// Rewrites a pattern; the result is ASCII, and may match more.
fn convert(pattern: &[u8]) -> Result<(String, bool), String> {
    let mut reader = Reader::new(pattern);
    while let Some(byte) = reader.next() {
        match byte {
            b'\\' => reader.escape()?,
            b'[' => class::convert(&mut reader)?,
            b'(' => reader.group()?,
            b'*' | b'+' | b'?' => {
                reader.out.push(char::from(byte));
                reader.after_quantifier()?;
            }
            b'{' => reader.brace()?,
            b'.' | b'^' | b'$' | b'|' | b')' => reader.out.push(char::from(byte)),
            blank if reader.extended && blank.is_ascii_whitespace() => reader.out.push(char::from(blank)),
            b'#' if reader.extended => while reader.next().is_some_and(|byte| byte != b'\n') {},
            other => reader.literal(other),
        }
    }
    Ok((reader.out, reader.loose))
}

/// A pattern half read, and what it became.
struct Reader<'a> {
    rest: &'a [u8],
    out: String,
    extended: bool,
    loose: bool,
}

impl<'a> Reader<'a> {
    fn new(pattern: &'a [u8]) -> Self {
        Self { rest: pattern, out: String::with_capacity(pattern.len() * 2), extended: false, loose: false }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn eat(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn literal(&mut self, byte: u8) {
        if byte.is_ascii_alphanumeric() {
            self.out.push(char::from(byte));
        } else {
            self.out.push_str(&format!("\\x{byte:02x}"));
        }
    }

    /// What follows a backslash, outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        let Some(byte) = self.next() else { return Err("pattern ends by a backslash".to_owned()) };
        match byte {
            b'd' | b'D' | b'w' | b'W' | b's' | b'S' | b'b' | b'B' | b'A' | b'z' => {
                self.out.push('\\');
                self.out.push(char::from(byte));
            }
            b'Z' => self.out.push_str("\\n?\\z"),
            b'h' => self.out.push_str("[\\t \\xa0]"),
            b'H' => self.out.push_str("[^\\t \\xa0]"),
            b'v' => self.out.push_str("[\\n-\\r\\x85]"),
            b'V' => self.out.push_str("[^\\n-\\r\\x85]"),
            b'N' => self.out.push_str("[^\\n]"),
            b'R' => self.out.push_str("(?:\\r\\n|[\\n-\\r\\x85])"),
            b'Q' => self.quoted(),
            b'E' => {}
            b'1'..=b'9' => {
                return Err("pattern: back-references need unbounded time and are not supported".to_owned());
            }
            b'G' | b'K' | b'X' | b'k' | b'g' | b'p' | b'P' | b'C' | b'L' | b'l' | b'U' | b'u' | b'o' => {
                return Err(format!("pattern: \\{} is not supported", char::from(byte)));
            }
            other => match self.code(other)? {
                Code::Byte(byte) => self.literal(byte),
                Code::Character(c) => {
                    let mut bytes = [0; 4];
                    self.out.push_str("(?:");
                    for byte in c.encode_utf8(&mut bytes).bytes() {
                        self.literal(byte);
                    }
                    self.out.push(')');
                }
            },
        }
        Ok(())
    }

    fn quoted(&mut self) {
        while !self.rest.is_empty() && !self.eat(b"\\E") {
            if let Some(byte) = self.next() {
                self.literal(byte);
            }
        }
    }

    /// The character that an escape of one character means, in a class and outside.
    fn code(&mut self, byte: u8) -> Result<Code, String> {
        Ok(Code::Byte(match byte {
            b'a' => 0x07,
            b'e' => 0x1b,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => self.number(8, 2),
            b'c' => self.next().ok_or("pattern ends by \\c")?.to_ascii_uppercase() ^ 0x40,
            b'x' if self.eat(b"{") => {
                let end =
                    self.rest.iter().position(|byte| *byte == b'}').ok_or("pattern: \\x{ is not closed")?;
                let (digits, rest) = self.rest.split_at_checked(end).unwrap_or_default();
                self.rest = rest.get(1..).unwrap_or_default();
                let digits = std::str::from_utf8(digits).unwrap_or("?");
                let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                let c = code.ok_or_else(|| format!("pattern: \\x{{{digits}}} is no character"))?;
                match u8::try_from(u32::from(c)) {
                    Ok(byte) => byte,
                    Err(_) => return Ok(Code::Character(c)),
                }
            }
            b'x' => self.number(16, 2),
            letter if letter.is_ascii_alphanumeric() => {
                return Err(format!("pattern: \\{} is not supported", char::from(letter)));
            }
            other => other,
        }))
    }

    fn number(&mut self, radix: u32, most: usize) -> u8 {
        let mut value = 0_u32;
        for _ in 0..most {
            let Some(digit) = self.rest.first().and_then(|byte| char::from(*byte).to_digit(radix)) else {
                break;
            };
            value = value * radix + digit;
            self.next();
        }
        u8::try_from(value).unwrap_or(u8::MAX)
    }

    /// What follows an opening parenthesis.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.starts_with(b"*") {
            return Err("pattern: verbs such as (*SKIP) are not supported".to_owned());
        }
        if !self.eat(b"?") {
            return Ok(());
        }
        if self.eat(b"#") {
            self.out.pop();
            while self.next().is_some_and(|byte| byte != b')') {}
            return Ok(());
        }
        let unsupported: [(&[u8], &str); 6] = [
            (b"=", "look-ahead"),
            (b"!", "look-ahead"),
            (b"<=", "look-behind"),
            (b"<!", "look-behind"),
            (b"|", "branch reset"),
            (b"(", "conditions"),
        ];
        for (sign, name) in unsupported {
            if self.rest.starts_with(sign) {
                return Err(format!("pattern: {name} needs unbounded time and is not supported"));
            }
        }
        if self.eat(b">") {
            self.loose = true;
            self.out.push_str("?:");
            return Ok(());
        }
        self.out.push('?');
        while let Some(byte) = self.next() {
            self.out.push(char::from(byte));
            self.extended |= byte == b'x';
            if matches!(byte, b':' | b')' | b'>') {
                break;
            }
        }
        Ok(())
    }

    /// `a*+` and `(?>a)` keep what they took; without that a pattern matches at least as much, so it is loose.
    fn after_quantifier(&mut self) -> Result<(), String> {
        if self.eat(b"?") {
            self.out.push('?');
        } else {
            self.loose |= self.eat(b"+");
        }
        match self.rest.first() {
            Some(b'*' | b'+' | b'?') => Err("pattern: a quantifier follows a quantifier".to_owned()),
            _ => Ok(()),
        }
    }

    /// A brace is a quantifier only where it looks like one.
    fn brace(&mut self) -> Result<(), String> {
        let end = self.rest.iter().position(|byte| *byte == b'}');
        let inner = end.and_then(|end| self.rest.get(..end)).unwrap_or_default();
        let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
        let mut parts = inner.splitn(2, |byte| *byte == b',');
        let least = parts.next().unwrap_or_default();
        if least.is_empty() || !digits(least) || !digits(parts.next().unwrap_or_default()) {
            self.literal(b'{');
            return Ok(());
        }
        self.out.push('{');
        self.out.extend(inner.iter().map(|byte| char::from(*byte)));
        self.out.push('}');
        self.rest = self.rest.get(inner.len() + 1..).unwrap_or_default();
        self.after_quantifier()
    }
}

/// What an escape of one character means.
enum Code {
    Byte(u8),
    Character(char),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &[u8], expected: bool) {
        let compiled =
            compile_loose(pattern.as_bytes(), false).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!(compiled.regex.is_match(text), expected, "{pattern} on {}", text.escape_ascii());
    }

    #[test]
    fn patterns_mean_what_they_mean_in_pcre() {
        for (pattern, text, expected) in [
            (r"a.b", &b"a\nb"[..], true),
            (r"^b$", b"a\nb\nc", true),
            (r"\<script\>", b"<script>", true),
            (r"[[:alpha:]_-]+\/", b"x-/", true),
            (r"[][]", b"]", true),
            (r"[^\]a]", b"]a", false),
            (r"[a-\d]", b"-", true),
            (r"[&&a]", b"&", true),
            (r"[+--]", b",", true),
            (r"a{,3}", b"a{,3}", true),
            (r"x{2}", b"xx", true),
            (r"a{b", b"a{b", true),
            (r"\x22\xe9", b"\"\xe9", true),
            (r"\x{2028}", "\u{2028}".as_bytes(), true),
            ("é", "é".as_bytes(), true),
            (r"\v", b"\r", true),
            (r"\h\v", b"\xa0\x85", true),
            (r"\Qa.b\E", b"axb", false),
            (r"(?i)SeLect", b"sELECT", true),
            (r"(?#note)a", b"a", true),
            (r"[\w.-]", b"-", true),
            (r"[\s\x0b]", b"\x0b", true),
            (r"\W", b"\xff", true),
            (r"(?i)[^k]", b"K", false),
            (r"a*+b", b"aab", true),
            (r"\e\0", b"\x1b\0", true),
            (r"a\-b\_\=", b"a-b_=", true),
        ] {
            check(pattern, text, expected);
        }
    }

    #[test]
    fn what_needs_unbounded_time_is_an_error() {
        for pattern in
            [r"(a)\1", r"a(?=b)", r"a(?!b)", r"(?<=a)b", r"(?<!a)b", r"a\K", r"(*SKIP)a", r"a\", r"[a"]
        {
            assert!(compile(pattern.as_bytes(), false).is_err(), "{pattern}");
        }
    }
}
