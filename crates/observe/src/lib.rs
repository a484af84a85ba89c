//! What happened, and why: one record per access, kept in a bounded store and searched.
//!
//! Enters: observations of an enforcement point ([`Observation`]) and the rule books of the generations that it
//! enforced ([`Book`]). Leaves: [`Record`]s, kept by a [`Store`] and found by a [`Query`].
//! Guarantees: exactly one open (or deny) per access and one close per open; every record that was evicted, merged
//! or could not be made is counted; pure (time is an argument), so every behaviour can be tested without a kernel.
//! Does not: read the kernel (`datapath`), listen on sockets or print (`cofferdam`).

pub mod about;
pub mod book;
pub mod query;
pub mod record;
pub mod resolve;
pub mod shadow;
pub mod store;
pub mod time;

pub use about::{About, Knowledge};
pub use book::Book;
pub use query::{Pattern, Query};
pub use record::{End, EndKind, Kind, Record, RuleVerdict, Traffic};
pub use resolve::{Bindings, Bound, Event, Observation, Resolver, ResolverCounts};
pub use shadow::{Candidate, Difference, Sightings, Tally};
pub use store::{Kept, Limits, Page, Store, StoreCounts};
pub use time::{Time, parse_duration};
