//! The ingress gateway: a server in front of models and other services of a cluster.
//!
//! Enters: connections of clients (HTTP/1 and HTTP/2, with and without TLS), and a [`Config`]: routing, endpoints, policies.
//! Leaves: requests to endpoints, answers to clients, and one [`Record`] for each request, whatever becomes of it.
//! Guarantees: what two readers of HTTP could understand differently is refused; what a policy wants to see is seen whole
//! or refused; bodies stream but for what has to be held, which is bounded, and so are connections, requests at once and
//! waiting ones; a configuration takes hold at once or not at all. Does not: read files or an API server, or write logs.
//!
//! Who does not ask in vain is also copied to whom its route says (`copies`), and goes to the pod that its pool's endpoint picker
//! picks (`picker`).
//!
//! Reading order: `server` (sockets, reload, drain), `connection` (one client), `request` (one request, step by step),
//! `body`, `answer`, `upstream`.

mod admission;
mod answer;
mod body;
mod bound;
mod certificate;
mod config;
mod connection;
mod copies;
mod cors;
mod crowd;
mod cutting;
mod definitions;
mod event_ids;
mod fields;
mod filters;
mod frames;
mod guard;
mod judge;
pub mod keys;
mod picker;
mod policy;
mod pool;
mod probe;
mod reason;
mod record;
mod refusal;
mod request;
mod secured;
mod server;
mod session;
mod share;
mod sieving;
mod socket;
mod spend;
mod taking;
mod tunnel;
mod upstream;
mod waf;

pub use bound::SessionKeys;
pub use config::{Config, ConfigError, Limits, Settings};
pub use copies::{CopyFate, MOST_COPIED};
pub use picker::wire as picker_wire;
pub use probe::ProbeFact;
pub use reason::Reason;
pub use record::{End, LeakFact, Record, Sink, ToolFact};
pub use server::{Figures, Server, Unserved};
pub use session::session_endpoint;
