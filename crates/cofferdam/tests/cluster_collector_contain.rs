//! A collector that may ask a real API server: a workload is cut off from its command line and API by an object of the cluster, once
//! however many ask for it at the same time, until its time or until somebody lets it go, and who asked is in the ledger.
//! Policies are the cluster's, and where it may not read them it says so.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::whole::people::{ACCEPTS, find, people, relay, token};
use crate::whole::{NODE_ADDRESSES, NODES, World, eventually, only};
use lab::Place;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

const AGENT: &str = "cofferdam-agent";
const COLLECTOR: &str = "cofferdam-collector";
const API: &str = "127.0.0.1:8080";
const TUNES: &str = "
apiVersion: cofferdam.dev/v1alpha1
kind: DetectionPolicy
metadata: {name: quiet, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  detectors: [{name: beacon, enabled: false, reason: it polls}]
";

/// Somebody at the node of the collector, with a token of the cluster.
struct Person<'a> {
    world: &'a World,
    name: String,
    file: String,
    token: String,
}

impl<'a> Person<'a> {
    fn new(world: &'a World, account: &str) -> Self {
        let (token, path) = (token(world, account), world.folder.path().join(format!("{account}.token")));
        fs::write(&path, &token).unwrap();
        let name = format!("kubernetes:system:serviceaccount:cofferdam-system:{account}");
        Self { world, name, file: path.to_str().unwrap().to_owned(), token }
    }

    fn place() -> Place {
        Place::Node(NODES[1].to_owned())
    }

    fn begin(&self, words: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command.arg("incident").args(words.split(' ')).args(["--json", "--api", &format!("http://{API}")]);
        command
            .args(["--token", &self.file])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.world.lab.run(&Self::place(), move || command.spawn()).unwrap().unwrap()
    }

    /// Exit code, what was printed, and what was complained of.
    fn incident(&self, words: &str) -> (Option<i32>, Value, String) {
        said(&self.begin(words).wait_with_output().unwrap())
    }

