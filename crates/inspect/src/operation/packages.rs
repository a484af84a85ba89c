//! Indexes of packages: Python, npm, Cargo, Maven, Go, Debian.
//!
//! Enters: a head. Leaves: a draft; the resource is the package. Guarantees: publishing is an upload. Does not: read
//! what is published.

use super::request::{Draft, Request, Shape, joined};
use super::target::Target;
use policy::Verb;

/// Reads a head at a host that is not known; mirrors have some prefix before the paths.
pub(super) fn shape(request: &Request<'_>) -> Shape {
    // Of NuGet; where it is sent to is another's choice.
    if request.method() == "PUT" && request.has_header("x-nuget-apikey") {
        return Ok(Some(Draft::new("nuget", "publish", Verb::Upload)));
    }
    for read in [npm_mirror, goproxy, cargo, pypi, apt, conda, maven] {
        if let Some(draft) = read(request)? {
            return Ok(Some(draft));
        }
    }
    Ok(None)
}

/// Where managers and clouds keep packages of several kinds, and path or host say of which: Artifactory, Nexus, CodeArtifact,
/// Azure Artifacts, Artifact Registry. What is sent to them is an upload.
pub(super) fn hosted(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let host = request.head.host;
    let by_host = ["python", "npm", "maven", "go", "apt", "yum", "generic"]
        .into_iter()
        .find(|kind| host.split('.').next().is_some_and(|first| first.ends_with(&format!("-{kind}"))));
    let (kind, rest) = match segments.as_slice() {
        [_, _, rest @ ..] if host.ends_with(".pkg.dev") => match by_host {
            Some(kind) => (kind, rest),
            None => return Ok(None),
        },
        [kind, _, rest @ ..] if host.contains(".d.codeartifact.") && host.ends_with(".amazonaws.com") => {
            (*kind, rest)
        }
        [.., "_packaging", _, kind @ ("pypi" | "npm" | "maven" | "nuget" | "cargo"), _] => {
            (*kind, <&[&str]>::default())
        }
        [_, "_packaging", _, kind @ ("npm" | "maven" | "cargo"), _, rest @ ..]
        | [_, _, "_packaging", _, kind @ ("npm" | "maven" | "cargo"), _, rest @ ..] => (*kind, rest),
        [
            "artifactory",
            "api",
            kind @ ("pypi" | "npm" | "nuget" | "gems" | "conda" | "cargo" | "go" | "helm" | "composer"),
            _,
            rest @ ..,
        ]
        | ["repository", kind, rest @ ..] => (*kind, rest),
        // What administers it is there as well.
        ["artifactory", kind, rest @ ..] if *kind != "api" => (*kind, rest),
        _ => return Ok(None),
    };
    let at = segments.len() - rest.len();
    let rest = request.target.segments.get(at..).unwrap_or_default().to_vec();
    let target = Target { segments: rest, ..request.target.clone() };
    let inner = Request { target: &target, service: None, ..*request };
    let reads: [fn(&Request<'_>) -> Shape; 2] = match kind {
        "npm" => [npm, shape],
        "maven" => [maven, shape],
        _ => [pypi, shape],
    };
    for read in reads {
        if let Some(draft) = read(&inner)? {
            return Ok(Some(draft));
        }
    }
    let provider = if matches!(kind, "pypi" | "python") { "pypi" } else { "packages" };
    Ok(match request.method() {
        "PUT" | "POST" | "PATCH" => Some(Draft::new(provider, "publish", Verb::Upload).odd_path()),
        "DELETE" => Some(Draft::new(provider, "publish", Verb::Mutate).odd_path()),
        _ => None,
    })
}

/// Of the Python package index.
pub(super) fn pypi(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let draft = |api: &'static str, verb| Some(Draft::new("pypi", api, verb));
    let is_read = request.is_read();
    let is_known = request.service.is_some();
    Ok(match segments.as_slice() {
        [.., "legacy"] if request.method() == "POST" => draft("publish", Verb::Upload),
        [.., "simple"] if is_read => draft("index", Verb::Meta),
        [.., "simple", package] if is_read => {
            draft("index", Verb::Meta).map(|draft| draft.resource(normal(package)))
        }
        ["pypi", package, "json"] | ["pypi", package, _, "json"] if is_read => {
            draft("index", Verb::Meta).map(|draft| draft.resource(normal(package)))
        }
        ["integrity", package, ..] if is_read && is_known => {
            draft("index", Verb::Meta).map(|draft| draft.resource(normal(package)))
        }
        // Of indexes that have them elsewhere than in a folder `simple`.
        [.., package] if is_read && is_known && request.target.is_folder => {
            draft("index", Verb::Meta).map(|draft| draft.resource(normal(package)))
        }
        ["_", "oidc", "audience"] if is_read && is_known => draft("token", Verb::Meta),
        ["_", "oidc", "mint-token"] if request.method() == "POST" => {
            draft("token", Verb::Authorize).map(|draft| draft.intent(Some(Verb::Upload)))
        }
        [.., "packages", _, _, _, file] | [.., "packages", _, file] | [.., file] if is_read => {
            distribution(file, is_known)
                .and_then(|name| draft("package", Verb::Download).map(|draft| draft.resource(name)))
        }
        _ => None,
    })
}

/// The project of a file: `name-version-tags.whl`, `name-version.tar.gz`, each with its metadata or signature.
/// A zip is anything but at an index.
fn distribution(file: &str, is_index: bool) -> Option<String> {
    let file =
        [".metadata", ".asc", ".provenance"].iter().find_map(|end| file.strip_suffix(end)).unwrap_or(file);
    if let Some(wheel) = file.strip_suffix(".whl") {
        return wheel.split_once('-').map(|(name, _)| normal(name));
    }
    let source = [".tar.gz", ".tar.bz2", ".egg"].iter().find_map(|end| file.strip_suffix(end));
    let source = source.or_else(|| file.strip_suffix(".zip").filter(|_| is_index))?;
    let (name, version) = source.rsplit_once('-')?;
    version.starts_with(|first: char| first.is_ascii_digit()).then(|| normal(name))
}

/// Lower case, with one dash for what stands between words (PEP 503).
fn normal(name: &str) -> String {
    let words: Vec<_> = name.split(['-', '_', '.']).filter(|word| !word.is_empty()).collect();
    words.join("-").to_ascii_lowercase()
}

/// Of npm at a host that is not known: only what nobody else has.
fn npm_mirror(request: &Request<'_>) -> Shape {
    let has_dash = request.target.segments.iter().any(|segment| segment == "-");
    let is_npm = !request.is_read() && request.has_header("npm-command");
    if has_dash || is_npm { npm(request) } else { Ok(None) }
}

/// An index that npm's client says it asks for, at a host that is not known. Who sends a request chooses that field and the path could
/// be anything's, so this is a download, which is more than an index takes.
pub(super) fn npm_client(request: &Request<'_>) -> Shape {
    if !request.is_read() || !request.has_header("npm-command") {
        return Ok(None);
    }
    Ok(npm(request)?.map(|mut draft| {
        draft.operation.verb = Verb::Download;
        draft
    }))
}

/// Of npm.
pub(super) fn npm(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let is_read = request.is_read();
    // Where GitHub's registry has the files.
    if let (true, ["download", scope, name, _, _]) = (is_read, segments.as_slice()) {
        let draft = Draft::new("npm", "package", Verb::Download).resource(format!("{scope}/{name}"));
        return Ok(request.service.map(|_| draft));
    }
    // A scoped name comes as two segments or as one with an encoded slash.
    let (package, rest) = match segments.as_slice() {
        [scope, name, rest @ ..] if scope.starts_with('@') && !scope.contains('/') => {
            (format!("{scope}/{name}"), rest)
        }
        [name, rest @ ..] => ((*name).to_owned(), rest),
        [] => return Ok(is_read.then(|| Draft::new("npm", "info", Verb::Meta))),
    };
    if package == "-" {
        return Ok(npm_service(request.method(), rest));
    }
    if package.matches('/').count() > usize::from(package.starts_with('@')) {
        return Err("the name of the package is none");
    }
    let (api, verb) = match (request.method(), rest) {
        (_, ["-", _]) | (_, ["-", _, _]) if is_read => ("package", Verb::Download),
        (_, [] | [_]) if is_read => ("index", Verb::Meta),
        ("PUT", []) | ("PUT", ["-rev", _]) => ("publish", Verb::Upload),
        ("DELETE", ["-rev", _] | ["-", _, "-rev", _]) => ("publish", Verb::Mutate),
        _ => return Ok(None),
    };
    Ok(Some(Draft::new("npm", api, verb).resource(package).odd_path()))
}

/// What the registry does beside packages.
fn npm_service(method: &str, rest: &[&str]) -> Option<Draft> {
    let is_read = matches!(method, "GET" | "HEAD");
    let draft = |api: &'static str, verb| Some(Draft::new("npm", api, verb).odd_path());
    match rest {
        ["user", _] | ["v1", "login"] | ["v1", "done"] => draft("token", Verb::Authorize),
        // For publishing.
        ["npm", "v1", "oidc", "token", "exchange", "package", package, ..] => {
            draft("token", Verb::Authorize).map(|draft| draft.resource(*package).intent(Some(Verb::Upload)))
        }
        ["npm", "v1", "oidc", ..] => draft("token", Verb::Authorize),
        ["npm", "v1", "tokens", ..] if method == "POST" => draft("token", Verb::Authorize),
        // It tells which packages are used and stores nothing: what a client tells by fetching them, too.
        ["npm", "v1", "security", "audits"]
        | ["npm", "v1", "security", "audits", "quick"]
        | ["npm", "v1", "security", "advisories", "bulk"]
            if method == "POST" =>
        {
            draft("audit", Verb::Meta)
        }
        ["package", package, "dist-tags", ..] | ["package", package, ..] => {
            let verb = if is_read { Verb::Meta } else { Verb::Mutate };
            draft("dist-tags", verb).map(|draft| draft.resource(*package))
        }
        ["ping" | "whoami" | "all"] | ["v1", "search"] | ["npm", ..] if is_read => draft("info", Verb::Meta),
        ["npm", ..] | ["org" | "team", ..] if !is_read => draft("account", Verb::Mutate),
        _ => None,
    }
}

/// Of Cargo.
pub(super) fn cargo(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let is_read = request.is_read();
    let is_known = request.service.is_some();
    let draft = |api: &'static str, verb, name: &str| Some(Draft::new("cargo", api, verb).resource(name));
    Ok(match (request.method(), segments.as_slice()) {
        ("PUT", [.., "api", "v1", "crates", "new"]) => draft("publish", Verb::Upload, ""),
        (_, [.., "api", "v1", "crates", name, _, "download"]) if is_read => {
            draft("package", Verb::Download, name)
        }
        ("DELETE", [.., "api", "v1", "crates", name, _, "yank"]) => draft("yank", Verb::Mutate, name),
        ("PUT", [.., "api", "v1", "crates", name, _, "unyank"]) => draft("yank", Verb::Mutate, name),
        ("PUT" | "DELETE", [.., "api", "v1", "crates", name, "owners"]) => {
            draft("owners", Verb::Mutate, name)
        }
        (_, [.., "api", "v1", "crates"]) if is_read => draft("index", Verb::Meta, ""),
        (_, [.., "api", "v1", "crates", name] | [.., "api", "v1", "crates", name, _]) if is_read => {
            draft("index", Verb::Meta, name)
        }
        (_, ["api", "v1", "crates", name, ..]) if is_read && is_known => draft("index", Verb::Meta, name),
        ("PATCH" | "DELETE", ["api", "v1", "crates", name] | ["api", "v1", "crates", name, _])
            if is_known =>
        {
            draft("owners", Verb::Mutate, name)
        }
        ("DELETE", ["api", "v1", "trusted_publishing", "tokens"]) => draft("token", Verb::Mutate, ""),
        ("PUT" | "POST", ["api", "v1", "me", "tokens"]) if is_known => draft("token", Verb::Authorize, ""),
        (_, ["api", "v1", "me", ..]) if is_read && is_known => draft("account", Verb::Meta, ""),
        ("POST" | "PUT", ["api", "v1", "trusted_publishing", "tokens"]) => {
            draft("token", Verb::Authorize, "").map(|draft| draft.intent(Some(Verb::Upload)))
        }
        (_, ["crates", name, ..]) if is_read && is_known => draft("package", Verb::Download, name),
        (_, ["config.json"]) if is_read && is_known => draft("index", Verb::Meta, ""),
        // Folders of the index: 1/a, 2/ab, 3/a/abc, ab/cd/abcd.
        (_, ["1" | "2", name] | [_, _, name]) if is_read && is_known => draft("index", Verb::Meta, name),
        _ => None,
    })
}

/// Of Maven: a file in a folder of group, artifact and version.
pub(super) fn maven(request: &Request<'_>) -> Shape {
    const FILES: [&str; 8] = [".pom", ".jar", ".aar", ".war", ".module", ".klib", ".tar.gz", ".zip"];
    let segments = request.segments();
    let [folder @ .., file] = segments.as_slice() else { return Ok(None) };
    let plain = [".sha1", ".md5", ".sha256", ".sha512", ".asc"];
    let plain = plain.iter().find_map(|end| file.strip_suffix(end)).unwrap_or(file);
    let is_index = plain == "maven-metadata.xml";
    // A file's name begins with that of its artifact, which is the folder above its version.
    let artifact = folder.len().checked_sub(2).and_then(|at| folder.get(at)).copied().unwrap_or_default();
    let is_file =
        FILES.iter().any(|end| plain.ends_with(end)) && plain.starts_with(artifact) && !artifact.is_empty();
    if !is_index && !is_file {
        return Ok(None);
    }
    let (api, verb) = match request.method() {
        "GET" | "HEAD" if is_index => ("index", Verb::Meta),
        "GET" | "HEAD" => ("package", Verb::Download),
        "PUT" => ("publish", Verb::Upload),
        _ => return Ok(None),
    };
    let named =
        if is_file { folder.get(..folder.len().saturating_sub(1)).unwrap_or_default() } else { folder };
    let named = match named {
        ["maven2", rest @ ..] if request.service.is_some() => rest,
        rest => rest,
    };
    Ok(Some(Draft::new("maven", api, verb).resource(joined(named))))
}

/// Of the Go module proxy and its checksum database.
pub(super) fn goproxy(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let draft = |api: &'static str, verb, module: &[&str]| {
        Some(Draft::new("goproxy", api, verb).resource(unescaped(&joined(module))))
    };
    if !request.is_read() {
        return Ok(None);
    }
    Ok(match segments.as_slice() {
        [module @ .., "@v", file] if file.ends_with(".zip") => draft("package", Verb::Download, module),
        [module @ .., "@v", file] if *file == "list" || file.ends_with(".info") || file.ends_with(".mod") => {
            draft("index", Verb::Meta, module)
        }
        [module @ .., "@latest"] => draft("index", Verb::Meta, module),
        ["lookup" | "tile" | "latest" | "supported", ..] | ["sumdb", ..] if request.service.is_some() => {
            draft("checksums", Verb::Meta, &[])
        }
        _ => None,
    })
}

