//! Registries of images (OCI Distribution), and the tokens that they want.
//!
//! Enters: a head. Leaves: a draft; the resource is the repository, the source one whose blob is mounted there. Guarantees: a
//! token that is good for pushing is an upload before any byte. Does not: read manifests.

use super::request::{Draft, Request, Shape, Wanted, is_parameter, joined};
use super::target;
use policy::Verb;

const PROVIDER: &str = "oci";

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider(PROVIDER);
    if let Some(draft) = token(request, provider, &segments)? {
        return Ok(Some(draft));
    }
    // Google's Artifact Registry sends clients on to a path without a name.
    let is_onward = segments.first() == Some(&"artifacts-uploads") && request.service.is_some();
    if is_onward && matches!(request.method(), "POST" | "PUT" | "PATCH") {
        return Ok(Some(Draft::new(provider, "blob", Verb::Upload)));
    }
    let ["v2", rest @ ..] = segments.as_slice() else { return Ok(None) };
    let method = request.method();
    let is_read = request.is_read();
    let draft = |api: &'static str, verb, name: &[&str]| -> Shape {
        let is_name = !name.is_empty();
        Ok(is_name.then(|| Draft::new(provider, api, verb).resource(joined(name))))
    };
    match rest {
        [] if is_read => Ok(Some(Draft::new(provider, "version", Verb::Meta))),
        ["_catalog"] if is_read => Ok(Some(Draft::new(provider, "list", Verb::Meta))),
        [name @ .., "blobs", "uploads"] if method == "POST" => {
            let from = mounted(request)?;
            Ok(draft("blob", Verb::Upload, name)?.map(|draft| draft.from(from)))
        }
        // GitHub's registry sends clients on to a path in the singular.
        [name @ .., "blobs", "uploads" | "upload", _] => match method {
            "PUT" | "PATCH" => draft("blob", Verb::Upload, name),
            "GET" | "HEAD" => draft("blob", Verb::Meta, name),
            "DELETE" => draft("blob", Verb::Mutate, name),
            _ => Ok(None),
        },
        [name @ .., "manifests", _] => match method {
            "GET" | "HEAD" => draft("manifest", Verb::Download, name),
            "PUT" => draft("manifest", Verb::Upload, name),
            "DELETE" => draft("manifest", Verb::Mutate, name),
            _ => Ok(None),
        },
        [name @ .., "blobs", _] => match method {
            "GET" | "HEAD" => draft("blob", Verb::Download, name),
            "DELETE" => draft("blob", Verb::Mutate, name),
            _ => Ok(None),
        },
        [name @ .., "tags", "list"] | [name @ .., "referrers", _] if is_read => {
            draft("list", Verb::Meta, name)
        }
        _ => Ok(None),
    }
}

/// The repository whose blob is mounted, which reads it there (OCI Distribution 1.1, "Mounting a blob from another repository").
/// Without `from` the registry may take it from whichever has it.
fn mounted(request: &Request<'_>) -> Result<Option<String>, &'static str> {
    let Some(digest) = request.parameter("mount")? else { return Ok(None) };
    let from = request.parameter("from")?.unwrap_or_default();
    // Names have none of these, and somebody could resolve them.
    let is_odd = |part: &str| matches!(part, "" | "." | "..") || part.contains(['\\', '%', '?', '#']);
    if !from.is_empty() && from.split('/').any(is_odd) {
        return Err("the repository whose blob is to be mounted is none");
    }
    Ok(if digest.is_empty() && from.is_empty() { None } else { Some(from.to_owned()) })
}

/// A token: which repository it is for, and what it allows there.
fn token(request: &Request<'_>, provider: &'static str, segments: &[&str]) -> Shape {
    let is_realm = matches!(
        segments,
        ["token" | "auth" | "proxy_auth"]
            | ["v2", "token" | "auth"]
            | ["oauth2", "token" | "exchange"]
            | ["service" | "artifactory" | "openshift", "token"]
            | ["jwt", "auth"]
    );
    if !is_realm {
        return Ok(None);
    }
    let scopes = request.parameters("scope")?;
    let is_meant = scopes.iter().any(|scope| scope.starts_with("repository:"))
        || request.has_parameter("service") && request.service.is_some();
    let is_asked = is_meant || request.service.is_some();
    if !is_asked || !matches!(request.method(), "GET" | "POST") {
        return Ok(None);
    }
    let draft = Draft::new(provider, "token", Verb::Authorize);
    // OAuth has it in the body.
    let is_form =
        request.method() == "POST" && request.content_type()? == "application/x-www-form-urlencoded";
    match (is_form, scopes.as_slice()) {
        (true, []) => return Ok(Some(draft.wants(Wanted::Scope))),
        (true, _) => return Err("a token is asked for in the target, and perhaps another in the body"),
        (false, _) => {}
    }
    Ok(Some(match wanted(&scopes)? {
        Some(Good { intent, name, also }) => draft.intent(Some(intent)).resource(name).from(also),
        None => draft,
    }))
}

/// What a token is good for.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) intent: Verb,
    pub(super) name: String,
    /// Repositories that it also lets read: those from which blobs are mounted.
    pub(super) also: Vec<String>,
}

