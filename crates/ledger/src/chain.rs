//! The chain: blocks of entries, each sealed by a hash over what is in it and over the block before.
//!
//! A block's content is the SHA-256 of its entries in order, each field with its length, texts in full. Its hash is the
//! SHA-256 of the block before, its number, the first and last entry, and its content. When old entries are forgotten
//! their block stays, so that the chain can still be followed; of such a block only the hash is checked.

use crate::brief::{self, Brief, Packer};
use crate::error::LedgerError;
use crate::query::Reader;
use crate::trail::{self, Trails};
use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Entries of one block.
pub(crate) const BLOCK: i64 = 4096;
/// After so many microseconds a block is sealed although it is not full, and no more often: blocks stay when their entries go.
pub(crate) const PATIENCE: u64 = 60_000_000;
/// What the first block follows.
const GENESIS: [u8; 32] = [0; 32];

/// What checking a ledger found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Blocks whose hash and content hold.
    pub blocks: u64,
    /// Blocks whose hash holds, and whose entries were forgotten.
    pub pruned: u64,
    /// Entries in blocks that hold.
    pub entries: u64,
    /// Entries after the last block, which nothing holds yet.
    pub unsealed: u64,
    /// Hash of the last block in hexadecimal digits: kept elsewhere, it tells that the chain's end was cut off.
    pub newest: Option<String>,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In which block.
    pub block: i64,
    /// What.
    pub what: String,
}

/// A block, as whoever keeps entries elsewhere needs it to tell that they were in the ledger. All hashes in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Number of the block, from 1.
    pub block: i64,
    /// Number of its first entry.
    pub first: i64,
    /// Number of its last entry.
    pub last: i64,
    /// Hash of its entries.
    pub content: String,
    /// Hash of the block before.
    pub previous: String,
    /// Its own hash.
    pub hash: String,
}

impl Seal {
    /// Whether its hash is that of what it says.
    #[must_use]
    pub fn holds(&self) -> bool {
        let (Ok(content), Ok(previous)) =
            (HEXLOWER.decode(self.content.as_bytes()), HEXLOWER.decode(self.previous.as_bytes()))
        else {
            return false;
        };
        let Self { block: number, first, last, .. } = *self;
        let block =
            Block { number, first, last, content, previous, hash: Vec::new(), is_pruned: false, newest: 0 };
        HEXLOWER.encode(&block.right_hash()) == self.hash
    }
}

#[derive(Clone, Debug)]
struct Block {
    number: i64,
    first: i64,
    last: i64,
    content: Vec<u8>,
    previous: Vec<u8>,
    hash: Vec<u8>,
    is_pruned: bool,
    /// The time of its newest entry, by which it is forgotten, and left out of what is asked of later times.
    newest: i64,
}

impl Block {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            first: row.get(1)?,
            last: row.get(2)?,
            content: row.get(3)?,
            previous: row.get(4)?,
            hash: row.get(5)?,
            is_pruned: row.get(6)?,
            newest: row.get(7)?,
        })
    }

    fn right_hash(&self) -> Vec<u8> {
        let mut context = Context::new(&SHA256);
        context.update(&self.previous);
        for number in [self.number, self.first, self.last] {
            context.update(&number.to_be_bytes());
        }
        context.update(&self.content);
        context.finish().as_ref().to_vec()
    }
}

const BLOCKS: &str = "SELECT number, first, last, content, previous, hash, pruned, newest FROM blocks";

/// Number, last entry and hash of the last block.
pub(crate) fn newest(connection: &Connection) -> rusqlite::Result<Option<(i64, i64, Vec<u8>)>> {
    let last = "SELECT number, last, hash FROM blocks ORDER BY number DESC LIMIT 1";
    connection.query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
}

