//! Names of DNS: who registered them, what is below, and what of it says nothing.
//!
//! Source of what can be registered below what: the Public Suffix List with its private part, compiled in by crate `psl`, so
//! that `a.ddns.net` is a name of its own. An unknown last label counts as such a suffix.

/// A name in two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// What is below the registered name, without the dot between; empty if nothing.
    pub below: &'a str,
    /// What was registered, with its suffix. A name that is a suffix itself is here whole.
    pub registered: &'a str,
    /// Whether the suffix is one that the list knows: others belong to no registry that sells names.
    pub is_public: bool,
    /// Whether whose the suffix is lets others have names below it: a cloud's, or one of dynamic DNS.
    pub is_shared: bool,
}

impl Split<'_> {
    /// Whether somebody could have registered it: not an address turned round, not a suffix by itself.
    pub fn is_registrable(&self) -> bool {
        self.registered.contains('.') && !self.registered.ends_with(".arpa")
    }
}

/// What names of services of dynamic DNS have in them.
const DYNAMIC: [&str; 17] = [
    "dyn",
    "dns",
    "no-ip",
    "hopto.",
    "zapto.",
    "sytes.",
    "myftp.",
    "myvnc.",
    "serveftp.",
    "servehttp.",
    "redirectme.",
    "bounceme.",
    "homeip.",
    "homelinux.",
    "mooo.com",
    "us.to",
    "chickenkiller.",
];

impl Split<'_> {
    /// Whether it ends in what no registry has: a label of letters and digits, as data have it that a tunnel sends straight to its server.
    pub fn is_nowhere(&self) -> bool {
        let last = self.registered.rsplit('.').next().unwrap_or_default();
        !self.is_public && !last.starts_with("xn--") && last.bytes().any(|byte| byte.is_ascii_digit())
    }

    /// Whether it is below a zone of a cloud: programs have their names drawn there for harmless ends.
    pub fn is_of_cloud(&self) -> bool {
        self.is_shared && !DYNAMIC.iter().any(|word| self.registered.contains(word))
    }
}

/// Ends of names that never leave a cluster or a network: the cluster's own, RFC 6762, RFC 8375, RFC 6761, and what clouds
/// and networks search.
const LOCAL: [&str; 9] =
    ["cluster.local", "local", "internal", "home.arpa", "localdomain", "lan", "localhost", "svc", "test"];

/// Splits a name that is in lower case and has no last dot.
pub fn split(name: &str) -> Split<'_> {
    let Some(suffix) = psl::suffix(name.as_bytes()) else {
        return Split { below: "", registered: name, is_public: false, is_shared: false };
    };
    let start = name.len().saturating_sub(suffix.as_bytes().len());
    let head = name.get(..start).unwrap_or_default().strip_suffix('.').unwrap_or_default();
    let label = head.rfind('.').map_or(0, |dot| dot + 1);
    Split {
        below: head.get(..label.saturating_sub(1)).unwrap_or_default(),
        registered: name.get(label..).unwrap_or(name),
        is_public: suffix.is_known(),
        is_shared: suffix.typ() == Some(psl::Type::Private),
    }
}

/// The label that somebody chose when the name was registered: `example` of `example.co.uk`.
pub fn chosen(registered: &str) -> &str {
    registered.split('.').next().unwrap_or_default()
}

/// Whether a label is in letters that DNS has: not another alphabet's, as IDNA writes it (RFC 5890, section 2.3.1) or raw.
pub fn is_spelled(label: &str) -> bool {
    !label.starts_with("xn--") && !label.contains('\\')
}

/// Zones whose owners have their programs ask for digests of files, addresses and mail: what reaches their servers reaches nobody
/// else. Sources: what the vendors of these scanners and block lists publish about their own lookups.
const DIGESTS: [&str; 12] = [
    "barracudacentral.org",
    "cymru.com",
    "e5.sk",
    "f-secure.com",
    "mcafee.com",
    "msbl.org",
    "sophosxl.net",
    "spamhaus.net",
    "spamhaus.org",
    "surbl.org",
    "trendmicro.com",
    "uribl.com",
];

/// Whether digests are asked for below a registered name by design.
pub fn is_of_digests(registered: &str) -> bool {
    DIGESTS.contains(&registered)
}

/// Whether the name is of a cluster's or a network's own: not resolved by servers outside.
pub fn is_local(name: &str) -> bool {
    // `test` is no network's own: tunnels in a laboratory are below it.
    !name.contains('.')
        || LOCAL
            .iter()
            .filter(|end| **end != "test")
            .any(|end| name.strip_suffix(end).is_some_and(|head| head.is_empty() || head.ends_with('.')))
}

