//! Secrets whose shape is more than a prefix and a run of characters.
//!
//! Each function takes a text and the place of the prefix, and gives the place of the secret. None looks at more than
//! [`MAX_SECRET`] bytes, and only a structure that is unlikely to be there by chance counts.

use super::shape::{Alphabet, Shape, begins_word, entropy, is_placeholder};
use flate2::Crc;
use std::ops::Range;

/// Most bytes of a secret that are looked at; a longer one is reported cut.
pub(super) const MAX_SECRET: usize = 3 * 1024;

type Found = Option<Range<usize>>;

fn genuine(text: &[u8], found: Range<usize>) -> Found {
    (!is_placeholder(text.get(found.clone())?)).then_some(found)
}

/// A run of `alphabet` from `at`, with a length in `lengths` and nothing of its kind behind; where it ends.
fn run(text: &[u8], at: usize, alphabet: Alphabet, lengths: Range<usize>) -> Option<usize> {
    let length = alphabet.run(text.get(at..)?, lengths.end);
    lengths.contains(&length).then_some(at + length)
}

fn literal(text: &[u8], at: usize, byte: u8) -> Option<usize> {
    (text.get(at) == Some(&byte)).then_some(at + 1)
}

/// Keys from before projects have a marker in the middle: the base64 of `OpenAI`.
pub(super) fn openai_key(text: &[u8], prefix: Range<usize>) -> Found {
    const MARKER: &[u8] = b"T3BlbkFJ";
    let end = run(text, prefix.end, Alphabet::Alnum, 40..80)?;
    let has_marker = text.get(prefix.end..end)?.windows(MARKER.len()).any(|part| part == MARKER);
    has_marker.then_some(())?;
    genuine(text, prefix.start..end)
}

/// What many others give out after that example: 32 to 64 letters and digits without the marker.
pub(super) fn sk_key(text: &[u8], prefix: Range<usize>) -> Found {
    if openai_key(text, prefix.clone()).is_some() {
        return None;
    }
    let end = run(text, prefix.end, Alphabet::Alnum, 32..65)?;
    genuine(text, prefix.start..end)
}

/// `SK` and 32 hexadecimal digits, the first of which is of the prefix: two letters are in too many words.
pub(super) fn twilio(text: &[u8], prefix: Range<usize>) -> Found {
    Shape::Run(Alphabet::Hex, 32, 32).find(text, prefix.start..prefix.start + 2)
}

/// Small and capital letters and digits: a name or a hash has not all three.
fn mixed(text: &[u8], found: Range<usize>, prefix: usize) -> Found {
    let body = text.get(found.start + prefix..found.end)?;
    let kinds: [fn(&u8) -> bool; 3] = [u8::is_ascii_lowercase, u8::is_ascii_uppercase, u8::is_ascii_digit];
    (kinds.iter().all(|kind| body.iter().filter(|byte| kind(byte)).count() >= 3)).then_some(())?;
    genuine(text, found)
}

/// `fw_` and 22 to 32 letters and digits.
pub(super) fn fireworks(text: &[u8], prefix: Range<usize>) -> Found {
    let end = run(text, prefix.end, Alphabet::Alnum, 22..33)?;
    mixed(text, prefix.start..end, 3)
}

/// `pa-` and 43 characters.
pub(super) fn voyage(text: &[u8], prefix: Range<usize>) -> Found {
    let end = run(text, prefix.end, Alphabet::Url, 43..44)?;
    mixed(text, prefix.start..end, 3)
}

/// `sk-lf-` and a UUID.
pub(super) fn langfuse(text: &[u8], prefix: Range<usize>) -> Found {
    let end = run(text, prefix.end, Alphabet::Url, 36..37)?;
    let body = text.get(prefix.end..end)?;
    let groups: Vec<usize> = body.split(|byte| *byte == b'-').map(<[u8]>::len).collect();
    let is_hex = body.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    (is_hex && groups == [8, 4, 4, 4, 12]).then_some(())?;
    genuine(text, prefix.start..end)
}

/// 84 letters and digits: 52 of them before `JQQJ99`, and 26 behind, among them the service's signature.
pub(super) fn azure_key(text: &[u8], prefix: Range<usize>) -> Found {
    let start = prefix.start.checked_sub(52)?;
    let is_body = text.get(start..prefix.start)?.iter().all(u8::is_ascii_alphanumeric);
    (is_body && begins_word(text, start)).then_some(())?;
    let end = run(text, prefix.end, Alphabet::Alnum, 26..27)?;
    genuine(text, start..end)
}

/// `SG.`, 22 characters, a dot, 43 characters.
pub(super) fn sendgrid(text: &[u8], prefix: Range<usize>) -> Found {
    let id = run(text, prefix.end, Alphabet::Url, 22..23)?;
    let end = run(text, literal(text, id, b'.')?, Alphabet::Url, 43..44)?;
    genuine(text, prefix.start..end)
}

