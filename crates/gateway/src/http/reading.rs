//! What a request's body says it does, as it goes by.
//!
//! Enters: the fields of a head, then its body as it was sent. Leaves: how far the reader of services is. Guarantees: a body
//! that cannot be decoded is not understood; one that turns out so once it is known what it does contradicts that. Where it
//! is split does not change what is understood; of a broken one it may change which of these two it is, for a decoder gives
//! what stands before a flaw earlier or later. Does not: change what is sent; decode what makes no difference.

use super::hold::Share;
use super::undoing::Undoing;
use ::inspect::coding::Decoder;
use ::inspect::operation::{Head, Progress, Reader};
use http::{HeaderMap, header};
use policy::Operation;

/// Most bytes that a body may decode to: uploads are large, and what they become costs time.
const MAX_DECODED: u64 = 64 << 30;

/// Reads one body.
#[derive(Debug)]
pub(crate) struct Reading {
    source: Source,
    /// Undoes its codings; `None`: it cannot be read.
    decoder: Option<Undoing>,
    /// Why what was known is not to be trusted.
    flaw: Option<&'static str>,
}

#[derive(Debug)]
enum Source {
    /// By what is known of services.
    Service(Box<Reader>),
    /// By a test's own words.
    #[cfg(test)]
    Script(Box<script::Script>),
}

impl Reading {
    /// `with_arguments`: what tools are called with is held as well.
    pub(crate) fn new(head: &Head<'_>, fields: &HeaderMap, with_arguments: bool, hold: &Share) -> Self {
        let reader = Reader::leaving(head, with_arguments);
        Self::of(Source::Service(Box::new(reader)), fields, hold)
    }

    #[cfg(test)]
    pub(crate) fn script(fields: &HeaderMap, hold: &Share) -> Self {
        Self::of(Source::Script(Box::default()), fields, hold)
    }

    fn of(source: Source, fields: &HeaderMap, hold: &Share) -> Self {
        Self { source, decoder: decoder(fields, hold), flaw: None }
    }

    /// How far it is. `None`: it cannot be read.
    pub(crate) fn progress(&self) -> Option<Progress<'_>> {
        if self.decoder.is_none() && self.source.reads_body() {
            return None;
        }
        match (self.source.progress(), self.flaw) {
            (Progress::Known(operation), Some(flaw)) => Some(Progress::Contradicted(operation, flaw)),
            (progress, _) => Some(progress),
        }
    }

    /// Drops what tools are called with, once it was judged.
    pub(crate) fn forget_arguments(&mut self) {
        match &mut self.source {
            Source::Service(reader) => reader.forget_arguments(),
            #[cfg(test)]
            Source::Script(_) => {}
        }
    }

    /// What is known of it.
    pub(crate) fn operation(&self) -> Option<Operation> {
        match self.progress() {
            Some(Progress::Known(operation)) => Some(operation.clone()),
            Some(Progress::NeedMore | Progress::Contradicted(..)) | None => None,
        }
    }

    pub(crate) fn is_contradicted(&self) -> bool {
        matches!(self.progress(), Some(Progress::Contradicted(..)))
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        if !self.source.reads_body() {
            return;
        }
        let Some(decoder) = &mut self.decoder else { return };
        let source = &mut self.source;
        let read = decoder.push_to(piece, &mut |bytes| {
            source.push(bytes);
            Ok(())
        });
        self.decoded(read.map_err(|flaw| flaw.as_str()));
    }

    pub(crate) fn end(&mut self) {
        if self.source.reads_body()
            && let Some(decoder) = &mut self.decoder
        {
            let read = decoder.end();
            self.decoded(read.map_err(|flaw| flaw.as_str()));
        }
        if self.decoder.is_some() || !self.source.reads_body() {
            self.source.end();
        }
    }

    fn decoded(&mut self, read: Result<(), &'static str>) {
        let Err(flaw) = read else { return };
        // The reader may have given up within the same bytes.
        if !self.source.reads_body() {
            return;
        }
        match self.source.progress() {
            // Nobody knows what it is.
            Progress::NeedMore => self.decoder = None,
            Progress::Known(_) | Progress::Contradicted(..) => self.flaw = Some(flaw),
        }
    }
}

/// What undoes the codings of a message of a pod. `None`: they cannot be undone.
pub(crate) fn decoder(fields: &HeaderMap, hold: &Share) -> Option<Undoing> {
    decoder_within(fields, MAX_DECODED).map(|decoder| Undoing::of(decoder, hold))
}

/// The same for a message that is there, and may become so many bytes.
pub(crate) fn decoder_within(fields: &HeaderMap, cap: u64) -> Option<Decoder> {
    let values = fields.get_all(header::CONTENT_ENCODING).into_iter().map(http::HeaderValue::as_bytes);
    Decoder::new(values, cap).ok()
}

