//! What was recorded, kept in one SQLite file that outlives whoever wrote it.
//!
//! Enters: [`Entry`]s of all kinds, the time. Leaves: entries, edges and sums, found again ([`Reader`]).
//! Guarantees: what [`Ledger::append`] returned for is on the disk and outlives SIGKILL and loss of power; sealed entries
//! cannot be changed, removed or put in between without [`Reader::verify`] saying so; the file stays within its
//! [`Retention`]; what found no room is counted in the file; a damaged file is put aside, never written over.
//! Does not: read the clock, make records, or enforce anything. Who has the file and the newest hash elsewhere can tell
//! that the end of the chain was cut off; the file alone cannot.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! use ledger::{Entry, Kind, Ledger, Reader, Verdict};
//! let file = folder.path().join("ledger.db");
//! let (mut ledger, _notices) = Ledger::open(&file)?;
//! let entry = Entry { time: 1_000_000, source: "ai/train".into(), destination: "hub.example".into(), port: 443,
//!     ..Entry::new(Kind::Flow, Verdict::Allow) };
//! ledger.append(&[entry])?;
//! assert_eq!(Reader::open(&file)?.edges(&ledger::EdgeFilter::default())?.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
pub mod brief;
pub mod chain;
pub mod edges;
pub mod entries;
pub mod entry;
pub mod error;
pub mod follow;
pub mod join;
pub mod parcel;
pub mod query;
mod retention;
mod schema;
pub mod search;
pub mod store;
pub mod sums;
pub mod top;
mod trail;
mod words;
pub mod write;

pub use brief::Brief;
pub use chain::{Fault, Seal, Verification};
pub use edges::{Edge, EdgeFilter, EdgeMark, EdgePage, MarkOf, NoMark};
pub use entries::{EntryFilter, Order, Stored};
pub use entry::{Entry, Kind, Verdict};
pub use error::LedgerError;
pub use follow::Followed;
pub use join::Joined;
pub use parcel::{Parcel, Receipt};
pub use query::Reader;
pub use retention::Retention;
pub use search::{Column, Match};
pub use store::{BoundedStore, Store};
pub use sums::{Call, Field, Interrupter, Met, Pair, Point, RuleSum, SeriesBy, Span};
pub use top::{Measure, Sum, TopBy};
pub use write::{Ledger, Notice};
