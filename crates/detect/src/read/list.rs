//! A line of a list of names -> the name.
//!
//! Enters: a line without the space around it: a name, an URL, a row that has one (`rank,name`, `address name`, `family<tab>name`), with a
//! comment behind it or without. Leaves: the name as a lookup has it. Guarantees: what is no name in a row of several is never taken for
//! one: of several fields, the first counts that has a dot and ends as names do.

use crate::event::clean_name;
use std::net::IpAddr;
use std::sync::Arc;

/// Longest name in bytes: RFC 1035, section 2.3.4, with dots; more where letters of other alphabets are not yet in IDNA.
const LONGEST: usize = 255;
/// Most fields of a row.
const FIELDS: usize = 32;

/// The name; `None`: there is none.
pub(super) fn name(line: &[u8]) -> Option<Arc<str>> {
    let text = std::str::from_utf8(line).ok()?;
    // A comment stands behind a space: a name, and an URL, may have the sign itself.
    let text = text.split(" #").next().unwrap_or(text).split("\t#").next().unwrap_or_default();
    let mut fields = text
        .split([',', ';', '\t', ' ', '|'])
        .map(|field| field.trim_matches(['"', '\'', ' ']))
        .filter(|field| !field.is_empty())
        .take(FIELDS);
    let first = fields.next()?;
    let Some(second) = fields.next() else {
        return is_name(host(first)).then(|| clean_name(host(first).as_bytes()));
    };
    let host = [first, second].into_iter().chain(fields).map(host).find(|it| is_name(it) && is_full(it))?;
    Some(clean_name(host.as_bytes()))
}

/// What of an URL, or of a rule of a block list, is the host.
fn host(field: &str) -> &str {
    let field = field.split_once("://").map_or(field, |(_, behind)| behind);
    let field = field.strip_prefix("||").unwrap_or(field);
    let host = field.split(['/', '?', '^']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, behind)| behind);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(':') => name,
        _ => host,
    };
    let host = host.strip_prefix("*.").unwrap_or(host);
    host.strip_prefix('.').unwrap_or(host)
}

fn is_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= LONGEST
        && host.chars().all(|letter| !letter.is_control() && !"{}()[]\"',;<>= ".contains(letter))
}

/// Whether it has a dot within and ends in letters, so that it is no number, address, version or time.
fn is_full(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let Some((_, last)) = host.rsplit_once('.') else { return false };
    host.parse::<IpAddr>().is_err()
        && (last.starts_with("xn--") || (last.len() > 1 && last.chars().all(char::is_alphabetic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_line_is_found_however_the_list_is_written() {
        for (line, expected) in [
            ("evil.example", Some("evil.example")),
            ("Evil.EXAMPLE.", Some("evil.example")),
            ("pod", Some("pod")),
            ("1,google.com", Some("google.com")),
            ("17,\"www.example.org\"", Some("www.example.org")),
            ("example.com,Domain used by a program,2018-04-05,http://other.example/x", Some("example.com")),
            ("chinad\tqowhi81jvoid4j0m.biz\t2018-04-05 00:00:00", Some("qowhi81jvoid4j0m.biz")),
            ("0.0.0.0 ads.example.net # why", Some("ads.example.net")),
            ("example.net # a comment", Some("example.net")),
            ("https://user@www.example.org:8443/path?x=1#part", Some("www.example.org")),
            ("||ads.example.net^", Some("ads.example.net")),
            ("*.example.net", Some("example.net")),
            ("1.2.3.4", Some("1.2.3.4")),
            ("_dmarc.example.net", Some("_dmarc.example.net")),
            ("b\u{fc}cher.de", Some("b\\xc3\\xbccher.de")),
            ("not a name", None),
            ("1,2,3", None),
            ("1 1.2.3.4 1.0", None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(name(line.as_bytes()).as_deref(), expected, "{line}");
        }
        assert_eq!(name(b"\xff\xfe.example"), None);
        assert_eq!(name("a".repeat(256).as_bytes()), None);
    }
}
