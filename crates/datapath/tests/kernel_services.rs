//! Services as kube-proxy makes them: a destination translated before our hooks, a source masqueraded after them. The
//! connection is judged between the pod that opened it and the endpoint behind the Service, on the endpoint's port.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the failure report"
)]

use crate::support::*;
use datapath::Datapath;
use policy::{Protocol, RuleId};
use std::net::{IpAddr, SocketAddr, TcpStream};

/// Which connections to Services get the node's address as their source.
#[derive(Clone, Copy, PartialEq)]
enum Masquerade {
    /// Of an endpoint to itself, as always.
    Hairpin,
    /// All of them, as with `masqueradeAll`.
    All,
}

/// Service n has the addresses 10.96.0.n and fd96::n, port 443, and one endpoint: pod n, or the node, on port 8080.
fn service(lab: &Lab, masquerade: Masquerade) {
    lab.node.must(
        "ip route add 10.96.0.0/24 via 10.77.2.2; ip -6 route add fd96::/64 via fd77:2::2
         nft add table inet proxy
         nft add chain inet proxy pre \"{ type nat hook prerouting priority dstnat; }\"
         nft add chain inet proxy out \"{ type nat hook output priority -100; }\"
         nft add chain inet proxy services
         nft add rule inet proxy pre jump services
         nft add rule inet proxy out jump services
         nft add chain inet proxy post \"{ type nat hook postrouting priority srcnat; }\"
         nft add rule inet proxy post meta mark and 0x4000 == 0 return
         nft add rule inet proxy post meta mark set meta mark xor 0x4000
         nft add rule inet proxy post masquerade",
    );
    let endpoints = [(v4(0), v6(0)), (v4(1), v6(1)), (v4(2), v6(2)), (node4(0), node6(0))];
    for (n, (e4, e6)) in endpoints.into_iter().enumerate() {
        let (from4, from6) = match masquerade {
            Masquerade::Hairpin => (format!("ip saddr {e4}"), format!("ip6 saddr {e6}")),
            Masquerade::All => Default::default(),
        };
        lab.node.must(&format!(
            "nft add chain inet proxy s{n}
             nft add rule inet proxy services ip daddr 10.96.0.{n} tcp dport 443 goto s{n}
             nft add rule inet proxy services ip6 daddr fd96::{n} tcp dport 443 goto s{n}
             nft add rule inet proxy s{n} {from4} meta mark set meta mark or 0x4000
             nft add rule inet proxy s{n} {from6} meta mark set meta mark or 0x4000
             nft add rule inet proxy s{n} meta nfproto ipv4 meta l4proto tcp dnat ip to {e4}:8080
             nft add rule inet proxy s{n} meta nfproto ipv6 meta l4proto tcp dnat ip6 to [{e6}]:8080"
        ));
    }
}

const NODE: usize = 3;

fn service4(n: usize) -> IpAddr {
    format!("10.96.0.{n}").parse().unwrap()
}

fn service6(n: usize) -> IpAddr {
    format!("fd96::{n}").parse().unwrap()
}

/// Pod 1 takes TCP 8080 from pod 0 only, and may open nothing.
/// Pod 2 may open TCP 8080 to pod 0 only; that includes neither pod 1 nor its own node.
fn tables() -> Tables {
    let mut tables = Tables::new(3);
    let closed = tables.row(deny(20), vec![]);
    let target = tables.row(deny(20), vec![cell(Protocol::TCP, 8080, 8080, allow(21))]);
    // What would allow the Service's address and port, if anything looked at them.
    let port = tables.row(deny(22), vec![cell(Protocol::TCP, 443, 443, allow(23))]);
    tables.ingress(1).otherwise = port;
    tables.ingress(1).rows.insert(class(0), target);
    tables.egress(1).otherwise = closed;
    tables.egress(2).otherwise = port;
    tables.egress(2).rows.insert(class(0), target);
    tables
}

