//! What an API answers: the whole of it as JSON or as a file, or events as they come.
//!
//! Enters: bytes. Leaves: values, or why there are none. Guarantees: what is not what an API answers is an error that says what it is,
//! and is never taken for an answer that says nothing; nothing of it can steer the terminal. Does not: know what the values mean.

use crate::plain::printable;
use anyhow::{Result, anyhow, bail, ensure};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::Value;

/// Most bytes of an answer in JSON.
pub(super) const ANSWER: usize = 64 << 20;
/// Bytes of what is no answer that are shown.
const SHOWN: usize = 80;
/// Of what type a stream is.
const EVENTS: &str = "text/event-stream";

/// An answer with its body.
pub(super) struct Whole {
    status: StatusCode,
    /// Seconds after which to ask again, if it says so.
    wait: Option<u64>,
    /// What it says that it is.
    kind: String,
    body: Bytes,
}

impl Whole {
    /// Waits for all of it.
    ///
    /// # Errors
    /// It breaks off, or has more than so many bytes.
    pub(super) async fn of(response: Response<Incoming>, most: usize, from: &str) -> Result<Self> {
        let (status, headers) = (response.status(), response.headers());
        let wait = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
        let kind = kind(headers);
        let body = Limited::new(response.into_body(), most).collect().await;
        let body =
            body.map_err(|error| anyhow!(error).context(format!("the answer of {from} did not come whole")))?;
        Ok(Self { status, wait, kind, body: body.to_bytes() })
    }

    /// What it says.
    ///
    /// # Errors
    /// The API refuses what was asked, or this is no answer of an API.
    pub(super) fn judged(&self, from: &str) -> Result<Value> {
        let Self { status, wait, body, .. } = self;
        let read: Result<Value, _> = serde_json::from_slice(body);
        if status.is_success() {
            return read.map_err(|error| self.strange(from, &error));
        }
        let read = read.unwrap_or_default();
        let why = match read.get("detail").and_then(Value::as_str) {
            Some(why) => printable(why),
            None if status.is_redirection() => {
                "it sends elsewhere, and no token follows: name the API's own address".to_owned()
            }
            None => "it says no more: is it the API of Cofferdam, and of this version?".to_owned(),
        };
        let out = match (*status, wait) {
            (StatusCode::UNAUTHORIZED, _) => "; name a file with a token of this API with --token".to_owned(),
            (_, Some(seconds)) => format!("; try again in {seconds} s"),
            (_, None) => String::new(),
        };
        bail!("{from} answers {status}: {why}{out}")
    }

    /// The file of this media type that was asked for.
    ///
    /// # Errors
    /// The API refuses it, or this is none.
    pub(super) fn file(self, kind: &str, from: &str) -> Result<Bytes> {
        if self.status.is_success() && self.kind == kind {
            return Ok(self.body);
        }
        self.judged(from)?;
        bail!("{from} answers {} with {}, where a file ({kind}) was asked for", self.status, self.shown())
    }

    /// Where events were asked for.
    ///
    /// # Errors
    /// Always: the API refuses them, or this is no stream.
    pub(super) fn no_events(&self, from: &str) -> Result<()> {
        self.judged(from)?;
        bail!(
            "{from} answers {} with {}, where a stream of events ({EVENTS}) was asked for",
            self.status,
            self.shown()
        )
    }

    fn strange(&self, from: &str, error: &serde_json::Error) -> anyhow::Error {
        let (status, shown) = (self.status, self.shown());
        if error.is_eof() && !self.body.is_empty() {
            return anyhow!("{from} answers {status} with JSON that breaks off: {shown}");
        }
        anyhow!(
            "{from} answers {status} with what is no JSON: {shown}. Is it the API of Cofferdam, or a proxy or log-in page \
             before it?"
        )
    }

    /// What came, so that somebody can tell who sent it.
    fn shown(&self) -> String {
        let Self { kind, body, .. } = self;
        if body.is_empty() {
            return format!("{kind}, and nothing in it");
        }
        let begin = body.get(..SHOWN).unwrap_or(body).escape_ascii();
        format!("{kind}, {} bytes that begin with \"{begin}\"", body.len())
    }
}

