//! `cofferdam policy explain`: may this connection be opened, and which line says so?

pub(crate) mod named;

use super::Sources;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use named::Named;
use policy::explain::{Nearest, nearest};
use policy::{
    Access, Decision, Direction, Endpoint, Judgement, Party, PolicySet, Protocol, RuleId, Step, Tier,
    Verdict, World,
};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::sync::Arc;

/// Say whether a connection is allowed, by which line, and on a denial what came closest to allowing it
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam policy explain -f examples/genai --from train/llm-trainer-worker-1 --to serve/vector-db-0 --port 6333
  cofferdam policy explain -f manifests/ --from web/frontend-0 --to ip:203.0.113.7 --port 443
  cofferdam policy explain -f manifests/ --from node:node-a --to web/frontend-0 --port http --protocol TCP --json
  cofferdam policy explain -f manifests/ --from train/trainer --name huggingface.co --port 443
  cofferdam policy explain -f manifests/ --from train/trainer --name paste.example --to 203.0.113.7 --port 443

An end is namespace/pod (or pod:namespace/pod), workload:namespace/name, node:name, or an address. With --name it is also
said whether the pod may ask DNS for that name; without --port, only that.
Exit code: 0 if allowed, 1 if denied, 2 if it could not be judged.")]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    sources: Sources,
    /// Who opens the connection
    #[arg(long, value_name = "END")]
    from: String,
    /// Who receives it; with --name the address that the name leads to
    #[arg(long, value_name = "END", required_unless_present = "name")]
    to: Option<String>,
    /// The connection goes to an address that the pod resolved this name to
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Destination port: a number, or the name of a container port of the receiving pod
    #[arg(long, default_value = "0", hide_default_value = true)]
    port: String,
    /// TCP, UDP, SCTP, ICMP, ICMPv6 or a number
    #[arg(long, default_value = "TCP")]
    protocol: Protocol,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is asked of policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Who opens the connection, or asks DNS.
    pub(crate) from: String,
    /// Who receives it; absent where only a name is asked about.
    pub(crate) to: Option<String>,
    /// The name by which it is reached.
    pub(crate) name: Option<String>,
    /// Destination port; 0 where there is none.
    pub(crate) port: u16,
    /// Transport protocol.
    pub(crate) protocol: Protocol,
}

impl ExplainArgs {
    /// What somebody would have written to ask that.
    pub(crate) fn of(sources: Sources, asked: Asked, json: bool) -> Self {
        let Asked { from, to, name, port, protocol } = asked;
        Self { sources, from, to, name, port: port.to_string(), protocol, json }
    }
}

/// Runs the verb; false if the access is denied.
pub(crate) fn run(args: &ExplainArgs, out: &mut impl Write) -> Result<bool> {
    let mut loaded = args.sources.load()?;
    super::report_errors(&loaded)?;
    let name = args.name.as_deref();
    let to = args.to.as_deref();
    let named = name.map(|name| Named::answer(&mut loaded.set, name, &args.from, to)).transpose()?;
    let set = &loaded.set;
    let question = named.as_ref().map(|named| named.question(set)).transpose()?;
    let may_ask = question.as_ref().is_none_or(|judged| judged.verdict == Verdict::Allow);
    if let (Some(named), Some(judged), "0") = (&named, &question, args.port.as_str())
        && args.protocol.has_ports()
    {
        match args.json {
            true => writeln!(out, "{:#}", json!({ "question": named.json(set, judged) }))?,
            false => named.write(set, judged, out)?,
        }
        return Ok(may_ask);
    }
    let from = end(&set.world, &args.from).context("--from")?;
    let to = match (&named, to) {
        (Some(named), _) => Endpoint::at(&set.world, named.address),
        (None, Some(to)) => end(&set.world, to).context("--to")?,
        (None, None) => bail!("--to or --name is needed"),
    };
    let (from, to) = same_family(from, to)?;
    let port = port(args, to)?;
    let access = Access { from, to, protocol: args.protocol, port };
    let decision = policy::decide(set, &access);
    let (direction, deciding) = decision.deciding();
    let denied = decision.verdict == Verdict::Deny;
    let near = denied.then(|| nearest(set, &access, direction, deciding)).flatten();
    let asked = named.as_ref().zip(question.as_ref());
    let explanation = Explanation { set, access, decision: &decision, near: near.as_ref(), asked };
    if args.json {
        writeln!(out, "{:#}", explanation.json())?;
    } else {
        explanation.write(out, std::io::stdout().is_terminal())?;
    }
    Ok(may_ask && decision.verdict == Verdict::Allow)
}

