//! Checks on what comes before what: equal priorities, and rules that never decide.

use super::crowd::Crowd;
use super::{DIRECTIONS, Findings, cover};
use crds::{Code, Diagnostic};
use policy::{Action, CONTAINMENT, Demand, Policy, Rule, Selector, Subject, Tier, UploadLimits};
use std::collections::HashMap;

/// How many earlier policies of one subject, and how many with all pods of some namespaces, a rule is compared with.
const EARLIER_POLICIES: usize = 16;

/// How many denying rules of one namespace a rule is compared with.
const DENYING_RULES: usize = 64;

/// How many rules about requests of earlier policies of one namespace a rule is compared with.
const JUDGING_RULES: usize = 64;

/// The API leaves the order of equal priorities undefined; ours is by name.
pub(super) fn equal_priority(findings: &mut Findings<'_>) {
    let set = findings.set;
    let place = |it: &Policy| (it.tier, it.priority, is_containment(it));
    for group in set.policies.chunk_by(|a, b| place(a) == place(b)) {
        let Some((first, others)) = group.split_first() else { continue };
        // Of containments each denies everything: their order says nothing.
        if first.tier == Tier::NetworkPolicy || is_containment(first) {
            continue;
        }
        for policy in others {
            findings.about_policy(policy, "spec.priority", Code::EqualPriority, || {
                let at = first.source.as_ref().map(|source| format!(" ({source})")).unwrap_or_default();
                let message = format!(
                    "priority {} is also that of {}{at}; the API leaves their order undefined, here it is by name",
                    policy.priority, first.object
                );
                Diagnostic::warning(Code::EqualPriority, message)
                    .suggest("give each policy of a tier its own priority; lower is judged first")
            });
        }
    }
}

fn is_containment(policy: &Policy) -> bool {
    &*policy.object.kind == CONTAINMENT
}

/// A rule that an earlier one of its tier covers can never decide. Compared are the rules of one policy, and those of
/// earlier policies with the same subject or one that covers it.
pub(super) fn shadowed(findings: &mut Findings<'_>) {
    let set = findings.set;
    let mut alike: HashMap<&Subject, Vec<&Policy>> = HashMap::new();
    let mut broad: Vec<&Policy> = Vec::new();
    let mut tier = None;
    for policy in set.policies.iter().filter(|it| it.tier != Tier::NetworkPolicy && !is_containment(it)) {
        if tier.replace(policy.tier) != Some(policy.tier) {
            alike.clear();
            broad.clear();
        }
        let same = alike.entry(&policy.subject).or_default();
        let covers = |other: &&&Policy| cover::subject(&set.world, &other.subject, &policy.subject);
        let earlier: Vec<&Policy> = broad.iter().filter(covers).chain(same.iter()).copied().collect();
        for direction in DIRECTIONS {
            let rules = policy.section(direction).rules();
            for (index, rule) in rules.iter().enumerate() {
                let others = earlier.iter().flat_map(|other| other.section(direction).rules());
                let mut before = others.chain(rules.iter().take(index));
                if let Some(wide) = before.find(|wide| cover::rule(&set.world, wide, rule)) {
                    report(findings, rule, wide);
                }
            }
        }
        let list = if policy.subject.pods.is_everything() { &mut broad } else { same };
        if list.len() < EARLIER_POLICIES {
            list.push(policy);
        }
    }
}

/// An Accept of the NetworkPolicy tier that a Deny beats entirely. Compared are policies of one namespace, where the one
/// that denies selects all that the other does.
pub(super) fn beaten(findings: &mut Findings<'_>) {
    let set = findings.set;
    let mut denying: HashMap<&str, Vec<(&Policy, &Rule)>> = HashMap::new();
    let of_tier = || set.policies.iter().filter(|policy| policy.tier == Tier::NetworkPolicy);
    for policy in of_tier() {
        let denies = policy.egress.rules().iter().filter(|rule| rule.action == Action::Deny);
        let list = denying.entry(&policy.object.namespace).or_default();
        list.extend(denies.map(|rule| (policy, rule)));
        list.truncate(DENYING_RULES);
    }
    denying.retain(|_, list| !list.is_empty());
    for policy in of_tier() {
        let Some(denying) = denying.get(&*policy.object.namespace) else { continue };
        for rule in policy.egress.rules().iter().filter(|rule| rule.action == Action::Accept) {
            let beats = |(by, deny): &&(&Policy, &Rule)| {
                cover::subject(&set.world, &by.subject, &policy.subject)
                    && cover::rule(&set.world, deny, rule)
            };
            let Some((_, deny)) = denying.iter().find(beats) else { continue };
            findings.about_rule(rule, "", Code::ShadowedRule, || {
                let by = set.rule(deny.id).map(ToString::to_string).unwrap_or_default();
                let message =
                    format!("never decides: {by} denies all that it allows, and a Deny beats every Allow");
                Diagnostic::warning(Code::ShadowedRule, message)
                    .suggest("narrow the Deny, or remove the rule")
            });
        }
    }
}