    /// What the collector's API answers.
    fn get(&self, path: &str) -> Option<Value> {
        let request = format!(
            "GET /api/v1{path} HTTP/1.0\r\nhost: {API}\r\nauthorization: Bearer {}\r\n\r\n",
            self.token
        );
        let asking = move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(API)?;
            stream.set_read_timeout(Some(Duration::from_secs(45)))?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        let answer = self.world.lab.run(&Self::place(), asking).unwrap().ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// How a part of the collector stands.
    fn sensor(&self, name: &str) -> Option<(bool, String)> {
        let status = self.get("/status")?;
        let found = status["sensors"].as_array()?.iter().find(|it| it["name"] == name)?.clone();
        Some((found["ready"] == true, found["detail"].as_str()?.to_owned()))
    }

    /// Audit entries of this person, of one kind, about pod `web`.
    fn audited(&self, what: &str) -> usize {
        let found = self.get("/records?kind=audit&limit=1000").unwrap();
        let is_it = |it: &&Value| {
            it["reason"] == *what && it["source"] == *self.name && it["destination"] == "shop/web"
        };
        found["items"].as_array().unwrap().iter().filter(is_it).count()
    }
}

fn said(output: &Output) -> (Option<i32>, Value, String) {
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), answer, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn containments(world: &World) -> Vec<Value> {
    world.get("containments")["items"].as_array().unwrap().clone()
}

#[test]
fn cluster_who_may_contain_does_so_at_a_collector_and_two_at_once_do_it_once() {
    let Some(world) = World::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    people(&world);
    world.kubectl("create serviceaccount night -n cofferdam-system", "");
    world.kubectl(
        "create clusterrolebinding night --clusterrole cofferdam-operator --serviceaccount cofferdam-system:night",
        "",
    );
    for account in [AGENT, COLLECTOR] {
        world.kubectl(&format!("create serviceaccount {account} -n cofferdam-system"), "");
    }
    world.kubectl("apply -f -", TUNES);
    world.kubectl("apply -f -", ACCEPTS);
    world.kubectl("apply -f -", &only(80));
    let _controller = world.controller_with_authority("first");
    eventually("the authority", || {
        let find = "get configmap -n cofferdam-system -o name";
        world.kubectl(find, "").contains("cofferdam-authority").then_some(())
    });
    let kubeconfig = relay(&world);
    let ledger = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (all, own) = (ledger("all.db"), ledger(NODES[0]));
    let options = ["--listen", "0.0.0.0:9448", "--ledger", &all, "--serve", API, "--serve-kubernetes"];
    let options = [&options[..], &["--serve-kubeconfig", &kubeconfig]].concat();
    let _collector = world.with_token("collector", NODES[1], &world.token(NODES[1], COLLECTOR), &options);
    find(Path::new(&own));
    let url = format!("https://{}:9448", NODE_ADDRESSES[1]);
    let _agents = NODES.map(|node| {
        let options = ["--no-dns", "--ledger", &ledger(node), "--collector", &url];
        world.agent_with_token_and(node, &world.token(node, AGENT), &options)
    });
    world.reachable("one port is allowed", &[80]);
    let (viewer, day, night) =
        (Person::new(&world, "viewer"), Person::new(&world, "operator"), Person::new(&world, "night"));

    // It may write containments, and not read policies: it says that none holds, and goes by them once it may.
    let unread = eventually("that it cannot read policies", || {
        viewer.sensor("policies").filter(|(_, detail)| detail.contains("forbidden"))
    });
    assert!(!unread.0 && unread.1.contains("own thresholds and nothing is suppressed"), "{unread:?}");
    let degraded = viewer.get("/status").unwrap()["degraded"].to_string();
    assert!(degraded.contains("policies cannot be read"), "{degraded}");
    world.kubectl(
        "create clusterrolebinding policy --clusterrole cofferdam-policy-reader --serviceaccount cofferdam-system:api",
        "",
    );
    eventually("the policies, and the pods that they select", || {
        let (ready, detail) = viewer.sensor("policies")?;
        (ready && detail.starts_with("2 policies are shown; 1 DetectionPolicies hold ")).then_some(())
    });
    let shown = viewer.get("/policies").unwrap();
    let shown =
        shown["items"].as_array().unwrap().iter().map(|it| (&it["kind"], &it["name"], &it["selects"]));
    let expected = [("ClusterNetworkPolicy", "0", 2), ("NetworkPolicy", "db", 1)];
    let expected =
        expected.map(|(kind, name, pods)| (Value::from(kind), Value::from(name), Value::from(pods)));
    assert!(
        shown.eq(expected.iter().map(|(kind, name, pods)| (kind, name, pods))),
        "{:#}",
        viewer.get("/policies").unwrap()
    );

    // As `kubectl` shows it, and not what the collector thinks.
    eventually("on how many nodes each is in force", || {
        let shown = viewer.get("/policies")?;
        let standing = |at: usize| {
            (
                shown["items"][at]["standing"]["in_force"].clone(),
                shown["items"][at]["standing"]["detail"].to_string(),
            )
        };
        let [all, one] = [standing(0), standing(1)];
        let is_so = all.1.contains("on all 2 nodes") && one.1.contains("on all 1 nodes");
        (is_so && all.0 == true && one.0 == true).then_some(())
    });

    // The finding comes from the node; nothing is done before somebody who may says so.
    let review = "contain --workload shop/web --for 2h --dry-run";
    let planned =
        eventually("the incident", || Some(day.incident(review)).filter(|(code, ..)| *code == Some(0)));
    assert!(planned.1["policy"].as_str().unwrap().contains("kind: Containment"), "{planned:?}");
    let (code, _, why) = viewer.incident("contain --workload shop/web --for 2h --yes");
    assert!(code != Some(0) && why.contains("403"), "{code:?} {why}");
    assert!(containments(&world).is_empty());
    world.reachable("nothing was done", &[80]);

    // Two at once, for a longer and a shorter time.
    let both = [
        day.begin("contain --workload shop/web --for 2h --yes"),
        night.begin("contain --workload shop/web --for 1h --yes"),
    ];
    let both = both.map(|child| said(&child.wait_with_output().unwrap()));
    for (code, done, why) in &both {
        assert_eq!((*code, &done["in_force"]), (Some(0), &json!(true)), "{done} {why}");
    }
    assert!(!world.web_reaches_db(80), "its packets are dropped");
    let [object] = &containments(&world)[..] else { panic!("{:?}", containments(&world)) };
    assert_eq!(object["spec"]["until"], both[0].1["until"], "the later time counts, whoever was first");
    assert_eq!(object["spec"]["workload"], json!({ "kind": "Pod", "name": "web" }));
    let by = object["metadata"]["annotations"]["cofferdam.dev/by"].as_str().unwrap();
    assert!([&*day.name, &*night.name].contains(&by), "{by}");
    assert_eq!((day.audited("contained"), night.audited("contained")), (1, 1));
    assert_eq!(viewer.audited("contained"), 0);
    let incidents = viewer.get("/incidents").unwrap();
    let contained = incidents["items"][0]["contained"].as_array().unwrap().clone();
    assert_eq!(contained.len(), 1, "{incidents:#}");
    assert_eq!(contained[0]["workload"], "shop/web");

    // Its time comes sooner now.
    let soon = observe::Time::from(SystemTime::now() + Duration::from_secs(3)).to_string();
    let patch = json!({ "spec": { "until": soon } }).to_string();
    let name = object["metadata"]["name"].as_str().unwrap();
    world.kubectl(&format!("patch containment {name} --type=merge -p {patch}"), "");
    world.reachable("its time is over", &[80]);
    eventually("its status says so", || {
        containments(&world).first().is_some_and(|it| it["status"]["phase"] == "Over").then_some(())
    });

    // Again, and let go by the other.
    let (code, done, why) = night.incident("contain --workload shop/web --for 30m --yes");
    assert_eq!((code, &done["in_force"]), (Some(0), &json!(true)), "{done} {why}");
    assert!(!world.web_reaches_db(80));
    let (code, _, why) = viewer.incident("release shop/web");
    assert!(code != Some(0) && why.contains("403"), "{code:?} {why}");
    let (code, done, why) = day.incident("release shop/web");
    assert_eq!((code, &done["released"]), (Some(0), &json!(true)), "{done} {why}");
    world.reachable("it was let go", &[80]);
    assert!(containments(&world).is_empty());
    assert_eq!((day.audited("released"), night.audited("contained")), (1, 2));
    let (code, done, _) = night.incident("release shop/web");
    assert_eq!((code, &done["released"]), (Some(1), &json!(false)), "{done}");
    assert_eq!(night.audited("released"), 0, "who let nobody go is not in the ledger as if");
    let verified =
        Command::new(env!("CARGO_BIN_EXE_cofferdam")).args(["ledger", "verify", "--ledger", &all]).output();
    assert!(verified.unwrap().status.success());
}
