//! Which of the trusted resolvers answer.
//!
//! Enters: answers and silences. Leaves: in which order to ask.
//! Guarantees: one that was silent three times in a row is asked last, and tried again by one question after a second, then
//! after two, four, up to thirty; one answer makes it good again.

use crate::map::Map;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Silences in a row after which a resolver counts as down.
const SILENCES: u32 = 3;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is known of trusted resolvers.
#[derive(Debug, Default)]
pub(crate) struct Health {
    known: Map<IpAddr, Silence>,
    turn: usize,
}

#[derive(Debug)]
struct Silence {
    count: u32,
    pause: Duration,
    until: Option<Instant>,
}

impl Silence {
    /// Begins a pause, twice as long as the one before.
    fn rest(&mut self, now: Instant) {
        if self.until.is_some() {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        self.until = Some(now + self.pause);
    }
}

impl Health {
    pub(crate) fn answered(&mut self, resolver: IpAddr) {
        self.known.remove(&resolver);
    }

    pub(crate) fn silent(&mut self, resolver: IpAddr, now: Instant) {
        let entry =
            self.known.entry(resolver).or_insert(Silence { count: 0, pause: FIRST_PAUSE, until: None });
        entry.count += 1;
        if entry.count < SILENCES || entry.until.is_some_and(|until| now < until) {
            return;
        }
        entry.rest(now);
    }

    pub(crate) fn is_down(&self, resolver: IpAddr, now: Instant) -> bool {
        self.known.get(&resolver).and_then(|it| it.until).is_some_and(|until| now < until)
    }

    /// The order in which to ask a group: the pod's choice first, then the others in turn; those that are down last.
    pub(crate) fn order(&mut self, first: IpAddr, group: &[IpAddr], now: Instant) -> Vec<IpAddr> {
        let mut others: Vec<IpAddr> = group.iter().copied().filter(|it| *it != first).collect();
        if !others.is_empty() {
            self.turn = (self.turn + 1) % others.len();
            others.rotate_left(self.turn);
        }
        others.insert(0, first);
        others.sort_by_key(|it| self.is_down(*it, now));
        self.try_again(others.first(), now);
        others
    }

    /// One whose pause is over is asked by one question. Until that is answered, others do not wait for its silence.
    fn try_again(&mut self, asked: Option<&IpAddr>, now: Instant) {
        if let Some(silence) = asked.and_then(|it| self.known.get_mut(it))
            && silence.until.is_some_and(|until| until <= now)
        {
            silence.rest(now);
        }
    }

    /// Forgets those that are trusted no longer.
    pub(crate) fn keep(&mut self, is_trusted: impl Fn(IpAddr) -> bool) {
        self.known.retain(|it, _| is_trusted(*it));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_silent_resolver_is_asked_last_until_its_pause_is_over() {
        let (mut health, start) = (Health::default(), Instant::now());
        let trusted = [ip(1), ip(2)];
        for _ in 0..2 {
            health.silent(ip(1), start);
        }
        assert_eq!(health.order(ip(1), &trusted, start), [ip(1), ip(2)]);
        health.silent(ip(1), start);
        assert_eq!(health.order(ip(1), &trusted, start), [ip(2), ip(1)]);
        let after = start + FIRST_PAUSE;
        assert_eq!(health.order(ip(1), &trusted, after), [ip(1), ip(2)], "it is tried again");
        assert_eq!(
            health.order(ip(1), &trusted, after),
            [ip(2), ip(1)],
            "by one question, for which others do not wait"
        );
        health.silent(ip(1), after);
        assert!(health.is_down(ip(1), after + FIRST_PAUSE), "for twice as long");
        health.answered(ip(1));
        assert!(!health.is_down(ip(1), after));
    }

    #[test]
    fn others_take_turns() {
        let (mut health, now) = (Health::default(), Instant::now());
        let trusted = [ip(1), ip(2), ip(3)];
        let seconds: Vec<_> = (0..2).map(|_| health.order(ip(1), &trusted, now)[1]).collect();
        assert_ne!(seconds[0], seconds[1]);
    }
}
