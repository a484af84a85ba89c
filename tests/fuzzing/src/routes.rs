//! Any bytes as manifests of the Gateway API, and any head of a request that asks their routing: a rule that is found belongs to
//! a listener of the host, and no spelling of a path that is refused finds one.

use routes::{Asked, Endpoints, Found, Routing};

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
  - matches: [{path: {value: /a/b}}, {path: {type: Exact, value: /c}}, {path: {type: RegularExpression, value: '/d+'}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: x.y}}]
  - matches: [{queryParams: [{name: q, value: '1'}], headers: [{name: h, value: v}]}]
---
";

/// Manifests; host, path and query; method and fields.
type Input<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, &'a str, Vec<(&'a str, &'a [u8])>);

pub(crate) fn run(input: Input<'_>) {
    let (manifests, host, path, query, method, headers) = input;
    let read = crds::read_objects("f", format!("{BASE}{manifests}").as_bytes());
    let (routing, _) = Routing::build(&read.objects);
    let endpoints = Endpoints::build(&read.objects);
    let asked = Asked { host, path, query, method, headers: &headers };
    for listener in routing.listeners() {
        let Found::Rule(rule, matched) = routing.find(listener.id, &asked) else { continue };
        assert_eq!(routing.listener_for(listener.port, Some(host)).map(|own| own.id), Some(listener.id));
        assert!(
            path.starts_with('/') && !path.contains("//") && !path.contains('\\') && !path.contains("/../")
        );
        assert!(matched.prefix.is_none_or(|prefix| path.get(prefix..).is_some()));
        if let Some(redirect) = &rule.filters.redirect {
            let location = redirect.location(listener, &Asked { host: "h", ..asked }, matched.prefix);
            assert!(
                !location.contains(['\r', '\n']) || query.is_some_and(|query| query.contains(['\r', '\n']))
            );
        }
        for number in 0..3 {
            rule.pick(number).map(|backend| endpoints.of(&backend.target));
        }
    }
}
