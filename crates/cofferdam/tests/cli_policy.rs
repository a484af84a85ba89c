//! `cofferdam policy` on the command line: answers, forms, exit codes, help.

#![expect(clippy::panic, reason = "a test's helpers fail the test")]

use crate::program::{self, Folder, Said, run};
use serde_json::Value;
use std::process::{Command, Stdio};

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}{}", said.out, said.err))
}

#[test]
fn check_says_where_and_what_and_its_exit_code_says_whether() {
    let folder = Folder::new();
    assert_eq!(folder.policy("check", "").code, Some(0));
    folder.write(
        "warn.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: w, namespace: y}\nspec:\n  podSelector: {matchLabels: {pod: cc}}\n",
    );
    let said = folder.policy("check", "");
    assert_eq!(said.code, Some(0), "a warning is no error");
    assert!(said.out.contains("warn.yaml:1:1: NetworkPolicy y/w: spec.podSelector"), "{}", said.out);
    assert!(said.out.contains("[selects-nothing]") && said.out.contains("help: "), "{}", said.out);
    assert!(said.out.ends_with("0 errors, 1 warning in 7 objects from 2 files\n"), "{}", said.out);
    assert_eq!(folder.policy("check", "--strict").code, Some(1));
    let report = json(&folder.policy("check", "--json"));
    let found = &report["diagnostics"][0];
    for (pointer, expected) in [
        ("/severity", "warning"),
        ("/code", "selects-nothing"),
        ("/object/kind", "NetworkPolicy"),
        ("/object/namespace", "y"),
        ("/object/name", "w"),
        ("/field", "spec.podSelector"),
    ] {
        assert_eq!(found.pointer(pointer), Some(&expected.into()), "{pointer} of {found:#}");
    }
    assert_eq!((&found["position"]["line"], &found["position"]["column"]), (&1.into(), &1.into()));
    assert!(found["message"].is_string() && found["suggestion"].is_string(), "{found:#}");
    assert_eq!(report["summary"]["warnings"], 1);
}

#[test]
fn check_reads_conditions_of_inference_policies_too() {
    let folder = Folder::new();
    let policy = |when: &str| {
        format!(
            "apiVersion: cofferdam.dev/v1alpha1\nkind: InferencePolicy\nmetadata: {{name: tools, namespace: x}}\nspec:\n  \
             targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}}]\n  authentication: {{anonymous: true}}\n  \
             rules: [{{action: Allow, toolConditions: [{{tool: t, when: {when}}}]}}]\n"
        )
    };
    folder.write("tools.yaml", policy("args.n < 5"));
    let said = folder.policy("check", "");
    assert_eq!(said.code, Some(0), "{}", said.out);
    folder.write("tools.yaml", policy("arg.n < 5"));
    let said = folder.policy("check", "");
    assert_eq!(said.code, Some(1), "{}", said.out);
    let told = "tools.yaml:7:60: InferencePolicy x/tools: spec.rules[0].toolConditions[0].when";
    assert!(said.out.contains(told) && said.out.contains("`arg` is no variable here"), "{}", said.out);
}

#[test]
fn check_reads_standard_input_and_takes_none_for_a_failure_of_who_writes_it() {
    let piped = |text: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(["policy", "check", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut input = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut input, text.as_bytes()).expect("written");
        drop(input);
        child.wait_with_output().expect("it ends")
    };
    let output = piped(program::WORLD);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0 errors, 0 warnings in 6 objects from 1 file\n");
    for nothing in ["", "# helm found no chart\n"] {
        let output = piped(nothing);
        assert_eq!(output.status.code(), Some(2), "{nothing:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("- holds no object"), "{said}");
    }
}

#[test]
fn explain_names_the_rule_the_tiers_and_what_was_nearest() {
    let folder = Folder::new();
    let said = folder.policy("explain", "--from x/b --to x/a --port 80");
    assert_eq!(said.code, Some(0));
    assert!(said.out.starts_with("allow  pod x/b -> pod x/a TCP 80\n"), "{}", said.out);
    assert!(
        said.out.contains("NetworkPolicy x/only-b spec.ingress[0]") && said.out.contains("world.yaml:22"),
        "{}",
        said.out
    );
    let said = folder.policy("explain", "--from x/b --to x/a --port 81 --protocol UDP");
    assert_eq!(said.code, Some(1), "no is an exit code of 1");
    for part in [
        "deny  pod x/b -> pod x/a UDP 81",
        "egress at pod x/b: allow",
        "ingress at pod x/a: deny",
        "Admin: decides nothing",
        "nearest rule that would allow it: NetworkPolicy x/only-b spec.ingress[0]",
    ] {
        assert!(said.out.contains(part), "no {part:?} in {}", said.out);
    }
    let report = json(&folder.policy("explain", "--from y/c --to x/a --port 80 --json"));
    assert_eq!(
        (&report["verdict"], &report["decidedAt"], &report["reason"]),
        (&"deny".into(), &"ingress".into(), &"isolated".into())
    );
    assert_eq!(report["nearest"]["rule"]["entry"]["object"]["name"], "only-b");
    assert!(
        report["nearest"]["differs"][0].as_str().is_some_and(|text| text.contains("namespace")),
        "{report:#}"
    );
    assert_eq!(folder.verdict("203.0.113.7", "x/b", 80), "allow", "an address is an end too");
}

#[test]
fn explain_says_which_ends_there_are() {
    let folder = Folder::new();
    for (ends, parts) in [
        ("--from x/bb --to x/a", ["there is no pod \"x/bb\"", "x/b"]),
        ("--from x/zzz --to x/a", ["there is no pod \"x/zzz\"", "x/a, x/b"]),
        ("--from node:n --to x/a", ["there is no node \"n\"", "there is none"]),
        ("--from workload:x/q --to x/a", ["no pod belongs to workload", "x/a"]),
        ("--from nonsense --to x/a", ["nonsense", "write namespace/pod"]),
    ] {
        let said = folder.policy("explain", &format!("{ends} --port 80"));
        assert_eq!(said.code, Some(2), "{}", said.err);
        assert!(parts.iter().all(|part| said.err.contains(part)), "{parts:?}: {}", said.err);
    }
}

/// `x/a` may reach a hub's API and must not reach a paste site, whatever else it may.
const EGRESS: &str = "\
{apiVersion: cofferdam.dev/v1alpha1, kind: EgressPolicy, metadata: {name: hub, namespace: x}, spec: {
  subject: {podSelector: {matchLabels: {pod: a}}},
  egress: [{name: api, action: Allow, to: [{provider: hub}], maxUploadBytes: {hour: 50Mi}}, {action: Deny, to: [{domains: ['**.paste.io']}]}],
  dns: {fromRules: true, names: ['**.paste.io']}}}
