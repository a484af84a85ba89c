//! `cofferdam release`: policies that are handed to many clusters as one.
//!
//! Enters: manifests, private keys, release files, files of keys that are believed. Leaves: a signed release, or what is in one.
//! Guarantees: what the reader or the compiler finds an error in, or what cuts off a cluster's own system pods, becomes no
//! release; `verify` says exactly what a cluster with these keys would say. Does not: talk to a cluster; `push` talks to a registry.

mod export;
mod push;

use crate::clusters::{Form, Side, print};
use crate::plain::{counted, printable};
use crate::policy::Sources;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use crds::{Code, Diagnostic};
use fleet::{
    Digest, Envelope, FleetName, Header, Memory, OwnFleet, Pinned, Ref, Release, SigningKey, Unnamed, hub,
};
use observe::Time;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// More than the largest release, key or file of keys.
const MOST: u64 = 4 * 1024 * 1024;

/// Make, sign and look into releases of policy.
#[derive(Subcommand, Debug)]
#[command(after_help = "Examples:
  openssl genpkey -algorithm ed25519 -out release.key
  cofferdam release build -f policies/ --number 8 --previous release-7.json --sign release.key -o release-8.json
  cofferdam release show release-8.json
  cofferdam release diff release-7.json release-8.json --on cluster.yaml
  cofferdam release verify release-8.json --keys keys.yaml --newest release-7.json
  cofferdam release build ... --fleet payments      signed for the clusters of one fleet, and refused by those of others
  cofferdam release object release-8.json | kubectl --context hub apply --server-side -f -
  cofferdam release export release-8.json --to fleet/ --enforce dev-1      clusters that take it from Git, without a hub
  cofferdam release push fleet/ oci://registry.example/policy/fleet:main      or from a registry

A file of keys:

  apiVersion: cofferdam.dev/v1alpha1
  kind: ReleaseKeys
  threshold: 1                # so many of them must have signed
  keys:
  - name: platform-team
    notAfter: \"2027-12-31\"    # believed until the end of that day
    revoked: false
    public: |                 # openssl pkey -in release.key -pubout
      -----BEGIN PUBLIC KEY-----
      ...
      -----END PUBLIC KEY-----")]
pub(crate) enum ReleaseCommand {
    #[command(
        after_help = "Examples:\n  cofferdam release build -f policies/ --number 7 --previous none --sign release.key -o release-7.json\n  cofferdam release build -f policies/ --number 8 --previous release-7.json --sign release.key -o release-8.json"
    )]
    Build(BuildArgs),
    /// What is in a release, whoever signed it
    #[command(after_help = "Example:\n  cofferdam release show release-8.json")]
    Show {
        /// The release
        #[arg(value_name = "RELEASE")]
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    #[command(
        after_help = "Examples:\n  cofferdam release diff release-7.json release-8.json --on cluster.yaml\n  cofferdam release diff release-7.json policies/ --json"
    )]
    Diff(DiffArgs),
    #[command(
        after_help = "Examples:\n  cofferdam release verify release-8.json --keys keys.yaml --newest release-7.json\n  cofferdam release verify release-9.json --keys keys.yaml --fleet payments"
    )]
    Verify(VerifyArgs),
    /// The object that a hub has of a release, to be applied there
    #[command(
        after_help = "Example:\n  cofferdam release object release-8.json | kubectl --context hub apply --server-side -f -"
    )]
    Object {
        /// The release
        #[arg(value_name = "RELEASE")]
        file: PathBuf,
    },
    Export(export::ExportArgs),
    Push(push::PushArgs),
}

