//! Looks for what must not leave: in the head of a request, and in its body as it goes by.
//!
//! Enters: what the allowing rule looks for, a head, and the body as it was sent. Leaves: findings, and the reason for
//! which the request must stop. Guarantees: where a rule blocks anything, a request that cannot be searched stops. Does
//! not: look for a key where one belongs (fields and parameters of credentials; a canary is looked for there too).

use super::aws_chunks::AwsChunks;
use super::hold::{Held, Share};
use super::joining::{Joining, Text, across};
use super::reading::decoder;
use super::undoing::Undoing;
use crate::call::Course;
use crate::edges::{Beside, EDGE, Edges, Place};
use crate::leaks::{LeakFact, LeakKind, LeakPlace, MAX_FACTS, Search};
use crate::parts::{Ends, Piece, Uploads};
use crate::reason::Reason;
use ::inspect::leak::multipart::{Part as Content, Parts};
use ::inspect::leak::{Leak, LeakClass, LeakRules, Scanner, Span};
use http::{HeaderMap, HeaderValue, header, request};
use policy::LeakAction;
use std::sync::Arc;
use std::time::Instant;

/// Fields in which a key belongs.
pub(super) const KEY_FIELDS: [&str; 11] = [
    "api-key",
    "authorization",
    "cookie",
    "job-token",
    "ocp-apim-subscription-key",
    "private-token",
    "proxy-authorization",
    "sec-websocket-protocol",
    "x-amz-security-token",
    "x-api-key",
    "x-goog-api-key",
];

/// Parameters in which a key, or what is signed with one, belongs; in lower case.
const KEY_PARAMETERS: [&str; 14] = [
    "access_token",
    "api-key",
    "api_key",
    "awsaccesskeyid",
    "key",
    "key-pair-id",
    "policy",
    "sig",
    "signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-credential",
    "x-goog-signature",
];

/// What the signature of a request to S3 covers of its body, and how that begins where the body comes in chunks.
const SIGNED_CONTENT: &str = "x-amz-content-sha256";
const IN_CHUNKS: &[u8] = b"STREAMING-";

/// The media type of a body whose parts have content.
const FORM: &[u8] = b"multipart/form-data";

/// What is found in a head.
///
/// # Errors
/// It cannot be searched.
pub(crate) fn search_head(search: &Search, head: &request::Parts) -> Result<Vec<LeakFact>, Reason> {
    let rules = search.rules().ok_or(Reason::LeakUnread)?;
    let (mut open, mut keys) = (Vec::new(), Vec::new());
    let mut put = |is_key: bool, text: &[u8]| {
        let to = if is_key { &mut keys } else { &mut open };
        to.extend_from_slice(text);
        to.push(b'\n');
    };
    put(false, head.uri.path().as_bytes());
    for parameter in head.uri.query().unwrap_or_default().split('&') {
        let name = parameter.split('=').next().unwrap_or_default();
        let is_key = KEY_PARAMETERS.iter().any(|known| known.eq_ignore_ascii_case(name));
        put(is_key, parameter.as_bytes());
    }
    for (name, value) in &head.headers {
        put(KEY_FIELDS.contains(&name.as_str()), value.as_bytes());
    }
    // Apart from values, for a name before one makes a secret of what is none.
    put(false, head.method.as_str().as_bytes());
    head.headers.keys().for_each(|name| put(false, name.as_str().as_bytes()));
    let mut facts = found(search, rules, &open);
    facts.retain(|fact| !matches!(fact.class, LeakKind::File));
    let planted = found(search, rules, &keys).into_iter().filter(|fact| fact.class == LeakKind::Canary);
    facts.extend(planted);
    Ok(facts)
}

fn found(search: &Search, rules: &Arc<LeakRules>, text: &[u8]) -> Vec<LeakFact> {
    let mut scanner = Scanner::new(Arc::clone(rules));
    scanner.push(text);
    scanner.end();
    scanner.leaks().iter().filter_map(|leak| search.fact(leak, LeakPlace::Head, false)).collect()
}

/// Why a request is stopped for what was found; `None`: it is not.
pub(crate) fn stops(search: &Search, facts: &[LeakFact]) -> Option<Reason> {
    let mut stopping = facts.iter().filter(|fact| fact.blocked).peekable();
    stopping.peek()?;
    let is_unmasked = stopping.all(|fact| search.action(fact.class) == Some(LeakAction::Mask));
    Some(if is_unmasked { Reason::LeakUnmasked } else { Reason::LeakBlocked })
}

