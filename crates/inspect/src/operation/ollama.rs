//! Ollama's own interface. It has no authentication: whoever reaches it can administer it.
//!
//! Enters: a head. Leaves: a draft. Guarantees: a push, with which the server uploads, is an upload; a copy, and a model that is
//! made of another, have that as their source. Does not: read of which files a model is made.

use super::request::{Draft, Field, MODEL, Request, Says, Shape, Wanted};
use policy::Verb;

/// Whose server it is.
pub(super) const PROVIDER: &str = "ollama";
/// Where it listens.
pub(super) const PORT: u16 = 11434;
/// The model that is administered; older clients call it `name`.
const SUBJECT: &[Field] = &[
    Field { path: &["model"], says: Says::Resource },
    Field { path: &["name"], says: Says::Resource },
    Field { path: &["stream"], says: Says::Stream },
];
const COPY: &[Field] = &[
    Field { path: &["destination"], says: Says::Resource },
    Field { path: &["source"], says: Says::Source },
];
/// A model may be made of another one.
const CREATE: &[Field] = &[
    Field { path: &["model"], says: Says::Resource },
    Field { path: &["name"], says: Says::Resource },
    Field { path: &["from"], says: Says::Source },
    Field { path: &["stream"], says: Says::Stream },
];

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    // It says that it runs.
    if segments.is_empty() && request.head.port == PORT && request.is_read() {
        return Ok(Some(Draft::new(PROVIDER, "models", Verb::Meta)));
    }
    let ["api", rest @ ..] = segments.as_slice() else { return Ok(None) };
    let draft = |api: &'static str, verb| Draft::new(PROVIDER, api, verb);
    let about = |api: &'static str, verb| draft(api, verb).wants(Wanted::Json(SUBJECT));
    // Its answers stream unless told otherwise.
    let call = |api: &'static str| draft(api, Verb::Call).stream(true).wants(Wanted::Json(MODEL));
    Ok(Some(match (request.method(), rest) {
        ("POST", ["generate"]) => call("generate"),
        ("POST", ["chat"]) => call("chat"),
        ("POST", ["embed" | "embeddings"]) => draft("embeddings", Verb::Call).model_in_body(),
        ("POST", ["show"]) => about("show", Verb::Meta),
        ("GET" | "HEAD", ["tags" | "ps" | "version"]) => draft("models", Verb::Meta),
        ("POST", ["pull"]) => about("pull", Verb::Admin).stream(true),
        ("POST", ["push"]) => about("push", Verb::Upload).stream(true),
        ("POST", ["create"]) => draft("create", Verb::Admin).stream(true).wants(Wanted::Json(CREATE)),
        ("POST", ["copy"]) => draft("copy", Verb::Admin).wants(Wanted::Json(COPY)),
        ("DELETE", ["delete"]) => about("delete", Verb::Admin),
        ("HEAD" | "POST", ["blobs", _]) => draft("blobs", Verb::Admin),
        // With these the server asks its maker's.
        ("POST", ["web_search" | "web_fetch"]) => draft("search", Verb::Call),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn each_request_is_what_it_does() {
        let host = "http://ollama:11434/api";
        check(&[
            (&format!("POST {host}/generate"), r#"{"model":"m"}"#, "ollama generate call model=m stream"),
            (&format!("POST {host}/chat"), r#"{"model":"m","stream":false}"#, "ollama chat call model=m"),
            (&format!("POST {host}/embed"), r#"{"model":"m"}"#, "ollama embeddings call model=m"),
            (&format!("POST {host}/embeddings"), r#"{"model":"m"}"#, "ollama embeddings call model=m"),
            ("HEAD http://ollama:11434/", "", "ollama models meta"),
            (&format!("GET {host}/tags"), "", "ollama models meta"),
            (&format!("GET {host}/ps"), "", "ollama models meta"),
            (&format!("GET {host}/version"), "", "ollama models meta"),
            (&format!("POST {host}/show"), r#"{"model":"m"}"#, "ollama show meta resource=m"),
            (&format!("POST {host}/pull"), r#"{"model":"m"}"#, "ollama pull admin resource=m stream"),
            (&format!("POST {host}/pull"), r#"{"name":"m","stream":false}"#, "ollama pull admin resource=m"),
            (&format!("POST {host}/push"), r#"{"model":"m"}"#, "ollama push upload resource=m stream"),
            (&format!("POST {host}/create"), r#"{"model":"m"}"#, "ollama create admin resource=m stream"),
            (
                &format!("POST {host}/copy"),
                r#"{"source":"a","destination":"b"}"#,
                "ollama copy admin resource=b from=a",
            ),
            (&format!("DELETE {host}/delete"), r#"{"model":"m"}"#, "ollama delete admin resource=m"),
            (&format!("POST {host}/web_search"), "{}", "ollama search call"),
            (&format!("POST {host}/blobs/sha256:abc"), "", "ollama blobs admin"),
            (&format!("HEAD {host}/blobs/sha256:abc"), "", "ollama blobs admin"),
        ]);
    }
}
