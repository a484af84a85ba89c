//! A cluster of a fleet, as it is set up: from a folder that is kept as it is in Git, then in a registry, and from a hub with just the
//! rights that the chart gives. Real API servers, a real git, a real helm.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use apiserver::Cluster;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Made by `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`, for tests alone.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEILd2Q1NBOQwkl8DSsPh8GzfipkgiLPnKiUSdgkwb+TsI
-----END PRIVATE KEY-----
";
const KEYS: &str = "apiVersion: cofferdam.dev/v1alpha1
kind: ReleaseKeys
keys:
- name: platform
  public: |
    -----BEGIN PUBLIC KEY-----
    MCowBQYDK2VwAyEAlfctkCpQpMs7j1oB5b6rYjL1Pr0FjsZrzUi0x4t+NUU=
    -----END PUBLIC KEY-----
";

fn policy(port: u16) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: web, namespace: shop}}, \
         spec: {{podSelector: {{}}, ingress: [{{ports: [{{port: {port}}}]}}]}}}}\n"
    )
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn kubectl(cluster: &Cluster, arguments: &str, input: &str) -> String {
    let output = cluster.kubectl(arguments.split(' '), input).unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A cluster, and a folder with keys.
struct World {
    cluster: Cluster,
    folder: tempfile::TempDir,
}

impl World {
    fn start() -> Option<Self> {
        let world = Self { cluster: Cluster::start_or_skip()?, folder: tempfile::tempdir().unwrap() };
        fs::write(world.path("key.pem"), PRIVATE).unwrap();
        fs::write(world.path("keys.yaml"), KEYS).unwrap();
        world.kubectl("create namespace shop", "");
        world.kubectl("create namespace cofferdam-system", "");
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn kubectl(&self, arguments: &str, input: &str) -> String {
        kubectl(&self.cluster, arguments, input)
    }

    fn command(&self, program: &str, arguments: &str) -> Command {
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        command
    }

    /// Runs a program that must do it.
    fn must(&self, program: &str, arguments: &str) -> String {
        let output = self.command(program, arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{program} {arguments}: {said}");
        said
    }

    fn cofferdam(&self, arguments: &str) -> String {
        self.must(env!("CARGO_BIN_EXE_cofferdam"), arguments)
    }

    /// Builds a release of one policy that lets one port through.
    fn release(&self, number: u64, port: u16, more: &str) {
        let source = self.path("policy.yaml");
        fs::write(source, policy(port)).unwrap();
        self.cofferdam(&format!("release build -f policy.yaml --number {number} -o {number}.json {more}"));
    }

    /// Runs a controller; what it says goes to `log`.
    fn controller(&self, kubeconfig: &Path, arguments: &str) -> Running {
        let log = fs::File::options().append(true).create(true).open(self.path("log")).unwrap();
        let child = self
            .command(
                env!("CARGO_BIN_EXE_cofferdam"),
                "controller --json --listen 127.0.0.1:0 --release-keys keys.yaml",
            )
            .args(arguments.split_whitespace())
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn();
        Running(child.unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits, bounded.
    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "{what}: {:#}\n{}", self.status(), self.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn map(&self, name: &str, key: &str) -> Value {
        let arguments = format!(
            "get configmap {name} -n cofferdam-system --ignore-not-found -o jsonpath={{.data.{key}}}"
        );
        serde_json::from_str(&self.kubectl(&arguments, "")).unwrap_or_default()
    }

    /// How the cluster says that it stands.
    fn status(&self) -> Value {
        self.map("cofferdam-fleet-status", "status")
    }

    /// Release `number` is in force, and lets this port through.
    fn has(&self, number: u64, port: &str) {
        self.until(&format!("release {number}"), || {
            let status = self.status();
            status["enforced"]["number"] == number && status["problems"] == json!([])
        });
        assert_eq!(self.port(), port);
    }

    /// The cluster says why it takes nothing, and what it has stays.
    fn refuses(&self, why: &str, port: &str) {
        self.until(why, || self.status()["problems"].to_string().contains(why));
        assert_eq!(self.port(), port);
    }

    fn port(&self) -> String {
        let of_fleet = "get networkpolicy -n shop -l cofferdam.dev/of-fleet";
        self.kubectl(&format!("{of_fleet} -o jsonpath={{.items[*].spec.ingress[*].ports[*].port}}"), "")
    }

    /// Commits what is in `work`, and has it come to `current`, as git-sync does: another tree, to which a link is swapped.
    fn commit(&self, message: &str) -> String {
        self.must("git", "-C work add --all");
        self.must("git", &format!("-C work commit -q -m {message}"));
        self.sync()
    }

    fn sync(&self) -> String {
        self.must("git", "-C work push -q origin HEAD:main");
        self.must("git", "-C mirror fetch -q origin main");
        let commit = self.must("git", "-C mirror rev-parse FETCH_HEAD").trim().to_owned();
        self.must("git", &format!("-C mirror worktree add -q --detach ../trees/{commit} {commit}"));
        self.swap(&format!("trees/{commit}"));
        commit
    }

    fn swap(&self, to: &str) {
        symlink(to, self.path("next")).unwrap();
        fs::rename(self.path("next"), self.path("current")).unwrap();
    }
}

#[test]
fn cluster_what_is_merged_in_git_is_taken_where_it_is_signed_and_newer_and_nothing_else_is() {
    let Some(world) = World::start() else { return };
    world.must("git", "init -q --bare -b main origin");
    world.must("git", "clone -q origin work");
    world.must("git", "clone -q --no-checkout origin mirror");
    world.must("git", "-C work config user.email ann@example.com");
    world.must("git", "-C work config user.name ann");

    world.release(1, 80, "--previous none --sign key.pem");
    world.cofferdam("release export 1.json --to work --enforce dev");
    let admin = world.cluster.kubeconfig();
    let controller = world.controller(&admin, "--releases current --cluster dev");
    // Nothing was checked out yet: said, and nothing comes of it.
    world.until("no folder yet", || world.log().contains("current: No such file or directory"));
    let first = world.commit("one");
    world.has(1, "80");

    // Nobody signed it; what was signed was altered; it is cut off in the middle.
    world.release(2, 82, "--previous 1.json");
    let two = world.cofferdam("release object 2.json");
    let reference = |number: u64| -> Value {
        let shown: Value =
            serde_json::from_str(&world.cofferdam(&format!("release show {number}.json --json"))).unwrap();
        json!({ "number": number, "digest": shown["digest"] })
    };
    let want = |number: u64| {
        let mut object: Value =
            serde_json::from_str(&fs::read_to_string(world.path("work/clusters/dev.json")).unwrap()).unwrap();
        object["spec"]["wanted"] = json!({ "enforce": reference(number) });
        fs::write(world.path("work/clusters/dev.json"), object.to_string()).unwrap();
    };
    fs::write(world.path("work/releases/release-2.json"), &two).unwrap();
    want(2);
    world.commit("unsigned");
    world.refuses("nobody signed it", "80");
    world.release(3, 83, "--previous 1.json --sign key.pem");
    let mut three: Value = serde_json::from_str(&world.cofferdam("release object 3.json")).unwrap();
    let unsigned: Value = serde_json::from_str(&two).unwrap();
    three["spec"]["envelope"]["payload"] = unsigned["spec"]["envelope"]["payload"].clone();
    fs::write(world.path("work/releases/release-3.json"), three.to_string()).unwrap();
    want(3);
    let altered = world.commit("altered");
    world.refuses("what was signed was altered", "80");
    let (half, _) = two.split_at(two.len() / 2);
    fs::write(world.path("work/releases/release-3.json"), half).unwrap();
    world.commit("half");
    world.refuses("not wholly written yet", "80");

    // The checkout goes away: what is in force stays, and is put back where somebody opens it.
    world.swap("trees/none");
    world.refuses("No such file or directory", "80");
    let open = "patch networkpolicy web -n shop --type=merge -p {\"spec\":{\"ingress\":[{}]}}";
    world.kubectl(open, "");
    world.until("closed again", || world.port() == "80");

    // Forward; back by `git revert`, to what it was signed to fall back to; forward, to one that leads nowhere back.
    world.release(4, 84, "--previous 1.json --sign key.pem");
    world.cofferdam("release export 4.json --to work --enforce dev");
    world.commit("four");
    world.has(4, "84");
    let text = fs::read_to_string(world.path("work/releases/release-1.json")).unwrap();
    world.cofferdam("release export 1.json --to work --enforce dev");
    assert_eq!(fs::read_to_string(world.path("work/releases/release-1.json")).unwrap(), text);
    world.commit("back");
    world.has(1, "80");
    world.must("git", "-C work revert --no-edit HEAD");
    world.sync();
    world.has(4, "84");
    world.release(5, 85, "--sign key.pem");
    world.cofferdam("release export 5.json --to work --enforce dev");
    world.commit("five");
    world.has(5, "85");
    world.must("git", "-C work revert --no-edit HEAD");
    world.sync();
    world.refuses("release 4", "85");
    world.refuses("is older than 5", "85");

    // Who signed what, from which commit, and why not, is kept in the cluster.
    let history = world.map("cofferdam-fleet", "history");
    let said: Vec<(u64, &str)> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["release"]["number"].as_u64().unwrap(), it["what"].as_str().unwrap()))
        .collect();
    let expected = [
        (1, "Enforced"),
        (2, "Refused"),
        (3, "Refused"),
        (4, "Enforced"),
        (1, "Enforced"),
        (4, "Enforced"),
        (5, "Enforced"),
        (4, "Refused"),
    ];
    assert_eq!(said, expected, "{history:#}");
    let text = |at: usize, field: &str| history[at][field].to_string();
    assert!(text(0, "from").contains(&first) && text(0, "signers").contains("platform"), "{history:#}");
    assert!(text(2, "from").contains(&altered) && text(2, "why").contains("altered"), "{history:#}");
    let log = world.log();
    assert!(log.contains("fleet: release 4 (") && log.contains("nobody signed it"), "{log}");
    drop(controller);
    from_a_registry(&world);
}

/// The same folder in a registry, for a cluster that Git told before.
fn from_a_registry(world: &World) {
    let server = ociregistry::Registry::start(Some(("ann", "geheim")));
    let logins = json!({ "auths": { server.host(): { "username": "ann", "password": "geheim" } } });
    fs::write(world.path("login.json"), logins.to_string()).unwrap();
    fs::write(world.path("ca.crt"), server.authority()).unwrap();
    let place = format!("oci://{}/policy/fleet:main", server.host());
    world.release(6, 86, "--previous 5.json --sign key.pem");
    world.cofferdam("release export 6.json --to pushed --enforce dev");
    let pushed =
        world.cofferdam(&format!("release push pushed {place} --authority ca.crt --login login.json"));
    let arguments =
        format!("--releases {place} --releases-authority ca.crt --releases-login login.json --cluster dev");
    // Nobody waits for the one before to be given up.
    world.kubectl("delete lease cofferdam-controller -n cofferdam-system", "");
    let _running = world.controller(&world.cluster.kubeconfig(), &arguments);
    world.refuses("told by hub folder, and registry claims it", "85");
    let mut memory = world.map("cofferdam-fleet", "memory");
    memory.as_object_mut().unwrap().remove("hub");
    let patch = json!({ "data": { "memory": memory.to_string() } });
    world
        .kubectl(&format!("patch configmap cofferdam-fleet -n cofferdam-system --type=merge -p {patch}"), "");
    world.has(6, "86");
    let history = world.map("cofferdam-fleet", "history");
    let from = history.as_array().unwrap().last().unwrap()["from"].as_str().unwrap();
    let digest = pushed.lines().next().unwrap().rsplit(": ").next().unwrap();
    assert_eq!(from, format!("{place}@{digest}"));
}

fn helm() -> Option<PathBuf> {
    let output = Command::new(Path::new(ROOT).join("tests/helm/build")).arg("--path").output().unwrap();
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    if path.is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED: helm is not built (tests/helm/build)");
    None
}

/// Applies what the chart renders with these values.
fn install(helm: &Path, cluster: &Cluster, values: &Value, folder: &Path) {
    let path = folder.join("values.json");
    fs::write(&path, values.to_string()).unwrap();
    let chart = Path::new(ROOT).join("deploy/chart");
    let output = Command::new(helm)
        .args(["template", "cofferdam", "--namespace", "cofferdam-system", "--include-crds", "--values"])
        .args([&path, &chart])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    kubectl(cluster, "apply --server-side -f -", &String::from_utf8(output.stdout).unwrap());
}

/// A kubeconfig of an account that the chart made.
fn account(cluster: &Cluster, name: &str, path: &Path) -> PathBuf {
    let token = kubectl(cluster, &format!("create token {name} -n cofferdam-system"), "");
    let admin = fs::read_to_string(cluster.kubeconfig()).unwrap();
    let own = admin.replace("test-administrator", token.trim());
    assert_ne!(admin, own);
    fs::write(path, own).unwrap();
    path.to_owned()
}

fn may(cluster: &Cluster, account: &str, what: &str) -> bool {
    let question = format!("auth can-i {what} --as system:serviceaccount:cofferdam-system:{account}");
    let output = cluster.kubectl(question.split(' '), "").unwrap();
    String::from_utf8_lossy(&output.stdout).lines().any(|line| line == "yes")
}

#[test]
fn cluster_the_rights_of_the_chart_suffice_for_releases_and_identities_and_for_nothing_else() {
    let (Some(helm), Some(world)) = (helm(), World::start()) else { return };
    let Some(hub) = Cluster::start_or_skip() else { return };
    kubectl(&hub, "create namespace cofferdam-system", "");
    kubectl(&hub, "apply --server-side -f -", &world.cofferdam("install hub"));
    let clusters = json!([{ "name": "west", "identities": true }, { "name": "east" }]);
    install(&helm, &hub, &json!({ "hub": { "clusters": clusters } }), world.folder.path());
    kubectl(&hub, "wait --for=condition=Established crd --all --timeout=60s", "");
    let fleet = json!({
        "enabled": true, "cluster": "west", "hubSecret": "hub", "keys": KEYS, "identities": { "enabled": true },
    });
    install(&helm, &world.cluster, &json!({ "fleet": fleet }), world.folder.path());
    world.kubectl("wait --for=condition=Established crd --all --timeout=60s", "");

    world.release(1, 80, "--previous none --sign key.pem");
    kubectl(&hub, "apply --server-side -f -", &world.cofferdam("release object 1.json"));
    // The folder's form of a cluster's object is the hub's.
    world.cofferdam("release export 1.json --to work --enforce west");
    kubectl(&hub, &format!("apply --server-side -f {}", world.path("work/clusters/west.json").display()), "");
    world.kubectl("create namespace ml", "");
    world.kubectl(
        "label namespace ml cofferdam.dev/export=identities import.cofferdam.dev/east=identities",
        "",
    );
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "train", "namespace": "ml" },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    });
    world.kubectl("apply -f -", &pod.to_string());
    let address =
        json!({ "status": { "phase": "Running", "podIP": "10.8.0.2", "podIPs": [{ "ip": "10.8.0.2" }] } });
    world.kubectl(&format!("patch pod train -n ml --subresource=status --type=merge -p {address}"), "");

    let own = account(&world.cluster, "cofferdam-controller", &world.path("own"));
    let at_hub = account(&hub, "cofferdam-cluster-west", &world.path("at-hub"));
    let arguments = format!("--hub {} --cluster west --identities", at_hub.display());
    let _controller = world.controller(&own, &arguments);
    let of_hub = |what: &str, path: &str| {
        kubectl(&hub, &format!("get {what} --ignore-not-found -o jsonpath={path}"), "")
    };
    world.until("the release", || of_hub("managedcluster west", "{.status.enforced.number}") == "1");
    assert_eq!(world.port(), "80");
    world.until("its pods", || of_hub("identityslices -n west", "{.items[*].spec.pods[*].name}") == "train");
    world.until("its lease", || {
        of_hub("lease cofferdam-identities -n west", "{.spec.holderIdentity}") == "west"
    });

    // What another exports, and ends to export.
    let mut slice: Value =
        serde_json::from_str(&kubectl(&hub, "get identityslices -n west -o json", "")).unwrap();
    let mut spec = slice["items"][0]["spec"].take();
    spec["cluster"] = "east".into();
    let (version, name) = ("cofferdam.dev/v1alpha1", &slice["items"][0]["metadata"]["name"]);
    let other = json!({ "apiVersion": version, "kind": "IdentitySlice", "metadata": { "name": name, "namespace": "east" }, "spec": spec });
    kubectl(&hub, "create namespace east", "");
    kubectl(&hub, "apply -f -", &other.to_string());
    let imported =
        || world.kubectl("get identityslices -n cofferdam-system -o jsonpath={.items[*].spec.cluster}", "");
    world.until("imported", || imported() == "east");
    kubectl(&hub, "delete identityslices --all -n east", "");
    world.until("withdrawn", || imported().is_empty());
    let log = world.log();
    assert!(!log.contains("forbidden"), "{log}");

    // A cluster speaks for itself alone, and reads no more than it needs.
    for what in [
        "patch managedclusters/east --subresource=status",
        "patch managedclusters/west",
        "get managedclusters/east",
        "create policyreleases",
        "create identityslices -n east",
        "create identityslices -n cofferdam-system",
        "patch leases/other -n west",
        "list leases -A",
        "list secrets -A",
        "list pods -A",
    ] {
        assert!(!may(&hub, "cofferdam-cluster-west", what), "{what}");
    }
    // One that shares no identities hears of none.
    assert!(may(&hub, "cofferdam-cluster-east", "get policyreleases"));
    assert!(!may(&hub, "cofferdam-cluster-east", "list identityslices -A"));
    for what in
        ["create identityslices -n default", "get configmaps/other -n cofferdam-system", "delete pods -A"]
    {
        assert!(!may(&world.cluster, "cofferdam-controller", what), "{what}");
    }
}
