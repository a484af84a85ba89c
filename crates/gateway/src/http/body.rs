//! The body of a request on its way to the server.
//!
//! Guarantees: what is held of it until it is known what it does is bounded; a body whose later part contradicts what it was
//! judged by, or in which something is found that must not leave, is never whole at the server. It streams: once a request
//! is known, no more is kept than one piece, and what is held back where something may stop it.

use super::asking::Asking;
use super::fields;
use super::hold::{Full, Held, MAX_HELD, Share};
use super::reading::{Reading, decoder_within};
use super::searching::Searching;
use crate::call::Course;
use crate::reason::Reason;
use ::inspect::answer::Ask;
use ::inspect::leak::HOLD_BACK;
use ::inspect::operation::Progress;
use http::HeaderMap;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use policy::Operation;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
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
    /// Too much of it would have to be held.
    TooLarge,
    /// Too much is held of its pod, or of all.
    Full,
    /// It contradicts itself.
    Contradicted(Box<Operation>),
}

impl From<Full> for Unclear {
    fn from(full: Full) -> Self {
        match full {
            Full::Body => Self::TooLarge,
            Full::Share => Self::Full,
        }
    }
}

/// The body of a request, read on its way to the server. Trailers go on only where [`Outgoing::with_trailers`] says so: a
/// server may take them for fields, and the request was judged by its fields.
pub(crate) struct Outgoing {
    source: Incoming,
    reading: Reading,
    /// Looks for what must not leave; `None`: nobody asks.
    searching: Option<Searching>,
    /// What was read and has not gone on, and how many bytes that are.
    pieces: VecDeque<Bytes>,
    queued: usize,
    /// What of its pod's share it takes.
    hold: Share,
    held: Option<Held>,
    /// Whether the source came to its end.
    is_over: bool,
    /// Bytes that have not gone on, where their number was said.
    left: Option<u64>,
    /// Whether trailers go on, and those that came.
    takes_trailers: bool,
    trailers: Option<HeaderMap>,
    course: Arc<Course>,
}

impl Outgoing {
    pub(crate) fn new(source: Incoming, mut reading: Reading, course: &Arc<Course>, hold: &Share) -> Self {
        let (is_over, left) = (source.is_end_stream(), source.size_hint().exact());
        if is_over {
            reading.end();
        }
        let (pieces, course) = (VecDeque::new(), Arc::clone(course));
        Self {
            source,
            reading,
            searching: None,
            pieces,
            queued: 0,
            hold: hold.clone(),
            held: None,
            is_over,
            left,
            takes_trailers: false,
            trailers: None,
            course,
        }
    }

    /// Has its trailers go on, but for fields that say how a message is read. A protocol must keep them apart from fields,
    /// as gRPC does; and nobody may ask what is in them.
    pub(crate) fn with_trailers(mut self, takes_trailers: bool) -> Self {
        self.takes_trailers = takes_trailers;
        self
    }

    /// All of it, of which nothing has gone on; `None`: it is larger, or its client went.
    pub(crate) async fn whole(&mut self, most: usize) -> Option<Vec<u8>> {
        while !self.is_over && self.queued <= most {
            poll_fn(|cx| self.poll_take(cx)).await.ok()?;
        }
        (self.queued <= most).then(|| self.pieces.iter().flatten().copied().collect())
    }

    /// Reads and holds until it is known what the request does. `None`: it cannot be read.
    pub(crate) async fn understand(&mut self) -> Result<Option<Operation>, Unclear> {
        loop {
            self.count()?;
            match self.reading.progress() {
                None => return Ok(None),
                Some(Progress::Known(operation)) => {
                    let operation = operation.clone();
                    self.reading.forget_arguments();
                    return Ok(Some(operation));
                }
                Some(Progress::Contradicted(operation, _)) => {
                    return Err(Unclear::Contradicted(Box::new(operation.clone())));
                }
                // A reader says what it is at the end at last.
                Some(Progress::NeedMore) if self.is_over => return Ok(None),
                Some(Progress::NeedMore) => {}
            }
            poll_fn(|cx| self.poll_take(cx)).await.map_err(|_| Unclear::Gone)?;
        }
    }

    /// Counts what was read and has not gone on, until all of it has.
    fn count(&mut self) -> Result<(), Full> {
        self.held.get_or_insert_with(|| Held::none(&self.hold)).at_least(self.queued)
    }

