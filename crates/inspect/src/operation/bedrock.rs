//! Amazon Bedrock.
//!
//! Enters: a head. Leaves: a draft. Guarantees: the model is the one of the path, which the signature covers. Does not:
//! read bodies, which are as each model wants them.

use super::hosts;
use super::request::{Draft, Field, Request, Says, Shape, Wanted, joined};
use super::{anthropic, openai};
use policy::Verb;

const PROVIDER: &str = "bedrock-compatible";
const MODEL_ID: &[Field] = &[Field { path: &["modelId"], says: Says::Model }];

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider(PROVIDER);
    let is_known = request.service.is_some();
    let draft = |api: &'static str, verb| Draft::new(provider, api, verb);
    Ok(match (request.method(), segments.as_slice()) {
        // ARNs have slashes, which some clients encode and some do not.
        ("POST", ["model", model @ .., action]) if !model.is_empty() && (is_known || signed(request)?) => {
            let (api, stream) = match *action {
                "converse" => ("converse", false),
                "converse-stream" => ("converse", true),
                "invoke" => ("invoke", false),
                "invoke-with-response-stream" | "invoke-with-bidirectional-stream" => ("invoke", true),
                "count-tokens" => ("count-tokens", false),
                _ => return Ok(None),
            };
            if request.target.has_empty {
                return Err("the path has an empty segment");
            }
            Some(draft(api, Verb::Call).model(joined(model)).stream(stream).odd_path())
        }
        ("POST", ["guardrail", id, "version", _, "apply"]) if is_known => {
            Some(draft("guardrail", Verb::Call).resource(*id).odd_path())
        }
        // Its answer goes to a bucket of the caller's choice.
        ("POST", ["async-invoke"]) if is_known => {
            Some(draft("async-invoke", Verb::Upload).wants(Wanted::Json(MODEL_ID)))
        }
        ("GET", ["async-invoke", ..]) if is_known => Some(draft("async-invoke", Verb::Meta).odd_path()),
        ("POST", ["rerank"]) if is_known => Some(draft("rerank", Verb::Call)),
        ("POST", ["retrieveAndGenerate"]) if is_known => Some(draft("retrieve", Verb::Call)),
        ("POST", ["retrieveAndGenerateStream" | "agenticRetrieveStream"]) if is_known => {
            Some(draft("retrieve", Verb::Call).stream(true))
        }
        ("POST", ["knowledgebases", id, "retrieve"]) if is_known => {
            Some(draft("retrieve", Verb::Call).resource(*id))
        }
        ("POST", ["agents", id, "agentAliases", _, "sessions", _, "text"]) if is_known => {
            Some(draft("agents", Verb::Call).resource(*id))
        }
        _ if is_known && hosts::is_of_aws(request.head.host, &["bedrock", "bedrock-agent"]) => {
            control(request, &draft)
        }
        (method, rest) if is_known => runtime(method, rest).map(|(api, verb)| draft(api, verb).odd_path()),
        _ => None,
    })
}

/// Of agents, flows and sessions under way.
fn runtime(method: &str, rest: &[&str]) -> Option<(&'static str, Verb)> {
    Some(match (method, rest) {
        ("POST", ["agents", _] | ["agents", _, "sessions", _]) => ("agents", Verb::Call),
        ("POST", ["flows", _, "aliases", _] | ["flows", _, "aliases", _, "executions"]) => {
            ("agents", Verb::Call)
        }
        ("POST", ["flows", _, "aliases", _, "executions", _, "stop"]) => ("agents", Verb::Mutate),
        ("POST", ["optimize-prompt" | "generateQuery"]) => ("generate", Verb::Call),
        ("POST", ["guardrail-checks", "invoke"]) => ("guardrail", Verb::Call),
        // What was said is kept there.
        ("PUT" | "PATCH", ["sessions", ..]) => ("sessions", Verb::Upload),
        // Reads, though they are POSTs.
        ("POST", ["sessions", ..]) => ("sessions", Verb::Meta),
        ("POST", ["knowledgebases", _, "datasources", _, "documents", _, "content"]) => {
            ("retrieve", Verb::Download)
        }
        (
            "POST",
            [
                "knowledgebases",
                _,
                "datasources",
                _,
                "get-ingested-document-acl" | "check-ingested-document-acl",
            ],
        ) => ("retrieve", Verb::Meta),
        ("GET", ["sessions" | "agents" | "flows" | "tags", ..]) => ("sessions", Verb::Meta),
        ("DELETE" | "POST", ["tags", _]) | ("DELETE", ["sessions" | "agents", ..]) => {
            ("sessions", Verb::Mutate)
        }
        _ => return None,
    })
}

/// Reads a head of the interfaces of OpenAI and Anthropic, which it has too.
pub(super) fn compatible(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider(PROVIDER);
    match segments.as_slice() {
        ["openai", "v1", rest @ ..] | ["v1", rest @ ..] => openai::interface(request, provider, rest),
        ["anthropic", "v1", rest @ ..] => anthropic::interface(request, provider, rest),
        _ => Ok(None),
    }
}

