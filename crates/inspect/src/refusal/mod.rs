//! A refusal, told so that the client's own error output explains it.
//!
//! Enters: what the request would have done ([`policy::Operation`]), a few of its headers ([`Asked`]) and why it may not
//! ([`Refusal`]). Leaves: an answer in the form that clients of that service read ([`answer`]), or the last event of a
//! stream that must end early ([`cut`]). Guarantees: bounded; the body, the reason phrase and three headers
//! (`x-cofferdam-reason`, `-policy`, `-request-id`) say the same; nothing of the request can break out of its place in any
//! of them. Does not: frame the answer (`content-length`, `connection` are the connection's), or judge.

mod body;
mod boundary;
mod cut;
mod kind;
mod rpc;
mod shape;
mod text;

pub use boundary::Boundary;
pub use cut::{Framing, cut};
pub use rpc::{MAX_BATCH, RpcIds, rpc_ids};

use kind::Kind;
use policy::{Operation, Verb};
use shape::Shape;

/// Why a request may not pass.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// An HTTP status from 400 to 599; any other is taken for 403.
    pub status: u16,
    /// A word in kebab-case, for machines.
    pub reason: &'a str,
    /// One sentence, for a person.
    pub message: &'a str,
    /// The rule that comes nearest: object, field, file and line.
    pub rule: Option<&'a str>,
    /// Finds the record of the request.
    pub request_id: &'a str,
}

/// What of a request its answer depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// As it was sent.
    pub method: &'a str,
    /// Header `accept`.
    pub accept: Option<&'a str>,
    /// Header `content-type`.
    pub content_type: Option<&'a str>,
    /// Header `user-agent`.
    pub user_agent: Option<&'a str>,
    /// The `id` of a JSON-RPC request as JSON: a number or a quoted text. `None`: not known.
    pub rpc_id: Option<&'a str>,
    /// Those of a batch, each as above or `null`. Empty: it is none.
    pub rpc_batch: &'a [String],
}

/// What to send instead of the server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The refusal's status; 403 where a client would make another story of it; 200 where a protocol has its errors in good answers (gRPC,
    /// git's POST requests, a task that an agent does not have).
    pub status: u16,
    /// Behind the status of HTTP/1, which is all that pip, apt and Maven show: visible ASCII.
    pub reason_phrase: String,
    /// Names in lower case; none twice; no framing.
    pub headers: Vec<(&'static str, String)>,
    /// Empty for HEAD and gRPC.
    pub body: Vec<u8>,
}

impl Refusal<'_> {
    fn status(&self) -> u16 {
        if (400..=599).contains(&self.status) { self.status } else { 403 }
    }

    fn kind(&self) -> Kind {
        Kind::of(self.status())
    }

    /// All of it on one line, for clients that show one text.
    fn text(&self) -> String {
        let message = text::line(self.message);
        let message = message.strip_suffix('.').unwrap_or(&message);
        let (reason, request_id) = (text::line(self.reason), text::line(self.request_id));
        let policy = match self.rule {
            Some(rule) => format!("; policy: {}", text::line(rule)),
            None => String::new(),
        };
        format!("Refused by Cofferdam: {message} (reason: {reason}{policy}; request: {request_id})")
    }
}

/// Tells a refusal in the form that clients of the service read.
pub fn answer(operation: &Operation, asked: &Asked<'_>, refusal: &Refusal<'_>) -> Answer {
    let shape = Shape::of(operation, asked);
    let mut answer = Answer {
        status: status(shape, operation, asked, refusal),
        reason_phrase: text::phrase(&refusal.text()),
        headers: vec![("x-cofferdam-reason", text::header_value(refusal.reason))],
        body: body::body(shape, asked, refusal),
    };
    if let Some(rule) = refusal.rule {
        answer.headers.push(("x-cofferdam-policy", text::header_value(rule)));
    }
    answer.headers.push(("x-cofferdam-request-id", text::header_value(refusal.request_id)));
    answer.headers.push(("cache-control", "no-store".to_owned()));
    let is_git_request = shape == Shape::Git && asked.method == "POST";
    let is_head = asked.method == "HEAD";
    if is_git_request {
        in_git(operation, refusal, &mut answer);
    } else if !is_head {
        answer.headers.push(("content-type", body::content_type(shape).to_owned()));
    }
    own_headers(shape, refusal, &mut answer);
    if is_head {
        // Without a type either (RFC 9110, section 9.3.2): there are clients that read nothing as JSON because it is called so.
        answer.body.clear();
    }
    answer
}

