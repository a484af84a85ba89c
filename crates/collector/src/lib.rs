//! One ledger for a cluster: what the ledgers of its nodes and gateways have is joined in one file.
//!
//! Enters: parcels of entries, over TLS for which both sides show a certificate of the cluster's authority. Leaves: one ledger,
//! receipts, and how its senders stand. Guarantees: what a receipt says was taken is on the disk, once, however often it is sent and
//! whoever is killed meanwhile; nobody adds entries under another name than that of its certificate, and who tries is in the
//! ledger; memory, connections and work at a time are bounded. Does not: find anything in what it is sent, enforce, or read the
//! clock for anybody but itself.

mod refusals;
pub mod server;
pub mod store;

pub use server::{Counts, serve};
pub use store::Store;