/// Searches one body.
#[derive(Debug)]
pub(crate) struct Searching {
    search: Arc<Search>,
    scanner: Scanner,
    /// What the scanner keeps of what is packed; `None`: it is given what is held already.
    held: Option<Held>,
    /// Undoes its codings; `None`: it is not searched any further.
    decoder: Option<Undoing>,
    /// And before that the chunks that it comes in.
    chunks: Option<AwsChunks>,
    course: Arc<Course>,
    /// Findings that were told.
    told: usize,
    stops: Option<Reason>,
    /// Whether the body can be masked, so that what is to be masked does not stop it.
    may_mask: bool,
    /// Where it is a part of something larger.
    part: Option<Part>,
    /// Where it puts parts together.
    joining: Option<Joining>,
    /// What stands across its edges, or those of the parts that it puts together.
    across: Vec<LeakFact>,
}

/// A part of an upload that comes in several requests.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where it is known at once what stands beside it.
    place: Option<(Arc<Edges>, Place)>,
    /// Where a list will say what stands beside it.
    piece: Option<(Arc<Uploads>, Piece)>,
    /// Takes a form apart, where the part is a file in one.
    form: Option<Parts>,
    length: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
    has_begun: bool,
}

/// What stands across an edge, and how many bytes of it before the edge.
type Across = Vec<(Vec<u8>, usize)>;

impl Part {
    /// Of a request with these fields. `None`: it is no part.
    pub(crate) fn of(
        place: Option<(Arc<Edges>, Place)>,
        piece: Option<(Arc<Uploads>, Piece)>,
        fields: &HeaderMap,
    ) -> Option<Self> {
        if place.is_none() && piece.is_none() {
            return None;
        }
        let kind = fields.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let is_form = kind.get(..FORM.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(FORM));
        let form = is_form.then(Parts::default);
        Some(Self { place, piece, form, length: 0, head: Vec::new(), tail: Vec::new(), has_begun: false })
    }

    /// Takes the next bytes of the body. Gives what stands across the part's beginning, once enough came.
    fn push(&mut self, bytes: &[u8]) -> Across {
        let Some(form) = &mut self.form else { return self.take(bytes) };
        let mut content = Vec::new();
        form.push(bytes, &mut gathering(&mut content));
        self.take(&content)
    }

    fn take(&mut self, bytes: &[u8]) -> Across {
        self.length = self.length.saturating_add(bytes.len() as u64);
        let room = EDGE.saturating_sub(self.head.len());
        self.head.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        self.tail.extend_from_slice(bytes.get(bytes.len().saturating_sub(EDGE)..).unwrap_or_default());
        self.tail.drain(..self.tail.len().saturating_sub(EDGE));
        if self.head.len() == EDGE { self.begin() } else { Vec::new() }
    }

    fn begin(&mut self) -> Across {
        if std::mem::replace(&mut self.has_begun, true) {
            return Vec::new();
        }
        let Some((edges, place)) = &self.place else { return Vec::new() };
        let Beside { next, others } = edges.begins(*place, &self.head, Instant::now());
        if let Some(before) = next.as_ref().filter(|_| self.length < EDGE as u64) {
            // It is shorter than what may stand across it.
            self.tail = [before.as_slice(), &self.head].concat();
        }
        let across = |before: Vec<u8>| ([before.as_slice(), &self.head].concat(), before.len());
        next.into_iter().chain(others).map(across).collect()
    }

    /// It is over. Gives what stands across its beginning, if that was not given yet, and across its end.
    fn end(&mut self) -> Across {
        let mut content = Vec::new();
        if let Some(form) = &mut self.form {
            form.end(&mut gathering(&mut content));
        }
        let mut all = self.take(&content);
        if let Some((uploads, piece)) = &self.piece {
            uploads.came(*piece, Ends::of(&self.head, &self.tail, self.length), Instant::now());
        }
        all.append(&mut self.begin());
        let Some((edges, place)) = &self.place else { return all };
        let Beside { next, others } = edges.ends(*place, self.length, &self.tail, Instant::now());
        let across = |behind: Vec<u8>| ([self.tail.as_slice(), &behind].concat(), self.tail.len());
        all.extend(next.into_iter().chain(others).map(across));
        all
    }
}

fn gathering(content: &mut Vec<u8>) -> impl FnMut(Content<'_>) {
    |piece| match piece {
        Content::Bytes(bytes) => content.extend_from_slice(bytes),
        Content::Begin(_) | Content::End | Content::Outside(_) => {}
    }
}

impl Searching {
    /// For a body with these fields.
    ///
    /// # Errors
    /// It cannot be searched.
    pub(crate) fn new(
        search: &Arc<Search>,
        fields: &HeaderMap,
        course: &Arc<Course>,
        may_mask: bool,
        hold: &Share,
    ) -> Result<Self, Reason> {
        let chunks = is_framed_only(fields).then(AwsChunks::new);
        let decoder = if chunks.is_some() { Some(Undoing::plain()) } else { decoder(fields, hold) };
        if decoder.is_none() && search.blocks() {
            return Err(Reason::LeakUnread);
        }
        Ok(Self { held: Some(Held::none(hold)), chunks, may_mask, ..Self::of(search, decoder, course)? })
    }

