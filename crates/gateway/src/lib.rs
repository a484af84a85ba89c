//! A proxy on each node that lets a connection through only to the name it was opened for.
//!
//! Enters: TCP connections of pods to addresses that a rule for a name opened, steered here by the kernel with their
//! original destination. Leaves: the same bytes to the same destination, or a refusal; one [`Record`] for each.
//! Guarantees: nothing is forwarded without a [`Permit`], which only [`decide`](decide::decide) makes; every connection
//! has exactly one record, also when it is cancelled; what is read, kept and open at once is bounded.
//! Does not: end TLS (a server that serves several names on one connection can be asked for another inside), change
//! bytes, look into answers, or know Kubernetes. UDP has only its judgement ([`quic`]).
//!
//! Reading order is the order of a connection: `accept`, `identify`, `inspect`, `decide`, `forward`, `record`; `serve`
//! puts them together, `control` is how another process tells what is allowed.

pub mod accept;
pub mod ceiling;
pub mod control;
pub mod counters;
pub mod decide;
mod forward;
mod gate;
mod identify;
mod inspect;
pub mod quic;
pub mod reason;
pub mod record;
mod refuse;
mod relay;
pub mod serve;
pub mod settings;
mod splice;
pub mod state;

pub use accept::listen;
pub use ceiling::{Ceiling, DownloadOnly};
pub use control::run_proxy;
pub use counters::{Counters, Counts};
pub use decide::{Claim, Decision, Judge, Judgement, Opening, Permit, Unreadable, bind, decide};
pub use reason::{End, Reason};
pub use record::{Facts, Record, Sink};
pub use serve::{Gateway, Phase};
pub use settings::{Ech, Limits, Opaque, Rules};
pub use state::{Allowed, Bound, State, Table};
