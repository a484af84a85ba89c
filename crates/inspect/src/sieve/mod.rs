//! Answers on their way to whoever asked, without what must not leave.
//!
//! Enters: the body of an answer, decoded, split anywhere, its [`Form`], and what is to be done about what ([`Wanted`]). Leaves:
//! pieces of the body that may go on, and [`Finding`]s. Guarantees: what a model writes piece by piece is searched as the one text
//! that it is, each answer of a stream by itself; an event goes on once all its texts are judged, and events keep their
//! order; what is masked leaves JSON that is JSON, and events that are events; what cannot be read is an error or is told,
//! as the caller wants, never passed in silence. Memory is bounded by what is held back and by the largest event. Where the
//! body is split changes nothing. Does not: undo content codings, know clocks, or decide what becomes of the connection.

mod channel;
mod leaves;
mod prompt;
mod unit;

pub use prompt::{MOST_WORDS, Prompt, SHINGLE};

use crate::leak::{LeakClass, LeakRules, Scanner, Span, Tail};
use crate::refusal::{Boundary, Framing};
use channel::Channel;
use leaves::LEAST;
use policy::LeakAction;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use unit::{Of, Placed, Unit};

/// Bytes of one event, one line, one message.
pub const MAX_UNIT: usize = 1 << 20;
/// Bytes of events that wait for each other; beyond, the first are judged as if their texts were over.
pub const MAX_PENDING: usize = 256 * 1024;
/// Texts that are written at once.
pub const MAX_TEXTS: usize = 64;
/// Events without a piece of a text after which that text is taken to pause; one more for each text that is written at the same time.
pub const STALE: u64 = 32;
/// Kinds of findings that are kept.
const MAX_FINDINGS: usize = 32;
/// Bytes from which on a text may have an encoded one in it.
const ENCODED: usize = 64;

/// How a body is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON value: nothing goes on before all of it is there.
    Json,
    /// Server-sent events.
    Events,
    /// One JSON value a line.
    Lines,
    /// Text.
    Text,
    /// Each push is a message of its own: of a WebSocket.
    Messages,
}

/// What is done about what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Keys, tokens, passwords.
    pub secrets: Option<LeakAction>,
    /// Numbers of people and their money; many e-mail addresses.
    pub personal: Option<LeakAction>,
    /// Marks.
    pub canaries: Option<LeakAction>,
    /// The request's own system prompt.
    pub prompt: Option<LeakAction>,
}

/// What kind of thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A key, token or password.
    Secret,
    /// Data of a person.
    Personal,
    /// A mark.
    Canary,
    /// Words of the system prompt.
    Prompt,
}

/// What was found, without what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's id; `system-prompt`.
    pub rule: &'static str,
    /// What kind of thing.
    pub kind: Kind,
    /// Whether everything that its kind is checked by holds. What is not certain is only told.
    pub is_certain: bool,
    /// What was done.
    pub action: LeakAction,
    /// How often.
    pub count: u32,
}

/// Why an answer must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Something was found, by this rule.
    Leak(&'static str),
    /// It cannot be looked at, and why.
    Unread(&'static str),
}

/// How answers are looked at.
#[derive(Debug)]
pub struct Looking {
    /// What is looked for.
    pub rules: Arc<LeakRules>,
    /// What is done.
    pub wanted: Wanted,
    /// What the operator told the model.
    pub prompt: Prompt,
    /// Bytes of each text that may be held back.
    pub hold: usize,
    /// Whether what cannot be read goes on, and is told.
    pub is_lenient: bool,
    /// Whether texts go on from event to event; not so in JSON-RPC, where each message is whole.
    pub joins: bool,
    /// Bytes of a body that is held whole.
    pub most: usize,
}

/// From the JSON of a message to other JSON; `None`: it stays.
pub type Change = dyn FnMut(&str) -> Option<String> + Send;

/// What is changed in each message of a body before it is looked at.
pub struct Edit(pub Box<Change>);

impl std::fmt::Debug for Edit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Edit")
    }
}

/// A piece that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether it was not looked at.
    pub is_opaque: bool,
}

/// Looks through one answer.
#[derive(Debug)]
pub struct Sieve {
    looking: Looking,
    form: Form,
    edit: Option<Edit>,
    boundary: Option<Boundary>,
    /// Of the unit under way.
    input: Vec<u8>,
    pending: VecDeque<Unit>,
    pending_bytes: usize,
    texts: HashMap<u64, Channel>,
    units: u64,
    findings: Vec<Finding>,
    unread: Option<&'static str>,
    /// Nothing more of it is looked at.
    is_let_through: bool,
}

