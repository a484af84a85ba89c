//! Budgets: how many bytes sockets of this node may send, counted by the kernel, whichever process has the sockets.
//!
//! Enters: limits by number; a socket is under the budget whose number it has as its priority (SO_PRIORITY). Leaves: a
//! table of its own that drops what exceeds a limit. Guarantees: changed in one step; counts go on, and limits hold, when
//! the process ends or connections are opened anew. Does not: know what numbers stand for, or begin a new hour or day.
//! What is read back is the kernel's, so nothing is kept here.
//! Source: `linux/netfilter/nf_tables.h`, `net/netfilter/nft_quota.c`.

use crate::error::{ApplyError, absent_is_fine};
use crate::netlink::Socket;
use crate::nft::adopt::{elements, quota, table_comment};
use crate::nft::batch::{Batch, Part, SetSpec, Shape, comment_bytes, delete_table};
use crate::nft::expr::{Compare, End, Meta, Register, Rule};
use crate::nft::program::HOOK_OUTPUT;
use crate::nft::sets::Key;
use std::collections::{BTreeMap, BTreeSet};

const TABLE: &str = "cofferdam_budget";
/// A table with another comment is replaced whole.
const COMMENT: &str = "counts what is sent under budgets, schema 1";
const CHAIN: &str = "output";
/// Before everything else: nothing that others drop or pass early is left out.
const PRIORITY: i32 = -310;
/// The numbers of all budgets.
const BUDGETS: &str = "budgets";
/// Those with a window of an hour, each with its quota. `nft` takes no set named `hour`.
const HOURLY: &str = "hourly";
/// The same of a day.
const DAILY: &str = "daily";

const A: Register = Register::new(0);

/// One budget: what one pod may send under one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The priority of its sockets, at least [`Budget::FIRST`].
    pub number: u32,
    /// What holds for the hour; `None`: no limit. What the day drops counts here too, so an hour should end with its day.
    pub hour: Option<Window>,
    /// What holds for the day, beside the hour; `None`: no limit. What the hour drops does not count here.
    pub day: Option<Window>,
}

impl Budget {
    /// The lowest number. The kernel itself gives packets lower priorities, by their type of service.
    pub const FIRST: u32 = 16;
}

/// Bytes that a window allows and that were used.
///
/// Bytes are those of IP packets with their headers, before they are cut to the size of a link; what is sent again counts
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The packet that reaches it is dropped, and all after it. At most [`i64::MAX`].
    pub limit: u64,
    /// Used so far. The kernel counts it as no more than `limit`.
    pub used: u64,
}

/// Budgets in one network namespace.
#[derive(Debug)]
pub struct Budgets {
    socket: Socket,
}

impl Budgets {
    /// In the calling thread's network namespace. What an earlier process left there stays in force. Changes nothing.
    ///
    /// # Errors
    /// No privilege, or no nf_tables.
    pub fn open() -> Result<Self, ApplyError> {
        let mut socket =
            Socket::open().map_err(|errno| ApplyError::from_errno("opening nf_tables", errno))?;
        is_ours(&mut socket)?;
        Ok(Self { socket })
    }

