//! Names that are asked for: data in them, names that a program draws, and what looks alike.

use super::*;

#[test]
fn data_in_names_is_told_of_for_every_type_of_question() {
    for kind in [1, 5, 10, 15, 16, 25, 28, 33, 65399] {
        let names = (0..40).map(|seed| lookup(&format!("{}.t.example.com", noise(seed, 45)), kind, Some(0)));
        check(&format!("type {kind}"), &every(SECOND, names), &["dns-tunnel"]);
    }
    let slow = (0..60).map(|seed| lookup(&format!("{}.t.example.com", noise(seed, 45)), 16, Some(0)));
    check("one name in 50 seconds", &every(50 * SECOND, slow), &["dns-tunnel"]);
}

#[test]
fn names_of_services_that_have_many_are_no_tunnel() {
    let services =
        (0..500).map(|number| lookup(&format!("db-{number}.team-{number}.svc.cluster.local"), 1, Some(0)));
    check("services", &every(SECOND / 10, services), &[]);
    let cdn = (0..200).map(|seed| lookup(&format!("{}.cloudfront.net", noise(seed, 14)), 1, Some(0)));
    check("a CDN", &every(SECOND, cdn), &[]);
    let turned = (0..=255).map(|number| lookup(&format!("{number}.3.2.10.in-addr.arpa"), 12, Some(0)));
    check("reverse lookups", &every(SECOND / 10, turned), &[]);
    let lists =
        (0..=255).map(|number| lookup(&format!("{number}.2.0.192.zen.spamhaus.org"), 1, Some(NXDOMAIN)));
    check("a block list, at the pace of a mail server", &every(4 * SECOND, lists), &[]);
    let address = |number: u64| {
        let digits =
            format!("{:032x}", u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        digits.chars().map(String::from).collect::<Vec<_>>().join(".")
    };
    let numbers = 0..600;
    let busy = numbers.clone().flat_map(|number| {
        let four = format!("{}.{}.0.192.zen.spamhaus.org", number % 256, number / 256);
        [four, format!("{}.zen.spamhaus.org", address(number))].map(|name| lookup(&name, 1, Some(NXDOMAIN)))
    });
    check("block lists of both families, two a second", &every(SECOND / 2, busy), &[]);
    let reverse = numbers.map(|number| lookup(&format!("{}.ip6.arpa", address(number)), 12, Some(NXDOMAIN)));
    check("reverse lookups of IPv6, three a second", &every(SECOND / 3, reverse), &[]);
    let repeated =
        (0..5000).map(|number| lookup(&format!("{}.t.example.com", noise(number % 4, 60)), 16, Some(0)));
    check("the same few names", &every(SECOND / 100, repeated), &[]);
}

#[test]
fn names_that_a_program_draws_are_told_of_where_they_do_not_exist() {
    let drawn = |rcode| (0..12).map(move |seed| lookup(&format!("{}.net", noise(seed, 14)), 1, rcode));
    check("none exists", &every(10 * SECOND, drawn(Some(NXDOMAIN))), &["dga"]);
    check("unknown", &every(10 * SECOND, drawn(None)), &["dga"]);
    check("all exist", &every(10 * SECOND, drawn(Some(0))), &[]);
    let cdn = (0..40).map(|seed| lookup(&format!("{}.cloudfront.net", noise(seed, 14)), 1, None));
    check("a CDN, unknown", &every(10 * SECOND, cdn), &[]);
    let shared = (0..12).map(|seed| lookup(&format!("{}.ddns.net", noise(seed, 14)), 1, Some(NXDOMAIN)));
    check("below a zone that anybody may use", &every(10 * SECOND, shared), &["dga"]);
    let words = ["river", "stone", "cloud", "garden", "silver", "winter"];
    let put_together = words.iter().flat_map(|one| words.iter().map(move |two| format!("{one}{two}.com")));
    let put_together = put_together.map(|name| lookup(&name, 1, Some(NXDOMAIN)));
    check("words put together, by their number", &every(10 * SECOND, put_together), &["dga"]);
}

/// Words and endings that people put together as programs do.
const WORDS: [&str; 12] = [
    "river", "stone", "cloud", "garden", "silver", "winter", "market", "letter", "bridge", "forest",
    "doctor", "island",
];

#[test]
fn words_and_syllables_put_together_are_told_of_where_answers_are_unknown() {
    let pairs = || WORDS.iter().flat_map(|one| WORDS.iter().map(move |two| format!("{one}{two}")));
    let words = pairs().take(60).map(|name| lookup(&format!("{name}.net"), 1, None));
    check("words put together", &every(SECOND, words), &["dga"]);
    // What people register is of all lengths.
    let mixed = pairs().take(60).zip(0..).map(|(name, number)| {
        let length = if number % 4 == 0 { 5 } else { name.len() };
        lookup(&format!("{}.net", &name[..length]), 1, None)
    });
    check("names of all lengths", &every(SECOND, mixed), &[]);
    let syllable = |bits: u64| {
        let pick =
            |from: &[u8], bits: u64| char::from(from[usize::try_from(bits).expect("small") % from.len()]);
        [pick(b"bcdfghjklmnpqrstvwxz", bits / 6), pick(b"aeiouy", bits)]
    };
    let drawn = |name: u64| -> String {
        let bits = name.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..4).flat_map(|place| syllable((bits >> (place * 14 + 8)) & 0x3fff)).collect()
    };
    let syllables = (1..60).map(|name| lookup(&format!("{}.com", drawn(name)), 1, None));
    check("syllables", &every(SECOND, syllables), &["dga"]);
}