";
const CATALOG: &str = "\
{apiVersion: cofferdam.dev/v1alpha1, kind: Catalog, providers: [{name: hub, hosts: [{host: api.hub.io, for: api}]}]}
";

#[test]
fn a_wildcard_that_ends_at_a_private_zone_is_noted_and_explained() {
    let wide = "{apiVersion: cofferdam.dev/v1alpha1, kind: EgressPolicy, metadata: {name: wide, namespace: x}, spec: {
      subject: {podSelector: {matchLabels: {pod: a}}}, egress: [{action: Allow, to: [{domains: ['**.hub.io']}]}]}}";
    let folder = Folder::with("egress.yaml", wide);
    let catalog = tempfile::NamedTempFile::new().expect("a file");
    let zones =
        "{apiVersion: cofferdam.dev/v1alpha1, kind: Catalog, providers: [], privateZones: [k8s.hub.io]}";
    std::fs::write(catalog.path(), zones).expect("writable");
    let run = |command: &str, arguments: &str| {
        folder.policy(command, &format!("--catalog {} {arguments}", catalog.path().display()))
    };
    let checked = run("check", "");
    assert!(checked.out.contains("\"**.hub.io\" means no name in k8s.hub.io"), "{}", checked.out);
    let explain = |name: &str| run("explain", &format!("--from x/a --name {name} --port 443"));
    assert_eq!(explain("api.hub.io").code, Some(0));
    let denied = explain("db.x.svc.k8s.hub.io");
    assert_eq!(denied.code, Some(1), "{}", denied.out);
    assert!(denied.out.contains("**.hub.io except k8s.hub.io"), "{}", denied.out);
}

#[test]
fn explain_takes_a_name_for_resolved_and_says_whether_it_may_be_asked() {
    let folder = Folder::with("egress.yaml", EGRESS);
    let catalog = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(catalog.path(), CATALOG).expect("writable");
    let explain = |arguments: &str| {
        let catalog = catalog.path().display();
        folder.policy("explain", &format!("--catalog {catalog} --from x/a {arguments}"))
    };
    let said = explain("--name API.hub.io. --port 443");
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for part in [
        "allow  pod x/a asks for api.hub.io",
        "allow  pod x/a -> 192.0.2.1 TCP 443",
        "EgressPolicy x/hub spec.egress[0].to[0] \"api\"",
        "taken to lead to 192.0.2.1",
        "an EgressPolicy rule",
        "  uploads are limited: 50Mi an hour\n",
    ] {
        assert!(said.out.contains(part), "no {part:?} in {}", said.out);
    }
    let denied = explain("--name x.paste.io --to 203.0.113.7 --port 443");
    assert_eq!(denied.code, Some(1));
    for part in [
        "allow  pod x/a asks for x.paste.io",
        "deny  pod x/a -> 203.0.113.7 TCP 443",
        "EgressPolicy x/hub spec.egress[1]",
        "but the rule that denied beats every Allow of its tier",
    ] {
        assert!(denied.out.contains(part), "no {part:?} in {}", denied.out);
    }
    let unlisted = explain("--name other.io");
    assert_eq!(unlisted.code, Some(1));
    assert!(unlisted.out.starts_with("deny  pod x/a asks for other.io\n"), "{}", unlisted.out);
    assert!(unlisted.out.contains("spec.dns.names"), "{}", unlisted.out);
    let report = json(&explain("--name other.io --port 443 --json"));
    assert_eq!(
        (&report["verdict"], &report["question"]["reason"]),
        (&"deny".into(), &"dns-name-deny".into())
    );
    let report = json(&explain("--name api.hub.io --json"));
    assert_eq!(report["question"]["rule"]["entry"]["reason"], "egress-policy-allow");
    let report = json(&explain("--name api.hub.io --port 443 --json"));
    assert_eq!(report["rule"]["entry"]["upload"]["hour"], 50 << 20);
    for (arguments, part) in [
        ("--name a..b --port 1", "a..b"),
        ("--name a.io --to x/b --port 1", "the address that the name leads to"),
        ("--port 1", "--to"),
    ] {
        let said = explain(arguments);
        assert!(said.code == Some(2) && said.err.contains(part), "{arguments}: {}", said.err);
    }
    let host = folder.policy("explain", "--from node:n --name a.io");
    assert!(host.code == Some(2), "{}", host.err);
}

