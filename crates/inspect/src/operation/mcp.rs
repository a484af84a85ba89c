//! Model Context Protocol over HTTP, revisions 2024-11-05 to 2026-07-28.
//!
//! Enters: a head; the method of a message. Leaves: a draft; what the method does. Guarantees: what the head says of the
//! message (`Mcp-Method`, `Mcp-Name`) is compared with the body, for servers may go by either. Does not: look into tools'
//! arguments.

use super::hosts::Family;
use super::request::{Draft, Request, Rpc, Shape, Wanted};
use super::rpc::{Meaning, Of};
use crate::base64;
use policy::Verb;

/// Whose protocol it is.
pub(super) const PROVIDER: &str = "mcp";

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    if let [.., ".well-known", kind] | [.., ".well-known", kind, _] = segments.as_slice() {
        let is_oauth =
            ["oauth-protected-resource", "oauth-authorization-server", "openid-configuration"].contains(kind);
        return Ok((is_oauth && request.is_read()).then(|| Draft::new(PROVIDER, "authorization", Verb::Meta)));
    }
    // Who sends a request chooses its fields: at a known host, and for what has no body to show it, the path must say so.
    let says_so = request.has_header_like("mcp-") && request.service.is_none();
    // Where a host is known for more, a name within a path may be anybody's.
    let is_place = match request.service.map(|service| service.family) {
        None => segments.contains(&"mcp"),
        Some(Family::Hub) => segments.as_slice() == ["mcp"],
        Some(_) => segments.first() == Some(&"mcp") || segments.last() == Some(&"mcp"),
    };
    let is_stream = is_place || segments.last() == Some(&"sse");
    if !says_so && !is_place && !is_stream {
        return Ok(None);
    }
    match request.method() {
        // The stream on which the server sends; until 2024-11-05 on a path of its own.
        "GET"
            if is_stream
                && request.header("accept")?.is_some_and(|accept| accept.contains("text/event-stream")) =>
        {
            Ok(Some(Draft::new(PROVIDER, "listen", Verb::Meta).stream(true)))
        }
        // Every client ends its own session so. Elsewhere the field alone would make a deletion of anything look like it.
        "DELETE" if request.has_header("mcp-session-id") => {
            let is_own = segments.as_slice() == ["mcp"];
            let verb = if is_own { Verb::Meta } else { Verb::Mutate };
            Ok(Some(Draft::new(PROVIDER, "end-session", verb)))
        }
        "POST" if says_so || is_place => Ok(Some(message(request)?)),
        _ => Ok(None),
    }
}

