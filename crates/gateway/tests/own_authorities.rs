//! Namespaces with an inspection authority of their own: in whose name their pods are answered, and whom a broken one concerns.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

use crate::support;
use gateway::{Authority, AuthorityPem, Ceiling, End, OwnInspection, Reason, State};
use rustls::pki_types::ServerName;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;
use support::POD;
use support::web::{Way, World, anything, run, state_of, trusting};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

/// Pods of these namespaces, by the last byte of their address.
const PODS: [(u8, &str); 5] = [(1, "plain"), (2, "tenant"), (3, "broken"), (4, "missing"), (6, "late")];
/// The address of one of which nobody said what it is.
const UNKNOWN: u8 = 5;

fn at(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn made() -> AuthorityPem {
    Authority::generate(SystemTime::now()).unwrap()
}

/// The usual state with more pods, all of them alike but for their namespace.
fn state(world: &World, own: &[(&str, Option<AuthorityPem>)]) -> State {
    let mut state = state_of(anything(), Ceiling::default(), Some(Arc::clone(&world.inspection)));
    let pod = state.pods[&POD].clone();
    state.pods = (1..=6).map(|last| (at(last), pod.clone())).collect();
    state.workloads = PODS.map(|(last, space)| (at(last), format!("{space}/p").into())).into();
    let authorities = own.iter().map(|(space, it)| ((*space).into(), it.clone())).collect();
    state.own_inspection = Arc::new(OwnInspection { authorities, roots: world.inspection.roots.clone() });
    state
}

/// Whether a pod's client that trusts this authority and no other believes whom it is answered by.
fn believes(world: &World, pod: u8, authority: &AuthorityPem) -> bool {
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((at(pod), 0).into()).unwrap();
        let stream = socket.connect(world.proxy.address).await.unwrap();
        let connector = TlsConnector::from(trusting(authority, Way::Tls1.alpn()));
        connector.connect(ServerName::try_from("hub.example").unwrap(), stream).await.is_ok()
    })
}

#[test]
fn each_pod_is_answered_in_the_name_of_its_namespaces_authority_and_a_broken_one_closes_its_namespace_alone()
{
    let world = World::new(Way::Tls1, anything());
    let (of_all, tenant) = (world.inspection.authority.clone(), made());
    let broken = AuthorityPem { key: "none".into(), ..made() };
    let own = [("tenant", Some(tenant.clone())), ("broken", Some(broken.clone())), ("missing", None)];
    world.proxy.table.try_replace(state(&world, &own)).unwrap();
    assert!(believes(&world, 1, &of_all));
    assert_eq!(world.proxy.record().reason, Reason::NameAllowed);
    assert!(believes(&world, 2, &tenant));
    assert_eq!(world.proxy.record().reason, Reason::NameAllowed);
    for (pod, other) in [(1, &tenant), (2, &of_all)] {
        assert!(!believes(&world, pod, other), "pod {pod} is answered by another's authority");
        assert_eq!(world.proxy.record().reason, Reason::ClientDistrusts);
    }
    for pod in [3, 4, UNKNOWN] {
        for authority in [&of_all, &tenant, &broken] {
            assert!(!believes(&world, pod, authority), "pod {pod}");
            let record = world.proxy.record();
            assert_eq!((record.reason, record.end), (Reason::NoAuthority, End::Refused), "pod {pod}");
        }
    }
}

#[test]
fn an_authority_comes_goes_and_is_replaced_without_the_clusters_in_between() {
    let world = World::new(Way::Tls1, anything());
    let (of_all, first, next) = (world.inspection.authority.clone(), made(), made());
    let go_by = |own| world.proxy.table.try_replace(state(&world, &[("late", own)])).unwrap();
    let reason = |authority| (believes(&world, 6, authority), world.proxy.record().reason);
    go_by(None);
    assert_eq!(reason(&of_all), (false, Reason::NoAuthority));
    go_by(Some(first.clone()));
    assert_eq!(reason(&first), (true, Reason::NameAllowed));
    go_by(Some(next.clone()));
    assert_eq!(reason(&first), (false, Reason::ClientDistrusts));
    assert_eq!(reason(&next), (true, Reason::NameAllowed));
    go_by(None);
    assert_eq!(reason(&next), (false, Reason::NoAuthority));
    // The cluster's authority is gone: nothing changes for who has its own.
    let without = State { inspection: None, ..state(&world, &[("late", Some(next.clone()))]) };
    world.proxy.table.try_replace(without).unwrap();
    assert_eq!(reason(&next), (true, Reason::NameAllowed));
    assert!(!believes(&world, 1, &of_all));
    assert_eq!(world.proxy.record().reason, Reason::NoAuthority);
    // The namespace does not want its own any more.
    world.proxy.table.try_replace(state(&world, &[])).unwrap();
    assert_eq!(reason(&of_all), (true, Reason::NameAllowed));
}
