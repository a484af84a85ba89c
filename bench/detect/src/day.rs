//! A day of what harmless pipelines do, with what is hard to tell from attacks: 100 workloads, the same for every run.
//!
//! In it: search lists that turn each name into four that do not exist, a CDN with names that look drawn, reverse lookups, probes of the
//! kubelet, scrapes of Prometheus, polling of a repository, telemetry that all push, nightly backups and checkpoints, sweeps that
//! call a model again and again, keys of their own, a release after which a workload has new destinations.

use detect::event::{Call, DAY, Flow, HOUR, Lookup, MINUTE, NXDOMAIN, Phase, Place, RecordId, SECOND, What};
use detect::{Event, Replay};
use observe::Time;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Workloads; the first of each ten has something special.
const WORKLOADS: u64 = 100;
/// Begin of the first day.
const BEGIN: u64 = 20_000 * DAY;
/// Days: the first is for learning.
const DAYS: u64 = 2;
/// Hosts that pipelines talk to.
const HOSTS: [&str; 12] = [
    "api.openai.com",
    "huggingface.co",
    "cdn-lfs.huggingface.co",
    "pypi.org",
    "files.pythonhosted.org",
    "github.com",
    "api.wandb.ai",
    "packages.example.org",
    "storage.googleapis.com",
    "login.microsoftonline.com",
    "ghcr.io",
    "quay.io",
];
const SEARCHED: [&str; 4] =
    ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "eu-west-1.compute.internal"];

struct Day {
    events: Vec<Event>,
    state: u64,
}

/// The events of the days, by time.
pub(crate) fn events() -> Vec<Event> {
    let mut day = Day { events: Vec::new(), state: 7 };
    for workload in 0..WORKLOADS {
        let who: Arc<str> = format!("team-{}/app-{workload}", workload % 10).into();
        for minute in 0..DAYS * DAY / MINUTE {
            day.minute(&who, workload, minute);
        }
        for hour in 0..DAYS * DAY / HOUR {
            day.hour(&who, workload, hour);
        }
    }
    day.monitor();
    day.events.sort_by_key(|event| event.time);
    day.events
}

