//! From policy objects to judged policies, and the numbers of their rules.
//!
//! Enters: NetworkPolicies, cluster-wide policies and egress policies. Leaves: [`Rulebook`]: policies in order of judgement,
//! closed scopes, and one entry per rule id. Guarantees: ids are dense from [`RuleId::FIRST_WRITTEN`]; a policy that is
//! broken, contradicts another of its name, or no longer fits the numbers is a closed scope, never left out.

mod cluster;
mod containment;
mod egress;
mod network;
mod provider;

use crate::convert::{Context, object_name, position};
use crate::world::Sorted;
use crds::{Catalog, Code, Diagnostic};
use policy::set::built_in_rules;
use policy::{
    Action, ClosedScope, Direction, ObjectRef, Policy, Reason, RuleEntry, RuleId, Section, SourceRef,
    Subject, Tier,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Every policy, judged or closed.
#[derive(Debug)]
pub(crate) struct Rulebook {
    pub(crate) policies: Vec<Policy>,
    pub(crate) closed: Vec<ClosedScope>,
    pub(crate) entries: Vec<RuleEntry>,
}

/// One object before its rules have numbers: ids count from 0 within the draft.
enum Draft {
    /// It can be applied.
    Judged { policy: Box<Policy>, entries: Vec<RuleEntry> },
    /// It cannot; this is the most it could select.
    Closed(Closure),
}

/// A scope to close, and why.
#[derive(Clone, Debug)]
pub(crate) struct Closure {
    pub(crate) object: ObjectRef,
    pub(crate) source: Option<SourceRef>,
    pub(crate) field: Arc<str>,
    pub(crate) subject: Subject,
    pub(crate) directions: Vec<Direction>,
}

impl Draft {
    fn object(&self) -> &ObjectRef {
        match self {
            Self::Judged { policy, .. } => &policy.object,
            Self::Closed(closure) => &closure.object,
        }
    }

    fn source(&self) -> Option<&SourceRef> {
        match self {
            Self::Judged { policy, .. } => policy.source.as_ref(),
            Self::Closed(closure) => closure.source.as_ref(),
        }
    }

    /// Whether two drafts of one name say the same. A broken one says nothing certain.
    fn says_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Judged { policy: a, entries }, Self::Judged { policy: b, entries: others }) => {
                let same_demands =
                    |(a, b): (&RuleEntry, &RuleEntry)| (a.upload, &a.requests) == (b.upload, &b.requests);
                a.tier == b.tier
                    && entries.iter().zip(others).all(same_demands)
                    && a.priority == b.priority
                    && a.subject == b.subject
                    && a.ingress == b.ingress
                    && a.egress == b.egress
                    && a.dns == b.dns
            }
            (Self::Closed(_), _) | (_, Self::Closed(_)) => false,
        }
    }

    /// The scope this draft could speak about.
    fn close(self) -> Closure {
        match self {
            Self::Closed(closure) => closure,
            Self::Judged { policy, .. } => {
                let directions = [Direction::Egress, Direction::Ingress]
                    .into_iter()
                    .filter(|direction| !matches!(policy.section(*direction), Section::Untouched))
                    .collect();
                Closure {
                    object: policy.object,
                    source: policy.source,
                    field: "".into(),
                    subject: policy.subject,
                    directions,
                }
            }
        }
    }
}

