//! `inject`, and the Secrets that it names: what is accepted, what is refused and where.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use crds::{Code, EgressPolicy, Object, Read, read_objects};

fn read(yaml: &str) -> Read {
    read_objects("t.yaml", yaml.as_bytes())
}

fn errors(read: &Read) -> Vec<(Code, &str)> {
    let errors = read.diagnostics.iter().filter(|it| it.is_error());
    errors.map(|it| (it.code, it.field.as_str())).collect()
}

fn injecting(kind: &str, entry: &str, to: &str, more: &str) -> (EgressPolicy, Read) {
    let of_cluster =
        if kind == "EgressPolicy" { "" } else { "tier: Admin, priority: 1, subject: {namespaces: {}}, " };
    let rule = format!("{{action: Allow, to: [{to}], credentials: [{entry}]{more}}}");
    let read = read(&format!(
        "apiVersion: cofferdam.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: p}}\nspec: {{{of_cluster}egress: [{rule}]}}\n"
    ));
    let Some(Object::EgressPolicy(policy)) = read.objects.first() else { panic!("{read:#?}") };
    (policy.clone(), read)
}

const OPENAI: &str = "{provider: openai}";

#[test]
fn a_key_that_is_put_into_requests_is_named_by_its_secret() {
    let (policy, read) =
        injecting("EgressPolicy", "{inject: {secretRef: {name: keys, key: openai}}}", OPENAI, "");
    assert!(!policy.broken, "{read:#?}");
    let requests = policy.egress.rules[0].requests.clone().unwrap();
    let inject = requests.inject.unwrap();
    let inject = (inject.namespace, &*inject.name, &*inject.key, inject.header);
    assert_eq!(inject, (None, "keys", "openai", None));
    assert!(requests.credentials.is_empty());
    let digest = "a".repeat(64);
    let entry = format!(
        "{{sha256: {digest}}}, {{inject: {{secretRef: {{namespace: ops, name: keys, key: a.b}}, header: X-Key}}}}"
    );
    let (policy, read) = injecting("ClusterEgressPolicy", &entry, "{domains: [a.io, b.io]}", "");
    assert!(!policy.broken, "{read:#?}");
    let requests = policy.egress.rules[0].requests.clone().unwrap();
    assert_eq!(requests.credentials.len(), 1);
    let inject = requests.inject.unwrap();
    assert_eq!((inject.namespace.as_deref(), inject.header.as_deref()), (Some("ops"), Some("x-key")));
}

#[test]
fn a_key_that_could_go_to_others_or_nowhere_breaks_the_policy() {
    let good = "{inject: {secretRef: {name: keys, key: a}}}";
    let of = |inner: &str| format!("{{inject: {inner}}}");
    let two = format!("{good}, {good}");
    let signed = format!("{good}, {{awsKeyId: AKIA0123456789ABCDEF}}");
    let both = format!("{{sha256: {}, inject: {{secretRef: {{name: keys, key: a}}}}}}", "a".repeat(64));
    let pass = ", downloadOnly: true, whenUnopened: Pass";
    let one = "credentials[0]";
    for (entry, to, more, code, field) in [
        (of("{}"), OPENAI, "", Code::MissingField, "credentials[0].inject.secretRef"),
        (of("{secretRef: {key: a}}"), OPENAI, "", Code::MissingField, "credentials[0].inject.secretRef.name"),
        (
            of("{secretRef: {name: A, key: a}}"),
            OPENAI,
            "",
            Code::InvalidName,
            "credentials[0].inject.secretRef.name",
        ),
        (
            of("{secretRef: {name: a, key: a/b}}"),
            OPENAI,
            "",
            Code::InvalidName,
            "credentials[0].inject.secretRef.key",
        ),
        (
            of("{secretRef: {name: a, key: a, namespace: ops}}"),
            OPENAI,
            "",
            Code::UnknownField,
            "credentials[0].inject.secretRef",
        ),
        (
            of("{secretRef: {name: a, key: a}, header: Host}"),
            OPENAI,
            "",
            Code::InvalidValue,
            "credentials[0].inject.header",
        ),
        (
            of("{secretRef: {name: a, key: a}, header: 'a: b'}"),
            OPENAI,
            "",
            Code::InvalidValue,
            "credentials[0].inject.header",
        ),
        (both, OPENAI, "", Code::ExactlyOne, one),
        (two, OPENAI, "", Code::InvalidValue, "credentials"),
        (signed, OPENAI, "", Code::InvalidValue, "credentials"),
        (good.to_owned(), "{provider: openai}, {provider: anthropic}", "", Code::InvalidValue, "to"),
        (good.to_owned(), "{domains: ['*.a.io']}", "", Code::InvalidValue, "to"),
        (good.to_owned(), "{domains: [a.io]}", pass, Code::InvalidValue, "whenUnopened"),
    ] {
        let (policy, read) = injecting("EgressPolicy", &entry, to, more);
        assert!(policy.broken, "{entry}");
        let (errors, place) = (errors(&read), format!("spec.egress[0].{field}"));
        assert!(errors.iter().any(|(found, at)| *found == code && *at == place), "{entry} {to}: {errors:?}");
    }
    let (policy, read) = injecting("ClusterEgressPolicy", good, OPENAI, "");
    assert!(policy.broken, "whose Secret? {read:#?}");
}

#[test]
fn only_a_labelled_secret_is_read_and_its_keys_are_not_shown() {
    let secret = |label: &str| {
        read(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: ops, labels: {{cofferdam.dev/inject: {label}}}}}\n\
             data: {{a: c2stMQ==, b: '!'}}\nstringData: {{c: sk-2, a: sk-3}}\n"
        ))
    };
    for label in ["\"false\"", "\"\"", "yes"] {
        assert!(secret(label).objects.is_empty(), "{label}");
    }
    let read = secret("\"true\"");
    let [Object::KeySecret(found)] = read.objects.as_slice() else { panic!("{read:#?}") };
    let data: Vec<_> = found.data.iter().map(|(name, key)| (&**name, key.0.as_slice())).collect();
    assert_eq!(data, [("a", &b"sk-3"[..]), ("c", b"sk-2")]);
    assert_eq!(errors(&read).len(), 1, "b is not in base64");
    assert!(!format!("{read:?}").contains("sk-"), "{read:?}");
}
