//! To which group a word of the ledger belongs, by the word's number: a namespace, a provider, a registrable domain.
//!
//! Enters: words, as the ledger gets them. Leaves: their groups. Guarantees: each word is looked at once while the process runs, for its
//! number never means another; bounded. Does not: keep words.

use crate::graph_names::Providers;
use crate::shape::records::{Node, NodeKind};
use ledger::{LedgerError, Reader};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

/// Words with higher numbers are not known here: whoever asks looks at the word.
const WORDS: usize = 1 << 22;
/// Groups that are told apart.
const GROUPS: usize = 50_000;
/// All others.
pub(crate) const OTHERS: &str = "e:(others)";

/// The groups of the words of one ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    /// Which ledger.
    origin: Option<String>,
    /// By the number of a word, the place of its group, from 1; 0: there is no such word.
    of: Vec<u32>,
    groups: Vec<Node>,
    places: HashMap<String, u32>,
}

/// What is known is kept for the next who asks.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Arc<Groups>>);

impl Kept {
    /// With all words that the ledger has now.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(crate) fn all(&self, reader: &Reader, providers: &Providers) -> Result<Arc<Groups>, LedgerError> {
        // Who comes meanwhile waits, and does not look at the same words.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = reader.origin()?;
        if origin.is_none() || kept.origin != origin {
            *kept = Arc::new(Groups { origin, ..Groups::default() });
        }
        let before = kept.of.len();
        let after = i64::try_from(before).unwrap_or(i64::MAX) - 1;
        let mut fresh = Vec::new();
        reader.each_word(after, |number, word| match usize::try_from(number) {
            Ok(number) if number < WORDS => {
                fresh.push((number, group(&providers.node(word))));
                ControlFlow::Continue(())
            }
            Ok(_) => ControlFlow::Break(()),
            Err(_) => ControlFlow::Continue(()),
        })?;
        if !fresh.is_empty() {
            let groups = Arc::make_mut(&mut kept);
            fresh.into_iter().for_each(|(number, group)| groups.put(number, group));
        }
        Ok(Arc::clone(&kept))
    }
}

impl Groups {
    fn put(&mut self, number: usize, group: Node) {
        let place = match self.places.get(&group.id) {
            Some(place) => *place,
            None if self.groups.len() < GROUPS => self.one_more(group),
            None => match self.places.get(OTHERS) {
                Some(place) => *place,
                None => self.one_more(others()),
            },
        };
        self.of.resize(number.max(self.of.len()), 0);
        self.of.push(place);
    }

    fn one_more(&mut self, group: Node) -> u32 {
        self.groups.push(group.clone());
        let place = u32::try_from(self.groups.len()).unwrap_or(0);
        self.places.insert(group.id, place);
        place
    }

    /// The group of the word with a number; `None`: it is not known.
    pub(crate) fn of(&self, word: i64) -> Option<&Node> {
        let place = *self.of.get(usize::try_from(word).ok()?)?;
        self.groups.get(usize::try_from(place.checked_sub(1)?).ok()?)
    }

    /// Numbers below this may be known.
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }
}

/// What a node belongs to.
pub(crate) fn group(node: &Node) -> Node {
    let (mark, name) = match node.kind {
        NodeKind::Workload => ("n:", node.namespace.as_deref().unwrap_or("(none)")),
        NodeKind::Provider => ("p:", node.group.as_deref().unwrap_or(&node.label)),
        NodeKind::Node => ("h:", ""),
        NodeKind::External => ("e:", node.group.as_deref().unwrap_or("(addresses)")),
    };
    let label = if node.kind == NodeKind::Node { "nodes" } else { name };
    Node {
        id: format!("{mark}{name}"),
        kind: node.kind,
        namespace: node.namespace.clone(),
        group: node.group.clone(),
        label: label.to_owned(),
        members: Some(0),
    }
}

/// What is beyond.
pub(crate) fn others() -> Node {
    Node {
        id: OTHERS.to_owned(),
        kind: NodeKind::External,
        namespace: None,
        group: Some("(others)".to_owned()),
        label: "(others)".to_owned(),
        members: Some(0),
    }
}
