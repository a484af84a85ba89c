//! From an API server to the kernel, measured: a real kube-apiserver and etcd, the controller and one agent as processes,
//! pods written straight to the server. Prints one JSON object.

mod nodes;
mod system;
mod writer;

use anyhow::{Context, Result};
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use lab::{Lab, NodePlan, Place, Plan, PodPlan};
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};
use system::System;
use writer::{AT_ONCE, Writer};

/// Sizes of a run.
#[derive(Clone, Copy)]
struct Size {
    /// Pods while latency is measured, and policies.
    pods: usize,
    policies: usize,
    /// Policies written one by one.
    applies: usize,
    /// Seconds of churn.
    churn: u64,
    /// Pods and nodes at the end.
    many_pods: usize,
    nodes: usize,
}

const FULL: Size =
    Size { pods: 10_000, policies: 1000, applies: 200, churn: 60, many_pods: 100_000, nodes: 5000 };
const QUICK: Size = Size { pods: 1000, policies: 100, applies: 20, churn: 5, many_pods: 2000, nodes: 100 };
/// Numbers of policies that churn is measured with begin here.
const PROBES: usize = 1_000_000;
/// Namespaces that come in a second of churn, and how long each lives.
const COME: u64 = 20;
const LIVES: Duration = Duration::from_secs(10);

/// Measure how soon a change at the API server is in force in a node's kernel, and what many pods and nodes cost
///
/// A real kube-apiserver and etcd, the controller and one agent run as processes. It needs root, what tests/apiserver/build has
/// built, and the program `cofferdam` beside this one. One JSON object goes to standard output.
#[derive(Parser, Debug)]
#[command(after_help = "Example:
  tests/apiserver/build && cargo build --release -p cofferdam -p bench-cluster
  sudo target/release/bench-cluster > cluster.json")]
struct Args {
    /// A small cluster, to see that it works: 2,000 pods and 100 nodes instead of 100,000 and 5,000
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<()> {
    let size = if Args::parse().quick { QUICK } else { FULL };
    let lab = Lab::up(plan())?;
    // The servers end with the thread that started them, so one thread does it all.
    let (done, result) = std::sync::mpsc::channel();
    let agent_place = Place::Node(system::NODE.to_owned());
    let (spawn, spawned) = std::sync::mpsc::channel::<std::process::Command>();
    let (started, agent) = std::sync::mpsc::channel();
    lab.run(&Place::Outside, move || {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            let outcome = runtime
                .context("starting a runtime")
                .and_then(|runtime| runtime.block_on(run(size, &spawn, &agent)));
            drop(done.send(outcome));
        })
    })?;
    if let Ok(mut command) = spawned.recv() {
        let child = lab.run(&agent_place, move || command.spawn())?;
        started.send(child).context("the benchmark ended")?;
    }
    let report = result.recv().context("the benchmark ended without a word")??;
    writeln!(std::io::stdout(), "{report:#}")?;
    Ok(())
}

fn plan() -> Plan {
    let address = |text: &str| text.parse().into_iter().collect();
    Plan {
        nodes: vec![NodePlan { name: system::NODE.to_owned(), addresses: address("10.77.0.1") }],
        pods: Vec::<PodPlan>::new(),
        outside: address(system::CONTROLLER),
        ..Plan::default()
    }
}