/// A message, whatever its path.
fn message(request: &Request<'_>) -> Result<Draft, &'static str> {
    let name = request.header("mcp-name")?.map(decode_name).transpose()?;
    let method = request.header("mcp-method")?.map(str::to_owned);
    let rpc = Rpc { is_mcp: true, method, name, ..Rpc::default() };
    Ok(Draft::new(PROVIDER, "message", Verb::Unknown).wants(Wanted::Rpc(rpc)))
}

/// A field of the head is ASCII; anything else is in Base64 within `=?base64?` and `?=`.
fn decode_name(value: &str) -> Result<String, &'static str> {
    let encoded = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let Some(encoded) = encoded else { return Ok(value.to_owned()) };
    let decoded = base64::decode(encoded.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or("Mcp-Name is not Base64 of a text")
}

/// What a method that clients call does.
pub(super) fn meaning(method: &str) -> Option<Meaning> {
    let (verb, of) = match method {
        "tools/call" => (Verb::Call, Of::Tool),
        "prompts/get" => (Verb::Call, Of::Name),
        "resources/read" => (Verb::Call, Of::Uri),
        "completion/complete" => (Verb::Call, Of::Nothing),
        "resources/subscribe" | "resources/unsubscribe" => (Verb::Meta, Of::Uri),
        "initialize"
        | "ping"
        | "server/discover"
        | "subscriptions/listen"
        | "tools/list"
        | "prompts/list"
        | "resources/list"
        | "resources/templates/list"
        | "tasks/get"
        | "tasks/list"
        | "tasks/result" => (Verb::Meta, Of::Nothing),
        // It brings what a tool asked for.
        "tasks/update" => (Verb::Call, Of::Nothing),
        "logging/setLevel" | "tasks/cancel" => (Verb::Mutate, Of::Nothing),
        // All that clients send; another may do whatever its server makes of it.
        "notifications/initialized"
        | "notifications/cancelled"
        | "notifications/progress"
        | "notifications/roots/list_changed"
        | "notifications/tasks/status" => (Verb::Meta, Of::Nothing),
        _ => return None,
    };
    Some(Meaning { provider: PROVIDER, verb, of })
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Outcome, check, outcome};

    #[test]
    fn a_message_is_what_its_method_says() {
        let post = "POST https://tools.example/mcp\naccept: application/json, text/event-stream";
        check(&[
            (
                post,
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file","arguments":{"name":"x"}}}"#,
                "mcp tools/call call tools=read_file",
            ),
            (
                post,
                r#"{"params":{"arguments":{},"name":"t"},"method":"tools/call","jsonrpc":"2.0"}"#,
                "mcp tools/call call tools=t",
            ),
            (
                post,
                r#"{"jsonrpc":"2.0","method":"resources/read","params":{"uri":"file:///x"}}"#,
                "mcp resources/read call resource=file:///x",
            ),
            (
                post,
                r#"{"jsonrpc":"2.0","method":"prompts/get","params":{"name":"p"}}"#,
                "mcp prompts/get call resource=p",
            ),
            (
                post,
                r#"{"jsonrpc":"2.0","method":"initialize","params":{"clientInfo":{"name":"x"}}}"#,
                "mcp initialize meta",
            ),
            (
                post,
                r#"{"jsonrpc":"2.0","method":"tasks/update","params":{"taskId":"t","inputResponses":{}}}"#,
                "mcp tasks/update call",
            ),
            (post, r#"{"jsonrpc":"2.0","method":"tools/list"}"#, "mcp tools/list meta"),
            (post, r#"{"jsonrpc":"2.0","method":"ping","id":1}"#, "mcp ping meta"),
            (post, r#"{"jsonrpc":"2.0","method":"server/discover","id":1}"#, "mcp server/discover meta"),
            (
                post,
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                "mcp notifications/initialized meta",
            ),
            (
                post,
                r#"{"jsonrpc":"2.0","method":"logging/setLevel","params":{"level":"debug"}}"#,
                "mcp logging/setLevel mutate",
            ),
            (post, r#"{"jsonrpc":"2.0","id":1,"result":{"content":"x"}}"#, "mcp answer call"),
            ("GET https://tools.example/mcp\naccept: text/event-stream", "", "mcp listen meta stream"),
            ("GET https://tools.example/sse\naccept: text/event-stream", "", "mcp listen meta stream"),
            ("DELETE https://tools.example/mcp\nmcp-session-id: 1", "", "mcp end-session meta"),
            ("DELETE https://tools.example/x\nmcp-session-id: 1", "", "mcp end-session mutate"),
            ("DELETE https://tools.example/repos/o/mcp\nmcp-session-id: 1", "", "mcp end-session mutate"),
            (
                "GET https://tools.example/.well-known/oauth-protected-resource/mcp",
                "",
                "mcp authorization meta",
            ),
            (
                "POST https://api.githubcopilot.com/mcp",
                r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t"}}"#,
                "mcp tools/call call tools=t",
            ),
            (
                "POST https://x.example/messages?session_id=1\ncontent-type: application/json",
                r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t"}}"#,
                "mcp tools/call call tools=t",
            ),
        ]);
    }

    #[test]
    fn what_is_not_understood_or_does_not_agree_is_unknown() {
        let post = "POST https://tools.example/mcp";
        let unknown = "mcp unknown unknown";
        let call = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t"}}"#;
        check(&[
            (post, r#"{"jsonrpc":"2.0","method":"tools/evil"}"#, unknown),
            (post, r#"{"jsonrpc":"2.0","method":"notifications/evil","params":{}}"#, unknown),
            (
                "POST https://huggingface.co/o/mcp/unheard-of\ncontent-type: application/json",
                r#"{"jsonrpc":"2.0","method":"ping"}"#,
                "huggingface unknown unknown",
            ),
            (post, r#"{"jsonrpc":"2.0","method":"tools/call","params":{}}"#, unknown),
            (post, r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":7}}"#, unknown),
            (post, r#"{"jsonrpc":"1.0","method":"ping"}"#, unknown),
            (post, r#"{"method":"ping"}"#, unknown),
            (post, "[]", unknown),
            (post, "7", unknown),
            (&format!("{post}\nmcp-method: ping"), call, unknown),
            (&format!("{post}\nmcp-method: tools/call\nmcp-name: other"), call, unknown),
            (&format!("{post}\nmcp-method: tools/call\nmcp-name: t"), call, "mcp tools/call call tools=t"),
            (&format!("{post}\nmcp-name: =?base64?dA==?="), call, "mcp tools/call call tools=t"),
            (
                &format!("{post}\nmcp-name: x\nmcp-method: ping"),
                r#"{"jsonrpc":"2.0","method":"ping"}"#,
                unknown,
            ),
            (&format!("{post}\nmcp-name: t\nmcp-name: u"), call, "- unknown unknown"),
            (&format!("{post}\nmcp-method: tools/call"), &format!("[{call}]"), unknown),
        ]);
    }

    #[test]
    fn an_answer_that_turns_out_to_be_a_request_contradicts_itself() {
        for body in [
            r#"{"jsonrpc":"2.0","result":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","method":"ping","error":{}}"#,
        ] {
            let found = outcome("POST https://tools.example/mcp", body.as_bytes());
            assert!(matches!(found, Outcome::Contradicted(_)), "{body}: {found:?}");
        }
    }

    #[test]
    fn of_a_batch_the_most_dangerous_counts_with_all_tools() {
        let post = "POST https://tools.example/mcp";
        let call =
            |name: &str| format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"name":"{name}"}}}}"#);
        let ping = r#"{"jsonrpc":"2.0","method":"ping"}"#;
        let read = r#"{"jsonrpc":"2.0","method":"resources/read","params":{"uri":"u"}}"#;
        let many: Vec<_> = (0..65).map(|at| call(&at.to_string())).collect();
        check(&[
            (post, &format!("[{ping},{},{}]", call("a"), call("b")), "mcp tools/call call tools=a,b"),
            (post, &format!("[{},{ping}]", call("a")), "mcp tools/call call tools=a"),
            (post, &format!("[{ping}]"), "mcp ping meta"),
            (post, &format!("[{ping},{read}]"), "mcp resources/read call resource=u"),
            (post, &format!("[{read},{}]", call("a")), "mcp unknown unknown"),
            (post, &format!("[{ping},{{}}]"), "mcp unknown unknown"),
            (post, &format!("[{ping},1]"), "mcp unknown unknown"),
            (post, &format!("[{ping},[{}]]", call("a")), "mcp unknown unknown"),
            (post, &format!("[{}]", many.join(",")), "mcp unknown unknown"),
        ]);
    }
}