/// Make a release of the policies among manifests
#[derive(Args, Debug)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    sources: Sources,
    /// Higher than that of every release before
    #[arg(long, value_name = "N")]
    number: u64,
    /// The release that clusters may fall back to from this one, or `none` for having no policy of the fleet's
    #[arg(long, value_name = "RELEASE")]
    previous: Option<PathBuf>,
    /// The policies are those of an earlier release with this digest
    #[arg(long, value_name = "DIGEST")]
    rollback_to: Option<Digest>,
    /// The fleet that it is for: that is signed with it, and clusters of another fleet refuse it
    #[arg(long, value_name = "NAME")]
    fleet: Option<FleetName>,
    /// Private key to sign with; may be repeated
    #[arg(long, value_name = "FILE")]
    sign: Vec<PathBuf>,
    /// Where to write it
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// What is different in another release: object by object, and on a cluster verdict by verdict
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// Release, or manifests
    before: PathBuf,
    /// Release, or manifests
    after: PathBuf,
    /// Namespaces, pods and other policies of a cluster, to say which connections would be judged differently there
    #[arg(long, value_name = "PATH")]
    on: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Say whether a cluster would take a release, and if not, why
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The release
    #[arg(value_name = "RELEASE")]
    file: PathBuf,
    /// Keys that are believed
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// The newest release that the cluster has had
    #[arg(long, value_name = "RELEASE")]
    newest: Option<PathBuf>,
    /// The fleet that the cluster is of, as `cofferdam controller --fleet` is told it
    #[arg(long, value_name = "NAME")]
    fleet: Option<FleetName>,
    /// The cluster takes no release that names no fleet
    #[arg(long, requires = "fleet")]
    fleet_named: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs a verb. False: the answer is no.
pub(crate) fn run(command: &ReleaseCommand, out: &mut impl Write) -> Result<bool> {
    match command {
        ReleaseCommand::Build(args) => build(args, out),
        ReleaseCommand::Show { file, json } => show(file, *json, out).map(|()| true),
        ReleaseCommand::Diff(args) => diff(args, out),
        ReleaseCommand::Verify(args) => verify(args, out),
        ReleaseCommand::Object { file } => {
            let (envelope, release) = peek(file)?;
            writeln!(out, "{}", hub::release_object(&release, &envelope))?;
            Ok(true)
        }
        ReleaseCommand::Export(args) => export::export(args, out),
        ReleaseCommand::Push(args) => push::push(args, out),
    }
}

fn build(args: &BuildArgs, out: &mut impl Write) -> Result<bool> {
    let (loaded, values) = args.sources.load_with_json()?;
    let stops = |it: &&Diagnostic| it.is_error() || it.code == Code::SystemLockedOut;
    let wrong: Vec<&Diagnostic> = loaded.diagnostics().iter().filter(stops).collect();
    if !wrong.is_empty() {
        let mut err = std::io::stderr();
        for diagnostic in &wrong {
            writeln!(err, "{diagnostic}")?;
        }
        writeln!(
            err,
            "no release is made of policies that cannot be enforced as written, or cut off a cluster's own pods"
        )?;
        return Ok(false);
    }
    let before = args.previous.as_deref().map(previous).transpose()?.flatten();
    if let Some(of) = before.as_ref().and_then(Release::fleet)
        && args.fleet.as_ref() != Some(of)
    {
        bail!(
            "the release before it is of fleet {of}: --fleet {of}, or clusters could not go from one to the other"
        );
    }
    let fallback =
        args.previous.as_ref().map(|_| before.as_ref().map_or_else(Ref::nothing, Release::reference));
    let header = Header { number: args.number, fallback, rollback_to: args.rollback_to.clone() };
    let (mut release, others) = Release::build(header, &values).context("it becomes no release")?;
    if let Some(fleet) = &args.fleet {
        release = release.of_fleet(fleet.clone()).context("it becomes no release")?;
    }
    let keys = args.sign.iter().map(|path| signing_key(path)).collect::<Result<Vec<_>>>()?;
    let sealed = Envelope::seal(&release, &keys);
    fs::write(&args.output, sealed.to_json() + "\n")
        .with_context(|| format!("writing {}", args.output.display()))?;
    let policies = counted(release.manifests().len(), "policy");
    writeln!(out, "release {}: {policies}, digest {}", release.header().number, release.digest())?;
    match &release.header().fallback {
        Some(fallback) => writeln!(out, "clusters may fall back from it to release {fallback}")?,
        None => writeln!(
            out,
            "it cannot be taken back by itself: --previous names what clusters may fall back to"
        )?,
    }
    match (&args.fleet, &before) {
        (Some(fleet), Some(before)) if before.fleet().is_none() => writeln!(
            out,
            "it is of fleet {fleet}; the release before it names none, and a cluster that refuses such cannot fall back to it"
        )?,
        (Some(fleet), _) => writeln!(out, "it is of fleet {fleet}")?,
        (None, _) => {}
    }
    match others.len() {
        0 => {}
        1 => writeln!(out, "1 object that is no policy is left out: {}", shown(others.first()))?,
        count => writeln!(
            out,
            "{count} objects that are no policies are left out, such as {}",
            shown(others.first())
        )?,
    }
    match keys.len() {
        0 => writeln!(out, "nobody signed it: no cluster takes it; --sign KEY signs it")?,
        count => {
            writeln!(out, "{}; written to {}", counted(count, "signature"), args.output.display())?;
        }
    }
    Ok(true)
}

