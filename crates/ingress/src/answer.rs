//! The body of an answer on its way to the client, with the record of its request.
//!
//! Guarantees: what a policy wants to be looked for does not leave; an answer that breaks off at the server breaks off at the client; it streams; when it goes, so does the load
//! of its endpoint, its turn, and its record.

use crate::admission::Turn;
use crate::body::Broken;
use crate::cutting::{Cutting, Piece};
use crate::event_ids::EventIds;
use crate::fields;
use crate::picker::Talk;
use crate::reason::Reason;
use crate::record::{End, Guard};
use crate::refusal;
use crate::sieving::{self, Sieving, Sifted};
use crate::spend::Drawn;
use crate::taking::Taking;
use crate::upstream::Lease;
use http::{HeaderMap, response};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use inspect::answer::AnswerReader;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// After how long without anything new that is held back is judged as if nothing followed.
pub(crate) const QUIET: Duration = Duration::from_secs(2);

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
    pub(crate) drawn: Drawn,
    #[expect(dead_code, reason = "it goes with the answer")]
    pub(crate) lease: Lease,
    pub(crate) turn: Turn,
    /// With the picker that picked who answers.
    #[expect(dead_code, reason = "it goes with the answer")]
    pub(crate) talk: Option<Talk>,
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
    /// Looks through it, and where the policy that wants it is written.
    sieving: Option<(Sieving, String)>,
    /// Makes the ids of its events those of who asks.
    events: Option<EventIds>,
    quiet: Option<Pin<Box<Sleep>>>,
    /// What follows what was held back.
    trailers: Option<HeaderMap>,
    taking: Option<Arc<Taking>>,
}

