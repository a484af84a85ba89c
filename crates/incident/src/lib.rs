//! What happened together: findings of a ledger as incidents, what else happened then, how far it reaches, who had to do with
//! something before, and the evidence of it.
//!
//! Enters: a ledger to read, the time. Leaves: incidents ([`View`]), timelines ([`timeline()`]), reach ([`radius()`]), hits
//! ([`hunt()`]), the policy that cuts a workload off ([`Quarantine`], and [`Containment`] for a cluster) and bundles of evidence ([`evidence`]).
//! Guarantees: pure but for reading through [`ledger::Reader`]; the same ledger and time give the same answer; everything is
//! bounded, and says so where it stopped. States of incidents are nowhere but in the ledger's entries of kind `audit`.
//! Does not: find anything, write, or enforce.

mod act;
mod containment;
mod digest;
pub mod evidence;
mod finding;
mod fold;
pub mod hunt;
pub mod quarantine;
mod radius;
pub mod record;
mod report;
mod score;
mod story;
mod tar;
mod timeline;
mod view;

pub use act::{Act, What, entry};
pub use containment::{Containment, Target};
pub use digest::sha256;
pub use finding::{Finding, MAX_LIST, MAX_TEXT, Severity, cut};
pub use fold::{CLOSE, JOIN, SHARED};
pub use hunt::{Hunt, Indicator, Within, hunt};
pub use quarantine::Quarantine;
pub use radius::{Could, MOST_EDGES, Radius, Reach, Reachable, Unknown, radius};
pub use score::Part;
pub use story::Story;
pub use timeline::{Item, MOST_ITEMS, Timeline, timeline};
pub use view::{
    Case, Contained, Incident, MOST_ACTS, MOST_FINDINGS, Note, Of, State, Unclear, View, is_like,
};
