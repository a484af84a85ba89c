//! What a Python pickle would import, read off its opcodes as they arrive, without running it.
//!
//! Enters: bytes of a pickle, split anywhere, and what may follow it in the same file. Leaves: every import that is not
//! harmless ([`Import`]), as soon as its opcode is there: a pickle acts before its end. Guarantees: bounded stack, memo and
//! names; what is beyond the bounds or cannot be read is told of as unreadable. Of what may be no pickle at all
//! ([`Pickles::guess`], and what follows a pickle without saying that it is one) only that counts which no other file would
//! say by chance. Does not: follow what imported things do.
//! Source: CPython `Lib/pickletools.py`.

mod imports;
mod machine;

pub use imports::{Threat, threat};

use machine::{Machine, Step};

/// Longest line or text argument that is kept; a longer text is skipped and cannot be a name.
const MAX_NAME: usize = 512;

/// Imports that are kept.
pub const MAX_IMPORTS: usize = 64;

/// Something that a pickle imports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// As the pickle names it; `?` where that cannot be read.
    pub module: String,
    /// Likewise.
    pub name: String,
    /// How bad that is.
    pub threat: Threat,
}

/// How an opcode's argument is laid out.
#[derive(Clone, Copy, Debug)]
enum Argument {
    /// So many bytes.
    Fixed(usize),
    /// So many lines.
    Lines(usize),
    /// A text or bytes behind a length of so many bytes.
    Counted(usize),
}

#[derive(Debug)]
enum State {
    /// An opcode comes next.
    Opcode,
    /// The argument of an opcode, as far as it came.
    Argument(u8, Argument),
    /// So many bytes of a text, kept if it is short.
    Body(u8, u64),
    /// A pickle may begin.
    Between,
    Done,
}

/// Reads pickles, one behind the other.
#[derive(Debug)]
pub struct Pickles {
    state: State,
    argument: Vec<u8>,
    machine: Machine,
    imports: Vec<Import>,
    is_cut: bool,
    pickles: usize,
    /// Whether the one that is read is known to be a pickle.
    is_sure: bool,
    /// What counts once it is.
    maybe: Vec<Import>,
}

impl Default for Pickles {
    fn default() -> Self {
        Self::new()
    }
}

impl Pickles {
    /// At the beginning of a pickle.
    pub fn new() -> Self {
        Self {
            state: State::Opcode,
            argument: Vec::new(),
            machine: Machine::default(),
            imports: Vec::new(),
            is_cut: false,
            pickles: 0,
            is_sure: true,
            maybe: Vec::new(),
        }
    }

