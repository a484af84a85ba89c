//! Any bytes as an envelope, as what a release holds, as a file of pinned keys and as one of a folder that tells clusters what to have:
//! nothing is believed that nobody signed, a release that can be made is the same after its way through an envelope, and no name
//! leads out of the folder.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use fleet::folder::{cluster_path, cluster_text, read_cluster};
use fleet::hub::ClusterSpec;
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
    in_folder(contents);
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

fn in_folder(text: &[u8]) {
    if let Ok(spec) = read_cluster("dev", text)
        && let Ok(spec) = serde_json::from_value::<ClusterSpec>(spec)
    {
        let again = read_cluster("dev", cluster_text("dev", &spec).as_bytes()).expect("what was written");
        assert_eq!(serde_json::from_value::<ClusterSpec>(again).expect("a spec"), spec);
    }
    let name = String::from_utf8_lossy(text);
    if let Some(path) = cluster_path(&name) {
        let parts: Vec<&str> = path.split('/').collect();
        assert!(parts.len() == 2 && !parts[1].starts_with('.') && !parts[1].contains(".."), "{path}");
    }
    let Ok(read) = serde_json::from_slice::<Value>(text) else { return };
    let envelope = read.pointer("/spec/envelope").cloned().unwrap_or_default();
    if let Ok(envelope) = serde_json::from_value::<Envelope>(envelope) {
        let _unsigned = envelope.peek();
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
