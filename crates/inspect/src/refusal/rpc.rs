//! To which requests of a JSON-RPC body a refusal is the answer (<https://www.jsonrpc.org/specification>).
//!
//! Enters: a whole body. Leaves: the ids of its requests. Guarantees: at most [`MAX_BATCH`] of at most [`MAX_RPC_ID`] bytes;
//! what is no id is null. Does not: believe that the body means what it says.

use serde_json::Value;

/// Most requests of a batch that are answered singly.
pub const MAX_BATCH: usize = 100;

/// Most bytes of an id that is given back, as JSON.
pub(super) const MAX_RPC_ID: usize = 256;

/// The ids of the requests of a body, as JSON: numbers, quoted texts, or `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpcIds {
    /// Of each request, in order. What needs no answer has none.
    pub ids: Vec<String>,
    /// Whether they came as a batch, and are answered as one.
    pub is_batch: bool,
}

/// Reads a body without its content coding. One that cannot be read, or has more than [`MAX_BATCH`] requests, has none.
pub fn rpc_ids(body: &[u8]) -> RpcIds {
    match serde_json::from_slice(body) {
        Ok(Value::Array(messages)) => {
            let ids: Vec<_> = messages.iter().filter_map(answered).collect();
            let is_batch = !ids.is_empty() && ids.len() <= MAX_BATCH;
            if is_batch { RpcIds { ids, is_batch } } else { RpcIds::default() }
        }
        Ok(message) => RpcIds { ids: vec![id(message.get("id"))], is_batch: false },
        Err(_) => RpcIds::default(),
    }
}

/// The id to answer a message of a batch with; `None`: it needs no answer.
fn answered(message: &Value) -> Option<String> {
    let is_request = message.get("method").is_some();
    let is_answer = message.get("result").is_some() || message.get("error").is_some();
    let is_notification = is_request && message.get("id").is_none();
    (!is_notification && (is_request || !is_answer)).then(|| id(message.get("id")))
}

fn id(value: Option<&Value>) -> String {
    // A number that does not fit would be another one.
    let is_id = |id: &&Value| id.is_string() || id.is_i64() || id.is_u64();
    let text = value.filter(is_id).map(Value::to_string).filter(|id| id.len() <= MAX_RPC_ID);
    text.unwrap_or_else(|| "null".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_requests_and_nothing_else() {
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(MAX_RPC_ID));
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let many = format!("[{}]", vec![r#"{"method":"a","id":1}"#; MAX_BATCH + 1].join(","));
        for (body, ids, is_batch) in [
            (r#"{"jsonrpc":"2.0","id":7,"method":"a"}"#, &["7"][..], false),
            (r#"{"method":"a","params":{"id":1},"id":"b\"c"}"#, &[r#""b\"c""#], false),
            (r#"{"id":18446744073709551615}"#, &["18446744073709551615"], false),
            (r#"{"id":-1}"#, &["-1"], false),
            (r#"{"id":184467440737095516150}"#, &["null"], false),
            (r#"{"id":1.5}"#, &["null"], false),
            (r#"{"id":{"a":1}}"#, &["null"], false),
            (r#"{"method":"a"}"#, &["null"], false),
            (&long, &["null"], false),
            (
                r#"[{"method":"a","id":1},{"method":"b"},{"result":1,"id":3},{"method":"c","id":"x"},7]"#,
                &["1", "\"x\"", "null"],
                true,
            ),
            (r#"[{"method":"b"}]"#, &[], false),
            ("[]", &[], false),
            (&many, &[], false),
            (&deep, &[], false),
            (r#"{"id":1"#, &[], false),
            ("", &[], false),
        ] {
            let found = rpc_ids(body.as_bytes());
            assert_eq!(
                (found.ids.as_slice(), found.is_batch),
                (&*ids.iter().map(ToString::to_string).collect::<Vec<_>>(), is_batch),
                "{body}"
            );
        }
    }
}
