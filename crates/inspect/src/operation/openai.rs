//! The interface of OpenAI, which most others have too.
//!
//! Enters: a head. Leaves: a draft. Guarantees: what stores the caller's data is an upload, a batch among it, though a
//! model works on it later. Does not: read what files hold.

use super::request::{Draft, Request, STREAM, Shape, Wanted};
use policy::Verb;

/// Segments before the interface, the version among them.
const MAX_BASE: usize = 4;

/// Reads a head: the interface is behind a segment `v1` or, at some hosts, at the root.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider(by_shape(request));
    let rest = match segments.as_slice() {
        // DeepInfra has the version before the name of the interface.
        ["v1", "openai", rest @ ..] => rest,
        segments => match segments.iter().position(|segment| *segment == "v1") {
            Some(at) => segments.get(at + 1..).unwrap_or_default(),
            // DeepSeek, Perplexity and GitHub Copilot go without a version.
            None if request.service.is_some() => segments,
            None => return other_base(request, provider),
        },
    };
    let is_near = segments.len() - rest.len() <= MAX_BASE;
    let found = if is_near { interface(request, provider, rest)? } else { None };
    if found.is_some() { Ok(found) } else { other_base(request, provider) }
}

/// What asks a model behind another version, or at the end of a path that gateways have. Only what cannot be anything else.
fn other_base(request: &Request<'_>, provider: &'static str) -> Shape {
    let segments = request.segments();
    if segments.ends_with(&["chat", "completions"]) && segments.len() <= 2 * MAX_BASE {
        return calls(request, provider, &["chat", "completions"]);
    }
    let is_version = |segment: &&str| matches!(*segment, "v2" | "v3" | "v4");
    let at = segments.iter().position(is_version).filter(|at| *at < MAX_BASE);
    let rest = at.and_then(|at| segments.get(at + 1..)).unwrap_or_default();
    match rest {
        ["embeddings" | "responses" | "moderations"] | ["images" | "audio", _] => {
            calls(request, provider, rest)
        }
        _ => Ok(None),
    }
}

