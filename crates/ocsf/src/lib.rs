//! Entries of the ledger as events of the Open Cybersecurity Schema Framework ([`event`]).
//!
//! Enters: entries, and the JSON of their details. Leaves: one JSON object each, of class 4001 (network activity), 4002 (HTTP
//! activity), 4003 (DNS activity), 2004 (detection finding) or 6003 (API activity, for what operators do); what was lost, as
//! class 0 (base event). Guarantees: every event has what its class requires, and nothing that the schema does not know;
//! the same entry is always the same event, with the same `metadata.uid`; what has no place in the schema is in `unmapped`.
//! Does not: read the clock, send anything, or trust a detail: one that is not what it should be is left out.
//!
//! Source: <https://github.com/ocsf/ocsf-schema> at `a5cfc68e`, which calls itself 1.9.0-dev. Profiles: `security_control`, and
//! of requests `ai_operation`.
//!
//! ```
//! use ledger::{Entry, Kind, Stored, Verdict};
//! let entry = Entry { source: "ai/Job/train".into(), destination: "hub.example".into(), ..Entry::new(Kind::Flow, Verdict::Deny) };
//! let event = ocsf::event(&Stored { id: 7, entry });
//! assert_eq!((event["class_uid"].as_u64(), event["action_id"].as_u64()), (Some(4001), Some(2)));
//! ```

mod audit;
mod call;
mod detail;
mod end;
mod event;
mod finding;
mod lookup;
mod network;

pub use detail::Detail;
pub use event::{event, lost, sentence, uid};

/// Version of the schema that events say they follow.
pub const VERSION: &str = "1.9.0-dev";
