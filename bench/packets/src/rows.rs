//! What is compared: nothing, plain conntrack, Cofferdam and linear chains, the last two with 10 to 10,000 rules.
//!
//! In every row with rules, the measured pair is allowed by the last rule, and each rule before it speaks of one other
//! address and port, so that a chain walks all of them for each new connection.

use crate::{CLIENT, NODE, SERVER, load};
use anyhow::{Context, Result, bail};
use compiler::lower::{Placement, lower};
use datapath::{Config, Datapath, EventSource, NftDatapath};
use lab::Lab;
use policy::Generation;
use policy::table::Table;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The row that others are compared with.
pub(crate) const BASE: &str = "conntrack";
/// Numbers of rules.
pub(crate) const RULES: [u32; 3] = [10, 1000, 10_000];

/// One thing to compare.
pub(crate) struct Row {
    pub(crate) name: String,
    kind: Kind,
}

enum Kind {
    Nothing,
    /// An nft script.
    Script(String),
    Cofferdam(Box<Table>, With),
}

/// What is there beside the rules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    Nothing,
    /// Somebody reads what the kernel records.
    Records,
    /// That, and packets of pods must come from where they are answered.
    RecordsAndGuard,
}

impl Row {
    pub(crate) fn all() -> Result<Vec<Self>> {
        let row = |name: &str, kind| Self { name: name.to_owned(), kind };
        // Twice the same: what differs between these two is noise.
        let mut rows = vec![row("none", Kind::Nothing), row("none again", Kind::Nothing)];
        rows.push(row(BASE, Kind::Script(conntrack())));
        for rules in RULES {
            let table = table(rules)?;
            rows.push(row(&format!("cofferdam {rules}"), Kind::Cofferdam(Box::new(table), With::Records)));
            rows.push(row(&format!("linear {rules}"), Kind::Script(linear(rules))));
        }
        let table = Box::new(table(10_000)?);
        rows.push(row("cofferdam 10000 with guard", Kind::Cofferdam(table.clone(), With::RecordsAndGuard)));
        rows.push(row("cofferdam 10000 without records", Kind::Cofferdam(table, With::Nothing)));
        Ok(rows)
    }

    /// Whether the row denies anything.
    pub(crate) fn is_enforced(&self) -> bool {
        !matches!(self.kind, Kind::Nothing) && self.name != BASE
    }

    pub(crate) fn put_in_force<'a>(&self, lab: &'a Lab) -> Result<InForce<'a>> {
        let (mut script, mut enforced) = (false, None);
        // Whoever reads records switches the counting of bytes on; the others do not pay for it.
        lab.run(&crate::node(), || std::fs::write("/proc/sys/net/netfilter/nf_conntrack_acct", "0"))??;
        match &self.kind {
            Kind::Nothing => {}
            Kind::Script(text) => {
                nft(lab, text)?;
                script = true;
            }
            Kind::Cofferdam(table, with) => {
                // The kernel makes no events of connections that nobody listens to.
                let (mut datapath, events) = open(lab, *with)?;
                let _applied = datapath.apply(table)?;
                enforced = Some((datapath, events.map(Reader::start)));
            }
        }
        Ok(InForce { lab, script, enforced })
    }
}

/// What a row put in force.
pub(crate) struct InForce<'a> {
    lab: &'a Lab,
    script: bool,
    enforced: Option<(NftDatapath, Option<Reader>)>,
}

impl InForce<'_> {
    pub(crate) fn remove(self) -> Result<()> {
        if self.script {
            nft(self.lab, "delete table inet bench\n")?;
        }
        if let Some((mut datapath, reader)) = self.enforced {
            if let Some(reader) = reader {
                reader.end();
            }
            datapath.uninstall()?;
        }
        Ok(())
    }
}

