//! Trains the weights of crate `guard`, and says how good they are on sources they never saw.
//!
//! Enters: rows of texts that are known to be attacks or harmless; our own sentences (`data/`). Leaves: `weights.bin`, the same for
//! the same rows; a table. Everything that is said about quality is of texts whose whole source was left out: features, head
//! and thresholds come from the others.

mod corpus;
mod export;
mod head;
mod learn;
mod own;
mod random;

use anyhow::{Context, Result};
use clap::Parser;
use corpus::Row;
use guard::look::{Look, looks};
use guard::model::{Head, Model};
use guard::quality::threshold;
use guard::table::{Scored, Table, is_foreign};
use head::Example;
use learn::Texts;
use random::Random;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Everything by chance begins with this.
const SEED: u64 = 7;

/// Sources that are left out together, for they are alike or come from one place.
const FOLDS: [&[&str]; 6] = [
    &["s-labs"],
    &["hackaprompt(neuralchemy)", "docs-garak", "open-assistant", "docs-llm-guard"],
    &[
        "neuralchemy-original",
        "neuralchemy_v1",
        "jbb-benign(neuralchemy)",
        "satml-ctf-2024",
        "persistbench",
        "own-templates",
    ],
    &[
        "yanismiraoui",
        "cse-frr-multilingual",
        "cse-mitre-frr",
        "awesome-chatgpt-prompts-zh",
        "self-instruct-seed",
    ],
    &[
        "llmail-inject",
        "opi-composed(asb+bipia-train)",
        "enron(giskard)",
        "bipia-email",
        "tau2-docs",
        "tau2-json",
        "tau2-tasks",
        "swe-lancer",
    ],
    &[
        "in-the-wild",
        "pyrit-in-the-wild",
        "gptfuzz",
        "giskard",
        "awesome-chatgpt-prompts",
        "docs-giskard",
        "cse-threatintel",
        "writingbench",
        "rust-book",
        "cse-instruct",
    ],
];

/// Learn the weights of the guard; print how good they are on sources left out
#[derive(Parser, Debug)]
#[command(after_help = "Example:
  cargo run --release -p bench-guard -- train.jsonl --write crates/guard/data/weights.bin

A row is a line of JSON with text, label (0 or 1), family (direct, indirect, jailbreak, or of harmless texts another) and source.")]
struct Args {
    /// Rows to learn from
    rows: PathBuf,
    /// Where the weights are written; without, none are
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Rows that are tried besides, by what was learned from all
    #[arg(long = "try", value_name = "FILE")]
    tried: Option<PathBuf>,
    /// Where each row of a source left out is written with its score, one object a line, to study what is missed and what is flagged
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// What everything by chance begins with: another number tells how much of a difference is luck
    #[arg(long, value_name = "NUMBER", default_value_t = SEED)]
    seed: u64,
}

