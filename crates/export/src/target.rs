//! Where to, and in which format: what a URL says.

use crate::clickhouse::is_name;
use crate::error::ExportError;
use hyper::Uri;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where logs, traces and metrics of OTLP are taken at a server whose URL has no path (OTLP specification, "OTLP/HTTP Request").
const LOGS: &str = "/v1/logs";
const TRACES: &str = "/v1/traces";
const METRICS: &str = "/v1/metrics";
/// Ports of RFC 5426, RFC 6587 (there is no other custom) and RFC 5425.
const SYSLOG_UDP: u16 = 514;
const SYSLOG_TCP: u16 = 601;
const SYSLOG_TLS: u16 = 6514;
/// Port of NATS, and its longest subject here.
const NATS: u16 = 4222;
const SUBJECT: usize = 255;
/// Ports of ClickHouse's HTTP interface.
const CLICKHOUSE: u16 = 8123;
const CLICKHOUSE_TLS: u16 = 8443;
/// Where a collector listens when nobody says, and where it takes entries.
const COLLECTOR: u16 = 9448;
const COLLECTOR_PATH: &str = "/v1/entries";
const COLLECTORS: &str = "a collector is written https://HOST:9448, without a path";
const FORMS: &str = "use file:/path, stdout:, nats(-tls)://host/subject, http(s)://host/path, with ocsf+ or (before http) otlp+, otlp-traces+ or otlp-metrics+ in front, or \
                     syslog+udp://host:514, syslog+tcp://host:601, syslog+tls://host:6514, or clickhouse+https://host:8443/database";

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// One JSON object per line, as the ledger has it.
    JsonLines,
    /// OTLP logs in JSON.
    Otlp,
    /// OTLP traces in JSON: requests.
    OtlpTraces,
    /// OTLP metrics in JSON: how many there were of what, tokens and durations of requests.
    OtlpMetrics,
    /// OCSF events, one per line.
    Ocsf,
    /// Syslog messages, RFC 5424.
    Syslog,
    /// Rows of ClickHouse, over HTTP.
    ClickHouse,
    /// Parcels for a collector of this program's, over mutual TLS.
    Collector,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::JsonLines,
        Self::Otlp,
        Self::OtlpTraces,
        Self::OtlpMetrics,
        Self::Ocsf,
        Self::Syslog,
        Self::ClickHouse,
        Self::Collector,
    ];

    /// As the status and metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Otlp => "otlp",
            Self::OtlpTraces => "otlp-traces",
            Self::OtlpMetrics => "otlp-metrics",
            Self::Ocsf => "ocsf",
            Self::Syslog => "syslog",
            Self::ClickHouse => "clickhouse",
            Self::Collector => "collector",
        }
    }
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How entries are written.
    pub format: Format,
    pub(crate) place: Place,
}

impl Target {
    /// A collector of this program's, at `https://HOST[:PORT]`.
    ///
    /// # Errors
    /// The URL is none, or has a path.
    pub fn collector(url: &str) -> Result<Self, ExportError> {
        let parsed = url.strip_prefix("https:").ok_or_else(|| COLLECTORS.to_owned()).and_then(|rest| {
            let uri = uri(rest)?;
            if !matches!(uri.path_and_query().map(|it| it.as_str()), None | Some("" | "/")) {
                return Err(COLLECTORS.to_owned());
            }
            host(&uri, COLLECTOR, true)
        });
        match parsed {
            Ok(host) => {
                let place = Place::Http { host, path: COLLECTOR_PATH.to_owned() };
                Ok(Self { format: Format::Collector, place })
            }
            Err(why) => Err(ExportError::Target { target: without_secrets(url), why }),
        }
    }

    /// A database of ClickHouse that is asked, at `clickhouse+https://HOST[:PORT]/DATABASE`.
    ///
    /// # Errors
    /// The URL is none, or of something that is only sent to.
    pub fn store(url: &str) -> Result<Self, ExportError> {
        let found: Self = url.parse()?;
        if found.format == Format::ClickHouse {
            return Ok(found);
        }
        let why = "only ClickHouse can be asked: write clickhouse+https://host:8443/database".to_owned();
        Err(ExportError::Target { target: found.to_string(), why })
    }

