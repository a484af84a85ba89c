//! A request's head as the families of services look at it, and what they make of it ([`Draft`]).
//!
//! Enters: a [`Head`]. Leaves: its parts by name. Guarantees: a field or a parameter that is there twice, or in a spelling that
//! some servers take for it, is an error for whoever decides by it. Does not: decide.

use super::hosts::{self, Service};
use super::target::Target;
use super::{Head, form};
use crate::fold::fold_letter;
use policy::{Operation, Verb};
use std::borrow::Cow;
use std::sync::Arc;

/// What a family makes of a head. `None`: it is not of its shape. An error: it is, and could be understood in two ways.
pub(super) type Shape = Result<Option<Draft>, &'static str>;

/// An operation as far as the head tells it.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) operation: Operation,
    /// What the body must be read for.
    pub(super) wanted: Wanted,
    /// Whether an encoded slash or an empty segment in the path means nothing else here.
    pub(super) takes_odd_path: bool,
    /// It could be understood in two ways, and so is unknown.
    pub(super) is_ambiguous: bool,
}

/// What of a body makes a difference.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// Nothing.
    Nothing,
    /// Fields of JSON. It is known once each of their meanings but `stream` was seen.
    Json(&'static [Field]),
    /// Fields of a form of this boundary.
    Form(form::Boundary),
    /// Messages of JSON-RPC.
    Rpc(Rpc),
    /// What a token is for, in a URL-encoded form.
    Scope,
    /// Which files of others a bucket of the Hub gets, in lines of JSON.
    Copies,
}

/// A field of JSON and what it tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) path: &'static [&'static str],
    pub(super) says: Says,
}

/// What a field tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// The model.
    Model,
    /// Whether the answer streams.
    Stream,
    /// The resource.
    Resource,
    /// `download` or `upload` of Git LFS.
    Direction,
    /// What a document of GraphQL does.
    Document,
    /// What is copied.
    Source,
    /// The name of a repository of the Hub, of the kind whose names begin so.
    NameOf(&'static str),
    /// Of which kind that repository is, where the body says it.
    Kind,
}

/// Which methods of JSON-RPC are meant, and what the head says of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rpc {
    /// The head shows that it is MCP.
    pub(super) is_mcp: bool,
    /// The head shows that it is A2A.
    pub(super) is_a2a: bool,
    /// `A2A-Version`.
    pub(super) a2a_version: Option<super::a2a::Version>,
    /// `Mcp-Method`.
    pub(super) method: Option<String>,
    /// `Mcp-Name`, decoded.
    pub(super) name: Option<String>,
    /// Where arguments of tools are wanted, the name of the server.
    pub(super) server: Option<Arc<str>>,
}

/// `model` and `stream`, as nearly everybody has them.
pub(super) const MODEL: &[Field] =
    &[Field { path: &["model"], says: Says::Model }, Field { path: &["stream"], says: Says::Stream }];
/// Where the model is in the path.
pub(super) const STREAM: &[Field] = &[Field { path: &["stream"], says: Says::Stream }];

impl Draft {
    pub(super) fn new(provider: &'static str, api: impl Into<Cow<'static, str>>, verb: Verb) -> Self {
        let operation = Operation {
            provider: Some(Cow::Borrowed(provider)),
            api: api.into(),
            verb,
            ..Operation::unknown("")
        };
        Self { operation, wanted: Wanted::Nothing, takes_odd_path: false, is_ambiguous: false }
    }

    pub(super) fn resource(mut self, resource: impl Into<String>) -> Self {
        self.operation.resource = Some(resource.into()).filter(|resource| !resource.is_empty());
        self
    }

    /// It has also this read; an empty text: it does not say what.
    pub(super) fn from(mut self, sources: impl IntoIterator<Item = String>) -> Self {
        self.operation.sources.extend(sources);
        self
    }

    pub(super) fn model(mut self, model: impl Into<String>) -> Self {
        self.operation.model = Some(model.into());
        self
    }

    pub(super) fn stream(mut self, is_stream: bool) -> Self {
        self.operation.stream = is_stream;
        self
    }

    pub(super) fn intent(mut self, intent: Option<Verb>) -> Self {
        self.operation.intent = intent;
        self
    }

    pub(super) fn wants(mut self, wanted: Wanted) -> Self {
        self.wanted = wanted;
        self
    }

    /// A call whose body names the model.
    pub(super) fn model_in_body(self) -> Self {
        self.wants(Wanted::Json(MODEL))
    }

    pub(super) fn odd_path(mut self) -> Self {
        self.takes_odd_path = true;
        self
    }
}

/// A head, taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) head: &'a Head<'a>,
    pub(super) target: &'a Target,
    /// Whose host it is.
    pub(super) service: Option<Service>,
}

