//! `multipart/form-data` (RFC 7578) to arguments and files, with a flag for each thing that readers differ on.

mod part;

use super::{Limits, Pairs};

/// Most headers of one part.
const MAX_PART_HEADERS: usize = 64;
/// Longest boundary that RFC 2046 allows.
const MAX_BOUNDARY: usize = 70;

/// An uploaded file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    /// Name of the form field.
    pub(crate) field: Vec<u8>,
    pub(crate) filename: Vec<u8>,
    pub(crate) content: Vec<u8>,
}

/// What readers of such bodies differ on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) boundary_quoted: bool,
    pub(crate) boundary_whitespace: bool,
    pub(crate) crlf_lf_lines: bool,
    pub(crate) data_after: bool,
    pub(crate) data_before: bool,
    pub(crate) file_limit_exceeded: bool,
    pub(crate) header_folding: bool,
    pub(crate) invalid_header_folding: bool,
    pub(crate) invalid_part: bool,
    pub(crate) invalid_quoting: bool,
    pub(crate) lf_line: bool,
    pub(crate) missing_semicolon: bool,
    pub(crate) unmatched_boundary: bool,
}

/// Parts of a body.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) fields: Pairs,
    pub(crate) files: Vec<Upload>,
    /// Name of the part and one of its headers, whole.
    pub(crate) headers: Pairs,
    pub(crate) flags: Flags,
}

/// Reads a body whose `Content-Type` is `content_type`; a fault comes with the parts before it.
pub(crate) fn read(body: &[u8], content_type: &[u8], limits: Limits) -> (Parts, Option<String>) {
    let mut parts = Parts::default();
    let boundary = match boundary(content_type, &mut parts.flags) {
        Ok(boundary) => boundary,
        Err(what) => return (parts, Some(format!("Multipart: {what}"))),
    };
    let fault = parts.body(body, &boundary, limits).err();
    (parts, fault.map(|what| format!("Multipart: {what}")))
}

/// The boundary that a header names.
fn boundary(content_type: &[u8], flags: &mut Flags) -> Result<Vec<u8>, &'static str> {
    let lower = content_type.to_ascii_lowercase();
    let mut named = memchr::memmem::find_iter(&lower, b"boundary")
        .filter(|at| lower.get(at + 8..).is_some_and(|behind| behind.trim_ascii_start().starts_with(b"=")));
    let at = named.next().ok_or("the boundary is not named")?;
    if named.next().is_some() {
        return Err("the boundary is named twice");
    }
    let before = lower.get(..at).unwrap_or_default().trim_ascii_end();
    flags.missing_semicolon |= !before.ends_with(b";");
    let value = content_type.get(at + 8..).unwrap_or_default();
    let equals = value.iter().position(|byte| *byte == b'=').ok_or("the boundary has no value")?;
    let value = value.get(equals + 1..).unwrap_or_default();
    flags.boundary_whitespace |= equals > 0 || value.first().is_some_and(u8::is_ascii_whitespace);
    let value = value.trim_ascii();
    let value = match value.strip_prefix(b"\"") {
        Some(inner) => {
            flags.boundary_quoted = true;
            let end = inner
                .iter()
                .position(|byte| *byte == b'"')
                .ok_or("the quote of the boundary is not closed")?;
            inner.get(..end).unwrap_or_default()
        }
        None => {
            let end = value.iter().position(|byte| matches!(byte, b';' | b',')).unwrap_or(value.len());
            value.get(..end).unwrap_or_default().trim_ascii_end()
        }
    };
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
    match value.len() {
        0 => Err("the boundary is empty"),
        1..=MAX_BOUNDARY if value.iter().all(known) => Ok(value.to_vec()),
        1..=MAX_BOUNDARY => Err("the boundary has a character that it must not"),
        _ => Err("the boundary is longer than 70"),
    }
}

/// How a line ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    CrLf,
    Lf,
    Nothing,
}

