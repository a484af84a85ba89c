//! How each InferencePolicy stands, in the words of its status.
//!
//! Guarantees: `Programmed` is true only where every target is there, is ours, and is not closed by anything; what is only
//! recorded, and what no policy can look at, is named. Does not: decide what is closed, `admit` and the gateway do.

use super::stands::Told;
use crate::report::{Condition, more};
use admit::{Place, RouteKey};
use crds::{
    Diagnostic, Gateway, GatewayApi, InferencePolicy, Object, ObjectName, PolicyTarget, ProtectionMode,
    Route, TargetKind,
};
use routes::{ParentStatus, Status};
use std::collections::{BTreeMap, HashMap};

/// Namespace and name.
type Name<'a> = (&'a str, &'a str);

/// What policies can be attached to.
#[derive(Default)]
struct Served<'a> {
    gateways: HashMap<Name<'a>, &'a Gateway>,
    /// By kind too.
    routes: HashMap<(&'a str, Name<'a>), Taken<'a>>,
}

/// A route, and its parents that are ours and take it.
type Taken<'a> = (Vec<&'a ParentStatus>, Option<&'a Route>);

/// How one target stands.
enum Stands {
    /// It holds there.
    Holds,
    /// Nothing passes, and why.
    Closed(String),
    /// It is not there, or not ours.
    Missing(String),
}

