//! Input that wants to get around the routing, or to make it slow or large.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the failure report")]

use crds::read_objects;
use proptest::prelude::*;
use routes::{Asked, Endpoints, Found, ListenerId, PathFault, Routing, Status, Why};
use std::fmt::Write;
use std::sync::Arc;

const BASE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g}
spec:
  gatewayClassName: cofferdam
  listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP, hostname: '*.b.c'}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: g}]
  rules:
  - matches: [{path: {value: /a}}]
    filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /z}}}]
  - matches: [{path: {type: Exact, value: /c}}, {path: {type: RegularExpression, value: '/(d+)+e'}}]
  - matches: [{queryParams: [{name: q, value: '1'}], headers: [{name: h, value: v}]}]
---
";

fn routing(manifests: &str) -> Arc<Routing> {
    let read = read_objects("t.yaml", format!("{BASE}{manifests}").as_bytes());
    Routing::build(&read.objects).0
}

fn ask<'r>(routing: &'r Routing, host: &str, path: &str, query: Option<&str>) -> Found<'r> {
    let headers: [(&str, &str); 0] = [];
    let headers = headers.as_slice().to_vec();
    let listener = routing.listener_for(80, Some(host)).map_or(ListenerId(9), |listener| listener.id);
    routing.find(listener, &Asked { host, path, query, method: "GET", headers: &headers })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rule_that_is_found_belongs_to_the_host_and_to_a_path_that_means_one_thing(
        host in "[a-c.:*]{0,8}|.{0,8}",
        path in "/[ac]?[/a-d.%2feE;\\\\]{0,12}|.{0,12}",
        query in proptest::option::of(".{0,12}"),
    ) {
        let routing = routing("");
        let headers: Vec<(&str, &[u8])> = vec![("H", b"v")];
        let asked = Asked { host: &host, path: &path, query: query.as_deref(), method: "GET", headers: &headers };
        for listener in routing.listeners() {
            let Found::Rule(rule, matched) = routing.find(listener.id, &asked) else { continue };
            prop_assert_eq!(routing.listener_for(80, Some(&host)).map(|own| own.id), Some(listener.id));
            for wrong in ["//", "\\", ";", "/../", "/./", "%2f", "%5c", "%00"] {
                prop_assert!(path.starts_with('/') && !path.to_ascii_lowercase().contains(wrong), "{}", path);
            }
            if let Some(redirect) = &rule.filters.redirect {
                let to = redirect.location(listener, &Asked { host: "h", ..asked }, matched.prefix);
                prop_assert!(to.starts_with("http://h/z"), "{}", to);
            }
        }
    }

    #[test]
    fn whatever_is_written_is_built(text in "[a-zA-Z{}:, \\-\\[\\]\n]{0,200}") {
        let objects = read_objects("t.yaml", format!("{BASE}{text}").as_bytes()).objects;
        let _ = Endpoints::build(&objects);
        let (routing, _) = Routing::build(&objects);
        prop_assert!(routing.listeners().len() >= 2);
    }
}

/// Each would take minutes if it were read more than once.
#[test]
fn what_is_long_is_read_once() {
    let routing = routing("");
    let long = "/a".repeat(1 << 19);
    let Found::Rule(_, matched) = ask(&routing, "a.c", &long, None) else { panic!("it begins with /a") };
    assert_eq!(matched.prefix, Some(2));
    let regex = format!("/{}", "d".repeat(1 << 16));
    assert!(matches!(ask(&routing, "a.c", &regex, None), Found::Nothing(Why::NoRule)));
    let host = "a.".repeat(1 << 16);
    assert!(matches!(ask(&routing, &host, "/a", None), Found::Nothing(_)));
    let query = "a&".repeat(1 << 16);
    let Found::Nothing(Why::NoRule) = ask(&routing, "a.c", "/q", Some(&query)) else {
        panic!("h is not there")
    };
    let dots = "/..".repeat(1 << 16);
    let Found::Nothing(Why::BadPath(PathFault::DotElement)) = ask(&routing, "a.c", &dots, None) else {
        panic!("dots are refused")
    };
}

#[test]
fn more_matches_than_there_may_be_are_refused_and_said() {
    let mut text = String::from(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: many}\nspec:\n  \
         gatewayClassName: cofferdam\n  listeners:\n",
    );
    for port in 1000..1064 {
        writeln!(text, "  - {{name: l{port}, port: {port}, protocol: HTTP}}").unwrap();
    }
    let matches = vec!["{path: {type: Exact, value: /x}}"; 64].join(", ");
    let hosts = (0..16).map(|host| format!("h{host}.test")).collect::<Vec<_>>().join(", ");
    for route in 0..12 {
        writeln!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r{route:02}}}\nspec:\n  \
             parentRefs: [{{name: many}}]\n  hostnames: [{hosts}]\n  rules: [{{matches: [{matches}]}}, {{matches: [{matches}]}}]"
        )
        .unwrap();
    }
    let read = read_objects("t.yaml", text.as_bytes());
    assert_eq!(read.diagnostics, []);
    let (_, statuses) = Routing::build(&read.objects);
    let accepted = statuses.iter().filter(|status| match &status.status {
        Status::Route(parents) => parents.iter().all(|parent| parent.conditions.iter().all(|it| it.holds)),
        Status::Class(_) | Status::Gateway { .. } | Status::Used(_) => false,
    });
    // 64 listeners, 16 host names, 128 matches: seven routes have room.
    assert_eq!(accepted.count(), routes::MOST_IN_FORCE / (64 * 16 * 128));
}
