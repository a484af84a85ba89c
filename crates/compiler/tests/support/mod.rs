//! What the tests of this crate share: YAML in, a compiled set and verdicts out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use compiler::Compiled;
use policy::{Access, Endpoint, Generation, Judgement, PolicySet, Protocol, Verdict, decide};
use std::net::IpAddr;

/// Compiles manifests; errors are the test's business.
pub(crate) fn compile(yaml: &str) -> Compiled {
    let read = crds::read_objects("test.yaml", yaml.as_bytes());
    let mut compiled = compiler::compile(read.objects, Generation(1));
    compiled.diagnostics.extend(read.diagnostics);
    compiled
}

/// Compiles manifests that must have no error.
pub(crate) fn set(yaml: &str) -> PolicySet {
    let compiled = compile(yaml);
    let errors: Vec<_> = compiled.diagnostics.iter().filter(|d| d.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    compiled.set
}

/// `namespace/pod`, or an address.
pub(crate) fn endpoint<'a>(set: &'a PolicySet, text: &str) -> Endpoint<'a> {
    match text.split_once('/') {
        Some((namespace, name)) => Endpoint::pod(
            &set.world,
            set.world.find_pod(namespace, name).unwrap_or_else(|| panic!("no pod {text}")),
        ),
        None => Endpoint::at(&set.world, text.parse::<IpAddr>().unwrap()),
    }
}

/// Judges `from -> to:port`, for example `("x/a", "10.9.9.9", "TCP", 80)`.
pub(crate) fn judge(set: &PolicySet, from: &str, to: &str, protocol: &str, port: u16) -> policy::Decision {
    let protocol: Protocol = protocol.parse().unwrap();
    decide(set, &Access { from: endpoint(set, from), to: endpoint(set, to), protocol, port })
}

/// Asserts one verdict over TCP.
pub(crate) fn check(set: &PolicySet, from: &str, to: &str, port: u16, expected: Verdict) {
    check_protocol(set, from, to, ("TCP", port), expected);
}

/// Asserts one verdict.
pub(crate) fn check_protocol(
    set: &PolicySet,
    from: &str,
    to: &str,
    (protocol, port): (&str, u16),
    expected: Verdict,
) {
    let decision = judge(set, from, to, protocol, port);
    let (_, judgement): (_, &Judgement) = decision.deciding();
    let rule = set.rule(judgement.rule).map(ToString::to_string).unwrap_or_default();
    assert_eq!(decision.verdict, expected, "{from} -> {to} {protocol}/{port}: {rule}");
}

/// A running pod as one YAML document: `pod("x", "a", "10.0.0.1", "{app: web}")`.
pub(crate) fn pod(namespace: &str, name: &str, address: &str, labels: &str) -> String {
    pod_with(namespace, name, address, labels, "", "")
}

/// A pod with more lines in `spec` (indented by 2) and `status`.
pub(crate) fn pod_with(
    namespace: &str,
    name: &str,
    address: &str,
    labels: &str,
    spec: &str,
    status: &str,
) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}\nspec:\n  \
         containers:\n  - name: c\n    image: i\n    ports: [{{containerPort: 80, name: web}}]\n{spec}status:\n  podIP: {address}\n{status}"
    )
}

/// A NetworkPolicy as one YAML document; `spec` in flow style.
pub(crate) fn network_policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// A ClusterNetworkPolicy as one YAML document; `spec` in flow style.
pub(crate) fn cluster_policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

/// Namespaces x and y; pods x/a, x/b, y/a (10.0.1.1, 10.0.1.2, 10.0.2.1), labelled `pod: a` and so on.
pub(crate) fn world() -> String {
    let namespace = |name: &str| {
        format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{ns: {name}}}}}\n")
    };
    [
        namespace("x"),
        namespace("y"),
        pod("x", "a", "10.0.1.1", "{pod: a}"),
        pod("x", "b", "10.0.1.2", "{pod: b}"),
        pod("y", "a", "10.0.2.1", "{pod: a}"),
    ]
    .concat()
}

/// An EgressPolicy as one YAML document; `spec` in flow style.
pub(crate) fn egress_policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: cofferdam.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// A ClusterEgressPolicy as one YAML document; `spec` in flow style.
pub(crate) fn cluster_egress_policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: cofferdam.dev/v1alpha1\nkind: ClusterEgressPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}
