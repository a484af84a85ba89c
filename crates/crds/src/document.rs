//! From bytes to documents: a tree of nodes for each, every node with its line and column.
//!
//! A file is cut at document markers first and each document parsed alone, so that a broken one takes no other with
//! it. Everything is bounded: bytes, depth, nodes (aliases count expanded). It knows YAML, not Kubernetes: scalars
//! stay text, and [`crate::decode`] says what they mean.

use crate::diagnostic::{Code, Diagnostic, Position};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Largest file read, in bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// Deepest nesting read.
pub const MAX_DEPTH: usize = 64;
/// Most nodes read from one file, aliases expanded.
pub const MAX_NODES: usize = 2_000_000;
/// An alias costs one node for so many bytes of text that it repeats.
const BYTES_PER_NODE: usize = 64;
/// Above so many keys, duplicates are looked for in a hash set.
const SMALL_MAPPING: usize = 12;

/// A line and a column, each from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// One node of a document.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) place: Place,
    pub(crate) value: Value<'a>,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    /// Text; `plain` if it was written without quotes and may therefore mean a number, a bool or null.
    Scalar { text: Cow<'a, str>, plain: bool },
    /// A list.
    Sequence(Vec<Node<'a>>),
    /// Keys in the order of the file, each once.
    Mapping(Vec<Entry<'a>>),
}

/// One key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) place: Place,
    pub(crate) node: Node<'a>,
}

/// Something wrong within a document that could be read nonetheless.
#[derive(Clone, Debug)]
pub(crate) struct Flaw {
    pub(crate) place: Place,
    pub(crate) diagnostic: Diagnostic,
}

/// One document of a file.
#[derive(Debug)]
pub(crate) enum Document<'a> {
    /// Read; its flaws are errors of the objects they lie in.
    Read { root: Node<'a>, flaws: Vec<Flaw> },
    /// Not read. The text is there to find out which object it was going to be.
    Broken { text: Cow<'a, str>, place: Place, diagnostic: Diagnostic },
}

/// Reads the documents of a file, one by one as they are asked for.
///
/// # Errors
/// The file as a whole is not read: it is too large.
pub(crate) fn read<'a>(
    file: &Arc<str>,
    bytes: &'a [u8],
) -> Result<impl Iterator<Item = Document<'a>>, Box<Diagnostic>> {
    if bytes.len() > MAX_BYTES {
        let message = format!(
            "the file has {} bytes; at most {MAX_BYTES} are read, and nothing in it is enforced",
            bytes.len()
        );
        let diagnostic = Diagnostic::error(Code::FileTooLarge, message)
            .at(position(file, Place { line: 1, column: 1 }))
            .suggest("split it into several files");
        return Err(Box::new(diagnostic));
    }
    let mut budget = MAX_NODES;
    Ok(cut(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).filter_map(move |(line, chunk)| {
        match std::str::from_utf8(chunk) {
            Ok(text) => parse(file, text, line, &mut budget),
            Err(error) => Some(not_utf8(file, chunk, line, error.valid_up_to())),
        }
    }))
}

/// A file in UTF-16, which YAML allows and some editors write, in UTF-8; any other as it is. A first character of ASCII
/// tells (YAML 1.2, section 5.2).
pub(crate) fn in_utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] | [1..=0x7f, 0, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] | [0, 1..=0x7f, ..] => u16::from_be_bytes,
        _ => return Cow::Borrowed(bytes),
    };
    let (pairs, rest) = bytes.as_chunks();
    let text = String::from_utf16_lossy(&pairs.iter().map(|pair| unit(*pair)).collect::<Vec<_>>());
    let mut utf8 = text.into_bytes();
    // Half a character stays an error.
    utf8.extend(rest.iter().map(|_| 0xff));
    Cow::Owned(utf8)
}

/// The tree of what an API server holds. Nothing of it has a place.
pub(crate) fn tree(value: &serde_json::Value) -> Node<'_> {
    let scalar = |text: Cow<'static, str>| Value::Scalar { text, plain: true };
    let value = match value {
        serde_json::Value::Null => scalar("null".into()),
        serde_json::Value::Bool(true) => scalar("true".into()),
        serde_json::Value::Bool(false) => scalar("false".into()),
        serde_json::Value::Number(number) => scalar(number.to_string().into()),
        serde_json::Value::String(text) => Value::Scalar { text: text.into(), plain: false },
        serde_json::Value::Array(items) => Value::Sequence(items.iter().map(tree).collect()),
        serde_json::Value::Object(fields) => Value::Mapping(
            fields
                .iter()
                .map(|(key, value)| Entry { key: key.into(), place: Place::default(), node: tree(value) })
                .collect(),
        ),
    };
    Node { place: Place::default(), value }
}

