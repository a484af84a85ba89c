//! Clusters of a fleet.

use super::{Asked, Reply, json};
use crate::problem::Problem;
use crate::shape::fleet::Fleet;
use observe::Time;
use std::sync::PoisonError;

/// How long an answer of the hub holds, in microseconds: every open page asks all the time.
const HOLDS: u64 = 3_000_000;

/// `GET /clusters`.
pub(crate) fn fleet(asked: &Asked<'_>) -> Result<Reply, Problem> {
    let Some(hub) = &asked.known.hub else { return json(&Fleet::default()) };
    // Held while the hub is asked, so that of many who ask at once one does.
    let mut last = asked.known.fleet.lock().unwrap_or_else(PoisonError::into_inner);
    let Time(now) = asked.query.now();
    if let Some((at, fleet)) = &*last
        && now.saturating_sub(at.0) < HOLDS
    {
        return match fleet {
            Ok(fleet) => json(fleet),
            Err(why) => Err(Problem::unavailable(why.clone())),
        };
    }
    let fleet = hub.fleet();
    let reply = match &fleet {
        Ok(fleet) => json(fleet),
        Err(why) => Err(Problem::unavailable(why.clone())),
    };
    *last = Some((Time(now), fleet));
    reply
}
