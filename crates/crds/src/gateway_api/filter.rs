//! `filters` of a rule or a backend: what is changed.

use crate::decode::{Decoder, Map};
use crate::diagnostic::{Code, Diagnostic};
use crate::document::Node;
use crate::gateway_api::matches::{not_a_path, token};
use crate::gateway_api::reference::{REFERENCE, Reference, Usual, precise_hostname, refuse};
use crate::gateway_api::route::RouteKind;
use crate::meta::short;
use crate::pod::port_number;
use std::sync::Arc;

/// Most filters of a rule or a backend, and most headers of each list of one.
pub(crate) const MOST: usize = 16;
/// Most entries of each list of CORS.
const MOST_NAMES: usize = 64;
/// Longest value of a header, in bytes.
const MOST_VALUE: usize = 4096;
/// Fields that say how a message is framed, who is asked, or what holds for one hop: changing them would turn one message
/// into another.
const FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteFilter {
    /// `requestHeaderModifier`
    Request(HeaderFilter),
    /// `responseHeaderModifier`
    Response(HeaderFilter),
    /// `requestMirror`
    Mirror(MirrorFilter),
    /// `requestRedirect`
    Redirect(RedirectFilter),
    /// `urlRewrite`
    Rewrite(RewriteFilter),
    /// `cors`
    Cors(CorsFilter),
}

/// Which pages of other origins may ask (Fetch Standard, section 3.2). `*` in a list is everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsFilter {
    /// `allowOrigins`
    pub origins: Vec<CorsOrigin>,
    /// `allowCredentials`
    pub credentials: bool,
    /// `allowMethods`
    pub methods: Vec<Arc<str>>,
    /// `allowHeaders`
    pub headers: Vec<Arc<str>>,
    /// `exposeHeaders`
    pub exposed: Vec<Arc<str>>,
    /// `maxAge`, in seconds; 5 if not written.
    pub max_age: u32,
}

/// Where pages are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigin {
    /// `*`
    Any,
    /// `scheme://host[:port]`
    One {
        /// `http` or `https`.
        scheme: Arc<str>,
        /// In lower case; `*` is every host, and `*.` first means any name below.
        host: Arc<str>,
        /// That of the scheme if not written.
        port: u16,
    },
}

/// Changes of header fields. Names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderFilter {
    /// `set`
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// `add`
    pub add: Vec<(Arc<str>, Arc<str>)>,
    /// `remove`
    pub remove: Vec<Arc<str>>,
}

/// A copy for somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorFilter {
    /// `backendRef`
    pub backend: Reference,
    /// Of so many requests ...
    pub of: u32,
    /// ... so many are copied.
    pub part: u32,
}

/// An answer that leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectFilter {
    /// `scheme`
    pub scheme: Option<Arc<str>>,
    /// `hostname`
    pub host: Option<Arc<str>>,
    /// `path`
    pub path: Option<PathModifier>,
    /// `port`
    pub port: Option<u16>,
    /// `statusCode`; 302 if not written.
    pub status: u16,
}

/// Another host or path for the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewriteFilter {
    /// `hostname`
    pub host: Option<Arc<str>>,
    /// `path`
    pub path: Option<PathModifier>,
}

/// How a path is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathModifier {
    /// `replaceFullPath`
    Full(Arc<str>),
    /// `replacePrefixMatch`
    Prefix(Arc<str>),
}

impl RouteFilter {
    /// The field that has it.
    fn field(&self) -> &'static str {
        match self {
            Self::Request(_) => "requestHeaderModifier",
            Self::Response(_) => "responseHeaderModifier",
            Self::Mirror(_) => "requestMirror",
            Self::Redirect(_) => "requestRedirect",
            Self::Rewrite(_) => "urlRewrite",
            Self::Cors(_) => "cors",
        }
    }

    /// Whether it needs to know which prefix matched.
    pub(crate) fn needs_prefix(&self) -> bool {
        match self {
            Self::Redirect(RedirectFilter { path, .. }) | Self::Rewrite(RewriteFilter { path, .. }) => {
                matches!(path, Some(PathModifier::Prefix(_)))
            }
            Self::Request(_) | Self::Response(_) | Self::Mirror(_) | Self::Cors(_) => false,
        }
    }
}

