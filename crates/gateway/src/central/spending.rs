//! What workloads that come to the central gateway by themselves draw on: accounts in the store that gateways share.
//!
//! Enters: the means to reach the store, prices, and who asks under which rule. Leaves: accounts. Guarantees: replicas draw on one
//! account for each workload and rule, by the name that nodes have for it; it is the same over states of policy; without a store
//! there is none but of uploads, which each gateway then counts for itself; there are as many as were drawn on in two days, or are in use. Does not: keep what was used; the store does.

use crate::quota::{Account, Accounts, Key, Shared};
use crate::record::Sink;
use crate::uploads::{Upload, Uploads};
use policy::{Pod, RuleEntry};
use purse::{Prices, Purse, StoreMeans, StoreStanding};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most workloads and rules that are counted for.
const MOST: usize = 65_536;
/// Seconds.
const DAY: u64 = 24 * 3600;

/// What budgets are counted by.
#[derive(Debug, Default)]
pub(super) struct Spending {
    prices: OnceLock<Arc<Prices>>,
    purse: OnceLock<Arc<Purse<Accounts>>>,
    accounts: Arc<Accounts>,
    numbers: Mutex<Numbers>,
    uploads: Arc<Uploads>,
    /// What uploads are shared by. `None`: each gateway counts its own.
    uploads_purse: OnceLock<Arc<Purse<Uploads>>>,
}

/// Numbers of accounts.
#[derive(Debug, Default)]
struct Numbers {
    /// Of each account that was drawn on a short while ago, by its name. Whoever draws on it holds the name.
    by_name: HashMap<Arc<str>, u32>,
    /// No number is used twice: what still counts by an old one would count on an account of another name.
    next: u32,
    /// The day of UTC in which those were last looked for that nothing counts by.
    looked_on: u64,
}

/// There is no store where one is needed, or no room for another account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uncounted;

impl Spending {
    /// Counts in this store, and money by these prices. What was set before stays.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn count_with(
        &self,
        store: Option<Arc<StoreMeans>>,
        prices: Option<Arc<Prices>>,
    ) -> io::Result<()> {
        if let Some(prices) = prices {
            let _set_before = self.prices.set(prices);
        }
        if let Some(store) = store {
            let _set_before = self.uploads_purse.set(Purse::start(Arc::clone(&store), &self.uploads)?);
            let _set_before = self.purse.set(Purse::start(store, &self.accounts)?);
        }
        Ok(())
    }

    /// Whether there is a store.
    pub(super) fn counts(&self) -> bool {
        self.purse.get().is_some()
    }

    pub(super) fn prices(&self) -> Option<Arc<Prices>> {
        self.prices.get().cloned()
    }

    /// How the store stands; nothing where there is none.
    pub(super) fn standing(&self) -> Option<StoreStanding> {
        self.purse.get().map(|purse| purse.standing())
    }

    /// The account of a workload under a rule; none where that has no budget of requests, tokens or money.
    pub(super) fn account(&self, workload: &Pod, rule: &RuleEntry) -> Result<Option<Account>, Uncounted> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.account_at(workload, rule, now)
    }

    /// At this time, in seconds since 1970.
    fn account_at(&self, workload: &Pod, rule: &RuleEntry, now: u64) -> Result<Option<Account>, Uncounted> {
        let quotas = rule.requests.as_ref().map(|requests| requests.quotas).unwrap_or_default();
        if quotas.is_open() {
            return Ok(None);
        }
        let purse = Arc::clone(self.purse.get().ok_or(Uncounted)?);
        let (name, number) = self.numbered(name_of(workload, rule), now).ok_or(Uncounted)?;
        let key = Key::Told(number);
        let accounts = Arc::clone(&self.accounts);
        Ok(Some(Account { accounts, key, quotas, shared: Some(Shared { name, purse }) }))
    }

    /// The account of what a workload uploads under a rule; none where that has no limit by hour or day. Without a store it is this
    /// gateway's alone.
    pub(super) fn upload(
        &self,
        workload: &Arc<Pod>,
        rule: &RuleEntry,
    ) -> Result<Option<Arc<Upload>>, Uncounted> {
        if !rule.upload.is_some_and(|limits| limits.counts_over_time()) {
            return Ok(None);
        }
        let (name, purse) = (name_of(workload, rule), self.uploads_purse.get().cloned());
        let upload = Upload::new(&self.uploads, name, workload, rule, purse).ok_or(Uncounted)?;
        Ok(Some(Arc::new(upload)))
    }

    /// Has somebody told of each limit of uploads that is reached.
    pub(super) fn tell(&self, sink: Arc<dyn Sink>) {
        self.uploads.tell(sink);
    }

    /// The number of an account, and its name, which whoever has it holds.
    fn numbered(&self, name: Arc<str>, now: u64) -> Option<(Arc<str>, u32)> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let today = now / DAY;
        // Once a day, for the names of a day are over with it; a clock that was set back is no day.
        if today > numbers.looked_on {
            numbers.looked_on = today;
            numbers.free(&self.accounts, now);
        }
        if let Some((held, number)) = numbers.by_name.get_key_value(&name) {
            return Some((Arc::clone(held), *number));
        }
        if numbers.by_name.len() >= MOST {
            return None;
        }
        let number = numbers.next;
        numbers.next = number.checked_add(1)?;
        numbers.by_name.insert(Arc::clone(&name), number);
        Some((name, number))
    }
}

