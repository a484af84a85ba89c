//! The compiled routing finds what the API's order says, held against a slow reading of that order.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use crds::{GatewayApi, Object, PathMatch, Route, RouteMatch, read_objects};
use proptest::prelude::*;
use routes::{Asked, Found, Routing};
use std::cmp::Reverse;
use std::fmt::Write;

/// One request.
#[derive(Clone, Debug)]
struct Request {
    host: String,
    path: String,
    query: Option<String>,
    method: &'static str,
    headers: Vec<(String, String)>,
}

const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: x}
spec:
  gatewayClassName: cofferdam
  listeners: [{name: web, port: 80, protocol: HTTP}]
";

/// Which route and rule, as `name/index`.
fn compiled(routing: &Routing, request: &Request) -> Option<String> {
    let listener = routing.listener_for(80, Some(&request.host))?;
    let asked = Asked {
        host: &request.host,
        path: &request.path,
        query: request.query.as_deref(),
        method: request.method,
        headers: &request.headers,
    };
    match routing.find(listener.id, &asked) {
        Found::Rule(rule, _) => Some(format!("{}/{}", rule.route.name, rule.index)),
        Found::Nothing(_) => None,
    }
}

/// Every match of every route that a request meets; the first by the order of the API. No table, no index.
fn naive(routes: &[Route], request: &Request) -> Option<String> {
    let mut met = Vec::new();
    for route in routes {
        let hosts: Vec<&str> = route.hostnames.iter().map(|host| &**host).collect();
        let fitting = hosts.iter().filter(|host| match host.strip_prefix("*.") {
            Some(rest) => request.host.strip_suffix(rest).is_some_and(|it| it.len() > 1 && it.ends_with('.')),
            None => **host == request.host,
        });
        // Characters of a name without a wildcard, then of any.
        let best = fitting.map(|host| (if host.starts_with('*') { 0 } else { host.len() }, host.len())).max();
        let Some(host) = best.or(hosts.is_empty().then_some((0, 0))) else { continue };
        for (index, rule) in route.rules.iter().enumerate() {
            for (place, one) in rule.matches.iter().enumerate() {
                if meets(one, request) {
                    let path = match &one.path {
                        PathMatch::Exact(_) => (2, 0),
                        PathMatch::Regex(text) => (1, text.len()),
                        PathMatch::Prefix(text) => (0, text.trim_end_matches('/').len()),
                        PathMatch::Call { .. } => panic!("none is made"),
                    };
                    let meta = &route.meta;
                    let age = (
                        meta.created.is_empty(),
                        meta.created.clone(),
                        format!("{}/{}", meta.namespace, meta.name),
                    );
                    let more = (one.method.is_some(), one.headers.len(), one.query.len());
                    let key = (Reverse(host), Reverse(path), Reverse(more), age, index, place);
                    met.push((key, format!("{}/{index}", meta.name)));
                }
            }
        }
    }
    met.sort();
    met.into_iter().next().map(|(_, name)| name)
}

fn meets(one: &RouteMatch, request: &Request) -> bool {
    let path = match &one.path {
        PathMatch::Exact(text) => **text == *request.path,
        PathMatch::Prefix(text) => {
            let text = text.trim_end_matches('/');
            request.path == text || request.path.starts_with(&format!("{text}/"))
        }
        PathMatch::Regex(text) => {
            regex::Regex::new(&format!("^(?:{text})$")).unwrap().is_match(&request.path)
        }
        PathMatch::Call { .. } => panic!("none is made"),
    };
    let header = |name: &str| {
        let own = request.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        let values: Vec<&str> = own.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    let parameter = |name: &str| {
        let pairs = request.query.iter().flat_map(|query| query.split('&'));
        pairs
            .filter_map(|pair| pair.split_once('='))
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value.to_owned())
    };
    let is = |wanted: &crds::TextMatch, value: Option<String>| {
        value.is_some_and(|value| match wanted.is_regex {
            true => regex::Regex::new(&format!("^(?:{})$", wanted.value)).unwrap().is_match(&value),
            false => value == *wanted.value,
        })
    };
    path && one.method.as_deref().is_none_or(|method| method == request.method)
        && one.headers.iter().all(|wanted| is(wanted, header(&wanted.name)))
        && one.query.iter().all(|wanted| is(wanted, parameter(&wanted.name)))
}

const HOSTS: [&str; 6] = ["a.b.c", "x.b.c", "b.c", "*.b.c", "*.c", "*.a.b.c"];
const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b", "/a/bc"];
const REGEXES: [&str; 4] = ["/a.*", "/[ab]", "/a/b|/b", ".*"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];