/// Builds the book. `closures` are scopes that `world` wants closed; `last` is the largest usable id.
pub(crate) fn rulebook(
    context: &mut Context,
    catalog: &Catalog,
    written: &Sorted<'_>,
    closures: Vec<Closure>,
    last: RuleId,
) -> Rulebook {
    let mut drafts: Vec<Draft> =
        written.network.iter().map(|written| network::draft(context, written)).collect();
    drafts.extend(written.cluster.iter().map(|written| cluster::draft(context, written)));
    drafts.extend(written.egress.iter().map(|written| egress::draft(context, catalog, written)));
    drafts.extend(written.containments.iter().map(|written| containment::draft(context, written)));
    let drafts = one_per_name(context, drafts);

    let mut closed = closures;
    let mut judged = Vec::new();
    for draft in drafts {
        match draft {
            Draft::Judged { policy, entries } => judged.push((policy, entries)),
            Draft::Closed(closure) => closed.push(closure),
        }
    }
    judged.sort_by(|(a, _), (b, _)| a.order().cmp(&b.order()));
    closed.sort_by(|a, b| (&a.object, &a.source).cmp(&(&b.object, &b.source)));
    number(context, judged, closed, last)
}

/// Two objects of one kind, namespace and name: the same content counts once; different content cannot both be what the
/// user means, so the scopes of all of them close.
fn one_per_name(context: &mut Context, drafts: Vec<Draft>) -> Vec<Draft> {
    let mut by_name: HashMap<ObjectRef, Vec<usize>> = HashMap::with_capacity(drafts.len());
    for (i, draft) in drafts.iter().enumerate() {
        by_name.entry(draft.object().clone()).or_default().push(i);
    }
    let mut fate = vec![Fate::Keep; drafts.len()];
    for indices in by_name.values().filter(|indices| indices.len() > 1) {
        let Some((first, others)) = indices.split_first() else { continue };
        let same = |i: &usize| match (drafts.get(*first), drafts.get(*i)) {
            (Some(a), Some(b)) => a.says_the_same(b),
            _ => false,
        };
        let (all, rest) =
            if others.iter().all(same) { (Fate::Keep, Fate::Drop) } else { (Fate::Close, Fate::Close) };
        for i in indices {
            if let Some(slot) = fate.get_mut(*i) {
                *slot = if i == first { all } else { rest };
            }
        }
    }
    let first_at: HashMap<ObjectRef, Option<SourceRef>> = by_name
        .iter()
        .filter(|(_, indices)| indices.len() > 1)
        .filter_map(|(name, indices)| {
            let first = drafts.get(*indices.first()?)?;
            Some((name.clone(), first.source().cloned()))
        })
        .collect();
    let mut kept = Vec::with_capacity(drafts.len());
    for (draft, fate) in drafts.into_iter().zip(fate) {
        let first = first_at.get(draft.object()).cloned().flatten();
        if let Some(first) = first.filter(|first| draft.source() != Some(first)) {
            report_duplicate(context, draft.object(), draft.source(), &first, fate);
        }
        match fate {
            Fate::Keep => kept.push(draft),
            Fate::Drop => {}
            Fate::Close => kept.push(Draft::Closed(draft.close())),
        }
    }
    kept
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    Drop,
    Close,
}

fn report_duplicate(
    context: &mut Context,
    object: &ObjectRef,
    second: Option<&SourceRef>,
    first: &SourceRef,
    fate: Fate,
) {
    let diagnostic = match fate {
        Fate::Close => Diagnostic::error(
            Code::DuplicateObject,
            format!(
                "written twice with different content, also at {first}; the pods either could select are closed"
            ),
        )
        .suggest("keep one of the two, or give one another name"),
        Fate::Keep | Fate::Drop => {
            Diagnostic::warning(Code::DuplicateObject, format!("written twice with the same content, also at {first}"))
                .suggest("remove one of the two")
        }
    };
    let diagnostic = match second {
        Some(second) => diagnostic.at(position(second)),
        None => diagnostic,
    };
    context.report(diagnostic.of(object_name(object)));
}

