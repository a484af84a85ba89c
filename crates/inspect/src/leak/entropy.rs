//! How much of a body looks like noise: encrypted or compressed.
//!
//! Enters: bytes, split anywhere. Leaves: how many of them are in windows of [`WINDOW`] bytes with more than [`NOISE`] bits
//! per byte (Shannon, over the window's byte counts). Does not: count an incomplete last window.

/// Bytes of a window.
const WINDOW: u16 = 4096;

/// Bits per byte from which on a window is noise. Random bytes have 7.95 in a window of this size, text and code 4 to 6,
/// weights of 32 bits 7.0 to 7.5.
const NOISE: f32 = 7.5;

/// Counts noise.
#[derive(Debug)]
pub(super) struct Noise {
    counts: Box<[u16; 256]>,
    seen: u16,
    pub(super) noisy: u64,
    pub(super) total: u64,
}

impl Noise {
    pub(super) fn new() -> Self {
        Self { counts: Box::new([0; 256]), seen: 0, noisy: 0, total: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (head, behind) = rest.split_at(rest.len().min(usize::from(WINDOW - self.seen)));
            for byte in head {
                if let Some(count) = self.counts.get_mut(usize::from(*byte)) {
                    *count += 1;
                }
            }
            self.seen += u16::try_from(head.len()).unwrap_or(WINDOW);
            rest = behind;
            if self.seen == WINDOW {
                self.judge();
            }
        }
    }

    fn judge(&mut self) {
        let of = |count: u16| f32::from(count) * f32::from(count).max(1.0).log2();
        let sum: f32 = self.counts.iter().map(|count| of(*count)).sum();
        if f32::from(WINDOW).log2() - sum / f32::from(WINDOW) > NOISE {
            self.noisy += u64::from(WINDOW);
        }
        self.counts.fill(0);
        self.seen = 0;
    }
}

/// Whether a media type is of what is noise anyway, or has parts that may be.
pub(super) fn is_noise_expected(media_type: &[u8]) -> bool {
    let known: [&[u8]; 10] = [
        b"multipart/",
        b"image/",
        b"audio/",
        b"video/",
        b"font/",
        b"application/zip",
        b"application/gzip",
        b"application/zstd",
        b"application/x-xz",
        b"application/pdf",
    ];
    let lower = media_type.trim_ascii().to_ascii_lowercase();
    known.iter().any(|known| lower.starts_with(known))
}
