//! A target that is a subject of a stream of NATS JetStream: one message for each entry.
//!
//! Source: <https://docs.nats.io/reference/reference-protocols/nats-protocol>; what a stream answers, `JSPubAckResponse` of
//! `nats-server`. Each message asks for an answer and carries the entry's id as `Nats-Msg-Id`. Only what the stream acknowledged
//! counts as taken: a subject that no stream has keeps nothing, and is told as a problem. What comes again, the stream drops by
//! that id for as long as it remembers it (two minutes where nobody says otherwise); and of a batch that is tried again, what it
//! acknowledged the first time is not sent a second time, however long that takes.

use crate::batch::Batch;
use crate::format;
use crate::http::{secured, told_text};
use crate::settings::{Login, Settings};
use crate::sink::Outcome;
use crate::syslog::Stream;
use crate::target::{Format, Host};
use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest line of a server. What it says of itself has the addresses of its whole cluster.
const LINE: u64 = 65_536;
/// Longest answer to one message.
const ANSWER: usize = 65_536;
/// Largest message where the server does not say (its own default).
const PAYLOAD: usize = 1 << 20;
/// How long connecting and sending a batch may take.
const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(60);
/// Codes of a stream that will never take a message: it, or its headers, are too large (`JSStreamMessageExceedsMaximumErr`,
/// `JSStreamHeaderExceedsMaximumErr`).
const TOO_LARGE: [u64; 2] = [10_054, 10_097];

/// One target.
#[derive(Debug)]
pub(crate) struct Nats {
    format: Format,
    host: Host,
    subject: String,
    tls: Option<Arc<ClientConfig>>,
    settings: Settings,
    open: Option<Wire>,
    /// Of the batch that is tried again: ids of what the stream has.
    taken: HashSet<String>,
}

/// One entry, or what is said of those that are missing.
struct Message {
    id: String,
    text: String,
}

/// A connection that the server took.
struct Wire {
    stream: BufReader<Box<dyn Stream>>,
    /// Bytes of the largest message, with its headers.
    most: usize,
    /// Answers come to subjects that begin so.
    inbox: String,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

/// What a server says of itself.
#[derive(Deserialize)]
struct About {
    max_payload: Option<usize>,
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    headers: bool,
}

/// What a stream says of a message.
#[derive(Deserialize)]
struct Acknowledgement {
    stream: Option<String>,
    seq: Option<u64>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// The same, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Taken,
    Never(String),
    Later(String),
}

/// What a server says.
enum Said {
    Pong,
    /// Of the message with this number.
    Answer(usize, Answer),
    Nothing,
}

/// What became of the messages of a batch, so far.
#[derive(Default)]
struct Tally {
    refused: u64,
    /// Why the last of them was refused.
    says: Option<String>,
    /// Why some are to be sent again.
    later: Option<String>,
}

impl Nats {
    pub(crate) fn new(
        format: Format,
        host: Host,
        subject: &str,
        tls: Option<Arc<ClientConfig>>,
        settings: Settings,
    ) -> Self {
        let subject = subject.to_owned();
        Self { format, host, subject, tls, settings, open: None, taken: HashSet::new() }
    }

    /// Sends each entry as a message, and waits for all answers.
    pub(crate) async fn send(&mut self, batch: &Batch) -> Outcome {
        let messages = messages(self.format, batch);
        let later = |why| Outcome::Later { why, after: None };
        match tokio::time::timeout(WHOLE, self.publish(&messages)).await {
            Ok(Ok(Tally { later: Some(why), .. })) => later(why),
            Ok(Ok(Tally { refused, says, later: None })) => {
                self.taken.clear();
                Outcome::Taken { rejected: refused, says }
            }
            Ok(Err(why)) => later(why),
            Err(_elapsed) => later(format!("{} gave no answer within {} s", self.host, WHOLE.as_secs())),
        }
    }

    async fn publish(&mut self, messages: &[Message]) -> Result<Tally, String> {
        let mut open = self.open.take();
        if let Some(wire) = &mut open
            && wire.is_there().await.is_err()
        {
            // It was closed, maybe long ago.
            open = None;
        }
        let mut wire = match open {
            Some(wire) => wire,
            None => self.connect().await?,
        };
        let left: Vec<_> = messages.iter().filter(|message| !self.taken.contains(&message.id)).collect();
        let mut tally = Tally::default();
        let mut waiting = wire.publish(&self.subject, &left, &mut tally).await?;
        while !waiting.is_empty() {
            let Said::Answer(number, answer) = wire.next().await? else { continue };
            if !waiting.remove(&number) {
                continue;
            }
            match answer {
                Answer::Taken => self.taken.extend(left.get(number).map(|message| message.id.clone())),
                Answer::Never(why) => tally.refuse(why),
                Answer::Later(why) => tally.later = tally.later.or(Some(why)),
            }
        }
        self.open = Some(wire);
        Ok(tally)
    }

