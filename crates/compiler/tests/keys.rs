//! The keys that rules put into requests: which are found, and what is said of those that are not.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use compiler::{Compiled, compile};
use crds::{Code, Diagnostic, Severity, read_objects};
use policy::Generation;

fn compiled(objects: &[String]) -> Compiled {
    let read = read_objects("t.yaml", objects.join("---\n").as_bytes());
    compile(read.objects, Generation(1))
}

fn rule(kind: &str, entry: &str) -> String {
    let spec = match kind {
        "EgressPolicy" => String::new(),
        _ => "tier: Admin, priority: 1, subject: {namespaces: {}}, ".to_owned(),
    };
    format!(
        "apiVersion: cofferdam.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: p, namespace: team}}\nspec: {{{spec}egress: [{{action: \
         Allow, to: [{{provider: openai}}], credentials: [{{inject: {{secretRef: {{{entry}}}}}}}]}}]}}\n"
    )
}

fn secret(namespace: &str, label: &str, data: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: {namespace}, labels: {{cofferdam.dev/inject: \
         '{label}'}}}}\nstringData: {{{data}}}\n"
    )
}

/// Not those about what else is missing among these few objects.
fn about_keys(compiled: &Compiled) -> Vec<&Diagnostic> {
    compiled.diagnostics.iter().filter(|it| it.field.ends_with(".credentials")).collect()
}

const OWN: &str = "name: keys, key: openai";
const OF_CLUSTER: &str = "namespace: ops, name: keys, key: openai";

#[test]
fn a_rule_has_the_key_of_the_secret_that_it_names() {
    for (policy, namespace) in
        [(rule("EgressPolicy", OWN), "team"), (rule("ClusterEgressPolicy", OF_CLUSTER), "ops")]
    {
        // One that is the same twice is one.
        let good = secret(namespace, "true", "openai: \"sk-1\\n\", other: sk-2");
        let compiled = compiled(&[policy, good.clone(), good, secret("else", "true", "openai: sk-3")]);
        assert_eq!(about_keys(&compiled).len(), 0);
        let keys: Vec<_> = compiled.keys.iter().map(|(at, key)| (at.to_string(), key.expose())).collect();
        assert_eq!(keys, [(format!("openai of Secret {namespace}/keys"), "sk-1")], "and no other");
        let requests: Vec<_> = compiled.set.rules.iter().filter_map(|rule| rule.requests.clone()).collect();
        assert!(requests.iter().all(|it| it.inject.is_some()) && !requests.is_empty());
        assert!(!format!("{compiled:?}").contains("sk-1"));
    }
}

#[test]
fn a_key_that_cannot_be_used_is_told_of_once_with_rule_and_way_out_and_never_shown() {
    let policy = rule("EgressPolicy", OWN);
    let of = |data: &str| secret("team", "true", data);
    for (secrets, told) in [
        (vec![], "there is no Secret team/keys with the label"),
        (vec![secret("team", "false", "openai: sk-1")], "there is no Secret team/keys with the label"),
        (vec![secret("ops", "true", "openai: sk-1")], "there is no Secret team/keys with the label"),
        (vec![of("other: sk-1")], "has no openai"),
        (vec![of("openai: ''")], "it is empty"),
        (vec![of("openai: 'sk-1 x'")], "other characters"),
        (vec![of("openai: sk-1"), of("openai: sk-2")], "several Secrets team/keys"),
    ] {
        let compiled = compiled(&[vec![policy.clone()], secrets].concat());
        assert!(compiled.keys.is_empty(), "{told}");
        let found = about_keys(&compiled);
        let [one] = found.as_slice() else { unreachable!("{found:#?}") };
        assert_eq!(
            (one.severity, one.code, one.field.as_str()),
            (Severity::Warning, Code::MissingReference, "spec.egress[0].credentials")
        );
        let text = one.to_string();
        assert!(text.contains(told) && text.contains("t.yaml:4") && text.contains("help: "), "{text}");
        assert!(!text.contains("sk-"), "{text}");
        assert!(compiled.set.closed.is_empty(), "other rules of the policy stand");
    }
}