    /// Has all of it searched.
    pub(crate) fn search(&mut self, mut searching: Searching) {
        self.pieces.iter().for_each(|piece| searching.push(piece));
        if self.is_over {
            searching.end();
        }
        self.searching = Some(searching);
    }

    /// Where something may stop it, reads until as much is there as is held back, or its end: what is found by then is
    /// found before anything went on.
    pub(crate) async fn search_first(&mut self) -> Result<(), Unclear> {
        let may_stop = self.searching.as_ref().is_some_and(Searching::may_stop);
        while may_stop && self.stops().is_none() && !self.is_over && self.queued < HOLD_BACK {
            poll_fn(|cx| self.poll_take(cx)).await.map_err(|_| Unclear::Gone)?;
        }
        Ok(())
    }

    /// Reads and holds all of it, or as much as may be held, to learn how long its answer may become. Returns that, and about
    /// how many bytes of text the request has when it is decoded. `may_be_binary`: what is no JSON is no text.
    pub(crate) async fn ask(
        &mut self,
        operation: &Operation,
        fields: &HeaderMap,
        may_be_binary: bool,
    ) -> Result<(Ask, u64), Unclear> {
        let mut asking = Asking::new(operation, fields, &self.hold);
        self.pieces.iter().for_each(|piece| asking.push(piece));
        loop {
            if may_be_binary && asking.is_broken() {
                return Ok((asking.end(false).0, 0));
            }
            if self.is_over || self.stops().is_some() {
                break;
            }
            let taken = poll_fn(|cx| self.poll_take(cx)).await.map_err(|_| Unclear::Gone)?;
            self.pieces.back().filter(|_| taken > 0).into_iter().for_each(|piece| asking.push(piece));
            // What has not gone on must not be more than may be.
            if self.count().is_err() {
                break;
            }
        }
        let (ask, bytes) = asking.end(self.is_over);
        Ok((ask, bytes.max(self.length())))
    }

    /// Reads and holds all of it. Where there is no room for that, what was read is held all the same.
    pub(crate) async fn hold_all(&mut self) -> Result<(), Unclear> {
        self.count()?;
        while self.stops().is_none() && !self.is_over {
            poll_fn(|cx| self.poll_take(cx)).await.map_err(|_| Unclear::Gone)?;
            self.count()?;
        }
        Ok(())
    }

    /// What is held, without the codings that these fields tell. `None`: it cannot be decoded, or becomes too large.
    pub(crate) fn decoded(&self, fields: &HeaderMap) -> Option<Vec<u8>> {
        let mut decoder = decoder_within(fields, MAX_HELD as u64)?;
        let mut body = Vec::new();
        self.pieces.iter().try_for_each(|piece| decoder.push(piece, &mut body)).ok()?;
        decoder.end().ok()?;
        Some(body)
    }

    /// Has this go on in place of what is held, if there is room for it. `reading` read all of it.
    pub(crate) fn replace(&mut self, body: Vec<u8>, reading: Reading) -> Result<(), Full> {
        self.pieces.clear();
        (self.held, self.reading) = (None, reading);
        (self.queued, self.left) = (body.len(), Some(body.len() as u64));
        self.pieces.extend((!body.is_empty()).then(|| Bytes::from(body)));
        self.count()
    }

    /// What it does, as far as it was read.
    pub(crate) fn operation(&self) -> Option<Operation> {
        self.reading.operation()
    }

    /// What it was searched by.
    pub(crate) fn searching(&self) -> Option<&Searching> {
        self.searching.as_ref()
    }

    /// Why it must not come to its end.
    pub(crate) fn stops(&self) -> Option<Reason> {
        if self.reading.is_contradicted() {
            return Some(Reason::RequestChanged);
        }
        self.searching.as_ref().and_then(Searching::stops)
    }

    /// About how many bytes it has: as many as was said, else those that were read.
    pub(crate) fn length(&self) -> u64 {
        self.left.unwrap_or(self.queued as u64)
    }

    /// What has not been read, to be thrown away.
    pub(crate) fn into_rest(self) -> Incoming {
        self.source
    }

