//! What a store answers, as RESP 2 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>) writes it.
//!
//! Enters: bytes. Leaves: a line, or grants. Guarantees: what is read is bounded; an answer in any other form than the one that is
//! asked for is an error. Does not: read forms that nothing here asks for.

use lease::Grant;
use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Bytes of a line.
const MAX_LINE: u64 = 1024;

/// A line without its end.
///
/// # Errors
/// The stream fails, or its line does not end within a kilobyte.
pub async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<String> {
    let mut line = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    let text = line.strip_suffix(b"\r\n").ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// For each of so many counts what is granted, and what to the others.
///
/// # Errors
/// The stream fails, or what comes is something else.
pub async fn grants(stream: &mut (impl AsyncBufRead + Unpin), counts: usize) -> Result<Vec<Grant>> {
    let head = line(stream).await?;
    if head != format!("*{}", counts * 2) {
        return Err(Error::other(format!("it answers: {head}")));
    }
    let mut grants = vec![Grant::default(); counts];
    for grant in &mut grants {
        for value in [&mut grant.granted, &mut grant.others] {
            let line = line(stream).await?;
            let number = line.strip_prefix(':').and_then(|number| number.parse().ok());
            *value = number.ok_or_else(|| Error::other("it answers something else than numbers"))?;
        }
    }
    Ok(grants)
}