/// A row, and without which fold it must not be learned from.
struct Material {
    rows: Vec<Row>,
    /// For each row the fold it is tried in; our own are tried in none.
    tried: Vec<Option<usize>>,
    /// For each row the folds in which it is not learned from: its own; of an attack in a document that of either.
    left_out: Vec<[Option<usize>; 2]>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let begun = Instant::now();
    let material = material(corpus::read(&args.rows)?, args.seed);
    let texts = Texts::of(&material.rows);
    let mut out = io::stdout();
    let mut seen: Vec<Vec<Look>> = vec![Vec::new(); material.rows.len()];
    for fold in 0..FOLDS.len() {
        let places: Vec<usize> = (0..material.rows.len())
            .filter(|place| material.left_out.get(*place).is_none_or(|folds| !folds.contains(&Some(fold))))
            .collect();
        let model = model(&texts.learn(&places, args.seed), &unlearned(), [[0.0; 2]; 2])?.0;
        for (place, row) in material.rows.iter().enumerate() {
            if let Some(seen) = seen.get_mut(place).filter(|_| material.tried.get(place) == Some(&Some(fold)))
            {
                *seen = looks(&model, &row.text);
            }
        }
        writeln!(io::stderr(), "fold {fold}: {:?}", begun.elapsed())?;
    }
    let scored = scored(&material, &seen);
    write!(out, "{}", Table(&scored))?;
    if let Some(file) = &args.scores {
        fs::write(file, lines(&material, &scored))
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let examples = examples(&material, &seen, None);
    let head = head::learn(&examples);
    let all: Vec<usize> = (0..material.rows.len()).collect();
    let learned = texts.learn(&all, args.seed);
    let (made, bytes, placed, left_out) = model(&learned, &head, thresholds(&material, &scored))?;
    writeln!(
        out,
        "\n{placed} features, {left_out} without a place; {} bytes; head {:?} {}; {:?}",
        bytes.len(),
        head.coefficients,
        head.constant,
        begun.elapsed()
    )?;
    if let Some(file) = args.tried {
        try_rows(&made, &corpus::read(&file)?, &mut out)?;
    }
    if let Some(file) = args.write {
        fs::write(&file, bytes).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

/// Characters of an attack from which on it is not put into a document.
const LONGEST_TAKEN: usize = 500;

/// Characters of the texts whose time is told.
const TIMED: usize = 2000;

/// How often each is timed: the least counts, for the processor may do something else between.
const REPEATED: usize = 5;

/// What one look at a text takes.
fn spent(model: &Model, text: &str) -> Duration {
    let begun = Instant::now();
    std::hint::black_box(looks(model, text));
    begun.elapsed()
}

/// Prints how good the weights are on these rows, and how long a text of [`TIMED`] characters takes.
fn try_rows(model: &Model, rows: &[Row], out: &mut impl Write) -> Result<()> {
    let (mut all, mut times) = (Vec::new(), Vec::new());
    for row in rows {
        let seen = looks(model, &row.text);
        let Some((logit, _)) = head::most(&model.head, &seen) else { continue };
        let (source, is_foreign) = (row.source.clone(), is_foreign(&row.text));
        all.push(Scored { family: row.target(), source, score: f64::from(logit), is_foreign });
        let long: String = row.text.chars().cycle().take(TIMED).collect();
        times.extend((0..REPEATED).map(|_| spent(model, &long)).min());
    }
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    writeln!(
        out,
        "\n{}\n{TIMED} characters, the least of {REPEATED}: p50 {:?}, p99 {:?}, most {:?}",
        Table(&all),
        at(50),
        at(99),
        times.last().copied().unwrap_or_default()
    )?;
    Ok(())
}

/// The rows, our own, and documents with orders and with attacks of the rows in them.
fn material(rows: Vec<Row>, seed: u64) -> Material {
    let mut random = Random::new(seed);
    let fold = |row: &Row| FOLDS.iter().position(|sources| sources.contains(&row.source.as_str()));
    let own = own::rows(&mut random);
    let is_document = |row: &&Row| {
        matches!(row.family.as_str(), "benign_doc" | "benign_code")
            || row.label == 0 && (row.source.starts_with("docs-") || row.source == "writingbench")
    };
    let documents: Vec<&Row> = rows
        .iter()
        .chain(&own)
        .filter(is_document)
        .filter(|row| !row.source.starts_with("own-agents") && !row.source.starts_with("own-scenes"))
        .collect();
    let composed = own::composed(&documents, &mut random);
    let of_document = |place: usize| documents.get(place).and_then(|row| fold(row));
    let is_taken =
        |row: &&Row| row.label == 1 && row.target() != Some(1) && row.text.chars().count() < LONGEST_TAKEN;
    let attacks: Vec<Row> = rows.iter().filter(is_taken).cloned().collect();
    let taken = own::taken(&documents, &attacks, &mut random);
    let mut left_out: Vec<[Option<usize>; 2]> = rows.iter().map(|row| [fold(row), None]).collect();
    left_out.extend(own.iter().map(|_| [None; 2]));
    left_out.extend(composed.iter().map(|(place, _)| [place.and_then(of_document), None]));
    left_out.extend(
        taken.iter().map(|(place, attack, _)| [of_document(*place), attacks.get(*attack).and_then(fold)]),
    );
    let mut tried: Vec<Option<usize>> = rows.iter().map(fold).collect();
    let mut all = rows;
    all.extend(own);
    all.extend(composed.into_iter().map(|(_, row)| row));
    all.extend(taken.into_iter().map(|(_, _, row)| row));
    tried.resize(all.len(), None);
    Material { rows: all, tried, left_out }
}

/// A head that takes the most suspicious window as it is.
fn unlearned() -> Head {
    let mut coefficients = [0.0; Head::INPUTS];
    coefficients[0] = 1.0;
    Head { coefficients, constant: 0.0 }
}

fn model(
    learned: &learn::Learned,
    head: &Head,
    thresholds: [[f32; 2]; 2],
) -> Result<(Model, Vec<u8>, usize, usize)> {
    let (bytes, placed, left_out) = export::bytes(learned, head, thresholds);
    let model = Model::parse(&bytes).context("the weights cannot be read back")?;
    Ok((model, bytes, placed, left_out))
}

/// What the head learns from: texts seen by weights that do not know their source, but for those of this fold.
fn examples<'a>(material: &'a Material, seen: &'a [Vec<Look>], without: Option<usize>) -> Vec<Example<'a>> {
    let mut sizes: HashMap<(&str, u8), f64> = HashMap::new();
    for row in &material.rows {
        *sizes.entry((&row.source, row.label)).or_default() += 1.0;
    }
    let rows = material.rows.iter().zip(seen).zip(&material.tried);
    let meant =
        rows.filter(|((_, seen), tried)| !seen.is_empty() && (without.is_none() || **tried != without));
    meant
        .map(|((row, looks), _)| {
            let size = sizes.get(&(row.source.as_str(), row.label)).copied().unwrap_or(1.0);
            Example { looks, is_attack: row.label == 1, importance: (size / 500.0).powf(-0.5) }
        })
        .collect()
}

/// The score of each row that was tried, by a head that does not know its fold either.
fn scored(material: &Material, seen: &[Vec<Look>]) -> Vec<Scored> {
    let mut all = Vec::new();
    for fold in 0..FOLDS.len() {
        let head = head::learn(&examples(material, seen, Some(fold)));
        for ((row, looks), tried) in material.rows.iter().zip(seen).zip(&material.tried) {
            if *tried != Some(fold) {
                continue;
            }
            let Some((logit, _)) = head::most(&head, looks) else { continue };
            all.push(Scored {
                family: row.target(),
                source: row.source.clone(),
                score: f64::from(logit),
                is_foreign: is_foreign(&row.text),
            });
        }
    }
    all
}

/// Each row that was tried as a line of JSON, in the order of the folds, as [`scored`] has them.
fn lines(material: &Material, scored: &[Scored]) -> String {
    let mut text = String::new();
    let places = (0..FOLDS.len()).flat_map(|fold| {
        let rows = material.rows.iter().zip(&material.tried);
        rows.filter(move |(_, tried)| **tried == Some(fold)).map(|(row, _)| row)
    });
    for (row, scored) in places.zip(scored) {
        let line = serde_json::json!({
            "score": scored.score, "label": row.label, "family": row.family, "source": row.source,
            "is_foreign": scored.is_foreign, "text": row.text,
        });
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text
}

/// From which logit on a text is annotated and blocked: of users by all harmless texts, of tools by documents and code.
#[expect(clippy::cast_possible_truncation, reason = "a threshold needs no more")]
fn thresholds(material: &Material, scored: &[Scored]) -> [[f32; 2]; 2] {
    let documents_of: BTreeSet<&String> = material
        .rows
        .iter()
        .filter(|row| {
            matches!(row.family.as_str(), "benign_doc" | "benign_code") || row.source.starts_with("docs-")
        })
        .map(|row| &row.source)
        .collect();
    let harmless = scored.iter().filter(|scored| scored.family.is_none());
    let all: Vec<f64> = harmless.clone().map(|scored| scored.score).collect();
    let documents: Vec<f64> =
        harmless.filter(|scored| documents_of.contains(&scored.source)).map(|scored| scored.score).collect();
    let pair = |scores: &[f64]| [threshold(scores, 0.01) as f32, threshold(scores, 0.001) as f32];
    [pair(&all), pair(&documents)]
}
