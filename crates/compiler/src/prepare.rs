//! Objects that are compiled again and again: what would be the same each time is done once.
//!
//! Enters: objects. Leaves: [`Prepared`] ones, which equal each other as the objects do. Guarantees: what equal objects
//! have in common is in memory once; what objects that are gone had is forgotten. Does not: look at two objects at once.

use crate::world::pods::WrittenPod;
use crds::Object;
use policy::intern::Interner;

/// Growth before it is looked for what nobody has any more.
const SLACK: usize = 1024;

/// An object ready to be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared(pub(crate) Form);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Pod(WrittenPod),
    /// No Pod.
    Other(Box<Object>),
}

/// Makes objects ready.
#[derive(Debug, Default)]
pub struct Preparer {
    pub(crate) interner: Interner,
    /// What the interner held when it last forgot.
    used: usize,
}

impl Preparer {
    /// Makes an object ready.
    pub fn prepare(&mut self, object: Object) -> Prepared {
        if self.interner.len() > 2 * self.used + SLACK {
            self.interner.forget_unused();
            self.used = self.interner.len();
        }
        Prepared(match object {
            Object::Pod(pod) => Form::Pod(WrittenPod::new(&mut self.interner, &pod)),
            other => Form::Other(Box::new(other)),
        })
    }
}
