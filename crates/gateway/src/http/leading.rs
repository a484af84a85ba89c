//! What an answer leads to: the URLs that it names for its client to ask next.
//!
//! Enters: an allowed request, and the head and body of its answer. Leaves: the URLs of a redirect, or of the downloads in
//! an answer of Git LFS, for [`Referrals`]. Guarantees: bounded; only what was asked to be downloaded, described or
//! authorized for that leads on, and what it leads to itself. Does not: resolve `.` and `..`, for what a client makes of
//! them is not what was named.

use super::hold::Share;
use super::reading::decoder;
use super::undoing::Undoing;
use crate::referrals::{LIFETIME, Referrals, Tenant, Url};
use ::inspect::coding::CodingFlaw;
use http::{HeaderValue, header, response};
use policy::{DnsName, Operation, Verb};
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most bytes of an answer of Git LFS that is read.
const MAX_BATCH: usize = 1024 * 1024;
/// Most URLs that one answer names.
const MAX_NAMED: usize = 1000;
/// How often an answer is read before its end, where it seems to be there.
const EARLY: u8 = 4;
/// <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>
const LFS: &str = "application/vnd.git-lfs+json";

/// For whom an answer is, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) referrals: Arc<Referrals>,
    pub(crate) pod: Tenant,
    pub(crate) url: Url,
    pub(crate) is_tls: bool,
    /// Where what is granted is kept, and for how long the rule that allows the request grants what its answer leads to.
    pub(crate) grants: Option<(Arc<Referrals>, Duration)>,
}

/// A URL, and whether it is of HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    is_tls: bool,
    url: Url,
}

impl Asked {
    fn leads_to(&self, named: Vec<Reference>) {
        let now = Instant::now();
        if let Some((grants, lifetime)) = &self.grants {
            // In clear anybody on the way could say what the object is.
            let secured = named.iter().filter(|reference| reference.is_tls);
            grants.name(self.pod, secured.map(|reference| reference.url.clone()), now, *lifetime);
        }
        let urls = named.into_iter().map(|reference| reference.url);
        self.referrals.name(self.pod, urls, now, LIFETIME);
    }

    /// A reference in an answer (RFC 3986, section 5), as a URL.
    fn resolve(&self, reference: &str) -> Option<Reference> {
        let reference = reference.split('#').next().unwrap_or_default();
        let after = |scheme: &str| {
            let (start, rest) = reference.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        if let Some(rest) = after("https://") {
            return absolute(rest, true);
        }
        if let Some(rest) = after("http://") {
            return absolute(rest, false);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return absolute(rest, self.is_tls);
        }
        let path = self.url.target.split('?').next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let target = match reference.chars().next()? {
            '/' => reference.to_owned(),
            '?' => format!("{path}{reference}"),
            _ if reference.split(['/', '?']).next().is_some_and(|first| first.contains(':')) => return None,
            _ => format!("{folder}/{reference}"),
        };
        Some(Reference { is_tls: self.is_tls, url: Url { target, ..self.url.clone() } })
    }
}

/// A URL without its scheme.
fn absolute(rest: &str, is_tls: bool) -> Option<Reference> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end)?;
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None if is_tls => (authority, 443),
        None => (authority, 80),
    };
    let host = DnsName::parse(host).ok()?.as_str().to_owned();
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Some(Reference { is_tls, url: Url { host, port, target } })
}

/// Whether what a request leads to may be asked for by its answer's word.
fn leads_on(operation: &Operation) -> bool {
    operation.referred
        || match operation.verb {
            Verb::Download | Verb::Meta => true,
            Verb::Authorize => !matches!(operation.intent, Some(Verb::Upload | Verb::Mutate | Verb::Admin)),
            Verb::Upload | Verb::Call | Verb::Mutate | Verb::Admin | Verb::Unknown => false,
        }
}

