//! `cofferdam prices`: what models cost, by a file of the user's own.
//!
//! Enters: a file. Leaves: what is wrong with it, its prices, or the form in which the gateway has them. Guarantees: a file with
//! an error gives no price. Does not: know any price.

use crate::catalog::{content, refusal};
use crate::plain::printable;
use anyhow::Result;
use clap::Subcommand;
use crds::{Diagnostic, PriceList};
use gateway::{Price, Prices};
use policy::{Glob, Money};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Check and show a file of model prices.
#[derive(Subcommand, Debug)]
#[command(after_help = "Examples:
  cofferdam prices check prices.yaml
  cofferdam prices show prices.yaml --json

The form is told in examples/prices.yaml. No prices come with the program, for they change. The gateway goes by a file that is
named with --prices; the chart's value prices.list is one.")]
pub(crate) enum PricesCommand {
    /// Read a file, and say what is wrong with it
    #[command(after_help = "Example:\n  cofferdam prices check prices.yaml")]
    Check {
        /// The file
        file: PathBuf,
    },
    /// The prices in it, in the order in which they are looked up
    #[command(
        after_help = "Examples:\n  cofferdam prices show prices.yaml\n  cofferdam prices show prices.yaml --json"
    )]
    Show {
        /// The file
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Prints it.
pub(crate) fn run(command: &PricesCommand, out: &mut impl Write) -> Result<()> {
    match command {
        PricesCommand::Check { file } => {
            let list = read(file).map_err(|found| refusal(&found))?;
            writeln!(out, "{}: {} prices in {}", file.display(), list.prices.len(), list.currency)?;
            Ok(())
        }
        PricesCommand::Show { file, json } => show(&read(file).map_err(|found| refusal(&found))?, *json, out),
    }
}

/// What the gateway goes by.
pub(crate) fn load(file: &Path) -> Result<Arc<Prices>> {
    let list = read(file).map_err(|found| refusal(&found))?;
    let price = |price: &crds::Price| {
        Arc::new(Price {
            provider: Arc::clone(&price.provider),
            model: Glob::new(&price.model),
            input: price.input,
            cached_input: price.cached_input,
            cache_write: price.cache_write,
            output: price.output,
        })
    };
    Ok(Arc::new(Prices { currency: list.currency, prices: list.prices.iter().map(price).collect() }))
}

fn read(file: &Path) -> Result<PriceList, Vec<Diagnostic>> {
    let (name, bytes) = content(file, "price")?;
    PriceList::read(&name, &bytes)
}

fn show(list: &PriceList, as_json: bool, out: &mut impl Write) -> Result<()> {
    let amount = |nanos: u64| Money(nanos).to_string();
    if as_json {
        let prices = list.prices.iter().map(|price| {
            json!({
                "provider": price.provider, "model": price.model, "input": amount(price.input),
                "cachedInput": price.cached_input.map(amount), "cacheWrite": price.cache_write.map(amount),
                "output": amount(price.output), "source": price.source, "date": price.date,
            })
        });
        let prices: Vec<_> = prices.collect();
        writeln!(out, "{:#}", json!({ "currency": list.currency, "prices": prices }))?;
        return Ok(());
    }
    writeln!(out, "{} for a million tokens; of each call the first line that fits", list.currency)?;
    for price in &list.prices {
        let other = |what: &str, nanos: Option<u64>| {
            nanos.map_or_else(String::new, |nanos| format!(", {what} {}", Money(nanos)))
        };
        writeln!(
            out,
            "  {} {}: in {}{}{}, out {}  ({}, {})",
            printable(&price.provider),
            printable(&price.model),
            Money(price.input),
            other("from a cache", price.cached_input),
            other("to a cache", price.cache_write),
            Money(price.output),
            printable(&price.source),
            printable(&price.date)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

    use super::*;
    use std::fs;

    fn said(command: &PricesCommand) -> Result<String> {
        let mut out = Vec::new();
        run(command, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_example_is_a_list_and_a_file_with_an_error_gives_no_price() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/prices.yaml");
        let shown = said(&PricesCommand::Show { file: example.clone(), json: false }).unwrap();
        assert!(shown.contains("in 2.50, from a cache 1.25, out 10.00"), "{shown}");
        let prices = load(&example).unwrap();
        assert!(said(&PricesCommand::Check { file: example }).unwrap().contains(&*prices.currency));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prices.yaml");
        let wrong = "apiVersion: cofferdam.dev/v1alpha1\nkind: PriceList\ncurrency: USD\nprices:\n- {provider: p, model: m, \
                     input: 2.5, output: '1', source: s, date: 2026-01-31}\n";
        fs::write(&file, wrong).unwrap();
        let told = said(&PricesCommand::Check { file: file.clone() }).unwrap_err().to_string();
        assert!(told.contains("prices.yaml:5") && told.contains("prices[0].input"), "{told}");
        assert!(load(&folder.path().join("none")).is_err());
    }
}
