//! Object stores: S3 and what looks like it, Azure Blob.
//!
//! Enters: a head. Leaves: a draft; resources are `bucket/key`. Guarantees: copying within a store is an upload, and has what it
//! copies as its source; a request with two sub-resources, of which servers could take either, is an error. Does not: check signatures.

use super::hosts;
use super::request::{Draft, Request, Shape, joined};
use super::target;
use policy::Verb;

/// Parameters that make it a request about something of a bucket or an object.
const SUBRESOURCES: &[&str] = &[
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataAnnotationTable",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploads",
    "versioning",
    "versions",
    "website",
];

/// Reads a head of S3.
pub(super) fn s3(request: &Request<'_>) -> Shape {
    if let Some(bucket) = request.service.and_then(|_| hosts::bucket_of(request.head.host)) {
        return like_s3(request, request.provider("s3"), &bucket);
    }
    // Of version 2 and of version 4.
    let is_signed = request
        .header("authorization")?
        .is_some_and(|value| value.contains("/s3/aws4_request") || value.starts_with("AWS "));
    let is_presigned = request.parameter("X-Amz-Credential")?.is_some_and(|scope| scope.contains("/s3/"))
        || request.has_parameter("AWSAccessKeyId") && request.has_parameter("Signature");
    let is_meant = is_signed || is_presigned || request.has_header("x-amz-content-sha256");
    if !is_meant {
        return Ok(None);
    }
    // MinIO's own: no bucket can have its name, and what administers it is signed as requests for objects are.
    if request.segments().first() == Some(&"minio") {
        return Ok(Some(Draft::new("s3-compatible", "configuration", Verb::Admin).odd_path()));
    }
    let found = like_s3(request, "s3-compatible", "")?;
    Ok(found.map(|draft| {
        if request.segments().len() == 1 { of_one_name(request, draft, is_presigned) } else { draft }
    }))
}

/// One name in the path is that of a bucket, or of an object whose bucket a host names of which nothing is known.
fn of_one_name(request: &Request<'_>, mut draft: Draft, is_presigned: bool) -> Draft {
    // Of nothing, as a bucket is made.
    const EMPTY: &[u8] = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let is_empty = |(name, value): &(&str, &[u8])| {
        *name == "content-length" && *value == b"0" || *name == "x-amz-content-sha256" && *value == EMPTY
    };
    let operation = &mut draft.operation;
    if operation.api == "bucket" && !request.head.headers.iter().any(is_empty) {
        (operation.api, operation.verb) = ("object".into(), Verb::Upload);
    }
    // URLs are signed for objects.
    let is_listed = ["list-type", "prefix", "delimiter"].iter().any(|name| request.has_parameter(name));
    if operation.api == "list" && is_presigned && !is_listed && !request.has_parameter("versions") {
        (operation.api, operation.verb) = ("object".into(), Verb::Download);
    }
    draft
}

/// Reads a head of S3's interface. The bucket is in the path where none is given.
pub(super) fn like_s3(request: &Request<'_>, provider: &'static str, bucket: &str) -> Shape {
    let segments = request.segments();
    let (bucket, key) = match (bucket, segments.as_slice()) {
        ("", []) => ("", ""),
        ("", [bucket, ..]) if bucket.contains('/') || bucket.is_empty() => {
            return Err("the name of the bucket is none");
        }
        ("", [bucket, key @ ..]) => (*bucket, &*joined(key)),
        (bucket, key) => (bucket, &*joined(key)),
    };
    let slash = if request.target.is_folder && !key.is_empty() { "/" } else { "" };
    let Some((api, verb)) = verb_of_s3(request, bucket, key)? else { return Ok(None) };
    let draft = Draft::new(provider, api, verb).odd_path();
    let mode = request.header("x-amz-create-session-mode")?;
    let intent = if mode == Some("ReadOnly") { Verb::Download } else { Verb::Upload };
    let draft = draft.intent(Some(intent).filter(|_| verb == Verb::Authorize));
    let draft = if request.method() == "PUT" { draft.from(copied(request, bucket)?) } else { draft };
    Ok(Some(if bucket.is_empty() { draft } else { draft.resource(format!("{bucket}/{key}{slash}")) }))
}

