//! `v1` Secret of type `kubernetes.io/tls`: a certificate and its key. Other Secrets are not read at all.
//!
//! Guarantees: the key is printed by nothing; not by `Debug`, not in a diagnostic.

use crate::diagnostic::Position;
use crate::meta::ObjectMeta;
use std::fmt;

/// A certificate and its key, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSecret {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// `tls.crt`: a chain in PEM, the server's own certificate first. Empty: not written or not readable.
    pub certificate: Vec<u8>,
    /// `tls.key`: in PEM. Empty: not written or not readable.
    pub key: Hidden,
}

/// Bytes that are printed by nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(pub Vec<u8>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}
