//! May this request, on a connection that was let through, do what it does?
//!
//! Enters: what is known of a pod's rules, the name and port of a connection, and an [`Operation`]. Leaves: a
//! [`RequestJudgement`]. Guarantees: a rule without [`RequestRule`] asks nothing of requests; one with it allows nothing
//! that it does not list. Pure: no I/O, no clock. Does not: read requests.

use crate::capture::Keep;
use crate::decide::{Awaits, Claim, Judgement, Opening};
use crate::keys::Injecting;
use crate::leaks::{Search, Searches};
use crate::quota::Account;
use crate::reason::Reason;
use crate::state::{PodState, RuleFacts};
use ::inspect::http_head::Host;
use policy::{
    DnsName, DomainPattern, Generation, Mismatch, Operation, OwnEgress, Requests, RuleId, judge_operation,
};
use purse::Prices;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Which requests a rule allows, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRule {
    /// The requests.
    pub requests: Requests,
    /// Names of servers that it is for.
    pub names: Vec<DomainPattern>,
    /// Their TCP ports: first and last of each range.
    pub ports: Vec<(u16, u16)>,
    /// Whether what it allows, the pod's other shared rules for the same server may add to, and it to theirs.
    pub shared: bool,
}

impl RequestRule {
    /// A rule that is for no name, and allows no request.
    #[must_use]
    pub fn nothing() -> Self {
        let no_verb = policy::Operations { verbs: Default::default(), resources: Vec::new() };
        let requests = Requests { operations: vec![no_verb], ..Requests::default() };
        Self { requests, ..Self::default() }
    }

    fn is_for(&self, name: &DnsName, port: u16) -> bool {
        self.names.iter().any(|pattern| pattern.matches(name))
            && self.ports.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }
}

/// What becomes of a connection that is let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handling {
    /// Its bytes are passed on unread and unchanged.
    #[default]
    Pass,
    /// It is opened, and each of its requests is judged.
    Open,
}

/// What was judged of one request.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct RequestJudgement {
    /// Why; the verdict is [`Reason::verdict`].
    pub reason: Reason,
    /// What it lacks, by the rule that comes nearest.
    pub lacks: Option<Mismatch>,
    /// The rule that allows it, as text.
    pub rule: Option<Arc<str>>,
    /// Of what is refused, the rule that comes nearest.
    pub nearest: Option<Arc<str>>,
    /// State of policy that was asked.
    pub generation: Generation,
    /// The rule that allows it, by its number.
    pub deciding: Option<RuleId>,
    /// What that rule demands of it.
    pub demands: Demands,
    /// Of what is refused for the arguments of a tool, the condition of the nearest rule that is not met, and why; of what is
    /// refused for whom it has the provider contact, where it says so, whom, and which rule is against it.
    pub unmet: Option<Arc<str>>,
}

/// What a rule demands of a request that it allows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demands {
    /// What is looked for in it.
    pub(crate) search: Option<Arc<Search>>,
    /// The account that it draws on.
    pub(crate) account: Option<Account>,
    /// What calls cost; `None`: that is not known.
    pub(crate) prices: Option<Arc<Prices>>,
    /// What is kept of its contents.
    pub(crate) capture: Option<Keep>,
    /// What is looked for in the file that its answer brings.
    pub(crate) answers: policy::AnswerFiles,
    /// For how long what its answer leads to is granted.
    pub(crate) redirects: Option<Duration>,
    /// With which key it leaves.
    pub(crate) inject: Option<Injecting>,
}

impl Demands {
    /// What of it is met without an account of the pod's and without keys.
    pub(crate) fn of(requests: &Requests, searches: &Searches) -> Self {
        let (search, capture) = (searches.of(&requests.leaks), Keep::of(requests, searches));
        let redirects = requests.redirects.map(|seconds| Duration::from_secs(seconds.into()));
        Self { search, capture, answers: requests.answers, redirects, ..Self::default() }
    }
}

impl RequestJudgement {
    /// A judgement that no rule is behind.
    pub fn without_rule(reason: Reason) -> Self {
        Self {
            reason,
            lacks: None,
            rule: None,
            nearest: None,
            generation: Generation::default(),
            deciding: None,
            demands: Demands::default(),
            unmet: None,
        }
    }

    /// The rule that allows it limits uploads, and its connection, which another rule decided, is limited less: a rule without limits
    /// must not undo those of another.
    pub(crate) fn unlimited(self) -> Self {
        let (nearest, generation) = (self.rule, self.generation);
        Self { nearest, generation, ..Self::without_rule(Reason::LimitsChanged) }
    }
}

/// The name for which a connection is; an address or nothing is none.
pub(crate) fn name_of(claim: &Claim) -> Option<&DnsName> {
    match claim {
        Claim::Tls(hello) => hello.sni.as_ref(),
        Claim::Http { host: Host::Name(name), .. } => Some(name),
        Claim::Http { host: Host::Address(_), .. } | Claim::Opaque | Claim::Unreadable(_) => None,
    }
}

