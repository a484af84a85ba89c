//! One operation of one client: what it came to, beside the records of its requests.
//!
//! Enters: a line that `tests/clients/programs/rows.py` said, and all records. Leaves: whether the two agree with what must
//! come of it. Its requests are those that its pod began between its beginning and its end; a pod runs one at a time.

use gateway::Call;
use policy::{Verb, Verdict};
use serde::Deserialize;
use std::fmt::Write;
use std::net::IpAddr;

/// What comes before a row, behind the name of the pod.
const MARK: &str = "] ROW ";

/// What must come of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Expected {
    Allowed,
    Refused,
}

/// Clients and operations that show no refusal in words: the WebSocket of openai's has the status alone, and skopeo has it
/// alone of a token that it did not get.
const MUTE: [(&str, &str); 3] = [
    ("openai", "realtime.connect with another model"),
    ("skopeo", "copy of an image that is not listed"),
    ("skopeo", "copy to a registry"),
];

/// One of them, with what the client said.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) client: String,
    pub(crate) version: String,
    pub(crate) operation: String,
    pub(crate) expected: Expected,
    pub(crate) ok: bool,
    pub(crate) shown: String,
    pod: IpAddr,
    began: u64,
    ended: u64,
}

/// What of a refusal is in what a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Reason,
    Policy,
    Request,
}

impl Part {
    pub(crate) const ALL: [Self; 3] = [Self::Reason, Self::Policy, Self::Request];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reason => "reason",
            Self::Policy => "policy",
            Self::Request => "request id",
        }
    }

    /// The text that must be found.
    fn of(self, call: &Call) -> &str {
        match self {
            Self::Reason => call.reason.as_str(),
            // Kind, namespace and name; behind it clients quote in different ways.
            Self::Policy => {
                call.nearest.as_deref().and_then(|rule| rule.split(" spec.").next()).unwrap_or("no policy")
            }
            Self::Request => &call.request_id,
        }
    }
}

impl Row {
    /// From a line of the lab's; `None`: it is none.
    pub(crate) fn read(line: &str) -> Option<Self> {
        line.split_once(MARK).map(|(_, json)| serde_json::from_str(json).unwrap())
    }

    /// The records of its requests.
    pub(crate) fn calls<'c>(&self, calls: &'c [Call]) -> impl Iterator<Item = &'c Call> {
        let (pod, during) = (self.pod, self.began..=self.ended);
        calls.iter().filter(move |call| call.pod.ip() == pod && during.contains(&call.time.0))
    }

    /// Those of its requests that were refused, which is why it was.
    pub(crate) fn refused<'c>(&self, calls: &'c [Call]) -> impl Iterator<Item = &'c Call> {
        self.calls(calls).filter(|call| call.verdict == Verdict::Deny)
    }

    /// What the client shows of why it was refused.
    pub(crate) fn shows(&self, calls: &[Call]) -> Vec<Part> {
        let shown = |part: &Part| self.refused(calls).any(|call| self.shown.contains(part.of(call)));
        Part::ALL.into_iter().filter(shown).collect()
    }

    /// Whether the client shows all of why it was refused, or is known to show nothing.
    pub(crate) fn explains(&self, calls: &[Call]) -> bool {
        let is_mute = MUTE.contains(&(&self.client, &self.operation));
        let shows = self.shows(calls);
        self.expected == Expected::Allowed || if is_mute { shows.is_empty() } else { shows == Part::ALL }
    }

    /// What is wrong with it, for a person.
    pub(crate) fn check(&self, calls: &[Call]) -> Result<(), String> {
        let wrong = match self.expected {
            Expected::Allowed => self.check_allowed(calls),
            Expected::Refused => self.check_refused(calls),
        };
        wrong.map_err(|wrong| {
            let mut told = format!("{}: {}: {wrong}\n  it says: {}", self.client, self.operation, self.shown);
            for call in self.calls(calls) {
                let rule = call.rule.as_ref().or(call.nearest.as_ref());
                let _ = write!(
                    told,
                    "\n  {} {} {}: {:?} {:?}",
                    call.method, call.name, call.path, call.operation, rule
                );
            }
            told
        })
    }

    fn check_allowed(&self, calls: &[Call]) -> Result<(), &'static str> {
        if !self.ok {
            return Err("it failed, and must not");
        }
        if self.refused(calls).next().is_some() {
            return Err("one of its requests was refused");
        }
        if self.calls(calls).all(|call| call.rule.is_none()) {
            return Err("no record says which rule allowed it");
        }
        Ok(())
    }

    fn check_refused(&self, calls: &[Call]) -> Result<(), &'static str> {
        if self.ok {
            return Err("it succeeded, and must not");
        }
        let writes = |call: &&Call| {
            matches!(call.operation.verb, Verb::Upload | Verb::Mutate | Verb::Admin | Verb::Unknown)
        };
        if self.calls(calls).filter(writes).any(|call| call.verdict == Verdict::Allow) {
            return Err("a request that writes was let through");
        }
        if self.refused(calls).all(|call| call.nearest.is_none() || call.lacks.is_none()) {
            return Err("no record says what refused it");
        }
        Ok(())
    }
}
