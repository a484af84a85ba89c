//! The interface of Anthropic.
//!
//! Enters: a head. Leaves: a draft. Guarantees: batches and files are uploads. Does not: read messages.

use super::request::{Draft, Request, Shape};
use policy::Verb;

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let Some(at) = segments.iter().position(|segment| *segment == "v1").filter(|at| *at <= 3) else {
        return Ok(None);
    };
    let rest = segments.get(at + 1..).unwrap_or_default();
    let is_its_own = request.service.is_some_and(|service| service.provider == "anthropic");
    // What OpenAI's interface has too is left to whoever reads that.
    if !is_its_own && !matches!(rest.first(), Some(&"messages")) && !request.has_header("anthropic-version") {
        return Ok(None);
    }
    interface(request, request.provider("anthropic-compatible"), rest)
}

/// What agents are, run in, remember and may use.
const AGENTS: &[&str] = &[
    "agents",
    "deployment_runs",
    "deployments",
    "dreams",
    "environments",
    "memory_stores",
    "sessions",
    "tunnels",
    "user_profiles",
    "vaults",
];

/// Reads what is behind the version.
pub(super) fn interface(request: &Request<'_>, provider: &'static str, rest: &[&str]) -> Shape {
    let draft = |api: &'static str, verb| Draft::new(provider, api, verb);
    Ok(Some(match (request.method(), rest) {
        ("POST", ["messages"]) => draft("messages", Verb::Call).model_in_body(),
        ("POST", ["messages", "count_tokens"]) => draft("count-tokens", Verb::Call).model_in_body(),
        ("POST", ["complete"]) => draft("completions", Verb::Call).model_in_body(),
        ("POST", ["experimental", "generate_prompt" | "improve_prompt" | "templatize_prompt"]) => {
            draft("generate", Verb::Call)
        }
        ("POST", ["messages", "batches"]) => draft("batches", Verb::Upload),
        ("POST", ["messages", "batches", id, "cancel"]) => draft("batches", Verb::Mutate).resource(*id),
        ("DELETE", ["messages", "batches", id]) => draft("batches", Verb::Mutate).resource(*id),
        ("GET", ["messages", "batches", id, "results"]) => draft("batches", Verb::Download).resource(*id),
        ("GET", ["messages", "batches"]) => draft("batches", Verb::Meta),
        ("GET", ["messages", "batches", id]) => draft("batches", Verb::Meta).resource(*id),
        ("POST", ["files"]) => draft("files", Verb::Upload),
        ("GET", ["files", id, "content"]) => draft("files", Verb::Download).resource(*id),
        ("GET", ["files"]) => draft("files", Verb::Meta),
        ("GET", ["files", id]) => draft("files", Verb::Meta).resource(*id),
        ("DELETE", ["files", id]) => draft("files", Verb::Mutate).resource(*id),
        ("POST", ["skills", ..]) => draft("skills", Verb::Upload),
        ("GET", ["skills", id, "versions", _, "content"]) => draft("skills", Verb::Download).resource(*id),
        ("GET", ["skills", ..]) => draft("skills", Verb::Meta),
        ("DELETE", ["skills", ..]) => draft("skills", Verb::Mutate),
        // What is said in a session is kept there.
        ("POST", ["sessions", id, "events" | "resources", ..]) => {
            draft("sessions", Verb::Upload).resource(*id)
        }
        ("POST", ["memory_stores", id, "memories", ..]) => draft("memory", Verb::Upload).resource(*id),
        ("POST", ["tunnels", _, "reveal_token" | "rotate_token"]) => draft("token", Verb::Authorize),
        ("POST" | "DELETE", [kind, ..]) if AGENTS.contains(kind) => draft("sessions", Verb::Mutate),
        ("GET", [kind, ..]) if AGENTS.contains(kind) => draft("sessions", Verb::Meta),
        ("POST", ["oauth", "token"]) => draft("token", Verb::Authorize),
        ("GET", ["models"]) => draft("models", Verb::Meta),
        ("GET", ["models", id]) => draft("models", Verb::Meta).model(*id),
        ("GET", ["organizations", ..]) => draft("organization", Verb::Meta),
        ("GET", ["compliance", ..]) => draft("compliance", Verb::Meta),
        // What is answered there is kept.
        ("POST", ["compliance", "review", "cases", id, "respond"]) => {
            draft("compliance", Verb::Upload).resource(*id)
        }
        ("POST" | "DELETE", ["organizations", ..]) => draft("organization", Verb::Admin),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn each_request_is_what_it_does() {
        let host = "https://api.anthropic.com/v1";
        let body = r#"{"max_tokens":1,"model":"c","stream":true}"#;
        check(&[
            (&format!("POST {host}/messages"), body, "anthropic messages call model=c stream"),
            (
                &format!("POST {host}/messages/count_tokens"),
                body,
                "anthropic count-tokens call model=c stream",
            ),
            (&format!("POST {host}/complete"), body, "anthropic completions call model=c stream"),
            (&format!("POST {host}/messages/batches"), "", "anthropic batches upload"),
            (&format!("GET {host}/messages/batches/b/results"), "", "anthropic batches download resource=b"),
            (&format!("POST {host}/files"), "", "anthropic files upload"),
            (&format!("GET {host}/files/f/content"), "", "anthropic files download resource=f"),
            (&format!("GET {host}/models"), "", "anthropic models meta"),
            (&format!("POST {host}/chat/completions"), body, "anthropic chat call model=c stream"),
            (&format!("POST {host}/agents"), "{}", "anthropic sessions mutate"),
            (&format!("POST {host}/sessions/s/events"), "{}", "anthropic sessions upload resource=s"),
            (&format!("POST {host}/memory_stores/m/memories"), "{}", "anthropic memory upload resource=m"),
            (&format!("GET {host}/skills/s/versions/1/content"), "", "anthropic skills download resource=s"),
            (&format!("POST {host}/vaults"), "{}", "anthropic sessions mutate"),
            (&format!("POST {host}/oauth/token"), "{}", "anthropic token authorize"),
            (&format!("POST {host}/unheard-of"), "{}", "anthropic unknown unknown"),
            (
                "POST http://llm.corp.example/v1/messages",
                body,
                "anthropic-compatible messages call model=c stream",
            ),
            ("POST https://openrouter.ai/api/v1/messages", body, "openrouter messages call model=c stream"),
        ]);
    }
}
