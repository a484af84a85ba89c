//! Values of a transaction and what transformations make of them, each made once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::rule::Link;
use crate::scanner::{Filter, Hits, Scanner};
use crate::transform::{CodePage, Transformation};

/// Texts up to this length are looked up, so that equal ones are transformed and scanned once.
const MAX_SHARED: usize = 4096;
/// How many transformations there are: the size of each text's table of what it became.
const STEPS: usize = Transformation::UrlDecodeUni as usize + 1;
const UNKNOWN: u32 = u32::MAX;

/// Number of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextId(u32);

/// All texts of a transaction.
#[derive(Debug)]
pub(super) struct Texts {
    texts: Vec<Text>,
    known: HashMap<Arc<[u8]>, u32>,
    /// Bytes that transformations and scans have read.
    pub(super) read: u64,
}

#[derive(Debug)]
struct Text {
    bytes: Arc<[u8]>,
    became: Option<Box<[u32; STEPS]>>,
    /// What it is after each list of steps.
    finals: Vec<u32>,
    hits: [Option<Hits>; 2],
    /// The text that differs from this only in case.
    twin: Option<u32>,
}

impl Texts {
    /// The text without a byte.
    pub(super) const EMPTY: TextId = TextId(0);

    pub(super) fn new() -> Self {
        let mut texts = Self { texts: Vec::new(), known: HashMap::new(), read: 0 };
        texts.add(Vec::new());
        texts
    }

    pub(super) fn add(&mut self, bytes: Vec<u8>) -> TextId {
        TextId(self.insert(bytes, None))
    }

    fn insert(&mut self, bytes: Vec<u8>, twin: Option<u32>) -> u32 {
        let shared = bytes.len() <= MAX_SHARED;
        if shared && let Some(known) = self.known.get(bytes.as_slice()) {
            return *known;
        }
        let bytes: Arc<[u8]> = bytes.into();
        let id = u32::try_from(self.texts.len()).unwrap_or(UNKNOWN - 1);
        if shared {
            self.known.insert(Arc::clone(&bytes), id);
        }
        self.texts.push(Text { bytes, became: None, finals: Vec::new(), hits: [None, None], twin });
        id
    }

    pub(super) fn bytes(&self, id: TextId) -> &[u8] {
        self.texts.get(id.0 as usize).map(|text| &*text.bytes).unwrap_or_default()
    }

    /// A handle that outlives changes of the table.
    pub(super) fn shared(&self, id: TextId) -> Arc<[u8]> {
        self.texts.get(id.0 as usize).map_or_else(|| Arc::from(&[][..]), |text| Arc::clone(&text.bytes))
    }

    /// What a text becomes by one step.
    pub(super) fn step(&mut self, id: TextId, step: Transformation, page: Option<&CodePage>) -> TextId {
        let Some(text) = self.texts.get(id.0 as usize) else { return id };
        let slot = step as usize;
        if let Some(known) =
            text.became.as_ref().and_then(|became| became.get(slot)).filter(|known| **known != UNKNOWN)
        {
            return TextId(*known);
        }
        self.read += text.bytes.len() as u64;
        let next = match step.apply(&text.bytes, page) {
            None => id.0,
            Some(bytes) => {
                let case = matches!(step, Transformation::Lowercase | Transformation::Uppercase);
                self.insert(bytes, case.then_some(id.0))
            }
        };
        if let Some(text) = self.texts.get_mut(id.0 as usize) {
            let became = text.became.get_or_insert_with(|| Box::new([UNKNOWN; STEPS]));
            if let Some(entry) = became.get_mut(slot) {
                *entry = next;
            }
        }
        TextId(next)
    }

    /// What a text is after a list of steps, of which there are `pipelines` and this is one.
    pub(super) fn after(
        &mut self,
        id: TextId,
        link: &Link,
        pipelines: usize,
        page: Option<&CodePage>,
    ) -> TextId {
        if link.steps.is_empty() {
            return id;
        }
        let kept = self.texts.get(id.0 as usize).and_then(|text| text.finals.get(link.pipeline)).copied();
        if let Some(known) = kept.filter(|known| *known != UNKNOWN) {
            return TextId(known);
        }
        let last = link.steps.iter().fold(id, |text, step| self.step(text, *step, page));
        if let Some(text) = self.texts.get_mut(id.0 as usize) {
            text.finals.resize(pipelines, UNKNOWN);
            if let Some(slot) = text.finals.get_mut(link.pipeline) {
                *slot = last.0;
            }
        }
        last
    }

    /// Whether a scan of the text finds a link's literals; `group` is the scanner's number.
    pub(super) fn may_match(&mut self, id: TextId, group: usize, scanner: &Scanner, filter: Filter) -> bool {
        self.hits(id, group, scanner).is_none_or(|hits| filter.passes(hits))
    }

    /// What a scan of the text finds.
    pub(super) fn hits(&mut self, id: TextId, group: usize, scanner: &Scanner) -> Option<&Hits> {
        let mut id = id.0;
        // A text in another case has the same literals, for they are found in any.
        while let Some(twin) = self.texts.get(id as usize).and_then(|text| text.twin) {
            id = twin;
        }
        let text = self.texts.get_mut(id as usize)?;
        let slot = text.hits.get_mut(group)?;
        if slot.is_none() {
            self.read += text.bytes.len() as u64;
        }
        Some(slot.get_or_insert_with(|| scanner.scan(&text.bytes)))
    }
}
