//! Lists of patterns, as rules and limits have them.
//!
//! A star in a rule that allows stays within the parts of a name (`/`), `**` does not. In what takes something away, a star is
//! any number of any characters: a pattern that misses something there lets it pass. For the same reason names of models are there compared
//! without regard to case.

use policy::Glob;
use std::sync::Arc;

/// Patterns; none at all means that nothing was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patterns {
    globs: Vec<Glob>,
    /// Letters are the same in either case.
    is_any_case: bool,
}

/// Which way a pattern errs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Star {
    Part,
    Anything,
}

impl Patterns {
    pub(crate) fn new(written: &[Arc<str>], star: Star) -> Self {
        let glob = |text: &Arc<str>| match star {
            Star::Part => Glob::new(text),
            Star::Anything => Glob::new(&text.replace('*', "**")),
        };
        Self { globs: written.iter().map(glob).collect(), is_any_case: false }
    }

    /// Of models. Some servers, as Ollama, find one by its name in any case.
    pub(crate) fn of_models(written: &[Arc<str>], star: Star) -> Self {
        match star {
            Star::Part => Self::new(written, star),
            Star::Anything => {
                let lower: Vec<Arc<str>> = written.iter().map(|text| text.to_lowercase().into()).collect();
                Self { is_any_case: true, ..Self::new(&lower, star) }
            }
        }
    }

    /// Nothing was written.
    pub(crate) fn is_open(&self) -> bool {
        self.globs.is_empty()
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        let lower = self.is_any_case.then(|| text.to_lowercase());
        let text = lower.as_deref().unwrap_or(text);
        self.globs.iter().any(|glob| glob.matches(text))
    }

    /// Nothing was written, or a name is there and meant.
    pub(crate) fn admits(&self, text: Option<&str>) -> bool {
        self.is_open() || text.is_some_and(|text| self.matches(text))
    }
}

/// Whom something is for: both lists must admit, where they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whom {
    pub(crate) consumers: Patterns,
    pub(crate) groups: Patterns,
}

impl Whom {
    pub(crate) fn is(&self, consumer: &policy::Consumer) -> bool {
        let name = Some(&*consumer.name).filter(|name| !name.is_empty());
        let is_in = |group: &Arc<str>| self.groups.matches(group);
        self.consumers.admits(name) && (self.groups.is_open() || consumer.groups.iter().any(is_in))
    }
}
