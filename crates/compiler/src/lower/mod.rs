//! A policy set to the compiled table of one node.
//!
//! Enters: a [`PolicySet`]. Leaves: the [`Table`] of a node, in which no precedence is left to resolve.
//! Guarantees: for every connection, the same verdict and the same deciding rule per direction as
//! `policy::decide`, with one exception that no packet on a wire can show: two different addresses of one pod.
//! Cost follows distinct label sets, peers and port ranges, never pod times pod.
//! Does not: decide what a manifest means (the rest of this crate) or load tables anywhere (`datapath`).

mod bind;
mod change;
pub(crate) mod classes;
pub(crate) mod forest;
pub(crate) mod index;
pub(crate) mod lanes;
pub(crate) mod node;
pub(crate) mod row;
pub(crate) mod selectors;
pub(crate) mod slots;
mod view;

use index::Index;
use policy::table::Table;
use policy::{Direction, PolicySet, RuleId};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use thiserror::Error;

pub use bind::{Binder, Destination, Judging};
pub(crate) use selectors::Fixed;
pub use view::View;

/// In the order of [`policy::Policy::isolation`].
pub(crate) const DIRECTIONS: [Direction; 2] = [Direction::Egress, Direction::Ingress];

/// Addresses for pods that the world knows none of, by namespace and name.
///
/// Such an address belongs to its pod, but no network or name peer matches it: the world knows no address.
pub type Placement = BTreeMap<(Arc<str>, Arc<str>), Vec<IpAddr>>;

/// Whose pods a table judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Those of one node.
    Node(&'a str),
    /// All, for judging in user space. [`Table::own`] stays empty: rows tell each pod's own node.
    Everything,
}

/// Why a policy set has no table.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LowerError {
    /// A connection mark cannot carry the largest rule id.
    #[error("{count} rules are more than the {max} that a connection mark can carry", max = RuleId::MAX.0)]
    TooManyRules {
        /// Entries in the policy set.
        count: usize,
    },
    /// A placement for a pod that does not exist or uses its node's network.
    #[error("no pod {namespace}/{name} with a network of its own to place")]
    UnknownPod {
        /// Namespace of the placement.
        namespace: Arc<str>,
        /// Name of the placement.
        name: Arc<str>,
    },
    /// A placement at an address that belongs to someone else.
    #[error("address {address} is taken")]
    AddressTaken {
        /// The address.
        address: IpAddr,
    },
}

/// The table of a node.
///
/// # Errors
/// The set has more rules than enforcement points can name, or `placement` contradicts the world.
pub fn lower(set: &PolicySet, node: &str, placement: &Placement) -> Result<Table, LowerError> {
    Cluster::load(set).lower(Scope::Node(node), placement)
}

/// A whole cluster, ready to give the table of any node.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) index: Index,
    /// Pods that every view has; found when the first is asked for, after which nothing may change.
    rivals: OnceLock<Box<[index::Id]>>,
}

impl Cluster {
    /// Interns everything and resolves every policy's subject and peers.
    pub fn load(set: &PolicySet) -> Self {
        Self { index: Index::new(set), rivals: OnceLock::new() }
    }

    /// The table for a scope.
    ///
    /// # Errors
    /// As [`lower`].
    pub fn lower(&self, scope: Scope<'_>, placement: &Placement) -> Result<Table, LowerError> {
        self.check_rules()?;
        node::table(&self.index, scope, placement)
    }

    /// Gives the table of each node, and what makes rows for names while it is in force. Nodes whose pods the same policies select cost little more than one of them.
    ///
    /// # Errors
    /// As [`lower`].
    pub fn lower_each<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n str>,
        placement: &Placement,
        give: impl FnMut(Table, Binder),
    ) -> Result<(), LowerError> {
        self.check_rules()?;
        node::each(&self.index, nodes, placement, give)
    }

    fn check_rules(&self) -> Result<(), LowerError> {
        match self.index.rules.len() {
            count if count > RuleId::MAX.0 as usize + 1 => Err(LowerError::TooManyRules { count }),
            _ => Ok(()),
        }
    }
}

/// A list position as an id. No list here can grow past 32 bits in memory.
pub(crate) fn dense(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