/// What a server is to copy or to rename, as `bucket/key`, or the name of an access point with a key.
fn copied(request: &Request<'_>, bucket: &str) -> Result<Vec<String>, &'static str> {
    let mut sources = Vec::new();
    for (name, within) in
        [("x-amz-copy-source", ""), ("x-goog-copy-source", ""), ("x-amz-rename-source", bucket)]
    {
        // Of a URL that is signed, fields may be in the query.
        if request.parameter(name)?.is_some() {
            return Err("what is to be copied is named in the query, where only some servers look for it");
        }
        let Some(value) = request.header(name)? else { continue };
        // What is behind a question mark is the version.
        let path = target::decode(value.split('?').next().unwrap_or_default(), false)?;
        if has_dots(&path) {
            return Err("what is to be copied has dot segments, which servers resolve differently");
        }
        let path = path.strip_prefix('/').unwrap_or(&path);
        sources.push(if within.is_empty() { path.to_owned() } else { format!("{within}/{path}") });
    }
    // Of Cloud Storage: its body names objects of the same bucket.
    if request.has_parameter("compose") {
        sources.push(format!("{bucket}/"));
    }
    Ok(sources)
}

fn has_dots(path: &str) -> bool {
    path.split(['/', '\\']).any(|part| matches!(part, "." | ".."))
}

fn verb_of_s3(
    request: &Request<'_>,
    bucket: &str,
    key: &str,
) -> Result<Option<(&'static str, Verb)>, &'static str> {
    let about = subresource(request)?;
    let is_object = !key.is_empty();
    let has_upload = request.parameter("uploadId")?.is_some();
    let is_copy = request.has_header("x-amz-copy-source") || request.has_header("x-goog-copy-source");
    // What can be put of an object.
    let of_objects: &[&str] = match request.provider("s3-compatible") {
        "s3" => &["acl", "encryption", "legal-hold", "retention", "tagging"],
        "gcs" => &["acl"],
        _ => &["acl", "legal-hold", "retention", "tagging"],
    };
    if has_upload && about.is_some() {
        return Err("it is about two things of an object");
    }
    Ok(Some(match (request.method(), about) {
        ("GET", Some("session")) => ("session", Verb::Authorize),
        ("GET" | "HEAD", Some("annotation" | "torrent")) => ("object", Verb::Download),
        ("GET" | "HEAD", Some("uploads" | "versions")) => ("list", Verb::Meta),
        ("GET" | "HEAD", Some(_)) => ("configuration", Verb::Meta),
        ("GET" | "HEAD", None) if has_upload => ("multipart", Verb::Meta),
        ("GET" | "HEAD", None) if is_object => ("object", Verb::Download),
        ("GET" | "HEAD", None) => ("list", Verb::Meta),
        ("PUT", Some("renameObject")) => ("copy", Verb::Upload),
        // Of an object only these can be put. A store that does not know another takes the body for the object, and an
        // annotation is as good as one.
        ("PUT", Some(about)) if is_object && !of_objects.contains(&about) => ("object", Verb::Upload),
        ("PUT", Some(_)) => ("configuration", Verb::Mutate),
        ("PUT", None) if is_copy && is_object => ("copy", Verb::Upload),
        ("PUT", None) if has_upload => ("multipart", Verb::Upload),
        ("PUT", None) if is_object => ("object", Verb::Upload),
        ("PUT", None) if !bucket.is_empty() => ("bucket", Verb::Mutate),
        // A form that a browser sends.
        ("POST", _) if request.content_type()? == "multipart/form-data" => ("object", Verb::Upload),
        ("POST", Some("uploads")) => ("multipart", Verb::Upload),
        ("POST", Some("select")) if is_object => ("select", Verb::Download),
        ("POST", Some("delete")) => ("delete", Verb::Mutate),
        ("POST", Some(_)) => ("configuration", Verb::Mutate),
        ("POST", None) if has_upload => ("multipart", Verb::Upload),
        // Its answer says where to send the object.
        ("POST", None) if request.has_header("x-goog-resumable") => ("object", Verb::Upload),
        ("DELETE", _) => ("delete", Verb::Mutate),
        _ => return Ok(None),
    }))
}

/// The one thing of a bucket or an object that it is about.
fn subresource(request: &Request<'_>) -> Result<Option<&'static str>, &'static str> {
    let is_there = |name: &&str| request.has_parameter(name);
    let mut found = SUBRESOURCES.iter().copied().filter(is_there);
    let about = found.next();
    if found.next().is_some() {
        return Err("it is about two things of a bucket or an object");
    }
    about.map_or(Ok(None), |about| request.parameter(about).map(|_| Some(about)))
}

/// What else can be put of an account, a container or a blob, of a share or a file, and patched of a path of Data Lake.
/// <https://learn.microsoft.com/en-us/rest/api/storageservices/>
const OF_AZURE: &[&str] = &[
    "acl",
    "copy",
    "directory",
    "expiry",
    "filepermission",
    "forceclosehandles",
    "hardlink",
    "immutabilitypolicies",
    "lease",
    "legalhold",
    "metadata",
    "properties",
    "seal",
    "setaccesscontrol",
    "setaccesscontrolrecursive",
    "setproperties",
    "snapshot",
    "symboliclink",
    "tags",
    "tier",
    "undelete",
];

/// Reads a head of Azure Blob.
pub(super) fn azure_blob(request: &Request<'_>) -> Shape {
    if request.service.is_none()
        && !request.has_header("x-ms-version")
        && !request.has_header("x-ms-blob-type")
        // A URL that is signed.
        && !["sv", "sr", "sig"].iter().all(|name| request.has_parameter(name))
    {
        return Ok(None);
    }
    let provider = request.provider("azure-blob-compatible");
    let segments = request.segments();
    // Some do not mind the case of a parameter; who does takes the body for the object.
    let is_in_capitals = |(name, _): &(String, String)| name != "comp" && name.eq_ignore_ascii_case("comp");
    if request.method() == "PUT"
        && !request.has_parameter("comp")
        && request.target.query.iter().any(is_in_capitals)
    {
        return Ok(Some(Draft::new(provider, "object", Verb::Upload).resource(joined(&segments)).odd_path()));
    }
    let about =
        match (request.parameter("comp")?, request.parameter("restype")?, request.parameter("action")?) {
            // Of Data Lake: `file` and `directory` are objects, the rest is not.
            (None, None, None) => {
                request.parameter("resource")?.filter(|kind| matches!(*kind, "account" | "filesystem"))
            }
            _ if request.has_parameter("resource") && !request.is_read() => {
                return Err("it is about two things of an object");
            }
            (Some(about), _, None) | (None, Some(about), None) | (None, None, Some(about)) => Some(about),
            (_, _, _) => return Err("it is about two things of an object"),
        };
    let is_copy = request.has_header("x-ms-copy-source");
    // Emulators have the name of the account in the path.
    let is_top = segments.len() == 1 || request.service.is_none() && segments.len() == 2;
    // Case makes no difference there.
    let about = about.map(str::to_ascii_lowercase);
    if about.as_deref() == Some("") {
        return Err("it does not say what of an object it is about");
    }
    let (api, verb) = match (request.method(), about.as_deref()) {
        // One name is an object's, in the container that has none.
        ("GET" | "HEAD", None) if !segments.is_empty() => ("object", Verb::Download),
        ("GET" | "HEAD", Some("list" | "filesystem")) => ("list", Verb::Meta),
        ("GET" | "HEAD", _) => ("configuration", Verb::Meta),
        ("PUT", None) if is_copy => ("copy", Verb::Upload),
        ("PUT", None) => ("object", Verb::Upload),
        ("PUT", Some("block" | "blocklist" | "appendblock" | "page" | "range")) => ("object", Verb::Upload),
        ("PUT", Some("incrementalcopy" | "rename")) => ("copy", Verb::Upload),
        ("PATCH", Some("append" | "flush")) => ("object", Verb::Upload),
        // What makes one of these says so of a path with one name.
        ("PUT", Some("container" | "share")) if is_top => ("configuration", Verb::Mutate),
        ("PUT" | "PATCH", Some("filesystem")) if is_top => ("configuration", Verb::Mutate),
        ("PUT" | "PATCH", Some(about)) if OF_AZURE.contains(&about) => ("configuration", Verb::Mutate),
        ("POST", Some("query")) => ("select", Verb::Download),
        ("POST", Some("userdelegationkey")) => ("session", Verb::Authorize),
        // It deletes, or sets tiers.
        ("POST", Some("batch")) => ("delete", Verb::Mutate),
        ("DELETE", _) => ("delete", Verb::Mutate),
        _ => return Ok(None),
    };
    let sources = if request.is_read() { Vec::new() } else { copied_in_azure(request)? };
    Ok(Some(Draft::new(provider, api, verb).resource(joined(&segments)).from(sources).odd_path()))
}

/// What a server is to copy or to rename: `container/blob` of the same account, or the URL of what is elsewhere.
fn copied_in_azure(request: &Request<'_>) -> Result<Vec<String>, &'static str> {
    let mut sources = Vec::new();
    // A container is renamed by name.
    if let Some(name) = request.header("x-ms-source-container-name")? {
        sources.push(format!("{name}/"));
    }
    for name in ["x-ms-copy-source", "x-ms-rename-source", "x-ms-file-rename-source"] {
        let Some(value) = request.header(name)? else { continue };
        let plain = value.split(['?', '#']).next().unwrap_or_default();
        if has_dots(&target::decode(plain, false)?) {
            return Err("what is to be copied has dot segments, which servers resolve differently");
        }
        let (scheme, rest) = plain.split_once("://").unwrap_or(("", plain));
        let is_url = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
        sources.push(match rest.split_once('/') {
            Some((host, path)) if is_url && host.eq_ignore_ascii_case(request.head.host) => {
                target::decode(path, false)?
            }
            Some(("", path)) if name == "x-ms-rename-source" => target::decode(path, false)?,
            _ if is_url => plain.to_owned(),
            // Of an account that it names in a form of its own.
            _ => String::new(),
        });
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::super::sample::check;

    #[test]
    fn requests_of_s3_are_what_they_do() {
        let host = "https://b.s3.eu-west-1.amazonaws.com";
        let path = "https://s3.eu-west-1.amazonaws.com";
        let unknown = "s3 unknown unknown";
        check(&[
            (&format!("GET {host}/a/k"), "", "s3 object download resource=b/a/k"),
            (&format!("HEAD {host}/k"), "", "s3 object download resource=b/k"),
            (&format!("GET {path}/b/a//k/"), "", "s3 object download resource=b/a//k/"),
            (&format!("GET {host}/?list-type=2&prefix=x"), "", "s3 list meta resource=b/"),
            (&format!("GET {path}/"), "", "s3 list meta"),
            (&format!("PUT {host}/k"), "x", "s3 object upload resource=b/k"),
            (&format!("PUT {path}/b/k"), "x", "s3 object upload resource=b/k"),
            (&format!("POST {host}/k?uploads"), "", "s3 multipart upload resource=b/k"),
            (&format!("PUT {host}/k?partNumber=1&uploadId=u"), "", "s3 multipart upload resource=b/k"),
            (&format!("POST {host}/k?uploadId=u"), "", "s3 multipart upload resource=b/k"),
            (
                &format!("POST {host}/\ncontent-type: multipart/form-data; boundary=x"),
                "",
                "s3 object upload resource=b/",
            ),
            (&format!("PUT {host}/k\nx-amz-copy-source: /x/y"), "", "s3 copy upload resource=b/k from=x/y"),
            (
                &format!("PUT {host}/k\nx-amz-copy-source: x/a%2Fb%3Fc?versionId=1"),
                "",
                "s3 copy upload resource=b/k from=x/a/b?c",
            ),
            (
                &format!("PUT {host}/k?uploadId=u&partNumber=1\nx-amz-copy-source: x/y"),
                "",
                "s3 copy upload resource=b/k from=x/y",
            ),
            (
                &format!("PUT {host}/k?renameObject\nx-amz-rename-source: /y"),
                "",
                "s3 copy upload resource=b/k from=b/y",
            ),
            (&format!("PUT {host}/k\nx-amz-copy-source: x/y\nx-amz-copy-source: x/z"), "", unknown),
            (&format!("PUT {host}/?policy"), "", "s3 configuration mutate resource=b/"),
            (&format!("PUT {host}/k?acl"), "", "s3 configuration mutate resource=b/k"),
            (&format!("PUT {host}/?replication"), "", "s3 configuration mutate resource=b/"),
            (&format!("GET {host}/?acl"), "", "s3 configuration meta resource=b/"),
            (&format!("POST {host}/k?select&select-type=2"), "", "s3 select download resource=b/k"),
            (&format!("POST {host}/?delete"), "", "s3 delete mutate resource=b/"),
            (&format!("DELETE {host}/k"), "", "s3 delete mutate resource=b/k"),
            (&format!("PUT {path}/b"), "", "s3 bucket mutate resource=b/"),
            (
                &format!("GET {host}/?session\nx-amz-create-session-mode: ReadOnly"),
                "",
                "s3 session authorize intent=download resource=b/",
            ),
            (&format!("GET {host}/?session"), "", "s3 session authorize intent=upload resource=b/"),
            (&format!("POST {host}/k?select&delete"), "", unknown),
            (&format!("POST {host}/k?uploads&uploadId=u"), "", unknown),
            (&format!("POST {host}/k"), "", unknown),
            (&format!("GET {path}/b%2Fx/k"), "", unknown),
            (&format!("GET {path}/b/../c/k"), "", unknown),
            (
                "PUT https://hf-hub-lfs-us-east-1.s3-accelerate.amazonaws.com/repos/x?X-Amz-Credential=A%2Fd",
                "",
                "s3 object upload resource=hf-hub-lfs-us-east-1/repos/x",
            ),
            (
                "PUT http://minio:9000/b/k\nx-amz-content-sha256: UNSIGNED-PAYLOAD",
                "",
                "s3-compatible object upload resource=b/k",
            ),
            (
                "GET http://minio:9000/b/k?X-Amz-Credential=A%2Fd%2Feu%2Fs3%2Faws4_request",
                "",
                "s3-compatible object download resource=b/k",
            ),
            ("GET http://minio:9000/b/k", "", "- unknown unknown"),
            (&format!("POST {host}/?metadataConfiguration"), "", "s3 configuration mutate resource=b/"),
            (
                "GET http://minio:9000/b/k\nauthorization: AWS AKIA1:x",
                "",
                "s3-compatible object download resource=b/k",
            ),
            (
                "PUT http://minio:9000/b/k?AWSAccessKeyId=AKIA1&Expires=1&Signature=x",
                "x",
                "s3-compatible object upload resource=b/k",
            ),
            (
                "PUT https://b.acct.r2.cloudflarestorage.com/k",
                "x",
                "s3-compatible object upload resource=b/k",
            ),
            (
                "GET https://acct.r2.cloudflarestorage.com/b/k",
                "",
                "s3-compatible object download resource=b/k",
            ),
            (
                "PUT https://1.s3-control.eu-west-1.amazonaws.com/v20180820/accesspoint/a",
                "",
                "s3 configuration mutate",
            ),
            // Signed as requests for objects are.
            (
                "GET https://1.s3-control.eu-west-1.amazonaws.com/v20180820/jobs\nx-amz-content-sha256: x",
                "",
                "s3 configuration meta",
            ),
            (
                "PUT https://1.s3-control.eu-west-1.amazonaws.com/x\nx-amz-content-sha256: x",
                "",
                "s3 unknown unknown",
            ),
        ]);
    }

    #[test]
    fn one_name_at_a_host_that_may_name_a_bucket_is_taken_for_the_graver() {
        let host = "http://b.store.example:9000";
        let signed = "x-amz-content-sha256: UNSIGNED-PAYLOAD";
        check(&[
            (&format!("PUT {host}/k\n{signed}"), "x", "s3-compatible object upload resource=k/"),
            (
                &format!("PUT {host}/k\n{signed}\ncontent-length: 0"),
                "",
                "s3-compatible bucket mutate resource=k/",
            ),
            (&format!("PUT {host}/k?acl\n{signed}"), "x", "s3-compatible configuration mutate resource=k/"),
            (&format!("GET {host}/k\n{signed}"), "", "s3-compatible list meta resource=k/"),
            (
                &format!("GET {host}/k?X-Amz-Credential=A%2Fd%2Feu%2Fs3%2Faws4_request"),
                "",
                "s3-compatible object download resource=k/",
            ),
        ]);
    }

    #[test]
    fn requests_of_azure_blob_are_what_they_do() {
        let host = "https://acct.blob.core.windows.net";
        check(&[
            (&format!("GET {host}/c/a/b"), "", "azure-blob object download resource=c/a/b"),
            (&format!("GET {host}/c?restype=container&comp=list"), "", "azure-blob list meta resource=c"),
            (
                &format!("PUT {host}/c/b\nx-ms-blob-type: BlockBlob"),
                "",
                "azure-blob object upload resource=c/b",
            ),
            (&format!("PUT {host}/c/b?comp=block&blockid=x"), "", "azure-blob object upload resource=c/b"),
            (&format!("PUT {host}/c/b?comp=blocklist"), "", "azure-blob object upload resource=c/b"),
            (&format!("PUT {host}/c/b?comp=BlockList"), "", "azure-blob object upload resource=c/b"),
            (&format!("PUT {host}/c/b?comp="), "x", "azure-blob unknown unknown"),
            (
                &format!("PUT {host}/c/b\nx-ms-copy-source: https://x"),
                "",
                "azure-blob copy upload resource=c/b from=https://x",
            ),
            (
                &format!("PUT {host}/c/b\nx-ms-copy-source: {host}/other/a%20b?sv=1&sig=x"),
                "",
                "azure-blob copy upload resource=c/b from=other/a b",
            ),
            (
                &format!("PUT {host}/c/b\nx-ms-copy-source: /account/c/b"),
                "",
                "azure-blob copy upload resource=c/b from=?",
            ),
            (
                &format!("PUT {host}/c/b\nx-ms-rename-source: /c/a"),
                "",
                "azure-blob object upload resource=c/b from=c/a",
            ),
            (&format!("PUT {host}/c/b?comp=tier"), "", "azure-blob configuration mutate resource=c/b"),
            (&format!("PUT {host}/c?restype=container"), "", "azure-blob configuration mutate resource=c"),
            (&format!("DELETE {host}/c/b"), "", "azure-blob delete mutate resource=c/b"),
            (&format!("GET {host}/b"), "", "azure-blob object download resource=b"),
            (&format!("PUT {host}/c/b?comp=incrementalcopy"), "", "azure-blob copy upload resource=c/b"),
            (
                "PUT https://acct.file.core.windows.net/s/f?comp=range",
                "x",
                "azure-blob object upload resource=s/f",
            ),
            (
                "PUT https://acct.dfs.core.windows.net/fs?resource=filesystem",
                "",
                "azure-blob configuration mutate resource=fs",
            ),
            (
                "PUT https://acct.dfs.core.windows.net/fs/a?resource=file",
                "",
                "azure-blob object upload resource=fs/a",
            ),
            (
                "GET https://acct.dfs.core.windows.net/fs?resource=filesystem",
                "",
                "azure-blob list meta resource=fs",
            ),
            (&format!("PUT {host}/c/b?comp=tier&comp=block"), "", "azure-blob unknown unknown"),
            (
                "GET http://azurite:10000/acct/c/b?sv=2024&sr=b&sp=r&sig=x",
                "",
                "azure-blob-compatible object download resource=acct/c/b",
            ),
            (
                "PUT http://azurite:10000/acct/c/b\nx-ms-blob-type: BlockBlob",
                "",
                "azure-blob-compatible object upload resource=acct/c/b",
            ),
        ]);
    }
}
