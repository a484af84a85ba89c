//! A Kubernetes API for tests: the real kube-apiserver over a real etcd, on loopback, in a temporary folder.
//!
//! The programs come from `build` beside this crate, which takes them from the Kubernetes modules; where it has not run,
//! [`Cluster::start`] says so and tests must say so too. Both can be killed, paused and started again on what they
//! stored. Everything ends and is removed on drop. Does not: run a kubelet, a scheduler or controllers; what a test writes
//! stays as it is.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than a start takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often to look again.
const TICK: Duration = Duration::from_millis(50);
/// Ports are chosen free, but somebody else may take one before the server does.
const TRIES: usize = 3;
/// Bearer token of a cluster administrator.
const TOKEN: &str = "test-administrator";

/// Why there is no API.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The programs are not built.
    #[error("there is no kube-apiserver for tests at {0}; build it with tests/apiserver/build")]
    NotBuilt(PathBuf),
    /// A file or a program of the machine's own.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// A server ended, or never answered.
    #[error("{part} {what}; its log ends:\n{log}")]
    Server {
        /// Which.
        part: Part,
        /// What it did.
        what: String,
        /// Its last lines.
        log: String,
    },
}

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The store.
    Etcd,
    /// The API.
    Api,
}

impl Part {
    fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Api => "kube-apiserver",
        }
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// A running API and its store.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    folder: TempDir,
    etcd_port: u16,
    peer_port: u16,
    api_port: u16,
    etcd: Option<Child>,
    api: Option<Child>,
}

