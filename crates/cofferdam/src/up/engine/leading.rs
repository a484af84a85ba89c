//! Where clients of the explicit proxy are led.
//!
//! Enters: hosts that gateways ask for, and what the DNS proxy found. Leaves: what the gateway must know of the addresses
//! to judge by, and then the addresses; or why there are none. Guarantees: nobody is led to a pod or a node, for those
//! judge who comes by its own address, and the proxy has the node's.

use super::Engine;
use super::learning::pairs;
use gateway::{Ask, Host, Reason, Resolved, Unresolved};
use policy::DnsName;
use std::net::IpAddr;
use std::sync::Arc;

/// What is to be done for the explicit proxy of a node.
pub(super) enum Job {
    /// The gateway asks.
    Ask(Ask),
    /// The DNS proxy found.
    Found(u64, ::dns::Found),
}

impl Engine {
    /// Does it, and has the gateway hear of it; or of why not.
    pub(super) fn lead_clients(&mut self, node: &Arc<str>, job: &Job) {
        let (id, led) = match job {
            Job::Ask(Ask { id, pod, host: Host::Address(to) }) => {
                (*id, self.lead_to(node, *id, (*pod, None), &[*to]))
            }
            Job::Ask(Ask { id, pod, host: Host::Name(name) }) => {
                let enforcer = self.enforcers.iter_mut().find(|it| it.node() == node);
                (*id, enforcer.map_or(Ok(()), |enforcer| enforcer.look_up(*id, *pod, name)))
            }
            Job::Found(id, found) => {
                let led = addresses(found)
                    .and_then(|found_at| self.lead_to(node, *id, (found.pod, Some(&found.name)), found_at));
                (*id, led)
            }
        };
        let Err(unresolved) = led else { return };
        let answer: Resolved = Err(unresolved);
        if let Some(enforcer) = self.enforcers.iter().find(|it| it.node() == node) {
            enforcer.answer(id, &answer);
        }
    }

    fn lead_to(
        &mut self,
        node: &Arc<str>,
        id: u64,
        (from, name): (IpAddr, Option<&DnsName>),
        addresses: &[IpAddr],
    ) -> Result<(), Unresolved> {
        let pod = self.pods_at.get(&from).ok_or_else(|| unresolved(Reason::UnknownPod))?;
        let Some(enforcer) = self.enforcers.iter_mut().find(|it| it.node() == node) else { return Ok(()) };
        let is_outside = |to: IpAddr| !self.pods_at.contains_key(&to) && !self.nodes_at.contains(&to);
        let leads_to = |to: &IpAddr| is_outside(*to) && enforcer.leads_to(*to);
        let led: Vec<IpAddr> = addresses.iter().copied().filter(leads_to).collect();
        if led.is_empty() {
            return Err(unresolved(if addresses.is_empty() { Reason::NoAddress } else { Reason::Inside }));
        }
        let known = led.into_iter().map(|to| (pod, to));
        let mut pairs = pairs(known, &self.names, &self.addresses, is_outside);
        pairs.retain(|pair| pair.from == from);
        if pairs.is_empty() {
            return Err(unresolved(Reason::NoAddress));
        }
        enforcer.lead_client(&pairs, (id, name)).map_err(|error| Unresolved {
            detail: Some(format!("{error:#}").into()),
            ..unresolved(Reason::NoPolicy)
        })
    }
}

fn unresolved(reason: Reason) -> Unresolved {
    Unresolved { reason, rule: None, detail: None }
}

/// What was found, or why nothing was.
fn addresses(found: &::dns::Found) -> Result<&[IpAddr], Unresolved> {
    use ::dns::{Reason as Dns, Verdict};
    let reason = match (found.reason.verdict(), found.reason) {
        (Verdict::Allow, _) => return Ok(&found.addresses),
        (_, Dns::UnknownPod) => Reason::UnknownPod,
        (_, Dns::Rate | Dns::Busy) => Reason::TooManyAsked,
        (Verdict::Deny, _) => Reason::LookupRefused,
        (Verdict::Fail, _) => Reason::NoAddress,
    };
    let (rule, detail) = (found.rule.clone(), Some(found.reason.describe().into()));
    Err(Unresolved { reason, rule, detail })
}
