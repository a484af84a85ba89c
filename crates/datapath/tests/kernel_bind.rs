//! Bindings: what DNS gives an endpoint, in the kernel when `bind` returns, and no longer than it should.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the failure report"
)]

use crate::support::*;
use datapath::{Binding, Config, Datapath, NftDatapath, Span};
use policy::Protocol;
use policy::table::{Cell, Row, Ruling};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

/// Pods 0 and 1 are closed towards pod 2, which is outside.
fn closed() -> Tables {
    let mut tables = Tables::new(2);
    let denied = tables.row(deny(30), vec![]);
    tables.egress(0).otherwise = denied;
    tables.egress(1).otherwise = denied;
    tables
}

fn row(otherwise: Ruling, cells: Vec<Cell>) -> Option<Arc<Row>> {
    Some(Arc::new(Row { otherwise, cells }))
}

fn web(rule: u32) -> Option<Arc<Row>> {
    row(deny(30), vec![cell(Protocol::TCP, 80, 80, allow(rule))])
}

fn bind(datapath: &mut NftDatapath, from: IpAddr, to: IpAddr, span: Span, row: Option<Arc<Row>>) {
    datapath.bind(&[Binding { from, to, span, row }]).unwrap();
}

fn connect(from: &Namespace, to: IpAddr, port: u16) -> TcpStream {
    from.inside(move || TcpStream::connect_timeout(&SocketAddr::new(to, port), SILENCE).unwrap())
}

fn lab() -> Lab {
    let mut lab = Lab::new(3);
    lab.serve(2, 80);
    lab.serve(2, 81);
    lab
}

#[test]
fn kernel_opens_a_bound_address_to_the_pod_that_asked_and_to_no_other() {
    if !privileged() {
        return;
    }
    let lab = lab();
    let mut datapath = lab.datapath(Config::default());
    let _ = datapath.apply(&closed().table).unwrap();
    for (asked, other, to) in [(v4(0), v4(1), v4(2)), (v6(0), v6(1), v6(2))] {
        assert!(!tcp(&lab.pods[0], to, 80));
        bind(&mut datapath, asked, to, Span::Live, web(31));
        assert!(tcp(&lab.pods[0], to, 80), "in force when bind returns");
        assert!(!tcp(&lab.pods[0], to, 81), "its row is complete");
        assert!(!tcp(&lab.pods[1], to, 80), "{other} did not ask");
        // Ranges that are not listed one by one.
        let wide = row(deny(30), vec![cell(Protocol::TCP, 70, 8000, allow(32))]);
        bind(&mut datapath, asked, to, Span::Live, wide);
        assert!(tcp(&lab.pods[0], to, 81));
        bind(&mut datapath, asked, to, Span::Live, None);
        assert!(!tcp(&lab.pods[0], to, 81));
    }
}

#[test]
fn kernel_lets_open_connections_outlive_an_answer_and_opens_no_new_ones() {
    if !privileged() {
        return;
    }
    let lab = lab();
    let mut datapath = lab.datapath(Config::default());
    let mut tables = closed();
    let _ = datapath.apply(&tables.table).unwrap();
    for (from, to) in [(v4(0), v4(2)), (v6(0), v6(2))] {
        bind(&mut datapath, from, to, Span::Live, web(31));
        let mut open = connect(&lab.pods[0], to, 80);
        assert!(echoes(&mut open));
        datapath
            .bind(&[
                Binding { from, to, span: Span::Live, row: None },
                Binding { from, to, span: Span::Past, row: web(31) },
            ])
            .unwrap();
        assert!(echoes(&mut open), "its answer ran out, it is open");
        assert!(!tcp(&lab.pods[0], to, 80), "a new one needs a new answer");
        // A change of policy judges everything again.
        let row = tables.row(deny(30), vec![cell(Protocol::TCP, 80, 80, allow(41))]);
        tables.table.past = [((from, to), row)].into();
        let before = datapath.tag();
        let unrelated = tables.row(deny(33), vec![]);
        tables.ingress(1).otherwise = unrelated;
        assert!(datapath.apply(&tables.table).unwrap().changed);
        assert_ne!(datapath.tag(), before);
        assert!(echoes(&mut open), "judged again by what it was opened under");
        assert!(!tcp(&lab.pods[0], to, 80));
        // Policy does not allow the name any more.
        tables.table.past.clear();
        assert!(datapath.apply(&tables.table).unwrap().changed);
        assert!(!echoes(&mut open), "a policy that changed cuts it");
        tables = closed();
        let _ = datapath.apply(&tables.table).unwrap();
    }
}

