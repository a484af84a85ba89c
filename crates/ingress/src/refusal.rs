//! What a client is told whose request does not go on, in the words of the service that it asked.

use crate::answer::Answer;
use crate::record::{End, Guard};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::body::Bytes;
use hyper::ext::ReasonPhrase;
use inspect::refusal::{self, Asked, Framing, Refusal};
use policy::{Operation, Verb};

/// What of a request its refusal depends on, kept for the case.
#[derive(Debug, Default)]
pub(crate) struct Caller {
    accept: Option<String>,
    content_type: Option<String>,
    user_agent: Option<String>,
    /// When it may be tried again, in seconds, where that is known.
    pub(crate) retry_after: Option<u64>,
    /// Further fields of the answer.
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Caller {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name: header::HeaderName| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        Self {
            accept: text(header::ACCEPT),
            content_type: text(header::CONTENT_TYPE),
            user_agent: text(header::USER_AGENT),
            ..Self::default()
        }
    }
}

/// The answer to a request that does not go on, for the reason in its record.
pub(crate) fn refuse(mut guard: Guard, caller: &Caller, end: End) -> Response<Answer> {
    let record = &guard.record;
    let (reason, message) = (record.reason, message(&guard));
    let refusal = Refusal {
        status: reason.status(),
        reason: reason.as_str(),
        message: &message,
        rule: record.rule.as_deref(),
        request_id: &record.request_id,
    };
    let asked = Asked {
        method: &record.method,
        accept: caller.accept.as_deref(),
        content_type: caller.content_type.as_deref(),
        user_agent: caller.user_agent.as_deref(),
        rpc_id: rpc_id(&guard),
        rpc_batch: if guard.rpc.is_batch { &guard.rpc.ids } else { &[] },
    };
    let answer = refusal::answer(&record.operation, &asked, &refusal);
    let mut response = Response::new(Bytes::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::FORBIDDEN);
    let own = caller.headers.iter().map(|(name, value)| (*name, value.clone()));
    for (name, value) in answer.headers.into_iter().chain(own) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    if let Ok(phrase) = ReasonPhrase::try_from(answer.reason_phrase.into_bytes()) {
        response.extensions_mut().insert(phrase);
    }
    if let Some(seconds) = caller.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.max(1).into());
        // Clients that were told never to try again would not.
        response.headers_mut().remove("x-should-retry");
    }
    guard.answered(response.status().as_u16());
    guard.record.end = end;
    response.map(|body| Answer::own(body, guard))
}

/// The last bytes of a stream that is cut for the reason in its record.
pub(crate) fn cut(guard: &Guard, framing: Framing) -> Vec<u8> {
    let record = &guard.record;
    let refusal = Refusal {
        status: record.reason.status(),
        reason: record.reason.as_str(),
        message: &message(guard),
        rule: record.rule.as_deref(),
        request_id: &record.request_id,
    };
    let asked = Asked { method: &record.method, rpc_id: rpc_id(guard), ..Asked::default() };
    refusal::cut(&record.operation, &asked, &refusal, framing)
}

fn rpc_id(guard: &Guard) -> Option<&str> {
    guard.rpc.ids.first().map(String::as_str).filter(|_| !guard.rpc.is_batch)
}

fn message(guard: &Guard) -> String {
    let record = &guard.record;
    let why = record.reason.describe();
    let what = what(&record.operation);
    match &record.detail {
        Some(detail) => format!("{what} at {}: {why}: {detail}", record.host),
        None => format!("{what} at {}: {why}", record.host),
    }
}

/// What was asked for.
fn what(operation: &Operation) -> String {
    let of = |what: &str, named: Option<&str>| match named {
        Some(named) => format!("{what} {named}"),
        None => what.split(' ').take(2).collect::<Vec<_>>().join(" "),
    };
    let resource = operation.resource.as_deref();
    match operation.verb {
        Verb::Call if !operation.tools.is_empty() => of("this call of", Some(&operation.tools.join(", "))),
        Verb::Call => of("this call of", operation.model.as_deref().or(resource)),
        Verb::Download => of("this download of", resource),
        Verb::Upload => of("this upload to", resource),
        Verb::Mutate => of("this change of", resource),
        Verb::Admin => of("this administration of", resource),
        Verb::Meta => of("this look at", resource),
        Verb::Authorize | Verb::Unknown => "this request".to_owned(),
    }
}
