//! One target, open: a batch goes in, and what became of it comes out.

use crate::batch::Batch;
use crate::error::ExportError;
use crate::file::Lines;
use crate::format;
use crate::http::{Http, Tls};
use crate::nats::Nats;
use crate::settings::Settings;
use crate::syslog::Syslog;
use crate::target::{Format, Host, Place, Target};
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

/// Most bytes of one body before it is packed.
const MOST_BYTES: usize = 4 << 20;

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is there. Of its entries so many were not taken; what the target says besides.
    Taken { rejected: u64, says: Option<String> },
    /// It is not there, and may be the next time; not before some time, if the target says so.
    Later { why: String, after: Option<Duration> },
    /// It will never be taken as it is.
    Never { why: String },
    /// Whoever read standard output does not any more.
    Closed,
}

/// One target, open.
#[derive(Debug)]
pub(crate) struct Sink {
    target: Target,
    /// As whom a collector is sent something.
    sender: Option<String>,
    door: Door,
}

#[derive(Debug)]
enum Door {
    Stdout,
    File(Lines),
    Http(Box<Http>),
    Syslog(Box<Syslog>),
    Nats(Box<Nats>),
}

impl Sink {
    /// What is opened is opened when there is something to send.
    pub(crate) fn new(target: Target, settings: &Settings) -> Result<Self, ExportError> {
        let door = match &target.place {
            Place::Stdout => Door::Stdout,
            Place::File(path) => Door::File(Lines::new(path.clone())),
            Place::Http { host, path } => {
                if !settings.headers()?.is_empty() {
                    hidden(&target, host, "https, or a collector on this machine")?;
                }
                let tls = match (target.format, &settings.sender) {
                    (Format::Collector, Some(sender)) => Tls::Collector(sender.clone()),
                    (Format::Collector, None) => {
                        let why = "a collector takes nothing from nobody: it is sent with a certificate, by --collector";
                        return Err(ExportError::Target { target: target.to_string(), why: why.to_owned() });
                    }
                    (_, _) if host.is_tls => Tls::Host(settings.tls()?),
                    (_, _) => Tls::Clear,
                };
                Door::Http(Box::new(Http::new(target.format, host.clone(), path, tls, settings.clone())))
            }
            Place::Syslog { transport, host } => {
                let tls = if host.is_tls { Some(settings.tls()?) } else { None };
                Door::Syslog(Box::new(Syslog::new(*transport, host.clone(), tls)))
            }
            Place::Nats { host, subject } => {
                if settings.login()?.is_some() {
                    hidden(&target, host, "nats-tls://, or a server on this machine")?;
                }
                let tls = if host.is_tls { Some(settings.tls()?) } else { None };
                Door::Nats(Box::new(Nats::new(target.format, host.clone(), subject, tls, settings.clone())))
            }
        };
        let sender = settings.sender.as_ref().map(|sender| sender.node.clone());
        Ok(Self { target, sender, door })
    }

    /// Sends a batch.
    pub(crate) async fn send(&mut self, batch: &Batch) -> Outcome {
        match &mut self.door {
            Door::Syslog(syslog) => return syslog.send(batch).await,
            Door::Nats(nats) => return nats.send(batch).await,
            Door::Stdout | Door::File(_) | Door::Http(_) => {}
        }
        let body = match self.body(batch) {
            Ok(body) => body,
            Err(why) => return Outcome::Later { why, after: None },
        };
        if body.len() > MOST_BYTES {
            return Outcome::Never {
                why: format!("it has {} bytes, and at most {MOST_BYTES} go at once", body.len()),
            };
        }
        match &mut self.door {
            Door::Stdout => match print(&body) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Closed,
                done => written(done),
            },
            Door::File(lines) => written(lines.write(&body)),
            Door::Http(http) => http.post(&body).await,
            Door::Syslog(syslog) => syslog.send(batch).await,
            Door::Nats(nats) => nats.send(batch).await,
        }
    }

    fn body(&self, batch: &Batch) -> Result<Vec<u8>, String> {
        match (self.target.format, &self.sender) {
            (Format::Collector, Some(node)) => {
                let parcel = batch.parcel(node);
                let parcel =
                    parcel.ok_or("the ledger was made by an earlier version and not written since")?;
                serde_json::to_vec(&parcel).map_err(|error| error.to_string())
            }
            (format, _) => Ok(format::body(format, batch)),
        }
    }
}

/// Whether a target is told now and then how things stand, also when there is nothing to send.
pub(crate) fn is_told(target: &Target) -> bool {
    target.format == Format::Collector
}

/// Whether what says who sends is readable by nobody on the way.
pub(crate) fn hidden(target: &Target, host: &Host, instead: &str) -> Result<(), ExportError> {
    if host.is_tls || is_this_machine(&host.name) {
        return Ok(());
    }
    let why = format!("headers may hold tokens, and would be readable on the way: use {instead}");
    Err(ExportError::Target { target: target.to_string(), why })
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn print(body: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(body)?;
    out.flush()
}

fn written(done: io::Result<()>) -> Outcome {
    match done {
        Ok(()) => Outcome::Taken { rejected: 0, says: None },
        Err(error) => Outcome::Later { why: error.to_string(), after: None },
    }
}
