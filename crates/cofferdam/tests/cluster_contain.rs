//! The API of an agent over TLS, for those whom the cluster knows: who may look does not contain; who may contain cuts a workload
//! off by an object of the cluster, above all policy, until its time; an agent's restart and an API server that is gone change
//! nothing of it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::whole::people::{ACCEPTS, find, people, relay, token};
use crate::whole::{self, NODE_ADDRESSES, Process, World, eventually, only};
use apiserver::Part;
use feed::tls::node_name;
use lab::Place;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const NODE: &str = "node-a";
const PORT: u16 = 8443;

fn agent(world: &World, kubeconfig: &str) -> Process {
    let folder = world.certify(NODE, &node_name(NODE), SystemTime::now());
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (address, certificate, key) =
        (format!("{}:{PORT}", NODE_ADDRESSES[0]), path("tls.crt"), path("tls.key"));
    let more = [
        "--no-dns",
        "--serve",
        &address,
        "--serve-cert",
        &certificate,
        "--serve-key",
        &key,
        "--serve-kubernetes",
        "--serve-kubeconfig",
        kubeconfig,
    ];
    world.agent_and(NODE, &folder, &more)
}

/// One question to the agent's API, at its node: the status and the answer.
fn ask(world: &World, token: &str, line: &str, body: &Value) -> Option<(u16, Value)> {
    let authority = fs::read(world.folder.path().join(NODE).join("ca.crt")).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let host = NODE_ADDRESSES[0];
    let request = format!(
        "{line} HTTP/1.0\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let asking = move || -> std::io::Result<Vec<u8>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(node_name(NODE)).unwrap();
        let stream = TcpStream::connect((host, PORT))?;
        stream.set_read_timeout(Some(Duration::from_secs(45)))?;
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
            Ok(_) | Err(_) => Ok(answer),
        }
    };
    let answer = world.lab.run(&Place::Node(NODE.to_owned()), asking).unwrap().ok()?;
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    assert!(head.to_ascii_lowercase().contains("strict-transport-security"), "{head}");
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}

fn phase(world: &World) -> Option<String> {
    let all = world.get("containments");
    all["items"][0]["status"]["phase"].as_str().map(str::to_owned)
}

#[test]
fn cluster_who_may_contain_does_so_by_the_api_and_it_ends_at_its_time() {
    let Some(world) = World::start() else { return };
    people(&world);
    let kubeconfig = relay(&world);
    let folder = world.folder.path().join(NODE);
    fs::create_dir_all(&folder).unwrap();
    find(&folder.join("cofferdam.ledger"));
    let _controller = world.controller("first");
    let first = agent(&world, &kubeconfig);
    let _other = world.agent("node-b");
    world.kubectl("apply -f -", ACCEPTS);
    world.kubectl("apply -f -", &only(80));
    world.reachable("one port is allowed", &[80]);

    let (viewer, operator, nobody) =
        (token(&world, "viewer"), token(&world, "operator"), token(&world, "nobody"));
    let get = |token: &str, path: &str| ask(&world, token, &format!("GET /api/v1{path}"), &Value::Null);
    let (status, me) = eventually("the API", || get(&viewer, "/me"));
    let name = |account: &str| format!("kubernetes:system:serviceaccount:cofferdam-system:{account}");
    assert_eq!((status, &me["name"], &me["role"]), (200, &json!(name("viewer")), &json!("viewer")), "{me}");
    let (status, said) = get(&nobody, "/me").unwrap();
    assert!(status == 403 && said["detail"].as_str().unwrap().contains("has no role"), "{said}");
    let for_others = world.kubectl("create token operator -n cofferdam-system", "");
    assert_eq!(get(for_others.trim(), "/me").unwrap().0, 401, "a token for the API server alone");

    let (_, incidents) = get(&viewer, "/incidents").unwrap();
    let id = incidents["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{incidents}")).to_owned();
    let contain = |token: &str, act: &str| {
        let order = match act {
            "contain" => json!({ "workload": "shop/web", "minutes": 60 }),
            _ => json!({ "workload": "shop/web" }),
        };
        ask(&world, token, &format!("POST /api/v1/incidents/{id}/{act}"), &order).unwrap()
    };
    assert_eq!(contain(&viewer, "contain").0, 403);
    world.reachable("nothing was done", &[80]);

    let (status, done) = contain(&operator, "contain");
    assert_eq!((status, &done["in_force"]), (200, &json!(true)), "{done}");
    assert!(!world.web_reaches_db(80), "its packets are dropped");
    let object = world.get("containments")["items"][0].clone();
    assert_eq!(object["metadata"]["annotations"]["cofferdam.dev/by"], json!(name("operator")));
    assert_eq!(object["spec"]["workload"], json!({ "kind": "Pod", "name": "web" }));
    assert_eq!(object["status"]["nodes"], json!({ "needed": 1, "enforced": 1 }));
    assert_eq!(phase(&world).as_deref(), Some("InForce"));
    let told = || {
        let (_, found) = get(&operator, "/records?kind=audit")?;
        let is_it = |it: &&Value| it["reason"] == "contained" && it["source"] == json!(name("operator"));
        found["items"].as_array()?.iter().find(is_it).map(|it| it["destination"].clone())
    };
    assert_eq!(eventually("the audit entry", told), "shop/web");

    // A restart keeps it, also before the API server answers again; who was known goes on, nobody new comes in.
    first.kill();
    assert!(!world.web_reaches_db(80));
    let _agent = agent(&world, &kubeconfig);
    eventually("the API again", || get(&operator, "/me"));
    assert!(!world.web_reaches_db(80));
    let fresh = token(&world, "viewer");
    world.at_api(|cluster| cluster.pause_part(Part::Api)).unwrap();
    assert_eq!(get(&operator, "/me").unwrap().0, 200);
    let (status, said) = get(&fresh, "/me").unwrap();
    assert!(status == 503 && said["detail"].as_str().unwrap().contains("API server"), "{status} {said}");
    assert!(!world.web_reaches_db(80));
    world.at_api(|cluster| cluster.resume_part(Part::Api)).unwrap();

    // Its time comes sooner now.
    let soon = SystemTime::now() + Duration::from_secs(3);
    let soon = observe::Time::from(soon).to_string();
    let object = object["metadata"]["name"].as_str().unwrap();
    let patch = json!({ "spec": { "until": soon } }).to_string();
    world.kubectl(&format!("patch containment {object} --type=merge -p {patch}"), "");
    world.reachable("its time is over", &[80]);
    eventually("its status says so", || phase(&world).filter(|it| it == "Over"));

    // Again, and let go by hand.
    eventually("contained again", || (contain(&operator, "contain").1["in_force"] == true).then_some(()));
    assert!(!world.web_reaches_db(80));
    let (status, done) = contain(&operator, "release");
    assert_eq!((status, &done["released"]), (200, &json!(true)), "{done}");
    world.reachable("it was let go", &[80]);
    assert_eq!(world.get("containments")["items"], json!([]));
}

