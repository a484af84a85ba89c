//! One record is explained: rule and its lines, records of the same connection, findings about it, and how policies at hand judge
//! it; lists come in every form.

use crate::machine::{Machine, Up, eventually};
use serde_json::Value;

const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: db, namespace: prod }
spec:
  podSelector: { matchLabels: { app: db } }
  policyTypes: [Ingress]
  ingress:
    - from: [{ podSelector: { matchLabels: { app: web } } }]
      ports: [{ protocol: TCP, port: 8080 }]
";

#[test]
fn netns_a_record_is_explained_down_to_the_lines_of_its_rule() {
    let machine = Machine::new("x");
    machine.write("policy.yaml", POLICY);
    let _server = machine.listen("b", 8080);
    let file = machine.socket().with_extension("ledger");
    let up = Up::start_with(&machine, &["--ledger", file.to_str().unwrap()]);
    assert!(machine.connects("a", "b", 8080));
    assert!(!machine.connects("a", "b", 9090));
    machine.forget_connections();
    let closed = eventually("a close record", || up.flow(&["--kind", "close", "--to", "prod/db"]));
    let opened = eventually("an open record", || up.flow(&["--kind", "open", "--to", "prod/db"]));
    let denied = eventually("a denial", || up.flow(&["--verdict", "deny", "--port", "9090"]));
    let id = |record: &Value| format!("flow:{}", record["sequence"]);

    let text = up.text(&["explain", &id(&opened)]);
    for says in [
        "prod/web",
        "at its destination: allow: NetworkPolicy prod/db",
        "8 |     - from: [{",
        "9 |       ports:",
    ] {
        assert!(text.contains(says), "{says:?} in {text}");
    }
    assert!(text.contains(&format!("  {}  ", id(&closed))), "the end of the connection: {text}");

    // Who scans is told of, and the finding and its records lead to each other.
    machine.at("a", || {
        for port in 9100..9140 {
            let to = std::net::SocketAddr::from(([10, 9, 2, 2], port));
            let _ = std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_millis(20));
        }
    });
    let finding = eventually("a finding", || {
        let found = up.text(&["findings", "-o", "json", "--detector", "port-scan"]);
        serde_json::from_str::<Value>(&found).unwrap().as_array().unwrap().first().cloned()
    });
    let first = finding["records"][0].as_str().unwrap();
    let of_record: Value = serde_json::from_str(&up.text(&["explain", first, "--json"])).unwrap();
    assert_eq!(of_record["id"], first);
    assert_eq!(of_record["findings"][0]["id"], finding["id"], "{of_record:#}");
    let of_finding: Value =
        serde_json::from_str(&up.text(&["explain", finding["id"].as_str().unwrap(), "--json"])).unwrap();
    assert_eq!(of_finding["joined"][0]["id"], first, "{of_finding:#}");

    let folder = machine.folder();
    let judged = up.text(&["explain", &id(&denied), "-f", folder.to_str().unwrap()]);
    assert!(
        judged.contains("by the policies that are named now") && judged.contains("isolates it"),
        "{judged}"
    );
    let judged = up.text(&["explain", &id(&denied), "-f", folder.to_str().unwrap(), "-o", "json"]);
    let judged: Value = serde_json::from_str(&judged).unwrap();
    assert_eq!(
        (&judged["judged"]["verdict"], &judged["record"]["verdict"]),
        (&"deny".into(), &"deny".into())
    );

    // The ledger's entry of the denial.
    let number = eventually("the denial in the ledger", || {
        let entries = up.text(&["ledger", "show", "--verdict", "deny", "-o", "jsonl"]);
        let entry: Value = serde_json::from_str(entries.lines().next()?).unwrap();
        entry["number"].as_i64()
    });
    let text = up.text(&["explain", &format!("ledger:{number}")]);
    assert!(text.contains("NetworkPolicy prod/db") && text.contains("1 | apiVersion"), "{text}");

    let output = machine
        .program(&["explain", "flow:99999", "--socket", machine.socket().to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("flow:99999 is not in memory"), "{said}");
}

#[test]
fn netns_lists_come_as_tables_arrays_lines_and_csv_with_ids_and_in_a_zone() {
    let machine = Machine::new("y");
    machine.write("policy.yaml", POLICY);
    let _server = machine.listen("b", 8080);
    let file = machine.socket().with_extension("ledger");
    let up = Up::start_with(&machine, &["--ledger", file.to_str().unwrap()]);
    assert!(machine.connects("a", "b", 8080));
    assert!(!machine.connects("a", "b", 9090));
    let denied = eventually("a denial", || up.flow(&["--verdict", "deny"]));
    let time = denied["time"].as_str().unwrap();
    let csv = up.text(&["flows", "-o", "csv", "--ids", "--verdict", "deny", "--zone", "+01:00"]);
    let [heads, row] = csv.lines().collect::<Vec<_>>()[..] else { panic!("{csv}") };
    assert_eq!(heads, "RECORD,TIME,VERDICT,FROM,TO,PORT,DECIDED BY");
    assert!(
        row.starts_with(&format!("flow:{},", denied["sequence"]))
            && row.contains("+01:00,DENY,prod/web,prod/db"),
        "{row}"
    );
    // The same moment, an hour on.
    let hour = |text: &str| text.split_once('T').unwrap().1[..2].parse::<u32>().unwrap();
    assert_eq!(hour(row.split(',').nth(1).unwrap()), (hour(time) + 1) % 24);
    let array: Value = serde_json::from_str(&up.text(&["flows", "-o", "json", "--verdict", "deny"])).unwrap();
    assert_eq!(array[0]["time"], time);
    for command in ["dns", "connections", "calls", "tools"] {
        assert_eq!(
            up.text(&[
                command, "-o", "json", "--from", "prod/*", "--to", "x", "--since", "1h", "--limit", "3"
            ]),
            "[]\n"
        );
        assert!(up.text(&[command, "-o", "csv"]).starts_with("TIME,VERDICT,FROM,"), "{command}");
    }
    let edges = eventually("edges", || {
        let edges: Value =
            serde_json::from_str(&up.text(&["edges", "-o", "json", "--from", "prod/web"])).unwrap();
        (edges.as_array().unwrap().len() == 2).then_some(edges)
    });
    assert_eq!(edges[0]["source"], "prod/web");
    assert!(up.text(&["edges", "-o", "csv", "--zone=-03:30"]).contains("-03:30,"));
    assert_eq!(serde_json::from_str::<Value>(&up.text(&["top", "-o", "json"])).unwrap()[0]["of"], "prod/web");
}