    fn of(search: &Arc<Search>, decoder: Option<Undoing>, course: &Arc<Course>) -> Result<Self, Reason> {
        let rules = search.rules().ok_or(Reason::LeakUnread)?;
        let (search, course) = (Arc::clone(search), Arc::clone(course));
        let scanner = Scanner::new(Arc::clone(rules));
        Ok(Self {
            search,
            scanner,
            held: None,
            decoder,
            chunks: None,
            course,
            told: 0,
            stops: None,
            may_mask: false,
            part: None,
            joining: None,
            across: Vec::new(),
        })
    }

    /// Has what stands across its edges searched as well.
    pub(crate) fn part(mut self, part: Option<Part>) -> Self {
        self.part = part;
        self
    }

    /// Has what stands across the parts searched that its body lists.
    pub(crate) fn joining(mut self, joining: Option<Joining>) -> Self {
        self.joining = joining;
        self
    }

    /// What is found in a body that cannot be masked any further.
    ///
    /// # Errors
    /// It cannot be searched.
    pub(crate) fn whole(search: &Arc<Search>, body: &[u8]) -> Result<Vec<LeakFact>, Reason> {
        let course = Arc::default();
        let mut searching = Self::of(search, Some(Undoing::plain()), &course)?;
        searching.push(body);
        searching.end();
        Ok(course.found())
    }

    /// Whether anything is to be masked.
    pub(crate) fn has_masked(&self) -> bool {
        self.course.found().iter().any(|fact| fact.masked)
    }

    /// What is to be masked, in the order of the body; `None`: more than is told.
    pub(crate) fn spans(&self) -> Option<Vec<&Span>> {
        Some(self.scanner.spans()?.iter().filter(|span| self.search.is_masked(span)).collect())
    }

    /// Why the request must not come to its end.
    pub(crate) fn stops(&self) -> Option<Reason> {
        self.stops
    }

    /// Whether anything may stop it, so that its end must be held back.
    pub(crate) fn may_stop(&self) -> bool {
        self.search.blocks()
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        let Some(decoder) = &mut self.decoder else { return };
        let (scanner, part, joining) = (&mut self.scanner, &mut self.part, &mut self.joining);
        let mut across = Vec::new();
        let mut search = |bytes: &[u8], is_content: bool| {
            scanner.push(bytes);
            if let Some(part) = part.as_mut().filter(|_| is_content) {
                across.append(&mut part.push(bytes));
            }
            joining.iter_mut().filter(|_| is_content).for_each(|joining| joining.push(bytes));
        };
        let is_read = match &mut self.chunks {
            Some(chunks) => chunks.push(piece, &mut search).is_ok(),
            None => decoder
                .push_to(piece, &mut |bytes| {
                    search(bytes, true);
                    Ok(())
                })
                .is_ok(),
        };
        let weight = self.scanner.weight();
        let has_room = self.held.as_mut().is_none_or(|held| held.at_least(weight).is_ok());
        self.read(is_read && has_room);
        across.iter().for_each(|(bytes, at)| self.cross(bytes, *at));
    }

    pub(crate) fn end(&mut self) {
        let Some(decoder) = &mut self.decoder else {
            self.joining.iter().for_each(|joining| self.course.unseen(joining.listed()));
            return;
        };
        let is_whole = decoder.end().is_ok() && self.chunks.as_ref().is_none_or(AwsChunks::is_over);
        self.scanner.end();
        self.read(is_whole);
        self.decoder = None;
        let across = self.part.as_mut().map(Part::end).unwrap_or_default();
        across.iter().for_each(|(bytes, at)| self.cross(bytes, *at));
        self.join();
    }

    /// Searches across the parts that its body puts together. What cannot be judged is told, and where a list is none that is
    /// read nothing that it puts together may be, as what cannot be searched.
    fn join(&mut self) {
        let (Some(joining), Some(rules)) = (&mut self.joining, self.search.rules()) else { return };
        let Ok(joined) = joining.end(rules) else {
            self.course.unseen(joining.listed());
            return self.read(false);
        };
        self.course.unseen(joined.unseen);
        self.found_across(&joined.leaks);
    }

    /// Searches what stands across an edge, `at` so many bytes.
    fn cross(&mut self, bytes: &[u8], at: usize) {
        let Some(rules) = self.search.rules() else { return };
        let (before, behind) = bytes.split_at_checked(at).unwrap_or_default();
        let mut leaks = across(rules, &Text::of(before, behind, at < EDGE));
        // A file reaches to where it was looked at, so that what follows seems to be of it.
        let known: Vec<&str> = self.scanner.leaks().iter().map(|leak| leak.rule).collect();
        let is_known = |rule: &str| known.contains(&rule) || self.across.iter().any(|fact| fact.rule == rule);
        leaks.retain(|leak| !matches!(leak.class, LeakClass::File(_)) || !is_known(leak.rule));
        self.found_across(&leaks);
    }