    /// Takes the next piece from the source, and has it read. Returns its length; 0 also at the end.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        let Some(frame) = ready!(Pin::new(&mut self.source).poll_frame(cx)) else {
            self.ends();
            return Poll::Ready(Ok(0));
        };
        let piece = match frame.map_err(|_| Broken)?.into_data() {
            Ok(piece) => piece,
            Err(frame) => {
                self.trailers = frame.into_trailers().ok().filter(|_| self.takes_trailers);
                self.trailers.iter_mut().for_each(fields::strip_trailers);
                return Poll::Ready(Ok(0));
            }
        };
        self.reading.push(&piece);
        self.searching.iter_mut().for_each(|searching| searching.push(&piece));
        let length = piece.len();
        self.queued += length;
        self.pieces.extend((length > 0).then_some(piece));
        if self.source.is_end_stream() {
            // Known with its last piece, its end goes with that: alone it would be written by itself.
            self.ends();
        }
        Poll::Ready(Ok(length))
    }

    /// The source came to its end.
    fn ends(&mut self) {
        self.is_over = true;
        self.reading.end();
        self.searching.iter_mut().for_each(Searching::end);
    }

    /// The next piece that may go on. One that makes the body whole at the server waits for the end of the source; so
    /// does what is not searched to its end.
    fn next_piece(&mut self) -> Option<Bytes> {
        let front = self.pieces.front()?.len();
        let length = front as u64;
        let behind = self.queued.saturating_sub(front);
        let is_held = behind < HOLD_BACK && self.searching.as_ref().is_some_and(Searching::may_stop);
        let makes_whole = self.left.is_some_and(|left| left <= length);
        if (makes_whole || is_held) && !self.is_over {
            return None;
        }
        self.queued = behind;
        self.left = self.left.map(|left| left.saturating_sub(length));
        let piece = self.pieces.pop_front()?;
        self.course.sent(&piece);
        Some(piece)
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
            if let Some(reason) = self.stops() {
                self.course.abort(reason);
                return Poll::Ready(Some(Err(Broken)));
            }
            if let Some(piece) = self.next_piece() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if self.is_over {
                let trailers = self.trailers.take().filter(|_| self.searching.is_none());
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            self.held = None;
            match ready!(self.poll_take(cx)) {
                Ok(_) => {}
                Err(broken) => return Poll::Ready(Some(Err(broken))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.pieces.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::hold::{Hold, MAX_HELD};
    use super::*;
    use http::{Request, Response};
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::sync::mpsc;

    /// What became of one request.
    #[derive(Debug, PartialEq, Eq)]
    struct Became {
        understood: Result<Option<policy::Verb>, Unclear>,
        /// What went on of it, and whether that is all.
        sent: Vec<u8>,
        is_whole: bool,
    }

    /// Sends bytes to a server that reads a request's body as the proxy does, piece by piece.
    fn pass(wire: &[u8], size: usize) -> Became {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let (told, mut became) = mpsc::channel(1);
            let service = service_fn(move |request: Request<Incoming>| {
                let told = told.clone();
                async move {
                    told.send(read(request.into_body()).await).await.unwrap();
                    Ok::<_, Broken>(Response::new(http_body_util::Empty::<Bytes>::new()))
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            let write = async {
                for piece in wire.chunks(size) {
                    // Nobody may be left to read it.
                    let _gone = tokio::io::AsyncWriteExt::write_all(&mut client, piece).await;
                    tokio::task::yield_now().await;
                }
                std::future::pending::<()>().await;
            };
            let serve = async {
                // It ends early where a body was not read to its end.
                let _ended = http.serve_connection(TokioIo::new(server), service).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = serve => panic!("it waits for ever"),
                () = write => panic!("it waits for ever"),
                became = became.recv() => became.unwrap(),
            }
        })
    }

    async fn read(body: Incoming) -> Became {
        let course = Arc::new(Course::default());
        let hold = Arc::new(Hold::default()).share(std::net::Ipv4Addr::LOCALHOST.into());
        let mut body = Outgoing::new(body, Reading::script(&HeaderMap::new(), &hold), &course, &hold);
        let understood = body.understand().await.map(|known| known.map(|operation| operation.verb));
        let (mut sent, mut is_whole) = (Vec::new(), false);
        while understood.is_ok() && !is_whole {
            match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                Some(Ok(frame)) => sent.extend_from_slice(&frame.into_data().unwrap()),
                Some(Err(Broken)) => {
                    assert_eq!(course.aborted(), Some(Reason::RequestChanged));
                    break;
                }
                None => is_whole = true,
            }
        }
        assert_eq!(course.traffic.up(), sent.len() as u64);
        Became { understood, sent, is_whole }
    }

    fn sized(body: &str) -> Vec<u8> {
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn chunked(body: &str) -> Vec<u8> {
        let chunks: String = body.chars().map(|letter| format!("1\r\n{letter}\r\n")).collect();
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
            .into_bytes()
    }

    #[test]
    fn a_body_goes_on_whole_however_it_comes() {
        for body in ["", "!", "abc", "!abc", "a!bc", "abc!"] {
            for wire in [sized(body), chunked(body)] {
                for size in [1, 2, 3, 5, 1000] {
                    let became = pass(&wire, size);
                    let understood = Ok(Some(policy::Verb::Call));
                    assert_eq!(
                        became,
                        Became { understood, sent: body.into(), is_whole: true },
                        "{body} {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_body_that_contradicts_itself_is_never_whole_at_the_server() {
        for body in ["!abc?", "!?", "!ab?c", "abc!def?"] {
            for wire in [sized(body), chunked(body)] {
                for size in [1, 2, 3, 5, 1000] {
                    let became = pass(&wire, size);
                    assert!(!became.is_whole && became.sent.len() < body.len(), "{body} {size} {became:?}");
                    assert!(body.as_bytes().starts_with(&became.sent), "{body} {size} {became:?}");
                    assert!(!became.sent.contains(&b'?'), "{body} {size} {became:?}");
                }
            }
        }
        let at_once = pass(&sized("abc?"), 1000);
        assert!(matches!(at_once.understood, Err(Unclear::Contradicted(_))), "{at_once:?}");
    }

    #[test]
    fn what_is_too_large_to_be_held_whole_is_counted_until_it_goes_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let hold = Arc::new(Hold::default()).share(std::net::Ipv4Addr::LOCALHOST.into());
        let of_service = hold.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let hold = of_service.clone();
            async move {
                let course = Arc::new(Course::default());
                let reading = Reading::script(&HeaderMap::new(), &hold);
                let mut body = Outgoing::new(request.into_body(), reading, &course, &hold);
                assert_eq!(body.understand().await.map(|known| known.is_some()), Ok(true));
                assert_eq!(body.hold_all().await, Err(Unclear::TooLarge));
                let [mut one, mut other] = [(); 2].map(|()| Held::none(&hold));
                assert_eq!((one.more(MAX_HELD), other.more(MAX_HELD)), (Ok(()), Err(Full::Share)));
                drop((one, other));
                while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    frame.unwrap();
                }
                Ok::<_, Broken>(Response::new(http_body_util::Empty::<Bytes>::new()))
            }
        });
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let wire = sized(&format!("!{}", "x".repeat(MAX_HELD)));
            let write = async {
                tokio::io::AsyncWriteExt::write_all(&mut client, &wire).await.unwrap();
                tokio::io::AsyncWriteExt::shutdown(&mut client).await.unwrap();
                let mut answer = Vec::new();
                tokio::io::AsyncReadExt::read_to_end(&mut client, &mut answer).await.unwrap();
                answer
            };
            let mut http = hyper::server::conn::http1::Builder::new();
            let serve = http.half_close(true).serve_connection(TokioIo::new(server), service);
            let (answer, served) = tokio::join!(write, serve);
            served.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200 "));
        });
        let [mut one, mut other] = [(); 2].map(|()| Held::none(&hold));
        assert_eq!((one.more(MAX_HELD), other.more(MAX_HELD)), (Ok(()), Ok(())), "it went on");
    }

    #[test]
    fn what_is_not_known_within_the_bound_is_refused() {
        let body = "x".repeat(MAX_HELD);
        assert_eq!(pass(&sized(&body), 1 << 16).understood, Ok(Some(policy::Verb::Call)), "at its end");
        let became = pass(&sized(&format!("{body}!")), 1 << 16);
        assert_eq!(became, Became { understood: Err(Unclear::TooLarge), sent: vec![], is_whole: false });
        let became = pass(&sized(&format!("!{body}")), 1 << 16);
        assert!(became.is_whole && became.sent.len() == MAX_HELD + 1, "what is known is not held");
    }
}