/// What a token is for in the form of a body.
pub(super) fn of_form(form: &[u8]) -> Result<Option<Good>, &'static str> {
    let form = std::str::from_utf8(form).map_err(|_| "the form of the body is no text")?;
    let mut scopes = Vec::new();
    for part in form.split('&') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = target::decode(name, true)?;
        if name == "scope" {
            scopes.push(target::decode(value, true)?);
        } else if is_parameter(&name, "scope") {
            return Err("the form names a scope in a spelling that only some servers take for it");
        }
    }
    wanted(&scopes.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What these scopes are good for together, and where; nothing that is known: nothing.
fn wanted(scopes: &[&str]) -> Result<Option<Good>, &'static str> {
    let several = "a token is asked for several repositories";
    let (mut reads, mut writes) = (Vec::new(), None::<(Verb, String)>);
    // One parameter may hold several.
    for scope in scopes.iter().flat_map(|scope| scope.split(' ')).filter(|scope| !scope.is_empty()) {
        let Some((intent, name)) = allows(scope) else { return Ok(None) };
        writes = match (intent, writes) {
            (Verb::Download, writes) => {
                if !reads.contains(&name) {
                    reads.push(name);
                }
                writes
            }
            (_, Some((_, other))) if other != name => return Err(several),
            // To change it is more than to push to it.
            (_, Some((Verb::Mutate, name))) => Some((Verb::Mutate, name)),
            (intent, _) => Some((intent, name)),
        };
    }
    let Some((intent, name)) = writes else {
        return match reads.len() {
            0 => Ok(None),
            1 => Ok(reads.pop().map(|name| Good { intent: Verb::Download, name, also: Vec::new() })),
            _ => Err(several),
        };
    };
    reads.retain(|read| *read != name);
    Ok(Some(Good { intent, name, also: reads }))
}

