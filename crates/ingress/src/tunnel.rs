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
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

/// How what a server says is looked through.
pub(crate) struct Looking {
    pub(crate) sieve: Sieve,
    /// Where the policy that wants it is written.
    pub(crate) source: String,
    pub(crate) told: Told,
}

/// Bytes copied at once.
const PIECE: usize = 16 * 1024;

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
        let up = copy(from_client, to_server, idle, &course.up);
        let copied = match looking {
            None => tokio::try_join!(up, copy(from_server, to_client, idle, &course.down)).map(|_| ()),
            Some(looking) => {
                let looked = looked_at(from_server, to_client, idle, looking, &mut guard);
                tokio::try_join!(up, looked).map(|_| ())
            }
        };
        guard.record.end = if copied.is_ok() { End::Closed } else { End::ServerGone };
    });
    Response::from_parts(head, Answer::none())
}

/// Copies until the end.
async fn copy<R, W>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    idle: Duration,
    count: &AtomicU64,
) -> Result<(), Broken>
where
    R: AsyncRead,
    W: AsyncWrite,
{
    let mut piece = vec![0; PIECE];
    loop {
        let Ok(Ok(length)) = timeout(idle, from.read(&mut piece)).await else { return Err(Broken) };
        let bytes = piece.get(..length).unwrap_or_default();
        if bytes.is_empty() {
            return to.shutdown().await.map_err(|_| Broken);
        }
        let written = timeout(idle, to.write_all(bytes)).await;
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
    idle: Duration,
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
        let came = match timeout(if is_waiting { QUIET } else { idle }, from.read(&mut piece)).await {
            Ok(Ok(0)) => {
                is_over = true;
                frames.end(&mut out)
            }
            Ok(Ok(length)) => frames.push(piece.get(..length).unwrap_or_default(), &mut out),
            Err(_) if is_waiting => frames.flush(&mut out),
            Ok(Err(_)) | Err(_) => return Err(Broken),
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
        let written = timeout(idle, to.write_all(&out)).await;
        if !matches!(written, Ok(Ok(()))) || guard.course.aborted().is_some() {
            let _gone = to.shutdown().await;
            return Err(Broken);
        }
        if is_over {
            return to.shutdown().await.map_err(|_| Broken);
        }
    }
}
