//! Any bytes as the cookie or field by which a client says which endpoint it had: nobody here can seal one, so it had none.

use crds::read_objects;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ingress::session_endpoint;
use routes::{Routing, Rule};
use std::sync::LazyLock;

/// By a cookie, a cookie that stays, and a field.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let text = "
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: c}, spec: {controllerName: cofferdam.dev/ingress-gateway}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: g, namespace: x}, spec: {gatewayClassName: c, listeners: [{name: l, port: 80, protocol: HTTP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: s, namespace: x}, spec: {ports: [{port: 80}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: x, uid: u}
spec:
  parentRefs: [{name: g}]
  rules:
  - {backendRefs: [{name: s, port: 80}], sessionPersistence: {sessionName: s}}
  - {backendRefs: [{name: s, port: 80}], sessionPersistence: {sessionName: s, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}}
  - {backendRefs: [{name: s, port: 80}], sessionPersistence: {sessionName: s, type: Header, idleTimeout: 1m}}
";
    let rules = Routing::build(&read_objects("f", text.as_bytes()).objects).0.rules().to_vec();
    assert_eq!(rules.iter().filter(|rule| rule.session.is_some()).count(), 3);
    rules
});

pub(crate) fn run(input: (u64, &[u8], &[u8])) {
    let (now, one, other) = input;
    for rule in &*RULES {
        let mut headers = HeaderMap::new();
        for value in [one, other, &[b"s=", one].concat(), &[b"s=", other, b"; s=", one].concat()] {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(header::COOKIE, value.clone());
                headers.append(HeaderName::from_static("s"), value);
            }
        }
        assert_eq!(session_endpoint(rule, &[7; 32], &headers, now), None);
    }
}