impl Cluster {
    /// Starts both and waits until the API is ready.
    ///
    /// # Errors
    /// The programs are not built, or a server does not start.
    pub fn start() -> Result<Self, Error> {
        let program = program()?;
        let mut tries = 1;
        loop {
            match Self::try_start(&program) {
                // Somebody else may have taken a port meanwhile, which need not be what the log of the one that ended says.
                Err(Error::Server { .. }) if tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }

    fn try_start(program: &Path) -> Result<Self, Error> {
        let folder =
            tempfile::Builder::new().prefix("cofferdam-api-").tempdir().map_err(io_error("a folder"))?;
        let [etcd_port, peer_port, api_port] = free_ports().map_err(io_error("free ports"))?;
        let mut cluster =
            Self { program: program.into(), folder, etcd_port, peer_port, api_port, etcd: None, api: None };
        cluster.write("tokens.csv", &format!("{TOKEN},administrator,administrator,system:masters\n"))?;
        cluster.write("kubeconfig", &cluster.kubeconfig_text())?;
        let key = cluster.run(["key"], "")?;
        cluster.write("service-account.key", &String::from_utf8_lossy(&key.stdout))?;
        cluster.start_part(Part::Etcd)?;
        cluster.start_part(Part::Api)?;
        Ok(cluster)
    }

    /// As [`Self::start`], for tests: says why, and gives nothing, where the servers are not built.
    ///
    /// # Panics
    /// They are built and do not start.
    #[allow(clippy::panic, clippy::print_stderr, reason = "in a test a panic is the failure report")]
    pub fn start_or_skip() -> Option<Self> {
        match Self::start() {
            Ok(cluster) => Some(cluster),
            Err(error @ Error::NotBuilt(_)) => {
                eprintln!("SKIPPED: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A kubeconfig file of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Runs the real kubectl as an administrator, with this on its standard input.
    ///
    /// # Errors
    /// It cannot be run. That it failed is in its output.
    pub fn kubectl<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Result<Output, Error> {
        let first = [OsStr::new("kubectl").to_owned()];
        self.run(first.into_iter().chain(arguments.into_iter().map(|a| a.as_ref().to_owned())), input)
    }

    /// Starts a server that was killed, on what it stored, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_part(&mut self, part: Part) -> Result<(), Error> {
        let log =
            File::options().create(true).append(true).open(self.log(part)).map_err(io_error("a log"))?;
        let errors = log.try_clone().map_err(io_error("a log"))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(self.arguments(part))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(io_error("starting setpriv"))?;
        *self.child(part) = Some(child);
        self.wait_ready(part)
    }

    /// Kills a server without warning.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn kill_part(&mut self, part: Part) -> Result<(), Error> {
        if let Some(mut child) = self.child(part).take() {
            child.kill().map_err(io_error("killing a server"))?;
            let _status = child.wait().map_err(io_error("waiting for a server"))?;
        }
        Ok(())
    }

    /// Stops a server in its tracks, as a machine that hangs does; its connections stay open.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn pause_part(&mut self, part: Part) -> Result<(), Error> {
        self.signal(part, Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn resume_part(&mut self, part: Part) -> Result<(), Error> {
        self.signal(part, Signal::SIGCONT)
    }

    fn signal(&mut self, part: Part, signal: Signal) -> Result<(), Error> {
        let Some(child) = self.child(part) else { return Ok(()) };
        let pid = i32::try_from(child.id()).map_err(|_| io::Error::other("a process id"));
        let sent = pid.and_then(|pid| kill(Pid::from_raw(pid), signal).map_err(io::Error::from));
        sent.map_err(io_error("signalling a server"))
    }

    fn child(&mut self, part: Part) -> &mut Option<Child> {
        match part {
            Part::Etcd => &mut self.etcd,
            Part::Api => &mut self.api,
        }
    }

    fn arguments(&self, part: Part) -> Vec<String> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut arguments = vec![part.program().to_owned()];
        match part {
            Part::Etcd => arguments.extend([
                format!("--data-dir={}", path("etcd")),
                format!("--listen-client-urls={}", url(self.etcd_port)),
                format!("--advertise-client-urls={}", url(self.etcd_port)),
                format!("--listen-peer-urls={}", url(self.peer_port)),
                format!("--initial-advertise-peer-urls={}", url(self.peer_port)),
                format!("--initial-cluster=default={}", url(self.peer_port)),
                "--unsafe-no-fsync".to_owned(),
            ]),
            Part::Api => arguments.extend([
                format!("--etcd-servers={}", url(self.etcd_port)),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={}", self.api_port),
                format!("--cert-dir={}", path("certificates")),
                format!("--token-auth-file={}", path("tokens.csv")),
                format!("--service-account-key-file={}", path("service-account.key")),
                format!("--service-account-signing-key-file={}", path("service-account.key")),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                "--authorization-mode=RBAC".to_owned(),
                "--endpoint-reconciler-type=none".to_owned(),
                "--allow-privileged=true".to_owned(),
                // Pods would wait for a service account that no controller makes.
                "--disable-admission-plugins=ServiceAccount".to_owned(),
            ]),
        }
        arguments
    }

    fn wait_ready(&mut self, part: Part) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        loop {
            let ended = match self.child(part) {
                Some(child) => child.try_wait().map_err(io_error("waiting for a server"))?,
                None => None,
            };
            if let Some(status) = ended {
                return Err(self.failure(part, format!("ended with {status}")));
            }
            if self.is_ready(part)? {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(self.failure(part, format!("was not ready after {PATIENCE:?}")));
            }
            std::thread::sleep(TICK);
        }
    }

    fn is_ready(&self, part: Part) -> Result<bool, Error> {
        match part {
            Part::Etcd => Ok(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.etcd_port)).is_ok()),
            Part::Api => {
                // Asked for before the port is open, kubectl would ask again and again by itself.
                let open = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.api_port)).is_ok();
                Ok(open && self.kubectl(["get", "--raw", "/readyz"], "")?.status.success())
            }
        }
    }

    fn failure(&self, part: Part, what: String) -> Error {
        let text = fs::read(self.log(part)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let rows: Vec<&str> = text.lines().collect();
        let log = rows.get(rows.len().saturating_sub(15)..).unwrap_or_default().join("\n");
        Error::Server { part, what, log }
    }

    fn log(&self, part: Part) -> PathBuf {
        self.folder.path().join(format!("{part}.log"))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        fs::write(self.folder.path().join(name), text).map_err(io_error(name))
    }

    fn kubeconfig_text(&self) -> String {
        format!(
            r#"apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: administrator}}}}]
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{}", certificate-authority: "{}"}}}}]
users: [{{name: administrator, user: {{token: {TOKEN}}}}}]
"#,
            self.api_port,
            self.folder.path().join("certificates/apiserver.crt").display(),
        )
    }

    /// Makes etcd forget all history up to now.
    ///
    /// # Errors
    /// etcd does not answer.
    pub fn compact(&self) -> Result<(), Error> {
        let head = self.etcd("/v3/kv/range", r#"{"key":"AA=="}"#)?;
        let revision = head.split(r#""revision":""#).nth(1).and_then(|rest| rest.split('"').next());
        let revision =
            revision.ok_or_else(|| Error::Io("asking etcd".into(), io::Error::other(head.clone())))?;
        let answer =
            self.etcd("/v3/kv/compaction", &format!(r#"{{"revision":"{revision}","physical":true}}"#))?;
        let done = answer.starts_with("HTTP/1.1 200");
        if done { Ok(()) } else { Err(Error::Io("compacting etcd".into(), io::Error::other(answer))) }
    }

    /// One request to etcd's JSON gateway; the whole answer.
    fn etcd(&self, path: &str, body: &str) -> Result<String, Error> {
        let ask = || {
            let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.etcd_port))?;
            let length = body.len();
            write!(
                stream,
                "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().map_err(io_error("asking etcd"))
    }

    fn run(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        input: &str,
    ) -> Result<Output, Error> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            // kubectl keeps what it learns of the API in the home folder.
            .env("HOME", self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(io_error("starting the program"))?;
        if let Some(mut to) = child.stdin.take() {
            // It may end without having read all; its output says why.
            let _ignored = to.write_all(input.as_bytes());
        }
        child.wait_with_output().map_err(io_error("running the program"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for part in [Part::Api, Part::Etcd] {
            let _ended = self.kill_part(part);
        }
    }
}

/// The program that `build` makes of the sources as they are now.
fn program() -> Result<PathBuf, Error> {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/build"))
        .arg("--path")
        .output()
        .map_err(io_error("tests/apiserver/build"))?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if path.is_file() { Ok(path) } else { Err(Error::NotBuilt(path)) }
}

fn free_ports() -> io::Result<[u16; 3]> {
    let mut listeners = Vec::new();
    let mut ports = [0; 3];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn io_error(doing: &str) -> impl FnOnce(io::Error) -> Error {
    let doing = doing.to_owned();
    move |error| Error::Io(doing, error)
}

/// Definitions of the add-on kinds, as loose as can be: what this repository holds of them is its own
/// reader. Kind, plural and version.
pub const POLICY_KINDS: [[&str; 3]; 3] = [
    ["ClusterNetworkPolicy", "clusternetworkpolicies", "v1alpha2"],
    ["AdminNetworkPolicy", "adminnetworkpolicies", "v1alpha1"],
    ["BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies", "v1alpha1"],
];

/// The definition of an add-on kind.
pub fn definition(kind: &str, plural: &str, version: &str) -> String {
    let singular = kind.to_lowercase();
    format!(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {plural}.policy.networking.k8s.io
  annotations: {{api-approved.kubernetes.io: 'unapproved, for tests'}}
spec:
  group: policy.networking.k8s.io
  scope: Cluster
  names: {{kind: {kind}, plural: {plural}, singular: {singular}}}
  versions:
  - name: {version}
    served: true
    storage: true
    subresources: {{status: {{}}}}
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"
    )
}
