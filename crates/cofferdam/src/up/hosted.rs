//! The lab that `up --lab` and `lab up` run: made from the sources, enforced node by node, asked over the socket.
//!
//! Enters: the sources. Leaves: namespaces with running pods, one enforcer in each node's namespace.
//! Guarantees: no program of a pod starts before policy is in force; everything made is removed when this goes.
//! Does not: add pods that an edit brings; the status says so.

use super::enforce::Enforcer;
use super::ground::{Ground, ONLY_JUDGED};
use super::inspection::{Home, Lab as Authorities};
use super::journal::Journal;
use super::lab_plan::HOSTS;
use super::protocol::{LabPlace, Mode, ProbeResult};
use super::source;
use super::{Say, UpArgs};
use crate::translate::Places;
use anyhow::{Context, Result, bail};
use compiler::lower::Placement;
use datapath::Config;
use lab::privilege::{Privilege, enter};
use lab::{Lab, Outcome, Place, PodOutput, Probe, probe_all};
use policy::{Generation, Protocol};
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Lines of pods' programs that wait to be printed.
const OUTPUT: usize = 1024;
/// How long a probe waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// A lab and what belongs to it.
pub(crate) struct Hosted {
    /// None once it is down.
    lab: Mutex<Option<Lab>>,
    shared: SharedFolder,
    authorities: Authorities,
    /// Pods that are meant to end, by namespace and name; all pods where none is.
    finite: BTreeSet<(String, String)>,
}

/// Kinds whose pods end when their work is done.
const FINITE: [&str; 4] = ["CronJob", "Job", "JobSet", "PyTorchJob"];

/// Makes the lab and takes over its nodes. Starts no program yet.
pub(crate) fn make(args: &UpArgs, journal: &Arc<Journal>) -> Result<(Ground, Places, Option<Hosted>)> {
    let privilege = match args.judge_only {
        true => Privilege::None { why: ONLY_JUDGED.to_owned() },
        false => enter(),
    };
    let read = source::read(&args.files, &args.catalog(), Generation(0));
    let (mut set, runs) = (read.set, read.runs);
    let mut places = Places::default();
    places.complete(&mut set.world).context("placing pods in the lab")?;
    let nodes: Vec<Arc<str>> = set.world.nodes.keys().cloned().collect();
    if let Privilege::None { why } = privilege {
        if !args.judge_only {
            bail!("no lab, so nothing is enforced: {why}; run it as root, or only judge with --judge-only");
        }
        let without = |node| Enforcer::without_kernel(node, why.clone());
        let enforcers = nodes.into_iter().map(without).collect();
        return Ok((Ground { mode: Mode::JudgeOnly, enforcers }, places, None));
    }
    let first = args.files.first().context("no sources")?;
    let folder = folder_of(first);
    let directory = folder.canonicalize().with_context(|| format!("opening {}", folder.display()))?;
    let shared = shared_folder(&runs.hosts(&set.world))?;
    let authorities = Authorities::make(&shared.0)?;
    let lab = Lab::up(runs.plan(&set, &directory, &shared.0)).context("making the lab")?;
    let finite = set.world.pods.iter().filter(|pod| FINITE.contains(&&*pod.workload.kind));
    let finite = finite.map(|pod| (pod.namespace.to_string(), pod.name.to_string())).collect();
    let hosted = Hosted { lab: Mutex::new(Some(lab)), shared, authorities, finite };
    let enforcers =
        nodes.into_iter().map(|node| hosted.enforcer(node, args, journal)).collect::<Result<_>>()?;
    let mode = if args.unenforced { Mode::JudgeOnly } else { Mode::Lab };
    Ok((Ground { mode, enforcers }, places, Some(hosted)))
}

/// A folder for the programs of the lab, with their hosts file in it.
struct SharedFolder(PathBuf);

