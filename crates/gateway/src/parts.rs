//! The parts of uploads that a last request puts together: Azure's blocks, S3's and OpenAI's parts.
//!
//! Enters: the two ends of each part, under its name; and the list that orders them. Leaves: the ends of the parts that a list
//! names, in its order. Guarantees: at most [`EDGE`] bytes of each side of a part, [`MAX_VERSIONS`] contents of each, of at most
//! [`MAX_OF_POD`] of a pod and [`MAX_PARTS`] of all, for [`LIFETIME`] behind the last part of an upload; where there is
//! no room, a pod loses what is its own, and it is counted. A part that was sent twice is both, for nobody here knows which
//! of them the server has. Does not: see what the server copies from elsewhere.

use crate::counters::{Counters, add};
use crate::edges::EDGE;
use ::inspect::operation::part_list::{ListKind, Role};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most contents of parts whose ends are kept; each takes about 1 KiB.
const MAX_PARTS: usize = 24 * 1024;
/// Most of one pod. An upload to S3 has up to 10,000.
const MAX_OF_POD: usize = 12 * 1024;
/// Most contents of one part.
const MAX_VERSIONS: usize = 4;
/// How long they are kept behind the last of them.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Which upload of which pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Upload {
    pod: IpAddr,
    mark: [u64; 2],
}

/// Which part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    upload: Upload,
    name: Name,
    /// Whether what is in it comes from elsewhere.
    is_copy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Name {
    Told(u64),
    /// The answer names it.
    Untold(u64),
}

impl Piece {
    /// Whether its answer says its name.
    pub(crate) fn is_untold(self) -> bool {
        matches!(self.name, Name::Untold(_))
    }
}

/// The ends of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Its first bytes.
    pub(crate) head: Vec<u8>,
    /// Its last bytes; `None`: the head is all of it.
    pub(crate) tail: Option<Vec<u8>>,
}

impl Ends {
    /// Of a part of so many bytes.
    pub(crate) fn of(head: &[u8], tail: &[u8], length: u64) -> Self {
        let is_whole = usize::try_from(length).is_ok_and(|length| length <= head.len().min(EDGE));
        let tail = tail.get(tail.len().saturating_sub(EDGE)..).unwrap_or_default();
        Self {
            head: head.get(..head.len().min(EDGE)).unwrap_or_default().to_vec(),
            tail: (!is_whole).then(|| tail.to_vec()),
        }
    }
}

/// What is known of one part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// What it may be; empty: it was not seen, or is forgotten.
    pub(crate) versions: Vec<Arc<Ends>>,
    /// Whether it may also be something that was not seen.
    pub(crate) is_unsure: bool,
}

/// Which part or list a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// This part.
    Part(Piece),
    /// The list of this upload.
    List(Upload, ListKind),
}

#[derive(Debug)]
struct Parts {
    parts: HashMap<Name, Known>,
    /// Which parts answers named.
    told: HashMap<u64, Name>,
    /// Parts that came without a name.
    untold: u64,
    /// Contents of parts beside the first of each.
    others: usize,
    last: Instant,
}

impl Parts {
    fn new(now: Instant) -> Self {
        Self { parts: HashMap::new(), told: HashMap::new(), untold: 0, others: 0, last: now }
    }

    fn count(&self) -> usize {
        self.parts.len() + self.told.len() + self.others
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > LIFETIME
    }
}

/// Uploads, and how much is kept of them.
#[derive(Debug, Default)]
struct State {
    uploads: HashMap<Upload, Parts>,
    by_pod: HashMap<IpAddr, usize>,
    total: usize,
}

impl State {
    fn count(&mut self, pod: IpAddr, before: usize, after: usize) {
        self.total = self.total.saturating_sub(before).saturating_add(after);
        let own = self.by_pod.entry(pod).or_default();
        *own = own.saturating_sub(before).saturating_add(after);
        if *own == 0 {
            self.by_pod.remove(&pod);
        }
    }

    fn forget(&mut self, upload: Upload) -> usize {
        let lost = self.uploads.remove(&upload).map_or(0, |parts| parts.count());
        self.count(upload.pod, lost, 0);
        lost
    }

    /// Changes what is known of an upload.
    fn change<T>(&mut self, upload: Upload, now: Instant, change: impl FnOnce(&mut Parts) -> T) -> T {
        if self.uploads.get(&upload).is_some_and(|parts| parts.is_over(now)) {
            self.forget(upload);
        }
        let parts = self.uploads.entry(upload).or_insert_with(|| Parts::new(now));
        parts.last = now;
        let before = parts.count();
        let changed = change(parts);
        let after = parts.count();
        self.count(upload.pod, before, after);
        changed
    }

