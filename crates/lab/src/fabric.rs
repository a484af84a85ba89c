//! The namespaces and wires of a lab.
//!
//! Every node and the outside hang on one namespace, the wire, which only routes. A pod hangs on its node by a veth
//! pair with host routes, as routed CNIs do it, or on its node's bridge. Neighbours are permanent entries, so made-up
//! addresses of any range work without address resolution.

use crate::LabError;
use crate::plan::{Network, Place, Plan};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Every namespace of every lab starts with this, then the pid and a number.
const PREFIX: &str = "cfd-";
/// The next hop of pods, nodes and the outside; reached by a permanent neighbour entry.
const GATEWAY4: &str = "169.254.1.1";
const GATEWAY6: &str = "fe80::1";
/// Hardware address of every node end of a pod's wire, and of every wire end of a node's.
const NEAR: &str = "02:cf:d0:ff:ff:01";

/// The bridge of a node's pods, under the name that most CNI plugins give it.
const BRIDGE: &str = "cni0";
/// Whether netfilter sees what a bridge forwards.
const BRIDGE_FILTERS: [&str; 2] =
    ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];

/// The namespaces of one lab.
#[derive(Debug)]
pub(crate) struct Fabric {
    namespaces: BTreeMap<Place, String>,
}

static LABS: AtomicU32 = AtomicU32::new(0);

/// Removes namespaces whose process is gone.
pub(crate) fn reap_leftovers() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    let stale = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !std::path::Path::new("/proc").join(pid).exists())
    });
    let batch: String = stale.map(|name| format!("netns del {name}\n")).collect();
    if !batch.is_empty() {
        // Another lab may be reaping the same ones; whoever is second has nothing to do.
        drop(ip(&["-force"], &batch));
    }
}

