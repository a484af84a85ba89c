//! Hugging Face Hub: repositories of models, data sets and spaces, buckets, jobs.
//!
//! Enters: a head. Leaves: a draft. Guarantees: what leads to an upload is one, though it be a GET (`xet-write-token`);
//! jobs and spaces' settings are never part of a download. Resources are `owner/name` for models, with `datasets/`,
//! `spaces/` or `buckets/` before it for the rest. Does not: read commits.

use super::copies;
use super::request::{Draft, MODEL, Request, STREAM, Shape, Wanted, joined};
use policy::Verb;

const PROVIDER: &str = "huggingface-compatible";

/// Reads a head at the Hub.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider(PROVIDER);
    let is_read = request.is_read();
    let Some(mut draft) = (match segments.as_slice() {
        ["api", rest @ ..] => interface(request, provider, rest)?,
        [".well-known", "meta.json"] if is_read && request.service.is_some() => {
            Some(Draft::new(provider, "info", Verb::Meta))
        }
        ["buckets", owner, name, "resolve", ..] if is_read => Some(
            Draft::new(provider, "resolve", Verb::Download).resource(resource("buckets", &[*owner, *name])?),
        ),
        // The owner of a repository that is not for everybody is asked to let one read it.
        [rest @ .., "ask-access"] if request.method() == "POST" && request.service.is_some() => {
            let (kind, name) = match rest {
                [kind @ ("datasets" | "spaces"), name @ ..] => (*kind, name),
                name => ("models", name),
            };
            match name.len() {
                1 | 2 => Some(Draft::new(provider, "repos", Verb::Mutate).resource(resource(kind, name)?)),
                _ => None,
            }
        }
        ["oauth", "token" | "device"] if request.method() == "POST" && request.service.is_some() => {
            Some(Draft::new(provider, "token", Verb::Authorize))
        }
        [kind @ ("datasets" | "spaces" | "kernels"), rest @ ..] if is_read => file(provider, kind, rest)?,
        rest if is_read => file(provider, "models", rest)?,
        _ => None,
    }) else {
        return Ok(None);
    };
    // A revision such as refs/pr/1 is one segment, encoded.
    draft.takes_odd_path = !request.target.has_empty;
    Ok(Some(draft))
}

/// A file of a repository.
fn file(provider: &'static str, kind: &str, rest: &[&str]) -> Shape {
    let is_file = |parts: usize| matches!(rest.get(parts..), Some(["resolve" | "raw" | "blob", _, _, ..]));
    let parts = match (is_file(1), is_file(2)) {
        (true, true) => return Err("the name of the repository has one part or two"),
        (true, false) => 1,
        (false, true) => 2,
        (false, false) => return Ok(None),
    };
    let name = resource(kind, rest.get(..parts).unwrap_or_default())?;
    Ok(Some(Draft::new(provider, "resolve", Verb::Download).resource(name)))
}

