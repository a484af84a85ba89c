//! The wire between the controller and the nodes: what each must know, first whole and then as changes.
//!
//! Enters: policy sets and which parts a node needs. Leaves: on the node, the part of the set that is its own.
//! Guarantees: an update holds as a whole or not at all; a node never goes back to an older state; a node that comes
//! back is sent only what it lacks, by any replica of the controller. Does not: decide who needs what (`controller`) or
//! enforce (`datapath`).

pub mod access;
pub mod client;
mod decode;
mod encode;
pub mod enrol;
pub mod places;
mod replica;
mod resource;
pub mod room;
pub mod server;
pub mod tls;
mod update;
mod wire;

pub use decode::DecodeError;
pub use replica::{Replica, ReplicaError, Revisions};
pub use resource::{Digest, Encoded, Key, Kind, Parts};
