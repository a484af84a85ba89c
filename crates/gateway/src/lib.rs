//! A proxy on each node that lets a connection through only to the name it was opened for.
//!
//! Enters: TCP connections of pods to addresses that a rule for a name opened, steered here by the kernel with their
//! original destination. Leaves: the same bytes to the same destination, or a refusal; one [`Record`] for each.
//! Guarantees: nothing is forwarded without a [`Permit`], which only [`decide`](decide::decide) makes; every connection
//! has exactly one record, also when it is cancelled; what is read, kept and open at once is bounded. Up to TLS 1.2, where
//! it is in clear, a server's certificate must be for the name too (`server_gate`): its names are checked, not who signed
//! it or when, which the client does.
//! A connection under a rule that allows certain requests only is opened (`http`, `tls`): TLS ends here, and begins anew
//! towards the server, which is verified; each request is judged by itself, and has a [`Call`] of its own. A rule may
//! demand more of requests that it allows: that nothing is in them that must not leave (`leaks`), that there are no more
//! of them than it says (`quota`), or that an answer led to them (`referrals`). It may have them changed before they go on (leaks
//! masked, `http::rewriting`), and have some of what was said kept (`capture`).
//! Where there is a central gateway for the cluster (`central`), connections leave by it.
//! Does not: change bytes of connections that are not opened, or look further into them (a server that serves several
//! names on one connection can be asked for another inside); or know Kubernetes. QUIC is read, recorded and refused
//! (`quic`).
//!
//! Reading order is the order of a connection: `bounds`, `identify`, `inspect`, `decide`, then `forward` and `relay`, or
//! `http`; `record`, `call`; `serve` puts them together, `process` is the proxy's process, `agent` how another process
//! tells it what is allowed.

pub mod agent;
mod asking;
mod bounds;
pub mod call;
pub mod capture;
pub mod ceiling;
mod central;
pub mod counters;
pub mod decide;
mod digest;
mod edges;
pub mod files;
mod forward;
pub mod front;
mod gate;
mod http;
mod identify;
mod inspect;
mod keys;
pub mod leaks;
mod message;
mod near;
mod news;
mod parts;
mod pinned;
mod process;
mod quic;
pub mod quota;
pub mod reason;
pub mod record;
mod referrals;
mod refuse;
mod relay;
pub mod requests;
pub mod serve;
mod server_gate;
pub mod settings;
mod splice;
pub mod state;
pub mod tls;
mod uploads;

pub use agent::{Agent, AgentError, Bind, Proxy};
pub use asking::Ask;
pub use call::{Call, Shortfall, Usage};
pub use capture::{Content, Text};
pub use ceiling::{Ceiling, DownloadOnly};
pub use central::{Central, CentralLimits, Egress, EgressError, Forwarding, Policies, Route, Shown};
pub use central::{Clients, ClientsError, Looking, Lookup, SystemLookup, Visitors};
pub use counters::{Counters, Counts};
pub use decide::{Awaits, Claim, Decision, Judge, Judgement, Opening, Permit, Unreadable, decide};
pub use files::FileFact;
pub use front::{Caller, Host, Resolve, Resolved, Resolving, Unresolved};
pub use keys::{Injected, Keys};
pub use leaks::{LeakFact, LeakKind, LeakPlace, MaskFact};
pub use near::{Near, Stream};
pub use process::{ProcessError, run_proxy};
pub use purse::{Cost, Price, Prices, StoreAddress, StoreMeans, StoreStanding, WhenDown};
pub use quota::QuotaUse;
pub use reason::{End, Reason};
pub use record::{Explicit, Facts, Record, Sink};
pub use requests::{Demands, Handling, RequestJudgement, RequestRule};
pub use serve::{Gateway, Phase};
pub use settings::{Ech, Limits, Opaque, Rules};
pub use state::{Bound, Named, PodState, RuleFacts, State, StateError, Table, Window};
pub use tls::{
    Authority, AuthorityError, AuthorityPem, Inspection, InspectionError, Inspector, OwnInspection,
};
pub use uploads::{Reached, Upload};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where the proxy listens, at a port that the kernel chooses: nothing else does, and what is steered does not have to be
/// sent to these.
pub const LISTEN: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 53, 53)), 0),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0),
];
