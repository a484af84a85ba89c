//! Learns the letters of crate `detect`, and says how good its detectors are and how fast.

mod day;
mod files;
mod learn;
mod load;
mod table;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

/// Learn and measure what crate detect does
#[derive(Parser, Debug)]
#[command(after_help = "Examples:
  cargo run --release -p bench-detect -- learn benign_opendns_*.txt --write crates/detect/data/letters.bin
  cargo run --release -p bench-detect -- table ../data/detections
  cargo run --release -p bench-detect -- day
  cargo run --release -p bench-detect -- load")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Learn what letters cost from lists of names that people registered
    Learn {
        /// Lists of one name a line
        #[arg(required = true)]
        lists: Vec<PathBuf>,
        /// Where to write it
        #[arg(long)]
        write: Option<PathBuf>,
    },
    /// Say how good the detectors are on recordings of which it is known what they are
    Table {
        /// Folder of recordings
        folder: PathBuf,
    },
    /// Say what is found in two days of what harmless pipelines do, and how fast
    Day,
    /// Say how fast they are and how much memory they have at 10,000 workloads; JSON
    Load {
        /// A fifth of it
        #[arg(long)]
        quick: bool,
    },
}

fn main() -> Result<()> {
    let mut out = io::stdout();
    match Args::parse().command {
        Command::Learn { lists, write } => {
            let read = |path: &PathBuf| fs::read_to_string(path).with_context(|| path.display().to_string());
            let lists = lists.iter().map(read).collect::<Result<Vec<_>>>()?;
            let labels = learn::labels(&lists);
            let (mean, spread) = learn::measure(&labels);
            writeln!(out, "{} labels: MEAN {mean:.3}, SPREAD {spread:.3}", labels.len())?;
            if let Some(path) = write {
                fs::write(&path, learn::costs(labels.iter())).with_context(|| path.display().to_string())?;
            }
        }
        Command::Day => {
            let (findings, events, rate) = day::measure();
            writeln!(
                out,
                "{events} events, {rate:.0} a second on one core; findings of 100 workloads in two days:"
            )?;
            for (detector, count) in findings {
                writeln!(out, "| {detector} | {count} |")?;
            }
        }
        Command::Load { quick } => {
            let found = load::measure(if quick { 2 } else { 10 });
            writeln!(out, "{found:#}")?;
        }
        Command::Table { folder } => table::print(&folder, &mut out)?,
    }
    Ok(())
}
