//! What rules mean: small rule sets and requests, and which of the rules match.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::sync::Arc;

use waf::{
    Action, Cause, Files, Interruption, Limit, LoadErrors, Outcome, RuleSet, Start, Store, Transaction,
};

const ENGINE: &str = "SecRuleEngine On\nSecRequestBodyAccess On\nSecResponseBodyAccess On\n";

fn load(rules: &str) -> Result<RuleSet, LoadErrors> {
    let data = vec![("words.data".to_owned(), b"# words\nalpha\n\nBeta gamma\n".to_vec())];
    RuleSet::load(&Files {
        rules: vec![("test.conf".to_owned(), format!("{ENGINE}{rules}").into_bytes())],
        data,
    })
}

struct Request<'a> {
    target: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
    answer: &'a str,
}

const PLAIN: Request<'_> = Request { target: "/", headers: &[], body: "", answer: "" };

fn run_with(rules: &RuleSet, request: &Request<'_>, start: Start) -> (Outcome, Option<Interruption>) {
    let mut transaction = Transaction::new(rules, start);
    transaction.connection("192.0.2.7:5000".parse().unwrap(), "192.0.2.1:80".parse().unwrap());
    transaction.request_line(b"POST", request.target.as_bytes(), b"HTTP/1.1");
    for (name, value) in request.headers {
        transaction.request_header(name.as_bytes(), value.as_bytes());
    }
    let mut over = transaction.request_headers_done().is_some();
    // A body arrives in pieces of any size.
    for piece in request.body.as_bytes().chunks(3) {
        transaction.request_body(piece);
    }
    over = over || transaction.request_body_done().is_some();
    if !over {
        transaction.response_status(200, b"HTTP/1.1");
        transaction.response_header(b"Content-Type", b"text/html; charset=utf-8");
        over = transaction.response_headers_done().is_some();
    }
    if !over {
        transaction.response_body(request.answer.as_bytes());
        let _ = transaction.response_body_done();
    }
    let interruption = transaction.interruption().cloned();
    (transaction.finish(), interruption)
}

fn run(rules: &str, request: &Request<'_>) -> (Outcome, Option<Interruption>) {
    run_with(&load(rules).unwrap_or_else(|errors| panic!("{errors}\n{rules}")), request, Start::default())
}

fn matched(outcome: &Outcome) -> Vec<u64> {
    outcome.matched.iter().map(|found| found.rule.id).collect()
}

fn check(rules: &str, request: &Request<'_>, expected: &[u64]) {
    let (outcome, _) = run(rules, request);
    assert_eq!(matched(&outcome), expected, "{rules}\n{outcome:?}");
}

#[test]
fn setvar_of_each_link_runs_for_each_value_even_when_the_chain_is_not_completed() {
    let rules = r#"
        SecRule ARGS "@rx x" "id:1,phase:2,pass,setvar:tx.a=+1,chain"
            SecRule ARGS:never "@rx x" "setvar:tx.b=+1"
        SecRule TX:a "@eq 2" "id:2,phase:2,pass"
        SecRule &TX:b "@eq 0" "id:3,phase:2,pass""#;
    check(rules, &Request { target: "/?p=x&q=x&r=y", ..PLAIN }, &[2, 3]);
}

#[test]
fn captures_reach_later_links_and_texts() {
    let rules = r#"
        SecRule ARGS "@rx (\w+)=(\w+)" "id:1,phase:2,pass,capture,t:none,msg:'%{TX.1} of %{MATCHED_VAR_NAME}',logdata:'%{tx.2}',chain"
            SecRule TX:1 "@streq user" "t:none""#;
    let (outcome, _) = run(rules, &Request { target: "/?p=user%3droot", ..PLAIN });
    assert_eq!(outcome.matched[0].message, b"user of ARGS:p");
    assert_eq!(outcome.matched[0].data, b"root");
    check(rules, &Request { target: "/?p=name%3droot", ..PLAIN }, &[]);
}

