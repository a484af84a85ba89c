//! `cofferdam up`: one process that enforces a folder of manifests and remembers what happened.
//!
//! Enters: files and folders, and the machine or a lab to enforce on. Leaves: rules in the kernel, records, a local
//! socket that answers `flows` and `status`.
//! Guarantees: says exactly what is not enforced; ends on SIGINT and SIGTERM and leaves the rules in force, except in
//! a lab, which it removes.
//! Does not: talk to an API server.

pub(crate) mod client;
mod enforce;
mod engine;
mod events;
mod ground;
mod journal;
mod memory;
pub(crate) mod protocol;
pub(crate) use ground::uninstall;
mod socket;
mod source;
mod watch;

use crate::flows::{FlowTable, printable};
use anyhow::{Context, Result};
use clap::Args;
use engine::Engine;
use journal::Journal;
use memory::Memory;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use observe::{Limits, Query};
use protocol::{Answer, Load, Outcome, Status};
use socket::{Socket, Source};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use watch::Watch;

/// Enforce a folder of manifests on this machine, or in a lab.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam up -f manifests/                     enforce on this machine
  cofferdam up -f examples/genai --lab --flows   run the pods in a lab and show what happens
  cofferdam up -f manifests/ --once              put the rules in force and leave

Without --lab the rules stay in force when the process ends; `cofferdam uninstall` removes them.
Edits take effect within a second. An edit with errors leaves the last good policy in force.")]
pub(crate) struct UpArgs {
    /// Manifest, or folder of manifests; may be repeated
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// Name of the node to enforce for [default: this machine's host name]
    #[arg(long, value_name = "NAME", conflicts_with = "lab")]
    node: Option<String>,
    /// Make nodes and pods as network namespaces and enforce there
    #[arg(long)]
    lab: bool,
    /// Leave the lab running when this ends
    #[arg(long, requires = "lab")]
    keep: bool,
    /// Put the rules in force and end
    #[arg(long, conflicts_with = "lab")]
    once: bool,
    /// Drop traffic of interfaces whose names begin so until their pod is managed; may be repeated
    #[arg(long, value_name = "PREFIX")]
    guard: Vec<String>,
    /// Let open connections live on as they were judged when policy changes
    #[arg(long)]
    keep_connections: bool,
    /// Without privilege to enforce, go on and only answer questions
    #[arg(long)]
    judge_only: bool,
    /// Print records as they come
    #[arg(long)]
    flows: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    /// How many records to keep
    #[arg(long, value_name = "N", default_value_t = Limits::default().records)]
    records: usize,
    /// Local socket to answer at
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// How long the main loop sleeps when nothing happens.
const TICK: Duration = Duration::from_secs(2);

/// The engine, shared with the socket.
struct Running {
    engine: Mutex<Engine>,
    journal: Arc<Journal>,
}

impl Running {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        // After a panic in a load the last good tables are still the kernel's; go on showing them.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Running {
    fn status(&self) -> Status {
        self.engine().status()
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }
}

/// Runs the command until a signal. Whether what was loaded first is in force.
pub(crate) fn run(args: &UpArgs, out: &mut impl Write) -> Result<bool> {
    // Before any thread exists, so that all of them inherit it.
    let signals = block_signals()?;
    let socket = Socket::bind(args.socket.as_deref())?;
    let journal = Arc::new(Journal::new(Limits { records: args.records, ..Limits::default() }));
    let ground = ground::machine(args, &journal)?;
    let mut watch = Watch::new(&args.files);
    let memory = Memory::beside(socket.path());
    let mut engine = Engine::new(ground, args.files.clone(), Arc::clone(&journal), memory);
    engine.watched_by(watch.method());
    let mut voice = Voice { out, json: args.json };
    let load = engine.load(source::read).clone();
    voice.load(&load)?;
    let in_force = matches!(load.outcome, Outcome::Applied | Outcome::AppliedWithClosedScopes);
    let running = Arc::new(Running { engine: Mutex::new(engine), journal });
    if args.once {
        return Ok(in_force);
    }
    socket.serve(Arc::clone(&running))?;
    voice.ready(&running.status(), socket.path())?;
    if args.flows {
        follow(&running.journal, args.json)?;
    }
    watch_until_signal(&mut watch, &signals, &running, &mut voice);
    Ok(in_force)
}

/// SIGINT and SIGTERM as something to wait for. SIGPIPE stays ignored: a reader that left is no reason to end.
fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block().context("blocking signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("waiting for signals")
}

fn watch_until_signal(
    watch: &mut Watch,
    signals: &SignalFd,
    running: &Running,
    voice: &mut Voice<'_, impl Write>,
) {
    loop {
        let changed = watch.wait(signals.as_fd(), TICK);
        if matches!(signals.read_signal(), Ok(Some(_))) {
            return;
        }
        if !changed {
            running.engine().tick();
            continue;
        }
        // First look where to watch, then read: a change in between is noticed again.
        watch.arm();
        let load = running.engine().load(source::read).clone();
        // Whoever read what this says may have left. That is no reason to stop enforcing edits.
        let _ = voice.load(&load);
    }
}

/// Prints records as they come, until the process ends.
fn follow(journal: &Arc<Journal>, json: bool) -> Result<()> {
    let journal = Arc::clone(journal);
    let print = move || {
        let mut table = FlowTable::default();
        let mut cursor = 0;
        loop {
            let page = journal.after(cursor, &Query::default(), TICK);
            cursor = page.cursor;
            let mut out = std::io::stdout().lock();
            for record in page.records {
                let printed = if json {
                    serde_json::to_writer(&mut out, &Answer::Record(record))
                        .map_err(Into::into)
                        .and(writeln!(out))
                } else {
                    write!(out, "{}", table.line(&record))
                };
                if printed.is_err() {
                    return;
                }
            }
            let _ = out.flush();
        }
    };
    std::thread::Builder::new().name("flows".into()).spawn(print).context("starting the printer's thread")?;
    Ok(())
}

/// What `up` itself says.
struct Voice<'a, W: Write> {
    out: &'a mut W,
    json: bool,
}