    /// Whether it is this process's own output.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        self.place == Place::Stdout
    }
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Stdout,
    File(PathBuf),
    Http { host: Host, path: String },
    Syslog { transport: Transport, host: Host },
    Nats { host: Host, subject: String },
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// A name or an address; of IPv6 without its brackets.
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) is_tls: bool,
}

/// How syslog is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Stream,
}

impl FromStr for Target {
    type Err = ExportError;

    fn from_str(text: &str) -> Result<Self, ExportError> {
        let shown = without_secrets(text);
        parse(text).map_err(|why| ExportError::Target { target: shown, why })
    }
}

fn parse(text: &str) -> Result<Target, String> {
    let (scheme, rest) = text.split_once(':').ok_or_else(|| format!("it is no URL: {FORMS}"))?;
    let (format, base) = match scheme.split_once('+') {
        None => (Format::JsonLines, scheme),
        Some(("jsonl", base)) => (Format::JsonLines, base),
        Some(("ocsf", base)) => (Format::Ocsf, base),
        Some(("otlp", base)) => (Format::Otlp, base),
        Some(("otlp-traces", base)) => (Format::OtlpTraces, base),
        Some(("otlp-metrics", base)) => (Format::OtlpMetrics, base),
        Some(("syslog", base)) => (Format::Syslog, base),
        Some(("clickhouse", base)) => (Format::ClickHouse, base),
        Some(_) => return Err(format!("the scheme {scheme:?} is not known: {FORMS}")),
    };
    let place = match (format, base) {
        (Format::JsonLines | Format::Ocsf, "file") => file(rest)?,
        (Format::JsonLines | Format::Ocsf, "nats" | "nats-tls") => nats(base == "nats-tls", rest)?,
        (Format::JsonLines | Format::Ocsf, "stdout") if rest.is_empty() => Place::Stdout,
        (
            Format::JsonLines | Format::Ocsf | Format::Otlp | Format::OtlpTraces | Format::OtlpMetrics,
            "http" | "https",
        ) => http(format, base == "https", rest)?,
        (Format::ClickHouse, "http" | "https") => clickhouse(base == "https", rest)?,
        (Format::Syslog, "udp") => syslog(Transport::Udp, SYSLOG_UDP, false, rest)?,
        (Format::Syslog, "tcp") => syslog(Transport::Stream, SYSLOG_TCP, false, rest)?,
        (Format::Syslog, "tls") => syslog(Transport::Stream, SYSLOG_TLS, true, rest)?,
        (_, _) => return Err(format!("the scheme {scheme:?} is not known: {FORMS}")),
    };
    Ok(Target { format, place })
}

fn file(rest: &str) -> Result<Place, String> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err("the path of a file begins with /: file:/var/log/cofferdam.jsonl".to_owned());
    }
    Ok(Place::File(PathBuf::from(path)))
}

fn http(format: Format, is_tls: bool, rest: &str) -> Result<Place, String> {
    let uri = uri(rest)?;
    let default = if is_tls { 443 } else { 80 };
    let path = match uri.path_and_query().map(|it| it.as_str()) {
        None | Some("" | "/") if format == Format::Otlp => LOGS,
        None | Some("" | "/") if format == Format::OtlpTraces => TRACES,
        None | Some("" | "/") if format == Format::OtlpMetrics => METRICS,
        None => "/",
        Some(path) => path,
    };
    Ok(Place::Http { host: host(&uri, default, is_tls)?, path: path.to_owned() })
}

/// The path is the database.
fn clickhouse(is_tls: bool, rest: &str) -> Result<Place, String> {
    let uri = uri(rest)?;
    let database = match uri.path().trim_matches('/') {
        "" => "default",
        database => database,
    };
    if !is_name(database) || uri.query().is_some() {
        return Err("the path is the name of a database: clickhouse+https://host:8443/security; users and settings are \
                    headers (--export-headers, --store-headers)"
            .to_owned());
    }
    let default = if is_tls { CLICKHOUSE_TLS } else { CLICKHOUSE };
    Ok(Place::Http { host: host(&uri, default, is_tls)?, path: database.to_owned() })
}

