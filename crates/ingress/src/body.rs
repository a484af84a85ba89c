//! The body of a request on its way to the server.
//!
//! Guarantees: what is not held streams, piece by piece; what contradicts what was judged does not get to the server whole;
//! trailers that may not be there are not. A body that stops coming is an error, and so is one that is held and comes too slowly.

use crate::copies::Tap;
use crate::fields;
use crate::reason::Reason;
use crate::record::Course;
use crate::share::Shares;
use http::{HeaderMap, header};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use inspect::coding::Decoder;
use inspect::operation::{Progress, Reader};
use inspect::refusal::{RpcIds, rpc_ids};
use policy::Operation;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, timeout_at};

/// Most bytes that a body may decode to.
const MAX_DECODED: u64 = 64 << 30;
/// Largest body that is held so that its refusal can name its requests.
const MAX_RPC: u64 = 1 << 20;
/// Bytes in a second that a body which is held must have at least, but for the time that its next piece may take: one byte now and
/// then would keep a place for ever.
const SLOWEST: usize = 1024;
/// Held bodies are counted in pieces of so many bytes.
const GRAIN: usize = 16 * 1024;

/// A body that does not come to its end.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message was broken off")
    }
}

impl std::error::Error for Broken {}

/// Why a body could not be read as far as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Its client went, or was too slow.
    Gone,
    /// More than is held.
    TooLarge,
    /// More than there is room for now.
    NoRoom,
    /// It contradicts itself.
    Contradicted,
}

/// How much of bodies is held.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    grains: Arc<Mutex<Shares>>,
    most: usize,
    piece_within: Duration,
}

impl Hold {
    /// `most` of one body, `all` of all of them, in bytes; the next piece must come within that time.
    pub(crate) fn new(most: usize, all: usize, piece_within: Duration) -> Self {
        Self { grains: Arc::new(Mutex::new(Shares::new(all.div_ceil(GRAIN)))), most, piece_within }
    }

    /// Most bytes of one body.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Room for one body of a consumer, of which nothing is held yet.
    pub(crate) fn room(&self, consumer: Arc<str>) -> Room {
        Room { all: Arc::clone(&self.grains), consumer, grains: 0 }
    }

    /// Makes room for so many bytes of one body.
    pub(crate) fn take(&self, room: &mut Room, bytes: usize) -> Result<(), Unread> {
        if bytes > self.most {
            return Err(Unread::TooLarge);
        }
        while room.grains * GRAIN < bytes {
            let mut all = lock(&room.all);
            if !all.may_take(&room.consumer) {
                return Err(Unread::NoRoom);
            }
            all.take(&room.consumer);
            room.grains += 1;
        }
        Ok(())
    }
}

/// Room for one body; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    all: Arc<Mutex<Shares>>,
    consumer: Arc<str>,
    grains: usize,
}

impl Room {
    /// Nothing is held any more.
    pub(crate) fn clear(&mut self) {
        let grains = std::mem::take(&mut self.grains);
        if grains > 0 {
            lock(&self.all).give_back(&self.consumer, grains);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.clear();
    }
}

fn lock(shares: &Mutex<Shares>) -> MutexGuard<'_, Shares> {
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads what a body says it does.
#[derive(Debug)]
struct Reading {
    reader: Reader,
    /// Undoes its codings; `None`: it cannot be read.
    decoder: Option<Decoder>,
    is_flawed: bool,
}

impl Reading {
    fn push(&mut self, piece: &[u8]) {
        let (Some(decoder), true) = (&mut self.decoder, self.reader.reads_body()) else { return };
        let reader = &mut self.reader;
        let read = decoder.push_to(piece, &mut |bytes| {
            reader.push(bytes);
            Ok(())
        });
        self.is_flawed |= read.is_err() && self.reader.reads_body();
    }

    fn end(&mut self) {
        if self.reader.reads_body() {
            self.is_flawed |= self.decoder.as_mut().is_none_or(|decoder| decoder.end().is_err());
        }
        self.reader.end();
    }

    /// Whether it looks like something that is known, and yet nobody can tell what it does.
    fn is_ambiguous(&self) -> bool {
        let is_unread = self.is_flawed || self.reader.reads_body() && self.decoder.is_none();
        self.reader.is_ambiguous() || is_unread && self.reader.so_far().provider.is_some()
    }

