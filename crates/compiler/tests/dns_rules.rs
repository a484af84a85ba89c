//! What is given to a DNS proxy as lists, against the rules themselves, over random policy sets.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use compiler::sample;
use policy::decide::peer_matches;
use policy::dns::Lists;
use policy::table::Ruling;
use policy::{DnsName, Endpoint, Reason, RuleId, Verdict, decide_question, decide_resolver, dns_rules};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What lists say: each must list it.
fn answer<L>(lists: &Lists<L>, lists_it: impl Fn(&L) -> Option<RuleId>) -> Ruling {
    let each = match lists {
        Lists::Settled(ruling) => return *ruling,
        Lists::Each(each) => each,
    };
    let mut passed = Ruling { verdict: Verdict::Allow, rule: RuleId::NO_POLICY };
    for (list, refusal) in each {
        match lists_it(list) {
            Some(rule) => passed.rule = rule,
            None => return Ruling { verdict: Verdict::Deny, rule: *refusal },
        }
    }
    passed
}

#[test]
fn lists_answer_as_the_rules_do_and_by_the_same_rule() {
    let names = ["a.io", "x.a.io", "w.a.io", "y.x.a.io", "z.y.x.a.io", "b.io", "x.b.io", "c.com"];
    let names = names.map(|text| DnsName::parse(text).unwrap());
    let addresses = ["10.0.0.1", "10.0.0.2", "10.1.0.2", "93.184.0.1", "9.9.9.9", "fd00::3", "::1"];
    let addresses = addresses.map(|text| text.parse::<IpAddr>().unwrap());
    let mut reasons: BTreeMap<Reason, u64> = BTreeMap::new();
    for seed in 1..1500 {
        let set = sample::policy_set(seed);
        for pod in &set.world.pods {
            let rules = dns_rules(&set, pod);
            for name in &names {
                let judged = decide_question(&set, pod, name);
                *reasons.entry(judged.reason).or_default() += 1;
                let expected = Ruling { verdict: judged.verdict, rule: judged.rule };
                let listed = answer(&rules.names(), |list| {
                    list.iter().find(|(pattern, _)| pattern.matches(name)).map(|(_, rule)| *rule)
                });
                assert_eq!(rules.question(name), expected, "seed {seed}: {pod} asks for {name}");
                assert_eq!(listed, expected, "seed {seed}: {pod} asks for {name}");
            }
            for address in addresses {
                let end = Endpoint::at(&set.world, address);
                let judged = decide_resolver(&set, pod, end);
                *reasons.entry(judged.reason).or_default() += 1;
                let expected = Ruling { verdict: judged.verdict, rule: judged.rule };
                let listed = answer(&rules.resolvers(), |list| {
                    let is_it = |peer| peer_matches(&set.world, peer, None, end);
                    list.iter().any(is_it).then_some(RuleId::NO_POLICY)
                });
                assert_eq!(rules.resolver(&set.world, end), expected, "seed {seed}: {pod} asks {address}");
                assert_eq!(listed.verdict, expected.verdict, "seed {seed}: {pod} asks {address}");
            }
        }
    }
    println!("{reasons:?}");
    let wanted = [
        Reason::NoPolicy,
        Reason::NotSubject,
        Reason::DnsNameAllow,
        Reason::DnsNameDeny,
        Reason::DnsResolverDeny,
        Reason::EgressPolicyAllow,
        Reason::PolicyUnreadable,
    ];
    assert!(wanted.iter().all(|reason| reasons.contains_key(reason)), "{reasons:?}");
}