/// Whether a stream of events begins.
pub(super) fn is_stream(response: &Response<Incoming>) -> bool {
    let is_events = kind(response.headers()).split(';').next().is_some_and(|kind| kind.trim() == EVENTS);
    response.status().is_success() && is_events
}

fn kind(headers: &HeaderMap) -> String {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return "no content type".to_owned() };
    let kind = kind.as_bytes();
    kind.get(..SHOWN).unwrap_or(kind).escape_ascii().to_string()
}

/// What a stream says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Of what kind it is.
    pub(crate) name: String,
    /// What comes with it.
    pub(crate) data: Value,
}

/// Takes the events that are whole out of what came (WHATWG HTML, "Server-sent events", as the API writes them).
///
/// # Errors
/// One of them has no JSON.
pub(super) fn events(waiting: &mut Vec<u8>) -> Result<Vec<Event>> {
    let mut found = Vec::new();
    while let Some(end) = waiting.windows(2).position(|it| it == b"\n\n") {
        let rest = waiting.split_off(end + 2);
        let text = std::mem::replace(waiting, rest);
        let mut event = Event::default();
        for line in String::from_utf8_lossy(&text).lines() {
            match line.split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("data", data)) => {
                    event.data = serde_json::from_str(data).map_err(|_| {
                        let bytes = data.as_bytes();
                        let begin = bytes.get(..SHOWN).unwrap_or(bytes).escape_ascii();
                        anyhow!("what comes is no event of this API: its data is no JSON and begins with \"{begin}\"")
                    })?;
                }
                Some(_) | None => {}
            }
        }
        found.push(event);
    }
    Ok(found)
}

/// What it means that a stream is over, with so much of an event that is not.
///
/// # Errors
/// Always: a stream has no end.
pub(super) fn over(waiting: &[u8], from: &str) -> Result<()> {
    ensure!(waiting.is_empty(), "{from} broke off in the middle of an event");
    bail!("{from} ended what it told")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn whole(kind: &str, body: &'static str) -> Whole {
        let body = Bytes::from_static(body.as_bytes());
        Whole { status: StatusCode::OK, wait: None, kind: kind.to_owned(), body }
    }

    #[test]
    fn events_come_whole_however_they_are_cut_on_the_way() {
        let text = "event: lost\ndata: {\"records\":3}\n\nevent: record\nid: 7\ndata: {\"number\":7}\n\nevent: ping\ndata: {}\n\n";
        let expected =
            [("lost", json!({"records": 3})), ("record", json!({"number": 7})), ("ping", json!({}))]
                .map(|(name, data)| Event { name: name.to_owned(), data });
        for cut in 1..text.len() {
            let (mut waiting, mut found) = (Vec::new(), Vec::new());
            for bytes in text.as_bytes().chunks(cut) {
                waiting.extend_from_slice(bytes);
                found.extend(events(&mut waiting).unwrap());
            }
            assert_eq!((found.as_slice(), waiting.len()), (&expected[..], 0), "{cut}");
        }
    }

    #[test]
    fn what_is_no_answer_of_an_api_is_never_one_that_says_nothing() {
        for (kind, body, says) in [
            ("text/html", "<html>\u{1b}[2J", "text/html, 10 bytes that begin with \"<html>\\x1b[2J\""),
            ("application/json", "", "application/json, and nothing in it"),
            ("application/json", "{\"items\":[", "JSON that breaks off"),
            ("application/json", "{} {}", "what is no JSON"),
        ] {
            let error = whole(kind, body).judged("api:1").err().unwrap().to_string();
            assert!(error.contains("api:1 answers 200") && error.contains(says), "{error}");
        }
        assert_eq!(whole("application/json", "{}").judged("api:1").unwrap(), json!({}));
        let error = whole("application/json", "{}").no_events("api:1").err().unwrap().to_string();
        assert!(error.contains("stream of events"), "{error}");
    }

    #[test]
    fn an_event_without_json_and_a_stream_that_breaks_off_are_errors() {
        let error = events(&mut b"event: record\ndata: <b>\n\n".to_vec()).err().unwrap().to_string();
        assert!(error.contains("begins with \"<b>\""), "{error}");
        assert!(
            over(b"event: rec", "api:1").err().unwrap().to_string().contains("in the middle of an event")
        );
        assert!(over(b"", "api:1").is_err());
    }
}