/// A rule about requests that limits uploads, behind one that limits them less and decides every connection to its servers: what it
/// alone allows is refused there, for nobody would count it. Compared are the rules of one policy, and those of earlier policies of its
/// namespace that select a pod that it selects.
pub(super) fn limits_not_first(findings: &mut Findings<'_>, crowd: &Crowd<'_>) {
    let set = findings.set;
    let mut judging: HashMap<&str, Vec<(&Policy, &Rule)>> = HashMap::new();
    let limits = |rule: &Rule| set.rule(rule.id).and_then(|entry| entry.upload).unwrap_or_default();
    for policy in set.policies.iter().filter(|policy| policy.tier == Tier::NetworkPolicy) {
        let judges = |rule: &&Rule| {
            rule.action == Action::Accept
                && set.rule(rule.id).is_some_and(|entry| entry.demand() == Demand::Requests)
        };
        let own: Vec<(&Policy, &Rule)> =
            policy.egress.rules().iter().filter(judges).map(|rule| (policy, rule)).collect();
        let earlier = judging.entry(&policy.object.namespace).or_default();
        for (index, &(_, rule)) in own.iter().enumerate() {
            if !is_limited_less(UploadLimits::default(), limits(rule)) {
                continue;
            }
            for &(by, first) in earlier.iter().chain(own.iter().take(index)) {
                if !cover::rule(&set.world, first, rule) {
                    continue;
                }
                if is_limited_less(limits(first), limits(rule)) {
                    if share_pods(findings, crowd, &by.subject, &policy.subject) {
                        decided_before(findings, rule, first, by.object != policy.object);
                        break;
                    }
                } else if cover::subject(&set.world, &by.subject, &policy.subject) {
                    // It decides for every pod of this policy, within limits that suffice.
                    break;
                }
            }
        }
        earlier.extend(own);
        earlier.truncate(JUDGING_RULES);
    }
}

/// Whether two subjects select one pod: any pod of the one is of the other, or there is a pod of both.
fn share_pods(findings: &Findings<'_>, crowd: &Crowd<'_>, one: &Subject, other: &Subject) -> bool {
    let world = &findings.set.world;
    if cover::subject(world, one, other) || cover::subject(world, other, one) {
        return true;
    }
    let both = Selector(one.pods.0.iter().chain(other.pods.0.iter()).cloned().collect());
    one.namespaces == other.namespaces && crowd.any(&one.namespaces, &both)
}

/// `first` decides connections to the servers of `rule`, and limits uploads less. `is_of_another`: another policy has it.
fn decided_before(findings: &mut Findings<'_>, rule: &Rule, first: &Rule, is_of_another: bool) {
    let set = findings.set;
    findings.about_rule(rule, "", Code::LimitsNotFirst, || {
        let decides = set.rule(first.id).map(ToString::to_string).unwrap_or_default();
        let (order, whose) = match is_of_another {
            true => (", for policies of a namespace go by name", " of the pods that both policies select"),
            false => ("", ""),
        };
        let message = format!(
            "{decides} comes first{order}, decides connections{whose} to the same servers and limits uploads less: requests that \
             only this rule allows are refused (limits-changed)"
        );
        let way = match is_of_another {
            true => "give that one the same limits, or write both rules into one policy, this one first",
            false => "move this rule before that one, or give that one the same limits",
        };
        Diagnostic::warning(Code::LimitsNotFirst, message)
            .suggest(format!("{way}; either way they hold for all requests of a connection"))
    });
}

/// Whether connections under the first limits may send what the others bound. By hour and day it counts only that there is a limit.
fn is_limited_less(first: UploadLimits, other: UploadLimits) -> bool {
    let most = |limits: UploadLimits| limits.connection.unwrap_or(u64::MAX);
    let is_counted = |limits: UploadLimits| limits.hour.is_some() || limits.day.is_some();
    most(first) > most(other)
        || other.download_only && !first.download_only
        || is_counted(other) && !is_counted(first)
}

fn report(findings: &mut Findings<'_>, rule: &Rule, wide: &Rule) {
    let set = findings.set;
    findings.about_rule(rule, "", Code::ShadowedRule, || {
        let earlier = set.rule(wide.id).map(ToString::to_string).unwrap_or_default();
        let message = format!("never decides: {earlier} is judged before it and matches all that it does");
        Diagnostic::warning(Code::ShadowedRule, message)
            .suggest("move the narrower rule before the wider one, or remove it")
    });
}
