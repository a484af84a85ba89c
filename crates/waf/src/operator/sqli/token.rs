//! A text as tokens of SQL, as libinjection cuts them.
//!
//! Enters: a text, and as what it is read: as it stands, or as if a quote stood before it; as ANSI SQL or as MySQL reads it.
//! Leaves: one token after another. Each byte is looked at a few times at most, however the text is made.
//! Source: what libinjection 3.10 does, C and its port to Rust (`libinjectionrs`), with which the tests compare.

use super::words::{self, LONGEST};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Backslash,
    Colon,
    Collation,
    Comma,
    Comment,
    Dot,
    Evil,
    Expression,
    Function,
    Group,
    Keyword,
    LeftBrace,
    LeftParenthesis,
    Logic,
    Number,
    Operator,
    /// No token of a text: a list of tokens that injections have.
    Print,
    RightBrace,
    RightParenthesis,
    Semicolon,
    Text,
    TransactSql,
    Type,
    Union,
    Unknown,
    Variable,
    Word,
}

impl Kind {
    /// The letter that stands for it in lists of tokens.
    pub(super) fn letter(self) -> u8 {
        match self {
            Self::Backslash => b'\\',
            Self::Colon => b':',
            Self::Collation => b'A',
            Self::Comma => b',',
            Self::Comment => b'c',
            Self::Dot => b'.',
            Self::Evil => b'X',
            Self::Expression => b'E',
            Self::Function => b'f',
            Self::Group => b'B',
            Self::Keyword => b'k',
            Self::LeftBrace => b'{',
            Self::LeftParenthesis => b'(',
            Self::Logic => b'&',
            Self::Number => b'1',
            Self::Operator => b'o',
            Self::Print => b'F',
            Self::RightBrace => b'}',
            Self::RightParenthesis => b')',
            Self::Semicolon => b';',
            Self::Text => b's',
            Self::TransactSql => b'T',
            Self::Type => b't',
            Self::Union => b'U',
            Self::Unknown => b'?',
            Self::Variable => b'v',
            Self::Word => b'n',
        }
    }

    /// What the table of words means by a letter; a letter that it has for nothing else is a plain word.
    pub(super) fn of(letter: u8) -> Option<Self> {
        Some(match letter {
            b'k' => Self::Keyword,
            b'f' => Self::Function,
            b'U' => Self::Union,
            b'E' => Self::Expression,
            b'T' => Self::TransactSql,
            b't' => Self::Type,
            b'o' => Self::Operator,
            b'&' => Self::Logic,
            b'v' => Self::Variable,
            b'1' => Self::Number,
            b'A' => Self::Collation,
            b'B' => Self::Group,
            b'F' => Self::Print,
            _ => return None,
        })
    }
}

/// A piece of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    /// The start of its text, as much as is looked at.
    pub(super) text: &'t [u8],
    /// The quote before it, 0 for none.
    pub(super) open: u8,
    /// The quote behind it, 0 for none.
    pub(super) close: u8,
    /// Whether it stands as `INTO` in capitals, or begins so.
    pub(super) into: bool,
}

impl<'t> Token<'t> {
    pub(super) fn new(kind: Kind, text: &'t [u8]) -> Self {
        Self {
            kind,
            text: text.get(..LONGEST).unwrap_or(text),
            open: 0,
            close: 0,
            into: text.starts_with(b"INTO"),
        }
    }

    pub(super) fn first(&self) -> u8 {
        self.text.first().copied().unwrap_or(0)
    }

    /// Compares with a word in capitals.
    pub(super) fn is(&self, word: &[u8]) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    pub(super) fn is_unary(&self) -> bool {
        self.kind == Kind::Operator
            && (matches!(self.text, [b'+' | b'-' | b'!' | b'~'] | b"!!") || self.is(b"NOT"))
    }

