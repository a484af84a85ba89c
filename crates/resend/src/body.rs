//! A body of which what went is kept, so that all of it can go once more.
//!
//! Guarantees: at any time only the last of its sendings gives anything; each gives the same bytes in the same order, and the source is
//! read only once. What there is no room to keep goes on all the same, and cannot go again.

use http::HeaderMap;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

/// A body that does not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message was broken off")]
pub struct Broken;

/// Whether so many bytes of a body may be kept in all. Dropped once nothing is.
type Room = Box<dyn FnMut(usize) -> bool + Send>;

/// A body, and what of it went.
pub struct Original<B>(Arc<Mutex<State<B>>>);

struct State<B> {
    source: B,
    /// As it was before anything went.
    size: SizeHint,
    /// `None`: what went is not kept.
    kept: Option<(Vec<Bytes>, Room)>,
    length: usize,
    trailers: Option<HeaderMap>,
    is_over: bool,
    /// Of the sending that may read.
    turn: u32,
    was_asked: bool,
}

/// One time that a body goes.
pub struct Sending<B> {
    of: Original<B>,
    turn: u32,
    /// How many of the kept pieces were given.
    given: usize,
    gave_trailers: bool,
}

impl<B> Clone for Original<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> fmt::Debug for Original<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Original")
    }
}

impl<B> fmt::Debug for Sending<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("turn", &self.turn).finish_non_exhaustive()
    }
}

impl<B> Original<B> {
    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it, from its beginning. Earlier sendings break. `None`: what went is not kept.
    pub fn again(&self) -> Option<Sending<B>> {
        let mut state = self.state();
        state.kept.as_ref()?;
        state.turn = state.turn.wrapping_add(1);
        state.was_asked = false;
        Some(Sending { of: self.clone(), turn: state.turn, given: 0, gave_trailers: false })
    }

    /// Whether somebody asked the last sending for a piece.
    pub fn was_asked(&self) -> bool {
        self.state().was_asked
    }

    /// It goes no more than this once: nothing is kept of it.
    pub fn forget(&self) {
        self.state().kept = None;
    }
}

impl<B: Body<Data = Bytes>> Original<B> {
    /// A body of which nothing went. `room` says whether so many bytes in all may be kept.
    pub fn new(source: B, room: impl FnMut(usize) -> bool + Send + 'static) -> Self {
        let size = source.size_hint();
        Self(Arc::new(Mutex::new(State {
            source,
            size,
            kept: Some((Vec::new(), Box::new(room))),
            length: 0,
            trailers: None,
            is_over: false,
            turn: 0,
            was_asked: false,
        })))
    }
}

impl<B> State<B> {
    fn keep(&mut self, piece: &Bytes) {
        let Some((pieces, room)) = &mut self.kept else { return };
        self.length = self.length.saturating_add(piece.len());
        if room(self.length) {
            pieces.push(piece.clone());
        } else {
            self.kept = None;
        }
    }

    fn piece(&self, number: usize) -> Option<Bytes> {
        self.kept.as_ref()?.0.get(number).cloned()
    }
}

impl<B> Sending<B> {
    /// What it is one sending of.
    pub fn original(&self) -> &Original<B> {
        &self.of
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Sending<B> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let mut state = this.of.state();
        let state = &mut *state;
        if state.turn != this.turn {
            return Poll::Ready(Some(Err(Broken)));
        }
        state.was_asked = true;
        if let Some(piece) = state.piece(this.given) {
            this.given += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if !state.is_over {
            match ready!(Pin::new(&mut state.source).poll_frame(cx)) {
                None => state.is_over = true,
                Some(Err(_)) => {
                    state.kept = None;
                    return Poll::Ready(Some(Err(Broken)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => {
                        state.keep(&piece);
                        this.given += 1;
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                    Err(frame) => {
                        state.trailers = frame.into_trailers().ok();
                        state.is_over = true;
                    }
                },
            }
        }
        let trailers = state.trailers.as_ref().filter(|_| !this.gave_trailers).cloned();
        this.gave_trailers = true;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.of.state();
        let is_given = state.kept.as_ref().is_none_or(|(pieces, _)| self.given >= pieces.len());
        let is_over = state.is_over || state.source.is_end_stream();
        let is_all = is_given && is_over && (self.gave_trailers || state.trailers.is_none());
        is_all && state.turn == self.turn
    }

    fn size_hint(&self) -> SizeHint {
        self.of.state().size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::Waker;

    /// Gives these pieces, and then trailers.
    struct Pieces(VecDeque<&'static str>, Option<HeaderMap>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let piece = self.0.pop_front().map(|piece| Frame::data(Bytes::from_static(piece.as_bytes())));
            Poll::Ready(piece.or_else(|| self.1.take().map(Frame::trailers)).map(Ok))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty() && self.1.is_none()
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
        }
    }

    fn next(sending: &mut Sending<Pieces>) -> Option<Result<String, Broken>> {
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(frame) = Pin::new(sending).poll_frame(&mut cx) else { panic!("it is there") };
        frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(piece) => String::from_utf8(piece.to_vec()).unwrap(),
                Err(frame) => format!("{:?}", frame.into_trailers().unwrap()),
            })
        })
    }

    fn rest(sending: &mut Sending<Pieces>) -> Vec<String> {
        std::iter::from_fn(|| next(sending)).map(Result::unwrap).collect()
    }

    fn body(most: usize) -> Original<Pieces> {
        let mut trailers = HeaderMap::new();
        trailers.insert("x", "1".parse().unwrap());
        let pieces = ["one", "two", "three"].into();
        Original::new(Pieces(pieces, Some(trailers)), move |length| length <= most)
    }

    const ALL: [&str; 4] = ["one", "two", "three", "{\"x\": \"1\"}"];

    #[test]
    fn all_of_it_goes_again_from_wherever_it_broke_and_the_sending_before_gives_nothing_more() {
        for taken in 0..=ALL.len() {
            let original = body(11);
            let mut first = original.again().unwrap();
            assert!(!original.was_asked());
            for piece in &ALL[..taken] {
                assert_eq!(next(&mut first).unwrap().unwrap(), *piece);
            }
            assert_eq!(original.was_asked(), taken > 0);
            let mut second = original.again().unwrap();
            assert_eq!(second.size_hint().exact(), Some(11));
            assert!(!original.was_asked() && !second.is_end_stream());
            assert_eq!(next(&mut first), Some(Err(Broken)));
            assert!(!first.is_end_stream(), "what broke is not whole");
            assert_eq!(rest(&mut second), ALL);
            assert!(second.is_end_stream());
        }
    }

    #[test]
    fn what_there_is_no_room_to_keep_goes_once() {
        let original = body(6);
        let mut only = original.again().unwrap();
        assert_eq!(rest(&mut only), ALL);
        assert!(only.is_end_stream() && original.again().is_none());
    }

    #[test]
    fn what_is_forgotten_goes_on_and_not_again() {
        let original = body(100);
        let mut only = original.again().unwrap();
        assert_eq!(next(&mut only).unwrap().unwrap(), "one");
        original.forget();
        assert!(original.again().is_none());
        assert_eq!(rest(&mut only), ALL[1..]);
        assert!(only.is_end_stream());
    }
}
