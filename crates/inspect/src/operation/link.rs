//! A URL in a body, as far as it says where a server that fetches it goes.
//!
//! Enters: a text. Leaves: a [`Link`]. Guarantees: what libraries read differently (white space, user names, back slashes, letters
//! beyond ASCII, numbers that some take for addresses) is [`Link::Unread`], never a guess. Does not: resolve, or undo what is
//! percent-encoded behind the host.

use policy::DnsName;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ODD: &str = "its URL names a host that libraries read differently";

/// Where a text leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Nowhere: it is no URL, or holds what it stands for.
    Nowhere,
    /// There.
    To {
        /// A name in lower case without a trailing dot, or an address.
        host: String,
        port: u16,
        /// Path and query.
        target: String,
    },
    /// That cannot be told.
    Unread(&'static str),
}

impl Link {
    /// Reads a text.
    pub(super) fn of(text: &str) -> Self {
        // As the WHATWG's standard has it, tabs and line ends count for nothing, wherever they are.
        let plain: String = text.chars().filter(|it| !matches!(it, '\t' | '\r' | '\n')).collect();
        // Some libraries cut off all white space that Unicode knows.
        let is_space = |it: char| it <= ' ' || it.is_whitespace() || it == '\u{feff}';
        let Some((scheme, rest)) = plain.trim_start_matches(is_space).split_once(':') else {
            return Self::Nowhere;
        };
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = scheme.starts_with(|it: char| it.is_ascii_lowercase())
            && scheme.chars().all(|it| it.is_ascii_alphanumeric() || "+-.".contains(it));
        if !is_scheme {
            return Self::Nowhere;
        }
        let port = match scheme.as_str() {
            "data" => return Self::Nowhere,
            "https" | "wss" => 443,
            "http" | "ws" => 80,
            "gs" => return Self::stored("storage.googleapis.com", rest),
            "s3" => return Self::stored("s3.amazonaws.com", rest),
            _ => return Self::Unread("its URL is of a scheme that is not known"),
        };
        let Some(rest) = rest.strip_prefix("//") else { return Self::Unread(ODD) };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        let Some((host, port)) = host(authority, port).filter(|_| !behind.starts_with('\\')) else {
            return Self::Unread(ODD);
        };
        Self::To { host, port, target: target(behind) }
    }

    /// In a store of objects, which has its own scheme.
    fn stored(host: &str, rest: &str) -> Self {
        match rest.strip_prefix("//") {
            Some(object) => {
                Self::To { host: host.to_owned(), port: 443, target: target(&format!("/{object}")) }
            }
            None => Self::Unread(ODD),
        }
    }
}

fn target(behind: &str) -> String {
    let target = behind.split('#').next().unwrap_or_default();
    if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }
}

/// Host and port. None: libraries differ.
fn host(authority: &str, usual: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.to_string(), port)
        }
        None => {
            let at = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(at);
            (name(host)?, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => usual,
        Some("") => usual,
        Some(digits) if digits.bytes().all(|it| it.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) | None => return None,
    };
    Some((host, port))
}

/// A name or an address of IPv4, as everybody reads it.
pub(super) fn name(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(IpAddr::from(address).to_string());
    }
    let name = DnsName::parse(text).ok()?;
    let last = name.as_str().rsplit('.').next().unwrap_or_default();
    // Some take what ends in a number for an address in another base.
    let is_number = last.bytes().all(|it| it.is_ascii_digit()) || last.starts_with("0x");
    (!is_number).then(|| name.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_where_everybody_goes_or_it_cannot_be_told() {
        let to = |host: &str, port, target: &str| Link::To { host: host.into(), port, target: target.into() };
        for (text, expected) in [
            ("https://a.io/x?y#z", to("a.io", 443, "/x?y")),
            ("HTTPS://A.io.:8443", to("a.io", 8443, "/")),
            ("http://a.io?q=1", to("a.io", 80, "/?q=1")),
            (" \thttps://a.io/", to("a.io", 443, "/")),
            ("ht\ntps://a.\tio/x", to("a.io", 443, "/x")),
            ("\u{a0}\u{2003}https://a.io/", to("a.io", 443, "/")),
            ("\u{feff}\u{85}https://a.io/", to("a.io", 443, "/")),
            ("https://[2001:DB8::1]:80/", to("2001:db8::1", 80, "/")),
            ("https://192.0.2.1/", to("192.0.2.1", 443, "/")),
            ("gs://bucket/a/b", to("storage.googleapis.com", 443, "/bucket/a/b")),
            ("s3://bucket/a", to("s3.amazonaws.com", 443, "/bucket/a")),
            ("data:image/png;base64,https://a.io", Link::Nowhere),
            ("DATA:,x", Link::Nowhere),
            ("//8AAAA=", Link::Nowhere),
            ("file-abc", Link::Nowhere),
            ("iVBORw0KGgo=", Link::Nowhere),
            ("", Link::Nowhere),
        ] {
            assert_eq!(Link::of(text), expected, "{text}");
        }
        for text in [
            "https:a.io",
            "https:/a.io",
            "https:\\\\a.io",
            "https://a.io\\@b.io/",
            "https://a.io@b.io/",
            "https://user:x@b.io/",
            "https://a%2eio/",
            "https://a io/",
            "https://ä.io/",
            "https://a。io/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://a.0x7f/",
            "https://192.0.2.01/",
            "https://a.io:99999/",
            "https://a.io:+443/",
            "https:///a.io",
            "https://[::1/",
            "https://[::1]x/",
            "ftp://a.io/",
            "file:///etc/passwd",
            "javascript:x",
        ] {
            assert!(matches!(Link::of(text), Link::Unread(_)), "{text} {:?}", Link::of(text));
        }
    }
}