/// Reads `filters`.
pub(crate) fn filters<'n>(d: &mut Decoder<'n>, map: Map<'n>, kind: RouteKind) -> Vec<RouteFilter> {
    let filters = d.field(map, "filters", |d, node| {
        d.check_length(node, 0, MOST);
        let filters = d.list(node, |d, node| filter(d, node, kind))?;
        unique(d, node, &filters);
        Some(filters)
    });
    filters.flatten().unwrap_or_default()
}

fn unique<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, filters: &[RouteFilter]) {
    let count = |field: &str| filters.iter().filter(|filter| filter.field() == field).count();
    for field in ["requestHeaderModifier", "responseHeaderModifier", "requestRedirect", "urlRewrite", "cors"]
    {
        if count(field) > 1 {
            d.error(node.place, Code::ExactlyOne, format!("{field} stands here more than once"));
        }
    }
    if count("requestRedirect") > 0 && count("urlRewrite") > 0 {
        d.error(node.place, Code::ExactlyOne, "a request is redirected or rewritten, not both");
    }
}

fn filter<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>, kind: RouteKind) -> Option<RouteFilter> {
    const TYPES: [(&str, &str); 6] = [
        ("RequestHeaderModifier", "requestHeaderModifier"),
        ("ResponseHeaderModifier", "responseHeaderModifier"),
        ("RequestMirror", "requestMirror"),
        ("RequestRedirect", "requestRedirect"),
        ("URLRewrite", "urlRewrite"),
        ("CORS", "cors"),
    ];
    const UNSUPPORTED: [(&str, &str); 2] =
        [("ExternalAuth", "externalAuth"), ("ExtensionRef", "extensionRef")];
    let known = match kind {
        RouteKind::Http | RouteKind::Tls => TYPES.as_slice(),
        RouteKind::Grpc => TYPES.get(..3).unwrap_or_default(),
    };
    let fields = ["type"].into_iter().chain(known.iter().chain(&UNSUPPORTED).map(|(_, field)| *field));
    let map = d.strict(node, &fields.collect::<Vec<_>>())?;
    let field = d.required(map, "type", |d, node| {
        let found = d.one_of(node, &[known, UNSUPPORTED.as_slice()].concat())?;
        if UNSUPPORTED.iter().any(|(_, field)| *field == found) {
            let diagnostic = Diagnostic::error(Code::Unsupported, "Cofferdam has no filter of this type");
            d.report(node.place, diagnostic.suggest("leave it out"));
            return None;
        }
        Some(found)
    })?;
    for other in map.keys().filter(|key| !matches!(*key, "type") && *key != field) {
        d.error(map.place, Code::ExactlyOne, format!("{other} does not belong to this type of filter"));
    }
    d.required(map, field, |d, node| match field {
        "requestHeaderModifier" => header_filter(d, node).map(RouteFilter::Request),
        "responseHeaderModifier" => header_filter(d, node).map(RouteFilter::Response),
        "requestMirror" => mirror(d, node).map(RouteFilter::Mirror),
        "requestRedirect" => redirect(d, node).map(RouteFilter::Redirect),
        "cors" => cors(d, node).map(RouteFilter::Cors),
        _ => rewrite(d, node).map(RouteFilter::Rewrite),
    })
}

