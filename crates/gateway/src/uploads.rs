//! How much workloads outside the nodes sent under rules that limit it by hour and day, counted where it is written. What pods send, the
//! kernel counts by its socket (`forward`).
//!
//! Enters: what a rule allows, and how many bytes are about to be written to a server. Leaves: leave to write them; or why not, and
//! word of it, once for each window ([`Reached`]). Guarantees: one account for all connections of a workload under a rule, whatever
//! the state of policy; windows are hours and days of UTC, and a clock that was set back begins none; nothing is written that was not
//! counted before; whoever holds the account learns that it is used up; with a store, gateways together count no more than the limit.
//! Does not: keep anything beyond the process by itself, the store does; give back what was counted for a server that then took less.

use crate::reason::Reason;
use crate::record::Sink;
use crate::state::Window;
use lease::{Ask, Count, Grant, Lease, Limits, StoreIs, Used};
use observe::Time;
use policy::{Pod, RuleEntry};
use purse::Purse;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// What is counted, by the names that the store has.
const COUNTS: [Count; 2] = [
    Count { name: "bytes", window: lease::Window::Hour },
    Count { name: "bytes", window: lease::Window::Day },
];
/// Most workloads and rules that are counted for.
const MOST: usize = 65_536;
/// How often the store is asked for the same bytes while nobody gets any. Other connections of the account may take what it granted for
/// these; then there is more to ask for, until all of it is used.
const IN_VAIN: usize = 8;
/// Seconds.
const DAY: u64 = lease::Window::Day.seconds();

/// All accounts.
#[derive(Default)]
pub(crate) struct Uploads {
    entries: Mutex<Entries>,
    /// Grows when one is used up.
    spent: watch::Sender<u64>,
    /// Who is told of that.
    sink: OnceLock<Arc<dyn Sink>>,
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Entries {
    by_name: HashMap<Arc<str>, Entry>,
    /// The day of UTC, counted from 1970, in which those of earlier days were last forgotten.
    looked_on: u64,
}

/// One account. Pairs are of the hour and of the day.
#[derive(Debug)]
struct Entry {
    limits: Limits<2>,
    used: Used<2>,
    /// The limits that something was refused by in these windows: little may be left of them, and still they are used up.
    reached: Limits<2>,
    /// What of it this gateway may use, where it is shared with others.
    lease: Option<Lease<2>>,
}

/// Why bytes must not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Short {
    /// It is used up.
    Spent(Spent),
    /// This gateway was not granted as many, and used so many of the day's.
    Unleased(u64),
}

/// A window that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent {
    window: Window,
    /// The limit, where nobody was told yet.
    news: Option<u64>,
}

/// A limit that all connections of a workload under a rule came to.
#[derive(Clone, Debug)]
pub struct Reached {
    /// When.
    pub time: Time,
    /// Whose.
    pub workload: Arc<Pod>,
    /// The rule, as a person reads it.
    pub rule: Arc<str>,
    /// Of which window.
    pub window: Window,
    /// Bytes.
    pub limit: u64,
}

/// The account of a workload under a rule.
#[derive(Clone, Debug)]
pub struct Upload {
    uploads: Arc<Uploads>,
    /// The same at every gateway.
    name: Arc<str>,
    limits: Limits<2>,
    workload: Arc<Pod>,
    rule: Arc<str>,
    /// `None`: it is this gateway's alone.
    purse: Option<Arc<Purse<Uploads>>>,
}

impl PartialEq for Upload {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.limits) == (&other.name, other.limits)
    }
}

impl Eq for Upload {}

impl Uploads {
    /// Has somebody told of each limit that is reached. Once: what was set before stays.
    pub(crate) fn tell(&self, sink: Arc<dyn Sink>) {
        let _set_before = self.sink.set(sink);
    }

    fn all(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Makes room for another, if there is any.
    fn has_room(&mut self, now: u64) -> bool {
        let today = now / DAY;
        // A clock that was set back is no day.
        if today > self.looked_on {
            self.looked_on = today;
            // What was sent on an earlier day limits nothing any more.
            self.by_name.retain(|_, entry| !entry.is_past(now));
        }
        self.by_name.len() < MOST
    }
}

impl Upload {
    /// The account of this name, which has the limits of the rule from now on; `None` where there is no room for another.
    pub(crate) fn new(
        uploads: &Arc<Uploads>,
        name: Arc<str>,
        workload: &Arc<Pod>,
        rule: &RuleEntry,
        purse: Option<Arc<Purse<Uploads>>>,
    ) -> Option<Self> {
        let upload = rule.upload.unwrap_or_default();
        let (limits, uploads) = ([upload.hour, upload.day], Arc::clone(uploads));
        let (workload, rule) = (Arc::clone(workload), rule.to_string().into());
        let upload = Self { uploads, name, limits, workload, rule, purse };
        upload.begin(now()).then_some(upload)
    }

