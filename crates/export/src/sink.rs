//! One target, open: a batch goes in, and what became of it comes out.

use crate::batch::Batch;
use crate::error::ExportError;
use crate::file::Lines;
use crate::format;
use crate::http::{Http, Tls};
use crate::settings::Settings;
use crate::syslog::Syslog;
use crate::target::{Format, Place, Target};
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
}

impl Sink {
    /// What is opened is opened when there is something to send.
    pub(crate) fn new(target: Target, settings: &Settings) -> Result<Self, ExportError> {
        let door = match &target.place {
            Place::Stdout => Door::Stdout,
            Place::File(path) => Door::File(Lines::new(path.clone())),
            Place::Http { host, path } => {
                let headers = settings.headers()?;
                if !headers.is_empty() && !host.is_tls && !is_this_machine(&host.name) {
                    let why = "headers may hold tokens, and would be readable on the way: use https, or a collector on this machine";
                    return Err(ExportError::Target { target: target.to_string(), why: why.to_owned() });
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
        };
        let sender = settings.sender.as_ref().map(|sender| sender.node.clone());
        Ok(Self { target, sender, door })
    }

    /// Sends a batch.
    pub(crate) async fn send(&mut self, batch: &Batch) -> Outcome {
        if let Door::Syslog(syslog) = &mut self.door {
            return syslog.send(batch).await;
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
            Door::Stdout => written(print(&body)),
            Door::File(lines) => written(lines.write(&body)),
            Door::Http(http) => http.post(&body).await,
            Door::Syslog(syslog) => syslog.send(batch).await,
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
