//! Connections that come back like a clock.
//!
//! Regularity is robust: half of what is between two connections may be anything. What changes steadily counts as regular too, as
//! the growing pauses of an implant that nobody talks to.

use crate::bounded::Bounded;
use crate::catalog::BEACON;
use crate::distinct::key;
use crate::event::{Event, Flow, Phase, Place};
use crate::finding::{Evidence, Finding, Number, Severity, Told};
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// Pairs of workload and destination that are followed at a time.
const PAIRS: usize = 1 << 15;
/// Destinations whose visitors, and visitors whose destinations are counted.
const SHARED: usize = 1 << 15;
/// Connections that are looked at, the last ones.
const RING: usize = 64;
/// Connections from which on they are looked at.
const LEAST: u64 = 12;
/// Pauses that must be left.
const LEAST_PAUSES: usize = 8;
/// From which score on it is told.
const SCORE: f64 = 0.8;
/// Pauses of less than this part of the mean belong to one visit.
const VISIT: f64 = 0.1;
/// Workloads that go to the same place, and places of one workload on one port that it visits about as often, from which on it is no
/// beacon but a service of all, or a monitor. Who has an implant visits other places as well, but not like it.
const COMMON: usize = 5;
/// What keeps time by itself: network time, leases of addresses, who is in a Windows network; and DNS.
const CLOCKS: [u16; 6] = [123, 67, 547, 137, 138, 53];

/// What is followed.
#[derive(Debug)]
pub(crate) struct Beacons {
    pairs: Bounded<u64, Pair>,
    visitors: Bounded<u64, Few>,
    places: Bounded<u64, Visited>,
}

/// A few different things.
#[derive(Debug, Default)]
struct Few(Vec<u64>);

impl Few {
    fn add(&mut self, thing: u64) -> bool {
        if self.0.len() < COMMON && !self.0.contains(&thing) {
            self.0.push(thing);
        }
        self.0.len() >= COMMON
    }
}

/// The places visited most, with how often.
#[derive(Debug, Default)]
struct Visited(Vec<(u64, u64)>);

impl Visited {
    fn count(&mut self, place: u64, times: u64) {
        if let Some(known) = self.0.iter_mut().find(|(it, _)| *it == place) {
            known.1 = times;
        } else if self.0.len() < COMMON {
            self.0.push((place, times));
        } else if let Some(least) = self.0.iter_mut().min_by_key(|(_, times)| *times)
            && least.1 < times
        {
            *least = (place, times);
        }
    }

    /// Whether so many places are visited at least half as often.
    fn is_even(&self, times: u64) -> bool {
        self.0.iter().filter(|(_, it)| it.saturating_mul(2) >= times).count() >= COMMON
    }
}

#[derive(Debug, Default)]
struct Pair {
    /// When each began, in seconds since the first, and bytes sent.
    last: VecDeque<(f64, f64)>,
    first: u64,
    next: u64,
    evidence: Evidence,
}

/// What the last connections look like.
struct Shape {
    pause: f64,
    regularity: f64,
    evenness: f64,
    sameness: f64,
}

impl Shape {
    fn score(&self) -> f64 {
        self.regularity / 2.0 + self.evenness / 4.0 + self.sameness / 4.0
    }
}

impl Beacons {
    pub(crate) fn new() -> Self {
        Self { pairs: Bounded::new(PAIRS), visitors: Bounded::new(SHARED), places: Bounded::new(SHARED) }
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.pairs.evicted()
    }