/// `T…/B…/` and 24 characters; the last part is the secret.
pub(super) fn slack_webhook(text: &[u8], prefix: Range<usize>) -> Found {
    let team = run(text, prefix.end, Alphabet::Alnum, 7..14)?;
    let hook = literal(text, literal(text, team, b'/')?, b'B')?;
    let hook = literal(text, run(text, hook, Alphabet::Alnum, 7..14)?, b'/')?;
    genuine(text, hook..run(text, hook, Alphabet::Alnum, 20..32)?)
}

/// A number, a slash, and 60 to 80 characters, which are the secret.
pub(super) fn discord_webhook(text: &[u8], prefix: Range<usize>) -> Found {
    let id = run(text, prefix.end, Alphabet::Hex, 17..21)?;
    let token = literal(text, id, b'/')?;
    genuine(text, token..run(text, token, Alphabet::Url, 60..81)?)
}

/// Eight to ten digits, a colon, and 35 characters that begin with `AA`.
pub(super) fn telegram(text: &[u8], prefix: Range<usize>) -> Found {
    let digits =
        text.get(..prefix.start)?.iter().rev().take(12).take_while(|byte| byte.is_ascii_digit()).count();
    (8..=10).contains(&digits).then_some(())?;
    let end = run(text, prefix.start + 1, Alphabet::Url, 35..36)?;
    genuine(text, prefix.start - digits..end)
}

/// Fourteen characters before `.atlasv1.`, 60 to 70 behind.
pub(super) fn terraform(text: &[u8], prefix: Range<usize>) -> Found {
    let start = prefix.start.checked_sub(14)?;
    let is_id = text.get(start..prefix.start)?.iter().all(u8::is_ascii_alphanumeric);
    (is_id && begins_word(text, start)).then_some(())?;
    let end = run(text, prefix.end, Alphabet::Url, 60..71)?;
    genuine(text, start..end)
}

/// 32 hexadecimal digits, and perhaps `-` with one more digit.
pub(super) fn databricks(text: &[u8], prefix: Range<usize>) -> Found {
    let end = run(text, prefix.end, Alphabet::Hex, 32..33)?;
    genuine(text, prefix.start..end)
}

/// A label that ends with `PRIVATE KEY`, and behind it something of a key. Line ends may be escaped.
pub(super) fn private_key(text: &[u8], prefix: Range<usize>) -> Found {
    const LABEL: &[u8] = b"PRIVATE KEY";
    const MAX_LABEL: usize = 40;
    let rest = text.get(prefix.end..)?;
    let dashes = rest.iter().take(MAX_LABEL).position(|byte| *byte == b'-')?;
    let label = rest.get(..dashes)?;
    let label = label.strip_suffix(b" BLOCK").unwrap_or(label);
    (label.ends_with(LABEL) && rest.get(dashes..)?.starts_with(b"-----")).then_some(())?;
    let body = prefix.end + dashes + 5;
    let rest = text.get(body..text.len().min(body + MAX_SECRET))?;
    let length = rest.iter().position(|byte| *byte == b'-').unwrap_or(rest.len());
    // Enough of a key that is none of the examples: in Ed25519's there are 64 characters.
    let letters: Vec<u8> =
        rest.get(..length)?.iter().copied().filter(|byte| Alphabet::Base64.has(*byte)).collect();
    (letters.len() >= 48 && entropy(&letters) > 4.0).then_some(prefix.start..body + length)
}

/// Three parts, the first a JSON object with `"alg"`, signed.
pub(super) fn jwt(text: &[u8], prefix: Range<usize>) -> Found {
    let (found, claims) = jwt_parts(text, prefix)?;
    (!is_kubernetes(&claims)).then_some(found)
}

/// The same, issued by an API server to a service account.
pub(super) fn kubernetes_token(text: &[u8], prefix: Range<usize>) -> Found {
    let (found, claims) = jwt_parts(text, prefix)?;
    is_kubernetes(&claims).then_some(found)
}

fn is_kubernetes(claims: &[u8]) -> bool {
    let has = |word: &[u8]| claims.windows(word.len()).any(|part| part == word);
    has(b"\"kubernetes.io\"") || has(b"kubernetes/serviceaccount") || has(b"system:serviceaccount:")
}

fn jwt_parts(text: &[u8], prefix: Range<usize>) -> Option<(Range<usize>, Vec<u8>)> {
    let head = run(text, prefix.start, Alphabet::Url, 16..1024)?;
    let claims = literal(text, head, b'.')?;
    let claims_end = run(text, claims, Alphabet::Url, 8..MAX_SECRET)?;
    let signature = literal(text, claims_end, b'.')?;
    let length = Alphabet::Url.run(text.get(signature..)?, 1024);
    let header: serde_json::Value = serde_json::from_slice(&unbase64(text.get(prefix.start..head)?)).ok()?;
    let algorithm = header.get("alg")?.as_str()?;
    (length >= 32 && algorithm != "none").then_some(())?;
    Some((prefix.start..signature + length, unbase64(text.get(claims..claims_end)?)))
}

