//! Azure's OpenAI service: deployments in the path, and the interface of OpenAI behind other prefixes.
//!
//! Enters: a head. Leaves: a draft. Guarantees: where the path names a deployment, that is the model; the service ignores
//! what the body says. Does not: know which model a deployment is.

use super::request::{Draft, Request, STREAM, Shape, Wanted};
use super::{anthropic, openai};
use policy::Verb;

const PROVIDER: &str = "azure-openai-compatible";

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let provider = request.provider(PROVIDER);
    let segments = request.segments();
    match segments.as_slice() {
        ["openai", "deployments", deployment, rest @ ..] => deployed(request, provider, deployment, rest),
        // Only where the host is known: others have the same path.
        ["openai", "v1", rest @ ..]
        | ["api", "projects", _, "openai", "v1", rest @ ..]
        | ["api", "projects", _, "openai", rest @ ..]
            if request.service.is_some() =>
        {
            openai::interface(request, provider, rest)
        }
        ["api", "projects", _, rest @ ..] if request.service.is_some() => {
            let mut rest = rest.to_vec();
            rest.first_mut()
                .into_iter()
                .filter(|first| **first == "agents")
                .for_each(|first| *first = "assistants");
            openai::interface(request, provider, &rest)
        }
        ["openai", "deployments"] if request.is_read() => {
            Ok(Some(Draft::new(provider, "models", Verb::Meta)))
        }
        ["openai", "realtimeapi", "sessions"] if request.method() == "POST" => {
            Ok(Some(Draft::new(provider, "realtime", Verb::Authorize).intent(Some(Verb::Call))))
        }
        ["openai", rest @ ..] if request.has_parameter("api-version") => {
            openai::interface(request, provider, rest)
        }
        ["anthropic", "v1", rest @ ..] if request.service.is_some() => {
            anthropic::interface(request, provider, rest)
        }
        ["models", "info"] if request.service.is_some() && request.is_read() => {
            Ok(Some(Draft::new(provider, "models", Verb::Meta)))
        }
        ["models", "images", "embeddings"] if request.service.is_some() => {
            openai::interface(request, provider, &["embeddings"])
        }
        ["models", rest @ ..] if request.service.is_some() => openai::interface(request, provider, rest),
        // Of the service's other models, which are asked about what the body has.
        ["contentsafety" | "language" | "speechtotext" | "computervision" | "vision" | "text", ..]
            if request.service.is_some() && request.method() == "POST" =>
        {
            let verb = if keeps(&segments) { Verb::Upload } else { Verb::Call };
            Ok(Some(Draft::new(provider, "cognitive", verb)))
        }
        _ => Ok(None),
    }
}

/// Whether what is sent to one of the service's other models is kept there.
fn keeps(segments: &[&str]) -> bool {
    const KEPT: [&str; 7] =
        ["authoring", "blocklists", "datasets", "endpoints", "models", "projects", "webhooks"];
    let is_transcript = segments.last().is_some_and(|last| last.ends_with(":transcribe"));
    segments.first() == Some(&"speechtotext") && !is_transcript
        || segments.iter().any(|segment| KEPT.contains(segment))
}

