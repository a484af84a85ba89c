//! Any bytes as what a registry answers: a manifest, and what it wants of whoever asks; and any text as where one is. Files that are read
//! of a manifest are the same in one of our own, and a place that is read is the same when it is written.

use fleet::oci::{Challenge, Files, Login, Place};

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(files) = Files::read(bytes) {
        assert_eq!(Files::read(&files.manifest()).expect("our own"), files);
    }
    let _login = Login::read(bytes, "registry.example");
    let text = String::from_utf8_lossy(bytes);
    let _challenge = Challenge::read(&text);
    if let Ok(place) = text.parse::<Place>() {
        assert_eq!(place.to_string(), text);
        assert!(!place.repository.split('/').any(|part| part.is_empty() || part.starts_with('.')));
    }
}
