//! A small decoder: from nodes to values, with the path and place of everything that does not fit.
//!
//! Scalars mean what they mean to Kubernetes, whose YAML becomes JSON first: an unquoted `yes`, `1` or `null` is no
//! string. Null counts as not written.

use crate::diagnostic::{Code, Diagnostic, ObjectName, Position, Severity};
use crate::document::{Entry, Node, Place, Value, position};
use crate::meta::Located;
use crate::name;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

/// Most diagnostics kept for one object; the rest is counted in a last one.
const MAX_DIAGNOSTICS: usize = 100;

/// Longest text that a way out repeats, in bytes.
const MOST_REPEATED: usize = 80;

/// Most diagnostics kept for one file.
pub const MAX_DIAGNOSTICS_PER_FILE: usize = 10_000;

/// A step into an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

/// What stands where it does not belong, for whoever can say what was meant by it.
#[derive(Clone, Copy)]
pub(crate) enum Stray<'a> {
    /// A field that the mapping does not have, with its value.
    Field(&'a str, &'a Node<'a>),
    /// A scalar where the mapping should be.
    Scalar(&'a str),
}

/// A mapping's entries.
#[derive(Clone, Copy)]
pub(crate) struct Map<'n> {
    entries: &'n [Entry<'n>],
    pub(crate) place: Place,
}

impl<'n> Map<'n> {
    /// The value of a key. Null counts as not written.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node<'n>> {
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        (!is_null(&entry.node)).then_some(&entry.node)
    }

    /// The keys, null ones left out.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'n str> {
        self.entries.iter().filter(|entry| !is_null(&entry.node)).map(|entry| entry.key.as_ref())
    }

    pub(crate) fn entries(&self) -> &'n [Entry<'n>] {
        self.entries
    }
}

/// What a scalar is after Kubernetes' conversion to JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    Null,
    Bool(bool),
    Integer(i64),
    Float,
    Text,
}

/// What outlives a document while a file is decoded.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) diagnostics: Vec<Diagnostic>,
    interned: HashSet<Arc<str>>,
}

/// State of decoding one document.
pub(crate) struct Decoder<'n> {
    file: Arc<str>,
    kept: Kept,
    object: Option<ObjectName>,
    path: Vec<Step<'n>>,
    errors: usize,
    excused: usize,
    reported: usize,
    /// How many diagnostics there were when the current object began.
    began: usize,
}

impl<'n> Decoder<'n> {
    pub(crate) fn new(file: Arc<str>, kept: Kept) -> Self {
        Self { file, kept, object: None, path: Vec::new(), errors: 0, excused: 0, reported: 0, began: 0 }
    }

    /// Ends the document.
    pub(crate) fn finish(self) -> Kept {
        self.kept
    }

    /// Begins an object: diagnostics from here on are about it.
    pub(crate) fn begin(&mut self, object: Option<ObjectName>) {
        self.object = object;
        self.path.clear();
        self.errors = 0;
        self.excused = 0;
        self.reported = 0;
        self.began = self.kept.diagnostics.len();
    }

    /// Whether the current object has an error that keeps it from being applied.
    pub(crate) fn is_broken(&self) -> bool {
        self.errors > self.excused
    }

    /// What keeps the current object from being applied: its first error, with the field. `None`: nothing does.
    pub(crate) fn first_error(&self) -> Option<Arc<str>> {
        if !self.is_broken() {
            return None;
        }
        let own = self.kept.diagnostics.get(self.began..).unwrap_or_default();
        Some(own.iter().find(|diagnostic| diagnostic.is_error()).map_or_else(
            || "it has errors".into(),
            |first| match first.field.as_str() {
                "" => first.message.as_str().into(),
                field => format!("{field}: {}", first.message).into(),
            },
        ))
    }

    /// Does something, and gives its result up if that brought an error.
    pub(crate) fn sound<T>(&mut self, f: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.errors - self.excused;
        let result = f(self);
        if self.errors - self.excused > before { None } else { result }
    }

    /// The place as a position in this file.
    pub(crate) fn position(&self, place: Place) -> Position {
        position(&self.file, place)
    }

