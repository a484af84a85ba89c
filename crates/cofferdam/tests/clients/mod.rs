//! What `netns_clients` reads and writes, and what runs clients.

pub(crate) mod page;
pub(crate) mod python;
pub(crate) mod row;
