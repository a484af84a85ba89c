//! All that is to be told of one incident, as JSON.

use crate::radius::{Reach, radius};
use crate::timeline::timeline;
use crate::view::Case;
use ledger::{LedgerError, Reader};
use serde_json::{Value, json};

/// `incident`, `findings`, `timeline`, `timeline_truncated` and `blast_radius`, one for each workload.
///
/// # Errors
/// The ledger cannot be read.
pub fn story(reader: &Reader, case: &Case, reach: &impl Reach) -> Result<Value, LedgerError> {
    let timeline = timeline(reader, case)?;
    let radius = radius(reader, reach, &case.incident.workloads)?;
    Ok(json!({
        "incident": case.incident,
        "findings": case.findings,
        "timeline": timeline.items,
        "timeline_truncated": timeline.truncated,
        "blast_radius": radius,
    }))
}
