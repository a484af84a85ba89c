//! Whether a text is an injection into SQL, as libinjection decides it.
//!
//! Enters: a text. Leaves: the list of its tokens, a letter each, where it is one that injections have. The verdicts are
//! those of `libinjectionrs`, whose table of words is used, and with which the tests compare. It is read here again, for it
//! costs that crate a microsecond a token, and a prompt can be made of nothing but tokens.

mod fold;
mod token;
mod words;

use fold::Folded;
use token::{Dialect, Kind, Reading};

/// The tokens of an injection, a letter each.
pub(super) fn detect(text: &[u8]) -> Option<Vec<u8>> {
    // libinjection took `1.e` for a word up to 3.10, and skips it since: what either takes for an injection is one.
    read(text, false).or_else(|| has_empty_exponent(text).then(|| read(text, true)).flatten())
}

/// How often a text is read at most, each time in all of libinjection's ways.
pub(super) fn readings(text: &[u8]) -> u64 {
    1 + u64::from(has_empty_exponent(text))
}

/// Whether there may be a number whose exponent has no digits.
fn has_empty_exponent(text: &[u8]) -> bool {
    memchr::memchr2_iter(b'e', b'E', text).any(|at| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        let behind = text.get(at + 1..).unwrap_or_default();
        let digits = behind.strip_prefix(b"+").or_else(|| behind.strip_prefix(b"-")).unwrap_or(behind);
        before.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.')
            && !digits.first().is_some_and(u8::is_ascii_digit)
    })
}

fn read(text: &[u8], skips: bool) -> Option<Vec<u8>> {
    let check = |quote, dialect| fold::fold(text, Reading { quote, dialect, skips });
    let as_written = check(None, Dialect::Ansi);
    if is_injection(text, &as_written) {
        return Some(as_written.print);
    }
    let also_mysql = |first: &Folded<'_>, quote| {
        let again = first.mysql_differs.then(|| check(quote, Dialect::MySql));
        again.filter(|again| is_injection(text, again)).map(|again| again.print)
    };
    if let Some(print) = also_mysql(&as_written, None) {
        return Some(print);
    }
    if memchr::memchr(b'\'', text).is_some() {
        let quoted = check(Some(b'\''), Dialect::Ansi);
        if is_injection(text, &quoted) {
            return Some(quoted.print);
        }
        if let Some(print) = also_mysql(&quoted, Some(b'\'')) {
            return Some(print);
        }
    }
    memchr::memchr(b'"', text)?;
    let quoted = check(Some(b'"'), Dialect::MySql);
    is_injection(text, &quoted).then_some(quoted.print)
}

fn is_injection(text: &[u8], folded: &Folded<'_>) -> bool {
    words::is_injection(&folded.print) && !is_harmless(text, folded)
}

/// What has tokens of an injection and is none.
fn is_harmless(text: &[u8], folded: &Folded<'_>) -> bool {
    let hides_log = || {
        let text = std::str::from_utf8(text).unwrap_or_default().to_ascii_lowercase();
        text.contains("sp_password")
    };
    match folded.print.as_slice() {
        [_, .., b'c'] if hides_log() => false,
        [_, second] => is_harmless_pair(text, *second, folded),
        [_, _, _] => is_harmless_triple(folded),
        _ => false,
    }
}

fn is_harmless_pair(text: &[u8], second: u8, folded: &Folded<'_>) -> bool {
    let [left, right, ..] = folded.tokens.as_slice() else { return false };
    if second == b'U' {
        return folded.count == 2;
    }
    if right.first() == b'#' {
        return true;
    }
    match (left.kind, right.kind, right.first()) {
        (Kind::Word, Kind::Comment, first) if first != b'/' => true,
        (Kind::Number, Kind::Comment, b'/') => false,
        (Kind::Number, Kind::Comment, _) => folded.count <= 2 && !ends_statement(text, left.text.len()),
        _ => right.text.len() > 2 && right.first() == b'-',
    }
}

/// Whether a blank or a comment is where a number at the start of a text would end. Bytes beyond ASCII are negative there, and
/// so count as blanks.
fn ends_statement(text: &[u8], at: usize) -> bool {
    match text.get(at..).unwrap_or_default() {
        [0..=b' ' | 0x80.., ..] => true,
        behind => behind.starts_with(b"/*") || behind.starts_with(b"--"),
    }
}

