//! What an ingress gateway prints: a line for each request and each finding, and what is wrong with objects.

use super::kept::Kept;
use super::lookout::{Counts as Seen, Lookout};
use crate::metrics::Page;
use crate::printer::{Manner, Printer};
use crate::up::pen::LedgerStatus;
use ingress::{CopyFate, Record, Server, Sink};
use policy::{Money, Verdict};
use routes::{Condition, ObjectStatus, Status};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Prints records on a thread of its own, has them kept, and counts them.
#[derive(Debug)]
pub(super) struct Told {
    printer: Printer<Record>,
    kept: Option<Kept>,
    lookout: Lookout,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    by_reason: BTreeMap<&'static str, u64>,
    lost: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_nanos: u64,
    without_store: u64,
}

impl Told {
    pub(super) fn start(as_json: bool, kept: Option<Kept>) -> io::Result<Arc<Self>> {
        let printer = Printer::start(Manner { field: "request", line, as_json })?;
        let lookout = Lookout::start(as_json, kept.clone())?;
        Ok(Arc::new(Self { printer, kept, lookout, counts: Mutex::default() }))
    }

    /// Puts what was counted on a page.
    pub(super) fn metrics(&self, page: &mut Page) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let ledger = self.kept.as_ref().map(|kept| kept.pen.status());
        counted(page, &counts, self.lookout.counts(), ledger.as_ref());
    }
}

/// The figures of this module, on a page that only describes them.
pub(super) fn described(page: &mut Page) {
    counted(page, &Counts::default(), &Seen::default(), None);
    figures(page, &CopyFate::ALL.map(|fate| (fate, 0)), (0, 0), &Default::default());
}

fn counted(page: &mut Page, counts: &Counts, seen: &Seen, ledger: Option<&LedgerStatus>) {
    let by_reason = counts.by_reason.iter().map(|(reason, count)| ((*reason).to_owned(), *count));
    page.counters(("ingress_requests", "reason"), "Requests that ended since the start, by why", by_reason);
    page.counter("ingress_input_tokens", "Tokens that went into models, as they say", counts.input_tokens);
    page.counter(
        "ingress_output_tokens",
        "Tokens that came out of models, as they say",
        counts.output_tokens,
    );
    page.counter(
        "ingress_cost_nanos",
        "What calls cost, in billionths of the currency of the prices",
        counts.cost_nanos,
    );
    page.counter(
        "ingress_requests_without_store",
        "Requests that were held to limits without the store in which they are shared",
        counts.without_store,
    );
    page.counter("ingress_records_lost", "Records that were not printed", counts.lost);
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    page.counter("findings", "Things that somebody should look at", of(&seen.findings));
    page.counter("detection_records_lost", "Records that detectors had no room for", of(&seen.lost));
    page.counter(
        "findings_held_back",
        "Findings beyond those of one consumer and detector that are told in an hour",
        of(&seen.held_back),
    );
    page.only("with `--ledger`", ledger, Page::ledger);
}

/// Puts what the server counts on a page: copies, requests that were not picked for, connections that were not taken, keys.
pub(super) fn figures(
    page: &mut Page,
    copies: &[(CopyFate, u64)],
    (unpicked, crowded): (u64, u64),
    keys: &authn::Standing,
) {
    let copies = copies.iter().map(|(fate, count)| (fate.as_str().to_owned(), *count));
    page.counters(
        ("ingress_copies", "fate"),
        "Copies of requests for RequestMirror filters, by what became of them",
        copies,
    );
    page.counter(
        "ingress_unpicked",
        "Requests to pools whose endpoint picker did not answer as it must",
        unpicked,
    );
    page.counter(
        "ingress_connections_refused",
        "Connections that were not taken, for their address had as many as one may have",
        crowded,
    );
    page.gauge("ingress_key_sets", "Key sets of issuers in use", keys.sets as u64);
    page.gauge("ingress_key_sets_missing", "Key sets that were never fetched", keys.missing as u64);
    page.gauge("ingress_key_sets_failing", "Key sets whose last fetch failed", keys.failing as u64);
    page.gauge(
        "ingress_key_sets_age_seconds",
        "Since when the oldest key set was not fetched again",
        keys.oldest.unwrap_or_default(),
    );
    page.counter("ingress_key_fetches_failed", "Fetches of key sets that failed", keys.failures);
}

