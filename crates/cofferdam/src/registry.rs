//! Where releases are, where that is no hub: a folder, or a repository of an OCI registry, and how the registry is asked.
//!
//! Enters: what a user names, and files with certificates and a login. Leaves: a [`Registry`]. Guarantees: the file with the login is
//! read when a login is asked for, so that one which is renewed counts at once, and nothing in it is told. Does not: ask.

use anyhow::{Context, Result, ensure};
use fleet::oci::{Login, NotAPlace, Place};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use spoke::registry::Registry;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// More than any file with logins.
const MOST: u64 = 1024 * 1024;

/// Where releases are.
#[derive(Clone, Debug)]
pub(crate) enum Releases {
    Folder(PathBuf),
    Registry(Place),
}

impl FromStr for Releases {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        if Place::is_meant(text) { text.parse().map(Self::Registry) } else { Ok(Self::Folder(text.into())) }
    }
}

/// A registry that is known by these certificates, or those of the machine, and is told this login where it wants one.
pub(crate) fn registry(place: Place, authority: Option<&Path>, login: Option<PathBuf>) -> Result<Registry> {
    let tls = tls(authority)?;
    let host = place.host.clone();
    let logins = move || login.as_deref().map_or(Ok(None), |path| read_login(path, &host));
    // Better now than when a release comes.
    logins().map_err(anyhow::Error::msg).context("the login")?;
    Ok(Registry::new(place, tls, Box::new(logins)))
}

fn tls(authority: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = authority {
        let reading = || format!("reading {}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).with_context(reading)? {
            roots.add(certificate.with_context(reading)?).with_context(reading)?;
        }
        ensure!(!roots.is_empty(), "{}: there is no certificate in it", path.display());
    } else {
        let found = rustls_native_certs::load_native_certs().certs;
        let _some_cannot_be_read = roots.add_parsable_certificates(found);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// The login for a host, in a file that `docker login` wrote, or a Secret for pulling images.
fn read_login(path: &Path, host: &str) -> Result<Option<Login>, String> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut text));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    if text.len() as u64 > MOST {
        return Err(format!("{} has more than {MOST} bytes", path.display()));
    }
    let found = Login::read(&text, host).map_err(|why| format!("{}: {why}", path.display()))?;
    // Whoever names a file does not mean that nobody is asked for.
    found.map(Some).ok_or_else(|| format!("{} has no login for {host}", path.display()))
}
