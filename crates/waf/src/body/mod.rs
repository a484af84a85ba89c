//! Bodies of requests to arguments, files and texts.
//!
//! Enters: a whole body. Leaves: what rules look at, and what was wrong; what was read before the fault stays, so that
//! rules see it. Guarantees: one pass, bounded depth, bounded number and size of what comes out.

pub(crate) mod form;
pub(crate) mod json;
pub(crate) mod multipart;
pub(crate) mod xml;

/// Bounds of what a body may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Arguments.
    pub(crate) arguments: usize,
    /// Nesting.
    pub(crate) depth: usize,
}

/// Bytes of all names together that a body may make of itself: names of nested values repeat those around them.
pub(crate) const MAX_NAMES: usize = 16 << 20;

/// Arguments of a body: names and values.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
