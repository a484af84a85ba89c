//! The agent's end of the channel to the proxy.
//!
//! Enters: a unix stream whose other end is the proxy's standard input, the sockets, and an [`Agent`]. Leaves: calls of
//! the agent, on a thread of this module's own.
//! Guarantees: needs no runtime; an answer whose names must be bound first leaves the proxy after [`Agent::learn`]
//! returned; a proxy that does not read is given up after five seconds.
//!
//! # When one of the two goes
//!
//! *The proxy ends.* Its queries wait in the sockets, which the agent holds. The agent hears of it by [`Agent::ended`],
//! starts another, and calls [`Proxy::start`] with the same sockets. No query is lost, unless its sender gives up.
//!
//! *The agent ends.* The proxy goes on with the state it has. Names whose bindings are in force go on being answered for
//! as long as those last, all others get SERVFAIL at once. The proxy listens at the path that [`Sockets::with_control`]
//! was given. The next agent calls [`Proxy::adopt`] with this path first: if a proxy is there, it hands over its sockets,
//! and is led by the new agent from then on. That agent calls [`Proxy::forget_bindings`] if it does not know that all of
//! them are in force, sends its state, and may start a proxy of its own version with the same sockets and then
//! [`Proxy::stop`] the old one. Where none is there, it makes new sockets. (Where the agent is the first process of a
//! container, the proxy ends with it, and there is nothing to adopt.)

use crate::asked::Found;
use crate::frame::{ToAgent, ToProxy};
use crate::learn::Binding;
use crate::record::{Counters, Query};
use crate::state::State;
use handover::{Assembly, Sockets, encode};
use policy::{DnsName, Generation};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;

/// How long a proxy may take to read what it is told, and a found one to hand over its sockets.
const PATIENCE: Duration = Duration::from_secs(5);

/// The proxy cannot be told something.
#[derive(Debug, Error)]
#[error("{doing} the DNS proxy: {source}")]
pub struct ControlError {
    doing: &'static str,
    source: io::Error,
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> ControlError {
    move |source| ControlError { doing, source }
}

/// What the agent does for its proxy. All calls come from one thread, one after the other.
pub trait Agent: Send {
    /// Puts bindings in force, and returns when the kernel has them: for each, in order, for how many seconds from now it
    /// will be there at least, or why it could not be. The proxy waits two seconds.
    fn learn(&mut self, bindings: &[Binding]) -> Vec<Result<u32, String>>;

    /// Queries that had their answer.
    fn records(&mut self, records: Vec<Query>);

    /// Counts since the proxy began, about every second.
    fn counters(&mut self, counters: Counters);

    /// A state is in force.
    fn in_force(&mut self, generation: Generation);

    /// What was asked for with [`Proxy::ask`], by number. By default nobody asks.
    fn found(&mut self, _found: Vec<(u64, Found)>) {}

    /// The proxy is gone, or speaks no sense. Nothing follows.
    fn ended(&mut self, why: &str);
}

/// A proxy, as its agent sees it. Dropping it leaves the proxy to itself, like the end of the agent.
#[derive(Debug)]
pub struct Proxy {
    stream: Arc<Mutex<UnixStream>>,
    reader: JoinHandle<()>,
}

impl Proxy {
    /// Gives a proxy that was just started its sockets. `stream`'s other end is its standard input.
    ///
    /// # Errors
    /// The proxy is gone already, or the system lacks something.
    pub fn start(
        stream: UnixStream,
        sockets: &Sockets,
        agent: impl Agent + 'static,
    ) -> Result<Self, ControlError> {
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed("preparing"))?;
        let (udp, tcp, control) = sockets.counts();
        let frame = encode(&ToProxy::Sockets { udp, tcp, control }).map_err(failed("telling"))?;
        let sent = sockets.send_with(&stream, &frame).map_err(failed("giving sockets to"))?;
        (&stream).write_all(frame.get(sent..).unwrap_or_default()).map_err(failed("telling"))?;
        Self::lead(stream, Assembly::default(), agent)
    }

