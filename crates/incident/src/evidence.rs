//! The evidence of an incident: one archive that tells whether anything in it was changed.
//!
//! Enters: an incident and its ledger. Leaves: a tar with `incident.json`, `findings.jsonl`, `records.jsonl`, `ocsf.jsonl`,
//! `report.html` and `manifest.json`, which has the SHA-256 of each of them and the ledger's blocks that seal the records; and
//! what [`verify`] finds wrong with such an archive. Guarantees: the same incident and ledger give the same bytes.
//! Does not: sign. Who changes files and manifest together is found out by the manifest's hash, which is told when the archive
//! is made and is in the ledger (`exported`), or by the ledger, which has the blocks and says what each record was.

use crate::digest::sha256;
use crate::radius::{Radius, Reach, radius};
use crate::timeline::{Timeline, timeline};
use crate::view::{Case, newest};
use crate::{record, report, tar};
use ledger::{Column, EntryFilter, LedgerError, Match, Reader, Seal, Stored};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Records of one archive, the newest.
pub const MOST_RECORDS: usize = 20_000;
/// Largest archive that is read, in bytes.
pub const MAX_ARCHIVE: usize = 512 << 20;
/// Before an incident began and after it was seen last, so many microseconds belong to it: ten minutes.
const AROUND: u64 = 600 * 1_000_000;
const MANIFEST: &str = "manifest.json";
const RECORDS: &str = "records.jsonl";
const EVENTS: &str = "ocsf.jsonl";
/// Records that are named because they are not what the ledger says.
const NAMED: usize = 10;
/// What a manifest says it is.
const FORMAT: &str = "cofferdam evidence 1";

/// An archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The tar.
    pub archive: Vec<u8>,
    /// SHA-256 of its manifest: kept elsewhere, it tells that the whole archive was replaced.
    pub manifest: String,
    /// How many records are in it.
    pub records: usize,
    /// Of these, those that no block of the ledger seals yet.
    pub unsealed: usize,
    /// Whether there were more.
    pub truncated: bool,
}

/// An archive is not what its manifest says, or has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Faulty(pub Vec<String>);

impl Bundle {
    /// Takes an archive that somebody else made, checked by itself.
    ///
    /// # Errors
    /// Something in it is not as its manifest says.
    pub fn read(archive: Vec<u8>) -> Result<Self, Faulty> {
        let mut checked = Checked::default();
        let manifest = check_files(&archive, &mut checked).filter(|_| checked.faults.is_empty());
        let Some(Manifest { records, unsealed_records, truncated, .. }) = manifest else {
            return Err(Faulty(checked.faults));
        };
        Ok(Self { archive, manifest: checked.manifest, records, unsealed: unsealed_records, truncated })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: String,
    incident: String,
    product: String,
    files: BTreeMap<String, String>,
    blocks: Vec<Seal>,
    records: usize,
    unsealed_records: usize,
    truncated: bool,
}

/// Makes the archive. `product` is the version of the program.
///
/// # Errors
/// The ledger cannot be read.
pub fn bundle(
    reader: &Reader,
    case: &Case,
    reach: &impl Reach,
    product: &str,
) -> Result<Bundle, LedgerError> {
    let timeline = timeline(reader, case)?;
    let radius = radius(reader, reach, &case.incident.workloads)?;
    let (records, has_more) = records(reader, case)?;
    let ids: Vec<i64> = records.iter().map(|record| record.id).collect();
    let blocks = reader.seals(&ids)?;
    let is_sealed = |id: &&i64| blocks.iter().any(|block| (block.first..=block.last).contains(id));
    let unsealed = ids.len() - ids.iter().filter(is_sealed).count();
    let files = [
        ("incident.json", incident_json(case, &timeline, &radius)),
        ("findings.jsonl", lines(case.findings.iter().map(|finding| json!(finding)))),
        (RECORDS, lines(records.iter().map(record::json))),
        (EVENTS, lines(records.iter().map(ocsf::event))),
        ("report.html", report::html(case, &timeline, &radius)),
    ];
    let hashes = files.iter().map(|(name, text)| ((*name).to_owned(), sha256(text.as_bytes())));
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        incident: case.incident.id.clone(),
        product: product.to_owned(),
        files: hashes.collect(),
        blocks,
        records: records.len(),
        unsealed_records: unsealed,
        truncated: has_more || timeline.truncated,
    };
    let text = pretty(&json!(manifest));
    let mut all: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    all.push((MANIFEST, text.as_bytes()));
    Ok(Bundle {
        archive: tar::write(&all),
        manifest: sha256(text.as_bytes()),
        records: records.len(),
        unsealed,
        truncated: manifest.truncated,
    })
}

