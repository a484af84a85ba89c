//! Answers that are kept, ready to be given again.
//!
//! Enters: an answer as it came and as it was read. Leaves: an [`Entry`], without what pods must not get.
//! Guarantees: answers of each group of trusted resolvers are kept apart, since one may know names that another does not, and
//! those of resolvers that pods chose themselves by resolver; what was answered without DNSSEC is never given to who asked
//! with it.

use crate::address::{Reach, reach};
use crate::answer::{Answer, ExtendedError, Lead, Opt};
use crate::bounded::Bounded;
use crate::decide::Source;
use crate::kind::{Rcode, RecordType};
use crate::question::{Flags, Question};
use crate::record::MAX_LISTED;
use crate::reply::{Kept, LONGEST};
use crate::rewrite::{self, rewrite};
use crate::state::Settings;
use crate::wire::{Malformed, Name};
use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time for which it is given again that there is nothing (RFC 2308, section 5: one to three hours).
const LONGEST_NOTHING: u32 = 3_600;

/// For how long a failure, or an answer that says nothing of it, is given again (RFC 9520, section 3.2: at least this).
const FAILURE: u32 = 1;

/// Under what an answer is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    name: Name,
    kind: RecordType,
    flags: Flags,
    source: Group,
}

/// Whose answers may stand for each other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Group {
    Trusted(usize),
    Other(IpAddr),
}

impl Key {
    pub(crate) fn new(question: &Question, source: Source) -> Self {
        let source = match source {
            Source::Trusted { group, .. } => Group::Trusted(group),
            Source::Other(resolver) => Group::Other(resolver),
        };
        Self { name: question.name.clone(), kind: question.kind, flags: question.flags, source }
    }
}

/// A kept answer.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Tells this answer from any later one to the same question.
    pub(crate) serial: u64,
    pub(crate) rcode: Rcode,
    /// What it teaches; nothing where its resolver is not trusted.
    pub(crate) lessons: Vec<Lesson>,
    /// For records.
    pub(crate) addresses: Arc<[IpAddr]>,
    /// For records.
    pub(crate) aliases: Arc<[Arc<str>]>,
    /// The name asked for, for records.
    pub(crate) name: Arc<str>,
    /// Of its addresses the least public.
    pub(crate) reach: Reach,
    pub(crate) upstream: IpAddr,
    taken: Instant,
    /// Seconds from when it was taken.
    ttl: u32,
    bytes: Vec<u8>,
    ttls: Vec<u16>,
    error: Option<ExtendedError>,
}

/// Names that lead to the same addresses.
#[derive(Debug)]
pub(crate) struct Lesson {
    pub(crate) names: Vec<Name>,
    pub(crate) addresses: Vec<IpAddr>,
    /// Seconds from when the answer was taken.
    pub(crate) ttl: u32,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) serial: u64,
    pub(crate) source: Source,
    pub(crate) upstream: IpAddr,
    pub(crate) taken: Instant,
}

impl Entry {
    /// Makes an answer ready to be given.
    pub(crate) fn new(
        bytes: &[u8],
        answer: Answer,
        question: &Question,
        origin: Origin,
        settings: &Settings,
    ) -> Result<Self, Malformed> {
        let strip = settings.strip_ech && answer.has_ech;
        let (bytes, answer) = match answer.opt {
            Opt::None if !strip => (bytes.to_vec(), answer),
            Opt::Last(at) if !strip => (without_last(bytes, at), answer),
            Opt::None | Opt::Last(_) | Opt::Within => {
                let bytes = rewrite(bytes, strip)?;
                // Lifetimes stand elsewhere now; what OPT said is kept.
                let read = Answer::read(&bytes, question)?;
                (bytes, Answer { rcode: answer.rcode, error: answer.error, ..read })
            }
        };
        let ttl = lifetime(&answer);
        let lessons = match origin.source {
            Source::Trusted { .. } => answer.leads.into_iter().filter_map(Lesson::new).collect(),
            Source::Other(_) => Vec::new(),
        };
        Ok(Self {
            serial: origin.serial,
            rcode: answer.rcode,
            lessons,
            reach: answer.addresses.iter().map(|it| reach(*it)).max().unwrap_or(Reach::Public),
            addresses: answer.addresses.iter().copied().take(MAX_LISTED).collect(),
            aliases: answer.aliases.iter().take(MAX_LISTED).map(|it| it.text().into()).collect(),
            name: question.name.text().into(),
            upstream: origin.upstream,
            taken: origin.taken,
            ttl,
            bytes,
            ttls: answer.ttls,
            error: answer.error,
        })
    }