    /// Reports a peer without any known field, and gives back the fields it has. The error does not make the object
    /// broken: for such a peer the API itself says how the rule fails closed.
    /// `meant`: fields that are known of elsewhere, and what is written instead.
    pub(crate) fn unknown_peer(
        &mut self,
        map: Map<'n>,
        known: &[&str],
        meant: &[(&str, &str)],
    ) -> Vec<String> {
        let fields: Vec<String> = map.keys().take(10).map(|key| key.chars().take(80).collect()).collect();
        let mut diagnostic = Diagnostic::error(
            Code::UnknownPeer,
            match fields.is_empty() {
                true => "the peer is empty; the rule fails closed".into(),
                false => format!("no known field in the peer ({}); the rule fails closed", fields.join(", ")),
            },
        );
        let instead = fields.iter().find_map(|field| meant.iter().find(|(known, _)| known == field));
        let near = fields.iter().find_map(|field| nearest(field, known.iter().copied()));
        diagnostic.suggestion = Some(match (instead, near) {
            (Some((_, instead)), _) => (*instead).to_owned(),
            (None, Some(name)) => format!("did you mean {name:?}?"),
            (None, None) => format!("known fields: {}", known.join(", ")),
        });
        self.report(map.place, diagnostic);
        self.excused += 1;
        fields
    }

    /// Counts an error that was found elsewhere.
    pub(crate) fn add(&mut self, mut diagnostic: Diagnostic) {
        diagnostic.object.clone_from(&self.object);
        self.push(diagnostic);
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        self.reported += 1;
        let in_file = self.kept.diagnostics.len();
        if self.reported > MAX_DIAGNOSTICS || in_file > MAX_DIAGNOSTICS_PER_FILE {
            return;
        }
        self.kept.diagnostics.push(diagnostic);
        if self.reported == MAX_DIAGNOSTICS || in_file == MAX_DIAGNOSTICS_PER_FILE - 1 {
            let last = Diagnostic::note(Code::LimitExceeded, "there is more; the rest is not listed");
            let mut last = last.at(position(&self.file, Place { line: 1, column: 1 }));
            last.object.clone_from(&self.object);
            self.kept.diagnostics.push(last);
        }
    }

    /// Reports an error at a place, about the current path.
    pub(crate) fn error(&mut self, place: Place, code: Code, message: impl Into<String>) {
        self.report(place, Diagnostic::error(code, message));
    }

    /// Reports a diagnostic at a place, about the current path.
    pub(crate) fn report(&mut self, place: Place, mut diagnostic: Diagnostic) {
        diagnostic.field = self.path_text();
        self.add(diagnostic.at(position(&self.file, place)));
    }

    /// Whether it is a field of this name that is being decoded.
    pub(crate) fn is_in(&self, field: &str) -> bool {
        matches!(self.path.last(), Some(Step::Field(name)) if *name == field)
    }