/// Base64 with either alphabet, without padding; what is not of it is left out.
fn unbase64(text: &[u8]) -> Vec<u8> {
    let mut decoder = super::unwrap::Base64::default();
    text.iter()
        .filter_map(|byte| super::unwrap::sextet(*byte))
        .filter_map(|value| decoder.push(value))
        .collect()
}

/// Schemes of databases and brokers.
const SCHEMES: [&[u8]; 12] = [
    b"postgres",
    b"postgresql",
    b"mysql",
    b"mariadb",
    b"mongodb",
    b"mongodb+srv",
    b"redis",
    b"rediss",
    b"amqp",
    b"amqps",
    b"mssql",
    b"clickhouse",
];

/// `scheme://user:password@host`, of a scheme of a database. Drivers may be named: `postgresql+asyncpg`.
pub(super) fn database_url(text: &[u8], prefix: Range<usize>) -> Found {
    const MAX_USERINFO: usize = 256;
    let is_scheme = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'+';
    let length = text.get(..prefix.start)?.iter().rev().take(32).take_while(|byte| is_scheme(**byte)).count();
    let start = prefix.start - length;
    let scheme = text.get(start..prefix.start)?;
    let scheme = scheme
        .strip_prefix(b"n")
        .filter(|_| start.checked_sub(1).and_then(|at| text.get(at)) == Some(&b'\\'))
        .unwrap_or(scheme);
    let dialect = scheme.split(|byte| *byte == b'+').next()?;
    (SCHEMES.contains(&scheme) || SCHEMES.contains(&dialect)).then_some(())?;
    let rest = text.get(prefix.end..)?;
    let is_end = |byte: &u8| {
        matches!(byte, b'@' | b'/' | b'"' | b'\'' | b' ' | b'\\' | b'<' | b'>') || byte.is_ascii_control()
    };
    let at = rest.iter().take(MAX_USERINFO).position(is_end).filter(|at| rest.get(*at) == Some(&b'@'))?;
    let colon = rest.get(..at)?.iter().position(|byte| *byte == b':')?;
    let password = rest.get(colon + 1..at)?;
    // `${PASSWORD}`, `$(PASSWORD)`, `{password}`, `***` and the like stand for one.
    let is_written = !password.iter().any(|byte| matches!(byte, b'$' | b'{' | b'<' | b'*' | b'('));
    let is_weak_word = matches!(password, b"password" | b"pass" | b"pwd" | b"secret" | b"postgres" | b"root");
    (password.len() >= 4 && is_written && !is_weak_word).then_some(())?;
    let lower = password.to_ascii_lowercase();
    let stands_for = [b"xxxx".as_slice(), b"example", b"your", b"changeme", b"redacted"];
    let is_real = !stands_for.iter().any(|word| lower.windows(word.len()).any(|part| part == *word));
    is_real.then_some(prefix.start - scheme.len()..prefix.end + at)
}

/// Whether the last six characters are the CRC-32 of the thirty before, in base 62 (GitHub since 2021, npm after it).
/// The vendors' texts leave the order of the letters open; both are in use by those who check it.
pub(super) fn has_base62_checksum(token: &[u8]) -> bool {
    let Some((body, sum)) = token.len().checked_sub(6).and_then(|at| token.split_at_checked(at)) else {
        return false;
    };
    let mut crc = Crc::new();
    crc.update(body.rsplit(|byte| *byte == b'_').next().unwrap_or(body));
    let value = |first: u8, second: u8| {
        sum.iter().try_fold(0u64, |value, byte| {
            let digit = match *byte {
                b'0'..=b'9' => byte - b'0',
                b'A'..=b'Z' => byte - b'A' + first,
                b'a'..=b'z' => byte - b'a' + second,
                _ => return None,
            };
            Some(value * 62 + u64::from(digit))
        })
    };
    [value(10, 36), value(36, 10)].contains(&Some(u64::from(crc.sum())))
}

/// Whether the last eight characters are the CRC-32 of the forty before, in hexadecimal digits. Cloudflare's text names a checksum and not
/// which; tokens that it gave out have this one.
pub(super) fn has_hex_checksum(token: &[u8]) -> bool {
    let Some((body, sum)) = token.len().checked_sub(8).and_then(|at| token.split_at_checked(at)) else {
        return false;
    };
    let mut crc = Crc::new();
    crc.update(body.rsplit(|byte| *byte == b'_').next().unwrap_or(body));
    format!("{:08x}", crc.sum()).as_bytes() == sum
}