    pub(crate) fn see(&mut self, event: &Event, flow: &Flow) -> Option<Finding> {
        let is_whole = matches!(flow.phase, Phase::Close | Phase::Whole);
        if !is_whole || flow.from_node || flow.place == Place::Inside || CLOCKS.contains(&flow.port) {
            return None;
        }
        // Nobody gives orders there: services are announced and looked for (mDNS, SSDP).
        if flow.address.is_multicast() || flow.address == Ipv4Addr::BROADCAST {
            return None;
        }
        let whom = flow.name.as_ref().map_or_else(|| key(flow.address), |name| key(name.as_ref()));
        let who = key(&event.who);
        let is_common = self.visitors.entry(&key((whom, flow.port))).add(who);
        let pair = self.pairs.entry(&key((who, whom, flow.port)));
        let began = match flow.phase {
            Phase::Close => event.micros().saturating_sub(flow.duration),
            Phase::Open | Phase::Whole | Phase::Failed | Phase::More => event.micros(),
        };
        pair.add(began, flow.sent, event);
        let places = self.places.entry(&key((who, flow.port)));
        places.count(whom, pair.evidence.count());
        let is_monitor = places.is_even(pair.evidence.count()) && flow.place == Place::Unknown;
        if is_common || is_monitor || pair.evidence.count() < pair.next.max(LEAST) {
            return None;
        }
        // More than half of what is looked at is different each time: constant time for a connection.
        pair.next = pair.evidence.count() + (pair.evidence.count() / 2).min(32);
        let shape = pair.shape()?;
        // Of what is missing to a clock.
        let least = 1.0 - (1.0 - SCORE) / event.limit(&BEACON, 1.0);
        if shape.score() < least || !pair.evidence.is_due() {
            return None;
        }
        Some(tell(event, flow, (&shape, least), &pair.evidence))
    }
}

impl Pair {
    fn add(&mut self, began: u64, sent: u64, event: &Event) {
        if self.evidence.count() == 0 {
            self.first = began;
        }
        if self.last.len() == RING {
            self.last.pop_front();
        }
        self.last.push_back((seconds(began.saturating_sub(self.first)), real(sent)));
        self.evidence.add(event);
    }

    /// `None`: there are too few visits.
    fn shape(&self) -> Option<Shape> {
        let mut times: Vec<f64> = self.last.iter().map(|(time, _)| *time).collect();
        times.sort_by(f64::total_cmp);
        let pauses: Vec<f64> = times.windows(2).filter_map(|two| Some(two.get(1)? - two.first()?)).collect();
        let mean = pauses.iter().sum::<f64>() / real(u64::try_from(pauses.len()).ok()?);
        let pauses: Vec<f64> = pauses.into_iter().filter(|pause| *pause > mean * VISIT).collect();
        if pauses.len() < LEAST_PAUSES {
            return None;
        }
        let [low, pause, high] = quartiles(&pauses);
        let changes: Vec<f64> =
            pauses.windows(2).filter_map(|two| Some((two.get(1)? - two.first()?).abs())).collect();
        let [_, change, _] = quartiles(&changes);
        let steady = 1.0 - change / pause;
        let same = 1.0 - spread(&pauses) / pause;
        // Bowley's: 0 where the middle is in the middle.
        let skew = if high > low { ((high + low - 2.0 * pause) / (high - low)).abs() } else { 0.0 };
        let sent: Vec<f64> = self.last.iter().map(|(_, sent)| *sent).collect();
        let [_, size, _] = quartiles(&sent);
        let sameness = 1.0 - spread(&sent) / (size + 1.0);
        Some(Shape {
            pause,
            regularity: steady.max(same).clamp(0.0, 1.0),
            evenness: 1.0 - skew.min(1.0),
            sameness: sameness.clamp(0.0, 1.0),
        })
    }
}

