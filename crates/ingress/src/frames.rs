//! Frames of a WebSocket as a server sends them (RFC 6455, section 5), and messages looked through.
//!
//! Enters: what the server sends, split anywhere. Leaves: frames that may go on. Guarantees: a text message is looked through
//! whole, whatever frames it came in, and goes on as one; messages keep their order; control frames pass at once; what is no frame, is
//! masked, compressed or too large is an error. Does not: look at what the client says.

use inspect::sieve::{MAX_UNIT, Piece, Sieve, Stop};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const FINAL: u8 = 0x80;
/// Bytes of a control frame's payload.
const MAX_CONTROL: usize = 125;
/// "Policy violation" (section 7.4.1).
const POLICY: u16 = 1008;

/// Reads frames.
#[derive(Debug)]
pub(crate) struct Frames {
    sieve: Sieve,
    input: Vec<u8>,
    /// The message under way: its kind, and what of it is there.
    message: Option<(u8, Vec<u8>)>,
}

/// One frame.
struct Frame {
    is_final: bool,
    code: u8,
    payload: Vec<u8>,
}

impl Frames {
    pub(crate) fn new(sieve: Sieve) -> Self {
        Self { sieve, input: Vec::new(), message: None }
    }

    pub(crate) fn sieve(&self) -> &Sieve {
        &self.sieve
    }

    /// Takes what came; adds what goes on to `out`.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Stop> {
        self.input.extend_from_slice(bytes);
        while let Some(frame) = self.next()? {
            self.take(frame, out)?;
        }
        Ok(())
    }

    /// Nothing came for a while.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        let mut pieces = Vec::new();
        let came = self.sieve.flush(&mut pieces);
        write_all(&pieces, out);
        came
    }

    /// The server ended its side, with or without saying so.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        let mut pieces = Vec::new();
        let came = self.sieve.end(&mut pieces);
        write_all(&pieces, out);
        came
    }

    /// Takes the next frame off what is there; `None`: it is not whole.
    fn next(&mut self) -> Result<Option<Frame>, Stop> {
        const UNREAD: Stop = Stop::Unread("what its server sends is no frame of a WebSocket that is read");
        let [first, second, rest @ ..] = self.input.as_slice() else { return Ok(None) };
        let (code, is_control) = (first & 0x0f, first & 0x08 != 0);
        let is_known = matches!(code, CONTINUATION | TEXT | BINARY | CLOSE..=10);
        // Reserved bits say that an extension is in use, which was not agreed to.
        if first & 0x70 != 0 || second & 0x80 != 0 || !is_known {
            return Err(UNREAD);
        }
        let (length, head) = match second & 0x7f {
            126 => match rest {
                [a, b, ..] => (usize::from(u16::from_be_bytes([*a, *b])), 4),
                _ => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX), 10),
                None => return Ok(None),
            },
            short => (usize::from(short), 2),
        };
        let is_final = first & FINAL != 0;
        if length > MAX_UNIT || is_control && (length > MAX_CONTROL || !is_final) {
            return Err(UNREAD);
        }
        let Some(payload) = self.input.get(head..head + length) else { return Ok(None) };
        let frame = Frame { is_final, code, payload: payload.to_vec() };
        self.input.drain(..head + length);
        Ok(Some(frame))
    }

    fn take(&mut self, frame: Frame, out: &mut Vec<u8>) -> Result<(), Stop> {
        let Frame { is_final, code, payload } = frame;
        if code == CLOSE {
            self.end(out)?;
        }
        if code >= CLOSE {
            write(code, &payload, out);
            return Ok(());
        }
        let (kind, mut message) = match (code, self.message.take()) {
            (CONTINUATION, Some(under_way)) => under_way,
            (TEXT | BINARY, None) => (code, Vec::new()),
            _ => return Err(Stop::Unread("the frames of its server's messages are not in order")),
        };
        message.extend_from_slice(&payload);
        if message.len() > MAX_UNIT {
            return Err(Stop::Unread("a message of its server is larger than what is held"));
        }
        if !is_final {
            self.message = Some((kind, message));
            return Ok(());
        }
        let mut pieces = Vec::new();
        let came = match kind {
            TEXT => self.sieve.push(&message, &mut pieces),
            _ => self.sieve.push_opaque(&message, "a message of its server is no text", &mut pieces),
        };
        write_all(&pieces, out);
        came
    }
}

