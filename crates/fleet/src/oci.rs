//! A repository of an OCI registry that says to clusters what a folder says: one artifact, with a layer for each file.
//!
//! Enters: what a user names, the text of a manifest, what a registry answers to whoever did not log in, files. Leaves: where to ask,
//! which blob each file of the folder is, a manifest. Guarantees: a name that leads anywhere but into one repository is none; a
//! manifest that names a file twice, or anything but SHA-256, is refused; the same files make the same manifest. Does not: ask a
//! registry.
//!
//! Forms: [image manifest](https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md), as `oras push` writes it, too;
//! [names and tags](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests).

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What the artifact is.
pub const ARTIFACT: &str = "application/vnd.cofferdam.fleet.v1";
/// Most bytes of a manifest: some 3,000 files, and less than each registry takes.
pub const MOST_MANIFEST: usize = 1024 * 1024;
/// What a manifest has for a configuration that there is none of (image specification, "Guidance for an Empty Descriptor").
pub const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// Which file a layer is.
const TITLE: &str = "org.opencontainers.image.title";
/// Most bytes of a repository's name, with its host, and of a tag.
const MOST_NAME: usize = 255;
const MOST_TAG: usize = 128;
/// Most parameters of a challenge.
const MOST_PARAMETERS: usize = 16;

/// One artifact of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name or address, and a port where it is not the default one.
    pub host: String,
    /// Repository.
    pub repository: String,
    /// Which of its manifests.
    pub version: Version,
    /// Without TLS: asked for by `oci+http`.
    pub is_clear: bool,
}

/// Which manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// Whichever has this tag now.
    Tag(String),
    /// This one, for ever.
    Digest(Digest),
}

impl Version {
    /// As it stands in a path.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag,
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

/// A text names no place in a registry.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("it is no repository of a registry: {0}; write oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:DIGEST")]
pub struct NotAPlace(&'static str);

impl Place {
    /// Whether a text means a registry, and not a folder.
    pub fn is_meant(text: &str) -> bool {
        text.contains("://")
    }
}

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let (is_clear, rest) = match text.split_once("://") {
            Some(("oci", rest)) => (false, rest),
            Some(("oci+http", rest)) => (true, rest),
            _ => return Err(NotAPlace("it begins with neither oci:// nor oci+http://")),
        };
        let (host, rest) = rest.split_once('/').ok_or(NotAPlace("it names no repository"))?;
        if !is_host(host) {
            return Err(NotAPlace("its host is none"));
        }
        if matches!(host, "docker.io" | "index.docker.io") {
            return Err(NotAPlace("the registry of docker.io is registry-1.docker.io"));
        }
        let (repository, version) = match (rest.split_once('@'), rest.split_once(':')) {
            (Some((repository, digest)), _) => {
                let digest = digest.parse().map_err(|_| NotAPlace("its digest is none"))?;
                (repository, Version::Digest(digest))
            }
            (None, Some((repository, tag))) => (repository, Version::Tag(tag.to_owned())),
            (None, None) => return Err(NotAPlace("it names neither tag nor digest")),
        };
        if matches!(&version, Version::Tag(tag) if !is_tag(tag)) {
            return Err(NotAPlace("its tag is none"));
        }
        if host.len() + repository.len() > MOST_NAME || !repository.split('/').all(is_name) {
            return Err(NotAPlace("the name of its repository is none: small letters, digits, . _ - and /"));
        }
        Ok(Self { host: host.to_owned(), repository: repository.to_owned(), version, is_clear })
    }
}

fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        // The last part of an address of IPv6.
        Some((_, port)) if port.ends_with(']') => (text, None),
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let is_port = |it: &str| it.parse::<u16>().is_ok_and(|it| it > 0) && !it.starts_with('+');
    let is_name = match name.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        }
    };
    is_name && port.is_none_or(is_port)
}

/// One part of a repository's name. It begins with a letter or a digit, so that it is never `..`.
fn is_name(part: &str) -> bool {
    let is_end = |it: Option<u8>| it.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    is_end(part.bytes().next()) && is_end(part.bytes().next_back()) && part.bytes().all(fits)
}

