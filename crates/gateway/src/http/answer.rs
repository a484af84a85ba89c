//! The body of an answer on its way to the client.
//!
//! Guarantees: an answer that breaks off at the server breaks off at the client; it streams, and no piece is kept; what it
//! says of itself is read as it passes; one whose tokens are spent ends in its own form, where it has one.

use super::body::Broken;
use super::cutting::{Cutting, Piece};
use super::leading::Leading;
use super::refusal;
use super::tally::Tally;
use super::watching::Watching;
use crate::call::CallGuard;
use crate::reason::End;
use http::response;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// The body of an answer, and the record of its request, which goes with it.
pub(crate) struct Answer {
    source: Source,
    guard: Option<CallGuard>,
    /// Reads what it says of itself; `None`: it is not asked.
    tally: Option<Tally>,
    /// How it ends where its tokens are spent, and whether they are.
    cutting: Cutting,
    is_spent: bool,
    /// Reads where it leads; `None`: nowhere.
    leading: Option<Leading>,
    /// Reads the file that it brings; `None`: nobody asks.
    watching: Option<Watching>,
}

enum Source {
    Server(Incoming),
    Own(Option<Bytes>),
}

impl Answer {
    /// From the server.
    pub(crate) fn of_server(
        body: Incoming,
        head: &response::Parts,
        guard: CallGuard,
        tally: Option<Tally>,
    ) -> Self {
        let is_sized = body.size_hint().exact().is_some();
        let cutting = match &tally {
            Some(tally) if tally.is_metered() => Cutting::of(&guard.so_far().operation, head, is_sized),
            Some(_) | None => Cutting::LetThrough,
        };
        let mut answer = Self::with(Source::Server(body), Some(guard));
        (answer.tally, answer.cutting) = (tally, cutting);
        answer
    }

    /// Has it read for where it leads.
    pub(crate) fn leading(mut self, leading: Option<Leading>) -> Self {
        self.leading = leading;
        self
    }

    /// Has the file that it brings read. What is over already is noted to be so.
    pub(crate) fn watched(mut self, watching: Option<Watching>) -> Self {
        self.watching = watching;
        self.note_end();
        self
    }

    /// The proxy's own, in place of an answer.
    pub(crate) fn own(body: Bytes, guard: CallGuard) -> Self {
        Self::with(Source::Own(Some(body)), Some(guard))
    }

    /// Without body and record: the record is of what follows.
    pub(crate) fn none() -> Self {
        Self::with(Source::Own(None), None)
    }

    fn with(source: Source, guard: Option<CallGuard>) -> Self {
        let cutting = Cutting::LetThrough;
        Self { source, guard, tally: None, cutting, is_spent: false, leading: None, watching: None }
    }

    /// Whoever writes an answer stops asking when it has all that was announced.
    fn note_end(&mut self) {
        if let (Source::Server(body), Some(guard)) = (&self.source, &mut self.guard)
            && body.is_end_stream()
        {
            guard.ended(End::Closed);
            self.leading.iter_mut().for_each(Leading::end);
        }
    }

    /// Reads what comes, and says what goes on of it; after an error nothing does.
    fn passes(&mut self, data: Bytes) -> Result<Bytes, Broken> {
        let Some(guard) = &mut self.guard else { return Ok(data) };
        guard.has_byte();
        let is_last = matches!(&self.source, Source::Server(body) if body.is_end_stream());
        if let Some(watching) = &mut self.watching {
            watching.push(&data);
            // Behind the last byte that was announced nothing could be held back any more.
            if is_last || watching.is_last() {
                watching.end();
            }
            if let Some(reason) = watching.stops() {
                guard.course.abort(reason);
                return Err(Broken);
            }
        }
        self.leading.iter_mut().for_each(|leading| leading.push(&data));
        if let Some(spent) = self.tally.as_mut().and_then(|tally| tally.push(&data))
            && !matches!(self.cutting, Cutting::LetThrough)
        {
            self.is_spent = true;
            guard.spent(spent);
        }
        let data = match self.cutting.take(&data, self.is_spent) {
            Piece::Whole => data,
            Piece::Until(length, framing) => {
                let end = refusal::cut(guard, framing);
                guard.course.abort(guard.so_far().reason);
                self.source = Source::Own(None);
                Bytes::from([data.get(..length).unwrap_or_default(), &end].concat())
            }
            Piece::Break => {
                guard.course.abort(guard.so_far().reason);
                return Err(Broken);
            }
        };
        guard.course.traffic.down.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(data)
    }

    fn ends(&mut self, end: End) {
        if let Some(guard) = &mut self.guard {
            guard.ended(end);
        }
        self.settle();
    }

    /// Lets go of the record, with what the answer said.
    fn settle(&mut self) {
        if let (Some(guard), Some(watching)) = (&mut self.guard, self.watching.take()) {
            guard.watched(watching.facts());
        }
        if let (Some(mut guard), Some(tally)) = (self.guard.take(), self.tally.take()) {
            let is_whole = guard.so_far().end == End::Closed;
            guard.told(tally.end(is_whole));
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
        let body = match &mut self.source {
            Source::Own(body) => return Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Source::Server(body) => body,
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        let course = self.guard.as_ref().map(|guard| Arc::clone(&guard.course));
        if course.as_ref().is_some_and(|course| course.aborted().is_some()) {
            return Poll::Ready(Some(Err(Broken)));
        }
        match frame {
            None => {
                self.watching.iter_mut().for_each(Watching::end);
                if let Some(reason) = self.watching.as_ref().and_then(Watching::stops) {
                    course.iter().for_each(|course| course.abort(reason));
                    return Poll::Ready(Some(Err(Broken)));
                }
                self.leading.iter_mut().for_each(Leading::end);
                self.ends(End::Closed);
                Poll::Ready(None)
            }
            Some(Err(_)) => {
                self.ends(End::ServerGone);
                Poll::Ready(Some(Err(Broken)))
            }
            Some(Ok(frame)) => {
                let frame = match frame.into_data() {
                    Ok(data) => self.passes(data).map(Frame::data),
                    Err(trailers) => Ok(trailers),
                };
                self.note_end();
                Poll::Ready(Some(frame))
            }
        }
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
