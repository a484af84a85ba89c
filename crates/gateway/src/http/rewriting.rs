//! Changes the body of a request before it goes on: leaks are masked, and the server is asked to tell of its tokens.
//!
//! Enters: what the deciding rule demands, the head, and the body, decoded and whole. Leaves: the body as it goes on, and what
//! was changed; or why the request must stop. Guarantees: a body over which something was computed that its server may
//! check (a signature, a digest, a length) is never changed; one that was masked is searched again and has nothing left that
//! the rule masks. Does not: hold bodies (`body`).

use super::searching::Searching;
use crate::call::Course;
use crate::leaks::{MaskFact, Search};
use crate::reason::Reason;
use crate::requests::Demands;
use ::inspect::rewrite::{Set, mask, set_option};
use http::{HeaderMap, header, request};
use policy::{Operation, Verb};
use std::borrow::Cow;
use std::sync::Arc;

/// What is in names of fields and parameters that hold something computed over a body: RFC 9421, RFC 9530, RFC 1864, RFC 3230,
/// signatures and checksums of AWS, Azure, Google and others.
const OVER_BODY: [&str; 9] =
    ["checksum", "content-length", "crc32", "digest", "hash", "hmac", "md5", "sha256", "signature"];
/// Schemes of `authorization` that are of the head alone.
const OF_HEAD: [&str; 4] = ["apikey", "basic", "bearer", "token"];
/// Whose streams tell of tokens where `stream_options.include_usage` asks for it: OpenAI, and servers of its shape that no host of
/// the catalog stands for, such as vLLM
/// (<https://platform.openai.com/docs/api-reference/chat/create>).
const TELLS_USAGE: [&str; 2] = ["openai", "openai-compatible"];

/// In what form a body can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON value.
    Json,
    /// Anything.
    Text,
}

impl Form {
    /// By what a head says. `None`: it must go on as it came.
    pub(crate) fn of(head: &request::Parts) -> Option<Self> {
        let fields = &head.headers;
        let is_over_body = |name: &str| OVER_BODY.iter().any(|part| name.contains(part));
        let is_bound =
            fields.keys().any(|name| name != header::CONTENT_LENGTH && is_over_body(name.as_str()));
        let parameters = head.uri.query().unwrap_or_default().split('&');
        let mut names = parameters.map(|one| one.split('=').next().unwrap_or_default().to_ascii_lowercase());
        let is_signed = names.any(|name| name == "sig" || is_over_body(&name));
        let is_part = fields.contains_key(header::CONTENT_RANGE);
        if is_bound || is_signed || is_part || !fields.get_all(header::AUTHORIZATION).iter().all(is_of_head) {
            return None;
        }
        Self::by_kind(fields)
    }

    fn by_kind(fields: &HeaderMap) -> Option<Self> {
        let mut kinds = fields.get_all(header::CONTENT_TYPE).iter();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else { return None };
        let kind = kind.to_str().ok()?.to_ascii_lowercase();
        let mut parts = kind.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let is_read = |part: &str| match part.strip_prefix("charset=") {
            Some(charset) => matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"),
            None => true,
        };
        if !parts.all(is_read) {
            return None;
        }
        match kind {
            "application/json" | "text/json" => Some(Self::Json),
            kind if kind.ends_with("+json") => Some(Self::Json),
            "text/plain" | "text/markdown" => Some(Self::Text),
            _ => None,
        }
    }
}

fn is_of_head(value: &http::HeaderValue) -> bool {
    let scheme = value.to_str().ok().and_then(|text| text.split(' ').next()).unwrap_or_default();
    OF_HEAD.iter().any(|known| known.eq_ignore_ascii_case(scheme))
}

/// What is to be done with one body.
#[derive(Debug)]
pub(crate) struct Rewriting {
    form: Form,
    /// Nothing may be left of what this masks; `None`: nothing is masked.
    search: Option<Arc<Search>>,
    /// Whether the server of a stream is asked to tell of its tokens.
    asks_usage: bool,
}

/// A body as it goes on.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) body: Vec<u8>,
    /// What was taken out of it.
    pub(crate) masked: Vec<MaskFact>,
    /// Whether the client did not ask for what the server will tell of its tokens.
    pub(crate) asks_usage: bool,
}

impl Rewriting {
    /// `None`: nothing.
    pub(crate) fn of(demands: &Demands, head: &request::Parts, operation: &Operation) -> Option<Self> {
        let form = Form::of(head)?;
        let search = demands.search.clone().filter(|search| search.masks());
        let is_counted = demands.account.as_ref().is_some_and(|account| account.counts_tokens());
        let asks_usage = is_counted && form == Form::Json && tells_usage(head, operation);
        (search.is_some() || asks_usage).then_some(Self { form, search, asks_usage })
    }

    /// Whether leaks are masked.
    pub(crate) fn masks(&self) -> bool {
        self.search.is_some()
    }

