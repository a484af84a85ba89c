//! A target that takes syslog, RFC 5424: over UDP (RFC 5426), TCP with octet counting (RFC 6587, section 3.4.1) or TLS (RFC 5425).
//!
//! Syslog has no acknowledgement: what was handed to the system when a connection broke may be lost, and over UDP anything may.
//! A server that closed the connection is noticed before the next batch.

use crate::batch::{Batch, Lost};
use crate::format;
use crate::http::secured;
use crate::sink::Outcome;
use crate::target::{Host, Transport};
use ledger::{Entry, Kind, Stored, Verdict};
use observe::Time;
use rustls::ClientConfig;
use serde_json::Value;
use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};

/// "Log audit" (RFC 5424, section 6.2.1).
const FACILITY: u8 = 13;
/// Severities of the same section.
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFORMATIONAL: u8 = 6;
/// The number that RFC 5612 sets aside for examples: this project has none of its own.
const ENTERPRISE: &str = "cofferdam@32473";
/// Longest message in a datagram: what has more is sent without the detail. Receivers should take 2048 bytes (RFC 5426).
const DATAGRAM: usize = 8192;
/// Longest host name (RFC 5424, section 6).
const HOST_NAME: usize = 255;
/// Longest value of structured data, in characters.
const VALUE: usize = 1024;
/// How long connecting and sending a batch may take.
const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(60);

/// One target.
#[derive(Debug)]
pub(crate) struct Syslog {
    transport: Transport,
    host: Host,
    tls: Option<Arc<ClientConfig>>,
    open: Option<Open>,
}

enum Open {
    Datagrams(UdpSocket),
    Stream(Box<dyn Stream>),
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Datagrams(_) => "Datagrams",
            Self::Stream(_) => "Stream",
        })
    }
}

/// What bytes are written to, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Syslog {
    pub(crate) fn new(transport: Transport, host: Host, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { transport, host, tls, open: None }
    }

    /// Sends each entry as a message.
    pub(crate) async fn send(&mut self, batch: &Batch) -> Outcome {
        let sending = async {
            let mut open = match self.open.take() {
                Some(open) => still_open(open).await,
                None => None,
            };
            if open.is_none() {
                open = Some(self.connect().await?);
            }
            if let Some(open) = &mut open {
                write(open, batch).await?;
            }
            self.open = open;
            Ok::<_, String>(())
        };
        match tokio::time::timeout(WHOLE, sending).await {
            Ok(Ok(())) => Outcome::Taken { rejected: 0, says: None },
            Ok(Err(why)) => Outcome::Later { why, after: None },
            Err(_elapsed) => Outcome::Later {
                why: format!("{} took nothing for {} s", self.host, WHOLE.as_secs()),
                after: None,
            },
        }
    }

    async fn connect(&self) -> Result<Open, String> {
        let to = (self.host.name.as_str(), self.host.port);
        let failed = |error| format!("connecting to {}: {error}", self.host);
        let connecting = async {
            if self.transport == Transport::Udp {
                let mut addresses = tokio::net::lookup_host(to).await.map_err(failed)?;
                let address = addresses.next().ok_or_else(|| format!("{} has no address", self.host))?;
                let any = if address.is_ipv6() {
                    (Ipv6Addr::UNSPECIFIED, 0).into()
                } else {
                    ([0, 0, 0, 0], 0).into()
                };
                let socket = UdpSocket::bind::<std::net::SocketAddr>(any).await.map_err(failed)?;
                socket.connect(address).await.map_err(failed)?;
                return Ok(Open::Datagrams(socket));
            }
            let stream = TcpStream::connect(to).await.map_err(failed)?;
            Ok(Open::Stream(match &self.tls {
                None => Box::new(stream),
                Some(config) => Box::new(secured(config, &self.host, stream).await?),
            }))
        };
        let late = |_| format!("connecting to {}: no answer within {} s", self.host, CONNECT.as_secs());
        tokio::time::timeout(CONNECT, connecting).await.map_err(late)?
    }
}

/// The same, unless the server has closed it.
async fn still_open(open: Open) -> Option<Open> {
    let Open::Stream(mut stream) = open else { return Some(open) };
    let is_open = std::future::poll_fn(|context| {
        let mut byte = [0; 64];
        let mut buffer = ReadBuf::new(&mut byte);
        Poll::Ready(match Pin::new(&mut stream).poll_read(context, &mut buffer) {
            Poll::Pending => true,
            // Servers have nothing to say; what one says all the same is let be.
            Poll::Ready(Ok(())) => !buffer.filled().is_empty(),
            Poll::Ready(Err(_)) => false,
        })
    });
    is_open.await.then_some(Open::Stream(stream))
}

async fn write(open: &mut Open, batch: &Batch) -> Result<(), String> {
    let lost = batch.lost.iter().map(|lost| (Message::of_lost(lost), Message::of_lost(lost)));
    let entries = batch.entries.iter().map(|stored| (Message::of(stored, true), Message::of(stored, false)));
    match open {
        Open::Datagrams(socket) => {
            for (whole, short) in lost.chain(entries) {
                let Message(text) = if whole.0.len() > DATAGRAM { short } else { whole };
                socket.send(text.as_bytes()).await.map_err(|error| format!("sending: {error}"))?;
            }
            Ok(())
        }
        Open::Stream(stream) => {
            let mut all = Vec::new();
            for (Message(text), _) in lost.chain(entries) {
                all.extend_from_slice(format!("{} ", text.len()).as_bytes());
                all.extend_from_slice(text.as_bytes());
            }
            let lost = |error| format!("connection lost: {error}");
            stream.write_all(&all).await.map_err(lost)?;
            stream.flush().await.map_err(lost)
        }
    }
}

