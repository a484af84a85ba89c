//! The token of whoever can read a file: 32 random bytes of the system in hexadecimal digits, in a file of mode 0600.
//!
//! Guarantees: a file that others could read or write is not believed, and written anew; a token is compared in constant
//! time and never printed by `Debug`. Does not: expire.

use crate::who::{Authenticate, NotRecognised, Recognition, Role, Who};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::HEXLOWER;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

const BYTES: usize = 32;
/// Only the owner.
const MODE: u32 = 0o600;

/// A token that is kept in a file. Who has it may do everything.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// That of a file; a new one where there is none that only its owner can read.
    ///
    /// # Errors
    /// The file cannot be written, or the system gives no random bytes.
    pub fn kept_in(path: &Path) -> io::Result<Self> {
        if let Some(token) = recall(path)? {
            return Ok(token);
        }
        let token = Self(random()?);
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // It must not be there yet: what somebody put there meanwhile is not written into.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
        file.write_all(token.0.as_bytes())?;
        file.sync_all()?;
        Ok(token)
    }

    /// To be told to whoever started the program.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A number that nobody can guess, in hexadecimal digits.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn random() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(HEXLOWER.encode(&bytes))
}

fn recall(path: &Path) -> io::Result<Option<Token>> {
    // A link may lead to a file of somebody else.
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.mode() & 0o177 == 0 && found.len() == 2 * BYTES as u64 => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut text = String::new();
    File::open(path)?.take(2 * BYTES as u64).read_to_string(&mut text)?;
    let is_token = text.len() == 2 * BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(is_token.then_some(Token(text)))
}

impl Authenticate for Token {
    fn recognise<'a>(&'a self, token: &'a str) -> Recognition<'a> {
        let is_it = verify_slices_are_equal(self.0.as_bytes(), token.as_bytes()).is_ok();
        let who = Who { name: "token".into(), role: Role::Admin };
        Box::pin(std::future::ready(if is_it { Ok(who) } else { Err(NotRecognised::Wrong) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_token_stays_over_restarts_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let first = Token::kept_in(&path).unwrap();
        assert_eq!(first.reveal().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Token::kept_in(&path).unwrap(), first);
        assert_eq!(format!("{first:?}"), "Token");
    }

    #[test]
    fn what_others_could_have_written_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let known = "a".repeat(64);
        let path = |name: &str| folder.path().join(name);
        fs::write(path("open"), &known).unwrap();
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path("other"), &known).unwrap();
        fs::set_permissions(path("other"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink(path("other"), path("link")).unwrap();
        fs::write(path("short"), "aa").unwrap();
        fs::set_permissions(path("short"), fs::Permissions::from_mode(0o600)).unwrap();
        for name in ["open", "link", "short"] {
            let token = Token::kept_in(&path(name)).unwrap();
            assert_ne!(token.reveal(), known, "{name}");
            assert_eq!(fs::symlink_metadata(path(name)).unwrap().mode() & 0o777, 0o600, "{name}");
        }
        assert_eq!(fs::read_to_string(path("other")).unwrap(), known);
    }
}
