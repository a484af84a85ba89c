//! `cofferdam catalog`: which hosts providers need.
//!
//! Enters: the built-in catalog, a file of the user's. Leaves: tables or JSON. Guarantees: a file with errors is refused
//! with all of them. Does not: allow anything; whoever writes a policy does.

use crate::plain::printable;
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use crds::{Catalog, Code, Diagnostic, Position, Provider};
use policy::DnsName;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// List the hosts that AI providers need.
#[derive(Subcommand, Debug)]
#[command(after_help = "Examples:
  cofferdam catalog list
  cofferdam catalog show huggingface
  cofferdam catalog show hub --catalog mine.yaml --json
  cofferdam catalog diff mine.yaml

A file of yours has the form of the built-in one. A provider in it replaces the built-in one of its name:

  apiVersion: cofferdam.dev/v1alpha1
  kind: Catalog
  providers:
  - name: hub
    title: Our mirror of models
    hosts:
    - {host: models.corp.example, for: storage, ports: [443]}   # for: api, content, storage or upload
    - {host: \"*.cdn.corp.example\", for: content}                # one label below; \"**.\" is one or more
  privateZones: [k8s.corp.example]   # as are cluster.local and clusterset.local: no wildcard written above one opens names in it")]
pub(crate) enum CatalogCommand {
    /// Every provider
    #[command(
        after_help = "Examples:\n  cofferdam catalog list\n  cofferdam catalog list --catalog mine.yaml --json"
    )]
    List(Shown),
    /// One provider: hosts, what each is for, and where that is from
    #[command(
        after_help = "Examples:\n  cofferdam catalog show huggingface\n  cofferdam catalog show hub --catalog mine.yaml"
    )]
    Show {
        /// Its name
        provider: String,
        #[command(flatten)]
        shown: Shown,
    },
    /// What a file of yours changes
    #[command(after_help = "Example:\n  cofferdam catalog diff mine.yaml")]
    Diff {
        /// The file
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// What is shown, and how.
#[derive(Args, Debug)]
pub(crate) struct Shown {
    #[command(flatten)]
    catalog: CatalogArg,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Which names are known before any policy is read: providers' hosts, and private zones.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CatalogArg {
    /// A catalog file whose providers come in addition to the built-in ones, or replace those of their name
    #[arg(long = "catalog", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Private whether the file says so or not.
    #[arg(skip)]
    zones: Vec<DnsName>,
}

impl CatalogArg {
    /// The file, for whoever watches it.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// The same where these zones are private as well.
    pub(crate) fn with_zones(&self, zones: &[DnsName]) -> Self {
        Self { file: self.file.clone(), zones: zones.to_vec() }
    }

    /// What is known where the file cannot be read: no provider.
    pub(crate) fn without_providers(&self) -> Catalog {
        self.zoned(Catalog::default())
    }

    fn zoned(&self, mut catalog: Catalog) -> Catalog {
        catalog.private_zones.extend(self.zones.iter().map(|zone| Arc::from(zone.as_str())));
        catalog
    }

    /// The built-in catalog with that of the file.
    ///
    /// # Errors
    /// All that is wrong with the file. Nothing should be looked up then: what the file replaces is not meant as it was.
    pub(crate) fn read(&self) -> Result<Catalog, Vec<Diagnostic>> {
        let all = self.zoned(compiler::built_in_catalog().clone());
        match self.file() {
            Some(file) => Ok(all.with(read(file)?)),
            None => Ok(all),
        }
    }

    /// As [`Self::read`], for a command that ends where it cannot.
    pub(crate) fn load(&self) -> Result<Catalog> {
        self.read().map_err(|found| refusal(&found))
    }
}

/// Prints it.
pub(crate) fn run(command: &CatalogCommand, out: &mut impl Write) -> Result<()> {
    match command {
        CatalogCommand::List(shown) => list(&shown.catalog.load()?, shown.json, out),
        CatalogCommand::Show { provider, shown } => {
            let catalog = shown.catalog.load()?;
            let known = || catalog.providers.keys().map(|name| &**name).collect::<Vec<_>>().join(", ");
            let found = catalog.providers.get(provider.as_str());
            let found =
                found.with_context(|| format!("there is no provider {provider:?}; there are {}", known()))?;
            show(found, shown.json, out)
        }
        CatalogCommand::Diff { file, json } => {
            let mine = read(file).map_err(|found| refusal(&found))?;
            diff(compiler::built_in_catalog(), &mine, *json, out)
        }
    }
}

/// The catalog of a file alone.
pub(crate) fn read(file: &Path) -> Result<Catalog, Vec<Diagnostic>> {
    let (name, bytes) = content(file, "provider")?;
    Catalog::read(&name, &bytes)
}

/// A file's name, and what is in it; `what` is not known where it cannot be read.
pub(crate) fn content(file: &Path, what: &str) -> Result<(String, Vec<u8>), Vec<Diagnostic>> {
    let name = file.display().to_string();
    match fs::read(file) {
        Ok(bytes) => Ok((name, bytes)),
        Err(error) => {
            let message = format!("{name} cannot be read, and no {what} is known: {error}");
            let at = Position { file: name.as_str().into(), line: 1, column: 1 };
            Err(vec![Diagnostic::error(Code::Unreadable, message).at(at)])
        }
    }
}

/// All that is wrong with a file, as one error.
pub(crate) fn refusal(found: &[Diagnostic]) -> anyhow::Error {
    let mut all = "nothing of the file is used:".to_owned();
    for diagnostic in found {
        // What helps is on a line of its own.
        for line in diagnostic.to_string().lines() {
            all.extend(["\n  ", &*printable(line)]);
        }
    }
    anyhow!(all)
}

fn list(catalog: &Catalog, as_json: bool, out: &mut impl Write) -> Result<()> {
    if as_json {
        let all: Vec<Value> = catalog.providers.values().map(value).collect();
        writeln!(out, "{:#}", json!({ "providers": all }))?;
        return Ok(());
    }
    let width = catalog.providers.keys().map(|name| name.len()).max().unwrap_or_default();
    for provider in catalog.providers.values() {
        let hosts = match provider.hosts.len() {
            0 => "yours to name".to_owned(),
            1 => "1 host".to_owned(),
            count => format!("{count} hosts"),
        };
        writeln!(out, "{:width$}  {hosts:13}  {}", provider.name, printable(&provider.title))?;
    }
    Ok(())
}

fn show(provider: &Provider, as_json: bool, out: &mut impl Write) -> Result<()> {
    if as_json {
        writeln!(out, "{:#}", value(provider))?;
        return Ok(());
    }
    writeln!(out, "{}: {}", provider.name, printable(&provider.title))?;
    for host in &provider.hosts {
        let ports: Vec<String> = host.ports.iter().map(u16::to_string).collect();
        writeln!(out, "  {:7}  {}  {}", host.purpose.as_str(), host.host, ports.join(","))?;
    }
    let parameters: BTreeSet<&str> = provider.hosts.iter().flat_map(|host| host.parameters()).collect();
    if !parameters.is_empty() {
        let words: Vec<&str> = parameters.into_iter().collect();
        writeln!(out, "  to be filled in: {}", words.join(", "))?;
    }
    if provider.hosts.is_empty() {
        writeln!(out, "  its hosts are yours to name")?;
    }
    if !provider.note.is_empty() {
        writeln!(out, "  note: {}", printable(&provider.note))?;
    }
    for source in &provider.sources {
        writeln!(out, "  from {}", printable(source))?;
    }
    Ok(())
}

fn value(provider: &Provider) -> Value {
    let host = |host: &crds::CatalogHost| {
        json!({
            "host": host.host, "ports": host.ports, "for": host.purpose.as_str(), "parameters": host.parameters(),
        })
    };
    json!({
        "name": provider.name, "title": provider.title, "sources": provider.sources, "note": provider.note,
        "hosts": provider.hosts.iter().map(host).collect::<Vec<_>>(),
    })
}

/// Hosts as text that tells two of them apart.
fn hosts(provider: &Provider) -> BTreeSet<String> {
    let text =
        |host: &crds::CatalogHost| format!("{} {:?} for {}", host.host, host.ports, host.purpose.as_str());
    provider.hosts.iter().map(text).collect()
}

fn diff(built_in: &Catalog, mine: &Catalog, as_json: bool, out: &mut impl Write) -> Result<()> {
    let zones: Vec<&Arc<str>> = mine.private_zones.difference(&built_in.private_zones).collect();
    if mine.providers.is_empty() && zones.is_empty() {
        bail!("the file has no provider and no private zone");
    }
    let mut changes = Vec::new();
    for (name, provider) in &mine.providers {
        let (before, after) = (built_in.providers.get(name).map(hosts), hosts(provider));
        let is_new = before.is_none();
        let before = before.unwrap_or_default();
        let added: Vec<&String> = after.difference(&before).collect();
        let removed: Vec<&String> = before.difference(&after).collect();
        changes.push(json!({ "provider": name, "new": is_new, "added": added, "removed": removed }));
    }
    if as_json {
        writeln!(out, "{:#}", json!({ "changes": changes, "privateZones": zones }))?;
        return Ok(());
    }
    for change in &changes {
        let what = match (change["new"] == true, &change["added"], &change["removed"]) {
            (true, ..) => "new",
            (false, Value::Array(added), Value::Array(removed)) if added.is_empty() && removed.is_empty() => {
                "same hosts"
            }
            (false, ..) => "replaced",
        };
        writeln!(out, "{}: {what}", change["provider"].as_str().unwrap_or_default())?;
        for (sign, key) in [('+', "added"), ('-', "removed")] {
            for host in change[key].as_array().into_iter().flatten().filter_map(Value::as_str) {
                writeln!(out, "  {sign} {}", printable(host))?;
            }
        }
    }
    for zone in zones {
        writeln!(out, "private zone: {}", printable(zone))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: CatalogCommand,
    }

    fn said(arguments: &[&str]) -> Result<String> {
        let command = Cli::try_parse_from([&["catalog"], arguments].concat()).unwrap().command;
        let mut out = Vec::new();
        run(&command, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_provider_is_shown_with_hosts_and_source() {
        assert!(said(&["list"]).unwrap().contains("\nhuggingface "));
        let shown = said(&["show", "bedrock"]).unwrap();
        assert!(shown.contains("  api      bedrock-runtime.{region}.amazonaws.com  443"), "{shown}");
        assert!(shown.contains("to be filled in: region") && shown.contains("from https://"), "{shown}");
        let json: Value = serde_json::from_str(&said(&["list", "--json"]).unwrap()).unwrap();
        assert!(json["providers"].as_array().unwrap().iter().any(|it| it["name"] == "openai"));
        let unknown = said(&["show", "opanai"]).unwrap_err().to_string();
        assert!(unknown.contains("\"opanai\"") && unknown.contains("openai"), "{unknown}");
    }

    #[test]
    fn a_file_of_the_user_adds_replaces_and_is_compared() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.yaml");
        let path = file.to_str().unwrap();
        let mine = "apiVersion: cofferdam.dev/v1alpha1\nkind: Catalog\nproviders:\n\
                    - {name: hub, title: ours, hosts: [{host: hub.example, for: storage}]}\n\
                    - {name: openai, hosts: [{host: api.openai.com, for: api}, {host: eu.api.openai.com, for: api}]}\n\
                    - {name: anthropic, hosts: [{host: api.anthropic.com, for: api}]}\n";
        fs::write(&file, mine).unwrap();
        assert!(said(&["show", "hub", "--catalog", path]).unwrap().contains("hub.example"));
        let diff = said(&["diff", path]).unwrap();
        assert_eq!(
            diff,
            "anthropic: same hosts\nhub: new\n  + hub.example [443] for storage\nopenai: replaced\n  \
             + eu.api.openai.com [443] for api\n"
        );
        let json: Value = serde_json::from_str(&said(&["diff", path, "--json"]).unwrap()).unwrap();
        assert_eq!((&json["changes"][1]["new"], &json["privateZones"]), (&json!(true), &json!([])));
        fs::write(&file, format!("{mine}privateZones: [k8s.corp.example, cluster.local]\n")).unwrap();
        assert_eq!(said(&["diff", path]).unwrap(), format!("{diff}private zone: k8s.corp.example\n"));
        fs::write(&file, mine.replace("hub.example", "Hub.example")).unwrap();
        let refused = said(&["diff", path]).unwrap_err().to_string();
        assert!(
            refused.contains("mine.yaml:4") && refused.contains("providers[0].hosts[0].host"),
            "{refused}"
        );
        fs::write(&file, mine.replace("title: ours", "titel: ours")).unwrap();
        let refused = said(&["diff", path]).unwrap_err().to_string();
        let helps = refused.lines().filter(|line| line.trim_start().starts_with("help: "));
        assert_eq!(helps.count(), 1, "{refused}");
    }
}