async fn run(
    size: Size,
    spawn: &std::sync::mpsc::Sender<std::process::Command>,
    agent: &std::sync::mpsc::Receiver<std::io::Result<std::process::Child>>,
) -> Result<Value> {
    let mut system = System::start(spawn, agent)?;
    let writer = Writer::new(system.client().await?);
    let mut report = serde_json::Map::new();
    report.insert("machine".into(), bench_machine::describe());

    say(&format!("writing {} pods and {} policies", size.pods, size.policies));
    let begin = Instant::now();
    writer.pods(0..size.pods, size.nodes).await?;
    writer.policies(size.policies).await?;
    system.settle(Duration::from_secs(5));
    // The status of each policy is written, too, a few dozen in a second.
    tokio::time::sleep(Duration::from_millis(30 * size.policies as u64)).await;
    report.insert("written_s".into(), json!(begin.elapsed().as_secs()));

    say("one policy after the other, from the request to the kernel");
    let (mut millis, mut of_request, mut of_agent) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..size.applies {
        let begin = Instant::now();
        let revision = writer.probe_policy(number).await?;
        of_request.push(begin.elapsed().as_secs_f64() * 1000.0);
        let (loaded, agent) = system.wait_for_revision(revision, Duration::from_secs(20))?;
        millis.push(loaded.duration_since(begin).as_secs_f64() * 1000.0);
        of_agent.push(agent);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    report.insert("apply_to_kernel_ms".into(), quantiles(&mut millis));
    report.insert("of_which_the_request_ms".into(), quantiles(&mut of_request));
    report.insert("of_which_the_agent_ms".into(), quantiles(&mut of_agent));
    report.insert("agent_mib".into(), json!(system.agent_mib()?));
    report.insert("controller_mib".into(), json!(system.controller_mib()?));

    say(&format!("{COME} namespaces a second for {} s, each for {LIVES:?}", size.churn));
    report.insert("churn".into(), churn(size, &mut system, &writer).await?);

    say(&format!("up to {} pods on {} nodes", size.many_pods, size.nodes));
    writer.pods(size.pods..size.many_pods, size.nodes).await?;
    system.settle(Duration::from_secs(10));
    report.insert("controller_mib_many_pods".into(), json!(system.controller_mib()?));

    say(&format!("{} nodes connect", size.nodes));
    report.insert("nodes".into(), nodes::measure(&system, &writer, size.nodes).await?);
    report.insert("controller_mib_many_nodes".into(), json!(system.controller_mib()?));
    Ok(Value::Object(report))
}

/// Sandboxes come and go; in between, how long a policy takes to the kernel, in the first and the last third.
async fn churn(size: Size, system: &mut System, writer: &Writer) -> Result<Value> {
    let begin = Instant::now();
    let end = begin + Duration::from_secs(size.churn);
    let (mut next, mut gone) = (0, 0);
    let (mut early, mut late) = (Vec::new(), Vec::new());
    while Instant::now() < end {
        let due = come(begin.elapsed()).min(size.churn * COME);
        let make = stream::iter((next..due).map(|number| writer.sandbox(number)));
        make.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        next = next.max(due);
        let old = begin.elapsed().checked_sub(LIVES).map_or(0, come);
        let remove = stream::iter((gone..old.min(next)).map(|number| writer.remove_sandbox(number)));
        remove.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        gone = gone.max(old.min(next));
        let number = PROBES + early.len() + late.len();
        let asked = Instant::now();
        let marker = writer.probe_policy(number).await?;
        let (seen, _) = system.wait_for_revision(marker, Duration::from_secs(30))?;
        let millis = seen.duration_since(asked).as_secs_f64() * 1000.0;
        if begin.elapsed() * 3 < Duration::from_secs(size.churn) { &mut early } else { &mut late }
            .push(millis);
    }
    let rate = next as f64 / begin.elapsed().as_secs_f64();
    let remove = stream::iter((gone..next).map(|number| writer.remove_sandbox(number)));
    remove.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(json!({
        "namespaces": next, "namespaces_per_s": (rate * 10.0).round() / 10.0,
        "apply_to_kernel_ms_first_third": quantiles(&mut early),
        "apply_to_kernel_ms_rest": quantiles(&mut late),
    }))
}

/// Namespaces that have come by then.
fn come(after: Duration) -> u64 {
    u64::try_from(after.as_millis()).unwrap_or(u64::MAX) * COME / 1000
}

fn quantiles(millis: &mut [f64]) -> Value {
    millis.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let index = (millis.len() * percent / 100).min(millis.len().saturating_sub(1));
        millis.get(index).map(|it| (it * 10.0).round() / 10.0)
    };
    json!({ "n": millis.len(), "p50": at(50), "p90": at(90), "p99": at(99), "most": at(100) })
}

/// Progress, for people.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "    {text}");
}