    async fn connect(&self) -> Result<Wire, String> {
        let late = |_| format!("connecting to {}: no answer within {} s", self.host, CONNECT.as_secs());
        tokio::time::timeout(CONNECT, self.opened()).await.map_err(late)?
    }

    async fn opened(&self) -> Result<Wire, String> {
        let to = (self.host.name.as_str(), self.host.port);
        let stream = TcpStream::connect(to).await;
        let stream = stream.map_err(|error| format!("connecting to {}: {error}", self.host))?;
        // It speaks first, and in clear. Nothing is read beyond its line: what follows is TLS.
        let mut stream = BufReader::with_capacity(1, stream);
        let said = line(&mut stream).await?;
        let about = said.strip_prefix("INFO ").and_then(|about| serde_json::from_str(about).ok());
        let about: About = about.ok_or_else(|| format!("{} is no server of NATS", self.host))?;
        if !about.headers {
            return Err(format!("{} takes no headers: NATS 2.2 or later is needed", self.host));
        }
        let stream: Box<dyn Stream> = match &self.tls {
            Some(config) => Box::new(secured(config, &self.host, stream.into_inner()).await?),
            None if about.tls_required => return Err(format!("{} wants TLS: write nats-tls://", self.host)),
            None => Box::new(stream.into_inner()),
        };
        let mut wire = Wire {
            stream: BufReader::new(stream),
            most: about.max_payload.unwrap_or(PAYLOAD),
            inbox: inbox()?,
        };
        let hello = self.hello()?;
        wire.write(format!("CONNECT {hello}\r\nSUB {}.* 1\r\n", wire.inbox).as_bytes()).await?;
        wire.is_there().await?;
        Ok(wire)
    }

    /// Who this is.
    fn hello(&self) -> Result<Value, String> {
        let mut hello = json!({
            "verbose": false, "pedantic": false, "tls_required": self.tls.is_some(), "name": "cofferdam", "lang": "rust",
            "version": env!("CARGO_PKG_VERSION"), "protocol": 1, "headers": true, "no_responders": true,
        });
        let login = self.settings.login().map_err(|error| error.to_string())?;
        if let (Some(login), Some(hello)) = (login, hello.as_object_mut()) {
            match login {
                Login::Token(token) => drop(hello.insert("auth_token".to_owned(), token.into())),
                Login::User(name, password) => {
                    hello.insert("user".to_owned(), name.into());
                    hello.insert("pass".to_owned(), password.into());
                }
            }
        }
        Ok(hello)
    }
}

impl Tally {
    fn refuse(&mut self, why: String) {
        self.refused += 1;
        self.says = Some(why);
    }
}

impl Wire {
    /// Sends messages; the numbers of those for which an answer is to come.
    async fn publish(
        &mut self,
        subject: &str,
        messages: &[&Message],
        tally: &mut Tally,
    ) -> Result<HashSet<usize>, String> {
        let (mut waiting, mut all) = (HashSet::new(), Vec::new());
        for (number, Message { id, text }) in messages.iter().enumerate() {
            let head = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
            let length = head.len() + text.len();
            if length > self.most {
                tally.refuse(format!("a message has {length} bytes, and the server takes {}", self.most));
                continue;
            }
            let start = format!("HPUB {subject} {}.{number} {} {length}\r\n", self.inbox, head.len());
            for part in [&start, &head, text, "\r\n"] {
                all.extend_from_slice(part.as_bytes());
            }
            waiting.insert(number);
        }
        self.write(&all).await?;
        Ok(waiting)
    }

    /// Waits until the server has read everything.
    async fn is_there(&mut self) -> Result<(), String> {
        self.write(b"PING\r\n").await?;
        while !matches!(self.next().await?, Said::Pong) {}
        Ok(())
    }

    async fn next(&mut self) -> Result<Said, String> {
        let said = line(&mut self.stream).await?;
        let words: Vec<&str> = said.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["PONG"] => Ok(Said::Pong),
            ["PING"] => self.write(b"PONG\r\n").await.map(|()| Said::Nothing),
            ["MSG", subject, _, length] => self.answer(subject, "0", length).await,
            ["HMSG", subject, _, head, length] => self.answer(subject, head, length).await,
            // After most of these it closes the connection; after the others nobody answers.
            ["-ERR", ..] => {
                Err(format!("the server says: {}", told_text(said.trim_start_matches("-ERR").trim())))
            }
            // It tells of its cluster whenever that changes.
            ["INFO", ..] | ["+OK"] => Ok(Said::Nothing),
            _ => Err(format!("the server says what is no line of NATS: {}", told_text(&said))),
        }
    }