/// Upper case is an exclamation mark and lower case (`golang.org/x/mod/module`).
fn unescaped(module: &str) -> String {
    let mut parts = module.split('!');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    text
}

/// Of archives of Linux distributions: Debian's, and those of RPM and apk.
pub(super) fn apt(request: &Request<'_>) -> Shape {
    const SOURCES: [&str; 5] = [".dsc", ".tar.xz", ".tar.gz", ".tar.bz2", ".asc"];
    let segments = request.segments();
    let [folder @ .., file] = segments.as_slice() else { return Ok(None) };
    if !request.is_read() {
        return Ok(None);
    }
    let package = |provider, end: char| {
        let name = file.split(end).next().unwrap_or_default();
        Some(Draft::new(provider, "package", Verb::Download).resource(name))
    };
    let index = |provider| Some(Draft::new(provider, "index", Verb::Meta));
    Ok(if has_end(file, &[".deb", ".udeb"]) || folder.contains(&"pool") && has_end(file, &SOURCES) {
        package("apt", '_')
    } else if file.ends_with(".rpm") {
        package("rpm", '-')
    } else if file.ends_with(".apk") {
        package("apk", '-')
    } else if segments.contains(&"dists") {
        index("apt")
    } else if folder.last() == Some(&"repodata") {
        index("rpm")
    } else if *file == "APKINDEX.tar.gz" {
        index("apk")
    } else {
        None
    })
}

