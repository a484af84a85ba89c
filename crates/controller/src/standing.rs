//! How policies stand on the nodes, as a controller wrote it into the status of objects, for who shows it.
//!
//! Enters: objects with a status, as [`crate::write`] leaves them. Leaves: a [`Standing`] for each policy. Guarantees: what was written
//! of a policy before it changed last is not told as what it is now. Does not: know whether the controller that wrote it still lives.

use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest message that is kept, in characters. Those of [`crate::report`] are shorter.
const LONGEST: usize = 1000;

/// How policies stand, by kind, namespace and name.
pub type Standings = BTreeMap<(Arc<str>, Arc<str>, Arc<str>), Standing>;

/// How a policy stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether every node that needs it said that its kernel has it as it is written now; `None`: nobody knows.
    pub in_force: Option<bool>,
    /// For people: on how many nodes, and which one does not have it and why; or why nobody knows.
    pub detail: String,
}

/// What a status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// `metadata.generation` of the policy that it is about.
    observed: i64,
    in_force: bool,
    detail: String,
}

impl Default for Standing {
    fn default() -> Self {
        let detail = "no controller wrote how it stands, or that may not be read here".to_owned();
        Self { in_force: None, detail }
    }
}

impl Told {
    /// Of an object, as the API server has it; `None`: nobody wrote any.
    pub(crate) fn of(object: &Value) -> Option<Self> {
        let conditions = object.pointer("/status/conditions")?.as_array()?;
        let find = |kind: &str| conditions.iter().find(|it| it.get("type").is_some_and(|it| it == kind));
        let holds = |condition: &Value| condition.get("status").is_some_and(|it| it == "True");
        let message = |condition: &Value| -> String {
            let text = condition.get("message").and_then(Value::as_str).unwrap_or_default();
            text.chars().take(LONGEST).collect()
        };
        let programmed = find("Programmed")?;
        let in_force = holds(programmed);
        let mut detail = message(programmed);
        // Where it is not in force everywhere, the message says why already.
        if let Some(degraded) = find("Degraded").filter(|it| in_force && holds(it)) {
            detail = format!("{detail}; {}", message(degraded));
        }
        let observed = programmed.get("observedGeneration").and_then(Value::as_i64).unwrap_or_default();
        Some(Self { observed, in_force, detail })
    }
}

impl Standing {
    /// Of a policy whose `metadata.generation` this is.
    pub(crate) fn of(told: Option<&Told>, generation: i64) -> Self {
        let Some(Told { observed, in_force, detail }) = told else { return Self::default() };
        if *observed < generation {
            let detail = format!("it changed, and no controller wrote since how it stands; before: {detail}");
            return Self { in_force: None, detail };
        }
        Self { in_force: Some(*in_force), detail: detail.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn condition(kind: &str, status: &str, message: &str, observed: i64) -> Value {
        json!({ "type": kind, "status": status, "message": message, "observedGeneration": observed })
    }

    #[test]
    fn a_policy_stands_as_its_status_says_unless_it_changed_since() {
        let status = |conditions: &[Value]| Told::of(&json!({ "status": { "conditions": conditions } }));
        let waits = condition("Programmed", "False", "on 1 of 2 nodes; waits for b (why)", 3);
        let everywhere = condition("Programmed", "True", "on all 2 nodes", 3);
        let ill = condition("Degraded", "True", "node b: why", 3);
        let unread = Standing::default();
        for (conditions, generation, in_force, detail) in [
            (vec![waits.clone()], 3, Some(false), "on 1 of 2 nodes; waits for b (why)"),
            (vec![waits, ill.clone()], 3, Some(false), "on 1 of 2 nodes; waits for b (why)"),
            (vec![everywhere.clone()], 3, Some(true), "on all 2 nodes"),
            (vec![everywhere.clone(), ill], 3, Some(true), "on all 2 nodes; node b: why"),
            (vec![condition("Accepted", "True", "by somebody else", 3)], 3, None, &*unread.detail),
            (
                vec![everywhere],
                4,
                None,
                "it changed, and no controller wrote since how it stands; before: on all 2 nodes",
            ),
        ] {
            let found = Standing::of(status(&conditions).as_ref(), generation);
            assert_eq!(found, Standing { in_force, detail: detail.to_owned() });
        }
        assert_eq!(Told::of(&json!({ "status": "odd" })), None);
    }
}