fn syslog(transport: Transport, port: u16, is_tls: bool, rest: &str) -> Result<Place, String> {
    let uri = uri(rest)?;
    if !matches!(uri.path_and_query().map(|it| it.as_str()), None | Some("" | "/")) {
        return Err("syslog has no path: syslog+tls://host:6514".to_owned());
    }
    Ok(Place::Syslog { transport, host: host(&uri, port, is_tls)? })
}

/// The path is the subject.
fn nats(is_tls: bool, rest: &str) -> Result<Place, String> {
    let uri = uri(rest)?;
    let subject = uri.path().trim_matches('/');
    let is_token = |token: &str| {
        !token.is_empty() && token.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
    };
    if uri.query().is_some() || subject.len() > SUBJECT || !subject.split('.').all(is_token) {
        return Err("the path is a subject, of letters, digits, - and _ between dots: nats-tls://host:4222/security.records; a \
                    token or password is a header (--export-headers)"
            .to_owned());
    }
    Ok(Place::Nats { host: host(&uri, NATS, is_tls)?, subject: subject.to_owned() })
}

fn uri(rest: &str) -> Result<Uri, String> {
    // What the scheme is called does not matter any more.
    let uri: Uri = format!("http:{rest}").parse().map_err(|error| format!("it is no URL: {error}"))?;
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err("a password does not belong in a URL: put a header into a file, and name it with --export-headers or \
                 --store-headers"
                .to_owned())
        }
        Some(_) => Ok(uri),
        None => Err("it names no host: write https://host/path".to_owned()),
    }
}

fn host(uri: &Uri, default: u16, is_tls: bool) -> Result<Host, String> {
    let name = uri.host().unwrap_or_default();
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if name.is_empty() {
        return Err("it names no host: write https://host/path".to_owned());
    }
    let authority = uri.authority().map_or("", |it| it.as_str());
    // A port that is none must not become the default one.
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    match (uri.port_u16(), has_port) {
        (Some(port), _) if port != 0 => Ok(Host { name: name.to_owned(), port, is_tls }),
        (None, false) => Ok(Host { name: name.to_owned(), port: default, is_tls }),
        (_, _) => Err("its port is no number from 1 to 65535".to_owned()),
    }
}

