//! Cookies of a log-in: their names, and what browsers are told of them.
//!
//! Guarantees: scripts cannot read them. Those that browsers send over TLS only can be set by nobody but this host (`__Host-`, RFC 6265bis,
//! section 4.1.3.2): another site of the same domain cannot have somebody go on in a log-in of its own.

use crate::body::AnswerBody;
use hyper::Response;
use hyper::header::{self, HeaderMap, HeaderValue};

/// A cookie, by its names without and with TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookie {
    plain: &'static str,
    of_host: &'static str,
    /// Which requests of other sites it goes with: `Strict` none, `Lax` that of a browser that is led here.
    same_site: &'static str,
}

/// Of a log-in.
pub(crate) const SESSION: Cookie =
    Cookie { plain: "cofferdam_session", of_host: "__Host-cofferdam_session", same_site: "Strict" };
/// Of an attempt to log in by way of an identity provider, from which the browser comes back.
pub(crate) const ATTEMPT: Cookie =
    Cookie { plain: "cofferdam_login", of_host: "__Host-cofferdam_login", same_site: "Lax" };

impl Cookie {
    /// What a browser brings; where it `is_secure`, nothing that another site could have set.
    pub(crate) fn of<'h>(&self, headers: &'h HeaderMap, is_secure: bool) -> Option<&'h str> {
        let plain = || if is_secure { None } else { named(headers, self.plain) };
        named(headers, self.of_host).or_else(plain)
    }

    /// Has a browser keep it for so many seconds, beside others; 0: it takes it back.
    pub(crate) fn set(
        &self,
        response: &mut Response<AnswerBody>,
        value: &str,
        seconds: u64,
        is_secure: bool,
    ) {
        let (name, secure) = if is_secure { (self.of_host, "; Secure") } else { (self.plain, "") };
        let same_site = self.same_site;
        let text =
            format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site}; Max-Age={seconds}{secure}");
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
}

fn named<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    let mut pairs = all.flat_map(|it| it.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brought(cookies: &str, is_secure: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; xcofferdam_session=no"));
        headers.append(header::COOKIE, HeaderValue::from_str(cookies).unwrap());
        SESSION.of(&headers, is_secure).map(str::to_owned)
    }

    #[test]
    fn cookies_of_others_are_not_ours() {
        assert_eq!(brought("c", false), None);
        assert_eq!(brought("c; cofferdam_session=yes; d=e", false).as_deref(), Some("yes"));
    }

    #[test]
    fn over_tls_only_what_this_host_set_counts() {
        let both = "cofferdam_session=theirs; __Host-cofferdam_session=ours";
        for is_secure in [false, true] {
            assert_eq!(brought(both, is_secure).as_deref(), Some("ours"));
        }
        assert_eq!(brought("cofferdam_session=theirs", true), None);
    }
}
