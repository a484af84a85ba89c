//! How a process elsewhere stands, as its API tells it: less than its own socket does, and of a collector what is sent to it.

use crate::flows::Table;
use crate::plain::{counted, printable};
use crate::remote::Remote;
use anyhow::Result;
use api::shape::live::{Sensor, Status};
use std::io::Write;

/// Asks and shows; whether all of it is in force, and each part does its work.
pub(super) fn run(remote: &Remote, is_json: bool, out: &mut impl Write) -> Result<bool> {
    let status: Status = remote.told("/status")?;
    if is_json {
        writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?;
    } else {
        print(&status, out)?;
    }
    Ok(is_whole(&status))
}

fn is_whole(status: &Status) -> bool {
    status.degraded.is_empty()
        && status.ledger.problem.is_none()
        && status.sensors.iter().all(|sensor| sensor.ready)
}

fn print(status: &Status, out: &mut impl Write) -> Result<()> {
    let mode = match status.enforcement.as_str() {
        "machine" => "enforcing on its machine".to_owned(),
        "lab" => "enforcing in its lab".to_owned(),
        "node" => "enforcing on its node of a cluster".to_owned(),
        "judge-only" => "judging only: NOTHING IS ENFORCED".to_owned(),
        "collector" => "collecting what nodes and gateways send; it enforces nothing itself".to_owned(),
        other => format!("enforcement {}, which this version of the program does not know", printable(other)),
    };
    let health = if is_whole(status) { "ok" } else { "DEGRADED" };
    writeln!(out, "{health}: {mode}, generation {}", status.generation)?;
    for reason in &status.degraded {
        writeln!(out, "  {}", printable(reason))?;
    }
    writeln!(out, "process   {} (version {})", printable(&status.node), printable(&status.version))?;
    let ledger = &status.ledger;
    writeln!(out, "ledger    {}: {} written, {} lost", printable(&ledger.path), ledger.written, ledger.lost)?;
    if let Some(problem) = &ledger.problem {
        writeln!(out, "  NOTHING IS WRITTEN: {}", printable(problem))?;
    }
    if let Some(store) = &ledger.store {
        writeln!(
            out,
            "store     records, edges, the largest, the map and series are those of {}",
            printable(store)
        )?;
    }
    let counts = &status.counts;
    writeln!(out, "records   {}, {} of them denied connections", counts.records, counts.denied)?;
    writeln!(
        out,
        "to do     {} that nobody closed, {} that nobody acknowledged",
        counted(counts.incidents_open, "incident"),
        counted(counts.findings, "finding")
    )?;
    sensors(&status.sensors, out)
}

fn sensors(all: &[Sensor], out: &mut impl Write) -> Result<()> {
    let heads = ["PART", "OF", "STATE", "LOST", "WHAT"].map(str::to_owned);
    let cells = |sensor: &Sensor| {
        let state = if sensor.ready { "ready" } else { "NOT READY" };
        let lost = sensor.lost.to_string();
        [sensor.role.as_str(), sensor.name.as_str(), state, lost.as_str(), sensor.detail.as_str()]
            .map(printable)
    };
    let rows: Vec<_> = std::iter::once(heads).chain(all.iter().map(cells)).collect();
    // The first time only widens the columns.
    let mut table = Table::<5>::new([0; 4]).shown();
    for row in &rows {
        table.row(row.clone());
    }
    for row in rows {
        write!(out, "{}", table.row(row))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(enforcement: &str, ready: bool, degraded: &[&str], problem: Option<&str>) -> Status {
        let mut ledger = json!({ "path": "ledger.db", "written": 3, "lost": 0 });
        if let Some(problem) = problem {
            ledger["problem"] = Value::from(problem);
        }
        serde_json::from_value(json!({
            "version": "1", "time": "2026-11-26T12:00:00Z", "node": "n1", "generation": 7, "enforcement": enforcement,
            "degraded": degraded, "ledger": ledger,
            "sensors": [{ "name": "n2\u{1b}", "role": "sender", "ready": ready, "lost": 4, "detail": "silent" }],
            "counts": { "records": 3, "denied": 1, "findings": 2, "incidents_open": 1 },
        }))
        .unwrap()
    }

    #[test]
    fn what_does_not_do_its_work_is_never_below_the_fold() {
        let well = status("collector", true, &[], None);
        assert!(is_whole(&well));
        for (broken, says) in [
            (status("node", false, &[], None), "NOT READY"),
            (status("node", true, &["a.yaml:7"], None), "a.yaml:7"),
            (status("node", true, &[], Some("disk full")), "NOTHING IS WRITTEN: disk full"),
            (status("else", false, &[], None), "does not know"),
        ] {
            let mut out = Vec::new();
            print(&broken, &mut out).unwrap();
            let said = String::from_utf8(out).unwrap();
            assert!(!is_whole(&broken) && said.starts_with("DEGRADED: ") && said.contains(says), "{said}");
            assert!(!said.contains('\u{1b}'), "{said:?}");
        }
    }
}
