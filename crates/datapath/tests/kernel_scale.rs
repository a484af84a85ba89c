//! Sizes: large tables load in one transaction, and single addresses bind fast. Times are printed, not asserted.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the failure report"
)]

mod support;

use datapath::{Config, Datapath};
use policy::Protocol;
use policy::table::ClassId;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;
use support::*;

fn large(rows: u32, base: u32) -> Tables {
    let mut tables = Tables::new(2);
    for i in 0..rows {
        let port = u16::try_from(i % 50_000).unwrap() + 1;
        let cells = vec![
            cell(Protocol::TCP, port, port, allow(16 + base + i)),
            cell(Protocol::TCP, port + 5, port + 5, allow(16 + base + i)),
            cell(Protocol::UDP, port, port, deny(16 + base + i)),
        ];
        let row = tables.row(deny(16 + base + i), cells);
        tables.ingress(1).rows.insert(ClassId(1000 + i), row);
        tables.table.hosts.insert(IpAddr::from(Ipv4Addr::from(0x0b00_0000 + i)), ClassId(1000 + i));
    }
    tables
}

#[test]
fn kernel_loads_ten_thousand_rows_in_one_transaction() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 80);
    let mut datapath = lab.datapath(Config::default());
    for (rows, base) in [(10, 0), (1000, 0), (10_000, 0), (10_000, 50_000)] {
        let tables = large(rows, base);
        let applied = datapath.apply(&tables.table).unwrap();
        eprintln!("{rows} rows: {applied:?}");
        assert!(tcp(&lab.pods[0], v4(1), 80));
    }
    let start = Instant::now();
    let mut reopened = lab.datapath(Config::default());
    eprintln!("reopened in {:?}", start.elapsed());
    assert!(!reopened.apply(&large(10_000, 50_000).table).unwrap().changed);
    let mut one_more = large(10_000, 50_000);
    one_more.table.rows[5].otherwise = allow(9);
    for turn in 0..4 {
        one_more.table.rows[5].otherwise = allow(9 + turn);
        eprintln!("one row changed: {:?}", reopened.apply(&one_more.table).unwrap());
    }
    let mut times: Vec<_> = (0..1000)
        .map(|i| {
            let address = IpAddr::from(Ipv4Addr::from(0x0c00_0000 + i));
            let start = Instant::now();
            reopened.bind(address, ClassId(1000 + i)).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    eprintln!(
        "bind beside 10 000 rows: median {:?}, 99th {:?}, worst {:?}",
        times[500], times[990], times[999]
    );
}