fn interface(request: &Request<'_>, provider: &'static str, rest: &[&str]) -> Shape {
    let is_read = request.is_read();
    let is_known = request.service.is_some();
    let draft = |api: &'static str, verb| Draft::new(provider, api, verb);
    let changes = if is_read { Verb::Meta } else { Verb::Mutate };
    Ok(Some(match rest {
        ["resolve-cache", kind @ ("models" | "datasets" | "spaces" | "kernels"), rest @ ..] if is_read => {
            return cached(provider, kind, rest);
        }
        ["repos", "create" | "move" | "delete"] if !is_read => draft("repos", Verb::Mutate),
        // It has the text of a card with it.
        ["validate-yaml"] if request.method() == "POST" && is_known => draft("commit", Verb::Upload),
        // Where a large file of Git LFS ends.
        ["complete_multipart"] if request.method() == "POST" && is_known => draft("commit", Verb::Upload),
        ["jobs" | "scheduled-jobs", _, ..] if is_known || !is_read => draft("jobs", changes),
        ["buckets", _] if is_read => draft("buckets", Verb::Meta),
        ["buckets", owner, name, rest @ ..] => {
            let Some((api, verb)) = bucket(request.method(), rest) else { return Ok(None) };
            let wanted = if rest.first() == Some(&"batch") { Wanted::Copies } else { Wanted::Nothing };
            draft(api, verb)
                .wants(wanted)
                .intent(Some(Verb::Download).filter(|_| verb == Verb::Authorize))
                .resource(resource("buckets", &[*owner, *name])?)
        }
        ["models" | "datasets" | "spaces" | "kernels"] if is_read && is_known => draft("list", Verb::Meta),
        ["whoami-v2" | "models-tags-by-type" | "datasets-tags-by-type"] if is_read => {
            draft("info", Verb::Meta)
        }
        [kind @ ("models" | "datasets" | "spaces" | "kernels"), rest @ ..] => {
            return repository(request, provider, kind, rest);
        }
        [word, ..] if is_known && SITE.contains(word) => draft("site", changes),
        _ => return Ok(None),
    }))
}

/// Of people and pages, beside repositories.
const SITE: &[&str] = &[
    "agent-harnesses",
    "blog",
    "collections",
    "daily_papers",
    "discussions",
    "docs",
    "notifications",
    "organizations",
    "papers",
    "posts",
    "quicksearch",
    "recent-activity",
    "settings",
    "trending",
    "users",
];

