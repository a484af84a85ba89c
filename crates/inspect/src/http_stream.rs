//! Every request of an HTTP/1 connection, from the client's bytes as they arrive.
//!
//! Enters: bytes, split anywhere. Leaves: an [`Event`] for each request's head; [`Requests::holding`] says how many
//! bytes belong to a head that is not judged yet. Guarantees: pipelined and later requests are found by the framing
//! of the bodies before them, and where that can be understood in two ways the connection is refused; how the same bytes
//! are split never changes what is found; a head has at most [`MAX_HEAD`] bytes.
//! Does not: read answers. A server that itself takes a body for a request (and so breaks RFC 9112) cannot be seen.

use crate::http_head::{Body, Head, HttpFlaw, Lines, chunk_size, trailer};

/// Most bytes of a request line with its fields, of a chunk's line, and of all trailers together.
pub const MAX_HEAD: usize = 16 * 1024;

/// What the bytes so far bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything was taken; nothing to judge.
    More,
    /// The head of the next request is complete.
    Request(Head),
    /// From here on the bytes cannot be trusted to mean the same to everybody. Final.
    Refused(HttpFlaw),
}

#[derive(Debug)]
enum State {
    RequestLine,
    Fields(Lines),
    /// So many bytes of a body left.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk left.
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Refused(HttpFlaw),
}

/// Reads the requests of one connection.
#[derive(Debug)]
pub struct Requests {
    state: State,
    line: Vec<u8>,
    /// Bytes of this head, chunk line or trailer section so far.
    section: usize,
}

impl Default for Requests {
    fn default() -> Self {
        Self { state: State::RequestLine, line: Vec::new(), section: 0 }
    }
}

impl Requests {
    /// A reader for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes up to the end of the next head, at most all. Returns how many it took; call it again with the rest
    /// after an [`Event::Request`].
    pub fn push(&mut self, bytes: &[u8]) -> (usize, Event) {
        if let State::Refused(flaw) = self.state {
            return (0, Event::Refused(flaw));
        }
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.step(rest) {
                Ok((taken, found)) => {
                    at += taken;
                    if let Some(head) = found {
                        return (at, Event::Request(head));
                    }
                }
                Err(flaw) => {
                    self.state = State::Refused(flaw);
                    return (at, Event::Refused(flaw));
                }
            }
        }
        (at, Event::More)
    }

    /// How many of the last bytes belong to a head that is not complete. They must not be forwarded before it was
    /// judged.
    pub fn holding(&self) -> usize {
        match self.state {
            State::RequestLine | State::Fields(_) => self.section,
            State::Body(_)
            | State::ChunkSize
            | State::Chunk(_)
            | State::ChunkEnd
            | State::Trailers
            | State::Refused(_) => 0,
        }
    }

    /// Whether no request is under way.
    pub fn is_between_requests(&self) -> bool {
        matches!(self.state, State::RequestLine) && self.section == 0
    }

    fn step(&mut self, bytes: &[u8]) -> Result<(usize, Option<Head>), HttpFlaw> {
        match &mut self.state {
            State::Refused(flaw) => Err(*flaw),
            State::Body(left) => {
                let taken = pass(left, bytes);
                if *left == 0 {
                    self.state = State::RequestLine;
                }
                Ok((taken, None))
            }
            State::Chunk(left) => {
                let taken = pass(left, bytes);
                if *left == 0 {
                    self.state = State::ChunkEnd;
                }
                Ok((taken, None))
            }
            State::RequestLine | State::Fields(_) | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                self.read_line(bytes)
            }
        }
    }

    /// Takes bytes to the end of the line at most.
    fn read_line(&mut self, bytes: &[u8]) -> Result<(usize, Option<Head>), HttpFlaw> {
        let mut taken = 0;
        for byte in bytes.iter().copied() {
            taken += 1;
            self.section += 1;
            if self.section > MAX_HEAD {
                return Err(HttpFlaw::TooLarge);
            }
            let behind_return = self.line.last() == Some(&b'\r');
            let in_chunk_end = matches!(self.state, State::ChunkEnd) && byte != b'\r' && byte != b'\n';
            if byte == b'\n' && behind_return {
                self.line.pop();
                let line = std::mem::take(&mut self.line);
                let found = self.whole_line(&line)?;
                self.line = line;
                self.line.clear();
                return Ok((taken, found));
            }
            // A line end is both bytes, and neither is anything else.
            let is_control = byte.is_ascii_control() && byte != b'\r' && byte != b'\t';
            if in_chunk_end || byte == b'\n' || behind_return || is_control {
                return Err(self.broken_line());
            }
            self.line.push(byte);
        }
        Ok((taken, None))
    }

    fn broken_line(&self) -> HttpFlaw {
        match self.state {
            State::RequestLine => HttpFlaw::NotHttp,
            State::Fields(_) | State::Refused(_) => HttpFlaw::Malformed,
            State::Body(_) | State::ChunkSize | State::Chunk(_) | State::ChunkEnd | State::Trailers => {
                HttpFlaw::Framing
            }
        }
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<Option<Head>, HttpFlaw> {
        let state = std::mem::replace(&mut self.state, State::RequestLine);
        let (next, found) = match state {
            State::RequestLine => (State::Fields(Lines::first(line)?), None),
            State::Fields(lines) if line.is_empty() => {
                let head = lines.finish()?;
                (behind(head.body), Some(head))
            }
            State::Fields(mut lines) => {
                lines.field(line)?;
                (State::Fields(lines), None)
            }
            State::ChunkSize => match chunk_size(line)? {
                0 => (State::Trailers, None),
                size => (State::Chunk(size), None),
            },
            State::ChunkEnd if line.is_empty() => (State::ChunkSize, None),
            State::ChunkEnd => return Err(HttpFlaw::Framing),
            State::Trailers if line.is_empty() => (State::RequestLine, None),
            State::Trailers => {
                trailer(line)?;
                (State::Trailers, None)
            }
            State::Body(left) => (State::Body(left), None),
            State::Chunk(left) => (State::Chunk(left), None),
            State::Refused(flaw) => return Err(flaw),
        };
        if !matches!(next, State::Fields(_) | State::Trailers) {
            self.section = 0;
        }
        self.state = next;
        Ok(found)
    }
}