fn by_shape(request: &Request<'_>) -> &'static str {
    if request.head.port == super::ollama::PORT { super::ollama::PROVIDER } else { "openai-compatible" }
}

/// Reads what is behind the version.
pub(super) fn interface(request: &Request<'_>, provider: &'static str, rest: &[&str]) -> Shape {
    if let Some(draft) = calls(request, provider, rest)? {
        return Ok(Some(draft));
    }
    let method = request.method();
    let (api, verb, resource) = match (method, rest) {
        ("POST", ["files"] | ["files", "import"]) => ("files", Verb::Upload, None),
        ("GET" | "HEAD", ["files", id, "content"]) => ("files", Verb::Download, Some(*id)),
        ("GET" | "HEAD", ["videos", id, "content"]) => ("videos", Verb::Download, Some(*id)),
        ("GET" | "HEAD", ["containers", id, "files", _, "content"]) => {
            ("containers", Verb::Download, Some(*id))
        }
        ("GET" | "HEAD", ["video", "generations", id, "content", ..]) => {
            ("videos", Verb::Download, Some(*id))
        }
        ("GET" | "HEAD", ["vector_stores", id, "files", _, "content"]) => {
            ("vector-stores", Verb::Download, Some(*id))
        }
        ("GET" | "HEAD", ["skills", id, "content"] | ["skills", id, "versions", _, "content"]) => {
            ("skills", Verb::Download, Some(*id))
        }
        ("GET" | "HEAD", ["agents", "sessions", id, "artifacts", _, "content"]) => {
            ("agents", Verb::Download, Some(*id))
        }
        ("GET" | "HEAD", ["live", "sessions", id, "content"]) => ("realtime", Verb::Download, Some(*id)),
        ("POST", ["agents", "sessions", id, "events"] | ["agents", "environments", id, "files"]) => {
            ("agents", Verb::Upload, Some(*id))
        }
        ("POST", ["live", "sessions", id, "hangup" | "refer" | "reject"]) => {
            ("realtime", Verb::Mutate, Some(*id))
        }
        // Whom it tells of what happens is the caller's choice, as is what is in a vault.
        ("POST", ["agents" | "vaults" | "webhook_endpoints", ..]) if is_its_own(request) => {
            (kept(rest).unwrap_or_default(), Verb::Mutate, None)
        }
        ("POST", ["chatkit", "sessions", id, "cancel"]) => ("chatkit", Verb::Mutate, Some(*id)),
        // A face or a voice that is kept.
        ("POST", ["videos", "characters"]) => ("videos", Verb::Upload, None),
        ("POST", ["audio", "voices" | "voice_consents"]) => ("audio", Verb::Upload, None),
        ("POST", ["uploads"] | ["uploads", _, "parts" | "complete" | "cancel"]) => {
            ("uploads", Verb::Upload, None)
        }
        ("POST", ["batches"]) => ("batches", Verb::Upload, None),
        ("POST", ["batches", id, "cancel"]) => ("batches", Verb::Mutate, Some(*id)),
        ("POST", ["vector_stores"]) => ("vector-stores", Verb::Upload, None),
        ("POST", ["vector_stores", id, "files" | "file_batches", ..]) => {
            ("vector-stores", Verb::Upload, Some(*id))
        }
        ("POST", ["vector_stores", id]) => ("vector-stores", Verb::Mutate, Some(*id)),
        ("POST", ["containers"]) => ("containers", Verb::Mutate, None),
        ("POST", ["containers", id, "files"]) => ("containers", Verb::Upload, Some(*id)),
        ("POST", ["fine_tuning", "jobs"]) => ("fine-tuning", Verb::Upload, None),
        ("POST", ["fine_tuning", ..]) => ("fine-tuning", Verb::Mutate, None),
        ("POST", ["evals" | "conversations" | "skills" | "threads", ..]) => {
            (kept(rest).unwrap_or_default(), Verb::Upload, None)
        }
        ("POST", ["assistants", ..]) => ("assistants", Verb::Mutate, None),
        ("POST", ["responses", id, "cancel"]) => ("responses", Verb::Mutate, Some(*id)),
        ("POST", ["chat", "completions", id]) => ("chat", Verb::Mutate, Some(*id)),
        ("POST", ["realtime", "calls", id, "hangup" | "refer" | "reject"]) => {
            ("realtime", Verb::Mutate, Some(*id))
        }
        ("POST" | "DELETE" | "PUT" | "PATCH", ["organization", ..]) => ("organization", Verb::Admin, None),
        ("GET" | "HEAD", ["projects", _, ..]) if is_its_own(request) => ("organization", Verb::Meta, None),
        ("POST" | "DELETE", ["projects", ..]) if request.service.is_some() => {
            ("organization", Verb::Admin, None)
        }
        ("GET" | "HEAD", ["safety", "alerts" | "cases", id]) if is_its_own(request) => {
            ("safety", Verb::Meta, Some(*id))
        }
        ("POST", ["audio", "voice_consents", id]) => ("audio", Verb::Mutate, Some(*id)),
        ("GET" | "HEAD", ["models"]) => ("models", Verb::Meta, None),
        // Elsewhere hubs of models have their files behind that.
        ("GET" | "HEAD", ["models", _, _, _, ..]) if request.service.is_none() => return Ok(None),
        ("GET" | "HEAD", ["models", id @ ..]) => {
            return Ok(Some(Draft::new(provider, "models", Verb::Meta).model(id.join("/")).odd_path()));
        }
        _ => {
            let Some(api) = kept(rest) else { return Ok(None) };
            let verb = match method {
                "DELETE" => Verb::Mutate,
                "GET" | "HEAD" => Verb::Meta,
                _ => return Ok(None),
            };
            (api, verb, rest.get(1).copied())
        }
    };
    let draft = Draft::new(provider, api, verb);
    Ok(Some(match resource {
        Some(resource) => draft.resource(resource),
        None => draft,
    }))
}

/// Whether it is at OpenAI itself: others have other things under common words.
fn is_its_own(request: &Request<'_>) -> bool {
    request.service.is_some_and(|service| service.provider == "openai")
}

/// What asks a model.
fn calls(request: &Request<'_>, provider: &'static str, rest: &[&str]) -> Shape {
    if request.method() != "POST" {
        return Ok(None);
    }
    let call = |api: &'static str| Draft::new(provider, api, Verb::Call);
    Ok(Some(match rest {
        ["chat", "completions"] | ["chat", "completions", "batch"] => call("chat").model_in_body(),
        ["responses"] | ["responses", "compact" | "input_tokens"] => call("responses").model_in_body(),
        ["completions"] => call("completions").model_in_body(),
        ["embeddings"] => call("embeddings").model_in_body(),
        ["moderations"] => call("moderations").model_in_body(),
        ["images", "generations" | "edits" | "variations"] => call("images").wants(request.form_or_json()?),
        ["audio", "speech" | "transcriptions" | "translations"] => {
            call("audio").wants(request.form_or_json()?)
        }
        ["videos"]
        | ["videos", _, "remix"]
        | ["videos", "edits" | "extensions"]
        | ["video", "generations", "jobs"] => call("videos").wants(request.form_or_json()?),
        ["fine_tuning", "alpha", "graders", _] => call("fine-tuning"),
        ["engines", model, "completions"] => call("completions").model(*model).wants(Wanted::Json(STREAM)),
        ["engines", model, "embeddings"] => call("embeddings").model(*model),
        ["chatkit", "sessions"] => Draft::new(provider, "chatkit", Verb::Authorize).intent(Some(Verb::Call)),
        ["vector_stores", id, "search"] => call("vector-stores").resource(*id),
        ["threads", "runs"] | ["threads", _, "runs"] => call("threads").model_in_body(),
        ["realtime", "calls"] | ["live", "sessions"] | ["live", "sessions", _, "accept" | "fork"] => {
            call("realtime")
        }
        ["decisions"] if is_its_own(request) => call("decisions").model_in_body(),
        ["content_provenance_checks"] if is_its_own(request) => call("moderations"),
        ["realtime", "calls", _, "accept"] => call("realtime").model_in_body(),
        ["realtime", "client_secrets" | "sessions" | "transcription_sessions"]
        | ["realtime", "translations", "client_secrets"] => {
            Draft::new(provider, "realtime", Verb::Authorize).intent(Some(Verb::Call))
        }
        _ => return Ok(None),
    }))
}

/// A conversation over a WebSocket.
pub(super) fn realtime(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let api = match segments.as_slice() {
        ["v1", "realtime"]
        | ["openai", "realtime"]
        | ["openai", "v1", "realtime"]
        | ["voice-live", "realtime"] => "realtime",
        ["v1", "live", "sessions"] | ["v1", "live", "sessions", _, "fork"] => "realtime",
        // Each of its messages names a model.
        ["v1", "responses"] | ["openai", "v1", "responses"] => "responses",
        _ => return Ok(None),
    };
    let draft = Draft::new(request.provider("openai-compatible"), api, Verb::Call).stream(true);
    let model = match (request.parameter("model")?, request.parameter("deployment")?) {
        (Some(_), Some(_)) => return Err("it names a model and a deployment"),
        (model, deployment) => model.or(deployment),
    };
    Ok(Some(match model {
        Some(model) => draft.model(model),
        None => draft,
    }))
}

/// What can be listed, read and deleted, and which part of the interface it is.
const KEPT: &[(&str, &str)] = &[
    ("files", "files"),
    ("batches", "batches"),
    ("vector_stores", "vector-stores"),
    ("containers", "containers"),
    ("fine_tuning", "fine-tuning"),
    ("evals", "evals"),
    ("conversations", "conversations"),
    ("threads", "threads"),
    ("skills", "skills"),
    ("assistants", "assistants"),
    ("responses", "responses"),
    ("videos", "videos"),
    ("organization", "organization"),
    ("uploads", "uploads"),
    ("models", "models"),
    ("engines", "models"),
    ("chatkit", "chatkit"),
    ("agents", "agents"),
    ("live", "realtime"),
    ("vaults", "vaults"),
    ("webhook_endpoints", "webhooks"),
    ("webhook_event_types", "webhooks"),
    ("audio", "audio"),
];

fn kept(rest: &[&str]) -> Option<&'static str> {
    if rest.starts_with(&["chat", "completions"]) {
        return Some("chat");
    }
    KEPT.iter().find(|(first, _)| rest.first() == Some(first)).map(|(_, api)| *api)
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    const BODY: &str = r#"{"model":"m","stream":true}"#;

    #[test]
    fn each_request_of_openai_is_what_it_does() {
        let form = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nx\r\n--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--B--\r\n";
        check(&[
            ("POST https://api.openai.com/v1/chat/completions", BODY, "openai chat call model=m stream"),
            ("POST https://api.openai.com/v1/responses", BODY, "openai responses call model=m stream"),
            (
                "POST https://api.openai.com/v1/responses/compact",
                BODY,
                "openai responses call model=m stream",
            ),
            (
                "POST https://api.openai.com/v1/responses/input_tokens",
                BODY,
                "openai responses call model=m stream",
            ),
            ("GET https://api.openai.com/v1/responses/r1", "", "openai responses meta resource=r1"),
            ("DELETE https://api.openai.com/v1/responses/r1", "", "openai responses mutate resource=r1"),
            (
                "GET https://api.openai.com/v1/responses/r1/input_items",
                "",
                "openai responses meta resource=r1",
            ),
            ("POST https://api.openai.com/v1/responses/r1/cancel", "", "openai responses mutate resource=r1"),
            ("POST https://api.openai.com/v1/completions", BODY, "openai completions call model=m stream"),
            (
                "POST https://api.openai.com/v1/embeddings",
                r#"{"input":"x","model":"e"}"#,
                "openai embeddings call model=e",
            ),
            ("POST https://api.openai.com/v1/moderations", r#"{"input":"x"}"#, "openai moderations call"),
            (
                "POST https://api.openai.com/v1/images/generations",
                r#"{"model":"i"}"#,
                "openai images call model=i",
            ),
            (
                "POST https://api.openai.com/v1/images/edits\ncontent-type: multipart/form-data; boundary=B",
                form,
                "openai images call model=whisper-1",
            ),
            (
                "POST https://api.openai.com/v1/audio/transcriptions\ncontent-type: multipart/form-data; boundary=\"B\"",
                form,
                "openai audio call model=whisper-1",
            ),
            (
                "POST https://api.openai.com/v1/audio/transcriptions\ncontent-type: multipart/form-data; boundary=B",
                BODY,
                "openai unknown unknown",
            ),
            (
                "POST https://api.openai.com/v1/audio/transcriptions\ncontent-type: multipart/form-data",
                form,
                "openai unknown unknown",
            ),
            ("POST https://api.openai.com/v1/audio/speech", BODY, "openai audio call model=m stream"),
            (
                "GET https://api.openai.com/v1/realtime?model=gpt-rt\nupgrade: websocket",
                "",
                "openai realtime call model=gpt-rt stream",
            ),
            (
                "GET https://api.openai.com/v1/realtime?model=a&model=b\nupgrade: websocket",
                "",
                "openai unknown unknown",
            ),
            ("GET https://api.openai.com/v1/other\nupgrade: websocket", "", "openai unknown unknown"),
            ("GET https://api.openai.com/v1/models\nupgrade: h2c", "", "openai unknown unknown"),
            (
                "POST https://api.openai.com/v1/realtime/client_secrets",
                "{}",
                "openai realtime authorize intent=call",
            ),
            ("POST https://api.openai.com/v1/realtime/calls", "", "openai realtime call"),
            ("POST https://api.openai.com/v1/videos", r#"{"model":"s"}"#, "openai videos call model=s"),
            ("GET https://api.openai.com/v1/videos/v1/content", "", "openai videos download resource=v1"),
            ("POST https://api.openai.com/v1/files", "", "openai files upload"),
            ("GET https://api.openai.com/v1/files", "", "openai files meta"),
            ("GET https://api.openai.com/v1/files/f1/content", "", "openai files download resource=f1"),
            ("DELETE https://api.openai.com/v1/files/f1", "", "openai files mutate resource=f1"),
            ("POST https://api.openai.com/v1/uploads", "", "openai uploads upload"),
            ("POST https://api.openai.com/v1/uploads/u/parts", "", "openai uploads upload"),
            ("POST https://api.openai.com/v1/uploads/u/complete", "", "openai uploads upload"),
            ("POST https://api.openai.com/v1/uploads/u/cancel", "", "openai uploads upload"),
            ("POST https://api.openai.com/v1/batches", "", "openai batches upload"),
            ("POST https://api.openai.com/v1/vector_stores", "", "openai vector-stores upload"),
            (
                "POST https://api.openai.com/v1/vector_stores/v/files",
                "",
                "openai vector-stores upload resource=v",
            ),
            (
                "POST https://api.openai.com/v1/vector_stores/v/file_batches",
                "",
                "openai vector-stores upload resource=v",
            ),
            (
                "POST https://api.openai.com/v1/vector_stores/v/search",
                "",
                "openai vector-stores call resource=v",
            ),
            ("POST https://api.openai.com/v1/containers/c/files", "", "openai containers upload resource=c"),
            (
                "GET https://api.openai.com/v1/containers/c/files/f/content",
                "",
                "openai containers download resource=c",
            ),
            ("POST https://api.openai.com/v1/fine_tuning/jobs", "", "openai fine-tuning upload"),
            ("POST https://api.openai.com/v1/fine_tuning/jobs/j/cancel", "", "openai fine-tuning mutate"),
            ("POST https://api.openai.com/v1/evals", "", "openai evals upload"),
            ("POST https://api.openai.com/v1/conversations", "", "openai conversations upload"),
            ("POST https://api.openai.com/v1/threads/t/messages", "", "openai threads upload"),
            (
                "POST https://api.openai.com/v1/threads/t/runs",
                r#"{"model":"m"}"#,
                "openai threads call model=m",
            ),
            ("POST https://api.openai.com/v1/skills", "", "openai skills upload"),
            ("GET https://api.openai.com/v1/models", "", "openai models meta"),
            ("GET https://api.openai.com/v1/models/m", "", "openai models meta model=m"),
            ("POST https://api.openai.com/v1/organization/users", "", "openai organization admin"),
            (
                "GET https://api.openai.com/v1/vector_stores/v/files/f/content",
                "",
                "openai vector-stores download resource=v",
            ),
            ("GET https://api.openai.com/v1/skills/s/content", "", "openai skills download resource=s"),
            (
                "GET https://api.openai.com/v1/skills/s/versions/1/content",
                "",
                "openai skills download resource=s",
            ),
            ("POST https://api.openai.com/v1/videos/characters", "x", "openai videos upload"),
            ("POST https://api.openai.com/v1/videos/edits", "{}", "openai videos call"),
            ("POST https://api.openai.com/v1/audio/voices", "x", "openai audio upload"),
            (
                "POST https://api.openai.com/v1/realtime/calls/c/accept",
                r#"{"model":"m"}"#,
                "openai realtime call model=m",
            ),
            (
                "POST https://api.openai.com/v1/realtime/calls/c/hangup",
                "",
                "openai realtime mutate resource=c",
            ),
            ("POST https://api.openai.com/v1/fine_tuning/alpha/graders/run", "{}", "openai fine-tuning call"),
            ("POST https://api.openai.com/v1/chatkit/sessions", "{}", "openai chatkit authorize intent=call"),
            (
                "POST https://api.openai.com/v1/engines/davinci/completions",
                "{}",
                "openai completions call model=davinci",
            ),
            (
                "POST https://api.openai.com/v1/agents/sessions/s/events",
                "{}",
                "openai agents upload resource=s",
            ),
            (
                "GET https://api.openai.com/v1/agents/sessions/s/artifacts/a/content",
                "",
                "openai agents download resource=s",
            ),
            ("POST https://api.openai.com/v1/agents", "{}", "openai agents mutate"),
            ("POST https://api.openai.com/v1/webhook_endpoints", "{}", "openai webhooks mutate"),
            ("POST https://api.openai.com/v1/live/sessions", "{}", "openai realtime call"),
            ("POST https://llm.example/v1/agents", "{}", "- unknown unknown"),
            ("POST https://api.openai.com/v1/projects/p/groups", "{}", "openai organization admin"),
            (
                "GET https://api.openai.com/v1/responses\nupgrade: websocket",
                "",
                "openai responses call stream",
            ),
        ]);
    }

    #[test]
    fn other_hosts_have_their_own_names_and_unknown_ones_the_shapes() {
        check(&[
            ("POST https://api.groq.com/openai/v1/chat/completions", BODY, "groq chat call model=m stream"),
            ("POST https://api.mistral.ai/v1/chat/completions", BODY, "mistral chat call model=m stream"),
            ("POST https://api.deepseek.com/chat/completions", BODY, "deepseek chat call model=m stream"),
            ("POST https://api.x.ai/v1/chat/completions", BODY, "xai chat call model=m stream"),
            ("POST https://api.together.xyz/v1/chat/completions", BODY, "together chat call model=m stream"),
            (
                "POST https://api.fireworks.ai/inference/v1/chat/completions",
                BODY,
                "fireworks chat call model=m stream",
            ),
            (
                "POST https://api.deepinfra.com/v1/openai/chat/completions",
                BODY,
                "deepinfra chat call model=m stream",
            ),
            ("POST https://api.cerebras.ai/v1/chat/completions", BODY, "cerebras chat call model=m stream"),
            (
                "POST https://openrouter.ai/api/v1/chat/completions",
                BODY,
                "openrouter chat call model=m stream",
            ),
            (
                "POST https://router.huggingface.co/v1/chat/completions",
                BODY,
                "huggingface chat call model=m stream",
            ),
            (
                "POST https://inference.baseten.co/v1/chat/completions",
                BODY,
                "baseten chat call model=m stream",
            ),
            (
                "POST https://api.cohere.ai/compatibility/v1/chat/completions",
                BODY,
                "cohere chat call model=m stream",
            ),
            (
                "POST https://api.githubcopilot.com/chat/completions",
                BODY,
                "github-copilot chat call model=m stream",
            ),
            ("POST https://api.perplexity.ai/chat/completions", BODY, "perplexity chat call model=m stream"),
            (
                "POST https://integrate.api.nvidia.com/v1/chat/completions",
                BODY,
                "nvidia chat call model=m stream",
            ),
            (
                "POST https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
                BODY,
                "dashscope chat call model=m stream",
            ),
            ("POST https://api.moonshot.ai/v1/chat/completions", BODY, "moonshot chat call model=m stream"),
            (
                "POST http://llm.corp.example/v1/chat/completions",
                BODY,
                "openai-compatible chat call model=m stream",
            ),
            ("POST http://llm.corp.example/v1/files", "", "openai-compatible files upload"),
            ("POST http://ollama:11434/v1/chat/completions", BODY, "ollama chat call model=m stream"),
            (
                "POST http://llm.corp.example/chat/completions",
                BODY,
                "openai-compatible chat call model=m stream",
            ),
            (
                "POST https://gw.example/v1/acct/gw/openai/chat/completions",
                BODY,
                "openai-compatible chat call model=m stream",
            ),
            (
                "POST https://llm.example/api/paas/v4/chat/completions",
                BODY,
                "openai-compatible chat call model=m stream",
            ),
            (
                "POST https://llm.example/api/paas/v4/embeddings",
                BODY,
                "openai-compatible embeddings call model=m stream",
            ),
            ("POST https://llm.example/api/v3/files", "x", "- unknown unknown"),
            ("GET https://llm.corp.example/chat/completions", "", "- unknown unknown"),
            (
                "POST https://api.deepseek.com/beta/chat/completions",
                BODY,
                "deepseek chat call model=m stream",
            ),
        ]);
    }

    #[test]
    fn what_pretends_to_be_another_request_is_unknown() {
        check(&[
            (
                "GET https://api.openai.com/v1/files\nx-http-method-override: POST",
                "",
                "openai unknown unknown",
            ),
            ("GET https://api.openai.com/v1/files\nx-method-override: delete", "", "openai unknown unknown"),
            ("GET https://api.openai.com/v1/files\nx-http-method: POST", "", "openai unknown unknown"),
            ("GET https://api.openai.com/v1/files\nx-http-method: GET", "", "openai files meta"),
            ("GET https://api.openai.com/v1/files?_method=POST", "", "openai unknown unknown"),
            (
                "POST https://generativelanguage.googleapis.com/v1beta/models/g:generateContent?%24httpMethod=DELETE",
                "",
                "gemini unknown unknown",
            ),
            (
                "POST https://generativelanguage.googleapis.com/v1beta/models/g:generateContent?%24httpHeaders=x-goog-api-key%3Ax",
                "",
                "gemini unknown unknown",
            ),
            ("GET https://api.openai.com/v1/models\nx-original-url: /v1/files", "", "openai unknown unknown"),
            ("GET https://api.openai.com/v1/models\nx-rewrite-url: /v1/models", "", "openai models meta"),
            ("GET https://api.openai.com/v1/../v1/files", "", "openai unknown unknown"),
            ("GET https://api.openai.com/v1//files", "", "openai unknown unknown"),
            ("POST https://api.openai.com/v1%2Ffiles", "", "openai unknown unknown"),
            ("GET https://api.openai.com/v1/unheard-of", "", "openai unknown unknown"),
            ("TRACE https://api.openai.com/v1/files", "", "openai unknown unknown"),
            (
                "OPTIONS https://api.openai.com/v1/files\norigin: https://x\naccess-control-request-method: POST",
                "",
                "openai preflight meta",
            ),
            ("OPTIONS https://api.openai.com/v1/files", "", "openai unknown unknown"),
        ]);
    }
}
