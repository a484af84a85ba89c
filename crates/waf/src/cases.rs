//! Requests with what a rule set must say to them, one JSON object a line: read, run, counted.
//!
//! A line has `method`, `uri`, `ver`, `body`, `rbody` and the parts of `headers` and `rheaders` in base64, `status`,
//! `file` and `key` as text, `exp` and `noexp`: ids of rules that must and must not match, and for some `blocked_pl1`:
//! whether engines block it in the stock set-up, each by its name.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

use crate::LoadErrors;
use crate::body::Pairs;
use crate::load::{Files, RuleSet};
use crate::profile::Profile;
use crate::transaction::{Interruption, Outcome, Start, Transaction};
use crate::transform::decode_base64;

/// One request with its answer, and what is expected.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// A name of its own.
    pub key: String,
    /// File of the rules that it is about.
    pub file: String,
    /// Method, target and protocol.
    pub line: [Vec<u8>; 3],
    /// Headers of the request.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Body of the request.
    pub body: Vec<u8>,
    /// Status of the answer.
    pub status: u16,
    /// Headers of the answer.
    pub response_headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Body of the answer.
    pub response_body: Vec<u8>,
    /// Ids of rules that must match.
    pub expected: Vec<u64>,
    /// Ids of rules that must not.
    pub unexpected: Vec<u64>,
    /// Whether each of some engines blocks it in the stock set-up.
    pub blocked: Vec<bool>,
}

/// A line that is not a case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct CaseError {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Reads a file of cases, in order.
///
/// # Errors
/// Names the first line that is none.
pub fn read(text: &str) -> Result<Vec<Case>, CaseError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(number, line)| one(line).map_err(|what| CaseError { line: number + 1, what })).collect()
}

fn one(line: &str) -> Result<Case, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let bytes = |name: &str| {
        let text = value.get(name).and_then(Value::as_str).ok_or_else(|| format!("`{name}` is missing"))?;
        decode_base64(text.as_bytes()).ok_or_else(|| format!("`{name}` is not base64"))
    };
    let status = value.get("status").and_then(Value::as_u64).unwrap_or(200);
    Ok(Case {
        key: text("key"),
        file: text("file"),
        line: [bytes("method")?, bytes("uri")?, bytes("ver")?],
        headers: pairs(&value, "headers")?,
        body: bytes("body")?,
        status: u16::try_from(status).map_err(|_| "`status` is no status".to_owned())?,
        response_headers: pairs(&value, "rheaders").unwrap_or_default(),
        response_body: bytes("rbody").unwrap_or_default(),
        expected: ids(&value, "exp")?,
        unexpected: ids(&value, "noexp")?,
        blocked: match value.get("blocked_pl1") {
            Some(Value::Bool(blocked)) => vec![*blocked],
            Some(Value::Object(engines)) => engines.values().filter_map(Value::as_bool).collect(),
            _ => Vec::new(),
        },
    })
}

fn pairs(value: &Value, name: &str) -> Result<Pairs, String> {
    let wrong = || format!("`{name}` is no list of pairs in base64");
    let list = value.get(name).and_then(Value::as_array).ok_or_else(wrong)?;
    let part = |pair: &Value, index: usize| {
        pair.get(index).and_then(Value::as_str).and_then(|text| decode_base64(text.as_bytes()))
    };
    list.iter().map(|pair| part(pair, 0).zip(part(pair, 1)).ok_or_else(wrong)).collect()
}

fn ids(value: &Value, name: &str) -> Result<Vec<u64>, String> {
    let list = value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let id = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    list.iter().map(|value| id(value).ok_or_else(|| format!("`{name}` is no list of ids"))).collect()
}

/// Set-up under which the regression tests of the Core Rule Set are written: all paranoia levels, and nothing blocked.
pub const REGRESSION: &str = r#"
SecRuleEngine DetectionOnly
SecAction "id:900005,phase:1,nolog,pass,t:none,\
    setvar:tx.blocking_paranoia_level=4,setvar:tx.detection_paranoia_level=4,\
    setvar:tx.paranoia_level=4,setvar:tx.executing_paranoia_level=4,\
    setvar:tx.crs_validate_utf8_encoding=1,setvar:tx.arg_name_length=100,setvar:tx.arg_length=400,\
    setvar:tx.total_arg_length=64000,setvar:tx.max_num_args=255,setvar:tx.max_file_size=64100,\
    setvar:tx.combined_file_sizes=65535"
"#;

/// Both set-ups of a rule set that cases speak of.
#[derive(Debug, Clone)]
pub struct Bench {
    detecting: RuleSet,
    blocking: RuleSet,
    profile: Profile,
}

