//! `cofferdam.dev/v1alpha1`: DetectionPolicy, as written.
//!
//! What it says: for pods of its namespace, from where on detectors tell, and which findings are not to be shown, and why.
//! Guarantees: whatever is suppressed has a reason; a policy that cannot be read suppresses nothing. Does not: allow or deny
//! anything, or know what a detector does.

use crate::decode::{Decoder, Map, nearest};
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::Node;
use crate::meta::{Located, ObjectMeta, Scope, short};
use crate::selector::LabelSelector;
use crate::time::end_of_day;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Longest lists: detectors, suppressions of one.
const MOST: usize = 64;
/// Longest reason and pattern in bytes.
const MOST_TEXT: usize = 256;
/// Bounds of `thresholdPercent`.
pub const THRESHOLD_PERCENT: std::ops::RangeInclusive<u32> = 25..=1600;

/// Names of detectors that compare something with a threshold.
pub const TUNABLE: [&str; 18] = [
    "dns-tunnel",
    "dga",
    "nxdomain-storm",
    "beacon",
    "port-scan",
    "lateral-movement",
    "new-destination",
    "upload-volume",
    "probing",
    "resolver-evasion",
    "gateway-bypass",
    "spend-spike",
    "injection-campaign",
    "model-extraction",
    "model-probing",
    "credential-misuse",
    "weights-leaving",
    "refused-writes",
];

/// Names of detectors that say what an enforcement point did, or what is wrong once.
pub const FACTS: [&str; 15] = [
    "tool-definition-change",
    "upload-connection",
    "download-only",
    "upload-hour",
    "upload-day",
    "unopened",
    "leak",
    "leak-blocked",
    "leak-masked",
    "quota-requests",
    "quota-tokens",
    "quota-money",
    "no-price",
    "unsafe-file",
    "unsafe-file-blocked",
];

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectionPolicy {
    /// Metadata.
    pub meta: ObjectMeta,
    /// Where.
    pub position: Position,
    /// An error was reported; the policy is not applied.
    pub broken: bool,
    /// `podSelector`: whom it holds for.
    pub pods: LabelSelector,
    /// `detectors`, 1 to 64, each name once.
    pub detectors: Vec<Located<DetectorTuning>>,
}

/// What holds for one detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectorTuning {
    /// `name`
    pub name: Arc<str>,
    /// `enabled: false`, with its `reason`: none of its findings is shown.
    pub disabled: Option<Arc<str>>,
    /// `thresholdPercent`: of the detector's own. Within [`THRESHOLD_PERCENT`].
    pub threshold_percent: Option<u32>,
    /// `suppress`: findings that are not shown.
    pub suppress: Vec<Located<Suppression>>,
}

/// Findings that are not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// `subject`: a pattern; `*` is anything without `/`, `**` anything.
    pub subject: Arc<str>,
    /// `reason`
    pub reason: Arc<str>,
    /// `until`: the end of that day of UTC, in seconds since 1970. `None`: for ever.
    pub until: Option<u64>,
}

impl DetectionPolicy {
    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, object: Map<'n>) -> Self {
        let meta = ObjectMeta::decode(d, object, Scope::Namespaced, true);
        let mut policy = Self::unreadable(meta, d.position(object.place));
        d.required(object, "spec", |d, node| policy.spec(d, node));
        policy.broken = d.is_broken();
        policy
    }

    /// A policy of which no more than the metadata is known.
    pub(crate) fn unreadable(meta: ObjectMeta, position: Position) -> Self {
        Self { meta, position, broken: true, pods: LabelSelector::default(), detectors: Vec::new() }
    }

    fn spec<'n>(&mut self, d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<()> {
        let map = d.strict(node, &["podSelector", "detectors"])?;
        self.pods = d.required(map, "podSelector", LabelSelector::decode)?;
        self.detectors = d.required(map, "detectors", |d, node| {
            d.check_length(node, 1, MOST);
            let mut seen = BTreeSet::new();
            d.located(node, |d, node| {
                let tuning = tuning(d, node)?;
                if !seen.insert(Arc::clone(&tuning.name)) {
                    let message = format!("{:?} is there twice", tuning.name);
                    d.error(node.place, Code::InvalidValue, message);
                }
                Some(tuning)
            })
        })?;
        Some(())
    }
}

fn tuning<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<DetectorTuning> {
    let map = d.strict(node, &["name", "enabled", "reason", "thresholdPercent", "suppress"])?;
    let name = d.required(map, "name", name);
    let enabled = d.field(map, "enabled", Decoder::boolean).flatten().unwrap_or(true);
    let reason = d.field(map, "reason", text).flatten();
    let threshold_percent = d.field(map, "thresholdPercent", percent).flatten();
    let suppress = d.field(map, "suppress", |d, node| {
        d.check_length(node, 1, MOST);
        d.located(node, suppression)
    });
    let name = name?;
    if enabled == reason.is_some() {
        let (message, way) = match enabled {
            true => ("the reason is that of enabled: false", "write it in suppress, or enabled: false"),
            false => ("it is switched off without a reason", "reason: why nobody has to see its findings"),
        };
        d.report(node.place, Diagnostic::error(Code::InvalidValue, message).suggest(way));
    }
    if threshold_percent.is_some() && FACTS.contains(&&*name) {
        let message = format!("{name:?} compares nothing with a threshold");
        let diagnostic = Diagnostic::error(Code::InvalidValue, message);
        d.report(node.place, diagnostic.suggest("suppress what nobody has to see"));
    }
    if map.keys().all(|key| matches!(key, "name" | "enabled")) && enabled {
        let diagnostic = Diagnostic::error(Code::MissingField, "it says nothing of the detector");
        d.report(node.place, diagnostic.suggest("for example thresholdPercent: 200"));
    }
    let disabled = reason.filter(|_| !enabled);
    Some(DetectorTuning {
        name,
        disabled,
        threshold_percent,
        suppress: suppress.flatten().unwrap_or_default(),
    })
}

