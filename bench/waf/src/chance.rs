//! Rules and requests made by chance: every kind of action that changes what later rules see.
//!
//! Enters: a number. Leaves: a [`Case`], the same for the same number. What decision 0021 does differently on purpose is not
//! written here, nor what hangs on the order of values, which is that of a hash table in the other engine: a case has either one
//! argument a request, or no rule that tells values apart by their order. So whatever differs is a fault of one of the two.

/// Rules, a directive a line, and requests for them.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) rules: Vec<String>,
    pub(crate) requests: Vec<Asked>,
}

/// A request; bytes are Latin-1.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

const TARGETS: &[&str] = &[
    "ARGS",
    "ARGS:a",
    "ARGS_GET",
    "ARGS_POST",
    "ARGS_POST:b",
    "ARGS_NAMES",
    "&ARGS",
    "&ARGS:a",
    "ARGS|!ARGS:a",
    "ARGS:/^[ab]/",
    "ARGS_GET|ARGS_POST",
    "REQUEST_HEADERS:X-A",
    "REQUEST_HEADERS_NAMES",
    "&REQUEST_HEADERS:X-A",
    "REQUEST_COOKIES",
    "REQUEST_COOKIES_NAMES",
    "REQUEST_COOKIES:a",
    "QUERY_STRING",
    "REQUEST_METHOD",
    "REQUEST_FILENAME",
    "REQUEST_BASENAME",
    "REQUEST_BODY",
    "TX:a",
    "TX:b",
    "&TX:a",
    "REMOTE_ADDR",
    "REQUEST_PROTOCOL",
    "ARGS|REQUEST_HEADERS:X-A",
    "ARGS_GET_NAMES|ARGS_POST_NAMES",
    "&ARGS_POST",
    "ARGS|!ARGS:/^a/",
    "TX:0",
    "TX:1",
    "ARGS:A",
    "IP:a",
    "&IP:a",
];
/// Of links behind the first.
const LATER: &[&str] = &[
    "MATCHED_VAR",
    "MATCHED_VARS",
    "MATCHED_VARS_NAMES",
    "MATCHED_VAR_NAME",
    "&MATCHED_VARS",
    "TX:1",
    "TX:0",
];
/// What hangs on the order of values.
const ORDERED: &[&str] = &["MATCHED_VAR", "MATCHED_VAR_NAME", "TX:1", "TX:0"];
const PATTERNS: &[&str] = &[
    "a",
    "^a",
    "b$",
    "(a)(b)?",
    "a|b",
    "[ab]+",
    "\\d+",
    "^$",
    ".",
    "a.b",
    "(?i)AB",
    "(\\w)(\\w)",
    "^[^a]",
    "x|<",
    "[\\x00-\\x20]",
    "\\ba",
    "a{2}",
    "(a)|(b)",
    "a\\/b",
    "%[0-9]",
];
const WORDS: &[&str] = &["a", "b", "ab", "1", "12", "A", "aa", "c", "x", "a b", "/a/b", "%{tx.a}", "%{tx.b}"];
const STEPS: &[&str] = &[
    "lowercase",
    "uppercase",
    "urlDecode",
    "urlDecodeUni",
    "htmlEntityDecode",
    "jsDecode",
    "cssDecode",
    "trim",
    "trimLeft",
    "trimRight",
    "removeWhitespace",
    "compressWhitespace",
    "removeNulls",
    "replaceNulls",
    "removeComments",
    "replaceComments",
    "removeCommentsChar",
    "hexEncode",
    "hexDecode",
    "base64Encode",
    "base64DecodeExt",
    "length",
    "md5",
    "sha1",
    "normalizePath",
    "normalizePathWin",
    "cmdLine",
    "sqlHexDecode",
    "escapeSeqDecode",
    "utf8toUnicode",
    "urlEncode",
    "parityEven7bit",
    "parityOdd7bit",
    "parityZero7bit",
    "none",
];
const VALUES: &[&str] = &[
    "a",
    "b",
    "ab",
    "A",
    "aa",
    "1",
    "12",
    "",
    "%61",
    "%2561",
    "a%20b",
    "+a+",
    "%26lt;b",
    "%5Cx61",
    "%5Cu0061",
    "a/../b",
    "/*c*/a",
    "a--b",
    "%c0%af",
    "%u0061",
    "a%00b",
    "%C3%A4",
    "AB",
    "%09a",
    "0x6162",
    "YWIx",
    "6162",
    "x%3C",
    "c",
    "a/b",
    "%ff",
    "a%0Ab",
    "%26%2397;",
    "%5C61 b",
    "a%23b",
    "%3C!--a--%3Eb",
    "a%5Eb%22",
    "%25u0061",
    "./a",
    "%EF%BC%A1",
    "%e0%80%af",
    "%F0%9F%98%80",
    "%5Cn",
    "/a//b/./c",
];
const NUMBERS: &[&str] = &["@eq", "@ge", "@gt", "@le", "@lt"];
const NAMES: &[&str] = &["a", "b", "c", "ab", "%61", "b1"];

