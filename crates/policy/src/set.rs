//! Everything an evaluator needs: who exists and what was written, at one generation.

use crate::access::Direction;
use crate::detection::Tuning;
use crate::operation::Requests;
use crate::reason::Reason;
use crate::rule::{ClosedScope, Policy, RuleEntry, RuleId, UploadLimits};
use crate::world::World;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Counts policy states; never moves backwards. 0 means nothing was compiled yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One complete state of policy.
#[derive(Clone, Debug)]
pub struct PolicySet {
    /// Which state.
    pub generation: Generation,
    /// Who exists.
    pub world: World,
    /// In order of judgement: tier, priority, namespace, name, kind.
    pub policies: Vec<Policy>,
    /// What is closed because it could not be read. Judged before everything else.
    pub closed: Vec<ClosedScope>,
    /// By [`RuleId`].
    pub rules: Arc<Vec<RuleEntry>>,
    /// What holds for detectors. It decides nothing.
    pub detection: Arc<[Tuning]>,
}

impl PolicySet {
    /// The set without a policy: everything is allowed.
    pub fn empty(generation: Generation, world: World) -> Self {
        Self {
            generation,
            world,
            policies: Vec::new(),
            closed: Vec::new(),
            rules: Arc::new(built_in_rules()),
            detection: Arc::default(),
        }
    }

    /// What the id stands for.
    pub fn rule(&self, id: RuleId) -> Option<&RuleEntry> {
        self.rules.get(id.0 as usize)
    }

    /// Which requests the rule allows; `None`: it does not look at them.
    pub fn requests(&self, id: RuleId) -> Option<&Arc<Requests>> {
        self.rule(id)?.requests.as_ref()
    }

    /// Takes out policies with a rule that looks at requests and closes what they select for egress: for who cannot judge
    /// requests. `why` is what denials say.
    pub fn close_judging(&mut self, why: &str) {
        let entries = Arc::clone(&self.rules);
        let judges = |policy: &Policy| {
            policy
                .egress
                .rules()
                .iter()
                .any(|rule| entries.get(rule.id.0 as usize).is_some_and(|entry| entry.requests.is_some()))
        };
        let (closing, staying): (Vec<_>, _) =
            std::mem::take(&mut self.policies).into_iter().partition(judges);
        self.policies = staying;
        let rules = Arc::make_mut(&mut self.rules);
        for Policy { object, source, subject, .. } in closing {
            let rule = RuleId(u32::try_from(rules.len()).unwrap_or(u32::MAX));
            rules.push(RuleEntry {
                reason: Reason::PolicyUnreadable,
                object: Some(object),
                direction: None,
                index: None,
                name: None,
                field: why.into(),
                source,
                upload: None,
                requests: None,
            });
            self.closed.push(ClosedScope { rule, subject, directions: vec![Direction::Egress] });
        }
    }

    /// What may be uploaded under the rule; `None`: nothing limits it.
    pub fn upload(&self, id: RuleId) -> Option<UploadLimits> {
        self.rule(id)?.upload
    }
}

/// Entries of the ids below [`RuleId::FIRST_WRITTEN`]; the unused ones repeat the default.
pub fn built_in_rules() -> Vec<RuleEntry> {
    let entry = |reason: Reason, direction: Option<Direction>| RuleEntry {
        reason,
        object: None,
        direction,
        index: None,
        name: None,
        field: "".into(),
        source: None,
        upload: None,
        requests: None,
    };
    (0..RuleId::FIRST_WRITTEN.0)
        .map(|id| match RuleId(id) {
            RuleId::NOT_SUBJECT => entry(Reason::NotSubject, None),
            RuleId::SAME_ENDPOINT => entry(Reason::SameEndpoint, None),
            RuleId::OWN_NODE => entry(Reason::OwnNode, None),
            RuleId::UNMANAGED => entry(Reason::Unmanaged, None),
            RuleId::UNTRACKED => entry(Reason::Untracked, None),
            _ => entry(Reason::NoPolicy, None),
        })
        .collect()
}
