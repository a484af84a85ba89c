//! What `netns_clients` reads and writes, and what runs clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

pub(crate) mod page;
pub(crate) mod python;
pub(crate) mod row;
