//! A form (RFC 7578) as it arrives: its small fields, and nothing of its files.
//!
//! Enters: the boundary, then bytes, split anywhere. Leaves: the wanted fields. Guarantees: lines end as RFC 2046 says and
//! parts are what every reader takes for parts, else it is an error; a wanted field is there once; memory is bounded.
//! Does not: hold files.

const MAX_BOUNDARY: usize = 70;
const MAX_PART_HEAD: usize = 4096;
const MAX_PARTS: usize = 256;
const MAX_VALUE: usize = 512;

const NOT_A_FORM: &str = "the body is not the form that its head announces";
const TWO_WAYS: &str = "a part of the form can be read in two ways";

/// What is between the parts of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boundary(Vec<u8>);

impl Boundary {
    /// Of a content type.
    ///
    /// # Errors
    /// There is not one, as RFC 2046 writes it.
    pub(super) fn read(content_type: &str) -> Result<Self, &'static str> {
        const ERROR: &str = "the form has no boundary that everybody reads alike";
        let mut found = content_type.split(';').skip(1).filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("boundary").then_some(value.trim())
        });
        let (Some(value), None) = (found.next(), found.next()) else { return Err(ERROR) };
        let unquoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
        if unquoted.is_empty() || unquoted.len() > MAX_BOUNDARY || !unquoted.bytes().all(is_plain) {
            return Err(ERROR);
        }
        Ok(Self([b"--", unquoted.as_bytes()].concat()))
    }
}

#[derive(Debug)]
enum State {
    /// Behind a boundary: a line end, or the two dashes of the last.
    Edge(Vec<u8>),
    Head(Vec<u8>),
    /// Of a part. What a wanted field says so far.
    Body(Option<(usize, Vec<u8>)>),
    Over,
}

/// Reads one form.
#[derive(Debug)]
pub(super) struct Form {
    boundary: Vec<u8>,
    wanted: &'static [&'static str],
    seen: Vec<usize>,
    state: State,
    parts: usize,
    /// Bytes of the boundary that the line so far is.
    matched: Option<usize>,
    /// Whether the last line ended with both bytes.
    is_whole_end: bool,
    last: u8,
}

