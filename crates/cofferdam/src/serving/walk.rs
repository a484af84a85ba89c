//! The way of an access through the tiers, for whoever asks why.
//!
//! Enters: the policy set in force and an entry of the ledger. Leaves: each side that is judged, step by step, and of a denial the
//! rule that comes nearest to allowing it. Guarantees: judged by the reference evaluator; a side whose policies are not known here
//! is left out and not guessed. Does not: say what was in force when the entry was written, or judge requests.

use super::written::tier;
use crate::policy::{Named, clauses, rule_text, same_family};
use crate::up::reach::word;
use ::ledger::{Entry, Kind};
use ::policy::decide::judge;
use ::policy::explain::nearest;
use ::policy::{
    Access, Action, Direction, DnsName, Endpoint, Judgement, Party, Pod, PolicySet, Protocol, RuleId, Step,
    Tier, Verdict, World,
};
use api::shape::records::Nearest;
use api::shape::walk::{Walk, WalkSide, WalkStep};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

/// Walks. `is_here`: whether all policies of a pod are in the set. `None`: nothing of it is judged here.
pub(super) fn walk(set: &PolicySet, is_here: impl Fn(&Pod) -> bool, entry: &Entry) -> Option<Walk> {
    let is_question = match entry.kind {
        Kind::Dns => true,
        Kind::Flow | Kind::Tls | Kind::AiCall => false,
        Kind::Finding | Kind::Audit => return None,
    };
    let detail: Value =
        entry.detail.as_deref().and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default();
    let from = end(&set.world, detail.get("from"), &entry.source)?;
    let to = end(&set.world, detail.get("to"), &entry.destination);
    let Some(name) = name_of(entry, &detail, to) else {
        let access = access(entry, (from, to?))?;
        return walked(set, sides(set, is_here, &access), &access);
    };
    let Party::Pod(pod) = from.party else { return None };
    // Addresses that the name has now may be others than then; only this one is judged.
    let mut set = set.clone();
    let address = address_of(&detail).map(|it| it.to_string());
    let asker = format!("pod:{}/{}", pod.namespace, pod.name);
    let named = Named::answer(&mut set, name.as_str(), &asker, address.as_deref()).ok()?;
    let question = named.question(&set).ok()?;
    let from = Endpoint {
        address: from.address,
        ..Endpoint::pod(&set.world, set.world.find_pod(&pod.namespace, &pod.name)?)
    };
    let access = access(entry, (from, Endpoint::at(&set.world, named.address)))?;
    let mut found: Vec<(Side, Judgement)> = Vec::new();
    if is_here(pod) && (is_question || question.rule != RuleId::NO_POLICY) {
        found.push((Side::Name, question));
    }
    if !is_question {
        found.extend(sides(&set, is_here, &access));
    }
    walked(&set, found, &access)
}

/// What is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Name,
    Of(Direction),
}

fn sides(set: &PolicySet, is_here: impl Fn(&Pod) -> bool, access: &Access<'_>) -> Vec<(Side, Judgement)> {
    let directions = [(Direction::Egress, access.from), (Direction::Ingress, access.to)];
    let judged = directions.into_iter().filter_map(|(direction, subject)| match subject.party {
        Party::Pod(pod) if is_here(pod) => Some((Side::Of(direction), judge(set, access, direction))),
        Party::Pod(_) | Party::Node(_) | Party::Outside => None,
    });
    judged.collect()
}

