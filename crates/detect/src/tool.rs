//! Definitions of tools of MCP servers that become others.

use crate::beacon::real;
use crate::bounded::Bounded;
use crate::catalog::TOOL_DEFINITION_CHANGE;
use crate::distinct::key;
use crate::event::{Event, Tool};
use crate::finding::{Evidence, Finding, Number, Severity, Told};
use std::sync::Arc;

/// Tools that are followed at a time.
const TOOLS: usize = 1 << 15;
/// Longest part of a name that is shown, in characters.
const SHOWN: usize = 64;

/// What is followed.
#[derive(Debug)]
pub(crate) struct Tools(Bounded<u64, Known>);

#[derive(Debug, Default)]
struct Known {
    digest: Option<Arc<str>>,
    evidence: Evidence,
}

impl Tools {
    pub(crate) fn new() -> Self {
        Self(Bounded::new(TOOLS))
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    pub(crate) fn see(&mut self, event: &Event, tool: &Tool) -> Option<Finding> {
        let known = self.0.entry(&key((&tool.server, &tool.name)));
        let before = known.digest.replace(Arc::clone(&tool.digest));
        let is_other = before.is_some_and(|before| before != tool.digest);
        if !is_other && !tool.has_changed {
            return None;
        }
        known.evidence.add(event);
        if !known.evidence.is_due() {
            return None;
        }
        let name: String = tool.name.chars().take(SHOWN).collect();
        let became = if tool.is_quarantined {
            "; it was taken out of the list"
        } else {
            "; it may be used all the same"
        };
        let sentence = format!(
            "{} lists tool {name:?} with another definition than before, or than it is pinned to ({}){became}: a model reads it as an order",
            tool.server,
            tool.digest.chars().take(SHOWN).collect::<String>()
        );
        let numbers = vec![Number::of("changed_listings", real(known.evidence.count())).from(1.0)];
        let severity = tool.is_quarantined.then_some(Severity::Medium);
        let subject = format!("{} {name}", tool.server);
        let told = Told { severity, sentence, numbers };
        Some(known.evidence.tell(&TOOL_DEFINITION_CHANGE, &event.who, &subject, told))
    }
}
