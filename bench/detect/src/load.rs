//! How many events a second of processor time the detectors take on one core, and how much memory they have, when many workloads do a lot.
//!
//! 10,000 workloads: five events of ten are connections, to places of the workload's own and to some of all; four are lookups, of
//! which one of ten is of a name that nobody ever asked for before, in one of a hundred zones; one is a request to a model. One workload of a hundred never
//! asks for the same name twice nor connects to the same address, which is the worst for whoever remembers.

use detect::event::{Call, Flow, Lookup, NXDOMAIN, Phase, Place, RecordId, What};
use detect::{Event, Replay};
use observe::Time;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const WORKLOADS: u64 = 10_000;
/// Events of a step, after which memory is looked at.
const STEP: u64 = 1_000_000;
/// Events that are made at once: making them is not measured.
const CHUNK: u64 = 50_000;
/// Microseconds between two events: 2,000 a second.
const PAUSE: u64 = 500;
const BEGIN: u64 = 1_795_046_400_000_000;

struct Load {
    state: u64,
    number: u64,
    who: Vec<Arc<str>>,
    source: Arc<str>,
}

/// Runs so many steps.
pub(crate) fn measure(steps: u64) -> Value {
    let who = (0..WORKLOADS).map(|it| format!("team-{}/app-{it}", it % 50).into()).collect();
    let mut load = Load { state: 7, number: 0, who, source: "load".into() };
    let mut replay = Replay::default();
    let mut all = Duration::ZERO;
    let mut told = Vec::new();
    for _ in 0..steps {
        let mut taken = Duration::ZERO;
        for _ in 0..STEP / CHUNK {
            let events: Vec<Event> = (0..CHUNK).map(|_| load.event()).collect();
            let begin = thread_cpu();
            events.iter().for_each(|event| replay.observe(event));
            taken += thread_cpu().saturating_sub(begin);
        }
        all += taken;
        told.push(json!({
            "events": replay.events(),
            "per_second": per_second(STEP, taken),
            "resident_mib": resident(),
            "forgotten": replay.lost(),
        }));
    }
    json!({
        "what": "events of 10,000 workloads through all detectors, per second of processor time",
        "machine": bench_machine::describe(),
        "workloads": WORKLOADS,
        "events": replay.events(),
        "per_second": per_second(replay.events(), all),
        "steps": told,
        "findings": replay.findings().len(),
    })
}

fn per_second(count: u64, taken: Duration) -> f64 {
    (f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / taken.as_secs_f64()).round()
}

/// Time that this thread had a processor, of the kernel's scheduler: others may use it meanwhile.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// Memory of this process, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

impl Load {
    fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % limit.max(1)
    }

    fn event(&mut self) -> Event {
        self.number += 1;
        let number = self.below(WORKLOADS);
        let who = usize::try_from(number)
            .ok()
            .and_then(|it| self.who.get(it))
            .map_or_else(|| "".into(), Arc::clone);
        let is_wild = number.is_multiple_of(100);
        let what = match self.below(10) {
            0..5 => self.flow(number, is_wild),
            5..9 => self.lookup(number, is_wild),
            _ => self.call(&who),
        };
        let record = RecordId { source: Arc::clone(&self.source), number: self.number };
        Event::new(Time(BEGIN + self.number * PAUSE), who, record, what)
    }

    fn flow(&mut self, number: u64, is_wild: bool) -> What {
        let place = if is_wild { self.below(u64::MAX) } else { number * 7 + self.below(20) };
        let [.., a, b, c] = place.to_be_bytes();
        let is_inside = !is_wild && place.is_multiple_of(3);
        What::Flow(Flow {
            phase: Phase::Whole,
            from_node: false,
            address: [if is_inside { 10 } else { 203 }, a, b, c].into(),
            name: (!is_wild).then(|| format!("host-{}.example.com", place % 6000).into()),
            place: if is_inside { Place::Inside } else { Place::Outside },
            port: if is_wild { u16::try_from(self.below(60_000)).unwrap_or(0) } else { 443 },
            protocol: 6,
            sent: 200 + self.below(9000),
            received: 500 + self.below(400_000),
            duration: 1_000_000,
        })
    }

    fn lookup(&mut self, number: u64, is_wild: bool) -> What {
        let is_new = is_wild || self.below(10) == 0;
        let name = if is_new {
            format!(
                "{:016x}.zone-{}.example",
                self.below(u64::MAX),
                self.below(if is_wild { u64::MAX } else { 100 })
            )
        } else {
            format!("host-{}.example.com", (number * 7 + self.below(20)) % 6000)
        };
        let rcode = Some(if is_new { NXDOMAIN } else { 0 });
        What::Lookup(Lookup { name: name.into(), kind: 1, rcode, answer_bytes: 4 })
    }

    fn call(&mut self, who: &Arc<str>) -> What {
        What::Call(Box::new(Call {
            service: "api.openai.com".into(),
            verb: "call".into(),
            subject: Some("gpt-4o-mini".into()),
            allowed: true,
            input_tokens: 900 + self.below(300),
            output_tokens: 200 + self.below(200),
            sent: 4000 + self.below(600),
            keys: vec![format!("sha256:{who}").into()],
            body: Some(format!("{:064x}", self.below(5000)).into()),
            ..Call::default()
        }))
    }
}
