//! The ledger, followed: what was recorded goes to files, collectors, streams and logs elsewhere, and to the cluster's own collector
//! ([`Exports`]).
//!
//! Enters: a ledger's file, written by somebody else. Leaves: its entries, to each [`Target`] in its format, and how each
//! stands ([`SinkStatus`]). Guarantees: the ledger is the queue, on disk and bounded by its retention, so a target that is dead
//! for a day loses nothing that the ledger still has; each entry is sent at least once, under an id that stays the same
//! ([`ocsf::uid`]); what was forgotten before it could be sent is counted and told to the target. Does not: write the ledger,
//! or make whoever writes it wait. Where a target has no acknowledgement (syslog, standard output), sent means handed to the
//! system.
//!
//! An entry that sums up connections is sent when its 15 seconds are over and late ones are in, up to 40 seconds after it
//! began; those after it wait for it, so that one number says how far a target is.

mod ask;
mod batch;
mod clickhouse;
mod cursor;
mod error;
mod file;
mod follow;
mod format;
mod http;
mod nats;
mod once;
pub mod otel;
mod otlp;
mod settings;
mod sink;
mod syslog;
mod target;
mod worker;

pub use ask::{ClickHouse, Limits};
pub use clickhouse::clickhouse_ddl;
pub use error::ExportError;
pub use format::line;
pub use once::{Sent, once};
pub use settings::{Sender, Settings};
pub use target::{Format, Target};
pub use worker::{Exports, SinkStatus};
