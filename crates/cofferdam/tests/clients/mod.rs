//! What `netns_clients` reads and writes.

pub(crate) mod page;
pub(crate) mod row;