impl Answer {
    /// From the server.
    pub(crate) fn of_server(
        body: Incoming,
        head: &response::Parts,
        guard: Guard,
        reader: AnswerReader,
        held: Held,
        (patience, sieving, events): (Patience, Option<(Sieving, String)>, Option<EventIds>),
    ) -> Self {
        let cutting = Cutting::of(
            &guard.record.operation,
            head,
            sieving.is_none() && events.is_none() && body.size_hint().exact().is_some(),
        );
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
            sieving,
            events,
            quiet: None,
            trailers: None,
            taking: Taking::begin(),
        };
        answer.note_end();
        answer
    }

    /// From the server, and whole: it was looked through.
    pub(crate) fn whole(body: Bytes, guard: Guard, reader: AnswerReader, held: Held) -> Self {
        guard.course.down.fetch_add(body.len() as u64, Ordering::Relaxed);
        let mut answer = Self::own(body, guard);
        (answer.reader, answer.held) = (Some(reader), Some(held));
        answer.ends(End::Closed);
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
            sieving: None,
            events: None,
            quiet: None,
            trailers: None,
            taking: Taking::begin(),
        }
    }

    /// Whoever writes an answer stops asking when it has all that was announced.
    fn note_end(&mut self) {
        if self.sieving.is_none() && matches!(&self.source, Source::Server(body) if body.is_end_stream()) {
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
        let is_read = !reader.is_opaque();
        let usage = reader.end();
        if let Some(held) = &mut self.held {
            let is_whole = guard.record.end == End::Closed;
            guard.record.cost = held.drawn.settle(&usage, is_whole, is_read);
        }
        guard.record.usage = is_read.then(|| usage.into());
    }

    /// Reads what comes, and says what goes on of it.
    fn passes(&mut self, data: Bytes) -> Result<Bytes, Broken> {
        let reader = &mut self.reader;
        let mut read = |plain: &[u8]| {
            if let Some(reader) = reader {
                reader.push(plain);
            }
        };
        let data = match &mut self.sieving {
            None => {
                read(&data);
                data
            }
            Some((sieving, _)) => {
                let sifted = sieving.push(&data, &mut read);
                self.sifted(sifted)?
            }
        };
        self.goes_on(data)
    }

    /// What was looked through; where nothing more may go on, with the end of the stream.
    fn sifted(&mut self, (mut data, came): Sifted) -> Result<Bytes, Broken> {
        let Err(stop) = came else { return Ok(data.into()) };
        let (Some((sieving, source)), Some(guard)) = (self.sieving.take(), &mut self.guard) else {
            return Err(Broken);
        };
        let (reason, why) = sieving::why(stop);
        sieving.note(&mut guard.record);
        guard.refused(reason, Some(why));
        guard.record.rule = Some(source);
        let Some(framing) = sieving.framing() else { return Err(self.cut(reason)) };
        data.extend(refusal::cut(guard, framing));
        guard.course.down.fetch_add(data.len() as u64, Ordering::Relaxed);
        guard.course.abort(reason);
        self.settle();
        self.source = Source::Own(None);
        Ok(data.into())
    }

    /// Ends a stream whose tokens are spent; what goes on is counted.
    fn goes_on(&mut self, data: Bytes) -> Result<Bytes, Broken> {
        if let (Some(reader), Some(held)) = (&self.reader, &mut self.held)
            && let Some(spent) = held.drawn.grow(&reader.usage())
            && let (Some(guard), false) = (&mut self.guard, self.is_spent)
            && !matches!(self.cutting, Cutting::LetThrough)
        {
            self.is_spent = true;
            guard.refused(Reason::LimitSpent, Some(spent.message));
            guard.record.rule = Some(spent.source.to_string());
        }
        if matches!(self.source, Source::Own(_)) {
            return Ok(data);
        }
        let data = match &mut self.events {
            Some(events) => events.push(&data).into(),
            None => data,
        };
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

    /// What is still held back when the server has said all.
    fn last_piece(&mut self) -> Result<Bytes, Broken> {
        let Some((sieving, _)) = &mut self.sieving else { return Ok(Bytes::new()) };
        let sifted = sieving.end();
        let data = self.sifted(sifted)?;
        if let (Some((sieving, _)), Some(guard)) = (self.sieving.take(), &mut self.guard) {
            sieving.note(&mut guard.record);
        }
        self.goes_on(data)
    }

    /// What is held back where nothing comes for a while; `None`: nothing.
    fn quiet_piece(&mut self, cx: &mut Context<'_>) -> Option<Result<Bytes, Broken>> {
        let (sieving, _) = self.sieving.as_mut().filter(|(sieving, _)| sieving.is_waiting())?;
        let quiet = self.quiet.get_or_insert_with(|| Box::pin(sleep(QUIET)));
        if quiet.as_mut().poll(cx).is_pending() {
            return None;
        }
        self.quiet = None;
        let sifted = sieving.flush();
        let data = self.sifted(sifted).and_then(|data| self.goes_on(data));
        Some(data).filter(|data| !matches!(data, Ok(data) if data.is_empty()))
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

impl Answer {
    /// What becomes of what the server sends; the outer `None`: nothing yet.
    #[expect(clippy::option_option, reason = "the inner one is the end of a body")]
    fn frame(
        &mut self,
        came: Option<Result<Frame<Bytes>, hyper::Error>>,
    ) -> Option<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = match came {
            None => return self.over(),
            Some(Err(_)) => {
                self.ends(End::ServerGone);
                return Some(Some(Err(Broken)));
            }
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(data) => {
                let data = self.passes(data);
                self.note_end();
                let holds = self.sieving.is_some() || self.events.is_some();
                let is_held = holds && matches!(&data, Ok(data) if data.is_empty());
                (!is_held).then(|| Some(data.map(Frame::data)))
            }
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                fields::strip_trailers(&mut trailers);
                self.trailers = Some(trailers);
                let last = self.last_piece();
                if matches!(self.source, Source::Own(_)) {
                    self.trailers = None;
                }
                match last {
                    Ok(data) if data.is_empty() => None,
                    last => Some(Some(last.map(Frame::data))),
                }
            }
        }
    }

    #[expect(clippy::option_option, reason = "the inner one is the end of a body")]
    fn over(&mut self) -> Option<Option<Result<Frame<Bytes>, Broken>>> {
        let was_held = self.sieving.is_some();
        let last = self.last_piece();
        if !matches!(self.source, Source::Own(_)) {
            self.source = Source::Own(None);
            self.ends(End::Closed);
        }
        match last {
            Ok(data) if !was_held || data.is_empty() => Some(None),
            last => Some(Some(last.map(Frame::data))),
        }
    }

    /// The next frame.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(trailers) = self.trailers.take() {
                self.source = Source::Own(None);
                self.ends(End::Closed);
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            let body = match &mut self.source {
                Source::Own(body) => return Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
                Source::Server(body) => body,
            };
            let polled = Pin::new(body).poll_frame(cx);
            if self.guard.as_ref().is_some_and(|guard| guard.course.aborted().is_some()) {
                return Poll::Ready(Some(Err(Broken)));
            }
            if polled.is_pending() {
                if let Some(data) = self.quiet_piece(cx) {
                    return Poll::Ready(Some(data.map(Frame::data)));
                }
                let is_late = self.is_late(cx);
                return if is_late {
                    Poll::Ready(Some(Err(self.cut(Reason::ServerTimeout))))
                } else {
                    Poll::Pending
                };
            }
            (self.late, self.quiet) = (None, None);
            if let Some(frame) = self.frame(ready!(polled)) {
                return Poll::Ready(frame);
            }
        }
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
        self.taking.iter().for_each(|taking| taking.asked());
        let polled = self.next(cx);
        if polled.is_ready() {
            self.taking.iter().for_each(|taking| taking.given());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Server(body) => self.sieving.is_none() && self.trailers.is_none() && body.is_end_stream(),
            Source::Own(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Server(_) if self.sieving.is_some() || self.events.is_some() => SizeHint::default(),
            Source::Server(body) => body.size_hint(),
            Source::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
        }
    }
}
