//! What workloads that come to the central gateway by themselves draw on: accounts in the store that gateways share.
//!
//! Enters: the means to reach the store, prices, and who asks under which rule. Leaves: accounts. Guarantees: replicas draw on one
//! account for each workload and rule, by the name that nodes have for it; it is the same over states of policy; without a store
//! there is none. Does not: keep what was used; the store does.

use crate::quota::{Account, Accounts, Key, Shared};
use policy::{Pod, RuleEntry};
use purse::{Prices, Purse, StoreMeans, StoreStanding};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Most workloads and rules that are counted for.
const MOST: usize = 65_536;

/// What budgets are counted by.
#[derive(Debug, Default)]
pub(super) struct Spending {
    prices: OnceLock<Arc<Prices>>,
    purse: OnceLock<Arc<Purse<Accounts>>>,
    accounts: Arc<Accounts>,
    /// The number of each account that was drawn on, by its name.
    numbers: Mutex<HashMap<Arc<str>, u32>>,
}

/// There is no store, or no room for another account.
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
        let quotas = rule.requests.as_ref().map(|requests| requests.quotas).unwrap_or_default();
        if quotas.is_open() {
            return Ok(None);
        }
        let purse = Arc::clone(self.purse.get().ok_or(Uncounted)?);
        let Pod { namespace, workload, .. } = workload;
        let name: Arc<str> =
            format!("{namespace}/{}/{} {}", workload.kind, workload.name, rule.known_as()).into();
        let key = Key::Told(self.number(&name).ok_or(Uncounted)?);
        let accounts = Arc::clone(&self.accounts);
        Ok(Some(Account { accounts, key, quotas, shared: Some(Shared { name, purse }) }))
    }

    /// Numbers are never used again: two leases of one account in one process would hide what the first one used.
    fn number(&self, name: &Arc<str>) -> Option<u32> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.get(name) {
            return Some(*number);
        }
        let number = u32::try_from(numbers.len()).ok().filter(|_| numbers.len() < MOST)?;
        numbers.insert(Arc::clone(name), number);
        Some(number)
    }
}
