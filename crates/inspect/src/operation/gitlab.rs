//! GitLab beside Git: its interface as far as what is stored there and what comes from there.
//!
//! Enters: a head. Leaves: a draft. Guarantees: files, packages and texts that are sent there are uploads; everything else that
//! is not a read changes something. Does not: know its many methods.

use super::graphql;
use super::request::{Draft, Request, Shape, joined};
use policy::Verb;

/// Reads a head.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let draft = |api: &'static str, verb| Draft::new(request.provider("gitlab"), api, verb);
    let is_read = request.is_read();
    let found = match segments.as_slice() {
        ["api", "graphql"] if request.method() == "POST" => {
            return graphql::draft(draft("graphql", Verb::Unknown), request).map(Some);
        }
        ["api", "graphql"] => return Err("a document of GraphQL is read of the body alone"),
        ["api", "v4", kind @ ("projects" | "groups"), id, rest @ ..] => {
            let (api, verb) = interface(request.method(), rest);
            let name = if *kind == "projects" { (*id).to_owned() } else { format!("groups/{id}") };
            draft(api, verb).resource(name)
        }
        ["api", "v4", "snippets", ..] if !is_read => draft("snippets", Verb::Upload),
        ["api", "v4", ..] => draft("rest", if is_read { Verb::Meta } else { Verb::Mutate }),
        path if is_read && file_of(path).is_some() => {
            draft("content", Verb::Download).resource(joined(file_of(path).unwrap_or_default()))
        }
        ["oauth", "token"] if request.method() == "POST" => draft("token", Verb::Authorize),
        _ => return Ok(None),
    };
    // The name of a project is one segment, encoded.
    Ok(Some(found.odd_path()))
}

/// Reads a head at a host that is not known: only what is about a project or a group.
pub(super) fn elsewhere(request: &Request<'_>) -> Shape {
    match request.segments().as_slice() {
        ["api", "v4", "projects" | "groups", _, ..] => shape(request),
        _ => Ok(None),
    }
}

/// The project of which a path names a file or an archive.
fn file_of<'a, 'b>(path: &'a [&'b str]) -> Option<&'a [&'b str]> {
    let (project, rest) = path.split_at_checked(path.iter().position(|segment| *segment == "-")?)?;
    matches!(rest, ["-", "archive" | "raw", _, _, ..]).then_some(project)
}

/// What is asked of a project or a group.
fn interface(method: &str, rest: &[&str]) -> (&'static str, Verb) {
    let is_read = matches!(method, "GET" | "HEAD");
    match rest {
        ["terraform", "state", _] if method == "POST" => ("terraform", Verb::Upload),
        ["terraform", "state", _] if is_read => ("terraform", Verb::Download),
        [
            "packages",
            "generic" | "maven" | "ml_models" | "npm" | "nuget" | "pypi" | "conan" | "debian",
            ..,
        ] if method == "PUT" || method == "POST" => ("packages", Verb::Upload),
        ["packages", "generic" | "maven" | "ml_models", _, ..] if is_read => ("packages", Verb::Download),
        ["packages", "pypi", "files", ..] if is_read => ("packages", Verb::Download),
        ["repository", file] if is_read && file.starts_with("archive") => ("content", Verb::Download),
        // Their contents are in the answer, in Base64 or as they are.
        ["repository", "files" | "blobs", _] | ["repository", "files" | "blobs", _, "raw"] if is_read => {
            ("content", Verb::Download)
        }
        ["jobs", _, "artifacts", ..] | ["jobs", "artifacts", ..] if is_read => ("content", Verb::Download),
        _ if is_read => ("rest", Verb::Meta),
        ["uploads" | "wikis" | "snippets", ..] | ["repository", "commits" | "files", ..]
            if method != "DELETE" =>
        {
            ("content", Verb::Upload)
        }
        _ => ("rest", Verb::Mutate),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn what_is_stored_there_is_an_upload() {
        let api = "https://gitlab.com/api/v4";
        check(&[
            (
                &format!("PUT {api}/projects/1/packages/generic/p/1.0/x"),
                "x",
                "gitlab packages upload resource=1",
            ),
            (
                &format!("GET {api}/projects/1/packages/generic/p/1.0/x"),
                "",
                "gitlab packages download resource=1",
            ),
            (
                &format!("POST {api}/projects/g%2Fp/repository/commits"),
                "{}",
                "gitlab content upload resource=g/p",
            ),
            (&format!("POST {api}/projects/1/uploads"), "x", "gitlab content upload resource=1"),
            (&format!("POST {api}/projects/1/issues"), "{}", "gitlab rest mutate resource=1"),
            (&format!("DELETE {api}/projects/1"), "", "gitlab rest mutate resource=1"),
            (&format!("GET {api}/projects/1"), "", "gitlab rest meta resource=1"),
            (
                &format!("GET {api}/projects/1/repository/archive.tar.gz"),
                "",
                "gitlab content download resource=1",
            ),
            ("GET https://gitlab.com/g/s/p/-/raw/main/a/x", "", "gitlab content download resource=g/s/p"),
            ("POST https://gitlab.com/g/p.git/git-receive-pack", "x", "gitlab git upload resource=g/p"),
            ("POST https://gitlab.com/api/graphql", "{}", "gitlab unknown unknown"),
        ]);
    }
}
