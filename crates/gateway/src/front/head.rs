//! Reads what a client asks the front door for.

use crate::decide::Unreadable;
use crate::near::Near;
use crate::reason::Reason;
use ::inspect::http_head::HttpFlaw;
use ::inspect::proxy_head::{Asked, ProxyHead, Unasked};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Bytes read at once.
const PIECE: usize = 4096;

/// What was asked for, and every byte that came.
pub(super) struct Request {
    pub(super) asked: Asked,
    /// The head, and what came with it.
    pub(super) bytes: Vec<u8>,
}

/// Reads one head.
pub(super) async fn read(stream: &mut Near, within: Duration) -> Result<Request, Reason> {
    let reading = async {
        let mut head = ProxyHead::new();
        let mut piece = Vec::with_capacity(PIECE);
        loop {
            piece.clear();
            match stream.read_buf(&mut piece).await {
                Ok(0) | Err(_) => return Err(Unreadable::Incomplete.reason()),
                Ok(_) => {}
            }
            match head.push(&piece) {
                None => {}
                Some(Ok(asked)) => return Ok(Request { asked, bytes: head.into_bytes() }),
                Some(Err(unasked)) => return Err(reason(unasked)),
            }
        }
    };
    tokio::time::timeout(within, reading).await.unwrap_or(Err(Reason::Timeout))
}

fn reason(unasked: Unasked) -> Reason {
    match unasked {
        Unasked::Origin | Unasked::Flaw(HttpFlaw::NotHttp) => Reason::NotForProxy,
        Unasked::Flaw(flaw) => Unreadable::Http(flaw).reason(),
    }
}