#[test]
fn what_abbreviates_and_what_is_of_another_alphabet_does_not_look_drawn() {
    let numbers = [
        "51job", "17173", "4399", "7k7k", "2345", "8684", "360", "58", "1688", "55188", "91160", "99114",
        "3dm", "114", "5173", "7788", "8264", "86516", "9939", "19lou", "21cn", "39", "3839", "40017",
        "5118", "7723", "8btc", "92lux", "k12", "xqz",
    ];
    let names = numbers.iter().map(|name| lookup(&format!("{name}.cn"), 1, None));
    check("abbreviations", &every(SECOND, names), &[]);
    let idn = (0..30).map(|seed| lookup(&format!("xn--{}.com", noise(seed, 12)), 1, Some(NXDOMAIN)));
    check("another alphabet, fewer than count by number", &every(SECOND, idn.take(29)), &[]);
}

#[test]
fn types_that_only_tunnels_ask_for_and_what_answers_bring_speak_for_a_tunnel() {
    let polls =
        |kind| (0..20).map(move |seed| lookup(&format!("p{}.t.example.com", noise(seed, 6)), kind, Some(0)));
    check("a tunnel that idles, by NULL", &every(3 * SECOND, polls(10)), &["dns-tunnel"]);
    check("the same by A", &every(3 * SECOND, polls(1)), &[]);
    let brings = |kind, answer_bytes| {
        (0..40).map(move |seed| {
            let name = format!("{}.t.example.com", noise(seed, 6)).into();
            What::Lookup(Lookup { name, kind, rcode: Some(0), answer_bytes })
        })
    };
    check("texts", &every(SECOND, brings(16, 200)), &["dns-tunnel"]);
    check("short texts", &every(SECOND, brings(16, 10)), &[]);
    check("services", &every(SECOND, brings(33, 200)), &[]);
    let hex = |seed: u64| {
        format!(
            "{:016x}{:016x}",
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            seed.wrapping_mul(0xf39c_c060_5ced_c835)
        )
    };
    let direct = (1..40).map(|seed| lookup(&format!("dnscat.{}", hex(seed)), 16, Some(0)));
    let found = found(&every(SECOND, direct));
    assert!(found.iter().any(|it| it.detector == "dns-tunnel" && it.subject == "no zone"), "{found:?}");
}

#[test]
fn labels_that_come_again_and_digests_that_scanners_ask_for_are_no_data() {
    let hosts =
        (0..300).map(|number| lookup(&format!("db-{number}.prod.eu-west-1.nodes.example.com"), 1, Some(0)));
    check("hosts", &every(SECOND / 10, hosts), &[]);
    let sites = ["Berlin", "London", "Tokyo", "Paris", "Oslo"];
    let services = ["ldap", "kerberos", "gc", "kpasswd"].iter().flat_map(|service| {
        sites.map(|site| {
            lookup(
                &format!("_{service}._tcp.{site}-site-name._sites.dc._msdcs.corp.example.com"),
                33,
                Some(0),
            )
        })
    });
    check("a domain controller", &every(SECOND, services), &[]);
    let uuid = |seed| {
        format!(
            "{}-{}-{}-{}-{}",
            noise(seed, 8),
            noise(seed, 4),
            noise(seed + 7, 4),
            noise(seed + 9, 4),
            noise(seed, 12)
        )
    };
    let tenants = (0..15).map(|seed| lookup(&format!("{}.tenants.example.com", uuid(seed)), 1, Some(0)));
    check("tenants", &every(3 * SECOND, tenants), &[]);
    let digests = |zone: &'static str| {
        (0..200).map(move |seed| lookup(&format!("5.4.{}.s.{zone}", noise(seed, 40)), 16, Some(0)))
    };
    check("a scanner", &every(SECOND, digests("sophosxl.net")), &[]);
    check("anybody else", &every(SECOND, digests("example.net")), &["dns-tunnel"]);
}

#[test]
fn a_list_of_names_without_times_is_no_minute() {
    let list = |length| {
        let line = |seed| {
            let record = RecordId { source: "test".into(), number: seed };
            let what = lookup(&format!("{}.cdn.example.com", noise(seed, length)), 1, None);
            Event::new(Time::default(), "list".into(), record, what)
        };
        (0..400).map(line).collect::<Vec<_>>()
    };
    check("servers of a CDN", &list(10), &[]);
    check("data", &list(50), &["dns-tunnel"]);
}
