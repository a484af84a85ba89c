//! A WebSocket that a server agreed to: bytes both ways, no longer read.

use crate::admission::Turn;
use crate::answer::Answer;
use crate::body::Broken;
use crate::fields;
use crate::record::{End, Guard};
use crate::upstream::Lease;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

/// Bytes copied at once.
const PIECE: usize = 16 * 1024;

/// Has both ends copied once the answer that agrees to it is out, and gives that answer.
pub(crate) fn agreed(
    client: OnUpgrade,
    mut answer: Response<Incoming>,
    mut guard: Guard,
    held: (Lease, Turn),
    idle: Duration,
) -> Response<Answer> {
    let server = hyper::upgrade::on(&mut answer);
    guard.answered(StatusCode::SWITCHING_PROTOCOLS.as_u16());
    let (mut head, _) = answer.into_parts();
    fields::strip(&mut head.headers);
    fields::upgrade(&mut head.headers);
    head.extensions.clear();
    tokio::spawn(async move {
        let (mut lease, _turn) = held;
        lease.forget_connection();
        let (Ok(client), Ok(server)) = tokio::join!(client, server) else { return };
        let (from_client, to_client) = split(TokioIo::new(client));
        let (from_server, to_server) = split(TokioIo::new(server));
        let course = Arc::clone(&guard.course);
        let copied = tokio::try_join!(
            copy(from_client, to_server, idle, &course.up),
            copy(from_server, to_client, idle, &course.down),
        );
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
