//! `cofferdam lab`: a cluster of network namespaces to try things in.
//!
//! Enters: manifests, or questions to a running lab over its local socket. Leaves: running pods, lists, the outcome of
//! probes with real packets.
//! Guarantees: `exec` and `probe` act inside the lab only.
//! Does not: enforce; `up --lab` does, and these commands work with it too.

use crate::plain::printable;
use crate::up::UpArgs;
use crate::up::client::ask;
use crate::up::hosted::unknown;
use crate::up::protocol::{Answer, LabPlace, Request};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use policy::Protocol;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Run pods as network namespaces, and probe what they reach.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam lab up -f examples/genai            pods and nodes, nothing enforced
  cofferdam up -f examples/genai --lab          the same, enforced
  cofferdam lab list
  cofferdam lab probe --from train/llm-trainer-worker-1 --to serve/vector-db-0 --port 6333
  cofferdam lab exec serve/vector-db-0 -- ip route
  cofferdam lab down

A pod runs the command of its annotation cofferdam.dev/lab-command, else an echo server on its declared ports.
Where the manifests have a
pod labelled k8s-app=kube-dns in kube-system, pods have a resolv.conf and a hosts file of their own that ask it.
A node or namespace may list addresses outside the cluster in cofferdam.dev/lab-outside, and what runs there in
cofferdam.dev/lab-outside-command. Pods without a node or an address get them, as in a cluster. Works without root where
user namespaces are allowed.")]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Make the lab, without enforcement, and run it until a signal
    Up(MakeArgs),
    /// End the running lab and remove what it made
    #[command(after_help = "Example:\n  cofferdam lab down")]
    Down(SocketArgs),
    /// Show pods, nodes, addresses and namespaces
    List(ListArgs),
    /// Run a command as a pod
    Exec(ExecArgs),
    /// Open a connection with real packets and say whether it arrived
    Probe(ProbeArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Example:
  cofferdam lab up -f examples/genai

Ctrl-C, or `cofferdam lab down` from elsewhere, removes all of it.")]
struct MakeArgs {
    /// Manifest, or folder of manifests; may be repeated
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArgs,
}

#[derive(Args, Debug)]
struct SocketArgs {
    /// Local socket of the running lab
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam lab list
  cofferdam lab list --json | jq -r .name")]
struct ListArgs {
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam lab exec serve/vector-db-0 -- ip route
  cofferdam lab exec node/n1 -- nft list ruleset

The exit code is the command's.")]
struct ExecArgs {
    /// namespace/name of a pod, node/NAME, or outside
    place: String,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
    #[command(flatten)]
    socket: SocketArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam lab probe --from train/llm-trainer-worker-1 --to serve/vector-db-0 --port 6333
  cofferdam lab probe --from outside --to serve/rag-0 --port 8080 --json

Exit code: 0 if it was answered, 1 if not, 2 if it could not be tried.")]
struct ProbeArgs {
    /// Where it starts: namespace/name of a pod, node/NAME, or outside
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// Where it goes: the same, or an address
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// Destination port; for ICMP it does not matter
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// TCP, UDP, SCTP, ICMP or ICMPv6
    #[arg(long, default_value = "TCP")]
    protocol: Protocol,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs the command. False: a probe was not answered.
pub(crate) fn run(args: LabArgs, out: &mut impl Write) -> Result<bool> {
    match args.verb {
        Verb::Up(args) => crate::up::run(&UpArgs::lab_only(args.files, args.json, args.socket.socket)),
        Verb::Down(args) => down(args.socket.as_deref(), out).map(|()| true),
        Verb::List(args) => list(&args, out).map(|()| true),
        Verb::Exec(args) => exec(&args),
        Verb::Probe(args) => probe(args, out),
    }
}

fn places(socket: Option<&Path>) -> Result<(u32, Vec<LabPlace>)> {
    let answer = ask(socket, &Request::Lab {})?.next().context("no answer")??;
    let Answer::Lab { pid, places } = answer else { bail!("the answer is not about the lab") };
    Ok((pid, places))
}

/// How long a lab may take to remove what it made.
const PATIENCE: Duration = Duration::from_secs(30);

fn down(socket: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let (pid, _) = places(socket)?;
    let process = Pid::from_raw(i32::try_from(pid)?);
    kill(process, Signal::SIGTERM).with_context(|| format!("ending process {pid}"))?;
    let deadline = Instant::now() + PATIENCE;
    // It answers until everything is removed.
    while places(socket).is_ok() {
        if Instant::now() > deadline {
            bail!("process {pid} did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    writeln!(out, "the lab is down")?;
    Ok(())
}

fn list(args: &ListArgs, out: &mut impl Write) -> Result<()> {
    let (_, places) = places(args.socket.socket.as_deref())?;
    if args.json {
        for place in &places {
            writeln!(out, "{}", serde_json::to_string(place)?)?;
        }
        return Ok(());
    }
    let rows: Vec<[String; 5]> = places.iter().map(row).collect();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let [name, node, addresses, ports] = [0, 1, 2, 3].map(|column| width(column).unwrap_or(0).max(9));
    writeln!(
        out,
        "{:name$}  {:node$}  {:addresses$}  {:ports$}  RUNS",
        "NAME", "NODE", "ADDRESSES", "PORTS"
    )?;
    for [a, b, c, d, e] in &rows {
        writeln!(out, "{a:name$}  {b:node$}  {c:addresses$}  {d:ports$}  {e}")?;
    }
    Ok(())
}

fn row(place: &LabPlace) -> [String; 5] {
    let addresses: Vec<_> = place.addresses.iter().map(ToString::to_string).collect();
    let runs = match &place.command {
        Some(command) => command.lines().next().unwrap_or_default().to_owned(),
        None if place.ports.is_empty() => String::new(),
        None => "echo server".to_owned(),
    };
    [place.name.clone(), place.node.clone(), addresses.join(","), place.ports.join(","), runs]
        .map(|cell| printable(&cell))
}

fn exec(args: &ExecArgs) -> Result<bool> {
    let (pid, places) = places(args.socket.socket.as_deref())?;
    let named = places.iter().find(|place| place.name == args.place);
    let place = named.with_context(|| unknown(&args.place))?;
    let namespaces = format!("/proc/{pid}/task/{}/ns", place.thread);
    let mut command = Command::new("nsenter");
    if !lab::privilege::has_capabilities() {
        command.args(["--target", &pid.to_string(), "--user", "--preserve-credentials"]);
    }
    command.args([format!("--net={namespaces}/net"), format!("--mount={namespaces}/mnt")]);
    // Another mount namespace starts at its root.
    let folder = std::env::current_dir().unwrap_or_else(|_| "/".into());
    command.args(["--", "sh", "-c", "cd -- \"$0\" && exec \"$@\""]).arg(folder);
    let error = command.args(&args.command).exec();
    bail!("running nsenter: {error}")
}

fn probe(args: ProbeArgs, out: &mut impl Write) -> Result<bool> {
    let ProbeArgs { from, to, port, protocol, json, socket } = args;
    if protocol.has_ports() && port == 0 {
        bail!("{protocol} needs a --port");
    }
    let request = Request::Probe { from: from.clone(), to: to.clone(), protocol, port };
    let answer = ask(socket.socket.as_deref(), &request)?.next().context("no answer")??;
    let Answer::Probe(result) = answer else { bail!("the answer is not about a probe") };
    let answered = result.outcome == "answered";
    if json {
        writeln!(out, "{}", serde_json::to_string(&result)?)?;
    } else {
        let target =
            if protocol.has_ports() { format!("{protocol} port {port}") } else { protocol.to_string() };
        writeln!(out, "{}: {from} to {to} ({}), {target}", result.outcome, result.address)?;
    }
    Ok(answered)
}