fn shown(name: Option<&crds::ObjectName>) -> String {
    name.map_or_else(String::new, |it| printable(&it.to_string()))
}

/// The release before; `None`: no policy of the fleet's.
fn previous(path: &Path) -> Result<Option<Release>> {
    if path == Path::new("none") {
        return Ok(None);
    }
    Ok(Some(peek(path)?.1))
}

fn signing_key(path: &Path) -> Result<SigningKey> {
    let text = bytes(path)?;
    SigningKey::from_pem(&text).with_context(|| format!("{} signs nothing", path.display()))
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("reading {}", path.display()))?;
    if bytes.len() as u64 > MOST {
        bail!("{} has more than {MOST} bytes", path.display());
    }
    Ok(bytes)
}

/// Keys that are believed.
fn pinned(path: &Path) -> Result<Pinned> {
    Ok(Pinned::read(&path.display().to_string(), &bytes(path)?)?)
}

/// The fleet that a cluster is told to be of.
pub(crate) fn own_fleet(name: Option<&FleetName>, named_only: bool) -> Option<OwnFleet> {
    let unnamed = if named_only { Unnamed::Refused } else { Unnamed::Taken };
    name.map(|name| OwnFleet { name: name.clone(), unnamed })
}

/// Keys that are believed, for releases of this fleet alone.
pub(crate) fn pinned_for(path: &Path, own: Option<OwnFleet>) -> Result<Pinned> {
    let pinned = pinned(path)?;
    Ok(match own {
        Some(own) => pinned.of_fleet(own),
        None => pinned,
    })
}

/// A release of which nobody has asked who signed it.
fn peek(path: &Path) -> Result<(Envelope, Release)> {
    let envelope = envelope(path, &bytes(path)?)?;
    let release = envelope.peek().with_context(|| format!("{} is no release", path.display()))?;
    Ok((envelope, release))
}

/// The signed release that a file has, or that the object has which a hub has of it.
fn envelope(path: &Path, bytes: &[u8]) -> Result<Envelope> {
    let error = match Envelope::from_json(bytes) {
        Ok(envelope) => return Ok(envelope),
        Err(error) => error,
    };
    let name = path.display().to_string();
    let objects = crds::as_json(&name, bytes);
    let kind = |it: &Value| printable(it.get("kind").and_then(Value::as_str).unwrap_or_default());
    match objects.as_slice() {
        [] => Err(error).with_context(|| format!("{name} is no release")),
        [object] if kind(object) == "PolicyRelease" => {
            let inner = object.pointer("/spec/envelope").cloned().unwrap_or_default();
            Envelope::from_json(inner.to_string().as_bytes())
                .with_context(|| format!("{name}: spec.envelope of the PolicyRelease"))
        }
        [first, ..] => bail!(
            "{name} is no release: it has manifests, the first a {}; `cofferdam release build -f {name}` makes a release of policies",
            kind(first)
        ),
    }
}