impl Form {
    /// A reader of these fields.
    pub(super) fn new(boundary: Boundary, wanted: &'static [&'static str]) -> Self {
        Self {
            boundary: boundary.0,
            wanted,
            seen: Vec::new(),
            state: State::Body(None),
            parts: 0,
            matched: Some(0),
            is_whole_end: true,
            last: 0,
        }
    }

    /// Takes the next bytes. An error is final.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut found: impl FnMut(usize, String) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        bytes.iter().try_for_each(|byte| self.step(*byte, &mut found))
    }

    /// Nothing follows.
    pub(super) fn end(&self) -> Result<(), &'static str> {
        let is_over = match &self.state {
            State::Over => true,
            State::Edge(edge) => edge == b"--",
            State::Head(_) | State::Body(_) => false,
        };
        if is_over { Ok(()) } else { Err("the body ends within its form") }
    }

    fn step(
        &mut self,
        byte: u8,
        found: &mut impl FnMut(usize, String) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        match &mut self.state {
            State::Body(value) => {
                if let Some((_, value)) = value {
                    // The line end and the boundary behind it are not of the value, and are cut off later.
                    if value.len() > MAX_VALUE + MAX_BOUNDARY + 4 {
                        return Err("a value that decides has more than 512 bytes");
                    }
                    value.push(byte);
                }
                self.body(byte, found)
            }
            State::Edge(edge) => {
                edge.push(byte);
                match edge.as_slice() {
                    b"\r" | b"-" | b"--" => Ok(()),
                    b"\r\n" => self.begin_head(),
                    b"--\r" => {
                        self.state = State::Over;
                        Ok(())
                    }
                    _ => Err(TWO_WAYS),
                }
            }
            State::Head(head) => {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    let head = std::mem::take(head);
                    return self.begin_body(&head);
                }
                if head.len() > MAX_PART_HEAD {
                    Err("the head of a part has more than 4096 bytes")
                } else {
                    Ok(())
                }
            }
            State::Over if byte == b'\r' || byte == b'\n' => Ok(()),
            State::Over => Err("something follows the form of the body"),
        }
    }

    /// A byte within a part, or before the first.
    fn body(
        &mut self,
        byte: u8,
        found: &mut impl FnMut(usize, String) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        let before = std::mem::replace(&mut self.last, byte);
        if byte == b'\n' {
            self.is_whole_end = before == b'\r';
            self.matched = Some(0);
            return if self.parts == 0 { Err(NOT_A_FORM) } else { Ok(()) };
        }
        self.matched = self.matched.filter(|at| self.boundary.get(*at) == Some(&byte)).map(|at| at + 1);
        if self.matched == Some(self.boundary.len()) {
            if !self.is_whole_end {
                return Err(TWO_WAYS);
            }
            return self.end_part(found);
        }
        // Before the first part there is nothing, though RFC 2046 would allow it.
        if self.parts == 0 && self.matched.is_none() { Err(NOT_A_FORM) } else { Ok(()) }
    }

    fn end_part(
        &mut self,
        found: &mut impl FnMut(usize, String) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        self.matched = None;
        if let State::Body(Some((at, value))) = std::mem::replace(&mut self.state, State::Edge(Vec::new())) {
            let value = value.get(..value.len().saturating_sub(self.boundary.len() + 2)).unwrap_or_default();
            if value.len() > MAX_VALUE {
                return Err("a value that decides has more than 512 bytes");
            }
            let value = std::str::from_utf8(value).map_err(|_| "a value that decides is no text")?;
            found(at, value.to_owned())?;
        }
        Ok(())
    }

    fn begin_head(&mut self) -> Result<(), &'static str> {
        self.parts += 1;
        self.state = State::Head(Vec::new());
        if self.parts > MAX_PARTS { Err("the form has more than 256 parts") } else { Ok(()) }
    }

    fn begin_body(&mut self, head: &[u8]) -> Result<(), &'static str> {
        let (name, is_file) = part_name(head)?;
        let at = self.wanted.iter().position(|wanted| *wanted == name).filter(|_| !is_file);
        let is_alike = |wanted: &&str| name.eq_ignore_ascii_case(wanted);
        if at.is_none() && self.wanted.iter().any(is_alike) {
            return Err(TWO_WAYS);
        }
        if let Some(at) = at {
            if self.seen.contains(&at) {
                return Err("a field that decides is there twice");
            }
            self.seen.push(at);
        }
        self.state = State::Body(at.map(|at| (at, Vec::new())));
        // An empty part has the boundary at once, behind the line end of its head.
        (self.matched, self.is_whole_end, self.last) = (Some(0), true, b'\n');
        Ok(())
    }
}

/// Name of a part, and whether it is a file.
fn part_name(head: &[u8]) -> Result<(String, bool), &'static str> {
    let head = std::str::from_utf8(head).map_err(|_| TWO_WAYS)?;
    let mut disposition = None;
    for line in head.trim_end_matches("\r\n").split("\r\n") {
        // Folded lines, and ends of lines that only some readers take for one.
        if line.starts_with([' ', '\t']) || line.contains(['\r', '\n', '\0']) {
            return Err(TWO_WAYS);
        }
        let Some((name, value)) = line.split_once(':') else { return Err(TWO_WAYS) };
        if name.eq_ignore_ascii_case("content-disposition") && disposition.replace(value).is_some() {
            return Err(TWO_WAYS);
        }
        let is_plain =
            ["7bit", "8bit", "binary"].iter().any(|plain| value.trim().eq_ignore_ascii_case(plain));
        if name.eq_ignore_ascii_case("content-transfer-encoding") && !is_plain {
            return Err(TWO_WAYS);
        }
    }
    let parameters = disposition.and_then(|value| value.trim().strip_prefix("form-data")).ok_or(TWO_WAYS)?;
    names(parameters)
}