    /// What stands below a line, and which message it is for.
    async fn answer(&mut self, subject: &str, head: &str, length: &str) -> Result<Said, String> {
        let (Ok(head), Ok(length)) = (head.parse::<usize>(), length.parse::<usize>()) else {
            return Err("the server sends a message without a length".to_owned());
        };
        if length > ANSWER {
            return Err(format!("the server gave an answer of {length} bytes"));
        }
        let lost = |error| format!("connection lost: {error}");
        let mut body = vec![0; length + 2];
        self.stream.read_exact(&mut body).await.map_err(lost)?;
        let number = subject
            .strip_prefix(&self.inbox)
            .and_then(|it| it.strip_prefix('.'))
            .and_then(|it| it.parse().ok());
        let (head, body) = body.get(..length).unwrap_or_default().split_at(head.min(length));
        Ok(number.map_or(Said::Nothing, |number| Said::Answer(number, answer(head, body))))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let lost = |error| format!("connection lost: {error}");
        self.stream.write_all(bytes).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }
}

/// What the answer to a message means.
fn answer(head: &[u8], body: &[u8]) -> Answer {
    if head.starts_with(b"NATS/1.0 503") {
        return Answer::Later(
            "no stream has this subject, so that nobody would keep what is sent: add one (nats stream add)"
                .to_owned(),
        );
    }
    match serde_json::from_slice(body) {
        Ok(Acknowledgement { error: Some(Refusal { err_code, description }), .. }) => {
            let says = format!("the stream says: {}", told_text(&description));
            if TOO_LARGE.contains(&err_code) { Answer::Never(says) } else { Answer::Later(says) }
        }
        Ok(Acknowledgement { stream: Some(_), seq: Some(1..), error: None }) => Answer::Taken,
        Ok(_) | Err(_) => Answer::Later("somebody answered who is no stream of JetStream".to_owned()),
    }
}

fn messages(format: Format, batch: &Batch) -> Vec<Message> {
    let is_ocsf = format == Format::Ocsf;
    let lost = batch.lost.iter().map(|lost| {
        let event =
            if is_ocsf { ocsf::lost(lost.records, lost.up_to, lost.time) } else { format::lost_line(lost) };
        Message { id: format!("lost-{}-{}", lost.up_to, lost.records), text: event.to_string() }
    });
    let entries = batch.entries.iter().map(|stored| {
        let event = if is_ocsf { ocsf::event(stored) } else { format::line(stored) };
        Message { id: header(&ocsf::uid(stored)), text: event.to_string() }
    });
    lost.chain(entries).collect()
}

/// A text as the value of a header, in which nothing can end it.
fn header(text: &str) -> String {
    let mut all = String::new();
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => all.push(char::from(byte)),
            _ => all.push_str(&format!("%{byte:02x}")),
        }
    }
    all
}

/// Where answers go: a subject that nobody guesses.
fn inbox() -> Result<String, String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(format!("_INBOX.{}", HEXLOWER.encode(&bytes)))
}

/// One line, without its end.
async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = stream.take(LINE).read_until(b'\n', &mut bytes).await;
    read.map_err(|error| format!("connection lost: {error}"))?;
    if !bytes.ends_with(b"\n") {
        return Err(if bytes.len() as u64 == LINE {
            format!("the server said a line of more than {LINE} bytes")
        } else {
            "the server closed the connection".to_owned()
        });
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_stream_acknowledged_counts_as_taken() {
        let none = "no stream has this subject";
        for (head, body, says) in [
            ("", r#"{"stream":"S","seq":3}"#, Ok(())),
            ("", r#"{"stream":"S","seq":3,"duplicate":true,"domain":"hub"}"#, Ok(())),
            ("", r#"{"stream":"S","seq":0}"#, Err("no stream of JetStream")),
            (
                "",
                r#"{"type":"io.nats","error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"seq":0}"#,
                Err("maximum messages exceeded"),
            ),
            ("", r#"{"stream":"S","seq":1,"error":{"code":500}}"#, Err("the stream says: ")),
            ("NATS/1.0 503\r\n\r\n", "", Err(none)),
            ("", "", Err("no stream of JetStream")),
            ("", "+OK", Err("no stream of JetStream")),
            ("", "{}", Err("no stream of JetStream")),
        ] {
            match (answer(head.as_bytes(), body.as_bytes()), says) {
                (Answer::Taken, Ok(())) => {}
                (Answer::Later(why), Err(says)) => assert!(why.contains(says), "{body}: {why}"),
                (found, _) => panic!("{body}: {found:?}"),
            }
        }
        let large = br#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#;
        assert!(matches!(answer(b"", large), Answer::Never(_)));
    }

    #[test]
    fn a_name_cannot_leave_its_header() {
        assert_eq!(header("node-1-5f-a"), "node-1-5f-a");
        assert_eq!(header("a\r\nNats-Rollup: all\r\n %"), "a%0d%0aNats-Rollup:%20all%0d%0a%20%25");
    }
}
