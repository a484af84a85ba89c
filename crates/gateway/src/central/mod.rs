//! The central egress gateway: connections leave the cluster from its addresses instead of the nodes'.
//!
//! On a node, the gateway judges a connection as ever, and then has it opened by a replica of the central one (`dial`): one
//! TLS connection of HTTP/2, with a CONNECT stream (RFC 9113, section 8.5) for each connection of a pod. The central one
//! (`serve`) knows the node by its certificate, judges each CONNECT by its own copy of policy (`policies`), and connects to
//! the address that the node says. `asked` is what a CONNECT says, `tunnel` its bytes, `barred` where nobody is connected to.
//! Workloads without a node of ours come to another door of the central one by themselves (`visitors`): each is known by its
//! certificate (`workload`), and judged and led as a client of the explicit proxy (`visiting`).
//! Guarantees: what is to go through the central gateway never goes another way; a node gets for its own pods what policy
//! allows them, and nothing for those of other nodes; both sides' memory is bounded by windows.
//! Does not: resolve names of pods, open TLS of pods, or count their budgets: their node does. For workloads without a node TLS is
//! opened here, keys are put into requests, and budgets and uploads are counted in a store that replicas share (`spending`).

mod asked;
mod barred;
mod dial;
mod policies;
mod serve;
mod spending;
mod tunnel;
mod visiting;
mod visitors;
mod workload;

pub use dial::{Egress, EgressError, Forwarding, Route, Shown};
pub use policies::Policies;
pub use serve::{Central, CentralLimits};
pub use visiting::{Looking, Lookup, SystemLookup};
pub use visitors::{Clients, ClientsError, Visitors};

pub(crate) use asked::{Asked, MOST_NAMES};
pub(crate) use barred::is_of_machine;
pub(crate) use dial::{Failed, Means, Pool};
pub(crate) use tunnel::Tunnel;

/// Bytes of one stream that a side takes without having passed them on.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Streams of one connection at once.
const STREAMS: u32 = 256;
/// The same of a connection: enough for all its streams, so that those nobody reads keep none of the others waiting.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS;
/// Bytes that wait to be sent, of one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Largest head of a CONNECT and of its answer, in bytes (RFC 9113, section 6.5.2: names, values and 32 for each).
const HEAD: u32 = 16 * 1024;
/// How often a side makes sure that the other is there, and how long it waits for the answer.
const ALIVE: [std::time::Duration; 2] =
    [std::time::Duration::from_secs(10), std::time::Duration::from_secs(20)];

/// Pings until the other side answers no more.
async fn gone(ping: Option<h2::PingPong>) {
    let [interval, patience] = ALIVE;
    let Some(mut ping) = ping else { return std::future::pending().await };
    loop {
        tokio::time::sleep(interval).await;
        match tokio::time::timeout(patience, ping.ping(h2::Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
