//! One policy over many clusters: what is handed over, who said so, and how far it may go.
//!
//! Enters: manifests, signed envelopes, what clusters report; the time is a parameter. Leaves: a [`Release`] with its digest,
//! whether a cluster may take it ([`Envelope::open`], [`Memory::consider`]), and what each cluster is to have next
//! ([`rollout::step`]).
//! Guarantees: pure and deterministic; what is unsigned, altered, or older than what a cluster has had changes nothing, and the
//! reason is a value; nothing is enforced on a stage before its gate held or somebody named promoted it.
//! Does not: read files or clocks, talk to an API server, or compile policies; whoever makes or applies a release does.

mod beside;
mod contents;
mod difference;
mod digest;
mod envelope;
pub mod folder;
pub mod hub;
mod memory;
mod name;
pub mod oci;
mod pinned;
mod release;
pub mod rollout;
mod short;

pub use beside::{Beside, Judged, MOST_DENIALS};
pub use contents::{MOST_OBJECTS, Manifest, NotContents, policies};
pub use difference::{Change, FieldChange, MOST_FIELDS, compare};
pub use digest::{Digest, NotADigest};
pub use envelope::{
    Envelope, MOST_SIGNATURES, NotAKey, NotAnEnvelope, PAYLOAD_TYPE, Received, Signature, Signed, SigningKey,
    Unproven,
};
pub use memory::{Memory, Refused, Step};
pub use name::{FleetName, NotAFleet};
pub use pinned::{MOST_KEYS, NotPinned, OwnFleet, Pinned, PinnedKey, Unnamed};
pub use release::{Header, MOST_BYTES, NotARelease, Ref, Release};