fn walked(set: &PolicySet, sides: Vec<(Side, Judgement)>, access: &Access<'_>) -> Option<Walk> {
    let denies = sides.iter().position(|(_, judged)| judged.verdict == Verdict::Deny);
    let decides = denies.or(sides.len().checked_sub(1))?;
    let near = denies.and_then(|at| match sides.get(at)? {
        (Side::Name, _) => None,
        (Side::Of(direction), judged) => {
            let near = nearest(set, access, *direction, judged)?;
            let lacks = json!(clauses(&near, judged.reason));
            Some(Nearest { rule: rule_text(set, near.rule), lacks, deciding: None })
        }
    });
    let side = |(at, (side, judged)): (usize, &(Side, Judgement))| {
        let (direction, subject) = match side {
            Side::Name => ("name", access.from),
            Side::Of(Direction::Egress) => ("egress", access.from),
            Side::Of(Direction::Ingress) => ("ingress", access.to),
        };
        WalkSide {
            direction: direction.to_owned(),
            subject: subject.to_string(),
            verdict: judged.verdict.to_string(),
            reason: judged.reason.describe().to_owned(),
            decides: at == decides,
            steps: judged.steps.iter().map(|it| step(set, judged, *side, it)).collect(),
        }
    };
    Some(Walk {
        generation: set.generation.0,
        verdict: if denies.is_some() { Verdict::Deny } else { Verdict::Allow }.to_string(),
        sides: sides.iter().enumerate().map(side).collect(),
        nearest: near,
    })
}

fn step(set: &PolicySet, judged: &Judgement, side: Side, step: &Step) -> WalkStep {
    let of = |tier: Option<Tier>, found: &str, text: String, decides: bool| WalkStep {
        tier: tier.map(|it| self::tier(it).to_owned()),
        found: found.to_owned(),
        action: None,
        text,
        decides,
    };
    match step {
        Step::Closed(rule) => of(None, "closed", rule_text(set, *rule), *rule == judged.rule),
        Step::Matched(rule, action) => {
            let action = match action {
                Action::Accept => "accept",
                Action::Deny => "deny",
                Action::Pass => "pass",
            };
            let found = of(tier_of(set, *rule), "matches", rule_text(set, *rule), *rule == judged.rule);
            WalkStep { action: Some(action.to_owned()), ..found }
        }
        Step::FellThrough(tier) => of(Some(*tier), "nothing", String::new(), false),
        Step::Selected(index) => {
            let Some(policy) = set.policies.get(*index) else {
                return of(None, "selects", String::new(), false);
            };
            let place = policy.source.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
            let isolates = side != Side::Name && policy.isolation.contains(&judged.rule);
            let is_of_rule = set.rule(judged.rule).and_then(|it| it.object.as_ref()) == Some(&policy.object);
            let decides = judged.verdict == Verdict::Deny && (isolates || (side == Side::Name && is_of_rule));
            of(Some(policy.tier), "selects", format!("{}{place}", policy.object), decides)
        }
    }
}

/// The tier of the policy that a rule belongs to.
fn tier_of(set: &PolicySet, rule: RuleId) -> Option<Tier> {
    let object = set.rule(rule)?.object.as_ref()?;
    set.policies.iter().find(|policy| policy.object == *object).map(|policy| policy.tier)
}

/// One end: as a record describes it, where it is still there, else as the ledger has it.
fn end<'w>(world: &'w World, told: Option<&Value>, text: &str) -> Option<Endpoint<'w>> {
    let part = |name: &str| told?.get(name)?.as_str();
    let address: Option<IpAddr> = part("address").and_then(|it| it.parse().ok());
    let pod = part("namespace").zip(part("name")).filter(|_| part("kind") == Some("pod"));
    if let Some(pod) = pod.and_then(|(namespace, name)| world.find_pod(namespace, name)) {
        let end = Endpoint::pod(world, pod);
        return Some(Endpoint { address: address.or(end.address), ..end });
    }
    if let Some(node) = text.strip_prefix("node ").and_then(|name| world.nodes.get(name)) {
        return Some(Endpoint { party: Party::Node(node), address: node.addresses.first().copied() });
    }
    if let Some(pod) = world.pods.iter().find(|pod| word(&pod.namespace, &pod.workload) == text) {
        return Some(Endpoint::pod(world, pod));
    }
    address.or(text.parse().ok()).map(|address| Endpoint::at(world, address))
}

