//! Budgets of which something is used today, for the API.

use crate::up::protocol::{NodeStatus, Used};
use api::shape::Moment;
use api::shape::live::Budget;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const MICROS: u64 = 1_000_000;

/// Of all nodes. The limits are the rules', which the gateway does not tell.
pub(crate) fn budgets(nodes: &[NodeStatus]) -> Vec<Budget> {
    let used = nodes.iter().filter_map(|node| node.gateway.as_ref()).flat_map(|gateway| &gateway.used);
    used.flat_map(of).collect()
}

fn of(used: &Used) -> Vec<Budget> {
    let Used { pod, rule, used } = used;
    let budget = |what: &str, amount: u64, window: &str, resets: u64| Budget {
        workload: pod.clone(),
        rule: rule.clone(),
        what: what.to_owned(),
        used: amount,
        limit: None,
        window: window.to_owned(),
        resets: Moment::of(resets.saturating_mul(MICROS)),
    };
    let (hour, day) = (used.hour_start + HOUR, used.day_start + DAY);
    let all = [
        budget("requests", used.requests_hour, "hour", hour),
        budget("requests", used.requests_day, "day", day),
        budget("tokens", used.tokens_hour, "hour", hour),
        budget("tokens", used.tokens_day, "day", day),
        budget("money", used.money_hour, "hour", hour),
        budget("money", used.money_day, "day", day),
    ];
    all.into_iter().filter(|budget| budget.used > 0).collect()
}
