//! A real client against the proxy: ISC's dig, on the loopback network.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

mod support;

use dns::{AllowedName, Names, Questions};
use policy::DomainPattern;
use std::process::Command;
use support::*;

/// What dig prints; `None` where it is not installed.
fn dig(arguments: &str) -> Option<String> {
    let output = Command::new("dig").args(arguments.split_whitespace()).output().ok()?;
    assert!(output.status.success(), "dig {arguments}: {}", String::from_utf8_lossy(&output.stdout));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn dig_gets_answers_refusals_with_their_rule_and_long_answers_by_tcp() {
    if dig("-v").is_none() {
        eprintln!("SKIPPED: the proxy asked by a real client (install bind9-dnsutils for dig)");
        return;
    }
    let port = free_port();
    let _resolver = Resolver::start(1, port, |question| {
        let owner = question.queries[0].name().to_ascii();
        let long = owner.to_lowercase().starts_with("long");
        let records =
            (0..if long { 200 } else { 1 }).map(|last| record(&owner, 300, &format!("192.0.2.{last}")));
        vec![Act::Send(answer(question, records.collect()))]
    });
    let mut state = state(port, &["*.a.io"]);
    state.pods[0].questions = Questions::Only(vec![Names {
        allowed: vec![AllowedName {
            pattern: DomainPattern::parse("*.a.io").unwrap(),
            rule: "rule 1".into(),
        }],
        otherwise: "EgressPolicy train/hub".into(),
    }]);
    let world = World::start(state, Binds::AtOnce);
    let at = format!("-b 127.0.1.1 @127.0.2.1 -p {} +time=10 +tries=1", world.port);
    let ask = |rest: &str| dig(&format!("{at} {rest}")).unwrap();
    assert_eq!(ask("+short WwW.a.io"), "192.0.2.0\n");
    assert_eq!(ask("+short +tcp www.a.io"), "192.0.2.0\n");
    assert_eq!(ask("+short +noedns www.a.io"), "192.0.2.0\n");
    let refused = ask("b.io");
    assert!(refused.contains("status: REFUSED"), "{refused}");
    assert!(refused.contains("EDE: 15 (Blocked): (EgressPolicy train/hub)"), "{refused}");
    let long = ask("long.a.io");
    assert!(long.contains("Truncated, retrying in TCP mode") && long.contains("ANSWER: 200"), "{long}");
    assert!(ask("version.bind CH TXT").contains("status: FORMERR"));
    assert!(ask("+edns=1 +noednsneg www.a.io").contains("status: BADVERS"));
    assert!(ask("www.a.io ANY").contains("status: REFUSED"));
}
