//! `cofferdam policy verify`: holds an enforcer against cases whose verdicts someone else wrote down.

mod case;
mod cluster;
mod connlist;
mod judge;
mod kernel;
mod random;

use crate::catalog::CatalogArg;
use anyhow::{Context, Result, bail};
use case::{Case, Check, Round};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Checks of one case that become real packets; the rest of a larger case is left out, evenly, and counted.
const MOST_PACKETS: usize = 1500;

/// Run conformance cases: what does an enforcer say, and what was expected?
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam policy verify tests/cases
  cofferdam policy verify tests/cases examples/genai --enforcer compiled
  sudo cofferdam policy verify tests/cases --enforcer kernel --sample 40 --seed 7
  cofferdam policy verify tests/cases --case own-node --json
  cofferdam policy verify --random 4000 --enforcer compiled

A folder is a case (it has an expected.json) or holds cases. The kernel enforcer makes network namespaces and needs
root, or a kernel that allows user namespaces; cases without packets are judged by the reference and said so.
Exit code: 0 if every check agrees, 1 if one does not, 2 if the cases cannot be run.")]
pub(crate) struct VerifyArgs {
    /// Folders with cases
    #[arg(required_unless_present = "random")]
    folders: Vec<PathBuf>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Who judges
    #[arg(long, value_enum, default_value_t = Enforcer::Reference)]
    enforcer: Enforcer,
    /// With the cluster enforcer: an API server whose pods and policies may all be removed
    #[arg(long, value_name = "FILE", required_if_eq("enforcer", "cluster"))]
    kubeconfig: Option<PathBuf>,
    /// With packets: how pods hang on their nodes
    #[arg(long, value_enum, default_value_t = Network::Routed)]
    network: Network,
    /// Only cases of this family
    #[arg(long)]
    family: Option<String>,
    /// Only cases whose name contains this
    #[arg(long)]
    case: Option<String>,
    /// Only so many cases, drawn by --seed
    #[arg(long)]
    sample: Option<usize>,
    /// Besides, so many random worlds with 250 accesses each, judged by the reference first
    #[arg(long, value_name = "N")]
    random: Option<usize>,
    /// Which sample, and which random worlds
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// How the pods of a lab hang on their nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Network {
    /// Each by a veth that its node routes to
    Routed,
    /// All of a node by one bridge
    Bridged,
}

impl From<Network> for lab::Network {
    fn from(network: Network) -> Self {
        match network {
            Network::Routed => Self::Routed,
            Network::Bridged => Self::Bridged,
        }
    }
}

/// Who judges a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Enforcer {
    /// The slow, obvious evaluator
    Reference,
    /// The compiled table, looked up in user space
    Compiled,
    /// The kernel, with real packets
    Kernel,
    /// The whole way: objects in an API server, a controller, an agent on each node, real packets
    Cluster,
}

impl Enforcer {
    fn sends_packets(self) -> bool {
        match self {
            Self::Kernel | Self::Cluster => true,
            Self::Reference | Self::Compiled => false,
        }
    }
}

/// One family's line in the table.
#[derive(Default)]
struct FamilyTally {
    cases: usize,
    failed_cases: usize,
    checks: usize,
    failed: usize,
    not_sent: usize,
    not_sendable: usize,
}

/// A check that did not come out as expected.
struct Failure {
    case: String,
    check: String,
    expected: String,
    got: String,
    because: String,
}

#[derive(Default)]
struct Report {
    families: BTreeMap<String, FamilyTally>,
    failures: Vec<Failure>,
    skipped: usize,
}

/// Runs the cases; false if a check failed.
pub(crate) fn run(args: &VerifyArgs, out: &mut impl Write) -> Result<bool> {
    if args.enforcer.sends_packets() {
        match lab::privilege::enter() {
            lab::privilege::Privilege::None { why } => bail!(
                "this enforcer needs network namespaces, and {why}; run it as root, or use --enforcer compiled"
            ),
            lab::privilege::Privilege::Root | lab::privilege::Privilege::UserNamespace => {}
        }
    }
    let folders = if args.folders.is_empty() { Vec::new() } else { chosen(args)? };
    let catalog = args.catalog.load()?;
    let started = Instant::now();
    let mut report = Report::default();
    let whole = match &args.kubeconfig {
        Some(file) if args.enforcer == Enforcer::Cluster => Some(cluster::Cluster::open(file)?),
        Some(_) | None => None,
    };
    let mut kernel = kernel::Kernel::new(whole, args.network.into());
    let mut cases = Vec::new();
    for folder in &folders {
        match case::read(folder, &catalog) {
            Ok(case) => cases.push(case),
            // The others are judged all the same.
            Err(error) => report.unread(folder, &error),
        }
    }
    cases.extend(random::cases(args.random.unwrap_or_default(), args.seed)?);
    if args.enforcer.sends_packets() {
        // Cases of one topology share a lab when they come one after the other.
        cases.sort_by_cached_key(|case| (topology(case), case.id.clone()));
    }
    for (i, case) in cases.iter().enumerate() {
        progress(i, cases.len(), &case.id);
        report.judge(args.enforcer, &mut kernel, case)?;
    }
    progress(cases.len(), cases.len(), "");
    if args.json {
        report.write_json(args, out)?;
    } else {
        report.write_table(args, &kernel, started, out)?;
    }
    Ok(report.failures.is_empty())
}

