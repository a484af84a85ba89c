//! Which Gateways of our classes a process serves, and so speaks for in what it writes.

use routes::Resource;

/// Several processes may share the classes; each Gateway is one's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Serves {
    /// Every one.
    #[default]
    All,
    /// This one; others are not its business.
    Only(Resource),
    /// Every one but these, which have processes of their own.
    AllBut(Vec<Resource>),
}

impl Serves {
    /// Whether a Gateway is its business.
    #[must_use]
    pub fn has(&self, namespace: &str, name: &str) -> bool {
        let is_it = |gateway: &Resource| (&*gateway.namespace, &*gateway.name) == (namespace, name);
        match self {
            Self::All => true,
            Self::Only(gateway) => is_it(gateway),
            Self::AllBut(gateways) => !gateways.iter().any(is_it),
        }
    }

    /// Whether there is nobody else.
    #[must_use]
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }
}
