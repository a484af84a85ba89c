//! A whole system for tests: a lab with two nodes and a pod on each, and outside it a real API server and controllers.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "in a test a panic is the failure report"
)]

pub mod people;

use apiserver::{Cluster, POLICY_KINDS, definition};
use controller::authority::Authority;
use feed::tls::{CONTROLLER, Identity, node_name};
use lab::privilege::{Privilege, enter};
use lab::{Lab, Network, NodePlan, Place, Plan, PodPlan};
use policy::Protocol;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

pub const NODES: [&str; 2] = ["node-a", "node-b"];
pub const NODE_ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];
/// Namespace `shop`: `web` on the first node, `db` on the second.
const PODS: [(&str, &str); 2] = [("web", "10.77.1.2"), ("db", "10.77.2.2")];
/// A pod on the second node that the API server does not know.
pub const LATE: (&str, &str) = ("late", "10.77.2.3");
pub const DB: &str = "10.77.2.2";
/// Of the first controller and of any other.
pub const OUTSIDE: [&str; 2] = ["198.19.255.253", "198.19.255.254"];
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of the program under test, with what it said.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.log.display(), fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

type Job = Box<dyn FnOnce(&mut Cluster) + Send>;

pub struct World {
    /// To the thread in whose namespace the API server is; its processes end with the thread that started them.
    api: Sender<Job>,
    kubeconfig: PathBuf,
    pub authority: Authority,
    pub folder: TempDir,
    pub lab: Lab,
}

impl World {
    /// Nothing of Cofferdam runs yet.
    pub fn start() -> Option<Self> {
        Self::start_with(Network::Routed)
    }