fn is_tag(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    text.len() <= MOST_TAG
        && text.bytes().all(fits)
        && text.bytes().next().is_some_and(|b| !matches!(b, b'.' | b'-'))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, repository, version, is_clear } = self;
        let scheme = if *is_clear { "oci+http" } else { "oci" };
        let mark = match version {
            Version::Tag(_) => ':',
            Version::Digest(_) => '@',
        };
        write!(f, "{scheme}://{host}/{repository}{mark}{}", version.as_str())
    }
}

/// What is known of a blob before it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
}

impl Blob {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: Digest::of(bytes), size: bytes.len() as u64 }
    }
}

/// Files of a folder, by their path in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, Blob>);

/// What of a manifest is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    layers: Option<Vec<Layer>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A manifest is not one of files.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotFiles {
    /// No JSON, or of another form.
    #[error("its manifest cannot be read: {0}")]
    Unreadable(String),
    /// For example an index of images.
    #[error("it is {0:?}, and no manifest of files; `cofferdam release push` writes one")]
    Other(String),
    /// Whichever of the two is meant.
    #[error("its manifest has {0} twice")]
    Twice(String),
    /// Not SHA-256.
    #[error("its manifest has {0} under a digest that is not SHA-256")]
    Digest(String),
}

impl Files {
    /// The files of a manifest. A layer that is no file by its title is passed over.
    ///
    /// # Errors
    /// See [`NotFiles`].
    pub fn read(manifest: &[u8]) -> Result<Self, NotFiles> {
        let read: Manifest =
            serde_json::from_slice(manifest).map_err(|error| NotFiles::Unreadable(error.to_string()))?;
        let kind = read.media_type.unwrap_or_else(|| MANIFEST.to_owned());
        let Some(layers) = read.layers.filter(|_| kind == MANIFEST && read.schema_version == 2) else {
            return Err(NotFiles::Other(kind.chars().take(MOST_TAG).collect()));
        };
        let mut files = BTreeMap::new();
        for mut layer in layers {
            let Some(title) = layer.annotations.remove(TITLE) else { continue };
            let named = || title.chars().take(MOST_NAME).collect::<String>();
            let Ok(digest) = layer.digest.parse() else { return Err(NotFiles::Digest(named())) };
            if files.insert(title.clone(), Blob { digest, size: layer.size }).is_some() {
                return Err(NotFiles::Twice(named()));
            }
        }
        Ok(Self(files))
    }

    /// The manifest of these files: the same bytes for the same files.
    pub fn manifest(&self) -> Vec<u8> {
        let layer = |(title, blob): (&String, &Blob)| Layer {
            media_type: "application/json".to_owned(),
            digest: blob.digest.to_string(),
            size: blob.size,
            annotations: BTreeMap::from([(TITLE.to_owned(), title.clone())]),
        };
        let layers: Vec<Layer> = self.0.iter().map(layer).collect();
        let empty = Blob::of(EMPTY);
        let config = json!({ "mediaType": EMPTY_TYPE, "digest": empty.digest, "size": empty.size });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": ARTIFACT, "config": config, "layers": layers,
        });
        manifest.to_string().into_bytes()
    }
}

/// What a registry wants of whoever did not log in (`WWW-Authenticate`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A token, to be had at this URL
    /// ([token authentication](https://distribution.github.io/distribution/spec/auth/token/)).
    Bearer {
        /// Where.
        realm: String,
        /// For whom.
        service: Option<String>,
    },
    /// Name and password.
    Basic,
}

impl Challenge {
    /// Reads the value of a header. `None`: it wants something else.
    pub fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = parameters(rest)?;
        Some(Self::Bearer { realm: parameters.remove("realm")?, service: parameters.remove("service") })
    }
}

/// Parameters of a challenge (RFC 9110, section 11.2), by name in small letters.
fn parameters(text: &str) -> Option<BTreeMap<String, String>> {
    let (mut rest, mut found) = (text.trim_start_matches([' ', ',', '\t']), BTreeMap::new());
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_text(quoted)?,
            None => {
                let end = after.find([',', ' ', '\t']).unwrap_or(after.len());
                let (value, after) = after.split_at_checked(end)?;
                (value.to_owned(), after)
            }
        };
        found.insert(name.trim().to_ascii_lowercase(), value);
        if found.len() > MOST_PARAMETERS {
            return None;
        }
        rest = after.trim_start_matches([' ', ',', '\t']);
    }
    Some(found)
}

