//! `cofferdam release export`: a release, and which clusters are to have it, as files of a folder that stands in Git.
//!
//! Enters: a signed release, names of clusters, the folder. Leaves: the same objects that a hub has, one file each. Guarantees: a
//! release that is there under the number with other contents is left as it is, and said; each file is replaced as a whole. Does
//! not: commit, push, or ask who signed it.

use super::peek;
use crate::plain::printable;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fleet::folder::{MOST_CLUSTER_BYTES, cluster_path, cluster_text, read_cluster, release_path};
use fleet::hub::{ClusterSpec, release_object};
use fleet::rollout::Wanted;
use fleet::{Ref, Release};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Write a release into a folder that stands in Git, and say which clusters are to have it: `cofferdam controller --releases` takes it
/// from there
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam release export release-8.json --to fleet/ --enforce dev-1 --shadow prod-1 --shadow prod-2
  git -C fleet add . && git -C fleet commit -m 'release 8: dev-1' && git -C fleet push
  cofferdam release export release-8.json --to fleet/ --enforce prod-1 --enforce prod-2

Going back is the same with the release that this one falls back to (--previous), or `git revert`.")]
pub(crate) struct ExportArgs {
    /// The release
    #[arg(value_name = "RELEASE")]
    file: PathBuf,
    /// The folder: releases/ and clusters/ in it are written
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A cluster that is to have it in force; may be repeated
    #[arg(long, value_name = "CLUSTER")]
    enforce: Vec<String>,
    /// A cluster that is to judge it beside what it has, without effect; may be repeated
    #[arg(long, value_name = "CLUSTER")]
    shadow: Vec<String>,
}

/// Writes the files.
pub(super) fn export(args: &ExportArgs, out: &mut impl Write) -> Result<bool> {
    let (envelope, release) = peek(&args.file)?;
    ensure!(
        !envelope.signatures.is_empty(),
        "{} is signed by nobody, and no cluster takes it: `cofferdam release build --sign KEY`",
        args.file.display()
    );
    if let Some(both) = args.enforce.iter().find(|it| args.shadow.contains(it)) {
        bail!("{both} is to have it in force and without effect: name it once");
    }
    // All that can be wrong is seen before anything is written.
    let mut files = Vec::new();
    for cluster in &args.enforce {
        files.push(in_force(&args.to, cluster, &release)?);
    }
    for cluster in &args.shadow {
        files.push(beside(&args.to, cluster, &release)?);
    }
    let reference = release.reference();
    let path = args.to.join(release_path(&reference));
    let text = format!("{}\n", release_object(&release, &envelope));
    match fs::read_to_string(&path) {
        Ok(there) if there == text => {}
        Ok(_) => bail!(
            "{} is there, and another one; a release never changes: build one with a higher number",
            path.display()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => write(&path, &text)?,
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    }
    writeln!(out, "{}: release {reference}", printable(&path.display().to_string()))?;
    for (path, text, said) in files {
        write(&path, &text)?;
        writeln!(out, "{}: {said}", printable(&path.display().to_string()))?;
    }
    Ok(true)
}

/// Where a file is, its text, and what it says.
type Written = (PathBuf, String, String);

fn in_force(folder: &Path, cluster: &str, release: &Release) -> Result<Written> {
    let (path, spec) = there(folder, cluster)?;
    let wanted = Some(Wanted { enforce: release.reference(), shadow: None });
    let text = cluster_text(cluster, &ClusterSpec { wanted, ..spec });
    Ok((path, text, format!("release {} in force", release.reference())))
}

fn beside(folder: &Path, cluster: &str, release: &Release) -> Result<Written> {
    let (path, spec) = there(folder, cluster)?;
    let enforce = spec.wanted.as_ref().map_or_else(Ref::nothing, |it| it.enforce.clone());
    let reference = release.reference();
    ensure!(
        enforce != reference,
        "cluster {cluster} is to have release {reference} in force already: nothing is to be judged beside it"
    );
    let said = format!("release {reference} without effect, beside {enforce}");
    let wanted = Some(Wanted { enforce, shadow: Some(reference) });
    Ok((path, cluster_text(cluster, &ClusterSpec { wanted, ..spec }), said))
}

/// The file of a cluster, and what it says now.
fn there(folder: &Path, cluster: &str) -> Result<(PathBuf, ClusterSpec)> {
    let Some(path) = cluster_path(cluster).map(|path| folder.join(path)) else {
        bail!("{cluster:?} is no name of a cluster: small letters, digits, - and .");
    };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((path, ClusterSpec::default())),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let name = path.display().to_string();
    ensure!(text.len() as u64 <= MOST_CLUSTER_BYTES, "{name} has more than {MOST_CLUSTER_BYTES} bytes");
    let spec = read_cluster(cluster, &text).map_err(|problem| anyhow::anyhow!("{name}: {problem}"))?;
    let spec = serde_json::from_value(spec).with_context(|| format!("{name}: spec"))?;
    Ok((path, spec))
}

/// In place of what is there, at once: whoever reads meanwhile reads the one or the other.
fn write(path: &Path, text: &str) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(writing)?;
    }
    let new = path.with_extension("json.new");
    fs::write(&new, text).with_context(writing)?;
    fs::rename(&new, path).with_context(writing)
}