    /// Whether there is anything to do, now that the body was read and searched. `is_stream`: the answer is to stream.
    pub(crate) fn is_needed(&self, searching: Option<&Searching>, is_stream: bool) -> bool {
        self.asks_usage && is_stream || searching.is_some_and(Searching::has_masked)
    }

    /// What goes on in place of a body; `None`: the body itself.
    ///
    /// # Errors
    /// It must not go on.
    pub(crate) fn apply(
        &self,
        body: &[u8],
        searching: Option<&Searching>,
        is_stream: bool,
        course: &Course,
    ) -> Result<Option<Rewritten>, Reason> {
        let (so_far, masked) = match (&self.search, searching) {
            (Some(search), Some(searching)) if searching.has_masked() => {
                let (body, masked) = self.mask(body, search, searching, course)?;
                (Cow::Owned(body), masked)
            }
            (Some(_) | None, Some(_) | None) => (Cow::Borrowed(body), Vec::new()),
        };
        let asks_usage = self.asks_usage && is_stream;
        let set = if asks_usage { set_option(&so_far, "stream_options", "include_usage") } else { None };
        Ok(match (set, so_far) {
            (Some(Set::Changed(body)), _) => Some(Rewritten { body, masked, asks_usage: true }),
            (Some(Set::Already) | None, Cow::Owned(body)) => {
                Some(Rewritten { body, masked, asks_usage: false })
            }
            (Some(Set::Already) | None, Cow::Borrowed(_)) => None,
        })
    }

    fn mask(
        &self,
        body: &[u8],
        search: &Arc<Search>,
        searching: &Searching,
        course: &Course,
    ) -> Result<(Vec<u8>, Vec<MaskFact>), Reason> {
        let spans = searching.spans().ok_or_else(|| unmasked(course))?;
        if !spans.iter().all(|span| search.is_plain(span, body)) {
            return Err(unmasked(course));
        }
        let masked = mask(body, self.form == Form::Json, spans).map_err(|_| unmasked(course))?;
        let left = Searching::whole(search, &masked.body).map_err(|_| unmasked(course))?;
        if left.iter().any(|fact| fact.blocked) {
            return Err(unmasked(course));
        }
        let counts = masked.counts.into_iter();
        Ok((masked.body, counts.map(|(rule, class, count)| MaskFact::of(rule, class, count)).collect()))
    }
}

/// Says of what would have been masked that the request was stopped for it.
pub(crate) fn unmasked(course: &Course) -> Reason {
    let mut facts = course.found();
    for fact in &mut facts {
        fact.blocked |= std::mem::take(&mut fact.masked);
    }
    course.leaked(facts);
    Reason::LeakUnmasked
}

/// Whether an answer that streams would tell of its tokens, if it were asked to.
fn tells_usage(head: &request::Parts, operation: &Operation) -> bool {
    operation.verb == Verb::Call
        && operation.provider.as_deref().is_some_and(|provider| TELLS_USAGE.contains(&provider))
        && head.uri.path().ends_with("/chat/completions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn form(target: &str, fields: &[(&str, &str)]) -> Option<Form> {
        let request = fields
            .iter()
            .fold(Request::builder().uri(target), |request, (name, value)| request.header(*name, *value));
        Form::of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn only_json_and_text_that_nothing_was_computed_over_are_changed() {
        let json = ("content-type", "application/json; charset=UTF-8");
        for (target, fields, expected) in [
            ("/", vec![json], Some(Form::Json)),
            ("/?a=b", vec![json, ("authorization", "Bearer a"), ("content-length", "7")], Some(Form::Json)),
            ("/", vec![("content-type", "application/a2a+json")], Some(Form::Json)),
            ("/", vec![("content-type", "text/plain")], Some(Form::Text)),
            ("/", vec![], None),
            ("/", vec![json, json], None),
            ("/", vec![("content-type", "application/json; charset=utf-16")], None),
            ("/", vec![("content-type", "application/octet-stream")], None),
            ("/", vec![json, ("authorization", "AWS4-HMAC-SHA256 Credential=a")], None),
            ("/", vec![json, ("authorization", "SharedKey a:b")], None),
            ("/", vec![json, ("x-amz-content-sha256", "00")], None),
            ("/", vec![json, ("signature-input", "a=()")], None),
            ("/", vec![json, ("content-digest", "a=:b:")], None),
            ("/", vec![json, ("content-md5", "a")], None),
            ("/", vec![json, ("x-amz-checksum-crc32", "a")], None),
            ("/", vec![json, ("inference-header-content-length", "7")], None),
            ("/", vec![json, ("content-range", "bytes 0-1/2")], None),
            ("/?X-Amz-Signature=a", vec![json], None),
            ("/?b=c&sig=a", vec![json], None),
        ] {
            assert_eq!(form(target, &fields), expected, "{target} {fields:?}");
        }
    }
}
