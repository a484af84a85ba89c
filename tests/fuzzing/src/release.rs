//! Any bytes as an envelope, as what a release holds, and as a file of pinned keys: nothing is believed that nobody signed, and a
//! release that can be made is the same after its way through an envelope.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use fleet::{Digest, Envelope, Header, Memory, PAYLOAD_TYPE, Pinned, PinnedKey, Release};
use serde_json::{Value, json};

pub(crate) fn run(input: (u8, &[u8], &[u8])) {
    let (number, bytes, contents) = input;
    let pinned = Pinned::new(vec![nobodys_key()], 1).expect("one key of one");
    if let Ok(other) = Pinned::read("keys", contents) {
        assert!(!other.keys().is_empty());
    }
    let around = json!({ "payloadType": PAYLOAD_TYPE, "payload": BASE64.encode(contents), "signatures": [{"keyid": "a", "sig": "AAAA"}] });
    for bytes in [bytes, around.to_string().as_bytes()] {
        let Ok(envelope) = Envelope::from_json(bytes) else { continue };
        assert!(envelope.open(&pinned, "2026-01-01T00:00:00Z").is_err(), "nobody signed it");
        if let Ok(release) = envelope.peek() {
            assert_eq!(passed(&release), release);
        }
    }
    let Ok(values) = serde_json::from_slice::<Vec<Value>>(contents) else { return };
    let header = Header {
        number: number.into(),
        fallback: None,
        rollback_to: Some(Digest::of(bytes)).filter(|_| number > 200),
    };
    if let Ok((release, _)) = Release::build(header, &values) {
        assert_eq!(passed(&release), release);
        assert!(Memory::of(&release).judge(&release.reference()).is_ok());
    }
}

/// The same, after its way through an envelope.
fn passed(release: &Release) -> Release {
    let text = Envelope::seal(release, &[]).to_json();
    Envelope::from_json(text.as_bytes()).expect("an envelope").peek().expect("a release")
}

fn nobodys_key() -> PinnedKey {
    PinnedKey { name: "a".to_owned(), public: [7; 32], not_after: None, revoked: false }
}
