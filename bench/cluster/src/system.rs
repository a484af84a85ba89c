//! The API server, the controller and the agent: started, listened to, weighed.

use anyhow::{Context, Result, bail};
use apiserver::{Cluster, POLICY_KINDS, definition};
use controller::authority::Authority;
use feed::tls::{CONTROLLER as CONTROLLER_NAME, Identity, node_name};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

/// The node of the one real agent.
pub(crate) const NODE: &str = "node-0";
/// Where the controller is.
pub(crate) const CONTROLLER: &str = "198.19.255.254";
/// Its port.
const PORT: u16 = 9443;

/// What enforcement said: state of policy, when that was read, and how long the agent compiled and applied, in microseconds.
type Load = (u64, Instant, u64);

pub(crate) struct System {
    cluster: Cluster,
    pub(crate) authority: Authority,
    controller: Child,
    agent: Child,
    loads: Receiver<Load>,
    folder: PathBuf,
}

impl System {
    pub(crate) fn start(spawn: &Sender<Command>, agent: &Receiver<std::io::Result<Child>>) -> Result<Self> {
        let cluster = Cluster::start()?;
        let apply = |object: &str| {
            let output = cluster.kubectl(["apply", "-f", "-"], object)?;
            if !output.status.success() {
                bail!("{}", String::from_utf8_lossy(&output.stderr));
            }
            Ok(())
        };
        for [kind, plural, version] in POLICY_KINDS {
            apply(&definition(kind, plural, version))?;
        }
        apply(&controller::definition::list().to_string())?;
        apply("{apiVersion: v1, kind: Namespace, metadata: {name: cofferdam-system}}")?;
        let folder = std::env::temp_dir().join(format!("cofferdam-bench-{}", std::process::id()));
        let authority = Authority::new(SystemTime::now())?;
        certify(&authority, &folder.join("controller"), CONTROLLER_NAME)?;
        certify(&authority, &folder.join("agent"), &node_name(NODE))?;
        let program = std::env::current_exe()?.with_file_name("cofferdam");
        let controller = Command::new(&program)
            .args(["controller", "--listen", &address(), "--certificates"])
            .arg(folder.join("controller"))
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let mut command = Command::new(&program);
        command
            .args([
                "agent",
                "--no-dns",
                "--json",
                "--node",
                NODE,
                "--controller",
                &address(),
                "--certificates",
            ])
            .arg(folder.join("agent"))
            .arg("--state")
            .arg(folder.join("agent"))
            .stdout(Stdio::piped());
        spawn.send(command).context("the lab is gone")?;
        let mut agent = agent.recv().context("the lab is gone")?.context("starting the agent")?;
        let out = agent.stdout.take().context("the agent's output")?;
        let (sender, loads) = channel();
        std::thread::spawn(move || listen(BufReader::new(out), &sender));
        Ok(Self { cluster, authority, controller, agent, loads, folder })
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        let file = Kubeconfig::read_from(self.cluster.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Waits until the agent enforces a state that holds a revision; when it said so, and how many milliseconds it had
    /// compiled and applied.
    pub(crate) fn wait_for_revision(&mut self, revision: u64, patience: Duration) -> Result<(Instant, f64)> {
        let end = Instant::now() + patience;
        while let Ok((generation, at, micros)) =
            self.loads.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            if generation >= revision {
                return Ok((at, micros as f64 / 1000.0));
            }
        }
        bail!("revision {revision} is not enforced after {patience:?}")
    }

    /// Waits until nothing was enforced for so long, at most a minute.
    pub(crate) fn settle(&mut self, quiet: Duration) {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end && self.loads.recv_timeout(quiet).is_ok() {}
    }

    /// Resident memory of the agent, in MiB.
    pub(crate) fn agent_mib(&self) -> Result<u64> {
        resident(self.agent.id())
    }

    /// The most that was resident of the controller, in MiB.
    pub(crate) fn controller_mib(&self) -> Result<u64> {
        resident(self.controller.id())
    }
}

impl Drop for System {
    fn drop(&mut self) {
        for child in [&mut self.controller, &mut self.agent] {
            // They may have ended by themselves.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Of the controller.
pub(crate) fn address() -> String {
    format!("{CONTROLLER}:{PORT}")
}

fn certify(authority: &Authority, folder: &Path, name: &str) -> Result<()> {
    fs::create_dir_all(folder)?;
    let Identity { chain, key, authority } = authority.issue(&[name.to_owned()], SystemTime::now())?;
    for (file, text) in [("tls.crt", chain), ("tls.key", key), ("ca.crt", authority)] {
        fs::write(folder.join(file), text)?;
    }
    Ok(())
}

fn listen(lines: impl BufRead, to: &Sender<Load>) {
    for line in lines.lines().map_while(Result::ok) {
        let at = Instant::now();
        let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
        let generation = value.pointer("/load/generation").and_then(Value::as_u64);
        let micros = value.pointer("/load/took_micros").and_then(Value::as_u64).unwrap_or_default();
        if generation.is_some_and(|generation| to.send((generation, at, micros)).is_err()) {
            return;
        }
    }
}

/// `VmHWM` of `/proc/PID/status`: the most that was resident, in MiB.
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024)
}
