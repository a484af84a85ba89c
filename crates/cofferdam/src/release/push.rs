//! `cofferdam release push`: the folder that `release export` writes, as one artifact of an OCI registry.
//!
//! Enters: the folder, a repository and a tag. Leaves: its files there, and the tag means them. Guarantees: a file that no cluster
//! would take, and one that names a release which is not there, keep everything from being pushed; the tag comes last. Does not:
//! ask who signed it, or remove what is there already.

use super::bytes;
use crate::plain::printable;
use crate::registry::registry;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fleet::folder::{MOST_CLUSTER_BYTES, cluster_path, read_cluster, release_path};
use fleet::hub::ClusterSpec;
use fleet::oci::{Place, Version};
use fleet::{Envelope, Ref};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Put the folder that `release export` writes into an OCI registry: `cofferdam controller --releases oci://…` takes it from there
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam release export release-8.json --to fleet/ --enforce dev-1
  cofferdam release push fleet/ oci://registry.example/policy/fleet:main --login ~/.docker/config.json

The tag means all files of the folder afterwards, and no others. It prints the digest, by which a cluster can be held to just these:
--releases oci://registry.example/policy/fleet@sha256:…")]
pub(crate) struct PushArgs {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where to: oci://HOST/NAME:TAG, or oci+http:// without TLS
    #[arg(value_name = "REPOSITORY")]
    to: Place,
    /// Certificates (PEM) by which the registry is known [default: those of the machine]
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// Who pushes: a file that `docker login` wrote
    #[arg(long, value_name = "FILE")]
    login: Option<PathBuf>,
}

/// Pushes.
pub(super) fn push(args: &PushArgs, out: &mut impl Write) -> Result<bool> {
    ensure!(
        matches!(args.to.version, Version::Tag(_)),
        "{}: a digest never means anything else: name a tag",
        args.to
    );
    let files = files(&args.folder)?;
    let count = files.len();
    let registry = registry(args.to.clone(), args.authority.as_deref(), args.login.clone())?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let pushed = runtime.block_on(registry.push(files)).map_err(|why| anyhow::anyhow!(printable(&why)))?;
    writeln!(out, "{}: {}", args.to, pushed.digest)?;
    writeln!(out, "{count} files, {} of them new there", pushed.new)?;
    Ok(true)
}

/// The files, by their path in the folder, each as a cluster would take it.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let (mut files, mut there, mut wanted) = (BTreeMap::new(), BTreeSet::from([Ref::nothing()]), Vec::new());
    for path in named(folder, "releases")? {
        let text = bytes(&folder.join(&path))?;
        there.insert(release(&path, &text).with_context(|| path.clone())?);
        files.insert(path, text);
    }
    for path in named(folder, "clusters")? {
        let text = bytes(&folder.join(&path))?;
        wanted.push((path.clone(), cluster(&path, &text).with_context(|| path.clone())?));
        files.insert(path, text);
    }
    ensure!(
        !files.is_empty(),
        "{}: there is neither a release nor a cluster in it; `cofferdam release export` writes them",
        folder.display()
    );
    for (path, spec) in wanted {
        let Some(wanted) = spec.wanted else { continue };
        for release in [Some(wanted.enforce), wanted.shadow].into_iter().flatten() {
            ensure!(
                there.contains(&release),
                "{path} names release {release}, and {} is not it, or not there",
                release_path(&release)
            );
        }
    }
    Ok(files)
}

/// Files of JSON in a folder of the folder, which need not be there.
fn named(folder: &Path, part: &str) -> Result<Vec<String>> {
    let path = folder.join(part);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound && folder.is_dir() => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("reading {}", path.display()))?.file_name();
        let Some(name) = name.to_str().filter(|it| it.ends_with(".json")) else { continue };
        found.push(format!("{part}/{name}"));
    }
    Ok(found)
}

fn release(path: &str, text: &[u8]) -> Result<Ref> {
    let object: Value = serde_json::from_slice(text).context("it is no JSON")?;
    let envelope = object.pointer("/spec/envelope").cloned().unwrap_or_default();
    let envelope: Envelope = serde_json::from_value(envelope).context("it is no PolicyRelease")?;
    ensure!(!envelope.signatures.is_empty(), "it is signed by nobody, and no cluster takes it");
    let release = envelope.peek()?.reference();
    ensure!(
        release_path(&release) == path,
        "it is release {release}, and belongs into {}",
        release_path(&release)
    );
    Ok(release)
}

fn cluster(path: &str, text: &[u8]) -> Result<ClusterSpec> {
    let name = path.trim_start_matches("clusters/").trim_end_matches(".json");
    ensure!(
        cluster_path(name).as_deref() == Some(path),
        "{name:?} is no name of a cluster: small letters, digits, - and ."
    );
    ensure!(text.len() as u64 <= MOST_CLUSTER_BYTES, "it has more than {MOST_CLUSTER_BYTES} bytes");
    match read_cluster(name, text) {
        Ok(spec) => serde_json::from_value(spec).context("spec"),
        Err(problem) => bail!(problem),
    }
}