pub(crate) fn position(file: &Arc<str>, place: Place) -> Position {
    Position { file: file.clone(), line: place.line, column: place.column }
}

fn not_utf8<'a>(file: &Arc<str>, chunk: &'a [u8], lines_before: u32, offset: usize) -> Document<'a> {
    let text = String::from_utf8_lossy(chunk);
    let valid = chunk.get(..offset).and_then(|valid| std::str::from_utf8(valid).ok()).unwrap_or_default();
    let byte = chunk.get(offset).copied().unwrap_or_default();
    let diagnostic =
        Diagnostic::error(Code::NotUtf8, format!("not UTF-8: the byte {byte:#04x} begins no character"))
            .at(position(file, place_at(valid, offset, lines_before)))
            .suggest("save the file as UTF-8");
    Document::Broken { text, place: beginning(lines_before), diagnostic }
}

fn beginning(lines_before: u32) -> Place {
    Place { line: lines_before.saturating_add(1), column: 1 }
}

/// Cuts a file into documents: (lines before it, text from its marker on). YAML forbids a marker at the start of a
/// line anywhere inside a document, quoted and block scalars included, so this needs no parser.
fn cut(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = Some(bytes);
    let mut line = 0;
    std::iter::from_fn(move || {
        let bytes = rest?;
        let first_line = line;
        let mut end = 0;
        for (i, row) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let opens = is_marker(row, "---");
            if i > 0 && opens {
                break;
            }
            end += row.len();
            line += 1;
            if is_marker(row, "...") {
                break;
            }
        }
        let (chunk, after) = bytes.split_at_checked(end)?;
        rest = (!after.is_empty()).then_some(after);
        Some((first_line, chunk))
    })
}

fn is_marker(row: &[u8], marker: &str) -> bool {
    let rest = row.strip_prefix(marker.as_bytes());
    rest.is_some_and(|rest| matches!(rest, [] | [b' ' | b'\t' | b'\r' | b'\n', ..]))
}

/// Whether a chunk has no content: blank lines, comments, directives and markers only.
fn is_empty(chunk: &str) -> bool {
    chunk.lines().all(|row| {
        let row = if is_marker(row.as_bytes(), "---") || is_marker(row.as_bytes(), "...") {
            row.get(3..).unwrap_or("")
        } else {
            row
        };
        let row = row.trim();
        row.is_empty() || row.starts_with('#') || row.starts_with('%')
    })
}

/// Way out for who hands in what is yet to become manifests.
const TEMPLATE: &str = "this looks like a template: check what it renders, for example `helm template CHART | cofferdam policy check -f -`";

fn parse<'a>(file: &Arc<str>, chunk: &'a str, lines_before: u32, budget: &mut usize) -> Option<Document<'a>> {
    if is_empty(chunk) {
        return None;
    }
    let mut builder = Builder {
        lines_before,
        budget,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        flaws: Vec::new(),
        root: None,
    };
    // A NUL ends the text for the parser, which would lose what follows without a word.
    let result = match chunk.find('\0') {
        Some(offset) => Err(Failure {
            place: place_at(chunk, offset, lines_before),
            code: Code::Syntax,
            message: "a NUL character".into(),
        }),
        None => builder.run(chunk),
    };
    builder.flaws.sort_by_key(|(place, ..)| *place);
    let flaws = builder.flaws.into_iter().map(|(place, code, message)| Flaw {
        place,
        diagnostic: Diagnostic::error(code, message).at(position(file, place)),
    });
    match (result, builder.root) {
        (Ok(()), Some(root)) => Some(Document::Read { root, flaws: flaws.collect() }),
        (Ok(()), None) => None,
        (Err(failure), _) => {
            let diagnostic =
                Diagnostic::error(failure.code, failure.message).at(position(file, failure.place));
            // Helm, Jinja and others write so; in YAML that is read it hardly occurs.
            let is_template = chunk.contains("{{") || chunk.contains("{%");
            let diagnostic = if is_template { diagnostic.suggest(TEMPLATE) } else { diagnostic };
            Some(Document::Broken { text: chunk.into(), place: beginning(lines_before), diagnostic })
        }
    }
}

