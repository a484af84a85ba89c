//! Figures for Prometheus, in the OpenMetrics text format.
//!
//! Enters: figures of the moment. Leaves: a page. Guarantees: the page is what is known when it is asked for; nothing is
//! counted twice. Does not: keep anything, or say anything about single pods.

use crate::up::pen::LedgerStatus;
use export::{Format, SinkStatus};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;

/// What the page is, as an HTTP header says it.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label and value.
type Label = [(&'static str, String); 1];

/// One answer to one scrape.
#[derive(Debug)]
pub(crate) struct Page(Registry);

impl Page {
    /// With the version of the program.
    pub(crate) fn new() -> Self {
        let mut page = Self(Registry::with_prefix("cofferdam"));
        let version: Label = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        page.0.register("build", "Which program answers", Info::new(version));
        page
    }

    /// How much of something there is.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(signed(value));
        self.0.register(name, help, gauge);
    }

    /// The same for each value of a label.
    pub(crate) fn gauges(
        &mut self,
        (name, label): (&str, &'static str),
        help: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        let family = Family::<Label, Gauge>::default();
        for (value, number) in values {
            family.get_or_create(&[(label, value)]).set(signed(number));
        }
        self.0.register(name, help, family);
    }

    /// How often something happened since the process started.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }
}

impl Page {
    /// How often something happened, for each value of a label; values that come twice are added up.
    pub(crate) fn counters(
        &mut self,
        (name, label): (&str, &'static str),
        help: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        let family = Family::<Label, Counter>::default();
        for (value, number) in values {
            family.get_or_create(&[(label, value)]).inc_by(number);
        }
        self.0.register(name, help, family);
    }

    /// How the ledger is, and what is exported of it.
    pub(crate) fn ledger(&mut self, ledger: &LedgerStatus) {
        self.counter("ledger_written", "Records that were written to the ledger", ledger.written);
        self.counter("ledger_lost", "Records for which the ledger had no room", ledger.lost);
        self.gauge("ledger_down", "Whether the ledger cannot be written", ledger.problem.is_some().into());
        self.exports(&ledger.exports);
    }

    /// How what is exported of the ledger stands, by format.
    pub(crate) fn exports(&mut self, exports: &[SinkStatus]) {
        let of = |value: fn(&SinkStatus) -> u64| {
            let format = |it: &SinkStatus| it.known_format().map_or("other", Format::name).to_owned();
            exports.iter().map(move |it| (format(it), value(it))).collect::<Vec<_>>()
        };
        self.counters(
            ("export_sent", "format"),
            "Entries of the ledger that were sent elsewhere",
            of(|it| it.sent),
        );
        self.counters(
            ("export_refused", "format"),
            "Entries that a target refused for good",
            of(|it| it.refused),
        );
        self.counters(
            ("export_lost", "format"),
            "Entries that were forgotten before they could be sent",
            of(|it| it.lost),
        );
        self.sums(("export_waiting", "format"), "Entries that wait to be sent", of(|it| it.waiting));
        self.sums(
            ("export_down", "format"),
            "Targets that nothing is sent to at the moment",
            of(|it| it.problem.is_some().into()),
        );
    }

    /// How much there is for each value of a label; values that come twice are added up.
    fn sums(
        &mut self,
        (name, label): (&str, &'static str),
        help: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        let family = Family::<Label, Gauge>::default();
        for (value, number) in values {
            family.get_or_create(&[(label, value)]).inc_by(signed(number));
        }
        self.0.register(name, help, family);
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(f, &self.0)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_one_format_are_one_figure() {
        let sink = |format: &str, sent, problem: Option<&str>| SinkStatus {
            format: format.to_owned(),
            sent,
            waiting: 2,
            problem: problem.map(str::to_owned),
            ..SinkStatus::default()
        };
        let mut page = Page::new();
        page.exports(&[sink("jsonl", 3, None), sink("jsonl", 4, Some("down")), sink("\"x\n", 5, None)]);
        let text = page.to_string();
        for line in [
            "cofferdam_export_sent_total{format=\"jsonl\"} 7",
            "cofferdam_export_sent_total{format=\"other\"} 5",
            "cofferdam_export_waiting{format=\"jsonl\"} 4",
            "cofferdam_export_down{format=\"jsonl\"} 1",
            "cofferdam_export_lost_total{format=\"jsonl\"} 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
        }
    }

    #[test]
    fn page_is_what_prometheus_reads() {
        let mut page = Page::new();
        page.gauge("generation", "State of policy in force", 7);
        page.gauges(("watches_failing", "kind"), "Watches that fail", [("pods\"\n".to_owned(), 1)]);
        page.counter("denied", "Denials", 3);
        let text = page.to_string();
        for line in [
            "# HELP cofferdam_generation State of policy in force.",
            "# TYPE cofferdam_generation gauge",
            "cofferdam_generation 7",
            "cofferdam_watches_failing{kind=\"pods\\\"\\n\"} 1",
            "cofferdam_denied_total 3",
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in {text}");
        }
    }
}