    /// What is in force, with its use as the kernel has it now.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn read(&mut self) -> Result<BTreeMap<u32, Budget>, ApplyError> {
        let mut budgets = BTreeMap::new();
        if !is_ours(&mut self.socket)? {
            return Ok(budgets);
        }
        elements(&mut self.socket, TABLE, BUDGETS, |key, _| {
            if let Some(number) = number_of(key) {
                budgets.insert(number, Budget { number, hour: None, day: None });
            }
        })?;
        for (number, window) in windows(&mut self.socket, HOURLY)? {
            budgets.entry(number).and_modify(|budget| budget.hour = Some(window));
        }
        for (number, window) in windows(&mut self.socket, DAILY)? {
            budgets.entry(number).and_modify(|budget| budget.day = Some(window));
        }
        Ok(budgets)
    }

    /// Adds or replaces these budgets, with limit and use as given, and removes others, in one step; those not named
    /// stay. A number in both is set. Removing what is not there changes nothing.
    ///
    /// # Errors
    /// Nothing changed. [`ApplyError::Number`]: a budget's number is below [`Budget::FIRST`].
    pub fn change(&mut self, set: &[Budget], remove: &[u32]) -> Result<(), ApplyError> {
        if let Some(Budget { number, .. }) = set.iter().find(|budget| budget.number < Budget::FIRST) {
            return Err(ApplyError::Number { number: *number });
        }
        let ours = is_ours(&mut self.socket)?;
        if set.is_empty() && (remove.is_empty() || !ours) {
            return Ok(());
        }
        let mut batch = Batch::new(self.socket.messages());
        if !ours {
            make_table(&mut batch);
        }
        let set: BTreeMap<u32, &Budget> = set.iter().map(|budget| (budget.number, budget)).collect();
        let numbers: BTreeSet<u32> = set.keys().chain(remove).copied().collect();
        let gone: Vec<Key> = numbers.into_iter().map(key_of).collect();
        for name in [BUDGETS, HOURLY, DAILY] {
            // Adding what is there already changes nothing, and removing what is not there fails.
            batch.add(TABLE, name, gone.iter().map(Key::element));
            batch.remove(TABLE, name, gone.iter().map(Key::element));
        }
        let keys: Vec<Key> = set.keys().copied().map(key_of).collect();
        batch.add(TABLE, BUDGETS, keys.iter().map(Key::element));
        add_windows(&mut batch, HOURLY, set.values().map(|budget| (budget.number, budget.hour)));
        add_windows(&mut batch, DAILY, set.values().map(|budget| (budget.number, budget.day)));
        let (messages, acknowledged, doing) = batch.finish(TABLE);
        let sent = self.socket.transact(&messages, acknowledged);
        sent.map_err(|error| ApplyError::from_transact(error, &doing))
    }

    /// Removes all budgets and the table: nothing is counted or dropped any more.
    ///
    /// # Errors
    /// What was in force stays in force.
    pub fn uninstall(&mut self) -> Result<(), ApplyError> {
        let (messages, acknowledged) = delete_table(self.socket.messages(), TABLE);
        absent_is_fine(self.socket.transact(&messages, acknowledged))
    }
}

/// Whether there is a table as this process would make it.
fn is_ours(socket: &mut Socket) -> Result<bool, ApplyError> {
    Ok(table_comment(socket, TABLE)? == Some(comment_bytes(COMMENT)))
}

fn windows(socket: &mut Socket, set: &str) -> Result<Vec<(u32, Window)>, ApplyError> {
    let mut windows = vec![];
    elements(socket, TABLE, set, |key, element| {
        if let (Some(number), Some((limit, used))) = (number_of(key), quota(element)) {
            windows.push((number, Window { limit, used }));
        }
    })?;
    Ok(windows)
}

fn add_windows(batch: &mut Batch, set: &str, windows: impl Iterator<Item = (u32, Option<Window>)>) {
    let limited: Vec<(Key, Window)> =
        windows.filter_map(|(number, window)| Some((key_of(number), window?))).collect();
    // The kernel refuses more use than there is to use.
    let quotas = limited.iter().map(|(key, it)| (key.bytes(), it.limit, it.used.min(it.limit)));
    batch.add_quotas(TABLE, set, quotas);
}

fn make_table(batch: &mut Batch) {
    batch.replace_table(TABLE, COMMENT);
    for name in [BUDGETS, HOURLY, DAILY] {
        batch.new_set(TABLE, SetSpec { name, key: &[Part::Priority], map: false, shape: Shape::Hash });
    }
    batch.new_chain(TABLE, CHAIN, Some((HOOK_OUTPUT, PRIORITY)));
    for (index, rule) in rules().iter().enumerate() {
        batch.append_rule(TABLE, CHAIN, index, rule);
    }
}

fn rules() -> [Rule; 4] {
    let priority = || Rule::new().meta(Meta::Priority, A);
    let none = 0_u32.to_ne_bytes();
    [
        // Nearly everything on a node.
        priority().compare(A, Compare::Equal, &none).end(End::Accept),
        // To look a number up in these counts the packet. What tries again and again all hour must not use up the day.
        priority().found(HOURLY, A).counter().end(End::Drop),
        priority().found(DAILY, A).counter().end(End::Drop),
        // Queueing disciplines take the priority for a class.
        priority().found(BUDGETS, A).load(&none, A).set_priority(A).end(End::Accept),
    ]
}

/// Numbers are compared with what the kernel has in the byte order of the machine.
fn key_of(number: u32) -> Key {
    Key::of(&[&number.to_ne_bytes()])
}

fn number_of(key: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(key.try_into().ok()?))
}