    /// The same with only these of its addresses. None if it cannot be written so.
    pub(crate) fn with_only(&self, question: &Question, given: &HashSet<IpAddr>) -> Option<Self> {
        let bytes = rewrite::with_only(&self.bytes, |address| given.contains(&address)).ok()?;
        let Answer { ttls, .. } = Answer::read(&bytes, question).ok()?;
        let addresses = self.addresses.iter().copied().filter(|address| given.contains(address)).collect();
        let (aliases, name) = (Arc::clone(&self.aliases), Arc::clone(&self.name));
        let error = self.error.clone();
        Some(Self { lessons: Vec::new(), addresses, aliases, name, bytes, ttls, error, ..*self })
    }

    pub(crate) fn kept(&self) -> Kept<'_> {
        Kept { bytes: &self.bytes, ttls: &self.ttls, error: self.error.as_ref() }
    }

    /// Whole seconds since it was taken.
    pub(crate) fn age(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.taken).as_secs()).unwrap_or(u32::MAX)
    }

    /// When what it says of these addresses ends.
    pub(crate) fn end_of(&self, lesson: &Lesson) -> Instant {
        self.taken + Duration::from_secs(u64::from(lesson.ttl))
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < self.ttl
    }

    /// Whether it may be given although it ran out. That something failed is not worth remembering.
    fn is_stale(&self, now: Instant, settings: &Settings) -> bool {
        let answers = self.rcode == Rcode::NOERROR || self.rcode == Rcode::NXDOMAIN;
        let until = self.taken + Duration::from_secs(u64::from(self.ttl) + u64::from(settings.stale_for));
        answers && settings.stale_for > 0 && now < until
    }

    /// Bytes of memory, about.
    fn weight(&self) -> usize {
        let names =
            self.lessons.iter().map(|it| it.names.len() * 96 + it.addresses.len() * size_of::<IpAddr>());
        size_of::<Self>() + self.bytes.len() + 2 * self.ttls.len() + names.sum::<usize>() + 256
    }
}

impl Lesson {
    /// What of a lead policy can speak of.
    fn new(lead: Lead) -> Option<Self> {
        let names: Vec<_> = lead.names.into_iter().filter(Name::is_host_name).collect();
        (!names.is_empty()).then_some(Self { names, addresses: lead.addresses, ttl: lead.ttl.min(LONGEST) })
    }
}

fn lifetime(answer: &Answer) -> u32 {
    match answer.rcode {
        Rcode::NOERROR if !answer.leads.is_empty() => answer.ttl.unwrap_or(FAILURE).min(LONGEST),
        Rcode::NOERROR | Rcode::NXDOMAIN => answer.ttl.unwrap_or(FAILURE).min(LONGEST_NOTHING),
        _ => FAILURE,
    }
}

fn without_last(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.get(..at).unwrap_or(bytes).to_vec();
    if let Some([high, low]) = bytes.get_mut(10..12) {
        [*high, *low] = u16::from_be_bytes([*high, *low]).saturating_sub(1).to_be_bytes();
    }
    bytes
}

/// All that is kept.
#[derive(Debug)]
pub(crate) struct Cache(Bounded<Key, Rc<Entry>>);