/// A file of a revision: behind the name comes a commit, then the path as one segment.
fn cached(provider: &'static str, kind: &str, rest: &[&str]) -> Shape {
    let is_commit = |at: usize| {
        rest.get(at).is_some_and(|part| part.len() == 40 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let parts = match (rest.len(), is_commit(1), is_commit(2)) {
        (0..3, _, _) => return Ok(None),
        (3, _, _) | (_, true, false) => 1,
        (_, true, true) => return Err("the name of the repository has one part or two"),
        (_, false, _) => 2,
    };
    let name = resource(kind, rest.get(..parts).unwrap_or_default())?;
    Ok(Some(Draft::new(provider, "resolve", Verb::Download).resource(name)))
}

/// What is asked of a repository: its name has one part or two, and which is told by the word behind it.
fn repository(request: &Request<'_>, provider: &'static str, kind: &str, rest: &[&str]) -> Shape {
    let is_read = request.is_read();
    let asked = |at: usize| rest.get(at).and_then(|word| action(request.method(), kind, word));
    let (name, found) = match (asked(1), asked(2)) {
        (Some(_), Some(_)) => return Err("the name of the repository has one part or two"),
        (Some(found), None) => (rest.get(..1), found),
        (None, Some(found)) => (rest.get(..2), found),
        (None, None) if is_read && (1..=2).contains(&rest.len()) => (Some(rest), ("info", Verb::Meta)),
        (None, None) => return Ok(None),
    };
    let name = name.unwrap_or_default();
    let (api, verb) = found;
    // Behind it is a revision, and nothing that could make a POST something else.
    if api == "paths-info" && rest.len() != name.len() + 2 {
        return Ok(None);
    }
    let resource = resource(kind, name)?;
    let copied = match rest.get(name.len()..) {
        Some(["duplicate"]) => Some(copies::duplicate(kind)),
        Some(["lfs-files", "duplicate"]) => Some(copies::TARGET),
        _ => None,
    };
    if let Some(fields) = copied.filter(|_| request.method() == "POST") {
        let copy = Draft::new(provider, "copy", Verb::Upload).from([resource]);
        return Ok(Some(copy.wants(Wanted::Json(fields))));
    }
    let draft = Draft::new(provider, api, verb).resource(resource);
    Ok(Some(draft.intent(Some(Verb::Download).filter(|_| verb == Verb::Authorize))))
}

/// What a word behind the name of a repository does.
fn action(method: &str, kind: &str, word: &str) -> Option<(&'static str, Verb)> {
    let is_read = matches!(method, "GET" | "HEAD");
    let changes = if is_read { Verb::Meta } else { Verb::Mutate };
    Some(match (word, method) {
        ("xet-read-token", _) if is_read => ("xet-read-token", Verb::Authorize),
        ("xet-write-token", _) => ("xet-write-token", Verb::Upload),
        ("preupload", "POST") => ("preupload", Verb::Upload),
        ("commit", "POST") => ("commit", Verb::Upload),
        // A read, though it is a POST: there can be many paths.
        ("paths-info", "POST") => ("paths-info", Verb::Meta),
        ("tree" | "treesize", _) if is_read => ("tree", Verb::Meta),
        ("revision", _) if is_read => ("info", Verb::Meta),
        ("refs" | "commits" | "compare", _) if is_read => ("refs", Verb::Meta),
        ("parquet" | "croissant", _) if is_read && kind == "datasets" => ("parquet", Verb::Download),
        ("branch" | "tag" | "super-squash", "POST" | "PUT" | "DELETE") => ("refs", Verb::Mutate),
        ("discussions", _) => ("discussions", changes),
        ("lfs-files", _) => ("lfs-files", changes),
        (
            "settings"
            | "like"
            | "user-access-request"
            | "user-access-report"
            | "duplicate"
            | "resource-group",
            _,
        ) => ("repos", changes),
        ("likers" | "leaderboard" | "security-status" | "auth-check" | "safetensors-metadata", _)
            if is_read =>
        {
            ("info", Verb::Meta)
        }
        (
            "secrets" | "variables" | "volumes" | "storage" | "hardware" | "restart" | "pause" | "dev-mode"
            | "sleeptime" | "runtime" | "logs" | "events",
            _,
        ) if kind == "spaces" => ("spaces", changes),
        _ => return None,
    })
}

fn bucket(method: &str, rest: &[&str]) -> Option<(&'static str, Verb)> {
    Some(match (method, rest) {
        ("GET", ["xet-read-token", ..]) => ("xet-read-token", Verb::Authorize),
        (_, ["xet-write-token", ..]) => ("xet-write-token", Verb::Upload),
        ("POST", ["batch", ..]) => ("buckets", Verb::Upload),
        ("POST", ["paths-info"]) => ("paths-info", Verb::Meta),
        ("GET" | "HEAD", [] | ["tree" | "settings" | "events", ..]) => ("buckets", Verb::Meta),
        ("POST" | "PUT" | "PATCH" | "DELETE", [] | ["settings" | "move", ..]) => ("buckets", Verb::Mutate),
        _ => return None,
    })
}

/// Reads a head where the Hub has models asked.
pub(super) fn inference(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider(PROVIDER);
    let rest = match segments.as_slice() {
        ["hf-inference", rest @ ..] => rest,
        rest => rest,
    };
    let (name, rest): (_, &[&str]) = match rest {
        ["models", name] => ((*name).to_owned(), &[]),
        ["models", owner, name, rest @ ..] => (format!("{owner}/{name}"), rest),
        ["pipeline", _, owner, name] => (format!("{owner}/{name}"), &[]),
        _ => return provided(request, provider),
    };
    let api = match rest {
        ["v1", "chat", "completions"] => "chat",
        [] | ["pipeline", ..] => "inference",
        _ => return Ok(None),
    };
    let is_call = request.method() == "POST";
    let draft = || Draft::new(provider, api, Verb::Call).model(name);
    // A body that names another model contradicts the path.
    Ok(is_call.then(draft).map(|draft| if api == "chat" { draft.wants(Wanted::Json(MODEL)) } else { draft }))
}

/// What has no form of the Hub's own: servers of a user's models, and providers that it passes requests on to.
fn provided(request: &Request<'_>, provider: &'static str) -> Shape {
    let segments = request.segments();
    let is_call = request.method() == "POST";
    Ok(match segments.as_slice() {
        [] if is_call => Some(Draft::new(provider, "inference", Verb::Call).wants(Wanted::Json(STREAM))),
        ["replicate", "v1", "models", owner, name, "predictions"] if is_call => {
            Some(Draft::new(provider, "predict", Verb::Call).model(format!("{owner}/{name}")))
        }
        ["fal-ai" | "wavespeed" | "nebius" | "together" | "hyperbolic", .., _]
            if is_call && !segments.contains(&"v1") =>
        {
            Some(Draft::new(provider, "inference", Verb::Call))
        }
        _ => None,
    })
}

/// Reads a head where servers of a user's models are made and ended.
pub(super) fn endpoints(request: &Request<'_>) -> Shape {
    let verb = if request.is_read() { Verb::Meta } else { Verb::Mutate };
    Ok(Some(Draft::new(request.provider(PROVIDER), "endpoints", verb)))
}

/// Reads a head where the Hub serves rows of data sets.
pub(super) fn data(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let [what] = segments.as_slice() else { return Ok(None) };
    let verb = match *what {
        "rows" | "first-rows" | "search" | "filter" | "parquet" | "croissant" => Verb::Download,
        "splits"
        | "info"
        | "size"
        | "is-valid"
        | "statistics"
        | "opt-in-out-urls"
        | "presidio-entities"
        | "croissant-crumbs"
        | "compatible-libraries"
        | "hub-cache" => Verb::Meta,
        _ => return Ok(None),
    };
    let Some(dataset) = request.parameter("dataset")?.filter(|_| request.is_read()) else { return Ok(None) };
    let draft = Draft::new(request.provider(PROVIDER), "rows", verb);
    Ok(Some(draft.resource(format!("datasets/{dataset}"))))
}

/// Of letters, digits and a few others (`huggingface_hub`, `validate_repo_id`).
fn resource(kind: &str, name: &[&str]) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.iter().all(|part| part.bytes().all(is_plain)) {
        return Err("the name of the repository is none");
    }
    Ok(if kind == "models" { joined(name) } else { format!("{kind}/{}", joined(name)) })
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    const COMMIT: &str = "607a30d783dfa663caf39e06633721c8d4cfcd7e";

    #[test]
    fn what_reads_is_a_download_or_describes() {
        let hub = "https://huggingface.co";
        check(&[
            (
                &format!("GET {hub}/meta-llama/Llama-3/resolve/main/model.safetensors"),
                "",
                "huggingface resolve download resource=meta-llama/Llama-3",
            ),
            (
                &format!("HEAD {hub}/gpt2/resolve/main/config.json"),
                "",
                "huggingface resolve download resource=gpt2",
            ),
            (
                &format!("GET {hub}/datasets/o/d/resolve/refs%2Fpr%2F1/a/b.parquet"),
                "",
                "huggingface resolve download resource=datasets/o/d",
            ),
            (
                &format!("GET {hub}/spaces/o/s/raw/main/app.py"),
                "",
                "huggingface resolve download resource=spaces/o/s",
            ),
            (
                &format!("GET {hub}/api/resolve-cache/models/o/m/abc/config.json"),
                "",
                "huggingface resolve download resource=o/m",
            ),
            (
                &format!("GET {hub}/api/resolve-cache/models/gpt2/{COMMIT}/config.json"),
                "",
                "huggingface resolve download resource=gpt2",
            ),
            (
                &format!("GET {hub}/api/resolve-cache/datasets/o/d/{COMMIT}/a%2Fb.parquet"),
                "",
                "huggingface resolve download resource=datasets/o/d",
            ),
            (
                &format!("GET {hub}/api/resolve-cache/models/o/{COMMIT}/{COMMIT}/x"),
                "",
                "huggingface unknown unknown",
            ),
            (&format!("GET {hub}/o/resolve/resolve/main/x"), "", "huggingface unknown unknown"),
            (
                &format!("GET {hub}/kernels/o/k/resolve/main/x"),
                "",
                "huggingface resolve download resource=kernels/o/k",
            ),
            (&format!("GET {hub}/api/kernels/o/k"), "", "huggingface info meta resource=kernels/o/k"),
            (&format!("GET {hub}/api/models/o/m/likers"), "", "huggingface info meta resource=o/m"),
            (&format!("GET {hub}/api/users/u/overview"), "", "huggingface site meta"),
            (&format!("GET {hub}/api/buckets/o"), "", "huggingface buckets meta"),
            (&format!("GET {hub}/api/models/o/m"), "", "huggingface info meta resource=o/m"),
            (&format!("GET {hub}/api/models/gpt2"), "", "huggingface info meta resource=gpt2"),
            (&format!("GET {hub}/api/models/o/m/revision/main"), "", "huggingface info meta resource=o/m"),
            (
                &format!("GET {hub}/api/datasets/o/d/tree/main?recursive=1"),
                "",
                "huggingface tree meta resource=datasets/o/d",
            ),
            (&format!("GET {hub}/api/models/o/m/refs"), "", "huggingface refs meta resource=o/m"),
            (&format!("GET {hub}/api/models/o/m/commits/main"), "", "huggingface refs meta resource=o/m"),
            (
                &format!("POST {hub}/api/models/o/m/paths-info/main"),
                "",
                "huggingface paths-info meta resource=o/m",
            ),
            (
                &format!("GET {hub}/api/models/o/m/xet-read-token/main"),
                "",
                "huggingface xet-read-token authorize intent=download resource=o/m",
            ),
            (&format!("GET {hub}/api/whoami-v2"), "", "huggingface info meta"),
            (&format!("GET {hub}/.well-known/meta.json"), "", "huggingface info meta"),
            ("GET https://hf-mirror.com/o/m/resolve/main/x", "", "huggingface resolve download resource=o/m"),
            (
                "GET https://mirror.example/o/m/resolve/main/x",
                "",
                "huggingface-compatible resolve download resource=o/m",
            ),
            (
                "GET https://datasets-server.huggingface.co/rows?dataset=o/d",
                "",
                "huggingface rows download resource=datasets/o/d",
            ),
            (
                "GET https://datasets-server.huggingface.co/splits?dataset=o/d",
                "",
                "huggingface rows meta resource=datasets/o/d",
            ),
        ]);
    }

    #[test]
    fn what_leads_to_a_change_is_never_a_download() {
        let hub = "https://huggingface.co/api";
        check(&[
            (
                &format!("GET {hub}/models/o/m/xet-write-token/main"),
                "",
                "huggingface xet-write-token upload resource=o/m",
            ),
            (
                &format!("GET {hub}/models/o/m/xet-write-token/None"),
                "",
                "huggingface xet-write-token upload resource=o/m",
            ),
            (
                &format!("GET {hub}/models/gpt2/xet-write-token/main"),
                "",
                "huggingface xet-write-token upload resource=gpt2",
            ),
            (
                &format!("POST {hub}/models/o/m/preupload/main"),
                "",
                "huggingface preupload upload resource=o/m",
            ),
            (
                &format!("POST {hub}/models/o/m/commit/main?create_pr=1\ncontent-type: application/x-ndjson"),
                "",
                "huggingface commit upload resource=o/m",
            ),
            (
                &format!("POST {hub}/datasets/o/d/commit/refs%2Fpr%2F1"),
                "",
                "huggingface commit upload resource=datasets/o/d",
            ),
            (&format!("POST {hub}/validate-yaml"), "{}", "huggingface commit upload"),
            (&format!("POST {hub}/complete_multipart?uploadId=u"), "{}", "huggingface commit upload"),
            (
                &format!("POST {hub}/buckets/o/b/move"),
                "{}",
                "huggingface buckets mutate resource=buckets/o/b",
            ),
            (&format!("POST {hub}/papers/index"), "{}", "huggingface site mutate"),
            ("POST https://huggingface.co/oauth/token", "x", "huggingface token authorize"),
            (
                "POST https://api.endpoints.huggingface.cloud/v2/endpoint/o",
                "{}",
                "huggingface endpoints mutate",
            ),
            ("GET https://api.endpoints.huggingface.cloud/v2/endpoint/o", "", "huggingface endpoints meta"),
            (&format!("POST {hub}/repos/create"), "{}", "huggingface repos mutate"),
            (&format!("POST {hub}/repos/move"), "{}", "huggingface repos mutate"),
            (&format!("DELETE {hub}/repos/delete"), "{}", "huggingface repos mutate"),
            (&format!("PUT {hub}/models/o/m/settings"), "{}", "huggingface repos mutate resource=o/m"),
            (&format!("POST {hub}/models/o/m/branch/b"), "", "huggingface refs mutate resource=o/m"),
            (&format!("POST {hub}/models/o/m/tag/main"), "", "huggingface refs mutate resource=o/m"),
            (
                &format!("POST {hub}/models/o/m/discussions"),
                "",
                "huggingface discussions mutate resource=o/m",
            ),
            (&format!("POST {hub}/buckets/o/b/batch"), "", "huggingface buckets upload resource=buckets/o/b"),
            (
                &format!("GET {hub}/buckets/o/b/xet-write-token"),
                "",
                "huggingface xet-write-token upload resource=buckets/o/b",
            ),
            (
                &format!("POST {hub}/buckets/o/b/paths-info"),
                "",
                "huggingface paths-info meta resource=buckets/o/b",
            ),
            (&format!("POST {hub}/spaces/o/s/secrets"), "", "huggingface spaces mutate resource=spaces/o/s"),
            (
                &format!("DELETE {hub}/spaces/o/s/variables"),
                "",
                "huggingface spaces mutate resource=spaces/o/s",
            ),
            (&format!("POST {hub}/spaces/o/s/restart"), "", "huggingface spaces mutate resource=spaces/o/s"),
            (&format!("POST {hub}/jobs/o"), "{}", "huggingface jobs mutate"),
            (&format!("POST {hub}/scheduled-jobs/o"), "{}", "huggingface jobs mutate"),
        ]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_unknown() {
        let hub = "https://huggingface.co";
        let unknown = "huggingface unknown unknown";
        check(&[
            (&format!("GET {hub}/api/models/o/tree/xet-write-token/main"), "", unknown),
            (&format!("GET {hub}/o%2Fx/m/resolve/main/x"), "", unknown),
            (&format!("GET {hub}/o/m/resolve/main%2F..%2F..%2Fx"), "", unknown),
            (&format!("GET {hub}/o/m//resolve/main/x"), "", unknown),
            (&format!("PUT {hub}/o/m/resolve/main/x"), "", unknown),
            (&format!("POST {hub}/api/models/o/m/unheard-of"), "", unknown),
            (&format!("GET {hub}/o/m"), "", unknown),
        ]);
    }

    #[test]
    fn models_are_asked_at_the_router() {
        check(&[
            (
                "POST https://router.huggingface.co/hf-inference/models/o/m",
                "x",
                "huggingface inference call model=o/m",
            ),
            (
                "POST https://router.huggingface.co/hf-inference/models/o/m/v1/chat/completions",
                r#"{"model":"o/m"}"#,
                "huggingface chat call model=o/m",
            ),
            (
                "POST https://router.huggingface.co/hf-inference/models/o/m/v1/chat/completions",
                r#"{"model":"other"}"#,
                "huggingface unknown unknown",
            ),
            (
                "POST https://api-inference.huggingface.co/models/o/m",
                "x",
                "huggingface inference call model=o/m",
            ),
            (
                "POST https://x.eu-west-1.aws.endpoints.huggingface.cloud/generate",
                "{}",
                "huggingface generate call",
            ),
        ]);
    }
}
