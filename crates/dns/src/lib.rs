//! The node's DNS proxy: it answers what pods ask, if they may ask it, and has each address bound before it names it.
//!
//! Enters: queries of this node's pods, whatever resolver they ask (steered here by the kernel, `docs/decisions/0010`),
//! and a [`State`] from the agent. Leaves: questions to the resolver that was asked, bindings to the agent, answers to
//! pods, one [`Query`] record each.
//! Guarantees: without a state nothing is answered; a name that no rule allows is refused, with the rule; an address that
//! the pod's policies speak of by name is open in the kernel before the pod learns it, and only trusted resolvers teach;
//! a pod that floods is refused while others are not slowed.
//! Does not: write to the kernel, resolve on its own, or validate signatures: DO, AD and CD pass through. Where ECH was
//! taken out, a set of records no longer validates; an answer refused against rebinding is refused whole.
//!
//! | file | what |
//! |---|---|
//! | `wire`, `kind`, `question`, `answer`, `rewrite`, `reply` | bytes to facts and back; pure |
//! | `state`, `decide`, `address` | what holds, and what may be asked and answered; pure |
//! | `engine`, with `flight`, `learn` and `asked` | a query's way, without sockets and clock |
//! | `cache`, `bounded`, `rate`, `health` | what the engine keeps |
//! | `record` | what is told of each query |
//! | `sockets`, `udp`, `tcp`, `proxy` | the process around it |
//! | `control`, `frame` | how agent and proxy talk, and what happens when one of them goes |

pub mod address;
pub mod answer;
mod asked;
mod batch;
mod bounded;
mod cache;
pub mod control;
pub mod decide;
pub mod engine;
mod flight;
mod frame;
mod health;
pub mod kind;
mod learn;
mod map;
mod proxy;
pub mod question;
mod rate;
pub mod record;
pub mod reply;
pub mod rewrite;
pub mod state;
mod tcp;
mod udp;
pub mod wire;

pub use asked::{Found, Stead};
pub use control::{Agent, ControlError, Proxy};
pub use learn::Binding;
pub use proxy::{ProxyError, run_proxy};
pub use record::{Counters, Query, Reason, Transport, Verdict};
pub use state::{Addresses, AllowedName, Names, Pod, Questions, Resolvers, Settings, State};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where the proxy listens: nothing else does, and what is steered does not have to be sent to these. Answers come from
/// port 53, so it must be that. The loopback network of IPv6 has one address only.
pub const LISTEN: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 53, 53)), 53),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 53),
];