fn status(shape: Shape, operation: &Operation, asked: &Asked<'_>, refusal: &Refusal<'_>) -> u16 {
    let is_message = asked.rpc_id.is_some_and(|id| id != "null");
    let is_of_agent = operation.provider.as_deref() == Some("a2a") && is_message;
    match (shape, refusal.kind()) {
        (Shape::Grpc, _) => 200,
        // Clients of A2A read the error of a message only in a good answer. Those of MCP begin anew after 404.
        (Shape::JsonRpc, Kind::NotFound) if is_of_agent && refusal.reason == body::NOT_GIVEN => 200,
        // The Hub's client takes 401 for a repository that is not there, and tries for half a minute after 429.
        (Shape::Hub, Kind::Unauthenticated | Kind::Spent) => 403,
        _ => refusal.status(),
    }
}

/// git shows the text of a bad answer to its first request, a GET, but not to those that follow. In a good answer to
/// those it shows an error of its own protocol (<https://git-scm.com/docs/pack-protocol>), to a push one in the side band.
fn in_git(operation: &Operation, refusal: &Refusal<'_>, answer: &mut Answer) {
    answer.status = 200;
    let text = refusal.text();
    let is_push = operation.verb == Verb::Upload;
    answer.body = text::pkt_line(&if is_push { format!("\u{3}{text}\n") } else { format!("ERR {text}\n") });
    answer.body.extend_from_slice(b"0000");
    let service = if is_push { "git-receive-pack" } else { "git-upload-pack" };
    answer.headers.push(("content-type", format!("application/x-{service}-result")));
}

/// Headers of which clients make something.
fn own_headers(shape: Shape, refusal: &Refusal<'_>, answer: &mut Answer) {
    let id = || text::header_value(refusal.request_id);
    match shape {
        // Both SDKs would otherwise try again what is refused with 409, 429 or 5xx.
        Shape::OpenAi => {
            answer.headers.push(("x-request-id", id()));
            answer.headers.push(("x-should-retry", "false".to_owned()));
            // For the client of the Hugging Face router, which takes errors of the Hub's.
            answer.headers.push(("x-error-message", text::header_value(&refusal.text())));
        }
        Shape::Anthropic => {
            answer.headers.push(("request-id", id()));
            answer.headers.push(("x-should-retry", "false".to_owned()));
        }
        Shape::Aws => {
            answer.headers.push(("x-amzn-errortype", refusal.kind().aws().to_owned()));
            answer.headers.push(("x-amzn-requestid", id()));
        }
        Shape::S3 => answer.headers.push(("x-amz-request-id", id())),
        Shape::AzureBlob => {
            answer.headers.push(("x-ms-error-code", refusal.kind().azure_blob().to_owned()));
            answer.headers.push(("x-ms-request-id", id()));
        }
        // A code of the Hub's own (GatedRepo, RepoNotFound, RevisionNotFound, EntryNotFound) would make its client tell
        // another story.
        Shape::Hub => {
            answer.headers.push(("x-error-code", "PolicyDenied".to_owned()));
            answer.headers.push(("x-error-message", text::header_value(&refusal.text())));
            answer.headers.push(("x-request-id", id()));
        }
        Shape::Grpc => {
            let code = refusal.kind().grpc();
            answer.headers.push(("grpc-status", code.to_string()));
            answer.headers.push(("grpc-message", text::header_value(&refusal.text())));
        }
        Shape::Google
        | Shape::Oci
        | Shape::Git
        | Shape::Lfs
        | Shape::Cargo
        | Shape::JsonRpc
        | Shape::Worded
        | Shape::Html => {}
    }
}