fn a_match() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        prop::sample::select(&PATHS[..]).prop_map(|path| format!("path: {{type: Exact, value: {path}}}")),
        prop::sample::select(&PATHS[..]).prop_map(|path| format!("path: {{value: {path}}}")),
        prop::sample::select(&REGEXES[..])
            .prop_map(|path| format!("path: {{type: RegularExpression, value: '{path}'}}")),
        Just("path: null".to_owned()),
    ];
    let method = prop::option::weighted(0.3, prop::sample::select(&METHODS[..]));
    let text = (prop::sample::select(&["p", "q"][..]), prop::sample::select(&["1", "2", "[12]"][..]));
    let text = text.prop_map(|(name, value)| {
        let kind = if value.starts_with('[') { "RegularExpression" } else { "Exact" };
        (name, format!("{{name: {name}, value: '{value}', type: {kind}}}"))
    });
    let texts = prop::collection::vec(text, 1..3).prop_map(|mut texts| {
        texts.sort();
        texts.dedup_by(|one, other| one.0 == other.0);
        texts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", ")
    });
    let texts = prop_oneof![3 => Just(String::new()), 1 => texts];
    (path, method, texts.clone(), texts).prop_map(|(path, method, headers, query)| {
        let method = method.map_or(String::new(), |method| format!(", method: {method}"));
        format!("{{{path}{method}, headers: [{headers}], queryParams: [{query}]}}")
    })
}

fn a_route() -> impl Strategy<Value = String> {
    let hosts = prop::collection::vec(prop::sample::select(&HOSTS[..]), 0..3);
    let rules = prop::collection::vec(prop::collection::vec(a_match(), 1..3), 1..4);
    let age = prop::option::of(1..4_u8);
    (hosts, rules, age).prop_map(|(mut hosts, rules, age)| {
        hosts.sort_unstable();
        hosts.dedup();
        let created = age.map_or(String::new(), |day| format!(", creationTimestamp: '2026-01-0{day}T00:00:00Z'"));
        let hosts: Vec<String> = hosts.into_iter().map(|host| format!("'{host}'")).collect();
        let mut text = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: NAME, namespace: x{created}}}\n\
             spec:\n  parentRefs: [{{name: g}}]\n  hostnames: [{}]\n  rules:\n",
            hosts.join(", ")
        );
        for matches in rules {
            writeln!(text, "  - matches: [{}]", matches.join(", ")).unwrap();
        }
        text
    })
}

fn a_request() -> impl Strategy<Value = Request> {
    let host = prop::sample::select(&["a.b.c", "x.b.c", "b.c", "c", "y.a.b.c", "q.c", "other"][..]);
    let path =
        prop::sample::select(&["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c/d", "/ab", "/abc", "/b", "/z"][..]);
    let pair = (prop::sample::select(&["p", "q"][..]), prop::sample::select(&["1", "2", "3"][..]));
    let query = prop::collection::vec(pair.clone(), 0..3);
    let headers = prop::collection::vec(pair, 0..3);
    (host, path, query, prop::sample::select(&METHODS[..]), headers).prop_map(
        |(host, path, query, method, headers)| Request {
            host: host.to_owned(),
            path: path.to_owned(),
            query: (!query.is_empty()).then(|| {
                query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
            }),
            method,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.to_uppercase(), value.to_owned()))
                .collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_routing_finds_what_the_order_of_the_api_says(
        routes in prop::collection::vec(a_route(), 1..5),
        requests in prop::collection::vec(a_request(), 1..40),
    ) {
        let mut text = GATEWAY.to_owned();
        for (at, route) in routes.iter().enumerate() {
            text.push_str("---\n");
            // Names run against the order of the file.
            text.push_str(&route.replace("NAME", &format!("r{}", 9 - at)));
        }
        let read = read_objects("t.yaml", text.as_bytes());
        prop_assert!(read.diagnostics.iter().all(|it| !it.is_error()), "{:#?}", read.diagnostics);
        let (routing, _) = Routing::build(&read.objects);
        let written: Vec<Route> = read.objects.iter().filter_map(|object| match object {
            Object::GatewayApi(GatewayApi::Route(route)) => Some(route.clone()),
            _ => None,
        }).collect();
        for request in &requests {
            prop_assert_eq!(compiled(&routing, request), naive(&written, request), "{:?}\n{}", request, text);
        }
    }
}

/// How many requests of the generator find a rule: a test of which all find none would hold anything.
#[test]
fn the_generator_makes_requests_that_find_rules() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut found = 0;
    for _ in 0..100 {
        let route = a_route().new_tree(&mut runner).unwrap().current().replace("NAME", "r");
        let read = read_objects("t.yaml", format!("{GATEWAY}---\n{route}").as_bytes());
        let (routing, _) = Routing::build(&read.objects);
        let request = a_request().new_tree(&mut runner).unwrap().current();
        found += u32::from(compiled(&routing, &request).is_some());
    }
    assert!((10..90).contains(&found), "{found} of 100");
}