/// Remembers where a redirect leads; returns what reads the answer's body for more.
pub(crate) fn follow(
    operation: &Operation,
    asked: Asked,
    head: &response::Parts,
    hold: &Share,
) -> Option<Leading> {
    if !leads_on(operation) {
        return None;
    }
    let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if head.status.is_redirection() {
        let location = text(header::LOCATION).and_then(|location| asked.resolve(location));
        asked.leads_to(location.into_iter().collect());
        return None;
    }
    let kind = text(header::CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_batch = operation.api == "lfs-batch"
        && operation.verb == Verb::Download
        && head.status.is_success()
        && kind.eq_ignore_ascii_case(LFS);
    is_batch.then(|| Leading::new(asked, decoder(&head.headers, hold)))
}

/// Reads an answer of Git LFS as it goes by.
#[derive(Debug)]
pub(crate) struct Leading {
    asked: Asked,
    /// `None`: it is too large, cannot be read, or was.
    batch: Option<(Undoing, Vec<u8>)>,
    early: u8,
}

#[derive(Debug, Deserialize)]
struct Batch {
    #[serde(default)]
    objects: Vec<Object>,
}

#[derive(Debug, Deserialize)]
struct Object {
    #[serde(default)]
    actions: Option<Actions>,
}

#[derive(Debug, Deserialize)]
struct Actions {
    #[serde(default)]
    download: Option<Action>,
}

#[derive(Debug, Deserialize)]
struct Action {
    href: String,
}

impl Leading {
    fn new(asked: Asked, decoder: Option<Undoing>) -> Self {
        Self { asked, batch: decoder.map(|decoder| (decoder, Vec::new())), early: EARLY }
    }

    /// Takes what goes by. A client may act on an answer that is there before it hears that it is over.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        let Some((decoder, batch)) = &mut self.batch else { return };
        let read = decoder.push_to(piece, &mut |bytes| {
            if bytes.len() > MAX_BATCH - batch.len() {
                return Err(CodingFlaw::TooLarge);
            }
            batch.extend_from_slice(bytes);
            Ok(())
        });
        if read.is_err() {
            self.batch = None;
        } else if batch.trim_ascii_end().ends_with(b"}") && self.early > 0 {
            self.early -= 1;
            self.read();
        }
    }

    pub(crate) fn end(&mut self) {
        self.read();
        self.batch = None;
    }

    fn read(&mut self) {
        let Some((_, batch)) = &self.batch else { return };
        let Ok(batch) = serde_json::from_slice::<Batch>(batch) else { return };
        let downloads = batch.objects.into_iter().filter_map(|object| object.actions?.download);
        let urls = downloads.take(MAX_NAMED).filter_map(|action| self.asked.resolve(&action.href));
        self.asked.leads_to(urls.collect());
        self.batch = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Judge, Judgement, Opening};
    use crate::reason::Reason;
    use std::net::IpAddr;

    /// Judges nobody, and so everybody has one number.
    struct Nobody;

    impl Judge for Nobody {
        fn judge(&self, _: &Opening) -> Judgement {
            Judgement::without_rule(Reason::UnknownPod)
        }
    }

    fn pod() -> Tenant {
        Tenant::of(&Nobody, IpAddr::from([10, 0, 0, 1]))
    }

    fn url(host: &str, port: u16, target: &str) -> Url {
        Url { host: host.into(), port, target: target.into() }
    }

    fn asked() -> Asked {
        let url = url("hub.example", 8443, "/a/b?c");
        Asked { referrals: Arc::default(), pod: pod(), url, is_tls: true, grants: None }
    }

    #[test]
    fn a_reference_is_resolved_as_its_client_does() {
        for (reference, expected) in [
            ("https://CDN.example/x?sig=a%2Fb#part", Some(url("cdn.example", 443, "/x?sig=a%2Fb"))),
            ("http://cdn.example", Some(url("cdn.example", 80, "/"))),
            ("HTTPS://cdn.example:444?q", Some(url("cdn.example", 444, "/?q"))),
            ("//cdn.example/x", Some(url("cdn.example", 443, "/x"))),
            ("/x?y", Some(url("hub.example", 8443, "/x?y"))),
            ("x", Some(url("hub.example", 8443, "/a/x"))),
            ("?d", Some(url("hub.example", 8443, "/a/b?d"))),
            ("https://user@cdn.example/x", None),
            ("https://10.0.0.1:x/", None),
            ("ftp://cdn.example/x", None),
            ("mailto:a", None),
            ("", None),
        ] {
            let resolved = asked().resolve(reference).map(|reference| reference.url);
            assert_eq!(resolved, expected, "{reference}");
        }
    }

    #[test]
    fn an_answer_of_git_lfs_names_downloads_however_it_is_split() {
        let batch = br#"{"transfer":"basic","objects":[
            {"oid":"1","actions":{"download":{"href":"https://cdn.example/1"},"upload":{"href":"https://cdn.example/up"}}},
            {"oid":"2","error":{"code":404}},
            {"oid":"3","actions":{"verify":{"href":"https://cdn.example/verify"}}}]}"#;
        for size in [1, 7, 64, 1000] {
            let asked = asked();
            let mut leading = Leading::new(asked.clone(), Some(Undoing::plain()));
            batch.chunks(size).for_each(|piece| leading.push(piece));
            leading.end();
            let is_named =
                |target| asked.referrals.is_named(pod(), &url("cdn.example", 443, target), Instant::now());
            assert_eq!(["/1", "/up", "/verify"].map(is_named), [true, false, false], "{size}");
        }
        let mut large = Leading::new(asked(), Some(Undoing::plain()));
        large.push(&vec![b' '; MAX_BATCH + 1]);
        assert!(large.batch.is_none(), "it is not held");
    }

    #[test]
    fn only_what_is_said_to_be_https_is_granted_and_only_for_its_time() {
        let grants = Arc::<Referrals>::default();
        let lifetime = Duration::from_secs(60);
        let asked = Asked { grants: Some((Arc::clone(&grants), lifetime)), ..asked() };
        let references = ["https://cdn.example/a", "http://cdn.example:443/b", "/c"];
        asked.leads_to(references.iter().filter_map(|reference| asked.resolve(reference)).collect());
        let is = |kept: &Referrals, host, port, target, after| {
            kept.is_named(pod(), &url(host, port, target), Instant::now() + Duration::from_secs(after))
        };
        assert!(is(&grants, "cdn.example", 443, "/a", 59) && !is(&grants, "cdn.example", 443, "/a", 61));
        assert!(!is(&grants, "cdn.example", 443, "/b", 0), "it is in clear");
        assert!(is(&grants, "hub.example", 8443, "/c", 0));
        assert!(is(&asked.referrals, "cdn.example", 443, "/b", 0), "it is referred to, and no more");
    }

    #[test]
    fn only_what_reads_leads_on() {
        let of = |verb, intent, referred| {
            leads_on(&Operation { verb, intent, referred, ..Operation::unknown("test") })
        };
        assert!(of(Verb::Download, None, false) && of(Verb::Meta, None, false));
        assert!(of(Verb::Unknown, None, true) && of(Verb::Authorize, Some(Verb::Download), false));
        for (verb, intent) in [
            (Verb::Upload, None),
            (Verb::Call, None),
            (Verb::Mutate, None),
            (Verb::Admin, None),
            (Verb::Unknown, None),
            (Verb::Authorize, Some(Verb::Upload)),
        ] {
            assert!(!of(verb, intent, false), "{verb}");
        }
    }
}