fn incident_json(case: &Case, timeline: &Timeline, radius: &[Radius]) -> String {
    pretty(&json!({
        "incident": case.incident,
        "timeline": timeline.items,
        "timeline_truncated": timeline.truncated,
        "blast_radius": radius,
    }))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn lines(values: impl Iterator<Item = Value>) -> String {
    values.map(|value| format!("{value}\n")).collect()
}

/// All that the workloads of the incident did meanwhile, what was done to them and about it, and what its findings are.
fn records(reader: &Reader, case: &Case) -> Result<(Vec<Stored>, bool), LedgerError> {
    let incident = &case.incident;
    let names = |column, all: Vec<String>| EntryFilter {
        since: Some(incident.first.0.saturating_sub(AROUND)),
        until: Some(incident.last.0.saturating_add(AROUND)),
        texts: vec![(column, Match::AnyOf(all))],
        ..EntryFilter::default()
    };
    let by = names(Column::Source, incident.workloads.clone());
    let to = names(Column::Destination, [incident.workloads.clone(), case.ids.clone()].concat());
    let about = EntryFilter { until: None, kind: Some(ledger::Kind::Audit), ..to.clone() };
    let policy = names(Column::Reason, vec!["policy-applied".to_owned(), "policy-refused".to_owned()]);
    let mut all: BTreeMap<i64, Stored> = BTreeMap::new();
    let mut has_more = false;
    for filter in [by, to, about, policy] {
        let (found, more) = newest(reader, &filter, MOST_RECORDS)?;
        has_more |= more;
        all.extend(found.into_iter().map(|stored| (stored.id, stored)));
    }
    while all.len() > MOST_RECORDS {
        all.pop_first();
        has_more = true;
    }
    Ok((all.into_values().collect(), has_more))
}

/// What checking an archive found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Of which incident it is, as it says.
    pub incident: String,
    /// SHA-256 of its manifest.
    pub manifest: String,
    /// Files that are as the manifest says.
    pub files: Vec<String>,
    /// Blocks that seal its records, as the manifest says.
    pub blocks: usize,
    /// Blocks that were looked for in a ledger and found.
    pub blocks_in_ledger: Option<usize>,
    /// Records that are what a ledger says; those that it forgot meanwhile, and sums that may have grown, cannot be compared.
    pub records_in_ledger: Option<usize>,
    /// Whether a ledger says that an archive with this manifest was made.
    pub is_told: Option<bool>,
    /// Whatever is wrong.
    pub faults: Vec<String>,
}

/// Whether these bytes begin as an archive does. One that was cut or changed later still does.
#[must_use]
pub fn is_archive(bytes: &[u8]) -> bool {
    tar::is_one(bytes)
}

/// Checks an archive: by itself, and against its ledger where that is there.
///
/// # Errors
/// The ledger cannot be read; what is wrong with the archive is no error but a fault.
pub fn verify(archive: &[u8], reader: Option<&Reader>) -> Result<Checked, LedgerError> {
    let mut checked = Checked::default();
    let Some(manifest) = check_files(archive, &mut checked) else { return Ok(checked) };
    let Some(reader) = reader else { return Ok(checked) };
    let mut found = 0;
    for block in &manifest.blocks {
        if reader.has_block(&block.hash)? {
            found += 1;
        } else {
            let fault = format!("block {} with the hash {} is not in this ledger", block.block, block.hash);
            checked.faults.push(fault);
        }
    }
    checked.blocks_in_ledger = Some(found);
    // Another ledger has other records under the same numbers.
    if found == manifest.blocks.len() {
        checked.records_in_ledger = Some(compare(archive, &manifest.blocks, reader, &mut checked.faults)?);
    }
    checked.is_told = Some(is_told(reader, &checked.manifest)?);
    Ok(checked)
}