impl Fabric {
    /// Makes the namespaces, empty.
    pub(crate) fn up(plan: &Plan) -> Result<Self, LabError> {
        let lab = LABS.fetch_add(1, Ordering::Relaxed);
        let stem = format!("{PREFIX}{}-{lab}", std::process::id());
        let mut namespaces = BTreeMap::new();
        namespaces.insert(Place::Wire, format!("{stem}-wire"));
        namespaces.insert(Place::Outside, format!("{stem}-outside"));
        for node in &plan.nodes {
            namespaces.insert(Place::Node(node.name.clone()), format!("{stem}-node-{}", node.name));
        }
        for pod in plan.pods.iter().filter(|pod| !pod.host_network) {
            namespaces.insert(Place::of(pod), format!("{stem}-{}-{}", pod.namespace, pod.name));
        }
        let batch: String = namespaces.values().map(|name| format!("netns add {name}\n")).collect();
        let fabric = Self { namespaces };
        ip(&[], &batch)?;
        Ok(fabric)
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = (&Place, &str)> {
        self.namespaces.iter().map(|(place, name)| (place, name.as_str()))
    }

    pub(crate) fn namespace(&self, place: &Place) -> Option<&str> {
        self.namespaces.get(place).map(String::as_str)
    }

    /// Settings, wires, addresses and routes. `run` runs a closure inside a place.
    pub(crate) fn configure(
        &self,
        plan: &Plan,
        run: impl Fn(&Place, Box<dyn FnOnce() + Send>) -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        // Before any interface exists: new ones take the defaults.
        for place in self.namespaces.keys() {
            let routes = matches!(place, Place::Node(_) | Place::Wire);
            run(place, Box::new(move || settings(routes)))?;
        }
        let script = Script::of(plan, &self.namespaces);
        ip(&[], &script.links)?;
        for (namespace, batch) in &script.inside {
            ip(&["-n", namespace], batch)?;
        }
        for place in self.namespaces.keys().filter(|place| matches!(place, Place::Node(_))) {
            if plan.network == Network::Bridged {
                if !can_filter_bridges() {
                    let why = "netfilter does not see what a bridge forwards here: load br_netfilter";
                    return Err(LabError::Plan(why.to_owned()));
                }
                run(place, Box::new(|| BRIDGE_FILTERS.into_iter().for_each(|name| set(name, "1"))))?;
            }
            // The file appears with the first conntrack user; the enforcement point sets it again when it starts.
            run(place, Box::new(|| set("net/netfilter/nf_conntrack_acct", "1")))?;
        }
        Ok(())
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        let batch: String = self.namespaces.values().map(|name| format!("netns del {name}\n")).collect();
        drop(ip(&["-force"], &batch));
    }
}

/// Whether netfilter can see what a bridge forwards: on many machines only once the module `br_netfilter` is loaded.
pub fn can_filter_bridges() -> bool {
    BRIDGE_FILTERS.iter().all(|name| std::path::Path::new("/proc/sys").join(name).exists())
}

/// Writes one sysctl of the calling thread's namespace. Kernels differ in which exist, so absence is no error.
fn set(name: &str, value: &str) {
    drop(std::fs::write(format!("/proc/sys/{name}"), value));
}

fn settings(routes: bool) {
    for scope in ["all", "default"] {
        set(&format!("net/ipv4/conf/{scope}/rp_filter"), "0");
        set(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "0");
        set(&format!("net/ipv6/conf/{scope}/accept_dad"), "0");
        set(&format!("net/ipv6/conf/{scope}/accept_ra"), "0");
        set(&format!("net/ipv4/conf/{scope}/send_redirects"), "0");
        if routes {
            set(&format!("net/ipv6/conf/{scope}/forwarding"), "1");
        }
    }
    if routes {
        set("net/ipv4/ip_forward", "1");
    }
    // Probes read "unreachable" as "arrived", so the kernel must not save on those messages.
    set("net/ipv4/icmp_ratelimit", "0");
    set("net/ipv4/icmp_ratemask", "0");
    set("net/ipv4/icmp_msgs_per_sec", "1000000");
    set("net/ipv4/icmp_msgs_burst", "1000000");
    set("net/ipv6/icmp/ratelimit", "0");
    set("net/ipv6/icmp/ratemask", "");
    set("net/ipv4/tcp_invalid_ratelimit", "0");
}

/// What `ip` has to do: links from outside, then one batch per namespace.
#[derive(Default)]
struct Script {
    links: String,
    inside: BTreeMap<String, String>,
}

impl Script {
    fn of(plan: &Plan, namespaces: &BTreeMap<Place, String>) -> Self {
        let mut script = Self::default();
        let name = |place: &Place| namespaces.get(place).cloned().unwrap_or_default();
        let wire = name(&Place::Wire);
        // Without any local address the kernel calls every gateway invalid.
        let _ = writeln!(script.at(&wire), "link set lo up");
        let hangers =
            plan.nodes.iter().map(|node| (Place::Node(node.name.clone()), node.addresses.as_slice()));
        let hangers = hangers.chain(std::iter::once((Place::Outside, plan.outside.as_slice())));
        for (i, (place, addresses)) in hangers.enumerate() {
            let (port, far) = (format!("w{i}"), hardware(1, i));
            script.wire(&wire, &port, NEAR, &name(&place), &far);
            script.hang(&name(&place), addresses);
            for address in addresses {
                script.host_route(&wire, &port, *address, &far, None);
            }
            if let Place::Node(node) = &place {
                let pods = plan.pods.iter().filter(|pod| pod.node == *node && !pod.host_network);
                for address in pods.flat_map(|pod| &pod.addresses) {
                    script.host_route(&wire, &port, *address, &far, None);
                }
            } else {
                // Whatever nobody has is outside.
                let _ =
                    writeln!(script.at(&wire), "neigh add {GATEWAY4} lladdr {far} dev {port} nud permanent");
                let _ = writeln!(script.at(&wire), "route add default via {GATEWAY4} dev {port} onlink");
                let _ =
                    writeln!(script.at(&wire), "neigh add {GATEWAY6} lladdr {far} dev {port} nud permanent");
                let _ = writeln!(script.at(&wire), "route add default via {GATEWAY6} dev {port} onlink");
            }
        }
        if plan.network == Network::Bridged {
            for node in &plan.nodes {
                let batch = script.at(&name(&Place::Node(node.name.clone())));
                let _ = writeln!(batch, "link add {BRIDGE} address {NEAR} type bridge\nlink set {BRIDGE} up");
            }
        }
        let own: Vec<_> = plan.pods.iter().enumerate().filter(|(_, pod)| !pod.host_network).collect();
        for (i, pod) in own.iter().copied() {
            let node = Place::Node(pod.node.clone());
            let (mut port, far, inside) = (format!("cfd{i}"), hardware(2, i), name(&Place::of(pod)));
            match plan.network {
                Network::Routed => script.wire(&name(&node), &port, NEAR, &inside, &far),
                Network::Bridged => {
                    script.wire(&name(&node), &port, &hardware(3, i), &inside, &far);
                    let _ = writeln!(script.at(&name(&node)), "link set {port} master {BRIDGE}");
                    BRIDGE.clone_into(&mut port);
                }
            }
            script.hang(&inside, &pod.addresses);
            if plan.network == Network::Bridged {
                let others = own.iter().filter(|(at, other)| *at != i && other.node == pod.node);
                for (at, address) in
                    others.flat_map(|(at, other)| other.addresses.iter().map(|it| (*at, *it)))
                {
                    script.host_route(&inside, "eth0", address, &hardware(2, at), None);
                }
            }
            let sources =
                plan.nodes.iter().find(|known| known.name == pod.node).map(|known| &known.addresses);
            for address in &pod.addresses {
                let same_family = |source: &&IpAddr| source.is_ipv4() == address.is_ipv4();
                let source = sources.and_then(|all| all.iter().find(same_family));
                script.host_route(&name(&node), &port, *address, &far, source);
            }
        }
        script
    }

