//! The rule language, read: bytes of files become directives, each with its place.
//!
//! Enters: files as (name, bytes). Leaves: words ([`words`]), targets ([`targets`]), actions ([`actions`]), or a fault.
//! Guarantees: nothing is skipped but comments and empty lines.

pub(crate) mod actions;
pub(crate) mod targets;
pub(crate) mod words;
