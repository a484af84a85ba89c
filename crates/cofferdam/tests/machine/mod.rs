//! A machine in a network namespace, with two pods `a` (prod/web) and `b` (prod/db) behind it, and `cofferdam up`
//! running on it. Removes what it made.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]
#![allow(dead_code, reason = "every test file uses its own part of this")]

pub(crate) mod resolver;
pub(crate) mod web;

use feed::tls::Identity;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const BINARY: &str = env!("CARGO_BIN_EXE_cofferdam");
/// How many were made by this process.
static MACHINES: AtomicU32 = AtomicU32::new(0);

/// Asks again until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs `ip`, which must work.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Writes an identity as a Secret of type `kubernetes.io/tls` would be mounted.
pub(crate) fn write_identity(folder: &Path, identity: &Identity) {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in
        [("tls.crt", &identity.chain), ("tls.key", &identity.key), ("ca.crt", &identity.authority)]
    {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Runs `act` with the network of a namespace; sockets it makes stay there.
fn within<T: Send + 'static>(namespace: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_within(namespace, act).join().unwrap()
}

fn spawn_within<T: Send + 'static>(
    namespace: &str,
    act: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    let run = move || {
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        act()
    };
    std::thread::spawn(run)
}

/// The machine and its pods.
pub(crate) struct Machine {
    prefix: String,
    folder: tempfile::TempDir,
}

impl Machine {
    /// Makes it; `name` says whose it is to a person who finds it.
    pub(crate) fn new(name: &str) -> Self {
        let number = MACHINES.fetch_add(1, Ordering::Relaxed);
        let machine = Self {
            prefix: format!("cfdu{}{name}{number}", std::process::id()),
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(machine.folder()).unwrap();
        let node = machine.namespace("n");
        ip(&format!("netns add {node}"));
        ip(&format!("-n {node} link set lo up"));
        for (number, pod) in [(1, "a"), (2, "b")] {
            let namespace = machine.namespace(pod);
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {node} link add to{pod} type veth peer name eth0 netns {namespace}"));
            ip(&format!("-n {node} addr add 10.9.{number}.1/24 dev to{pod}"));
            ip(&format!("-n {node} link set to{pod} up"));
            ip(&format!("-n {namespace} addr add 10.9.{number}.2/24 dev eth0"));
            ip(&format!("-n {namespace} link set eth0 up"));
            ip(&format!("-n {namespace} link set lo up"));
            ip(&format!("-n {namespace} route add default via 10.9.{number}.1"));
        }
        within(&node, || fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        machine.write("pods.yaml", &format!("{}---\n{}", pod("web", 1), pod("db", 2)));
        machine
    }

    pub(crate) fn namespace(&self, role: &str) -> String {
        format!("{}{role}", self.prefix)
    }

    /// Where manifests are.
    pub(crate) fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("manifests")
    }

    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("socket")
    }

    /// Writes a manifest.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder().join(name), text).unwrap();
    }

    /// The program, on the machine.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        self.command(&[&[BINARY], arguments].concat())
    }

    /// Any command, on the machine.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace("n")]).args(words);
        command
    }

    /// Accepts connections at a pod.
    pub(crate) fn listen(&self, pod: &str, port: u16) -> TcpListener {
        within(&self.namespace(pod), move || TcpListener::bind(("0.0.0.0", port)).unwrap())
    }

    /// Whether a connection attempt gets any answer. A drop is silence; a closed port answers too.
    pub(crate) fn connects(&self, from: &str, to: &str, port: u16) -> bool {
        let to = address(to, port);
        within(&self.namespace(from), move || {
            match TcpStream::connect_timeout(&to, Duration::from_millis(700)) {
                Ok(_) => true,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
            }
        })
    }

    /// Sends datagrams without pause and counts those that arrive.
    pub(crate) fn datagrams(&self, from: &str, to: &str, port: u16) -> Datagrams {
        let receiver = within(&self.namespace(to), move || UdpSocket::bind(("0.0.0.0", port)).unwrap());
        let sender = within(&self.namespace(from), || UdpSocket::bind("0.0.0.0:0").unwrap());
        Datagrams::start(sender, receiver, address(to, port))
    }

    /// Ends every connection as if its time had run out.
    pub(crate) fn forget_connections(&self) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace("n"), "conntrack", "-F"]);
        assert!(command.output().unwrap().status.success());
    }

    /// Runs a command on the machine or in a pod.
    pub(crate) fn must(&self, role: &str, command: &str) {
        let namespace = self.namespace(role);
        let output =
            Command::new("ip").args(["netns", "exec", &namespace, "sh", "-ec", command]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs `act` with the network of a pod.
    pub(crate) fn at<T: Send + 'static>(&self, pod: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
        within(&self.namespace(pod), act)
    }

    /// A thread with the network of a pod.
    pub(crate) fn spawn_at<T: Send + 'static>(
        &self,
        pod: &str,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        spawn_within(&self.namespace(pod), act)
    }

    /// Processes with the machine's network.
    fn processes(&self) -> Vec<Pid> {
        let output = Command::new("ip").args(["netns", "pids", &self.namespace("n")]).output().unwrap();
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        listed.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
    }

    /// Processes of the machine that run this command of the program.
    pub(crate) fn running(&self, command: &str) -> Vec<Pid> {
        let is_proxy = |pid: &Pid| {
            fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(command))
        };
        self.processes().into_iter().filter(is_proxy).collect()
    }

    /// Removes the rules.
    pub(crate) fn uninstall(&self) {
        let socket = self.socket();
        assert!(self.program(&["uninstall", "--socket", text(&socket)]).status().unwrap().success());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What outlives its parent on purpose.
        for pid in self.processes() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        for role in ["a", "b", "n"] {
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(role)]).status();
        }
    }
}