/// Whether the signature is for this service.
fn signed(request: &Request<'_>) -> Result<bool, &'static str> {
    Ok(request.header("authorization")?.is_some_and(|value| value.contains("/bedrock/")))
}

/// Of the control plane.
fn control(request: &Request<'_>, draft: &dyn Fn(&'static str, Verb) -> Draft) -> Option<Draft> {
    let verb = match (request.method(), request.segments().as_slice()) {
        ("GET" | "HEAD", _) => Verb::Meta,
        // Lists, though they are POSTs.
        ("POST", ["agents" | "knowledgebases" | "listTagsForResource"]) => Verb::Meta,
        ("POST", ["agents", _, "agentaliases" | "agentversions"] | ["knowledgebases", _, "datasources"]) => {
            Verb::Meta
        }
        (
            "POST",
            ["agents", _, "agentversions", _, "actiongroups" | "agentcollaborators" | "knowledgebases"],
        ) => Verb::Meta,
        ("POST", ["knowledgebases", _, "datasources", _, "ingestionjobs" | "documents"]) => Verb::Meta,
        ("POST", ["knowledgebases", _, "datasources", _, "documents", "getDocuments"]) => Verb::Meta,
        ("PUT", ["knowledgebases", _, "datasources", _, "documents" | "ingestionjobs"]) => Verb::Upload,
        // It works on the caller's data, and keeps what comes of it, there or in a bucket of the caller's choice.
        (
            "POST",
            ["model-invocation-job" | "model-customization-jobs" | "model-import-jobs" | "evaluation-jobs"],
        ) => Verb::Upload,
        _ => Verb::Mutate,
    };
    Some(draft("control", verb).odd_path())
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn the_model_of_the_path_is_asked() {
        let host = "https://bedrock-runtime.eu-west-1.amazonaws.com";
        check(&[
            (
                &format!("POST {host}/model/anthropic.claude-v3%3A0/converse"),
                "",
                "bedrock converse call model=anthropic.claude-v3:0",
            ),
            (
                &format!("POST {host}/model/us.anthropic.claude/converse-stream"),
                "",
                "bedrock converse call model=us.anthropic.claude stream",
            ),
            (
                &format!("POST {host}/model/arn%3Aaws%3Abedrock%3Aeu%3A1%3Ainference-profile%2Fx/invoke"),
                "",
                "bedrock invoke call model=arn:aws:bedrock:eu:1:inference-profile/x",
            ),
            (
                &format!("POST {host}/model/m/invoke-with-response-stream"),
                "",
                "bedrock invoke call model=m stream",
            ),
            (&format!("POST {host}/model/m/count-tokens"), "", "bedrock count-tokens call model=m"),
            (&format!("POST {host}/model/m/other"), "", "bedrock unknown unknown"),
            (&format!("POST {host}/model/a%2F..%2Fm/invoke"), "", "bedrock unknown unknown"),
            (&format!("POST {host}/guardrail/g/version/1/apply"), "", "bedrock guardrail call resource=g"),
            (
                &format!("POST {host}/async-invoke"),
                r#"{"modelId":"m"}"#,
                "bedrock async-invoke upload model=m",
            ),
            ("POST https://bedrock-agent-runtime.eu-west-1.amazonaws.com/rerank", "", "bedrock rerank call"),
            (
                "POST https://bedrock-agent-runtime.eu-west-1.amazonaws.com/retrieveAndGenerate",
                "",
                "bedrock retrieve call",
            ),
            ("GET https://bedrock.eu-west-1.amazonaws.com/foundation-models", "", "bedrock control meta"),
            (
                "POST https://bedrock.eu-west-1.amazonaws.com/model-customization-jobs",
                "",
                "bedrock control upload",
            ),
            (
                &format!("POST {host}/openai/v1/chat/completions"),
                r#"{"model":"openai.gpt-oss-20b"}"#,
                "bedrock chat call model=openai.gpt-oss-20b",
            ),
            (
                "POST https://bedrock-mantle.us-east-1.api.aws/v1/responses",
                r#"{"model":"m","stream":true}"#,
                "bedrock responses call model=m stream",
            ),
            (
                "POST https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages",
                r#"{"model":"c"}"#,
                "bedrock messages call model=c",
            ),
            (
                &format!("POST {host}/model/m/invoke-with-bidirectional-stream"),
                "",
                "bedrock invoke call model=m stream",
            ),
            (
                "POST https://bedrock-agent-runtime.eu-west-1.amazonaws.com/flows/f/aliases/a",
                "{}",
                "bedrock agents call",
            ),
            (
                "PUT https://bedrock-agent-runtime.eu-west-1.amazonaws.com/sessions/s/invocationSteps/",
                "{}",
                "bedrock sessions upload",
            ),
            ("POST https://bedrock-agent.eu-west-1.amazonaws.com/agents/", "{}", "bedrock control meta"),
            (
                "PUT https://bedrock-agent.eu-west-1.amazonaws.com/knowledgebases/k/datasources/d/documents",
                "{}",
                "bedrock control upload",
            ),
            (
                "POST https://bedrock-agent-runtime.eu-west-1.amazonaws.com/sessions/s/invocationSteps/",
                "{}",
                "bedrock sessions meta",
            ),
            (
                "POST https://bedrock-agent.eu-west-1.amazonaws.com/knowledgebases/k/datasources/d/documents/deleteDocuments",
                "{}",
                "bedrock control mutate",
            ),
            ("DELETE https://bedrock-agent.eu-west-1.amazonaws.com/agents/a/", "", "bedrock control mutate"),
            (
                "POST https://vpce.example/model/m/invoke\nauthorization: AWS4-HMAC-SHA256 Credential=A/d/eu/bedrock/aws4_request",
                "",
                "bedrock-compatible invoke call model=m",
            ),
        ]);
    }
}
