//! Whether packets of this node's pods pass it unjudged: where pods hang on a bridge, netfilter sees what the bridge
//! forwards only if it is told to.
//!
//! Enters: addresses of pods. Leaves: the bridge that one of them is behind, and the setting that is missing.
//! Guarantees: nothing is asked about addresses on a node without bridges. Does not: change any setting.
//! Source: kernel documentation `networking/bridge`, `linux/rtnetlink.h`.

use crate::error::ApplyError;
use crate::netlink::{ACK, DUMP, Messages, Parsed, Socket};
use nix::sys::socket::SockProtocol;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::IpAddr;

const GET_LINK: u16 = 18;
const NEW_LINK: u16 = 16;
const GET_ROUTE: u16 = 26;
const NEW_ROUTE: u16 = 24;
/// What follows the family in the fixed part of a link's and of a route's message, beyond what [`Messages`] writes.
const LINK_REST: usize = 12;
const ROUTE_REST: usize = 8;
const LINK_NAME: u16 = 3;
const LINK_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
const ROUTE_TO: u16 = 1;
const ROUTE_DEVICE: u16 = 4;
const INET: u8 = 2;
const INET6: u8 = 10;

/// Pods that reach each other past the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bypass {
    /// The bridge that they hang on.
    pub bridge: String,
    /// The setting that must be 1.
    pub setting: &'static str,
}

impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pods on bridge {} reach each other unjudged: load br_netfilter and set {} to 1 on this node",
            self.bridge, self.setting
        )
    }
}

/// Looks for it in one network namespace.
#[derive(Debug)]
pub struct Paths {
    socket: Socket,
}

impl Paths {
    /// In the calling thread's network namespace, where [`Self::bypass`] must be called, too.
    ///
    /// # Errors
    /// No rtnetlink.
    pub fn open() -> Result<Self, ApplyError> {
        let socket = Socket::open_protocol(SockProtocol::NetlinkRoute);
        Ok(Self { socket: socket.map_err(|errno| ApplyError::from_errno("asking for interfaces", errno))? })
    }

    /// The first of the pods' addresses that others on its bridge reach unjudged.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn bypass(&mut self, pods: impl Iterator<Item = IpAddr>) -> Result<Option<Bypass>, ApplyError> {
        let bridges = self.bridges()?;
        if bridges.is_empty() {
            return Ok(None);
        }
        let unfiltered =
            [("net.bridge.bridge-nf-call-iptables", true), ("net.bridge.bridge-nf-call-ip6tables", false)]
                .into_iter()
                .filter(|(setting, _)| !is_set(setting));
        let unfiltered: Vec<_> = unfiltered.collect();
        for pod in pods {
            let Some((setting, _)) = unfiltered.iter().find(|(_, v4)| *v4 == pod.is_ipv4()) else { continue };
            if let Some(bridge) = self.device(pod)?.and_then(|device| bridges.get(&device)) {
                return Ok(Some(Bypass { bridge: bridge.clone(), setting }));
            }
        }
        Ok(None)
    }

    /// Names by number.
    fn bridges(&mut self) -> Result<BTreeMap<u32, String>, ApplyError> {
        let mut messages = self.socket.messages();
        push(&mut messages, (GET_LINK, DUMP), 0, LINK_REST, |a| {
            a.nest(LINK_INFO, |a| {
                a.text(INFO_KIND, "bridge");
            });
        });
        let mut found = BTreeMap::new();
        let asked = self.socket.query(&messages, |message| {
            let number = message.payload.get(4..8).and_then(|bytes| bytes.try_into().ok());
            let attributes = Parsed::from(message.payload.get(4 + LINK_REST..).unwrap_or_default());
            let kind = attributes.nest(LINK_INFO).and_then(|info| info.text(INFO_KIND));
            // Old kernels do not filter.
            if message.kind == NEW_LINK
                && kind == Some("bridge")
                && let (Some(number), Some(name)) = (number, attributes.text(LINK_NAME))
            {
                found.insert(u32::from_ne_bytes(number), name.to_owned());
            }
        });
        asked.map_err(|error| ApplyError::from_transact(error, &[]))?;
        Ok(found)
    }

    /// Number of the interface that packets to an address leave by.
    fn device(&mut self, address: IpAddr) -> Result<Option<u32>, ApplyError> {
        let mut messages = self.socket.messages();
        let family = if address.is_ipv4() { INET } else { INET6 };
        push(&mut messages, (GET_ROUTE, ACK), family, ROUTE_REST, |a| {
            match address {
                IpAddr::V4(address) => a.bytes(ROUTE_TO, &address.octets()),
                IpAddr::V6(address) => a.bytes(ROUTE_TO, &address.octets()),
            };
        });
        let mut device = None;
        let asked = self.socket.query(&messages, |message| {
            let attributes = Parsed::from(message.payload.get(4 + ROUTE_REST..).unwrap_or_default());
            let number = attributes.get(ROUTE_DEVICE).and_then(|bytes| bytes.try_into().ok());
            if let Some(number) = number.filter(|_| message.kind == NEW_ROUTE) {
                device = Some(u32::from_ne_bytes(number));
            }
        });
        match asked {
            // There is no route to a pod that is not there yet.
            Ok(()) | Err(crate::netlink::TransactError::Refused(_)) => Ok(device),
            Err(error) => Err(ApplyError::from_transact(error, &[])),
        }
    }
}

fn push(
    messages: &mut Messages,
    (kind, flags): (u16, u16),
    family: u8,
    rest: usize,
    fill: impl FnOnce(&mut crate::netlink::Attributes<'_>),
) {
    messages.push(kind, flags, family, 0, |a| {
        a.encoded(&vec![0; rest]);
        fill(a);
    });
}

/// Whether netfilter is called. The file is absent while the module is not loaded.
fn is_set(setting: &str) -> bool {
    let path = format!("/proc/sys/{}", setting.replace('.', "/"));
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}
