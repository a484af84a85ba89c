//! A request to a service, understood: what it downloads, uploads, asks or changes ([`policy::Operation`]).
//!
//! Enters: the head of a request ([`Head`]), then its body, decoded, split anywhere. Leaves: the operation, as soon as it is
//! known; from then on only whether what follows contradicts it. Guarantees: bounded memory, every byte looked at a bounded
//! number of times; where the body is cut into pieces does not change what is found; what two readers could understand
//! differently is unknown or contradicts, never a guess. Does not: judge, or undo content codings (`coding`).
//!
//! One file per family of services reads heads; `shapes` says which of them are asked, `body` reads what the head leaves
//! open.

mod a2a;
mod anthropic;
mod azure;
mod bedrock;
mod body;
mod cas;
mod contacts;
mod copies;
mod credential;
mod form;
mod git;
mod github;
mod gitlab;
mod google;
mod graphql;
mod hosts;
mod hub;
mod inference;
mod inject;
mod json;
mod link;
mod listed;
mod mcp;
mod modelscope;
mod objects;
mod oci;
mod ollama;
mod openai;
mod packages;
pub mod part_list;
mod request;
mod rpc;
#[cfg(test)]
mod sample;
mod shapes;
pub mod shield;
mod target;
mod text;
mod tokens;

pub use inject::{KeptKey, KeyForm, key_form, without_keys};

use body::Body;
use contacts::Watch;
use policy::Operation;
use request::{Draft, Wanted};

/// Bytes of a body within which it must say what it does.
pub const MAX_UNDECIDED: usize = 16 * 1024 * 1024;
/// Bytes of a body within which it must say whom it has the provider contact; what says so later contradicts.
pub const MAX_WATCHED: usize = 4 * 1024 * 1024;

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

#[derive(Clone, Copy, Debug)]
enum State {
    NeedMore,
    Known,
    Contradicted(&'static str),
}

/// Reads one request.
#[derive(Debug)]
pub struct Reader {
    operation: Operation,
    state: State,
    /// `None`: the rest of the body changes nothing.
    body: Option<Body>,
    /// Bytes of the body so far.
    seen: usize,
    /// Whether it was said whom it has the provider contact.
    is_settled: bool,
    /// Whether the body cannot be trusted.
    is_failed: bool,
    /// Whether the head can be understood in two ways.
    is_ambiguous: bool,
    /// Whether it has no body, for that of what only reads is read by some servers and by others not.
    is_bare: bool,
}

impl Reader {
    /// Begins with a head.
    pub fn new(head: &Head<'_>) -> Self {
        Self::of(head, shapes::draft(head, shapes::ALL), None)
    }

    /// Begins with a head that is for a server of models, tools or agents of one's own: the host that it names, and fields and
    /// parameters by which it would look like a request to something else, say nothing, for who sends it chooses them.
    /// `holding`: what tools are called with is held too, as by [`Self::with_arguments`], and this is the server's name.
    pub fn of_server(head: &Head<'_>, holding: Option<&str>) -> Self {
        let mut draft = shapes::draft(head, shapes::OF_SERVERS);
        hold_arguments(&mut draft, holding);
        Self::of(head, draft, None)
    }

    /// Begins with a head, and looks for whom the request has the provider contact ([`Operation::contacts`]): as long as the
    /// body may say that, up to [`MAX_WATCHED`], nothing is known. `with_arguments`: as [`Self::with_arguments`].
    pub fn leaving(head: &Head<'_>, with_arguments: bool) -> Self {
        let mut draft = shapes::draft(head, shapes::ALL);
        hold_arguments(&mut draft, with_arguments.then_some(head.host));
        let watch = contacts::watch(head, &mut draft);
        Self::of(head, draft, watch)
    }

    /// Begins with a head, and holds what tools are called with ([`Operation::calls`]): up to 64 KiB, and nothing is known of
    /// a call before.
    pub fn with_arguments(head: &Head<'_>) -> Self {
        let mut draft = shapes::draft(head, shapes::ALL);
        hold_arguments(&mut draft, Some(head.host));
        Self::of(head, draft, None)
    }

