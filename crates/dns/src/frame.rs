//! What agent and proxy tell each other, as [`handover`] carries it.

use crate::asked::Found;
use crate::batch::Batch;
use crate::learn::Binding;
use crate::record::Counters;
use crate::state::State;
use policy::{DnsName, Generation};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What an agent tells a proxy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ToProxy {
    /// Descriptors that came with it, in this order. Its form must not change: the agent of one version takes the
    /// sockets of the proxy of another.
    Sockets { udp: usize, tcp: usize, control: bool },
    /// The whole of what holds.
    State(Box<State>),
    /// Requests to bind that were answered: for how many seconds, or why not.
    Learned(Vec<(u64, Result<u32, String>)>),
    /// What was bound may be gone.
    Forget,
    /// Send the sockets back, and end.
    Stop,
    /// Find where a name leads a pod; `id` comes back with what was found.
    Ask { id: u64, pod: IpAddr, name: DnsName },
}

/// What a proxy tells an agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ToAgent {
    /// The sockets of a proxy whose agent died, for the next one; as in [`ToProxy::Sockets`].
    Sockets { udp: usize, tcp: usize, control: bool },
    /// A state is in force.
    InForce(Generation),
    /// Requests to bind.
    Learn(Vec<(u64, Vec<Binding>)>),
    /// What happened.
    Records(Batch),
    /// Counts since the proxy began.
    Counters(Box<Counters>),
    /// What was asked for, by number.
    Found(Vec<(u64, Found)>),
}
