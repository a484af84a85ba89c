//! The stack and memo of a pickle, as far as names are concerned.
//!
//! Enters: opcodes with their arguments. Leaves: what they import. Guarantees: at most [`MAX_STACK`] values, [`MAX_MEMO`]
//! remembered ones and [`MAX_KEPT`] bytes of texts. Does not: make objects; all that is no text is alike.

use super::MAX_NAME;
use std::collections::HashMap;
use std::sync::Arc;

/// Values on the stack.
const MAX_STACK: usize = 1 << 16;

/// Values remembered. The memo of a large model has some hundred thousand, most of them no texts, which cost nothing.
const MAX_MEMO: usize = 1 << 18;

/// Bytes of the texts in the memo.
const MAX_KEPT: usize = 1 << 22;

/// What an opcode does, to who watches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Next,
    /// Module and name.
    Import(String, String),
    /// It imports what cannot be told, or nobody can follow it.
    Unreadable,
    Stop,
}

#[derive(Clone, Debug)]
enum Value {
    Text(Arc<str>),
    Mark,
    Other,
}

#[derive(Debug, Default)]
pub(super) struct Machine {
    stack: Vec<Value>,
    memo: HashMap<u32, Arc<str>>,
    /// How many values `MEMOIZE` has numbered, with those that are put by number.
    memoized: u32,
    kept: usize,
    /// What the memo forgot: a text that comes from it cannot be told.
    is_over: bool,
}

impl Machine {
    pub(super) fn step(&mut self, opcode: u8, argument: &[u8]) -> Step {
        match opcode {
            b'.' => return Step::Stop,
            b'c' | b'i' => return self.named(opcode, argument),
            0x93 => return self.stack_global(),
            // Numbers of a registry that is not in the pickle.
            0x82..=0x84 => {
                self.put(Value::Other);
                return Step::Unreadable;
            }
            b'(' => self.put(Value::Mark),
            b'2' => {
                let top = self.stack.last().cloned().unwrap_or(Value::Other);
                self.put(top);
            }
            b'1' | b'e' | b'u' | 0x90 => self.pop_mark(),
            b'd' | b'l' | b't' | b'o' | 0x91 => {
                self.pop_mark();
                self.put(Value::Other);
            }
            b'0' | b'a' | b'b' => self.pop(1),
            b's' => self.pop(2),
            b'Q' | 0x85 => self.replace(1),
            b'R' | 0x81 | 0x86 => self.replace(2),
            0x87 | 0x92 => self.replace(3),
            b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d => self.put(text(opcode, argument)),
            b'g' | b'h' | b'j' => self.get(number(opcode, argument)),
            b'p' | b'q' | b'r' => self.memoize(number(opcode, argument)),
            0x94 => self.memoize(Some(self.memoized)),
            // Protocol, frame, read-only: nothing on the stack changes.
            0x80 | 0x95 | 0x98 => {}
            _ => self.put(Value::Other),
        }
        if self.stack.len() >= MAX_STACK { self.overflow() } else { Step::Next }
    }

    /// About how many bytes it holds.
    pub(super) fn weight(&self) -> usize {
        /// Of an entry of the memo beside its text.
        const ENTRY: usize = 48;
        self.stack.len() * size_of::<Value>() + self.memo.len() * ENTRY + self.kept
    }

    fn overflow(&mut self) -> Step {
        self.stack.clear();
        Step::Unreadable
    }

    fn put(&mut self, value: Value) {
        self.stack.push(value);
    }

    fn pop(&mut self, count: usize) {
        self.stack.truncate(self.stack.len().saturating_sub(count));
    }

    fn replace(&mut self, count: usize) {
        self.pop(count);
        self.put(Value::Other);
    }

    fn pop_mark(&mut self) {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        self.stack.truncate(mark.unwrap_or(0));
    }

    /// `GLOBAL` and `INST`, which name it themselves.
    fn named(&mut self, opcode: u8, argument: &[u8]) -> Step {
        if opcode == b'i' {
            self.pop_mark();
        }
        self.put(Value::Other);
        let lines = std::str::from_utf8(argument).ok().filter(|_| argument.len() < 2 * MAX_NAME);
        match lines.and_then(|lines| lines.strip_suffix('\n')?.split_once('\n')) {
            Some((module, name)) => Step::Import(module.to_owned(), name.to_owned()),
            None => Step::Unreadable,
        }
    }

    fn stack_global(&mut self) -> Step {
        let (name, module) = (self.stack.pop(), self.stack.pop());
        self.put(Value::Other);
        match (module, name) {
            (Some(Value::Text(module)), Some(Value::Text(name))) => {
                Step::Import(module.to_string(), name.to_string())
            }
            _ => Step::Unreadable,
        }
    }

    fn get(&mut self, key: Option<u32>) {
        let known = key.and_then(|key| self.memo.get(&key)).filter(|_| !self.is_over);
        let value = known.map_or(Value::Other, |text| Value::Text(Arc::clone(text)));
        self.put(value);
    }

    fn memoize(&mut self, key: Option<u32>) {
        self.memoized = self.memoized.saturating_add(1);
        let Some(key) = key else { return };
        if let Some(before) = self.memo.remove(&key) {
            self.kept = self.kept.saturating_sub(before.len());
        }
        if let Some(Value::Text(text)) = self.stack.last() {
            self.kept += text.len();
            self.is_over |= self.kept > MAX_KEPT || self.memo.len() >= MAX_MEMO;
            if self.is_over {
                self.memo.clear();
                self.kept = 0;
            } else {
                self.memo.insert(key, Arc::clone(text));
            }
        }
    }
}

/// A text that can be read without knowing Python's escapes; any other value cannot be a name.
fn text(opcode: u8, argument: &[u8]) -> Value {
    let line = || argument.strip_suffix(b"\n").filter(|line| !line.contains(&b'\\'));
    let bytes = match opcode {
        b'S' => line().and_then(|line| line.trim_ascii().get(1..line.trim_ascii().len().saturating_sub(1))),
        b'V' => line(),
        _ => Some(argument),
    };
    let text =
        bytes.filter(|bytes| bytes.len() <= MAX_NAME).and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.map_or(Value::Other, |text| Value::Text(text.into()))
}

/// The number in the argument of a `GET` or `PUT`.
fn number(opcode: u8, argument: &[u8]) -> Option<u32> {
    match (opcode, argument) {
        (b'g' | b'p', line) => std::str::from_utf8(line).ok()?.trim().parse().ok(),
        (_, [byte]) => Some(u32::from(*byte)),
        (_, bytes) => Some(u32::from_le_bytes(bytes.try_into().ok()?)),
    }
}