/// `name` and whether there is a `filename`, of the parameters of a disposition.
fn names(parameters: &str) -> Result<(String, bool), &'static str> {
    let (mut rest, mut name, mut is_file) = (parameters.trim_start(), None, false);
    while let Some(behind) = rest.strip_prefix(';') {
        let Some((key, value)) = behind.trim_start().split_once('=') else { return Err(TWO_WAYS) };
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(TWO_WAYS)?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        match key.to_ascii_lowercase().as_str() {
            // Readers undo escapes differently.
            "name" if name.is_some() || value.contains(['\\', '%']) => return Err(TWO_WAYS),
            "name" => name = Some(value.trim().to_owned()),
            "filename" | "filename*" => is_file = true,
            _ => return Err(TWO_WAYS),
        }
        rest = after.trim_start();
    }
    if rest.is_empty() { Ok((name.ok_or(TWO_WAYS)?, is_file)) } else { Err(TWO_WAYS) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(parts: &[&[u8]]) -> Result<Vec<(usize, String)>, &'static str> {
        let boundary = Boundary::read("multipart/form-data; boundary=B").unwrap();
        let (mut form, mut all) = (Form::new(boundary, &["model", "stream"]), vec![]);
        for part in parts {
            form.push(part, |at, value| {
                all.push((at, value));
                Ok(())
            })?;
        }
        form.end().map(|()| all)
    }

    fn part(disposition: &str, value: &str) -> String {
        format!("--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n")
    }

    #[test]
    fn fields_are_found_before_and_behind_files() {
        let file = part("name=\"file\"; filename=\"a;b.wav\"", "x\r\n--A\n--\r\n-B\r\n--");
        let model = part("name=\"model\"", "whisper-1");
        let stream = part("name=stream", "");
        let expected = vec![(0, "whisper-1".to_owned()), (1, String::new())];
        for body in [format!("{file}{model}{stream}--B--\r\n"), format!("{model}{stream}{file}--B--")] {
            assert_eq!(read(&[body.as_bytes()]), Ok(expected.clone()), "{body}");
        }
        let only_file = format!("{}--B--", part("name=\"x\"; filename=\"model\"", "evil"));
        assert_eq!(read(&[only_file.as_bytes()]), Ok(vec![]));
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_an_error() {
        let model = part("name=\"model\"", "a");
        for body in [
            format!("{model}{model}--B--"),
            format!("preamble\r\n{model}--B--"),
            format!("{model}--B--\r\nmore"),
            format!("{model}--BB--"),
            model.clone(),
            format!("{}--B--", model.replace("\r\n", "\n")),
            format!("{}--B--", part("name=\"x\"", "y\n--B\r\n")),
            format!("{}--B--", part("name=\"Model\"", "a")),
            format!("{}--B--", part("name=\"mod%65l\"", "a")),
            format!("{}--B--", part("name=\"x\"; name=\"model\"", "a")),
            format!("{}--B--", part("name*=utf-8''model", "a")),
            format!("{}--B--", part("name=\"model\"; filename=\"x\"", "a")),
            format!("{}--B--", part("name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"", "a")),
            format!("{}--B--", part("name=\"model\"\r\nContent-Transfer-Encoding: base64", "YQ==")),
            format!("{}--B--", part("name=\"model\"", &"a".repeat(MAX_VALUE + 1))),
            "{\"model\":\"a\"}".to_owned(),
            String::new(),
        ] {
            assert!(read(&[body.as_bytes()]).is_err(), "{body}");
        }
        for content_type in
            ["multipart/form-data", "a; boundary=", "a; boundary=x; boundary=y", "a; boundary=\"a b\""]
        {
            assert!(Boundary::read(content_type).is_err(), "{content_type}");
        }
    }

    proptest! {
        #[test]
        fn where_it_is_split_changes_nothing(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "--B", "\r\n", "\n", "--", "Content-Disposition: form-data; name=\"model\"", "\r\n\r\n", "gpt", "-",
                "Content-Disposition: form-data; name=\"f\"; filename=\"x\"",
            ]), 0..16),
            size in 1usize..4,
        ) {
            let body = format!("--B\r\n{}", pieces.concat());
            let parts: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
            prop_assert_eq!(read(&parts), read(&[body.as_bytes()]));
        }
    }
}