    /// Of whom more is kept than may be. `pod`: of whom something came.
    fn too_much(&self, pod: IpAddr) -> Option<IpAddr> {
        if self.by_pod.get(&pod).is_some_and(|own| *own > MAX_OF_POD) {
            return Some(pod);
        }
        let most = || self.by_pod.iter().max_by_key(|(pod, count)| (**count, **pod)).map(|(pod, _)| *pod);
        if self.total > MAX_PARTS { most() } else { None }
    }

    /// The upload of a pod that was quiet longest, but for the one that is under way.
    fn oldest(&self, pod: IpAddr, under_way: Upload) -> Option<Upload> {
        let of_pod = self.uploads.iter().filter(|(one, _)| one.pod == pod);
        of_pod.min_by_key(|(one, parts)| (**one == under_way, parts.last)).map(|(one, _)| *one)
    }
}

/// Uploads that are under way.
#[derive(Debug)]
pub(crate) struct Uploads {
    state: Mutex<State>,
    keys: [RandomState; 2],
    counters: Arc<Counters>,
}

impl Uploads {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self { state: Mutex::default(), keys: <[RandomState; 2]>::default(), counters }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part's name, as lists have it.
    pub(crate) fn name(&self, name: &[u8]) -> u64 {
        let [key, _] = &self.keys;
        key.hash_one(name)
    }

    /// Which part or list a request is; `None`: neither. `is_copy`: its server copies what is in it from elsewhere.
    pub(crate) fn stands(
        &self,
        (pod, host): (IpAddr, &str),
        method: &str,
        target: &str,
        is_copy: bool,
        now: Instant,
    ) -> Option<Stands> {
        let upload =
            |text: String| Upload { pod, mark: self.keys.each_ref().map(|key| key.hash_one((host, &text))) };
        Some(match Role::of(method, target)? {
            Role::List { upload: text, kind } => Stands::List(upload(text), kind),
            Role::Part { upload: text, name } => {
                let upload = upload(text);
                let name = match name {
                    Some(name) => Name::Told(self.name(&name)),
                    None => Name::Untold(self.state().change(upload, now, |parts| {
                        parts.untold += 1;
                        parts.untold
                    })),
                };
                Stands::Part(Piece { upload, name, is_copy })
            }
        })
    }

    /// A part came whole. `ends`: what it begins and ends with; nobody looks at those of a copy.
    pub(crate) fn came(&self, piece: Piece, ends: Ends, now: Instant) {
        self.change(piece.upload, now, |parts| {
            let part = parts.parts.entry(piece.name).or_default();
            let ends = Arc::new(ends);
            let is_known = part.versions.contains(&ends);
            if piece.is_copy || (!is_known && part.versions.len() == MAX_VERSIONS) {
                part.is_unsure = true;
            } else if !is_known {
                parts.others += usize::from(!part.versions.is_empty());
                part.versions.push(ends);
            }
        });
    }

    /// An answer named a part.
    pub(crate) fn named(&self, piece: Piece, name: &str, now: Instant) {
        let name = self.name(name.as_bytes());
        self.change(piece.upload, now, |parts| {
            parts.told.insert(name, piece.name);
        });
    }

    /// What is known of these parts of an upload.
    pub(crate) fn of(&self, upload: Upload, names: &[u64], now: Instant) -> Vec<Known> {
        let state = self.state();
        let parts = state.uploads.get(&upload).filter(|parts| !parts.is_over(now));
        let one = |name: &u64| {
            let parts = parts?;
            let name = parts.told.get(name).copied().unwrap_or(Name::Told(*name));
            parts.parts.get(&name).cloned()
        };
        names.iter().map(|name| one(name).unwrap_or_default()).collect()
    }

