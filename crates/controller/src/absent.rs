//! Kinds that the API server knew, and does not know now: what became of their objects.
//!
//! Enters: what the API server says of a definition, and how many objects there were. Leaves: a sentence for people. Does not: decide
//! when objects go; the store does.

use crate::Kind;
use std::fmt;

/// What the API server says of the definition of a kind that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// There is none: what was of that kind was removed with it.
    Gone,
    /// There is one, and it does not serve the version.
    Unserved,
    /// There is one that serves the version: the API server has only begun.
    Starting,
    /// It does not say, or may not be asked.
    Unsaid,
}

/// A kind that was read and that the API server does not know now, or of which it has a definition and that it does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// What it says of the definition.
    pub definition: Definition,
    /// Objects of it that stay in force.
    pub held: usize,
    /// Objects of it that went with the definition.
    pub lost: usize,
}

impl Absent {
    /// What became of its objects, for people.
    pub fn of(self, kind: Kind) -> impl fmt::Display {
        Said(kind, self)
    }
}

struct Said(Kind, Absent);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kind, Absent { definition, held, lost }) = *self;
        let (plural, version) = (kind.plural(), kind.resource().api_version);
        match definition {
            Definition::Gone if held > 0 => write!(
                f,
                "{plural}: their definition is gone from the API server; {held} stay in force until it has said so for a minute"
            ),
            Definition::Gone if lost > 0 => write!(
                f,
                "{plural}: their definition was removed, and {lost} of them that were in force are not any more; define them anew and \
                 apply them again if that was not meant"
            ),
            Definition::Gone => {
                write!(f, "{plural}: their definition was removed, and there are none any more")
            }
            Definition::Unserved | Definition::Starting => {
                write!(f, "{plural}: the API server has their definition and does not serve {version}")?;
                f.write_str(if definition == Definition::Starting { " yet; " } else { "; " })?;
                match held {
                    0 => f.write_str("those that there may be cannot be read"),
                    held => write!(f, "{held} that were read stay in force"),
                }
            }
            Definition::Unsaid => write!(
                f,
                "{plural}: the API server does not know {version}, nor say whether it is defined (to find out, this process needs the \
                 right to get customresourcedefinitions); {held} stay in force"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_objects_without_a_kind_is_said() {
        for (definition, [held, lost], expected) in [
            (Definition::Gone, [3, 0], "3 stay in force until"),
            (Definition::Gone, [0, 3], "3 of them that were in force are not any more"),
            (Definition::Gone, [0, 0], "there are none any more"),
            (Definition::Unserved, [2, 0], "does not serve cofferdam.dev/v1alpha1; 2 that were read stay"),
            (
                Definition::Starting,
                [0, 0],
                "does not serve cofferdam.dev/v1alpha1 yet; those that there may be cannot be read",
            ),
            (Definition::Unsaid, [2, 0], "the right to get customresourcedefinitions); 2 stay in force"),
        ] {
            let said = Absent { definition, held, lost }.of(Kind::EgressPolicy).to_string();
            assert!(said.starts_with("egresspolicies: ") && said.contains(expected), "{said}");
        }
    }
}
