//! What is found in files that answers bring ([`FileFact`]), and how far each file was read, for it may come in parts
//! ([`Files`]).
//!
//! Guarantees: bounded in files, in time, and in what is held of those that are under way ([`Hold`]); a file is known by who
//! asked whom for it, and what is kept of that cannot be read (a keyed hash). Does not: read files (`http::watching`), or
//! know whether a server tells of two files by one name.

use crate::http::{Held, Hold, Undoing};
use crate::referrals::Url;
use ::inspect::leak::archive::{Danger, DangerKind, Watch};
use policy::{AnswerFiles, LeakAction};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long it is known of a file how far it was read.
const LIFETIME: Duration = Duration::from_secs(600);
/// Most files of which that is known.
const MAX_FILES: usize = 4096;
/// Most findings in the record of one request.
pub(crate) const MAX_FACTS: usize = 16;
/// Longest text of a finding, in characters.
const MAX_WHAT: usize = 160;

/// What files are searched by, and by what they may not be read, as findings have it.
pub(crate) const RULES: [&str; 12] = [
    "pickle-import",
    "pickle-unread",
    "archive-path",
    "archive-link",
    "archive-device",
    "archive-hidden",
    "archive-bomb",
    "file-unread",
    "answer-coding",
    "answer-part",
    "answer-form",
    "answer-memory",
];

/// Something that was found in a file, or why it was not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    /// Id of what found it, the same in every release: `pickle-import`, `archive-path`; `answer-part` and the like where the
    /// file was not read.
    pub rule: Cow<'static, str>,
    /// What exactly: an import, a member's name, a reason; at most 160 characters. The file's text: show it as such.
    pub what: String,
    /// Whether it has no good use. Otherwise it is merely not known to be harmless.
    pub malicious: bool,
    /// Whether the download was stopped for it.
    pub blocked: bool,
}

impl FileFact {
    /// What a danger is to a rule; `None`: nothing.
    pub(crate) fn of(danger: &Danger, answers: AnswerFiles) -> Option<Self> {
        let action = match danger.kind() {
            DangerKind::Pickle => answers.pickles,
            DangerKind::Archive => answers.archives,
            DangerKind::Unread => strongest(answers),
        };
        let shown = |letter: char| if letter.is_control() { '?' } else { letter };
        Some(Self {
            rule: Cow::Borrowed(danger.rule()),
            what: danger.what().chars().take(MAX_WHAT).map(shown).collect(),
            malicious: danger.is_malicious(),
            blocked: action? == LeakAction::Block,
        })
    }

    /// A file that was not read.
    pub(crate) fn unread(rule: &'static str, why: &str, answers: AnswerFiles) -> Self {
        let blocked = strongest(answers) == Some(LeakAction::Block);
        Self { rule: Cow::Borrowed(rule), what: why.to_owned(), malicious: false, blocked }
    }

    /// Whether it says that something was not read.
    pub(crate) fn is_unread(&self) -> bool {
        self.rule.ends_with("-unread") || self.rule.starts_with("answer-")
    }
}

fn strongest(answers: AnswerFiles) -> Option<LeakAction> {
    answers.pickles.max(answers.archives)
}

/// Reads a file in its order.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) decoder: Undoing,
    pub(crate) watch: Watch,
    /// Bytes of it that were read, as they come.
    pub(crate) at: u64,
    pub(crate) held: Held,
}

/// How far a file was read.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It is being read.
    UnderWay,
    /// So far, and nobody reads on.
    Paused(Box<Reader>),
    /// What follows is no danger, in whatever order it comes.
    Harmless,
    /// Something was found in it for which it is stopped.
    Stopped,
}

/// What a file is known by: who asked for it, and two hashes under keys of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pod: IpAddr,
    url: [u64; 2],
}

impl Mark {
    /// Who asked for it.
    pub(crate) fn pod(self) -> IpAddr {
        self.pod
    }
}