    fn path_text(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            let _ = match step {
                Step::Field(name) if name.contains(['.', '/']) => {
                    write!(text, "[{:?}]", name.chars().take(80).collect::<String>())
                }
                Step::Field(name) if text.is_empty() => write!(text, "{name}"),
                Step::Field(name) => write!(text, ".{name}"),
                Step::Index(index) => write!(text, "[{index}]"),
            };
        }
        text
    }

    /// One shared copy of a text within the file.
    pub(crate) fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.kept.interned.get(text) {
            return shared.clone();
        }
        let shared: Arc<str> = text.into();
        self.kept.interned.insert(shared.clone());
        shared
    }

    /// Does something one step further in.
    pub(crate) fn within<T>(&mut self, step: Step<'n>, f: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let result = f(self);
        self.path.pop();
        result
    }

    /// Decodes a field if it is written.
    pub(crate) fn field<T>(
        &mut self,
        map: Map<'n>,
        name: &'n str,
        f: impl FnOnce(&mut Self, &'n Node<'n>) -> T,
    ) -> Option<T> {
        let node = map.get(name)?;
        Some(self.within(Step::Field(name), |decoder| f(decoder, node)))
    }

    /// Decodes a field that must be written.
    pub(crate) fn required<T>(
        &mut self,
        map: Map<'n>,
        name: &'n str,
        f: impl FnOnce(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Option<T> {
        let Some(node) = map.get(name) else {
            self.within(Step::Field(name), |d| {
                d.error(map.place, Code::MissingField, "required, and not there")
            });
            return None;
        };
        self.within(Step::Field(name), |decoder| f(decoder, node))
    }

    /// The node as a mapping.
    pub(crate) fn map(&mut self, node: &'n Node<'n>) -> Option<Map<'n>> {
        match &node.value {
            Value::Mapping(entries) => Some(Map { entries, place: node.place }),
            Value::Scalar { .. } | Value::Sequence(_) => {
                self.wrong_type(node, "a mapping", None);
                None
            }
        }
    }

    /// The node as a mapping that has no other fields than these.
    pub(crate) fn strict(&mut self, node: &'n Node<'n>, known: &[&str]) -> Option<Map<'n>> {
        self.strict_or(node, known, |_| None)
    }

    /// As [`Self::strict`]; `meant` has the way out of mistakes that are known to be made here.
    pub(crate) fn strict_or(
        &mut self,
        node: &'n Node<'n>,
        known: &[&str],
        meant: impl Fn(Stray<'_>) -> Option<String>,
    ) -> Option<Map<'n>> {
        let Value::Mapping(entries) = &node.value else {
            let scalar = match &node.value {
                Value::Scalar { text, .. } if text.len() <= MOST_REPEATED => meant(Stray::Scalar(text)),
                Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) => None,
            };
            let help = scalar.unwrap_or_else(|| format!("its fields: {}", known.join(", ")));
            self.wrong_type(node, "a mapping", Some(help));
            return None;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_ref())) {
            let key: String = entry.key.chars().take(80).collect();
            let diagnostic = Diagnostic::error(Code::UnknownField, format!("unknown field {key:?}"));
            // What is only counted needs no way out, which takes a while to find.
            if self.reported >= MAX_DIAGNOSTICS {
                self.report(entry.place, diagnostic);
                continue;
            }
            let help = meant(Stray::Field(&key, &entry.node))
                .or_else(|| Some(format!("did you mean {:?}?", nearest(&key, known.iter().copied())?)))
                .unwrap_or_else(|| format!("known fields: {}", known.join(", ")));
            self.report(entry.place, diagnostic.suggest(help));
        }
        Some(Map { entries, place: node.place })
    }

    /// Decodes every item of a list. Items that cannot be decoded are left out; whoever decodes them reports why.
    pub(crate) fn list<T>(
        &mut self,
        node: &'n Node<'n>,
        mut f: impl FnMut(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Sequence(items) = &node.value else {
            let help = self.as_list(node, f);
            self.wrong_type(node, "a list", help);
            return None;
        };
        let decoded = items.iter().enumerate();
        Some(decoded.filter_map(|(i, item)| self.within(Step::Index(i), |d| f(d, item))).collect())
    }

    /// How a node is written as a list. What would be wrong with it as an item is said with it, for it would be the next error.
    fn as_list<T>(
        &mut self,
        node: &'n Node<'n>,
        f: impl FnOnce(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Option<String> {
        let way_out = match &node.value {
            Value::Scalar { .. } if is_null(node) => return None,
            Value::Scalar { text, plain } => format!("write a list: [{}]", in_brackets(text, *plain)?),
            Value::Mapping(_) => "begin the entry with '- '".to_owned(),
            Value::Sequence(_) => return None,
        };
        let Some(wrong) = self.trial(|d| f(d, node)) else { return Some(way_out) };
        let more = wrong.suggestion.map(|more| format!("; {more}")).unwrap_or_default();
        Some(format!("begin each entry with '- '; and of this one: {}{more}", wrong.message))
    }

    /// Decodes, and gives back the first error of it. Nothing is reported.
    fn trial<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> Option<Diagnostic> {
        let (errors, excused, reported) = (self.errors, self.excused, self.reported);
        let before = self.kept.diagnostics.len();
        f(self);
        (self.errors, self.excused, self.reported) = (errors, excused, reported);
        self.kept.diagnostics.drain(before..).find(Diagnostic::is_error)
    }

    /// As [`Self::list`], each item with its position.
    pub(crate) fn located<T>(
        &mut self,
        node: &'n Node<'n>,
        mut f: impl FnMut(&mut Self, &'n Node<'n>) -> Option<T>,
    ) -> Option<Vec<Located<T>>> {
        self.list(node, |decoder, item| {
            let value = f(decoder, item)?;
            Some(Located { position: position(&decoder.file, item.place), value })
        })
    }

    /// Checks the length of a list, if it is one.
    pub(crate) fn check_length(&mut self, node: &'n Node<'n>, least: usize, most: usize) {
        let Value::Sequence(items) = &node.value else { return };
        if items.len() < least || items.len() > most {
            let message = format!("{} entries; the API allows {least} to {most}", items.len());
            self.error(node.place, Code::ListLength, message);
        }
    }

    /// The node as a string.
    pub(crate) fn string(&mut self, node: &'n Node<'n>) -> Option<Arc<str>> {
        self.str(node).map(|text| self.intern(text))
    }

    /// The node as borrowed text.
    pub(crate) fn str(&mut self, node: &'n Node<'n>) -> Option<&'n str> {
        self.text(node, "a string", |text| Some(format!("put it in quotes: \"{text}\"")))
    }

    /// The node as borrowed text of a form that no number and no boolean has, and quotes give it to none. `example`: one.
    pub(crate) fn formed(
        &mut self,
        node: &'n Node<'n>,
        wanted: &str,
        example: &'static str,
    ) -> Option<&'n str> {
        self.text(node, wanted, |_| Some(format!("for example {example}")))
    }

    /// The node as borrowed text. `help`: the way out for a number or a boolean of this text.
    fn text(
        &mut self,
        node: &'n Node<'n>,
        wanted: &str,
        help: impl FnOnce(&str) -> Option<String>,
    ) -> Option<&'n str> {
        let found = match &node.value {
            Value::Scalar { text, plain } => match meaning(text, *plain) {
                Meaning::Text => return Some(text),
                Meaning::Null => {
                    self.wrong_type(node, wanted, Some("write one, or take the entry out".to_owned()));
                    return None;
                }
                Meaning::Bool(_) => "a boolean",
                Meaning::Integer(_) | Meaning::Float => "a number",
            },
            Value::Sequence(items) => {
                let help = match items.as_slice() {
                    [Node { value: Value::Scalar { text, plain }, .. }] => in_brackets(text, *plain),
                    _ => None,
                };
                let help = help.map(|text| format!("there is only one here; without a list: {text}"));
                self.wrong_type(node, wanted, help);
                return None;
            }
            Value::Mapping(_) => {
                self.wrong_type(node, wanted, None);
                return None;
            }
        };
        let text = scalar_text(node);
        let message = format!("{text} is {found}, and {wanted} is needed");
        let mut diagnostic = Diagnostic::error(Code::WrongType, message);
        diagnostic.suggestion = help(&text);
        self.report(node.place, diagnostic);
        None
    }

    /// The node as text if it is one; nothing is reported otherwise.
    pub(crate) fn as_text(node: &'n Node<'n>) -> Option<&'n str> {
        match &node.value {
            Value::Scalar { text, plain } if meaning(text, *plain) == Meaning::Text => Some(text),
            Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// The node as an integer.
    pub(crate) fn integer(&mut self, node: &'n Node<'n>) -> Option<i64> {
        match &node.value {
            Value::Scalar { text, plain } => match meaning(text, *plain) {
                Meaning::Integer(n) => Some(n),
                Meaning::Null | Meaning::Bool(_) | Meaning::Float | Meaning::Text => {
                    let is_number = matches!(meaning(text, true), Meaning::Integer(_));
                    let help = is_number.then(|| format!("leave out the quotes: {text}"));
                    self.wrong_type(node, "a whole number", help);
                    None
                }
            },
            Value::Sequence(_) | Value::Mapping(_) => {
                self.wrong_type(node, "a whole number", None);
                None
            }
        }
    }

    /// The node as an integer if it is one; nothing is reported otherwise.
    pub(crate) fn as_integer(node: &Node<'_>) -> Option<i64> {
        match &node.value {
            Value::Scalar { text, plain } => match meaning(text, *plain) {
                Meaning::Integer(n) => Some(n),
                Meaning::Null | Meaning::Bool(_) | Meaning::Float | Meaning::Text => None,
            },
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// The node as a boolean.
    pub(crate) fn boolean(&mut self, node: &'n Node<'n>) -> Option<bool> {
        if let Value::Scalar { text, plain } = &node.value
            && let Meaning::Bool(value) = meaning(text, *plain)
        {
            return Some(value);
        }
        let quoted = Self::as_text(node).map(|text| meaning(text, true));
        let help = match quoted {
            Some(Meaning::Bool(value)) => Some(format!("leave out the quotes: {value}")),
            Some(Meaning::Null | Meaning::Integer(_) | Meaning::Float | Meaning::Text) | None => None,
        };
        self.wrong_type(node, "true or false", help);
        None
    }

    /// A count from 0 to what an `int32` holds.
    pub(crate) fn count(&mut self, node: &'n Node<'n>) -> Option<u32> {
        let n = self.integer(node)?;
        match u32::try_from(n).ok().filter(|n| i32::try_from(*n).is_ok()) {
            Some(count) => Some(count),
            None => {
                self.error(
                    node.place,
                    Code::InvalidValue,
                    format!("{n} is not a count from 0 to 2147483647"),
                );
                None
            }
        }
    }

    /// A mapping from text to text.
    pub(crate) fn text_map(&mut self, node: &'n Node<'n>) -> BTreeMap<Arc<str>, Arc<str>> {
        let Value::Mapping(entries) = &node.value else {
            let meant = Self::as_text(node).filter(|text| text.len() <= MOST_REPEATED).and_then(pairs);
            self.wrong_type(node, "a mapping", meant.map(|pairs| format!("write {pairs}")));
            return BTreeMap::new();
        };
        let mut texts = BTreeMap::new();
        for entry in entries {
            let value = if is_null(&entry.node) {
                Some("".into())
            } else {
                self.within(Step::Field(&entry.key), |d| d.string(&entry.node))
            };
            if let Some(value) = value {
                let key = self.intern(&entry.key);
                texts.insert(key, value);
            }
        }
        texts
    }

    /// A list of strings.
    pub(crate) fn strings(&mut self, node: &'n Node<'n>) -> Vec<Arc<str>> {
        self.list(node, Self::string).unwrap_or_default()
    }

    /// One of a few words.
    pub(crate) fn one_of<T: Copy>(&mut self, node: &'n Node<'n>, words: &[(&str, T)]) -> Option<T> {
        let allowed = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let wanted = format!("one of {allowed}");
        let text = self.text(node, &wanted, |text| {
            let is_word = words.iter().any(|(word, _)| *word == text);
            is_word.then(|| format!("put it in quotes: \"{text}\""))
        })?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let shown: String = text.chars().take(80).collect();
        let mut diagnostic =
            Diagnostic::error(Code::InvalidValue, format!("{shown:?} is not one of {allowed}"));
        diagnostic.suggestion =
            nearest(text, words.iter().map(|(word, _)| *word)).map(|w| format!("did you mean {w:?}?"));
        self.report(node.place, diagnostic);
        None
    }

    fn wrong_type(&mut self, node: &'n Node<'n>, wanted: &str, help: Option<String>) {
        let found = match &node.value {
            Value::Scalar { text, plain } => match meaning(text, *plain) {
                Meaning::Null => "nothing".into(),
                Meaning::Bool(_) => "a boolean".into(),
                Meaning::Integer(_) => "a number".into(),
                Meaning::Float => "a number with a fraction or out of range".into(),
                Meaning::Text => format!("the string {:?}", scalar_text(node)),
            },
            Value::Sequence(_) => "a list".into(),
            Value::Mapping(_) => String::from("a mapping"),
        };
        let mut diagnostic =
            Diagnostic::error(Code::WrongType, format!("{found} stands where {wanted} is needed"));
        diagnostic.suggestion = help;
        self.report(node.place, diagnostic);
    }
}

/// A scalar as it is written in a list between brackets. `None`: too long to be repeated.
fn in_brackets(text: &str, plain: bool) -> Option<String> {
    if text.len() > MOST_REPEATED {
        return None;
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let as_it_is =
        plain && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_plain);
    Some(if as_it_is { text.to_owned() } else { format!("{text:?}") })
}

/// Labels as command lines have them, `a=b,c=d`, as a mapping in YAML.
pub(crate) fn pairs(text: &str) -> Option<String> {
    let pairs = text.split(',').map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        let is_text = meaning(value, true) == Meaning::Text;
        let is_label = name::label_key(key).is_none() && name::label_value(value).is_none();
        is_label.then(|| if is_text { format!("{key}: {value}") } else { format!("{key}: \"{value}\"") })
    });
    Some(format!("{{{}}}", pairs.collect::<Option<Vec<_>>>()?.join(", ")))
}