#[test]
fn kernel_lets_a_pod_reach_itself_through_a_service_and_keeps_that_open_over_changes() {
    if !privileged() {
        return;
    }
    let mut world = World::new(3, &tables());
    world.lab.serve(1, 8080);
    service(&world.lab, Masquerade::Hairpin);
    for (service, own) in [(service4(1), v4(1)), (service6(1), v6(1))] {
        let mut open = world.lab.pods[1]
            .inside(move || TcpStream::connect_timeout(&SocketAddr::new(service, 443), SILENCE).unwrap());
        assert!(echoes(&mut open));
        let got = world.ruling(|flow| flow.from == own && flow.to == own);
        assert_eq!(got, Some(allow(RuleId::SAME_ENDPOINT.0)));
        // Judged again, by its packets of either direction.
        let mut other = tables();
        other.ingress(1).rows.clear();
        other.row(deny(30), vec![]);
        assert!(world.datapath.apply(&other.table).unwrap().changed);
        assert!(echoes(&mut open));
        assert!(world.datapath.apply(&tables().table).unwrap().changed);
        assert!(echoes(&mut open));
    }
    // Everything else of this pod stays closed.
    world.lab.serve(0, 8080);
    for service in [service4(0), service6(0)] {
        assert!(!tcp(&world.lab.pods[1], service, 443));
    }
}

#[test]
fn kernel_judges_a_service_by_its_endpoint_and_by_the_pod_that_opened_even_when_masqueraded() {
    if !privileged() {
        return;
    }
    for masquerade in [Masquerade::Hairpin, Masquerade::All] {
        let mut world = World::new(3, &tables());
        for pod in 0..3 {
            world.lab.serve(pod, 8080);
        }
        service(&world.lab, masquerade);
        let services: [fn(usize) -> IpAddr; 2] = [service4, service6];
        let pods: [fn(usize) -> IpAddr; 2] = [v4, v6];
        for (service, pod) in services.into_iter().zip(pods) {
            for (from, to, passes, ruling) in [
                // By the destination's ingress.
                (0, 1, true, allow(21)),
                (2, 0, true, allow(0)),
                // Denied by the source's egress, and by it alone.
                (2, 1, false, deny(22)),
                (1, 0, false, deny(20)),
                (0, 0, true, allow(RuleId::SAME_ENDPOINT.0)),
                (2, 2, true, allow(RuleId::SAME_ENDPOINT.0)),
            ] {
                assert_eq!(tcp(&world.lab.pods[from], service(to), 443), passes, "{from} to {to}");
                let got =
                    world.ruling(|flow| (flow.from, flow.to, flow.to_port) == (pod(from), pod(to), 8080));
                assert_eq!(got, Some(ruling), "{from} to {to}");
            }
        }
        // Denied by the destination's ingress: the same Service, when the pod that may use it changes.
        let mut other = tables();
        let row = other.ingress(1).rows.remove(&class(0)).unwrap();
        other.ingress(1).rows.insert(class(2), row);
        let _ = world.datapath.apply(&other.table).unwrap();
        for (service, from, to) in [(service4(1), v4(0), v4(1)), (service6(1), v6(0), v6(1))] {
            assert!(!tcp(&world.lab.pods[0], service, 443));
            assert_eq!(world.ruling(|flow| (flow.from, flow.to) == (from, to)), Some(deny(22)));
        }
    }
}

#[test]
fn kernel_judges_services_of_and_from_the_own_node() {
    if !privileged() {
        return;
    }
    let mut world = World::new(3, &tables());
    world.lab.serve(1, 8080);
    world.lab.serve_on_node(8080);
    service(&world.lab, Masquerade::Hairpin);
    for (service, node, pod) in [(service4(NODE), node4(0), v4(2)), (service6(NODE), node6(0), v6(2))] {
        // Whether a pod may open a connection to its node is for its egress to say.
        assert!(tcp(&world.lab.pods[0], service, 443));
        assert!(!tcp(&world.lab.pods[2], service, 443));
        assert_eq!(world.ruling(|flow| (flow.from, flow.to) == (pod, node)), Some(deny(22)));
    }
    for (service, pod) in [(service4(1), v4(1)), (service6(1), v6(1))] {
        assert!(tcp(&world.lab.node, service, 443), "the own node is always allowed");
        let got = world.ruling(|flow| flow.to == pod && flow.to_port == 8080);
        assert_eq!(got, Some(allow(RuleId::OWN_NODE.0)));
    }
}