/// A text up to its closing quote, and what follows.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let (mut value, mut is_escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => {
                value.push(c);
                is_escaped = false;
            }
            '\\' => is_escaped = true,
            '"' => return Some((value, text.get(at + 1..)?)),
            _ => value.push(c),
        }
    }
    None
}

/// Name and password for a registry, in the form that `docker login` writes (`auths` of `config.json`).
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Whose.
    pub user: String,
    /// What nobody else knows.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Login {
    /// The one for this host. `None`: the file has none for it.
    ///
    /// # Errors
    /// It is no such file, or what is there for the host is in another form; never with what is in it.
    pub fn read(text: &[u8], host: &str) -> Result<Option<Self>, String> {
        use base64::Engine;
        let file: Value = serde_json::from_slice(text).map_err(|error| {
            format!("it is no JSON in line {}: write what `docker login` does", error.line())
        })?;
        let auths = file.get("auths").and_then(Value::as_object);
        let Some(auths) = auths else { return Err("it has no field auths".to_owned()) };
        let is_it = |key: &str| {
            let key = key.strip_prefix("https://").unwrap_or(key);
            key.split('/').next() == Some(host)
        };
        let Some((_, entry)) = auths.iter().find(|(key, _)| is_it(key)) else { return Ok(None) };
        let field = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        if let (Some(user), Some(password)) = (field("username"), field("password")) {
            return Ok(Some(Self { user, password }));
        }
        let auth = field("auth").filter(|it| !it.is_empty());
        let auth = auth.ok_or_else(|| {
            format!("for {host} it has neither auth nor username and password; helpers and identity tokens are not used")
        })?;
        let pair = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok();
        let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
        let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
        let (user, password) =
            pair.ok_or_else(|| format!("its auth for {host} is not NAME:PASSWORD in base64"))?;
        Ok(Some(Self { user: user.to_owned(), password: password.to_owned() }))
    }

    /// As the header `Authorization` has it.
    pub fn basic(&self) -> String {
        use base64::Engine;
        let pair = format!("{}:{}", self.user, self.password);
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_repository_of_one_registry() {
        let digest = Digest::of(b"x");
        for text in [
            "oci://registry.example/policy/fleet:main",
            "oci://registry.example:5000/fleet:8.1_x-Y",
            "oci+http://127.0.0.1:5000/a/b.c/d__e--f:latest",
            "oci://[::1]:443/fleet:main",
            "oci://[::1]/fleet:main",
            &format!("oci://registry.example/fleet@{digest}"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        let clear: Place = "oci+http://a/b:c".parse().unwrap();
        assert!(clear.is_clear && !"oci://a/b:c".parse::<Place>().unwrap().is_clear);
        for text in [
            "",
            "fleet",
            "https://a/b:c",
            "oci://",
            "oci://a",
            "oci://a/",
            "oci:///b:c",
            "oci://a/b",
            "oci://a/b:",
            "oci://a/b@",
            "oci://a/b@sha256:12",
            "oci://a/b@sha512:12",
            "oci://a/../b:c",
            "oci://a/b/..:c",
            "oci://a//b:c",
            "oci://a/B:c",
            "oci://a/.b:c",
            "oci://a/b-:c",
            "oci://a/b:.c",
            "oci://a/b:c/d",
            "oci://a/b:c?d",
            "oci://user:word@a/b:c",
            "oci://a:0/b:c",
            "oci://a:+1/b:c",
            "oci://a:x/b:c",
            "oci://a b/c:d",
            "oci://[::1/b:c",
            "oci://docker.io/b:c",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        let long = format!("oci://a/{}:c", "b".repeat(255));
        assert!(long.parse::<Place>().is_err());
        assert!(format!("oci://a/b:{}", "c".repeat(129)).parse::<Place>().is_err());
    }

    #[test]
    fn files_are_the_same_after_their_way_through_a_manifest() {
        let files = [("clusters/dev.json", b"{}".as_slice()), ("releases/release-1.json", b"{ }")];
        let files =
            Files(files.into_iter().map(|(path, bytes)| (path.to_owned(), Blob::of(bytes))).collect());
        assert_eq!(Files::read(&files.manifest()).unwrap(), files);
        assert_eq!(files.manifest(), files.clone().manifest());
        assert_eq!(Files::read(&Files::default().manifest()).unwrap(), Files::default());
    }

    #[test]
    fn what_is_no_manifest_of_files_is_refused() {
        let digest = Digest::of(b"x");
        let layer = |title: &str, digest: &str| json!({ "mediaType": "a/b", "digest": digest, "size": 1, "annotations": { TITLE: title } });
        let of = |layers: Value| {
            let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers }).to_string();
            Files::read(manifest.as_bytes())
        };
        let twice = of(json!([layer("a", digest.as_str()), layer("a", digest.as_str())]));
        assert_eq!(twice, Err(NotFiles::Twice("a".to_owned())));
        assert_eq!(of(json!([layer("a", "sha512:00")])), Err(NotFiles::Digest("a".to_owned())));
        assert!(matches!(of(json!([{ "digest": 1 }])), Err(NotFiles::Unreadable(_))));
        // As of an image, whose layers are no files.
        let image = json!([{ "mediaType": "a/b", "digest": "sha512:00", "size": 1 }]);
        assert_eq!(of(image), Ok(Files::default()));
        let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] });
        let said = Files::read(index.to_string().as_bytes()).unwrap_err().to_string();
        assert!(said.contains("image.index") && said.contains("release push"), "{said}");
        for text in ["", "[]", "{}", "{\"schemaVersion\": 1, \"layers\": []}"] {
            assert!(Files::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_challenge_is_read_whole_or_not_at_all() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        for (text, expected) in [
            (
                "Bearer realm=\"https://auth.example/token\",service=\"registry\",scope=\"repository:a/b:pull,push\"",
                bearer("https://auth.example/token", Some("registry")),
            ),
            ("bearer Realm=\"https://a/\" , service = x", None),
            ("bearer Realm=\"https://a/\" , service=x", bearer("https://a/", Some("x"))),
            ("Bearer realm=\"a\\\"b\"", bearer("a\"b", None)),
            ("Bearer realm=\"https://a/", None),
            ("Bearer service=\"x\"", None),
            ("Bearer", None),
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            ("Digest realm=\"x\"", None),
            ("", None),
        ] {
            assert_eq!(Challenge::read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_login_is_that_of_the_host_and_is_shown_nowhere() {
        let file = |auths: Value| json!({ "auths": auths }).to_string();
        let of = |auths: Value| Login::read(file(auths).as_bytes(), "registry.example:5000");
        let ann = Login { user: "ann".to_owned(), password: "geheim:1".to_owned() };
        let auth = json!({ "auth": "YW5uOmdlaGVpbTox" });
        assert_eq!(of(json!({ "registry.example:5000": auth })).unwrap(), Some(ann.clone()));
        assert_eq!(of(json!({ "https://registry.example:5000/v1/": auth })).unwrap(), Some(ann.clone()));
        let plain = json!({ "username": "ann", "password": "geheim:1" });
        assert_eq!(of(json!({ "registry.example:5000": plain })).unwrap(), Some(ann.clone()));
        assert_eq!(ann.basic(), "Basic YW5uOmdlaGVpbTox");
        assert_eq!(
            of(json!({ "registry.example": auth, "evil.registry.example:5000": auth })).unwrap(),
            None
        );
        for entry in
            [json!({}), json!({ "auth": "" }), json!({ "auth": "geheim" }), json!({ "auth": "Z2VoZWlt" })]
        {
            let said = of(json!({ "registry.example:5000": entry })).unwrap_err();
            assert!(!said.contains("geheim") && !said.contains("Z2VoZWlt"), "{said}");
        }
        assert!(!Login::read(b"{geheim", "a").unwrap_err().contains("geheim"));
        assert!(Login::read(b"{}", "a").is_err());
        assert!(!format!("{ann:?}").contains("geheim"));
    }
}
