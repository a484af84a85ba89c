//! What is said of Gateways, routes and policies, and how it is put beside what others say.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use super::merge::merged;
use super::serves::Serves;
use super::stands::{Faults, Lacks, Stands, Told, Unserved};
use admit::Policies;
use crds::{Object, ObjectName};
use routes::{Resource, Routing};
use serde_json::{Value, json};

const NOW: &str = "2026-11-26T12:00:00Z";

const OBJECTS: &str = "
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: cofferdam}, spec: {controllerName: cofferdam.dev/ingress-gateway}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: ai}
spec:
  gatewayClassName: cofferdam
  listeners:
  - {name: web, port: 80, protocol: HTTP}
  - {name: through, port: 443, protocol: TLS, tls: {mode: Passthrough}}
---
{apiVersion: v1, kind: Service, metadata: {name: model, namespace: ai}, spec: {ports: [{port: 8000}]}}
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: cofferdam}
spec: {type: LoadBalancer, clusterIP: 10.96.0.7, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.7}, {hostname: lb.example.org}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: models, namespace: ai}
spec:
  parentRefs: [{name: theirs}, {name: edge, sectionName: web}]
  rules: [{name: chat, backendRefs: [{name: model, port: 8000}]}]
---
apiVersion: cofferdam.dev/v1alpha1
kind: InferencePolicy
metadata: {name: models, namespace: ai}
spec:
  targetRefs: [TARGET]
  authentication: {anonymous: true}
  guard: {mode: Shadow}
";

const ROUTE: &str = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: models, sectionName: chat}";

/// A state, and what the gateway could not do.
#[derive(Default)]
struct State {
    objects: Vec<Object>,
    text: String,
    faults: Faults,
    service: Option<Resource>,
    serves: Serves,
}

impl State {
    fn of(text: &str, target: &str) -> Self {
        let text = text.replace("TARGET", target);
        Self { objects: crds::read_objects("x", text.as_bytes()).objects, text, ..Self::default() }
    }

    fn stands(&self) -> Stands {
        let read = crds::read_objects("x", self.text.as_bytes());
        let policies = self.objects.iter().filter_map(|object| {
            let Object::InferencePolicy(policy) = object else { return None };
            Some(policy.clone())
        });
        let (policies, judged) = Policies::build(policies.collect());
        let diagnostics: Vec<_> = read.diagnostics.iter().chain(&judged).collect();
        let (_, statuses) = Routing::build(&self.objects);
        let told = Told {
            objects: &self.objects,
            diagnostics: &diagnostics,
            statuses: &statuses,
            policies: &policies,
            faults: &self.faults,
            service: self.service.as_ref(),
            serves: &self.serves,
        };
        Stands::new(&told)
    }

    /// The status of an object that has this one, as it is to be written.
    fn written(&self, kind: &str, name: &str, object: Value) -> Option<Value> {
        let namespace = if kind == "GatewayClass" { "" } else { "ai" };
        let name = ObjectName { kind: kind.into(), namespace: namespace.into(), name: name.into() };
        merged(&object, &self.stands().wanted[&name], &self.serves, NOW)
    }

    /// Conditions of an object that had no status, each as one line.
    fn conditions(&self, kind: &str, name: &str) -> Vec<String> {
        lines(&self.written(kind, name, json!({"metadata": {}})).unwrap()["conditions"])
    }
}

fn lines(conditions: &Value) -> Vec<String> {
    let text = |it: &Value, field: &str| it[field].as_str().unwrap().to_owned();
    let line = |it: &Value| {
        [text(it, "type"), text(it, "status"), text(it, "reason"), text(it, "message")]
            .join(" ")
            .trim()
            .to_owned()
    };
    conditions.as_array().unwrap().iter().map(line).collect()
}

fn edge() -> Resource {
    Resource { namespace: "ai".into(), name: "edge".into() }
}

