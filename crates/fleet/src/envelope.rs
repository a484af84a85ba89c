//! Who said so: a payload with signatures, in the form of DSSE (github.com/secure-systems-lab/dsse, protocol version 1).
//!
//! Enters: a release and private keys, or an envelope and pinned keys. Leaves: an envelope, or the release in it and who signed
//! it. Guarantees: the payload is not parsed before enough pinned keys were found to have signed exactly it and its type; a key
//! counts once, however often it signed; a cluster that knows its fleet opens no release of another. Does not: choose whom to believe ([`Pinned`]).

use crate::digest::Digest;
use crate::name::FleetName;
use crate::pinned::{OwnFleet, Pinned, Unnamed, is_past};
use crate::release::{MOST_BYTES, NotARelease, Release};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is signed, so that no signature over something else is taken for one over a release.
pub const PAYLOAD_TYPE: &str = "application/vnd.cofferdam.policy-release+json";
/// Most signatures of an envelope.
pub const MOST_SIGNATURES: usize = 16;
/// Most bytes of an envelope: the payload in base64, and room for signatures.
const MOST_ENVELOPE: usize = MOST_BYTES / 3 * 4 + 64 * 1024;
/// How the SubjectPublicKeyInfo of an Ed25519 key begins (RFC 8410); 32 bytes of key follow.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A payload and signatures over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// [`PAYLOAD_TYPE`]
    pub payload_type: String,
    /// Base64, with padding.
    pub payload: String,
    /// At most [`MOST_SIGNATURES`].
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Which key is claimed to have made it: see [`key_id`]. Nothing is believed for it.
    #[serde(default)]
    pub keyid: String,
    /// Base64, with padding.
    pub sig: String,
}

/// A release whose signatures held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    release: Arc<Release>,
    signers: Vec<String>,
}

impl Signed {
    /// The release.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Names of the pinned keys that signed it, in the order of the file.
    pub fn signers(&self) -> &[String] {
        &self.signers
    }
}

/// A file is no envelope.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAnEnvelope {
    /// Larger than any release.
    #[error("it has more than {MOST_ENVELOPE} bytes")]
    TooLarge,
    /// Not what [`Envelope::to_json`] writes.
    #[error("it is no signed release: {0}")]
    Unreadable(String),
}

/// Why an envelope proves nothing.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unproven {
    /// Signed is something else.
    #[error("signed is {0:?}, and no release of policies")]
    Type(String),
    /// No signature at all.
    #[error("nobody signed it; sign it with `cofferdam release build --sign KEY`")]
    Unsigned,
    /// More than anybody needs.
    #[error("it has more than {MOST_SIGNATURES} signatures")]
    TooManySignatures,
    /// The payload is no base64, or too long.
    #[error("the payload cannot be read")]
    Payload,
    /// Signatures that count are too few. Why each of the others does not.
    #[error("{found} of {needed} signatures that are needed hold: {}", why.join("; "))]
    TooFew {
        /// That hold, of different keys.
        found: usize,
        /// The threshold.
        needed: usize,
        /// One reason for each signature that does not count.
        why: Vec<String>,
    },
    /// Signed, for other clusters.
    #[error("it was signed for fleet {other}, and this cluster is of fleet {own}")]
    OtherFleet {
        /// The cluster's.
        own: FleetName,
        /// That of the release.
        other: FleetName,
    },
    /// Signed, for whichever clusters.
    #[error(
        "it names no fleet, and this cluster takes only what was signed for its own: `cofferdam release build --fleet {own}`"
    )]
    NoFleet {
        /// The cluster's.
        own: FleetName,
    },
    /// Signed, and unusable all the same.
    #[error(transparent)]
    Release(#[from] NotARelease),
}

/// A private key cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("it is no private Ed25519 key in PEM: {0}; make one with `openssl genpkey -algorithm ed25519`")]
pub struct NotAKey(&'static str);

/// A private key. It is printed by nothing.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_pem(text: &[u8]) -> Result<Self, NotAKey> {
        let block = pem::parse(text).map_err(|_| NotAKey("no PEM"))?;
        if block.tag() != "PRIVATE KEY" {
            return Err(NotAKey("another kind of block"));
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(block.contents());
        pair.map(Self).map_err(|_| NotAKey("another kind of key"))
    }

    /// The public half, as 32 bytes.
    pub fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap_or_default()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", key_id(&self.public()))
    }
}

/// Name of a public key: SHA-256 over its SubjectPublicKeyInfo.
pub(crate) fn key_id(public: &[u8; 32]) -> String {
    Digest::of(&[SPKI.as_slice(), public].concat()).into()
}

/// The 32 bytes of a public key in PEM, as `openssl pkey -pubout` writes it.
pub(crate) fn public_from_pem(text: &str) -> Option<[u8; 32]> {
    let block = pem::parse(text).ok().filter(|block| block.tag() == "PUBLIC KEY")?;
    block.contents().strip_prefix(&SPKI)?.try_into().ok()
}

