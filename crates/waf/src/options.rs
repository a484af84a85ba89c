//! What directives set for the whole engine, with the limits that hold where none does.

use crate::rule::{Audit, Engine};
use crate::transform::CodePage;

/// Bytes of a request's body that are looked at, unless `SecRequestBodyLimit` says something else.
pub const DEFAULT_REQUEST_BODY: usize = 13_107_200;
/// The same of an answer's body.
pub const DEFAULT_RESPONSE_BODY: usize = 524_288;
/// Most bytes of a body that a directive may ask for.
pub const MAX_BODY: usize = 1 << 30;
/// Arguments, unless `SecArgumentsLimit` says something else.
pub const DEFAULT_ARGUMENTS: usize = 1000;
/// Nesting of JSON and XML, unless `SecRequestBodyJsonDepthLimit` says something else.
pub const DEFAULT_DEPTH: usize = 512;
/// Deepest nesting that a directive may ask for.
pub const MAX_DEPTH: usize = 10_000;
/// Bytes that the rules may read for one transaction: each transformation, scan and operator counts what it reads, and what
/// is dear counts more. A body of prose as long as [`DEFAULT_REQUEST_BODY`] is within it.
pub const DEFAULT_BUDGET: u64 = 4 << 30;
/// Seconds that a persistent collection lives, unless `SecCollectionTimeout` says something else.
pub const DEFAULT_COLLECTION_TIMEOUT: u64 = 3600;

/// What happens to a body that is longer than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// The transaction is interrupted.
    Reject,
    /// What is within the limit is looked at.
    ProcessPartial,
}

/// Options of the engine.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) engine: Engine,
    pub(crate) audit: Audit,
    pub(crate) audit_parts: String,
    pub(crate) request_body_access: bool,
    pub(crate) response_body_access: bool,
    pub(crate) request_body_limit: usize,
    pub(crate) request_body_no_files_limit: usize,
    pub(crate) request_body_beyond: Beyond,
    pub(crate) response_body_limit: usize,
    pub(crate) response_body_beyond: Beyond,
    pub(crate) response_types: Vec<String>,
    pub(crate) arguments: usize,
    pub(crate) depth: usize,
    pub(crate) separator: u8,
    pub(crate) collection_timeout: u64,
    pub(crate) code_page: Option<CodePage>,
    pub(crate) application: String,
    pub(crate) budget: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: Engine::Off,
            audit: Audit::Off,
            audit_parts: String::new(),
            request_body_access: false,
            response_body_access: false,
            request_body_limit: DEFAULT_REQUEST_BODY,
            request_body_no_files_limit: DEFAULT_REQUEST_BODY,
            request_body_beyond: Beyond::Reject,
            response_body_limit: DEFAULT_RESPONSE_BODY,
            response_body_beyond: Beyond::ProcessPartial,
            response_types: ["text/plain", "text/html", "text/xml"].map(str::to_owned).to_vec(),
            arguments: DEFAULT_ARGUMENTS,
            depth: DEFAULT_DEPTH,
            separator: b'&',
            collection_timeout: DEFAULT_COLLECTION_TIMEOUT,
            code_page: None,
            application: "default".to_owned(),
            budget: DEFAULT_BUDGET,
        }
    }
}
