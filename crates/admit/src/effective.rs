//! Which sections of which policies hold where.
//!
//! Guarantees: the most specific policy that writes a section says it: one on a rule of a route, before one on the route,
//! before one on the listener, before one on the gateway. A policy that cannot be applied closes what it is attached to,
//! and so do two that write one section for the same target: which of them would hold is not for chance to say. Does not:
//! know which gateways and routes there are.

use crate::limit::{Limits, limits};
use crate::rule::{Rule, rules};
use crds::{
    Authentication, Code, Diagnostic, Guard, InferencePolicy, Located, Mcp, Object, ObjectName, PolicyTarget,
    Position, Responses, ServerKind, StoredObjects, TargetKind, Waf,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The object.
    pub object: ObjectName,
    /// The field: `rules[2]`. Empty: the object as a whole.
    pub field: String,
    /// File, line, column.
    pub position: Position,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = if self.field.is_empty() { "" } else { " " };
        write!(f, "{}{field}{} ({})", self.object, self.field, self.position)
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Namespace and name of the gateway.
    pub gateway: (&'a str, &'a str),
    /// The name of its listener.
    pub listener: &'a str,
    /// The route; `None`: none was found.
    pub route: Option<RouteKey<'a>>,
}

/// A route, or a rule of it.
#[derive(Clone, Copy, Debug)]
pub struct RouteKey<'a> {
    /// Its kind.
    pub kind: TargetKind,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The name of its rule, if that has one.
    pub rule: Option<&'a str>,
}

/// Why nothing may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// A sentence.
    pub why: String,
    /// By which policy.
    pub source: Source,
}

/// What holds at a place. Sections that nobody wrote are `None`.
#[derive(Debug, Default)]
pub struct Effective {
    /// Nothing passes.
    pub closed: Option<Closed>,
    /// `server`
    pub server: Option<ServerKind>,
    /// `authentication`, and where it is written. `None`: nobody can be known, so nobody may ask.
    pub authentication: Option<(Arc<Authentication>, Source)>,
    /// `waf`
    pub waf: Option<(Waf, Source)>,
    /// `guard`
    pub guard: Option<(Guard, Source)>,
    /// `responses`
    pub responses: Option<(Arc<Responses>, Source)>,
    /// `mcp`
    pub mcp: Option<(Arc<Mcp>, Source)>,
    /// `a2a`
    pub a2a: Option<(Arc<Mcp>, Source)>,
    /// `storedObjects`
    pub stored_objects: Option<(StoredObjects, Source)>,
    pub(crate) rules: Option<Arc<[Rule]>>,
    pub(crate) limits: Option<Limits>,
}

/// All policies.
#[derive(Debug, Default)]
pub struct Policies {
    /// By namespace and target.
    attached: HashMap<(Arc<str>, PolicyTarget), Vec<Arc<Compiled>>>,
    /// Namespaces with a policy that may be attached to anything in them.
    closed: HashMap<Arc<str>, Closed>,
}

/// A policy that can be judged by, or one that closes.
#[derive(Debug)]
struct Compiled {
    policy: InferencePolicy,
    authentication: Option<Arc<Authentication>>,
    responses: Option<Arc<Responses>>,
    mcp: Option<Arc<Mcp>>,
    a2a: Option<Arc<Mcp>>,
    rules: Option<Arc<[Rule]>>,
    limits: Option<Limits>,
    broken: Option<Closed>,
}

impl Policies {
    /// Compiles them. What is wrong is told, and closed.
    pub fn build(policies: Vec<InferencePolicy>) -> (Self, Vec<Diagnostic>) {
        let (mut all, mut wrong) = (Self::default(), Vec::new());
        for policy in policies {
            let namespace = policy.meta.namespace.clone();
            let targets = policy.targets.clone();
            let compiled = Arc::new(Compiled::new(policy, &mut wrong));
            let Some(targets) = targets else {
                let closed = compiled.closed("its targets cannot be read");
                all.closed.entry(namespace).or_insert(closed);
                continue;
            };
            for Located { value: target, position } in targets {
                let attached = all.attached.entry((namespace.clone(), target)).or_default();
                if attached.iter().any(|known| Arc::ptr_eq(known, &compiled)) {
                    continue;
                }
                for section in attached.iter().flat_map(|other| compiled.sections_with(other)) {
                    wrong.push(conflict(&compiled, section, position.clone()));
                }
                attached.push(compiled.clone());
            }
        }
        (all, wrong)
    }