/// Enforcement on the node, and if wanted its events, read as `cofferdam up` reads them.
pub(crate) fn open(lab: &Lab, with: With) -> Result<(NftDatapath, Option<EventSource>)> {
    let opened = lab.run(&crate::node(), move || {
        // Pods' interfaces in the lab.
        let guard = if with == With::RecordsAndGuard { vec!["cfd".to_owned()] } else { Vec::new() };
        let config = Config { guard, ..Config::default() };
        let events = (with != With::Nothing).then(|| EventSource::open(config.log_group)).transpose()?;
        Ok::<_, datapath::ApplyError>((NftDatapath::open(config)?, events))
    })?;
    Ok(opened?)
}

/// Reads events and lets them go.
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reader {
    pub(crate) fn start(mut source: EventSource) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut events = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                if source.wait(Duration::from_millis(50)).unwrap_or(false) {
                    let _ = source.read(&mut events);
                    events.clear();
                }
            }
        });
        Self { stop, thread }
    }

    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.join());
    }
}

/// The table that the compiler makes of so many NetworkPolicies on the server.
pub(crate) fn table(rules: u32) -> Result<Table> {
    let mut text = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: bench}}}}\n---\n\
         {{apiVersion: v1, kind: Node, metadata: {{name: node}}, status: {{addresses: [{{type: InternalIP, address: {NODE}}}]}}}}\n"
    );
    for (name, address) in [("client", CLIENT), ("server", SERVER)] {
        writeln!(
            text,
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: bench, labels: {{app: {name}}}}}, \
             spec: {{nodeName: node, containers: [{{name: c, image: i}}]}}, status: {{podIP: {address}}}}}"
        )?;
    }
    let mut policy = |number: u32, peer: &str, first: u16, last: u16| {
        writeln!(
            text,
            "---\n{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p{number}, namespace: bench}}, \
             spec: {{podSelector: {{matchLabels: {{app: server}}}}, policyTypes: [Ingress], ingress: [{{from: [{peer}], \
             ports: [{{port: {first}, endPort: {last}}}]}}]}}}}"
        )
    };
    for number in 1..rules {
        let (address, port) = other(number)?;
        policy(number, &format!("{{ipBlock: {{cidr: {address}/32}}}}"), port, port)?;
    }
    let (first, last) = load::PORTS;
    policy(rules, "{podSelector: {matchLabels: {app: client}}}", first, last)?;
    let read = crds::read_objects("bench.yaml", text.as_bytes());
    let compiled = compiler::compile_unlinted(read.objects, Generation(1));
    if let Some(error) = read.diagnostics.iter().chain(&compiled.diagnostics).find(|found| found.is_error()) {
        bail!("{error}");
    }
    Ok(lower(&compiled.set, "node", &Placement::new())?)
}

/// Whom and which port the rule before the last ones speaks of.
fn other(number: u32) -> Result<(Ipv4Addr, u16)> {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 200, 0, 0).to_bits() + number);
    Ok((address, u16::try_from(10_000 + number % 50_000)?))
}

fn conntrack() -> String {
    "table inet bench { chain forward { type filter hook forward priority -5; policy accept;
     ct state established,related accept
     ct state new counter accept
    }\n}\n"
        .to_owned()
}

/// What a plug-in that writes one rule per peer and port makes of the same policies.
fn linear(rules: u32) -> String {
    let mut text = "table inet bench { chain pod {\n".to_owned();
    for number in 1..rules {
        let Ok((address, port)) = other(number) else { continue };
        let _ = writeln!(text, "ip saddr {address} tcp dport {port} counter accept");
    }
    let (first, last) = load::PORTS;
    let _ = writeln!(
        text,
        "ip saddr {CLIENT} tcp dport {first}-{last} counter accept\ncounter drop\n}}
         chain forward {{ type filter hook forward priority -5; policy accept;
         ct state established,related accept
         ip daddr {SERVER} jump pod
         }}\n}}"
    );
    text
}

fn nft(lab: &Lab, script: &str) -> Result<()> {
    let node = lab.namespace(&crate::node()).context("the node")?;
    let mut child = Command::new("ip")
        .args(["netns", "exec", node, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("nft")?;
    child.stdin.take().context("a pipe")?.write_all(script.as_bytes())?;
    let status = child.wait()?;
    if !status.success() {
        bail!("nft refused {}…", script.get(..80).unwrap_or(script));
    }
    Ok(())
}