fn scalar_text(node: &Node<'_>) -> String {
    match &node.value {
        Value::Scalar { text, .. } => text.chars().take(80).collect(),
        Value::Sequence(_) | Value::Mapping(_) => String::new(),
    }
}

/// Whether a node is null.
pub(crate) fn is_null(node: &Node<'_>) -> bool {
    matches!(&node.value, Value::Scalar { text, plain: true } if meaning(text, true) == Meaning::Null)
}

/// The node as JSON, as a client would send it to an API server. Numbers with a fraction stay text: no kind that is read
/// here has any.
pub(crate) fn json(node: &Node<'_>) -> serde_json::Value {
    match &node.value {
        Value::Scalar { text, plain } => match meaning(text, *plain) {
            Meaning::Null => serde_json::Value::Null,
            Meaning::Bool(value) => value.into(),
            Meaning::Integer(number) => number.into(),
            Meaning::Float => number(text).unwrap_or_else(|| text.as_ref().into()),
            Meaning::Text => text.as_ref().into(),
        },
        Value::Sequence(items) => items.iter().map(json).collect(),
        Value::Mapping(entries) => {
            entries.iter().map(|entry| (entry.key.to_string(), json(&entry.node))).collect()
        }
    }
}

/// JSON has no infinity, and nothing that is no number.
fn number(text: &str) -> Option<serde_json::Value> {
    Some(serde_json::Number::from_f64(text.parse().ok()?)?.into())
}

