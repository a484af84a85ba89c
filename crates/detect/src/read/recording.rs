//! A recording of whatever kind, by its first bytes, in any pieces.

use super::capture::{self, Capture};
use super::{LONGEST_LINE, Reader, Unreadable};
use crate::event::Event;

/// Bytes that tell what it is.
const TELLING: usize = 4;

/// Reads one recording.
#[derive(Debug)]
pub struct Recording {
    file: String,
    held: Vec<u8>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Too little came to tell.
    Open,
    /// Whether the rest of a line that is too long is skipped.
    Lines(Reader, bool),
    Capture(Box<Capture>),
    /// A capture that cannot be read any further.
    Broken(u64),
}

/// What comes out of a recording.
#[derive(Debug, Default)]
pub struct Read {
    /// Events, in order.
    pub events: Vec<Event>,
    /// What could not be read; the recording goes on after it where it can.
    pub unreadable: Vec<Unreadable>,
}

impl Recording {
    /// For a file, whose name is only said.
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), held: Vec::new(), kind: Kind::Open }
    }

    /// How many lines or packets said nothing of interest.
    pub fn ignored(&self) -> u64 {
        match &self.kind {
            Kind::Open => 0,
            Kind::Lines(reader, _) => reader.ignored(),
            Kind::Capture(capture) => capture.ignored(),
            Kind::Broken(ignored) => *ignored,
        }
    }

    /// More of it.
    pub fn push(&mut self, bytes: &[u8], read: &mut Read) {
        if matches!(self.kind, Kind::Open) {
            self.held.extend_from_slice(bytes);
            if self.held.len() >= TELLING {
                self.begin(read);
            }
            return;
        }
        self.go_on(bytes, read);
    }

    /// That was all.
    pub fn finish(&mut self, read: &mut Read) {
        if matches!(self.kind, Kind::Open) {
            self.begin(read);
        }
        let held = std::mem::take(&mut self.held);
        match &mut self.kind {
            Kind::Lines(reader, is_skipping) if !*is_skipping && !held.is_empty() => {
                line(reader, &held, read)
            }
            Kind::Capture(capture) => read.unreadable.extend(capture.finish(&mut read.events).err()),
            Kind::Lines(..) | Kind::Broken(_) | Kind::Open => {}
        }
    }

    fn begin(&mut self, read: &mut Read) {
        let held = std::mem::take(&mut self.held);
        self.kind = if capture::is_one(&held) {
            Kind::Capture(Box::new(Capture::new(&self.file)))
        } else {
            Kind::Lines(Reader::new(&self.file), false)
        };
        self.go_on(&held, read);
    }

    fn go_on(&mut self, bytes: &[u8], read: &mut Read) {
        match &mut self.kind {
            Kind::Capture(capture) => {
                if let Err(error) = capture.push(bytes, &mut read.events) {
                    read.unreadable.push(error);
                    self.kind = Kind::Broken(capture.ignored());
                }
            }
            Kind::Lines(reader, is_skipping) => lines(reader, is_skipping, &mut self.held, bytes, read),
            Kind::Broken(_) | Kind::Open => {}
        }
    }
}

/// Each whole line; the beginning of the next one is held.
fn lines(reader: &mut Reader, is_skipping: &mut bool, held: &mut Vec<u8>, bytes: &[u8], read: &mut Read) {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        let is_whole = piece.ends_with(b"\n");
        if *is_skipping {
            *is_skipping = !is_whole;
            continue;
        }
        if is_whole && held.is_empty() {
            line(reader, piece, read);
            continue;
        }
        held.extend_from_slice(piece);
        let is_long = held.len() > LONGEST_LINE + 1;
        if is_whole || is_long {
            line(reader, held, read);
            held.clear();
        }
        *is_skipping = is_long && !is_whole;
    }
}

fn line(reader: &mut Reader, line: &[u8], read: &mut Read) {
    read.unreadable.extend(reader.line(line, &mut read.events).err());
}