#[test]
fn rules_are_skipped_up_to_markers_and_by_number() {
    let rules = r#"
        SecRule ARGS:s "@streq after" "id:1,phase:1,pass,skipAfter:END"
        SecRule ARGS:s "@streq one" "id:2,phase:1,pass,skip:1"
        SecAction "id:3,phase:1,pass"
        SecAction "id:4,phase:1,pass"
        SecAction "id:5,phase:2,pass"
        SecMarker END
        SecAction "id:6,phase:1,pass""#;
    check(rules, &Request { target: "/?s=after", ..PLAIN }, &[1, 6, 5]);
    check(rules, &Request { target: "/?s=one", ..PLAIN }, &[2, 4, 6, 5]);
}

#[test]
fn exclusions_take_rules_and_targets_away_when_loading_and_when_running() {
    let rules = |more: &str| {
        format!(
            r#"
        SecRule ARGS:off "@streq rule" "id:1,phase:1,pass,nolog,ctl:ruleRemoveById=10-11"
        SecRule ARGS:off "@streq tag" "id:2,phase:1,pass,nolog,ctl:ruleRemoveTargetByTag=T;ARGS:a"
        SecRule ARGS:a|ARGS:b "@rx x" "id:10,phase:2,pass,tag:'T'"
        SecRule ARGS:/^[ab]$/|!ARGS:b "@rx x" "id:11,phase:2,pass,msg:'M'"
        {more}"#
        )
    };
    let target = |query| Request { target: query, ..PLAIN };
    check(&rules(""), &target("/?a=x"), &[10, 11]);
    check(&rules(""), &target("/?b=x"), &[10]);
    check(&rules(""), &target("/?a=x&off=rule"), &[1]);
    check(&rules(""), &target("/?a=x&off=tag"), &[2, 11]);
    check(&rules("SecRuleRemoveById 10"), &target("/?a=x"), &[11]);
    check(&rules("SecRuleRemoveByTag T"), &target("/?a=x"), &[11]);
    check(&rules("SecRuleRemoveByMsg M"), &target("/?a=x"), &[10]);
    check(&rules("SecRuleUpdateTargetById 10 \"!ARGS:a\""), &target("/?a=x"), &[11]);
    check(&rules("SecRuleUpdateTargetByTag T \"ARGS:c\""), &target("/?c=x"), &[10]);
    check(&rules("SecRuleUpdateTargetById 11 \"ARGS:d\" \"ARGS:/^[ab]$/\""), &target("/?d=x"), &[11]);
}

