//! Transformations: what a rule does to a value before its operator looks at it.
//!
//! Enters: bytes. Leaves: other bytes, or word that nothing changed. Each is one pass over its input, and what it makes
//! is at most six times as long. Source: the reference manual of ModSecurity v3, section Transformation functions.

mod blank;
mod coding;
mod comment;
mod digest;
mod escape;
mod html;
mod path;
mod url;

pub(crate) use coding::decode_base64;
pub(crate) use url::{CodePage, decode_form, decode_path};

macro_rules! transformations {
    ($($variant:ident = $name:literal $(| $alias:literal)*, $function:expr;)*) => {
        /// One step of a rule's `t:` actions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Transformation { $($variant,)* UrlDecodeUni }

        impl Transformation {
            /// The step of a name, in any case of its letters.
            pub(crate) fn parse(name: &str) -> Option<Self> {
                let is = |known: &str| known.eq_ignore_ascii_case(name);
                $(if is($name) $(|| is($alias))* { return Some(Self::$variant); })*
                is("urlDecodeUni").then_some(Self::UrlDecodeUni)
            }

            /// The value after the step, or none when it is the same.
            pub(crate) fn apply(self, input: &[u8], page: Option<&CodePage>) -> Option<Vec<u8>> {
                match self {
                    $(Self::$variant => $function(input),)*
                    Self::UrlDecodeUni => url::decode_uni(input, page),
                }
            }
        }
    };
}

transformations! {
    Base64Decode = "base64Decode", coding::base64_decode;
    Base64DecodeExt = "base64DecodeExt", coding::base64_decode_ext;
    Base64Encode = "base64Encode", coding::base64_encode;
    CmdLine = "cmdLine" | "cmdline", blank::cmd_line;
    CompressWhitespace = "compressWhitespace", blank::compress;
    CssDecode = "cssDecode", escape::css;
    EscapeSeqDecode = "escapeSeqDecode", escape::ansi_c;
    HexDecode = "hexDecode", coding::hex_decode;
    HexEncode = "hexEncode", coding::hex_encode;
    HtmlEntityDecode = "htmlEntityDecode", html::decode;
    JsDecode = "jsDecode", escape::js;
    Length = "length", coding::length;
    Lowercase = "lowercase", blank::lowercase;
    Md5 = "md5", digest::md5;
    NormalizePath = "normalizePath" | "normalisePath", path::normalize;
    NormalizePathWin = "normalizePathWin" | "normalisePathWin", path::normalize_win;
    ParityEven7bit = "parityEven7bit", coding::parity_even;
    ParityOdd7bit = "parityOdd7bit", coding::parity_odd;
    ParityZero7bit = "parityZero7bit", coding::parity_zero;
    RemoveComments = "removeComments", comment::remove;
    RemoveCommentsChar = "removeCommentsChar", comment::remove_signs;
    RemoveNulls = "removeNulls", blank::remove_nulls;
    RemoveWhitespace = "removeWhitespace", blank::remove;
    ReplaceComments = "replaceComments", comment::replace;
    ReplaceNulls = "replaceNulls", blank::replace_nulls;
    Sha1 = "sha1", digest::sha1;
    SqlHexDecode = "sqlHexDecode", coding::sql_hex_decode;
    Trim = "trim", blank::trim;
    TrimLeft = "trimLeft", blank::trim_left;
    TrimRight = "trimRight", blank::trim_right;
    Uppercase = "uppercase", blank::uppercase;
    UrlDecode = "urlDecode", url::decode;
    UrlEncode = "urlEncode", url::encode;
    Utf8ToUnicode = "utf8toUnicode", url::utf8_to_unicode;
}