/// Tokens are put into queries, and passwords before a host.
fn without_secrets(text: &str) -> String {
    let text = text.split('?').next().unwrap_or_default();
    match (text.find("//"), text.rfind('@')) {
        (Some(slashes), Some(at)) if at > slashes => {
            let (start, end) = (text.get(..slashes + 2), text.get(at + 1..));
            format!("{}{}", start.unwrap_or_default(), end.unwrap_or_default())
        }
        (_, _) => text.to_owned(),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl fmt::Display for Target {
    /// The URL without its query, in which there may be a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.format {
            Format::JsonLines => "",
            Format::Otlp => "otlp+",
            Format::OtlpTraces => "otlp-traces+",
            Format::OtlpMetrics => "otlp-metrics+",
            Format::Ocsf => "ocsf+",
            Format::Syslog => "syslog+",
            Format::ClickHouse => "clickhouse+",
            Format::Collector => "collector+",
        };
        match &self.place {
            Place::Stdout => write!(f, "{prefix}stdout:"),
            Place::File(path) => write!(f, "{prefix}file:{}", path.display()),
            Place::Http { host, path } => {
                let scheme = if host.is_tls { "https" } else { "http" };
                let slash = if path.starts_with('/') { "" } else { "/" };
                write!(f, "{prefix}{scheme}://{host}{slash}{}", path.split('?').next().unwrap_or_default())
            }
            Place::Nats { host, subject } => {
                let scheme = if host.is_tls { "nats-tls" } else { "nats" };
                write!(f, "{prefix}{scheme}://{host}/{subject}")
            }
            Place::Syslog { transport, host } => {
                let scheme = match (transport, host.is_tls) {
                    (Transport::Udp, _) => "udp",
                    (Transport::Stream, false) => "tcp",
                    (Transport::Stream, true) => "tls",
                };
                write!(f, "{prefix}{scheme}://{host}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_to_and_how() {
        for (text, shown, format) in [
            ("file:/var/log/x.jsonl", "file:/var/log/x.jsonl", Format::JsonLines),
            ("file:///var/log/x", "file:/var/log/x", Format::JsonLines),
            ("ocsf+file:/x", "ocsf+file:/x", Format::Ocsf),
            ("stdout:", "stdout:", Format::JsonLines),
            ("https://logs.example/in?token=secret", "https://logs.example:443/in", Format::JsonLines),
            ("jsonl+http://[::1]:8080/a/b", "http://[::1]:8080/a/b", Format::JsonLines),
            ("otlp+https://otel.example", "otlp+https://otel.example:443/v1/logs", Format::Otlp),
            ("otlp+http://otel:4318/", "otlp+http://otel:4318/v1/logs", Format::Otlp),
            (
                "otlp-traces+https://otel.example",
                "otlp-traces+https://otel.example:443/v1/traces",
                Format::OtlpTraces,
            ),
            (
                "otlp-metrics+http://otel:4318/",
                "otlp-metrics+http://otel:4318/v1/metrics",
                Format::OtlpMetrics,
            ),
            ("otlp+http://otel:4318/own", "otlp+http://otel:4318/own", Format::Otlp),
            ("clickhouse+https://ch", "clickhouse+https://ch:8443/default", Format::ClickHouse),
            ("clickhouse+http://ch:1/security/", "clickhouse+http://ch:1/security", Format::ClickHouse),
            ("nats://bus/a.b-c_1", "nats://bus:4222/a.b-c_1", Format::JsonLines),
            ("ocsf+nats-tls://bus:1/a", "ocsf+nats-tls://bus:1/a", Format::Ocsf),
            ("syslog+udp://log", "syslog+udp://log:514", Format::Syslog),
            ("syslog+tcp://log:1514", "syslog+tcp://log:1514", Format::Syslog),
            ("syslog+tls://log/", "syslog+tls://log:6514", Format::Syslog),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.to_string().as_str(), target.format), (shown, format), "{text}");
        }
    }

    #[test]
    fn a_collector_has_no_path_and_no_other_scheme() {
        let shown = |url| Target::collector(url).map(|it| it.to_string());
        assert_eq!(shown("https://10.0.0.7").unwrap(), "collector+https://10.0.0.7:9448/v1/entries");
        assert_eq!(shown("https://[::1]:1/").unwrap(), "collector+https://[::1]:1/v1/entries");
        for url in ["http://x", "https://x/y", "x:1", "https://", "https://geheim@x", "https://x:0"] {
            let error = shown(url).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_without_its_secrets() {
        for text in [
            "",
            "x",
            "file:x",
            "file:",
            "stdout:x",
            "otlp+file:/x",
            "otlp+stdout:",
            "syslog+file:/x",
            "syslog://x",
            "ftp://x/",
            "clickhouse+http://x/a b",
            "clickhouse+http://x/a;b",
            "clickhouse+http://x/1",
            "clickhouse+http://x/a?user=geheim",
            "clickhouse+file:/x",
            "ocsf+syslog+tcp://x",
            "nats://x",
            "nats://x/a.*",
            "nats://x/a..b",
            "nats://x/a/b",
            "nats://x/$JS.API",
            "nats://x/a?geheim",
            "nats://geheim@x/a",
            "otlp+nats://x/a",
            "https:///x",
            "https://",
            "https:x",
            "https://x:0/",
            "https://x:99999/",
            "https://x:y/",
            "https://user:geheim@x/",
            "https://geheim@x/?geheim",
            "syslog+tcp://x/geheim?geheim",
            "https://x y/",
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(!error.contains("geheim@") && !error.contains("?geheim"), "{error}");
        }
    }
}
