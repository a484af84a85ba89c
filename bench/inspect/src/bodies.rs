//! Bodies of several kinds, the same in every run, made of this project's own pages and of a generator's numbers.

use serde_json::{Value, json};

const PROSE: &str = include_str!("../../../docs/life-of-an-api-request.md");
const CODE: &str = include_str!("../../../crates/inspect/src/leak/stream.rs");

/// Bodies of about `size` bytes, by kind.
pub(crate) fn bodies(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let noise = noise(size * 3 / 4);
    let vectors: Vec<Value> = noise.chunks_exact(4).take(size / 22).map(number).collect();
    vec![
        ("chat", repeat(&json!({"messages": [{"role": "user", "content": PROSE}]}).to_string(), size)),
        ("code", repeat(&json!({"input": CODE}).to_string(), size)),
        ("vectors", json!({ "input": vectors }).to_string().into_bytes()),
        ("base64", json!({"image": base64(&noise)}).to_string().into_bytes()),
        ("form", repeat(&percent(PROSE), size)),
        ("binary", noise),
    ]
}

/// A call of two kilobytes.
pub(crate) fn call() -> String {
    let content: String = PROSE.chars().take(1850).collect();
    let messages =
        json!([{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": content}]);
    json!({"model": "gpt-x", "stream": true, "messages": messages}).to_string()
}

fn repeat(text: &str, size: usize) -> Vec<u8> {
    text.bytes().cycle().take(size).collect()
}

/// Knuth's linear congruential generator.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    });
    next.take(length).collect()
}

fn number(bytes: &[u8]) -> Value {
    let value = bytes.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
    json!(f64::from(value) / f64::from(u32::MAX) - 0.5)
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32| usize::try_from(bits & 63).ok().and_then(|at| ALPHABET.get(at));
    let groups =
        bytes.chunks_exact(3).map(|group| group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)));
    let letters =
        groups.flat_map(|bits| [18, 12, 6, 0].map(|shift| letter(bits >> shift).copied().unwrap_or(b'A')));
    letters.map(char::from).collect()
}

fn percent(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