    fn found_across(&mut self, leaks: &[Leak]) {
        let facts = leaks.iter().filter_map(|leak| self.search.fact(leak, LeakPlace::Body, false));
        let across: Vec<_> = facts.map(|fact| LeakFact { offset: 0, ..fact }).collect();
        if !across.is_empty() {
            self.across.extend(across);
            self.told = usize::MAX;
            self.read(true);
        }
    }

    fn read(&mut self, is_readable: bool) {
        if !is_readable {
            self.decoder = None;
            self.stops = self.stops.or(self.search.blocks().then_some(Reason::LeakUnread));
        }
        let leaks = self.scanner.leaks();
        if leaks.len() == self.told {
            return;
        }
        self.told = leaks.len();
        let own = leaks.iter().filter_map(|leak| self.search.fact(leak, LeakPlace::Body, self.may_mask));
        let mut facts: Vec<_> = own.chain(self.across.iter().cloned()).collect();
        // What stopped it must not be lost.
        facts.sort_by_key(|fact| (!fact.blocked, !fact.masked));
        facts.truncate(MAX_FACTS);
        self.stops = stops(&self.search, &facts).or(self.stops);
        self.course.leaked(facts);
    }
}

/// Whether the body is plain but for the chunks in which SDKs of S3 send it. Servers go by what is signed, and need no coding that
/// says the same.
fn is_framed_only(fields: &HeaderMap) -> bool {
    let values = fields.get_all(header::CONTENT_ENCODING).into_iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_none = |name: &&[u8]| name.is_empty() || name.eq_ignore_ascii_case(b"identity");
    let mut codings = names.map(<[u8]>::trim_ascii).filter(|name| !is_none(name));
    match (codings.next(), codings.next()) {
        (None, _) => fields.get_all(SIGNED_CONTENT).iter().any(is_signed_in_chunks),
        (Some(only), None) => only.eq_ignore_ascii_case(b"aws-chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Whether the signature of a request covers its body chunk by chunk, or says so of one that it does not cover.
fn is_signed_in_chunks(covered: &HeaderValue) -> bool {
    let covered = covered.as_bytes().trim_ascii();
    covered.get(..IN_CHUNKS.len()).is_some_and(|start| start.eq_ignore_ascii_case(IN_CHUNKS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaks::Searches;
    use policy::{Canaries, LeakAction, Leaks};
    use proptest::prelude::*;

    fn searches() -> Arc<Search> {
        let canaries = Canaries { values: vec!["canary-3f9c1d7e".into()], action: LeakAction::Block };
        let report = Some(LeakAction::Report);
        let leaks = Leaks {
            canaries: Some(canaries),
            secrets: report,
            personal: report,
            files: report,
            ..Leaks::default()
        };
        Searches::default().of(&leaks).unwrap()
    }

    /// What is found in a body, and why it stops.
    fn found(search: &Arc<Search>, pieces: &[&[u8]]) -> (Vec<LeakFact>, Option<Reason>) {
        let course = Arc::new(Course::default());
        let mut searching = Searching::of(search, Some(Undoing::plain()), &course).unwrap();
        pieces.iter().for_each(|piece| searching.push(piece));
        searching.end();
        (course.found(), searching.stops())
    }

    #[test]
    fn what_blocks_stops_and_what_is_only_told_does_not() {
        let (facts, stops) = found(&searches(), &[b"4111 1111 1111 1111"]);
        assert_eq!((facts.len(), facts[0].class, stops), (1, LeakKind::Personal, None));
        let (facts, stops) = found(&searches(), &[b"4111 1111 1111 1111 canary-3f9c1d7e"]);
        assert_eq!((facts.len(), facts[0].class, stops), (2, LeakKind::Canary, Some(Reason::LeakBlocked)));
    }

    proptest! {
        #[test]
        fn where_a_body_is_split_changes_nothing(
            parts in prop::collection::vec(prop::sample::select(vec![
                " ", "x", "canary-3f9c1d7e", "canary-3f9c", "1d7e", "4111 1111 1111 1111", "Y2FuYXJ5LTNmOWMxZDdl",
                "%63anary-3f9c1d7e", "GGUF", "\n",
            ]), 0..12),
            size in 1usize..40,
        ) {
            let body = parts.concat();
            let split: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
            let search = searches();
            prop_assert_eq!(found(&search, &split), found(&search, &[body.as_bytes()]));
        }
    }
}
