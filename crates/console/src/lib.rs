//! The console's files, as a server gives them to browsers.
//!
//! Enters: a path, which codings a browser takes. Leaves: bytes and headers. Guarantees: every answer has the headers that
//! keep what is shown from running ([`POLICY`]); a name with a hash in it is kept for ever, every other one is asked for
//! again; no path leads to a file of the machine, for all that there is was put in when the crate was built. Does not: speak
//! HTTP, log anybody in, or need the console to be built: without it there is one page that says how.

/// What a page of the console may do (Content Security Policy, level 3): scripts, styles, images and answers of its own
/// origin; no inline script or style, no frame around it, no text that becomes markup.
pub const POLICY: &str = include_str!("csp.txt");

/// The page that all pages of the console begin with.
const PAGE: &str = "index.html";
/// Folder of files whose names have a hash of what is in them.
const HASHED: &str = "assets/";

/// One file, as it was built.
#[derive(Debug)]
struct File {
    path: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// One file of the console, in the form a browser gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// What is sent.
    pub bytes: &'static [u8],
    /// `content-type`.
    pub content_type: &'static str,
    /// `content-encoding`; absent where it is sent as it is.
    pub content_encoding: Option<&'static str>,
    /// `cache-control`.
    pub cache_control: &'static str,
}

impl Asset {
    /// All headers of the answer, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let own = [
            ("content-type", self.content_type),
            ("cache-control", self.cache_control),
            ("vary", "accept-encoding"),
            ("content-security-policy", POLICY.trim_ascii()),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ];
        own.into_iter().chain(self.content_encoding.map(|coding| ("content-encoding", coding)))
    }
}

/// What a path leads to, for a browser that takes these codings (`accept-encoding`, empty where it names none). A path of
/// one segment without a dot is a page of the console. None: there is no such file.
#[must_use]
pub fn asset(path: &str, accept_encoding: &str) -> Option<Asset> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let is_page = !path.contains(['/', '.']);
    let asked = if is_page { PAGE } else { path };
    let file = FILES.iter().find(|file| file.path == asked)?;
    let (bytes, content_encoding) = form(file, accept_encoding);
    let cache_control =
        if asked.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    Some(Asset { bytes, content_type: content_type(asked), content_encoding, cache_control })
}

/// Whether the console itself was built, or only the page that says how.
#[must_use]
pub fn is_built() -> bool {
    FILES.len() > 1
}

/// The shortest form that the browser takes.
fn form(file: &File, accept_encoding: &str) -> (&'static [u8], Option<&'static str>) {
    let takes = |coding| accept_encoding.split(',').any(|one| accepts(one, coding));
    match (file.brotli, file.gzip) {
        (Some(bytes), _) if takes("br") => (bytes, Some("br")),
        (_, Some(bytes)) if takes("gzip") => (bytes, Some("gzip")),
        _ => (file.plain, None),
    }
}

/// Whether one item of `accept-encoding` names this coding, and does not refuse it by `q=0` (RFC 9110, 12.5.3).
fn accepts(item: &str, coding: &str) -> bool {
    let mut parts = item.split(';').map(str::trim);
    let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
    let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|text| text.parse::<f32>().ok());
    is_named && weight.is_none_or(|weight| weight > 0.0)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_console_begins_with_the_one_page() {
        let page = asset("/", "").expect("a page");
        for path in ["", "/flows", "/incident", "index.html"] {
            assert_eq!(asset(path, "").expect("a page"), page, "{path}");
        }
        assert_eq!(page.content_type, "text/html; charset=utf-8");
        assert_eq!(page.cache_control, "no-cache");
    }

    #[test]
    fn what_was_not_built_in_is_not_there() {
        for path in [
            "/../Cargo.toml",
            "/assets/../index.html",
            "/etc/passwd",
            "/assets/",
            "/.gitignore",
            "/index.html.gz",
        ] {
            assert_eq!(asset(path, "br, gzip"), None, "{path}");
        }
    }

    #[test]
    fn every_answer_keeps_what_it_shows_from_running() {
        for file in FILES {
            let asset = asset(file.path, "").expect("it is there");
            let header = |name| asset.headers().find(|(known, _)| *known == name).map(|(_, value)| value);
            let policy = header("content-security-policy").expect("a policy");
            assert!(
                policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
                "{policy}"
            );
            assert!(!policy.contains("unsafe") && !policy.contains('\n'), "{policy}");
            assert_eq!(header("x-content-type-options"), Some("nosniff"));
        }
    }

    #[test]
    fn the_page_has_no_script_or_style_of_its_own() {
        let page = String::from_utf8_lossy(asset("/", "").expect("a page").bytes);
        assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onload="));
        for script in page.split("<script").skip(1) {
            assert!(script.contains("src=\"./"), "an inline script: {script}");
        }
    }

    #[test]
    fn a_coding_is_used_where_the_browser_takes_it() {
        static FILE: File = File { path: "a", plain: b"plain", brotli: Some(b"b"), gzip: Some(b"gz") };
        let cases = [
            ("", None),
            ("gzip, deflate, br, zstd", Some("br")),
            ("GZIP", Some("gzip")),
            ("br;q=0, gzip;q=0.5", Some("gzip")),
            ("br;q=0.0", None),
            ("brotli", None),
        ];
        for (accepted, coding) in cases {
            assert_eq!(form(&FILE, accepted).1, coding, "{accepted}");
        }
    }

    #[test]
    fn names_with_a_hash_are_kept_for_ever() {
        for file in FILES.iter().filter(|file| file.path.starts_with(HASHED)) {
            let asset = asset(file.path, "").expect("it is there");
            assert!(asset.cache_control.contains("immutable"), "{}", file.path);
        }
        assert_eq!(is_built(), FILES.iter().any(|file| file.path.starts_with(HASHED)));
    }
}
