//! `cofferdam policy check`: what is wrong with manifests, or probably not meant.

use super::Sources;
use crate::plain::counted;
use anyhow::{Result, bail};
use clap::Args;
use crds::{Code, Diagnostic, Severity};
use serde_json::json;
use std::io::Write;

/// Say what is wrong with manifests, and what is probably not meant, with file and line
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam policy check -f manifests/
  cofferdam policy check -f base/ -f overlays/production/ --json
  kubectl get networkpolicy,pod,namespace -A -o yaml | cofferdam policy check -f -

Errors are what an API server would refuse, or what cannot be enforced as written. Warnings are legal and probably not
meant: two policies of equal priority, a port name no pod has, a selector that selects nothing, pods that may not ask DNS.
Exit code: 0 without errors, 1 with errors, 2 if it could not be done.")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    sources: Sources,
    /// Warnings make the exit code 1 too
    #[arg(long)]
    strict: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb; false if there are errors.
pub(super) fn run(args: &CheckArgs, out: &mut impl Write) -> Result<bool> {
    let loaded = args.sources.load()?;
    // Whoever pipes manifests in here would take the silence of a program that failed for a policy without faults.
    let is_of_emptiness = |it: &Diagnostic| it.code == Code::NotAnObject && !it.is_error();
    if loaded.objects == 0 && loaded.diagnostics.iter().all(is_of_emptiness) {
        bail!("{} holds no object that is read here: is what writes it empty?", args.sources.names());
    }
    let count =
        |severity| loaded.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if args.json {
        let summary = json!({
            "errors": errors, "warnings": warnings, "notes": count(Severity::Note), "objects": loaded.objects,
            "files": loaded.files, "policies": loaded.set.policies.len(), "pods": loaded.set.world.pods.len(),
        });
        writeln!(out, "{:#}", json!({"diagnostics": loaded.diagnostics, "summary": summary}))?;
    } else {
        for diagnostic in &loaded.diagnostics {
            writeln!(out, "{diagnostic}")?;
        }
        let (objects, files) = (loaded.objects, loaded.files);
        let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
        let (objects, files) = (counted(objects, "object"), counted(files, "file"));
        writeln!(out, "{errors}, {warnings} in {objects} from {files}")?;
    }
    Ok(errors == 0 && (warnings == 0 || !args.strict))
}
