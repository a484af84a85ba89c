//! `cofferdam up --shadow`: what a candidate would have done, on real packets, which it does not change.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use crate::machine::{Machine, Up, eventually};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// In force: `db` is reached at 8080 and 7070, by `web`.
const NOW: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: db, namespace: prod }
spec:
  podSelector: { matchLabels: { app: db } }
  policyTypes: [Ingress]
  ingress:
    - from: [{ podSelector: { matchLabels: { app: web } } }]
      ports: [{ protocol: TCP, port: 8080 }, { protocol: TCP, port: 7070 }]
";

/// The candidate: at 8080 and 9090.
fn next(other: u16) -> String {
    NOW.replace("name: db", "name: next").replace("7070", &other.to_string())
}

fn candidate(machine: &Machine) -> PathBuf {
    let folder = machine.folder().with_file_name("candidate");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn shadow(up: &Up<'_>) -> Value {
    serde_json::from_str(&up.text(&["shadow", "--json"])).unwrap_or_default()
}

/// Would-be verdict, destination, port and count of each difference.
fn differences(shadow: &Value) -> Vec<(String, String, u64, u64)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = shadow["differences"].as_array().cloned().unwrap_or_default();
    let one = |it: &Value| {
        let [port, count] = [&it["port"], &it["count"]].map(|number| number.as_u64().unwrap());
        (text(&it["verdict"]), text(&it["destination"]), port, count)
    };
    all.iter().map(one).collect()
}

#[test]
fn netns_a_candidate_is_judged_on_real_packets_and_changes_none_of_them() {
    let machine = Machine::new("s");
    machine.write("policy.yaml", NOW);
    let folder = candidate(&machine);
    fs::write(folder.join("next.yaml"), next(9090)).unwrap();
    let _servers = [8080, 7070, 9090].map(|port| machine.listen("b", port));
    let ledger = machine.socket().with_extension("ledger");
    let options = ["--shadow", folder.to_str().unwrap(), "--ledger", ledger.to_str().unwrap()];
    let up = Up::start_with(&machine, &options);

    assert!(machine.connects("a", "b", 8080));
    assert!(machine.connects("a", "b", 7070), "the candidate denies nothing");
    assert!(!machine.connects("a", "b", 9090), "the candidate allows nothing");

    let seen = eventually("all three judged", || {
        let seen = shadow(&up);
        (differences(&seen).len() == 2 && seen["judged"].as_u64() >= Some(3)).then_some(seen)
    });
    let found = differences(&seen);
    assert_eq!(
        (found[0].0.as_str(), found[0].1.as_str(), found[0].2, found[0].3),
        ("deny", "prod/db", 7070, 1)
    );
    assert_eq!((found[1].0.as_str(), found[1].2), ("allow", 9090), "{seen:#}");
    assert_eq!(seen["would_deny"], 1, "{seen:#}");
    assert_eq!(seen["would_allow"].as_u64(), Some(found[1].3), "{seen:#}");
    let rule = seen["differences"][0]["rule"].as_str().unwrap();
    assert!(rule.contains("NetworkPolicy prod/next") && rule.contains("next.yaml"), "{rule}");
    let status = up.status();
    assert_eq!(
        (&status["shadow"]["would_deny"], &status["degraded"]),
        (&seen["would_deny"], &Value::Array(vec![]))
    );

    let record = up.flow(&["--shadow-differs", "--kind", "open"]).unwrap();
    assert_eq!((&record["port"], &record["verdict"]), (&7070.into(), &"allow".into()));
    assert_eq!(
        (&record["shadow"]["verdict"], &record["shadow"]["object"]["name"]),
        (&"deny".into(), &"next".into())
    );
    let same = up.flow(&["--kind", "open", "--port", "8080"]).unwrap();
    assert_eq!(same["shadow"]["verdict"], "allow", "{same:#}");
    let people = up.text(&["shadow"]);
    assert!(people.contains("1 would be denied") && people.contains("7070/TCP"), "{people}");
    assert!(up.text(&["flows"]).contains("the candidate would DENY: NetworkPolicy prod/next"));

    // The ledger keeps it where it differs.
    let rows = eventually("the ledger has it", || {
        let path = ledger.to_str().unwrap();
        let output = machine.program(&["ledger", "show", "--json", "--ledger", path]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("shadow").then_some(text)
    });
    assert!(rows.lines().any(|line| line.contains("7070") && line.contains("shadow")), "{rows}");
}

#[test]
fn netns_an_edited_candidate_is_counted_anew_and_a_broken_one_judges_nothing() {
    let machine = Machine::new("t");
    machine.write("policy.yaml", NOW);
    let folder = candidate(&machine);
    let write = |text: &str| fs::write(folder.join("next.yaml"), text).unwrap();
    write(&next(9090));
    let _servers = [8080, 7070].map(|port| machine.listen("b", port));
    let up = Up::start_with(&machine, &["--shadow", folder.to_str().unwrap()]);
    assert!(machine.connects("a", "b", 7070));
    eventually("one would be denied", || (shadow(&up)["would_deny"] == 1).then_some(()));

    // What is in force is edited: the candidate's counts go on.
    let generation = up.status()["generation"].as_u64();
    machine.write("policy.yaml", &NOW.replace("7070", "7071"));
    eventually("the edit in force", || (up.status()["generation"].as_u64() > generation).then_some(()));
    assert_eq!(shadow(&up)["would_deny"], 1);
    machine.write("policy.yaml", NOW);
    eventually("back in force", || machine.connects("a", "b", 7070).then_some(()));

    write("kind: NetworkPolicy\nspec: [");
    let broken = eventually("the broken candidate noticed", || {
        let seen = shadow(&up);
        seen["problem"].is_string().then_some(seen)
    });
    assert!(broken["problem"].as_str().unwrap().contains("next.yaml"), "{broken:#}");
    assert!(up.text(&["shadow"]).contains("NOTHING IS JUDGED BY IT"));
    machine.forget_connections();
    assert!(machine.connects("a", "b", 7070) && !machine.connects("a", "b", 9090));
    let status = up.status();
    assert_eq!(status["load"]["outcome"], "applied", "{status:#}");
    assert_eq!(shadow(&up)["judged"], 0);

    // It allows what is allowed.
    write(&next(7070));
    eventually("the candidate is judged by again", || shadow(&up)["problem"].is_null().then_some(()));
    machine.forget_connections();
    assert!(machine.connects("a", "b", 7070));
    let seen = eventually("judged", || Some(shadow(&up)).filter(|it| it["judged"].as_u64() > Some(0)));
    assert_eq!((&seen["would_deny"], &seen["differences"]), (&0.into(), &Value::Null), "{seen:#}");
}