    /// What it does, once that is known. The error: nobody can say.
    fn known(&self) -> Option<Result<Operation, Unread>> {
        if self.reader.reads_body() && self.decoder.is_none() {
            return Some(Ok(Operation::unknown("its body is in a content coding that is not read")));
        }
        match self.reader.progress() {
            Progress::NeedMore if self.is_flawed => {
                Some(Ok(Operation::unknown("its body is not what its content coding says")))
            }
            Progress::NeedMore => None,
            Progress::Known(_) if self.is_flawed => Some(Err(Unread::Contradicted)),
            Progress::Known(operation) => Some(Ok(operation.clone())),
            Progress::Contradicted(..) => Some(Err(Unread::Contradicted)),
        }
    }

    fn is_contradicted(&self) -> bool {
        matches!(self.known(), Some(Err(Unread::Contradicted)))
    }
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Outgoing {
    source: Incoming,
    reading: Reading,
    held: VecDeque<Bytes>,
    held_bytes: usize,
    room: Room,
    hold: Hold,
    trailers: Option<HeaderMap>,
    /// Everything came.
    is_over: bool,
    late: Option<Pin<Box<Sleep>>>,
    /// Since when it is held.
    began: Option<Instant>,
    course: Arc<Course>,
    size: SizeHint,
    /// Who gets a copy.
    tap: Option<Tap>,
}

impl Outgoing {
    pub(crate) fn new(
        source: Incoming,
        reader: Reader,
        fields: &HeaderMap,
        hold: &Hold,
        course: &Arc<Course>,
    ) -> Self {
        let reading = Reading { reader, decoder: decoder(fields), is_flawed: false };
        let size = source.size_hint();
        let mut body = Self {
            source,
            reading,
            held: VecDeque::new(),
            held_bytes: 0,
            room: hold.room(Arc::default()),
            hold: hold.clone(),
            trailers: None,
            is_over: false,
            late: None,
            began: None,
            course: Arc::clone(course),
            size,
            tap: None,
        };
        body.note_end();
        body
    }

    /// Says whose it is, before anything of it is held.
    pub(crate) fn belongs_to(&mut self, consumer: Arc<str>) {
        self.room = self.hold.room(consumer);
    }

    /// Has what goes on copied, from its beginning.
    pub(crate) fn copied_to(&mut self, tap: Option<Tap>) {
        self.tap = tap;
        self.note_sent();
    }

    /// Lets the copies go where everything went on.
    fn note_sent(&mut self) {
        let is_sent = self.is_over && self.held.is_empty() && !self.reading.is_contradicted();
        if let Some(mut tap) = self.tap.take_if(|_| is_sent) {
            tap.finish();
        }
    }

    /// Has something else go on in the place of all of it, which is held.
    pub(crate) fn replace(&mut self, bytes: Vec<u8>) -> Result<(), Unread> {
        self.held_bytes = bytes.len();
        self.size = SizeHint::with_exact(bytes.len() as u64);
        self.held = VecDeque::from([bytes.into()]);
        self.hold.take(&mut self.room, self.held_bytes)
    }

    /// What is held, piece by piece.
    pub(crate) fn pieces(&self) -> Vec<Bytes> {
        self.held.iter().cloned().collect()
    }

    /// What did not come yet.
    pub(crate) fn into_source(self) -> Incoming {
        self.source
    }

    fn note_end(&mut self) {
        if !self.is_over && self.source.is_end_stream() {
            self.is_over = true;
            self.reading.end();
        }
    }

    /// Reads until it is known what the request does.
    pub(crate) async fn understand(&mut self) -> Result<Operation, Unread> {
        loop {
            if let Some(known) = self.reading.known() {
                return known;
            }
            if self.is_over {
                return Ok(Operation::unknown("its body is in a form that is not read"));
            }
            self.hold_more().await?;
        }
    }

    /// Drops what tools are called with, once it was judged.
    pub(crate) fn forget_arguments(&mut self) {
        self.reading.reader.forget_arguments();
    }

    /// Whether it looks like something that is known, and yet nobody can tell what it does.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.reading.is_ambiguous()
    }

    /// Whether nothing is in it. Of one that does not say so, no more is held than shows it.
    pub(crate) async fn is_empty(&mut self) -> Result<bool, Unread> {
        while self.held_bytes == 0 && !self.is_over && self.exact().is_none() {
            self.hold_more().await?;
        }
        Ok(self.exact().unwrap_or(self.held_bytes as u64) == 0)
    }

    /// Holds all of it.
    pub(crate) async fn hold_all(&mut self) -> Result<(), Unread> {
        while !self.is_over {
            self.hold_more().await?;
        }
        if self.reading.is_contradicted() { Err(Unread::Contradicted) } else { Ok(()) }
    }