fn line(rest: &[u8]) -> (&[u8], End, &[u8]) {
    match memchr::memchr(b'\n', rest) {
        None => (rest, End::Nothing, &[]),
        Some(at) => {
            let text = rest.get(..at).unwrap_or_default();
            let behind = rest.get(at + 1..).unwrap_or_default();
            match text.strip_suffix(b"\r") {
                Some(text) => (text, End::CrLf, behind),
                None => (text, End::Lf, behind),
            }
        }
    }
}

impl Parts {
    fn body(&mut self, body: &[u8], boundary: &[u8], limits: Limits) -> Result<(), &'static str> {
        let mut rest = body;
        let mut part: Option<part::Part> = None;
        let (mut crlf, mut lf) = (false, false);
        let (mut begun, mut ended) = (false, false);
        // How the last line of content ended: that end belongs to the boundary behind it.
        let mut content: Option<End> = None;
        while !rest.is_empty() {
            let (text, end, behind) = line(rest);
            let whole = rest.get(..rest.len() - behind.len()).unwrap_or_default();
            rest = behind;
            let marker = text.strip_prefix(b"--").and_then(|text| text.strip_prefix(boundary));
            let last = match marker.map(<[u8]>::trim_ascii_end) {
                Some(b"") => Some(false),
                Some(b"--") => Some(true),
                _ => None,
            };
            // Content is the sender's own, and lines of a text or picture end as they like.
            let framing = last.is_some() || part.as_ref().is_some_and(part::Part::in_headers);
            let decides = if last.is_some() { content.take() } else { None };
            content = if framing || part.is_none() { None } else { Some(end) };
            crlf |= framing && end == End::CrLf;
            lf |= framing && end == End::Lf || decides == Some(End::Lf);
            match (last, &mut part) {
                _ if ended => {
                    if last.is_some() {
                        return Err("something follows the last boundary");
                    }
                    self.flags.data_after |= !text.is_empty();
                }
                (Some(last), _) => {
                    if let Some(part) = part.take() {
                        self.finish(part, limits)?;
                    }
                    begun = true;
                    ended = last;
                    part = (!last).then(part::Part::default);
                }
                (None, Some(part)) => {
                    self.flags.unmatched_boundary |=
                        text.starts_with(b"--") && !part.in_headers() && looks_like(text, boundary);
                    part.line(text, whole, &mut self.flags)?;
                }
                (None, None) => self.flags.data_before |= !begun && !text.is_empty(),
            }
        }
        self.flags.lf_line |= lf;
        self.flags.crlf_lf_lines |= lf && crlf;
        if let Some(part) = part.take() {
            self.finish(part, limits)?;
        }
        match (begun, ended) {
            (_, true) => Ok(()),
            (true, false) => Err("the last boundary is missing"),
            (false, false) => Err("there is no boundary"),
        }
    }

    fn finish(&mut self, part: part::Part, limits: Limits) -> Result<(), &'static str> {
        if self.fields.len() + self.files.len() >= limits.arguments {
            self.flags.file_limit_exceeded = true;
            return Err("there are too many parts");
        }
        let finished = part.finish(&mut self.flags)?;
        self.headers.extend(finished.headers.into_iter().map(|header| (finished.name.clone(), header)));
        match finished.filename {
            Some(filename) => {
                self.files.push(Upload { field: finished.name, filename, content: finished.content })
            }
            None => self.fields.push((finished.name, finished.content)),
        }
        finished.fault.map_or(Ok(()), Err)
    }
}