/// One message, in ASCII but for the values of its structured data.
struct Message(String);

impl Message {
    /// With the whole entry as JSON, or without its detail.
    fn of(stored: &Stored, with_detail: bool) -> Self {
        let entry = &stored.entry;
        let mut line = format::line(stored);
        if let (false, Some(line)) = (with_detail, line.as_object_mut()) {
            line.remove("detail");
            line.insert("detail_left_out".to_owned(), Value::Bool(true));
        }
        let id = ocsf::uid(stored);
        let (port, count) = (entry.port.to_string(), entry.count.to_string());
        let values = [
            ("id", id.as_str()),
            ("verdict", verdict(entry.verdict)),
            ("source", &entry.source),
            ("destination", &entry.destination),
            ("port", &port),
            ("rule", &entry.rule),
            ("reason", &entry.reason),
            ("count", &count),
        ];
        Self::new(severity(entry), entry.time, &entry.node, entry.kind.name(), &values, &line)
    }

    fn of_lost(lost: &Lost) -> Self {
        let (records, up_to) = (lost.records.to_string(), lost.up_to.to_string());
        let values = [("records", records.as_str()), ("up_to", &up_to)];
        Self::new(WARNING, lost.time, "", "lost", &values, &format::lost_line(lost))
    }

    fn new(severity: u8, time: u64, host: &str, kind: &str, values: &[(&str, &str)], line: &Value) -> Self {
        let mut text = format!(
            "<{}>1 {} {} cofferdam - {kind} [{ENTERPRISE}",
            FACILITY * 8 + severity,
            Time(time),
            header(host)
        );
        for (name, value) in values.iter().filter(|(_, value)| !value.is_empty()) {
            // Writing to a string cannot fail.
            let _ = write!(text, " {name}=\"{}\"", Escaped(value));
        }
        text.push_str("] ");
        push_ascii(&mut text, &line.to_string());
        Self(text)
    }
}

/// A value of structured data: `"`, `\` and `]` are escaped (RFC 5424, section 6.3.3); what steers a terminal or ends a line is
/// shown as its number.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars().take(VALUE) {
            match c {
                '"' | '\\' | ']' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "{{U+{:04X}}}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The name of a host in the header: printable ASCII, or `-`.
fn header(text: &str) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(HOST_NAME).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

/// JSON with everything beyond ASCII escaped, so that the message needs no mark of its encoding.
fn push_ascii(to: &mut String, json: &str) {
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            to.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(to, "\\u{unit:04x}");
            }
        }
    }
}

fn severity(entry: &Entry) -> u8 {
    match (entry.kind, entry.verdict) {
        (Kind::Finding, _) => ERROR,
        (_, Verdict::Deny | Verdict::Fail) => WARNING,
        (Kind::Audit, _) => NOTICE,
        (_, Verdict::Allow | Verdict::None) => INFORMATIONAL,
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::Fail => "fail",
        Verdict::None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(source: &str, detail: Option<&str>) -> String {
        let entry = Entry {
            time: 1_800_000_000_123_456,
            node: "node 1".into(),
            source: source.into(),
            destination: "x".into(),
            port: 443,
            detail: detail.map(str::to_owned),
            ..Entry::new(Kind::Flow, Verdict::Deny)
        };
        Message::of(&Stored { id: 3, entry }, true).0
    }

    #[test]
    fn a_message_has_the_form_of_the_standard() {
        let text = message("ai/Job/train", None);
        let start = "<108>1 2027-01-15T08:00:00.123456Z node1 cofferdam - flow [cofferdam@32473 id=\"";
        assert!(text.starts_with(start), "{text}");
        let (_, json) = text.split_once("] ").unwrap();
        let line: Value = serde_json::from_str(json).unwrap();
        assert_eq!(line["number"], 3);
    }

    #[test]
    fn what_came_from_the_wire_cannot_leave_its_place() {
        for source in
            ["\"] <0>1 - forged", "a\\", "]", "\n<0>1", "\u{1b}[2J", "\u{0}", "ä\u{202e}\u{10ffff}", "x\r\n"]
        {
            let text = message(source, Some("{\"name\": \"ö\\n\u{1f600}\"}"));
            assert!(!text.chars().any(char::is_control), "{text:?}");
            let (data, json) = text.rsplit_once("] {").unwrap();
            let data = data.split_once('[').unwrap().1;
            // Every quote, and every closing bracket, in a value has a backslash before it.
            let (mut in_value, mut escaped) = (false, false);
            for c in data.chars() {
                match c {
                    _ if escaped => escaped = false,
                    '\\' if in_value => escaped = true,
                    '"' => in_value = !in_value,
                    ']' => panic!("{data} ends early"),
                    _ => {}
                }
            }
            assert!(!in_value && !escaped, "{data}");
            assert!(json.is_ascii());
            let line: Value = serde_json::from_str(&format!("{{{json}")).unwrap();
            assert_eq!(line["source"], source);
            assert_eq!(line["detail"]["name"], "ö\n\u{1f600}");
        }
    }
}
