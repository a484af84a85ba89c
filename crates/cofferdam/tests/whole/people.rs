//! People who respond to an incident of a whole system: roles of the installation, tokens of the cluster, and a finding.

use super::{OUTSIDE, World};
use lab::Place;
use ledger::{Entry, Kind, Ledger, Verdict};
use serde_json::{Value, json};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where nodes reach the API server.
const RELAY: u16 = 6443;
/// Of priority 0, and by its name before all others: what a containment has to come before.
pub const ACCEPTS: &str = "
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: \"0\"}
spec:
  tier: Admin
  priority: 0
  subject: {namespaces: {}}
  egress: [{action: Accept, to: [{namespaces: {}}]}]
";

/// Applies the roles of the installation for people and for who serves them, and binds one account to each but that which reads policy.
pub fn people(world: &World) {
    let manifests = include_str!("../../../../deploy/cofferdam.yaml");
    let apply = |role: &str| {
        let is_it = |text: &&str| {
            text.contains("\nkind: ClusterRole\n") && text.contains(&format!("\n  name: cofferdam-{role}\n"))
        };
        let text = manifests.split("\n---\n").find(is_it).unwrap();
        world.kubectl("apply -f -", text);
    };
    apply("policy-reader");
    for role in ["viewer", "operator", "api"] {
        apply(role);
        world.kubectl(&format!("create serviceaccount {role} -n cofferdam-system"), "");
        world.kubectl(
            &format!(
                "create clusterrolebinding {role} --clusterrole cofferdam-{role} --serviceaccount cofferdam-system:{role}"
            ),
            "",
        );
    }
    world.kubectl("create serviceaccount nobody -n cofferdam-system", "");
}

pub fn token(world: &World, account: &str) -> String {
    let made =
        world.kubectl(&format!("create token {account} -n cofferdam-system --audience cofferdam-api"), "");
    made.trim().to_owned()
}

/// Leads nodes to the API server, which listens where they cannot reach it; and a kubeconfig that goes by it.
pub fn relay(world: &World) -> String {
    let text = fs::read_to_string(world.kubeconfig_of_pod("api")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let cluster = &mut config["clusters"][0]["cluster"];
    let server = cluster["server"].as_str().unwrap().trim_start_matches("https://").to_owned();
    cluster["server"] = format!("https://{}:{RELAY}", OUTSIDE[1]).into();
    cluster["tls-server-name"] = "kubernetes.default.svc".into();
    let serve = move || {
        let listener = TcpListener::bind((OUTSIDE[1], RELAY)).unwrap();
        // In the same namespace, as threads inherit it.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(from), Ok(to)) = (stream, TcpStream::connect(&server)) else { continue };
                for (mut from, mut to) in [(from.try_clone().unwrap(), to.try_clone().unwrap()), (to, from)] {
                    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
            }
        });
    };
    world.lab.run(&Place::Outside, serve).unwrap();
    let path = world.folder.path().join("relayed.kubeconfig");
    fs::write(&path, config.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Something about pod `web`, in a ledger that nobody has open.
pub fn find(ledger: &Path) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let detail = json!({
        "id": "0011223344556677", "detector": "beacon", "severity": "high", "workload": "shop/web",
        "subject": "hub.example.com", "sentence": "it beacons", "techniques": ["T1071"],
    });
    let entry = Entry {
        time: u64::try_from(now.as_micros()).unwrap(),
        source: "shop/web".into(),
        destination: "hub.example.com".into(),
        reason: "beacon".into(),
        detail: Some(detail.to_string()),
        ..Entry::new(Kind::Finding, Verdict::None)
    };
    let (mut ledger, _) = Ledger::open(ledger).unwrap();
    ledger.append(&[entry]).unwrap();
}