/// What one case came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Expected ids that did not match.
    pub missing: Vec<u64>,
    /// Ids that matched and must not.
    pub extra: Vec<u64>,
    /// Whether the stock set-up blocks it.
    pub blocked: bool,
}

/// Results of many cases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Cases passed and failed, by the file of rules they are about.
    pub files: BTreeMap<String, (usize, usize)>,
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases that the stock set-up blocks.
    pub blocked: usize,
    /// Cases where it does what each of the engines named does.
    pub blocked_agree: usize,
    /// Cases on which those engines differ, so that nobody can agree with all.
    pub blocked_split: usize,
    /// Keys of cases that failed, with what was wrong.
    pub failures: Vec<(String, Verdict)>,
    /// Keys of cases that are blocked and should not be, or the other way round.
    pub disagreements: Vec<(String, bool)>,
}

impl Bench {
    /// Loads the files of a Core Rule Set, as [`crate::setup::order`] takes them, in both set-ups.
    ///
    /// # Errors
    /// All faults of the rules.
    pub fn load(found: &[(String, Vec<u8>)], profile: Profile) -> Result<Self, LoadErrors> {
        let files = |more: &[(&str, &str)]| -> Files { crate::setup::order(found.to_vec(), more) };
        Ok(Self {
            detecting: RuleSet::load(&files(&[("regression set-up", REGRESSION)]))?,
            blocking: RuleSet::load(&files(&[]))?,
            profile,
        })
    }

    /// The stock set-up.
    #[must_use]
    pub fn blocking(&self) -> &RuleSet {
        &self.blocking
    }

    /// The set-up of the regression tests.
    #[must_use]
    pub fn detecting(&self) -> &RuleSet {
        &self.detecting
    }

    /// Runs one case in both set-ups.
    #[must_use]
    pub fn run(&self, case: &Case) -> Verdict {
        let (outcome, _) = judge(&self.detecting, case, self.profile);
        let seen = |id: &u64| outcome.matched.iter().any(|found| found.log && found.rule.id == *id);
        let (_, interruption) = judge(&self.blocking, case, self.profile);
        Verdict {
            missing: case.expected.iter().copied().filter(|id| !seen(id)).collect(),
            extra: case.unexpected.iter().copied().filter(seen).collect(),
            blocked: interruption.is_some(),
        }
    }

    /// Runs all.
    #[must_use]
    pub fn tally(&self, cases: &[Case]) -> Tally {
        let mut tally = Tally::default();
        for case in cases {
            tally.add(case, self.run(case));
        }
        tally
    }
}

impl Tally {
    fn add(&mut self, case: &Case, verdict: Verdict) {
        let passed = verdict.missing.is_empty() && verdict.extra.is_empty();
        let counts = self.files.entry(case.file.clone()).or_default();
        if passed {
            counts.0 += 1;
            self.passed += 1;
        } else {
            counts.1 += 1;
            self.failed += 1;
        }
        self.blocked += usize::from(verdict.blocked);
        let agree = case.blocked.iter().filter(|blocked| **blocked == verdict.blocked).count();
        if !case.blocked.is_empty() && agree == case.blocked.len() {
            self.blocked_agree += 1;
        } else if agree > 0 {
            self.blocked_split += 1;
        } else if !case.blocked.is_empty() {
            self.disagreements.push((case.key.clone(), verdict.blocked));
        }
        if !passed {
            self.failures.push((case.key.clone(), verdict));
        }
    }
}

/// Runs a case through a rule set; gives the outcome, and the interruption where there was one.
#[must_use]
pub fn judge(rules: &RuleSet, case: &Case, profile: Profile) -> (Outcome, Option<Interruption>) {
    let start = Start { unique_id: "cases".to_owned(), profile, ..Start::default() };
    let mut transaction = Transaction::new(rules, start);
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    transaction.connection(local(40_000), local(80));
    let [method, target, protocol] = &case.line;
    transaction.request_line(method, target, protocol);
    for (name, value) in &case.headers {
        transaction.request_header(name, value);
    }
    let mut over = transaction.request_headers_done().is_some();
    if !over {
        transaction.request_body(&case.body);
        over = transaction.request_body_done().is_some();
    }
    if !over {
        transaction.response_status(case.status, b"HTTP/1.1");
        for (name, value) in &case.response_headers {
            transaction.response_header(name, value);
        }
        over = transaction.response_headers_done().is_some();
    }
    if !over {
        transaction.response_body(&case.response_body);
        let _ = transaction.response_body_done();
    }
    let interruption = transaction.interruption().cloned();
    (transaction.finish(), interruption)
}