#[test]
fn a_gateway_says_what_of_it_is_served_and_where() {
    let mut state = State::of(OBJECTS, ROUTE);
    assert_eq!(state.conditions("GatewayClass", "cofferdam"), ["Accepted True Accepted"]);
    assert_eq!(state.conditions("Gateway", "edge"), ["Accepted True Accepted", "Programmed True Programmed"]);
    state.service = Some(Resource { namespace: "cofferdam".into(), name: "gateway".into() });
    let gateway = || json!({"metadata": {}});
    let status = state.written("Gateway", "edge", gateway()).unwrap();
    let addresses =
        json!([{"type": "IPAddress", "value": "192.0.2.7"}, {"type": "Hostname", "value": "lb.example.org"}]);
    assert_eq!(status["addresses"], addresses);
    assert_eq!(
        (&status["listeners"][0]["name"], &status["listeners"][0]["attachedRoutes"]),
        (&json!("web"), &json!(1))
    );
    assert_eq!(
        status["listeners"][1]["supportedKinds"],
        json!([{"group": "gateway.networking.k8s.io", "kind": "TLSRoute"}])
    );
    // The load balancer is not there yet.
    let text = OBJECTS
        .replace("status: {loadBalancer: {ingress: [{ip: 192.0.2.7}, {hostname: lb.example.org}]}}", "");
    let waits = State { service: state.service.clone(), ..State::of(&text, ROUTE) };
    assert!(waits.conditions("Gateway", "edge")[1].starts_with("Programmed False AddressNotAssigned"));
    let inside = State {
        service: state.service.clone(),
        ..State::of(&text.replace("type: LoadBalancer, ", ""), ROUTE)
    };
    let status = inside.written("Gateway", "edge", gateway()).unwrap();
    assert_eq!(status["addresses"], json!([{"type": "IPAddress", "value": "10.96.0.7"}]));
}

#[test]
fn what_the_process_cannot_serve_is_not_said_to_be_programmed() {
    let mut state = State::of(OBJECTS, ROUTE);
    let lacks = |name: &str, lacks| Unserved { gateway: edge(), name: name.into(), lacks };
    state.faults.listeners = vec![lacks("web", Lacks::Port)];
    let status = state.written("Gateway", "edge", json!({"metadata": {}})).unwrap();
    let said = lines(&status["conditions"]);
    assert_eq!(
        said[0],
        "Accepted True ListenersNotValid 1 of 2 listeners are not in force; their conditions say why"
    );
    assert_eq!(said[1], "Programmed True Programmed");
    let said = lines(&status["listeners"][0]["conditions"]);
    assert!(said[0].starts_with("Accepted False PortUnavailable"), "{said:?}");
    assert!(said[1].starts_with("Programmed False Invalid"), "{said:?}");
    assert_eq!(lines(&status["listeners"][1]["conditions"])[1], "Programmed True Programmed");
    state.faults.listeners.push(lacks("through", Lacks::Certificate));
    assert!(state.conditions("Gateway", "edge")[1].starts_with("Programmed False Invalid 2 of 2"));
    state.faults = Faults { whole: Some("too many rules".into()), ..Faults::default() };
    assert_eq!(state.conditions("Gateway", "edge")[1], "Programmed False Invalid too many rules");
    let said = state.conditions("InferencePolicy", "models");
    assert_eq!(said[1], "Programmed False NotEnforceable it cannot be enforced: too many rules");
}