/// The name that the destination was reached by.
fn name_of(entry: &Entry, detail: &Value, to: Option<Endpoint<'_>>) -> Option<DnsName> {
    if let Some(name) = detail.pointer("/to/names/0").and_then(Value::as_str) {
        return DnsName::parse(name).ok();
    }
    let is_address = entry.destination.parse::<IpAddr>().is_ok();
    let is_known = entry.kind == Kind::Flow && to.is_some();
    if is_address || is_known { None } else { DnsName::parse(&entry.destination).ok() }
}

/// The address that it led to, where the record has it.
fn address_of(detail: &Value) -> Option<IpAddr> {
    let of_flow = detail.pointer("/to/address").and_then(Value::as_str).and_then(|it| it.parse().ok());
    let of_gateway = || detail.get("destination")?.as_str()?.parse::<SocketAddr>().ok().map(|it| it.ip());
    of_flow.or_else(of_gateway)
}

fn access<'w>(entry: &Entry, (from, to): (Endpoint<'w>, Endpoint<'w>)) -> Option<Access<'w>> {
    let (from, to) = same_family(from, to).ok()?;
    Some(Access { from, to, protocol: Protocol(entry.protocol), port: entry.port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::ledger::Verdict as Written;
    use ::policy::Generation;

    const TEXT: &str = "\
apiVersion: v1
kind: Pod
metadata: { name: web, namespace: prod, labels: { app: web } }
spec: { nodeName: n1, containers: [{ name: c, image: i }] }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: db, namespace: prod, labels: { app: db } }
spec: { nodeName: n2, containers: [{ name: c, image: i }] }
status: { podIPs: [{ ip: 10.0.0.2 }] }
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: web, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      to: [{ domains: ['*.example.com'] }]
      ports: [{ protocol: TCP, port: 443 }]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: prod }
spec:
  podSelector: { matchLabels: { app: web } }
  policyTypes: [Egress]
  egress:
    - to: [{ podSelector: { matchLabels: { app: db } } }]
      ports: [{ protocol: TCP, port: 5432 }]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: metadata-service }
spec:
  tier: Admin
  priority: 10
  subject: { namespaces: {} }
  egress:
    - name: no-metadata
      action: Deny
      to: [{ networks: [169.254.169.254/32] }]