/// The manifest, where it can be read.
fn check_files(archive: &[u8], checked: &mut Checked) -> Option<Manifest> {
    let files = match tar::read(archive) {
        Ok(files) => files,
        Err(error) => {
            checked.faults.push(error.to_string());
            return None;
        }
    };
    let mut contents: BTreeMap<String, &[u8]> = BTreeMap::new();
    for (name, content) in files {
        if contents.insert(name.clone(), content).is_some() {
            checked.faults.push(format!("{name:?} is in the archive twice"));
        }
    }
    let Some(text) = contents.remove(MANIFEST) else {
        checked.faults.push(format!("there is no {MANIFEST}: this is not evidence, or not all of it"));
        return None;
    };
    checked.manifest = sha256(text);
    let manifest: Manifest = match serde_json::from_slice(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            checked.faults.push(format!("{MANIFEST} cannot be read: {error}"));
            return None;
        }
    };
    if manifest.format != FORMAT {
        let fault = format!("{MANIFEST} is of {:?}, and this program knows {FORMAT:?}", manifest.format);
        checked.faults.push(fault);
        return None;
    }
    checked.incident.clone_from(&manifest.incident);
    checked.blocks = manifest.blocks.len();
    for block in manifest.blocks.iter().filter(|block| !block.holds()) {
        checked.faults.push(format!("the hash of block {} is not that of what the block says", block.block));
    }
    for (name, hash) in &manifest.files {
        match contents.remove(name) {
            Some(content) if sha256(content) == *hash => checked.files.push(name.clone()),
            Some(_) => {
                checked.faults.push(format!("{name:?} was changed: it has not the hash that {MANIFEST} says"))
            }
            None => checked.faults.push(format!("{name:?} is missing")),
        }
    }
    for name in contents.keys() {
        checked.faults.push(format!("{name:?} is not in {MANIFEST}: somebody added it"));
    }
    Some(manifest)
}

/// How many records are what the ledger says of them. Both are written the same way, so that what differs was changed; but sums of
/// connections that no block had sealed may have grown.
fn compare(
    archive: &[u8],
    blocks: &[Seal],
    reader: &Reader,
    faults: &mut Vec<String>,
) -> Result<usize, LedgerError> {
    let files: BTreeMap<String, &[u8]> = tar::read(archive).unwrap_or_default().into_iter().collect();
    let lines = |name: &str| {
        let content = files.get(name).copied().unwrap_or_default();
        content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    };
    let (oldest, _) = reader.numbers()?;
    let (mut events, mut same, mut wrong) = (lines(EVENTS), 0, 0);
    for line in lines(RECORDS).take(MOST_RECORDS) {
        let event = events.next().unwrap_or_default();
        let said: Value = serde_json::from_slice(line).unwrap_or_default();
        let number = said.get("number").and_then(Value::as_i64).unwrap_or(i64::MAX);
        if number < oldest {
            continue;
        }
        let only = EntryFilter {
            after: Some(number.saturating_sub(1)),
            before: Some(number.saturating_add(1)),
            ..EntryFilter::default()
        };
        let is_same = |it: &Stored| {
            record::json(it).to_string().as_bytes() == line && ocsf::event(it).to_string().as_bytes() == event
        };
        let is_sealed = blocks.iter().any(|block| (block.first..=block.last).contains(&number));
        match reader.entries(&only)?.first() {
            Some(it) if is_same(it) => same += 1,
            Some(it) if it.entry.detail.is_none() && !is_sealed => {}
            Some(_) | None => {
                wrong += 1;
                if wrong <= NAMED {
                    faults.push(format!("record {number} is not what this ledger says"));
                }
            }
        }
    }
    if wrong > NAMED {
        faults.push(format!("{} more records are not what this ledger says", wrong - NAMED));
    }
    Ok(same)
}

/// Whether the ledger tells that this manifest was exported.
fn is_told(reader: &Reader, manifest: &str) -> Result<bool, LedgerError> {
    let filter = EntryFilter {
        kind: Some(ledger::Kind::Audit),
        texts: vec![(Column::Reason, Match::Is("exported".to_owned()))],
        ..EntryFilter::default()
    };
    let (exports, _) = newest(reader, &filter, crate::MOST_ACTS)?;
    Ok(exports.iter().any(|it| crate::Act::read(it).text("manifest") == Some(manifest)))
}