    /// Every target that a policy is attached to, with the policy's namespace: whoever knows what there is can say which of
    /// them are not there.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &PolicyTarget)> {
        self.attached.keys().map(|(namespace, target)| (&**namespace, target))
    }

    /// What holds at a place. It is made anew each time: whoever serves asks once for each rule of each route.
    pub fn at(&self, place: &Place<'_>) -> Arc<Effective> {
        let mut effective = Effective::default();
        let (gateway, route) = (place.gateway.0, place.route.map(|route| route.namespace));
        for namespace in route.into_iter().chain([gateway]) {
            effective.close(self.closed.get(namespace));
        }
        for (namespace, target) in levels(place) {
            let attached = self.attached.get(&(namespace.into(), target)).map(Vec::as_slice);
            let attached = attached.unwrap_or_default();
            for (at, policy) in attached.iter().enumerate() {
                effective.close(policy.broken.as_ref());
                let before = attached.get(..at).unwrap_or_default();
                if let Some(other) = before.iter().find(|other| !policy.sections_with(other).is_empty()) {
                    let of = other.name();
                    let closed = policy.closed(&format!("it says the same of one target as {of}"));
                    effective.close(Some(&closed));
                }
            }
            attached.iter().for_each(|policy| effective.fill(policy));
        }
        Arc::new(effective)
    }
}

/// What is wrong with the InferencePolicies of these objects beyond what their reader says: conditions that are none, and two that
/// say the same of one target.
pub fn flaws(objects: &[Object]) -> Vec<Diagnostic> {
    let policies = objects.iter().filter_map(|object| {
        let Object::InferencePolicy(policy) = object else { return None };
        Some(policy.clone())
    });
    Policies::build(policies.collect()).1
}

/// From the most specific on.
fn levels<'a>(place: &Place<'a>) -> impl Iterator<Item = (&'a str, PolicyTarget)> {
    let target = |kind, name: &str, section: Option<&str>| PolicyTarget {
        kind,
        name: name.into(),
        section: section.map(Into::into),
    };
    let (namespace, gateway) = place.gateway;
    let of_gateway = [Some(place.listener), None]
        .map(|section| (namespace, target(TargetKind::Gateway, gateway, section)));
    let route = place.route;
    let rule = route.and_then(|it| Some((it.namespace, target(it.kind, it.name, Some(it.rule?)))));
    let whole = route.map(|it| (it.namespace, target(it.kind, it.name, None)));
    rule.into_iter().chain(whole).chain(of_gateway)
}

fn conflict(policy: &Compiled, section: &str, position: Position) -> Diagnostic {
    let message = format!("another policy says {section} of this target too: nothing passes there");
    let mut diagnostic = Diagnostic::error(Code::InvalidValue, message).at(position);
    diagnostic.object = Some(policy.name());
    diagnostic.field = "spec.targetRefs".into();
    diagnostic.suggest(format!("write {section} in one of them, or attach one to a part of the target"))
}

impl Effective {
    /// A place where nothing passes.
    pub fn closed(closed: Closed) -> Self {
        Self { closed: Some(closed), ..Self::default() }
    }

    fn close(&mut self, closed: Option<&Closed>) {
        if self.closed.is_none() {
            self.closed = closed.cloned();
        }
    }