    /// Takes over the proxy that an earlier agent left behind, with its sockets; `None` where none answers.
    ///
    /// # Errors
    /// One answers, and does not hand over its sockets.
    pub fn adopt(path: &Path, agent: impl Agent + 'static) -> Result<Option<(Self, Sockets)>, ControlError> {
        let Ok(stream) = UnixStream::connect(path) else { return Ok(None) };
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed("preparing"))?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed("preparing"))?;
        let mut assembly = Assembly::default();
        let sockets = loop {
            match assembly.take().map_err(failed("understanding"))? {
                Some(ToAgent::Sockets { udp, tcp, control }) => {
                    break Sockets::taken(&mut assembly, (udp, tcp, control));
                }
                Some(_) => {}
                None if assembly.read(&stream).map_err(failed("taking over"))? => {}
                // A proxy that is led already closes the connection.
                None => return Ok(None),
            }
        };
        let sockets = sockets.map_err(failed("taking sockets from"))?;
        stream.set_read_timeout(None).map_err(failed("preparing"))?;
        Ok(Some((Self::lead(stream, assembly, agent)?, sockets)))
    }

    fn lead(
        stream: UnixStream,
        assembly: Assembly,
        agent: impl Agent + 'static,
    ) -> Result<Self, ControlError> {
        let reading = stream.try_clone().map_err(failed("preparing"))?;
        let stream = Arc::new(Mutex::new(stream));
        let writing = Arc::clone(&stream);
        let reader = std::thread::Builder::new().name("dns-control".to_owned());
        let reader =
            reader.spawn(move || follow(&reading, assembly, &writing, agent)).map_err(failed("following"))?;
        Ok(Self { stream, reader })
    }

    /// Has the proxy go by another state. It is in force when [`Agent::in_force`] says so.
    ///
    /// # Errors
    /// The proxy is gone, or does not read.
    pub fn set_state(&self, state: State) -> Result<(), ControlError> {
        tell(&self.stream, &ToProxy::State(Box::new(state)))
    }

    /// Has the proxy find where a name leads a pod, as if the pod had asked; [`Agent::found`] says it, with this number.
    /// Nothing comes back of a proxy that ends meanwhile.
    ///
    /// # Errors
    /// The proxy is gone, or does not read.
    pub fn ask(&self, id: u64, pod: IpAddr, name: &DnsName) -> Result<(), ControlError> {
        tell(&self.stream, &ToProxy::Ask { id, pod, name: name.clone() })
    }

    /// Has the proxy ask again for each binding that it needs.
    ///
    /// # Errors
    /// The proxy is gone, or does not read.
    pub fn forget_bindings(&self) -> Result<(), ControlError> {
        tell(&self.stream, &ToProxy::Forget)
    }

    /// Has the proxy end. It answers nothing more; what waits in the sockets is for the next.
    ///
    /// # Errors
    /// The proxy is gone already, or does not read.
    pub fn stop(&self) -> Result<(), ControlError> {
        tell(&self.stream, &ToProxy::Stop)
    }

    /// Waits until the proxy is gone and [`Agent::ended`] has returned.
    pub fn join(self) {
        // A panic in the agent was reported by its thread.
        let _ = self.reader.join();
    }
}

fn tell(stream: &Mutex<UnixStream>, message: &ToProxy) -> Result<(), ControlError> {
    let frame = encode(message).map_err(failed("telling"))?;
    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    stream.write_all(&frame).map_err(|error| {
        // Half a frame makes everything after it senseless.
        let _ = stream.shutdown(std::net::Shutdown::Both);
        failed("telling")(error)
    })
}

fn follow(reading: &UnixStream, mut assembly: Assembly, writing: &Mutex<UnixStream>, mut agent: impl Agent) {
    let why = loop {
        match assembly.take::<ToAgent>() {
            Ok(Some(message)) => {
                if let Err(error) = heed(message, writing, &mut agent) {
                    break error.to_string();
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => break format!("it speaks no sense: {error}"),
        }
        match assembly.read(reading) {
            Ok(true) => {}
            Ok(false) => break "it is gone".to_owned(),
            Err(error) => break format!("reading from it: {error}"),
        }
    };
    agent.ended(&why);
}

fn heed(message: ToAgent, writing: &Mutex<UnixStream>, agent: &mut impl Agent) -> Result<(), ControlError> {
    match message {
        ToAgent::Sockets { .. } => {}
        ToAgent::InForce(generation) => agent.in_force(generation),
        ToAgent::Records(batch) => {
            let records = batch.read().map_err(io::Error::other).map_err(failed("understanding"))?;
            agent.records(records);
        }
        ToAgent::Counters(counters) => agent.counters(*counters),
        ToAgent::Found(found) => agent.found(found),
        ToAgent::Learn(requests) => {
            let bindings: Vec<Binding> =
                requests.iter().flat_map(|(_, bindings)| bindings.iter().cloned()).collect();
            let mut results = agent.learn(&bindings).into_iter();
            let learned = requests.iter().map(|(id, bindings)| {
                let results = (0..bindings.len())
                    .map(|_| results.next().unwrap_or_else(|| Err("no result".to_owned())));
                (*id, results.reduce(both).unwrap_or_else(|| Err("nothing to bind".to_owned())))
            });
            return tell(writing, &ToProxy::Learned(learned.collect()));
        }
    }
    Ok(())
}

/// A request holds as long as the first of its bindings ends.
fn both(one: Result<u32, String>, other: Result<u32, String>) -> Result<u32, String> {
    Ok(one?.min(other?))
}
