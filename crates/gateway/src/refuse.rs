//! Tells a client that it was refused, in the words of its protocol, so that it fails with a clear error at once.

use crate::decide::{Claim, Judgement, Unreadable};
use crate::near::Near;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A fatal `access_denied` (RFC 8446, section 6.2), in a record of its own.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// How long a client has to take its answer and close.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of a client's that are read and thrown away meanwhile.
const DISCARD: usize = 256 * 1024;

/// A connection that was refused.
pub(crate) struct Refused {
    pub(crate) stream: Near,
    pub(crate) claim: Claim,
    pub(crate) judgement: Judgement,
}

/// Answers and closes.
pub(crate) async fn tell(refused: Refused) {
    let Refused { stream, claim, judgement } = refused;
    let answer = match &claim {
        Claim::Tls(_) | Claim::Unreadable(Unreadable::Tls(_) | Unreadable::TlsTooLarge) => ALERT.to_vec(),
        Claim::Http { .. } | Claim::Unreadable(Unreadable::Http(_)) => forbidden(&judgement),
        Claim::Opaque | Claim::Unreadable(Unreadable::Timeout | Unreadable::Incomplete) => {
            stream.reset();
            return;
        }
    };
    last(stream, &answer).await;
}

/// Sends a refusal as the last that a client hears, and waits until it has read it and closed.
pub(crate) async fn last(mut stream: Near, answer: &[u8]) {
    let _gone = tokio::time::timeout(PATIENCE, async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        // To close with bytes unread resets the connection, and the client may lose the answer.
        let mut left = DISCARD;
        let mut scratch = [0; 1024];
        loop {
            let length = stream.read(&mut scratch).await?;
            left = left.saturating_sub(length);
            if length == 0 || left == 0 {
                return std::io::Result::Ok(());
            }
        }
    })
    .await;
}

/// Makes the kernel end the connection with a reset when it is closed.
pub(crate) fn reset(stream: &TcpStream) {
    // A connection that is already gone needs none.
    let _gone = stream.set_zero_linger();
}

fn forbidden(judgement: &Judgement) -> Vec<u8> {
    let body = serde_json::json!({
        "error": "denied by network policy",
        "reason": judgement.reason.as_str(),
        "detail": judgement.reason.describe(),
        "policy": judgement.nearest,
    });
    let body = format!("{body}\n");
    format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