fn header_filter<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<HeaderFilter> {
    let map = d.strict(node, &["set", "add", "remove"])?;
    let [set, add] = ["set", "add"].map(|field| {
        d.field(map, field, |d, node| {
            d.check_length(node, 0, MOST);
            d.list(node, header)
        })
        .flatten()
        .unwrap_or_default()
    });
    let remove = d.field(map, "remove", |d, node| {
        d.check_length(node, 0, MOST);
        d.list(node, header_name)
    });
    Some(HeaderFilter { set, add, remove: remove.flatten().unwrap_or_default() })
}

fn header<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<(Arc<str>, Arc<str>)> {
    let map = d.strict(node, &["name", "value"])?;
    let name = d.required(map, "name", header_name);
    let value = d.required(map, "value", |d, node| {
        let text = d.string(node)?;
        let is_clean = text.chars().all(|c| !c.is_control()) && text.trim() == &*text;
        if text.is_empty() || text.len() > MOST_VALUE || !is_clean {
            let message = format!("{:?} is no value of a header", short(&text));
            d.error(node.place, Code::InvalidValue, message);
        }
        Some(text)
    });
    Some((name?, value?))
}

fn header_name<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<Arc<str>> {
    let name = token(d, node)?.to_ascii_lowercase();
    if FRAMING.contains(&name.as_str()) {
        let diagnostic = Diagnostic::error(Code::InvalidValue, format!("{name} is not changed by a filter"));
        d.report(node.place, diagnostic.suggest("urlRewrite changes the host"));
    }
    Some(d.intern(&name))
}

fn mirror<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<MirrorFilter> {
    let map = d.strict(node, &["backendRef", "percent", "fraction"])?;
    let fields = [REFERENCE.as_slice(), &["port"]].concat();
    let backend =
        d.required(map, "backendRef", |d, node| Reference::decode(d, node, Usual("", "Service"), &fields));
    let percent = d.field(map, "percent", Decoder::count).flatten().map(|percent| (percent, 100));
    let fraction = d.field(map, "fraction", |d, node| {
        let map = d.strict(node, &["numerator", "denominator"])?;
        let part = d.required(map, "numerator", Decoder::count)?;
        Some((part, d.field(map, "denominator", Decoder::count).flatten().unwrap_or(100)))
    });
    if percent.is_some() && fraction.is_some() {
        d.error(node.place, Code::ExactlyOne, "percent or fraction, not both");
    }
    let (part, of) = percent.or(fraction.flatten()).unwrap_or((1, 1));
    if of == 0 || part > of {
        d.error(node.place, Code::InvalidValue, "the part is at most the whole");
    }
    Some(MirrorFilter { backend: backend?, of, part })
}

fn redirect<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<RedirectFilter> {
    const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
    let map = d.strict(node, &["scheme", "hostname", "path", "port", "statusCode"])?;
    let schemes = [("http", "http"), ("https", "https")];
    let scheme = d.field(map, "scheme", |d, node| d.one_of(node, &schemes)).flatten();
    let status = d.field(map, "statusCode", |d, node| {
        let number = d.integer(node)?;
        let status = u16::try_from(number).ok().filter(|status| STATUSES.contains(status));
        if status.is_none() {
            d.error(node.place, Code::InvalidValue, format!("{number} is not one of {STATUSES:?}"));
        }
        status
    });
    Some(RedirectFilter {
        scheme: scheme.map(|scheme| d.intern(scheme)),
        host: d.field(map, "hostname", precise_hostname).flatten(),
        path: d.field(map, "path", path_modifier).flatten(),
        port: d.field(map, "port", port_number).flatten(),
        status: status.flatten().unwrap_or(302),
    })
}

