//! Agent2Agent, 0.3 and 1.0: JSON-RPC, REST and gRPC.
//!
//! Enters: a head; the method of a message. Leaves: a draft; what the method does. Guarantees: setting where
//! notifications are pushed is never a call. Does not: look into messages.

use super::request::{Draft, Request, Rpc, Shape, Wanted};
use super::rpc::{Meaning, Of};
use policy::Verb;

/// Whose protocol it is.
pub(super) const PROVIDER: &str = "a2a";

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    if let [.., ".well-known", "agent-card.json" | "agent.json"] = segments.as_slice() {
        return Ok(request.is_read().then(|| Draft::new(PROVIDER, "agent-card", Verb::Meta)));
    }
    if let ["lf.a2a.v1.A2AService" | "a2a.v1.A2AService", method] = segments.as_slice() {
        let stream = *method == "SendStreamingMessage";
        let draft = meaning(method)
            .map(|meaning| Draft::new(PROVIDER, (*method).to_owned(), meaning.verb).stream(stream));
        return Ok(draft);
    }
    let says_so = request.has_header("a2a-version") || request.content_type()? == "application/a2a+json";
    if let Some(draft) = rest(request.method(), &segments, says_so) {
        return Ok(Some(draft));
    }
    if !says_so || request.method() != "POST" {
        return Ok(None);
    }
    let rpc = Rpc { is_a2a: true, ..Rpc::default() };
    Ok(Some(Draft::new(PROVIDER, "message", Verb::Unknown).wants(Wanted::Rpc(rpc))))
}

/// Of its REST binding. What other services could mean as well counts only where the head says that it is A2A.
fn rest(method: &str, segments: &[&str], says_so: bool) -> Option<Draft> {
    let (api, verb) = match (method, segments) {
        ("POST", [.., "message:send"]) => ("message/send", Verb::Call),
        ("POST", [.., "message:stream"]) => ("message/stream", Verb::Call),
        ("POST", [.., "tasks", task]) if task.ends_with(":cancel") => ("tasks/cancel", Verb::Mutate),
        ("GET" | "POST", [.., "tasks", task]) if task.ends_with(":subscribe") => {
            ("tasks/subscribe", Verb::Meta)
        }
        (
            "GET",
            [.., "tasks", _, "pushNotificationConfigs"] | [.., "tasks", _, "pushNotificationConfigs", _],
        ) => ("tasks/pushNotificationConfig/get", Verb::Meta),
        ("POST", [.., "tasks", _, "pushNotificationConfigs"]) => {
            ("tasks/pushNotificationConfig/set", Verb::Mutate)
        }
        ("DELETE", [.., "tasks", _, "pushNotificationConfigs", _]) => {
            ("tasks/pushNotificationConfig/delete", Verb::Mutate)
        }
        ("GET", [.., "tasks"]) if says_so => ("tasks/list", Verb::Meta),
        ("GET", [.., "tasks", _]) if says_so => ("tasks/get", Verb::Meta),
        ("GET", [.., "extendedAgentCard"]) => ("agent-card", Verb::Meta),
        _ => return None,
    };
    Some(Draft::new(PROVIDER, api, verb).stream(api == "message/stream" || api == "tasks/subscribe"))
}

/// What a method does.
pub(super) fn meaning(method: &str) -> Option<Meaning> {
    let verb = match method {
        "SendMessage" | "SendStreamingMessage" | "message/send" | "message/stream" => Verb::Call,
        "CancelTask" | "tasks/cancel" => Verb::Mutate,
        "CreateTaskPushNotificationConfig"
        | "SetTaskPushNotificationConfig"
        | "DeleteTaskPushNotificationConfig"
        | "tasks/pushNotificationConfig/set"
        | "tasks/pushNotificationConfig/delete" => Verb::Mutate,
        "GetTask"
        | "ListTasks"
        | "SubscribeToTask"
        | "GetTaskPushNotificationConfig"
        | "ListTaskPushNotificationConfig"
        | "ListTaskPushNotificationConfigs"
        | "GetExtendedAgentCard"
        | "tasks/get"
        | "tasks/list"
        | "tasks/resubscribe"
        | "tasks/pushNotificationConfig/get"
        | "tasks/pushNotificationConfig/list"
        | "agent/getAuthenticatedExtendedCard" => Verb::Meta,
        _ => return None,
    };
    Some(Meaning { provider: PROVIDER, verb, of: Of::Nothing })
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn each_binding_is_read() {
        let post = "POST https://agent.example/\ncontent-type: application/json";
        check(&[
            ("GET https://agent.example/.well-known/agent-card.json", "", "a2a agent-card meta"),
            ("GET https://agent.example/.well-known/agent.json", "", "a2a agent-card meta"),
            (
                post,
                r#"{"jsonrpc":"2.0","id":1,"method":"message/send","params":{}}"#,
                "a2a message/send call",
            ),
            (
                post,
                r#"{"jsonrpc":"2.0","id":1,"method":"message/stream","params":{}}"#,
                "a2a message/stream call stream",
            ),
            (post, r#"{"jsonrpc":"2.0","id":1,"method":"SendMessage"}"#, "a2a SendMessage call"),
            (post, r#"{"jsonrpc":"2.0","id":1,"method":"tasks/resubscribe"}"#, "a2a tasks/resubscribe meta"),
            (
                post,
                r#"{"jsonrpc":"2.0","id":1,"method":"CreateTaskPushNotificationConfig"}"#,
                "a2a CreateTaskPushNotificationConfig mutate",
            ),
            (
                post,
                r#"{"jsonrpc":"2.0","id":1,"method":"tasks/pushNotificationConfig/set"}"#,
                "a2a tasks/pushNotificationConfig/set mutate",
            ),
            (
                "POST https://agent.example/x\na2a-version: 1.0",
                r#"{"jsonrpc":"2.0","method":"tasks/get"}"#,
                "a2a tasks/get meta",
            ),
            ("POST https://agent.example/v1/message:send", "", "a2a message/send call"),
            ("POST https://agent.example/tenant/message:stream", "", "a2a message/stream call stream"),
            ("POST https://agent.example/tasks/7:cancel", "", "a2a tasks/cancel mutate"),
            (
                "POST https://agent.example/tasks/7/pushNotificationConfigs",
                "",
                "a2a tasks/pushNotificationConfig/set mutate",
            ),
            ("GET https://agent.example/tasks\na2a-version: 1.0", "", "a2a tasks/list meta"),
            ("GET https://agent.example/tasks", "", "- unknown unknown"),
            ("POST https://agent.example/lf.a2a.v1.A2AService/SendMessage", "", "a2a SendMessage call"),
            ("POST https://agent.example/lf.a2a.v1.A2AService/Evil", "", "- unknown unknown"),
        ]);
    }
}