fn show(path: &Path, as_json: bool, out: &mut impl Write) -> Result<()> {
    let (envelope, release) = peek(path)?;
    let Header { number, fallback, rollback_to } = release.header();
    if as_json {
        let objects: Vec<_> = release
            .manifests()
            .iter()
            .map(|it| json!({ "object": it.name, "digest": it.digest(), "manifest": it.value }))
            .collect();
        let signatures: Vec<&str> = envelope.signatures.iter().map(|it| it.keyid.as_str()).collect();
        let whole = json!({
            "number": number, "digest": release.digest(), "fleet": release.fleet(), "fallback": fallback, "rollbackTo": rollback_to,
            "keys": signatures, "objects": objects,
        });
        writeln!(out, "{whole:#}")?;
        return Ok(());
    }
    writeln!(out, "release {number}, digest {}", release.digest())?;
    match release.fleet() {
        Some(fleet) => writeln!(out, "of fleet {fleet}")?,
        None => writeln!(out, "of no fleet in particular")?,
    }
    match fallback {
        Some(fallback) if fallback.number == 0 => writeln!(out, "falls back to no policy of the fleet's")?,
        Some(fallback) => {
            writeln!(out, "falls back to release {} with digest {}", fallback.number, fallback.digest)?
        }
        None => writeln!(out, "falls back to nothing")?,
    }
    if let Some(digest) = rollback_to {
        writeln!(out, "brings back the policies with digest {digest}")?;
    }
    for signature in &envelope.signatures {
        writeln!(out, "claims to be signed with key {}", printable(&signature.keyid))?;
    }
    for manifest in release.manifests() {
        writeln!(out, "  {}  {}", manifest.digest().short(), printable(&manifest.name.to_string()))?;
    }
    writeln!(out, "whether a cluster believes it, `cofferdam release verify` says")?;
    Ok(())
}

fn verify(args: &VerifyArgs, out: &mut impl Write) -> Result<bool> {
    let pinned = pinned_for(&args.keys, own_fleet(args.fleet.as_ref(), args.fleet_named))?;
    let now = Time::from(SystemTime::now()).to_string();
    // It is what the cluster took, and so is not asked who signed it.
    let newest = args.newest.as_deref().map(|path| peek(path).map(|(_, release)| release)).transpose()?;
    let memory = newest.map_or_else(Memory::default, |release| Memory::of(&release));
    let found = bytes(&args.file)?;
    let said = envelope(&args.file, &found).and_then(|envelope| {
        let signed = envelope.open(&pinned, &now)?;
        memory.consider(&signed)?;
        Ok(signed)
    });
    match said {
        Ok(signed) => {
            let release = signed.release();
            if args.json {
                let (number, digest) = (release.header().number, release.digest().to_string());
                let told =
                    json!({ "holds": true, "number": number, "digest": digest, "signers": signed.signers() });
                writeln!(out, "{told:#}")?;
                return Ok(true);
            }
            let signers = signed.signers().join(", ");
            writeln!(out, "release {} with digest {} holds", release.header().number, release.digest())?;
            writeln!(out, "signed by {}", printable(&signers))?;
            Ok(true)
        }
        Err(error) if args.json => {
            writeln!(out, "{:#}", json!({ "holds": false, "problem": format!("{error:#}") }))?;
            Ok(false)
        }
        Err(error) => {
            let file = printable(&args.file.display().to_string());
            writeln!(out, "{file} changes nothing: {}", printable(&format!("{error:#}")))?;
            Ok(false)
        }
    }
}

fn diff(args: &DiffArgs, out: &mut impl Write) -> Result<bool> {
    let [before, after] = [&args.before, &args.after].map(|path| side(path, &args.on));
    let form = if args.json { Form::Json } else { Form::Text };
    print(&before?, &after?, !args.on.is_empty(), form, out)
}

fn side(path: &Path, on: &[PathBuf]) -> Result<Side> {
    let name = path.display().to_string();
    let is_release = path.is_file() && envelope(path, &bytes(path)?).is_ok();
    if !is_release {
        return Side::read(&name, &[path.to_owned()], on);
    }
    let (_, release) = peek(path)?;
    Side::of_release(&name, &release, on)
}
