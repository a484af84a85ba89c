//! Bad input: each kind gets a clear diagnostic, the rest is still judged, and nothing opens.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use crate::program;
use crate::program::Folder;
use serde_json::Value;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: y}}\nspec: {spec}\n"
    )
}

/// Every diagnostic of `policy check`.
fn diagnostics(folder: &Folder) -> Vec<Value> {
    let said = folder.policy("check", "--json");
    let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    report["diagnostics"].as_array().expect("a list").clone()
}

/// A diagnostic with this code about this file.
fn find(folder: &Folder, code: &str, file: &str) -> Value {
    let all = diagnostics(folder);
    let about = |d: &&Value| {
        let position = d["position"]["file"].as_str().unwrap_or_default();
        d["code"] == code && position.ends_with(file)
    };
    all.iter().find(about).unwrap_or_else(|| panic!("no {code} about {file}: {all:#?}")).clone()
}

/// The good policy of the folder still decides.
fn the_rest_holds(folder: &Folder) {
    assert_eq!(folder.verdict("x/b", "x/a", 80), "allow");
    assert_eq!(folder.verdict("y/c", "x/a", 80), "deny");
}

fn is_error(folder: &Folder, code: &str, file: &str, line: u64) {
    let found = find(folder, code, file);
    assert_eq!(
        (&found["severity"], found["position"]["line"].as_u64()),
        (&"error".into(), Some(line)),
        "{found:#}"
    );
    assert!(found["message"].as_str().is_some_and(|message| message.len() > 8), "{found:#}");
    assert_eq!(folder.policy("check", "").code, Some(1));
    the_rest_holds(folder);
}

#[test]
fn what_is_to_be_enforced_and_is_not_there_is_not_taken_for_nothing_to_enforce() {
    let folder = Folder::new();
    let (nowhere, socket) = (folder.path("policies"), folder.path("x.sock"));
    let paths = [nowhere.to_str().expect("UTF-8"), socket.to_str().expect("UTF-8")];
    let said = program::run(["up", "-f", paths[0], "--judge-only", "--once", "--socket", paths[1]]);
    assert_eq!(said.code, Some(2), "{}{}", said.out, said.err);
    assert!(said.err.contains(paths[0]) && said.err.contains("No such file"), "{}", said.err);
}

#[test]
fn an_unknown_kind_is_a_note_and_an_unknown_policy_kind_an_error() {
    let folder = Folder::with("a.yaml", "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n");
    let note = find(&folder, "unknown-kind", "a.yaml");
    assert_eq!((&note["severity"], &note["object"]["kind"]), (&"note".into(), &"Widget".into()));
    assert_eq!(folder.policy("check", "").code, Some(0));
    the_rest_holds(&folder);
    let folder =
        Folder::with("a.yaml", policy("p", "{podSelector: {}}").replace("NetworkPolicy", "NetworkPolice"));
    is_error(&folder, "unknown-policy-kind", "a.yaml", 1);
}

#[test]
fn an_unknown_field_of_a_policy_is_an_error_that_suggests_the_right_one_and_closes_what_it_may_select() {
    let folder = Folder::with("a.yaml", policy("p", "{podSelector: {}, ingres: [{}]}"));
    is_error(&folder, "unknown-field", "a.yaml", 4);
    let found = find(&folder, "unknown-field", "a.yaml");
    assert!(found["suggestion"].as_str().is_some_and(|text| text.contains("ingress")), "{found:#}");
    assert_eq!(found["object"]["name"], "p");
    assert_eq!(folder.verdict("x/b", "y/c", 80), "deny");
}

#[test]
fn two_objects_of_one_name_are_an_error_at_both_places() {
    let folder = Folder::with("a.yaml", policy("p", "{podSelector: {}, ingress: [{}]}"));
    folder.write("b.yaml", policy("p", "{podSelector: {}, ingress: []}"));
    let found = find(&folder, "duplicate-object", "b.yaml");
    assert!(found["message"].as_str().is_some_and(|text| text.contains("a.yaml:1")), "{found:#}");
    is_error(&folder, "duplicate-object", "b.yaml", 1);
    assert_eq!(folder.verdict("x/b", "y/c", 80), "deny");
}

#[test]
fn an_invalid_selector_closes_the_namespace() {
    for selector in [
        "{matchExpressions: [{key: pod, operator: Near}]}",
        "{matchLabels: {'a b': c}}",
        "{matchExpressions: [{key: pod, operator: In}]}",
    ] {
        let folder =
            Folder::with("a.yaml", policy("p", &format!("{{podSelector: {selector}, ingress: [{{}}]}}")));
        assert_eq!(folder.policy("check", "").code, Some(1), "{selector}");
        assert_eq!(folder.verdict("x/b", "y/c", 80), "deny", "{selector}");
        the_rest_holds(&folder);
    }
}

