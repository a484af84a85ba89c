//! A request's target: segments of its path and parameters of its query, percent-decoded once.
//!
//! Enters: the target as it was sent. Leaves: a [`Target`]. Guarantees: what servers read differently is an error (dot
//! segments, backslashes, control characters, bytes that are no UTF-8, a second layer of encoding) or marked (an encoded
//! slash, an empty segment), for some services need those. Does not: know any service.

/// Segments of a path, and parameters of a query.
const MAX_PARTS: usize = 256;

/// Where a request goes at its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// Without the empty one behind a slash at the end.
    pub(super) segments: Vec<String>,
    /// In order; a plus sign in it is a space.
    pub(super) query: Vec<(String, String)>,
    /// Names that the query has besides for those who take a semicolon for an ampersand (HTML 4, appendix B.2.2).
    pub(super) split: Vec<String>,
    /// A segment has a slash in it.
    pub(super) has_slash: bool,
    /// There are two slashes in a row.
    pub(super) has_empty: bool,
    /// The path ends with a slash.
    pub(super) is_folder: bool,
}

impl Target {
    /// Reads one that begins with `/`.
    ///
    /// # Errors
    /// Why it could be read in two ways, or in none.
    pub(super) fn read(target: &str) -> Result<Self, &'static str> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Some(path) = path.strip_prefix('/') else { return Err("the target is no path") };
        if target.contains('#') {
            return Err("the target has a fragment");
        }
        let mut segments = path.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
        let is_folder = segments.last().is_some_and(String::is_empty);
        if is_folder {
            segments.pop();
        }
        let parts = query.split('&').filter(|part| !part.is_empty());
        let split = parts.clone().flat_map(|part| part.split(';').skip(1));
        let split = split.map(|part| parameter(part).map(|(name, _)| name)).collect::<Result<Vec<_>, _>>()?;
        let query = parts.map(parameter).collect::<Result<Vec<_>, _>>()?;
        if segments.len() > MAX_PARTS || query.len() > MAX_PARTS || split.len() > MAX_PARTS {
            return Err("the target has more than 256 parts");
        }
        let has_slash = segments.iter().any(|segment| segment.contains('/'));
        let has_empty = segments.iter().any(String::is_empty);
        Ok(Self { segments, query, split, has_slash, has_empty, is_folder })
    }
}

fn segment(raw: &str) -> Result<String, &'static str> {
    let text = decode(raw, false)?;
    let is_dots = |part: &str| {
        // Some servers cut off what is behind a semicolon.
        let name = part.split(';').next().unwrap_or_default();
        name == "." || name == ".."
    };
    if text.split('/').any(is_dots) {
        return Err("the path has dot segments, which servers resolve differently");
    }
    if text.contains('\\') || text.chars().any(char::is_control) {
        return Err("the path has a backslash or a control character");
    }
    let lower = text.to_ascii_lowercase();
    if ["%2f", "%2e", "%5c", "%00", "%25"].iter().any(|twice| lower.contains(twice)) {
        return Err("the path is encoded twice, and servers decode it once or twice");
    }
    Ok(text)
}

fn parameter(raw: &str) -> Result<(String, String), &'static str> {
    let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
    Ok((decode(name, true)?, decode(value, true)?))
}

/// Undoes percent-encoding.
pub(super) fn decode(raw: &str, plus_is_space: bool) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                    return Err("the target has a percent sign that encodes nothing");
                };
                u8::try_from(high << 4 | low).unwrap_or_default()
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "the target is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_once_and_marked() {
        let read = |target| {
            let read = Target::read(target).unwrap();
            (read.segments.join("|"), read.has_slash, read.has_empty, read.is_folder)
        };
        assert_eq!(read("/"), (String::new(), false, false, true));
        assert_eq!(read("/a%20b/c+d?e"), ("a b|c+d".into(), false, false, false));
        assert_eq!(read("/a%2Fb/"), ("a/b".into(), true, false, true));
        assert_eq!(read("/a//b"), ("a||b".into(), false, true, false));
        let query = Target::read("/?a=b+c&d&a=%26=").unwrap().query;
        assert_eq!(query, [("a", "b c"), ("d", ""), ("a", "&=")].map(|(a, b)| (a.into(), b.into())));
        assert_eq!(Target::read("/?a=b;c=d&e;%66&g=%3Bh").unwrap().split, ["c", "f"]);
    }

    #[test]
    fn what_servers_read_differently_is_an_error() {
        for target in [
            "/a/../b",
            "/a/%2e%2E/b",
            "/.",
            "/a/..;x/b",
            "/a%2f..%2fb",
            "/a\\b",
            "/a%5Cb",
            "/a%00",
            "/a%0a",
            "/%ff",
            "/%2",
            "/%zz",
            "/a%252fb",
            "/a%252e",
            "/a%25252e",
            "/a#b",
            "a/b",
            "http://x/a",
            "",
            "*",
            "/?a=%f",
        ] {
            assert!(Target::read(target).is_err(), "{target}");
        }
        assert!(Target::read(&"/a".repeat(MAX_PARTS + 1)).is_err());
    }
}
