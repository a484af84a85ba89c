//! Sizes: large tables load in one transaction, and single addresses bind fast. Times are printed, not asserted.

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
use policy::table::{ClassId, Row, RowId};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// The least, the median and the most of some times.
fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("least {:?}, median {:?}, most {:?}", times[0], times[times.len() / 2], times[times.len() - 1])
}

#[test]
fn kernel_loads_ten_thousand_rows_in_one_transaction() {
    if !privileged() {
        return;
    }
    let mut lab = Lab::new(2);
    lab.serve(1, 80);
    let mut datapath = lab.datapath(Config::default());
    let one = large(10_000, 0);
    let other = large(10_000, 50_000);
    for (what, tables) in [
        ("first load of 10 000 rows", &one),
        ("every row changed", &other),
        ("every row changed back", &one),
        ("every row changed again", &other),
    ] {
        let applied = datapath.apply(&tables.table).unwrap();
        eprintln!("{what}: {:?}, kernel {:?}", applied.took, applied.kernel);
        assert_eq!(applied.added > 49_000, applied.changed);
        assert!(tcp(&lab.pods[0], v4(1), 80));
    }
    let start = Instant::now();
    let mut reopened = lab.datapath(Config::default());
    eprintln!("reopened in {:?}", start.elapsed());
    assert!(!reopened.apply(&other.table).unwrap().changed);
    let start = Instant::now();
    reopened.probe().unwrap();
    eprintln!("probed in {:?}", start.elapsed());
    let mut table = other.table;
    for what in ["one row", "one network", "one slot"] {
        let (mut took, mut kernel) = (vec![], vec![]);
        for turn in 0..9 {
            match what {
                "one row" => table.rows[5].otherwise = allow(9 + turn),
                "one network" => {
                    let _ = table.networks.insert("10.99.0.0/16".parse().unwrap(), ClassId(2000 + turn));
                }
                _ => table.slots[0].egress.otherwise = RowId(1 + turn),
            }
            let applied = reopened.apply(&table).unwrap();
            assert!(applied.changed && applied.added <= 8, "{what}: {applied:?}");
            took.push(applied.took);
            kernel.push(applied.kernel);
        }
        eprintln!("{what} changed: {}; kernel {}", summary(took), summary(kernel));
    }
    let bind = |datapath: &mut NftDatapath, to: u32, port: u16| {
        let cells = vec![cell(Protocol::TCP, port, port, allow(31))];
        let row = Some(Arc::new(Row { otherwise: deny(30), cells }));
        let to = IpAddr::from(Ipv4Addr::from(to));
        let start = Instant::now();
        datapath.bind(&[Binding { from: v4(0), to, span: Span::Live, row }]).unwrap();
        start.elapsed()
    };
    let times = (0..1000).map(|i| bind(&mut reopened, 0x0c00_0000 + i, 443));
    eprintln!("bound: {}", summary(times.collect()));
    let times = (0..9).map(|turn| bind(&mut reopened, 0x0c00_0005, 1000 + turn));
    eprintln!("bound to a row that takes away: {}", summary(times.collect()));
}