#[test]
fn pods_that_share_an_address_are_both_named_and_both_closed() {
    let twin = "{apiVersion: v1, kind: Pod, metadata: {name: twin, namespace: y}, spec: {containers: [{name: c, image: i}]}, status: {podIP: 10.9.2.1}}";
    let folder = Folder::with("twin.yaml", twin);
    let found =
        diagnostics(&folder).into_iter().find(|d| d["code"] == "overlapping-address").expect("an error");
    let message = found["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        message.contains("10.9.2.1") && (message.contains("y/twin") || message.contains("y/c")),
        "{message}"
    );
    assert_eq!(folder.verdict("y/c", "x/b", 80), "deny");
    assert_eq!(folder.verdict("y/twin", "x/b", 80), "deny");
    the_rest_holds(&folder);
}

#[test]
fn ten_megabytes_are_read_and_twenty_refused() {
    let filler =
        "# a comment that says nothing, over and over again, as generated manifests do\n".repeat(130_000);
    assert!(filler.len() > 10_000_000);
    let folder = Folder::with("big.yaml", filler.clone() + &policy("p", "{podSelector: {}}"));
    assert_eq!(folder.policy("check", "").code, Some(0));
    assert_eq!(folder.verdict("x/b", "y/c", 80), "deny", "the policy behind the comments counts");
    folder.write("big.yaml", filler.repeat(2) + &policy("p", "{podSelector: {}}"));
    is_error(&folder, "file-too-large", "big.yaml", 1);
}

#[test]
fn what_is_not_utf8_is_told_with_its_line() {
    let folder = Folder::with("latin1.yaml", b"apiVersion: v1\nkind: Namespace\nmetadata: {name: caf\xe9}\n");
    is_error(&folder, "not-utf8", "latin1.yaml", 3);
    let comment = b"# caf\xe9\n".as_slice();
    folder.write("latin1.yaml", [policy("p", "{podSelector: {}}").as_bytes(), comment].concat());
    is_error(&folder, "not-utf8", "latin1.yaml", 5);
    assert_eq!(folder.verdict("x/b", "y/c", 80), "deny", "it was going to be a policy of namespace y");
    let own = policy("p", "{podSelector: {}, ingress: [{}]}");
    folder.write("latin1.yaml", [b"# caf\xe9\n---\n", own.as_bytes()].concat());
    is_error(&folder, "not-utf8", "latin1.yaml", 1);
    assert_eq!(folder.verdict("x/b", "y/c", 80), "allow", "a document of its own, and well-formed");
}

#[test]
fn what_is_utf16_is_read_as_any_other() {
    let text = policy("p", "{podSelector: {}}");
    for bytes in [
        text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect(),
    ] {
        let folder = Folder::with("utf16.yaml", bytes);
        assert_eq!(folder.policy("check", "").code, Some(0));
        assert_eq!(folder.verdict("x/b", "y/c", 80), "deny");
    }
}

#[test]
fn a_yaml_bomb_ends_quickly_and_closes_what_it_was_to_be() {
    let mut bomb = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: y}\nspec:\n  podSelector: {}\n  a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        bomb += &format!("  a{level}: &a{level} [{}]\n", [below.as_str(); 9].join(", "));
    }
    let folder = Folder::with("bomb.yaml", bomb);
    let errors: Vec<Value> = diagnostics(&folder).into_iter().filter(|d| d["severity"] == "error").collect();
    assert!(
        errors.iter().any(|d| d["position"]["file"].as_str().is_some_and(|file| file.ends_with("bomb.yaml"))),
        "{errors:#?}"
    );
    assert_eq!(folder.verdict("x/b", "y/c", 80), "deny");
    the_rest_holds(&folder);
}

#[test]
fn nesting_without_end_is_told() {
    let folder = Folder::with("deep.yaml", format!("a: {}{}\n", "[".repeat(5000), "]".repeat(5000)));
    is_error(&folder, "too-deep", "deep.yaml", 1);
}

#[test]
fn links_that_lead_back_end_and_are_told() {
    let folder = Folder::new();
    symlink(folder.path("."), folder.path("again")).expect("a link");
    let found = find(&folder, "unreadable", "again");
    assert_eq!(found["severity"], "warning");
    the_rest_holds(&folder);
}

#[test]
fn what_cannot_be_read_is_an_error_and_hides_nothing_else() {
    let folder = Folder::new();
    symlink(folder.path("nowhere"), folder.path("gone.yaml")).expect("a link");
    let _socket = UnixListener::bind(folder.path("socket.yaml")).expect("a socket");
    nix::unistd::mkfifo(&folder.path("pipe.yaml"), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    for name in ["gone.yaml", "socket.yaml", "pipe.yaml"] {
        is_error(&folder, "unreadable", name, 1);
    }
    let missing = program::run(["policy", "check", "-f", "/nowhere/at/all.yaml"]);
    assert!(matches!(missing.code, Some(1 | 2)), "{:?}", missing.code);
    assert!((missing.out + &missing.err).contains("/nowhere/at/all.yaml"));
}

#[test]
fn what_is_not_well_formed_says_where() {
    let folder = Folder::with("a.yaml", policy("p", "{podSelector: {}, ingress: [}"));
    is_error(&folder, "syntax", "a.yaml", 4);
    assert_eq!(folder.verdict("x/b", "y/c", 80), "deny", "it was going to be a policy of namespace y");
    let folder = Folder::with("a.json", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\"");
    assert_eq!(find(&folder, "syntax", "a.json")["severity"], "error");
    the_rest_holds(&folder);
}