impl Sieve {
    /// For an answer of this form.
    pub fn new(looking: Looking, form: Form) -> Self {
        let boundary = match form {
            Form::Events => Some(Boundary::new(Framing::Sse)),
            Form::Lines => Some(Boundary::new(Framing::NdJson)),
            Form::Json | Form::Text | Form::Messages => None,
        };
        Self {
            looking,
            form,
            edit: None,
            boundary,
            input: Vec::new(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            texts: HashMap::new(),
            units: 0,
            findings: Vec::new(),
            unread: None,
            is_let_through: false,
        }
    }

    /// Has every message changed.
    #[must_use]
    pub fn editing(self, edit: Edit) -> Self {
        Self { edit: Some(edit), ..self }
    }

    /// What was found so far, each kind once, in the order of their rules.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Why something of it was not looked at, where that is allowed.
    pub fn unread(&self) -> Option<&'static str> {
        self.unread
    }

    /// Whether something waits for what follows.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes the next bytes; what may go on is added to `out`.
    ///
    /// # Errors
    /// Nothing more may go on.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Piece>) -> Result<(), Stop> {
        if self.is_let_through {
            out.push(opaque(bytes));
            return Ok(());
        }
        let taken = self.look(bytes, out);
        self.allowed(taken, out)
    }

    /// Takes what cannot be looked at.
    ///
    /// # Errors
    /// That may not go on.
    pub fn push_opaque(&mut self, bytes: &[u8], why: &'static str, out: &mut Vec<Piece>) -> Result<(), Stop> {
        if !self.looking.is_lenient {
            return Err(Stop::Unread(why));
        }
        self.unread.get_or_insert(why);
        self.put(Unit::opaque(bytes));
        self.release(out);
        Ok(())
    }

    /// Nothing comes for a while: all that is whole is judged as if nothing followed.
    ///
    /// # Errors
    /// Nothing more may go on.
    pub fn flush(&mut self, out: &mut Vec<Piece>) -> Result<(), Stop> {
        let keys: Vec<u64> = self.texts.keys().copied().collect();
        keys.into_iter().try_for_each(|key| self.settle(key, false))?;
        self.release(out);
        Ok(())
    }

    /// The answer is over.
    ///
    /// # Errors
    /// What is left may not go on.
    pub fn end(&mut self, out: &mut Vec<Piece>) -> Result<(), Stop> {
        let taken = self.last(out);
        self.allowed(taken, out)
    }

    fn last(&mut self, out: &mut Vec<Piece>) -> Result<(), Stop> {
        if !self.input.is_empty() {
            self.unit()?;
        }
        let keys: Vec<u64> = self.texts.keys().copied().collect();
        keys.into_iter().try_for_each(|key| self.settle(key, true))?;
        self.release(out);
        Ok(())
    }

    /// Where what is not read may go on, all that is there does.
    fn allowed(&mut self, taken: Result<(), Stop>, out: &mut Vec<Piece>) -> Result<(), Stop> {
        match taken {
            Err(Stop::Unread(why)) if self.looking.is_lenient => {
                (self.unread, self.is_let_through) = (Some(why), true);
                let pending = std::mem::take(&mut self.pending);
                self.pending_bytes = 0;
                // What was found before stays cut out.
                out.extend(pending.iter().map(|unit| opaque(&unit.written(self.form, &self.texts))));
                out.push(opaque(&std::mem::take(&mut self.input)));
                Ok(())
            }
            other => other,
        }
    }

    fn look(&mut self, bytes: &[u8], out: &mut Vec<Piece>) -> Result<(), Stop> {
        let most = if self.form == Form::Json { self.looking.most } else { MAX_UNIT };
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match &mut self.boundary {
                Some(boundary) => boundary.push(rest),
                None => rest.len(),
            };
            let (piece, behind) = rest.split_at_checked(length.max(1)).unwrap_or((rest, &[]));
            self.input.extend_from_slice(piece);
            rest = behind;
            if self.input.len() > most {
                // What did not come to be looked at goes on with what did, if anything does.
                self.input.extend_from_slice(rest);
                return Err(Stop::Unread("it has a piece that is larger than what is held"));
            }
            let is_whole = match self.form {
                Form::Events | Form::Lines => self.boundary.as_ref().is_some_and(Boundary::is_between),
                Form::Text | Form::Messages => true,
                Form::Json => false,
            };
            if is_whole {
                if let Err(stop) = self.unit() {
                    self.input.extend_from_slice(rest);
                    return Err(stop);
                }
                self.release(out);
            }
        }
        Ok(())
    }

    /// What is there is a unit.
    fn unit(&mut self) -> Result<(), Stop> {
        self.units += 1;
        let raw = std::mem::take(&mut self.input);
        let read = Unit::read(&raw, self.form, self.looking.joins, self.edit.as_mut());
        let (mut unit, rest) = match read {
            Ok(read) => read,
            Err(why) => {
                self.input = raw;
                return Err(Stop::Unread(why));
            }
        };
        self.input = rest;
        let searched = self.search(&mut unit);
        self.put(unit);
        searched?;
        self.settle_what_waits()
    }

    fn search(&mut self, unit: &mut Unit) -> Result<(), Stop> {
        for leaf in &mut unit.leaves {
            leaf.of = match leaf.key {
                Some(key) => Of::Joined(key, self.joined(key, &leaf.text)?),
                None => Of::Alone(self.alone(&leaf.text, leaf.is_value)?),
            };
        }
        Ok(())
    }

    fn put(&mut self, unit: Unit) {
        self.pending_bytes += unit.raw.len();
        self.pending.push_back(unit);
    }

    /// Texts that pause, and those for which too much waits.
    fn settle_what_waits(&mut self) -> Result<(), Stop> {
        let is_open = |text: &Channel| self.pauses(text) && text.waits(&self.looking);
        let mut keys: Vec<u64> =
            self.texts.iter().filter(|(_, text)| is_open(text)).map(|(key, _)| *key).collect();
        if self.pending_bytes > MAX_PENDING {
            keys.extend(self.pending.iter().flat_map(Unit::keys));
        }
        keys.into_iter().try_for_each(|key| self.settle(key, false))
    }

    /// Whether nothing came of a text for long.
    fn pauses(&self, text: &Channel) -> bool {
        self.units.saturating_sub(text.last) > STALE + self.texts.len() as u64
    }

    /// Forgets texts that pause and wait for nothing, as those are that are over.
    fn forget_paused(&mut self) -> Result<(), Stop> {
        let pending: HashSet<u64> = self.pending.iter().flat_map(Unit::keys).collect();
        let is_over = |(key, text): &(&u64, &Channel)| self.pauses(text) && !pending.contains(*key);
        let keys: Vec<u64> = self.texts.iter().filter(is_over).map(|(key, _)| *key).collect();
        for key in keys {
            self.settle(key, true)?;
            self.texts.remove(&key);
        }
        Ok(())
    }

    /// Searches a piece of a text; where it stands in that text.
    fn joined(&mut self, key: u64, text: &str) -> Result<Range<u64>, Stop> {
        if self.texts.len() >= MAX_TEXTS && !self.texts.contains_key(&key) {
            self.forget_paused()?;
        }
        if self.texts.len() >= MAX_TEXTS && !self.texts.contains_key(&key) {
            return Err(Stop::Unread("it has more texts at once than are looked at"));
        }
        let rules = &self.looking.rules;
        let channel = self.texts.entry(key).or_insert_with(|| Channel::new(rules));
        let (range, found) = channel.push(&self.looking, text.as_bytes(), self.units);
        self.judge(key, found)?;
        Ok(range)
    }

    /// Judges all of a text that is there.
    fn settle(&mut self, key: u64, is_over: bool) -> Result<(), Stop> {
        let Some(channel) = self.texts.get_mut(&key) else { return Ok(()) };
        let found = channel.settle(&self.looking, is_over);
        self.judge(key, found)
    }

    fn judge(&mut self, key: u64, found: Vec<Hit>) -> Result<(), Stop> {
        for hit in found {
            if let Some(cut) = self.cut(&hit, true)?
                && let Some(channel) = self.texts.get_mut(&key)
            {
                channel.cut(cut)?;
            }
        }
        Ok(())
    }

    /// Searches a text that is whole.
    fn alone(&mut self, text: &str, is_value: bool) -> Result<Vec<Cut>, Stop> {
        if text.len() < LEAST {
            return Ok(Vec::new());
        }
        let (looking, mut found) = (&self.looking, Vec::new());
        let mut tail = Tail::default();
        let mut tell = |span: Span| found.push(Hit::of(&span));
        tail.push(&looking.rules, text.as_bytes(), looking.hold, &mut tell);
        tail.flush(&looking.rules, &mut tell);
        if text.len() >= ENCODED || text.contains('%') {
            let mut scanner = Scanner::new(Arc::clone(&looking.rules));
            scanner.push(text.as_bytes());
            scanner.end();
            found.extend(channel::encoded(&scanner));
        }
        if !looking.prompt.is_empty() {
            let mut echo = prompt::Echo::default();
            let mut tell = |range| found.push(Hit::prompt(range));
            echo.push(&looking.prompt, text.as_bytes(), &mut tell);
            echo.flush(&looking.prompt, &mut tell);
        }
        let mut cuts = Vec::new();
        for hit in found {
            cuts.extend(self.cut(&hit, is_value)?);
        }
        Ok(cuts)
    }

    /// Tells of a hit, and what is to be cut out for it.
    fn cut(&mut self, hit: &Hit, may_mask: bool) -> Result<Option<Cut>, Stop> {
        let wanted = &self.looking.wanted;
        let action = match hit.kind {
            Kind::Secret => wanted.secrets,
            Kind::Personal => wanted.personal,
            Kind::Canary => wanted.canaries,
            Kind::Prompt => wanted.prompt,
        };
        let Some(action) = action else { return Ok(None) };
        let action = match action {
            _ if !hit.is_certain => LeakAction::Report,
            LeakAction::Mask if !may_mask || hit.range.is_none() => LeakAction::Block,
            LeakAction::Report | LeakAction::Block | LeakAction::Mask => action,
        };
        self.tell(hit, action);
        match (action, &hit.range) {
            (LeakAction::Block, _) => Err(Stop::Leak(hit.rule)),
            (LeakAction::Mask, Some(range)) => Ok(Some(Cut { range: range.clone(), marker: hit.marker() })),
            (LeakAction::Mask, None) | (LeakAction::Report, _) => Ok(None),
        }
    }

    fn tell(&mut self, hit: &Hit, action: LeakAction) {
        let is_same = |known: &&mut Finding| {
            (known.rule, known.kind, known.is_certain, known.action)
                == (hit.rule, hit.kind, hit.is_certain, action)
        };
        if let Some(known) = self.findings.iter_mut().find(is_same) {
            known.count = known.count.saturating_add(1);
        } else if self.findings.len() < MAX_FINDINGS {
            let Hit { rule, kind, is_certain, .. } = *hit;
            let at = self.findings.partition_point(|known| known.rule <= rule);
            self.findings.insert(at, Finding { rule, kind, is_certain, action, count: 1 });
        }
    }

    /// Gives on what is judged, in order.
    fn release(&mut self, out: &mut Vec<Piece>) {
        let looking = &self.looking;
        while let Some(unit) = self.pending.front() {
            let is_judged = |leaf: &Placed| match &leaf.of {
                Of::Joined(key, range) => {
                    self.texts.get(key).is_none_or(|text| range.end <= text.judged(looking))
                }
                Of::Alone(_) => true,
            };
            if !unit.leaves.iter().all(is_judged) {
                return;
            }
            let Some(unit) = self.pending.pop_front() else { return };
            self.pending_bytes = self.pending_bytes.saturating_sub(unit.raw.len());
            let bytes = unit.written(self.form, &self.texts);
            for leaf in &unit.leaves {
                if let Of::Joined(key, range) = &leaf.of
                    && let Some(text) = self.texts.get_mut(key)
                {
                    text.given(range.end);
                }
            }
            out.push(Piece { bytes, is_opaque: unit.is_opaque });
        }
    }
}

