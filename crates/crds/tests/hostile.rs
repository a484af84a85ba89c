//! Input that is broken by accident or on purpose: no panic, bounded work, and a word about each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use crds::{Code, MAX_BYTES, MAX_DEPTH, Object, Read, read_objects};
use proptest::prelude::*;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\n";

fn check(what: &str, bytes: &[u8], code: Code) -> Read {
    let read = read_objects("x.yaml", bytes);
    let codes: Vec<_> = read.diagnostics.iter().map(|d| d.code).collect();
    assert!(codes.contains(&code), "{what}: {codes:?} lacks {code}");
    for diagnostic in &read.diagnostics {
        let position = diagnostic.position.as_ref().expect("a position");
        assert!(position.line > 0 && position.column > 0, "{what}: {position}");
        assert!(diagnostic.to_string().len() < 2000, "{what}: a message that long helps nobody");
    }
    read
}

/// As charts of Helm write them.
#[test]
fn what_is_yet_to_be_rendered_says_how() {
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec:\n  podSelector: {}\n";
    for (text, code) in [
        (policy.replace("{name: a", "{name: {{ .Release.Name }}"), Code::BadKey),
        (format!("{{{{- if .Values.networkPolicy }}}}\n{policy}{{{{- end }}}}\n"), Code::Syntax),
    ] {
        let read = check(&text, text.as_bytes(), code);
        assert!(
            read.diagnostics
                .iter()
                .any(|it| it.suggestion.as_ref().is_some_and(|help| help.contains("helm template"))),
            "{:?}",
            read.diagnostics
        );
        assert!(
            matches!(read.objects.as_slice(), [Object::NetworkPolicy(_)]),
            "its scope is closed all the same"
        );
    }
    let read = check("no template", b"a: [", Code::Syntax);
    assert!(read.diagnostics.iter().all(|it| it.suggestion.is_none()), "{:?}", read.diagnostics);
}

fn bomb() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..30 {
        let before = format!("*a{}", i - 1);
        text += &format!("a{i}: &a{i} [{}]\n", vec![before; 10].join(", "));
    }
    text
}

#[test]
fn hostile_documents_get_a_diagnostic_each() {
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let deep_block: String = (0..200).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    let repeated_text = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), vec!["*a"; 100_000].join(","));
    let many = format!("a: [{}]", "1,".repeat(crds::MAX_NODES + 1));
    let cases: Vec<(&str, Vec<u8>, Code)> = vec![
        ("alias bomb", bomb().into(), Code::TooManyNodes),
        ("a long text, many times", repeated_text.into(), Code::TooManyNodes),
        ("many nodes", many.into(), Code::TooManyNodes),
        ("deep flow", deep(MAX_DEPTH + 1).into(), Code::TooDeep),
        ("deeper flow", deep(100_000).into(), Code::TooDeep),
        ("unclosed flow", "[".repeat(100_000).into(), Code::TooDeep),
        ("deep block", deep_block.into(), Code::TooDeep),
        ("deep through aliases", deep_aliases().into(), Code::TooDeep),
        ("alias in itself", "a: &a [*a]".into(), Code::UnknownAlias),
        ("alias in itself, mapping", "a: &a {b: *a}".into(), Code::UnknownAlias),
        ("alias without anchor", "a: *b".into(), Code::Syntax),
        ("duplicate key", format!("{POD}kind: Pod\n").into(), Code::DuplicateKey),
        ("NUL", "kind: Pod\0\napiVersion: v1".into(), Code::Syntax),
        ("tabs", "a:\n\t- b".into(), Code::Syntax),
        ("unclosed quote", "kind: \"Pod".into(), Code::Syntax),
        ("unclosed mapping", "{kind: Pod".into(), Code::Syntax),
        ("truncated UTF-8", b"kind: P\xc3".to_vec(), Code::NotUtf8),
        ("half a character of UTF-16", b"\xff\xfek\0i".to_vec(), Code::NotUtf8),
        ("binary", (128..=255).collect(), Code::NotUtf8),
        ("binary that looks like UTF-16", (0..=255).collect(), Code::Syntax),
        ("too large", vec![b'#'; MAX_BYTES + 1], Code::FileTooLarge),
        ("a list as key", "? [a]\n: b".into(), Code::BadKey),
        ("unknown tag", format!("{POD}x: !secret y\n").into(), Code::UnsupportedYaml),
        ("merge of text", format!("{POD}<<: y\n").into(), Code::UnsupportedYaml),
        ("a text", "hello".into(), Code::NotAnObject),
        ("a list", "- kind: Pod".into(), Code::NotAnObject),
        ("no kind", "apiVersion: v1".into(), Code::NotAnObject),
        ("10 MB of text", "x".repeat(10 << 20).into(), Code::NotAnObject),
        ("10 MB of block text", format!("a: |\n{}", " x\n".repeat(3 << 20)).into(), Code::NotAnObject),
        (
            "10 MB of keys",
            (0..700_000).map(|i| format!("key{i}: 1\n")).collect::<String>().into(),
            Code::NotAnObject,
        ),
    ];
    for (what, bytes, code) in cases {
        check(what, &bytes, code);
    }
}

