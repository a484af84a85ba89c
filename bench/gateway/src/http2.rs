//! The least of HTTP/2 (RFC 9113) that a load needs: one request after the other on a connection, and a server that answers each
//! alike. No header is kept in tables, so that none has to be known of the other side.

use crate::requests::Stream;
use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// What both sides may send before they are given more.
const WINDOW: i64 = 65_535;
/// What each side is given here: more than a connection is asked to carry.
const WIDER: u32 = 1 << 30;
/// `:status: 200`, of the table that never changes (RFC 7541, appendix A).
const OK: u8 = 0x88;

/// A request as it is sent: its fields, as a block, and its body.
pub(crate) struct Request {
    pub(crate) block: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// Fields as a block: each pair by its number in the table that never changes, with a value.
pub(crate) fn block(method: u8, fields: &[(u8, &str)]) -> Result<Vec<u8>> {
    // `:scheme: https`
    let mut block = vec![method, 0x87];
    for (index, value) in fields {
        match index.checked_sub(15) {
            None => block.push(*index),
            Some(rest) => block.extend([0x0f, rest]),
        }
        block.push(u8::try_from(value.len()).ok().filter(|length| *length < 127).context("a long value")?);
        block.extend(value.as_bytes());
    }
    Ok(block)
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    // Nothing here is longer than 16 KiB.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = length.get(1..).unwrap_or_default().to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// One side of a connection.
struct Side<S> {
    stream: S,
    /// What it may send still.
    window: i64,
}

impl<S: Read + Write> Side<S> {
    fn new(stream: S) -> Self {
        Self { stream, window: WINDOW }
    }

    /// What both sides say first.
    fn begin(&mut self, preface: &[u8]) -> io::Result<()> {
        let window = [&4_u16.to_be_bytes()[..], &WIDER.to_be_bytes()].concat();
        let given = frame(WINDOW_UPDATE, 0, 0, &WIDER.to_be_bytes());
        self.write(&[preface, &frame(SETTINGS, 0, 0, &window), &given].concat())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next frame that is of a stream. What is of the connection is dealt with.
    fn next(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; number(&[a, b, c]) as usize];
        self.stream.read_exact(&mut payload)?;
        let stream = number(&stream) & !(1 << 31);
        match kind {
            SETTINGS if flags & ACK == 0 => self.write(&frame(SETTINGS, ACK, 0, &[]))?,
            PING if flags & ACK == 0 => self.write(&frame(PING, ACK, 0, &payload))?,
            WINDOW_UPDATE if stream == 0 => self.window += i64::from(number(&payload)),
            GOAWAY => return Err(ErrorKind::ConnectionAborted.into()),
            _ => {}
        }
        Ok(Frame { kind, flags, stream, payload })
    }
}

/// A connection through a proxy.
pub(crate) struct Client {
    side: Side<Box<dyn Stream>>,
    last: u32,
}

impl Client {
    pub(crate) fn open(stream: Box<dyn Stream>) -> Result<Self> {
        let mut side = Side::new(stream);
        side.begin(PREFACE)?;
        Ok(Self { side, last: 0 })
    }

    /// Asks, and reads the answer to its end.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<()> {
        let stream = if self.last == 0 { 1 } else { self.last + 2 };
        self.last = stream;
        let length = i64::try_from(request.body.len())?;
        while self.side.window < length {
            self.side.next()?;
        }
        self.side.window -= length;
        let is_alone = if request.body.is_empty() { END_STREAM } else { 0 };
        let mut asked = frame(HEADERS, END_HEADERS | is_alone, stream, &request.block);
        if is_alone == 0 {
            asked.extend(frame(DATA, END_STREAM, stream, &request.body));
        }
        self.side.write(&asked)?;
        loop {
            let Frame { kind, flags, stream: of, payload } = self.side.next()?;
            match kind {
                HEADERS if of == stream => is_ok(&payload)?,
                RST_STREAM if of == stream => bail!("it was reset: {payload:?}"),
                _ => {}
            }
            if of == stream && matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                return Ok(());
            }
        }
    }
}

/// Whether a block begins with success; changes of the table's size may stand before it.
fn is_ok(block: &[u8]) -> Result<()> {
    let mut rest = block.iter().copied();
    let mut first = rest.next();
    while let Some(size) = first.filter(|byte| byte & 0xe0 == 0x20) {
        if size & 0x1f == 0x1f {
            while rest.next().is_some_and(|byte| byte & 0x80 != 0) {}
        }
        first = rest.next();
    }
    if first == Some(OK) { Ok(()) } else { bail!("answered with {block:?}") }
}

/// Answers every request with this body until its client goes.
pub(crate) fn answer(stream: impl Read + Write, body: &[u8]) -> io::Result<()> {
    let mut side = Side::new(stream);
    let mut preface = [0; PREFACE.len()];
    side.stream.read_exact(&mut preface)?;
    side.begin(&[])?;
    // `content-type: application/json`
    let mut block = vec![OK, 0x0f, 0x10, 16];
    block.extend(b"application/json");
    let length = i64::try_from(body.len()).unwrap_or(i64::MAX);
    let mut owed = VecDeque::new();
    loop {
        let Frame { kind, flags, stream, .. } = side.next()?;
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            owed.push_back(stream);
        }
        while side.window >= length
            && let Some(stream) = owed.pop_front()
        {
            side.window -= length;
            let head = frame(HEADERS, END_HEADERS, stream, &block);
            side.write(&[head, frame(DATA, END_STREAM, stream, body)].concat())?;
        }
    }
}