fn tell(event: &Event, flow: &Flow, (shape, least): (&Shape, f64), evidence: &Evidence) -> Finding {
    let whom = flow.whom();
    let sentence = format!(
        "{} comes back to {whom} port {} about every {:.1} seconds, {} times so far, as regular as a program that asks for \
         orders ({:.2} of 1, {least:.2} is the limit)",
        event.who,
        flow.port,
        shape.pause,
        evidence.count(),
        shape.score()
    );
    let numbers = vec![
        Number::of("score", shape.score()).from(least),
        Number::of("regularity_of_pauses", shape.regularity),
        Number::of("evenness_of_pauses", shape.evenness),
        Number::of("sameness_of_bytes_sent", shape.sameness),
        Number::of("median_pause_seconds", shape.pause),
        Number::of("connections", real(evidence.count())).from(real(LEAST)),
    ];
    // A name of the workload's rules is somebody that it is meant to talk to.
    let severity = (flow.place == Place::Outside && flow.name.is_some()).then_some(Severity::Low);
    evidence.tell(&BEACON, &event.who, &format!("{whom}:{}", flow.port), Told { severity, sentence, numbers })
}

/// The values at a quarter, half, and three quarters; 0 of none.
fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    [1, 2, 3].map(|part| sorted.get(sorted.len() * part / 4).copied().unwrap_or(0.0))
}

/// Median distance from the median.
fn spread(values: &[f64]) -> f64 {
    let [_, median, _] = quartiles(values);
    let distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    let [_, spread, _] = quartiles(&distances);
    spread
}

/// Exact below 2^53, which is beyond what is counted here.
#[expect(clippy::cast_precision_loss, reason = "digits beyond the fifteenth do not matter to any threshold")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

/// The whole number; those too large are the largest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast to a whole number saturates"
)]
pub(crate) fn whole(number: f64) -> u64 {
    number as u64
}

pub(crate) fn seconds(micros: u64) -> f64 {
    real(micros) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{RecordId, What};
    use observe::Time;

    /// The score of connections with these pauses in seconds and these sizes, where they are told of.
    fn score(pauses: impl Iterator<Item = f64>, size: impl Fn(u64) -> u64) -> Option<f64> {
        let (mut beacons, mut time, mut found) = (Beacons::new(), 1_000_000u64, None);
        for (number, pause) in (0..).zip(pauses) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "pauses are small and positive"
            )]
            let micros = (pause * 1e6) as u64;
            time += micros;
            let flow = Flow {
                phase: Phase::Whole,
                from_node: false,
                address: [192, 0, 2, 7].into(),
                name: None,
                place: Place::Unknown,
                port: 443,
                protocol: 6,
                sent: size(number),
                received: 900,
                duration: 1000,
            };
            let record = RecordId { source: "test".into(), number };
            let event = Event::new(Time(time), "app/web".into(), record, What::Flow(flow.clone()));
            found = beacons.see(&event, &flow).map(|finding| finding.numbers[0].value).or(found);
        }
        found
    }

    /// Numbers from 0 to 1 that look random.
    fn random() -> impl Iterator<Item = f64> {
        let mut state = 88_172_645_463_325_252_u64;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            real(state >> 11) / real(1 << 53)
        })
    }

    #[test]
    fn what_comes_back_like_a_clock_is_told_of_also_with_jitter_and_growing_pauses() {
        assert!(score((0..40).map(|_| 60.0), |_| 300).is_some(), "a clock");
        assert!(
            score(random().take(200).map(|it| 60.0 * (0.75 + it / 2.0)), |_| 300).is_some(),
            "a quarter of jitter"
        );
        assert!(score((0..40).map(|number| 0.1 * f64::from(number + 1)), |_| 997).is_some(), "growing");
    }

    #[test]
    fn what_people_and_bursts_do_is_not() {
        let poisson = random().take(400).map(|it| -60.0 * (1.0 - it).ln());
        assert_eq!(score(poisson, |_| 300), None, "at random, of one size");
        let bursts = (0..200).map(|number| if number % 10 == 0 { 300.0 } else { 0.05 });
        assert_eq!(
            score(bursts.zip(random()).map(|(it, chance)| it * (0.2 + 3.0 * chance)), |number| number * 97
                % 5000),
            None
        );
        assert_eq!(score((0..11).map(|_| 60.0), |_| 300), None, "too few");
    }
}