fn address(pod: &str, port: u16) -> SocketAddr {
    let number = if pod == "a" { 1 } else { 2 };
    SocketAddr::from(([10, 9, number, 2], port))
}

fn pod(app: &str, number: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {app}, namespace: prod, labels: {{ app: {app} }} }}\n\
         spec: {{ nodeName: m1, containers: [{{ name: c, image: i }}] }}\n\
         status: {{ phase: Running, podIP: 10.9.{number}.2, podIPs: [{{ ip: 10.9.{number}.2 }}] }}\n"
    )
}

/// A stream of datagrams.
pub(crate) struct Datagrams {
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Datagrams {
    fn start(sender: UdpSocket, receiver: UdpSocket, to: SocketAddr) -> Self {
        let [sent, received] = [(), ()].map(|()| Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (count, end) = (Arc::clone(&sent), Arc::clone(&stop));
        let send = move || {
            while !end.load(Ordering::Relaxed) {
                // A drop at the own machine can show as an error; it was sent nonetheless.
                let _ = sender.send_to(b"x", to);
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(200));
            }
        };
        let (count, end) = (Arc::clone(&received), Arc::clone(&stop));
        let receive = move || {
            let mut buffer = [0; 16];
            while !end.load(Ordering::Relaxed) {
                if receiver.recv(&mut buffer).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let threads = vec![std::thread::spawn(send), std::thread::spawn(receive)];
        Self { sent, received, stop, threads }
    }

    /// So far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// So far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits until what was on its way has arrived: nothing comes while five hundred more are sent.
    pub(crate) fn settle(&self) {
        eventually("the datagrams that were on their way", || {
            let (sent, received) = (self.sent(), self.received());
            eventually("more load", || (self.sent() > sent + 500).then_some(()));
            (self.received() == received).then_some(())
        });
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A running `up`.
pub(crate) struct Up<'a> {
    machine: &'a Machine,
    child: Child,
}

impl<'a> Up<'a> {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(machine: &'a Machine) -> Self {
        Self::start_with(machine, &[])
    }

    /// The same with more options.
    pub(crate) fn start_with(machine: &'a Machine, options: &[&str]) -> Self {
        Self::start_by(machine, &[], options)
    }

    /// The same, started by another program that takes it and its arguments, if one is named.
    pub(crate) fn start_by(machine: &'a Machine, starter: &[&str], options: &[&str]) -> Self {
        let (folder, socket) = (machine.folder(), machine.socket());
        let arguments = ["up", "-f", text(&folder), "--node", "m1", "--socket", text(&socket), "--json"];
        let mut command = machine.command(&[starter, &[BINARY], &arguments, options].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = child.stdout.take().unwrap();
        let up = Self { machine, child };
        let is_ready = |line: std::io::Result<String>| line.unwrap().starts_with("{\"ready\"");
        assert!(BufReader::new(said).lines().any(is_ready), "up ended before it was ready");
        up
    }

    /// What another command of the program prints.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        let socket = self.machine.socket();
        let mut command = self.machine.program(arguments);
        let output = command.args(["--socket", text(&socket)]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The newest record that the filters leave.
    pub(crate) fn flow(&self, filters: &[&str]) -> Option<Value> {
        let lines = self.text(&[&["flows", "--json"], filters].concat());
        lines.lines().last().map(|line| serde_json::from_str(line).unwrap())
    }

    /// The status.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.text(&["status", "--json"])).unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn terminate(mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