/// A line that another reader could take for the boundary.
fn looks_like(text: &[u8], boundary: &[u8]) -> bool {
    text.strip_prefix(b"--").is_some_and(|text| text.starts_with(boundary))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { arguments: 5, depth: 4 };
    const TEXT: &str = "multipart/form-data; boundary=xx";
    const TYPE: &[u8] = TEXT.as_bytes();

    #[test]
    fn fields_and_files_are_found() {
        let body = b"--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--xx\r\n\
            Content-Disposition: form-data; name=\"f\"; filename=\"b.txt\"\r\nContent-Type: text/plain\r\n\r\nabc\r\n--xx--\r\n";
        let (parts, fault) = read(body, TYPE, LIMITS);
        assert_eq!((fault, parts.flags), (None, Flags::default()));
        assert_eq!(parts.fields, [(b"a".to_vec(), b"1\r\n2".to_vec())]);
        assert_eq!(
            (parts.files[0].filename.as_slice(), parts.files[0].content.as_slice()),
            (&b"b.txt"[..], &b"abc"[..])
        );
        assert_eq!(parts.headers.len(), 3);
    }

    #[test]
    fn content_may_have_lines_of_any_kind() {
        let part = |content: &str, end: &str| {
            let body =
                format!("--xx\r\nContent-Disposition: form-data; name=a\r\n\r\n{content}{end}--xx--\r\n");
            let (parts, fault) = read(body.as_bytes(), TYPE, LIMITS);
            (parts.fields[0].1.clone(), parts.flags, fault)
        };
        let text = "a\nb\r\n-- c\n\n";
        assert_eq!(part(text, "\r\n"), (text.as_bytes().to_vec(), Flags::default(), None));
        assert!(part("a", "\n").1.lf_line);
    }

    #[test]
    fn a_file_without_a_name_is_a_field() {
        let body = b"--xx\r\nContent-Disposition: form-data; name=a; filename=\"\"\r\n\r\n1\r\n--xx--\r\n";
        let (parts, fault) = read(body, TYPE, LIMITS);
        assert_eq!((fault, parts.fields), (None, vec![(b"a".to_vec(), b"1".to_vec())]));
    }

    #[test]
    fn what_readers_differ_on_is_flagged() {
        let flags = |content_type: &[u8], body: &[u8]| read(body, content_type, LIMITS).0.flags;
        let part = b"--xx\nContent-Disposition: form-data; name=a\n\n1\n--xx--\nz";
        let seen = flags(b"multipart/form-data boundary =\"xx\"", part);
        assert!(seen.missing_semicolon && seen.boundary_whitespace && seen.boundary_quoted);
        assert!(seen.lf_line && seen.data_after && !seen.crlf_lf_lines);
        assert!(flags(TYPE, b"z\r\n--xx\r\n").data_before);
        assert!(
            flags(TYPE, b"--xx\r\nContent-Disposition: form-data;\r\n name=a\r\n\r\n--xx--").header_folding
        );
        assert!(
            flags(TYPE, b"--xx\r\nContent-Disposition: form-data; name=a\r\n\r\n--xxx\r\n--xx--")
                .unmatched_boundary
        );
    }

    #[test]
    fn what_cannot_be_read_is_a_fault() {
        for (content_type, body) in [
            ("multipart/form-data", "--xx--"),
            ("multipart/form-data; boundary=", "--xx--"),
            ("multipart/form-data; boundary=xx; boundary=yy", "--xx--"),
            ("multipart/form-data; boundary=xx", "--xx\r\n"),
            ("multipart/form-data; boundary=xx", ""),
            ("multipart/form-data; boundary=xx", "--xx\r\nContent-Type: a\r\n\r\nb\r\n--xx--"),
            ("multipart/form-data; boundary=xx", "--xx\r\nnonsense\r\n\r\nb\r\n--xx--"),
            (TEXT, "--xx\r\nContent-Disposition: form-data; name=\"\"\r\n\r\nb\r\n--xx--"),
            (TEXT, "--xx\r\nContent-Disposition: form-data; name=\"a\0b\"\r\n\r\nb\r\n--xx--"),
            (TEXT, "--xx\r\nContent-Disposition: form-data; name=a\r\nX\x01: y\r\n\r\nb\r\n--xx--"),
            (TEXT, "--xx\r\nContent-Disposition : form-data; name=a\r\n\r\nb\r\n--xx--"),
        ] {
            assert!(
                read(body.as_bytes(), content_type.as_bytes(), LIMITS).1.is_some(),
                "{content_type} {body}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_failing(body in "(--xx|\r\n|\n|Content-Disposition: form-data; name=|\"|a|;|filename=| |\\\\){0,30}") {
            read(body.as_bytes(), TYPE, LIMITS);
        }
    }
}