#[derive(Debug)]
struct Known {
    /// Its length, where that was said.
    total: Option<u64>,
    until: Instant,
    progress: Progress,
}

/// What is known when a part of a file comes.
#[derive(Debug)]
pub(crate) enum Before {
    /// Nothing, or not of what stands before the part.
    Nothing,
    /// It is to be read on.
    ReadOn(Box<Reader>),
    Harmless,
    Stopped,
}

/// Files that came, or come, in parts.
#[derive(Debug, Default)]
pub(crate) struct Files {
    known: Mutex<HashMap<Mark, Known>>,
    keys: [RandomState; 2],
    pub(crate) hold: Arc<Hold>,
    told: Notify,
}

impl Files {
    fn known(&self) -> MutexGuard<'_, HashMap<Mark, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file, by who asks for it and where; the query is left out, for it may be signed anew for each part.
    pub(crate) fn mark(&self, pod: IpAddr, url: &Url) -> Mark {
        let path = url.target.split('?').next().unwrap_or_default();
        Mark { pod, url: self.keys.each_ref().map(|key| key.hash_one((&url.host, url.port, path))) }
    }

    /// So far it is now.
    pub(crate) fn tell(&self, mark: Mark, total: Option<u64>, progress: Progress, now: Instant) {
        let mut known = self.known();
        if known.len() >= MAX_FILES && !known.contains_key(&mark) {
            known.retain(|_, one| now <= one.until);
            if known.len() >= MAX_FILES {
                // Parts of what is forgotten are not read, and that is said of them.
                let most = most(known.keys().map(|one| one.pod));
                known.retain(|one, _| Some(one.pod) != most);
            }
        }
        known.insert(mark, Known { total, until: now + LIFETIME, progress });
        drop(known);
        self.told.notify_waiters();
    }

    /// Makes room for a pod: what nobody reads on of its files is forgotten, and of others' what is too old.
    pub(crate) fn forget_paused(&self, pod: IpAddr, now: Instant) {
        let is_paused = |one: &Known| matches!(one.progress, Progress::Paused(_));
        self.known().retain(|mark, one| !is_paused(one) || mark.pod != pod && now <= one.until);
    }

    /// What is known of a file when its part from `start` comes; waits a while for the one that is read before it.
    pub(crate) async fn before(
        &self,
        mark: Mark,
        start: u64,
        total: Option<u64>,
        patience: Duration,
    ) -> Before {
        let wait = async {
            loop {
                let told = self.told.notified();
                if let Some(before) = self.now(mark, start, total, Instant::now()) {
                    return before;
                }
                told.await;
            }
        };
        tokio::time::timeout(patience, wait).await.unwrap_or(Before::Nothing)
    }

    /// `None`: it may be known soon.
    fn now(&self, mark: Mark, start: u64, total: Option<u64>, now: Instant) -> Option<Before> {
        let mut known = self.known();
        let Some(one) = known.get_mut(&mark).filter(|one| now <= one.until) else {
            // Who asks for several parts at once asks for the first of them first, and may be answered later.
            return None;
        };
        let is_same = one.total.is_none() || one.total == total;
        match &mut one.progress {
            Progress::Stopped => Some(Before::Stopped),
            Progress::Harmless if is_same => Some(Before::Harmless),
            Progress::Harmless => Some(Before::Nothing),
            Progress::UnderWay => None,
            Progress::Paused(reader) if is_same && reader.at == start => {
                let Progress::Paused(reader) = std::mem::replace(&mut one.progress, Progress::UnderWay)
                else {
                    return None;
                };
                Some(Before::ReadOn(reader))
            }
            // Another part may bring it here.
            Progress::Paused(reader) if is_same && reader.at < start => None,
            Progress::Paused(_) => Some(Before::Nothing),
        }
    }
}