impl Source {
    fn reads_body(&self) -> bool {
        match self {
            Self::Service(reader) => reader.reads_body(),
            #[cfg(test)]
            Self::Script(script) => script.reads_body(),
        }
    }

    fn progress(&self) -> Progress<'_> {
        match self {
            Self::Service(reader) => reader.progress(),
            #[cfg(test)]
            Self::Script(script) => script.progress(),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Service(reader) => reader.push(bytes),
            #[cfg(test)]
            Self::Script(script) => script.push(bytes),
        }
    }

    fn end(&mut self) {
        match self {
            Self::Service(reader) => reader.end(),
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
        is_over: bool,
    }

    impl Default for Script {
        fn default() -> Self {
            let operation = Operation { verb: Verb::Call, ..Operation::unknown("script") };
            Self { operation, is_known: false, is_contradicted: false, is_over: false }
        }
    }

    impl Script {
        pub(crate) fn reads_body(&self) -> bool {
            !self.is_over
        }

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
            self.is_over = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hold::Hold;
    use super::*;
    use http::HeaderValue;
    use policy::Verb;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    /// `{"model":"m","messages":[]}` by Python's `gzip.compress(…, mtime=0)`.
    #[rustfmt::skip]
    const GZIP: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 202, 205, 79, 73, 205, 81, 178, 82,
    202, 85, 210, 81, 202, 77, 45, 46, 78, 76, 79, 45, 86, 178, 138, 142, 173, 5, 0, 182,
    34, 41, 90, 27, 0, 0, 0,
    ];

    fn read(method: &str, host: &str, target: &str, coding: &str, body: &[u8], size: usize) -> String {
        let mut fields = HeaderMap::new();
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap());
        let head = Head { method, host, port: 443, target, headers: &[] };
        let hold = Arc::new(Hold::default()).share(Ipv4Addr::LOCALHOST.into());
        let mut reading = Reading::new(&head, &fields, false, &hold);
        for piece in body.chunks(size) {
            reading.push(piece);
        }
        reading.end();
        let of = |operation: &policy::Operation| {
            let model = operation.model.as_deref().unwrap_or_default();
            format!("{} {model}", operation.verb).trim().to_owned()
        };
        match reading.progress() {
            None => "not read".to_owned(),
            Some(Progress::NeedMore) => "more".to_owned(),
            Some(Progress::Known(operation)) => of(operation),
            Some(Progress::Contradicted(operation, _)) => format!("not {}", of(operation)),
        }
    }

    #[test]
    fn a_coded_body_says_what_it_does_however_it_is_split() {
        let plain = br#"{"model":"m","messages":[]}"#;
        let broken: Vec<u8> = GZIP.iter().copied().take(GZIP.len() - 1).collect();
        for (coding, body, expected) in [
            ("identity", &plain[..], "call m"),
            ("gzip", GZIP, "call m"),
            ("X-GZIP, identity", GZIP, "call m"),
            ("br", GZIP, "not read"),
            ("gzip", plain, "not read"),
            ("compress", plain, "not read"),
            ("aws-chunked", plain, "not read"),
            ("gzip", &broken, "not read"),
            ("gzip", &[GZIP, b"x"].concat(), "not read"),
            ("gzip", &[], "unknown"),
        ] {
            for size in [1, 2, 7, 1000] {
                let read = read("POST", "api.openai.com", "/v1/chat/completions", coding, body, size);
                assert_eq!(read, expected, "{coding} {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn where_a_coded_body_is_split_changes_nothing_that_is_understood(
            coding in prop::sample::select(vec!["gzip", "identity", "br", "zstd", "gzip, gzip", "aws-chunked"]),
            spoilt in prop::option::of((0..GZIP.len(), any::<u8>())),
            size in 1usize..60,
        ) {
            let mut body = GZIP.to_vec();
            if let Some((at, byte)) = spoilt {
                body[at] = byte;
            }
            // One that is not understood is none of these, in whatever way it is not.
            let read = |size| {
                let read = read("POST", "api.openai.com", "/v1/chat/completions", coding, &body, size);
                Some(read).filter(|read| read.starts_with("call"))
            };
            prop_assert_eq!(read(size), read(body.len()));
        }
    }

    #[test]
    fn a_body_that_makes_no_difference_may_be_in_any_form() {
        for coding in ["gzip", "aws-chunked", "gzip,aws-chunked", "compress"] {
            let read = read("PUT", "bucket.s3.amazonaws.com", "/key", coding, b"10;chunk-signature=", 3);
            assert_eq!(read, Verb::Upload.as_str(), "{coding}");
        }
    }
}