/// Judges a request on a connection that was just judged again.
pub(crate) fn judge_request(
    pod: &PodState,
    connection: &Judgement,
    opening: &Opening,
    operation: &Operation,
) -> RequestJudgement {
    let text = |rule: RuleId| pod.rule(rule).map(|facts| facts.text.clone());
    let operation = with_contacts_judged(operation, &pod.own);
    let judgement = judge_by(rules(pod, connection, opening), connection, &operation, text);
    let allowing = judgement.deciding.and_then(|rule| pod.rule(rule));
    let is_limited = |facts: &Arc<RuleFacts>| connection.limits_as(&facts.ceiling, facts.budget.is_some());
    if allowing.is_none_or(is_limited) { judgement } else { judgement.unlimited() }
}

/// An operation that says whether its sender may go itself where it has the provider go.
pub(crate) fn with_contacts_judged<'o>(operation: &'o Operation, own: &OwnEgress) -> Cow<'o, Operation> {
    if operation.contacts.is_empty() {
        return Cow::Borrowed(operation);
    }
    let mut operation = operation.clone();
    own.judge(&mut operation.contacts);
    Cow::Owned(operation)
}

/// The rules that may allow requests of a connection, the one that decides it first; none where that does not look at them.
fn rules<'p>(pod: &'p PodState, connection: &Judgement, opening: &Opening) -> Vec<(RuleId, &'p Requests)> {
    let deciding = connection.deciding.and_then(|rule| Some((rule, pod.rule(rule)?)));
    let deciding = deciding.and_then(|(id, facts)| Some((id, facts.requests.as_deref()?)));
    let Some((deciding, rule)) = deciding else { return Vec::new() };
    let others = if rule.shared { shared(pod, deciding, rule, opening) } else { Vec::new() };
    std::iter::once((deciding, &rule.requests)).chain(others).collect()
}

/// What must have led to the server of a connection.
pub(crate) fn awaits(pod: &PodState, connection: &Judgement, opening: &Opening) -> Awaits {
    match connection.handling {
        Handling::Open => awaited(&rules(pod, connection, opening)),
        Handling::Pass => Awaits::Nothing,
    }
}

/// What must have led to a server for whose requests these rules are.
pub(crate) fn awaited(rules: &[(RuleId, &Requests)]) -> Awaits {
    let all = |is: fn(&Requests) -> bool| !rules.is_empty() && rules.iter().all(|(_, requests)| is(requests));
    if all(|requests| requests.granted) {
        Awaits::Grant
    } else if all(|requests| requests.only_referred) {
        Awaits::Referral
    } else {
        Awaits::Nothing
    }
}

/// Judges a request by the rules that may allow it, the one that decides its connection first; none: that one does not look at
/// requests. `text`: a rule as a person reads it.
pub(crate) fn judge_by(
    rules: Vec<(RuleId, &Requests)>,
    connection: &Judgement,
    operation: &Operation,
    text: impl Fn(RuleId) -> Option<Arc<str>>,
) -> RequestJudgement {
    let of = |reason| RequestJudgement {
        generation: connection.generation,
        ..RequestJudgement::without_rule(reason)
    };
    if connection.reason.verdict() == policy::Verdict::Deny {
        return RequestJudgement { nearest: connection.nearest.clone(), ..of(connection.reason) };
    }
    if rules.is_empty() {
        return RequestJudgement { rule: connection.rule.clone(), ..of(Reason::RequestAllowed) };
    }
    match judge_operation(rules.iter().copied(), operation) {
        Ok(rule) => RequestJudgement { rule: text(rule), deciding: Some(rule), ..of(Reason::RequestAllowed) },
        Err(None) => of(Reason::RequestNotAllowed),
        Err(Some((rule, lacks))) => {
            let nearest = rules.iter().find(|(known, _)| *known == rule).map(|(_, requests)| *requests);
            let is_of_provider = lacks == Mismatch::ProviderEgress;
            let reason = if is_of_provider { Reason::ProviderEgress } else { Reason::RequestNotAllowed };
            let unmet = nearest.and_then(|requests| requests.detail(lacks, operation));
            RequestJudgement {
                lacks: Some(lacks),
                nearest: text(rule),
                unmet: unmet.map(Into::into),
                ..of(reason)
            }
        }
    }
}

/// The pod's other shared rules that are for the same server, in the order of their numbers. What is granted and what is
/// written do not add up.
fn shared<'p>(
    pod: &'p PodState,
    deciding: RuleId,
    first: &RequestRule,
    opening: &Opening,
) -> Vec<(RuleId, &'p Requests)> {
    let Some(name) = name_of(&opening.claim) else { return Vec::new() };
    let is_meant = |rule: &&RequestRule| {
        rule.shared
            && rule.requests.granted == first.requests.granted
            && rule.is_for(name, opening.destination.port())
    };
    let of_rule = |(id, facts): (&RuleId, &'p Arc<RuleFacts>)| {
        let rule = facts.requests.as_deref().filter(is_meant)?;
        (*id != deciding).then_some((*id, &rule.requests))
    };
    let mut found: Vec<_> = pod.rules.iter().filter_map(of_rule).collect();
    found.sort_by_key(|(rule, _)| *rule);
    found
}