#[test]
fn a_policy_is_programmed_only_where_every_target_holds_it() {
    let target =
        |kind: &str, name: &str| format!("{{group: gateway.networking.k8s.io, kind: {kind}, name: {name}}}");
    let section = |kind: &str, name: &str, section: &str| {
        format!("{{group: gateway.networking.k8s.io, kind: {kind}, name: {name}, sectionName: {section}}}")
    };
    let missing = "at 0 of 1 targets; ";
    let both = format!("{ROUTE}, {}", target("Gateway", "nowhere"));
    for (target, wanted) in [
        (ROUTE.to_owned(), "True Programmed at all 1 targets".to_owned()),
        (section("Gateway", "edge", "web"), "True Programmed at all 1 targets".to_owned()),
        (
            both,
            "False TargetNotFound at 1 of 2 targets; Gateway nowhere is not there, or is not of our class"
                .to_owned(),
        ),
        (
            section("Gateway", "edge", "tls"),
            format!("False TargetNotFound {missing}Gateway edge has no such listener: tls"),
        ),
        (
            section("HTTPRoute", "models", "speech"),
            format!("False TargetNotFound {missing}HTTPRoute models has no rule with the name speech"),
        ),
        (
            target("GRPCRoute", "models"),
            format!(
                "False TargetNotFound {missing}GRPCRoute models is not there, or no Gateway of our class takes it"
            ),
        ),
    ] {
        let said = State::of(OBJECTS, &target).conditions("InferencePolicy", "models");
        assert_eq!(
            said[0],
            "Accepted True Valid taken as written; guard only records, for its mode is Shadow"
        );
        assert_eq!(said[1..], [format!("Programmed {wanted}")], "{target}");
    }
    let said = State::of(OBJECTS, &target("Gateway", "edge")).conditions("InferencePolicy", "models");
    assert_eq!(
        said[2],
        "Degraded True NotCovered listener through hands TLS on as it is: nothing of the policy holds for what passes there"
    );
}

#[test]
fn policies_that_close_each_other_both_say_so_and_so_does_one_with_an_error() {
    let other = OBJECTS[OBJECTS.rfind("---").unwrap()..]
        .replace("name: models, namespace: ai}\nspec", "name: other, namespace: ai}\nspec");
    let state = State::of(&format!("{OBJECTS}{other}"), ROUTE);
    for name in ["models", "other"] {
        let said = state.conditions("InferencePolicy", name);
        assert!(said[1].starts_with("Programmed False Closed"), "{name}: {said:?}");
    }
    let broken = State::of(&OBJECTS.replace("guard: {mode: Shadow}", "guard: {mode: Loud}"), ROUTE);
    let said = broken.conditions("InferencePolicy", "models");
    assert!(
        said[0].starts_with("Accepted False Invalid what it is attached to is closed: spec.guard.mode: "),
        "{said:?}"
    );
    assert_eq!(said[1], "Programmed False Closed nothing passes where it is attached: see Accepted");
    let mut state = State::of(OBJECTS, ROUTE);
    let name = ObjectName { kind: "InferencePolicy".into(), namespace: "ai".into(), name: "models".into() };
    state.faults.policies = vec![(name, "there are no rules".into())];
    let said = state.conditions("InferencePolicy", "models");
    assert_eq!(said[1], "Programmed False NotEnforceable it cannot be enforced: there are no rules");
}

/// A route as the API server holds it, with these parents in its status.
fn route(parents: &Value) -> Value {
    let group = "gateway.networking.k8s.io";
    let references = json!([
        {"group": group, "kind": "Gateway", "name": "theirs"},
        {"group": group, "kind": "Gateway", "name": "edge", "sectionName": "web"},
    ]);
    json!({"metadata": {}, "spec": {"parentRefs": references}, "status": {"parents": parents}})
}

#[test]
fn what_others_say_of_a_route_stays_and_what_stays_the_same_keeps_its_time() {
    let state = State::of(OBJECTS, ROUTE);
    let theirs =
        json!({"controllerName": "example.org/other", "parentRef": {"name": "theirs"}, "conditions": []});
    let status = state.written("HTTPRoute", "models", route(&json!([theirs]))).unwrap();
    let parents = status["parents"].as_array().unwrap();
    assert_eq!((parents.len(), &parents[0]), (2, &theirs));
    assert_eq!(parents[1]["controllerName"], "cofferdam.dev/ingress-gateway");
    assert_eq!(parents[1]["parentRef"], route(&json!([]))["spec"]["parentRefs"][1]);
    assert_eq!(
        lines(&parents[1]["conditions"]),
        ["Accepted True Accepted", "ResolvedRefs True ResolvedRefs"]
    );
    assert_eq!(state.written("HTTPRoute", "models", route(&status["parents"])), None, "nothing differs");
    // One condition was otherwise, long ago, and somebody has one of his own.
    let mut before = status["parents"].clone();
    let others = json!({"type": "example.org/Cold", "status": "True", "reason": "Cold", "message": ""});
    before[1]["conditions"][0]["status"] = "Unknown".into();
    before[1]["conditions"][0]["lastTransitionTime"] = "1970-01-01T00:00:00Z".into();
    before[1]["conditions"][1]["lastTransitionTime"] = "1970-01-01T00:00:00Z".into();
    before[1]["conditions"].as_array_mut().unwrap().push(others.clone());
    let status = state.written("HTTPRoute", "models", route(&before)).unwrap();
    let conditions = &status["parents"][1]["conditions"];
    assert_eq!(conditions[0]["lastTransitionTime"], NOW);
    assert_eq!(conditions[1]["lastTransitionTime"], "1970-01-01T00:00:00Z");
    assert_eq!(conditions[2], others);
}