    /// Whether there is room for it.
    fn begin(&self, now: u64) -> bool {
        let mut all = self.uploads.all();
        if let Some(entry) = all.by_name.get_mut(&self.name) {
            entry.limits = self.limits;
            return true;
        }
        let has_room = all.has_room(now);
        if has_room {
            all.by_name.insert(Arc::clone(&self.name), Entry::new(self.limits, now));
        }
        has_room
    }

    /// Counts bytes that are about to be written. Waits for the store where this gateway was not granted as many.
    ///
    /// # Errors
    /// They must not be written, for this reason.
    pub(crate) async fn take(&self, bytes: u64) -> Result<(), Reason> {
        if bytes == 0 {
            return Ok(());
        }
        let (mut last, mut in_vain, mut turn) = (None, 0, None);
        while in_vain <= IN_VAIN {
            let taken = self.taken(bytes, now(), last.is_some());
            drop(turn.take());
            let used = match taken {
                Ok(()) => return Ok(()),
                Err(Short::Spent(spent)) => return Err(self.told(spent).reason()),
                Err(Short::Unleased(_)) if last.is_some() && self.store_is() != StoreIs::Up => break,
                Err(Short::Unleased(used)) => Some(used),
            };
            let somebody_took = last.is_some() && last != used;
            (last, in_vain) = (used, if somebody_took { 0 } else { in_vain + 1 });
            let Some(purse) = &self.purse else { break };
            turn = purse.draw(vec![Arc::clone(&self.name)], bytes).await;
            if turn.is_none() {
                break;
            }
        }
        // There may be enough, and nobody knows.
        Err(Reason::QuotaStore)
    }

    /// `asked`: the store was asked for these bytes.
    fn taken(&self, bytes: u64, now: u64, asked: bool) -> Result<(), Short> {
        let mut all = self.uploads.all();
        // It may have been forgotten while nothing was sent all day.
        let entry = all.by_name.entry(Arc::clone(&self.name)).or_insert_with(|| Entry::new(self.limits, now));
        entry.roll(now);
        if let Some(window) = entry.spent().or_else(|| lacking(&entry.limits, &entry.used, bytes)) {
            return Err(Short::Spent(entry.spend(window)));
        }
        if self.purse.is_some() {
            let Entry { limits, used, lease, .. } = &mut *entry;
            let lease = lease.get_or_insert_with(|| Lease::new(&self.name, COUNTS, *limits, *used));
            lease.limits = *limits;
            let store = self.store_is();
            if lacking(&lease.held(&used.since, store), used, bytes).is_some() {
                let left = lacking(&lease.left_by_others(&used.since), used, bytes);
                let [_, of_day] = used.counts;
                // What the others hold is known for certain only from an answer.
                return match left.filter(|_| asked && store == StoreIs::Up) {
                    Some(window) => Err(Short::Spent(entry.spend(window))),
                    None => Err(Short::Unleased(of_day)),
                };
            }
        }
        for count in &mut entry.used.counts {
            *count = count.saturating_add(bytes);
        }
        Ok(())
    }

    fn store_is(&self) -> StoreIs {
        self.purse.as_ref().map_or(StoreIs::Up, |purse| purse.store_is())
    }

    /// Which window is used up, as far as is known here.
    pub(crate) fn spent(&self) -> Option<Window> {
        let spent = {
            let mut all = self.uploads.all();
            let entry = all.by_name.get_mut(&self.name)?;
            entry.roll(now());
            entry.spent().map(|window| entry.spend(window))
        };
        spent.map(|spent| self.told(spent))
    }

