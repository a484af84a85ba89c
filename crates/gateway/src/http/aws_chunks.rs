//! The chunks in which SDKs of S3 send bodies (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>).
//!
//! Enters: such a body, split anywhere. Leaves: what is in its chunks, and apart from that what stands behind the last one.
//! Guarantees: holds one line; nothing is left out but sizes and signatures. Does not: verify signatures.

/// Longest line before a chunk: a size and a signature.
const MAX_LINE: usize = 1024;

/// Undoes one body.
#[derive(Debug)]
pub(super) enum AwsChunks {
    /// The line before a chunk, as far as it came.
    Line(Vec<u8>),
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line end behind a chunk, of which so many bytes came.
    Behind(usize),
    /// What stands behind the last chunk.
    Over,
}

/// It is not in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotChunks;

impl AwsChunks {
    pub(super) fn new() -> Self {
        Self::Line(Vec::new())
    }

    /// Takes the next bytes. Gives `sink` what is in chunks, or with `false` what is behind them.
    pub(super) fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8], bool)) -> Result<(), NotChunks> {
        let mut rest = bytes;
        while let Some(first) = rest.first().copied() {
            let taken = match self {
                Self::Over => {
                    sink(rest, false);
                    return Ok(());
                }
                Self::Chunk(left) => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    sink(rest.get(..taken).unwrap_or_default(), true);
                    *left -= taken as u64;
                    if *left == 0 {
                        *self = Self::Behind(0);
                    }
                    taken
                }
                Self::Behind(came) => {
                    if b"\r\n".get(*came) != Some(&first) {
                        return Err(NotChunks);
                    }
                    *self = if *came == 0 { Self::Behind(1) } else { Self::new() };
                    1
                }
                Self::Line(line) => {
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    let taken = end.map_or(rest.len(), |end| end + 1);
                    line.extend_from_slice(rest.get(..taken.min(MAX_LINE + 1)).unwrap_or_default());
                    if line.len() > MAX_LINE {
                        return Err(NotChunks);
                    }
                    if end.is_some() {
                        let size = size(line).ok_or(NotChunks)?;
                        *self = if size == 0 { Self::Over } else { Self::Chunk(size) };
                    }
                    taken
                }
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether the last chunk came.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }
}

/// `400\r\n`, or `400;chunk-signature=…\r\n`, and nothing else, for nobody would look at it.
fn size(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let (digits, more) = line.split_once(';').unwrap_or((line, "chunk-signature="));
    let is_hex = |text: &str| text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_signature = more.strip_prefix("chunk-signature=").is_some_and(is_hex);
    u64::from_str_radix(digits, 16).ok().filter(|_| is_hex(digits) && is_signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo(body: &[u8], piece: usize) -> Option<(String, bool)> {
        let (mut chunks, mut plain) = (AwsChunks::new(), Vec::new());
        for piece in body.chunks(piece) {
            let mut put = |bytes: &[u8], is_content| {
                if is_content {
                    plain.extend_from_slice(bytes)
                }
            };
            chunks.push(piece, &mut put).ok()?;
        }
        Some((String::from_utf8(plain).unwrap(), chunks.is_over()))
    }

    #[test]
    fn chunks_are_put_together_and_what_is_none_is_told() {
        for (body, expected) in [
            ("5;chunk-signature=ab\r\nhello\r\n0;chunk-signature=cd\r\n\r\n", Some(("hello", true))),
            ("5;secret=ab\r\nhello\r\n", None),
            ("5\r\nhello\r\nA\r\n, and more.\r\n0\r\nx-amz-checksum-crc32:x\r\n\r\n", None),
            (
                "5\r\nhello\r\nB\r\n, and more.\r\n0\r\nx-amz-checksum-crc32:x\r\n\r\n",
                Some(("hello, and more.", true)),
            ),
            ("5\r\nhel", Some(("hel", false))),
            ("0\r\n\r\n", Some(("", true))),
            ("", Some(("", false))),
            ("plain text\r\n", None),
            ("+5\r\nhello\r\n", None),
            ("5\nhello\r\n", None),
            (&"1".repeat(2000), None),
        ] {
            for piece in [1, 3, usize::MAX] {
                let undone = undo(body.as_bytes(), piece);
                let undone = undone.as_ref().map(|(text, is_over)| (text.as_str(), *is_over));
                assert_eq!(undone, expected, "{body} {piece}");
            }
        }
    }
}
