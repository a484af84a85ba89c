//! One event of a stream, one line, one message, or a whole body: its texts, and how it is written again without some of them.
//!
//! Guarantees: of what has nothing cut out of it every byte stays as it was.

use super::channel::Channel;
use super::leaves::{LEAST, leaves};
use super::{Cut, Edit, Form};
use crate::rewrite::tokens::is_json;
use std::collections::HashMap;
use std::ops::Range;

/// The key of a body that is one text.
const WHOLE: u64 = 0;

/// Where a text belongs.
#[derive(Debug)]
pub(super) enum Of {
    /// To the text of this key, at this place.
    Joined(u64, Range<u64>),
    /// To nothing; what is cut out of it.
    Alone(Vec<Cut>),
}

/// One text of a unit.
#[derive(Debug)]
pub(super) struct Placed {
    /// Where it is written.
    at: Range<usize>,
    /// Whether it is written as JSON, with quotes.
    is_json: bool,
    pub(super) is_value: bool,
    pub(super) text: String,
    pub(super) key: Option<u64>,
    pub(super) of: Of,
}

#[derive(Debug)]
pub(super) struct Unit {
    /// As it came.
    pub(super) raw: Vec<u8>,
    /// What `leaves` stand in; of an event its data.
    text: String,
    /// Of an event, its other lines.
    others: String,
    pub(super) leaves: Vec<Placed>,
    pub(super) is_opaque: bool,
}

impl Unit {
    pub(super) fn opaque(raw: &[u8]) -> Self {
        let (text, others) = (String::new(), String::new());
        Self { raw: raw.to_vec(), text, others, leaves: Vec::new(), is_opaque: true }
    }

    /// Reads what is there; and what of it belongs to the next.
    pub(super) fn read(
        raw: &[u8],
        form: Form,
        joins: bool,
        edit: Option<&mut Edit>,
    ) -> Result<(Self, Vec<u8>), &'static str> {
        let mut rest: &[u8] = &[];
        let whole = match std::str::from_utf8(raw) {
            Ok(whole) => whole,
            Err(flaw) if form == Form::Text && flaw.error_len().is_none() => {
                let (whole, cut) = raw.split_at_checked(flaw.valid_up_to()).unwrap_or((raw, &[]));
                rest = cut;
                std::str::from_utf8(whole).unwrap_or_default()
            }
            Err(_) => return Err("it is no UTF-8"),
        };
        let (text, others) =
            if form == Form::Events { event(whole) } else { (whole.to_owned(), String::new()) };
        let mut unit =
            Self { raw: whole.as_bytes().to_vec(), text, others, leaves: Vec::new(), is_opaque: false };
        if let Some(changed) = edit.and_then(|edit| (edit.0)(&unit.text)) {
            let end = if unit.text.ends_with('\n') { "\n" } else { "" };
            unit.raw = unit.framed(form, format!("{changed}{end}"));
            unit.text = changed + end;
        }
        unit.find(form, joins)?;
        Ok((unit, rest.to_vec()))
    }

    fn find(&mut self, form: Form, joins: bool) -> Result<(), &'static str> {
        let is_stream = form != Form::Json;
        let text = std::mem::take(&mut self.text);
        if form != Form::Text && is_json(&text) {
            self.leaves = leaves(&text, is_stream && joins).into_iter().map(Placed::of).collect();
        } else if !is_stream && !text.trim().is_empty() {
            return Err("it is said to be JSON, and is none");
        } else if !text.is_empty() && text.trim() != "[DONE]" {
            let key = (joins || form == Form::Text).then_some(WHOLE);
            self.leaves = vec![Placed::plain(text.clone(), key, true)];
        }
        if self.others.len() >= LEAST {
            self.leaves.push(Placed::plain(self.others.clone(), None, false));
        }
        self.text = text;
        Ok(())
    }

    /// Texts that it has pieces of.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.leaves.iter().filter_map(|leaf| leaf.key)
    }

    /// As it goes on.
    pub(super) fn written(&self, form: Form, texts: &HashMap<u64, Channel>) -> Vec<u8> {
        let mut out = String::new();
        let mut copied = 0;
        let mut is_changed = false;
        for leaf in self.leaves.iter().filter(|leaf| leaf.is_value) {
            let Some(text) = leaf.changed(texts) else { continue };
            is_changed = true;
            out.push_str(self.text.get(copied..leaf.at.start).unwrap_or_default());
            if leaf.is_json {
                out.push_str(&serde_json::Value::String(text).to_string());
            } else {
                out.push_str(&text);
            }
            copied = leaf.at.end;
        }
        if !is_changed {
            return self.raw.clone();
        }
        out.push_str(self.text.get(copied..).unwrap_or_default());
        self.framed(form, out)
    }

    /// With another text.
    fn framed(&self, form: Form, text: String) -> Vec<u8> {
        if form != Form::Events {
            return text.into_bytes();
        }
        let data: String = text.split('\n').map(|line| format!("data: {line}\n")).collect();
        format!("{}{data}\n", self.others).into_bytes()
    }
}

impl Placed {
    fn of(leaf: super::leaves::Leaf) -> Self {
        let super::leaves::Leaf { at, text, key, is_value } = leaf;
        Self { at, is_json: true, is_value, text, key, of: Of::Alone(Vec::new()) }
    }

    fn plain(text: String, key: Option<u64>, is_value: bool) -> Self {
        Self { at: 0..text.len(), is_json: false, is_value, text, key, of: Of::Alone(Vec::new()) }
    }

    /// Without what is cut out of it; `None`: nothing is.
    fn changed(&self, texts: &HashMap<u64, Channel>) -> Option<String> {
        let (start, mut cuts): (u64, Vec<&Cut>) = match &self.of {
            Of::Joined(key, range) => (range.start, texts.get(key)?.cuts(range).collect()),
            Of::Alone(cuts) => (0, cuts.iter().collect()),
        };
        if cuts.is_empty() {
            return None;
        }
        cuts.sort_by_key(|cut| (cut.range.start, std::cmp::Reverse(cut.range.end)));
        let place =
            |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX).min(self.text.len());
        let (mut out, mut at) = (String::new(), 0);
        for cut in cuts {
            let (from, to) = (place(cut.range.start), place(cut.range.end));
            if cut.range.start >= start && from >= at {
                out.push_str(self.text.get(at..from).unwrap_or_default());
                out.push_str(&cut.marker);
            }
            at = at.max(to);
        }
        out.push_str(self.text.get(at..).unwrap_or_default());
        Some(out)
    }
}

/// The data of an event, and its other lines but for comments.
fn event(text: &str) -> (String, String) {
    let (mut data, mut others) = (String::new(), String::new());
    let mut has_data = false;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        if name == "data" {
            if std::mem::replace(&mut has_data, true) {
                data.push('\n');
            }
            data.push_str(value);
        } else {
            others.push_str(line);
            others.push('\n');
        }
    }
    (data, others)
}
