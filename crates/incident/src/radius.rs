//! How far a workload reaches: what it did reach, by the ledger, and what policy lets it reach.

use crate::record;
use ledger::{EdgeFilter, LedgerError, Reader};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Edges of one workload that are listed, the latest ones.
pub const MOST_EDGES: usize = 1000;

/// Somewhere that policy lets a workload go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Could {
    /// A workload, a range of addresses, or a domain pattern.
    pub destination: String,
    /// Ports and protocol, as `443/TCP`; `*` where all are allowed.
    pub port: String,
    /// The rule that allows it; empty where that is not one rule.
    pub rule: String,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reachable {
    /// Where to.
    pub places: Vec<Could>,
    /// Whether these are all.
    pub is_complete: bool,
}

/// Who knows the policy in force.
pub trait Reach {
    /// Where policy lets a workload go; `None` where that is not known.
    fn could(&self, workload: &str) -> Option<Reachable>;
}

/// Nobody knows the policy in force: only a ledger is there.
#[derive(Clone, Copy, Debug)]
pub struct Unknown;

impl Reach for Unknown {
    fn could(&self, _workload: &str) -> Option<Reachable> {
        None
    }
}

/// How far one workload reaches. JSON: the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Radius {
    /// Which.
    pub workload: String,
    /// Where policy lets it go.
    pub could: Vec<Could>,
    /// Whether these are all.
    pub could_is_complete: bool,
    /// Whom it reached, or tried to: as `cofferdam edges --json`.
    pub did: Vec<Value>,
}

/// How far workloads reach.
///
/// # Errors
/// The ledger cannot be read.
pub fn radius(reader: &Reader, reach: &impl Reach, workloads: &[String]) -> Result<Vec<Radius>, LedgerError> {
    let of = |workload: &String| {
        let filter =
            EdgeFilter { source: Some(workload.clone()), limit: Some(MOST_EDGES), ..EdgeFilter::default() };
        let did = reader.edges(&filter)?.iter().map(record::edge).collect();
        let Reachable { places, is_complete } = reach.could(workload).unwrap_or_default();
        Ok(Radius { workload: workload.clone(), could: places, could_is_complete: is_complete, did })
    };
    workloads.iter().map(of).collect()
}