impl Sink for Told {
    fn ended(&self, record: Record) {
        self.lookout.see(&record);
        if let Some(kept) = &self.kept {
            kept.request(&record);
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.by_reason.entry(record.reason.as_str()).or_default() += 1;
        if let Some(usage) = &record.usage {
            counts.input_tokens += usage.input.unwrap_or_default();
            counts.output_tokens += usage.output.unwrap_or_default();
        }
        counts.cost_nanos += record.cost.map_or(0, |cost| cost.nanos);
        counts.without_store += u64::from(record.without_store);
        counts.lost += u64::from(!self.printer.take(record));
    }
}

fn line(record: &Record) -> String {
    let verdict = match record.reason.verdict() {
        Verdict::Allow => "allow",
        Verdict::Deny => "DENY",
    };
    let who = record.consumer.clone().unwrap_or_else(|| record.client.ip().to_string());
    let mut text = format!(
        "{} {verdict} {who}: {} {}{}: {} {}",
        record.time.clock(),
        record.method,
        record.host,
        record.path,
        record.status,
        record.reason.describe(),
    );
    if let Some(detail) = &record.detail {
        let _ = write!(text, ": {detail}");
    }
    if let Some(model) = &record.operation.model {
        let _ = write!(text, ", model {model}");
    }
    if let Some(usage) = &record.usage {
        let tokens = |tokens: Option<u64>| tokens.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string());
        let _ = write!(text, ", {} tokens in, {} out", tokens(usage.input), tokens(usage.output));
    }
    if let Some(cost) = &record.cost {
        let about = if cost.is_estimated { "about " } else { "" };
        let _ = write!(text, ", {about}{} of money", Money(cost.nanos));
    }
    if record.without_store {
        text.push_str(", without the store of shared limits");
    }
    if let Some(waf) = &record.waf {
        let _ = write!(text, ", firewall {} {:?}", waf.score, waf.rules);
    }
    if let Some(guard) = &record.guard {
        let _ = write!(text, ", guard {:.3} ({}, {})", guard.score, guard.family, guard.role);
    }
    for leak in &record.leaks {
        let _ = write!(text, ", {} {} times in its answer ({})", leak.rule, leak.count, leak.action);
    }
    for tool in record.tools.iter().filter(|tool| tool.is_quarantined) {
        let _ = write!(text, ", tool {:?} in quarantine ({}, {})", tool.name, tool.standing, tool.sha256);
    }
    if let Some(rule) = record.rule.as_ref().or(record.route.as_ref()) {
        let _ = write!(text, " ({rule})");
    }
    text
}

/// Where it listens.
pub(super) fn serves(server: &Server) -> String {
    let addresses = server.addresses();
    if addresses.is_empty() {
        return "in force, and listens nowhere: no listener is in force (what is said of Gateways above says why), or no Gateway \
                has a class with the controllerName cofferdam.dev/ingress-gateway"
            .to_owned();
    }
    let listed: Vec<_> = addresses.iter().map(|(port, at)| format!("{at} for port {port}")).collect();
    format!("in force; listens at {}", listed.join(", "))
}

/// Which add-ons the cluster does not have, and what to do.
pub(super) fn missing(kinds: &BTreeMap<&'static str, String>) -> Vec<String> {
    let line = |(plural, api_version): (&&str, &String)| {
        let remedy = match api_version.split('/').next().unwrap_or_default() {
            "gateway.networking.k8s.io" => {
                "install the definitions of the Gateway API v1.5 or later (standard channel)"
            }
            "cofferdam.dev" => "install Cofferdam's definitions (cofferdam install crds)",
            _ => "install the definitions of the Gateway API Inference Extension where pools are wanted",
        };
        format!(
            "the cluster has no {plural} of {api_version}: {remedy}; it is looked for again and taken when it comes"
        )
    };
    kinds.iter().map(line).collect()
}

/// What does not hold of Gateways and routes, and why.
pub(super) fn wrong(statuses: &[ObjectStatus]) -> Vec<String> {
    let mut lines = Vec::new();
    for of in statuses {
        let mut tell = |part: &str, conditions: &[Condition]| {
            for condition in conditions.iter().filter(|it| is_wrong(it)) {
                let (kind, reason) = (condition.kind.as_str(), condition.reason.as_str());
                lines.push(format!(
                    "{}: {}{part}: {kind}: {reason}: {}",
                    of.position, of.object, condition.message
                ));
            }
        };
        match &of.status {
            Status::Class(conditions) => tell("", conditions),
            Status::Gateway { conditions, listeners } => {
                tell("", conditions);
                listeners.iter().for_each(|it| tell(&format!(", listener {}", it.name), &it.conditions));
            }
            Status::Used(users) => {
                users
                    .iter()
                    .for_each(|it| tell(&format!(", at Gateway {}", it.gateway.name), &it.conditions));
            }
            Status::Route(parents) => {
                parents.iter().for_each(|it| tell(&format!(", at Gateway {}", it.name), &it.conditions));
            }
        }
    }
    lines
}

fn is_wrong(condition: &Condition) -> bool {
    // It says what is wrong where it holds.
    condition.holds == (condition.kind == routes::ConditionKind::Conflicted)
}
