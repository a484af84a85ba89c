//! `mcp` and `a2a` of an InferencePolicy: what holds for servers of the Model Context Protocol, and for agents that speak
//! Agent2Agent.
//!
//! Guarantees: an origin is a scheme, a host and perhaps a port, and nothing else; a tool is pinned once. Does not: know which
//! tools there are.

use super::authentication::hex;
use super::values::text;
use crate::decode::Decoder;
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most origins.
const MOST_ORIGINS: usize = 64;
/// Bytes of an origin.
const MOST_ORIGIN: usize = 320;
/// Most tools that are pinned.
const MOST_PINS: usize = 256;
/// Bytes of a tool's name.
const MOST_TOOL: usize = 256;

/// Name under which the card is pinned that an agent shows to everybody.
pub const AGENT_CARD: &str = "agent-card.json";

/// `mcp`, or `a2a`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mcp {
    /// `origins`: which pages of a browser may ask. Empty: none.
    pub origins: Vec<Arc<str>>,
    /// `definitions`: what tools say of themselves stays what it was; of `a2a` it is `card`, what an agent says of itself. `None`:
    /// it may change.
    pub definitions: Option<Definitions>,
}

/// `mcp.definitions`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definitions {
    /// `pins`: SHA-256 of a tool's definition, by the name of the tool.
    pub pins: BTreeMap<Arc<str>, [u8; 32]>,
    /// `others`; `TrustOnFirstUse` if not written.
    pub others: Unpinned,
}

/// What becomes of tools that are not pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unpinned {
    /// `TrustOnFirstUse`: as they are seen first, they stay.
    TrustOnFirstUse,
    /// `Quarantine`: nobody sees or calls them.
    Quarantine,
}

impl Unpinned {
    /// As they are written.
    pub const WORDS: [(&'static str, Self); 2] =
        [("TrustOnFirstUse", Self::TrustOnFirstUse), ("Quarantine", Self::Quarantine)];
}

pub(super) fn mcp<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Mcp> {
    let map = d.strict(node, &["origins", "definitions"])?;
    if map.keys().next().is_none() {
        let diagnostic = Diagnostic::error(Code::MissingField, "at least one field is needed");
        d.report(node.place, diagnostic.suggest("for example {definitions: {others: TrustOnFirstUse}}"));
    }
    let origins = d.field(map, "origins", origins);
    let definitions = d.field(map, "definitions", definitions);
    Some(Mcp { origins: origins.flatten().unwrap_or_default(), definitions: definitions.flatten() })
}

pub(super) fn a2a<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Mcp> {
    let map = d.strict(node, &["origins", "card"])?;
    if map.keys().next().is_none() {
        let diagnostic = Diagnostic::error(Code::MissingField, "at least one field is needed");
        d.report(node.place, diagnostic.suggest("for example {card: {others: TrustOnFirstUse}}"));
    }
    let origins = d.field(map, "origins", origins);
    let card = d.field(map, "card", card);
    Some(Mcp { origins: origins.flatten().unwrap_or_default(), definitions: card.flatten() })
}

/// A card that is pinned, and what becomes of those that are not.
fn card<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Definitions> {
    let map = d.strict(node, &["sha256", "others"])?;
    let pin = d.field(map, "sha256", sha256);
    let others = d.field(map, "others", |d, node| d.one_of(node, &Unpinned::WORDS));
    let pin = pin.map_or(Some(None), |pin| pin.map(Some))?;
    Some(Definitions {
        pins: pin.map(|digest| (AGENT_CARD.into(), digest)).into_iter().collect(),
        others: others.unwrap_or(Some(Unpinned::TrustOnFirstUse))?,
    })
}

fn origins<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Vec<Arc<str>>> {
    d.check_length(node, 1, MOST_ORIGINS);
    d.list(node, origin)
}

/// As browsers send them (RFC 6454, section 6.1): in lower case, without a path.
fn origin<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = text(d, node, MOST_ORIGIN)?;
    let host = text
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        .map(|(_, host)| host);
    let is_host = |host: &str| {
        let is_of_host =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
        !host.is_empty() && host.bytes().all(is_of_host)
    };
    if !host.is_some_and(is_host) {
        let diagnostic = Diagnostic::error(Code::InvalidValue, "it is no origin as browsers send it");
        d.report(node.place, diagnostic.suggest("scheme and host in lower case: https://app.example"));
        return None;
    }
    Some(text)
}

fn definitions<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Definitions> {
    let map = d.strict(node, &["pins", "others"])?;
    let pins = d.field(map, "pins", |d, node| {
        d.check_length(node, 1, MOST_PINS);
        d.list(node, pin)
    });
    let others = d.field(map, "others", |d, node| d.one_of(node, &Unpinned::WORDS));
    let mut known = BTreeMap::new();
    for (tool, digest) in pins.unwrap_or(Some(Vec::new()))? {
        if known.insert(tool, digest).is_some() {
            d.error(node.place, Code::InvalidValue, "a tool is pinned twice: which one holds is not said");
        }
    }
    Some(Definitions { pins: known, others: others.unwrap_or(Some(Unpinned::TrustOnFirstUse))? })
}

fn pin<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<(Arc<str>, [u8; 32])> {
    let map = d.strict(node, &["tool", "sha256"])?;
    let tool = d.required(map, "tool", |d, node| text(d, node, MOST_TOOL));
    let digest = d.required(map, "sha256", sha256);
    Some((tool?, digest?))
}

fn sha256<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<[u8; 32]> {
    let read = hex(d.str(node)?);
    if read.is_none() {
        let diagnostic = Diagnostic::error(Code::InvalidValue, "it is no SHA-256 in hexadecimal digits");
        d.report(node.place, diagnostic.suggest("records of lists of tools and of cards have their digests"));
    }
    read
}
