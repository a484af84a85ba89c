//! Kinds of the Gateway API: what is read, what is refused and where, and what is never shown.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use crds::{Code, GatewayApi, Object, PathMatch, Read, Route, RouteFilter, read_objects};
use std::time::Duration;

fn read(kind: &str, spec: &str) -> (Option<GatewayApi>, Read) {
    let yaml = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r, namespace: x, \
         creationTimestamp: '2026-01-01T00:00:00Z', generation: 3}}\nspec: {spec}\n"
    );
    let read = read_objects("t.yaml", yaml.as_bytes());
    let object = read.objects.first().map(|object| match object {
        Object::GatewayApi(object) => object.clone(),
        other => panic!("{other:?}"),
    });
    (object, read)
}

fn route(kind: &str, spec: &str) -> (Route, Read) {
    let (object, read) = read(kind, spec);
    let Some(GatewayApi::Route(route)) = object else { panic!("{read:#?}") };
    (route, read)
}

fn errors(read: &Read) -> Vec<(Code, &str)> {
    let errors = read.diagnostics.iter().filter(|it| it.is_error());
    errors.map(|it| (it.code, it.field.as_str())).collect()
}

#[test]
fn a_route_is_read_whole() {
    let (route, read) = route(
        "HTTPRoute",
        "
  parentRefs: [{name: g, sectionName: web, port: 80}, {name: h, namespace: infra}]
  hostnames: [api.example.com, '*.example.org']
  rules:
  - name: chat
    matches:
    - path: {type: PathPrefix, value: /v1}
      method: POST
      headers: [{name: X-Team, value: red}]
      queryParams: [{name: v, value: '[0-9]+', type: RegularExpression}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-A, value: '1'}], remove: [Cookie]}
    - type: URLRewrite
      urlRewrite: {hostname: inner.example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
    backendRefs:
    - {name: vllm, port: 8000, weight: 9}
    - {group: inference.networking.k8s.io, kind: InferencePool, name: pool, namespace: models}
    timeouts: {request: 1m30s, backendRequest: 500ms}
",
    );
    assert_eq!(errors(&read), []);
    assert_eq!((route.broken.as_deref(), route.meta.generation), (None, 3));
    assert_eq!(&*route.meta.created, "2026-01-01T00:00:00Z");
    assert_eq!((&*route.parents[0].kind, route.parents[0].port), ("Gateway", Some(80)));
    assert_eq!(route.parents[1].namespace.as_deref(), Some("infra"));
    let rule = &route.rules[0];
    assert_eq!(rule.matches[0].path, PathMatch::Prefix("/v1".into()));
    assert!(rule.matches[0].query[0].is_regex && !rule.matches[0].headers[0].is_regex);
    let RouteFilter::Request(headers) = &rule.filters[0] else { panic!("{rule:?}") };
    assert_eq!((&*headers.set[0].0, &*headers.remove[0]), ("x-a", "cookie"));
    let weights: Vec<u32> = rule.backends.iter().map(|backend| backend.weight).collect();
    assert_eq!(weights, [9, 1]);
    assert_eq!(rule.request_timeout, Some(Duration::from_secs(90)));
    assert_eq!(rule.backend_timeout, Some(Duration::from_millis(500)));
}

#[test]
fn a_route_without_rules_has_one_that_matches_everything() {
    let (route, read) = route("HTTPRoute", "{parentRefs: [{name: g}]}");
    assert_eq!(errors(&read), []);
    assert_eq!(route.rules[0].matches[0].path, PathMatch::Prefix("/".into()));
}