/// Of conda: a folder for each platform, with what is in it.
pub(super) fn conda(request: &Request<'_>) -> Shape {
    let segments = request.segments();
    let is_known = request.service.is_some();
    let [_, .., file] = segments.as_slice() else { return Ok(None) };
    if !request.is_read() {
        return Ok(None);
    }
    let is_index = ["repodata", "current_repodata", "channeldata"]
        .iter()
        .any(|start| file.strip_prefix(start).is_some_and(|rest| rest.starts_with(".json")));
    // An older form has an end that others have too.
    let package = file.strip_suffix(".conda").or_else(|| file.strip_suffix(".tar.bz2").filter(|_| is_known));
    // name-version-build
    let name = package.and_then(|package| package.rsplitn(3, '-').nth(2));
    Ok(match name {
        Some(name) => Some(Draft::new("conda", "package", Verb::Download).resource(name)),
        None => is_index.then(|| Draft::new("conda", "index", Verb::Meta)),
    })
}

fn has_end(file: &str, ends: &[&str]) -> bool {
    ends.iter().any(|end| file.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn fetching_is_a_download_and_publishing_an_upload() {
        check(&[
            ("GET https://pypi.org/simple/Foo.Bar/", "", "pypi index meta resource=foo-bar"),
            ("GET https://pypi.org/pypi/requests/json", "", "pypi index meta resource=requests"),
            (
                "GET https://files.pythonhosted.org/packages/aa/bb/cc/foo_bar-1.0-py3-none-any.whl",
                "",
                "pypi package download resource=foo-bar",
            ),
            (
                "GET https://files.pythonhosted.org/packages/aa/bb/cc/foo-bar-1.0.tar.gz",
                "",
                "pypi package download resource=foo-bar",
            ),
            ("POST https://upload.pypi.org/legacy/", "", "pypi publish upload"),
            ("POST https://pypi.org/_/oidc/mint-token", "", "pypi token authorize intent=upload"),
            ("GET https://mirror.example/pypi/simple/requests/", "", "pypi index meta resource=requests"),
            ("GET https://registry.yarnpkg.com/left-pad", "", "npm index meta resource=left-pad"),
            ("GET https://registry.yarnpkg.com/@a%2fb", "", "npm index meta resource=@a/b"),
            ("GET https://registry.yarnpkg.com/@a/b/-/b-1.0.0.tgz", "", "npm package download resource=@a/b"),
            ("PUT https://registry.yarnpkg.com/left-pad", "{}", "npm publish upload resource=left-pad"),
            ("PUT https://registry.yarnpkg.com/@a%2fb", "{}", "npm publish upload resource=@a/b"),
            ("PUT https://registry.yarnpkg.com/-/user/org.couchdb.user:me", "{}", "npm token authorize"),
            ("POST https://registry.yarnpkg.com/-/v1/login", "{}", "npm token authorize"),
            ("POST https://registry.yarnpkg.com/-/npm/v1/security/advisories/bulk", "{}", "npm audit meta"),
            (
                "PUT https://registry.yarnpkg.com/-/package/left-pad/dist-tags/latest",
                "",
                "npm dist-tags mutate resource=left-pad",
            ),
            (
                "DELETE https://registry.yarnpkg.com/left-pad/-rev/1",
                "",
                "npm publish mutate resource=left-pad",
            ),
            ("GET https://registry.yarnpkg.com/a%2fb%2fc", "", "npm unknown unknown"),
            (
                "GET https://mirror.example/left-pad/-/left-pad-1.0.0.tgz",
                "",
                "npm package download resource=left-pad",
            ),
            ("GET https://index.crates.io/se/rd/serde", "", "cargo index meta resource=serde"),
            ("GET https://index.crates.io/config.json", "", "cargo index meta"),
            (
                "GET https://static.crates.io/crates/serde/serde-1.0.0.crate",
                "",
                "cargo package download resource=serde",
            ),
            (
                "GET https://crates.io/api/v1/crates/serde/1.0.0/download",
                "",
                "cargo package download resource=serde",
            ),
            ("PUT https://crates.io/api/v1/crates/new", "", "cargo publish upload"),
            (
                "DELETE https://crates.io/api/v1/crates/serde/1.0.0/yank",
                "",
                "cargo yank mutate resource=serde",
            ),
            ("PUT https://mirror.example/api/v1/crates/new", "", "cargo publish upload"),
            (
                "GET https://repo1.maven.org/maven2/org/x/a/1.0/a-1.0.jar",
                "",
                "maven package download resource=org/x/a",
            ),
            (
                "GET https://repo1.maven.org/maven2/org/x/a/maven-metadata.xml",
                "",
                "maven index meta resource=org/x/a",
            ),
            ("PUT https://nexus.example/org/x/a/1.0/a-1.0.pom", "", "maven publish upload resource=org/x/a"),
            (
                "GET https://proxy.golang.org/github.com/!burnt!sushi/toml/@v/v1.0.0.zip",
                "",
                "goproxy package download resource=github.com/BurntSushi/toml",
            ),
            (
                "GET https://proxy.golang.org/golang.org/x/mod/@v/list",
                "",
                "goproxy index meta resource=golang.org/x/mod",
            ),
            (
                "GET https://proxy.golang.org/golang.org/x/mod/@latest",
                "",
                "goproxy index meta resource=golang.org/x/mod",
            ),
            ("GET https://sum.golang.org/lookup/golang.org/x/mod@v0.1.0", "", "goproxy checksums meta"),
            ("GET https://ftp.de.debian.org/debian/dists/stable/InRelease", "", "apt index meta"),
            (
                "GET https://ftp.de.debian.org/debian/pool/main/c/curl/curl_8.0-1_amd64.deb",
                "",
                "apt package download resource=curl",
            ),
            ("PUT https://ftp.de.debian.org/debian/pool/main/c/curl/x.deb", "", "apt unknown unknown"),
            ("GET https://mirror.example/x86_64/cuda_12.deb", "", "apt package download resource=cuda"),
            (
                "GET https://mirror.example/Packages/curl-8.0.x86_64.rpm",
                "",
                "rpm package download resource=curl",
            ),
            ("GET https://mirror.example/os/repodata/repomd.xml", "", "rpm index meta"),
            (
                "GET https://mirror.example/main/x86_64/curl-8.0-r0.apk",
                "",
                "apk package download resource=curl",
            ),
            ("GET https://mirror.example/main/x86_64/APKINDEX.tar.gz", "", "apk index meta"),
            (
                "GET https://conda.anaconda.org/conda-forge/linux-64/scikit-learn-1.0-py310_0.conda",
                "",
                "conda package download resource=scikit-learn",
            ),
            (
                "GET https://repo.anaconda.com/pkgs/main/linux-64/numpy-1.0-py310_0.tar.bz2",
                "",
                "conda package download resource=numpy",
            ),
            ("GET https://conda.anaconda.org/conda-forge/noarch/repodata.json.zst", "", "conda index meta"),
            ("POST https://api.anaconda.org/stage/o/p/1.0/x.conda", "{}", "conda publish upload"),
            (
                "GET https://files.pythonhosted.org/packages/a/b/c/foo-1.0.zip",
                "",
                "pypi package download resource=foo",
            ),
            ("GET https://download.pytorch.org/whl/cu121/torch/", "", "pypi index meta resource=torch"),
            (
                "POST https://registry.yarnpkg.com/-/npm/v1/oidc/token/exchange/package/left-pad",
                "{}",
                "npm token authorize intent=upload resource=left-pad",
            ),
            (
                "GET https://npm.pkg.github.com/download/@a/b/1.0.0/sha",
                "",
                "npm package download resource=@a/b",
            ),
            ("PUT https://npm.pkg.github.com/@a%2fb", "{}", "npm publish upload resource=@a/b"),
            (
                "GET https://crates.io/api/v1/crates/serde/1.0.0/dependencies",
                "",
                "cargo index meta resource=serde",
            ),
            ("DELETE https://crates.io/api/v1/crates/serde", "", "cargo owners mutate resource=serde"),
            (
                "GET https://repo1.maven.org/maven2/org/x/a/1.0/a-1.0.zip",
                "",
                "maven package download resource=org/x/a",
            ),
        ]);
    }
}