fn deployed(request: &Request<'_>, provider: &'static str, deployment: &str, rest: &[&str]) -> Shape {
    if rest.is_empty() {
        return Ok(match request.method() {
            "GET" | "HEAD" => Some(Draft::new(provider, "models", Verb::Meta).model(deployment)),
            "PUT" | "PATCH" | "DELETE" => {
                Some(Draft::new(provider, "models", Verb::Mutate).model(deployment))
            }
            _ => None,
        });
    }
    if request.method() != "POST" {
        return Ok(None);
    }
    let (api, is_json) = match rest {
        ["chat", "completions"] | ["extensions", "chat", "completions"] => ("chat", true),
        ["completions"] => ("completions", true),
        ["embeddings"] => ("embeddings", true),
        ["images", "generations"] => ("images", false),
        ["images", "edits" | "variations"] => ("images", false),
        ["audio", "speech" | "transcriptions" | "translations"] => ("audio", false),
        _ => return Ok(None),
    };
    let draft = Draft::new(provider, api, Verb::Call).model(deployment);
    Ok(Some(if is_json { draft.wants(Wanted::Json(STREAM)) } else { draft }))
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn the_deployment_of_the_path_is_the_model() {
        let host = "https://corp.openai.azure.com";
        check(&[
            (
                &format!("POST {host}/openai/deployments/prod/chat/completions?api-version=1"),
                r#"{"model":"x","stream":true}"#,
                "azure-openai chat call model=prod stream",
            ),
            (
                &format!("POST {host}/openai/deployments/prod/completions?api-version=1"),
                "{}",
                "azure-openai completions call model=prod",
            ),
            (
                &format!("POST {host}/openai/deployments/prod/embeddings"),
                "{}",
                "azure-openai embeddings call model=prod",
            ),
            (
                &format!("POST {host}/openai/deployments/prod/images/generations"),
                "{}",
                "azure-openai images call model=prod",
            ),
            (
                &format!("POST {host}/openai/deployments/prod/audio/transcriptions"),
                "x",
                "azure-openai audio call model=prod",
            ),
            (
                &format!("POST {host}/openai/deployments/a%2Fb/chat/completions"),
                "{}",
                "azure-openai unknown unknown",
            ),
            (
                &format!("POST {host}/openai/v1/chat/completions"),
                r#"{"model":"m"}"#,
                "azure-openai chat call model=m",
            ),
            (
                &format!("POST {host}/openai/responses?api-version=1"),
                r#"{"model":"m"}"#,
                "azure-openai responses call model=m",
            ),
            (&format!("GET {host}/openai/deployments/prod"), "", "azure-openai models meta model=prod"),
            (&format!("DELETE {host}/openai/deployments/prod"), "", "azure-openai models mutate model=prod"),
            (&format!("POST {host}/openai/deployments/prod"), "{}", "azure-openai unknown unknown"),
            (&format!("POST {host}/contentsafety/text:analyze"), "{}", "azure-openai cognitive call"),
            (
                &format!("POST {host}/contentsafety/text/blocklists/b:addOrUpdateBlocklistItems"),
                "{}",
                "azure-openai cognitive upload",
            ),
            (&format!("POST {host}/language/:analyze-text"), "{}", "azure-openai cognitive call"),
            (
                &format!("POST {host}/speechtotext/transcriptions:transcribe"),
                "x",
                "azure-openai cognitive call",
            ),
            (&format!("POST {host}/speechtotext/v3.2/transcriptions"), "{}", "azure-openai cognitive upload"),
            (&format!("POST {host}/openai/files?api-version=1"), "", "azure-openai files upload"),
            (&format!("POST {host}/openai/v1/files"), "", "azure-openai files upload"),
            (&format!("POST {host}/openai/batches?api-version=1"), "", "azure-openai batches upload"),
            (
                "GET https://corp.openai.azure.com/openai/realtime?deployment=d\nupgrade: websocket",
                "",
                "azure-openai realtime call model=d stream",
            ),
            (
                "POST https://r.services.ai.azure.com/anthropic/v1/messages",
                r#"{"model":"c"}"#,
                "azure-openai messages call model=c",
            ),
            (
                "POST https://r.services.ai.azure.com/api/projects/p/openai/v1/responses",
                r#"{"model":"m"}"#,
                "azure-openai responses call model=m",
            ),
            (
                &format!("POST {host}/openai/deployments/d/extensions/chat/completions?api-version=1"),
                "{}",
                "azure-openai chat call model=d",
            ),
            (&format!("POST {host}/openai/files/import?api-version=1"), "{}", "azure-openai files upload"),
            (&format!("GET {host}/openai/deployments?api-version=1"), "", "azure-openai models meta"),
            (
                &format!("POST {host}/openai/realtimeapi/sessions?api-version=1"),
                "{}",
                "azure-openai realtime authorize intent=call",
            ),
            (
                "POST https://r.services.ai.azure.com/models/embeddings?api-version=1",
                r#"{"model":"m"}"#,
                "azure-openai embeddings call model=m",
            ),
            ("GET https://r.services.ai.azure.com/models/info?api-version=1", "", "azure-openai models meta"),
            (
                "POST https://r.services.ai.azure.com/api/projects/p/threads/t/messages?api-version=1",
                "{}",
                "azure-openai threads upload",
            ),
            (
                "POST https://r.services.ai.azure.com/api/projects/p/agents?api-version=1",
                "{}",
                "azure-openai assistants mutate",
            ),
            (
                "POST https://r.cognitiveservices.azure.com/contentsafety/text:analyze?api-version=1",
                "{}",
                "azure-openai cognitive call",
            ),
            (
                "POST https://gw.example/openai/deployments/prod/chat/completions",
                "{}",
                "azure-openai-compatible chat call model=prod",
            ),
        ]);
    }
}
