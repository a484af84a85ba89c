//! Figures for Prometheus, in the OpenMetrics text format.
//!
//! Enters: figures of the moment. Leaves: a page, and of each figure what it means, for the reference. Guarantees: the page is what
//! is known when it is asked for; nothing is counted twice. Does not: keep anything, or say anything about single pods.

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
pub(crate) struct Page {
    registry: Registry,
    described: Vec<Figure>,
    /// Whether it only describes, so that figures are on it that a process may not have.
    is_empty: bool,
    /// Where alone the figures are that come now.
    only: Option<&'static str>,
}

/// What a figure is.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// As Prometheus has it.
    pub(crate) name: String,
    /// `gauge`, `counter` or `info`.
    pub(crate) kind: &'static str,
    /// What tells its series apart, if there are several.
    pub(crate) label: Option<&'static str>,
    /// What it says.
    pub(crate) help: &'static str,
    /// Where alone it is; `None`: always.
    pub(crate) only: Option<&'static str>,
}

impl Figure {
    /// What one is one of, as its name says it.
    pub(crate) fn unit(&self) -> &'static str {
        let says = |part: &str| self.name.split('_').any(|it| it == part);
        // What failed is counted, whatever it is about.
        match () {
            () if says("bytes") => "bytes",
            () if says("tokens") => "tokens",
            () if says("nanos") => "billionths of a currency",
            () if says("microseconds") => "microseconds",
            () if says("seconds") => "seconds",
            () => "number",
        }
    }
}

impl Page {
    /// With the version of the program.
    pub(crate) fn new() -> Self {
        let registry = Registry::with_prefix("cofferdam");
        let mut page = Self { registry, described: Vec::new(), is_empty: false, only: None };
        let version: Label = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        let help = "Which program answers; always 1";
        page.registry.register("build", help, Info::new(version));
        page.describe("build_info", "info", Some("version"), help);
        page
    }

    /// A page that nobody scrapes: it says what figures there are, also those that only some processes have.
    pub(crate) fn describing(put: impl FnOnce(&mut Self)) -> Vec<Figure> {
        let mut page = Self { is_empty: true, ..Self::new() };
        put(&mut page);
        page.described
    }

    /// Figures of something that not every process has, and `when` it does.
    pub(crate) fn only<T: Default>(
        &mut self,
        when: &'static str,
        value: Option<&T>,
        put: impl FnOnce(&mut Self, &T),
    ) {
        self.only = Some(when);
        match value {
            Some(value) => put(self, value),
            None if self.is_empty => put(self, &T::default()),
            None => {}
        }
        self.only = None;
    }

    fn describe(&mut self, name: &str, kind: &'static str, label: Option<&'static str>, help: &'static str) {
        let end = if kind == "counter" { "_total" } else { "" };
        let name = format!("cofferdam_{name}{end}");
        self.described.push(Figure { name, kind, label, help, only: self.only });
    }

    /// How much of something there is.
    pub(crate) fn gauge(&mut self, name: &str, help: &'static str, value: u64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(signed(value));
        self.registry.register(name, help, gauge);
        self.describe(name, "gauge", None, help);
    }

    /// The same for each value of a label.
    pub(crate) fn gauges(
        &mut self,
        (name, label): (&str, &'static str),
        help: &'static str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        let family = Family::<Label, Gauge>::default();
        for (value, number) in values {
            family.get_or_create(&[(label, value)]).set(signed(number));
        }
        self.registry.register(name, help, family);
        self.describe(name, "gauge", Some(label), help);
    }

    /// How often something happened since the process started.
    pub(crate) fn counter(&mut self, name: &str, help: &'static str, value: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        self.registry.register(name, help, counter);
        self.describe(name, "counter", None, help);
    }

    /// How often something happened, for each value of a label; values that come twice are added up.
    pub(crate) fn counters(
        &mut self,
        (name, label): (&str, &'static str),
        help: &'static str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        let family = Family::<Label, Counter>::default();
        for (value, number) in values {
            family.get_or_create(&[(label, value)]).inc_by(number);
        }
        self.registry.register(name, help, family);
        self.describe(name, "counter", Some(label), help);
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
        help: &'static str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) {
        let family = Family::<Label, Gauge>::default();
        for (value, number) in values {
            family.get_or_create(&[(label, value)]).inc_by(signed(number));
        }
        self.registry.register(name, help, family);
        self.describe(name, "gauge", Some(label), help);
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(f, &self.registry)
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