fn cors<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<CorsFilter> {
    const FIELDS: [&str; 6] =
        ["allowOrigins", "allowCredentials", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge"];
    let map = d.strict(node, &FIELDS)?;
    let origins = d.field(map, "allowOrigins", |d, node| {
        d.check_length(node, 0, MOST_NAMES);
        d.list(node, origin)
    });
    let [methods, headers, exposed] = ["allowMethods", "allowHeaders", "exposeHeaders"].map(|field| {
        let names = d.field(map, field, |d, node| {
            d.check_length(node, 0, MOST_NAMES);
            // `*` is one of the characters of a name.
            d.list(node, token)
        });
        names.flatten().unwrap_or_default()
    });
    let max_age = d.field(map, "maxAge", |d, node| {
        let seconds = d.integer(node)?;
        let found = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        if found.is_none() {
            d.error(node.place, Code::InvalidValue, format!("{seconds} is no number of seconds"));
        }
        found
    });
    let credentials = d.field(map, "allowCredentials", Decoder::boolean).flatten().unwrap_or(false);
    Some(CorsFilter {
        origins: origins.flatten().unwrap_or_default(),
        credentials,
        methods,
        headers,
        exposed,
        max_age: max_age.flatten().unwrap_or(5),
    })
}

/// `*`, or a scheme and a host, of which all or the first names may be `*`.
fn origin<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<CorsOrigin> {
    let text = d.string(node)?;
    if &*text == "*" {
        return Some(CorsOrigin::Any);
    }
    let found = read_origin(&text).filter(|(_, host, _)| {
        let names = host.strip_prefix("*.").unwrap_or(host);
        *host == "*" || (!names.contains('*') && !names.is_empty())
    });
    let Some((scheme, host, port)) = found else {
        let message = format!("{:?} is no origin", short(&text));
        let diagnostic = Diagnostic::error(Code::InvalidValue, message);
        d.report(node.place, diagnostic.suggest("https://*.example.com"));
        return None;
    };
    let (scheme, host) = (d.intern(scheme), d.intern(&host.to_ascii_lowercase()));
    Some(CorsOrigin::One { scheme, host, port })
}

/// Scheme, host and port of an origin (RFC 6454, section 6.1). `None`: it is none of HTTP.
pub fn read_origin(text: &str) -> Option<(&str, &str, u16)> {
    let (scheme, rest) = text.split_once("://")?;
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if is_port(port) => (host, port.parse().ok().filter(|port| *port > 0)?),
        Some(_) | None => (rest, usual),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-*[]:_".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_plain)).then_some((scheme, host, port))
}

fn rewrite<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<RewriteFilter> {
    let map = d.strict(node, &["hostname", "path"])?;
    Some(RewriteFilter {
        host: d.field(map, "hostname", precise_hostname).flatten(),
        path: d.field(map, "path", path_modifier).flatten(),
    })
}

fn path_modifier<'n>(d: &mut Decoder<'n>, node: &'n Node<'n>) -> Option<PathModifier> {
    let map = d.strict(node, &["type", "replaceFullPath", "replacePrefixMatch"])?;
    let words = [("ReplaceFullPath", "replaceFullPath"), ("ReplacePrefixMatch", "replacePrefixMatch")];
    let field = d.required(map, "type", |d, node| d.one_of(node, &words))?;
    refuse_other(d, map, field);
    let text = d.required(map, field, |d, node| {
        let text = d.string(node)?;
        // A prefix may be replaced by nothing.
        if let Some(wrong) = not_a_path(&text).filter(|_| !(text.is_empty() && field != "replaceFullPath")) {
            d.error(node.place, Code::InvalidValue, format!("{:?} is no path: {wrong}", short(&text)));
        }
        Some(text)
    })?;
    Some(if field == "replaceFullPath" { PathModifier::Full(text) } else { PathModifier::Prefix(text) })
}

fn refuse_other<'n>(d: &mut Decoder<'n>, map: Map<'n>, field: &str) {
    if map.keys().any(|key| key != "type" && key != field) {
        d.error(map.place, Code::ExactlyOne, format!("this type has the field {field} alone"));
    }
}

/// What no filter may say for the whole rule.
pub(crate) fn refuse_in_rule<'n>(d: &mut Decoder<'n>, map: Map<'n>) {
    refuse(d, map, &["retry"]);
}