#[test]
fn a_process_of_one_gateway_speaks_for_that_one_and_leaves_what_those_of_others_say() {
    let ours = |name: &str| json!({"controllerName": "cofferdam.dev/ingress-gateway", "parentRef": {"name": name}, "conditions": []});
    let mut state = State::of(&format!("{OBJECTS}{POOL}"), ROUTE);
    let other = Resource { namespace: "ai".into(), name: "beside".into() };
    for (serves, others) in
        [(Serves::All, 0), (Serves::Only(edge()), 1), (Serves::AllBut(vec![other.clone()]), 1)]
    {
        state.serves = serves;
        let mut written = route(&json!([ours("beside"), ours("edge")]));
        written["metadata"]["namespace"] = "ai".into();
        let status = state.written("HTTPRoute", "models", written).unwrap();
        let parents = status["parents"].as_array().unwrap();
        assert_eq!(parents.iter().filter(|it| it["parentRef"]["name"] == "beside").count(), others);
        assert_eq!(parents.len(), others + 1, "what it said itself and says no more goes: {status:#}");
        let user = json!({
            "controllerName": "cofferdam.dev/ingress-gateway", "conditions": [],
            "parentRef": {"kind": "Gateway", "namespace": "ai", "name": "beside"},
        });
        let pool = json!({"kind": "InferencePool", "metadata": {}, "status": {"parents": [user]}});
        let status = state.written("InferencePool", "llamas", pool).unwrap();
        assert_eq!(status["parents"].as_array().unwrap().len(), others + 1, "{status:#}");
    }
    let both = "{group: gateway.networking.k8s.io, kind: Gateway, name: edge}, {group: gateway.networking.k8s.io, kind: Gateway, name: beside}";
    let said = State { serves: Serves::Only(edge()), ..State::of(OBJECTS, both) }
        .conditions("InferencePolicy", "models");
    assert_eq!(said[1], "Programmed True Programmed at each target that is served");
    // A policy that holds at none of its targets is another's to speak of; one with an error is everybody's.
    let beside = "{group: gateway.networking.k8s.io, kind: Gateway, name: beside}";
    let name = ObjectName { kind: "InferencePolicy".into(), namespace: "ai".into(), name: "models".into() };
    for (text, target, serves, is_told) in [
        (OBJECTS.to_owned(), ROUTE, Serves::Only(edge()), true),
        (OBJECTS.to_owned(), ROUTE, Serves::AllBut(vec![other]), true),
        (OBJECTS.to_owned(), beside, Serves::Only(edge()), false),
        (OBJECTS.to_owned(), beside, Serves::All, true),
        (OBJECTS.replace("mode: Shadow", "mode: Loud"), beside, Serves::Only(edge()), true),
    ] {
        let state = State { serves, ..State::of(&text, target) };
        assert_eq!(state.stands().wanted.contains_key(&name), is_told, "{target} {:?}", state.serves);
    }
}