/// Seals entries before `limit`: where there are enough of them, or those are to be sealed whose oldest is of such a time. Whether any
/// were.
pub(crate) fn seal(
    connection: &mut Connection,
    limit: Option<i64>,
    is_due: impl Fn(u64) -> bool,
) -> rusqlite::Result<bool> {
    let mut has_sealed = false;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    loop {
        let before = newest(&transaction)?;
        let (number, after, previous) = before.unwrap_or_else(|| (0, 0, GENESIS.to_vec()));
        let range = "SELECT count(*), max(id), min(id), min(time) FROM \
                     (SELECT id, time FROM entries WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3)";
        let limit = limit.unwrap_or(i64::MAX);
        let (count, last, first, oldest): (i64, Option<i64>, Option<i64>, Option<i64>) =
            transaction.prepare_cached(range)?.query_row(params![after, limit, BLOCK], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
        let (Some(last), Some(first), Some(oldest)) = (last, first, oldest) else { break };
        if count < BLOCK && !is_due(u64::try_from(oldest).unwrap_or(0)) {
            break;
        }
        let Content { digest: content, packed, trails, oldest, newest, .. } =
            content(&transaction, first, last)?;
        let (number, hash, is_pruned) = (number + 1, Vec::new(), false);
        let mut block = Block { number, first, last, content, previous, hash, is_pruned, newest };
        block.hash = block.right_hash();
        let add = "INSERT INTO blocks (number, first, last, newest, content, previous, hash) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        transaction.prepare_cached(add)?.execute(params![
            block.number,
            block.first,
            block.last,
            block.newest,
            block.content,
            block.previous,
            block.hash
        ])?;
        brief::keep(&transaction, number, oldest, &packed)?;
        trail::keep(&transaction, number, trails)?;
        has_sealed = true;
    }
    transaction.commit()?;
    Ok(has_sealed)
}

/// What entries are.
struct Content {
    digest: Vec<u8>,
    entries: u64,
    /// Their numbers, packed.
    packed: Vec<u8>,
    /// The same of each source.
    trails: Trails,
    /// The least and the greatest of their times.
    oldest: i64,
    newest: i64,
}

fn content(connection: &Connection, first: i64, last: i64) -> rusqlite::Result<Content> {
    let all = format!(
        "SELECT {}, e.detail FROM entries e WHERE e.id BETWEEN ?1 AND ?2 ORDER BY e.id",
        brief::SELECTED
    );
    let mut statement = connection.prepare_cached(&all)?;
    let mut rows = statement.query([first, last])?;
    let mut find = connection.prepare_cached("SELECT text FROM words WHERE id = ?1")?;
    // Most entries of a block have their words in common.
    let mut words: HashMap<i64, Option<Vec<u8>>> = HashMap::new();
    let (mut context, mut entries, mut packer) = (Context::new(&SHA256), 0, Packer::default());
    let (mut oldest, mut newest, mut trails) = (i64::MAX, i64::MIN, Trails::default());
    while let Some(row) = rows.next()? {
        let it = Brief::read(row)?;
        packer.add(&it, false);
        trails.add(&it, row.get_ref(14)? != ValueRef::Null);
        let Brief { id, time, kind, verdict, port, protocol, count, sent, received, .. } = it;
        (oldest, newest) = (oldest.min(time), newest.max(time));
        for number in [id, time, kind, verdict, port, protocol, count, sent, received] {
            context.update(&number.to_be_bytes());
        }
        for number in [it.node, it.source, it.destination, it.rule, it.reason] {
            let word = match words.entry(number) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let read = |row: &Row<'_>| Ok(row.get_ref(0)?.as_bytes_or_null()?.map(<[u8]>::to_vec));
                    new.insert(find.query_row([number], read).optional()?.flatten())
                }
            };
            hash_text(&mut context, word.as_deref());
        }
        hash_text(&mut context, row.get_ref(14)?.as_bytes_or_null()?);
        entries += 1;
    }
    let digest = context.finish().as_ref().to_vec();
    Ok(Content { digest, entries, packed: packer.bytes(), trails, oldest, newest })
}

fn hash_text(context: &mut Context, text: Option<&[u8]>) {
    match text {
        Some(text) => {
            context.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(text);
        }
        // No text is as long.
        None => context.update(&u64::MAX.to_be_bytes()),
    }
}

impl Reader {
    /// Follows the whole chain and hashes all entries anew. Reads the whole file.
    ///
    /// # Errors
    /// The file cannot be read to its end; what is wrong in what can be read is no error but a [`Fault`].
    pub fn verify(&self) -> Result<Verification, LedgerError> {
        self.reading("checking it", |connection| {
            // One view of the file, whatever is written meanwhile.
            let view = connection.unchecked_transaction()?;
            verify(&view)
        })
    }

