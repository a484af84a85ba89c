//! Ends a stream whose tokens are spent, between two of its events.
//!
//! Enters: the head of an answer, then its body. Leaves: how much of a piece goes on before the end. Guarantees: what the
//! client gets is a well-formed stream. Does not: cut an answer that is one object, or whose length was said: it is let
//! through, and the next request is refused.

use ::inspect::refusal::{Boundary, Framing};
use http::{header, response};
use policy::Operation;

/// How an answer can be ended early.
#[derive(Debug)]
pub(crate) enum Cutting {
    /// Not at all.
    LetThrough,
    /// Between two events.
    Between(Boundary),
    /// By breaking it off, for nothing can be written into it.
    Break,
}

/// Whether an answer is a stream of server-sent events, without codings.
pub(crate) fn is_plain_events(head: &response::Parts) -> bool {
    let (kind, coding) = form(head);
    kind == "text/event-stream" && is_plain(coding)
}

/// Whether an answer is a stream, which its server makes while it comes.
pub(crate) fn is_stream(operation: &Operation, head: &response::Parts) -> bool {
    framing(operation, &form(head).0).is_some()
}

/// How a stream of this media type is made up; `None`: it is none.
fn framing(operation: &Operation, kind: &str) -> Option<Framing> {
    Some(match kind {
        "text/event-stream" => Framing::Sse,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Framing::NdJson
        }
        "application/vnd.amazon.eventstream" => Framing::EventStream,
        "application/json" if operation.stream => Framing::JsonArrayStart,
        _ => return None,
    })
}

/// The media type of an answer, and its codings.
fn form(head: &response::Parts) -> (String, &str) {
    let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = field(header::CONTENT_TYPE).split(';').next().unwrap_or_default();
    (kind.trim().to_ascii_lowercase(), field(header::CONTENT_ENCODING))
}

fn is_plain(coding: &str) -> bool {
    coding.is_empty() || coding.eq_ignore_ascii_case("identity")
}

/// What to do with a piece of an answer whose tokens are spent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// It goes on whole.
    Whole,
    /// So many bytes of it go on, and then the end of this framing.
    Until(usize, Framing),
    /// It breaks off.
    Break,
}

impl Cutting {
    /// `is_sized`: the length of the body was said.
    pub(crate) fn of(operation: &Operation, head: &response::Parts, is_sized: bool) -> Self {
        let (kind, coding) = form(head);
        let Some(framing) = framing(operation, &kind) else { return Self::LetThrough };
        match (is_plain(coding), is_sized) {
            (true, false) => Self::Between(Boundary::new(framing)),
            (true, true) => Self::LetThrough,
            (false, _) => Self::Break,
        }
    }

    /// Takes a piece.
    pub(crate) fn take(&mut self, piece: &[u8], is_spent: bool) -> Piece {
        let boundary = match self {
            Self::LetThrough => return Piece::Whole,
            Self::Break if is_spent => return Piece::Break,
            Self::Break => return Piece::Whole,
            Self::Between(boundary) => boundary,
        };
        if is_spent && boundary.is_between() {
            return Piece::Until(0, boundary.framing());
        }
        let mut taken = 0;
        while let Some(rest) = piece.get(taken..).filter(|rest| !rest.is_empty()) {
            taken += boundary.push(rest);
            if is_spent && boundary.is_between() {
                return Piece::Until(taken, boundary.framing());
            }
        }
        Piece::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn cutting(kind: &str, coding: &str, is_sized: bool) -> Cutting {
        let head = Response::builder().header("content-type", kind).header("content-encoding", coding);
        let operation = Operation { stream: true, ..Operation::unknown("test") };
        Cutting::of(&operation, &head.body(()).unwrap().into_parts().0, is_sized)
    }

    #[test]
    fn a_stream_is_cut_behind_the_event_that_is_under_way() {
        let mut events = cutting("text/event-stream; charset=utf-8", "identity", false);
        assert_eq!(events.take(b"data: 1\n\ndata:", false), Piece::Whole);
        assert_eq!(events.take(b" 2\n", true), Piece::Whole);
        assert_eq!(events.take(b"\ndata: 3\n\n", true), Piece::Until(1, Framing::Sse));
        let mut lines = cutting("application/x-ndjson", "", false);
        assert_eq!(lines.take(b"{}\n{}\n", true), Piece::Until(0, Framing::NdJson));
        let mut array = cutting("application/json", "", false);
        assert_eq!(array.take(b"[{\"a\":", false), Piece::Whole);
        assert_eq!(array.take(b"1},{}]", true), Piece::Until(2, Framing::JsonArray));
    }

    #[test]
    fn what_cannot_be_ended_in_its_form_is_let_through_or_broken_off() {
        for (kind, coding, is_sized, expected) in [
            ("application/json", "", true, Piece::Whole),
            ("text/plain", "", false, Piece::Whole),
            ("text/event-stream", "", true, Piece::Whole),
            ("text/event-stream", "gzip", false, Piece::Break),
        ] {
            assert_eq!(cutting(kind, coding, is_sized).take(b"x", true), expected, "{kind} {coding}");
        }
    }
}
