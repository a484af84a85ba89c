//! Git over HTTP, and Git LFS.
//!
//! Enters: a head. Leaves: a draft. Guarantees: pushing and what announces it are uploads. Does not: read packs.

use super::hosts::Family;
use super::request::{Draft, Field, Request, Says, Shape, Wanted, joined};
use policy::Verb;

const PROVIDER: &str = "git";
const DIRECTION: &[Field] = &[Field { path: &["operation"], says: Says::Direction }];

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let provider = request.provider(PROVIDER);
    let draft = |repository: &[&str], api: &'static str, verb| {
        let path = joined(repository);
        Draft::new(provider, api, verb).resource(path.strip_suffix(".git").unwrap_or(&path))
    };
    let is_read = request.is_read();
    // Where there is an interface under this name, a revision in its paths can end as those of Git do. GitHub has its own
    // elsewhere.
    let is_github = request.service.is_some_and(|service| service.family == Family::GitHub);
    if segments.first() == Some(&"api") && !is_github {
        return Ok(None);
    }
    Ok(Some(match (request.method(), segments.as_slice()) {
        ("GET", [repository @ .., "info", "refs"]) => match request.parameter("service")? {
            Some("git-upload-pack") => draft(repository, "git", Verb::Download),
            Some("git-receive-pack") => draft(repository, "git", Verb::Upload),
            // Without a service it is the protocol of plain files, which only reads.
            None if is_repository(repository) => draft(repository, "git", Verb::Download),
            Some(_) | None => return Ok(None),
        },
        ("POST", [repository @ .., "git-upload-pack"]) => draft(repository, "git", Verb::Download),
        ("POST", [repository @ .., "git-receive-pack"]) => draft(repository, "git", Verb::Upload),
        ("POST", [repository @ .., "info", "lfs", "objects", "batch"]) => {
            // Frameworks read forms and queries into what they read JSON into.
            let kind = request.content_type()?;
            let in_query = request.parameter("operation")?.unwrap_or("download");
            if !(kind.is_empty() || kind.ends_with("json")) || in_query != "download" {
                return Err("its direction can be elsewhere than in the JSON of its body");
            }
            draft(repository, "lfs-batch", Verb::Unknown).wants(Wanted::Json(DIRECTION))
        }
        ("POST", [repository @ .., "info", "lfs", "objects", "verify"]) => {
            draft(repository, "lfs-verify", Verb::Upload)
        }
        // Where servers keep the objects themselves: Gitea and those like it, and GitLab.
        (method, [repository @ .., "info", "lfs", "objects", _])
        | (method, [repository @ .., "info", "lfs", "objects", _, _])
        | (method, [repository @ .., "gitlab-lfs", "objects", _])
        | (method, [repository @ .., "gitlab-lfs", "objects", _, _])
            if is_read || method == "PUT" =>
        {
            draft(repository, "lfs-object", if is_read { Verb::Download } else { Verb::Upload })
        }
        (_, [repository @ .., "info", "lfs", "locks"])
        | (_, [repository @ .., "info", "lfs", "locks", "verify"])
        | (_, [repository @ .., "info", "lfs", "locks", _, "unlock"]) => {
            let is_verify = segments.last() == Some(&"verify");
            let verb = if is_read || is_verify { Verb::Meta } else { Verb::Mutate };
            draft(repository, "lfs-locks", verb)
        }
        ("GET", [repository @ .., "HEAD"]) if is_repository(repository) => {
            draft(repository, "git", Verb::Download)
        }
        ("GET", [repository @ .., "objects", _, _]) if is_repository(repository) => {
            draft(repository, "git", Verb::Download)
        }
        _ => return Ok(None),
    }))
}

fn is_repository(segments: &[&str]) -> bool {
    segments.last().is_some_and(|last| last.ends_with(".git"))
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn fetching_is_a_download_and_pushing_an_upload() {
        let hub = "https://huggingface.co/org/repo.git";
        let unknown = "huggingface unknown unknown";
        check(&[
            (
                &format!("GET {hub}/info/refs?service=git-upload-pack"),
                "",
                "huggingface git download resource=org/repo",
            ),
            (&format!("POST {hub}/git-upload-pack"), "", "huggingface git download resource=org/repo"),
            (
                &format!("GET {hub}/info/refs?service=git-receive-pack"),
                "",
                "huggingface git upload resource=org/repo",
            ),
            (&format!("POST {hub}/git-receive-pack"), "", "huggingface git upload resource=org/repo"),
            (&format!("GET {hub}/info/refs?service=git-upload-pack&service=git-receive-pack"), "", unknown),
            (&format!("GET {hub}/info/refs?service=other"), "", unknown),
            (
                "POST https://huggingface.co/api/models/o/m/commit/main/git-upload-pack",
                "",
                "huggingface commit upload resource=o/m",
            ),
            ("POST https://huggingface.co/api/repos/create/git-upload-pack", "", unknown),
            (
                &format!("POST {hub}/info/lfs/objects/batch"),
                r#"{"operation":"download","objects":[]}"#,
                "huggingface lfs-batch download resource=org/repo",
            ),
            (
                &format!("POST {hub}/info/lfs/objects/batch"),
                r#"{"objects":[{"oid":"a","size":1}],"operation":"upload"}"#,
                "huggingface lfs-batch upload resource=org/repo",
            ),
            (&format!("POST {hub}/info/lfs/objects/batch"), r#"{"objects":[]}"#, unknown),
            (&format!("POST {hub}/info/lfs/objects/batch"), r#"{"operation":"both"}"#, unknown),
            (
                &format!("POST {hub}/info/lfs/objects/batch"),
                r#"{"Operation":"upload","operation":"download"}"#,
                unknown,
            ),
            (
                &format!("POST {hub}/info/lfs/objects/verify"),
                "{}",
                "huggingface lfs-verify upload resource=org/repo",
            ),
            (
                "PUT https://git.example/t/x.git/info/lfs/objects/abc/5",
                "x",
                "git lfs-object upload resource=t/x",
            ),
            (
                "GET https://git.example/t/x.git/info/lfs/objects/abc",
                "",
                "git lfs-object download resource=t/x",
            ),
            (
                "PUT https://gitlab.com/g/p.git/gitlab-lfs/objects/abc/5",
                "x",
                "gitlab lfs-object upload resource=g/p",
            ),
            ("POST https://git.example/team/x.git/git-receive-pack", "", "git git upload resource=team/x"),
            (
                "GET https://github.com/o/r/info/refs?service=git-upload-pack",
                "",
                "github git download resource=o/r",
            ),
            ("POST https://github.com/o/r.git/info/lfs/locks", "", "github lfs-locks mutate resource=o/r"),
        ]);
    }
}
