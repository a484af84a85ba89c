//! What is asked of a model beside answers: how likely each token is, the likeliest answer to every one of many questions, many
//! answers to each, vectors of a whole corpus, and what it refuses.
//!
//! Enters: calls whose enforcement point says what they ask ([`Asks`]). Guarantees: at most [`PAIRS`] consumers and services, and of each
//! at most [`TEMPLATES`] makes of questions; more lets the rarest go, so that a share is never more than it is. Does not: see
//! what was said.

use crate::beacon::real;
use crate::bounded::Bounded;
use crate::catalog::PROBES;
use crate::distinct::{Seen, key};
use crate::event::{Asks, Call, Event, HOUR};
use crate::finding::{Evidence, Finding, Number, Told};

/// Consumers and services that are followed at a time.
const PAIRS: usize = 1 << 14;
/// Makes of questions that are counted for each.
const TEMPLATES: usize = 32;
/// Different questions in an hour that ask how likely tokens are, and their part of all calls.
const LIKELY: u64 = 200;
const LIKELY_SHARE: f64 = 0.5;
/// Different questions in an hour, the part that wants the likeliest answer, the part of one make, and the part that differs.
const SWEEP: u64 = 400;
const SWEEP_GREEDY: f64 = 0.9;
const SWEEP_MAKE: f64 = 0.8;
const SWEEP_DIFFERENT: f64 = 0.7;
/// Answers in an hour of calls that want several, and how many they want on average.
const ANSWERS: u64 = 2000;
const ANSWERS_EACH: f64 = 4.0;
/// Texts in an hour of which vectors are wanted.
const VECTORS: u64 = 100_000;
/// Calls in an hour that the model refused, and their part of all.
const REFUSED: u64 = 50;
const REFUSED_SHARE: f64 = 0.3;

/// What is followed.
#[derive(Debug)]
pub(crate) struct Probes(Bounded<u64, Pair>);

/// One consumer and service in one hour.
#[derive(Debug, Default)]
struct Pair {
    hour: u64,
    asked: u64,
    questions: Seen,
    different: u64,
    likely: u64,
    greedy: u64,
    several: u64,
    answers: u64,
    vectors: u64,
    refused: u64,
    templates: Templates,
    evidence: Evidence,
}

/// How often each make of a question came. What finds no room takes the place of the rarest, and counts as new.
#[derive(Debug, Default)]
struct Templates(Vec<(u64, u64)>);

impl Templates {
    fn add(&mut self, template: u64) {
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| *known == template) {
            *count += 1;
        } else if self.0.len() < TEMPLATES {
            self.0.push((template, 1));
        } else if let Some(rarest) = self.0.iter_mut().min_by_key(|(_, count)| *count) {
            *rarest = (template, 1);
        }
    }

    fn most(&self) -> u64 {
        self.0.iter().map(|(_, count)| *count).max().unwrap_or(0)
    }

    /// In bits: 0 where all are of one make.
    fn entropy(&self) -> f64 {
        let all = real(self.0.iter().map(|(_, count)| count).sum::<u64>()).max(1.0);
        let bits = |(_, count): &(u64, u64)| {
            let share = real(*count) / all;
            -share * share.log2()
        };
        self.0.iter().map(bits).sum::<f64>().max(0.0)
    }
}

impl Probes {
    pub(crate) fn new() -> Self {
        Self(Bounded::new(PAIRS))
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    pub(crate) fn see(&mut self, event: &Event, call: &Call) -> Option<Finding> {
        let asks = call.asks.as_ref().filter(|_| &*call.verb == "call" && call.allowed)?;
        let pair = self.0.entry(&key((&event.who, &call.service)));
        pair.add(event, call, asks);
        pair.found(event, call)
    }
}

impl Pair {
    fn add(&mut self, event: &Event, call: &Call, asks: &Asks) {
        if event.ends(self.hour * HOUR, HOUR) {
            *self = Self { hour: event.micros() / HOUR, ..Self::default() };
            self.questions.clear(event.micros());
        }
        self.asked += 1;
        if let Some(question) = &call.body {
            self.different += u64::from(self.questions.is_new(key(question)));
        }
        self.likely += u64::from(asks.is_likelihood_wanted);
        self.greedy += u64::from(asks.is_greedy);
        if asks.choices > 1 {
            self.several += 1;
            self.answers = self.answers.saturating_add(asks.choices);
        }
        self.vectors = self.vectors.saturating_add(asks.texts);
        self.refused += u64::from(asks.is_refused);
        if let Some(template) = &asks.template {
            self.templates.add(key(template));
        }
        self.evidence.add(event);
    }