    fn of(head: &Head<'_>, draft: Draft, watch: Option<Watch>) -> Self {
        let Draft { operation, wanted, is_ambiguous, .. } = draft;
        let body = Body::new(wanted, watch);
        let state = if body.as_ref().is_none_or(Body::is_known) { State::Known } else { State::NeedMore };
        // What is behind an upgrade is of another protocol.
        let is_upgraded = head.headers.iter().any(|(name, _)| *name == "upgrade");
        let is_bare = matches!(head.method, "GET" | "HEAD") && !is_upgraded;
        let (seen, is_settled, is_failed) = (0, false, false);
        let mut reader = Self { operation, state, body, seen, is_settled, is_failed, is_ambiguous, is_bare };
        reader.settle();
        reader
    }

    /// How far it is.
    pub fn progress(&self) -> Progress<'_> {
        match self.state {
            State::NeedMore => Progress::NeedMore,
            State::Known if !self.is_settled => Progress::NeedMore,
            State::Known => Progress::Known(&self.operation),
            State::Contradicted(why) => Progress::Contradicted(&self.operation, why),
        }
    }

    /// What the bytes so far say that it does; it may turn out to be something else. For an answer before it is judged.
    pub fn so_far(&self) -> &Operation {
        &self.operation
    }

    /// Whether it has a shape that is known, and yet nobody can tell what it does: its head can be understood in two ways, or
    /// its body is not what the shape says. What looks like nothing that is known is not ambiguous.
    pub fn is_ambiguous(&self) -> bool {
        self.is_ambiguous || self.is_failed && self.operation.provider.is_some()
    }

    /// Drops what tools are called with, once it was judged.
    pub fn forget_arguments(&mut self) {
        self.operation.calls = Vec::new();
    }

    /// Whether what comes of the body makes a difference. False: it need not be decoded for this reader.
    pub fn reads_body(&self) -> bool {
        self.body.is_some() || self.is_bare
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, body: &[u8]) {
        if self.is_bare && !body.is_empty() {
            self.is_bare = false;
            return self.fail("a request that only reads has a body");
        }
        let mut rest = body;
        while !rest.is_empty() {
            if self.seen >= MAX_UNDECIDED && matches!(self.state, State::NeedMore) {
                return self.fail("nothing within the first 16 MiB of the body says what it does");
            }
            // What is found does not depend on how the body is split, so bounds are places in it.
            let bound = [MAX_WATCHED, MAX_UNDECIDED].into_iter().find(|bound| self.seen < *bound);
            let room = bound.map_or(usize::MAX, |bound| bound - self.seen);
            let (now, behind) = rest.split_at(rest.len().min(room));
            self.seen = self.seen.saturating_add(now.len());
            self.read(now);
            self.settle();
            rest = behind;
        }
    }

    /// The body is over. From now on the progress is not [`Progress::NeedMore`].
    pub fn end(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        let ended = body.end(&mut self.operation);
        self.contact(&mut body);
        match ended {
            Ok(()) if self.is_failed => {}
            Ok(()) => self.state = State::Known,
            Err(why) => self.fail(why),
        }
        self.is_settled = true;
    }

    /// Says whom it has the provider contact, once no more of that may come; and what comes then contradicts it.
    fn settle(&mut self) {
        let Some(mut body) = self.body.take() else {
            self.is_settled = true;
            return;
        };
        let may_come = matches!(self.state, State::NeedMore) || body.watches(&self.operation);
        self.contact(&mut body);
        self.is_settled |= !may_come || self.seen >= MAX_WATCHED;
        if !self.is_failed {
            self.body = Some(body);
        }
    }

