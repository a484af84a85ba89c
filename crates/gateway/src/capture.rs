//! What is kept of what was said, where a rule asks for it ([`Content`]).
//!
//! Enters: bodies as they pass. Leaves: the first part of each, as text, with secrets, personal data and canaries masked
//! whatever else the rule does about them. Guarantees: without a rule that asks, nothing is kept of any body, not even in
//! memory; what cannot be searched, or is no text, is not kept; a leak that goes over the end of what is kept is masked. Does
//! not: put together what a model writes piece by piece: a secret over several events of a stream is not seen.

use crate::call::Call;
use crate::http::{Share, Undoing, decoder};
use crate::leaks::{Search, Searches};
use ::inspect::leak::{HOLD_BACK, Layer, Leak, LeakClass, Scanner, Span};
use ::inspect::rewrite::mask_text;
use http::{HeaderMap, header};
use observe::Time;
use policy::{Canaries, Capture, DnsName, LeakAction, Leaks, Requests};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Stands for a text in which more was found than can be masked.
const TOO_MUCH: &str = "[removed: more was found in it than can be masked]";

/// What was kept of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// That of its record.
    pub request_id: String,
    /// When its head was read.
    pub time: Time,
    /// Who sent it.
    pub pod: SocketAddr,
    /// For whom the connection was opened.
    pub name: DnsName,
    /// The rule that has it kept, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// Of its body, as it went to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Text>,
    /// Of the answer's body, as it went to the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Text>,
}

impl Content {
    /// Bytes of text.
    pub fn weight(&self) -> usize {
        [&self.request, &self.answer].into_iter().flatten().map(|text| text.text.len()).sum()
    }
}

/// The first part of a body. A stranger's text: show it as such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Without codings, masked.
    pub text: String,
    /// Whether there was more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
    /// How many markers were put into it.
    #[serde(default)]
    pub masked: u32,
}

/// What a rule has kept, and what is masked in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Keep {
    capture: Capture,
    search: Arc<Search>,
}

impl Keep {
    /// What is looked for in what is kept under a rule; `None`: nothing is.
    pub(crate) fn leaks(requests: &Requests) -> Option<Leaks> {
        requests.capture?;
        let (secrets, personal) = (Some(LeakAction::Mask), Some(LeakAction::Mask));
        let canaries = requests.leaks.canaries.as_ref();
        let canaries =
            canaries.map(|canaries| Canaries { values: canaries.values.clone(), action: LeakAction::Mask });
        Some(Leaks { secrets, personal, files: None, canaries, opaque: None })
    }

    pub(crate) fn of(requests: &Requests, searches: &Searches) -> Option<Self> {
        let (capture, leaks) = (requests.capture?, Self::leaks(requests)?);
        Some(Self { capture, search: searches.of(&leaks)? })
    }

    fn begin(&self, is_wanted: bool, fields: &HeaderMap, hold: &Share) -> Option<Capturing> {
        if !is_wanted || !is_text(fields) {
            return None;
        }
        let (search, limit) = (Arc::clone(&self.search), usize::try_from(self.capture.max_bytes).ok()?);
        Some(Capturing { search, limit, decoder: Some(decoder(fields, hold)?), taken: Vec::new() })
    }
}

/// Whether a body is said to be text.
fn is_text(fields: &HeaderMap) -> bool {
    let kind = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    const TEXT: [&str; 5] = [
        "application/json",
        "application/jsonl",
        "application/ndjson",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
    ];
    kind.starts_with("text/") || kind.ends_with("+json") || TEXT.contains(&kind.as_str())
}

/// The bodies of one request, so far as they are kept.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    keep: OnceLock<Keep>,
    request: Mutex<Option<Capturing>>,
    answer: Mutex<Option<Capturing>>,
}

