//! The two bodies of a request on their way: [`Outgoing`] to the server, [`Answer`] to the client.
//!
//! Guarantees: what is held of a request's body until it is known what it does is bounded; a body whose later part
//! contradicts what it was judged by is never whole at the server; an answer that breaks off at the server breaks off at
//! the client. Both stream: no more than one piece is kept once a request is known.

use super::hold::{Held, Hold};
use crate::call::{CallGuard, Course};
use crate::reason::{End, Reason};
use ::inspect::operation::{Progress, Reader};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use policy::Operation;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// A message that must not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("the message was cut")]
pub(crate) struct Broken;

/// Why it is not known what a request does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// The client went.
    Gone,
    /// It took too long to come.
    TooSlow,
    /// Too much would have to be held.
    TooLarge,
    /// It contradicts itself.
    Contradicted(Operation),
}

/// The body of a request, read on its way to the server. Trailers do not go on: a server may take them for fields, and the
/// request was judged by its fields.
pub(crate) struct Outgoing {
    source: Incoming,
    /// Nothing where it cannot be read.
    reader: Option<Reader>,
    /// What was read and has not gone on.
    pieces: VecDeque<Bytes>,
    held: Option<Held>,
    /// Whether the source came to its end.
    is_over: bool,
    /// Bytes that have not gone on, where their number was said.
    left: Option<u64>,
    course: Arc<Course>,
}

impl Outgoing {
    pub(crate) fn new(source: Incoming, mut reader: Option<Reader>, course: &Arc<Course>) -> Self {
        let (is_over, left) = (source.is_end_stream(), source.size_hint().exact());
        if is_over {
            reader.iter_mut().for_each(Reader::end);
        }
        let pieces = VecDeque::new();
        Self { source, reader, pieces, held: None, is_over, left, course: Arc::clone(course) }
    }

    /// Reads and holds until it is known what the request does. `None`: it cannot be read.
    pub(crate) async fn understand(&mut self, hold: &Arc<Hold>) -> Result<Option<Operation>, Unclear> {
        let mut held = Held::none(hold);
        loop {
            match self.reader.as_ref().map(Reader::progress) {
                None => return Ok(None),
                Some(Progress::Known(operation)) => {
                    self.held = Some(held);
                    return Ok(Some(operation.clone()));
                }
                Some(Progress::Contradicted(operation, _)) => {
                    return Err(Unclear::Contradicted(operation.clone()));
                }
                // A reader says what it is at the end at last.
                Some(Progress::NeedMore) if self.is_over => return Ok(None),
                Some(Progress::NeedMore) => {}
            }
            let taken = poll_fn(|cx| self.poll_take(cx)).await.map_err(|_| Unclear::Gone)?;
            if !held.more(taken) {
                return Err(Unclear::TooLarge);
            }
        }
    }

    /// What has not been read, to be thrown away.
    pub(crate) fn into_rest(self) -> Incoming {
        self.source
    }

    /// Takes the next piece from the source, and has it read. Returns its length; 0 also at the end.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        let Some(frame) = ready!(Pin::new(&mut self.source).poll_frame(cx)) else {
            self.is_over = true;
            self.reader.iter_mut().for_each(Reader::end);
            return Poll::Ready(Ok(0));
        };
        let Ok(piece) = frame.map_err(|_| Broken)?.into_data() else { return Poll::Ready(Ok(0)) };
        self.reader.iter_mut().for_each(|reader| reader.push(&piece));
        let length = piece.len();
        self.pieces.extend((length > 0).then_some(piece));
        Poll::Ready(Ok(length))
    }

    /// The next piece that may go on. One that makes the body whole at the server waits for the end of the source.
    fn next_piece(&mut self) -> Option<Bytes> {
        let length = self.pieces.front()?.len() as u64;
        let makes_whole = self.left.is_some_and(|left| left <= length);
        if makes_whole && !self.is_over {
            return None;
        }
        self.left = self.left.map(|left| left.saturating_sub(length));
        self.course.traffic.up.fetch_add(length, Ordering::Relaxed);
        self.pieces.pop_front()
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(Progress::Contradicted(..)) = self.reader.as_ref().map(Reader::progress) {
                self.course.abort(Reason::RequestChanged);
                return Poll::Ready(Some(Err(Broken)));
            }
            if let Some(piece) = self.next_piece() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            self.held = None;
            match ready!(self.poll_take(cx)) {
                Ok(_) => {}
                Err(broken) => return Poll::Ready(Some(Err(broken))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// The body of an answer, and the record of its request, which goes with it.
pub(crate) struct Answer {
    source: Source,
    guard: Option<CallGuard>,
}

enum Source {
    Server(Incoming),
    Own(Option<Bytes>),
}

impl Answer {
    /// From the server.
    pub(crate) fn of_server(body: Incoming, guard: CallGuard) -> Self {
        let mut answer = Self { source: Source::Server(body), guard: Some(guard) };
        answer.note_end();
        answer
    }

    /// The proxy's own, in place of an answer.
    pub(crate) fn own(body: Bytes, guard: CallGuard) -> Self {
        Self { source: Source::Own(Some(body)), guard: Some(guard) }
    }

    /// Without body and record: the record is of what follows.
    pub(crate) fn none() -> Self {
        Self { source: Source::Own(None), guard: None }
    }

    /// Whoever writes an answer stops asking when it has all that was announced.
    fn note_end(&mut self) {
        if let (Source::Server(body), Some(guard)) = (&self.source, &mut self.guard)
            && body.is_end_stream()
        {
            guard.ended(End::Closed);
        }
    }

    fn ends(&mut self, end: End) {
        if let Some(mut guard) = self.guard.take() {
            guard.ended(end);
        }
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
                self.ends(End::Closed);
                Poll::Ready(None)
            }
            Some(Err(_)) => {
                self.ends(End::ServerGone);
                Poll::Ready(Some(Err(Broken)))
            }
            Some(Ok(frame)) => {
                if let (Some(data), Some(course)) = (frame.data_ref(), course) {
                    course.traffic.down.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
                self.note_end();
                Poll::Ready(Some(Ok(frame)))
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