fn name<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    let mut known = TUNABLE.iter().chain(&FACTS).copied();
    if known.clone().any(|known| *known == *text) {
        return Some(text);
    }
    let close = nearest(&text, &mut known).map(|close| format!("did you mean {close}? "));
    let message = format!("there is no detector {:?}", short(&text));
    let diagnostic = Diagnostic::error(Code::InvalidValue, message);
    let way = format!("{}`cofferdam detect --list` has all", close.unwrap_or_default());
    d.report(node.place, diagnostic.suggest(way));
    None
}

fn percent<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<u32> {
    let percent = d.count(node)?;
    if THRESHOLD_PERCENT.contains(&percent) {
        return Some(percent);
    }
    let (least, most) = (THRESHOLD_PERCENT.start(), THRESHOLD_PERCENT.end());
    d.error(node.place, Code::InvalidValue, format!("{percent} is not from {least} to {most}"));
    None
}

fn text<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    if text.trim().is_empty() || text.len() > MOST_TEXT {
        d.error(node.place, Code::InvalidValue, format!("it has 1 to {MOST_TEXT} bytes, not only spaces"));
        return None;
    }
    Some(text)
}

fn suppression<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Suppression> {
    let map = d.strict(node, &["subject", "reason", "until"])?;
    let subject = d.required(map, "subject", text);
    let reason = d.required(map, "reason", text);
    let until = d.field(map, "until", |d, node| {
        let text = d.str(node)?;
        let end = end_of_day(text);
        if end.is_none() {
            let message = format!("{:?} is no day", short(text));
            let diagnostic = Diagnostic::error(Code::InvalidValue, message);
            d.report(node.place, diagnostic.suggest("the last day of UTC on which it holds: \"2026-12-31\""));
        }
        end
    });
    Some(Suppression { subject: subject?, reason: reason?, until: until.flatten() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Object, read_objects};

    const WHOLE: &str = "apiVersion: cofferdam.dev/v1alpha1
kind: DetectionPolicy
metadata: {name: sweeps, namespace: ai}
spec:
  podSelector: {matchLabels: {app: train}}
  detectors:
  - {name: beacon, enabled: false, reason: polls the queue}
  - name: dns-tunnel
    thresholdPercent: 200
    suppress:
    - {subject: '*.example.com', reason: telemetry, until: \"2026-12-31\"}
";

    fn read(text: &str) -> (Option<DetectionPolicy>, Vec<String>) {
        let read = read_objects("p.yaml", text.as_bytes());
        let policy = read.objects.into_iter().find_map(|object| match object {
            Object::DetectionPolicy(policy) => Some(policy),
            _ => None,
        });
        (policy, read.diagnostics.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_policy_is_read_with_the_place_of_each_part() {
        let (policy, diagnostics) = read(WHOLE);
        assert_eq!(diagnostics, Vec::<String>::new());
        let policy = policy.unwrap();
        assert!(!policy.broken);
        let [beacon, tunnel] = &policy.detectors[..] else { panic!("{policy:?}") };
        assert_eq!(beacon.value.disabled.as_deref(), Some("polls the queue"));
        assert_eq!((tunnel.value.threshold_percent, tunnel.position.line), (Some(200), 8));
        let suppress = &tunnel.value.suppress[0];
        assert_eq!((suppress.position.line, suppress.value.until), (11, Some(1_798_761_600)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_the_policy_is_broken() {
        for (from, to, expected) in [
            ("name: beacon", "name: becon", "did you mean beacon?"),
            (", reason: polls the queue", "", "switched off without a reason"),
            ("enabled: false, reason", "reason", "the reason is that of enabled: false"),
            ("thresholdPercent: 200", "thresholdPercent: 5", "5 is not from 25 to 1600"),
            ("reason: telemetry, ", "", "reason"),
            ("reason: telemetry", "reason: ' '", "not only spaces"),
            ("2026-12-31", "2026-02-29", "is no day"),
            ("2026-12-31", "tomorrow", "is no day"),
            ("name: dns-tunnel", "name: leak", "compares nothing with a threshold"),
            ("name: dns-tunnel", "name: beacon", "is there twice"),
            ("  podSelector: {matchLabels: {app: train}}\n", "", "podSelector"),
            ("app: train", "app: '-'", "is no label value"),
            ("spec:", "specs:", "spec"),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE, "{from}");
            let (policy, diagnostics) = read(&text);
            let all = diagnostics.join("\n");
            assert!(all.contains(expected) && all.contains("p.yaml:"), "{to}: {all}");
            assert!(policy.unwrap().broken, "{to}");
        }
    }
}