/// The case folders, in order.
fn chosen(args: &VerifyArgs) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for folder in &args.folders {
        if is_case(folder) {
            folders.push(folder.clone());
            continue;
        }
        let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
        let before = folders.len();
        for entry in entries {
            let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
            if is_case(&path) {
                folders.push(path);
            }
        }
        if folders.len() == before {
            bail!("{} holds no case: a case is a folder with an expected.json", folder.display());
        }
    }
    folders.sort();
    let name =
        |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(part) = &args.case {
        folders.retain(|folder| name(folder).contains(part.as_str()));
    }
    if let Some(family) = &args.family {
        folders.retain(|folder| name(folder).starts_with(&format!("{family}__")));
    }
    if let Some(sample) = args.sample {
        let mut state = args.seed;
        // Weyl sequence through a mixer (splitmix64): the same seed is the same sample everywhere.
        folders.sort_by_cached_key(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
        });
        folders.truncate(sample);
        folders.sort();
    }
    if folders.is_empty() {
        bail!("no case is left by --family, --case and --sample");
    }
    Ok(folders)
}

fn is_case(folder: &Path) -> bool {
    folder.join("expected.json").is_file()
}

fn topology(case: &Case) -> String {
    let round = case.rounds.first();
    let pods = round.map(|round| round.set.world.pods.iter().map(|pod| format!("{pod}{:?}", pod.addresses)));
    pods.map(|pods| pods.collect::<Vec<_>>().join(",")).unwrap_or_default()
}

/// A line that rewrites itself, for people only.
fn progress(done: usize, all: usize, what: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() && (done == all || done.is_multiple_of(5)) {
        let end = if done == all { "\r\x1b[K" } else { "" };
        let _ = write!(err, "\r\x1b[K{done}/{all} {what}{end}");
        let _ = err.flush();
    }
}

impl Report {
    /// A case that nobody can judge agrees with nobody.
    fn unread(&mut self, folder: &Path, error: &anyhow::Error) {
        let case = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let family = case.split_once("__").map(|(family, _)| family.to_owned()).unwrap_or_default();
        let tally = self.families.entry(family).or_default();
        for count in [&mut tally.cases, &mut tally.failed_cases, &mut tally.checks, &mut tally.failed] {
            *count += 1;
        }
        let (expected, got) = ("one that can be read".to_owned(), "another".to_owned());
        let because = format!("{error:#}");
        self.failures.push(Failure { case, check: "the case itself".to_owned(), expected, got, because });
    }

    fn judge(&mut self, enforcer: Enforcer, kernel: &mut kernel::Kernel, case: &Case) -> Result<()> {
        let failures = self.failures.len();
        let tally = self.families.entry(case.family.clone()).or_default();
        tally.cases += 1;
        for fact in &case.facts {
            tally.checks += 1;
            if fact.expected != fact.got {
                tally.failed += 1;
                self.failures.push(Failure {
                    case: case.id.clone(),
                    check: fact.what.clone(),
                    expected: fact.expected.clone(),
                    got: fact.got.clone(),
                    because: String::new(),
                });
            }
        }
        for round in &case.rounds {
            let found = match enforcer {
                Enforcer::Reference => compare(&round.checks, |check| judge::reference(&round.set, check)),
                Enforcer::Compiled => {
                    let compiled = judge::Compiled::load(round);
                    compare(&round.checks, |check| match &compiled {
                        Ok(compiled) => compiled.judge(check),
                        Err(error) => Err(anyhow::anyhow!("{error:#}")),
                    })
                }
                Enforcer::Kernel | Enforcer::Cluster => {
                    packets(kernel, round, tally).with_context(|| case.id.clone())?
                }
            };
            tally.checks += found.judged;
            tally.failed += found.failures.len();
            self.failures.extend(found.failures.into_iter().map(|f| Failure { case: case.id.clone(), ..f }));
        }
        if self.failures.len() > failures {
            tally.failed_cases += 1;
        }
        Ok(())
    }

