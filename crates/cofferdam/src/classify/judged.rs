//! What policy says of recorded requests.
//!
//! Enters: manifests, who sends, and operations with whom they are for. Leaves: a verdict for each with its rule. Guarantees: the
//! reference evaluator judges, with the name taken to be resolved. Does not: ask DNS.

use crate::catalog::CatalogArg;
use crate::policy::{Named, Sources, end, report_errors, rule_text, same_family};
use anyhow::{Context, Result, bail};
use clap::Args;
use policy::{
    Access, Endpoint, Mismatch, Operation, OwnEgress, Party, PolicySet, Protocol, RuleId, Verdict, decide,
    judge_operation, judging_rules, own_egress,
};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// By what requests are judged, if they are.
#[derive(Args, Debug)]
pub(super) struct Judging {
    /// Manifest, folder of manifests, or - for standard input; may be repeated
    #[arg(short = 'f', long = "file", value_name = "PATH", requires = "from")]
    manifests: Vec<PathBuf>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Who sends the requests: namespace/pod (or pod:namespace/pod), or workload:namespace/name
    #[arg(long, value_name = "END", requires = "manifests")]
    from: Option<String>,
}

/// What is printed of a judgement.
#[derive(Serialize)]
pub(super) struct Judged {
    verdict: Verdict,
    #[serde(rename = "verdictReason")]
    reason: &'static str,
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lacks: Option<Mismatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unmet: Option<String>,
}

/// Judges requests of one sender.
pub(super) struct Judge {
    set: PolicySet,
    from: String,
    /// Where the sender may go by itself.
    own: OwnEgress,
    known: BTreeMap<(String, u16), Connection>,
}

/// What becomes of a connection to a name and port.
struct Connection {
    verdict: Verdict,
    reason: &'static str,
    rule: RuleId,
    /// The rules that may allow its requests; none: they are not looked at.
    judging: Vec<RuleId>,
}

impl Judging {
    /// None where nobody asked.
    pub(super) fn judge(&self) -> Result<Option<Judge>> {
        let Some(from) = &self.from else { return Ok(None) };
        let sources = Sources { files: self.manifests.clone(), catalog: self.catalog.clone() };
        let loaded = sources.load()?;
        report_errors(&loaded)?;
        // Whoever does not exist sends nothing.
        let sender = end(&loaded.set.world, from).context("--from")?;
        let own = match sender.party {
            Party::Pod(pod) => own_egress(&loaded.set, pod),
            Party::Node(_) | Party::Outside => OwnEgress::default(),
        };
        Ok(Some(Judge { set: loaded.set, from: from.clone(), own, known: BTreeMap::new() }))
    }
}

impl Judge {
    /// `to`: name or address, and port; none where the request could not be read.
    pub(super) fn judge(&mut self, operation: &Operation, to: Option<(String, u16)>) -> Result<Judged> {
        let Some(to) = to else {
            return Ok(Judged {
                verdict: Verdict::Deny,
                reason: "unreadable",
                rule: None,
                lacks: None,
                unmet: None,
            });
        };
        if !self.known.contains_key(&to) {
            let connection = self.connection(&to.0, to.1)?;
            self.known.insert(to.clone(), connection);
        }
        let Some(Connection { verdict, reason, rule, judging }) = self.known.get(&to) else {
            bail!("{} is not judged", to.0)
        };
        let of = |verdict, reason, rule: RuleId, lacks| {
            let rule = (rule != RuleId::NO_POLICY).then(|| rule_text(&self.set, rule));
            Judged { verdict, reason, rule, lacks, unmet: None }
        };
        if judging.is_empty() || *verdict == Verdict::Deny {
            return Ok(of(*verdict, reason, *rule, None));
        }
        let mut operation = Cow::Borrowed(operation);
        if !operation.contacts.is_empty() {
            self.own.judge(&mut operation.to_mut().contacts);
        }
        let rules = judging.iter().filter_map(|rule| Some((*rule, &**self.set.requests(*rule)?)));
        Ok(match judge_operation(rules, &operation) {
            Ok(rule) => of(Verdict::Allow, "request-allowed", rule, None),
            Err(Some((rule, lacks))) => {
                let nearest = self.set.requests(rule);
                let unmet = nearest.and_then(|requests| requests.detail(lacks, &operation));
                let is_of_provider = lacks == Mismatch::ProviderEgress;
                let reason = if is_of_provider { "provider-egress" } else { "request-not-allowed" };
                Judged { unmet, ..of(Verdict::Deny, reason, rule, Some(lacks)) }
            }
            Err(None) => of(Verdict::Deny, "request-not-allowed", *rule, None),
        })
    }

    fn connection(&self, host: &str, port: u16) -> Result<Connection> {
        let mut set = self.set.clone();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let to = match bare.parse::<IpAddr>() {
            Ok(address) => Endpoint::at(&set.world, address).address,
            Err(_) => {
                let named = Named::answer(&mut set, host, &self.from, None)?;
                let question = named.question(&set)?;
                if question.verdict == Verdict::Deny {
                    let (reason, rule) = (question.reason.as_str(), question.rule);
                    return Ok(Connection { verdict: Verdict::Deny, reason, rule, judging: Vec::new() });
                }
                Some(named.address)
            }
        };
        let Some(address) = to else { bail!("{host} has no address") };
        let from = end(&set.world, &self.from)?;
        let (from, to) = same_family(from, Endpoint::at(&set.world, address))?;
        let access = Access { from, to, protocol: Protocol::TCP, port };
        let decision = decide(&set, &access);
        let (_, deciding) = decision.deciding();
        let judging = judging_rules(&set, &access, decision.egress.rule);
        Ok(Connection {
            verdict: decision.verdict,
            reason: deciding.reason.as_str(),
            rule: deciding.rule,
            judging: judging.into_iter().map(|(rule, _)| rule).collect(),
        })
    }
}
