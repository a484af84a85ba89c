//! The body of an answer on its way to the client, with the record of its request.
//!
//! Guarantees: an answer that breaks off at the server breaks off at the client; it streams; when it goes, so does the load
//! of its endpoint, its turn, and its record.

use crate::admission::Turn;
use crate::body::Broken;
use crate::cutting::{Cutting, Piece};
use crate::fields;
use crate::reason::Reason;
use crate::record::{End, Guard};
use crate::refusal;
use crate::server::seconds;
use crate::upstream::Lease;
use admit::{Taken, Tokens};
use http::response;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use inspect::answer::{AnswerReader, Usage, estimate};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// How long an answer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For its next piece.
    pub(crate) piece: Duration,
    /// For all of it; `None`: as long as it goes on.
    pub(crate) until: Option<Instant>,
}

enum Source {
    Server(Incoming),
    Own(Option<Bytes>),
}

/// What goes when an answer does.
pub(crate) struct Held {
    pub(crate) taken: Taken,
    #[expect(dead_code, reason = "it goes with the answer")]
    pub(crate) lease: Lease,
    #[expect(dead_code, reason = "it goes with the answer")]
    pub(crate) turn: Turn,
}

/// The body of an answer.
pub(crate) struct Answer {
    source: Source,
    guard: Option<Guard>,
    /// Reads what it says of itself; `None`: nothing, or that was told.
    reader: Option<AnswerReader>,
    late: Option<Pin<Box<Sleep>>>,
    last: Option<Pin<Box<Sleep>>>,
    piece_within: Duration,
    held: Option<Held>,
    /// How it ends where its tokens are spent, and whether they are.
    cutting: Cutting,
    is_spent: bool,
}

impl Answer {
    /// From the server.
    pub(crate) fn of_server(
        body: Incoming,
        head: &response::Parts,
        guard: Guard,
        reader: AnswerReader,
        held: Held,
        patience: Patience,
    ) -> Self {
        let cutting = Cutting::of(&guard.record.operation, head, body.size_hint().exact().is_some());
        let mut answer = Self {
            source: Source::Server(body),
            guard: Some(guard),
            reader: Some(reader),
            late: None,
            last: patience.until.map(|until| Box::pin(sleep_until(until))),
            piece_within: patience.piece,
            held: Some(held),
            cutting,
            is_spent: false,
        };
        answer.note_end();
        answer
    }

    /// The gateway's own.
    pub(crate) fn own(body: Bytes, guard: Guard) -> Self {
        Self::of(Some(body).filter(|body| !body.is_empty()), Some(guard))
    }

    /// Nothing, and the record is of what follows.
    pub(crate) fn none() -> Self {
        Self::of(None, None)
    }

    fn of(body: Option<Bytes>, guard: Option<Guard>) -> Self {
        Self {
            source: Source::Own(body),
            guard,
            reader: None,
            late: None,
            last: None,
            piece_within: Duration::MAX,
            held: None,
            cutting: Cutting::LetThrough,
            is_spent: false,
        }
    }

    /// Whoever writes an answer stops asking when it has all that was announced.
    fn note_end(&mut self) {
        if matches!(&self.source, Source::Server(body) if body.is_end_stream()) {
            self.ends(End::Closed);
        }
    }

    fn ends(&mut self, end: End) {
        if let Some(guard) = &mut self.guard {
            guard.record.end = end;
        }
        self.settle();
    }

    fn settle(&mut self) {
        let Some(guard) = &mut self.guard else { return };
        let Some(reader) = self.reader.take() else { return };
        let so_far = tokens(&reader.usage());
        let is_read = !reader.is_opaque();
        let usage = reader.end();
        if let Some(held) = &mut self.held {
            match (usage.input_tokens, usage.output_tokens) {
                (Some(input), Some(output)) => held.taken.settle(Tokens { input, output }, seconds()),
                // What it does not say is as it was set aside, or more where more came.
                _ => drop(held.taken.grow(so_far, seconds())),
            }
        }
        guard.record.usage = is_read.then(|| usage.into());
    }

    /// Reads what comes, and says what goes on of it.
    fn passes(&mut self, data: Bytes) -> Result<Bytes, Broken> {
        if let (Some(reader), Some(held)) = (&mut self.reader, &mut self.held) {
            reader.push(&data);
            if let Some(spent) = held.taken.grow(tokens(&reader.usage()), seconds())
                && let (Some(guard), false) = (&mut self.guard, self.is_spent)
                && !matches!(self.cutting, Cutting::LetThrough)
            {
                self.is_spent = true;
                guard.refused(Reason::LimitSpent, Some(spent.message));
                guard.record.rule = Some(spent.source.to_string());
            }
        }
        let data = match self.cutting.take(&data, self.is_spent) {
            Piece::Whole => data,
            Piece::Break => return Err(self.cut(Reason::LimitSpent)),
            Piece::Until(length, framing) => {
                let Some(guard) = &self.guard else { return Err(Broken) };
                let end = refusal::cut(guard, framing);
                let last = data.get(..length).unwrap_or_default();
                let data = Bytes::from([last, &end].concat());
                guard.course.abort(Reason::LimitSpent);
                self.settle();
                self.source = Source::Own(None);
                data
            }
        };
        if let Some(guard) = &self.guard {
            guard.course.down.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Ok(data)
    }

    /// Whether its time is over.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if self.last.as_mut().is_some_and(|last| last.as_mut().poll(cx).is_ready()) {
            return true;
        }
        let within = self.piece_within;
        self.late.get_or_insert_with(|| Box::pin(sleep(within))).as_mut().poll(cx).is_ready()
    }

    fn cut(&mut self, reason: Reason) -> Broken {
        if let Some(guard) = &self.guard {
            guard.course.abort(reason);
        }
        Broken
    }
}

/// How many tokens an answer has at least, so far.
fn tokens(usage: &Usage) -> Tokens {
    Tokens {
        input: usage.input_tokens.unwrap_or(0),
        output: usage.output_tokens.unwrap_or(0).max(estimate(usage.output_chars)),
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.settle();
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let body = match &mut this.source {
            Source::Own(body) => return Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Source::Server(body) => body,
        };
        let polled = Pin::new(body).poll_frame(cx);
        if this.guard.as_ref().is_some_and(|guard| guard.course.aborted().is_some()) {
            return Poll::Ready(Some(Err(Broken)));
        }
        if polled.is_pending() {
            return if this.is_late(cx) {
                Poll::Ready(Some(Err(this.cut(Reason::ServerTimeout))))
            } else {
                Poll::Pending
            };
        }
        this.late = None;
        Poll::Ready(match ready!(polled) {
            None => {
                this.ends(End::Closed);
                None
            }
            Some(Err(_)) => {
                this.ends(End::ServerGone);
                Some(Err(Broken))
            }
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(data) => match this.passes(data) {
                    Ok(data) => {
                        this.note_end();
                        Frame::data(data)
                    }
                    Err(broken) => return Poll::Ready(Some(Err(broken))),
                },
                Err(frame) => {
                    this.note_end();
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    fields::strip_trailers(&mut trailers);
                    Frame::trailers(trailers)
                }
            })),
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Server(body) => body.is_end_stream(),
            Source::Own(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Server(body) => body.size_hint(),
            Source::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
        }
    }
}