impl Day {
    fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % limit
    }

    fn push(&mut self, time: u64, who: &Arc<str>, what: What) {
        let number = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        let record = RecordId { source: "day".into(), number };
        self.events.push(Event::new(Time(BEGIN + time), Arc::clone(who), record, what));
    }

    fn lookup(&mut self, time: u64, who: &Arc<str>, name: &str, rcode: u16) {
        let what = What::Lookup(Lookup { name: name.into(), kind: 1, rcode: Some(rcode), answer_bytes: 4 });
        self.push(time, who, what);
    }

    fn flow(&mut self, time: u64, who: &Arc<str>, to: (&str, u64), sizes: (u64, u64), place: Place) {
        let host = u8::try_from(to.1 % 250).unwrap_or(0);
        let base = if place == Place::Inside { [10, 1, 0, host] } else { [203, 0, 113, host] };
        let what = What::Flow(Flow {
            phase: Phase::Whole,
            from_node: who.starts_with("node"),
            address: base.into(),
            name: Some(to.0.into()),
            place,
            port: if place == Place::Inside { 8080 } else { 443 },
            protocol: 6,
            sent: sizes.0,
            received: sizes.1,
            duration: SECOND,
        });
        self.push(time, who, what);
    }

    /// Through the search list, then as it is; then a connection.
    fn visit(&mut self, time: u64, who: &Arc<str>, host: &str, sizes: (u64, u64)) {
        for end in SEARCHED {
            self.lookup(time, who, &format!("{host}.{end}"), NXDOMAIN);
        }
        self.lookup(time, who, host, 0);
        let number = host.len() as u64;
        self.flow(time + 1000, who, (host, number), sizes, Place::Outside);
    }

    fn minute(&mut self, who: &Arc<str>, workload: u64, minute: u64) {
        let time = minute * MINUTE + self.below(MINUTE);
        if self.below(3) == 0 {
            // What a workload talks to is its own; what it sends differs.
            let host = pick(&HOSTS, workload + self.below(4));
            let sizes = (400 + self.below(9000), 2000 + self.below(900_000));
            self.visit(time, who, host, sizes);
        }
        let node: Arc<str> = "node worker-1".into();
        self.flow(minute * MINUTE, &node, ("app", workload), (100, 200), Place::Inside);
        match workload % 10 {
            0 => self.flow(minute * MINUTE + workload, who, ("github.com", 3), (517, 3000), Place::Outside),
            1 => {
                let file = format!("d{:x}.cloudfront.net", self.below(u64::MAX) | 1 << 50);
                self.lookup(time, who, &file, 0);
            }
            2 => {
                let address = format!("{}.{}.2.10.in-addr.arpa", self.below(256), self.below(256));
                self.lookup(time, who, &address, 0);
            }
            3 => {
                let service = format!("worker-{}.pool.team.svc.cluster.local", self.below(300));
                self.lookup(time, who, &service, 0);
            }
            4 => self.sweep(time, who),
            _ => {}
        }
        // Telemetry, by everybody, by the clock.
        self.flow(
            minute * MINUTE + workload * 1000,
            who,
            ("telemetry.example.com", 9),
            (900, 100),
            Place::Outside,
        );
    }

    /// A sweep asks a model what differs a little; during working hours.
    fn sweep(&mut self, time: u64, who: &Arc<str>) {
        if !(8..20).contains(&(time % DAY / HOUR)) {
            return;
        }
        for call in 0..4 {
            let body = self.below(400);
            let call_made = Call {
                service: "api.openai.com".into(),
                verb: "call".into(),
                subject: Some("gpt-4o-mini".into()),
                allowed: true,
                input_tokens: 900 + self.below(300),
                output_tokens: 200 + self.below(200),
                sent: 4000 + self.below(600),
                keys: vec![format!("sha256:{who}").into()],
                body: Some(format!("{body:064x}").into()),
                ..Call::default()
            };
            self.push(time + call * SECOND, who, What::Call(Box::new(call_made)));
        }
    }

    fn hour(&mut self, who: &Arc<str>, workload: u64, hour: u64) {
        let time = hour * HOUR + self.below(HOUR);
        match (workload % 10, hour % 24) {
            // Checkpoints to a bucket, each hour about as much.
            (5, _) => {
                let bytes = (150 << 20) + self.below(60 << 20);
                self.flow(time, who, ("ckpt.s3.amazonaws.com", 40), (bytes, 90_000), Place::Outside);
            }
            // A backup at night.
            (6, 2) => self.flow(time, who, ("backup.example.net", 41), (400 << 20, 9000), Place::Outside),
            // A release on the second day.
            (7, 10) if hour >= 24 && workload == 7 => {
                self.visit(time, who, "mirror.example.edu", (900, 90_000))
            }
            // A crawler that finds dead links.
            (8, 11) => {
                for page in 0..15 {
                    let word = pick(&["river", "stone", "maple", "harbor", "winter"], self.below(5));
                    let place = pick(&["ville", "shop", "news", "press", "labs"], self.below(5));
                    self.lookup(time + page * SECOND, who, &format!("{word}{place}.com"), NXDOMAIN);
                }
            }
            _ => {}
        }
    }

    /// Prometheus visits everybody every 15 seconds.
    fn monitor(&mut self) {
        let who: Arc<str> = "monitoring/prometheus".into();
        for round in 0..DAYS * DAY / (15 * SECOND) {
            for workload in (0..WORKLOADS).step_by(10) {
                let name = format!("team-{}/app-{workload}", workload % 10);
                self.flow(
                    round * 15 * SECOND + workload * 1000,
                    &who,
                    (&name, workload),
                    (300, 40_000),
                    Place::Inside,
                );
            }
        }
    }
}

/// One of them, round and round.
fn pick(all: &[&'static str], number: u64) -> &'static str {
    let place = usize::try_from(number).unwrap_or(0) % all.len().max(1);
    all.get(place).copied().unwrap_or_default()
}

/// What is found on both days, by detector; and events a second.
pub(crate) fn measure() -> (BTreeMap<String, usize>, u64, f64) {
    let events = events();
    let mut replay = Replay::default();
    let begin = Instant::now();
    events.iter().for_each(|event| replay.observe(event));
    let taken = begin.elapsed().as_secs_f64();
    let count = replay.events();
    let mut by_detector = BTreeMap::new();
    for finding in replay.findings() {
        *by_detector.entry(finding.detector.into_owned()).or_insert(0) += 1;
    }
    let rate = f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / taken;
    (by_detector, count, rate)
}