fn is_harmless_triple(folded: &Folded<'_>) -> bool {
    let [left, middle, right, ..] = folded.tokens.as_slice() else { return false };
    match folded.print.as_slice() {
        // A text that was cut in two by quotes, and goes on in them.
        b"sos" | b"s&s" => return !(left.open == 0 && right.close == 0 && left.close == right.open),
        b"s&n" | b"n&1" | b"1&1" | b"1&v" | b"1&s" if folded.count == 3 => return true,
        _ => {}
    }
    middle.kind == Kind::Keyword && (middle.text.len() < 5 || !middle.into)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prints of libmodsecurity 3.0.15.
    #[test]
    fn a_number_that_mysql_skips_hides_nothing() {
        for (text, print) in [
            (
                "1.e(ascii 1.e(substring(1.e(select password from users limit 1 1.e,1 1.e)",
                Some(&b"f(f(E"[..]),
            ),
            ("1e/**/sleep(/**/0b01/**/^", Some(b"nf(1o")),
            ("1.e", None),
            ("size 1e of the box", None),
        ] {
            let found = detect(text.as_bytes());
            assert_eq!(
                found.as_deref().map(|found| found.escape_ascii().to_string()),
                print.map(|print| print.escape_ascii().to_string()),
                "{text}"
            );
        }
    }

    /// What the crate says whose verdicts these are.
    fn oracle(text: &[u8]) -> Option<Vec<u8>> {
        let found = libinjectionrs::detect_sqli(text);
        let print = found.fingerprint.as_ref().map(|print| print.as_str().as_bytes().to_vec());
        found.is_injection().then(|| print.unwrap_or_default())
    }

    fn check(text: &[u8]) {
        assert_eq!(
            read(text, false).map(|print| print.escape_ascii().to_string()),
            oracle(text).map(|print| print.escape_ascii().to_string()),
            "{}",
            text.escape_ascii()
        );
    }

    /// Pieces that rules of folding and of quotes speak of.
    const PIECES: &[&[u8]] = &[
        b"1",
        b"0x1f",
        b"0b1",
        b"1e",
        b"1.5e3",
        b"1f",
        b".",
        b"'",
        b"\"",
        b"`",
        b"``",
        b"''",
        b"\\",
        b"\\N",
        b"\\'",
        b" ",
        b"\n",
        b"\t",
        b"\xa0",
        b"\0",
        b"(",
        b")",
        b"{",
        b"}",
        b",",
        b";",
        b"?",
        b"[",
        b"]",
        b"%",
        b"+",
        b"-",
        b"--",
        b"-- ",
        b"--\n",
        b"#",
        b"/*",
        b"*/",
        b"/*!",
        b"/**/",
        b"/*x*/",
        b"!",
        b"!!",
        b"&&",
        b"||",
        b"|",
        b":",
        b"::",
        b":=",
        b"<=>",
        b"<",
        b"=",
        b"<>",
        b"~",
        b"^",
        b"@",
        b"@@",
        b"@@version",
        b"@`x`",
        b"@'x'",
        b"$",
        b"$$",
        b"$a$",
        b"$1.0",
        b"$.",
        b"a",
        b"foo",
        b"b'01'",
        b"x'1f'",
        b"e'x'",
        b"n'x'",
        b"nq'(x)'",
        b"q'[x]'",
        b"u&'x'",
        b"select",
        b"SELECT",
        b"union",
        b"union all",
        b"all",
        b"from",
        b"where",
        b"and",
        b"or",
        b"not",
        b"NOT",
        b"in",
        b"like",
        b"LIKE",
        b"is",
        b"null",
        b"user",
        b"user(",
        b"password",
        b"database",
        b"current_user",
        b"if",
        b"int",
        b"varchar",
        b"collate",
        b"utf8_bin",
        b"binary",
        b"into",
        b"INTO",
        b"outfile",
        b"OUTFILE",
        b"dumpfile",
        b"limit",
        b"group by",
        b"order by",
        b"having",
        b"case",
        b"when",
        b"exec",
        b"declare",
        b"waitfor",
        b"delay",
        b"sleep",
        b"benchmark",
        b"cast",
        b"as",
        b"mod",
        b"div",
        b"xor",
        b"between",
        b"exists",
        b"null,",
        b"sp_password",
        b"a.b",
        b"select.",
        b"select`",
        b"\xff",
        "\u{e9}".as_bytes(),
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 20_000, ..Default::default() })]
        #[test]
        fn texts_of_sql_are_judged_as_the_crate_judges_them(
            chosen in proptest::collection::vec((0..PIECES.len(), proptest::bool::ANY), 0..14)
        ) {
            let mut text = Vec::new();
            for (piece, blank) in chosen {
                text.extend_from_slice(PIECES[piece]);
                text.extend_from_slice(if blank { b" " } else { b"" });
            }
            check(&text);
        }

        #[test]
        fn any_bytes_are_judged_as_the_crate_judges_them(text: Vec<u8>) {
            check(&text);
        }

        #[test]
        fn signs_and_letters_are_judged_as_the_crate_judges_them(text in "[-'\"`\\\\/*#@$.,;:(){}<>=!|&0-9a-fnqux ]{0,24}") {
            check(text.as_bytes());
        }
    }

    #[test]
    fn what_fills_a_prompt_costs_no_more_than_it_is_long() {
        // Each of these is cut and folded to its end, or was searched through again for each of its pieces.
        for piece in ["a.", "a`", "a=", "é", "/*", "'", "\\'", "$a$", "q'(", "--x\n", "#", "1,", "{a "] {
            let text = piece.repeat(4_000);
            check(&text.as_bytes()[..text.len().min(3_000)]);
            let longer = piece.repeat(400_000);
            assert!(detect(longer.as_bytes()).is_none_or(|print| print.len() <= 8), "{piece}");
        }
    }
}