    pub(super) fn is_arithmetic(&self) -> bool {
        self.kind == Kind::Operator && matches!(self.text, [b'*' | b'/' | b'-' | b'+' | b'%'])
    }
}

/// As what a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// The quote that is thought to stand before the text, if any.
    pub(super) quote: Option<u8>,
    pub(super) dialect: Dialect,
    /// Whether a number such as `1.e` is nothing: MySQL skips it, so that `1.e(ascii(x))` is a call.
    pub(super) skips: bool,
}

/// Whose comments are comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Ansi,
    MySql,
}

/// Cuts a text.
pub(super) struct Cutter<'t> {
    text: &'t [u8],
    reading: Reading,
    at: usize,
    /// Whether it had something that MySQL reads in another way.
    pub(super) mysql_differs: bool,
}

/// Which bytes end a word: blanks and signs.
static ENDS_WORD: [bool; 256] = marks(b" []{}<>:\\?=@!#~+-*/&|^%(),';\t\n\x0b\x0c\r\"\xa0\0");
/// The same of the name of a variable.
static ENDS_VARIABLE: [bool; 256] = marks(b" <>:\\?=@!#~+-*/&|^%(),;'\t\n\x0b\x0c\r`\"");

const fn marks(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        // In range: a byte is at most 255.
        #[expect(clippy::indexing_slicing, reason = "a table of 256 has a place for each byte")]
        {
            table[*first as usize] = true;
        }
        rest = after;
    }
    table
}

fn marked(table: &[bool; 256], byte: u8) -> bool {
    table.get(usize::from(byte)).copied().unwrap_or(false)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0xa0 | 0)
}

impl<'t> Cutter<'t> {
    pub(super) fn new(text: &'t [u8], reading: Reading) -> Self {
        Self { text, reading, at: 0, mysql_differs: false }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn from(&self, at: usize) -> &'t [u8] {
        self.text.get(at..).unwrap_or_default()
    }

