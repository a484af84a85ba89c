//! Whether a consumer may ask this of a model, and how much of it.
//!
//! Enters: InferencePolicies ([`crds::InferencePolicy`]), then for each request where it goes ([`Place`]), who asks and what
//! ([`Facts`]). Leaves: the sections that hold there ([`Effective`]), a [`Verdict`], and for what is limited a [`Taken`]; of tools that a
//! server lists, whether they are what they were ([`Pins`]).
//! Guarantees: pure; what no rule allows is denied, so is what cannot be told, and what a policy that cannot be read is
//! attached to; whoever is denied can be told which object, file and line. Does not: find out who asks (`authn`), or which
//! class a request is of (`inspect`).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests"))]

mod effective;
mod judge;
mod ledger;
mod limit;
mod pattern;
mod pins;
mod rule;

pub use effective::{Closed, Effective, Place, Policies, RouteKey, Source, flaws};
pub use judge::{Facts, Reason, Verdict};
pub use ledger::{AccountKey, Amount, Kept, Ledger, Need, Short, Spent, Taken, Tokens};
pub use pins::{Digest, KeptTool, Pins, Standing};
