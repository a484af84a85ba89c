//! The front door: an explicit proxy (`HTTPS_PROXY`, `HTTP_PROXY`) before the same judgement as for steered connections.
//!
//! Enters: a client's connection, whoever authenticated it says whose it is ([`Caller`]); and who finds where names lead
//! ([`Resolve`]). Leaves: what a steered connection to the same address leaves; refusals as answers of a proxy, with their
//! reason; one [`Record`](crate::Record) for each, which says what was asked for.
//! Guarantees: a name leads only where the pod's own DNS rules let it ask, and only to addresses that are bound for that
//! pod; in a tunnel to a name the connection must be for that name; nobody gets to this machine, to loopback or
//! link-local addresses, or wherever [`Resolve`] says that direct connections are judged otherwise.
//! Does not: authenticate anybody, ask for a password (407), or keep answers. A request that is not for a tunnel is the
//! last on its connection: the next may be for another server, and is judged on a connection of its own.
//!
//! Reading order: `serve` (from head to judgement), `head` (what is asked for), `place` (where nobody goes), `answer`
//! (what a client is told).

mod answer;
mod head;
mod place;
mod serve;

use crate::reason::Reason;
use crate::record::Over;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

pub use ::inspect::http_head::Host;

/// Whose connection it is. Whoever accepted it must be sure: by the peer's address on the pod's own node, or by a
/// certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The pod's address, by which it is judged; the port is for records only.
    pub pod: SocketAddr,
    /// Where it connected to: the destination in records of what has none yet.
    pub listener: SocketAddr,
}

/// What somebody who is known by a certificate presented.
#[derive(Clone, Debug)]
pub(crate) struct Presented {
    /// Where it comes from.
    pub(crate) peer: SocketAddr,
    /// The id in its certificate, where it is known by that.
    pub(crate) id: Option<Arc<str>>,
    /// Why it gets nowhere whatever it asks for, in the words of both.
    pub(crate) refused: Option<(Reason, Arc<str>)>,
    /// Until when it is known.
    pub(crate) over: Over,
}

/// Where a host is, or why nowhere.
pub type Resolved = Result<Vec<IpAddr>, Unresolved>;

/// What [`Resolve::resolve`] returns.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Resolved> + Send + 'a>>;

/// Why a host leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresolved {
    /// Why: [`Reason::LookupRefused`], [`Reason::NoAddress`], [`Reason::Inside`] or [`Reason::TooManyAsked`].
    pub reason: Reason,
    /// The rule behind it, as text.
    pub rule: Option<Arc<str>>,
    /// What a resolver said.
    pub detail: Option<Arc<str>>,
}

/// Finds where hosts are, and has the [`Judge`](crate::Judge) know what policy says of it.
pub trait Resolve: Send + Sync {
    /// The addresses to which a host leads for a pod, best first. When this returns, the judge knows them for the pod,
    /// as if it had resolved the name itself. An address leads to itself. Bounded in time, and for each pod.
    fn resolve(&self, pod: IpAddr, host: &Host) -> Resolving<'_>;
}