/// What the store has the account of a workload under a rule by.
fn name_of(workload: &Pod, rule: &RuleEntry) -> Arc<str> {
    let Pod { namespace, workload, .. } = workload;
    format!("{namespace}/{}/{} {}", workload.kind, workload.name, rule.known_as()).into()
}

impl Numbers {
    /// Takes back numbers by which nothing counts. An account that was drawn on today is kept: a second lease of it in this process
    /// would hide what the first one used.
    fn free(&mut self, accounts: &Accounts, now: u64) {
        self.by_name.retain(|name, number| {
            // Nobody gets a name that is held here alone, for whoever asks for it waits for this.
            let held_here = 1 + usize::from(accounts.is_leased(*number));
            Arc::strong_count(name) > held_here || !accounts.forget(*number, now)
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

    use super::*;
    use crate::quota::Amount;
    use policy::{Generation, Labels, WorkloadRef};
    use purse::{StoreAddress, WhenDown};
    use std::collections::HashSet;

    const OBJECTS: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {name: runners, namespace: team}
spec:
  subject: {podSelector: {}}
  egress:
  - {action: Allow, to: [{domains: [hub.example]}], operations: [{verbs: [download]}], budgets: {requests: {day: 100}}}
";

    fn rule() -> RuleEntry {
        let read = crds::read_objects("test.yaml", OBJECTS.as_bytes());
        let compiled = compiler::compile_unlinted(read.objects, Generation(1));
        compiled.set.rules.iter().find(|entry| entry.requests.is_some()).unwrap().clone()
    }

    fn workload(name: &str) -> Pod {
        Pod {
            namespace: "team".into(),
            name: format!("serviceaccount:{name}").into(),
            labels: Labels::default(),
            service_account: name.into(),
            node: None,
            addresses: Vec::new(),
            ports: Vec::new(),
            host_network: false,
            workload: WorkloadRef { kind: "ServiceAccount".into(), name: name.into() },
        }
    }

    /// Before a store that is not there: accounts are leased, and nothing is granted.
    fn spending() -> Spending {
        let means = StoreMeans {
            address: StoreAddress::Unix("/nowhere/at/all".into()),
            roots: None,
            user: None,
            password: None,
            node: "a".into(),
            down: WhenDown::Deny,
        };
        let spending = Spending::default();
        spending.count_with(Some(Arc::new(means)), None).unwrap();
        spending
    }

    fn counted(spending: &Spending) -> (usize, usize) {
        (spending.numbers.lock().unwrap().by_name.len(), spending.accounts.count())
    }

    #[test]
    fn accounts_of_workloads_that_come_no_more_are_freed_and_no_number_is_used_again() {
        let (spending, rule) = (spending(), rule());
        let draw = |name: &str, now: u64| {
            let account = spending.account_at(&workload(name), &rule, now).unwrap().unwrap();
            drop(account.reserve(Amount::default(), now));
            account
        };
        let mut seen = HashSet::new();
        // As a connection that stays open holds it.
        let held = draw("held", DAY);
        seen.insert(held.key);
        for day in 1..=200 {
            for at in 0..400 {
                // They come again within their day, and draw on the same.
                let name = format!("runner-{day}-{at}");
                let account = draw(&name, day * DAY + 60);
                assert!(seen.insert(account.key), "{name} has the number of another");
                assert_eq!(draw(&name, day * DAY + DAY - 1).key, account.key);
            }
            let (numbers, accounts) = counted(&spending);
            assert!(numbers <= 401 && accounts <= 401, "{numbers} numbers, {accounts} accounts on day {day}");
        }
        assert_eq!(draw("held", 201 * DAY).key, held.key, "as long as something counts by it");
        drop(held);
        let last = draw("last", 202 * DAY);
        assert_eq!(counted(&spending).0, 1, "the held one went too");
        assert!(!seen.contains(&last.key));
    }

    #[test]
    fn an_account_that_was_drawn_on_today_is_kept_though_nothing_is_open() {
        let (spending, rule) = (spending(), rule());
        let draw = |now: u64| {
            let account = spending.account_at(&workload("runner"), &rule, now).unwrap().unwrap();
            drop(account.reserve(Amount::default(), now));
            account.key
        };
        let first = draw(10 * DAY);
        spending.numbers.lock().unwrap().free(&spending.accounts, 11 * DAY - 1);
        assert_eq!(draw(11 * DAY - 1), first);
        assert_ne!(draw(11 * DAY), first);
        // A clock that was set back frees nothing.
        let last = draw(11 * DAY);
        draw(10 * DAY);
        assert_eq!(draw(11 * DAY), last);
    }
}