    /// The same, with pods that hang on their nodes so.
    pub fn start_with(network: Network) -> Option<Self> {
        if let Privilege::UserNamespace | Privilege::None { .. } = enter() {
            eprintln!("SKIPPED: network namespaces and a server of etcd in one of them need root");
            return None;
        }
        let address = |text: &str| -> Vec<IpAddr> { vec![text.parse().unwrap()] };
        let node = |(name, at): (&&str, &str)| NodePlan { name: (*name).to_owned(), addresses: address(at) };
        let pod = |((name, at), node): ((&str, &str), &&str)| PodPlan {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            node: (*node).to_owned(),
            addresses: address(at),
            ports: vec![(Protocol::TCP, 80), (Protocol::TCP, 5432)],
            host_network: false,
            command: None,
            env: Vec::new(),
            directory: None,
            files: Vec::new(),
        };
        let plan = Plan {
            nodes: NODES.iter().zip(NODE_ADDRESSES).map(node).collect(),
            pods: PODS.into_iter().zip(&NODES).chain([(LATE, &NODES[1])]).map(pod).collect(),
            outside: OUTSIDE.into_iter().flat_map(address).collect(),
            outside_programs: Vec::new(),
            network,
        };
        let mut lab = Lab::up(plan).unwrap();
        let (api, jobs) = channel::<Job>();
        let (started, first) = channel();
        let serve = move || {
            let cluster = Cluster::start_or_skip();
            started.send(cluster.as_ref().map(Cluster::kubeconfig)).unwrap();
            let Some(mut cluster) = cluster else { return };
            jobs.into_iter().for_each(|job| job(&mut cluster));
        };
        lab.run(&Place::Outside, move || drop(std::thread::spawn(serve))).unwrap();
        let kubeconfig = first.recv().unwrap()?;
        let (output, _lines) = std::sync::mpsc::sync_channel(16);
        lab.start_programs(output).unwrap();
        let authority = Authority::new(SystemTime::now()).unwrap();
        let world = Self { api, kubeconfig, authority, folder: tempfile::tempdir().unwrap(), lab };
        for [kind, plural, version] in POLICY_KINDS {
            world.kubectl("apply -f -", &definition(kind, plural, version));
        }
        world.kubectl("apply -f -", &controller::definition::list().to_string());
        world.kubectl("wait --for=condition=Established crd --all --timeout=60s", "");
        world.kubectl("create namespace cofferdam-system", "");
        world.kubectl("create namespace shop", "");
        for (node, at) in NODES.iter().zip(NODE_ADDRESSES) {
            let object = format!("{{apiVersion: v1, kind: Node, metadata: {{name: {node}}}}}");
            world.kubectl("apply -f -", &object);
            let status = format!(
                "{{\"status\":{{\"addresses\":[{{\"type\":\"InternalIP\",\"address\":\"{at}\"}}]}}}}"
            );
            world.kubectl(&format!("patch node {node} --subresource=status -p {status}"), "");
        }
        for ((name, at), node) in PODS.into_iter().zip(NODES) {
            let object = format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}, \
                 spec: {{nodeName: {node}, containers: [{{name: c, image: i}}]}}}}"
            );
            world.kubectl("apply -f -", &object);
            let status = format!("{{\"status\":{{\"phase\":\"Running\",\"podIPs\":[{{\"ip\":\"{at}\"}}]}}}}");
            world.kubectl(&format!("patch pod {name} -n shop --subresource=status -p {status}"), "");
        }
        Some(world)
    }

    /// The administrator's.
    pub fn kubeconfig_path(&self) -> &str {
        self.kubeconfig.to_str().unwrap()
    }

    /// Runs it where the API server is.
    pub fn at_api<T: Send + 'static>(&self, act: impl FnOnce(&mut Cluster) -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job = move |cluster: &mut Cluster| drop(done.send(act(cluster)));
        self.api.send(Box::new(job)).unwrap();
        result.recv().unwrap()
    }

    fn try_kubectl(&self, arguments: &str, input: &str) -> Output {
        let words: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let input = input.to_owned();
        self.at_api(move |cluster| cluster.kubectl(&words, &input)).unwrap()
    }

    pub fn kubectl(&self, arguments: &str, input: &str) -> String {
        let output = self.try_kubectl(arguments, input);
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Puts a `kubectl` for this cluster's administrator into a folder.
    pub fn kubectl_in(&self, folder: &Path) {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/apiserver/build");
        let program = Command::new(build).arg("--path").output().unwrap().stdout;
        let (program, config) = (String::from_utf8(program).unwrap(), self.kubeconfig.display());
        let script = format!("#!/bin/sh\nKUBECONFIG={config} exec {} kubectl \"$@\"\n", program.trim());
        let path = folder.join("kubectl");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What kubectl says where it is refused; `None` where it is not.
    pub fn refused(&self, arguments: &str, input: &str) -> Option<String> {
        let output = self.try_kubectl(arguments, input);
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub fn get(&self, what: &str) -> Value {
        serde_json::from_str(&self.kubectl(&format!("get {what} -o json"), "")).unwrap()
    }

    /// Writes a certificate for these names as of `now` into the folder of a process.
    pub fn certify(&self, folder: &str, name: &str, now: SystemTime) -> PathBuf {
        let folder = self.folder.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        let Identity { chain, key, authority } = self.authority.issue(&[name.to_owned()], now).unwrap();
        for (file, text) in [("tls.crt", chain), ("tls.key", key), ("ca.crt", authority)] {
            fs::write(folder.join(file), text).unwrap();
        }
        folder
    }

    fn spawn(&self, place: &Place, name: &str, folder: &Path, arguments: &[&str]) -> Process {
        let log = folder.join("log");
        let out = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
        command
            .args(arguments)
            .env("POD_NAME", name)
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .stdin(Stdio::null());
        let child = self.lab.run(place, move || command.spawn()).unwrap().unwrap();
        Process { child, log }
    }

    /// With an authority of its own.
    pub fn controller_with_authority(&self, name: &str) -> Process {
        self.controller_with(name, &[])
    }

    /// With more arguments than where to listen.
    pub fn controller_with(&self, name: &str, more: &[&str]) -> Process {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let at = if name == "first" { OUTSIDE[0] } else { OUTSIDE[1] };
        let (listen, config) = (format!("{at}:9443"), self.kubeconfig.to_str().unwrap());
        self.spawn(
            &Place::Outside,
            name,
            &folder,
            &[&["controller", "--listen", &listen, "--kubeconfig", config], more].concat(),
        )
    }

    /// Runs what the cluster's own workload says, where its pod would run; paths and addresses that only a kubelet and a
    /// Service give are put in by `replace`.
    pub fn as_deployed(
        &self,
        place: &Place,
        workload: &str,
        name: &str,
        replace: &[(&str, &str)],
    ) -> Process {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let spec = self.get(&format!("{workload} -n cofferdam-system"));
        let arguments = &spec["spec"]["template"]["spec"]["containers"][0]["args"];
        let put_in = |argument: &Value| {
            let text = argument.as_str().unwrap().to_owned();
            replace.iter().fold(text, |text, (from, to)| text.replace(from, to))
        };
        let arguments: Vec<String> = arguments.as_array().unwrap().iter().map(put_in).collect();
        self.spawn(place, name, &folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A kubeconfig like that of a pod: the service account's token and nothing else.
    pub fn kubeconfig_of_pod(&self, account: &str) -> String {
        let admin = self.kubectl("config view --raw -o json", "");
        let admin: Value = serde_json::from_str(&admin).unwrap();
        let token = self.kubectl(&format!("create token {account} -n cofferdam-system"), "");
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "clusters": admin["clusters"], "current-context": "pod",
            "users": [{ "name": "pod", "user": { "token": token.trim() } }],
            "contexts": [{ "name": "pod", "context": { "cluster": admin["clusters"][0]["name"], "user": "pod" } }],
        });
        let path = self.folder.path().join("pod.kubeconfig");
        fs::write(&path, config.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// What a probe of the kubelet gets.
    pub fn probe(&self, place: &Place, address: &str, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let address: SocketAddr = address.parse().unwrap();
        let ask = move || {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        self.lab.run(place, ask).unwrap().unwrap_or_else(|error: std::io::Error| error.to_string())
    }

    /// The token that a pod of the agent's service account has on a node.
    pub fn token(&self, node: &str, account: &str) -> String {
        let pod = format!("{account}-{node}");
        let object = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}, namespace: cofferdam-system}}, spec: \
             {{nodeName: {node}, serviceAccountName: {account}, hostNetwork: true, containers: [{{name: c, image: i}}]}}}}"
        );
        self.kubectl("apply -f -", &object);
        let uid = self.get(&format!("pod {pod} -n cofferdam-system"))["metadata"]["uid"]
            .as_str()
            .unwrap()
            .to_owned();
        let bound = format!("--bound-object-kind Pod --bound-object-name {pod} --bound-object-uid {uid}");
        self.kubectl(&format!("create token {account} -n cofferdam-system --audience cofferdam {bound}"), "")
    }

    /// An agent that enrols with a token.
    pub fn agent_with_token(&self, node: &str, token: &str) -> Process {
        // Nothing is resolved here, and a DNS proxy would outlive its agent.
        self.agent_with_token_and(node, token, &["--no-dns"])
    }

    /// A replica of the egress gateway, on a node, that enrols.
    pub fn egress_gateway(&self, node: &str, token: &str, more: &[&str]) -> Process {
        self.with_token("egress-gateway", node, token, more)
    }

    /// A command of the program on a node that asks the controller for a certificate.
    pub fn with_token(&self, command: &str, node: &str, token: &str, more: &[&str]) -> Process {
        let folder = self.mounted(command, token);
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (token, authority, controller) = (path("token"), path("ca.crt"), format!("{}:9443", OUTSIDE[0]));
        let arguments = [command, "--json", "--controller", &controller, "--token", &token];
        let arguments = [&arguments[..], &["--authority", &authority], more].concat();
        self.spawn(&Place::Node(node.to_owned()), command, &folder, &arguments)
    }

    /// A folder with a token and the authority to believe, as a pod has them.
    fn mounted(&self, name: &str, token: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let map = self.get("configmap cofferdam-authority -n cofferdam-system");
        fs::write(folder.join("ca.crt"), map["data"]["ca.crt"].as_str().unwrap()).unwrap();
        fs::write(folder.join("token"), token).unwrap();
        folder
    }

    /// One that enrols, with more arguments.
    pub fn agent_with_token_and(&self, node: &str, token: &str, more: &[&str]) -> Process {
        let folder = self.mounted(node, token);
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let [first, other] = OUTSIDE.map(|at| format!("{at}:9443"));
        let (token, authority, state) = (path("token"), path("ca.crt"), path(""));
        let arguments = [
            "agent",
            "--controller",
            &first,
            "--controller",
            &other,
            "--node",
            node,
            "--guard",
            "cfd",
            "--token",
            &token,
            "--authority",
            &authority,
            "--state",
            &state,
        ];
        self.spawn(&Place::Node(node.to_owned()), node, &folder, &[&arguments, more].concat())
    }

    pub fn controller(&self, name: &str) -> Process {
        self.certified_controller_with(name, &[])
    }

    /// With more arguments than where to listen, and a certificate that was given to it.
    pub fn certified_controller_with(&self, name: &str, more: &[&str]) -> Process {
        let folder = self.certify(name, CONTROLLER, SystemTime::now());
        let at = if name == "first" { OUTSIDE[0] } else { OUTSIDE[1] };
        let (listen, folder_text) = (format!("{at}:9443"), folder.to_str().unwrap());
        let arguments = ["controller", "--listen", &listen, "--certificates", folder_text, "--kubeconfig"];
        let config = self.kubeconfig.to_str().unwrap();
        let arguments: Vec<&str> =
            arguments.into_iter().chain([config]).chain(more.iter().copied()).collect();
        self.spawn(&Place::Outside, name, &folder, &arguments)
    }

    /// Who runs the rollouts of this API server as a hub.
    pub fn rollouts(&self) -> Process {
        let folder = self.folder.path().join("rollouts");
        fs::create_dir_all(&folder).unwrap();
        let arguments = ["rollouts", "--json", "--hub", self.kubeconfig_path()];
        self.spawn(&Place::Outside, "rollouts", &folder, &arguments)
    }

    /// Runs the program where the API server is: exit code, and what it said.
    pub fn run(&self, arguments: &str) -> (Option<i32>, String) {
        let words: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let run = move |_: &mut Cluster| Command::new(env!("CARGO_BIN_EXE_cofferdam")).args(words).output();
        let output = self.at_api(run).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }

    pub fn agent(&self, node: &str) -> Process {
        let folder = self.certify(node, &node_name(node), SystemTime::now());
        self.agent_as_it_is(node, &folder)
    }

    /// One that answers pods' DNS, asking a resolver outside. Its proxies outlive it: see [`Self::uninstall`].
    pub fn agent_with_dns(&self, node: &str, resolver: &str) -> Process {
        let folder = self.certify(node, &node_name(node), SystemTime::now());
        let dns = ["--dns-resolver", resolver, "--dns-private-zone", "example.com", "--dns-hold", "600"];
        self.agent_with(node, &folder, &dns)
    }

    /// Removes the rules of a node, and its proxies.
    pub fn uninstall(&self, node: &str) {
        let folder = self.folder.path().join(node);
        let socket = folder.join("cofferdam.sock");
        let arguments = ["uninstall", "--socket", socket.to_str().unwrap()];
        let mut process = self.spawn(&Place::Node(node.to_owned()), node, &folder, &arguments);
        assert!(process.child.wait().unwrap().success());
    }

    /// With the certificate that is there.
    pub fn agent_as_it_is(&self, node: &str, folder: &Path) -> Process {
        // Nothing is resolved here, and a DNS proxy would outlive its agent.
        self.agent_with(node, folder, &["--no-dns"])
    }

    /// With the certificate that is there, and more arguments.
    pub fn agent_and(&self, node: &str, folder: &Path, more: &[&str]) -> Process {
        self.agent_with(node, folder, more)
    }

    fn agent_with(&self, node: &str, folder: &Path, more: &[&str]) -> Process {
        let ([first, other], text) = (OUTSIDE.map(|at| format!("{at}:9443")), folder.to_str().unwrap());
        let arguments = [
            "agent",
            "--controller",
            &first,
            "--controller",
            &other,
            "--node",
            node,
            "--guard",
            "cfd",
            "--certificates",
            text,
            "--state",
            text,
        ];
        self.spawn(&Place::Node(node.to_owned()), node, folder, &[&arguments, more].concat())
    }

    /// What `cofferdam status --json` of a node's agent says.
    pub fn status(&self, node: &str) -> Value {
        let socket = self.folder.path().join(node).join("cofferdam.sock");
        let output = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(["status", "--json", "--socket"])
            .arg(socket)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Whether `web` reaches `db` at a port.
    pub fn web_reaches_db(&self, port: u16) -> bool {
        self.web_reaches(DB, port)
    }

    /// Whether `web` reaches an address at a port.
    pub fn web_reaches(&self, address: &str, port: u16) -> bool {
        let to = SocketAddr::new(address.parse().unwrap(), port);
        let connect = move || TcpStream::connect_timeout(&to, Duration::from_millis(800)).is_ok();
        self.lab.run(&Place::Pod("shop".to_owned(), "web".to_owned()), connect).unwrap()
    }

    /// Waits until exactly these ports of `db` answer `web`, of 80 and 5432.
    pub fn reachable(&self, what: &str, ports: &[u16]) {
        eventually(what, || {
            [80, 5432].iter().all(|port| self.web_reaches_db(*port) == ports.contains(port)).then_some(())
        });
    }

    /// A condition of an object: status, reason and message.
    pub fn condition(&self, object: &str, kind: &str) -> Option<[String; 3]> {
        let output = self.try_kubectl(&format!("get {object} -o json"), "");
        let value: Value = serde_json::from_slice(&output.stdout).ok()?;
        let conditions = value.pointer("/status/conditions")?.as_array()?.clone();
        let found = conditions.into_iter().find(|it| it["type"] == kind)?;
        Some(
            ["status", "reason", "message"].map(|field| found[field].as_str().unwrap_or_default().to_owned()),
        )
    }
}

/// Waits for what comes sooner or later.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Only `web` reaches `db`, at this port.
pub fn only(port: u16) -> String {
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: db, namespace: shop}}
spec:
  podSelector: {{matchLabels: {{app: db}}}}
  ingress: [{{from: [{{podSelector: {{matchLabels: {{app: web}}}}}}], ports: [{{port: {port}}}]}}]
"
    )
}