fn deep_aliases() -> String {
    let half = |inner: &str| "[".repeat(40) + inner + &"]".repeat(40);
    format!("a: &a {}\nb: {}", half("x"), half("*a"))
}

#[test]
fn diagnostics_of_one_file_are_bounded() {
    let read = read_objects("x.yaml", "---\n*a\n".repeat(100_000).as_bytes());
    assert_eq!(read.diagnostics.len(), crds::MAX_DIAGNOSTICS_PER_FILE + 1);
    assert_eq!(read.diagnostics.last().unwrap().code, Code::LimitExceeded);
}

#[test]
fn nothing_in_a_file_is_no_error() {
    for text in
        ["", "\n\n", "# only a comment", "---\n---\n...\n", "---\nnull\n", "\u{feff}", "%YAML 1.2\n---\n"]
    {
        let read = read_objects("x.yaml", text.as_bytes());
        assert_eq!(read, Read::default(), "{text:?}");
    }
}

#[test]
fn a_broken_document_hides_no_other() {
    let text = format!("{POD}---\n{{kind: [\n---\n{POD}---\na: *x\n...\n{POD}---\n\tx\n---\n{POD}");
    let read = read_objects("x.yaml", text.as_bytes());
    let lines: Vec<u32> = read.objects.iter().map(|object| object.position().line).collect();
    assert_eq!(lines, [1, 8, 15, 22]);
    let wrong: Vec<u32> = read.diagnostics.iter().map(|d| d.position.as_ref().unwrap().line).collect();
    assert_eq!(wrong.len(), 3, "{:?}", read.diagnostics);
    assert!((6..=8).contains(&wrong[0]) && wrong[1] == 13 && wrong[2] == 20, "{wrong:?}");
}

#[test]
fn a_marker_inside_a_block_text_belongs_to_the_text() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    x: |\n      ---\n      kind: no\nspec: {}";
    let read = read_objects("x.yaml", text.as_bytes());
    assert_eq!((read.objects.len(), read.diagnostics), (1, vec![]));
    assert_eq!(read.objects[0].meta().annotations.get("x").map(AsRef::as_ref), Some("---\nkind: no\n"));
}

#[test]
fn a_policy_that_is_not_well_formed_comes_back_as_unreadable() {
    let text = "kind: NetworkPolicy\nmetadata:\n  labels:\n    name: no\n  namespace: shop # here\n  name: \"web\"\nspec:\n  podSelector: {\n";
    let read = check("policy", text.as_bytes(), Code::Syntax);
    let [Object::NetworkPolicy(policy)] = read.objects.as_slice() else { panic!("{read:?}") };
    assert!(policy.broken && policy.pod_selector.is_none());
    assert_eq!((&*policy.meta.name, &*policy.meta.namespace), ("web", "shop"));
    assert_eq!(read.diagnostics[0].object.as_ref().unwrap().to_string(), "NetworkPolicy shop/web");
}

#[test]
fn a_list_that_is_not_well_formed_closes_every_policy_it_mentions() {
    let item = |kind: &str, namespace: &str| {
        format!("- apiVersion: v1\n  kind: {kind}\n  metadata:\n    name: p\n    namespace: {namespace}\n")
    };
    let items = [item("NetworkPolicy", "a"), item("NetworkPolicy", "b"), item("Pod", "c")].concat();
    let text = format!("apiVersion: v1\nkind: List\nitems:\n{items}- {{\n");
    let objects = check("list", text.as_bytes(), Code::Syntax).objects;
    let namespaces: Vec<&str> = objects.iter().map(|object| &*object.meta().namespace).collect();
    assert_eq!(namespaces, ["a", "b", "c"], "a text says what it mentions, not what belongs together");
    let pods = format!("apiVersion: v1\nkind: List\nitems:\n{}- {{\n", item("Pod", "c"));
    assert!(check("list", pods.as_bytes(), Code::Syntax).objects.is_empty());
}

#[test]
fn another_products_policy_that_is_not_well_formed_closes_nothing() {
    let text = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata:\n  name: web\nspec: {\n";
    assert!(check("policy", text.as_bytes(), Code::Syntax).objects.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_objects("x.yaml", &bytes);
    }

    #[test]
    fn any_text_of_yaml_characters_is_read(text in "[\\[\\]{}:,?&*!|>'\"%@`#~<\\-. \n\tab01éz]{0,120}") {
        read_objects("x.yaml", text.as_bytes());
    }

    #[test]
    fn any_damage_to_a_policy_is_reported_or_harmless(at in 0usize..2000, with in "[\\[\\]{}:,&*!|>'\"# \n\ta0-]{0,3}", cut in 0usize..4) {
        let text = include_str!("../../../fuzz/corpus/manifest/policies.yaml");
        let mut bytes = text.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes.splice(at..(at + cut).min(bytes.len()), with.bytes());
        let read = read_objects("x.yaml", &bytes);
        let broken = read.objects.iter().any(|object| match object {
            Object::NetworkPolicy(policy) => policy.broken,
            Object::ClusterPolicy(policy) => policy.broken,
            _ => false,
        });
        prop_assert!(!broken || read.diagnostics.iter().any(crds::Diagnostic::is_error));
    }
}