#[test]
fn a_count_is_taken_away_whole_and_never_made_less() {
    let rules = |more: &str| {
        format!(
            r#"
        SecRule ARGS:off "@streq now" "id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetById=12;ARGS:a"
        SecRule &ARGS|!ARGS:a "@eq 2" "id:10,phase:1,pass"
        SecRule &ARGS:a|!ARGS:a "@ge 0" "id:11,phase:1,pass"
        SecRule &ARGS:a "@ge 0" "id:12,phase:1,pass"
        {more}"#
        )
    };
    let target = |query| Request { target: query, ..PLAIN };
    check(&rules(""), &target("/?a=x&b=y"), &[10, 12]);
    check(&rules(""), &target("/?a=x&off=now"), &[1, 10]);
    check(&rules(r#"SecRuleUpdateTargetById 12 "!ARGS:/^a$/""#), &target("/?b=y"), &[]);
}

#[test]
fn bodies_are_read_by_their_processor() {
    let json = r#"
        SecRule REQUEST_HEADERS:Content-Type "@rx json" "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"
        SecRule ARGS:json.a.array_1.b "@streq x" "id:2,phase:2,pass"
        SecRule REQBODY_ERROR "@eq 1" "id:3,phase:2,pass""#;
    let of = |kind: &'static [(&'static str, &'static str)], body: &'static str| Request {
        headers: kind,
        body,
        ..PLAIN
    };
    check(json, &of(&[("Content-Type", "application/json")], r#"{"a":[1,{"b":"x"}]}"#), &[1, 2]);
    check(json, &of(&[("content-type", "application/json")], r#"{"a":["#), &[1, 3]);
    let xml = r#"
        SecRule REQUEST_HEADERS:Content-Type "@rx xml" "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=XML"
        SecRule XML:/* "@contains evil" "id:2,phase:2,pass"
        SecRule XML://@* "@contains evil" "id:3,phase:2,pass""#;
    check(xml, &of(&[("Content-Type", "text/xml")], "<a b='no'><c>e</c>vil</a>"), &[1, 2]);
    check(xml, &of(&[("Content-Type", "text/xml")], "<evil b='&#101;vil'/>"), &[1, 3]);
    let form = r#"SecRule ARGS_POST:a "@streq x y" "id:1,phase:2,pass"
        SecRule REQUEST_BODY "@contains a=x" "id:2,phase:2,pass""#;
    check(form, &of(&[("Content-Type", "application/x-www-form-urlencoded")], "a=x+y"), &[1, 2]);
    let multipart = r#"SecRule FILES:f "@endsWith .php" "id:1,phase:2,pass"
        SecRule ARGS:p "@streq v" "id:2,phase:2,pass"
        SecRule MULTIPART_STRICT_ERROR "@eq 1" "id:3,phase:2,pass""#;
    let kind = &[("Content-Type", "multipart/form-data; boundary=b")];
    let part = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.php\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"p\"\r\n\r\nv\r\n--b--\r\n";
    check(multipart, &Request { headers: kind, body: part, ..PLAIN }, &[1, 2]);
}

#[test]
fn interruptions_say_who_and_how() {
    let deny = r#"SecDefaultAction "phase:2,log,deny,status:406"
        SecRule ARGS:a "@streq deny" "id:1,phase:1,deny,status:418"
        SecRule ARGS:a "@streq block" "id:2,phase:2,block"
        SecRule ARGS:a "@streq go" "id:3,phase:2,redirect:https://example.org/%{ARGS.a}"
        SecRule ARGS:a "@streq drop" "id:4,phase:2,drop"
        SecRule RESPONSE_BODY "@contains secret" "id:5,phase:4,deny""#;
    let check = |target: &'static str, expected: Option<(u64, u16, Action)>| {
        let (_, found) = run(deny, &Request { target, answer: "a secret", ..PLAIN });
        let found = found.map(|found| match found.cause {
            Cause::Rule(id) => (id, found.status, found.action),
            Cause::Limit(limit) => panic!("{limit:?}"),
        });
        assert_eq!(found, expected, "{target}");
    };
    check("/?a=deny", Some((1, 418, Action::Deny)));
    check("/?a=block", Some((2, 406, Action::Deny)));
    check("/?a=go", Some((3, 302, Action::Redirect(b"https://example.org/go".to_vec()))));
    check("/?a=drop", Some((4, 406, Action::Drop)));
    check("/", Some((5, 403, Action::Deny)));
    let (outcome, found) = run(
        &deny.replace("SecDefaultAction", "SecRuleEngine DetectionOnly\nSecDefaultAction"),
        &Request { target: "/?a=deny", ..PLAIN },
    );
    assert_eq!((matched(&outcome), found), (vec![1], None));
}

#[test]
fn allow_lets_phases_pass() {
    let rules = |scope: &str| {
        format!(
            "SecAction \"id:1,phase:1,nolog,{scope}\"\nSecAction \"id:2,phase:1,pass\"\nSecAction \"id:3,phase:2,pass\"\nSecAction \"id:4,phase:3,pass\"\nSecAction \"id:5,phase:5,pass\""
        )
    };
    check(&rules("allow"), &PLAIN, &[1, 5]);
    check(&rules("allow:request"), &PLAIN, &[1, 4, 5]);
    check(&rules("allow:phase"), &PLAIN, &[1, 3, 4, 5]);
}

#[test]
fn persistent_collections_outlive_a_transaction() {
    let rules = load(
        r#"SecAction "id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR}"
        SecAction "id:3,phase:1,pass,nolog,setvar:ip.count=+1,expirevar:ip.count=60"
        SecRule IP:count "@ge 2" "id:2,phase:2,deny""#,
    )
    .unwrap();
    let store = Arc::new(Store::new());
    let at = |now| {
        let start = Start { now, store: Some(Arc::clone(&store)), ..Start::default() };
        run_with(&rules, &PLAIN, start).1.is_some()
    };
    assert_eq!([at(100), at(101), at(102), at(500)], [false, true, true, false]);
}

#[test]
fn limits_interrupt_and_are_said() {
    let check = |rules: &str, request: &Request<'_>, expected: Limit| {
        let (outcome, found) = run(rules, request);
        assert_eq!(outcome.limits, [expected], "{rules}");
        assert_eq!(found.map(|found| found.cause), Some(Cause::Limit(expected)), "{rules}");
    };
    check("SecRequestBodyLimit 5", &Request { body: "123456", ..PLAIN }, Limit::RequestBody);
    check("SecArgumentsLimit 2", &Request { target: "/?a&b&c", ..PLAIN }, Limit::Arguments);
    let long = "v".repeat(waf::MAX_HEADER_BYTES);
    check("", &Request { headers: &[("X", &long)], ..PLAIN }, Limit::Headers);
    check(
        "SecRule ARGS \"@rx ^%{ARGS.p}$\" \"id:1,phase:2,pass\"",
        &Request { target: "/?p=(", ..PLAIN },
        Limit::Pattern,
    );
    let unread =
        "SecRule REQUEST_HEADERS:Content-Type \"@rx .\" \"id:1,phase:1,pass,ctl:requestBodyProcessor=JSON\"";
    check(unread, &Request { headers: &[("Content-Type", "j")], body: "{", ..PLAIN }, Limit::RequestBody);
    let partial = "SecRequestBodyLimit 5\nSecRequestBodyLimitAction ProcessPartial";
    assert_eq!(run(partial, &Request { body: "123456", ..PLAIN }).1, None);
}

#[test]
fn work_beyond_the_budget_is_not_done_and_is_said() {
    const RULES: &str = r#"SecRule ARGS "@detectSQLi" "id:1,phase:2,pass"
        SecRule ARGS "@rx ." "id:2,phase:2,pass""#;
    let flood = format!("/?p={}", "<a+".repeat(20_000));
    let request = Request { target: &flood, ..PLAIN };
    let check = |more: &str, budget: u64, reached: bool, denied: bool, last_rule: bool| {
        let rules = load(&format!("{more}\n{RULES}")).unwrap();
        let start = Start { budget: Some(budget), ..Start::default() };
        let (outcome, found) = run_with(&rules, &request, start);
        assert_eq!(outcome.limits.contains(&Limit::Budget), reached, "{more} {budget}");
        assert_eq!(found.is_some_and(|found| found.cause == Cause::Limit(Limit::Budget)), denied);
        assert_eq!(matched(&outcome).contains(&2), last_rule, "{more} {budget}");
    };
    check("", 100_000_000, false, false, true);
    check("", 1_000_000, true, true, false);
    check("SecRuleEngine DetectionOnly", 1_000_000, true, false, false);
}

#[test]
fn values_that_rules_share_are_gathered_again_when_something_changes() {
    let processor = r#"
        SecRule REQBODY_PROCESSOR "@rx ^JSON" "id:1,phase:1,pass"
        SecAction "id:2,phase:1,pass,ctl:requestBodyProcessor=JSON"
        SecRule REQBODY_PROCESSOR "@rx ^JSON" "id:3,phase:1,pass""#;
    check(processor, &Request { body: "{}", ..PLAIN }, &[2, 3]);
    let body = r#"
        SecRule ARGS "@rx attack" "id:1,phase:1,pass"
        SecRule ARGS "@rx attack" "id:2,phase:2,pass""#;
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    check(body, &Request { target: "/?a=b", headers: &form, body: "c=attack", ..PLAIN }, &[2]);
    let exclusion = r#"
        SecRule ARGS "@rx attack" "id:1,phase:2,pass"
        SecAction "id:2,phase:2,pass,ctl:ruleRemoveTargetById=3;ARGS:a"
        SecRule ARGS "@rx attack" "id:3,phase:2,pass"
        SecRule ARGS "@rx attack" "id:4,phase:2,pass""#;
    check(exclusion, &Request { target: "/?a=attack", ..PLAIN }, &[1, 2, 4]);
}

#[test]
fn a_pattern_is_asked_only_where_all_its_literals_are_in_one_value_or_other() {
    let rules = r#"
        SecRule ARGS "@rx (?i)[\s;]on[a-z]{3,50}\s*=[^=]" "id:1,phase:2,pass,capture,msg:'%{TX.0}'"
        SecRule ARGS "!@rx union\s+select" "id:2,phase:2,pass""#;
    for (target, expected) in [
        ("/?a=x+ONload=y", &[1, 2][..]),
        ("/?a=once+upon&b=c%3dd", &[2]),
        ("/?a=x;onload%3d%3d", &[2]),
        ("/?a=union+select", &[]),
        ("/?a=union&b=select", &[2]),
    ] {
        check(rules, &Request { target, ..PLAIN }, expected);
    }
}

#[test]
fn a_transaction_goes_from_thread_to_thread() {
    fn moves<T: Send + 'static>() {}
    moves::<Transaction>();
    moves::<RuleSet>();
}

#[test]
fn lists_are_found_in_any_case_and_operators_negated() {
    let rules = r#"
        SecRule ARGS:a "@pmFromFile words.data" "id:1,phase:2,pass,capture,msg:'%{TX.0}'"
        SecRule ARGS:a "!@pm one two" "id:2,phase:2,pass"
        SecRule ARGS:a "!@rx ^a" "id:3,phase:2,pass"
        SecRule REMOTE_ADDR "@ipMatch 192.0.2.0/24" "id:4,phase:2,pass""#;
    check(rules, &Request { target: "/?a=xBETA+GAMMA", ..PLAIN }, &[1, 2, 3, 4]);
    check(rules, &Request { target: "/?a=a+ONE", ..PLAIN }, &[4]);
}

#[test]
fn what_is_not_understood_is_an_error_at_its_line() {
    for (rules, expected) in [
        ("SecFoo On", "test.conf:4: directive SecFoo"),
        ("SecDefaultAction \"phase:2,log\"", "test.conf:4: SecDefaultAction says what `block` does"),
        ("SecDefaultAction \"phase:2,deny,id:1\"", "test.conf:4: id, chain and t:none"),
        ("SecRule ARGS \"@rxGlobal a++\" \"id:1\"", "test.conf:4: pattern: possessive"),
        ("\nSecRule NOPE \"@rx a\" \"id:1\"", "test.conf:5: variable NOPE"),
        ("SecRule ARGS \"@nope a\" \"id:1\"", "test.conf:4: operator @nope"),
        ("SecRule ARGS \"@rx a\" \"id:1,t:nope\"", "test.conf:4: transformation t:nope"),
        ("SecRule ARGS \"@rx a\" \"id:1,nope\"", "test.conf:4: action nope"),
        ("SecRule ARGS \"@rx a\" \"id:1,ctl:nope=1\"", "test.conf:4: ctl:nope"),
        ("SecRule ARGS \"@rx a\" \"id:1,exec:/bin/true\"", "test.conf:4: action exec"),
        ("SecRule ARGS \"@rx a\" \"phase:2\"", "test.conf:4: a rule without an id"),
        ("SecAction \"id:1\"\nSecAction \"id:1\"", "test.conf:5: id 1 is taken by test.conf:4"),
        ("SecRule ARGS \"@rx (\" \"id:1\"", "test.conf:4: pattern"),
        ("SecRule ARGS \"@rx a\" \"id:1,skipAfter:NOWHERE\"", "test.conf:4: skipAfter:NOWHERE"),
        ("SecRule ARGS \"@rx a\" \"id:1,chain\"", "test.conf:4: the file ends within a chain"),
        ("SecRule ARGS \"@pmFromFile none.data\" \"id:1\"", "test.conf:4: data file none.data"),
        ("SecRule ARGS \"@rx a\" \"id:1,msg:'%{NOPE}'\"", "test.conf:4: %{NOPE}"),
        ("SecRule ARGS \"@inspectFile x\" \"id:1\"", "test.conf:4: operator @inspectFile"),
    ] {
        let errors = load(rules).map(|_| ()).unwrap_err();
        assert!(errors.to_string().starts_with(expected), "{rules}: {errors}");
        assert_eq!(errors.errors.len(), 1, "{errors}");
    }
}

#[test]
fn a_chain_with_a_fault_is_one_fault() {
    let errors = load("SecRule ARGS \"@nope\" \"id:1,chain\"\nSecRule ARGS \"@rx a\" \"t:none,chain\"\nSecRule ARGS \"@rx b\"\nSecRule ARGS \"@rx c\" \"id:2\"").map(|_| ()).unwrap_err();
    assert_eq!(errors.errors.len(), 1, "{errors}");
}

#[test]
fn a_possessive_quantifier_gives_nothing_back() {
    let rules = r#"
        SecRule ARGS:a "!@rx ^x;\s*+[^c]" "id:1,phase:2,pass"
        SecRule ARGS:a "@rx x;\s*+(?>c|ch)a" "id:2,phase:2,pass""#;
    check(rules, &Request { target: "/?a=x;+charset", ..PLAIN }, &[1]);
    check(rules, &Request { target: "/?a=x;+b", ..PLAIN }, &[]);
    check(rules, &Request { target: "/?a=x;+ca", ..PLAIN }, &[1, 2]);
}

#[test]
fn what_has_one_value_has_it_always() {
    let rules = r#"
        SecRule AUTH_TYPE "!@rx x" "id:1,phase:1,pass"
        SecRule REQBODY_PROCESSOR "!@rx JSON" "id:2,phase:1,pass"
        SecRule &REQUEST_BODY "@eq 1" "id:3,phase:1,pass"
        SecRule REMOTE_USER "!@rx x" "id:4,phase:1,pass"
        SecRule AUTH_TYPE "@rx x" "id:5,phase:1,pass""#;
    check(rules, &PLAIN, &[1, 2, 3]);
    check(rules, &Request { headers: &[("Authorization", "x y")], ..PLAIN }, &[2, 3, 5]);
}

#[test]
fn targets_are_taken_from_the_first_rule_of_a_chain() {
    let rules = r#"
        SecAction "id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetById=2;ARGS:a"
        SecRule ARGS "@streq x" "id:2,phase:2,pass,chain"
        SecRule ARGS:a "@streq y""#;
    check(rules, &Request { target: "/?a=y&b=x", ..PLAIN }, &[1, 2]);
    check(rules, &Request { target: "/?a=x&b=y", ..PLAIN }, &[1]);
}

#[test]
fn what_only_a_network_answers_denies_when_it_is_asked() {
    let rules =
        "SecRule ARGS:ask \"@streq 1\" \"id:1,phase:2,pass,chain\"\nSecRule REMOTE_ADDR \"@rbl example.org\"";
    assert_eq!(run(rules, &PLAIN).1, None);
    let found = run(rules, &Request { target: "/?ask=1", ..PLAIN }).1;
    assert_eq!(found.map(|found| found.cause), Some(Cause::Limit(Limit::Pattern)));
}

proptest::proptest! {
    #[test]
    fn how_a_body_is_split_changes_nothing(body in "[a-z=&%0-9<> ]{0,60}", cut in 0_usize..60) {
        let rules = load("SecRule ARGS|REQUEST_BODY \"@rx a.*b|<\" \"id:1,phase:2,pass,t:none,t:urlDecodeUni\"").unwrap();
        let judge = |pieces: &[&[u8]]| {
            let mut transaction = Transaction::new(&rules, Start::default());
            transaction.request_line(b"POST", b"/", b"HTTP/1.1");
            transaction.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
            let _ = transaction.request_headers_done();
            pieces.iter().for_each(|piece| transaction.request_body(piece));
            let _ = transaction.request_body_done();
            transaction.finish()
        };
        let bytes = body.as_bytes();
        let (head, tail) = bytes.split_at(cut.min(bytes.len()));
        proptest::prop_assert_eq!(judge(&[bytes]), judge(&[head, tail]));
    }

    #[test]
    fn any_bytes_as_rules_load_or_say_why(text in "(SecRule |SecAction |ARGS|TX:/a/|\"|@rx |id:1|,|chain|\n|\\\\\n|t:none|%\\{|\\}|'|setvar:tx.a=1|!|&| ){0,25}") {
        let _ = load(&text);
    }
}