impl<'a> Request<'a> {
    /// The method.
    pub(super) fn method(&self) -> &'a str {
        self.head.method
    }

    /// GET or HEAD.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.head.method, "GET" | "HEAD")
    }

    /// The path.
    pub(super) fn segments(&self) -> Vec<&'a str> {
        self.target.segments.iter().map(String::as_str).collect()
    }

    /// Whose service it is by its host, else by what it looks like.
    pub(super) fn provider(&self, by_shape: &'static str) -> &'static str {
        self.service.map_or(by_shape, |service| service.provider)
    }

    /// A field of the head. An error: it is there twice, or is no text, or is written as some servers write it.
    pub(super) fn header(&self, name: &str) -> Result<Option<&'a str>, &'static str> {
        let mut values = self.head.headers.iter().filter(|(known, _)| is_field(known, name));
        let Some((known, value)) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err("a header field that decides is there twice");
        }
        if *known != name {
            return Err(
                "a header field that decides is there with underscores, which only some servers take for it",
            );
        }
        let value = std::str::from_utf8(value).map_err(|_| "a header field that decides is no text")?;
        Ok(Some(value.trim_matches([' ', '\t'])))
    }

    /// Whether a field is there.
    pub(super) fn has_header(&self, name: &str) -> bool {
        self.head.headers.iter().any(|(known, _)| is_field(known, name))
    }

    /// Whether a field whose name begins so is there.
    pub(super) fn has_header_like(&self, start: &str) -> bool {
        self.head.headers.iter().any(|(known, _)| known.starts_with(start))
    }

    /// A parameter of the query. An error: it is there twice, or as [`Self::parameters`].
    pub(super) fn parameter(&self, name: &str) -> Result<Option<&'a str>, &'static str> {
        match self.parameters(name)?.as_slice() {
            [] => Ok(None),
            [value] => Ok(Some(*value)),
            _ => Err("a parameter that decides is there twice"),
        }
    }

    /// What the parameters of this name say. An error: one has a spelling that some servers take for it.
    pub(super) fn parameters(&self, name: &str) -> Result<Vec<&'a str>, &'static str> {
        let target = self.target;
        let is_other = |known: &String| known != name && is_parameter(known, name);
        if target.query.iter().any(|(known, _)| is_other(known)) {
            return Err("a parameter that decides is there in a spelling that only some servers take for it");
        }
        if target.split.iter().any(|known| is_parameter(known, name)) {
            return Err(
                "a parameter that decides is behind a semicolon, where only some servers look for it",
            );
        }
        Ok(target.query.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect())
    }

    /// Whether a parameter is there.
    pub(super) fn has_parameter(&self, name: &str) -> bool {
        self.target.query.iter().any(|(known, _)| known == name)
    }

    /// Type of the content without its parameters, in lower case; empty where there is none.
    pub(super) fn content_type(&self) -> Result<String, &'static str> {
        let value = self.header("content-type")?.unwrap_or_default();
        let kind = value.split(';').next().unwrap_or_default();
        Ok(kind.trim().to_ascii_lowercase())
    }

    /// Whether its content is text in which every byte below 128 means what it means in ASCII. In others (UTF-7, GBK) quotes
    /// and braces are elsewhere for who reads it as what it says it is.
    pub(super) fn is_plain_text(&self) -> bool {
        let values = self.head.headers.iter().filter(|(name, _)| is_field(name, "content-type"));
        let parameters = values.flat_map(|(_, value)| value.split(|byte| *byte == b';').skip(1));
        parameters.filter_map(|parameter| std::str::from_utf8(parameter).ok()?.split_once('=')).all(
            |(name, value)| {
                let value = value.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
                !name.trim().eq_ignore_ascii_case("charset")
                    || matches!(value.as_str(), "utf-8" | "utf8" | "us-ascii" | "iso-8859-1")
            },
        )
    }

    /// Whether the connection is to become a WebSocket.
    pub(super) fn is_websocket(&self) -> bool {
        let is_one = |value: &[u8]| value.eq_ignore_ascii_case(b"websocket");
        let mut lines = self.head.headers.iter().filter(|(name, _)| *name == "upgrade");
        lines.any(|(_, value)| value.split(|byte| *byte == b',').any(|one| is_one(one.trim_ascii())))
    }

    /// A body that is a form or JSON, by what it says it is; each names model and stream.
    pub(super) fn form_or_json(&self) -> Result<Wanted, &'static str> {
        if self.content_type()? != "multipart/form-data" {
            return Ok(Wanted::Json(MODEL));
        }
        form::Boundary::read(self.header("content-type")?.unwrap_or_default()).map(Wanted::Form)
    }
}

/// Whether a field has this name, for servers too that hand fields on as variables, where a dash is an underscore (RFC 3875,
/// section 4.1.18).
fn is_field(known: &str, name: &str) -> bool {
    let letter = |byte: u8| if byte == b'_' { b'-' } else { byte };
    known.len() == name.len() && known.bytes().map(letter).eq(name.bytes().map(letter))
}

/// Whether a parameter has this name for those who do not mind case, end names at a bracket or a control character, or take
/// spaces and full stops for underscores (PHP).
pub(super) fn is_parameter(known: &str, name: &str) -> bool {
    let letter = |letter| if matches!(letter, ' ' | '.') { '_' } else { fold_letter(letter) };
    let known = known.trim_start().chars().take_while(|letter| *letter != '[' && !letter.is_control());
    known.map(letter).eq(name.chars().map(letter))
}

/// The parts of a path that stand for a name, put together again.
pub(super) fn joined(segments: &[&str]) -> String {
    segments.join("/")
}

/// What is known of a host.
pub(super) fn service(head: &Head<'_>) -> Option<Service> {
    hosts::service(head.host)
}