fn behind(body: Body) -> State {
    match body {
        Body::Length(0) => State::RequestLine,
        Body::Length(length) => State::Body(length),
        Body::Chunked => State::ChunkSize,
    }
}

fn pass(left: &mut u64, bytes: &[u8]) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= taken as u64;
    taken
}

/// Reads along with another parser, which acts on the requests, and says where it may not be believed.
#[derive(Debug)]
pub struct Along(Reading);

#[derive(Debug)]
enum Reading {
    Requests(Requests),
    /// A request asked for another protocol or a tunnel: it is answered, and is the last. Whether the line of its head that is under way
    /// has anything in it.
    LastHead(bool),
    /// Nothing any more.
    Nothing,
}

impl Default for Along {
    fn default() -> Self {
        Self(Reading::Requests(Requests::new()))
    }
}

impl Along {
    /// For a connection whose bytes are not HTTP/1: nothing is said of them.
    pub fn of_nothing() -> Self {
        Self(Reading::Nothing)
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// From here on two readers could understand them differently.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), HttpFlaw> {
        let mut rest = bytes;
        while let Reading::Requests(requests) = &mut self.0 {
            let (taken, event) = requests.push(rest);
            rest = rest.get(taken..).unwrap_or_default();
            match event {
                Event::Request(_) => {}
                Event::More => return Ok(()),
                // What is left begins within the line that says so.
                Event::Refused(HttpFlaw::Upgrade | HttpFlaw::Connect) => self.0 = Reading::LastHead(true),
                Event::Refused(flaw) => return Err(flaw),
            }
        }
        for byte in rest {
            let Reading::LastHead(has_any) = &mut self.0 else { break };
            match byte {
                b'\n' if !*has_any => self.0 = Reading::Nothing,
                b'\n' => *has_any = false,
                // Others take a line end without it as well.
                b'\r' => {}
                _ => *has_any = true,
            }
        }
        Ok(())
    }

    /// Whether a head began and has no end yet.
    pub fn is_in_head(&self) -> bool {
        match &self.0 {
            Reading::Requests(requests) => requests.holding() > 0,
            Reading::LastHead(_) => true,
            Reading::Nothing => false,
        }
    }

    /// Whether no request is under way.
    pub fn is_between_requests(&self) -> bool {
        matches!(&self.0, Reading::Requests(requests) if requests.is_between_requests())
    }
}
