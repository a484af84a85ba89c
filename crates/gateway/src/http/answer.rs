//! The body of an answer on its way to the client.
//!
//! Guarantees: an answer that breaks off at the server breaks off at the client; it streams, and no piece is kept; what it
//! says of itself is read as it passes; one whose tokens are spent ends in its own form, where it has one.

use super::body::Broken;
use super::cutting::{Cutting, Piece};
use super::echoing::Echoing;
use super::leading::Leading;
use super::naming::Naming;
use super::refusal;
use super::tally::Tally;
use super::trimming::Trimming;
use super::watching::Watching;
use crate::call::CallGuard;
use crate::reason::End;
use http::response;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use policy::Verb;
use std::pin::Pin;
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
    /// Reads how it names a part of an upload; `None`: it does not.
    naming: Option<Naming>,
    /// Takes out what the client did not ask for; `None`: nothing.
    trimming: Option<Trimming>,
    /// Reads the file that it brings; `None`: nobody asks.
    watching: Option<Watching>,
    /// Hides the key that its request left with; `None`: it left with none.
    echoing: Option<Echoing>,
    /// Whether all of the body came from the server, and what came behind it.
    is_over: bool,
    trailers: Option<Frame<Bytes>>,
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

    /// Has it read for the name of a part of an upload.
    pub(crate) fn naming(mut self, naming: Option<Naming>) -> Self {
        self.naming = naming;
        self
    }

    /// Has taken out of it what the client did not ask for.
    pub(crate) fn trimming(mut self, trimming: Option<Trimming>) -> Self {
        self.trimming = trimming;
        self
    }

    /// Has the key hidden that its request left with.
    pub(crate) fn echoing(mut self, echoing: Option<Echoing>) -> Self {
        self.echoing = echoing;
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
        let (tally, leading, trimming, watching, echoing) = (None, None, None, None, None);
        Self {
            source,
            guard,
            tally,
            cutting,
            is_spent: false,
            leading,
            naming: None,
            trimming,
            watching,
            echoing,
            is_over: false,
            trailers: None,
        }
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

    /// Reads what comes, and says what goes on of it, perhaps nothing yet; after an error nothing does.
    fn passes(&mut self, data: Bytes) -> Result<Bytes, Broken> {
        let Some(guard) = &mut self.guard else { return Ok(data) };
        guard.has_byte();
        let is_last = matches!(&self.source, Source::Server(body) if body.is_end_stream());
        let data = match &mut self.echoing {
            Some(echoing) => match (echoing.push(data), is_last) {
                (data, false) => data,
                (data, true) => Bytes::from([data, echoing.end()].concat()),
            },
            None => data,
        };
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
        self.naming.iter_mut().for_each(|naming| naming.push(&data));
        if let Some(spent) = self.tally.as_mut().and_then(|tally| tally.push(&data))
            && !matches!(self.cutting, Cutting::LetThrough)
        {
            self.is_spent = true;
            guard.spent(spent);
        }
        let data = match self.cutting.take(&data, self.is_spent) {
            Piece::Whole => match &mut self.trimming {
                Some(trimming) => Bytes::from(trimming.push(&data)),
                None => data,
            },
            Piece::Until(length, framing) => {
                let end = refusal::cut(guard, framing);
                guard.course.abort(guard.so_far().reason);
                self.source = Source::Own(None);
                let last = data.get(..length).unwrap_or_default();
                match &mut self.trimming {
                    Some(trimming) => {
                        Bytes::from([trimming.push(last), trimming.end(), end.to_vec()].concat())
                    }
                    None => Bytes::from([last, &end].concat()),
                }
            }
            Piece::Break => {
                guard.course.abort(guard.so_far().reason);
                return Err(Broken);
            }
        };
        guard.course.received(&data, guard.so_far().operation.verb != Verb::Download);
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
            let (usage, cost) = tally.end(is_whole);
            guard.told(usage, cost);
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
        loop {
            if let Some(frame) = ready!(self.poll_next(cx)) {
                return Poll::Ready(frame);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_over = match &self.source {
            Source::Server(body) => body.is_end_stream(),
            Source::Own(body) => body.is_none(),
        };
        let holds = self.trailers.is_some()
            || self.trimming.as_ref().is_some_and(Trimming::holds)
            || self.echoing.as_ref().is_some_and(Echoing::holds);
        is_over && !holds
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Server(_) if self.trimming.is_some() => SizeHint::default(),
            Source::Server(_) if self.echoing.as_ref().is_some_and(Echoing::holds) => SizeHint::default(),
            Source::Server(body) => body.size_hint(),
            Source::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
        }
    }
}

/// A frame, or the end.
type Next = Option<Result<Frame<Bytes>, Broken>>;

impl Answer {
    /// What was held back of the body because it may have been a key, and was none.
    fn held_to_the_end(&mut self) -> Option<Bytes> {
        let held = self.echoing.take()?.end();
        (!held.is_empty()).then_some(held)
    }

    /// What comes next; `None`: nothing of what came goes on yet.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        let frame = match &mut self.source {
            Source::Own(body) => return Poll::Ready(Some(body.take().map(|body| Ok(Frame::data(body))))),
            Source::Server(_) if self.is_over => None,
            Source::Server(body) => ready!(Pin::new(body).poll_frame(cx)),
        };
        if self.guard.as_ref().is_some_and(|guard| guard.course.aborted().is_some()) {
            return Poll::Ready(Some(Some(Err(Broken))));
        }
        let frame = match frame {
            None => return Poll::Ready(Some(self.over())),
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                self.ends(End::ServerGone);
                return Poll::Ready(Some(Some(Err(Broken))));
            }
        };
        Poll::Ready(match frame.into_data() {
            Ok(data) => {
                let data = self.passes(data);
                self.note_end();
                let holds_back = self.trimming.is_some() || self.echoing.is_some();
                let is_held = holds_back && data.as_ref().is_ok_and(Bytes::is_empty);
                (!is_held).then_some(Some(data.map(Frame::data)))
            }
            Err(mut trailers) => {
                if let (Some(echoing), Some(fields)) = (&self.echoing, trailers.trailers_mut()) {
                    echoing.hide_in(fields);
                }
                self.trailers = Some(trailers);
                Some(self.over())
            }
        })
    }

    /// The body is over: what was held of it, then its trailers, then the end.
    fn over(&mut self) -> Next {
        self.is_over = true;
        if let Some(held) = self.held_to_the_end() {
            let held = self.passes(held);
            self.note_end();
            return Some(held.map(Frame::data));
        }
        self.watching.iter_mut().for_each(Watching::end);
        if let Some(reason) = self.watching.as_ref().and_then(Watching::stops) {
            self.guard.iter().for_each(|guard| guard.course.abort(reason));
            return Some(Err(Broken));
        }
        self.leading.iter_mut().for_each(Leading::end);
        let rest = Bytes::from(self.trimming.as_mut().map(Trimming::end).unwrap_or_default());
        if let Some(guard) = self.guard.as_mut().filter(|_| !rest.is_empty()) {
            guard.course.received(&rest, true);
            guard.ended(End::Closed);
            return Some(Ok(Frame::data(rest)));
        }
        self.ends(End::Closed);
        self.trailers.take().map(Ok)
    }
}
