//! A workload that is cut off reaches nobody and is reached by nobody, by address or by name, over a restart and a broken edit,
//! until its time is over or it is let go; and the ledger tells who did it.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is the failure report")]

use crate::machine::resolver::{HUB, Resolver, ask};
use crate::machine::{Machine, Up, eventually};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Pod `a` may do everything by address, and go to one name on port 80.
const POLICY: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: web, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      to: [{ domains: [hub.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
    - action: Allow
      to: [{ networks: [10.9.2.0/24] }]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: \"0\" }
spec:
  tier: Admin
  priority: 0
  subject: { namespaces: {} }
  ingress: [{ action: Accept, from: [{ namespaces: {} }] }]
";

const PORT: u16 = 8080;

/// Accepts at a pod, and answers whatever it hears.
fn serve(machine: &Machine, pod: &str, address: &'static str) {
    let listener = machine.at(pod, move || TcpListener::bind(address).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(1..) = stream.read(&mut buffer) {
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn open(machine: &Machine, pod: &str, to: SocketAddr) -> TcpStream {
    let stream = machine.at(pod, move || TcpStream::connect_timeout(&to, Duration::from_secs(3)).unwrap());
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    stream
}

/// Whether what is said is answered; a head of HTTP, so that the gateway lets it through.
fn answers(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    stream.write_all(b"GET / HTTP/1.1\r\nHost: hub.example.com\r\n\r\n").is_ok()
        && stream.read(&mut buffer).is_ok_and(|length| length > 0)
}

struct World {
    machine: Machine,
    ledger: String,
    _resolver: Resolver,
}

impl World {
    fn new(name: &str) -> Self {
        let machine = Machine::new(name);
        machine.write("policy.yaml", POLICY);
        let resolver = Resolver::start(&machine);
        serve(&machine, "b", "0.0.0.0:80");
        serve(&machine, "b", "0.0.0.0:8080");
        serve(&machine, "a", "0.0.0.0:8080");
        let ledger = machine.socket().with_extension("ledger").to_str().unwrap().to_owned();
        Self { machine, ledger, _resolver: resolver }
    }

    fn up(&self) -> Up<'_> {
        let options = ["--dns-resolver", "10.9.2.2", "--dns-hold", "600", "--ledger", &self.ledger];
        Up::start_with(&self.machine, &options)
    }

    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let output =
            self.machine.program(arguments).args(["--json", "--ledger", &self.ledger]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What was written down, as reason, who and on what.
    fn audits(&self) -> Vec<[String; 3]> {
        let of = |entry: &Value| {
            ["reason", "source", "destination"].map(|key| entry[key].as_str().unwrap().to_owned())
        };
        self.json(&["ledger", "show", "--kind", "audit"]).iter().map(of).collect()
    }

    fn has_audit(&self, reason: &str, on: &str) -> Option<String> {
        let all = self.audits();
        all.into_iter().find(|[what, _, whom]| what == reason && whom == on).map(|[_, who, _]| who)
    }

    fn reaches(&self) -> [bool; 4] {
        let machine = &self.machine;
        [
            machine.connects("a", "b", PORT),
            machine.connects("b", "a", PORT),
            machine.at("a", || {
                TcpStream::connect_timeout(&(HUB, 80).into(), Duration::from_millis(700)).is_ok()
            }),
            ask(machine, "hub.example.com") == Some(0),
        ]
    }
}

impl World {
    /// Everything passes; on a busy machine the first answer of DNS may not come in time.
    fn is_open(&self) {
        eventually("everything to pass", || {
            (ask(&self.machine, "hub.example.com") == Some(0) && self.reaches() == [true; 4]).then_some(())
        });
    }
}

#[test]
fn netns_who_is_cut_off_reaches_nobody_until_let_go_over_restarts_and_broken_edits() {
    let world = World::new("q");
    let machine = &world.machine;
    let up = world.up();
    world.is_open();
    let mut by_address = open(machine, "a", ([10, 9, 2, 2], PORT).into());
    let mut inwards = open(machine, "b", ([10, 9, 1, 2], PORT).into());
    let mut by_name = open(machine, "a", (HUB, 80).into());
    assert!(answers(&mut by_address) && answers(&mut inwards) && answers(&mut by_name));
    world.is_open();

    let contain = ["incident", "contain", "--workload", "prod/web", "--for", "1h", "--json"];
    let plan: Value = serde_json::from_str(&up.text(&[&contain[..], &["--dry-run"]].concat())).unwrap();
    assert_eq!((&plan["workload"], &plan["in_force"]), (&Value::from("prod/web"), &Value::Bool(false)));
    let cuts: Vec<&str> =
        plan["cuts"].as_array().unwrap().iter().map(|it| it["destination"].as_str().unwrap()).collect();
    assert!(
        cuts.contains(&"prod/db") && cuts.contains(&"hub.example.com") && cuts.contains(&"prod/web"),
        "{cuts:?}"
    );
    assert!(plan["policy"].as_str().unwrap().contains("kind: ClusterNetworkPolicy"));
    world.is_open();
    // Nothing is done unless somebody says yes.
    assert!(!up.text(&contain).contains("\"in_force\":true"));

    // A broken edit keeps the last good policy in force, and nobody from being cut off.
    machine.write("broken.yaml", "kind: NetworkPolicy\nspec: [");
    eventually("the broken edit noticed", || {
        (up.status()["load"]["outcome"] == "kept-last-good").then_some(())
    });
    let done: Value =
        serde_json::from_str(&up.text(&[&contain[..], &["--yes", "--text", "it <b>beacons</b>"]].concat()))
            .unwrap();
    assert_eq!(done["in_force"], true, "{done:#}");
    assert_eq!(world.reaches(), [false; 4]);
    assert!(!answers(&mut by_address), "an open connection by address is cut");
    assert!(!answers(&mut inwards), "one to the workload is cut");
    assert!(!answers(&mut by_name), "one to a name is cut");
    let who = eventually("the containment in the ledger", || world.has_audit("contained", "prod/web"));
    assert!(who.starts_with("local:"), "{who}");
    let denied = eventually("a record of a denial", || up.flow(&["--verdict", "deny", "--from", "prod/web"]));
    assert_eq!(denied["reason"], "admin-deny");
    assert!(denied["egress"]["object"]["name"].as_str().unwrap().starts_with("cofferdam-quarantine-"));

    // Twice is once; the later end counts.
    let again: Value = serde_json::from_str(&up.text(&[
        "incident",
        "contain",
        "--workload",
        "prod/Pod/web",
        "--for",
        "10m",
        "--yes",
        "--json",
    ]))
    .unwrap();
    assert_eq!(again["until"], done["until"]);
    // The restart finds it, and the edit is mended meanwhile.
    up.terminate();
    std::fs::remove_file(machine.folder().join("broken.yaml")).unwrap();
    let up = world.up();
    assert_eq!(world.reaches(), [false; 4]);
    machine.write("more.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: { name: more }\n");
    eventually("another load", || (up.status()["load"]["objects"].as_u64() > Some(4)).then_some(()));
    assert_eq!(world.reaches(), [false; 4]);

    let released: Value =
        serde_json::from_str(&up.text(&["incident", "release", "prod/web", "--json"])).unwrap();
    assert_eq!(released["released"], true);
    world.is_open();
    eventually("the release in the ledger", || world.has_audit("released", "prod/web"));
    let released: Value =
        serde_json::from_str(&up.text(&["incident", "release", "prod/web", "--json"])).unwrap();
    assert_eq!(released["released"], false);
    assert_eq!(up.status()["degraded"], Value::Array(vec![]));
    // Loads, too, are told of: the first, the broken one.
    let audits = world.audits();
    assert_eq!(audits[0], ["policy-applied", "cofferdam", "policy"].map(str::to_owned));
    assert!(audits.iter().any(|[what, ..]| what == "policy-refused"), "{audits:?}");
}

#[test]
fn netns_a_containment_ends_at_its_time_and_nobody_unknown_is_cut_off() {
    let world = World::new("x");
    let up = world.up();
    world.is_open();
    let contain = |workload, lasts| {
        up.text(&["incident", "contain", "--workload", workload, "--for", lasts, "--yes", "--json"])
    };
    for (workload, lasts) in
        [("prod/nobody", "1h"), ("", "1h"), ("prod/Job/web", "1h"), ("prod/web", "500ms")]
    {
        assert_eq!(contain(workload, lasts), "", "{workload} {lasts}");
    }
    world.is_open();
    assert!(contain("prod/web", "2s").contains("\"in_force\":true"));
    world.is_open();
    eventually("the end in the ledger", || world.has_audit("containment-expired", "prod/web"));
}

#[test]
fn netns_an_incident_is_told_answered_and_proved_from_the_ledger() {
    let world = World::new("i");
    let up = world.up();
    assert!(world.machine.connects("a", "b", PORT));
    eventually("the connection in the ledger", || (!world.json(&["edges"]).is_empty()).then_some(()));
    // Any finding will do: as an enforcement point or a detector writes it.
    up.terminate();
    let finding = finding();
    let (mut ledger, _) = ledger::Ledger::open(world.ledger.as_ref()).unwrap();
    ledger.append(&[finding]).unwrap();
    drop(ledger);
    let up = world.up();
    let incidents = world.json(&["incident", "list"]);
    let id = incidents[0]["id"].as_str().unwrap();
    assert_eq!((incidents.len(), &incidents[0]["workloads"][0]), (1, &Value::from("prod/web")));
    let begin = &id[..6];
    let story: Value = serde_json::from_str(&up.text(&["incident", "show", begin, "--json"])).unwrap();
    let kinds: Vec<&str> =
        story["timeline"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"audit") && kinds.contains(&"flow") && kinds.contains(&"finding"), "{kinds:?}");
    let could = story["blast_radius"][0]["could"].as_array().unwrap();
    assert!(could.iter().any(|it| it["destination"] == "hub.example.com"), "{could:?}");
    assert!(up.text(&["incident", "show", begin]).contains("\\u{1b}[2J"), "names cannot steer the terminal");

    for (command, text) in [("note", Some("odd")), ("acknowledge", None), ("close", None), ("reopen", None)] {
        let arguments: Vec<&str> = ["incident", command, id].into_iter().chain(text).collect();
        assert!(up.text(&arguments).contains("written down"), "{command}");
    }
    eventually("what was said in the incident", || {
        let incident = &world.json(&["incident", "list"])[0];
        (incident["state"] == "open" && incident["notes"][0]["text"] == "odd").then_some(())
    });
    let contained = up.text(&["incident", "contain", id, "--for", "1h", "--yes", "--json"]);
    assert!(contained.contains("\"in_force\":true"), "{contained}");
    eventually("its state", || {
        (world.json(&["incident", "list", "--state", "contained"]).len() == 1).then_some(())
    });

    let hits = &world.json(&["hunt", "prod/web"])[0];
    assert!(hits["hits"].as_u64() > Some(0) && hits["kind"] == "workload", "{hits}");
    let file = world.machine.folder().with_extension("tar");
    let file = file.to_str().unwrap();
    let made: Value =
        serde_json::from_str(&up.text(&["incident", "evidence", id, "-o", file, "--json"])).unwrap();
    assert_eq!(made["audited"], true);
    let verified =
        || world.machine.program(&["incident", "verify", file, "--ledger", &world.ledger]).output().unwrap();
    eventually("the export in the ledger", || {
        String::from_utf8(verified().stdout).unwrap().contains("tells that it was taken out").then_some(())
    });
    assert!(verified().status.success());
    let mut bytes = std::fs::read(file).unwrap();
    bytes[600] ^= 1;
    std::fs::write(file, bytes).unwrap();
    assert_eq!(verified().status.code(), Some(1));
}

fn finding() -> ledger::Entry {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let detail = r#"{"id":"0011223344556677","detector":"beacon","severity":"high","workload":"prod/web",
        "subject":"hub.example.com","sentence":"it beacons\u001b[2J","techniques":["T1071"]}"#;
    ledger::Entry {
        time: u64::try_from(now.as_micros()).unwrap(),
        source: "prod/web".into(),
        destination: "hub.example.com".into(),
        reason: "beacon".into(),
        detail: Some(detail.to_owned()),
        ..ledger::Entry::new(ledger::Kind::Finding, ledger::Verdict::None)
    }
}
