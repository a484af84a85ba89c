//! GitHub beside Git: files of releases and archives, and its interface as far as what leaves.
//!
//! Enters: a head. Leaves: a draft. Guarantees: what reads is no more than that; everything else of the interface changes
//! something. Does not: know its many methods.

use super::graphql;
use super::request::{Draft, Request, Shape};
use policy::Verb;

/// Reads a head at the site.
pub(super) fn site(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider("github");
    let [owner, repository, rest @ ..] = segments.as_slice() else { return Ok(None) };
    let is_file = matches!(rest, ["releases", "download", ..] | ["releases", "latest", "download", ..])
        || matches!(rest, ["archive" | "raw" | "tarball" | "zipball", _, ..]);
    let draft = || Draft::new(provider, "content", Verb::Download).resource(format!("{owner}/{repository}"));
    Ok((is_file && request.is_read()).then(draft))
}

/// Reads a head where its files are, each behind the name of its repository.
pub(super) fn content(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let rest = match segments.as_slice() {
        ["media", rest @ ..] if request.head.host.starts_with("media.") => rest,
        rest => rest,
    };
    let [owner, repository, _, ..] = rest else { return Ok(None) };
    if [owner, repository].iter().any(|name| name.is_empty() || name.contains('/')) {
        return Err("the name of the repository is none");
    }
    let draft = || Draft::new(request.provider("github"), "content", Verb::Download);
    Ok(request.is_read().then(|| draft().resource(format!("{owner}/{repository}")).odd_path()))
}

/// Reads a head at the interface.
pub(super) fn api(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider("github");
    let repository = match segments.as_slice() {
        ["repos", owner, repository, ..] => format!("{owner}/{repository}"),
        _ => String::new(),
    };
    let is_assets = request.head.host == "uploads.github.com";
    let (api, verb) = match (request.method(), segments.as_slice()) {
        ("GET", ["repos", _, _, "tarball" | "zipball", ..]) => ("content", Verb::Download),
        ("GET", ["repos", _, _, "contents" | "readme", ..] | ["repos", _, _, "git", "blobs", _]) => {
            ("content", Verb::Download)
        }
        ("GET", ["repos", _, _, "releases", "assets", _] | ["repos", _, _, "actions", "artifacts", _, _]) => {
            ("content", Verb::Download)
        }
        // A GET describes the schema; nothing is said of one that has a document.
        ("GET" | "HEAD", ["graphql"]) if request.has_parameter("query") => {
            return Err("a document of GraphQL is read of the body alone");
        }
        ("GET" | "HEAD", _) => ("rest", Verb::Meta),
        (_, ["graphql"]) => {
            return graphql::draft(Draft::new(provider, "graphql", Verb::Unknown), request).map(Some);
        }
        ("POST" | "PUT" | "PATCH", _) if is_assets => ("assets", Verb::Upload),
        // What is sent is kept there for whoever may read it.
        ("PUT", ["repos", _, _, "contents", ..]) => ("contents", Verb::Upload),
        ("POST", ["repos", _, _, "git", "blobs" | "trees" | "commits" | "tags"]) => {
            ("contents", Verb::Upload)
        }
        ("POST", ["repos", _, _, "code-scanning", "sarifs"]) => ("contents", Verb::Upload),
        ("POST", ["app", "installations", _, "access_tokens"]) => ("token", Verb::Authorize),
        ("POST" | "PATCH", ["gists", ..]) => ("gists", Verb::Upload),
        _ => ("rest", Verb::Mutate),
    };
    Ok(Some(Draft::new(provider, api, verb).resource(repository)))
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn files_are_downloads_and_the_rest_changes_something() {
        check(&[
            (
                "GET https://github.com/o/r/releases/download/v1/x.tgz",
                "",
                "github content download resource=o/r",
            ),
            (
                "GET https://github.com/o/r/archive/refs/tags/v1.tar.gz",
                "",
                "github content download resource=o/r",
            ),
            ("GET https://codeload.github.com/o/r/tar.gz/v1", "", "github content download resource=o/r"),
            ("GET https://raw.githubusercontent.com/o/r/main/x", "", "github content download resource=o/r"),
            (
                "GET https://media.githubusercontent.com/media/o/r/main/x",
                "",
                "github content download resource=o/r",
            ),
            (
                "GET https://objects.githubusercontent.com/a/b?X-Amz-Signature=x",
                "",
                "github content download",
            ),
            ("POST https://raw.githubusercontent.com/o/r/main/x", "", "github unknown unknown"),
            ("GET https://raw.githubusercontent.com/o%2Fr/x/main/x", "", "github unknown unknown"),
            ("GET https://api.github.com/repos/o/r", "", "github rest meta resource=o/r"),
            ("POST https://api.github.com/repos/o/r/issues", "", "github rest mutate resource=o/r"),
            ("PUT https://api.github.com/repos/o/r/contents/x", "", "github contents upload resource=o/r"),
            ("DELETE https://api.github.com/repos/o/r/contents/x", "", "github rest mutate resource=o/r"),
            ("POST https://api.github.com/repos/o/r/git/blobs", "{}", "github contents upload resource=o/r"),
            ("POST https://api.github.com/repos/o/r/git/refs", "{}", "github rest mutate resource=o/r"),
            ("POST https://api.github.com/app/installations/1/access_tokens", "{}", "github token authorize"),
            ("POST https://api.github.com/gists", "", "github gists upload"),
            (
                "POST https://uploads.github.com/repos/o/r/releases/1/assets",
                "",
                "github assets upload resource=o/r",
            ),
            ("POST https://api.github.com/graphql", "{}", "github unknown unknown"),
            ("GET https://api.github.com/graphql", "", "github rest meta"),
            ("GET https://api.github.com/graphql?query=mutation%7Bx%7D", "", "github unknown unknown"),
            ("POST https://github.com/o/r/issues", "", "github unknown unknown"),
        ]);
    }
}
