//! `kubectl cofferdam`: the same program under the name by which kubectl finds its plugins.
//!
//! Enters: the user's kubectl and its context. Leaves: what `policy explain` says of the cluster's own objects, and what an
//! agent's `flows` and `status` say. Guarantees: asks the API server for nothing that the user may not read.
//! Does not: change anything.

use crate::environment;
use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::Value;
use std::process::{Command, Stdio};

/// By this name kubectl calls it.
pub(crate) const NAME: &str = "kubectl-cofferdam";
/// What policy is made of.
const KINDS: &str = "namespaces,nodes,pods,networkpolicies.networking.k8s.io";

/// Why is it allowed or denied, and what happened?
#[derive(Parser, Debug)]
#[command(
    name = "kubectl cofferdam",
    bin_name = "kubectl cofferdam",
    version,
    after_help = "Examples:
  kubectl cofferdam status                                  how each policy stands
  kubectl cofferdam status --node worker-1                  what the agent of a node says
  kubectl cofferdam flows --node worker-1 --verdict deny    what was denied there, and by which rule
  kubectl cofferdam explain --from pod:shop/web --to pod:shop/db --port 5432

What follows is handed on to `cofferdam flows`, `cofferdam status` and `cofferdam policy explain`; kubectl's own context and
namespace of Cofferdam are taken from KUBECONFIG and COFFERDAM_NAMESPACE [default: cofferdam-system]."
)]
enum Plugin {
    /// How each policy stands; with --node, what that node's agent says
    Status(OnNode),
    /// What was allowed and denied on a node
    Flows(OnNode),
    /// Why an access is allowed or denied, by the objects that the cluster holds now
    Explain {
        /// As for `cofferdam policy explain`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(clap::Args, Debug)]
struct OnNode {
    /// The node whose agent is asked
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// As for the command itself
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the plugin. Whether the answer is yes.
pub(crate) fn run() -> Result<bool> {
    match Plugin::parse() {
        Plugin::Status(OnNode { node: None, .. }) => succeeded(Command::new("kubectl").args([
            "get",
            "policystatuses.cofferdam.dev",
            "--all-namespaces",
        ])),
        Plugin::Status(OnNode { node: Some(node), arguments }) => on_node(&node, "status", &arguments),
        Plugin::Flows(OnNode { node: Some(node), arguments }) => on_node(&node, "flows", &arguments),
        Plugin::Flows(OnNode { node: None, .. }) => {
            bail!("flows are kept on the nodes: say which with --node")
        }
        Plugin::Explain { arguments } => explain(&arguments),
    }
}

fn on_node(node: &str, command: &str, arguments: &[String]) -> Result<bool> {
    let namespace = environment::COFFERDAM_NAMESPACE.value().unwrap_or_else(|| "cofferdam-system".to_owned());
    let found = asked(&[
        "get",
        "pods",
        "--namespace",
        &namespace,
        "--output",
        "json",
        "--selector",
        "app.kubernetes.io/component=agent",
        "--field-selector",
        &format!("spec.nodeName={node}"),
    ])?;
    let found: Value = serde_json::from_slice(&found).context("kubectl's answer")?;
    let name = found.pointer("/items/0/metadata/name").and_then(Value::as_str);
    let name = name.with_context(|| format!("no agent runs on node {node} (namespace {namespace})"))?;
    let mut exec = Command::new("kubectl");
    exec.args(["exec", "--namespace", &namespace, name, "--", "cofferdam", command]).args(arguments);
    succeeded(&mut exec)
}

fn explain(arguments: &[String]) -> Result<bool> {
    let known = asked(&["api-resources", "--api-group", "policy.networking.k8s.io", "--output", "name"])?;
    let add_ons: Vec<&str> = std::str::from_utf8(&known).unwrap_or_default().lines().collect();
    let kinds = [&[KINDS], add_ons.as_slice()].concat().join(",");
    let mut get = Command::new("kubectl")
        .args(["get", &kinds, "--all-namespaces", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .context("running kubectl")?;
    let objects = get.stdout.take().context("kubectl's output")?;
    let own = std::env::current_exe().context("finding this program")?;
    let mut explain = Command::new(own);
    explain.args(["policy", "explain", "--file", "-"]).args(arguments).stdin(objects);
    let answer = succeeded(&mut explain);
    if !get.wait().context("waiting for kubectl")?.success() {
        bail!("kubectl could not get everything that policy is made of");
    }
    answer
}

fn asked(arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new("kubectl")
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("running kubectl")?;
    if !output.status.success() {
        bail!("kubectl {} failed", arguments.first().copied().unwrap_or_default());
    }
    Ok(output.stdout)
}

/// Runs it before the user's eyes. Whether it ended with 0; 1 is an answer, anything else an error.
fn succeeded(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("running {}", command.get_program().display()))?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        Some(code) => bail!("it ended with {code}"),
        None => bail!("it was ended by a signal"),
    }
}
