//! How long changes of a table of 10,000 rules take until the kernel has them.

use crate::rows::{self, With};
use anyhow::{Context, Result};
use datapath::{Binding, Datapath, NftDatapath, Span};
use lab::Lab;
use policy::table::Table;
use policy::{RuleId, Verdict};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

const RULES: u32 = 10_000;

/// Milliseconds of each kind of change, `times` of each: from the call to the kernel's acknowledgement.
pub(crate) fn measure(lab: &Lab, times: u32, say: impl Fn(&str)) -> Result<Value> {
    let one = rows::table(RULES)?;
    let mut other = one.clone();
    // Every cell of every row says something else.
    let swap = |ruling: &mut policy::table::Ruling| ruling.rule = RuleId(ruling.rule.0 ^ 1);
    for row in &mut other.rows {
        swap(&mut row.otherwise);
        row.cells.iter_mut().for_each(|cell| swap(&mut cell.ruling));
    }
    let mut first_load = Vec::new();
    for _ in 0..times {
        say("first load of 10,000 rules");
        let (mut datapath, _) = rows::open(lab, With::Nothing)?;
        first_load.push(apply(&mut datapath, &one)?);
        datapath.uninstall()?;
    }
    let (mut datapath, events) = rows::open(lab, With::Records)?;
    let reader = events.map(rows::Reader::start);
    apply(&mut datapath, &one)?;
    say("changes of 10,000 rules");
    let (mut full, mut row, mut address) = (Vec::new(), Vec::new(), Vec::new());
    for time in 0..times {
        full.push(apply(&mut datapath, if time.is_multiple_of(2) { &other } else { &one })?);
    }
    let mut table = if times.is_multiple_of(2) { one } else { other };
    for time in 0..times {
        let changed =
            table.rows.iter_mut().rev().find(|row| !row.cells.is_empty()).context("a row with cells")?;
        let cell = changed.cells.first_mut().context("a cell")?;
        cell.ruling.verdict = if time.is_multiple_of(2) { Verdict::Deny } else { Verdict::Allow };
        row.push(apply(&mut datapath, &table)?);
    }
    let (from, bound) = (*table.endpoints.keys().next().context("an endpoint")?, table.rows.first().cloned());
    let bound = bound.map(Arc::new);
    for time in 0..times * 20 {
        let to = IpAddr::V4(Ipv4Addr::from_bits(0x0afa_0000 + time));
        let start = Instant::now();
        datapath.bind(&[Binding { from, to, span: Span::Live, row: bound.clone() }])?;
        address.push(start.elapsed().as_secs_f64() * 1e3);
    }
    if let Some(reader) = reader {
        reader.end();
    }
    datapath.uninstall()?;
    Ok(json!({
        "first_load_ms": first_load, "every_row_ms": full, "one_row_ms": row, "one_address_ms": address,
    }))
}

fn apply(datapath: &mut NftDatapath, table: &Table) -> Result<f64> {
    let applied = datapath.apply(table)?;
    anyhow::ensure!(applied.changed, "the table was in force already");
    Ok(applied.took.as_secs_f64() * 1e3)
}
