//! Agent2Agent, 0.3 and 1.0: JSON-RPC, REST and gRPC.
//!
//! Enters: a head; the method of a message. Leaves: a draft; what the method does. Guarantees: setting where
//! notifications are pushed is never a call; `A2A-Version` is compared with the body, for servers may go by either. Does not: look
//! into messages.

use super::request::{Draft, Request, Rpc, Shape, Wanted};
use super::rpc::{Meaning, Of};
use policy::Verb;

/// Whose protocol it is.
pub(super) const PROVIDER: &str = "a2a";

/// The two ways in which methods are called. <https://a2a-protocol.org/latest/specification/>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// 0.3: `message/send`.
    Early,
    /// 1.0: `SendMessage`.
    One,
}

impl Version {
    /// `A2A-Version`. What says nothing means 0.3; of one that is not known nobody can say what a method does.
    fn read(field: &str) -> Result<Self, &'static str> {
        match field.split('.').next() {
            Some("" | "0") => Ok(Self::Early),
            Some("1") => Ok(Self::One),
            Some(_) | None => Err("nothing is known of this A2A-Version"),
        }
    }
}

/// Of which version a method is; `None`: it is none of A2A.
pub(super) fn version_of(method: &str) -> Option<Version> {
    meaning(method)?;
    Some(if method.contains('/') { Version::Early } else { Version::One })
}

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    if let [.., ".well-known", "agent-card.json" | "agent.json"] = segments.as_slice() {
        return Ok(request.is_read().then(|| Draft::new(PROVIDER, "agent-card", Verb::Meta)));
    }
    if let ["lf.a2a.v1.A2AService" | "a2a.v1.A2AService", method] = segments.as_slice() {
        let stream = is_stream(method);
        let draft = meaning(method)
            .map(|meaning| Draft::new(PROVIDER, (*method).to_owned(), meaning.verb).stream(stream));
        return Ok(draft);
    }
    let version = request.header("a2a-version")?.map(Version::read).transpose()?;
    let says_so = version.is_some() || request.content_type()? == "application/a2a+json";
    if let Some(draft) = rest(request.method(), &segments, says_so) {
        return Ok(Some(draft));
    }
    if !says_so || request.method() != "POST" {
        return Ok(None);
    }
    let rpc = Rpc { is_a2a: true, a2a_version: version, ..Rpc::default() };
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
        ("GET", ["v1", "card"]) if says_so => ("agent-card", Verb::Meta),
        _ => return None,
    };
    Some(Draft::new(PROVIDER, api, verb).stream(api == "message/stream" || api == "tasks/subscribe"))
}

/// Whether the answer to a method comes piece by piece.
pub(super) fn is_stream(method: &str) -> bool {
    matches!(
        method,
        "SendStreamingMessage"
            | "SubscribeToTask"
            | "TaskSubscription"
            | "message/stream"
            | "tasks/resubscribe"
            | "tasks/sendSubscribe"
    )
}

/// What a method does.
pub(super) fn meaning(method: &str) -> Option<Meaning> {
    let verb = match method {
        "SendMessage" | "SendStreamingMessage" | "message/send" | "message/stream" => Verb::Call,
        // Before 0.2.
        "tasks/send" | "tasks/sendSubscribe" => Verb::Call,
        "tasks/pushNotification/set" => Verb::Mutate,
        "tasks/pushNotification/get" => Verb::Meta,
        "CancelTask" | "tasks/cancel" => Verb::Mutate,
        "CreateTaskPushNotificationConfig"
        | "SetTaskPushNotificationConfig"
        | "DeleteTaskPushNotificationConfig"
        | "tasks/pushNotificationConfig/set"
        | "tasks/pushNotificationConfig/delete" => Verb::Mutate,
        "GetTask"
        | "ListTasks"
        | "SubscribeToTask"
        | "TaskSubscription"
        | "GetAgentCard"
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
            (
                post,
                r#"{"jsonrpc":"2.0","id":1,"method":"tasks/resubscribe"}"#,
                "a2a tasks/resubscribe meta stream",
            ),
            (
                post,
                r#"{"jsonrpc":"2.0","id":1,"method":"tasks/sendSubscribe"}"#,
                "a2a tasks/sendSubscribe call stream",
            ),
            (
                post,
                r#"{"jsonrpc":"2.0","id":1,"method":"tasks/pushNotification/set"}"#,
                "a2a tasks/pushNotification/set mutate",
            ),
            (
                "POST https://agent.example/a2a.v1.A2AService/TaskSubscription",
                "",
                "a2a TaskSubscription meta stream",
            ),
            ("GET https://agent.example/v1/card\na2a-version: 0.3", "", "a2a agent-card meta"),
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
                "POST https://agent.example/x\na2a-version: 0.3",
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

    #[test]
    fn what_the_head_says_and_what_the_body_says_must_agree() {
        let post = |version: &str| format!("POST https://agent.example/\na2a-version: {version}");
        let (early, one) =
            (r#"{"jsonrpc":"2.0","method":"message/send"}"#, r#"{"jsonrpc":"2.0","method":"SendMessage"}"#);
        let unknown = "a2a unknown unknown";
        check(&[
            (&post("0.3"), early, "a2a message/send call"),
            (&post(""), early, "a2a message/send call"),
            (&post("1.0"), one, "a2a SendMessage call"),
            (&post("1.1"), one, "a2a SendMessage call"),
            (&post("1.0"), early, unknown),
            (&post("0.3"), one, unknown),
            (&post("1.0"), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "a2a answer call"),
            (&post("1.0"), r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t"}}"#, unknown),
            (&post("2.0"), one, "- unknown unknown"),
            (&post("1.0\na2a-version: 0.3"), one, "- unknown unknown"),
        ]);
    }
}
