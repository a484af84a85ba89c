//! A command that runs as a pod, or outside.

use crate::LabError;
use crate::resident::Resident;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// Longest line that is passed on; the rest of a longer one is the next line.
const LONGEST_LINE: u64 = 64 * 1024;
/// How long a command may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(1);

/// A line that a command printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodOutput {
    /// `namespace/name` of the pod, or `outside`.
    pub pod: String,
    /// Without the line end.
    pub line: String,
}

/// What to run, and how.
pub(crate) struct Launch<'a> {
    pub(crate) command: &'a [String],
    pub(crate) env: &'a [(String, String)],
    pub(crate) directory: Option<&'a Path>,
}

/// A running command; killed with its process group on drop.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    // The command dies with the thread that started it; the thread must outlive this.
    _resident: Arc<Resident>,
}

impl Program {
    pub(crate) fn start(
        resident: Arc<Resident>,
        name: &str,
        launch: &Launch<'_>,
        output: SyncSender<PodOutput>,
    ) -> Result<Self, LabError> {
        let action = format!("starting the command of {name}");
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL", "--"]).args(launch.command);
        wrapped.envs(launch.env.iter().cloned()).process_group(0);
        wrapped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(directory) = launch.directory {
            wrapped.current_dir(directory);
        }
        let mut child = resident.call(move || wrapped.spawn())?.map_err(|e| LabError::io(&action, e))?;
        let pipes = [
            child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        for pipe in pipes.into_iter().flatten() {
            let (name, output) = (name.to_owned(), output.clone());
            std::thread::spawn(move || pass_lines(pipe, &name, &output));
        }
        Ok(Self { child, _resident: resident })
    }

    /// Whether the command has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let Ok(pid) = i32::try_from(self.child.id()) else { return };
        let group = Pid::from_raw(pid);
        if self.ended() {
            // Its children, if it left any, are still in the group.
            let _ = killpg(group, Signal::SIGKILL);
            return;
        }
        let _ = killpg(group, Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while !self.ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = killpg(group, Signal::SIGKILL);
        drop(self.child.wait());
    }
}

fn pass_lines(pipe: Box<dyn Read + Send>, pod: &str, output: &SyncSender<PodOutput>) {
    let mut reader = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if output.send(PodOutput { pod: pod.to_owned(), line }).is_err() {
            return;
        }
    }
}
