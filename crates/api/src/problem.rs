//! Why a request was not done, as RFC 9457 has it: `application/problem+json`.

use hyper::StatusCode;
use ledger::LedgerError;
use schemars::JsonSchema;
use serde::Serialize;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Of the answer.
    pub status: StatusCode,
    /// What is wrong, and the way out.
    pub detail: String,
    /// Seconds after which to try again; 0: that does not help.
    pub retry_after: u64,
    /// What may be asked instead, for 405.
    pub allow: Option<String>,
}

/// As JSON has it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct ProblemAnswer {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, and the way out.
    pub detail: String,
    /// Number of the request, as in the header `x-request-id`.
    pub request_id: String,
}

impl Problem {
    /// One with this status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: 0, allow: None }
    }

    /// The request is wrong.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// It may be there later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after: 5, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// As JSON has it.
    pub(crate) fn answer(&self, request_id: &str) -> ProblemAnswer {
        ProblemAnswer {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Problem").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            request_id: request_id.to_owned(),
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        if error.is_interrupted() {
            return Self::unavailable(
                "the ledger took too long to answer this: ask for a shorter time (since, until), or for fewer things",
            );
        }
        if matches!(error, LedgerError::Several { .. }) {
            return Self::new(StatusCode::CONFLICT, error.to_string());
        }
        if matches!(error, LedgerError::OtherMark) {
            return Self::bad(format!("before: {error}"));
        }
        Self::unavailable(error.to_string())
    }
}
