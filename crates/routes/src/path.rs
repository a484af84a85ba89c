//! A path as rules see it: decoded once, and refused where servers would read it differently.
//!
//! Enters: the path as it came. Leaves: what it means, or a [`PathFault`]. Guarantees: two paths that a server takes for
//! the same one are the same here (RFC 3986, section 6.2.2), so that no spelling gets around a rule.

use crate::asked::PathFault;
use std::borrow::Cow;

/// What a path means, decoded. `None`: servers read it differently.
pub fn read(raw: &str) -> Option<Cow<'_, str>> {
    Path::read(raw).ok().map(|path| path.decoded)
}

/// A path whose meaning is sure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path<'a> {
    raw: &'a str,
    decoded: Cow<'a, str>,
}

impl<'a> Path<'a> {
    pub(crate) fn read(raw: &'a str) -> Result<Self, PathFault> {
        if !raw.starts_with('/') {
            return Err(PathFault::NotAbsolute);
        }
        let is_wrong = |byte: u8| byte <= b' ' || byte == 0x7f || byte == b'?' || byte == b'#';
        if raw.bytes().any(is_wrong) {
            return Err(PathFault::Control);
        }
        let decoded = decode(raw)?;
        if decoded.contains('\\') {
            return Err(PathFault::HiddenSlash);
        }
        if decoded.chars().any(char::is_control) {
            return Err(PathFault::Control);
        }
        if decoded.contains("//") {
            return Err(PathFault::EmptyElement);
        }
        if decoded.split('/').any(|element| matches!(element, "." | "..")) {
            return Err(PathFault::DotElement);
        }
        // Some servers drop what follows a `;` before they look who serves an element, others do not.
        if decoded.contains(';') {
            return Err(PathFault::Parameter);
        }
        Ok(Self { raw, decoded })
    }

    /// Decoded.
    pub(crate) fn as_str(&self) -> &str {
        &self.decoded
    }

    /// Its elements, decoded, without an empty one at its end.
    pub(crate) fn elements(&self) -> impl Iterator<Item = &str> {
        elements(&self.decoded)
    }

    /// How many bytes of the path as it came its first elements take. No element hides a slash, so that they are the same.
    pub(crate) fn raw_length(&self, elements: usize) -> usize {
        let slashes = self.raw.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
        slashes.map(|(at, _)| at).nth(elements).unwrap_or(self.raw.len())
    }
}

/// Elements of a path that is decoded.
pub(crate) fn elements(path: &str) -> impl Iterator<Item = &str> {
    let body = path.strip_prefix('/').unwrap_or(path);
    let body = body.strip_suffix('/').unwrap_or(body);
    body.split('/').filter(|element| !element.is_empty())
}

fn decode(raw: &str) -> Result<Cow<'_, str>, PathFault> {
    if !raw.contains('%') {
        return Ok(raw.into());
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(PathFault::BadEscape) };
        match high << 4 | low {
            b'/' | b'\\' => return Err(PathFault::HiddenSlash),
            decoded => bytes.push(decoded),
        }
    }
    let is_escape = |three: &[u8]| matches!(three, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    if bytes.windows(3).any(is_escape) {
        return Err(PathFault::TwiceEscaped);
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| PathFault::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_one_thing_or_is_refused() {
        use PathFault::*;
        for (raw, expected) in [
            ("/", Ok("/")),
            ("/a/b", Ok("/a/b")),
            ("/a/", Ok("/a/")),
            ("/%61dmin", Ok("/admin")),
            ("/m%3Agen", Ok("/m:gen")),
            ("/100%25", Ok("/100%")),
            ("/%25zz", Ok("/%zz")),
            ("/caf%C3%A9", Ok("/café")),
            ("/a%20b", Ok("/a b")),
            ("/.well-known/a..b/...", Ok("/.well-known/a..b/...")),
            ("", Err(NotAbsolute)),
            ("*", Err(NotAbsolute)),
            ("http://h/", Err(NotAbsolute)),
            ("//", Err(EmptyElement)),
            ("/a//b", Err(EmptyElement)),
            ("/.", Err(DotElement)),
            ("/a/../b", Err(DotElement)),
            ("/a/%2e%2E/b", Err(DotElement)),
            ("/a/..;x/b", Err(Parameter)),
            ("/admin;x", Err(Parameter)),
            ("/a/.%3b/b", Err(Parameter)),
            ("/a%2Fb", Err(HiddenSlash)),
            ("/a%5cb", Err(HiddenSlash)),
            ("/a\\b", Err(HiddenSlash)),
            ("/a%", Err(BadEscape)),
            ("/a%4", Err(BadEscape)),
            ("/a%+41", Err(BadEscape)),
            ("/a%u0041", Err(BadEscape)),
            ("/%2561", Err(TwiceEscaped)),
            ("/%252e%252e/", Err(TwiceEscaped)),
            ("/a%00", Err(Control)),
            ("/a%0d%0ab", Err(Control)),
            ("/a b", Err(Control)),
            ("/a#b", Err(Control)),
            ("/a?b", Err(Control)),
            ("/%ff", Err(NotUtf8)),
            ("/%c0%af", Err(NotUtf8)),
        ] {
            assert_eq!(Path::read(raw).as_ref().map(Path::as_str).map_err(|fault| *fault), expected, "{raw}");
        }
    }

    #[test]
    fn a_prefix_is_as_long_as_it_was_written_in_the_request() {
        for (raw, elements, expected) in
            [("/a/b", 0, 0), ("/a/b", 1, 2), ("/a/b", 2, 4), ("/%61/b/", 1, 4), ("/a/", 1, 2), ("/a", 1, 2)]
        {
            assert_eq!(Path::read(raw).map(|path| path.raw_length(elements)), Ok(expected), "{raw}");
        }
    }
}