impl Cache {
    pub(crate) fn new() -> Self {
        Self(Bounded::new())
    }

    pub(crate) fn fresh(&self, key: &Key, now: Instant) -> Option<Rc<Entry>> {
        self.0.get(key).filter(|entry| entry.is_fresh(now)).cloned()
    }

    pub(crate) fn stale(&self, key: &Key, now: Instant, settings: &Settings) -> Option<Rc<Entry>> {
        self.0.get(key).filter(|entry| entry.is_stale(now, settings)).cloned()
    }

    pub(crate) fn put(&mut self, key: Key, entry: &Rc<Entry>, settings: &Settings) {
        let failed = entry.rcode != Rcode::NOERROR && entry.rcode != Rcode::NXDOMAIN;
        if failed && self.stale(&key, entry.taken, settings).is_some() {
            // What was known is worth more than that it cannot be asked for now.
            return;
        }
        if entry.ttl == 0 {
            self.0.remove(&key);
            return;
        }
        let limits = (settings.cached_answers, settings.cached_bytes);
        self.0.put(key, Rc::clone(entry), entry.weight(), limits);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::tests::{address, answer as message, record};
    use hickory_proto::op::{Edns, Message};

    const TRUSTED: Source =
        Source::Trusted { first: IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 10)), group: 0 };

    fn entry(ttl: u32, source: Source, taken: Instant) -> (Rc<Entry>, Question) {
        let (mut message, question) = message("a.io.", 1, vec![record("a.io.", ttl, address("192.0.2.1"))]);
        message.set_edns(Edns::new());
        let bytes = message.to_vec().unwrap();
        let answer = Answer::read(&bytes, &question).unwrap();
        let origin = Origin { serial: 1, source, upstream: "10.0.0.9".parse().unwrap(), taken };
        let entry = Entry::new(&bytes, answer, &question, origin, &Settings::default()).unwrap();
        (Rc::new(entry), question)
    }

    #[test]
    fn an_entry_has_no_opt_and_only_trusted_ones_teach() {
        let now = Instant::now();
        let (trusted, _) = entry(60, TRUSTED, now);
        let read = Message::from_vec(&trusted.bytes).unwrap();
        assert!(read.edns.is_none() && read.answers.len() == 1);
        assert_eq!(trusted.lessons.len(), 1);
        let (other, _) = entry(60, Source::Other("8.8.8.8".parse().unwrap()), now);
        assert_eq!(other.lessons.len(), 0);
    }

    #[test]
    fn answers_run_out_then_are_stale_then_are_gone() {
        let (now, settings) = (Instant::now(), Settings::default());
        let mut cache = Cache::new();
        let (entry, question) = entry(60, TRUSTED, now);
        let key = Key::new(&question, TRUSTED);
        cache.put(key.clone(), &entry, &settings);
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(cache.fresh(&key, after(59)).is_some() && cache.fresh(&key, after(60)).is_none());
        assert!(cache.stale(&key, after(60 + 86_399), &settings).is_some());
        assert!(cache.stale(&key, after(60 + 86_400), &settings).is_none());
        assert!(cache.fresh(&Key::new(&question, Source::Other("10.0.0.9".parse().unwrap())), now).is_none());
        let dnssec = Question { flags: Flags { dnssec: true, ..question.flags }, ..question };
        assert!(cache.fresh(&Key::new(&dnssec, TRUSTED), now).is_none());
    }

    #[test]
    fn an_answer_without_life_is_not_kept() {
        let (now, settings) = (Instant::now(), Settings::default());
        let mut cache = Cache::new();
        let (long, question) = entry(60, TRUSTED, now);
        let key = Key::new(&question, TRUSTED);
        cache.put(key.clone(), &long, &settings);
        let (none, _) = entry(1 << 31, TRUSTED, now);
        cache.put(key.clone(), &none, &settings);
        assert!(cache.stale(&key, now, &settings).is_none());
    }
}
