//! Reads numbers and length-prefixed parts from the front of a slice. `None` means that the bytes end too early.

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A part behind a length of one byte.
    pub(crate) fn part8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// A part behind a length of two bytes.
    pub(crate) fn part16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A part behind a length of three bytes.
    pub(crate) fn part24(&mut self) -> Option<&'a [u8]> {
        let [high, middle, low] = self.array()?;
        self.take(usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
    }

    /// QUIC's number of 1, 2, 4 or 8 bytes (RFC 9000, section 16).
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        let mut value = u64::from(first & 0x3f);
        let bytes = self.take(1 << (first >> 6))?;
        for byte in bytes.iter().skip(1) {
            value = value << 8 | u64::from(*byte);
        }
        Some(value)
    }
}