fn lock(capturing: &Mutex<Option<Capturing>>) -> MutexGuard<'_, Option<Capturing>> {
    capturing.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Contents {
    /// A request with these fields goes on.
    pub(crate) fn asked(&self, keep: Keep, fields: &HeaderMap, hold: &Share) {
        *lock(&self.request) = keep.begin(keep.capture.requests, fields, hold);
        // A request goes on once.
        let _only = self.keep.set(keep);
    }

    /// An answer with these fields comes.
    pub(crate) fn answered(&self, fields: &HeaderMap, hold: &Share) {
        if let Some(keep) = self.keep.get() {
            *lock(&self.answer) = keep.begin(keep.capture.answers, fields, hold);
        }
    }

    pub(crate) fn up(&self, piece: &[u8]) {
        lock(&self.request).iter_mut().for_each(|capturing| capturing.push(piece));
    }

    pub(crate) fn down(&self, piece: &[u8]) {
        lock(&self.answer).iter_mut().for_each(|capturing| capturing.push(piece));
    }

    /// What was kept; `None`: nothing.
    pub(crate) fn read(&self, call: &Call) -> Option<Content> {
        let text = |capturing| lock(capturing).take().and_then(Capturing::finish);
        let (request, answer) = (text(&self.request), text(&self.answer));
        (request.is_some() || answer.is_some()).then(|| Content {
            request_id: call.request_id.clone(),
            time: call.time,
            pod: call.pod,
            name: call.name.clone(),
            rule: call.rule.clone(),
            request,
            answer,
        })
    }
}

/// The first part of one body.
#[derive(Debug)]
struct Capturing {
    search: Arc<Search>,
    limit: usize,
    /// Undoes its codings; `None`: nothing more is taken.
    decoder: Option<Undoing>,
    taken: Vec<u8>,
}

impl Capturing {
    /// As much behind the limit is taken as may belong to a leak that begins before it.
    fn push(&mut self, piece: &[u8]) {
        let Some(decoder) = &mut self.decoder else { return };
        let (taken, most) = (&mut self.taken, self.limit + HOLD_BACK);
        let read = decoder.push_to(piece, &mut |bytes| {
            let room = most.saturating_sub(taken.len());
            taken.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
            Ok(())
        });
        if read.is_err() || self.taken.len() >= most {
            self.decoder = None;
        }
    }

