//! Words of an expression.
//!
//! Enters: its text. Leaves: its words with their places. Guarantees: every byte is in a word, blank or a comment, or there
//! is an error. Does not: know which word may follow which.

use super::value::Value;
use std::sync::Arc;

/// What cannot be read, by its first byte, and why.
pub(super) type Flaw = (usize, String);

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// A literal.
    Literal(Value),
    /// The size of the smallest `int`, which is one only behind a minus.
    Smallest,
    /// A name.
    Name(Arc<str>),
    /// An operator or a bracket.
    Sign(&'static str),
    /// Nothing follows.
    End,
}

/// Longer ones first, for the first that fits is taken.
const SIGNS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", "(", ")", "[", "]",
    "{", "}", ",", ".", "=",
];
/// Names that CEL keeps for later, except for fields.
pub(super) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// All words of a text, the last of which is [`Word::End`].
pub(super) fn words(text: &str) -> Result<Vec<(usize, Word)>, Flaw> {
    let mut lexer = Lexer { text, at: 0 };
    let mut words = Vec::new();
    loop {
        lexer.blank();
        let at = lexer.at;
        let word = lexer.word()?;
        let is_end = word == Word::End;
        words.push((at, word));
        if is_end {
            return Ok(words);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Takes what is there while it fits.
    fn run(&mut self, fits: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|character| !fits(character)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn eat(&mut self, start: &str) -> bool {
        let is_there = self.rest().starts_with(start);
        self.at += if is_there { start.len() } else { 0 };
        is_there
    }

    /// White space and comments.
    fn blank(&mut self) {
        loop {
            self.run(|character| matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{c}'));
            if !self.rest().starts_with("//") {
                return;
            }
            self.run(|character| character != '\n');
        }
    }

    fn word(&mut self) -> Result<Word, Flaw> {
        let Some(first) = self.peek() else { return Ok(Word::End) };
        let is_fraction = || {
            let mut rest = self.rest().chars();
            rest.next() == Some('.') && rest.next().is_some_and(|next| next.is_ascii_digit())
        };
        if first.is_ascii_digit() || is_fraction() {
            return self.number();
        }
        if let Some(text) = self.text()? {
            return Ok(text);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let name = self.run(|character| character.is_ascii_alphanumeric() || character == '_');
            return match name {
                "true" => Ok(Word::Literal(Value::Bool(true))),
                "false" => Ok(Word::Literal(Value::Bool(false))),
                "null" => Ok(Word::Literal(Value::Null)),
                "in" => Ok(Word::Sign("in")),
                name => Ok(Word::Name(name.into())),
            };
        }
        match SIGNS.into_iter().find(|sign| self.rest().starts_with(sign)) {
            Some("=") => Err((self.at, "one `=` compares nothing; write `==`".to_owned())),
            Some(sign) => {
                self.at += sign.len();
                Ok(Word::Sign(sign))
            }
            None => Err((self.at, format!("{first:?} means nothing there"))),
        }
    }

    fn number(&mut self) -> Result<Word, Flaw> {
        let at = self.at;
        let out_of_range = || (at, "the number does not fit into 64 bits".to_owned());
        let is_hex = self.eat("0x") || self.eat("0X");
        let digits = self.run(|it| if is_hex { it.is_ascii_hexdigit() } else { it.is_ascii_digit() });
        if !is_hex && self.is_double()? {
            let text = self.text.get(at..self.at).unwrap_or_default();
            let double = text.parse::<f64>().ok().filter(|double| double.is_finite());
            return double.map(|double| Word::Literal(Value::Double(double))).ok_or_else(out_of_range);
        }
        let whole = u64::from_str_radix(digits, if is_hex { 16 } else { 10 }).map_err(|_| out_of_range())?;
        let is_unsigned = self.eat("u") || self.eat("U");
        if self.peek().is_some_and(|next| next.is_ascii_alphanumeric() || next == '_') {
            return Err((self.at, "a number ends with something that is none".to_owned()));
        }
        if is_unsigned {
            return Ok(Word::Literal(Value::Uint(whole)));
        }
        match i64::try_from(whole) {
            Ok(whole) => Ok(Word::Literal(Value::Int(whole))),
            Err(_) if whole == i64::MIN.unsigned_abs() => Ok(Word::Smallest),
            Err(_) => Err(out_of_range()),
        }
    }

    /// Takes fraction and exponent, if there are any, behind the digits before the point.
    fn is_double(&mut self) -> Result<bool, Flaw> {
        let mut rest = self.rest().chars();
        let has_fraction = rest.next() == Some('.') && rest.next().is_some_and(|next| next.is_ascii_digit());
        if has_fraction {
            self.next();
            self.run(|character| character.is_ascii_digit());
        }
        let has_exponent = self.eat("e") || self.eat("E");
        if has_exponent {
            let _sign = self.eat("+") || self.eat("-");
            if self.run(|character| character.is_ascii_digit()).is_empty() {
                return Err((self.at, "an exponent has digits".to_owned()));
            }
        }
        Ok(has_fraction || has_exponent)
    }

    /// A string or bytes, if one begins here.
    fn text(&mut self) -> Result<Option<Word>, Flaw> {
        let at = self.at;
        let prefix = self.run(|character| matches!(character, 'r' | 'R' | 'b' | 'B')).to_ascii_lowercase();
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| self.eat(quote));
        let Some(quote) = quote.filter(|_| ["", "r", "b", "br", "rb"].contains(&prefix.as_str())) else {
            self.at = at;
            return Ok(None);
        };
        let (is_raw, is_bytes) = (prefix.contains('r'), prefix.contains('b'));
        let mut bytes = Vec::new();
        loop {
            if self.eat(quote) {
                break;
            }
            let here = self.at;
            match self.next() {
                None => return Err((at, "the text does not end".to_owned())),
                Some('\n' | '\r') if quote.len() == 1 => {
                    return Err((here, "the text does not end on its line".to_owned()));
                }
                Some('\\') if !is_raw => self.escape(is_bytes, &mut bytes)?,
                Some(plain) => bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if is_bytes {
            return Ok(Some(Word::Literal(Value::Bytes(bytes.into()))));
        }
        let text = String::from_utf8(bytes).map_err(|_| (at, "the text is no UTF-8".to_owned()))?;
        Ok(Some(Word::Literal(Value::String(text.into()))))
    }

    fn escape(&mut self, is_bytes: bool, to: &mut Vec<u8>) -> Result<(), Flaw> {
        let at = self.at;
        let wrong = || (at, "the escape means nothing".to_owned());
        let kind = self.next().ok_or_else(wrong)?;
        let plain = match kind {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '?' | '"' | '\'' | '`' => u8::try_from(kind).unwrap_or(b'?'),
            'x' | 'X' => return self.code(2, 16, is_bytes, to).ok_or_else(wrong),
            'u' if !is_bytes => return self.code(4, 16, false, to).ok_or_else(wrong),
            'U' if !is_bytes => return self.code(8, 16, false, to).ok_or_else(wrong),
            '0'..='3' => {
                self.at = at;
                return self.code(3, 8, is_bytes, to).ok_or_else(wrong);
            }
            _ => return Err(wrong()),
        };
        to.push(plain);
        Ok(())
    }

    /// A character, or a byte, by its number.
    fn code(&mut self, digits: usize, radix: u32, is_byte: bool, to: &mut Vec<u8>) -> Option<()> {
        let written = self.rest().get(..digits).filter(|it| it.chars().all(|it| it.is_digit(radix)))?;
        self.at += digits;
        let code = u32::from_str_radix(written, radix).ok()?;
        if is_byte {
            to.push(u8::try_from(code).ok()?);
        } else {
            to.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Some(())
    }
}