fn place_at(text: &str, offset: usize, lines_before: u32) -> Place {
    let before = text.get(..offset).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    Place { line: narrow(line).saturating_add(lines_before), column: narrow(column) }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Why a document could not be read to its end.
struct Failure {
    place: Place,
    code: Code,
    message: String,
}

/// A container whose end has not come yet.
struct Open<'a> {
    anchor: usize,
    node: Node<'a>,
    /// In a mapping: the key whose value comes next.
    key: Option<(Cow<'a, str>, Place)>,
    /// Values of `<<` keys.
    merged: Vec<Node<'a>>,
    nodes: usize,
    depth: usize,
}

/// An anchored node and what one more copy of it costs.
struct Anchored<'a> {
    node: Node<'a>,
    nodes: usize,
    depth: usize,
}

/// Turns the parser's events into a tree. It keeps its own stack, so that depth costs no call stack.
struct Builder<'a, 'b> {
    lines_before: u32,
    budget: &'b mut usize,
    open: Vec<Open<'a>>,
    anchors: BTreeMap<usize, Anchored<'a>>,
    flaws: Vec<(Place, Code, String)>,
    root: Option<Node<'a>>,
}

impl<'a> Builder<'a, '_> {
    fn run(&mut self, chunk: &'a str) -> Result<(), Failure> {
        let mut parser: Parser<'a, StrInput<'a>> = Parser::new_from_str(chunk);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| Failure {
                place: self.place(*error.marker()),
                // The parser has a limit of its own, and looks ahead of the events it gives.
                code: if error.info().contains("recursion") { Code::TooDeep } else { Code::Syntax },
                message: format!("not well-formed YAML: {}", error.info()),
            })?;
            let place = self.place(span.start);
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentStart(_) if self.root.is_some() => {
                    let message = "a second document begins without '---'".into();
                    return Err(Failure { place, code: Code::Syntax, message });
                }
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                Event::Alias(anchor) => self.alias(anchor, place)?,
                Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, anchor, tag, place)?,
                Event::SequenceStart(anchor, tag) => {
                    self.open(anchor, Value::Sequence(Vec::new()), tag.as_deref(), place)?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.open(anchor, Value::Mapping(Vec::new()), tag.as_deref(), place)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(place)?,
            }
        }
        Ok(())
    }

    fn place(&self, marker: Marker) -> Place {
        Place {
            line: narrow(marker.line()).saturating_add(self.lines_before),
            column: narrow(marker.col()).saturating_add(1),
        }
    }

    fn spend(&mut self, nodes: usize, place: Place) -> Result<(), Failure> {
        let Some(left) = self.budget.checked_sub(nodes) else {
            let message = format!("the file has more than {MAX_NODES} nodes, aliases expanded");
            return Err(Failure { place, code: Code::TooManyNodes, message });
        };
        *self.budget = left;
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<Cow<'a, Tag>>,
        place: Place,
    ) -> Result<(), Failure> {
        let mut plain = style == ScalarStyle::Plain;
        match tag.as_deref() {
            None => {}
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => plain = false,
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix != "binary" => plain = true,
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => plain = false,
            Some(tag) => self.unsupported_tag(tag, place),
        }
        self.spend(1, place)?;
        let nodes = 1 + text.len() / BYTES_PER_NODE;
        self.add(anchor, Node { place, value: Value::Scalar { text, plain } }, nodes, 0)
    }

    fn unsupported_tag(&mut self, tag: &Tag, place: Place) {
        self.flaws.push((place, Code::UnsupportedYaml, format!("the tag {tag} has no meaning here")));
    }

    fn open(
        &mut self,
        anchor: usize,
        value: Value<'a>,
        tag: Option<&Tag>,
        place: Place,
    ) -> Result<(), Failure> {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            self.unsupported_tag(tag, place);
        }
        self.spend(1, place)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(place));
        }
        let node = Node { place, value };
        self.open.push(Open { anchor, node, key: None, merged: Vec::new(), nodes: 1, depth: 1 });
        Ok(())
    }

    fn close(&mut self, place: Place) -> Result<(), Failure> {
        let Some(mut done) = self.open.pop() else {
            return Err(Failure {
                place,
                code: Code::Syntax,
                message: "an end without its beginning".into(),
            });
        };
        if let Value::Mapping(entries) = &mut done.node.value {
            let twice = remove_duplicates(entries);
            let is_root = self.open.is_empty();
            self.flaws.extend(if is_root { second_object(twice) } else { twice });
            for merged in done.merged {
                if let Err(message) = merge(entries, merged) {
                    self.flaws.push((done.node.place, Code::UnsupportedYaml, message));
                }
            }
        }
        self.add(done.anchor, done.node, done.nodes, done.depth)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Failure> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            let message = "the alias stands inside the node it names".into();
            return Err(Failure { place, code: Code::UnknownAlias, message });
        };
        let (nodes, depth) = (anchored.nodes, anchored.depth);
        self.spend(nodes, place)?;
        if self.open.len() + depth > MAX_DEPTH {
            return Err(too_deep(place));
        }
        let Some(node) = self.anchors.get(&anchor).map(|anchored| anchored.node.clone()) else {
            return Ok(());
        };
        self.add(0, node, nodes, depth)
    }

    /// Puts a finished node where it belongs: into the innermost open container, as key or value.
    fn add(&mut self, anchor: usize, node: Node<'a>, nodes: usize, depth: usize) -> Result<(), Failure> {
        if anchor > 0 {
            // The kept copy is one more, and nested anchors make copies of copies.
            self.spend(nodes, node.place)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, depth });
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.nodes = parent.nodes.saturating_add(nodes);
        parent.depth = parent.depth.max(depth + 1);
        match &mut parent.node.value {
            Value::Sequence(items) => items.push(node),
            Value::Mapping(entries) => match parent.key.take() {
                Some((key, _)) if key == "<<" => parent.merged.push(node),
                Some((key, place)) => entries.push(Entry { key, place, node }),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        let message = "a mapping key must be text".into();
                        return Err(Failure { place: node.place, code: Code::BadKey, message });
                    };
                    parent.key = Some((text, node.place));
                }
            },
            Value::Scalar { .. } => {}
        }
        Ok(())
    }
}

