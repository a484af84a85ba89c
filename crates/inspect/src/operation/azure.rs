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
        ["openai", "v1", rest @ ..] | ["api", "projects", _, "openai", "v1", rest @ ..]
            if request.service.is_some() =>
        {
            openai::interface(request, provider, rest)
        }
        ["openai", rest @ ..] if request.has_parameter("api-version") => {
            openai::interface(request, provider, rest)
        }
        ["anthropic", "v1", rest @ ..] if request.service.is_some() => {
            anthropic::interface(request, provider, rest)
        }
        ["models", "chat", "completions"] if request.service.is_some() => {
            openai::interface(request, provider, &["chat", "completions"])
        }
        _ => Ok(None),
    }
}

fn deployed(request: &Request<'_>, provider: &'static str, deployment: &str, rest: &[&str]) -> Shape {
    if request.method() != "POST" {
        return Ok(None);
    }
    let (api, is_json) = match rest {
        ["chat", "completions"] => ("chat", true),
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
                "POST https://gw.example/openai/deployments/prod/chat/completions",
                "{}",
                "azure-openai-compatible chat call model=prod",
            ),
        ]);
    }
}