#[test]
fn a_catalog_that_is_not_given_or_not_readable_opens_nothing() {
    let folder = Folder::with("egress.yaml", EGRESS);
    let said = folder.policy("check", "");
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.out.contains("[unknown-provider]") && said.out.contains("egress.yaml:3:"), "{}", said.out);
    let closed = folder.policy("explain", "--from x/a --name api.hub.io --port 443");
    assert!(closed.code == Some(1) && closed.out.contains("could not be read"), "{}", closed.out);
    let broken = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(broken.path(), CATALOG.replace("api.hub.io", "Api.hub.io")).expect("writable");
    let said = folder.policy("check", &format!("--catalog {}", broken.path().display()));
    assert!(said.code == Some(2) && said.err.contains("providers[0].hosts[0].host"), "{}", said.err);
    folder.write("catalog.yaml", CATALOG);
    let said = folder.policy("check", "");
    assert!(said.out.contains("name the file with --catalog"), "{}", said.out);
}

#[test]
fn connectivity_has_the_same_edges_in_every_form() {
    let folder = Folder::new();
    let text = folder.policy("connectivity", "").out;
    assert!(text.contains("x/b[Pod] -> x/a[Pod] : TCP 80\n"), "{text}");
    assert!(!text.contains("y/c[Pod] -> x/a[Pod]"), "{text}");
    let entries = json(&folder.policy("connectivity", "--json"));
    let entries = entries.as_array().expect("a list");
    assert_eq!(entries.len(), text.lines().count());
    let csv = folder.policy("connectivity", "-o csv").out;
    assert_eq!(csv.lines().count(), text.lines().count() + 1, "a header, and a line each");
    for (form, begins, part) in
        [("dot", "digraph", "->"), ("mermaid", "flowchart", "-->"), ("svg", "<svg", "</svg>")]
    {
        let said = folder.policy("connectivity", &format!("-o {form}"));
        assert_eq!(said.code, Some(0));
        assert!(
            said.out.starts_with(begins) && said.out.contains(part) && said.out.contains("TCP 80"),
            "{}",
            said.out
        );
    }
}

#[test]
fn an_error_makes_every_answer_say_so() {
    let folder = Folder::with(
        "bad.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: bad, namespace: y}\nspec: {podSelector: 7}\n",
    );
    let ends = "--from y/c --to x/b --port 80";
    for (verb, arguments, code) in [("check", "", 1), ("connectivity", "", 1), ("explain", ends, 0)] {
        let said = folder.policy(verb, arguments);
        assert_eq!(said.code, Some(code), "{verb}");
        assert!((said.out + &said.err).contains("bad.yaml:4"), "{verb}");
    }
}

#[test]
fn every_verb_has_help_with_an_example() {
    let verbs = [
        "policy check",
        "policy verify",
        "policy explain",
        "policy connectivity",
        "up",
        "flows",
        "install baseline",
        "status",
        "lab up",
        "lab list",
        "lab exec",
        "lab probe",
        "lab down",
        "uninstall",
    ];
    for verb in verbs {
        let said = run(verb.split(' ').chain(["--help"]));
        assert_eq!(said.code, Some(0), "{verb}");
        let example = said.out.lines().any(|line| {
            line.trim_start().trim_start_matches("sudo ").starts_with(&format!("cofferdam {verb}"))
        });
        assert!(said.out.contains("Example") && example, "{verb}: {}", said.out);
    }
}

#[test]
fn what_is_not_understood_is_told_with_the_way_out() {
    for (arguments, part) in [
        ("polcy", "'policy'"),
        ("policy chek", "'check'"),
        ("policy check", "--file"),
        ("policy check -f . --jsn", "'--json'"),
        ("lab probe --from a/b --to c/d --port eighty", "eighty"),
        ("policy connectivity -f . -o png", "svg"),
    ] {
        let said = run(arguments.split(' '));
        assert_eq!(said.code, Some(2), "{arguments}");
        assert!(said.err.contains(part), "{arguments}: {}", said.err);
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = Folder::new();
    let script = format!(
        "{} policy connectivity -f {} | true; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_cofferdam"),
        folder.path("").display()
    );
    for _ in 0..5 {
        let output = Command::new("bash").args(["-c", &script]).output().expect("bash");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "0\n",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