    fn contact(&mut self, body: &mut Body) {
        let found = body.contacts(&self.operation);
        if found.len() == self.operation.contacts.len() {
            return;
        }
        if self.is_settled {
            return self
                .fail("only behind what it was judged by, the body says whom the provider is to contact");
        }
        self.operation.contacts = found.to_vec();
    }

    fn read(&mut self, bytes: &[u8]) {
        let Some(body) = &mut self.body else { return };
        let read = body.push(bytes, &mut self.operation);
        // What was known before a flaw of the same bytes was known, as it would be with the flaw in the next.
        if body.is_known() {
            self.state = State::Known;
        }
        if let Err(why) = read {
            self.fail(why);
        }
    }

    /// The body cannot be trusted to mean the same to everybody.
    fn fail(&mut self, why: &'static str) {
        // How much of it was read before depends on how it is split.
        if !self.is_settled {
            self.operation.contacts.clear();
        }
        (self.body, self.is_settled, self.is_failed) = (None, true, true);
        if matches!(self.state, State::NeedMore) {
            shapes::forget(&mut self.operation, why);
            self.state = State::Known;
        } else {
            self.state = State::Contradicted(why);
        }
    }
}

/// Has what tools of this server are called with held. `None`: it is not.
fn hold_arguments(draft: &mut Draft, server: Option<&str>) {
    if let Wanted::Rpc(rpc) = &mut draft.wanted {
        rpc.server = server.map(Into::into);
    }
}

#[cfg(test)]
mod tests {
    use super::sample::{Outcome, outcome, read_in_parts};
    use super::*;
    use proptest::prelude::*;

    const CHAT: &str = "POST https://api.openai.com/v1/chat/completions";

