//! What an enforcement point does for clients of its explicit proxy.

use super::{Enforcer, NamedPair};
use anyhow::{Result, bail};
use gateway::{Reason, Resolved, Unresolved};
use policy::table::Table;
use policy::{DnsName, Protocol, Verdict};
use std::net::IpAddr;
use std::sync::Arc;

const DNS_PORT: u16 = 53;

impl Enforcer {
    /// Has the DNS proxy look up a name in a pod's stead, if the pod could know it by itself: what it finds comes by
    /// [`dns::Agent::found`].
    pub(crate) fn look_up(&mut self, id: u64, from: IpAddr, name: &DnsName) -> Result<(), Unresolved> {
        let unresolved =
            |reason, detail: &str| Unresolved { reason, rule: None, detail: Some(detail.into()) };
        let proxies = self.kernel.as_ref().and_then(|kernel| kernel.proxies.as_ref());
        let (Some(proxies), Some(table), Some(state)) = (proxies, &self.table, &self.answering.state) else {
            return Err(unresolved(Reason::NoPolicy, "nothing is in force yet"));
        };
        let pod = state.pods.iter().find(|pod| pod.addresses.contains(&from));
        let speaks = pod.is_some_and(|pod| pod.patterns.iter().any(|pattern| pattern.matches(name)));
        if !speaks {
            may_ask(table, from, state.trusted.iter().flatten())?;
        }
        if !proxies.dns.standing().is_running {
            return Err(unresolved(Reason::NoAddress, "the DNS proxy does not run"));
        }
        proxies.dns.change(|_| {}, |proxy| Ok(proxy.ask(id, from, name)?));
        Ok(())
    }

    /// Whether the explicit proxy leads anybody to an address that is no pod's and no node's.
    pub(crate) fn leads_to(&self, address: IpAddr) -> bool {
        let proxies = self.kernel.as_ref().and_then(|kernel| kernel.proxies.as_ref());
        let gate = proxies.and_then(|proxies| proxies.gate.as_ref());
        gate.is_some_and(|gate| gate.leads_to(address))
    }

    /// Leads a client of the explicit proxy to these addresses.
    ///
    /// # Errors
    /// Nothing is in force that it could be judged by.
    pub(crate) fn lead_client(
        &mut self,
        pairs: &[NamedPair<'_>],
        (id, name): (u64, Option<&DnsName>),
    ) -> Result<()> {
        let proxies = self.kernel.as_mut().and_then(|kernel| kernel.proxies.as_mut());
        let gate = proxies.and_then(|proxies| proxies.gate.as_mut());
        let (Some(gate), Some(table)) = (gate, &self.table) else { bail!("nothing is in force yet") };
        gate.lead(table, &mut self.binder, pairs, (id, name))
    }

    /// Tells the gateway where a host is that it asked for, or why nowhere.
    pub(crate) fn answer(&self, id: u64, found: &Resolved) {
        let proxies = self.kernel.as_ref().and_then(|kernel| kernel.proxies.as_ref());
        if let Some(gate) = proxies.and_then(|proxies| proxies.gate.as_ref()) {
            gate.answer(id, found);
        }
    }
}

/// Whether a pod may ask any resolver itself. One that may not must not do so through the proxy either: a question can
/// carry something out.
fn may_ask<'r>(
    table: &Table,
    from: IpAddr,
    trusted: impl Iterator<Item = &'r IpAddr>,
) -> Result<(), Unresolved> {
    let mut refusing = None;
    for resolver in trusted {
        let judged =
            [Protocol::UDP, Protocol::TCP].map(|by| table.judge(from, *resolver, by, DNS_PORT).egress);
        if judged.iter().flatten().any(|ruling| ruling.verdict == Verdict::Allow) {
            return Ok(());
        }
        refusing = refusing.or(judged.into_iter().flatten().next());
    }
    let text = |rule: policy::RuleId| {
        let entry = table.rules.get(rule.0 as usize);
        entry.map(|entry| Arc::<str>::from(entry.to_string()))
    };
    Err(Unresolved {
        reason: Reason::LookupRefused,
        rule: refusing.and_then(|ruling| text(ruling.rule)),
        detail: Some("no policy of the pod speaks of the name, and it may ask no resolver".into()),
    })
}
