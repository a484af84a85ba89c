//! Detector x data set x recall x false positives, over a folder of recordings of which it is known what they are.
//!
//! The folder: `benign*.txt` and `dga/*.txt` lists of names, `dns-tunnel-lab/*.pcap` where all is tunnel, `dns-conformance/*.pcap` where
//! nothing is an attack, `apt29-zeek/*.log.gz` where what goes to one of the attackers' addresses is. A list of names is cut in
//! pieces of 50, each as if it were all that a workload asked.

use crate::files::{events, files, name};
use anyhow::Result;
use detect::event::{Lookup, NXDOMAIN, What};
use detect::{Event, Finding, Replay};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Names of a piece.
const PIECE: usize = 50;
/// Of the emulation of APT29, as its plan says.
const ATTACKERS: [&str; 2] = ["192.168.0.4", "192.168.0.5"];

pub(crate) fn print(folder: &Path, out: &mut impl Write) -> Result<()> {
    writeln!(out, "| detector | data set | what counts | found | of |\n| --- | --- | --- | --- | --- |")?;
    for list in files(folder)?.iter().filter(|path| name(path).starts_with("benign")) {
        pieces(list, "false positives: pieces of 50 names", out)?;
    }
    for list in files(&folder.join("dga"))? {
        pieces(&list, "pieces of 50 names", out)?;
    }
    for capture in files(&folder.join("dns-tunnel-lab"))? {
        minutes(&capture, out)?;
    }
    conformance(&folder.join("dns-conformance"), out)?;
    for log in files(&folder.join("apt29-zeek"))? {
        zeek(&log, out)?;
    }
    Ok(())
}

fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Finding> {
    let mut replay = Replay::default();
    events.into_iter().for_each(|event| replay.observe(event));
    replay.findings()
}

fn row(out: &mut impl Write, detector: &str, set: &str, what: &str, found: usize, all: usize) -> Result<()> {
    writeln!(out, "| {detector} | {set} | {what} | {found} | {all} |")?;
    Ok(())
}

/// A list of names: as it is, and as names that do not exist.
fn pieces(list: &Path, what: &str, out: &mut impl Write) -> Result<()> {
    let (mut events, _) = events(list)?;
    for (kind, rcode) in [("answers unknown", None), ("none exists", Some(NXDOMAIN))] {
        for event in &mut events {
            if let What::Lookup(lookup) = &mut event.what {
                *lookup = Lookup { rcode, ..lookup.clone() };
            }
        }
        let all: Vec<_> = events.chunks(PIECE).filter(|piece| piece.len() * 2 >= PIECE).collect();
        let by = |subject: &str| {
            let is_found = |piece: &&&[Event]| {
                replay(**piece).iter().any(|it| it.detector == "dga" && it.subject.contains(subject))
            };
            all.iter().filter(is_found).count()
        };
        row(out, "dga (letters)", &name(list), &format!("{what}, {kind}"), by("drawn"), all.len())?;
        row(out, "dga (length)", &name(list), &format!("{what}, {kind}"), by("long"), all.len())?;
        if rcode.is_some() && !what.starts_with("false") {
            row(out, "dga (number)", &name(list), &format!("{what}, {kind}"), by("exist"), all.len())?;
        }
    }
    Ok(())
}

/// A capture of a tunnel, minute by minute.
fn minutes(capture: &Path, out: &mut impl Write) -> Result<()> {
    let (events, _) = events(capture)?;
    let mut minutes: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    for event in events.into_iter().filter(|event| matches!(event.what, What::Lookup(_))) {
        minutes.entry(event.time.0 / detect::event::MINUTE).or_default().push(event);
    }
    // A minute in which a tunnel only says that it is there is no use to anybody.
    minutes.retain(|_, events| events.len() >= 10);
    let found = minutes
        .values()
        .filter(|events| replay(*events).iter().any(|it| it.detector == "dns-tunnel"))
        .count();
    row(out, "dns-tunnel", &name(capture), "minutes with at least 10 questions", found, minutes.len())
}

fn conformance(folder: &Path, out: &mut impl Write) -> Result<()> {
    let captures = files(folder)?;
    let (mut found, mut unread) = (0, 0);
    for capture in &captures {
        let (events, damaged) = events(capture)?;
        for finding in replay(&events) {
            found += 1;
            writeln!(std::io::stderr(), "{}: {}", name(capture), finding.sentence)?;
        }
        unread += damaged;
    }
    row(out, "all", "dns-conformance", "false positives: findings", found, captures.len())?;
    row(out, "all", "dns-conformance", "captures that cannot be read", unread, captures.len())
}

fn zeek(log: &Path, out: &mut impl Write) -> Result<()> {
    let (events, _) = events(log)?;
    let findings = replay(&events);
    let is_attack = |finding: &&Finding| ATTACKERS.iter().any(|address| finding.subject.contains(address));
    let mut by_detector: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for finding in &findings {
        let counts = by_detector.entry(&*finding.detector).or_default();
        if is_attack(&finding) {
            counts.0 += 1
        } else {
            counts.1 += 1
        }
        writeln!(std::io::stderr(), "{}: {}", name(log), finding.sentence)?;
    }
    for (detector, (attack, other)) in by_detector {
        row(out, detector, &name(log), "findings about the attackers", attack, attack + other)?;
    }
    row(out, "all", &name(log), "events", events.len(), events.len())
}