    /// Changes what is known of an upload, and makes room for it: whoever has most loses what is oldest of it.
    fn change(&self, upload: Upload, now: Instant, change: impl FnOnce(&mut Parts)) {
        let mut state = self.state();
        state.change(upload, now, change);
        let mut lost = 0;
        if state.total > MAX_PARTS {
            let is_over = |(upload, parts): (&Upload, &Parts)| parts.is_over(now).then_some(*upload);
            let over: Vec<_> = state.uploads.iter().filter_map(is_over).collect();
            for one in over {
                state.forget(one);
            }
        }
        while let Some(oldest) = state.too_much(upload.pod).and_then(|pod| state.oldest(pod, upload)) {
            lost += state.forget(oldest);
        }
        add(&self.counters.edges_lost, lost as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(last: u8) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, last))
    }

    fn uploads() -> Uploads {
        Uploads::new(Arc::new(Counters::new()))
    }

    fn part(uploads: &Uploads, of: IpAddr, target: &str, is_copy: bool, now: Instant) -> Piece {
        let method = if target.ends_with("/parts") { "POST" } else { "PUT" };
        match uploads.stands((of, "s3.example"), method, target, is_copy, now) {
            Some(Stands::Part(piece)) => piece,
            other => panic!("{target}: {other:?}"),
        }
    }

    fn list(uploads: &Uploads, of: IpAddr, target: &str, now: Instant) -> Upload {
        match uploads.stands((of, "s3.example"), "POST", target, false, now) {
            Some(Stands::List(upload, _)) => upload,
            other => panic!("{target}: {other:?}"),
        }
    }

    fn ends(text: &str) -> Ends {
        Ends::of(text.as_bytes(), text.as_bytes(), text.len() as u64)
    }

    /// The heads of what a part may be, and whether it may also be something else.
    fn known(uploads: &Uploads, upload: Upload, name: &[u8], now: Instant) -> (Vec<String>, bool) {
        let known = uploads.of(upload, &[uploads.name(name)], now).remove(0);
        let head = |ends: &Arc<Ends>| String::from_utf8(ends.head.clone()).unwrap();
        (known.versions.iter().map(head).collect(), known.is_unsure)
    }

    #[test]
    fn a_part_that_was_sent_twice_is_both_and_one_that_was_copied_is_not_known() {
        let (uploads, now) = (uploads(), Instant::now());
        let send = |number: u64, text: &str, is_copy: bool| {
            let target = format!("/b/k?partNumber={number}&uploadId=u");
            uploads.came(part(&uploads, pod(1), &target, is_copy, now), ends(text), now);
        };
        send(1, "a", false);
        send(1, "a", false);
        send(1, "b", false);
        send(2, "c", true);
        (0..=MAX_VERSIONS).for_each(|at| send(3, &at.to_string(), false));
        let upload = list(&uploads, pod(1), "/b/k?uploadId=u", now);
        let known = |number: u64, now| known(&uploads, upload, &number.to_be_bytes(), now);
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(known(1, now), (texts(&["a", "b"]), false));
        assert_eq!(known(2, now), (texts(&[]), true));
        assert_eq!(known(3, now), (texts(&["0", "1", "2", "3"]), true));
        assert_eq!(known(4, now), (texts(&[]), false));
        assert_eq!(known(1, now + 2 * LIFETIME), (texts(&[]), false), "too long ago");
        let other = list(&uploads, pod(2), "/b/k?uploadId=u", now);
        assert_eq!(uploads.of(other, &[uploads.name(&1_u64.to_be_bytes())], now)[0].versions.len(), 0);
    }

    #[test]
    fn parts_are_known_by_the_names_that_answers_gave_them_whenever_they_came() {
        let (uploads, now) = (uploads(), Instant::now());
        let [one, two] = [0, 1].map(|_| part(&uploads, pod(1), "/v1/uploads/u/parts", false, now));
        assert_ne!(one, two);
        uploads.named(two, "part_b", now);
        uploads.came(two, ends("two"), now);
        uploads.came(one, ends("one"), now);
        uploads.named(one, "part_a", now);
        let upload = list(&uploads, pod(1), "/v1/uploads/u/complete", now);
        assert_eq!(known(&uploads, upload, b"part_a", now), (vec!["one".to_owned()], false));
        assert_eq!(known(&uploads, upload, b"part_b", now), (vec!["two".to_owned()], false));
        assert_eq!(known(&uploads, upload, b"part_c", now), (vec![], false));
    }

    #[test]
    fn what_is_kept_is_bounded_and_nobody_makes_others_lose_theirs() {
        let (uploads, now) = (uploads(), Instant::now());
        let send = |of: IpAddr, number: usize, upload: &str| {
            let target = format!("/b/k?partNumber={number}&uploadId={upload}");
            uploads.came(part(&uploads, of, &target, false, now), ends("x"), now);
        };
        let upload = |of: IpAddr, id: &str| list(&uploads, of, &format!("/b/k?uploadId={id}"), now);
        let count = |of: IpAddr, id: &str| {
            uploads.state().uploads.get(&upload(of, id)).map_or(0, |parts| parts.count())
        };
        send(pod(1), 1, "small");
        (0..MAX_OF_POD).for_each(|at| send(pod(2), at, "large"));
        send(pod(2), 0, "another");
        assert_eq!((count(pod(1), "small"), count(pod(2), "large"), count(pod(2), "another")), (1, 0, 1));
        for of in 3..6 {
            (0..MAX_OF_POD).for_each(|at| send(pod(of), at, "large"));
        }
        let state = uploads.state();
        assert!(state.total <= MAX_PARTS, "{}", state.total);
        assert_eq!(state.total, state.uploads.values().map(Parts::count).sum::<usize>());
        assert_eq!(state.total, state.by_pod.values().sum::<usize>());
        drop(state);
        assert_eq!(count(pod(1), "small"), 1);
        let lost = uploads.counters.read().edges_lost;
        assert!(lost >= 2 * MAX_OF_POD as u64, "{lost}");
    }
}
