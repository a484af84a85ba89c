//! A WebSocket that a server agreed to: bytes both ways. What the server says is looked through where a policy wants that.

use crate::admission::Turn;
use crate::answer::{Answer, QUIET};
use crate::body::Broken;
use crate::definitions::Told;
use crate::fields;
use crate::frames::{self, Frames};
use crate::record::{End, Guard};
use crate::sieving;
use crate::spend::Drawn;
use crate::upstream::Lease;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use inspect::sieve::Sieve;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, timeout, timeout_at};

/// How what a server says is looked through.
pub(crate) struct Looking {
    pub(crate) sieve: Sieve,
    /// Where the policy that wants it is written.
    pub(crate) source: String,
    pub(crate) told: Told,
}

/// Bytes copied at once.
const PIECE: usize = 16 * 1024;

/// When something came last over both ways of a connection: one that only listens is not idle.
#[derive(Debug)]
pub(crate) struct Quiet {
    last: Mutex<Instant>,
    most: Duration,
}

impl Quiet {
    /// Something must come within so long.
    pub(crate) fn new(most: Duration) -> Self {
        Self { last: Mutex::new(Instant::now()), most }
    }

    fn last(&self) -> MutexGuard<'_, Instant> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something came.
    fn note(&self) {
        *self.last() = Instant::now();
    }

    /// What comes; `None`: nothing came for too long, either way.
    async fn heard<T>(&self, coming: impl Future<Output = T>) -> Option<T> {
        let mut coming = pin!(coming);
        loop {
            let until = *self.last() + self.most;
            if let Ok(came) = timeout_at(until, &mut coming).await {
                return Some(came);
            }
            if *self.last() + self.most <= until {
                return None;
            }
        }
    }
}

/// Has both ends copied once the answer that agrees to it is out, and gives that answer.
pub(crate) fn agreed(
    client: OnUpgrade,
    mut answer: Response<Incoming>,
    mut guard: Guard,
    held: (Lease, Turn, Drawn, Option<Looking>),
    idle: Duration,
) -> Response<Answer> {
    let server = hyper::upgrade::on(&mut answer);
    guard.answered(StatusCode::SWITCHING_PROTOCOLS.as_u16());
    let (mut head, _) = answer.into_parts();
    fields::strip(&mut head.headers);
    fields::upgrade(&mut head.headers);
    head.extensions.clear();
    tokio::spawn(async move {
        let (mut lease, _turn, _drawn, looking) = held;
        lease.forget_connection();
        let (Ok(client), Ok(server)) = tokio::join!(client, server) else { return };
        let (from_client, to_client) = split(TokioIo::new(client));
        let (from_server, to_server) = split(TokioIo::new(server));
        let course = Arc::clone(&guard.course);
        let quiet = Quiet::new(idle);
        let up = copy(from_client, to_server, &quiet, &course.up);
        let copied = match looking {
            None => tokio::try_join!(up, copy(from_server, to_client, &quiet, &course.down)).map(|_| ()),
            Some(looking) => {
                let looked = looked_at(from_server, to_client, &quiet, looking, &mut guard);
                tokio::try_join!(up, looked).map(|_| ())
            }
        };
        guard.record.end = if copied.is_ok() { End::Closed } else { End::ServerGone };
    });
    Response::from_parts(head, Answer::none())
}

/// Copies until the end.
pub(crate) async fn copy<R, W>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    quiet: &Quiet,
    count: &AtomicU64,
) -> Result<(), Broken>
where
    R: AsyncRead,
    W: AsyncWrite,
{
    let mut piece = vec![0; PIECE];
    loop {
        let Some(Ok(length)) = quiet.heard(from.read(&mut piece)).await else { return Err(Broken) };
        quiet.note();
        let bytes = piece.get(..length).unwrap_or_default();
        if bytes.is_empty() {
            return to.shutdown().await.map_err(|_| Broken);
        }
        let written = timeout(quiet.most, to.write_all(bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            return Err(Broken);
        }
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Copies messages that may go on, until the end or until one may not.
async fn looked_at<R, W>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    quiet: &Quiet,
    looking: Looking,
    guard: &mut Guard,
) -> Result<(), Broken>
where
    R: AsyncRead,
    W: AsyncWrite,
{
    let mut piece = vec![0; PIECE];
    let Looking { sieve, source, told } = looking;
    let mut frames = Frames::new(sieve);
    let mut is_over = false;
    loop {
        let mut out = Vec::new();
        let is_waiting = frames.sieve().is_waiting();
        let reading = from.read(&mut piece);
        let read = match is_waiting {
            true => timeout(QUIET, reading).await.ok(),
            false => quiet.heard(reading).await,
        };
        if read.is_some() {
            quiet.note();
        }
        let came = match read {
            Some(Ok(0)) => {
                is_over = true;
                frames.end(&mut out)
            }
            Some(Ok(length)) => frames.push(piece.get(..length).unwrap_or_default(), &mut out),
            None if is_waiting => frames.flush(&mut out),
            Some(Err(_)) | None => return Err(Broken),
        };
        sieving::note(frames.sieve(), &told, &mut guard.record);
        if let Err(stop) = came {
            let (reason, why) = sieving::why(stop);
            out.extend(frames::end(&format!("{}: {why}", reason.describe())));
            guard.refused(reason, Some(why));
            guard.record.rule = Some(source.clone());
            guard.course.abort(reason);
        }
        guard.course.down.fetch_add(out.len() as u64, Ordering::Relaxed);
        let written = timeout(quiet.most, to.write_all(&out)).await;
        if !matches!(written, Ok(Ok(()))) || guard.course.aborted().is_some() {
            let _gone = to.shutdown().await;
            return Err(Broken);
        }
        if is_over {
            return to.shutdown().await.map_err(|_| Broken);
        }
    }
}
