//! A cluster made of network namespaces: one per node, one per pod, one for the wire between the nodes and one for
//! everything outside.
//!
//! Enters: a [`Plan`] of nodes, pods and outside addresses. Leaves: a running [`Lab`] in which closures and
//! commands run inside a pod, and [`probe::probe_all`], which opens connections with real packets.
//! Guarantees: everything made is removed on drop; what a crashed lab left is removed by the next one.
//! Does not: know Kubernetes objects, enforce anything, or separate anything but networks and single files (pods share
//! the host's file system and processes).

pub mod echo;
mod fabric;
mod files;
pub mod plan;
pub mod privilege;
pub mod probe;
pub mod program;
mod resident;

use fabric::Fabric;
pub use fabric::can_filter_bridges;
pub use plan::{Network, NodePlan, OutsideProgram, OwnFile, Place, Plan, PodPlan};
pub use probe::{Evidence, Outcome, Probe, ProbeTuple, probe_all};
use program::Launch;
pub use program::PodOutput;
use resident::Resident;
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// Why a lab could not be made or used.
#[derive(Debug, Error)]
pub enum LabError {
    /// The plan contradicts itself.
    #[error("lab plan: {0}")]
    Plan(String),
    /// A tool failed.
    #[error("{action}: {output}")]
    Tool {
        /// What was being done.
        action: String,
        /// What the tool said.
        output: String,
    },
    /// A system call or file operation failed.
    #[error("{action}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A place that is not in the lab.
    #[error("there is no {0} in this lab")]
    NoSuchPlace(String),
    /// The thread that lives in a namespace is gone.
    #[error("the thread of namespace {0} has ended")]
    ResidentGone(String),
}

impl LabError {
    pub(crate) fn io(action: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { action: action.into(), source: source.into() }
    }
}

/// Namespace and name of a pod.
type Owner = (String, String);

/// A running lab. Dropping it stops every program and removes every namespace.
#[derive(Debug)]
pub struct Lab {
    plan: Plan,
    residents: BTreeMap<Place, Arc<Resident>>,
    servers: Vec<echo::EchoServer>,
    programs: Vec<(Owner, program::Program)>,
    outside: Vec<program::Program>,
    // Last: namespaces go when nothing lives in them any more.
    fabric: Fabric,
}

impl Lab {
    /// Makes the namespaces and their network. Starts no program: see [`Lab::start_programs`].
    ///
    /// # Errors
    /// The plan is contradictory, or the kernel or `ip` refuses; what was made until then is removed.
    pub fn up(plan: Plan) -> Result<Self, LabError> {
        plan.check()?;
        fabric::reap_leftovers();
        let fabric = Fabric::up(&plan)?;
        let mut residents = BTreeMap::new();
        for (place, namespace) in fabric.places() {
            residents.insert(place.clone(), Arc::new(Resident::enter(namespace)?));
        }
        let (servers, programs, outside) = (Vec::new(), Vec::new(), Vec::new());
        let lab = Self { plan, residents, servers, programs, outside, fabric };
        lab.fabric.configure(&lab.plan, |place, f| lab.run(place, f))?;
        for pod in lab.plan.pods.iter().filter(|pod| !pod.host_network && !pod.files.is_empty()) {
            let files = pod.files.clone();
            lab.resident(&Place::of(pod))?.call(move || files::give(&files))??;
        }
        Ok(lab)
    }

    /// Starts what runs outside, then what each pod runs: its command, else an echo server on its declared ports. `output` receives the
    /// lines that commands print.
    ///
    /// # Errors
    /// A program cannot be started or a port cannot be bound.
    pub fn start_programs(&mut self, output: std::sync::mpsc::SyncSender<PodOutput>) -> Result<(), LabError> {
        for program in &self.plan.outside_programs {
            let OutsideProgram { command, env, directory } = program;
            let launch = Launch { command, env, directory: directory.as_deref() };
            let resident = self.resident(&Place::Outside)?;
            self.outside.push(program::Program::start(resident, "outside", &launch, output.clone())?);
        }
        for pod in &self.plan.pods {
            let resident = self.resident(&Place::of(pod))?;
            match &pod.command {
                Some(command) => {
                    let launch = Launch { command, env: &pod.env, directory: pod.directory.as_deref() };
                    let owner = (pod.namespace.clone(), pod.name.clone());
                    let name = format!("{}/{}", pod.namespace, pod.name);
                    let program = program::Program::start(resident, &name, &launch, output.clone())?;
                    self.programs.push((owner, program));
                }
                None if pod.host_network => {}
                None => self.servers.push(echo::EchoServer::start(&resident, pod)?),
            }
        }
        Ok(())
    }

    /// What the lab was made from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Name of the network namespace of a place, as `ip netns exec` takes it.
    pub fn namespace(&self, place: &Place) -> Option<&str> {
        self.fabric.namespace(place)
    }

    /// Number of the thread that lives in a place, whose namespaces are those of the place.
    ///
    /// # Errors
    /// There is no such place, or its thread is gone.
    pub fn thread(&self, place: &Place) -> Result<i32, LabError> {
        self.resident(place)?.call(|| nix::unistd::gettid().as_raw())
    }

    /// Runs `f` on a fresh thread inside the namespace of `place` and waits for it. Processes and threads that `f`
    /// starts live there too.
    ///
    /// # Errors
    /// There is no such place, or its thread is gone.
    pub fn run<T, F>(&self, place: &Place, f: F) -> Result<T, LabError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.resident(place)?.run(f)
    }

    pub(crate) fn resident(&self, place: &Place) -> Result<Arc<Resident>, LabError> {
        self.residents.get(place).cloned().ok_or_else(|| LabError::NoSuchPlace(place.to_string()))
    }

    /// Whether the commands of all pods that `which` names (by namespace and name) have ended.
    pub fn programs_ended(&mut self, which: impl Fn(&str, &str) -> bool) -> bool {
        let mut asked = self.programs.iter_mut().filter(|((namespace, name), _)| which(namespace, name));
        asked.all(|(_, program)| program.ended())
    }
}
