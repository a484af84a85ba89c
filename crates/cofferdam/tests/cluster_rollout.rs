//! `cofferdam rollouts` and `cofferdam rollout` at a hub with a real API server, on `examples/fleet`, with the rights that it gives.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use apiserver::Cluster;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/fleet");
/// Made by `openssl genpkey -algorithm ed25519`, for tests alone.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEILd2Q1NBOQwkl8DSsPh8GzfipkgiLPnKiUSdgkwb+TsI
-----END PRIVATE KEY-----
";

struct World {
    hub: Cluster,
    folder: tempfile::TempDir,
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let asked = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(asked.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

impl World {
    fn start() -> Option<Self> {
        let hub = Cluster::start_or_skip()?;
        let world = Self { hub, folder: tempfile::tempdir().unwrap() };
        fs::write(world.path("key.pem"), PRIVATE).unwrap();
        let (_, objects, _) = world.run("install hub");
        world.kubectl("apply -f -", &objects);
        world.kubectl("wait --for=condition=Established crd --all --timeout=60s", "");
        world.kubectl("create namespace cofferdam-system", "");
        world.kubectl(&format!("apply -f {EXAMPLE}/role.yaml -f {EXAMPLE}/clusters.yaml"), "");
        for (number, previous) in [(7, "none"), (8, "7.json"), (9, "7.json")] {
            let args = format!(
                "release build -f {EXAMPLE}/{number} --number {number} --previous {previous} --sign key.pem -o {number}.json"
            );
            assert_eq!(world.run(&args).0, Some(0));
            let (_, object, _) = world.run(&format!("release object {number}.json"));
            world.kubectl("apply --server-side -f -", &object);
        }
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn kubectl(&self, arguments: &str, input: &str) -> String {
        let output = self.hub.kubectl(arguments.split(' '), input).unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs the program. Exit code, output and errors.
    fn run(&self, args: &str) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(args.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    /// A kubeconfig of an account that may do what a role says, and nothing else.
    fn account(&self, name: &str, roles: &[&str]) -> PathBuf {
        self.kubectl(&format!("create serviceaccount {name} -n cofferdam-system"), "");
        for role in roles {
            let kind = if role.starts_with("--clusterrole") {
                "clusterrolebinding"
            } else {
                "rolebinding -n cofferdam-system"
            };
            let binding = format!("create {kind} {name} {role} --serviceaccount=cofferdam-system:{name}");
            self.kubectl(&binding, "");
        }
        let token = self.kubectl(&format!("create token {name} -n cofferdam-system"), "");
        let admin = fs::read_to_string(self.hub.kubeconfig()).unwrap();
        let (path, own) = (self.path(name), admin.replace("test-administrator", token.trim()));
        assert_ne!(admin, own);
        fs::write(&path, own).unwrap();
        path
    }

    /// Runs rollouts, and tells where it says how it is.
    fn rollouts(&self, kubeconfig: &Path) -> (Running, SocketAddr) {
        let health = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = fs::File::options().append(true).create(true).open(self.path("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(["rollouts", "--json", "--health", &health.to_string(), "--hub"])
            .arg(kubeconfig)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn();
        (Running(child.unwrap()), health)
    }

    /// Asks until the answer has all of this; bounded.
    fn asked(&self, health: SocketAddr, path: &str, says: &[&str]) {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = get(health, path).unwrap_or_default();
            if says.iter().all(|it| said.contains(it)) {
                return;
            }
            assert!(Instant::now() < end, "{path} never said {says:?}: {said}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn reference(&self, number: u64) -> Value {
        let (_, text, _) = self.run(&format!("release show {number}.json --json"));
        let whole: Value = serde_json::from_str(&text).unwrap();
        json!({ "number": number, "digest": whole["digest"] })
    }

    /// What a cluster says of itself.
    fn say(&self, cluster: &str, beat: u64, enforced: u64, shadow: Option<u64>, denials: u64) {
        let of = self.reference(shadow.unwrap_or(enforced));
        let mode = if shadow.is_some() { "Shadow" } else { "Enforce" };
        let denial = json!({ "source": "shop/Deployment/web", "destination": "shop/StatefulSet/db", "port": 5432, "count": denials });
        let denials = if denials > 0 { vec![denial] } else { Vec::new() };
        let errors = json!({ "connections": { "tried": 5000, "failed": 20 } });
        let status = json!({
            "beat": beat, "enforced": self.reference(enforced), "shadow": shadow.map(|it| self.reference(it)),
            "evidence": { "of": of, "mode": mode, "seconds": 4000, "flows": 5321, "denials": denials, "errors": errors },
            "problems": [], "drift": [], "effective": { "digest": self.reference(enforced)["digest"], "policies": 1 },
            "memory": { "highest": null },
        });
        let patch = json!({ "status": status }).to_string();
        let arguments =
            format!("patch managedcluster {cluster} --subresource=status --type=merge -p {patch}");
        self.kubectl(&arguments, "");
    }

    /// Runs a verb until it says this.
    fn until(&self, args: &str, says: &str) -> (Option<i32>, String) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (code, out, err) = self.run(args);
            if out.contains(says) {
                return (code, out);
            }
            assert!(Instant::now() < end, "{args} never said {says:?}: {out}{err}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

#[test]
fn cluster_the_example_is_held_forced_and_back_whoever_decides() {
    let Some(world) = World::start() else { return };
    let runs = world.account("runs", &["--clusterrole=cofferdam-rollouts", "--role=cofferdam-rollouts"]);
    let ann = world.account("ann", &["--clusterrole=cofferdam-rollout-operator"]);
    let hub = format!("--hub {}", ann.display());
    for (cluster, beat) in [("dev-1", 1), ("prod-1", 1), ("prod-2", 1)] {
        world.say(cluster, beat, 7, None, 0);
    }
    world.kubectl(&format!("apply -f {EXAMPLE}/rollout-8.yaml"), "");
    let (code, out) = world.until(&format!("rollout status release-8 {hub}"), "nobody has looked at it yet");
    assert_eq!(code, Some(0), "{out}");

    // One decides, the other waits; it takes over when the first is killed.
    let (first, of_first) = world.rollouts(&runs);
    world.until(&format!("rollout status release-8 {hub}"), "judges it without effect");
    let (_second, of_second) = world.rollouts(&runs);
    world.asked(of_first, "/readyz", &[" 200 ", "ready"]);
    let began = r#"cofferdam_rollouts_decisions_total{what="Began"} 1"#;
    let first_says =
        ["cofferdam_rollouts_decides 1", "cofferdam_rollouts 1", "cofferdam_rollouts_clusters 3", began];
    world.asked(of_first, "/metrics", &first_says);
    world.asked(of_second, "/readyz", &[" 200 ", "ready"]);
    world.asked(of_second, "/metrics", &["cofferdam_rollouts_decides 0"]);
    world.say("dev-1", 2, 7, Some(8), 37);
    let (code, out) = world.until(&format!("rollout status release-8 {hub}"), "HELD");
    assert_eq!(code, Some(1), "{out}");
    println!("{out}");
    for says in [
        "HELD: stage dev (1 of 2) judges it without effect",
        "4000/3600",
        "missing: dev-1: 37 would be denied that are not accepted, such as shop/Deployment/web to shop/StatefulSet/db port 5432",
        "Began dev by itself",
    ] {
        assert!(out.contains(says), "{says}: {out}");
    }
    let (code, out, err) = world.run(&format!("rollout diff release-8 {hub}"));
    println!("{out}");
    assert!(
        code == Some(1) && out.contains("5433") && out.contains("NetworkPolicy shop/closed"),
        "{out}{err}"
    );
    let (code, out, err) = world.run(&format!("clusters list {hub}"));
    assert!(code.is_some_and(|it| it < 2) && out.contains("PROBLEM") && out.contains("prod-2"), "{out}{err}");
    let (_, out, err) = world.run(&format!("clusters list {hub} --json"));
    let whole: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert_eq!(
        (&whole["clusters"][0]["name"], &whole["clusters"][0]["status"]["beat"]),
        (&"dev-1".into(), &2.into())
    );
    world.asked(of_first, "/metrics", &["cofferdam_rollouts_held 1", "cofferdam_rollouts_clusters_silent "]);
    drop(first);
    world.asked(of_second, "/metrics", &["cofferdam_rollouts_decides 1"]);

    let forced = format!("rollout promote release-8 {hub} --stage dev --reason known-to-be-harmless");
    let (code, out) = world.until(&forced, "Forced dev by system:serviceaccount:cofferdam-system:ann");
    println!("{out}");
    assert!(
        code == Some(0) && out.contains("37 would be denied") && out.contains("known-to-be-harmless"),
        "{out}"
    );
    world.say("dev-1", 3, 8, None, 37);
    world.until(
        &format!("rollout history release-8 {hub}"),
        "dev-1 denies 37 flows that worked before, and 20 are too many",
    );
    world.say("dev-1", 4, 7, None, 0);
    let (_, out) = world.until(&format!("rollout history release-8 {hub}"), "RolledBack dev by itself");
    println!("{out}");
    let (code, out, _) = world.run(&format!("rollout status release-8 {hub} --json"));
    let whole: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &whole["phase"], &whole["stages"][1]["phase"]),
        (Some(1), &"RolledBack".into(), &"Pending".into())
    );

    // What comes too late, and what is not there.
    let (code, _, err) = world.run(&format!("rollout approve release-8 {hub} --stage prdo"));
    assert!(code == Some(2) && err.contains("has no such stage; it has dev, prod"), "{err}");
    let (code, out, _) = world.run(&format!("rollout approve release-8 {hub}"));
    assert!(code == Some(1) && out.contains("NotDone") && out.contains("the rollout is over"), "{out}");
    let (code, _, err) = world.run(&format!("rollout status no-such {hub}"));
    assert!(code == Some(2) && err.contains("the hub has no Rollout \"no-such\""), "{err}");
    // Whoever decides may not ask, and whoever asks may not decide.
    let (code, _, err) = world.run(&format!("rollout abort release-8 --hub {}", runs.display()));
    assert!(code == Some(2) && err.contains("cannot update resource \"rollouts\""), "{err}");
    let lines: Vec<Value> = world.log().lines().filter_map(|it| serde_json::from_str(it).ok()).collect();
    let told = |what: &str| lines.iter().filter(|it| it["decision"]["what"] == what).count();
    assert_eq!((told("Began"), told("Forced"), told("RolledBack")), (1, 1, 1), "{}", world.log());

    let World { hub, folder } = world;
    drop(hub);
    let world_log = fs::read_to_string(folder.path().join("log")).unwrap();
    let end = Instant::now() + PATIENCE;
    while !get(of_second, "/readyz").is_ok_and(|said| said.contains(" 503 ")) {
        assert!(Instant::now() < end, "it is ready without a hub: {world_log}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A collector whose console shows the hub; where it is, and what lets in.
fn console(world: &World, hub: &Path) -> (Running, SocketAddr, String) {
    let log = fs::File::create(world.path("console.log")).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
        .args(["collector", "--listen", "127.0.0.1:0", "--serve", &free.to_string(), "--ledger"])
        .arg(world.path("ledger.db"))
        // Nobody sends to it here.
        .arg("--certificates")
        .arg(world.path("none"))
        .arg("--serve-hub")
        .arg(hub)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn();
    let running = Running(child.unwrap());
    let end = Instant::now() + PATIENCE;
    loop {
        let said = fs::read_to_string(world.path("console.log")).unwrap_or_default();
        if said.contains("console and API") {
            // A log does not hold it.
            let token = fs::read_to_string(world.path("ledger.token")).unwrap();
            return (running, free, token.trim().to_owned());
        }
        assert!(Instant::now() < end, "no console: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Asks the API until the fleet is as it should be; bounded.
fn fleet(console: (SocketAddr, &str), is_so: impl Fn(&Value) -> bool) -> Value {
    let (address, token) = console;
    let end = Instant::now() + PATIENCE;
    loop {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let asked = format!(
            "GET /api/v1/clusters HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(asked.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let told: Value = serde_json::from_str(body).unwrap_or_else(|_| answer.clone().into());
        if is_so(&told) {
            return told;
        }
        assert!(Instant::now() < end, "the fleet never became so: {told:#}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn cluster_the_console_shows_stages_gates_and_drift_of_a_real_hub_and_may_do_no_more() {
    let Some(world) = World::start() else { return };
    let runs = world.account("runs", &["--clusterrole=cofferdam-rollouts", "--role=cofferdam-rollouts"]);
    // As the chart gives it to the collector.
    world.kubectl(
        "create clusterrole looks --verb=list --resource=managedclusters.cofferdam.dev,rollouts.cofferdam.dev",
        "",
    );
    let looks = world.account("looks", &["--clusterrole=looks"]);
    for cluster in ["dev-1", "prod-1", "prod-2"] {
        world.say(cluster, 1, 7, None, 0);
    }
    let drift =
        json!({ "status": { "drift": ["NetworkPolicy shop/closed"] } }).to_string().replace(' ', "\\u0020");
    world.kubectl(&format!("patch managedcluster prod-2 --subresource=status --type=merge -p {drift}"), "");
    let (console, address, token) = console(&world, &looks);
    let at = (address, token.as_str());
    let before = fleet(at, |told| told["clusters"].as_array().is_some_and(|it| it.len() == 3));
    assert_eq!(
        (before["has_hub"].as_bool(), before["rollouts"].as_array().map(Vec::len)),
        (Some(true), Some(0))
    );
    assert_eq!(before["clusters"][2]["drift"][0], "NetworkPolicy shop/closed");

    world.kubectl(&format!("apply -f {EXAMPLE}/rollout-8.yaml"), "");
    let (_rollouts, _) = world.rollouts(&runs);
    world.until(&format!("rollout status release-8 --hub {}", looks_at(&world)), "judges it without effect");
    world.say("dev-1", 2, 7, Some(8), 37);
    let told = fleet(at, |told| told["rollouts"][0]["held"] == true);
    let rollout = &told["rollouts"][0];
    let stage = &rollout["stages"][0];
    assert_eq!((&rollout["name"], &rollout["stage"]), (&"release-8".into(), &"dev".into()));
    assert_eq!((&stage["phase"], &stage["gate"]["seconds"]), (&"shadow".into(), &3600.into()));
    assert_eq!((&stage["numbers"]["seconds"], &stage["numbers"]["denials"]), (&4000.into(), &37.into()));
    assert!(stage["missing"][0].as_str().unwrap().contains("37 would be denied"), "{stage}");
    assert_eq!(rollout["stages"][1]["phase"], "pending");
    if !on_the_page(address, &token) {
        eprintln!(
            "NOT RUN: the page of clusters in a browser (needs node, chromium and the console that npm builds)"
        );
    }

    // It looks, and does nothing.
    let (code, _, err) = world.run(&format!("rollout abort release-8 --hub {}", looks.display()));
    assert!(code == Some(2) && err.contains("cannot"), "{err}");
    let World { hub, folder: _folder } = world;
    drop(hub);
    let gone = fleet(at, |told| told["title"].is_string());
    assert!(gone["detail"].as_str().unwrap().contains("the hub"), "{gone}");
    drop(console);
}

/// A kubeconfig of somebody who may ask how a rollout stands.
fn looks_at(world: &World) -> String {
    world.account("ann", &["--clusterrole=cofferdam-rollout-operator"]).display().to_string()
}

/// The same in a real browser. False: there is none, or the console is not built in.
fn on_the_page(address: SocketAddr, token: &str) -> bool {
    let page = get(address, "/clusters").unwrap();
    let has = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !page.contains("assets/") || !has("node") || !has("chromium") {
        return false;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/console/hub.mjs");
    let seen = Command::new("node").args([script, &format!("http://{address}/"), token]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(seen.status.success(), "{}{}", text(&seen.stdout), text(&seen.stderr));
    true
}
