//! What is known of a request and its answer: for each variable its values, under their keys.

use std::sync::Arc;

use super::texts::TextId;
use crate::profile::Part;
use crate::variable::Variable;

/// One value of a variable.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub(super) key: Arc<[u8]>,
    pub(super) text: TextId,
    pub(super) part: Part,
}

/// Values of all variables that do not change while rules run.
#[derive(Debug)]
pub(super) struct Facts {
    lists: Vec<Vec<Fact>>,
    /// Counts changes.
    pub(super) version: u64,
    no_key: Arc<[u8]>,
}

impl Facts {
    pub(super) fn new() -> Self {
        Self { lists: vec![Vec::new(); Variable::ALL.len()], version: 0, no_key: Arc::from(&[][..]) }
    }

    /// Sets the only value of a variable.
    pub(super) fn set(&mut self, variable: Variable, text: TextId) {
        let key = Arc::clone(&self.no_key);
        self.version += 1;
        if let Some(list) = self.lists.get_mut(variable as usize) {
            list.clear();
            list.push(Fact { key, text, part: Part::Strict });
        }
    }

    /// Adds a value under a key.
    pub(super) fn add(&mut self, variable: Variable, key: &Arc<[u8]>, text: TextId) {
        self.add_part(variable, key, text, Part::Strict);
    }

    /// Adds a value under a key, and says how strictly it is judged.
    pub(super) fn add_part(&mut self, variable: Variable, key: &Arc<[u8]>, text: TextId, part: Part) {
        self.version += 1;
        if let Some(list) = self.lists.get_mut(variable as usize) {
            list.push(Fact { key: Arc::clone(key), text, part });
        }
    }

    pub(super) fn of(&self, variable: Variable) -> &[Fact] {
        self.lists.get(variable as usize).map(Vec::as_slice).unwrap_or_default()
    }

    /// The first value, under a key when there is one.
    pub(super) fn first(&self, variable: Variable, key: Option<&[u8]>) -> Option<TextId> {
        let wanted = |fact: &&Fact| key.is_none_or(|key| fact.key.eq_ignore_ascii_case(key));
        self.of(variable).iter().find(wanted).map(|fact| fact.text)
    }
}
