//! A request to a service, understood: what it downloads, uploads, asks or changes ([`policy::Operation`]).
//!
//! Enters: the head of a request ([`Head`]), then its body, decoded, split anywhere. Leaves: the operation, as soon as it is
//! known; from then on only whether what follows contradicts it. Guarantees: bounded memory, every byte looked at a bounded
//! number of times; where the body is cut into pieces does not change what is found; what two readers could understand
//! differently is unknown or contradicts, never a guess. Does not: judge, or undo content codings (`coding`).

use policy::Operation;

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// As it was sent.
    pub method: &'a str,
    /// Whom it is for: a name in lower case without a trailing dot, or an address.
    pub host: &'a str,
    /// At which port.
    pub port: u16,
    /// Path and query as they were sent, beginning with `/`; or `*`.
    pub target: &'a str,
    /// Every field line in order, names in lower case.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// How far a [`Reader`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// More of the body must be seen, or its end.
    NeedMore,
    /// This is what it does; nothing that was seen since contradicts it.
    Known(&'a Operation),
    /// What came later would have made it another operation, or one that nobody could tell. Why, for a person.
    Contradicted(&'a Operation, &'static str),
}

/// Reads one request.
#[derive(Debug)]
pub struct Reader {
    operation: Operation,
}

impl Reader {
    /// Begins with a head.
    pub fn new(head: &Head<'_>) -> Self {
        let _ = head;
        Self { operation: Operation::unknown("nothing is known of this service") }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress<'_> {
        Progress::Known(&self.operation)
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, body: &[u8]) {
        let _ = body;
    }

    /// The body is over. From now on the progress is not [`Progress::NeedMore`].
    pub fn end(&mut self) {}
}