    /// Takes the sections that nobody more specific wrote.
    fn fill(&mut self, policy: &Compiled) {
        let written = &policy.policy;
        let at = |field: &str, position: &Position| policy.source(field, position);
        self.server = self.server.or(written.server.as_ref().map(|it| it.value));
        if let (None, Some(it), Some(place)) =
            (&self.authentication, &policy.authentication, &written.authentication)
        {
            self.authentication = Some((it.clone(), at("spec.authentication", &place.position)));
        }
        if let (None, Some(it)) = (&self.waf, &written.waf) {
            self.waf = Some((it.value, at("spec.waf", &it.position)));
        }
        if let (None, Some(it)) = (&self.guard, &written.guard) {
            self.guard = Some((it.value.clone(), at("spec.guard", &it.position)));
        }
        if let (None, Some(it), Some(place)) = (&self.responses, &policy.responses, &written.responses) {
            self.responses = Some((it.clone(), at("spec.responses", &place.position)));
        }
        if let (None, Some(it), Some(place)) = (&self.mcp, &policy.mcp, &written.mcp) {
            self.mcp = Some((it.clone(), at("spec.mcp", &place.position)));
        }
        if let (None, Some(it), Some(place)) = (&self.a2a, &policy.a2a, &written.a2a) {
            self.a2a = Some((it.clone(), at("spec.a2a", &place.position)));
        }
        if let (None, Some(it)) = (&self.stored_objects, &written.stored_objects) {
            self.stored_objects = Some((it.value, at("spec.storedObjects", &it.position)));
        }
        if self.rules.is_none() {
            self.rules.clone_from(&policy.rules);
        }
        if self.limits.is_none() {
            self.limits.clone_from(&policy.limits);
        }
    }
}

impl Compiled {
    fn new(policy: InferencePolicy, wrong: &mut Vec<Diagnostic>) -> Self {
        let mut compiled = Self {
            authentication: policy.authentication.as_ref().map(|it| Arc::new(it.value.clone())),
            responses: policy.responses.as_ref().map(|it| Arc::new(it.value.clone())),
            mcp: policy.mcp.as_ref().map(|it| Arc::new(it.value.clone())),
            a2a: policy.a2a.as_ref().map(|it| Arc::new(it.value.clone())),
            rules: None,
            limits: None,
            broken: None,
            policy,
        };
        let source = |field: &str, position: &Position| compiled.source(field, position);
        let flaws = wrong.len();
        let rules = compiled.policy.rules.as_ref().map(|it| rules(&it.value, &source, wrong));
        let limits = compiled.policy.limits.as_ref().map(|it| limits(&it.value, &source));
        (compiled.rules, compiled.limits) = (rules, limits);
        if compiled.policy.broken || wrong.len() > flaws {
            compiled.broken = Some(compiled.closed("it has an error"));
        }
        compiled
    }

    fn name(&self) -> ObjectName {
        let meta = &self.policy.meta;
        let kind = "InferencePolicy".into();
        ObjectName { kind, namespace: meta.namespace.clone(), name: meta.name.clone() }
    }

    fn source(&self, field: &str, position: &Position) -> Source {
        Source { object: self.name(), field: field.to_owned(), position: position.clone() }
    }

    fn closed(&self, why: &str) -> Closed {
        let why = format!("{} is attached here, and {why}: nothing passes until that is mended", self.name());
        Closed { why, source: self.source("", &self.policy.position) }
    }

    /// The sections that both write.
    fn sections_with(&self, other: &Self) -> Vec<&'static str> {
        let (mine, theirs) = (&self.policy, &other.policy);
        let both = [
            ("server", mine.server.is_some() && theirs.server.is_some()),
            ("authentication", mine.authentication.is_some() && theirs.authentication.is_some()),
            ("rules", mine.rules.is_some() && theirs.rules.is_some()),
            ("limits", mine.limits.is_some() && theirs.limits.is_some()),
            ("waf", mine.waf.is_some() && theirs.waf.is_some()),
            ("guard", mine.guard.is_some() && theirs.guard.is_some()),
            ("responses", mine.responses.is_some() && theirs.responses.is_some()),
            ("mcp", mine.mcp.is_some() && theirs.mcp.is_some()),
            ("a2a", mine.a2a.is_some() && theirs.a2a.is_some()),
            ("storedObjects", mine.stored_objects.is_some() && theirs.stored_objects.is_some()),
        ];
        both.iter().filter(|(_, both)| *both).map(|(section, _)| *section).collect()
    }
}