";

    fn set() -> PolicySet {
        let compiled =
            compiler::compile(crds::read_objects("t.yaml", TEXT.as_bytes()).objects, Generation(7));
        assert!(!compiled.diagnostics.iter().any(crds::Diagnostic::is_error), "{:#?}", compiled.diagnostics);
        compiled.set
    }

    fn entry(kind: Kind, destination: &str, port: u16) -> Entry {
        let protocol = if kind == Kind::Dns { 17 } else { 6 };
        Entry {
            source: "prod/web".into(),
            destination: destination.into(),
            port,
            protocol,
            ..Entry::new(kind, Written::Deny)
        }
    }

    /// Each side as `direction verdict`, and its steps as `tier found text`, the one that decides marked.
    fn told(walk: &Walk) -> Vec<String> {
        let step = |it: &WalkStep| {
            let mark = if it.decides { "! " } else { "" };
            format!("  {mark}{} {} {}", it.tier.as_deref().unwrap_or("-"), it.found, it.text)
        };
        let side = |it: &WalkSide| {
            let mark = if it.decides { "! " } else { "" };
            std::iter::once(format!("{mark}{} {}", it.direction, it.verdict))
                .chain(it.steps.iter().map(step))
                .collect::<Vec<_>>()
        };
        walk.sides.iter().flat_map(side).collect()
    }

    #[test]
    fn a_denied_connection_shows_the_tiers_and_the_nearest_rule() {
        let set = set();
        let walk = walk(&set, |_| true, &entry(Kind::Flow, "prod/db", 80)).unwrap();
        assert_eq!((walk.generation, walk.verdict.as_str()), (7, "deny"));
        let told = told(&walk).join("\n");
        assert!(told.starts_with("! egress deny\n"), "{told}");
        assert!(told.contains("admin nothing"), "{told}");
        // Both isolate it; the denial is in the name of the first.
        assert!(told.contains("\n  ! network-policy selects EgressPolicy prod/web (t.yaml:"), "{told}");
        assert!(told.contains("\n  network-policy selects NetworkPolicy prod/web (t.yaml:"), "{told}");
        let nearest = walk.nearest.unwrap();
        assert!(nearest.rule.contains("NetworkPolicy prod/web spec.egress[0]"), "{nearest:?}");
        assert!(nearest.lacks.as_array().is_some_and(|it| it.len() == 1), "{nearest:?}");
    }

    #[test]
    fn an_allowed_one_shows_the_rule_that_matches() {
        let walk = walk(&set(), |_| true, &entry(Kind::Flow, "prod/db", 5432)).unwrap();
        assert_eq!((walk.verdict.as_str(), walk.nearest.clone()), ("allow", None));
        let step = walk.sides[0].steps.iter().find(|it| it.decides).unwrap();
        assert_eq!((step.found.as_str(), step.action.as_deref()), ("matches", Some("accept")));
        assert_eq!(step.tier.as_deref(), Some("network-policy"));
    }

    #[test]
    fn the_first_tier_ends_it() {
        let walk = walk(&set(), |_| true, &entry(Kind::Flow, "169.254.169.254", 80)).unwrap();
        assert_eq!(walk.verdict, "deny");
        let steps = &walk.sides[0].steps;
        assert_eq!(steps.len(), 1, "{steps:?}");
        assert_eq!((steps[0].tier.as_deref(), steps[0].action.as_deref()), (Some("admin"), Some("deny")));
    }

    #[test]
    fn a_name_is_asked_for_and_then_connected_to() {
        let set = set();
        let call = walk(&set, |_| true, &entry(Kind::AiCall, "api.example.com", 443)).unwrap();
        assert_eq!(call.verdict, "allow", "{:#?}", told(&call));
        assert!(
            told(&call).join("\n").contains("EgressPolicy prod/web spec.egress[0]"),
            "{:#?}",
            told(&call)
        );
        let other = walk(&set, |_| true, &entry(Kind::Tls, "paste.example", 443)).unwrap();
        assert_eq!(other.verdict, "deny", "{:#?}", told(&other));
    }

    #[test]
    fn a_pod_of_another_node_is_not_judged_by_policies_that_are_not_here() {
        let set = set();
        let is_here = |pod: &Pod| pod.node.as_deref() == Some("n2");
        let found = walk(&set, is_here, &entry(Kind::Flow, "prod/db", 80)).unwrap();
        assert_eq!(found.sides.iter().map(|it| it.direction.as_str()).collect::<Vec<_>>(), ["ingress"]);
        assert!(walk(&set, |_| false, &entry(Kind::Flow, "prod/db", 80)).is_none());
    }

    #[test]
    fn what_is_no_access_or_from_nobody_known_is_not_walked() {
        let set = set();
        assert!(walk(&set, |_| true, &entry(Kind::Finding, "prod/db", 0)).is_none());
        let gone = Entry { source: "prod/Job/gone".into(), ..entry(Kind::Flow, "prod/db", 80) };
        assert!(walk(&set, |_| true, &gone).is_none());
        for hostile in ["<img src=x>", "a\u{202e}b", "", "node nobody", "../../etc"] {
            let _ = walk(&set, |_| true, &entry(Kind::Dns, hostile, 53));
            let _ = walk(&set, |_| true, &entry(Kind::Flow, hostile, 53));
        }
        let broken =
            Entry { detail: Some("{\"from\":7,\"to\":[]".into()), ..entry(Kind::Flow, "prod/db", 80) };
        assert!(walk(&set, |_| true, &broken).is_some());
    }
}