    /// Returns why what is open under it must end, once a window is used up.
    pub(crate) async fn over(&self) -> Reason {
        let mut news = self.uploads.spent.subscribe();
        loop {
            if let Some(window) = self.spent() {
                return window.reason();
            }
            if news.changed().await.is_err() {
                // The account outlives its holder.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Tells of it where that is news.
    fn told(&self, Spent { window, news }: Spent) -> Window {
        let Some(limit) = news else { return window };
        if let Some(sink) = self.uploads.sink.get() {
            let (workload, rule) = (Arc::clone(&self.workload), Arc::clone(&self.rule));
            sink.reached(Reached { time: SystemTime::now().into(), workload, rule, window, limit });
        }
        self.uploads.spent.send_modify(|changes| *changes = changes.wrapping_add(1));
        window
    }
}

impl Entry {
    fn new(limits: Limits<2>, now: u64) -> Self {
        let used = Used { since: COUNTS.map(|count| begun(count, now)), counts: [0; 2] };
        Self { limits, used, reached: [None; 2], lease: None }
    }

    /// Begins the windows anew that are over.
    fn roll(&mut self, now: u64) {
        let Self { used: Used { since, counts }, reached, .. } = self;
        let windows = since.iter_mut().zip(counts).zip(reached).zip(COUNTS);
        for (((since, used), reached), count) in windows {
            let begun = begun(count, now);
            if begun > *since {
                (*since, *used, *reached) = (begun, 0, None);
            }
        }
    }

    fn spent(&self) -> Option<Window> {
        let ([hour, day], [hour_reached, day_reached]) = (self.limits, self.reached);
        if day.is_some() && day == day_reached {
            return Some(Window::Day);
        }
        let hour = (hour.is_some() && hour == hour_reached).then_some(Window::Hour);
        hour.or_else(|| lacking(&self.limits, &self.used, 0))
    }

    /// Has it used up until the window ends.
    fn spend(&mut self, window: Window) -> Spent {
        let ([hour, day], [hour_reached, day_reached]) = (self.limits, &mut self.reached);
        let (limit, reached) = match window {
            Window::Hour => (hour, hour_reached),
            Window::Day => (day, day_reached),
        };
        let is_news = *reached != limit;
        *reached = limit;
        Spent { window, news: limit.filter(|_| is_news) }
    }

    /// Whether it is of a day that is over.
    fn is_past(&self, now: u64) -> bool {
        let [_, day] = self.used.since;
        day.saturating_add(DAY) <= now
    }
}

/// When the window of a count began.
fn begun(count: Count, now: u64) -> u64 {
    now - now % count.window.seconds()
}

/// Which window has no room for so many bytes more; the longer one says more.
fn lacking(limits: &Limits<2>, used: &Used<2>, bytes: u64) -> Option<Window> {
    let ([hour, day], [hour_used, day_used]) = (*limits, used.counts);
    let is_short = |limit: Option<u64>, used: u64| {
        // What is spent is spent, also for nothing.
        limit.is_some_and(|limit| used >= limit || used.saturating_add(bytes) > limit)
    };
    if is_short(day, day_used) {
        return Some(Window::Day);
    }
    is_short(hour, hour_used).then_some(Window::Hour)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl lease::Accounts for Uploads {
    type Key = Arc<str>;
    type Amount = u64;

    fn lease_ask(&self, name: &Arc<str>, bytes: u64) -> Option<Ask> {
        let mut all = self.all();
        let Entry { used, lease, .. } = all.by_name.get_mut(name)?;
        let lease = lease.as_mut()?;
        let held = lease.held(&used.since, StoreIs::Up);
        lacking(&held, used, bytes).map(|_| lease.ask(used, [bytes; 2]))
    }

    fn leased(&self, most: usize) -> Vec<Arc<str>> {
        let all = self.all();
        let leased = all.by_name.iter().filter(|(_, entry)| entry.lease.is_some());
        leased.map(|(name, _)| Arc::clone(name)).take(most).collect()
    }

    fn lease_news_of(&self, name: &Arc<str>) -> Option<Ask> {
        let mut all = self.all();
        let Entry { used, lease, .. } = all.by_name.get_mut(name)?;
        lease.as_mut()?.news(used)
    }

    fn lease_granted(&self, name: &Arc<str>, ask: &Ask, grants: &[Grant]) {
        let mut all = self.all();
        if let Some(lease) = all.by_name.get_mut(name).and_then(|entry| entry.lease.as_mut()) {
            lease.granted(ask, grants);
        }
    }
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use policy::{Generation, Labels, WorkloadRef};

    /// The account of a workload under a rule of these limits an hour and a day.
    pub(crate) fn upload(uploads: &Arc<Uploads>, limits: &str) -> Arc<Upload> {
        shared(uploads, limits, None)
    }

    /// The same, shared by a store.
    pub(crate) fn shared(
        uploads: &Arc<Uploads>,
        limits: &str,
        purse: Option<Arc<Purse<Uploads>>>,
    ) -> Arc<Upload> {
        let objects = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: team}}\n---\n\
             apiVersion: cofferdam.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {{name: runners, namespace: team}}\n\
             spec:\n  subject: {{podSelector: {{}}}}\n  egress:\n  - {{action: Allow, to: [{{domains: [hub.example]}}], maxUploadBytes: {limits}}}\n"
        );
        let read = crds::read_objects("test.yaml", objects.as_bytes());
        let compiled = compiler::compile_unlinted(read.objects, Generation(1));
        let rule = compiled.set.rules.iter().find(|entry| entry.upload.is_some()).unwrap();
        let workload = Arc::new(Pod {
            namespace: "team".into(),
            name: "serviceaccount:runner".into(),
            labels: Labels::default(),
            service_account: "runner".into(),
            node: None,
            addresses: Vec::new(),
            ports: Vec::new(),
            host_network: false,
            workload: WorkloadRef { kind: "ServiceAccount".into(), name: "runner".into() },
        });
        let name = "team/ServiceAccount/runner rule".into();
        Arc::new(Upload::new(uploads, name, &workload, rule, purse).unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::sample::upload;
    use super::*;
    use crate::record::Record;

    const HOUR: u64 = 3600;

    /// Of a day that has not begun.
    fn noon() -> u64 {
        now() - now() % DAY + DAY + 12 * HOUR
    }

    fn spent(window: Window, news: Option<u64>) -> Result<(), Short> {
        Err(Short::Spent(Spent { window, news }))
    }

    #[test]
    fn an_hour_and_a_day_are_used_up_by_what_does_not_fit_until_they_end() {
        let (upload, noon) = (upload(&Arc::default(), "{hour: 100, day: 150}"), noon());
        for (bytes, now, expected) in [
            (60, noon, Ok(())),
            (40, noon + HOUR - 1, Ok(())),
            (1, noon + HOUR - 1, spent(Window::Hour, Some(100))),
            (1, noon + HOUR - 1, spent(Window::Hour, None)),
            (40, noon + HOUR, Ok(())),
            (11, noon + HOUR, spent(Window::Day, Some(150))),
            // Ten are left, and another connection does not get them.
            (1, noon + HOUR, spent(Window::Day, None)),
            (1, noon + 2 * HOUR, spent(Window::Day, None)),
            // A clock that was set back gives nothing back.
            (1, noon, spent(Window::Day, None)),
            (100, noon + DAY, Ok(())),
            (101, noon + DAY + HOUR, spent(Window::Day, Some(150))),
        ] {
            assert_eq!(upload.taken(bytes, now, false), expected, "{bytes} at {now}");
        }
    }

    #[test]
    fn an_account_outlives_who_holds_it_and_has_the_limits_that_were_said_last() {
        let (uploads, noon) = (Arc::default(), noon());
        let first = upload(&uploads, "{day: 100}");
        assert_eq!(first.taken(80, noon, false), Ok(()));
        assert_eq!(first.taken(30, noon, false), spent(Window::Day, Some(100)));
        drop(first);
        let again = upload(&uploads, "{day: 100}");
        assert_eq!(again.taken(1, noon, false), spent(Window::Day, None), "who comes again has no other");
        let more = upload(&uploads, "{day: 200}");
        assert_eq!(again.taken(100, noon, false), Ok(()), "whoever holds it");
        assert_eq!(more.taken(21, noon, false), spent(Window::Day, Some(200)));
        let _fewer = upload(&uploads, "{day: 50}");
        assert_eq!(again.taken(1, noon, false), spent(Window::Day, Some(50)));
    }

    #[test]
    fn what_is_of_another_day_makes_room_and_who_holds_it_goes_on() {
        let (uploads, noon) = (Arc::default(), noon());
        let upload = upload(&uploads, "{day: 100}");
        assert_eq!(upload.taken(80, noon, false), Ok(()));
        assert!(uploads.all().has_room(noon));
        assert_eq!(upload.taken(30, noon, false), spent(Window::Day, Some(100)), "it is of today");
        assert!(uploads.all().has_room(noon + DAY));
        assert!(uploads.all().by_name.is_empty());
        assert_eq!(upload.taken(80, noon + DAY, false), Ok(()));
        assert_eq!(upload.taken(30, noon + DAY, false), spent(Window::Day, Some(100)));
    }

    #[derive(Default)]
    struct Told(Mutex<Vec<(String, Window, u64)>>);

    impl Sink for Told {
        fn take(&self, _: Record) -> bool {
            true
        }

        fn reached(&self, Reached { workload, rule, window, limit, .. }: Reached) {
            assert!(rule.starts_with("EgressPolicy team/runners"), "{rule}");
            self.0.lock().unwrap().push((workload.to_string(), window, limit));
        }
    }

    #[tokio::test]
    async fn whoever_holds_an_account_hears_that_it_is_used_up_and_one_word_of_it_is_told() {
        let (uploads, told) = (Arc::<Uploads>::default(), Arc::new(Told::default()));
        uploads.tell(told.clone());
        let [one, other] = [(); 2].map(|()| upload(&uploads, "{day: 100}"));
        let waiting = tokio::spawn(async move { other.over().await });
        assert_eq!(one.take(100).await, Ok(()));
        assert!(!waiting.is_finished());
        for _ in 0..3 {
            assert_eq!(one.take(1).await, Err(Reason::UploadDay));
        }
        assert_eq!(waiting.await.unwrap(), Reason::UploadDay);
        assert_eq!(one.spent(), Some(Window::Day));
        let told = told.0.lock().unwrap();
        assert_eq!(*told, [("team/serviceaccount:runner".to_owned(), Window::Day, 100)]);
    }
}