/// What an unquoted scalar means. `y` and `n` stay text, as in YAML 1.2 and in what everybody expects.
fn meaning(text: &str, plain: bool) -> Meaning {
    if !plain {
        return Meaning::Text;
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Meaning::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Meaning::Bool(false);
        }
        _ => {}
    }
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Meaning::Text;
    }
    if let Some(n) = integer(body) {
        return if text.starts_with('-') { Meaning::Integer(-n) } else { Meaning::Integer(n) };
    }
    let special = matches!(body, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
    // Dots alone, versions and addresses do not parse as a float.
    if special || body.parse::<f64>().is_ok() { Meaning::Float } else { Meaning::Text }
}

fn integer(body: &str) -> Option<i64> {
    let digits = body.replace('_', "");
    let (digits, radix) = match digits.get(..2) {
        Some("0x") => (digits.get(2..)?, 16),
        Some("0b") => (digits.get(2..)?, 2),
        Some("0o") => (digits.get(2..)?, 8),
        Some(_) if digits.starts_with('0') && !digits.contains(['8', '9']) => (digits.get(1..)?, 8),
        Some(_) | None => (digits.as_str(), 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(digits, radix).ok()
}

/// The word closest to what was written, if it is close: at most a third of it is wrong.
pub(crate) fn nearest<'w>(written: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    if written.len() > 64 {
        return None;
    }
    let lower = written.to_ascii_lowercase();
    let (distance, word) =
        words.map(|word| (edits(&lower, &word.to_ascii_lowercase()), word)).min_by_key(|(d, _)| *d)?;
    (distance <= word.len().max(written.len()) / 3).then_some(word)
}

