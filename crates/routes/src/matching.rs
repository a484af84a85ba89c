//! The matches of one host: which of them a request meets first.
//!
//! The order is the API's: an exact path, then regular expressions (where the API leaves the order open; the longer
//! first), then the longest prefix; then a method, more headers, more query parameters; then the older route, its name,
//! and the place in it. Finding takes time linear in the request, and in the matches that share one path.

use crate::asked::Asked;
use crate::path::{Path, elements};
use crate::query::Query;
use crate::routing::Why;
use crate::rule::RuleId;
use crds::{PathMatch, RouteMatch};
use regex::{Regex, RegexBuilder, bytes};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Largest compiled regular expression, in bytes.
const MOST_REGEX: usize = 1 << 20;

/// What comes first, the least first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Characters of the service and method of gRPC, or of a regular expression.
    pub(crate) characters: Reverse<(usize, usize)>,
    pub(crate) method: Reverse<bool>,
    pub(crate) headers: Reverse<usize>,
    pub(crate) query: Reverse<usize>,
    pub(crate) age: Age,
    /// Rule and match.
    pub(crate) place: (usize, usize),
}

/// How old an object is, then its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    /// Without a time it counts as the youngest.
    has_no_time: bool,
    created: Arc<str>,
    name: String,
}

impl Age {
    pub(crate) fn of(meta: &crds::ObjectMeta) -> Self {
        let (created, name) = (meta.created.clone(), format!("{}/{}", meta.namespace, meta.name));
        Self { has_no_time: created.is_empty(), created, name }
    }
}

/// One match, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) rank: Rank,
    pub(crate) rule: RuleId,
    pub(crate) path: Where,
    method: Option<Arc<str>>,
    headers: Vec<(Arc<str>, Value)>,
    query: Vec<(Arc<str>, Value)>,
}

/// What its path must be, decoded.
#[derive(Clone, Debug)]
pub(crate) enum Where {
    Exact(Arc<str>),
    Regex(Regex),
    Prefix(Arc<str>),
}

#[derive(Clone, Debug)]
enum Value {
    Exact(Arc<str>),
    Regex(bytes::Regex),
}

