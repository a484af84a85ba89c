//! What `up` stands on: the enforcement points it found or made, or why there are none.
//!
//! Enters: the arguments. Leaves: one enforcer for each node. Guarantees: never pretends; where the kernel cannot be
//! told what to do, the reason is the enforcer's problem, and without `--judge-only` an error.
//! Does not: load policy.

use super::UpArgs;
use super::dns_proxy::DnsProxy;
use super::enforce::Enforcer;
use super::gateway_proxy::GatewayProxy;
use super::inspection::Home;
use super::journal::Journal;
use super::protocol::{Mode, Request};
use super::{client, keeper, socket};
use anyhow::{Context, Result};
use datapath::{Budgets, Config, Datapath, NftDatapath, Steering};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Enforcement points, and what holds them.
pub(crate) struct Ground {
    /// What kind.
    pub(crate) mode: Mode,
    /// One for each node.
    pub(crate) enforcers: Vec<Enforcer>,
}

/// What a node is called when nobody says.
pub(crate) fn host_name() -> Result<String> {
    Ok(nix::unistd::gethostname().context("asking for the host name")?.to_string_lossy().into_owned())
}

/// Why nothing is enforced where somebody wants it so.
pub(super) const ONLY_JUDGED: &str = "nothing is enforced, as --judge-only says";

/// This machine, enforcing for one node.
pub(crate) fn machine(args: &UpArgs, socket: &Path, journal: &Arc<Journal>) -> Result<Ground> {
    let node: Arc<str> = args.node.clone().map_or_else(host_name, Ok)?.into();
    if args.judge_only {
        let enforcer = Enforcer::without_kernel(node, ONLY_JUDGED.to_owned());
        return Ok(Ground { mode: Mode::JudgeOnly, enforcers: vec![enforcer] });
    }
    let config = Config { rejudge: !args.keep_connections, guard: args.guard.clone(), ..Config::default() };
    // Who only puts rules in force leaves nobody who could put in force what DNS answers.
    let answering = match args.once {
        true => None,
        false => {
            let home = socket.with_extension("authority");
            args.dns.answering(Some(socket.with_extension("dns")), &Home::Kept(&home))?
        }
    };
    match Enforcer::open(node.clone(), config, journal, answering) {
        Ok(enforcer) => Ok(Ground { mode: Mode::Machine, enforcers: vec![enforcer] }),
        Err(error) => Err(error.context(format!(
            "nothing is enforced on node {node}: run it as root, or see what it would do with --lab or --judge-only"
        ))),
    }
}

/// Removes everything that `up` put in force on this machine.
pub(crate) fn uninstall(socket: Option<PathBuf>, out: &mut impl Write) -> Result<()> {
    let sockets = socket.map_or_else(socket::candidates, |socket| vec![socket]);
    // Who enforces would put all of it back.
    for socket in sockets.iter().filter(|socket| answers(socket)) {
        let release = client::ask(Some(socket.as_path()), &Request::Release {});
        let released = release.and_then(|mut said| said.try_for_each(|answer| answer.map(drop)));
        // Who ended meanwhile enforces nothing.
        if released.is_err() && answers(socket) {
            let at = || format!("having the process at {} enforce nothing any more", socket.display());
            released.with_context(at)?;
        }
    }
    let mut datapath = NftDatapath::open(Config::default()).context("opening the kernel's rules")?;
    datapath.uninstall().context("removing the rules")?;
    let mut steering = Steering::open().context("opening what steers DNS")?;
    steering.uninstall().context("leaving pods' DNS and connections alone")?;
    let mut budgets = Budgets::open().context("opening what counts uploads")?;
    budgets.uninstall().context("counting no uploads")?;
    for socket in sockets {
        // It leads its proxies itself, and to nobody else do they listen.
        if answers(&socket) {
            let at = socket.display();
            writeln!(
                out,
                "the process at {at} still runs, and enforces nothing: end it, and then remove its proxies by this command"
            )?;
            continue;
        }
        keeper::dismiss::<DnsProxy>(&socket.with_extension("dns")).context("ending the DNS proxy")?;
        keeper::dismiss::<GatewayProxy>(&socket.with_extension("gateway")).context("ending the gateway")?;
    }
    writeln!(out, "removed: all traffic passes from now on")?;
    Ok(())
}

/// Whether a process is there.
fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}