pub(crate) fn end<'a>(world: &'a World, text: &str) -> Result<Endpoint<'a>> {
    if let Some(name) = text.strip_prefix("node:") {
        let node = world.nodes.get(name).ok_or_else(|| {
            anyhow!(
                "there is no node {name:?}{}",
                suggestion(name, world.nodes.keys().map(ToString::to_string))
            )
        })?;
        return Ok(Endpoint { party: Party::Node(node), address: node.addresses.first().copied() });
    }
    let address = text.strip_prefix("ip:").unwrap_or(text);
    if let Ok(address) = address.parse::<IpAddr>() {
        return Ok(Endpoint::at(world, address));
    }
    if let Some(workload) = text.strip_prefix("workload:") {
        let (namespace, name) = workload.split_once('/').context("a workload is workload:namespace/name")?;
        let member = |pod: &&Arc<policy::Pod>| *pod.namespace == *namespace && *pod.workload.name == *name;
        let pod = world.pods.iter().find(member).ok_or_else(|| {
            let all = world.pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.workload.name));
            anyhow!("no pod belongs to workload {workload:?}{}", suggestion(workload, all))
        })?;
        return Ok(Endpoint::pod(world, pod));
    }
    let name = text.strip_prefix("pod:").unwrap_or(text);
    let Some((namespace, pod)) = name.split_once('/') else {
        bail!(
            "{text:?} is no end: write namespace/pod, workload:namespace/name, node:name or an address{}",
            meant(world, name)
        );
    };
    let pod = world.find_pod(namespace, pod).ok_or_else(|| {
        if world.pods.is_empty() {
            return anyhow!(
                "there is no pod {name:?}: no manifest has any; give -f those of the workloads, too"
            );
        }
        anyhow!("there is no pod {name:?}{}", suggestion(name, world.pods.iter().map(ToString::to_string)))
    })?;
    Ok(Endpoint::pod(world, pod))
}

/// What may be meant by a name alone.
fn meant(world: &World, name: &str) -> String {
    let is_one = |pod: &String| pod.rsplit('/').next().is_some_and(|tail| tail.starts_with(name));
    let pods: Vec<String> = world.pods.iter().map(ToString::to_string).filter(is_one).take(4).collect();
    match pods.as_slice() {
        [] if world.nodes.contains_key(name) => format!("; there is node:{name}"),
        [] if name.contains('.') => {
            format!("; `policy explain` takes a name that the pod asks DNS for with --name {name}")
        }
        [] => String::new(),
        pods => format!("; there is {}", pods.join(", ")),
    }
}

/// The names most like the one that was not found: those that begin alike, else those of the namespace, else any.
fn suggestion(wanted: &str, all: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = all.collect();
    all.dedup();
    let parts = |name: &str| {
        let (namespace, tail) = name.rsplit_once('/').unwrap_or(("", name));
        (namespace.to_owned(), tail.to_owned())
    };
    let (namespace, tail) = parts(wanted);
    let alike = |name: &&String| {
        let common = tail.bytes().zip(parts(name).1.bytes()).take_while(|(a, b)| a == b).count();
        common * 2 >= tail.len().max(1)
    };
    let mut near: Vec<&String> = all.iter().filter(alike).collect();
    if near.is_empty() {
        near = all.iter().filter(|name| parts(name).0 == namespace).collect();
    }
    if near.is_empty() {
        near = all.iter().collect();
    }
    let more = if near.len() > 4 { " and more" } else { "" };
    near.truncate(4);
    let near: Vec<&str> = near.into_iter().map(String::as_str).collect();
    if near.is_empty() {
        "; there is none".to_owned()
    } else {
        format!("; there is {}{more}", near.join(", "))
    }
}

