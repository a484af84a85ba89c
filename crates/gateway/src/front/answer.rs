//! What the front door answers of its own: leave to begin a tunnel, or why there is none.

use crate::near::Near;
use crate::reason::Reason;
use crate::refuse;
use ::inspect::refusal as told;
use policy::Operation;

/// Leave to begin a tunnel. It has no body (RFC 9110, section 9.3.6).
pub(super) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Why a client gets nowhere.
pub(super) struct Refusal<'a> {
    pub(super) reason: Reason,
    /// Its method, where it was read.
    pub(super) method: &'a str,
    /// What it asked for, where that is known.
    pub(super) asked: Option<String>,
    /// The rule behind it, or the nearest.
    pub(super) rule: Option<&'a str>,
    /// What a resolver said.
    pub(super) detail: Option<&'a str>,
    /// The same as in the record.
    pub(super) request_id: &'a str,
}

/// Answers, and waits for the client to have read it.
pub(super) async fn tell(stream: Near, refusal: &Refusal<'_>) {
    refuse::last(stream, &written(refusal)).await;
}

/// The status (RFC 9110, section 15). Never 407: no password would help.
fn status(reason: Reason) -> u16 {
    match reason {
        Reason::NotForProxy | Reason::HttpMalformed | Reason::HttpHost | Reason::HttpTunnel => 400,
        Reason::Timeout | Reason::Incomplete => 408,
        Reason::HttpTooLarge => 431,
        Reason::ServerUnreachable | Reason::NoAddress => 502,
        Reason::ServerSilent => 504,
        Reason::TooMany | Reason::TooManyOfPod | Reason::TooManyAsked | Reason::NoPolicy => 503,
        _ => 403,
    }
}

fn written(refusal: &Refusal<'_>) -> Vec<u8> {
    let Refusal { reason, asked, rule, detail, request_id, method } = refusal;
    let (status, message) = (status(*reason), message(*reason, asked.as_deref(), *detail));
    let told = told::Refusal { status, reason: reason.as_str(), message: &message, rule: *rule, request_id };
    let asked = told::Asked { method, ..told::Asked::default() };
    let answer = told::answer(&Operation::unknown("it was not read"), &asked, &told);
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, answer.reason_phrase);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", answer.body.len()));
    [head.into_bytes(), answer.body].concat()
}

/// One sentence for a person.
fn message(reason: Reason, asked: Option<&str>, detail: Option<&str>) -> String {
    let whom = asked.map_or_else(String::new, |asked| format!("{asked}: "));
    let detail = detail.map_or_else(String::new, |detail| format!(" ({detail})"));
    format!("{whom}{}{detail}", reason.describe())
}