    async fn hold_more(&mut self) -> Result<(), Unread> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let pace = Duration::from_secs((self.held_bytes / SLOWEST) as u64);
        let until = began + self.hold.piece_within + pace;
        let Ok(taken) = timeout_at(until, poll_fn(|cx| self.poll_take(cx))).await else {
            self.course.abort(Reason::Timeout);
            return Err(Unread::Gone);
        };
        let Some(piece) = taken.map_err(|Broken| Unread::Gone)? else { return Ok(()) };
        self.held_bytes += piece.len();
        // Whatever becomes of it: where nobody must see it whole, it goes on.
        self.held.push_back(piece);
        self.hold.take(&mut self.room, self.held_bytes)
    }

    /// What is held, decoded. `None`: it cannot be decoded, or decodes to more than may be held.
    pub(crate) fn decoded(&self, fields: &HeaderMap) -> Option<Vec<u8>> {
        let values = fields.get_all(header::CONTENT_ENCODING).into_iter().map(http::HeaderValue::as_bytes);
        let mut decoder = Decoder::new(values, self.hold.most as u64).ok()?;
        let mut body = Vec::with_capacity(self.held_bytes);
        for piece in &self.held {
            decoder.push(piece, &mut body).ok()?;
        }
        decoder.end().ok()?;
        Some(body)
    }

    /// Which requests of JSON-RPC a refusal answers; none where that is not known.
    pub(crate) async fn rpc_ids(&mut self, operation: &Operation, fields: &HeaderMap) -> RpcIds {
        let is_rpc = matches!(operation.provider.as_deref(), Some("mcp" | "a2a"));
        if !is_rpc || self.exact().is_none_or(|length| length == 0 || length > MAX_RPC) {
            return RpcIds::default();
        }
        match self.hold_all().await {
            Ok(()) => self.decoded(fields).map(|body| rpc_ids(&body)).unwrap_or_default(),
            // It goes on as it is, and is refused where that must be so.
            Err(_) => RpcIds::default(),
        }
    }

    /// How long it is, where it says so.
    pub(crate) fn exact(&self) -> Option<u64> {
        self.size.exact()
    }

    /// How long it is, or how many bytes are held where it does not say so.
    pub(crate) fn length(&self) -> u64 {
        self.size.exact().unwrap_or(self.held_bytes as u64)
    }

    /// Takes the next piece from the client; `None`: there are no more.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        if self.is_over {
            return Poll::Ready(Ok(None));
        }
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.source).poll_frame(cx) else {
                let within = self.hold.piece_within;
                let late = self.late.get_or_insert_with(|| Box::pin(sleep(within)));
                ready!(late.as_mut().poll(cx));
                self.course.abort(Reason::Timeout);
                return Poll::Ready(Err(Broken));
            };
            self.late = None;
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return Poll::Ready(Err(Broken)),
                None => {
                    self.is_over = true;
                    self.reading.end();
                    return Poll::Ready(Ok(None));
                }
            };
            match frame.into_data() {
                Ok(piece) => {
                    self.reading.push(&piece);
                    self.note_end();
                    return Poll::Ready(Ok(Some(piece)));
                }
                Err(frame) => {
                    if let Ok(mut trailers) = frame.into_trailers() {
                        fields::strip_trailers(&mut trailers);
                        self.trailers = Some(trailers);
                    }
                    self.note_end();
                }
            }
        }
    }
}

fn decoder(fields: &HeaderMap) -> Option<Decoder> {
    let values = fields.get_all(header::CONTENT_ENCODING).into_iter().map(http::HeaderValue::as_bytes);
    Decoder::new(values, MAX_DECODED).ok()
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if this.course.aborted().is_some() {
            return Poll::Ready(Some(Err(Broken)));
        }
        let piece = match this.held.pop_front() {
            Some(piece) => Some(piece),
            None => {
                this.room.clear();
                match ready!(this.poll_take(cx)) {
                    Ok(piece) => piece,
                    Err(broken) => return Poll::Ready(Some(Err(broken))),
                }
            }
        };
        if this.reading.is_contradicted() {
            this.course.abort(Reason::RequestChanged);
            return Poll::Ready(Some(Err(Broken)));
        }
        let Some(piece) = piece else {
            this.note_sent();
            return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        };
        this.course.up.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if let Some(tap) = &mut this.tap {
            tap.push(&piece);
        }
        this.note_sent();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.held.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}
