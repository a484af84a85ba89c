//! The syntax of names, labels and ports, as the API server checks it
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>, apimachinery `validation`).
//!
//! Each check answers with what is wrong, or `None`.

/// RFC 1123 label: lower-case letters, digits and `-`, at most 63.
pub(crate) fn dns_label(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > 63 {
        return Some("it needs 1 to 63 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Some("only lower-case letters, digits and '-' are allowed");
    }
    (text.starts_with('-') || text.ends_with('-')).then_some("it must begin and end with a letter or digit")
}

/// RFC 1123 subdomain: labels joined by dots, at most 253 characters. Labels here may be longer than 63.
pub(crate) fn dns_subdomain(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > 253 {
        return Some("it needs 1 to 253 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.') {
        return Some("only lower-case letters, digits, '-' and '.' are allowed");
    }
    let ragged = |part: &str| part.is_empty() || part.starts_with('-') || part.ends_with('-');
    text.split('.').any(ragged).then_some("every part must begin and end with a letter or digit")
}

/// Label key: an optional DNS subdomain and `/`, then a name of at most 63 characters.
pub(crate) fn label_key(text: &str) -> Option<&'static str> {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            if dns_subdomain(prefix).is_some() {
                return Some("the part before '/' must be a DNS subdomain");
            }
            name
        }
        None => text,
    };
    if name.is_empty() { Some("the name is empty") } else { label_value(name) }
}

/// Label value: empty, or at most 63 letters, digits, `-`, `_`, `.` with a letter or digit at each end.
pub(crate) fn label_value(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return None;
    }
    if text.len() > 63 {
        return Some("it has more than 63 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Some("only letters, digits, '-', '_' and '.' are allowed");
    }
    let edge = |c: char| c.is_ascii_alphanumeric();
    (!text.starts_with(edge) || !text.ends_with(edge))
        .then_some("it must begin and end with a letter or digit")
}

/// Port name (RFC 6335): at most 15 lower-case letters, digits and single `-`, with at least one letter.
pub(crate) fn port_name(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > 15 {
        return Some("a port name has 1 to 15 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Some("a port name has only lower-case letters, digits and '-'");
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Some("a port name needs at least one letter");
    }
    let ragged = text.starts_with('-') || text.ends_with('-') || text.contains("--");
    ragged.then_some("'-' stands neither first, last nor twice in a row in a port name")
}

/// A domain in one of Cofferdam's own kinds: as in `domainNames`, and with `**` too.
pub(crate) fn own_domain_pattern(text: &str) -> Option<&'static str> {
    match text.strip_prefix("**.") {
        Some(rest) if rest.starts_with("*.") => Some("'*' may only be the whole first label"),
        Some(rest) => domain_pattern(rest),
        None => domain_pattern(text),
    }
}

/// `domainNames` entry: two or more labels, the first of which may be `*`
/// (network-policy-api v1alpha2 `DomainName`, without the extra characters its pattern lets through by mistake).
pub(crate) fn domain_pattern(text: &str) -> Option<&'static str> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > 253 {
        return Some("it needs 1 to 253 characters");
    }
    if name.contains('*') {
        return Some("'*' may only be the whole first label");
    }
    if !name.contains('.') {
        return Some("it needs at least two labels");
    }
    let wrong = |label: &str| {
        label.is_empty()
            || label.len() > 63
            || !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            || !label.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            || !label.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    name.split('.')
        .any(wrong)
        .then_some("a label has 1 to 63 letters, digits, '-' and '_', no '-' at its ends")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Option<&'static str>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule(text), None, "{text:?} is good");
        }
        for text in bad {
            assert!(rule(text).is_some(), "{text:?} is bad");
        }
    }

    #[test]
    fn names_follow_the_api_server() {
        let long = "x".repeat(64);
        check(dns_label, &["a", "a-b", "0"], &["", "A", "a.b", "-a", "a-", "a_b", &long]);
        check(dns_subdomain, &["a", "a.b-c", &long], &["", "a..b", ".a", "a.", "-a", "A"]);
        check(
            label_key,
            &["a", "A_b.c", "k8s.io/name", "x.y/z"],
            &["", "/a", "a/", "a/b/c", "app@b", "A/b", "-a"],
        );
        check(label_value, &["", "a", "A.b_c-1"], &["$a", "a b", "-a", "a-", "a/b", &long]);
    }

    #[test]
    fn ports_and_domains_follow_their_patterns() {
        check(port_name, &["http", "a1", "1a", "x-y"], &["", "80", "a--b", "-a", "HTTP", "abcdefghijklmnop"]);
        check(
            domain_pattern,
            &["a.b", "*.b.c", "A.b.", "_x.y.z"],
            &["", "a", "*", "*.", "a.*.b", "a..b", "a[.io", "-a.b", "**.b.c"],
        );
        check(
            own_domain_pattern,
            &["a.b", "*.b.c", "**.b.c", "A.b."],
            &["", "**", "**.", "**.a", "**.*.b.c", "a.**.b", "***.b.c"],
        );
    }
}