    fn share(&self, of: u64) -> f64 {
        real(of) / real(self.asked.max(1))
    }

    /// The first way in which it is too much.
    fn found(&mut self, event: &Event, call: &Call) -> Option<Finding> {
        let least = |own: u64| event.count(&PROBES, own);
        let share = |of: u64| self.share(of);
        let each = real(self.answers) / real(self.several.max(1));
        let (what, least) = if self.different >= least(LIKELY) && share(self.likely) >= LIKELY_SHARE {
            (format!("{:.0}% of them ask how likely tokens are", share(self.likely) * 100.0), LIKELY)
        } else if self.different >= least(SWEEP)
            && share(self.greedy) >= SWEEP_GREEDY
            && share(self.templates.most()) >= SWEEP_MAKE
            && share(self.different) >= SWEEP_DIFFERENT
        {
            let (greedy, make) = (share(self.greedy) * 100.0, share(self.templates.most()) * 100.0);
            (format!("{greedy:.0}% of them want the likeliest answer, and {make:.0}% are of one make"), SWEEP)
        } else if self.answers >= least(ANSWERS) && each >= ANSWERS_EACH {
            (format!("{} of them want {each:.1} answers each", self.several), ANSWERS)
        } else if self.vectors >= least(VECTORS) {
            (format!("they want vectors of {} texts", self.vectors), VECTORS)
        } else if self.refused >= least(REFUSED) && share(self.refused) >= REFUSED_SHARE {
            (format!("the model refused {:.0}% of them", share(self.refused) * 100.0), REFUSED)
        } else {
            return None;
        };
        if !self.evidence.is_due() {
            return None;
        }
        let sentence = format!(
            "{} asked {} {} times this hour, {} different questions: {what}; it may be copying the model, or feeling for its edges",
            event.who, call.service, self.asked, self.different
        );
        let numbers = vec![
            Number::of("calls", real(self.asked)),
            Number::of("different_questions", real(self.different)).from(real(least)),
            Number::of("share_with_likelihoods", self.share(self.likely)).from(LIKELY_SHARE),
            Number::of("share_of_likeliest", self.share(self.greedy)).from(SWEEP_GREEDY),
            Number::of("share_of_one_make", self.share(self.templates.most())).from(SWEEP_MAKE),
            Number::of("entropy_of_makes", self.templates.entropy()),
            Number::of("answers_wanted", real(self.answers)).from(real(ANSWERS)),
            Number::of("texts_embedded", real(self.vectors)).from(real(VECTORS)),
            Number::of("share_refused", self.share(self.refused)).from(REFUSED_SHARE),
        ];
        let told = Told { severity: None, sentence, numbers };
        Some(self.evidence.tell(&PROBES, &event.who, &call.service, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_of_questions_are_counted_in_bounded_room_and_never_too_often() {
        let mut templates = Templates::default();
        (0..10_000).for_each(|number| templates.add(number));
        assert_eq!((templates.0.len(), templates.most()), (TEMPLATES, 1));
        let even = templates.entropy();
        assert!((even - 5.0).abs() < 1e-9, "{even}");
        (0..100).for_each(|_| templates.add(20_000));
        assert_eq!(templates.most(), 100);
        assert!(templates.entropy() < even);
        assert!(Templates::default().entropy() < 1e-9);
    }
}
