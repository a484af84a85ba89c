//! What `netns_clients` reads and writes.

pub mod page;
pub mod row;
