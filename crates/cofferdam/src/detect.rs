//! `cofferdam detect`: what detectors say of recordings.
//!
//! Enters: files of our own JSON lines, captures, Zeek's JSON logs, lists of names; compressed by gzip or not. Leaves: findings, by time.
//! Guarantees: what cannot be read is named, and the exit code says so; the rest is read all the same. Does not: ask anybody.

use crate::plain::{counted, printable};
use ::detect::read::{Read as Heard, Recording};
use ::detect::{Finding, Replay, catalog};
use anyhow::{Result, bail};
use clap::Args;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Files that cannot be read are named line by line up to here.
const MOST_NAMED: usize = 20;
/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;

/// Look in recordings for tunnels, beacons, scans, spikes, ...
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam detect --list
  cofferdam detect --replay capture.pcap
  cofferdam detect --replay dns.log.gz conn.log.gz --json
  cofferdam dns --json --since 1d | cofferdam detect --replay -
  cofferdam ledger show --ledger /var/lib/cofferdam/ledger.db --since 1d --json | cofferdam detect --replay -

A recording is what `cofferdam flows`, `dns`, `connections`, `calls` or `ledger show` print with --json, a capture of `tcpdump -w`,
dns.log and conn.log of Zeek as JSON, or a list of names, one a line. Several are read one after the other: give them in the order of
time. Of a ledger only entries with their record are looked at; what was allowed and summed up has none, and is counted as such.

Exit code: 0 all was read, whatever was found; 2 something could not be read.")]
pub(crate) struct DetectArgs {
    /// Recordings; - is standard input
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "list")]
    replay: Vec<PathBuf>,
    /// Explain the detectors and from where on they tell
    #[arg(long, conflicts_with = "replay")]
    list: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &DetectArgs, out: &mut impl Write) -> Result<()> {
    if args.list {
        return list(args.json, out);
    }
    let mut replay = Replay::default();
    let mut unread = 0usize;
    for path in &args.replay {
        unread += read(path, &mut replay);
    }
    let (events, lost) = (replay.events(), replay.lost());
    let findings = replay.findings();
    for finding in &findings {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(finding)?)?;
        } else {
            show(finding, out)?;
        }
    }
    if !args.json {
        writeln!(out, "{} in {}", counted(findings.len(), "finding"), counted(events, "event"))?;
    }
    if lost > 0 {
        note(&format!("{lost} things were forgotten for want of room: something may not have been seen"));
    }
    match unread {
        0 => Ok(()),
        1 => bail!("1 line or file could not be read"),
        _ => bail!("{unread} lines or files could not be read"),
    }
}

/// How much of the file could not be read, after saying what.
fn read(path: &Path, replay: &mut Replay) -> usize {
    let name = if path.as_os_str() == "-" { "stdin".to_owned() } else { path.display().to_string() };
    let mut input = match open(path) {
        Ok(input) => input,
        Err(error) => {
            note(&format!("{name} cannot be read: {error}"));
            return 1;
        }
    };
    let mut recording = Recording::new(&name);
    let (mut piece, mut unread) = (vec![0; PIECE], 0);
    loop {
        let mut heard = Heard::default();
        // What was read before a file turned out damaged counts.
        let count = match input.read(&mut piece) {
            Ok(count) => count,
            Err(error) => {
                note(&format!("{name}: {error}"));
                unread += 1;
                0
            }
        };
        match piece.get(..count) {
            Some(bytes) if count > 0 => recording.push(bytes, &mut heard),
            _ => recording.finish(&mut heard),
        }
        heard.events.iter().for_each(|event| replay.observe(event));
        for error in &heard.unreadable {
            if unread < MOST_NAMED {
                note(&error.to_string());
            }
            unread += 1;
        }
        if count == 0 {
            break;
        }
    }
    if recording.ignored() > 0 {
        note(&format!("{name}: {} lines or packets say nothing that detectors look at", recording.ignored()));
    }
    unread
}

/// The bytes, without the compression that their first two say.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let raw: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(io::stdin().lock()) } else { Box::new(File::open(path)?) };
    let mut buffered = BufReader::with_capacity(PIECE, raw);
    let is_gzip = buffered.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if is_gzip { Box::new(flate2::bufread::MultiGzDecoder::new(buffered)) } else { Box::new(buffered) })
}

fn show(finding: &Finding, out: &mut impl Write) -> Result<()> {
    let Finding { time, severity, detector, workload, subject, sentence, id, .. } = finding;
    let head = format!("{time} {:<6} {detector} {workload}: {subject}", severity.as_str());
    writeln!(out, "{}\n    {}", printable(&head), printable(sentence))?;
    let records: Vec<_> = finding.records.iter().take(3).map(ToString::to_string).collect();
    let more = if finding.count > 3 { format!(" and {} more", finding.count - 3) } else { String::new() };
    let techniques = finding.techniques.join(" ");
    writeln!(out, "    {}", printable(&format!("{id}; records {}{more}; {techniques}", records.join(" "))))?;
    Ok(())
}

fn list(as_json: bool, out: &mut impl Write) -> Result<()> {
    for detector in catalog::ALL {
        if as_json {
            writeln!(out, "{}", serde_json::to_string(detector)?)?;
            continue;
        }
        let (name, severity, techniques) =
            (detector.name, detector.severity.as_str(), detector.techniques.join(" "));
        writeln!(out, "{name} ({severity}): {}", detector.what)?;
        writeln!(out, "    tells when: {}", detector.thresholds)?;
        writeln!(out, "    does not see: {}", detector.limits)?;
        writeln!(out, "    what to do: {}\n    {techniques}", detector.advice)?;
    }
    Ok(())
}

fn note(text: &str) {
    let _ = writeln!(io::stderr(), "cofferdam: {}", printable(text));
}
