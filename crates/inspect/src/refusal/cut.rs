//! The end of a stream that must end early.

use super::body;
use super::shape::Shape;
use super::{Asked, Refusal};
use crate::event_stream;
use policy::Operation;
use serde_json::json;

/// How the events of a stream are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `text/event-stream`.
    Sse,
    /// One JSON object a line: `application/x-ndjson`, `application/jsonl`.
    NdJson,
    /// One JSON array of objects, as Gemini streams without `alt=sse`; nothing of it was sent yet.
    JsonArrayStart,
    /// The same, behind one of its elements.
    JsonArray,
    /// `application/vnd.amazon.eventstream`.
    EventStream,
}

/// The last bytes of a stream that may not go on: an error that its client understands, well-formed to the end. They may be
/// sent only between two events, where [`super::Boundary::is_between`] says so; the connection ends cleanly behind them.
pub fn cut(operation: &Operation, asked: &Asked<'_>, refusal: &Refusal<'_>, framing: Framing) -> Vec<u8> {
    let shape = Shape::of(operation, asked);
    let error = body::json(shape, asked.rpc_id, refusal);
    match framing {
        Framing::Sse => sse(shape, &operation.api, refusal, &error).into_bytes(),
        Framing::NdJson => format!("{error}\n").into_bytes(),
        Framing::JsonArrayStart => format!("[{error}]").into_bytes(),
        Framing::JsonArray => format!(",{error}]").into_bytes(),
        Framing::EventStream => {
            let headers = [
                (":message-type", "exception"),
                (":exception-type", refusal.kind().aws_stream()),
                (":content-type", "application/json"),
            ];
            let payload = json!({ "message": refusal.text() }).to_string();
            event_stream::message(&headers, payload.as_bytes()).unwrap_or_default()
        }
    }
}

fn sse(shape: Shape, api: &str, refusal: &Refusal<'_>, error: &serde_json::Value) -> String {
    match shape {
        // The event that is documented has its fields flat, and clients raise what is within `error`: it has both. The
        // number of this event is not known, and no client looks at that of an error.
        Shape::OpenAi if api == "responses" => {
            let mut event =
                json!({"type": "error", "code": refusal.reason, "message": refusal.text(), "param": null});
            if let (Some(fields), Some(inner)) = (event.as_object_mut(), error.get("error")) {
                fields.insert("sequence_number".to_owned(), json!(0));
                fields.insert("error".to_owned(), inner.clone());
            }
            format!("event: error\ndata: {event}\n\n")
        }
        Shape::OpenAi => format!("data: {error}\n\ndata: [DONE]\n\n"),
        Shape::Google => format!("data: {error}\r\n\r\n"),
        Shape::JsonRpc => format!("event: message\ndata: {error}\n\n"),
        Shape::Anthropic
        | Shape::Aws
        | Shape::S3
        | Shape::AzureBlob
        | Shape::Hub
        | Shape::Oci
        | Shape::Git
        | Shape::Lfs
        | Shape::Cargo
        | Shape::Grpc
        | Shape::Worded
        | Shape::Html => format!("event: error\ndata: {error}\n\n"),
    }
}