    fn write_table(
        &self,
        args: &VerifyArgs,
        kernel: &kernel::Kernel,
        started: Instant,
        out: &mut impl Write,
    ) -> Result<()> {
        const SHOWN: usize = 40;
        for failure in self.failures.iter().take(SHOWN) {
            let Failure { case, check, expected, got, because } = failure;
            writeln!(out, "FAILED {case}: {check}: expected {expected}, got {got}")?;
            if !because.is_empty() {
                writeln!(out, "       {because}")?;
            }
        }
        if self.failures.len() > SHOWN {
            writeln!(out, "       and {} more (all with --json)", self.failures.len() - SHOWN)?;
        }
        writeln!(out, "{:<8} {:>7} {:>9} {:>8}", "family", "cases", "checks", "failed")?;
        for (family, tally) in &self.families {
            writeln!(out, "{family:<8} {:>7} {:>9} {:>8}", tally.cases, tally.checks, tally.failed)?;
        }
        if args.enforcer.sends_packets() {
            let sum = |f: fn(&FamilyTally) -> usize| self.families.values().map(f).sum::<usize>();
            writeln!(
                out,
                "{} real connections tried in {} labs; {} checks of large cases left out (at most {MOST_PACKETS} a \
                 case), {} that no packet can settle; cases without packets judged by the reference; {} \
                 reports lost",
                kernel.packets,
                kernel.labs,
                sum(|tally| tally.not_sent),
                sum(|tally| tally.not_sendable),
                kernel.lost(),
            )?;
        }
        writeln!(out, "enforcer {:?}, {:.1} s", args.enforcer, started.elapsed().as_secs_f64())?;
        let (passed, failed) = self.cases();
        writeln!(out, "{passed} passed, {failed} failed, {} skipped", self.skipped)?;
        Ok(())
    }

    fn write_json(&self, args: &VerifyArgs, out: &mut impl Write) -> Result<()> {
        let families: BTreeMap<_, _> = self
            .families
            .iter()
            .map(|(name, tally)| {
                let FamilyTally { cases, failed_cases, checks, failed, not_sent, not_sendable } = tally;
                (
                    name,
                    json!({
                        "cases": cases, "failedCases": failed_cases, "checks": checks, "failed": failed,
                        "leftOut": not_sent, "notSendable": not_sendable,
                    }),
                )
            })
            .collect();
        let failures: Vec<_> = self
            .failures
            .iter()
            .map(|failure| {
                let Failure { case, check, expected, got, because } = failure;
                json!({"case": case, "check": check, "expected": expected, "got": got, "because": because})
            })
            .collect();
        let (passed, failed) = self.cases();
        let report = json!({
            "enforcer": format!("{:?}", args.enforcer).to_lowercase(),
            "passed": passed, "failed": failed, "skipped": self.skipped,
            "families": families, "failures": failures,
        });
        writeln!(out, "{report:#}")?;
        Ok(())
    }

    fn cases(&self) -> (usize, usize) {
        let all: usize = self.families.values().map(|tally| tally.cases).sum();
        let failed: usize = self.families.values().map(|tally| tally.failed_cases).sum();
        (all - failed, failed)
    }
}

struct Compared {
    judged: usize,
    failures: Vec<Failure>,
}

fn compare(checks: &[Check], judge: impl Fn(&Check) -> Result<judge::Given>) -> Compared {
    let mut failures = Vec::new();
    for check in checks {
        let (got, because) = match judge(check) {
            Ok(given) if given.verdict == check.expected => continue,
            Ok(given) => (given.verdict.to_string(), given.because),
            Err(error) => ("no verdict".to_owned(), format!("{error:#}")),
        };
        failures.push(failure(check, got, because));
    }
    Compared { judged: checks.len(), failures }
}

fn packets(kernel: &mut kernel::Kernel, round: &Round, tally: &mut FamilyTally) -> Result<Compared> {
    let sendable: Vec<&Check> = round.checks.iter().filter(|check| kernel::is_sendable(check)).collect();
    tally.not_sendable += round.checks.len() - sendable.len();
    let step = sendable.len().div_ceil(MOST_PACKETS).max(1);
    let checks: Vec<Check> = sendable.iter().step_by(step).map(|check| (*check).clone()).collect();
    tally.not_sent += sendable.len() - checks.len();
    let mut compared = Compared { judged: 0, failures: Vec::new() };
    for (check, given) in checks.iter().zip(kernel.judge(round, &checks)?) {
        let got = match given {
            kernel::Given::NotSendable => {
                tally.not_sendable += 1;
                continue;
            }
            kernel::Given::Verdict(verdict) if verdict == check.expected => {
                compared.judged += 1;
                continue;
            }
            kernel::Given::Verdict(verdict) => verdict.to_string(),
            kernel::Given::Failed(why) => why,
        };
        compared.judged += 1;
        let because = judge::reference(&round.set, check).map_or_else(
            |error| format!("{error:#}"),
            |given| format!("the reference says {} ({})", given.verdict, given.because),
        );
        compared.failures.push(failure(check, got, because));
    }
    Ok(compared)
}

fn failure(check: &Check, got: String, because: String) -> Failure {
    Failure {
        case: String::new(),
        check: format!("{} -> {} {} {}", check.from, check.to, check.protocol, check.port),
        expected: check.expected.to_string(),
        got,
        because,
    }
}
