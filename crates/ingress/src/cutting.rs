//! Ends a stream early, between two of its events.
//!
//! Guarantees: what the client gets is a well-formed stream. Does not: cut an answer that is one object, or whose length was
//! said: where that may not go on, it breaks off.

use http::{header, response};
use inspect::refusal::{Boundary, Framing};
use policy::Operation;

/// How an answer can be ended early.
#[derive(Debug)]
pub(crate) enum Cutting {
    /// Not for its tokens: it is one object, which is short.
    LetThrough,
    /// Between two events.
    Between(Boundary),
    /// By breaking it off, for nothing can be written into it.
    Break,
}

/// What to do with a piece of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// It goes on whole.
    Whole,
    /// So many bytes of it go on, and then the end of this framing.
    Until(usize, Framing),
    /// It breaks off.
    Break,
}

/// How the events of an answer are told apart; `None`: it is no stream.
pub(crate) fn framing(operation: &Operation, head: &response::Parts) -> Option<Framing> {
    let field = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = field.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match kind.to_ascii_lowercase().as_str() {
        "text/event-stream" => Some(Framing::Sse),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Framing::NdJson),
        "application/vnd.amazon.eventstream" => Some(Framing::EventStream),
        "application/json" if operation.stream => Some(Framing::JsonArrayStart),
        _ => None,
    }
}

/// Whether an answer has no content coding.
pub(crate) fn is_plain(head: &response::Parts) -> bool {
    let mut codings = head.headers.get_all(header::CONTENT_ENCODING).iter();
    codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

impl Cutting {
    /// `is_sized`: the length of the body was said.
    pub(crate) fn of(operation: &Operation, head: &response::Parts, is_sized: bool) -> Self {
        match framing(operation, head) {
            None => Self::LetThrough,
            Some(_) if is_sized => Self::LetThrough,
            Some(framing) if is_plain(head) => Self::Between(Boundary::new(framing)),
            Some(_) => Self::Break,
        }
    }

    /// Takes a piece of a stream that ends as soon as it can if `is_over`.
    pub(crate) fn take(&mut self, piece: &[u8], is_over: bool) -> Piece {
        let boundary = match self {
            Self::LetThrough => return Piece::Whole,
            Self::Break => return if is_over { Piece::Break } else { Piece::Whole },
            Self::Between(boundary) => boundary,
        };
        if is_over && boundary.is_between() {
            return Piece::Until(0, boundary.framing());
        }
        let mut taken = 0;
        while let Some(rest) = piece.get(taken..).filter(|rest| !rest.is_empty()) {
            taken += boundary.push(rest);
            if is_over && boundary.is_between() {
                return Piece::Until(taken, boundary.framing());
            }
        }
        Piece::Whole
    }
}