/// Edits between two words: insert, delete, replace, or swap two neighbours (optimal string alignment).
pub(crate) fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let cell = |row: &[usize], i: usize| row.get(i).copied().unwrap_or(usize::MAX / 2);
    let mut above_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replace = cell(&last, j) + usize::from(x != y);
            let mut least = replace.min(cell(&last, j + 1) + 1).min(cell(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                least = least.min(cell(&above_last, j - 1) + 1);
            }
            row.push(least);
        }
        above_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_if_it_is_near() {
        let words = ["podSelector", "namespaceSelector", "ipBlock", "from", "to", "ports"];
        for (written, expected) in [
            ("podSelecter", Some("podSelector")),
            ("PodSelector", Some("podSelector")),
            ("form", Some("from")),
            ("port", Some("ports")),
            ("ipblocks", Some("ipBlock")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, words.into_iter()), expected, "{written}");
        }
    }

    #[test]
    fn unquoted_scalars_mean_what_kubernetes_makes_of_them() {
        for (text, expected) in [
            ("", Meaning::Null),
            ("~", Meaning::Null),
            ("null", Meaning::Null),
            ("yes", Meaning::Bool(true)),
            ("Off", Meaning::Bool(false)),
            ("y", Meaning::Text),
            ("80", Meaning::Integer(80)),
            ("-1", Meaning::Integer(-1)),
            ("0x50", Meaning::Integer(80)),
            ("0120", Meaning::Integer(80)),
            ("1_000", Meaning::Integer(1000)),
            ("99999999999999999999", Meaning::Float),
            ("1.5", Meaning::Float),
            ("1e3", Meaning::Float),
            (".inf", Meaning::Float),
            ("1.2.3", Meaning::Text),
            ("10.0.0.0/8", Meaning::Text),
            ("-", Meaning::Text),
            ("0x", Meaning::Text),
            ("1a", Meaning::Text),
            ("inf", Meaning::Text),
            ("é", Meaning::Text),
            ("0é", Meaning::Text),
        ] {
            assert_eq!(meaning(text, true), expected, "{text}");
            assert_eq!(meaning(text, false), Meaning::Text, "{text} in quotes");
        }
    }
}