/// Numbers by chance (xorshift, 64 bits).
struct Chance(u64);

impl Chance {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % (count.max(1) as u64)).unwrap_or(0)
    }

    /// True once in so many times.
    fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn of(&mut self, all: &[&'static str]) -> &'static str {
        all.get(self.below(all.len())).copied().unwrap_or_default()
    }
}

/// The case of this number: every fourth is about transformations alone.
pub(crate) fn case(number: u64) -> Case {
    let mut chance = Chance(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..8 {
        chance.below(2);
    }
    if number.is_multiple_of(4) {
        return transformed(&mut chance);
    }
    let single = chance.once_in(2);
    let count = 3 + chance.below(6);
    let mut rules = Vec::new();
    if chance.once_in(3) {
        rules.push("SecDefaultAction \"phase:2,log,auditlog,deny\"".to_owned());
    }
    // Without it the other engine keeps one collection for all.
    rules.push("SecAction \"id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR}\"".to_owned());
    for place in 0..count {
        rule(&mut chance, 10 * (place + 1), single, &mut rules);
        if chance.once_in(4) {
            rules.push(format!("SecMarker M{}", chance.below(2)));
        }
    }
    // Every `skipAfter` has an end.
    rules.extend(["SecMarker M0".to_owned(), "SecMarker M1".to_owned()]);
    if chance.once_in(3) {
        rules.push(change_of_loading(&mut chance));
    }
    for phase in [1, 2, 5] {
        rules.push(format!(
            "SecAction \"id:90{phase},phase:{phase},pass,log,msg:'%{{tx.a}},%{{tx.b}},%{{tx.0}}'\""
        ));
    }
    let requests = (0..4).map(|_| asked(&mut chance, single)).collect();
    Case { rules, requests }
}

/// What lists of transformations make of values, shown in hexadecimal digits.
fn transformed(chance: &mut Chance) -> Case {
    let rules = (1..9).map(|id| {
        let steps: Vec<String> = (0..=chance.below(3)).map(|_| format!("t:{}", chance.of(STEPS))).collect();
        let (steps, shown) = (steps.join(","), "setvar:'tx.a=%{MATCHED_VAR}'");
        format!(
            "SecRule ARGS:a \"@unconditionalMatch\" \"id:{id},phase:1,pass,nolog,{steps},t:hexEncode,{shown}\"\n\
             SecAction \"id:{},phase:1,pass,log,msg:'{steps} %{{tx.a}}'\"",
            id + 10
        )
    });
    let rules = rules.collect();
    let requests = (0..6).map(|_| {
        let value: String = (0..1 + chance.below(5)).map(|_| chance.of(VALUES)).collect();
        Asked { target: format!("/?a={value}"), headers: vec![("Host", "a".to_owned())], body: String::new() }
    });
    Case { rules, requests: requests.collect() }
}

/// A rule or a chain as one entry; behind one that skips, what it skips.
fn rule(chance: &mut Chance, id: usize, single: bool, rules: &mut Vec<String>) {
    let phase = [1, 2, 2, 2, 2, 3, 4, 5].get(chance.below(8)).copied().unwrap_or(2);
    let links = 1 + chance.below(4) / 2 + chance.below(4) / 3;
    let (mut lines, mut skipped) = (Vec::new(), 0);
    for link in 0..links {
        let mut actions = Vec::new();
        if link == 0 {
            actions.push(format!("id:{id},phase:{phase},log,msg:'rule'"));
            actions.push(if phase == 5 { "pass".to_owned() } else { disruptive(chance) });
            if chance.once_in(4) {
                actions.push(format!("severity:{}", chance.below(8)));
            }
            if chance.once_in(2) {
                actions.push(format!("tag:'T{}'", chance.below(3)));
            }
            match chance.below(10) {
                0 if actions.iter().any(|action| action == "pass") => {
                    skipped = 1 + chance.below(2);
                    actions.push(format!("skip:{skipped}"));
                }
                1 if actions.iter().any(|action| action == "pass") => {
                    actions.push(format!("skipAfter:M{}", chance.below(2)))
                }
                _ => {}
            }
        }
        let operator = operator(chance, single);
        // Numbers beyond 32 bits are none there. `base64DecodeExt` has no answer where padding is not at the end; `cmdLine` that only
        // made letters small changed nothing for `multiMatch`.
        let is_number = NUMBERS.iter().any(|name| operator.contains(name));
        actions.extend(
            steps(chance)
                .into_iter()
                .filter(|step| !is_number && step != "t:base64DecodeExt" && step != "t:cmdLine"),
        );
        // A value that is tested more than once may be counted more than once, and be told of though its chain fails.
        let multi = links == 1 && chance.once_in(4);
        if multi {
            actions.push("multiMatch".to_owned());
        }
        if single && !operator.starts_with('!') && !operator.starts_with("@pm") && chance.once_in(3) {
            actions.push("capture".to_owned());
        }
        for _ in 0..chance.below(3) {
            actions.push(set(chance, single, multi));
        }
        if !multi && chance.once_in(5) {
            actions.push(control(chance));
        }
        if link + 1 < links {
            actions.push("chain".to_owned());
        }
        let target = if link > 0 && chance.once_in(2) { chance.of(LATER) } else { chance.of(TARGETS) };
        let target = if !single && ORDERED.contains(&target) { "ARGS" } else { target };
        lines.push(format!("SecRule {target} \"{operator}\" \"{}\"", actions.join(",")));
    }
    lines.extend(
        (1..=skipped).map(|place| {
            format!("SecAction \"id:{},phase:{phase},pass,log,msg:'skipped'\"", 500 + id + place)
        }),
    );
    rules.push(lines.join("\n"));
}

fn disruptive(chance: &mut Chance) -> String {
    match chance.below(16) {
        0 => "deny".to_owned(),
        1 => "deny,status:401".to_owned(),
        2 => "block".to_owned(),
        3 => "allow".to_owned(),
        4 => "allow:phase".to_owned(),
        5 => "allow:request".to_owned(),
        6 => "drop".to_owned(),
        _ => "pass".to_owned(),
    }
}

fn steps(chance: &mut Chance) -> Vec<String> {
    (0..chance.below(4)).map(|_| format!("t:{}", chance.of(STEPS))).collect()
}

fn operator(chance: &mut Chance, single: bool) -> String {
    let not = if chance.once_in(5) { "!" } else { "" };
    let number = chance.below(4);
    // What the rule itself changes would depend on the order of values.
    let words = if single { WORDS } else { WORDS.split_last_chunk::<2>().map_or(WORDS, |(words, _)| words) };
    match chance.below(14) {
        0..=4 => format!("{not}@rx {}", chance.of(PATTERNS)),
        5 => format!("{not}@contains {}", chance.of(words)),
        6 => format!("{not}@streq {}", chance.of(words)),
        7 => format!("{not}@{} {}", chance.of(&["beginsWith", "endsWith"]), chance.of(words)),
        8 => format!("{not}@within {}", chance.of(words)),
        9 => format!("{not}@{} {number}", chance.of(&["eq", "ge", "gt", "le", "lt"])),
        10 if single => format!("{not}@{} %{{tx.a}}", chance.of(&["eq", "ge", "lt"])),
        11 => format!("{not}@pm {}", chance.of(&["a b", "ab", "x c", "12"])),
        12 => format!(
            "{not}@{}",
            chance.of(&[
                "containsWord a",
                "strmatch ab",
                "validateByteRange 97-99",
                "validateUrlEncoding",
                "ipMatch 192.0.2.0/24",
                "validateUtf8Encoding",
                "noMatch"
            ])
        ),
        _ => "@unconditionalMatch".to_owned(),
    }
}

fn set(chance: &mut Chance, single: bool, multi: bool) -> String {
    let name = chance.of(&["a", "b"]);
    let kind = if multi { 7 + chance.below(2) } else { chance.below(10) };
    match kind {
        5 if !single => format!("setvar:tx.{name}=2"),
        0..=2 => format!("setvar:tx.{name}=+{}", 1 + chance.below(3)),
        3 => format!("setvar:tx.{name}=-1"),
        4 => format!("setvar:!tx.{name}"),
        5 => format!("setvar:'tx.{name}=%{{MATCHED_VAR}}'"),
        6 => format!("setvar:'tx.{name}=+%{{tx.a}}'"),
        7 => format!("setvar:tx.{name}={}", chance.below(4)),
        8 => format!("setvar:tx.{name}"),
        _ => format!("setvar:ip.{name}=+1"),
    }
}

fn control(chance: &mut Chance) -> String {
    let id = 10 * (1 + chance.below(8));
    match chance.below(7) {
        0 => format!("ctl:ruleRemoveById={id}"),
        1 => format!("ctl:ruleRemoveById={id}-{}", id + 20),
        2 => format!("ctl:ruleRemoveByTag=T{}", chance.below(3)),
        3 => format!("ctl:ruleRemoveTargetById={id};ARGS:{}", chance.of(&["a", "b"])),
        4 => format!("ctl:ruleRemoveTargetByTag=T{};ARGS:{}", chance.below(3), chance.of(&["a", "b"])),
        5 => "ctl:ruleEngine=DetectionOnly".to_owned(),
        _ => "ctl:forceRequestBodyVariable=On".to_owned(),
    }
}

fn change_of_loading(chance: &mut Chance) -> String {
    let id = 10 * (1 + chance.below(8));
    match chance.below(5) {
        0 => format!("SecRuleRemoveById {id}"),
        1 => format!("SecRuleRemoveByTag T{}", chance.below(3)),
        2 => format!("SecRuleUpdateTargetById {id} \"!ARGS:a\""),
        3 => format!("SecRuleUpdateTargetById {id} \"ARGS:b\""),
        _ => format!("SecRuleUpdateTargetByTag T{} \"!ARGS:b\"", chance.below(3)),
    }
}

fn asked(chance: &mut Chance, single: bool) -> Asked {
    let pairs = |chance: &mut Chance, most: usize| {
        let all: Vec<String> = (0..chance.below(most + 1))
            .map(|_| format!("{}={}", chance.of(NAMES), chance.of(VALUES)))
            .collect();
        all.join("&")
    };
    let mut target = chance.of(&["/", "/a", "/a/b", "/b/c.html"]).to_owned();
    let most = if single { 1 } else { 3 };
    let query = pairs(chance, most);
    if !query.is_empty() {
        target.push('?');
        target.push_str(&query);
    }
    let body =
        if chance.once_in(2) && (query.is_empty() || !single) { pairs(chance, most) } else { String::new() };
    let mut headers = vec![("Host", "a".to_owned())];
    if !body.is_empty() {
        headers.push(("Content-Type", "application/x-www-form-urlencoded".to_owned()));
        headers.push(("Content-Length", body.len().to_string()));
    }
    if chance.once_in(2) {
        headers.push(("X-A", chance.of(&["a", "b", "ab", "1", "A b"]).to_owned()));
    }
    if chance.once_in(3) {
        headers.push((
            "Cookie",
            chance
                .of(if single { &["a=1", "b=%61"] } else { &["a=1", "a=b; b=a", "b=%61; A=x", "ab=ab"] })
                .to_owned(),
        ));
    }
    Asked { target, headers, body }
}