/// What is signed: type and payload, each with its length before it, so that neither can be taken for part of the other.
fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl Envelope {
    /// Signs a release with each of these keys.
    pub fn seal(release: &Release, keys: &[SigningKey]) -> Self {
        let payload = release.payload();
        let message = signed_bytes(PAYLOAD_TYPE, &payload);
        let sign = |key: &SigningKey| Signature {
            keyid: key_id(&key.public()),
            sig: BASE64.encode(key.0.sign(&message)),
        };
        Self {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: BASE64.encode(payload),
            signatures: keys.iter().map(sign).collect(),
        }
    }

    /// Reads the text of an envelope.
    ///
    /// # Errors
    /// It is too large, or something else.
    pub fn from_json(bytes: &[u8]) -> Result<Self, NotAnEnvelope> {
        if bytes.len() > MOST_ENVELOPE {
            return Err(NotAnEnvelope::TooLarge);
        }
        serde_json::from_slice(bytes).map_err(|error| NotAnEnvelope::Unreadable(error.to_string()))
    }

    /// Its text: one JSON object on one line.
    pub fn to_json(&self) -> String {
        // Texts alone: there is nothing in it that could fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The release in it, if enough pinned keys signed it. `now`: RFC 3339, UTC.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn open(&self, pinned: &Pinned, now: &str) -> Result<Signed, Unproven> {
        let (payload, signers) = self.proven(pinned, now)?;
        signed(Arc::new(Release::read(&payload)?), signers, pinned)
    }

    /// The payload, and who signed it, if those are enough.
    fn proven(&self, pinned: &Pinned, now: &str) -> Result<(Vec<u8>, Vec<String>), Unproven> {
        let payload = self.checked_payload()?;
        if self.signatures.is_empty() {
            return Err(Unproven::Unsigned);
        }
        if self.signatures.len() > MOST_SIGNATURES {
            return Err(Unproven::TooManySignatures);
        }
        let message = signed_bytes(PAYLOAD_TYPE, &payload);
        let judged: Vec<Result<&str, String>> =
            self.signatures.iter().map(|it| judge(it, &message, pinned, now)).collect();
        let counts = |name: &str| judged.iter().any(|it| it.as_ref().is_ok_and(|signer| *signer == name));
        let names = pinned.keys.iter().map(|key| key.name.as_str());
        let signers: Vec<String> = names.filter(|name| counts(name)).map(str::to_owned).collect();
        if signers.len() < pinned.threshold {
            let mut why: Vec<String> = judged.into_iter().filter_map(Result::err).collect();
            if why.is_empty() {
                why.push("the others are of the same keys".to_owned());
            }
            return Err(Unproven::TooFew { found: signers.len(), needed: pinned.threshold, why });
        }
        Ok((payload, signers))
    }

    /// The release in it, whoever signed it: to be looked at, never to be applied.
    ///
    /// # Errors
    /// It holds none.
    pub fn peek(&self) -> Result<Release, Unproven> {
        Ok(Release::read(&self.checked_payload()?)?)
    }

    fn checked_payload(&self) -> Result<Vec<u8>, Unproven> {
        if self.payload_type != PAYLOAD_TYPE {
            return Err(Unproven::Type(self.payload_type.chars().take(80).collect()));
        }
        if self.payload.len() > MOST_ENVELOPE {
            return Err(Unproven::Payload);
        }
        BASE64.decode(&self.payload).map_err(|_| Unproven::Payload)
    }
}

/// An envelope that is opened again and again: whether it is believed is asked each time, what is in it is read once.
#[derive(Clone, Debug)]
pub struct Received {
    envelope: Envelope,
    /// Only of one that was believed once.
    read: Option<Arc<Release>>,
}

impl Received {
    /// As it came.
    pub fn new(envelope: Envelope) -> Self {
        Self { envelope, read: None }
    }

    /// As [`Envelope::open`].
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn open(&mut self, pinned: &Pinned, now: &str) -> Result<Signed, Unproven> {
        let (payload, signers) = self.envelope.proven(pinned, now)?;
        let release = match &self.read {
            Some(release) => Arc::clone(release),
            None => Arc::clone(self.read.insert(Arc::new(Release::read(&payload)?))),
        };
        signed(release, signers, pinned)
    }
}

fn signed(release: Arc<Release>, signers: Vec<String>, pinned: &Pinned) -> Result<Signed, Unproven> {
    check_fleet(&release, pinned.own.as_ref())?;
    Ok(Signed { release, signers })
}

fn check_fleet(release: &Release, own: Option<&OwnFleet>) -> Result<(), Unproven> {
    let Some(OwnFleet { name, unnamed }) = own else { return Ok(()) };
    let own = name.clone();
    match (release.fleet(), unnamed) {
        (Some(fleet), _) if *fleet == own => Ok(()),
        (Some(fleet), _) => Err(Unproven::OtherFleet { own, other: fleet.clone() }),
        (None, Unnamed::Taken) => Ok(()),
        (None, Unnamed::Refused) => Err(Unproven::NoFleet { own }),
    }
}

/// The name of the pinned key that made a signature, or why it does not count.
fn judge<'p>(
    signature: &Signature,
    message: &[u8],
    pinned: &'p Pinned,
    now: &str,
) -> Result<&'p str, String> {
    let claimed: String = signature.keyid.chars().take(80).collect();
    let Some(key) = pinned.keys.iter().find(|key| key.id() == signature.keyid) else {
        return Err(format!("key {claimed:?} is not among those that are believed"));
    };
    let name = &key.name;
    if key.revoked {
        return Err(format!("key {name} is revoked"));
    }
    if let Some(end) = key.not_after.as_deref().filter(|end| is_past(end, now)) {
        return Err(format!("key {name} is believed until {end} only"));
    }
    let holds = BASE64.decode(&signature.sig).is_ok_and(|signature| {
        UnparsedPublicKey::new(&ED25519, key.public).verify(message, &signature).is_ok()
    });
    if holds {
        Ok(name)
    } else {
        Err(format!("the signature of {name} does not hold: what was signed was altered"))
    }
}