#[test]
fn nothing_is_said_of_another_state_of_the_object_than_was_looked_at() {
    let state = State::of(OBJECTS, ROUTE);
    for metadata in [json!({"generation": 2}), json!({"creationTimestamp": NOW})] {
        assert_eq!(state.written("Gateway", "edge", json!({"metadata": metadata})), None);
    }
    let mut moved = route(&json!([]));
    moved["spec"]["parentRefs"] = json!([]);
    assert_eq!(state.written("HTTPRoute", "models", moved), None);
    let passing = json!([{"type": "Degraded", "status": "True", "reason": "NotCovered", "message": ""}]);
    let policy = json!({"metadata": {}, "status": {"conditions": passing}});
    let said = state.written("InferencePolicy", "models", policy).unwrap();
    assert_eq!(lines(&said["conditions"]).len(), 2, "{said:#}");
}

/// A pool that a route leads to, and a policy for its picker.
const POOL: &str = "
---
{apiVersion: v1, kind: Service, metadata: {name: picker, namespace: ai}, spec: {ports: [{port: 9002}]}}
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llamas, namespace: ai}
spec: {selector: {matchLabels: {app: llama}}, targetPorts: [{number: 8000}], endpointPickerRef: {name: picker, port: {number: 9002}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: picker, namespace: ai}
spec: {targetRefs: [{group: '', kind: Service, name: picker}], validation: {hostname: p.test, wellKnownCACertificates: System}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: pooled, namespace: ai}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: llamas}]}]
";

#[test]
fn pools_and_policies_name_the_gateways_that_come_to_them_beside_what_others_say() {
    let state = State::of(&format!("{OBJECTS}{POOL}"), ROUTE);
    for (kind, name, list, reference) in [
        ("InferencePool", "llamas", "parents", "parentRef"),
        ("BackendTLSPolicy", "picker", "ancestors", "ancestorRef"),
    ] {
        let of = |gateway: &str, by: Option<&str>| {
            let mut said = json!({"conditions": []});
            said[reference] = json!({"kind": "Gateway", "namespace": "ai", "name": gateway});
            if let Some(by) = by {
                said["controllerName"] = by.into();
            }
            said
        };
        let object = |before: Value| {
            let mut object = json!({"kind": kind, "metadata": {}});
            object["status"][list] = before;
            object
        };
        let others = of("edge", Some("example.org/other"));
        let ours = "cofferdam.dev/ingress-gateway";
        // Ours of a Gateway that comes here no more goes; one that nobody signed is taken over.
        for before in
            [json!([others]), json!([others, of("gone", Some(ours))]), json!([others, of("edge", None)])]
        {
            let status = state.written(kind, name, object(before)).unwrap();
            let said = status[list].as_array().unwrap();
            assert_eq!((said.len(), &said[0]), (2, &others), "{status:#}");
            assert_eq!(said[1]["controllerName"], ours);
            assert_eq!(said[1][reference]["name"], "edge");
            assert_eq!(
                lines(&said[1]["conditions"]),
                ["Accepted True Accepted", "ResolvedRefs True ResolvedRefs"]
            );
            assert_eq!(state.written(kind, name, object(status[list].clone())), None, "nothing differs");
        }
        let full: Vec<Value> = (0..40).map(|at| of(&format!("g{at}"), Some("example.org/other"))).collect();
        let status = state.written(kind, name, object(full.into())).unwrap();
        assert!(status[list].as_array().unwrap().len() <= 32, "there is no more room than so much");
    }
    // Nobody comes to it.
    let alone = State::of(&format!("{OBJECTS}{}", POOL.replace("{name: edge}", "{name: theirs}")), ROUTE);
    let pool = json!({"kind": "InferencePool", "metadata": {}});
    assert_eq!(alone.written("InferencePool", "llamas", pool), None);
}

#[test]
fn a_class_says_what_is_done_in_order_and_each_once() {
    let state = State::of(OBJECTS, ROUTE);
    let status = state.written("GatewayClass", "cofferdam", json!({"metadata": {}})).unwrap();
    let features = status["supportedFeatures"].as_array().unwrap();
    let names: Vec<&str> = features.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
    assert!(names.contains(&"HTTPRouteRequestPercentageMirror") && !names.contains(&"HTTPRouteRetry"));
}