/// Ends of two families never meet; a dual-stack pod has an address for each.
pub(crate) fn same_family<'a>(from: Endpoint<'a>, to: Endpoint<'a>) -> Result<(Endpoint<'a>, Endpoint<'a>)> {
    let addresses = |end: Endpoint<'a>| match end.party {
        Party::Pod(pod) => pod.addresses.clone(),
        Party::Node(node) => node.addresses.clone(),
        Party::Outside => end.address.into_iter().collect(),
    };
    let (froms, tos) = (addresses(from), addresses(to));
    if froms.is_empty() || tos.is_empty() {
        return Ok((from, to));
    }
    let pairs = froms.iter().flat_map(|a| tos.iter().map(move |b| (*a, *b)));
    let mut shared = pairs.filter(|(a, b)| a.is_ipv4() == b.is_ipv4());
    let (a, b) = shared.next().ok_or_else(|| anyhow!("{from} and {to} share no address family"))?;
    Ok((Endpoint { address: Some(a), ..from }, Endpoint { address: Some(b), ..to }))
}

fn port(args: &ExplainArgs, to: Endpoint<'_>) -> Result<u16> {
    if let Ok(number) = args.port.parse() {
        if number == 0 && args.protocol.has_ports() {
            bail!("--port is missing: {} needs a destination port from 1 to 65535", args.protocol);
        }
        return Ok(number);
    }
    if args.port.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!("--port {:?} is no port: ports are 1 to 65535", args.port);
    }
    let Party::Pod(pod) = to.party else { bail!("--port {:?}: only pods have named ports", args.port) };
    let named = pod.ports.iter().find(|port| *port.name == *args.port && port.protocol == args.protocol);
    named.map(|port| port.port).ok_or_else(|| {
        let known: Vec<String> =
            pod.ports.iter().map(|port| format!("{}/{}", port.name, port.protocol)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        anyhow!("--port {:?}: pod {pod} has no such {} port; it names {known}", args.port, args.protocol)
    })
}

struct Explanation<'a> {
    set: &'a PolicySet,
    access: Access<'a>,
    decision: &'a Decision,
    near: Option<&'a Nearest>,
    /// The name behind the destination, and whether it may be asked for.
    asked: Option<(&'a Named, &'a Judgement)>,
}

pub(crate) fn rule_text(set: &PolicySet, id: RuleId) -> String {
    set.rule(id).map_or_else(|| format!("unknown rule {}", id.0), ToString::to_string)
}