    fn finish(mut self) -> Option<Text> {
        let whole = match std::str::from_utf8(&self.taken) {
            Ok(_) => self.taken.len(),
            // The last character is cut.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return None,
        };
        self.taken.truncate(whole);
        let text = std::str::from_utf8(&self.taken).ok().filter(|text| !text.is_empty())?;
        let mut scanner = Scanner::new(Arc::clone(self.search.rules()?));
        scanner.push(text.as_bytes());
        scanner.end();
        let Some(spans) = spans(text, &scanner) else {
            return Some(Text { text: TOO_MUCH.to_owned(), is_cut: true, masked: 1 });
        };
        let masked = mask_text(text, &spans);
        let mut text = String::from_utf8(masked.body).ok()?;
        let is_cut = text.len() > self.limit || whole > self.limit;
        let end = (0..=self.limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        if self.limit < text.len() {
            text.truncate(end);
        }
        let count = masked.counts.iter().map(|(.., count)| count).sum();
        Some(Text { text, is_cut, masked: count })
    }
}

/// What is masked of a text that nobody reads on: what is certain and what is not, whole runs of what is encoded, each
/// address where there are many. `None`: more than is told.
fn spans(text: &str, scanner: &Scanner) -> Option<Vec<Span>> {
    let mut spans = scanner.spans()?.to_vec();
    for leak in scanner.leaks().iter().filter(|leak| leak.layer != Layer::Raw) {
        spans.push(encoded(text, leak, scanner.is_cut()));
    }
    if scanner.leaks().iter().any(|leak| leak.class == LeakClass::Emails) {
        spans.extend(text.match_indices('@').map(|(at, _)| address(text, at)));
    }
    spans.sort_by_key(|span| (span.range.start, span.range.end));
    Some(spans)
}

/// The run in which something is encoded; all that follows, where not all that was found is told.
fn encoded(text: &str, leak: &Leak, is_cut: bool) -> Span {
    let start = usize::try_from(leak.offset).unwrap_or(usize::MAX).min(text.len());
    let may_be_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_\\%.~ \r\n".contains(byte);
    let rest = text.as_bytes().get(start..).unwrap_or_default();
    let length = if is_cut { rest.len() } else { rest.iter().take_while(|byte| may_be_part(byte)).count() };
    let (rule, class) = (leak.rule, leak.class);
    Span { range: leak.offset..leak.offset.saturating_add(length as u64), rule, class, is_confirmed: true }
}

fn address(text: &str, at: usize) -> Span {
    let may_be_part = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_+%".contains(byte);
    let (before, behind) = text.as_bytes().split_at_checked(at).unwrap_or_default();
    let before = before.iter().rev().take_while(|byte| may_be_part(byte)).count();
    let behind = behind.iter().skip(1).take_while(|byte| may_be_part(byte)).count();
    let range = (at - before) as u64..(at + 1 + behind) as u64;
    Span { range, rule: "emails", class: LeakClass::Emails, is_confirmed: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Hold;
    use http::HeaderValue;

    const MANY: usize = 30;
    const CARD: &str = "4111 1111 1111 1111";

    fn requests(max_bytes: u32) -> Requests {
        let canaries = Canaries { values: vec!["canary-3f9c1d7e".into()], action: LeakAction::Report };
        Requests {
            leaks: Leaks { canaries: Some(canaries), ..Leaks::default() },
            capture: Some(Capture { requests: true, answers: false, max_bytes }),
            ..Requests::default()
        }
    }

    fn kept(kind: &'static str, body: &[u8], max_bytes: u32, size: usize) -> Option<Text> {
        let keep = Keep::of(&requests(max_bytes), &Searches::default()).unwrap();
        let contents = Contents::default();
        let fields = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        let hold = Arc::new(Hold::default()).share(std::net::Ipv4Addr::LOCALHOST.into());
        contents.asked(keep, &fields, &hold);
        contents.answered(&fields, &hold);
        body.chunks(size).for_each(|piece| {
            contents.up(piece);
            contents.down(piece);
        });
        assert!(lock(&contents.answer).is_none(), "nobody asks for it");
        lock(&contents.request).take().and_then(Capturing::finish)
    }

    #[test]
    fn what_is_kept_is_masked_whatever_the_rule_does_about_leaks() {
        let base64 = "Y2FuYXJ5LTNmOWMxZDdlIGFuZCBtb3JlIG9mIHRoYXQsIHNvIHRoYXQgaXQgaXMgbG9uZyBlbm91Z2ggdG8gYmUgYSBydW4=";
        let mails: String = (0..MANY).map(|at| format!("who{at}@mail.test ")).collect();
        for (body, expected) in [
            ("plain é".to_owned(), "plain é".to_owned()),
            (format!("a {CARD} b"), "a [personal data removed: payment-card] b".to_owned()),
            ("{\"a\": \"canary-3f9c1d7e\"".to_owned(), "{\"a\": \"[canary removed]\"".to_owned()),
            (format!("\"{base64}\""), "\"[canary removed]\"".to_owned()),
            (mails, "[personal data removed: emails] ".repeat(MANY)),
        ] {
            for size in [1, 7, 2000] {
                let text = kept("text/plain", body.as_bytes(), 2000, size).unwrap();
                assert_eq!(text.text, expected, "{body} {size}");
                assert_eq!((text.masked == 0, text.is_cut), (body == expected, false));
            }
        }
    }

    #[test]
    fn a_text_is_cut_between_characters_and_no_leak_is_cut() {
        for limit in 1..40 {
            let text = kept("application/json", format!("\"é {CARD} é").as_bytes(), limit, 5).unwrap();
            assert!(
                "\"é [personal data removed: payment-card] é".starts_with(&text.text),
                "{limit} {text:?}"
            );
            assert!(text.text.len() <= limit as usize && text.is_cut);
        }
    }

    #[test]
    fn what_is_no_text_is_not_kept() {
        for (kind, body) in
            [("application/octet-stream", &b"text"[..]), ("text/plain", b"a\xff b"), ("text/plain", b"")]
        {
            assert_eq!(kept(kind, body, 1000, 3), None, "{kind}");
        }
    }
}
