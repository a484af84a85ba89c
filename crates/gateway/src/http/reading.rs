//! What a request's body says it does, as it goes by.

use ::inspect::operation::{Head, Progress, Reader};
use http::{HeaderMap, HeaderValue, header};

/// Reads one body.
#[derive(Debug)]
pub(crate) enum Reading {
    /// By what is known of services.
    Service(Box<Reader>),
    /// Not at all: it is in a form that is not read.
    Coded,
    /// By a test's own words.
    #[cfg(test)]
    Script(script::Script),
}

impl Reading {
    pub(crate) fn new(head: &Head<'_>, fields: &HeaderMap) -> Self {
        let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if fields.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
            Self::Service(Box::new(Reader::new(head)))
        } else {
            Self::Coded
        }
    }

    /// How far it is. `None`: it is not read.
    pub(crate) fn progress(&self) -> Option<Progress<'_>> {
        match self {
            Self::Service(reader) => Some(reader.progress()),
            Self::Coded => None,
            #[cfg(test)]
            Self::Script(script) => Some(script.progress()),
        }
    }

    pub(crate) fn is_contradicted(&self) -> bool {
        matches!(self.progress(), Some(Progress::Contradicted(..)))
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        match self {
            Self::Service(reader) => reader.push(piece),
            Self::Coded => {}
            #[cfg(test)]
            Self::Script(script) => script.push(piece),
        }
    }

    pub(crate) fn end(&mut self) {
        match self {
            Self::Service(reader) => reader.end(),
            Self::Coded => {}
            #[cfg(test)]
            Self::Script(script) => script.end(),
        }
    }
}

#[cfg(test)]
pub(crate) mod script {
    use super::Progress;
    use policy::{Operation, Verb};

    /// A body is known to be a call at its end, or once there is a `!` in it; a `?` contradicts it.
    #[derive(Debug)]
    pub(crate) struct Script {
        operation: Operation,
        is_known: bool,
        is_contradicted: bool,
    }

    impl Default for Script {
        fn default() -> Self {
            let operation = Operation { verb: Verb::Call, ..Operation::unknown("script") };
            Self { operation, is_known: false, is_contradicted: false }
        }
    }

    impl Script {
        pub(crate) fn progress(&self) -> Progress<'_> {
            match (self.is_known, self.is_contradicted) {
                (_, true) => Progress::Contradicted(&self.operation, "script"),
                (true, false) => Progress::Known(&self.operation),
                (false, false) => Progress::NeedMore,
            }
        }

        pub(crate) fn push(&mut self, piece: &[u8]) {
            self.is_known |= piece.contains(&b'!');
            self.is_contradicted |= piece.contains(&b'?');
        }

        pub(crate) fn end(&mut self) {
            self.is_known = true;
        }
    }
}
