//! The bodies of refusals.

use super::rpc::MAX_RPC_ID;
use super::shape::Shape;
use super::{Asked, Refusal, text};
use serde_json::{Value, json};

/// Where our own names are unique.
const DOMAIN: &str = "cofferdam.dev";

/// A JSON-RPC error of ours: the first of the numbers that the specification leaves to servers
/// (<https://www.jsonrpc.org/specification#error_object>).
const RPC_REFUSED: i32 = -32000;
/// A2A's TaskNotFoundError, by which servers of MCP say as well that a session is not there
/// (<https://a2a-protocol.org/latest/specification/>, section 5.4).
const RPC_NOT_FOUND: i32 = -32001;

/// The reason for which a task or session is said not to be there.
pub(crate) const NOT_GIVEN: &str = "not-given";

pub(crate) fn content_type(shape: Shape) -> &'static str {
    match shape {
        Shape::S3 | Shape::AzureBlob => "application/xml",
        Shape::Git => "text/plain; charset=utf-8",
        Shape::Lfs => "application/vnd.git-lfs+json",
        Shape::Grpc => "application/grpc",
        Shape::Html => "text/html; charset=utf-8",
        Shape::OpenAi
        | Shape::Anthropic
        | Shape::Google
        | Shape::Aws
        | Shape::Hub
        | Shape::Oci
        | Shape::Cargo
        | Shape::JsonRpc
        | Shape::Worded => "application/json",
    }
}

pub(crate) fn body(shape: Shape, asked: &Asked<'_>, refusal: &Refusal<'_>) -> Vec<u8> {
    match shape {
        Shape::S3 => s3(refusal).into_bytes(),
        Shape::AzureBlob => azure_blob(refusal).into_bytes(),
        Shape::Git => format!("{}\n", refusal.text()).into_bytes(),
        Shape::Grpc => Vec::new(),
        Shape::Html => html(refusal).into_bytes(),
        Shape::JsonRpc if !asked.rpc_batch.is_empty() => {
            let errors = asked.rpc_batch.iter().map(|id| json(shape, Some(id), refusal));
            Value::Array(errors.collect()).to_string().into_bytes()
        }
        Shape::OpenAi
        | Shape::Anthropic
        | Shape::Google
        | Shape::Aws
        | Shape::Hub
        | Shape::Oci
        | Shape::Lfs
        | Shape::Cargo
        | Shape::JsonRpc
        | Shape::Worded => json(shape, asked.rpc_id, refusal).to_string().into_bytes(),
    }
}

/// The error as a JSON object; of those forms that are none, the plainest.
pub(crate) fn json(shape: Shape, rpc_id: Option<&str>, refusal: &Refusal<'_>) -> Value {
    let (message, kind) = (refusal.text(), refusal.kind());
    match shape {
        Shape::OpenAi => {
            let error =
                json!({"message": message, "type": kind.openai(), "param": null, "code": reason(refusal)});
            json!({ "error": error })
        }
        Shape::Anthropic => json!({
            "type": "error",
            "error": {"type": kind.anthropic(), "message": message},
            "request_id": text::line(refusal.request_id),
        }),
        Shape::Google => google(refusal),
        Shape::Aws => json!({ "message": message }),
        Shape::Oci => {
            json!({"errors": [{"code": kind.oci(), "message": message, "detail": detail(refusal)}]})
        }
        Shape::Lfs => json!({"message": message, "request_id": text::line(refusal.request_id)}),
        Shape::Cargo => json!({"errors": [{ "detail": message }]}),
        Shape::JsonRpc => json!({
            "jsonrpc": "2.0",
            "id": id(rpc_id),
            "error": {"code": rpc_code(refusal), "message": message, "data": detail(refusal)},
        }),
        Shape::Hub
        | Shape::Worded
        | Shape::S3
        | Shape::AzureBlob
        | Shape::Git
        | Shape::Grpc
        | Shape::Html => worded(refusal),
    }
}

fn rpc_code(refusal: &Refusal<'_>) -> i32 {
    if refusal.reason == NOT_GIVEN { RPC_NOT_FOUND } else { RPC_REFUSED }
}

fn reason(refusal: &Refusal<'_>) -> String {
    text::line(refusal.reason)
}

/// What a machine may want to know, with the name of each.
fn detail(refusal: &Refusal<'_>) -> Value {
    let request_id = text::line(refusal.request_id);
    match refusal.rule {
        Some(rule) => {
            json!({"reason": reason(refusal), "policy": text::line(rule), "request_id": request_id})
        }
        None => json!({"reason": reason(refusal), "request_id": request_id}),
    }
}

fn worded(refusal: &Refusal<'_>) -> Value {
    let mut body = detail(refusal);
    if let Value::Object(fields) = &mut body {
        fields.insert("error".to_owned(), Value::String(refusal.text()));
    }
    body
}

/// A google.rpc.Status with an ErrorInfo (<https://google.aip.dev/193>). The client knows an error within a stream by the
/// `error` that it begins with.
fn google(refusal: &Refusal<'_>) -> Value {
    let (_, name) = refusal.kind().google();
    let info = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason(refusal).to_uppercase().replace('-', "_"),
        "domain": DOMAIN,
        "metadata": detail(refusal),
    });
    let error =
        json!({"code": refusal.status(), "message": refusal.text(), "status": name, "details": [info]});
    json!({ "error": error })
}

/// The id of a request, where it is one that JSON-RPC knows.
fn id(rpc_id: Option<&str>) -> Value {
    let id = rpc_id.filter(|id| id.len() <= MAX_RPC_ID).and_then(|id| serde_json::from_str(id).ok());
    id.filter(|id: &Value| id.is_number() || id.is_string()).unwrap_or(Value::Null)
}

fn s3(refusal: &Refusal<'_>) -> String {
    let (message, id) = (text::markup(&refusal.text()), text::markup(&text::line(refusal.request_id)));
    let code = refusal.kind().s3();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
         <RequestId>{id}</RequestId></Error>"
    )
}

fn azure_blob(refusal: &Refusal<'_>) -> String {
    let (code, message) = (refusal.kind().azure_blob(), text::markup(&refusal.text()));
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )
}

fn html(refusal: &Refusal<'_>) -> String {
    let (status, message) = (refusal.status(), text::markup(&refusal.text()));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{status}</title></head>\
         <body><p>{message}</p></body></html>\n"
    )
}
