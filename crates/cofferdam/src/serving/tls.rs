//! The certificate that the API is served with.
//!
//! Enters: files. Leaves: a configuration of TLS, the newest that can be used. Guarantees: files that cannot be used are said, and
//! change nothing. Does not: ask for certificates of clients.

use crate::control::complain;
use anyhow::{Context, Result};
use feed::tls::Identity;
use rustls::ServerConfig;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the files are read.
const RENEW: Duration = Duration::from_secs(10);

/// Where the certificate and its key are, in PEM.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    fn read(&self) -> Result<Identity> {
        let read =
            |path: &PathBuf| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
        // Whoever asks shows no certificate, so that none is believed.
        Ok(Identity { chain: read(&self.certificate)?, key: read(&self.key)?, authority: Vec::new() })
    }

    /// What they say now.
    ///
    /// # Errors
    /// They cannot be read, or do not fit each other.
    pub(super) fn load(&self) -> Result<(Identity, Arc<ServerConfig>)> {
        let identity = self.read()?;
        let files =
            || format!("--serve-cert {} --serve-key {}", self.certificate.display(), self.key.display());
        let config = identity.server_of_anyone().with_context(files)?;
        Ok((identity, Arc::new(config)))
    }

    /// Takes new files when they can be used, until nobody listens.
    pub(super) async fn follow(self, mut held: Identity, to: watch::Sender<Arc<ServerConfig>>) {
        let mut said = String::new();
        while !to.is_closed() {
            tokio::time::sleep(RENEW).await;
            let problem = match self.load() {
                Ok((new, _)) if new == held => String::new(),
                Ok((new, config)) => {
                    held = new;
                    to.send_replace(config);
                    String::new()
                }
                Err(error) => format!("the certificate of before is served on: {error:#}"),
            };
            if !problem.is_empty() && problem != said {
                complain(problem.clone());
            }
            said = problem;
        }
    }
}
