//! `cofferdam policy`: what manifests mean, without enforcing them.

mod check;
mod connectivity;
mod explain;
mod verify;

pub(crate) use explain::named::Named;
pub(crate) use explain::run as explain;
pub(crate) use explain::{Asked, ExplainArgs, clauses, end, rule_text, same_family};

use crate::catalog::CatalogArg;
use crate::folder::{self, Manifests};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use crds::{Diagnostic, Severity};
use policy::{Generation, PolicySet};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::PathBuf;

/// The verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum PolicyCommand {
    Check(check::CheckArgs),
    Explain(explain::ExplainArgs),
    Connectivity(connectivity::ConnectivityArgs),
    Verify(verify::VerifyArgs),
}

/// Where manifests come from.
#[derive(Args, Debug)]
pub(crate) struct Sources {
    /// Manifest, folder of manifests, or - for standard input; may be repeated
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) catalog: CatalogArg,
}

/// What manifests mean.
pub(crate) struct Loaded {
    files: usize,
    objects: usize,
    pub(crate) set: PolicySet,
    /// Of the reader, of the compiler, and of who judges requests to models; by file and line.
    diagnostics: Vec<Diagnostic>,
}

impl Sources {
    pub(crate) fn load(&self) -> Result<Loaded> {
        self.load_with(folder::read).map(|(loaded, _)| loaded)
    }

    /// Of the files and folders.
    fn names(&self) -> String {
        let names: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        names.join(", ")
    }

    /// What the manifests mean, and how they were written.
    pub(crate) fn load_with_json(&self) -> Result<(Loaded, Vec<Value>)> {
        self.load_with(folder::read_with_json)
    }

    fn load_with(
        &self,
        read: impl FnOnce(&[PathBuf], Option<&mut dyn Read>) -> Manifests,
    ) -> Result<(Loaded, Vec<Value>)> {
        let catalog = self.catalog.load()?;
        let read = read(&self.files, Some(&mut std::io::stdin()));
        if read.files == 0 && read.diagnostics.is_empty() {
            bail!("{} holds no manifest: nothing ends in .yaml, .yml or .json", self.names());
        }
        let (files, objects) = (read.files, read.objects.len());
        let mut diagnostics = read.diagnostics;
        diagnostics.extend(admit::flaws(&read.objects));
        let compiled = compiler::compile_with(read.objects, &catalog, Generation(1));
        diagnostics.extend(compiled.diagnostics);
        diagnostics.sort_by(|a, b| (&a.position, &a.field, a.code).cmp(&(&b.position, &b.field, b.code)));
        Ok((Loaded { files, objects, set: compiled.set, diagnostics }, read.json))
    }
}

impl Loaded {
    /// Of the reader, of the compiler, and of who judges requests to models; by file and line.
    pub(crate) fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

/// Runs a verb. False: the answer is no.
pub(crate) fn run(command: &PolicyCommand, out: &mut impl Write) -> Result<bool> {
    match command {
        PolicyCommand::Check(args) => check::run(args, out),
        PolicyCommand::Explain(args) => explain::run(args, out),
        PolicyCommand::Connectivity(args) => connectivity::run(args, out),
        PolicyCommand::Verify(args) => verify::run(args, out),
    }
}

/// Errors of the manifests on standard error, so that an answer about half-read manifests never looks whole.
pub(crate) fn report_errors(loaded: &Loaded) -> Result<bool> {
    let mut err = std::io::stderr();
    let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let mut clean = true;
    for error in errors {
        clean = false;
        writeln!(err, "{error}")?;
    }
    if !clean {
        writeln!(err, "the answer treats what could not be read as closed")?;
    }
    Ok(clean)
}