#[test]
fn what_cannot_be_done_as_written_breaks_the_route_and_is_said_with_its_field() {
    let matching = |path: &str| format!("{{rules: [{{matches: [{{path: {path}}}]}}]}}");
    let filtered = |filter: &str| format!("{{rules: [{{filters: [{filter}]}}]}}");
    let at_path = "spec.rules[0].matches[0].path";
    let at_filter = "spec.rules[0].filters[0]";
    for (spec, code, field) in [
        (matching("{value: v1}"), Code::InvalidValue, at_path.to_owned()),
        (matching("{value: /a//b}"), Code::InvalidValue, at_path.to_owned()),
        (matching("{value: /a/../b}"), Code::InvalidValue, at_path.to_owned()),
        (matching("{value: /a%2Fb, type: Exact}"), Code::InvalidValue, at_path.to_owned()),
        (matching("{value: /a%zz}"), Code::InvalidValue, at_path.to_owned()),
        (matching("{value: '/a?b'}"), Code::InvalidValue, at_path.to_owned()),
        (matching("{type: Glob, value: /a}"), Code::InvalidValue, format!("{at_path}.type")),
        ("{rules: [{matches: [{method: BREW}]}]}".into(), Code::InvalidValue, "spec.rules[0].matches[0].method".into()),
        ("{rules: [{matchs: []}]}".into(), Code::UnknownField, "spec.rules[0]".into()),
        ("{rules: [{retry: {attempts: 2}}]}".into(), Code::Unsupported, "spec.rules[0].retry".into()),
        (
            "{rules: [{sessionPersistence: {}, backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: a}]}]}".into(),
            Code::Unsupported,
            "spec.rules[0]".into(),
        ),
        ("{rules: [{timeouts: {request: 1s, backendRequest: 2s}}]}".into(), Code::InvalidValue, "spec.rules[0].timeouts".into()),
        ("{hostnames: [10.0.0.1]}".into(), Code::InvalidName, "spec.hostnames[0]".into()),
        ("{hostnames: ['a.*.com']}".into(), Code::InvalidName, "spec.hostnames[0]".into()),
        (filtered("{type: ExternalAuth, externalAuth: {}}"), Code::Unsupported, format!("{at_filter}.type")),
        (
            filtered("{type: CORS, cors: {allowOrigins: ['https://a*.example']}}"),
            Code::InvalidValue,
            format!("{at_filter}.cors.allowOrigins[0]"),
        ),
        (filtered("{type: CORS, cors: {maxAge: 0}}"), Code::InvalidValue, format!("{at_filter}.cors.maxAge")),
        (
            "{rules: [{backendRefs: [{name: a, port: 80, filters: [{type: CORS, cors: {}}]}]}]}".into(),
            Code::Unsupported,
            "spec.rules[0]".into(),
        ),
        (filtered("{type: RequestRedirect}"), Code::MissingField, format!("{at_filter}.requestRedirect")),
        (
            filtered("{type: RequestRedirect, requestRedirect: {statusCode: 200}}"),
            Code::InvalidValue,
            format!("{at_filter}.requestRedirect.statusCode"),
        ),
        (
            filtered("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: a}]}}"),
            Code::InvalidValue,
            format!("{at_filter}.requestHeaderModifier.set[0].name"),
        ),
        (
            filtered("{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: \"b\\r\\nc: d\"}]}}"),
            Code::InvalidValue,
            format!("{at_filter}.responseHeaderModifier.add[0].value"),
        ),
        (
            "{rules: [{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: \
             {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}]}".into(),
            Code::InvalidValue,
            "spec.rules[0]".into(),
        ),
        (
            "{rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a, port: 1}]}]}".into(),
            Code::ExactlyOne,
            "spec.rules[0]".into(),
        ),
    ] {
        let (route, read) = route("HTTPRoute", &spec);
        assert!(errors(&read).contains(&(code, &field)), "{spec}: {:#?}", read.diagnostics);
        assert!(route.broken.is_some_and(|why| why.starts_with(&field)), "{spec}");
    }
}

#[test]
fn a_gateway_says_what_is_wrong_with_it() {
    let listener = "name: a, port: 80, protocol: HTTP";
    for (spec, expected) in [
        (format!("{{gatewayClassName: c, listeners: [{{{listener}}}]}}"), None),
        (format!("{{gatewayClassName: c, listeners: [{{{listener}}}, {{{listener}}}]}}"), Some("spec")),
        ("{gatewayClassName: c, listeners: []}".into(), Some("spec.listeners")),
        (
            format!("{{gatewayClassName: c, listeners: [{{{listener}}}], tls: {{frontend: {{}}}}}}"),
            Some("spec.tls"),
        ),
        (
            format!(
                "{{gatewayClassName: c, listeners: [{{{listener}, allowedRoutes: {{namespaces: {{from: Selector}}}}}}]}}"
            ),
            Some("spec.listeners[0].allowedRoutes.namespaces"),
        ),
    ] {
        let (Some(GatewayApi::Gateway(gateway)), read) = read("Gateway", &spec) else { panic!("{spec}") };
        assert_eq!(errors(&read).first().map(|(_, field)| *field), expected, "{spec}");
        assert_eq!(gateway.broken.is_some(), expected.is_some(), "{spec}");
    }
}

#[test]
fn a_key_is_in_no_output() {
    let yaml = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/tls\n\
                data: {tls.crt: Y2VydA==, tls.key: c2VjcmV0, other: '!'}\n";
    let read = read_objects("t.yaml", yaml.as_bytes());
    let Some(Object::GatewayApi(GatewayApi::Secret(secret))) = read.objects.first() else {
        panic!("{read:?}")
    };
    assert_eq!(
        (secret.certificate.as_slice(), secret.key.0.as_slice()),
        (b"cert".as_slice(), b"secret".as_slice())
    );
    let shown = format!("{read:?}");
    assert!(
        !shown.contains("secret\"") && !shown.contains("c2VjcmV0") && !shown.contains("115, 101"),
        "{shown}"
    );
    let broken = yaml.replace("c2VjcmV0", "c2Vj*cmV0");
    let read = read_objects("t.yaml", broken.as_bytes());
    assert_eq!(errors(&read), [(Code::InvalidValue, "data[\"tls.key\"]")]);
    assert!(!format!("{read:?}").contains("c2Vj"), "a diagnostic repeats no key");
    let other = yaml.replace("kubernetes.io/tls", "Opaque");
    assert_eq!(read_objects("t.yaml", other.as_bytes()).objects, []);
}
