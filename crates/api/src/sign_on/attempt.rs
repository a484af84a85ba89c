//! A log-in that began and is not over: what a browser keeps of it meanwhile, sealed.
//!
//! Guarantees: whoever has the cookie cannot read or change it (AES-256-GCM, by a key of the process); it is worth nothing after
//! [`LASTS`], or to another process. Does not: keep anything here.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::Duration;

/// How long somebody may take at the provider.
pub(super) const LASTS: Duration = Duration::from_secs(600);
/// What is sealed with the rest, so that nothing else sealed by such a key is taken for it.
const FOR: &[u8] = b"cofferdam log-in 1";
/// Longest page to go on with, in bytes.
const PAGE_BYTES: usize = 1024;
/// Longest cookie that is looked at.
const COOKIE_BYTES: usize = 4096;

/// What one log-in goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// By which the provider's answer is known (RFC 6749, section 10.12).
    pub(super) state: String,
    /// By which the ID token is.
    pub(super) nonce: String,
    /// Without which the code is worth nothing (RFC 7636).
    pub(super) verifier: String,
    /// Where the console goes on.
    pub(super) page: String,
    /// In seconds since the process began.
    pub(super) until: u64,
}

/// Seals attempts.
pub(super) struct Seal(RandomizedNonceKey);

impl Seal {
    /// One with a key of its own.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn new() -> io::Result<Self> {
        let none = |_| io::Error::other("the system gives no random bytes");
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(none)?;
        RandomizedNonceKey::new(&AES_256_GCM, &key).map(Self).map_err(none)
    }

    /// For a cookie.
    pub(super) fn close(&self, attempt: &Attempt) -> Option<String> {
        let mut bytes = serde_json::to_vec(attempt).ok()?;
        let nonce = self.0.seal_in_place_append_tag(Aad::from(FOR), &mut bytes).ok()?;
        Some(BASE64URL_NOPAD.encode(&[nonce.as_ref().as_slice(), bytes.as_slice()].concat()))
    }

    /// Of a cookie, if it is one of these and not over at `now`.
    pub(super) fn open(&self, cookie: &str, now: u64) -> Option<Attempt> {
        if cookie.len() > COOKIE_BYTES {
            return None;
        }
        let mut bytes = BASE64URL_NOPAD.decode(cookie.as_bytes()).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.0.open_in_place(nonce, Aad::from(FOR), sealed).ok()?;
        let attempt: Attempt = serde_json::from_slice(plain).ok()?;
        (now < attempt.until).then_some(attempt)
    }
}

/// Whether a page to go on with is one of the console: one segment of a path, and a query. It can name no other host, no
/// other folder and no fragment, which the console would take a token from.
pub(super) fn is_of_console(page: &str) -> bool {
    let (path, query) = page.split_once('?').unwrap_or((page, ""));
    let is_in_query =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\' | b'"' | b'<' | b'>');
    page.len() <= PAGE_BYTES
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && query.bytes().all(is_in_query)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        let text = |text: &str| text.repeat(64);
        Attempt {
            state: text("s"),
            nonce: text("n"),
            verifier: text("v"),
            page: "flows?node=a".to_owned(),
            until: 600,
        }
    }

    #[test]
    fn an_attempt_is_opened_by_who_sealed_it_until_it_is_over() {
        let (seal, other) = (Seal::new().unwrap(), Seal::new().unwrap());
        let cookie = seal.close(&attempt()).unwrap();
        assert_ne!(cookie, seal.close(&attempt()).unwrap());
        assert_eq!(seal.open(&cookie, 599), Some(attempt()));
        assert_eq!(seal.open(&cookie, 600), None);
        assert_eq!(other.open(&cookie, 0), None);
        for at in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(seal.open(&String::from_utf8(changed).unwrap(), 0), None, "{at}");
        }
        for text in ["", "A", "AAAA", "=", &"A".repeat(64), &"A".repeat(5000)] {
            assert_eq!(seal.open(text, 0), None, "{text}");
        }
    }

    #[test]
    fn a_cookie_of_the_longest_page_is_one_that_browsers_keep() {
        let attempt = Attempt { page: "p".repeat(PAGE_BYTES), ..attempt() };
        let cookie = Seal::new().unwrap().close(&attempt).unwrap();
        assert!(cookie.len() < COOKIE_BYTES - 256, "{}", cookie.len());
    }

    #[test]
    fn pages_of_the_console_are_gone_on_with_and_nothing_else_is() {
        for page in ["", "map", "flows?node=a&q=b%20c", "incident?id=inc-1", "map?q=https://a.example/"] {
            assert!(is_of_console(page), "{page}");
        }
        for page in [
            "//evil.example",
            "/evil",
            "https://evil.example",
            "https:evil",
            "\\\\evil.example",
            "a/b",
            "..",
            "../x",
            "map#token=x",
            "map?a#b",
            "map?\n",
            "map\r\nSet-Cookie: a=b",
            " map",
            "map?<script>",
            "javascript:alert(1)",
            "m\u{e4}p",
            "%2f%2fevil.example",
            "map?\\",
        ] {
            assert!(!is_of_console(page), "{page}");
        }
        assert!(!is_of_console(&"a".repeat(PAGE_BYTES + 1)));
    }
}