    /// At the beginning of what may be a pickle.
    pub fn guess() -> Self {
        Self { state: State::Between, ..Self::new() }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(first) = rest.first().copied() {
            let taken = match self.state {
                State::Done => return,
                State::Opcode => {
                    self.opcode(first);
                    1
                }
                State::Between => {
                    // Raw numbers may follow as well. Those of the first protocols do not say what they are.
                    self.is_sure = false;
                    self.state = State::Opcode;
                    0
                }
                State::Argument(opcode, argument) => self.gather(opcode, argument, rest),
                State::Body(opcode, left) => self.body(opcode, left, rest),
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// Imports that are not harmless, in the order of the pickle, each once.
    pub fn imports(&self) -> &[Import] {
        &self.imports
    }

    /// Whether there were more than [`MAX_IMPORTS`].
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether nothing of what follows is a pickle.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// About how many bytes it holds.
    pub fn weight(&self) -> usize {
        self.machine.weight() + (self.imports.len() + self.maybe.len()) * size_of::<Import>()
    }

    fn opcode(&mut self, opcode: u8) {
        self.argument.clear();
        match argument_of(opcode) {
            Some(Argument::Fixed(0)) => self.run(opcode),
            Some(argument) => self.state = State::Argument(opcode, argument),
            None => self.broken(),
        }
    }

    fn gather(&mut self, opcode: u8, argument: Argument, bytes: &[u8]) -> usize {
        let wanted = match argument {
            Argument::Fixed(length) | Argument::Counted(length) => length,
            Argument::Lines(lines) => return self.lines(opcode, lines, bytes),
        };
        let taken = bytes.len().min(wanted.saturating_sub(self.argument.len()));
        self.argument.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.argument.len() < wanted {
            return taken;
        }
        if matches!(argument, Argument::Fixed(_)) {
            self.run(opcode);
            return taken;
        }
        let length = self.argument.iter().rev().fold(0, |length: u64, byte| length << 8 | u64::from(*byte));
        self.argument.clear();
        self.state = State::Body(opcode, length);
        if length == 0 {
            self.run(opcode);
        }
        taken
    }

    fn lines(&mut self, opcode: u8, lines: usize, bytes: &[u8]) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            if self.argument.len() < 2 * MAX_NAME {
                self.argument.push(*byte);
            } else if *byte == b'\n' {
                // Its length makes it no name, but where it ends must be known.
                self.argument.extend_from_slice(b"\n");
            }
            if *byte == b'\n' && self.argument.iter().filter(|byte| **byte == b'\n').count() >= lines {
                self.run(opcode);
                return index + 1;
            }
        }
        bytes.len()
    }

    fn body(&mut self, opcode: u8, left: u64, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let room = (MAX_NAME + 1).saturating_sub(self.argument.len());
        self.argument.extend_from_slice(bytes.get(..taken.min(room)).unwrap_or_default());
        match left - taken as u64 {
            0 => self.run(opcode),
            left => self.state = State::Body(opcode, left),
        }
        taken
    }

    fn run(&mut self, opcode: u8) {
        self.state = State::Opcode;
        match (opcode, self.argument.as_slice()) {
            (0x80, [2..=5]) => self.is_sure = true,
            // No reader goes on with a later protocol.
            (0x80, [6..=u8::MAX]) => return self.broken(),
            _ => {}
        }
        match self.machine.step(opcode, &self.argument) {
            Step::Next => {}
            Step::Import(module, name) => self.import(&module, &name),
            // Any text may have a line that is no name; no text has these opcodes.
            Step::Unreadable if self.is_sure || opcode > 0x7f => self.unreadable(),
            Step::Unreadable => {}
            Step::Stop => {
                std::mem::take(&mut self.maybe).into_iter().for_each(|import| self.add(import));
                self.pickles += 1;
                self.machine = Machine::default();
                self.state = State::Between;
            }
        }
    }

    fn import(&mut self, module: &str, name: &str) {
        let import = |threat| Import { module: module.to_owned(), name: name.to_owned(), threat };
        let may_be_one = self.is_sure || is_path(module) && is_path(name);
        if !may_be_one {
            return;
        }
        match threat(module, name) {
            Threat::Harmless => {}
            Threat::Suspicious if !self.is_sure => {
                let room = self.maybe.len() < MAX_IMPORTS;
                self.maybe.extend(room.then(|| import(Threat::Suspicious)));
            }
            threat @ (Threat::Suspicious | Threat::Malicious) => self.add(import(threat)),
        }
    }

    fn unreadable(&mut self) {
        self.add(Import { module: "?".to_owned(), name: "?".to_owned(), threat: Threat::Malicious });
    }

    /// No pickle goes on so. Behind a whole one that is no wonder; in the first, it is.
    fn broken(&mut self) {
        self.state = State::Done;
        self.maybe.clear();
        if self.pickles == 0 && self.is_sure {
            self.add(Import { module: "?".to_owned(), name: "?".to_owned(), threat: Threat::Suspicious });
        }
    }

    fn add(&mut self, import: Import) {
        if self.imports.contains(&import) {
            return;
        }
        match self.imports.len() {
            MAX_IMPORTS.. => {
                self.is_cut = true;
                // What is worse is not lost for having come late.
                let milder = |other: &Import| other.threat < import.threat;
                if let Some(at) = self.imports.iter().rposition(milder) {
                    self.imports.remove(at);
                    self.imports.push(import);
                }
            }
            _ => self.imports.push(import),
        }
    }
}

/// Whether a name can be one in Python: words with dots between them.
fn is_path(name: &str) -> bool {
    name.split('.')
        .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

/// By the table of opcodes; `None`: there is no such opcode.
fn argument_of(opcode: u8) -> Option<Argument> {
    Some(match opcode {
        b'('
        | b'.'
        | b'0'
        | b'1'
        | b'2'
        | b'N'
        | b'Q'
        | b'R'
        | b'a'
        | b'b'
        | b'd'
        | b'}'
        | b'e'
        | b'l'
        | b']'
        | b'o'
        | b's'
        | b't'
        | b')'
        | b'u'
        | 0x81
        | 0x85..=0x89
        | 0x8f..=0x94
        | 0x97
        | 0x98 => Argument::Fixed(0),
        b'K' | b'h' | b'q' | 0x80 | 0x82 => Argument::Fixed(1),
        b'M' | 0x83 => Argument::Fixed(2),
        b'J' | b'j' | b'r' | 0x84 => Argument::Fixed(4),
        b'G' | 0x95 => Argument::Fixed(8),
        b'F' | b'I' | b'L' | b'P' | b'S' | b'V' | b'g' | b'p' => Argument::Lines(1),
        b'c' | b'i' => Argument::Lines(2),
        b'U' | b'C' | 0x8a | 0x8c => Argument::Counted(1),
        b'T' | b'X' | b'B' | 0x8b => Argument::Counted(4),
        0x8d | 0x8e | 0x96 => Argument::Counted(8),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
