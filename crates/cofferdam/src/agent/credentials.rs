//! By what an agent, or an egress gateway, shows who it is.
//!
//! Enters: files. Leaves: an identity for the next connection. Guarantees: files are read anew each time; a certificate
//! that was enrolled for is renewed well before it ends, and used to its end where it cannot be.
//! Does not: keep a key on disk.

use feed::enrol::enrol;
use feed::tls::Identity;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// An enrolled certificate is renewed when it is valid for less.
const MARGIN: Duration = Duration::from_secs(2 * 86400);

/// Where the identity comes from.
pub(crate) enum Credentials {
    /// Files of a folder.
    Folder(PathBuf),
    /// A token that a controller takes for a certificate.
    Token {
        /// Name of this node; the controller knows better.
        node: String,
        /// File with the token.
        token: PathBuf,
        /// File with the authority to believe.
        authority: PathBuf,
        /// The last certificate.
        held: Option<Identity>,
    },
}

impl Credentials {
    /// For a connection to `address`.
    pub(crate) async fn identity(&mut self, address: &str) -> io::Result<Identity> {
        let (node, token, authority, held) = match self {
            Self::Folder(folder) => return Identity::read(folder),
            Self::Token { node, token, authority, held } => (node, token, authority, held),
        };
        let (authority, now) = (read(authority)?, SystemTime::now());
        // Another authority issued it: nobody believes it any more.
        let usable = held.take_if(|it| it.authority == authority && it.problem(now).is_none());
        if let Some(usable) = usable.as_ref().filter(|it| it.problem(now + MARGIN).is_none()) {
            *held = Some(usable.clone());
            return Ok(usable.clone());
        }
        let token = String::from_utf8_lossy(&read(token)?).trim().to_owned();
        let new = match (enrol(address, &authority, &token, node).await, usable) {
            (Ok(new), _) => new,
            (Err(_), Some(usable)) => usable,
            (Err(error), None) => {
                return Err(io::Error::new(error.kind(), format!("asking {address} for one: {error}")));
            }
        };
        *held = Some(new.clone());
        Ok(new)
    }
}

/// A file, or an error that names it.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
