//! `matches` of a rule: which requests it is about.

use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic, Position};
use crate::document::Node;
use crate::gateway_api::route::RouteKind;
use crate::meta::short;
use std::sync::Arc;

/// Most headers, and most query parameters, of a match.
const MOST: usize = 16;
/// Longest path, in bytes.
const MOST_PATH: usize = 1024;
/// Longest name of a header or query parameter, in bytes.
const MOST_NAME: usize = 256;
/// Longest value of a header, in bytes; one of a query parameter has at most [`MOST_PATH`].
const MOST_VALUE: usize = 4096;
/// Every method that the API lets a match name.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// One match: everything in it must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMatch {
    /// Where.
    pub position: Position,
    /// `path` of an HTTPRoute, `method` of a GRPCRoute.
    pub path: PathMatch,
    /// `method` of an HTTPRoute.
    pub method: Option<Arc<str>>,
    /// `headers`
    pub headers: Vec<TextMatch>,
    /// `queryParams`
    pub query: Vec<TextMatch>,
}

/// What a path must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The same.
    Exact(Arc<str>),
    /// The same, or it goes on with a `/`.
    Prefix(Arc<str>),
    /// All of it is matched by this regular expression.
    Regex(Arc<str>),
    /// `/service/method` of gRPC; what is not written is any.
    Call {
        /// `service`
        service: Option<Arc<str>>,
        /// `method`
        method: Option<Arc<str>>,
        /// `type: RegularExpression`
        is_regex: bool,
    },
}

/// What a header or a query parameter must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextMatch {
    /// Its name.
    pub name: Arc<str>,
    /// The value, or what matches all of it.
    pub value: Arc<str>,
    /// `type: RegularExpression`
    pub is_regex: bool,
}

impl RouteMatch {
    /// What a rule without matches is about: everything.
    pub(crate) fn everything(kind: RouteKind, position: Position) -> Self {
        let path = match kind {
            RouteKind::Http | RouteKind::Tls => PathMatch::Prefix("/".into()),
            RouteKind::Grpc => PathMatch::Call { service: None, method: None, is_regex: false },
        };
        Self { position, path, method: None, headers: Vec::new(), query: Vec::new() }
    }

    pub(crate) fn decode<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, kind: RouteKind) -> Option<Self> {
        let mut own = Self::everything(kind, d.position(node.place));
        let map = match kind {
            RouteKind::Http | RouteKind::Tls => {
                let map = d.strict(node, &["path", "headers", "queryParams", "method"])?;
                if let Some(path) = d.field(map, "path", path) {
                    own.path = path?;
                }
                own.method = d.field(map, "method", method).flatten();
                own.query = texts(d, map, "queryParams", MOST_PATH);
                map
            }
            RouteKind::Grpc => {
                let map = d.strict(node, &["method", "headers"])?;
                if let Some(path) = d.field(map, "method", call) {
                    own.path = path?;
                }
                map
            }
        };
        own.headers = texts(d, map, "headers", MOST_VALUE);
        Some(own)
    }
}

fn method<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    d.one_of(node, &METHODS.map(|method| (method, method))).map(Arc::from)
}

type Make = fn(Arc<str>) -> PathMatch;

fn path<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<PathMatch> {
    const TYPES: [(&str, Make); 3] = [
        ("Exact", PathMatch::Exact),
        ("PathPrefix", PathMatch::Prefix),
        ("RegularExpression", PathMatch::Regex),
    ];
    let map = d.strict(node, &["type", "value"])?;
    let make: Make =
        d.field(map, "type", |d, node| d.one_of(node, &TYPES)).unwrap_or(Some(PathMatch::Prefix))?;
    let value = d.field(map, "value", Decoder::string).unwrap_or_else(|| Some("/".into()))?;
    let made = make(value.clone());
    let wrong = match made {
        PathMatch::Exact(_) | PathMatch::Prefix(_) => not_a_path(&value),
        PathMatch::Regex(_) | PathMatch::Call { .. } => {
            (value.is_empty() || value.len() > MOST_PATH).then_some("it has 1 to 1024 bytes")
        }
    };
    if let Some(wrong) = wrong {
        let message = format!("{:?} is no path to match: {wrong}", short(&value));
        d.error(node.place, Code::InvalidValue, message);
    }
    Some(made)
}

/// What the API forbids in a path that is compared, and what no request that passes could have.
pub(crate) fn not_a_path(path: &str) -> Option<&'static str> {
    if path.len() > MOST_PATH {
        return Some("it has at most 1024 bytes");
    }
    if !path.starts_with('/') {
        return Some("it begins with /");
    }
    if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@%".contains(&byte)) {
        return Some("it has a character that a path does not have unescaped");
    }
    let lower = path.to_ascii_lowercase();
    let is_escape =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !lower.split('%').skip(1).all(is_escape) {
        return Some("% stands before two hexadecimal digits");
    }
    if lower.contains("//") || lower.contains("%2f") || lower.contains("%5c") {
        return Some("an empty element or an escaped slash: requests with these are refused");
    }
    if lower.contains(';') || lower.contains("%3b") {
        return Some("parameters after a ;: requests with these are refused");
    }
    let has_dots = lower.split('/').any(|element| matches!(element, "." | ".."));
    has_dots.then_some(". or .. is no element: requests with these are refused")
}

fn call<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<PathMatch> {
    let map = d.strict(node, &["type", "service", "method"])?;
    let is_regex = d.field(map, "type", kind_of_text).unwrap_or(Some(false))?;
    let [service, method] = ["service", "method"].map(|field| {
        d.field(map, field, |d, node| {
            let text = d.string(node)?;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
            if text.len() > MOST_PATH || !is_regex && !text.bytes().all(is_name) {
                let message = format!("{:?} is no {field} of gRPC", short(&text));
                d.error(node.place, Code::InvalidValue, message);
            }
            Some(text).filter(|text| !text.is_empty())
        })
        .flatten()
    });
    if service.is_none() && method.is_none() {
        let diagnostic = Diagnostic::error(Code::ExactlyOne, "one of service and method is needed");
        d.report(node.place, diagnostic.suggest("leave method out to match every call"));
    }
    Some(PathMatch::Call { service, method, is_regex })
}

fn kind_of_text<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<bool> {
    d.one_of(node, &[("Exact", false), ("RegularExpression", true)])
}

fn texts<'n>(d: &mut Decoder<'n>, map: Map<'n>, field: &'n str, most: usize) -> Vec<TextMatch> {
    let texts = d.field(map, field, |d, node| {
        d.check_length(node, 0, MOST);
        d.list(node, |d, node| {
            let map = d.strict(node, &["type", "name", "value"])?;
            let is_regex = d.field(map, "type", kind_of_text).unwrap_or(Some(false));
            let name = d.required(map, "name", token);
            let value = d.required(map, "value", |d, node| {
                let text = d.string(node)?;
                if text.is_empty() || text.len() > most {
                    d.error(node.place, Code::InvalidValue, format!("it has 1 to {most} bytes"));
                }
                Some(text)
            });
            Some(TextMatch { name: name?, value: value?, is_regex: is_regex? })
        })
    });
    texts.flatten().unwrap_or_default()
}

/// Name of a header (RFC 9110, section 5.1) or, as the API has it, of a query parameter.
pub(crate) fn token<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let text = d.string(node)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > MOST_NAME || !text.bytes().all(is_token) {
        d.error(node.place, Code::InvalidValue, format!("{:?} is no name of a field", short(&text)));
    }
    Some(text)
}