fn opaque(bytes: &[u8]) -> Piece {
    Piece { bytes: bytes.to_vec(), is_opaque: true }
}

/// What is cut out of a text, and what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    range: Range<u64>,
    marker: String,
}

/// Something that was found.
#[derive(Clone, Debug)]
struct Hit {
    rule: &'static str,
    kind: Kind,
    class: Option<LeakClass>,
    is_certain: bool,
    /// Where; `None`: it cannot be cut out.
    range: Option<Range<u64>>,
}

impl Hit {
    fn of(span: &Span) -> Self {
        let range = span.class.is_text().then(|| span.range.clone());
        Self { range, ..Self::of_class(span.rule, span.class, span.is_confirmed) }
    }

    fn of_class(rule: &'static str, class: LeakClass, is_certain: bool) -> Self {
        let kind = match class {
            LeakClass::Pii | LeakClass::Emails => Kind::Personal,
            LeakClass::Canary(_) => Kind::Canary,
            // Anything may be in what is packed and was not undone.
            LeakClass::Secret | LeakClass::File(_) | LeakClass::Opaque | LeakClass::Bomb => Kind::Secret,
        };
        Self { rule, kind, class: Some(class), is_certain, range: None }
    }

    fn prompt(range: Range<u64>) -> Self {
        Self { rule: "system-prompt", kind: Kind::Prompt, class: None, is_certain: true, range: Some(range) }
    }

    fn marker(&self) -> String {
        match self.class {
            Some(class) => crate::rewrite::marker(self.rule, class),
            None => "[system prompt removed]".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
