//! What is kept of accounts beyond the process.

use super::account::Account;
use super::{AccountKey, Amount, Ledger, Tokens};
use crate::limit::begin;
use lease::Window;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What was used of one account, in the window of its last use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Policy, limit, what it is per, and its window.
    pub limit: Arc<str>,
    /// Whose it is; empty: everybody's.
    pub account: Arc<str>,
    /// When its window began: seconds since 1970.
    pub begin: u64,
    /// Its length in seconds: a minute, an hour or a day.
    pub window: u64,
    /// Requests in it.
    pub requests: u64,
    /// Tokens that went in. With what is set aside for requests that are under way, and so the others.
    pub input: u64,
    /// Tokens that came out.
    pub output: u64,
    /// Money, in billionths.
    pub money: u64,
}

impl Ledger {
    /// What is to be kept, if anything changed since it was asked last. Accounts whose window is over are left out.
    pub fn kept(&self, now: u64) -> Option<Vec<Kept>> {
        let mut accounts = self.accounts();
        if !std::mem::take(&mut accounts.is_changed) {
            return None;
        }
        let kept = |(key, account): (&AccountKey, &Account)| {
            let window = account.window?.seconds();
            let Amount { tokens: Tokens { input, output }, money } = account.amount;
            (account.begin.saturating_add(window) > now).then(|| Kept {
                limit: Arc::clone(&key.limit),
                account: Arc::clone(&key.account),
                begin: account.begin,
                window,
                requests: account.requests,
                input,
                output,
                money,
            })
        };
        Some(accounts.all.iter().filter_map(kept).collect())
    }

    /// What was kept last was not written: it is asked for again.
    pub fn unkept(&self) {
        self.accounts().is_changed = true;
    }

    /// Takes over what was kept, before anything is taken. What was used in a window that is not there yet, for a clock that was wrong,
    /// counts in the one that it is now.
    pub fn restore(&self, kept: Vec<Kept>, now: u64) {
        let mut accounts = self.accounts();
        for it in kept {
            let windows = [Window::Minute, Window::Hour, Window::Day];
            let Some(window) = windows.into_iter().find(|window| window.seconds() == it.window) else {
                continue;
            };
            let amount = Amount { tokens: Tokens { input: it.input, output: it.output }, money: it.money };
            let account = Account::kept(window, it.begin.min(begin(window, now)), it.requests, amount);
            let key = AccountKey { limit: it.limit, account: it.account };
            if accounts.add(&key) {
                accounts.all.insert(key, account);
            }
        }
    }
}