fn too_deep(place: Place) -> Failure {
    Failure { place, code: Code::TooDeep, message: format!("nested deeper than {MAX_DEPTH} levels") }
}

/// Leaves the first of equal keys and reports the others.
fn remove_duplicates(entries: &mut Vec<Entry<'_>>) -> Vec<(Place, Code, String)> {
    let small = entries.len() <= SMALL_MAPPING;
    let clean =
        small && entries.iter().enumerate().all(|(i, a)| entries.iter().skip(i + 1).all(|b| a.key != b.key));
    if clean {
        return Vec::new();
    }
    let mut seen: HashSet<String> = HashSet::with_capacity(entries.len());
    let mut flaws = Vec::new();
    entries.retain(|entry| {
        let first = seen.insert(entry.key.to_string());
        if !first {
            let key: String = entry.key.chars().take(80).collect();
            flaws.push((entry.place, Code::DuplicateKey, there_twice(&key)));
        }
        first
    });
    flaws
}

/// What is there twice at the root, `kind` included, is another object: it is one mistake, not one for each key.
fn second_object(twice: Vec<(Place, Code, String)>) -> Vec<(Place, Code, String)> {
    let has = |key: &str| twice.iter().any(|(_, _, message)| *message == there_twice(key));
    let is_object = has("kind") && (has("apiVersion") || has("metadata"));
    if !is_object {
        return twice;
    }
    let message = "another object begins here, and a line '---' before it is missing".to_owned();
    let first = twice.into_iter().map(|(place, ..)| place).min();
    first.map(|place| (place, Code::DuplicateKey, message)).into_iter().collect()
}

fn there_twice(key: &str) -> String {
    format!("the key {key:?} is there twice")
}

/// Adds what `<<` refers to; keys that are there already win.
fn merge<'a>(entries: &mut Vec<Entry<'a>>, merged: Node<'a>) -> Result<(), String> {
    match merged.value {
        Value::Mapping(more) => {
            let seen: HashSet<String> = entries.iter().map(|entry| entry.key.to_string()).collect();
            entries.extend(more.into_iter().filter(|entry| !seen.contains(entry.key.as_ref())));
            Ok(())
        }
        Value::Sequence(nodes) => nodes.into_iter().try_for_each(|node| match node.value {
            Value::Mapping(_) => merge(entries, node),
            Value::Scalar { .. } | Value::Sequence(_) => Err("'<<' needs mappings".into()),
        }),
        Value::Scalar { .. } => Err("'<<' needs a mapping".into()),
    }
}