/// The conditions of every policy, with its name and `metadata.generation`.
pub(super) fn conditions(told: &Told<'_>) -> Vec<(ObjectName, i64, Vec<Condition>)> {
    let served = Served::of(told);
    let mut said: BTreeMap<&ObjectName, Vec<&Diagnostic>> = BTreeMap::new();
    for diagnostic in told.diagnostics.iter().filter(|it| it.is_error()) {
        if let Some(object) = &diagnostic.object {
            said.entry(object).or_default().push(diagnostic);
        }
    }
    let faults: BTreeMap<&ObjectName, &str> =
        told.faults.policies.iter().map(|(object, why)| (object, &**why)).collect();
    let of_object = |object: &Object| {
        let Object::InferencePolicy(policy) = object else { return None };
        let meta = &policy.meta;
        let name = ObjectName {
            kind: "InferencePolicy".into(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        };
        let errors = said.get(&name).map(Vec::as_slice).unwrap_or_default();
        // One that is nowhere here is for the process of another Gateway to speak of.
        if !told.serves.is_all() && errors.is_empty() && !served.has_target(told, policy) {
            return None;
        }
        let mut conditions = vec![accepted(policy, errors)];
        let fault = told.faults.whole.as_deref().or(faults.get(&name).copied());
        conditions.push(programmed(told, &served, policy, errors, fault));
        conditions.extend(served.uncovered(policy));
        Some((name, meta.generation, conditions))
    };
    told.objects.iter().filter_map(of_object).collect()
}

fn accepted(policy: &InferencePolicy, errors: &[&Diagnostic]) -> Condition {
    if let Some(first) = errors.first() {
        let field = if first.field.is_empty() { String::new() } else { format!("{}: ", first.field) };
        let message =
            format!("what it is attached to is closed: {field}{}{}", first.message, more(errors.len()));
        return Condition { kind: "Accepted", holds: false, reason: "Invalid", message };
    }
    let modes = [
        ("waf", policy.waf.as_ref().map(|it| it.value.mode)),
        ("guard", policy.guard.as_ref().map(|it| it.value.mode)),
    ];
    let shadowed = modes.iter().filter(|(_, mode)| *mode == Some(ProtectionMode::Shadow));
    let shadowed: Vec<&str> = shadowed.map(|(section, _)| *section).collect();
    let message = match shadowed.is_empty() {
        true => "taken as written".to_owned(),
        false => format!("taken as written; {} only records, for its mode is Shadow", shadowed.join(" and ")),
    };
    Condition { kind: "Accepted", holds: true, reason: "Valid", message }
}

fn programmed(
    told: &Told<'_>,
    served: &Served<'_>,
    policy: &InferencePolicy,
    errors: &[&Diagnostic],
    fault: Option<&str>,
) -> Condition {
    let no = |reason, message| Condition { kind: "Programmed", holds: false, reason, message };
    if let Some(why) = fault {
        return no("NotEnforceable", format!("it cannot be enforced: {why}"));
    }
    if !errors.is_empty() {
        return no("Closed", "nothing passes where it is attached: see Accepted".to_owned());
    }
    let targets = policy.targets.as_deref().unwrap_or_default();
    let (mut missing, mut closed) = (Vec::new(), Vec::new());
    for target in targets {
        match served.stands(told, &policy.meta.namespace, &target.value) {
            Stands::Holds => {}
            Stands::Closed(why) => closed.push(why),
            Stands::Missing(why) => missing.push(why),
        }
    }
    let holds = targets.len().saturating_sub(missing.len());
    if let Some(first) = closed.first() {
        return no("Closed", format!("{first}{}", more(closed.len())));
    }
    // Targets that are not here may be served by the processes of other Gateways, which speak of them.
    if !told.serves.is_all() {
        let message = "at each target that is served".to_owned();
        return Condition { kind: "Programmed", holds: true, reason: "Programmed", message };
    }
    if let Some(first) = missing.first() {
        let message = format!("at {holds} of {} targets; {first}{}", targets.len(), more(missing.len()));
        return no("TargetNotFound", message);
    }
    let message = format!("at all {holds} targets");
    Condition { kind: "Programmed", holds: true, reason: "Programmed", message }
}

impl<'a> Served<'a> {
    fn of(told: &Told<'a>) -> Self {
        let (mut written, mut routes) = (HashMap::new(), HashMap::new());
        for object in told.objects {
            let Object::GatewayApi(object) = object else { continue };
            let name = (&*object.meta().namespace, &*object.meta().name);
            match object {
                GatewayApi::Gateway(it) => drop(written.insert(name, it)),
                GatewayApi::Route(it) => drop(routes.insert((it.kind.as_str(), name), it)),
                GatewayApi::Class(_)
                | GatewayApi::Grant(_)
                | GatewayApi::Slice(_)
                | GatewayApi::Pool(_)
                | GatewayApi::Secret(_)
                | GatewayApi::BackendTls(_)
                | GatewayApi::CaBundle(_) => {}
            }
        }
        let mut served = Self::default();
        for status in told.statuses {
            let name = (&*status.object.namespace, &*status.object.name);
            match &status.status {
                Status::Gateway { .. } => {
                    if let Some(gateway) = written.get(&name) {
                        served.gateways.insert(name, gateway);
                    }
                }
                Status::Route(parents) => {
                    let taken = |it: &&ParentStatus| {
                        it.conditions.iter().any(|it| it.kind == routes::ConditionKind::Accepted && it.holds)
                    };
                    let key = (&*status.object.kind, name);
                    let route = routes.get(&key).copied();
                    served.routes.insert(key, (parents.iter().filter(taken).collect(), route));
                }
                Status::Class(_) | Status::Used(_) => {}
            }
        }
        served
    }

    fn has_target(&self, told: &Told<'_>, policy: &InferencePolicy) -> bool {
        let mut targets = policy.targets.iter().flatten();
        targets.any(|it| !matches!(self.stands(told, &policy.meta.namespace, &it.value), Stands::Missing(_)))
    }

    fn stands(&self, told: &Told<'_>, namespace: &str, target: &PolicyTarget) -> Stands {
        let word =
            TargetKind::WORDS.iter().find(|(_, kind)| *kind == target.kind).map_or("", |(word, _)| word);
        let shown = format!("{word} {}", target.name);
        let section = target.section.as_deref();
        let places: Vec<Place<'_>> = match target.kind {
            TargetKind::Gateway => {
                let Some(gateway) = self.gateways.get(&(namespace, &target.name)) else {
                    return Stands::Missing(format!("{shown} is not there, or is not of our class"));
                };
                listeners(gateway, section).map(|listener| place(gateway, listener, None)).collect()
            }
            TargetKind::HttpRoute | TargetKind::GrpcRoute => {
                let found = self.routes.get(&(word, (namespace, &*target.name)));
                let Some((parents, route)) = found.filter(|(parents, _)| !parents.is_empty()) else {
                    return Stands::Missing(format!(
                        "{shown} is not there, or no Gateway of our class takes it"
                    ));
                };
                let has = |rule: &str| {
                    route.iter().flat_map(|it| &it.rules).any(|it| it.name.as_deref() == Some(rule))
                };
                if let Some(rule) = section.filter(|rule| !has(rule)) {
                    return Stands::Missing(format!("{shown} has no rule with the name {rule}"));
                }
                let key = RouteKey { kind: target.kind, namespace, name: &target.name, rule: section };
                let of_parent = |parent: &&ParentStatus| {
                    let gateway = self.gateways.get(&(&*parent.namespace, &*parent.name)).copied();
                    let section = parent.section.clone();
                    let listeners = gateway.map(|it| listeners(it, section.as_deref()).collect::<Vec<_>>());
                    let listeners = listeners.into_iter().flatten();
                    listeners.filter_map(move |it| Some(place(gateway?, it, Some(key)))).collect::<Vec<_>>()
                };
                parents.iter().flat_map(of_parent).collect()
            }
        };
        if places.is_empty() {
            return Stands::Missing(format!("{shown} has no such listener: {}", section.unwrap_or_default()));
        }
        let closed = places.iter().find_map(|place| told.policies.at(place).closed.clone());
        closed.map_or(Stands::Holds, |closed| Stands::Closed(format!("{shown}: {}", closed.why)))
    }

    /// What passes by a target and is not looked at.
    fn uncovered(&self, policy: &InferencePolicy) -> Option<Condition> {
        let targets = policy.targets.iter().flatten().map(|it| &it.value);
        let gateways = targets.filter(|it| it.kind == TargetKind::Gateway);
        let passed = gateways.flat_map(|target| {
            let gateway = self.gateways.get(&(&*policy.meta.namespace, &*target.name)).copied();
            let listeners = gateway.iter().flat_map(|it| listeners(it, target.section.as_deref()));
            let hands_on =
                |it: &&crds::GatewayListener| it.tls.as_ref().is_some_and(|tls| tls.is_passthrough);
            listeners.filter(hands_on).map(|it| it.name.clone()).collect::<Vec<_>>()
        });
        let passed: Vec<_> = passed.collect();
        let first = passed.first()?;
        let message = format!(
            "listener {first} hands TLS on as it is: nothing of the policy holds for what passes there{}",
            more(passed.len())
        );
        Some(Condition { kind: "Degraded", holds: true, reason: "NotCovered", message })
    }
}

/// Its listeners, or the one of this name.
fn listeners<'g, 's>(
    gateway: &'g Gateway,
    section: Option<&'s str>,
) -> impl Iterator<Item = &'g crds::GatewayListener> + use<'g, 's> {
    gateway.listeners.iter().filter(move |it| section.is_none_or(|section| *it.name == *section))
}

fn place<'a>(
    gateway: &'a Gateway,
    listener: &'a crds::GatewayListener,
    route: Option<RouteKey<'a>>,
) -> Place<'a> {
    Place { gateway: (&gateway.meta.namespace, &gateway.meta.name), listener: &listener.name, route }
}