    /// The blocks that have these entries, in order. Entries that no block has yet are in none of them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn seals(&self, entries: &[i64]) -> Result<Vec<Seal>, LedgerError> {
        let mut entries = entries.to_vec();
        entries.sort_unstable();
        let (Some(least), Some(most)) = (entries.first(), entries.last()) else { return Ok(Vec::new()) };
        self.reading("looking for blocks", |connection| {
            let query = format!("{BLOCKS} WHERE last >= ?1 AND first <= ?2 ORDER BY number");
            let mut statement = connection.prepare(&query)?;
            let mut rows = statement.query([least, most])?;
            let mut seals = Vec::new();
            while let Some(row) = rows.next()? {
                let block = Block::of(row)?;
                let from = entries.partition_point(|entry| *entry < block.first);
                if entries.get(from).is_some_and(|entry| *entry <= block.last) {
                    let (content, previous, hash) = (
                        HEXLOWER.encode(&block.content),
                        HEXLOWER.encode(&block.previous),
                        HEXLOWER.encode(&block.hash),
                    );
                    let Block { number, first, last, .. } = block;
                    seals.push(Seal { block: number, first, last, content, previous, hash });
                }
            }
            Ok(seals)
        })
    }

    /// Whether a block has this hash, in hexadecimal digits.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn has_block(&self, hash: &str) -> Result<bool, LedgerError> {
        let find = "SELECT count(*) > 0 FROM blocks WHERE lower(hex(hash)) = lower(?1)";
        self.reading("looking for a block", |connection| connection.query_row(find, [hash], |row| row.get(0)))
    }
}

fn verify(connection: &Connection) -> rusqlite::Result<Verification> {
    let mut found = Verification { blocks: 0, pruned: 0, entries: 0, unsealed: 0, newest: None, fault: None };
    let mut statement = connection.prepare(&format!("{BLOCKS} ORDER BY number"))?;
    let mut rows = statement.query([])?;
    let (mut previous, mut last, mut number) = (GENESIS.to_vec(), i64::MIN, 0);
    while let Some(row) = rows.next()? {
        let block = Block::of(row)?;
        let fault = if block.number != number + 1 {
            Some(format!("the block before it is missing: it follows block {number}"))
        } else if block.previous != previous {
            Some("it does not follow the block before".to_owned())
        } else if block.hash != block.right_hash() {
            Some("its hash is not the hash of what it says".to_owned())
        } else if block.first <= last || block.last < block.first {
            Some("its entries overlap with those of the block before".to_owned())
        } else {
            None
        };
        let fault = match fault {
            Some(fault) => Some(fault),
            None => fault_inside(connection, &block, last, &mut found)?,
        };
        if let Some(what) = fault {
            found.fault = Some(Fault { block: block.number, what });
            return Ok(found);
        }
        (previous, last, number) = (block.hash.clone(), block.last, block.number);
        found.newest = Some(HEXLOWER.encode(&block.hash));
    }
    let unsealed: i64 =
        connection.query_row("SELECT count(*) FROM entries WHERE id > ?1", [last], |row| row.get(0))?;
    found.unsealed = u64::try_from(unsealed).unwrap_or(0);
    Ok(found)
}

fn fault_inside(
    connection: &Connection,
    block: &Block,
    before: i64,
    found: &mut Verification,
) -> rusqlite::Result<Option<String>> {
    let between = "SELECT count(*) FROM entries WHERE id > ?1 AND id < ?2";
    let strangers: i64 = connection.query_row(between, [before, block.first], |row| row.get(0))?;
    if strangers > 0 {
        return Ok(Some(format!("{strangers} entries lie before it that no block has")));
    }
    let Content { digest, entries, packed, trails, oldest, newest } =
        content(connection, block.first, block.last)?;
    if block.is_pruned {
        found.pruned += 1;
        return Ok(match (entries, found.blocks) {
            (0, 0) => None,
            (0, _) => Some("its entries are forgotten, and older ones are not".to_owned()),
            _ => Some("it is said to be forgotten, and has entries".to_owned()),
        });
    }
    if digest != block.content {
        let (first, last) = (block.first, block.last);
        return Ok(Some(format!(
            "entries {first} to {last} are not those that were sealed: something was changed, removed or added"
        )));
    }
    if block.newest != newest {
        return Ok(Some(
            "the time by which it is forgotten, and left out of sums, is not that of its newest entry"
                .to_owned(),
        ));
    }
    if brief::kept(connection, block.number)?.is_some_and(|kept| kept != (oldest, packed)) {
        return Ok(Some("what sums are made of does not say what its entries say".to_owned()));
    }
    if !trail::holds(connection, block.number, trails)? {
        return Ok(Some("what a source's history is read from does not say what its entries say".to_owned()));
    }
    found.blocks += 1;
    found.entries += entries;
    Ok(None)
}
