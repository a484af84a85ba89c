//! What a client is told whose request does not go on.

use super::body::Answer;
use crate::call::CallGuard;
use crate::reason::{End, Reason};
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::Bytes;

/// Why, as [`Reason::as_str`].
const REASON: &str = "x-cofferdam-reason";
/// The rule that comes nearest.
const POLICY: &str = "x-cofferdam-policy";
/// The number of the request's record.
const REQUEST_ID: &str = "x-cofferdam-request-id";

/// Statuses (RFC 9110, section 15) of reasons that are not simply forbidden.
const STATUS: [(Reason, StatusCode); 7] = [
    (Reason::HostMismatch, StatusCode::MISDIRECTED_REQUEST),
    (Reason::HttpHost, StatusCode::BAD_REQUEST),
    (Reason::HttpMalformed, StatusCode::BAD_REQUEST),
    (Reason::RequestTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
    (Reason::Timeout, StatusCode::REQUEST_TIMEOUT),
    (Reason::ServerCertificate, StatusCode::BAD_GATEWAY),
    (Reason::ServerHandshake, StatusCode::BAD_GATEWAY),
];

/// The answer to a request that is refused for the reason in its record so far.
pub(crate) fn refuse(guard: CallGuard) -> Response<Answer> {
    let reason = guard.so_far().reason;
    let known = STATUS.iter().find(|(known, _)| *known == reason);
    let status = known.map_or(StatusCode::FORBIDDEN, |(_, status)| *status);
    own(guard, status, reason.as_str(), reason.describe(), End::Refused)
}

/// The answer to a request that the server did not answer.
pub(crate) fn failed(guard: CallGuard) -> Response<Answer> {
    let detail = "the server broke off before it answered";
    own(guard, StatusCode::BAD_GATEWAY, End::ServerGone.as_str(), detail, End::ServerGone)
}

fn own(mut guard: CallGuard, status: StatusCode, reason: &str, detail: &str, end: End) -> Response<Answer> {
    let call = guard.so_far();
    let body = serde_json::json!({
        "error": { "message": format!("stopped by the network gateway: {detail}"), "type": reason, "code": reason },
        "reason": reason,
        "lacks": call.lacks,
        "operation": { "verb": call.operation.verb, "why": call.operation.reason },
        "policy": call.nearest,
        "request_id": call.request_id,
    });
    let mut response = Response::new(Bytes::from(format!("{body}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in
        [(REASON, Some(reason)), (POLICY, call.nearest.as_deref()), (REQUEST_ID, Some(&call.request_id))]
    {
        // A rule whose name no field can hold is in the body.
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    guard.answered(status.as_u16());
    guard.ended(end);
    response.map(|body| Answer::own(body, guard))
}