    fn between(&self, from: usize, to: usize) -> &'t [u8] {
        self.text.get(from..to).unwrap_or_default()
    }

    /// Where the bytes that a test holds for end.
    fn run(&self, from: usize, test: impl Fn(u8) -> bool) -> usize {
        from + self.from(from).iter().take_while(|byte| test(**byte)).count()
    }

    /// A token of so many bytes from here.
    fn take(&mut self, kind: Kind, length: usize) -> Token<'t> {
        let token = Token::new(kind, self.between(self.at, self.at + length));
        self.at += length;
        token
    }

    /// The next token, none at the end.
    pub(super) fn next(&mut self) -> Option<Token<'t>> {
        if self.at == 0
            && !self.text.is_empty()
            && let Some(quote) = self.reading.quote
        {
            return Some(self.quoted(0, quote, 0));
        }
        loop {
            let byte = self.byte(self.at)?;
            if matches!(byte, 0..=b' ' | 0x7f | 0xa0) {
                self.at += 1;
                continue;
            }
            if self.reading.skips
                && let Some(end) = self.empty_exponent(byte)
            {
                self.at = end;
                continue;
            }
            return Some(self.token(byte));
        }
    }

    /// Where a number ends whose exponent has no digits.
    fn empty_exponent(&self, byte: u8) -> Option<usize> {
        let digits = |from| self.run(from, |byte: u8| byte.is_ascii_digit());
        let mut end = digits(self.at);
        if self.byte(end) == Some(b'.') {
            end = digits(end + 1);
        }
        let number = byte.is_ascii_digit() || byte == b'.' && end > self.at + 1;
        if !number || !matches!(self.byte(end), Some(b'e' | b'E')) {
            return None;
        }
        end += 1;
        end += usize::from(matches!(self.byte(end), Some(b'+' | b'-')));
        (digits(end) == end).then_some(end)
    }

    fn token(&mut self, byte: u8) -> Token<'t> {
        match byte {
            b'\'' | b'"' => self.quoted(1, byte, byte),
            b'(' => self.take(Kind::LeftParenthesis, 1),
            b')' => self.take(Kind::RightParenthesis, 1),
            b'{' => self.take(Kind::LeftBrace, 1),
            b'}' => self.take(Kind::RightBrace, 1),
            b',' => self.take(Kind::Comma, 1),
            b';' => self.take(Kind::Semicolon, 1),
            b'?' | b']' => self.take(Kind::Unknown, 1),
            b'%' | b'+' | b'^' | b'~' => self.take(Kind::Operator, 1),
            b'!' | b'&' | b'*' | b':' | b'<' | b'=' | b'>' | b'|' => self.operator(byte),
            b'#' => self.hash(),
            b'$' => self.money(),
            b'-' => self.dash(),
            b'.' | b'0'..=b'9' => self.number(),
            b'/' => self.slash(),
            b'@' => self.variable(),
            b'[' => self.bracketed(),
            b'\\' => self.backslash(),
            b'`' => self.ticked(1),
            b'b' | b'B' => self.digits_in_quotes(|byte| matches!(byte, b'0' | b'1')),
            b'x' | b'X' => self.digits_in_quotes(|byte| byte.is_ascii_hexdigit()),
            b'e' | b'E' => self.escaped(),
            b'n' | b'N' => match self.from(self.at) {
                [_, b'\'', _, ..] => self.escaped(),
                _ => self.oracle(1),
            },
            b'q' | b'Q' => self.oracle(0),
            b'u' | b'U' => self.unicode(),
            _ => self.word(),
        }
    }

    /// An operator of three, two or one signs.
    fn operator(&mut self, byte: u8) -> Token<'t> {
        let rest = self.from(self.at);
        if rest.len() > 1 {
            if rest.starts_with(b"<=>") {
                return self.take(Kind::Operator, 3);
            }
            let pair = rest.get(..2).unwrap_or_default();
            match words::look_up(pair) {
                Some((_, Kind::Logic)) => return self.take(Kind::Logic, 2),
                Some(_) => return self.take(Kind::Operator, 2),
                None if byte == b':' => return self.take(Kind::Colon, 1),
                None => {}
            }
        }
        self.take(Kind::Operator, 1)
    }

    fn hash(&mut self) -> Token<'t> {
        self.mysql_differs = true;
        match self.reading.dialect {
            Dialect::MySql => self.line(),
            Dialect::Ansi => self.take(Kind::Operator, 1),
        }
    }

    fn dash(&mut self) -> Token<'t> {
        let behind = match self.from(self.at) {
            [_, b'-', behind @ ..] => behind,
            _ => return self.take(Kind::Operator, 1),
        };
        if behind.first().is_none_or(|byte| is_blank(*byte)) {
            return self.line();
        }
        self.mysql_differs = true;
        match self.reading.dialect {
            Dialect::Ansi => self.line(),
            Dialect::MySql => self.take(Kind::Operator, 1),
        }
    }

    /// A comment up to the end of the line, which goes with it.
    fn line(&mut self) -> Token<'t> {
        let rest = self.from(self.at);
        let length = memchr::memchr(b'\n', rest);
        let token = self.take(Kind::Comment, length.unwrap_or(rest.len()));
        self.at += usize::from(length.is_some());
        token
    }

    fn slash(&mut self) -> Token<'t> {
        let [_, b'*', inside @ ..] = self.from(self.at) else { return self.take(Kind::Operator, 1) };
        let end = pair(inside, *b"*/");
        // A comment within a comment, or one that MySQL runs, is never a mistake. The search goes one byte too far, as
        // libinjection's does.
        let nested = end.is_some_and(|end| pair(inside.get(..=end).unwrap_or(inside), *b"/*").is_some());
        let evil = nested || inside.first() == Some(&b'!');
        let length = end.map_or(inside.len() + 2, |end| end + 4);
        self.take(if evil { Kind::Evil } else { Kind::Comment }, length)
    }

    fn backslash(&mut self) -> Token<'t> {
        match self.from(self.at) {
            [_, b'N', ..] => self.take(Kind::Number, 2),
            _ => self.take(Kind::Backslash, 1),
        }
    }

    /// A text that ends by a quote which is neither doubled nor behind a backslash; `skip` bytes are before its first.
    fn quoted(&mut self, skip: usize, quote: u8, open: u8) -> Token<'t> {
        let start = self.at + skip;
        let mut from = start;
        while let Some(found) = memchr::memchr(quote, self.from(from)) {
            let end = from + found;
            let before = self.between(0, end);
            let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
            if backslashes % 2 == 1 {
                from = end + 1;
            } else if self.byte(end + 1) == Some(quote) {
                from = end + 2;
            } else {
                self.at = end + 1;
                let token = Token::new(Kind::Text, self.between(start, end));
                return Token { open, close: quote, ..token };
            }
        }
        self.at = self.text.len();
        Token { open, ..Token::new(Kind::Text, self.from(start)) }
    }

    /// `E'…'` and `N'…'`.
    fn escaped(&mut self) -> Token<'t> {
        match self.from(self.at) {
            [_, b'\'', _, ..] => self.quoted(2, b'\'', b'\''),
            _ => self.word(),
        }
    }

    /// `U&'…'`.
    fn unicode(&mut self) -> Token<'t> {
        if !matches!(self.from(self.at), [_, b'&', b'\'', ..]) {
            return self.word();
        }
        let token = self.quoted(3, b'\'', b'u');
        Token { close: if token.close == b'\'' { b'u' } else { token.close }, ..token }
    }

    /// `Q'(…)'`, with `N` before it too.
    fn oracle(&mut self, skip: usize) -> Token<'t> {
        let (open, start) = match self.from(self.at + skip) {
            // Signs beyond ASCII are negative there, and so below any.
            [b'q' | b'Q', b'\'', open @ 33..=127, ..] => (*open, self.at + skip + 3),
            _ => return self.word(),
        };
        let close = match open {
            b'(' => b')',
            b'[' => b']',
            b'{' => b'}',
            b'<' => b'>',
            other => other,
        };
        self.until(start, &[close, b'\''], b'q')
    }

    /// A text from a place to where the end of it stands, or to the end of all.
    fn until(&mut self, start: usize, end: &[u8], quote: u8) -> Token<'t> {
        let rest = self.from(start);
        match memchr::memmem::find(rest, end) {
            Some(length) => {
                self.at = start + length + end.len();
                let token = Token::new(Kind::Text, self.between(start, start + length));
                Token { open: quote, close: quote, ..token }
            }
            None => {
                self.at = self.text.len();
                Token { open: quote, ..Token::new(Kind::Text, rest) }
            }
        }
    }

    /// `B'01'` and `X'1f'`.
    fn digits_in_quotes(&mut self, digit: impl Fn(u8) -> bool) -> Token<'t> {
        if !matches!(self.from(self.at), [_, b'\'', _, ..]) {
            return self.word();
        }
        let end = self.run(self.at + 2, digit);
        match self.byte(end) {
            Some(b'\'') => self.take(Kind::Number, end + 1 - self.at),
            _ => self.word(),
        }
    }

    /// `[a name]`.
    fn bracketed(&mut self) -> Token<'t> {
        let rest = self.from(self.at);
        let length = memchr::memchr(b']', rest).map_or(rest.len(), |end| end + 1);
        self.take(Kind::Word, length)
    }

    fn word(&mut self) -> Token<'t> {
        let end = self.run(self.at, |byte| !marked(&ENDS_WORD, byte));
        let word = self.between(self.at, end);
        // A keyword may end by a dot or a tick; longer starts than the longest keyword are none.
        for (length, byte) in word.iter().enumerate().take(LONGEST + 1) {
            if matches!(byte, b'.' | b'`')
                && let Some((_, kind)) = word.get(..length).and_then(words::look_up)
            {
                return self.take(kind, length);
            }
        }
        let kind = words::look_up(word).map_or(Kind::Word, |(_, kind)| kind);
        self.take(kind, word.len())
    }

    /// A name in ticks; `skip` bytes are before its first.
    fn ticked(&mut self, skip: usize) -> Token<'t> {
        let token = self.quoted(skip, b'`', b'`');
        let function = words::look_up(token.text).is_some_and(|(_, kind)| kind == Kind::Function);
        Token { kind: if function { Kind::Function } else { Kind::Word }, ..token }
    }

    fn variable(&mut self) -> Token<'t> {
        let signs = 1 + usize::from(self.byte(self.at + 1) == Some(b'@'));
        match self.byte(self.at + signs) {
            Some(b'`') => Token { kind: Kind::Variable, ..self.ticked(signs + 1) },
            Some(quote @ (b'\'' | b'"')) => {
                Token { kind: Kind::Variable, ..self.quoted(signs + 1, quote, quote) }
            }
            _ => {
                let end = self.run(self.at + signs, |byte| !marked(&ENDS_VARIABLE, byte));
                self.take(Kind::Variable, end - self.at)
            }
        }
    }

    /// An amount, or a text between signs of dollars.
    fn money(&mut self) -> Token<'t> {
        let behind = self.at + 1;
        let amount = self.run(behind, |byte| matches!(byte, b'0'..=b'9' | b'.' | b',')) - behind;
        if amount == 1 && self.byte(behind) == Some(b'.') {
            return self.word();
        }
        if amount > 0 {
            return self.take(Kind::Number, 1 + amount);
        }
        if self.byte(behind) == Some(b'$') {
            return self.until(behind + 1, b"$$", b'$');
        }
        let end = self.run(behind, |byte| byte.is_ascii_alphabetic());
        if end > behind && self.byte(end) == Some(b'$') {
            return self.until(end + 1, self.between(self.at, end + 1), b'$');
        }
        self.take(Kind::Word, 1)
    }

    fn number(&mut self) -> Token<'t> {
        let start = self.at;
        let based = match self.from(start) {
            [b'0', b'x' | b'X', ..] => Some(self.run(start + 2, |byte| byte.is_ascii_hexdigit())),
            [b'0', b'b' | b'B', ..] => Some(self.run(start + 2, |byte| matches!(byte, b'0' | b'1'))),
            _ => None,
        };
        if let Some(end) = based {
            let kind = if end == start + 2 { Kind::Word } else { Kind::Number };
            return self.take(kind, end - start);
        }
        let digits = |from| self.run(from, |byte: u8| byte.is_ascii_digit());
        let mut end = digits(start);
        if self.byte(end) == Some(b'.') {
            end = digits(end + 1);
            if end - start == 1 {
                return self.take(Kind::Dot, 1);
            }
        }
        let mut kind = Kind::Number;
        if matches!(self.byte(end), Some(b'e' | b'E')) {
            end += 1;
            end += usize::from(matches!(self.byte(end), Some(b'+' | b'-')));
            let exponent = digits(end);
            // One without digits is no number.
            if exponent == end {
                kind = Kind::Word;
            }
            end = exponent;
        }
        // Oracle's signs of floating point: `1f`, also in `1fUNION`.
        if let [b'd' | b'D' | b'f' | b'F', behind @ ..] = self.from(end)
            && behind.first().is_none_or(|byte| is_blank(*byte) || matches!(byte, b';' | b'u' | b'U'))
        {
            end += 1;
        }
        self.take(kind, end - start)
    }
}

/// Where two bytes stand one behind the other.
fn pair(text: &[u8], [first, second]: [u8; 2]) -> Option<usize> {
    memchr::memchr_iter(first, text).find(|at| text.get(at + 1) == Some(&second))
}