/// Of whom there is most.
pub(crate) fn most(pods: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    let mut counts = HashMap::<IpAddr, usize>::new();
    pods.for_each(|pod| *counts.entry(pod).or_default() += 1);
    counts.into_iter().max_by_key(|(pod, count)| (*count, *pod)).map(|(pod, _)| pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn url(target: &str) -> Url {
        Url { host: "hub.example".into(), port: 443, target: target.into() }
    }

    fn reader(files: &Files, at: u64) -> Progress {
        let held = Held::none(&files.hold.share(POD));
        Progress::Paused(Box::new(Reader { decoder: Undoing::plain(), watch: Watch::new(""), at, held }))
    }

    #[test]
    fn a_part_is_read_on_only_where_the_reading_stopped() {
        let (files, now) = (Files::default(), Instant::now());
        let mark = files.mark(POD, &url("/m.bin?sig=1"));
        assert_eq!(mark, files.mark(POD, &url("/m.bin?sig=2")));
        assert_ne!(mark, files.mark(POD, &url("/n.bin?sig=1")));
        assert!(files.now(mark, 5, Some(9), now).is_none(), "nothing came yet");
        files.tell(mark, Some(9), Progress::UnderWay, now);
        assert!(files.now(mark, 5, Some(9), now).is_none(), "it is being read");
        files.tell(mark, Some(9), reader(&files, 5), now);
        assert!(files.now(mark, 7, Some(9), now).is_none(), "a part before it is missing");
        assert!(matches!(files.now(mark, 4, Some(9), now), Some(Before::Nothing)), "it was read already");
        assert!(matches!(files.now(mark, 5, Some(8), now), Some(Before::Nothing)), "another file");
        assert!(matches!(files.now(mark, 5, Some(9), now), Some(Before::ReadOn(_))));
        assert!(files.now(mark, 5, Some(9), now).is_none(), "only one reads on");
        files.tell(mark, Some(9), Progress::Harmless, now);
        assert!(matches!(files.now(mark, 1, Some(9), now), Some(Before::Harmless)));
        assert!(files.now(mark, 1, Some(9), now + LIFETIME * 2).is_none(), "it is forgotten");
        files.tell(mark, Some(9), Progress::Stopped, now);
        assert!(matches!(files.now(mark, 1, None, now), Some(Before::Stopped)));
    }

    #[test]
    fn the_files_that_are_known_are_bounded_and_every_rule_is_listed() {
        let (files, now) = (Files::default(), Instant::now());
        for at in 0..=MAX_FILES {
            files.tell(files.mark(POD, &url(&format!("/{at}"))), None, Progress::Harmless, now);
        }
        assert!(files.known().len() <= MAX_FILES);
        let other = files.mark(IpAddr::from([10, 0, 0, 2]), &url("/other"));
        files.tell(other, Some(9), reader(&files, 5), now);
        for at in 0..=MAX_FILES {
            files.tell(files.mark(POD, &url(&format!("/{at}"))), None, Progress::Harmless, now);
        }
        files.forget_paused(POD, now);
        assert!(matches!(files.now(other, 5, Some(9), now), Some(Before::ReadOn(_))), "it is another's");
        let answers = AnswerFiles { pickles: Some(LeakAction::Block), archives: Some(LeakAction::Report) };
        for danger in [
            Danger::Path("a\nb".into()),
            Danger::Link("x".into()),
            Danger::Device("x".into()),
            Danger::Hidden("x".into()),
            Danger::Bomb,
            Danger::Unreadable("x"),
        ] {
            let fact = FileFact::of(&danger, answers).unwrap();
            assert!(RULES.contains(&&*fact.rule) && !fact.what.contains('\n'), "{fact:?}");
            assert_eq!(fact.blocked, fact.is_unread(), "{fact:?}");
        }
        let pickles = AnswerFiles { archives: None, ..answers };
        assert_eq!(FileFact::of(&Danger::Bomb, pickles), None);
    }
}
