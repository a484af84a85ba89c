//! A WebSocket that a server agreed to: bytes both ways, counted and no longer read.

use super::answer::Answer;
use super::body::Broken;
use super::fields;
use super::socket::Counted;
use crate::call::CallGuard;
use crate::reason::End;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::copy_bidirectional;

/// Both ends, once the answer that agrees to it is out.
pub(crate) struct Tunnel {
    client: OnUpgrade,
    server: OnUpgrade,
    guard: CallGuard,
}

impl Tunnel {
    /// What a server agreed to, and the answer that says so to the client.
    pub(crate) fn agreed(
        client: OnUpgrade,
        mut answer: Response<Incoming>,
        mut guard: CallGuard,
    ) -> (Self, Response<Answer>) {
        let server = hyper::upgrade::on(&mut answer);
        guard.answered(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        let (mut head, _) = answer.into_parts();
        fields::strip(&mut head.headers);
        fields::upgrade(&mut head.headers);
        head.extensions.clear();
        (Self { client, server, guard }, Response::from_parts(head, Answer::none()))
    }

    /// Copies until both sides are done.
    pub(crate) async fn run(self, is_clean: &AtomicBool) -> Result<(), Broken> {
        is_clean.store(false, Ordering::Relaxed);
        let Self { client, server, mut guard } = self;
        let mut client = TokioIo::new(client.await.map_err(|_| Broken)?);
        // Limits are held where the server's socket is counted.
        let server = TokioIo::new(server.await.map_err(|_| Broken)?);
        let mut server = Counted::new(server, Arc::clone(&guard.course.traffic), Arc::default());
        let copied = copy_bidirectional(&mut client, &mut server).await;
        is_clean.store(copied.is_ok(), Ordering::Relaxed);
        guard.ended(if copied.is_ok() { End::Closed } else { End::ServerGone });
        copied.map(|_| ()).map_err(|_| Broken)
    }
}
