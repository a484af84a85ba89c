//! With what the gateway opens TLS, where rules look at requests: an authority, and what it believes of servers.
//!
//! Enters: options, and where an authority may be kept. Leaves: the means, and a file of what pods must trust. Guarantees: a
//! key that is made here is readable by its owner alone. Does not: give pods what they must trust.

use anyhow::{Context, Result, bail};
use clap::Args;
use gateway::{Authority, AuthorityPem, Inspection};
use pem::{EncodeConfig, LineEnding, Pem};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What the gateway opens TLS with.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Requests inside TLS")]
pub(crate) struct InspectionArgs {
    /// Certificate (PEM) of the authority in whose name TLS is opened where a rule looks at requests; pods must trust it
    #[arg(long, value_name = "PATH", requires = "inspection_key")]
    inspection_ca: Option<PathBuf>,
    /// Its key (PEM, PKCS#8)
    #[arg(long, value_name = "PATH", requires = "inspection_ca")]
    inspection_key: Option<PathBuf>,
    /// Believe servers whose certificates these authorities signed, besides those of the system; may be repeated
    #[arg(long = "inspection-root", value_name = "PATH")]
    inspection_roots: Vec<PathBuf>,
}

/// Where an authority comes from if none is given.
pub(crate) enum Home<'a> {
    /// Made, and kept here; what pods must trust is written beside it.
    Kept(&'a Path),
    /// Given, for a lab: with the authority of those outside.
    Lab(&'a Lab),
    /// Nowhere: until there is one TLS is not opened, and what would have to be is refused.
    Nowhere,
}

/// The authorities of a lab.
#[derive(Clone, Debug)]
pub(crate) struct Lab {
    inspection: AuthorityPem,
    outside: String,
}

/// File of a lab's folder with the certificate of the gateway's authority.
const OF_GATEWAY: &str = "inspection-ca.pem";
/// Files with the authority that those outside may use: the gateway believes it.
const OF_OUTSIDE: [&str; 2] = ["outside-ca.pem", "outside-ca.key"];

impl Lab {
    /// Makes them, and leaves in the folder what the lab's programs need.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let make = || Authority::generate(SystemTime::now()).context("making an authority for the lab");
        let (inspection, outside) = (make()?, make()?);
        let [certificate, key] = OF_OUTSIDE.map(|name| folder.join(name));
        write(&folder.join(OF_GATEWAY), &inspection.certificate, 0o644)?;
        write(&certificate, &outside.certificate, 0o644)?;
        write(&key, &outside.key, 0o600)?;
        Ok(Self { inspection, outside: outside.certificate })
    }
}

impl InspectionArgs {
    /// Whether an authority was given.
    pub(crate) fn has_authority(&self) -> bool {
        self.inspection_ca.is_some()
    }

    /// Certificates (DER) by which servers are believed.
    pub(crate) fn roots(&self) -> Result<Vec<Vec<u8>>> {
        let mut roots = system_roots();
        for path in &self.inspection_roots {
            let pem = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            let found = certificates(&pem).with_context(|| format!("reading {}", path.display()))?;
            if found.is_empty() {
                bail!("{} has no certificate: it must be PEM", path.display());
            }
            roots.extend(found);
        }
        Ok(roots)
    }

    /// The means; none where there is no authority.
    pub(crate) fn means(&self, home: &Home<'_>) -> Result<Option<Arc<Inspection>>> {
        let mut roots = self.roots()?;
        let given = self.inspection_ca.as_deref().zip(self.inspection_key.as_deref());
        let authority = match (given, home) {
            (Some((certificate, key)), _) => read(certificate, key)?,
            (None, Home::Kept(path)) => kept(path)?,
            (None, Home::Lab(lab)) => {
                roots.extend(certificates(lab.outside.as_bytes())?);
                lab.inspection.clone()
            }
            (None, Home::Nowhere) => return Ok(None),
        };
        if let Home::Kept(path) = home {
            write_trust(&trust_file(path), &authority.certificate, &roots)?;
        }
        Ok(Some(Arc::new(Inspection { authority, roots })))
    }
}

/// Where what pods must trust is written, beside an authority.
pub(crate) fn trust_file(authority: &Path) -> PathBuf {
    authority.with_extension("trust.pem")
}

/// What this system believes. What of it cannot be read is left out: then more is refused.
/// Certificates (DER) that the system believes.
pub(crate) fn system_roots() -> Vec<Vec<u8>> {
    rustls_native_certs::load_native_certs().certs.into_iter().map(|it| it.to_vec()).collect()
}

/// The same as PEM, for those who trust one file and nothing else.
pub(crate) fn system_trust() -> String {
    text(&system_roots())
}

fn text(certificates: &[Vec<u8>]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let one = |it: &Vec<u8>| pem::encode_config(&Pem::new("CERTIFICATE", it.as_slice()), config);
    certificates.iter().map(one).collect()
}

/// Certificates (DER) of a text with PEM.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>> {
    let all = CertificateDer::pem_slice_iter(pem).map(|it| it.map(|it| it.to_vec()));
    all.collect::<Result<_, _>>().context("it is no PEM of certificates")
}

fn read(certificate: &Path, key: &Path) -> Result<AuthorityPem> {
    let text = |path: &Path| fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let authority = AuthorityPem { certificate: text(certificate)?, key: text(key)? };
    Authority::of(&authority)
        .with_context(|| format!("{} and {} are no authority", certificate.display(), key.display()))?;
    Ok(authority)
}

/// The authority that was made before, or a new one.
fn kept(path: &Path) -> Result<AuthorityPem> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let of_file = || format!("{} is no authority; remove it to have another made", path.display());
            let authority: AuthorityPem = serde_json::from_str(&text).with_context(of_file)?;
            Authority::of(&authority).with_context(of_file)?;
            Ok(authority)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let made = Authority::generate(SystemTime::now()).context("making an authority")?;
            write(path, &serde_json::to_string(&made)?, 0o600)?;
            Ok(made)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Everything that a pod must trust: what the system does, and the gateway.
fn write_trust(path: &Path, authority: &str, roots: &[Vec<u8>]) -> Result<()> {
    let mut text = String::from("# The gateway's authority, and those of the system.\n");
    text.push_str(authority);
    text.push_str(&self::text(roots));
    write(path, &text, 0o644)
}

/// Replaces a file whole, so that nobody reads half of it.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    let new = path.with_extension("new");
    // One that was left half-written may be open to more than it should.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(writing),
        Ok(()) | Err(_) => {}
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).with_context(writing)?;
    file.write_all(text.as_bytes()).with_context(writing)?;
    fs::rename(&new, path).with_context(writing)
}