/// The frame with which a WebSocket is ended for a policy's sake.
pub(crate) fn end(why: &str) -> Vec<u8> {
    let most = MAX_CONTROL - 2;
    let length = (0..=most.min(why.len())).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
    let mut payload = POLICY.to_be_bytes().to_vec();
    payload.extend_from_slice(why.get(..length).unwrap_or_default().as_bytes());
    let mut out = Vec::new();
    write(CLOSE, &payload, &mut out);
    out
}

fn write_all(pieces: &[Piece], out: &mut Vec<u8>) {
    for piece in pieces {
        // What is no text was not looked at either; what is text and was not, is text still.
        let is_text = !piece.is_opaque || std::str::from_utf8(&piece.bytes).is_ok();
        write(if is_text { TEXT } else { BINARY }, &piece.bytes, out);
    }
}

fn write(code: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FINAL | code);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend(length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use inspect::leak::{LeakOptions, LeakRules};
    use inspect::sieve::{Form, Looking, Prompt, Wanted};
    use policy::LeakAction;
    use std::sync::Arc;

    fn frames(is_lenient: bool) -> Frames {
        let canaries = vec![b"a-canary-of-ours".to_vec()];
        let rules = LeakRules::new(&LeakOptions { canaries, ..LeakOptions::default() }).unwrap();
        let wanted = Wanted { canaries: Some(LeakAction::Mask), ..Wanted::default() };
        let looking = Looking {
            rules: Arc::new(rules),
            wanted,
            prompt: Prompt::default(),
            hold: 4096,
            is_lenient,
            joins: true,
            most: 1024,
        };
        Frames::new(Sieve::new(looking, Form::Messages))
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(first & 0x0f, payload, &mut out);
        out[0] = first;
        out
    }

    #[test]
    fn messages_are_looked_through_whole_wherever_their_bytes_are_split() {
        let sent = [
            frame(1, b"{\"delta\":\"so a-can"),
            frame(0x89, b"ping"),
            frame(0x80, b"ary-of-"),
            frame(0x81, b"{\"delta\":\"x\"}"),
            frame(0x88, &[3, 0xe8]),
        ]
        .concat();
        let sent = [sent.get(..20).unwrap(), &sent[20..]].concat();
        let read = |size: usize| {
            let (mut frames, mut out) = (frames(false), Vec::new());
            let came = sent.chunks(size).try_for_each(|piece| frames.push(piece, &mut out));
            (came, out)
        };
        let whole = read(sent.len());
        assert_eq!(whole.0, Ok(()));
        for size in [1, 2, 5] {
            assert_eq!(read(size), whole);
        }
    }

    #[test]
    fn a_mark_over_two_messages_is_masked() {
        let (mut frames, mut out) = (frames(false), Vec::new());
        for text in ["{\"delta\":\"so a-can\"}", "{\"delta\":\"ary-of-ours it is\"}"] {
            frames.push(&frame(0x81, text.as_bytes()), &mut out).unwrap();
        }
        frames.push(&frame(0x88, &[3, 0xe8]), &mut out).unwrap();
        let out = String::from_utf8_lossy(&out).into_owned();
        assert!(
            out.contains("so [canary removed]") && out.contains("\" it is\"") && !out.contains("a-can"),
            "{out}"
        );
    }

    #[test]
    fn what_is_no_frame_of_a_server_or_no_text_is_an_error() {
        for sent in [
            frame(0xc1, b"compressed"),
            [vec![0x81, 0x84], b"masked".to_vec()].concat(),
            frame(0x83, b"reserved"),
            frame(0x80, b"goes on with nothing"),
            [frame(1, b"a"), frame(1, b"b")].concat(),
            frame(0x82, b"\xff\xfe"),
            frame(0x09, b"a control frame in parts"),
            [vec![0x81, 127], u64::MAX.to_be_bytes().to_vec()].concat(),
        ] {
            let (mut frames, mut out) = (frames(false), Vec::new());
            assert!(matches!(frames.push(&sent, &mut out), Err(Stop::Unread(_))), "{sent:?}");
        }
        let (mut frames, mut out) = (frames(true), Vec::new());
        frames.push(&frame(0x82, b"\xff\xfe"), &mut out).unwrap();
        assert_eq!(out, frame(0x82, b"\xff\xfe"), "where that is allowed, it passes");
    }

    #[test]
    fn the_last_frame_says_why_and_is_no_longer_than_a_control_frame_may_be() {
        let last = end(&"é".repeat(200));
        assert!(last.len() <= 2 + MAX_CONTROL && last[0] == 0x88 && std::str::from_utf8(&last[4..]).is_ok());
    }
}
