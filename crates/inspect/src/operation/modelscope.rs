//! ModelScope: a hub of models, data sets and applications.
//!
//! Enters: a head. Leaves: a draft; resources are `owner/name` for models, with `datasets/`, `studios/` and the like before it
//! for the rest. Guarantees: what leads to an upload is one. Does not: read commits.
//!
//! Source: the requests of its client (<https://github.com/modelscope/modelscope_hub>).

use super::request::{Draft, Request, Shape};
use policy::Verb;

const PROVIDER: &str = "modelscope";
/// What it has repositories of.
const KINDS: [&str; 6] = ["models", "datasets", "studios", "skills", "agents", "mcp"];

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let is_read = request.is_read();
    let draft = |api: &'static str, verb| Some(Draft::new(PROVIDER, api, verb));
    Ok(match segments.as_slice() {
        [kind, owner, name, "resolve", _, _, ..] if is_read && KINDS.contains(kind) => {
            draft("resolve", Verb::Download).map(|draft| draft.resource(resource(kind, owner, name)))
        }
        ["api", "v1", "login"] if request.method() == "POST" => draft("token", Verb::Authorize),
        ["api", "v1", "repos", kind, owner, name, rest @ ..] if KINDS.contains(kind) => {
            let verb = match (request.method(), rest) {
                ("POST", ["commit", _]) => ("commit", Verb::Upload),
                // It is asked for what is to be uploaded, and says so in its answer.
                ("POST", ["info", "lfs", "objects", "batch"]) => ("lfs-batch", Verb::Upload),
                ("GET" | "HEAD", _) => ("info", Verb::Meta),
                _ => return Ok(None),
            };
            draft(verb.0, verb.1).map(|draft| draft.resource(resource(kind, owner, name)))
        }
        // Lists, though it is a PUT.
        ["api", "v1", "models"] if request.method() == "PUT" => draft("list", Verb::Meta),
        ["api", "v1", kind] if KINDS.contains(kind) => {
            draft("repos", if is_read { Verb::Meta } else { Verb::Mutate })
        }
        ["api", "v1", kind, owner, name, rest @ ..] if KINDS.contains(kind) => {
            let Some((api, verb)) = repository(request, rest) else { return Ok(None) };
            draft(api, verb).map(|draft| draft.resource(resource(kind, owner, name)))
        }
        ["openapi", "v1", "files", "upload"] if request.method() == "POST" => draft("files", Verb::Upload),
        // A skill is sent with what it is.
        ["openapi", "v1", "skills", ..] if !is_read && request.method() != "DELETE" => {
            draft("skills", Verb::Upload)
        }
        ["openapi", "v1", _, ..] => draft("site", if is_read { Verb::Meta } else { Verb::Mutate }),
        ["api", "v1", ..] if is_read => draft("site", Verb::Meta),
        _ => None,
    })
}

/// What is asked of a repository.
fn repository(request: &Request<'_>, rest: &[&str]) -> Option<(&'static str, Verb)> {
    Some(match (request.method(), rest) {
        ("GET" | "HEAD", ["repo"] | ["archive", ..] | ["oss"]) => ("resolve", Verb::Download),
        // Keys of the store that has the files; with them it is written, too.
        ("GET", ["ststoken"]) => ("token", Verb::Authorize),
        ("GET" | "HEAD", _) => ("info", Verb::Meta),
        ("POST", ["repo", "tag"]) => ("refs", Verb::Mutate),
        ("POST", ["download", ..]) => ("info", Verb::Mutate),
        ("DELETE", _) => ("repos", Verb::Mutate),
        _ => return None,
    })
}

fn resource(kind: &str, owner: &str, name: &str) -> String {
    if kind == "models" { format!("{owner}/{name}") } else { format!("{kind}/{owner}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn what_reads_is_told_from_what_leads_to_an_upload() {
        let api = "https://www.modelscope.cn/api/v1";
        check(&[
            (
                "GET https://modelscope.cn/models/o/m/resolve/master/model.safetensors",
                "",
                "modelscope resolve download resource=o/m",
            ),
            (
                &format!("GET {api}/models/o/m/repo?Revision=master&FilePath=model.safetensors"),
                "",
                "modelscope resolve download resource=o/m",
            ),
            (
                &format!("GET {api}/datasets/o/d/repo?FilePath=a.csv"),
                "",
                "modelscope resolve download resource=datasets/o/d",
            ),
            (
                &format!("GET {api}/models/o/m/repo/files?Recursive=True"),
                "",
                "modelscope info meta resource=o/m",
            ),
            (&format!("GET {api}/models/o/m"), "", "modelscope info meta resource=o/m"),
            (&format!("PUT {api}/models/"), "{}", "modelscope list meta"),
            (&format!("POST {api}/models"), "{}", "modelscope repos mutate"),
            (&format!("DELETE {api}/models/o/m"), "", "modelscope repos mutate resource=o/m"),
            (
                &format!("POST {api}/repos/models/o/m/commit/master"),
                "{}",
                "modelscope commit upload resource=o/m",
            ),
            (
                &format!("POST {api}/repos/models/o/m/info/lfs/objects/batch"),
                r#"{"operation":"upload"}"#,
                "modelscope lfs-batch upload resource=o/m",
            ),
            (&format!("POST {api}/login"), "{}", "modelscope token authorize"),
            ("POST https://modelscope.cn/openapi/v1/files/upload", "x", "modelscope files upload"),
            ("POST https://modelscope.cn/openapi/v1/studios/o/s/stop", "", "modelscope site mutate"),
            (
                "GET https://www.modelscope.cn/o/m.git/info/refs?service=git-receive-pack",
                "",
                "modelscope git upload resource=o/m",
            ),
            (
                "POST https://api-inference.modelscope.cn/v1/chat/completions",
                r#"{"model":"m"}"#,
                "modelscope chat call model=m",
            ),
            ("GET https://cdn-lfs-cn-1.modelscope.cn/prod/x?auth_key=1", "", "modelscope content download"),
            (&format!("PATCH {api}/models/o/m"), "", "modelscope unknown unknown"),
        ]);
    }
}
