//! The evidence of an incident: taken out of a ledger, or of one behind an API, and checked.

use super::{Running, find, now, order};
use crate::ledger_cmd::Place;
use crate::plain::{counted, printable};
use crate::remote::RemoteArgs;
use crate::respond::{Annotation, Mark, Order};
use ::ledger::Reader;
use anyhow::{Context, Result, ensure};
use clap::Args;
use incident::View;
use incident::evidence::{self, Bundle, Checked};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

/// Take out the evidence of an incident: one tar that tells whether anything in it was changed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam incident evidence 3f2a9c -o incident.tar
  cofferdam incident evidence 3f2a9c -o incident.tar --api http://127.0.0.1:8080 --token token    of a collector

It holds the incident, its findings and records as JSON lines, the same in OCSF, a page for people, and a manifest with the
SHA-256 of each file and the blocks of the ledger that seal the records. Keep the manifest's hash elsewhere.")]
pub(crate) struct EvidenceArgs {
    /// Id of the incident
    id: String,
    /// The file to write; it must not be there yet
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Check evidence: whether any file in it was changed, and, with a ledger, whether its records were in it.
///
/// Exits with 1 where something does not hold.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam incident verify incident.tar
  cofferdam incident verify incident.tar --ledger /var/lib/cofferdam/ledger.db")]
pub(crate) struct VerifyArgs {
    /// The archive
    file: PathBuf,
    /// The ledger that it was taken from
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// `cofferdam incident evidence`.
pub(super) fn take_out(args: &EvidenceArgs, out: &mut impl Write) -> Result<()> {
    let (bundle, told) = match args.remote.or_ledger(args.place.ledger.as_deref())? {
        Some(remote) => {
            // Taking it is written down there: not for a file that cannot be written here.
            ensure!(!args.output.exists(), "writing {}: it is there already", args.output.display());
            let bundle = remote.evidence(&args.id)?;
            keep(args, &bundle)?;
            (bundle, true)
        }
        None => of_ledger(args)?,
    };
    if args.place.json {
        let all = json!({
            "file": args.output,
            "manifest": bundle.manifest,
            "records": bundle.records,
            "unsealed_records": bundle.unsealed,
            "truncated": bundle.truncated,
            "audited": told,
        });
        writeln!(out, "{all}")?;
        return Ok(());
    }
    let output = printable(&args.output.display().to_string());
    writeln!(out, "{output}: {}", counted(bundle.records, "record"))?;
    writeln!(out, "hash of its manifest {}", bundle.manifest)?;
    if bundle.unsealed > 0 {
        let what = "no block of the ledger seals them yet: a change of these would not be told";
        writeln!(out, "{} of them are too new: {what}", bundle.unsealed)?;
    }
    if bundle.truncated {
        writeln!(out, "There are more records than fit: the oldest are left out.")?;
    }
    if !told {
        writeln!(out, "Nothing was written into the ledger about it: keep the hash elsewhere.")?;
    }
    Ok(())
}

/// Takes it out of a ledger that can be read here; whether somebody wrote that down.
fn of_ledger(args: &EvidenceArgs) -> Result<(Bundle, bool)> {
    if args.place.ledger.is_none() {
        order(&args.place, Order::Seal).context("having the ledger sealed")?;
    }
    let reader = args.place.open()?;
    let view = View::read(&reader, now())?;
    let case = find(&view, &args.id)?;
    let bundle = evidence::bundle(&reader, case, &Running(&args.place), env!("CARGO_PKG_VERSION"))?;
    keep(args, &bundle)?;
    if args.place.ledger.is_some() {
        // Nobody to write it down: only a file is read.
        return Ok((bundle, false));
    }
    let (on, manifest) = (case.incident.id.clone(), Some(bundle.manifest.clone()));
    let annotation = Annotation { on, what: Mark::Exported, text: None, manifest };
    order(&args.place, Order::Annotate(annotation))
        .context("the evidence is written, but nobody noted that")?;
    // Whoever checks it at once against the ledger finds it noted there.
    order(&args.place, Order::Seal).context("having the ledger sealed")?;
    Ok((bundle, true))
}

fn keep(args: &EvidenceArgs, bundle: &Bundle) -> Result<()> {
    let writing = || format!("writing {}", args.output.display());
    let mut file = fs::File::create_new(&args.output).with_context(writing)?;
    file.write_all(&bundle.archive).and_then(|()| file.sync_all()).with_context(writing)
}

/// `cofferdam incident verify`. False: something does not hold.
pub(super) fn verify(args: &VerifyArgs, out: &mut impl Write) -> Result<bool> {
    let size = fs::metadata(&args.file).with_context(|| format!("opening {}", args.file.display()))?.len();
    ensure!(size <= evidence::MAX_ARCHIVE as u64, "the archive is larger than any that this program makes");
    let archive = fs::read(&args.file).with_context(|| format!("reading {}", args.file.display()))?;
    ensure!(
        evidence::is_archive(&archive),
        "{} is no archive: `cofferdam incident evidence INCIDENT -o FILE` makes one",
        args.file.display()
    );
    let reader = args.ledger.as_deref().map(Reader::open).transpose()?;
    let checked = evidence::verify(&archive, reader.as_ref())?;
    let holds = checked.faults.is_empty();
    if args.json {
        writeln!(out, "{}", json!({ "holds": holds, "checked": checked }))?;
        return Ok(holds);
    }
    tell(&checked, out)?;
    Ok(holds)
}

fn tell(checked: &Checked, out: &mut impl Write) -> Result<()> {
    for fault in &checked.faults {
        writeln!(out, "DOES NOT HOLD: {}", printable(fault))?;
    }
    if checked.faults.is_empty() {
        let files = counted(checked.files.len(), "file");
        writeln!(out, "holds: incident {}, {files}", printable(&checked.incident))?;
    }
    if !checked.manifest.is_empty() {
        writeln!(out, "hash of its manifest {}", checked.manifest)?;
    }
    match (checked.blocks_in_ledger, checked.is_told) {
        (Some(found), Some(told)) => {
            writeln!(out, "{found} of {} blocks are in the ledger", checked.blocks)?;
            if let Some(records) = checked.records_in_ledger {
                writeln!(
                    out,
                    "{records} records are there as they are here; what it forgot, and sums that grew, cannot be compared"
                )?;
            }
            let told =
                if told { "tells that it was taken out" } else { "does not tell that it was taken out" };
            writeln!(out, "the ledger {told}")?;
        }
        (_, _) => writeln!(out, "its {} blocks were not looked for: --ledger FILE", checked.blocks)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_evidence_says_how_many_of_its_records_the_ledger_has() {
        let said = |checked: &Checked| {
            let mut out = Vec::new();
            tell(checked, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let alone = Checked { incident: "3f2a9c".to_owned(), blocks: 2, ..Checked::default() };
        let compared = Checked {
            blocks_in_ledger: Some(2),
            records_in_ledger: Some(41),
            is_told: Some(true),
            ..alone.clone()
        };
        assert!(said(&compared).contains("\n41 records are there as they are here;"), "{}", said(&compared));
        assert!(!said(&alone).contains("records are there"), "{}", said(&alone));
    }
}
