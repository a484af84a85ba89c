//! Requests of tests, in short.

use super::{Head, Progress, Reader};
use policy::Operation;

/// `METHOD url`, then header lines.
pub(super) struct Sample {
    method: String,
    host: String,
    port: u16,
    target: String,
    headers: Vec<(String, String)>,
}

/// What a request turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Known(String),
    Contradicted(String),
}

impl Sample {
    pub(super) fn read(text: &str) -> Self {
        let mut lines = text.lines();
        let (method, url) = lines.next().unwrap().split_once(' ').unwrap();
        let rest = url.split_once("://").unwrap().1;
        let (authority, target) = rest.split_at(rest.find('/').unwrap());
        let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self {
            method: method.into(),
            host: host.into(),
            port: port.parse().unwrap(),
            target: target.into(),
            headers,
        }
    }

    pub(super) fn reader(&self) -> Reader {
        self.reader_by(Reader::new)
    }

    pub(super) fn reader_by(&self, begin: fn(&Head<'_>) -> Reader) -> Reader {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let (method, host, target) = (&*self.method, &*self.host, &*self.target);
        begin(&Head { method, host, port: self.port, target, headers: &headers })
    }
}

/// What it is with its body as one piece.
pub(super) fn outcome(request: &str, body: &[u8]) -> Outcome {
    read_in_parts(request, body, body.len().max(1))
}

/// What it is with its body in pieces of this size.
pub(super) fn read_in_parts(request: &str, body: &[u8], size: usize) -> Outcome {
    let mut reader = Sample::read(request).reader();
    body.chunks(size).for_each(|part| reader.push(part));
    reader.end();
    match reader.progress() {
        Progress::NeedMore => panic!("{request} is not known at the end"),
        Progress::Known(operation) => Outcome::Known(show(operation)),
        Progress::Contradicted(operation, _) => Outcome::Contradicted(show(operation)),
    }
}

/// Holds each request with its body to what it is: provider, api, verb, then what else there is.
pub(super) fn check(rows: &[(&str, &str, &str)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(request, body, expected)| {
            let found = outcome(request, body.as_bytes());
            assert_eq!(
                read_in_parts(request, body.as_bytes(), 1),
                found,
                "{request} with its body byte by byte"
            );
            let is_right = found == Outcome::Known((*expected).to_owned());
            (!is_right).then(|| format!("{request}\n  {body}\n  expected {expected}\n  found    {found:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn show(operation: &Operation) -> String {
    let provider = operation.provider.as_deref().unwrap_or("-");
    let mut text = format!("{provider} {} {}", operation.api, operation.verb);
    let mut add = |name: &str, value: Option<String>| {
        text.extend(value.map(|value| format!(" {name}={value}")));
    };
    add("intent", operation.intent.map(|intent| intent.to_string()));
    add("resource", operation.resource.clone());
    let sources = operation.sources.iter().map(|source| if source.is_empty() { "?" } else { source });
    add("from", Some(sources.collect::<Vec<_>>().join(",")).filter(|sources| !sources.is_empty()));
    add("model", operation.model.clone());
    add("tools", Some(operation.tools.join(",")).filter(|tools| !tools.is_empty()));
    if operation.stream {
        text.push_str(" stream");
    }
    text
}