    #[test]
    fn a_call_is_known_with_its_model_and_what_follows_can_contradict_it() {
        let known = |body: &str| outcome(CHAT, body.as_bytes());
        let is = |text: &str| Outcome::Known(text.to_owned());
        assert_eq!(known(r#"{"model":"m","stream":true}"#), is("openai chat call model=m stream"));
        assert_eq!(known(r#"{"stream":true,"model":"m"}"#), is("openai chat call model=m stream"));
        assert_eq!(known(r#"{"messages":[]}"#), is("openai chat call"));
        assert_eq!(known(r#"{"messages":[],"#), is("openai unknown unknown"));
        assert_eq!(known("model=m"), is("openai unknown unknown"));
        assert_eq!(known(r#"{"model":7}"#), is("openai unknown unknown"));
        assert_eq!(known(""), is("openai unknown unknown"));
        for body in [
            r#"{"model":"m","model":"n"}"#,
            r#"{"model":"m","\u006dodel":"n"}"#,
            r#"{"model":"m","MODEL":"n"}"#,
            r#"{"model":"m"}{"model":"n"}"#,
            r#"{"model":"m","stream":"yes"}"#,
            r#"{"model":"m","#,
        ] {
            let expected = Outcome::Contradicted("openai chat call model=m".to_owned());
            assert_eq!(known(body), expected, "{body}");
            assert_eq!(read_in_parts(CHAT, body.as_bytes(), 1), expected, "{body}, byte by byte");
        }
    }

    #[test]
    fn keys_are_kept_whatever_becomes_of_the_request() {
        for (request, body) in [
            (CHAT, r#"{"model":"m"}"#),
            (CHAT, "no JSON"),
            ("POST https://tools.example/mcp", r#"{"jsonrpc":"2.0","method":"ping"}"#),
            ("POST https://tools.example/mcp", r#"{"jsonrpc":"2.0","method":"tools/evil"}"#),
            ("POST https://tools.example/mcp\nmcp-method: x", r#"{"jsonrpc":"2.0","method":"ping"}"#),
            ("TRACE https://api.openai.com/v1/files", ""),
            ("GET https://api.openai.com/v1/unheard-of", ""),
        ] {
            let mut reader = sample::Sample::read(&format!("{request}\nauthorization: Bearer abc")).reader();
            reader.push(body.as_bytes());
            reader.end();
            let Progress::Known(operation) = reader.progress() else { panic!("{reader:?}") };
            assert_eq!(operation.credentials.len(), 1, "{request}: {operation:?}");
        }
    }

    /// Servers that take a GET for a request without a body read the body as the next request, whatever policy says of it.
    #[test]
    fn what_only_reads_has_no_body_whether_it_is_known_or_not() {
        for request in [
            "GET https://api.openai.com/v1/models",
            "GET https://api.openai.com/v1/models\ncontent-length: 1",
            "GET https://search.example/x/_search\ncontent-length: 2",
            "GET https://x.example/whatever",
        ] {
            assert!(matches!(outcome(request, b"{}"), Outcome::Contradicted(_)), "{request}");
        }
    }

    #[test]
    fn what_tools_of_ones_own_server_are_called_with_is_held_where_that_is_wanted() {
        let head = Head { method: "POST", host: "", port: 80, target: "/mcp", headers: &[] };
        let body = br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"t","arguments":{"n":1}}}"#;
        for server in [None, Some("tools.example")] {
            let mut reader = Reader::of_server(&head, server);
            reader.push(body);
            reader.end();
            let Progress::Known(operation) = reader.progress() else { panic!("{reader:?}") };
            assert_eq!(operation.tools, ["t"]);
            let servers: Vec<&str> = operation.calls.iter().map(|call| &*call.server).collect();
            assert_eq!(servers, Vec::from_iter(server));
        }
    }

    #[test]
    fn what_stays_undecided_too_long_is_unknown() {
        let request = sample::Sample::read(CHAT);
        let mut reader = request.reader();
        reader.push(br#"{"messages":""#);
        let filler = vec![b'a'; 1024 * 1024];
        for _ in 0..15 {
            reader.push(&filler);
            assert_eq!(reader.progress(), Progress::NeedMore);
        }
        reader.push(&filler);
        reader.push(br#"","model":"m"}"#);
        let Progress::Known(operation) = reader.progress() else { panic!("{reader:?}") };
        assert_eq!(operation.verb, policy::Verb::Unknown);
        assert!(operation.reason.contains("16 MiB"), "{}", operation.reason);
        reader.end();
        assert!(matches!(reader.progress(), Progress::Known(_)));
    }

    proptest! {
        #[test]
        fn where_a_body_is_split_changes_nothing(
            request in prop::sample::select(vec![
                CHAT,
                "POST https://api.openai.com/v1/audio/transcriptions\ncontent-type: multipart/form-data; boundary=B",
                "POST https://huggingface.co/a/b.git/info/lfs/objects/batch",
                "POST https://tools.example/mcp",
                "POST http://h:11434/api/pull",
            ]),
            pieces in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"model\":\"m\"", "\"method\":\"tools/call\"", "\"jsonrpc\":\"2.0\"",
                "\"params\":{\"name\":\"t\"}", "\"operation\":\"upload\"", "\"stream\":true", "\"name\":\"x\"", " ", "\"é",
                "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n", "w\r\n", "--B--", "\r\n", "\\u006d",
            ]), 0..20),
            size in 1usize..6,
        ) {
            let body = pieces.concat();
            prop_assert_eq!(read_in_parts(request, body.as_bytes(), size), outcome(request, body.as_bytes()));
        }

        #[test]
        fn no_head_and_no_body_make_it_panic(
            method in "[A-Z]{1,8}", host in "[a-z0-9.-]{0,24}", target in "/[ -~]{0,64}",
            value in prop::collection::vec(any::<u8>(), 0..32), body in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            for name in ["authorization", "content-type", "upgrade", "mcp-name", "x-http-method-override"] {
                let headers = [(name, value.as_slice())];
                let head = Head { method: &method, host: &host, port: 443, target: &target, headers: &headers };
                let mut reader = Reader::new(&head);
                reader.push(&body);
                reader.end();
                prop_assert_ne!(reader.progress(), Progress::NeedMore);
            }
        }
    }
}