/// How many bytes the address has that the name is below, where it is one turned round, as reverse lookups and block lists have it
/// (RFC 1035, section 3.5; RFC 3596, section 2.5; RFC 5782, sections 2.1 and 2.4); `None`: it is not.
pub fn turned_address(name: &str, below: &str) -> Option<u32> {
    let octets = |labels: &str| {
        let mut count = 0usize;
        let all = labels.split('.').all(|label| {
            count += 1;
            label.parse::<u8>().is_ok()
        });
        all && (1..=4).contains(&count)
    };
    let nibbles = |labels: &str| {
        labels.split('.').all(|label| label.len() == 1 && label.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    if let Some(head) = name.strip_suffix(".in-addr.arpa") {
        return octets(head).then_some(4);
    }
    if let Some(head) = name.strip_suffix(".ip6.arpa") {
        return nibbles(head).then_some(16);
    }
    // A block list has one label of its own before what it registered, or none.
    let of_list = |labels: &str| match labels.split('.').count() {
        4 => octets(labels).then_some(4),
        32 => nibbles(labels).then_some(16),
        _ => None,
    };
    let (head, list) = below.rsplit_once('.').unwrap_or(("", below));
    of_list(below).or_else(|| if list.parse::<u8>().is_ok() { None } else { of_list(head) })
}

/// Bits per byte of what is in a text, by how often each byte is in it (Shannon); 0 for one that is empty.
pub fn entropy(text: &str) -> f64 {
    let mut counts = [0u16; 256];
    let mut total = 0u16;
    for byte in text.bytes().filter(|byte| *byte != b'.') {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count = count.saturating_add(1);
            total = total.saturating_add(1);
        }
    }
    if total == 0 {
        return 0.0;
    }
    let of_all = f64::from(total);
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / of_all)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_where_they_were_registered() {
        let cases = [
            ("www.example.co.uk", "www", "example.co.uk"),
            ("example.com", "", "example.com"),
            ("com", "", "com"),
            ("a.b.evil.ddns.net", "a.b", "evil.ddns.net"),
            ("d111.cloudfront.net", "", "d111.cloudfront.net"),
            ("x.y.nosuchtld", "x", "y.nosuchtld"),
            ("pod", "", "pod"),
            ("", "", ""),
            ("a.t.tunnel-lab.test", "a.t", "tunnel-lab.test"),
        ];
        for (name, below, registered) in cases {
            let found = split(name);
            assert_eq!((found.below, found.registered), (below, registered), "{name}");
        }
    }

    #[test]
    fn zones_of_clouds_are_told_from_those_of_dynamic_dns() {
        for (name, expected) in [
            ("d111.cloudfront.net", true),
            ("x.ddns.net", false),
            ("x.dyndns.org", false),
            ("x.hopto.org", false),
            ("example.com", false),
        ] {
            assert_eq!(split(name).is_of_cloud(), expected, "{name}");
        }
    }

    #[test]
    fn names_of_a_cluster_are_local() {
        for (name, expected) in [
            ("api.default.svc.cluster.local", true),
            ("kubernetes.default.svc", true),
            ("api.openai.com.ec2.internal", true),
            ("gateway", true),
            ("notlocal.com", false),
            ("xlocal", true),
            ("x.mylocal.com", false),
        ] {
            assert_eq!(is_local(name), expected, "{name}");
        }
    }

    #[test]
    fn addresses_turned_round_are_told_from_what_looks_like_them() {
        let nibbles = ["2"; 32].join(".");
        for (name, expected) in [
            ("4.3.2.1.in-addr.arpa", Some(4)),
            ("1.2.3.4.zen.spamhaus.org", Some(4)),
            ("1.2.3.4.spamhaus.org", Some(4)),
            ("1.2.3.4.b.barracudacentral.org", Some(4)),
            ("2.3.4.spamhaus.org", None),
            ("1.2.3.4.5.spamhaus.org", None),
            ("1.2.3.999.zen.spamhaus.org", None),
            ("b.a.9.8.ip6.arpa", Some(16)),
            (&format!("{nibbles}.zen.spamhaus.org"), Some(16)),
            (&format!("{nibbles}.spamhaus.org"), Some(16)),
            (&format!("2.{nibbles}.2.zen.spamhaus.org"), None),
            ("hello.in-addr.arpa", None),
        ] {
            assert_eq!(turned_address(name, split(name).below), expected, "{name}");
        }
    }

    #[test]
    fn data_below_no_registry_other_alphabets_and_zones_of_digests_are_told_apart() {
        for (name, expected) in [
            ("dnscat.0a1b2c3d4e", true),
            ("printer.corp", false),
            ("x.xn--p1ai", false),
            ("x.xn--0zwm56d9", false),
            ("example.com", false),
        ] {
            assert_eq!(split(name).is_nowhere(), expected, "{name}");
        }
        assert!(is_spelled("abc-1") && !is_spelled("xn--bcher-kva") && !is_spelled("b\\xc3\\xbccher"));
        assert!(is_of_digests("sophosxl.net") && !is_of_digests("example.com"));
    }

    #[test]
    fn entropy_is_of_the_bytes_without_dots() {
        assert_eq!(entropy(""), 0.0);
        assert_eq!(entropy("aaaa.a"), 0.0);
        assert!((entropy("abcd") - 2.0).abs() < 1e-9);
    }
}
