//! The servers that are measured: each a process of its own, on one processor.

use crate::stub;
use anyhow::{Context, Result, bail};
use dns::{Agent, Binding, Counters, Pod, Proxy, Query, Questions, Resolvers, Settings, State};
use handover::{Sockets, Steering};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use policy::{DomainPattern, Generation};
use serde_json::{Value, json};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The processor of the server, and that of everything else.
pub(crate) const SERVER: usize = 0;
pub(crate) const OTHERS: usize = 1;

/// Where the resolver listens that is asked with nothing in between.
const NOTHING: u16 = 5330;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The proxy of this project; with names that its pod's policies speak of, or without.
    Cofferdam { bound: bool },
    /// dnsdist, with its packet cache or without.
    Dnsdist { cache: bool },
    /// unbound as a forwarder, with its cache or without.
    Unbound { cache: bool },
    /// Nothing: the resolver itself, in the place of a server.
    Nothing,
}

/// A process that ends with this value.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn new(child: Child) -> Self {
        Self(child)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that answers.
pub(crate) struct Server {
    pub(crate) port: u16,
    process: Process,
    _proxy: Option<Proxy>,
    _folder: Option<TempDir>,
}

impl Server {
    /// Starts it; `None` where it is not installed.
    pub(crate) fn start(kind: Kind) -> Result<Option<Self>> {
        let server = match kind {
            Kind::Cofferdam { bound } => Some(Self::cofferdam(bound, Settings::default())?),
            Kind::Dnsdist { cache } => {
                let (name, port) = if cache { ("dnsdist_cache", 5321) } else { ("dnsdist_nocache", 5322) };
                Self::peer(name, port, "dnsdist", &["--supervised", "--disable-syslog", "-C"])?
            }
            Kind::Unbound { cache } => {
                let (name, port) = if cache { ("unbound_cache", 5311) } else { ("unbound_nocache", 5312) };
                Self::peer(name, port, "unbound", &["-d", "-c"])?
            }
            Kind::Nothing => {
                let process = stub::start(NOTHING, SERVER)?;
                Some(Self { port: NOTHING, process, _proxy: None, _folder: None })
            }
        };
        if let Some(server) = &server {
            pin(server.process.id(), SERVER)?;
            wait_for(server.port)?;
        }
        Ok(server)
    }

    fn cofferdam(bound: bool, settings: Settings) -> Result<Self> {
        let sockets = Sockets::bind(&["127.0.0.1:5331".parse()?], Steering::None)?;
        let (near, far) = UnixStream::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("proxy").stdin(Stdio::from(std::os::fd::OwnedFd::from(far)));
        let process = Process(command.spawn()?);
        pin(process.id(), SERVER)?;
        let proxy = Proxy::start(near, &sockets, AtOnce)?;
        proxy.set_state(state(bound, settings)?)?;
        Ok(Self { port: 5331, process, _proxy: Some(proxy), _folder: None })
    }

    fn peer(name: &str, port: u16, program: &str, arguments: &[&str]) -> Result<Option<Self>> {
        let shared = std::env::var("COFFERDAM_SHARED").unwrap_or_else(|_| "../shared".to_owned());
        let path = PathBuf::from(shared).join("peers").join(format!("{name}.conf"));
        let template =
            std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let folder = TempDir::new()?;
        std::fs::create_dir_all(folder.path().join("bench/run"))?;
        let config = folder.path().join("config");
        std::fs::write(&config, template.replace("@BENCH@", &folder.path().to_string_lossy()))?;
        let mut command = Command::new(program);
        command.args(arguments).arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
        let child = match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                crate::say(&format!("NOT MEASURED: {program} is not installed"));
                return Ok(None);
            }
            child => child.with_context(|| format!("starting {program}"))?,
        };
        Ok(Some(Self { port, process: Process(child), _proxy: None, _folder: Some(folder) }))
    }

    /// Processor time of all its threads until now.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let mut nanos = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            // A thread that ended in between took its time with it; the servers' stay.
            let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            nanos += text.split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// KiB of memory of its own, and its share of what it shares.
    fn memory(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("Pss in smaps_rollup")?;
        line.trim().trim_end_matches(" kB").parse().context("a number of KiB")
    }
}

/// One pod that may ask the stub for anything; with names that its policies speak of, or without.
pub(crate) fn state(bound: bool, settings: Settings) -> Result<State> {
    let local = "127.0.0.1".parse()?;
    Ok(State {
        generation: Generation(1),
        pods: vec![Pod {
            identity: "pod".into(),
            addresses: vec![local],
            patterns: if bound { vec![DomainPattern::parse("*.example.com")?] } else { Vec::new() },
            questions: Questions::Any,
            resolvers: Resolvers::Any,
        }],
        trusted: vec![vec![local]],
        private_zones: Vec::new(),
        settings: Settings {
            upstream_port: stub::PORT,
            // One pod asks for all of a node's.
            pod_rate: 10_000_000,
            pod_burst: 10_000_000,
            pod_waiting: 8192,
            ..settings
        },
    })
}

/// An agent that binds everything at once.
struct AtOnce;

impl Agent for AtOnce {
    fn learn(&mut self, bindings: &[Binding]) -> Vec<Result<u32, String>> {
        bindings.iter().map(|binding| Ok(binding.ttl)).collect()
    }
    fn records(&mut self, _: Vec<Query>) {}
    fn counters(&mut self, _: Counters) {}
    fn in_force(&mut self, _: Generation) {}
    fn ended(&mut self, _: &str) {}
}

/// Has a process run on one processor only.
pub(crate) fn pin(process: u32, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    let process = Pid::from_raw(process.try_into()?);
    sched_setaffinity(process, &set).context("the benchmark needs two processors")
}

/// Waits until somebody answers at a port.
pub(crate) fn wait_for(port: u16) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    socket.connect(("127.0.0.1", port))?;
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        // Refused while nobody listens.
        let _ = socket.send(&crate::load::query(0, 0));
        if socket.recv(&mut [0; 512]).is_ok() {
            return Ok(());
        }
    }
    bail!("nobody answers at port {port}")
}

/// Memory of the proxy without bindings and with as many as asked for.
pub(crate) fn memory(bindings: u64) -> Result<Value> {
    let kept = usize::try_from(bindings)?;
    let settings = Settings { cached_answers: kept * 2, cached_bytes: 1 << 30, ..Settings::default() };
    let server = Server::cofferdam(true, settings)?;
    wait_for(server.port)?;
    let before = server.memory()?;
    crate::load::ask_each(&server, bindings)?;
    let after = server.memory()?;
    drop(server);
    // The same with as few answers kept as possible: what remains is the bindings'.
    let server = Server::cofferdam(true, Settings { cached_answers: 1, ..Settings::default() })?;
    wait_for(server.port)?;
    crate::load::ask_each(&server, bindings)?;
    let alone = server.memory()?;
    Ok(json!({
        "bindings": bindings,
        "kib_at_start": before,
        "kib_with_bindings": alone,
        "kib_with_bindings_and_answers": after,
    }))
}
