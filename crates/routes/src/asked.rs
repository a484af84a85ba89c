//! One request, as far as routing looks at it.

use std::fmt;

/// One request.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// `:authority` or `Host`, with or without a port, in any case.
    pub host: &'a str,
    /// The path as it came, without the query.
    pub path: &'a str,
    /// What follows the `?`, as it came; `None` without one.
    pub query: Option<&'a str>,
    /// As it came: methods are case-sensitive.
    pub method: &'a str,
    /// Its header fields.
    pub headers: &'a dyn Headers,
}

/// Header fields by name.
pub trait Headers {
    /// Calls `see` with every value of a field, in order. `name` is in lower case.
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8]));
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for [(N, V)] {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        let own = self.iter().filter(|(own, _)| own.as_ref().eq_ignore_ascii_case(name));
        own.for_each(|(_, value)| see(value.as_ref()));
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for Vec<(N, V)> {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        self.as_slice().each(name, see);
    }
}

/// Why a path is refused before any rule is asked: servers read it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathFault {
    /// It does not begin with `/`.
    NotAbsolute,
    /// `//`: an element is empty, and it is not the last.
    EmptyElement,
    /// `.` or `..` as an element, in any spelling.
    DotElement,
    /// `/` or `\` behind a percent sign, or `\` itself.
    HiddenSlash,
    /// A `%` without two hexadecimal digits.
    BadEscape,
    /// What is decoded would decode once more (`%2561`).
    TwiceEscaped,
    /// A control character, escaped or not, or a space, a `?` or a `#` that is not escaped.
    Control,
    /// Decoded, it is no UTF-8.
    NotUtf8,
    /// `;`, escaped or not: parameters of an element.
    Parameter,
}

impl PathFault {
    /// In words, for an answer or a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with /",
            Self::EmptyElement => "the path has an empty element (//)",
            Self::DotElement => "the path has . or .. as an element",
            Self::HiddenSlash => "the path has an escaped slash or a backslash",
            Self::BadEscape => "the path has a % without two hexadecimal digits",
            Self::TwiceEscaped => "the path is escaped twice",
            Self::Control => "the path has a character that no path may have",
            Self::NotUtf8 => "the path is not UTF-8",
            Self::Parameter => "the path has parameters (;)",
        }
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
