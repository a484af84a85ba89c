//! `cofferdam classify`: what recorded requests would be understood as.
//!
//! Enters: HAR files, or lines of JSON. Leaves: one JSON object a request, in order. Guarantees: the reader is the one that
//! the gateway asks; what cannot be read has an object in its place too. Does not: show a secret.

mod judged;
mod recorded;

use crate::plain::printable;
use anyhow::{Context, Result, bail};
use clap::Args;
use inspect::coding::{CodingFlaw, Decoder};
use inspect::operation::{Head, Progress, Reader};
use policy::{Contact, Operation, Verb};
use recorded::{Recorded, recorded};
use serde::Serialize;
use std::borrow::Cow;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of a body that is decoded, at most.
const LARGEST: u64 = 64 << 20;

/// Say what recorded requests do, and whether a pod may
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam classify session.har
  cofferdam classify requests.jsonl other.har
  echo '{\"method\": \"POST\", \"url\": \"https://api.openai.com/v1/files\"}' | cofferdam classify -

A file is a HAR file, or has one request a line:

  {\"method\": \"POST\", \"url\": \"https://api.openai.com/v1/chat/completions\",
   \"headers\": {\"authorization\": \"Bearer x\"}, \"body\": {\"model\": \"gpt-4o\"}}

on one line each. headers: an object of texts or lists, or a list of [name, value] or {name, value}. body: a text, or any
JSON; body_base64: bytes. For each request one JSON object is printed, in order. Its verb is download, upload, call, mutate, admin, meta, authorize or
unknown; of keys only their SHA-256 is shown.

With -f and --from it is also said what policy says of each: verdict, reason, rule, and of what is denied what it lacks. The host
is taken to be what the pod asked DNS for.

  cofferdam classify session.har -f manifests/ --from pod:train/trainer

Exit code: 0 all requests were read; 2 some could not be, each of which is unknown.")]
pub(crate) struct ClassifyArgs {
    /// HAR files or files of JSON lines; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    judging: judged::Judging,
}

/// What is printed of a request.
#[derive(Serialize)]
struct Classified<'a> {
    provider: Option<&'a str>,
    api: &'a str,
    verb: Verb,
    resource: Option<&'a str>,
    /// What it copies from.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    sources: &'a [String],
    model: Option<&'a str>,
    stream: bool,
    reason: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    credentials: Vec<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tools: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<Verb>,
    /// Whom it has the provider contact.
    #[serde(skip_serializing_if = "<[Contact]>::is_empty")]
    contacts: &'a [Contact],
    #[serde(flatten)]
    judged: Option<judged::Judged>,
}

/// Prints what each request does.
pub(crate) fn run(args: &ClassifyArgs, out: &mut impl Write) -> Result<()> {
    let (mut all, mut unread) = (0usize, 0usize);
    let mut judge = args.judging.judge()?;
    for file in &args.files {
        let text = read(file)?;
        tell_strays(file, &text);
        let before = all;
        for (place, request) in recorded(&text) {
            all += 1;
            let mut unreadable = |error: anyhow::Error| {
                unread += 1;
                let _ = writeln!(io::stderr(), "{}:{place}: {error:#}", file.display());
                Operation::unknown(format!("the request cannot be read: {error:#}"))
            };
            let (operation, to) = match request {
                Ok(request) => {
                    let operation = classify(&request).unwrap_or_else(unreadable);
                    (operation, Some((request.host, request.port)))
                }
                Err(error) => (unreadable(error), None),
            };
            let judged = judge.as_mut().map(|judge| judge.judge(&operation, to)).transpose()?;
            print(&operation, judged, out)?;
        }
        if all == before {
            let _ = writeln!(io::stderr(), "{}: there is no request in it", file.display());
        }
    }
    if unread > 0 {
        bail!("{unread} of {all} requests cannot be read");
    }
    Ok(())
}

/// Says which fields are not read. They may be a note of whoever recorded it, or a body under a wrong name: no error.
fn tell_strays(file: &Path, text: &[u8]) {
    let strays = recorded::strays(text);
    if strays.is_empty() {
        return;
    }
    let named: Vec<String> =
        strays.iter().map(|(name, line)| format!("{} (line {line})", printable(name))).collect();
    let _ = writeln!(
        io::stderr(),
        "{}: not read: {}; of a request these are read: {}",
        file.display(),
        named.join(", "),
        recorded::FIELDS.join(", ")
    );
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if file.as_os_str() != "-" {
        return fs::read(file).with_context(|| format!("{} cannot be read", file.display()));
    }
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text).context("standard input cannot be read")?;
    Ok(text)
}

fn classify(request: &Recorded) -> Result<Operation> {
    if request.has_other_host {
        return Ok(Operation::unknown("its URL names one host and a field of its head another"));
    }
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let (method, host, target) = (&*request.method, &*request.host, &*request.target);
    let head = Head { method, host, port: request.port, target, headers: &headers };
    let mut reader = Reader::leaving(&head, true);
    // What the body does not tell, its coding does not hide.
    if reader.reads_body() && !request.body.is_empty() {
        match decoded(request) {
            Ok(body) => reader.push(&body),
            Err(flaw) => {
                let Operation { provider, credentials, .. } = reader.so_far().clone();
                let why = format!("the coding of the body cannot be undone: {}", flaw.as_str());
                return Ok(Operation { provider, credentials, ..Operation::unknown(why) });
            }
        }
    }
    reader.end();
    Ok(match reader.progress() {
        Progress::Known(operation) => operation.clone(),
        Progress::Contradicted(operation, why) => Operation {
            provider: operation.provider.clone(),
            credentials: operation.credentials.clone(),
            ..Operation::unknown(why)
        },
        Progress::NeedMore => bail!("its body does not end"),
    })
}

/// The body without its content codings.
fn decoded(request: &Recorded) -> Result<Cow<'_, [u8]>, CodingFlaw> {
    let codings = request.headers.iter().filter(|(name, _)| name == "content-encoding");
    let mut codings = codings.map(|(_, value)| value.as_bytes()).peekable();
    if codings.peek().is_none() {
        return Ok(Cow::Borrowed(&request.body));
    }
    let (mut decoder, mut body) = (Decoder::new(codings, LARGEST)?, Vec::new());
    let mut undo = || {
        decoder.push(&request.body, &mut body)?;
        decoder.end()
    };
    match undo() {
        Ok(()) => Ok(Cow::Owned(body)),
        // Proxies record what they have decoded, and the head as it was sent.
        Err(_) if request.is_text => Ok(Cow::Borrowed(&request.body)),
        Err(flaw) => Err(flaw),
    }
}

fn print(operation: &Operation, judged: Option<judged::Judged>, out: &mut impl Write) -> Result<()> {
    let classified = Classified {
        provider: operation.provider.as_deref(),
        api: &operation.api,
        verb: operation.verb,
        resource: operation.resource.as_deref(),
        sources: &operation.sources,
        model: operation.model.as_deref(),
        stream: operation.stream,
        reason: &operation.reason,
        credentials: operation.credentials.iter().map(ToString::to_string).collect(),
        tools: &operation.tools,
        intent: operation.intent,
        contacts: &operation.contacts,
        judged,
    };
    writeln!(out, "{}", serde_json::to_string(&classified)?)?;
    Ok(())
}