/// Gives every rule its id. What no longer fits is closed under one shared id, never left out.
fn number(
    context: &mut Context,
    judged: Vec<(Box<Policy>, Vec<RuleEntry>)>,
    closures: Vec<Closure>,
    last: RuleId,
) -> Rulebook {
    let mut book = Rulebook {
        policies: Vec::with_capacity(judged.len()),
        closed: Vec::with_capacity(closures.len()),
        entries: built_in_rules(),
    };
    let wanted = closures.len() + judged.iter().map(|(_, entries)| entries.len()).sum::<usize>();
    let room = (last.0 as usize + 1).saturating_sub(book.entries.len());
    let spill = (wanted > room).then(|| {
        context.report(
            Diagnostic::error(
                Code::LimitExceeded,
                format!(
                    "{wanted} rules; at most {room} fit, so the pods of the policies that do not are closed"
                ),
            )
            .suggest("merge rules, or split the cluster"),
        );
        book.add(RuleEntry {
            reason: Reason::PolicyUnreadable,
            object: None,
            direction: None,
            index: None,
            name: None,
            field: "more rules than there are rule ids".into(),
            source: None,
            upload: None,
            requests: None,
        })
    });
    for closure in closures {
        book.close(closure, spill, last);
    }
    for (mut policy, entries) in judged {
        let base = book.entries.len();
        match spill {
            Some(shared) if base + entries.len() > last.0 as usize + 1 => {
                let Closure { subject, directions, .. } = Draft::Judged { policy, entries }.close();
                book.closed.push(ClosedScope { rule: shared, subject, directions });
            }
            Some(_) | None => {
                let base = u32::try_from(base).unwrap_or(u32::MAX);
                shift(&mut policy, base);
                book.entries.extend(entries);
                book.policies.push(*policy);
            }
        }
    }
    book
}

impl Rulebook {
    fn add(&mut self, entry: RuleEntry) -> RuleId {
        let id = RuleId(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.entries.push(entry);
        id
    }

    fn close(&mut self, closure: Closure, spill: Option<RuleId>, last: RuleId) {
        let full = self.entries.len() > last.0 as usize;
        let rule = match spill {
            Some(shared) if full => shared,
            Some(_) | None => self.add(RuleEntry {
                reason: Reason::PolicyUnreadable,
                object: Some(closure.object),
                direction: None,
                index: None,
                name: None,
                field: closure.field,
                source: closure.source,
                upload: None,
                requests: None,
            }),
        };
        self.closed.push(ClosedScope { rule, subject: closure.subject, directions: closure.directions });
    }
}

fn shift(policy: &mut Policy, base: u32) {
    for section in [&mut policy.ingress, &mut policy.egress] {
        if let Section::Rules(rules) = section {
            for rule in rules {
                rule.id.0 += base;
            }
        }
    }
    policy.dns.rule_ids().for_each(|id| id.0 += base);
    // Only the NetworkPolicy tier isolates; elsewhere, and in untouched directions, the id stays the default's.
    for (direction, id) in [Direction::Egress, Direction::Ingress].into_iter().zip(&mut policy.isolation) {
        let section = match direction {
            Direction::Egress => &policy.egress,
            Direction::Ingress => &policy.ingress,
        };
        if policy.tier == Tier::NetworkPolicy && !matches!(section, Section::Untouched) {
            id.0 += base;
        }
    }
}

/// Why a verdict of such a rule is given. A Pass never gives one.
fn reason(tier: Tier, action: Action) -> Reason {
    match (tier, action) {
        (Tier::Admin, Action::Accept) => Reason::AdminAccept,
        (Tier::Admin, Action::Deny) => Reason::AdminDeny,
        (Tier::Baseline, Action::Accept) => Reason::BaselineAccept,
        (Tier::Baseline, Action::Deny) => Reason::BaselineDeny,
        (Tier::NetworkPolicy, Action::Accept) => Reason::NetworkPolicyAllow,
        (Tier::NetworkPolicy, Action::Deny) => Reason::Isolated,
        (Tier::Admin | Tier::NetworkPolicy | Tier::Baseline, Action::Pass) => Reason::NoPolicy,
    }
}

/// `spec.ingress[2]`
fn rule_field(context: &mut Context, direction: Direction, index: usize) -> Arc<str> {
    context.interner.text(&format!("spec.{direction}[{index}]"))
}