impl SharedFolder {
    fn remove(&self) {
        // A leftover in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A folder itself, or the one that a file is in.
fn folder_of(source: &Path) -> &Path {
    if source.is_dir() {
        return source;
    }
    // A bare name has a parent, and that is empty.
    source.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn shared_folder(hosts: &str) -> Result<SharedFolder> {
    let folder = std::env::temp_dir().join(format!("cofferdam-lab-{}", std::process::id()));
    // A process of the same number may have left one when it was killed.
    let _ = fs::remove_dir_all(&folder);
    let making = || format!("making {}", folder.display());
    fs::DirBuilder::new().mode(0o700).create(&folder).with_context(making)?;
    let shared = SharedFolder(folder);
    fs::write(shared.0.join(HOSTS), hosts).context("writing the lab's hosts file")?;
    Ok(shared)
}

impl Hosted {
    fn with<T>(&self, act: impl FnOnce(&mut Lab) -> T) -> Result<T> {
        let mut lab = self.lab.lock().unwrap_or_else(PoisonError::into_inner);
        lab.as_mut().map(act).context("the lab is down")
    }

    /// Removes everything that it made.
    pub(crate) fn down(&self) {
        drop(self.lab.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.shared.remove();
    }

    fn enforcer(&self, node: Arc<str>, args: &UpArgs, journal: &Arc<Journal>) -> Result<Enforcer> {
        if args.unenforced {
            return Ok(Enforcer::without_kernel(node, "this lab runs without enforcement".to_owned()));
        }
        // The node's ends of its pods' wires begin so.
        let config =
            Config { rejudge: !args.keep_connections, guard: vec!["cfd".to_owned()], ..Config::default() };
        let (place, journal) = (Place::Node(node.to_string()), Arc::clone(journal));
        let answering = args.dns.answering(None, &Home::Lab(&self.authorities))?;
        let open = move || Enforcer::open(node, config, &journal, answering);
        self.with(|lab| lab.run(&place, open))?.context("entering a node of the lab")?
    }

    /// Starts what the pods run; what it prints goes to `say`.
    pub(crate) fn start(&self, say: Arc<Say>) -> Result<()> {
        let (sender, lines) = sync_channel(OUTPUT);
        self.with(|lab| lab.start_programs(sender))?.context("starting the pods' programs")?;
        let print = move || print_lines(&lines, &say);
        std::thread::Builder::new()
            .name("output".into())
            .spawn(print)
            .context("starting the printer's thread")?;
        Ok(())
    }

    /// Whether any pod is of a job.
    pub(crate) fn has_jobs(&self) -> bool {
        !self.finite.is_empty()
    }

    /// Whether the commands of all jobs have ended; where there is no job, those of all pods.
    pub(crate) fn has_ended(&self) -> bool {
        let is_meant = |namespace: &str, name: &str| {
            self.finite.is_empty() || self.finite.contains(&(namespace.to_owned(), name.to_owned()))
        };
        self.with(|lab| lab.programs_ended(is_meant)).unwrap_or(true)
    }

    /// Namespace, name and addresses of every pod.
    pub(crate) fn pods(&self) -> Placement {
        let key = |pod: &lab::PodPlan| (pod.namespace.as_str().into(), pod.name.as_str().into());
        self.with(|lab| lab.plan().pods.iter().map(|pod| (key(pod), pod.addresses.clone())).collect())
            .unwrap_or_default()
    }

    /// Everything in it, for `lab list` and `lab exec`.
    pub(crate) fn list(&self) -> Result<Vec<LabPlace>> {
        self.with(|lab| {
            let plan = lab.plan();
            let namespace = |place: &Place| lab.namespace(place).unwrap_or_default().to_owned();
            let thread = |place: &Place| lab.thread(place).unwrap_or_default();
            let nodes = plan.nodes.iter().map(|node| LabPlace {
                name: format!("node/{}", node.name),
                node: node.name.clone(),
                addresses: node.addresses.clone(),
                ports: Vec::new(),
                command: None,
                network_namespace: namespace(&Place::Node(node.name.clone())),
                thread: thread(&Place::Node(node.name.clone())),
            });
            let pods = plan.pods.iter().map(|pod| LabPlace {
                name: format!("{}/{}", pod.namespace, pod.name),
                node: pod.node.clone(),
                addresses: pod.addresses.clone(),
                ports: pod.ports.iter().map(|(protocol, port)| format!("{port}/{protocol}")).collect(),
                command: pod.command.as_deref().map(written),
                network_namespace: namespace(&Place::of(pod)),
                thread: thread(&Place::of(pod)),
            });
            let outside = (!plan.outside.is_empty()).then(|| LabPlace {
                name: "outside".to_owned(),
                node: String::new(),
                addresses: plan.outside.clone(),
                ports: Vec::new(),
                command: plan.outside_programs.first().map(|program| written(&program.command)),
                network_namespace: namespace(&Place::Outside),
                thread: thread(&Place::Outside),
            });
            pods.chain(nodes).chain(outside).collect()
        })
    }

    /// Opens a connection with real packets.
    pub(crate) fn probe(&self, from: &str, to: &str, protocol: Protocol, port: u16) -> Result<ProbeResult> {
        self.with(|lab| {
            let start = place(lab, from).with_context(|| unknown(from))?;
            let target = address(lab, to).with_context(|| unknown(to))?;
            let probe = Probe { from: start, source: None, to: target, protocol, port };
            let evidence: lab::probe::Evidence = Arc::new(|_| false);
            let outcomes = probe_all(lab, &[probe], PATIENCE, &evidence)?;
            let outcome = match outcomes.first() {
                Some(Outcome::Answered | Outcome::Contradiction) => "answered".to_owned(),
                Some(Outcome::Silent | Outcome::Denied) => "silent".to_owned(),
                Some(Outcome::Failed(why)) => format!("failed: {why}"),
                None => "not tried".to_owned(),
            };
            Ok(ProbeResult { outcome, address: target })
        })?
    }
}

impl Drop for SharedFolder {
    fn drop(&mut self) {
        self.remove();
    }
}

/// What to say of a place that the lab does not have.
pub(crate) fn unknown(place: &str) -> String {
    format!("{place}: no such pod or node in the lab: `cofferdam lab list` has their names")
}

/// `namespace/name` of a pod, `node/NAME`, or `outside`.
fn place(lab: &Lab, text: &str) -> Option<Place> {
    if text == "outside" {
        return Some(Place::Outside);
    }
    let (namespace, name) = text.split_once('/')?;
    let pod = lab.plan().pods.iter().find(|pod| pod.namespace == namespace && pod.name == name);
    let is_node = || namespace == "node" && lab.plan().nodes.iter().any(|node| node.name == name);
    pod.map(Place::of).or_else(|| is_node().then(|| Place::Node(name.to_owned())))
}

fn address(lab: &Lab, text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (namespace, name) = text.split_once('/')?;
    let plan = lab.plan();
    let pod = plan.pods.iter().find(|pod| pod.namespace == namespace && pod.name == name);
    let node = || plan.nodes.iter().find(|node| namespace == "node" && node.name == name);
    let found = pod.map(|pod| &pod.addresses).or_else(|| node().map(|node| &node.addresses))?;
    found.first().copied()
}

/// The command as its annotation has it.
fn written(command: &[String]) -> String {
    command.last().map_or("", |text| text.trim_start_matches("exec ")).to_owned()
}

fn print_lines(lines: &Receiver<PodOutput>, say: &Say) {
    for PodOutput { pod, line } in lines {
        say.output(&pod, &line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_file_is_where_it_is_however_it_is_named() {
        for (source, folder) in [
            ("src", "src"),
            ("Cargo.toml", "."),
            ("./Cargo.toml", "."),
            ("src/main.rs", "src"),
            ("/none/pods.yaml", "/none"),
        ] {
            assert_eq!(folder_of(Path::new(source)), Path::new(folder), "{source}");
        }
    }
}