/// What two hexadecimal digits mean.
fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// What `isspace` of C takes for a blank.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &[(&str, &[u8], &[u8])] = &[
        ("base64Decode", b"VGVzdA==", b"Test"),
        ("base64Decode", b"VGVzd", b"Tes"),
        ("base64Decode", b"VGVz\r\ndA==", b"Test"),
        ("base64DecodeExt", b"VG.Vz dA==", b"Test"),
        ("base64Encode", b"Test\0Case", b"VGVzdABDYXNl"),
        ("cmdLine", b"C^M\"D ;,  /c DIR  (x)", b"cmd/c dir(x)"),
        ("compressWhitespace", b" \t\n a  b", b" a b"),
        ("cssDecode", b"te\\st\\0 ja\\76 a\\A", b"test\0java\n"),
        ("escapeSeqDecode", b"\\a\\x41\\101\\\"\\q", b"\x07AA\"q"),
        ("hexDecode", b"54657374", b"Test"),
        ("hexDecode", b"410z42f", b"A#B"),
        ("hexEncode", b"\xffa", b"ff61"),
        ("htmlEntityDecode", b"&lt;&#x61;&#97;&quot;&amp&nbsp;&foo;&#", b"<aa\"&\xa0&foo;&#"),
        ("jsDecode", b"\\u0061\\x62\\143\\n\\uff41", b"abc\na"),
        ("length", b"12345678901", b"11"),
        ("lowercase", b"AbC\xc3", b"abc\xc3"),
        ("normalizePath", b"/a/./b//../c", b"/a/c"),
        ("normalizePath", b"../../etc/passwd", b"../../etc/passwd"),
        ("normalizePath", b"/../../etc//passwd", b"/etc/passwd"),
        ("normalizePath", b"a/..", b""),
        ("normalizePath", b"dir/foo/../bar", b"dir/bar"),
        ("normalizePathWin", b"C:\\a\\..\\b", b"C:/b"),
        ("removeComments", b"a/*b*/c", b"ac"),
        ("removeCommentsChar", b"a/*b*/c--d#e", b"abcde"),
        ("removeNulls", b"a\0b", b"ab"),
        ("removeWhitespace", b"a b\t\xa0c\xc2\xa0d", b"abcd"),
        ("replaceComments", b"a/*b*/c/*d", b"a c "),
        ("replaceNulls", b"a\0b", b"a b"),
        ("sha1", b"", b"\xda\x39\xa3\xee\x5e\x6b\x4b\x0d\x32\x55\xbf\xef\x95\x60\x18\x90\xaf\xd8\x07\x09"),
        ("md5", b"", b"\xd4\x1d\x8c\xd9\x8f\x00\xb2\x04\xe9\x80\x09\x98\xec\xf8\x42\x7e"),
        ("sqlHexDecode", b"0x414243 0x4", b"ABC 0x4"),
        ("trim", b" a b ", b"a b"),
        ("trimLeft", b" a ", b"a "),
        ("trimRight", b" a ", b" a"),
        ("uppercase", b"aB", b"AB"),
        ("urlDecode", b"a%20b+c%2", b"a b c%2"),
        ("urlDecodeUni", b"%u0041%uff21%41+%u00", b"AAA %u00"),
        ("urlEncode", b"a b*\xff", b"a+b*%ff"),
        ("utf8toUnicode", "é€a".as_bytes(), b"%u00e9%u20aca"),
        ("utf8toUnicode", b"\xc0\x80\xff", b"%u0000\xc0\xff"),
        ("utf8toUnicode", b"a\xd3b\xe2\x82\xf0", b"ab\x82"),
        ("utf8toUnicode", b"a\0b\0", b"ab\0"),
        ("utf8toUnicode", "\u{1f339}\u{10ffff}".as_bytes(), b"%u1f339%u10ffff"),
        ("utf8toUnicode", b"\xf5\xb0\xb0\xb6", b"\xf5%u170c36"),
        ("parityZero7bit", b"\xe1", b"a"),
        ("parityEven7bit", b"1\xb1\x75", b"\xb11\xf5"),
        ("parityOdd7bit", b"1\xb1\x5c", b"1\xb1\xdc"),
    ];

    #[test]
    fn each_step_gives_what_the_manual_says() {
        for (name, input, expected) in VECTORS {
            let step = Transformation::parse(name).unwrap();
            let found = step.apply(input, None).unwrap_or_else(|| input.to_vec());
            assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{name}");
        }
    }

    #[test]
    fn digests_of_longer_texts_are_right() {
        let hex = |name: &str, input: &[u8]| {
            let digest = Transformation::parse(name).unwrap().apply(input, None).unwrap();
            String::from_utf8(coding::hex_encode(&digest).unwrap()).unwrap()
        };
        let text = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex("sha1", text), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        assert_eq!(hex("md5", b"message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
    }

    proptest::proptest! {
        #[test]
        fn no_step_fails_or_grows_beyond_six_times(input: Vec<u8>) {
            for name in VECTORS.iter().map(|vector| vector.0) {
                let output = Transformation::parse(name).unwrap().apply(&input, None);
                proptest::prop_assert!(output.is_none_or(|output| output.len() <= 6 * input.len() + 40));
            }
        }
    }
}