#[test]
fn cluster_whoever_may_write_containments_cuts_off_by_labels_and_by_what_made_the_pods() {
    let Some(world) = World::start() else { return };
    let _controller = world.controller("first");
    let _agents = whole::NODES.map(|node| world.agent(node));
    world.kubectl("apply -f -", ACCEPTS);
    world.kubectl("apply -f -", &only(80));
    world.reachable("one port is allowed", &[80]);
    let until = observe::Time::from(SystemTime::now() + Duration::from_secs(3600)).to_string();
    let containment = |whom: &str| {
        format!(
            "{{apiVersion: cofferdam.dev/v1alpha1, kind: Containment, metadata: {{name: c}}, \
             spec: {{namespace: shop, {whom}until: \"{until}\"}}}}"
        )
    };
    for (object, told) in [
        (containment(""), "exactly one of workload and podSelector"),
        (containment("podSelector: {}, ").replace(&until, "tomorrow"), "spec.until"),
        (containment("podSelector: {}, ").replace("namespace: shop, ", ""), "namespace"),
    ] {
        let said = world.refused("apply --validate=strict -f -", &object).unwrap_or_default();
        assert!(said.contains(told), "{object}: {said:?}");
    }
    world.kubectl("apply -f -", &containment("podSelector: {matchLabels: {app: db}}, "));
    world.reachable("who it is about is reached by nobody", &[]);
    eventually("its status", || phase(&world).filter(|it| it == "InForce"));
    let programmed = world.condition("containment c", "Programmed").unwrap();
    assert_eq!(programmed[0], "True", "{programmed:?}");
    world.kubectl(
        "apply -f -",
        &containment("workload: {kind: Deployment, name: other}, ").replace("name: c}", "name: d}"),
    );
    world.kubectl("delete containment c", "");
    world.reachable("another's pods are not", &[80]);
    // One that is over when it comes cuts nobody off.
    let over = containment("podSelector: {}, ").replace(&until, "2020-01-01T00:00:00Z");
    world.kubectl("apply -f -", &over);
    eventually("it is over", || {
        let object = world.get("containment c");
        (object["status"]["phase"] == "Over").then_some(())
    });
    assert!(world.web_reaches_db(80));
}