#[test]
fn kernel_judges_again_where_a_binding_takes_something_away() {
    if !privileged() {
        return;
    }
    let lab = lab();
    let mut datapath = lab.datapath(Config::default());
    let _ = datapath.apply(&closed().table).unwrap();
    let both = |rule| row(deny(30), vec![cell(Protocol::TCP, 80, 81, allow(rule))]);
    bind(&mut datapath, v4(0), v4(2), Span::Live, web(31));
    let mut open = connect(&lab.pods[0], v4(2), 80);
    let before = datapath.tag();
    bind(&mut datapath, v4(0), v4(2), Span::Live, both(32));
    assert_eq!(datapath.tag(), before, "who gains is not judged again");
    assert!(echoes(&mut open) && tcp(&lab.pods[0], v4(2), 81));
    let other = row(deny(30), vec![cell(Protocol::TCP, 81, 81, allow(31))]);
    bind(&mut datapath, v4(0), v4(2), Span::Live, other);
    assert!(!echoes(&mut open), "the address has another name now, which policy denies there");
    assert!(tcp(&lab.pods[0], v4(2), 81));
}

#[test]
fn kernel_bindings_survive_the_process_and_a_table_that_has_them() {
    if !privileged() {
        return;
    }
    let lab = lab();
    let mut datapath = lab.datapath(Config::default());
    let mut tables = closed();
    let _ = datapath.apply(&tables.table).unwrap();
    bind(&mut datapath, v4(0), v4(2), Span::Live, web(31));
    bind(&mut datapath, v6(0), v6(2), Span::Live, web(31));
    drop(datapath);
    assert!(tcp(&lab.pods[0], v4(2), 80), "nobody is there, and what was bound holds");
    let mut datapath = lab.datapath(Config::default());
    let row = tables.row(deny(30), vec![cell(Protocol::TCP, 80, 80, allow(31))]);
    tables.table.bound = [((v4(0), v4(2)), row), ((v6(0), v6(2)), row)].into();
    assert!(!datapath.apply(&tables.table).unwrap().changed, "it is what the kernel has");
    // A process that does not know the rows of an earlier one binds on nonetheless.
    let mut datapath = lab.datapath(Config::default());
    bind(&mut datapath, v4(0), v4(2), Span::Live, web(34));
    assert!(tcp(&lab.pods[0], v4(2), 80));
    tables.table.bound.clear();
    let _ = datapath.apply(&tables.table).unwrap();
    assert!(!tcp(&lab.pods[0], v4(2), 80) && !tcp(&lab.pods[0], v6(2), 80));
}

#[test]
fn kernel_refuses_bindings_beyond_its_bound_and_keeps_what_it_has() {
    if !privileged() {
        return;
    }
    let lab = Lab::new(1);
    let mut datapath = lab.datapath(Config::default());
    let mut tables = Tables::new(1);
    let row = tables.row(deny(30), vec![]);
    tables.table.bound = (0..1 << 19)
        .map(|number| ((v4(0), IpAddr::V4(Ipv4Addr::from_bits(0x0c00_0000 + number))), row))
        .collect();
    let _ = datapath.apply(&tables.table).unwrap();
    let one_more = Binding { from: v4(0), to: v4(1), span: Span::Live, row: web(31) };
    let error = datapath.bind(std::slice::from_ref(&one_more)).unwrap_err().to_string();
    assert!(error.contains("bound4 needs 524289"), "{error}");
    let in_place = Binding { to: "12.0.0.0".parse().unwrap(), row: None, ..one_more.clone() };
    datapath.bind(&[in_place, one_more]).unwrap();
}