/// What `repository:name:pull,push` is good for. A name can have a colon: a registry's port.
fn allows(scope: &str) -> Option<(Verb, String)> {
    let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    let actions: Vec<&str> = actions.split(',').collect();
    let intent = if actions.iter().all(|action| *action == "pull") {
        Verb::Download
    } else if actions.iter().all(|action| matches!(*action, "pull" | "push")) {
        Verb::Upload
    } else if actions.iter().all(|action| matches!(*action, "pull" | "push" | "delete" | "*")) {
        Verb::Mutate
    } else {
        return None;
    };
    Some((intent, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn pulling_is_a_download_and_pushing_an_upload() {
        let host = "https://ghcr.io";
        check(&[
            (&format!("GET {host}/v2/"), "", "ghcr version meta"),
            (&format!("GET {host}/v2/o/i/manifests/latest"), "", "ghcr manifest download resource=o/i"),
            (&format!("HEAD {host}/v2/o/i/blobs/sha256:abc"), "", "ghcr blob download resource=o/i"),
            (
                &format!("GET {host}/v2/a/manifests/b/manifests/c"),
                "",
                "ghcr manifest download resource=a/manifests/b",
            ),
            (&format!("GET {host}/v2/o/i/tags/list"), "", "ghcr list meta resource=o/i"),
            (&format!("POST {host}/v2/o/i/blobs/uploads/"), "", "ghcr blob upload resource=o/i"),
            (
                &format!("POST {host}/v2/o/i/blobs/uploads/?mount=sha256:a&from=x"),
                "",
                "ghcr blob upload resource=o/i from=x",
            ),
            (
                &format!("POST {host}/v2/o/i/blobs/uploads/?from=o%2Fsecret&mount=sha256%3Aa"),
                "",
                "ghcr blob upload resource=o/i from=o/secret",
            ),
            (
                &format!("POST {host}/v2/o/i/blobs/uploads/?mount=sha256:a"),
                "",
                "ghcr blob upload resource=o/i from=?",
            ),
            (
                &format!("POST {host}/v2/o/i/blobs/uploads/?digest=sha256:a"),
                "",
                "ghcr blob upload resource=o/i",
            ),
            (&format!("POST {host}/v2/o/i/blobs/uploads/?from=x"), "", "ghcr blob upload resource=o/i"),
            (&format!("POST {host}/v2/o/i/blobs/uploads/?mount=a&from=x&from=y"), "", "ghcr unknown unknown"),
            (&format!("POST {host}/v2/o/i/blobs/uploads/?mount=a&from=o/../x"), "", "ghcr unknown unknown"),
            (&format!("POST {host}/v2/o/i/blobs/uploads/?mount=a&from=/x"), "", "ghcr unknown unknown"),
            (&format!("PATCH {host}/v2/o/i/blobs/uploads/u"), "", "ghcr blob upload resource=o/i"),
            (&format!("PUT {host}/v2/o/i/blobs/uploads/u?digest=x"), "", "ghcr blob upload resource=o/i"),
            (&format!("PUT {host}/v2/o/i/blobs/upload/u?digest=x"), "", "ghcr blob upload resource=o/i"),
            (
                "PATCH https://eu-docker.pkg.dev/artifacts-uploads/namespaces/x/uploads/u",
                "",
                "oci blob upload",
            ),
            (&format!("PUT {host}/v2/o/i/manifests/latest"), "", "ghcr manifest upload resource=o/i"),
            (&format!("DELETE {host}/v2/o/i/manifests/latest"), "", "ghcr manifest mutate resource=o/i"),
            (&format!("GET {host}/v2/o%2Fi/manifests/latest"), "", "ghcr unknown unknown"),
            (&format!("GET {host}/v2/manifests/latest"), "", "ghcr unknown unknown"),
            (
                "GET https://registry.corp.example/v2/o/i/manifests/1",
                "",
                "oci manifest download resource=o/i",
            ),
            (
                "GET https://registry.ollama.ai/v2/library/llama3/manifests/latest",
                "",
                "ollama manifest download resource=library/llama3",
            ),
            ("GET https://nvcr.io/v2/nim/x/manifests/1", "", "nvidia-ngc manifest download resource=nim/x"),
        ]);
    }

    #[test]
    fn a_token_is_for_what_its_scope_says() {
        let realm = "https://ghcr.io/token?service=ghcr.io";
        let token = "ghcr token authorize";
        check(&[
            (
                &format!("GET {realm}&scope=repository:o/i:pull"),
                "",
                &format!("{token} intent=download resource=o/i"),
            ),
            (
                &format!("GET {realm}&scope=repository:o/i:pull,push"),
                "",
                &format!("{token} intent=upload resource=o/i"),
            ),
            (
                &format!("GET {realm}&scope=repository:o/i:pull&scope=repository:o/i:push"),
                "",
                &format!("{token} intent=upload resource=o/i"),
            ),
            (
                &format!("GET {realm}&scope=repository:a:pull%20repository:o/i:pull,push"),
                "",
                &format!("{token} intent=upload resource=o/i from=a"),
            ),
            (
                &format!("GET {realm}&scope=repository:a:pull%20repository:b:pull%20repository:o/i:push"),
                "",
                &format!("{token} intent=upload resource=o/i from=a,b"),
            ),
            (
                &format!("GET {realm}&scope=repository:o/i:push%20repository:o/i:delete"),
                "",
                &format!("{token} intent=mutate resource=o/i"),
            ),
            (&format!("GET {realm}&scope=repository:o/i:push%20repository:x:*"), "", "ghcr unknown unknown"),
            (
                &format!("GET {realm}&scope=repository:a:pull&scope=repository:b:pull"),
                "",
                "ghcr unknown unknown",
            ),
            (
                &format!("GET {realm}&scope=repository:o/i:*"),
                "",
                &format!("{token} intent=mutate resource=o/i"),
            ),
            (&format!("GET {realm}&scope=repository:o/i:odd"), "", token),
            (&format!("GET {realm}&scope=registry:catalog:*"), "", token),
            (&format!("GET {realm}"), "", token),
            (
                "GET https://auth.docker.io/token?service=registry.docker.io&scope=repository:library/nginx:pull",
                "",
                "docker-hub token authorize intent=download resource=library/nginx",
            ),
            (
                "POST https://auth.docker.io/token\ncontent-type: application/x-www-form-urlencoded",
                "grant_type=password&service=registry.docker.io&scope=repository%3Ao%2Fi%3Apush%2Cpull",
                "docker-hub token authorize intent=upload resource=o/i",
            ),
            (
                "POST https://x.azurecr.io/oauth2/token\ncontent-type: application/x-www-form-urlencoded",
                "scope=repository:o/i:pull&service=x.azurecr.io",
                "oci token authorize intent=download resource=o/i",
            ),
            (
                "POST https://x.azurecr.io/oauth2/token\ncontent-type: application/x-www-form-urlencoded",
                "scope=repository:a:pull&scope=repository:b:pull",
                "oci unknown unknown",
            ),
            (
                "POST https://x.azurecr.io/oauth2/token?scope=repository:a:pull\ncontent-type: application/x-www-form-urlencoded",
                "scope=repository:a:push",
                "oci unknown unknown",
            ),
            (
                "POST https://x.azurecr.io/oauth2/exchange\ncontent-type: application/x-www-form-urlencoded",
                "grant_type=access_token",
                "oci token authorize",
            ),
            (
                "GET https://registry.example/service/token?scope=repository:x:push",
                "",
                "oci token authorize intent=upload resource=x",
            ),
        ]);
    }
}
