//! What a client is told whose request does not go on, in the words of the service that it asked.
//!
//! Enters: the record of a request so far, with its reason. Leaves: an answer as `inspect::refusal` forms it, or the last
//! bytes of a stream that must end early.

use super::answer::Answer;
use super::tally::now;
use crate::call::{Call, CallGuard, Caller, Shortfall};
use crate::reason::{End, Reason};
use crate::state::Window;
use ::inspect::refusal::{self, Asked, Framing, Refusal};
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::Bytes;
use hyper::ext::ReasonPhrase;
use policy::{Mismatch, Money, Operation, Verb};

/// Statuses (RFC 9110, section 15) of reasons that are not simply forbidden.
const STATUS: [(Reason, StatusCode); 13] = [
    (Reason::HostMismatch, StatusCode::MISDIRECTED_REQUEST),
    (Reason::HttpHost, StatusCode::BAD_REQUEST),
    (Reason::HttpMalformed, StatusCode::BAD_REQUEST),
    (Reason::RequestTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
    (Reason::Timeout, StatusCode::REQUEST_TIMEOUT),
    (Reason::ServerCertificate, StatusCode::BAD_GATEWAY),
    (Reason::ServerHandshake, StatusCode::BAD_GATEWAY),
    (Reason::ServerUnreachable, StatusCode::BAD_GATEWAY),
    (Reason::QuotaRequests, StatusCode::TOO_MANY_REQUESTS),
    (Reason::QuotaTokens, StatusCode::TOO_MANY_REQUESTS),
    (Reason::QuotaMoney, StatusCode::TOO_MANY_REQUESTS),
    (Reason::QuotaStore, StatusCode::SERVICE_UNAVAILABLE),
    (Reason::TooMuchHeld, StatusCode::SERVICE_UNAVAILABLE),
];

/// The answer to a request that is refused for the reason in its record so far.
pub(crate) fn refuse(guard: CallGuard) -> Response<Answer> {
    own(guard, End::Refused)
}

/// The answer to a request that the server did not answer.
pub(crate) fn failed(guard: CallGuard) -> Response<Answer> {
    own(guard, End::ServerGone)
}

/// The last bytes of a stream that is cut for the reason in its record.
pub(crate) fn cut(guard: &CallGuard, framing: Framing) -> Bytes {
    let call = guard.so_far();
    let refusal = Refusal {
        status: status(call.reason).as_u16(),
        reason: call.reason.as_str(),
        message: &message(call, &why(guard)),
        rule: call.rule.as_deref(),
        request_id: &call.request_id,
    };
    refusal::cut(&call.operation, &asked(call, &guard.caller), &refusal, framing).into()
}

fn own(mut guard: CallGuard, end: End) -> Response<Answer> {
    let call = guard.so_far();
    let reason = call.reason;
    let (status, reason, why) = if end == End::Refused {
        (status(reason), reason.as_str(), why(&guard))
    } else {
        let why = "the server broke off before it answered".to_owned();
        (StatusCode::BAD_GATEWAY, End::ServerGone.as_str(), why)
    };
    let refusal = Refusal {
        status: status.as_u16(),
        reason,
        message: &message(call, &why),
        // What one rule demands, another may not be near to.
        rule: call.nearest.as_deref().or(call.rule.as_deref()),
        request_id: &call.request_id,
    };
    let answer = refusal::answer(&call.operation, &asked(call, &guard.caller), &refusal);
    let mut response = Response::new(Bytes::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(status);
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    if let Ok(phrase) = ReasonPhrase::try_from(answer.reason_phrase.into_bytes()) {
        response.extensions_mut().insert(phrase);
    }
    if let Some(at) = guard.retry_at.filter(|_| response.status() == StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(header::RETRY_AFTER, at.saturating_sub(now()).max(1).into());
    }
    guard.answered(response.status().as_u16());
    guard.ended(end);
    response.map(|body| Answer::own(body, guard))
}

fn status(reason: Reason) -> StatusCode {
    let known = STATUS.iter().find(|(known, _)| *known == reason);
    known.map_or(StatusCode::FORBIDDEN, |(_, status)| *status)
}

fn asked<'a>(call: &'a Call, caller: &'a Caller) -> Asked<'a> {
    Asked {
        method: &call.method,
        accept: caller.accept.as_deref(),
        content_type: caller.content_type.as_deref(),
        user_agent: caller.user_agent.as_deref(),
        rpc_id: caller.rpc.ids.first().map(String::as_str).filter(|_| !caller.rpc.is_batch),
        rpc_batch: if caller.rpc.is_batch { &caller.rpc.ids } else { &[] },
    }
}

/// A clause for a person.
fn why(guard: &CallGuard) -> String {
    let call = guard.so_far();
    let is_of_leak = matches!(call.reason, Reason::LeakBlocked | Reason::LeakUnmasked);
    let leak = guard.leaks().into_iter().find(|fact| fact.blocked && is_of_leak);
    if let Some(leak) = leak {
        return format!("{}: {}", call.reason.describe(), leak.rule);
    }
    let is_of_file = matches!(call.reason, Reason::AnswerBlocked | Reason::AnswerUnread);
    if let Some(fact) = call.answers.first().filter(|fact| fact.blocked && is_of_file) {
        return format!("{}: {} ({})", call.reason.describe(), fact.what, fact.rule);
    }
    if let Some(window) = call.window {
        return spent(call, window);
    }
    let is_judged = matches!(call.reason, Reason::RequestNotAllowed | Reason::ProviderEgress);
    match call.lacks.filter(|_| is_judged) {
        Some(Mismatch::Unknown) => format!("{}: {}", Mismatch::Unknown.describe(), call.operation.reason),
        Some(lacks) => call.unmet.as_deref().unwrap_or(lacks.describe()).to_owned(),
        None => call.reason.describe().to_owned(),
    }
}

fn spent(call: &Call, window: Window) -> String {
    let window = match window {
        Window::Hour => "an hour",
        Window::Day => "a day",
    };
    let text = format!("{}, in {window} (UTC)", call.reason.describe());
    let Some(Shortfall { needed, left }) = call.shortfall else { return text };
    match call.reason {
        Reason::QuotaTokens => format!(
            "{text}: {needed} tokens are set aside for it, {left} are left; a limit for its answer in the request makes that \
             less"
        ),
        Reason::QuotaMoney => {
            format!("{text}: {} is set aside for it, {} is left", Money(needed), Money(left))
        }
        _ => text,
    }
}

fn message(call: &Call, why: &str) -> String {
    format!("{} at {}: {why}", what(&call.operation), call.name)
}

/// What was asked for.
fn what(operation: &Operation) -> String {
    let of = |what: &str, link: &str, named: Option<&str>| match named {
        Some(named) => format!("{what} {link} {named}"),
        None => what.to_owned(),
    };
    let resource = operation.resource.as_deref();
    match operation.verb {
        Verb::Download => of("this download", "of", resource),
        Verb::Upload => of("this upload", "to", resource),
        Verb::Call if !operation.tools.is_empty() => of("this call", "of", Some(&operation.tools.join(", "))),
        Verb::Call => of("this call", "of", operation.model.as_deref().or(resource)),
        Verb::Mutate => of("this change", "of", resource),
        Verb::Admin => of("this administration", "of", resource),
        Verb::Meta => of("this look", "at", resource),
        Verb::Authorize => of("this request for a token", "for", resource),
        Verb::Unknown => "this request".to_owned(),
    }
}