impl Value {
    fn is(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(expected) => expected.as_bytes() == value,
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

impl Entry {
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn new(
        from: &RouteMatch,
        rule: RuleId,
        age: &Age,
        place: (usize, usize),
    ) -> Result<Self, String> {
        let (path, characters) = compile_path(&from.path)?;
        let mut headers = Vec::new();
        for wanted in &from.headers {
            let name: Arc<str> = wanted.name.to_ascii_lowercase().into();
            // The API: of names that are the same but for case, only the first counts.
            if !headers.iter().any(|(known, _)| *known == name) {
                headers.push((name, value(wanted)?));
            }
        }
        let mut query: Vec<(Arc<str>, Value)> = Vec::new();
        for wanted in &from.query {
            if !query.iter().any(|(known, _)| *known == wanted.name) {
                query.push((wanted.name.clone(), value(wanted)?));
            }
        }
        let rank = Rank {
            characters: Reverse(characters),
            method: Reverse(from.method.is_some()),
            headers: Reverse(headers.len()),
            query: Reverse(query.len()),
            age: age.clone(),
            place,
        };
        Ok(Self { rank, rule, path, method: from.method.clone(), headers, query })
    }

    /// Whether all but its path is as wanted.
    fn holds(&self, asked: &Asked<'_>, query: &Query<'_>) -> Result<bool, Why> {
        if self.method.as_deref().is_some_and(|method| method != asked.method) {
            return Ok(false);
        }
        let has_headers = self
            .headers
            .iter()
            .all(|(name, wanted)| joined(asked, name).is_some_and(|value| wanted.is(&value)));
        if !has_headers {
            return Ok(false);
        }
        for (name, wanted) in &self.query {
            if !query.get(name)?.is_some_and(|value| wanted.is(value)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A field's values as one, as RFC 9110, section 5.3 lets them be joined.
fn joined(asked: &Asked<'_>, name: &str) -> Option<Vec<u8>> {
    let mut whole: Option<Vec<u8>> = None;
    asked.headers.each(name, &mut |value| match &mut whole {
        Some(whole) => {
            whole.extend_from_slice(b", ");
            whole.extend_from_slice(value);
        }
        None => whole = Some(value.to_vec()),
    });
    whole
}

fn value(wanted: &crds::TextMatch) -> Result<Value, String> {
    if !wanted.is_regex {
        return Ok(Value::Exact(wanted.value.clone()));
    }
    Regex::new(&wanted.value).map_err(|error| not_a_regex(&wanted.value, &error))?;
    let whole = format!(r"\A(?:{})\z", wanted.value);
    let regex = bytes::RegexBuilder::new(&whole).size_limit(MOST_REGEX).build();
    regex.map(Value::Regex).map_err(|error| not_a_regex(&wanted.value, &error))
}

/// The expression must be one by itself, or it could close the group that holds it.
fn whole(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| not_a_regex(pattern, &error))?;
    let regex = RegexBuilder::new(&format!(r"\A(?:{pattern})\z")).size_limit(MOST_REGEX).build();
    regex.map_err(|error| not_a_regex(pattern, &error))
}

fn not_a_regex(pattern: &str, error: &regex::Error) -> String {
    let why = match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        other => other.to_string().lines().last().unwrap_or_default().trim().to_owned(),
    };
    format!("{:?} is no regular expression that is run: {why}", pattern.chars().take(80).collect::<String>())
}

fn compile_path(path: &PathMatch) -> Result<(Where, (usize, usize)), String> {
    let decoded = |text: &str| {
        let path = Path::read(text).map_err(|fault| format!("{text:?}: {fault}"))?;
        Ok::<Arc<str>, String>(path.as_str().into())
    };
    Ok(match path {
        PathMatch::Exact(text) => (Where::Exact(decoded(text)?), (0, 0)),
        PathMatch::Prefix(text) => (Where::Prefix(decoded(text)?), (0, 0)),
        PathMatch::Regex(text) => (Where::Regex(whole(text)?), (text.chars().count(), 0)),
        PathMatch::Call { service: Some(service), method: Some(method), is_regex: false } => {
            (Where::Exact(format!("/{service}/{method}").into()), (0, 0))
        }
        PathMatch::Call { service, method, is_regex } => {
            let part = |text: &Option<Arc<str>>| match text {
                None => Ok("[^/]+".to_owned()),
                Some(text) if *is_regex => whole(text).map(|_| format!("(?:{text})")),
                Some(text) => Ok(regex::escape(text)),
            };
            let count = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.chars().count());
            let regex = whole(&format!("/{}/{}", part(service)?, part(method)?))?;
            (Where::Regex(regex), (count(service), count(method)))
        }
    })
}

/// Every match of one host.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: HashMap<Arc<str>, Vec<Arc<Entry>>>,
    regexes: Vec<Arc<Entry>>,
    /// The root first.
    prefixes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<Arc<str>, usize>,
    entries: Vec<Arc<Entry>>,
}

impl Table {
    pub(crate) fn insert(&mut self, entry: &Arc<Entry>) {
        match &entry.path {
            Where::Exact(path) => self.exact.entry(path.clone()).or_default().push(entry.clone()),
            Where::Regex(_) => self.regexes.push(entry.clone()),
            Where::Prefix(path) => {
                let at = self.node(path);
                self.prefixes.get_mut(at).into_iter().for_each(|node| node.entries.push(entry.clone()));
            }
        }
    }

    /// The node of a prefix, made where it is not there.
    fn node(&mut self, path: &str) -> usize {
        if self.prefixes.is_empty() {
            self.prefixes.push(Node::default());
        }
        let mut at = 0;
        for element in elements(path) {
            let new = self.prefixes.len();
            let Some(node) = self.prefixes.get_mut(at) else { return at };
            at = *node.children.entry(element.into()).or_insert(new);
            if at == new {
                self.prefixes.push(Node::default());
            }
        }
        at
    }

    /// Puts everything in order, once all is there.
    pub(crate) fn sort(&mut self) {
        let by_rank = |one: &Arc<Entry>, other: &Arc<Entry>| one.rank.cmp(&other.rank);
        self.exact.values_mut().for_each(|entries| entries.sort_by(by_rank));
        self.regexes.sort_by(by_rank);
        self.prefixes.iter_mut().for_each(|node| node.entries.sort_by(by_rank));
    }

    /// The first match that a request meets, and how many elements of its path a prefix took.
    pub(crate) fn find(
        &self,
        path: &Path<'_>,
        asked: &Asked<'_>,
        query: &Query<'_>,
    ) -> Result<Option<(RuleId, Option<usize>)>, Why> {
        for entry in self.exact.get(path.as_str()).into_iter().flatten() {
            if entry.holds(asked, query)? {
                return Ok(Some((entry.rule, None)));
            }
        }
        for entry in &self.regexes {
            if matches!(&entry.path, Where::Regex(regex) if regex.is_match(path.as_str()))
                && entry.holds(asked, query)?
            {
                return Ok(Some((entry.rule, None)));
            }
        }
        for (depth, node) in self.walk(path).into_iter().rev() {
            for entry in &node.entries {
                if entry.holds(asked, query)? {
                    return Ok(Some((entry.rule, Some(depth))));
                }
            }
        }
        Ok(None)
    }

    /// The rule that everything meets, which is all that a TLSRoute has.
    pub(crate) fn first(&self) -> Option<RuleId> {
        self.prefixes.first()?.entries.first().map(|entry| entry.rule)
    }

    /// The prefixes of a path, the shortest first.
    fn walk(&self, path: &Path<'_>) -> Vec<(usize, &Node)> {
        let mut found = Vec::new();
        let Some(mut node) = self.prefixes.first() else { return found };
        found.push((0, node));
        for (depth, element) in path.elements().enumerate() {
            let next = node.children.get(element).and_then(|at| self.prefixes.get(*at));
            let Some(next) = next else { break };
            node = next;
            found.push((depth + 1, node));
        }
        found
    }
}