impl Explanation<'_> {
    fn rule(&self, id: RuleId) -> String {
        rule_text(self.set, id)
    }

    fn write(&self, out: &mut impl Write, colours: bool) -> Result<()> {
        let (on, off) = match (colours, self.decision.verdict) {
            (false, _) => ("", ""),
            (true, Verdict::Allow) => ("\x1b[32m", "\x1b[0m"),
            (true, Verdict::Deny) => ("\x1b[31m", "\x1b[0m"),
        };
        if let Some((named, judged)) = self.asked {
            named.write(self.set, judged, out)?;
            named.write_address(out)?;
        }
        let Access { from, to, protocol, port } = self.access;
        let port = if protocol.has_ports() { format!(" {port}") } else { String::new() };
        writeln!(out, "{on}{}{off}  {from} -> {to} {protocol}{port}", self.decision.verdict)?;
        let (direction, deciding) = self.decision.deciding();
        writeln!(out, "  decided at {direction} by {}", self.rule(deciding.rule))?;
        writeln!(out, "  {}", deciding.reason.describe())?;
        for direction in [Direction::Egress, Direction::Ingress] {
            self.write_direction(out, direction)?;
        }
        if let Some(near) = self.near {
            writeln!(out, "nearest rule that would allow it: {}", self.rule(near.rule))?;
            for difference in self.differences(near) {
                writeln!(out, "  but {difference}")?;
            }
        } else if self.decision.verdict == Verdict::Deny {
            writeln!(out, "no rule speaks of allowing anything to this pod in this direction")?;
        }
        Ok(())
    }

    fn judgement(&self, direction: Direction) -> &Judgement {
        match direction {
            Direction::Egress => &self.decision.egress,
            Direction::Ingress => &self.decision.ingress,
        }
    }

    fn write_direction(&self, out: &mut impl Write, direction: Direction) -> Result<()> {
        let judgement = self.judgement(direction);
        let subject = match direction {
            Direction::Egress => self.access.from,
            Direction::Ingress => self.access.to,
        };
        writeln!(out, "{direction} at {subject}: {} ({})", judgement.verdict, judgement.reason)?;
        for step in &judgement.steps {
            let line = match step {
                Step::Closed(rule) => format!("closed: {}", self.rule(*rule)),
                Step::Selected(index) => self.selected(*index, direction),
                Step::Matched(rule, action) => {
                    format!("{action:?}: {}", self.rule(*rule))
                }
                Step::FellThrough(tier) => format!("{tier:?}: decides nothing"),
            };
            writeln!(out, "  {line}")?;
        }
        if let Some(limits) = self.set.upload(judgement.rule) {
            writeln!(out, "  uploads are limited: {limits}")?;
        }
        if let Some(requests) = self.set.requests(judgement.rule) {
            writeln!(out, "  requests are judged one by one: {requests}")?;
        }
        Ok(())
    }

    fn selected(&self, index: usize, direction: Direction) -> String {
        let Some(policy) = self.set.policies.get(index) else { return format!("policy {index}") };
        let source = policy.source.as_ref().map(|source| format!(" ({source})")).unwrap_or_default();
        let does = match policy.tier {
            Tier::NetworkPolicy => "isolates it",
            Tier::Admin | Tier::Baseline => "selects it",
        };
        let rules = policy.section(direction).rules().len();
        let rules = match rules {
            0 => "no rule".to_owned(),
            1 => "its rule does not match".to_owned(),
            n => format!("none of its {n} rules matches"),
        };
        format!("{:?}: {}{source} {does}; {rules}", policy.tier, policy.object)
    }

    fn json(&self) -> Value {
        let Access { from, to, protocol, port } = self.access;
        let rule = |id: RuleId| json!({"id": id, "text": self.rule(id), "entry": self.set.rule(id)});
        let step = |step: &Step| match step {
            Step::Closed(id) => json!({"closed": rule(*id)}),
            Step::Selected(index) => {
                let policy = self.set.policies.get(*index);
                json!({"selected": policy.map(|p| json!({"object": p.object, "source": p.source, "tier": p.tier}))})
            }
            Step::Matched(id, action) => json!({"matched": rule(*id), "action": action}),
            Step::FellThrough(tier) => json!({"fellThrough": tier}),
        };
        let side = |direction| {
            let judgement: &Judgement = self.judgement(direction);
            json!({
                "verdict": judgement.verdict, "reason": judgement.reason, "rule": rule(judgement.rule),
                "steps": judgement.steps.iter().map(step).collect::<Vec<_>>(),
            })
        };
        let (direction, deciding) = self.decision.deciding();
        let asked = self.asked.map(|(named, judged)| named.json(self.set, judged));
        // Whoever may not ask for the name never learns the address.
        let may_ask = self.asked.is_none_or(|(_, judged)| judged.verdict == Verdict::Allow);
        let verdict = if may_ask { self.decision.verdict } else { Verdict::Deny };
        json!({
            "question": asked, "from": from.to_string(), "to": to.to_string(), "protocol": protocol, "port": port,
            "verdict": verdict, "decidedAt": direction, "reason": deciding.reason,
            "rule": rule(deciding.rule), "egress": side(Direction::Egress), "ingress": side(Direction::Ingress),
            "nearest": self.near.map(|near| json!({"rule": rule(near.rule), "differs": self.differences(near)})),
        })
    }

    /// What would have to be different, each a clause.
    fn differences(&self, near: &Nearest) -> Vec<String> {
        let (_, deciding) = self.decision.deciding();
        clauses(near, deciding.reason)
    }
}

/// What a rule lacks to have allowed what was denied for `reason`, each a clause.
pub(crate) fn clauses(near: &Nearest, reason: policy::Reason) -> Vec<String> {
    let late = if reason == policy::Reason::EgressPolicyDeny {
        "the rule that denied beats every Allow of its tier"
    } else {
        "it stands behind the rule that denied"
    };
    let late = near.too_late.then(|| late.to_owned());
    [&near.peer, &near.protocol, &near.port, &late].into_iter().flatten().cloned().collect()
}
