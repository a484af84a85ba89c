//! Enforcement in the kernel: a compiled [`Table`] becomes kernel state, kernel events become [`Event`]s.
//!
//! Enters: tables, learned addresses. Leaves: verdicts on packets, and the kernel's account of connections.
//! Guarantees: a table is in force as a whole or not at all; what is in force stays so when the process ends, until
//! [`Datapath::uninstall`]; what the kernel cannot judge it drops.
//! Does not: resolve precedence (`compiler`), know names or objects behind rule ids, or answer what is steered.

mod budget;
mod bypass;
mod error;
pub mod events;
mod mark;
mod netlink;
mod nft;
mod steer;

pub use budget::{Budget, Budgets, Window};
pub use bypass::{Behind, Bypass, Paths, Sides};
pub use error::ApplyError;
pub use events::{Ended, Event, EventSource, Flow, Tally};
pub use mark::{Judged, Tag};
pub use nft::image::BrokenTable;
pub use nft::{Config, NftDatapath, Suppressed};
pub use steer::{Beside, LED_MARK, Pair, Steer, Steering};

use policy::RuleId;
use policy::table::{Row, Table};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A kernel mechanism that enforces a compiled table.
pub trait Datapath {
    /// Makes the table the state in force, in one step. A table that is in force already changes nothing.
    ///
    /// It replaces what [`Self::bind`] changed: a table compiled later must have those bindings itself.
    ///
    /// # Errors
    /// What was in force before stays in force.
    fn apply(&mut self, table: &Table) -> Result<Applied, ApplyError>;

    /// Changes what holds from endpoints to addresses that DNS gave them, in force when this returns, in one step.
    ///
    /// Connections judged before keep their verdict. Only where a row takes the place of one that allowed more, all
    /// connections are judged again.
    ///
    /// # Errors
    /// Nothing changed.
    fn bind(&mut self, bindings: &[Binding]) -> Result<(), ApplyError>;

    /// How many new connections each rule judged since the rules of the table in force were first loaded.
    ///
    /// # Errors
    /// The kernel could not be asked.
    fn counters(&mut self) -> Result<BTreeMap<RuleId, u64>, ApplyError>;

    /// Removes everything: from now on all traffic passes.
    ///
    /// # Errors
    /// What was in force stays in force.
    fn uninstall(&mut self) -> Result<(), ApplyError>;
}

/// Which connections a binding speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// All: as [`Table::bound`].
    Live,
    /// Those that are open: as [`Table::past`].
    Past,
}

/// What is to hold from an endpoint to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The endpoint.
    pub from: IpAddr,
    /// The address.
    pub to: IpAddr,
    /// For which connections.
    pub span: Span,
    /// The row; `None`: what the endpoint's slot says to the address's class.
    pub row: Option<Arc<Row>>,
}

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Applied {
    /// Carried by everything that this state judges.
    pub tag: Tag,
    /// Whether anything changed.
    pub changed: bool,
    /// Elements put into sets.
    pub added: usize,
    /// Elements taken out of sets.
    pub removed: usize,
    /// From the call to the kernel's acknowledgement.
    pub took: Duration,
    /// The part of it that the kernel needed.
    pub kernel: Duration,
}
