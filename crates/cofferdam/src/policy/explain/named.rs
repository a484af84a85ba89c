//! A connection to a name: may the pod ask for it, and to which address does it then go?
//!
//! Enters: a policy set, who asks, the name. Leaves: the set as if DNS had just answered, and the judgement of the question.
//! Guarantees: asks nobody; where no address is given, one is taken that no block but those of everything contains, so that
//! only rules about the name and about everything speak of it.

use anyhow::{Context, Result, bail};
use policy::{DnsName, Endpoint, Judgement, Party, Peer, Peers, PodName, PolicySet, RuleId, Step, World};
use serde_json::{Value, json};
use std::io::Write;
use std::net::IpAddr;

/// Addresses that stand for one nobody knows: of documentation and of no use (RFC 5737, RFC 7600, RFC 3849).
const STAND_INS: [&str; 6] =
    ["192.0.2.1", "198.51.100.1", "203.0.113.1", "192.0.0.8", "2001:db8::1", "3fff::1"];
/// A block that means everything, more or less.
const BROAD: u8 = 3;

/// A name, and the address it is taken to lead to.
pub(crate) struct Named {
    pub(crate) name: DnsName,
    pub(crate) address: IpAddr,
    /// Nobody said which address.
    pub(super) is_assumed: bool,
    pod: PodName,
}

impl Named {
    /// The set as if DNS had just given the pod this address for the name.
    pub(crate) fn answer(set: &mut PolicySet, text: &str, from: &str, to: Option<&str>) -> Result<Self> {
        let name = DnsName::parse(text).context("--name")?;
        let (pod, is_v6) = asking(&set.world, from)?;
        let (address, is_assumed) = match to {
            Some(to) => {
                let address = to.strip_prefix("ip:").unwrap_or(to);
                let address = address.parse().with_context(|| {
                    format!("--to {to:?}: with --name it is the address that the name leads to")
                })?;
                (address, false)
            }
            None => (stand_in(set, is_v6), true),
        };
        let resolved = set.world.names.entry(pod.clone()).or_default();
        resolved.live.entry(address).or_default().insert(name.clone());
        Ok(Self { name, address, is_assumed, pod })
    }

    /// May the pod ask for the name?
    pub(crate) fn question(&self, set: &PolicySet) -> Result<Judgement> {
        let (namespace, name) = &self.pod;
        let pod = set.world.find_pod(namespace, name).context("the pod that asks")?;
        Ok(policy::decide_question(set, pod, &self.name))
    }

    pub(super) fn write(&self, set: &PolicySet, judged: &Judgement, out: &mut impl Write) -> Result<()> {
        let (namespace, name) = &self.pod;
        writeln!(out, "{}  pod {namespace}/{name} asks for {}", judged.verdict, self.name)?;
        if judged.rule == RuleId::NO_POLICY {
            writeln!(out, "  no policy says which names it may ask for; any is allowed")?;
        } else {
            writeln!(out, "  decided by {}", super::rule_text(set, judged.rule))?;
            writeln!(out, "  {}", judged.reason.describe())?;
        }
        for step in &judged.steps {
            let line = match step {
                Step::Closed(rule) => format!("closed: {}", super::rule_text(set, *rule)),
                Step::Matched(rule, _) => format!("listed: {}", super::rule_text(set, *rule)),
                Step::Selected(index) => {
                    let object = set.policies.get(*index).map(|policy| policy.object.to_string());
                    format!("not listed: {} spec.dns", object.unwrap_or_default())
                }
                Step::FellThrough(_) => continue,
            };
            writeln!(out, "  {line}")?;
        }
        Ok(())
    }

    /// Says which address the rest is about, if nobody gave it.
    pub(super) fn write_address(&self, out: &mut impl Write) -> Result<()> {
        if self.is_assumed {
            writeln!(out, "{} is taken to lead to {}; --to ADDRESS says another", self.name, self.address)?;
        }
        Ok(())
    }

    pub(super) fn json(&self, set: &PolicySet, judged: &Judgement) -> Value {
        json!({
            "name": self.name, "address": self.address, "isAssumed": self.is_assumed,
            "verdict": judged.verdict, "reason": judged.reason,
            "rule": {"id": judged.rule, "text": super::rule_text(set, judged.rule), "entry": set.rule(judged.rule)},
        })
    }
}

/// Which pod asks, and whether it has no address but of IPv6.
fn asking(world: &World, from: &str) -> Result<(PodName, bool)> {
    let Endpoint { party: Party::Pod(pod), .. } = super::end(world, from).context("--from")? else {
        bail!(
            "--from {from:?} is no pod with a network of its own, and only those are known by what they resolved"
        );
    };
    let is_v6 = !pod.addresses.is_empty() && pod.addresses.iter().all(IpAddr::is_ipv6);
    Ok(((pod.namespace.clone(), pod.name.clone()), is_v6))
}

/// An address that no narrow block of any rule contains, if there is one among a few.
fn stand_in(set: &PolicySet, is_v6: bool) -> IpAddr {
    let rules = || set.policies.iter().flat_map(|policy| policy.egress.rules());
    let is_spoken_of = |address: &IpAddr| {
        rules().any(|rule| match &rule.peers {
            Peers::Everyone => false,
            Peers::AnyOf(list) => list.iter().any(|peer| match peer {
                Peer::Network { cidr, .. } => cidr.prefix_len() > BROAD && cidr.contains(address),
                Peer::Pods { .. } | Peer::Nodes(_) | Peer::Names(_) => false,
            }),
        })
    };
    let all: Vec<IpAddr> = STAND_INS.iter().filter_map(|text| text.parse().ok()).collect();
    let of_family = || all.iter().filter(|address| address.is_ipv6() == is_v6);
    let free = of_family().find(|address| !is_spoken_of(address));
    free.or(of_family().next()).copied().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}