    fn at(&mut self, namespace: &str) -> &mut String {
        self.inside.entry(namespace.to_owned()).or_default()
    }

    /// A veth pair: `port` in the near namespace with hardware address `own`, `eth0` with `far` in the other.
    fn wire(&mut self, near: &str, port: &str, own: &str, inside: &str, far: &str) {
        let _ = writeln!(
            self.links,
            "link add {port} netns {near} address {own} type veth peer name eth0 netns {inside} address {far}"
        );
        let _ = writeln!(self.at(near), "link set {port} up");
    }

    /// Addresses and the way out of a namespace that hangs on `eth0`.
    fn hang(&mut self, namespace: &str, addresses: &[IpAddr]) {
        let batch = self.at(namespace);
        let _ = writeln!(batch, "link set lo up\nlink set eth0 up");
        for address in addresses {
            let _ = match address {
                IpAddr::V4(v4) => writeln!(batch, "addr add {v4}/32 dev eth0"),
                IpAddr::V6(v6) => writeln!(batch, "addr add {v6}/128 dev eth0 nodad"),
            };
        }
        let _ = writeln!(batch, "neigh add {GATEWAY4} lladdr {NEAR} dev eth0 nud permanent");
        let _ = writeln!(batch, "route add default via {GATEWAY4} dev eth0 onlink");
        let _ = writeln!(batch, "neigh add {GATEWAY6} lladdr {NEAR} dev eth0 nud permanent");
        let _ = writeln!(batch, "route add default via {GATEWAY6} dev eth0 onlink");
    }

    /// `address` is behind `port`, at hardware address `far`; `source` is what the namespace itself speaks from.
    fn host_route(
        &mut self,
        namespace: &str,
        port: &str,
        address: IpAddr,
        far: &str,
        source: Option<&IpAddr>,
    ) {
        let batch = self.at(namespace);
        let length = if address.is_ipv4() { 32 } else { 128 };
        let source = source.map(|source| format!(" src {source}")).unwrap_or_default();
        let _ = writeln!(batch, "route add {address}/{length} dev {port}{source}");
        let _ = writeln!(batch, "neigh add {address} lladdr {far} dev {port} nud permanent");
    }
}

/// A locally administered hardware address; [`Plan::LIMIT`] keeps `index` within its two octets.
fn hardware(kind: u8, index: usize) -> String {
    format!("02:cf:d0:{kind:02x}:{:02x}:{:02x}", index >> 8 & 0xff, index & 0xff)
}

/// Runs `ip` with a batch of commands.
fn ip(arguments: &[&str], batch: &str) -> Result<(), LabError> {
    let action = || format!("ip {} -batch", arguments.join(" "));
    let mut child = Command::new("ip")
        .args(arguments)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| LabError::io(action(), e))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(batch.as_bytes()).map_err(|e| LabError::io(action(), e))?;
    }
    let output = child.wait_with_output().map_err(|e| LabError::io(action(), e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LabError::Tool { action: action(), output: said })
}