impl<W: Write> Voice<'_, W> {
    fn load(&mut self, load: &Load) -> Result<()> {
        if self.json {
            return self.line(&serde_json::json!({ "load": load }));
        }
        for diagnostic in &load.diagnostics {
            writeln!(self.out, "{}", printable_lines(diagnostic))?;
        }
        let outcome = match load.outcome {
            Outcome::Applied => "in force",
            Outcome::AppliedWithClosedScopes => "in force; what could not be read is closed until it can",
            Outcome::KeptLastGood => "NOT in force: the last good policy stays",
            Outcome::Refused => "NOT in force: the kernel refused it, see `cofferdam status`",
        };
        let took = Duration::from_micros(load.took_micros);
        writeln!(
            self.out,
            "{} objects, {} errors, {} warnings: {outcome} ({took:.1?})",
            load.objects, load.errors, load.warnings
        )?;
        self.out.flush()?;
        Ok(())
    }

    fn ready(&mut self, status: &Status, socket: &Path) -> Result<()> {
        if self.json {
            return self.line(&serde_json::json!({ "ready": { "status": status, "socket": socket } }));
        }
        for reason in &status.degraded {
            writeln!(self.out, "degraded: {}", printable(reason))?;
        }
        for node in &status.nodes {
            match &node.problem {
                Some(problem) => {
                    writeln!(self.out, "node {}: NOT ENFORCED: {}", node.node, printable(problem))?
                }
                None => writeln!(
                    self.out,
                    "node {}: {} pod addresses by {}",
                    node.node, node.endpoints, node.backend
                )?,
            }
        }
        writeln!(self.out, "ready: generation {}, answering at {}", status.generation, socket.display())?;
        self.out.flush()?;
        Ok(())
    }

    fn line(&mut self, value: &serde_json::Value) -> Result<()> {
        writeln!(self.out, "{value}")?;
        self.out.flush()?;
        Ok(())
    }
}

/// As [`printable`], but a diagnostic may have several lines.
fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}
