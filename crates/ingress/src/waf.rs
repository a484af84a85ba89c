//! The web application firewall: rule sets as policies want them, and what one says to a request.

use crate::record::WafFact;
use crds::{OverBudget, ProtectionMode, WafProfile};
use http::{HeaderMap, HeaderValue, Version, header, request};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use waf::{Cause, Limit, Profile, RuleSet, Start, Transaction};

/// Rules that a record names.
const MOST_TOLD: usize = 16;

/// Rule sets by what policies set them to.
#[derive(Debug)]
pub(crate) struct Wafs<'a> {
    files: &'a [(String, Vec<u8>)],
    made: BTreeMap<(u8, u32), RuleSet>,
}

impl<'a> Wafs<'a> {
    /// Of the files of a Core Rule Set.
    pub(crate) fn new(files: &'a [(String, Vec<u8>)]) -> Self {
        Self { files, made: BTreeMap::new() }
    }

    /// The rule set that a policy wants.
    ///
    /// # Errors
    /// There are no rules, or they do not load.
    pub(crate) fn of(&mut self, waf: &crds::Waf) -> Result<RuleSet, String> {
        let wanted = (waf.paranoia, waf.inbound_threshold);
        if let Some(known) = self.made.get(&wanted) {
            return Ok(known.clone());
        }
        if self.files.is_empty() {
            let why = "it wants a web application firewall, and the gateway was given no rules for one: `--crs` names a folder of them";
            return Err(why.to_owned());
        }
        let setup = setup(waf.paranoia, waf.inbound_threshold);
        let files = waf::setup::order(self.files.to_vec(), &[("InferencePolicy", &setup)]);
        let rules = RuleSet::load(&files).map_err(|errors| errors.to_string())?;
        self.made.insert(wanted, rules.clone());
        Ok(rules)
    }
}

/// Sets what the Core Rule Set lets its users set.
fn setup(paranoia: u8, threshold: u32) -> String {
    format!(
        "SecAction \"id:900000,phase:1,nolog,pass,t:none,\
         setvar:tx.blocking_paranoia_level={paranoia},setvar:tx.detection_paranoia_level={paranoia},\
         setvar:tx.paranoia_level={paranoia},setvar:tx.executing_paranoia_level={paranoia},\
         setvar:tx.inbound_anomaly_score_threshold={threshold}\"\n"
    )
}

/// What is judged.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) now: u64,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    /// Request line: method, target, protocol.
    pub(crate) line: [String; 3],
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn line(head: &request::Parts) -> [String; 3] {
        let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let protocol = match head.version {
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        };
        [head.method.as_str().to_owned(), target.to_owned(), protocol.to_owned()]
    }

    /// Its fields. HTTP/2 names the host in its target alone, and rules look for it among the fields, where its absence is an attack.
    pub(crate) fn fields(head: &request::Parts) -> HeaderMap {
        let mut fields = head.headers.clone();
        let host = head.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        if let (Some(host), false) = (host, fields.contains_key(header::HOST)) {
            fields.insert(header::HOST, host);
        }
        fields
    }
}

/// What the firewall says, and whether the request must not pass.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) fact: WafFact,
    /// Why it must not pass, for a person; `None`: it may.
    pub(crate) stops: Option<String>,
}

/// Asks the rules of a policy.
pub(crate) fn ask(waf: &crds::Waf, rules: &RuleSet, asked: &Asked) -> Said {
    let profile = match waf.profile {
        WafProfile::Crs => Profile::Crs,
        WafProfile::FieldAware => Profile::FieldAware,
    };
    let start = Start { now: asked.now, unique_id: asked.id.clone(), store: None, profile, budget: None };
    let mut transaction = Transaction::new(rules, start);
    transaction.connection(asked.client, asked.server);
    let [method, target, protocol] = &asked.line;
    transaction.request_line(method.as_bytes(), target.as_bytes(), protocol.as_bytes());
    for (name, value) in &asked.headers {
        transaction.request_header(name.as_str().as_bytes(), value.as_bytes());
    }
    if transaction.request_headers_done().is_none() {
        if matches!(asked.body.trim_ascii_start(), [b'{' | b'[', ..]) {
            transaction.assume_json();
        }
        transaction.request_body(&asked.body);
        let _told_below = transaction.request_body_done();
    }
    let outcome = transaction.finish();
    let interruption = outcome.interruption.filter(|interruption| {
        // Work that is over is what the policy decides about; whatever else a limit is about, nobody may leave out.
        !(interruption.cause == Cause::Limit(Limit::Budget) && waf.over_budget == OverBudget::Allow)
    });
    let told = outcome.matched.iter().filter(|found| found.log);
    let rules: Vec<u64> = told.clone().map(|found| found.rule.id).take(MOST_TOLD).collect();
    let why = interruption.map(|interruption| match interruption.cause {
        Cause::Rule(id) => {
            let first = told.clone().map(|found| found.message.escape_ascii().to_string()).next();
            format!("rule {id}, score {}: {}", outcome.scores.inbound, first.unwrap_or_default())
        }
        Cause::Limit(limit) => format!("the limit {} of its inspection", limit.name()),
    });
    let fact = WafFact { score: outcome.scores.inbound, rules, blocks: why.is_some() };
    Said { fact, stops: why.filter(|_| waf.mode == ProtectionMode::Enforce) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_http2_has_its_host_among_its_fields() {
        for (target, field, expected) in [
            ("http://a.example/x", None, Some("a.example")),
            ("/x", Some("b.example"), Some("b.example")),
            ("http://c.example/x", Some("c.example"), Some("c.example")),
            ("/x", None, None),
        ] {
            let mut request = http::Request::get(target);
            if let Some(field) = field {
                request = request.header(header::HOST, field);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            let fields = Asked::fields(&head);
            let found: Vec<&HeaderValue> = fields.get_all(header::HOST).iter().collect();
            assert_eq!(found, Vec::from_iter(expected), "{target} {field:?}");
        }
    }

    #[test]
    fn a_body_that_servers_read_as_json_is_read_so_whatever_its_type() {
        let rule =
            "SecRule ARGS:json.options.template \"@contains evil\" \"id:1,phase:2,deny,log,msg:'x'\"\n";
        let rules = RuleSet::load(&waf::setup::order(Vec::new(), &[("test", rule)])).unwrap();
        let policy = crds::Waf {
            mode: ProtectionMode::Enforce,
            profile: WafProfile::Crs,
            paranoia: 1,
            inbound_threshold: 5,
            over_budget: OverBudget::Deny,
        };
        let address = SocketAddr::from(([192, 0, 2, 1], 80));
        for kind in [Some("application/json"), Some("text/plain"), None] {
            let mut headers = HeaderMap::new();
            headers.extend(kind.map(|kind| (http::header::CONTENT_TYPE, HeaderValue::from_static(kind))));
            for (body, blocks) in [
                (r#" {"options":{"template":"evil"}}"#, true),
                (r#"{"options":{"template":"good"}}"#, false),
                ("", false),
            ] {
                let asked = Asked {
                    id: "1".to_owned(),
                    now: 0,
                    client: address,
                    server: address,
                    line: ["POST", "/api/generate", "HTTP/1.1"].map(str::to_owned),
                    headers: headers.clone(),
                    body: body.as_bytes().to_vec(),
                };
                assert_eq!(ask(&policy, &rules, &asked).stops.is_some(), blocks, "{kind:?} {body}");
            }
        }
    }
}
