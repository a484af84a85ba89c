//! The agent's end of the channel to the proxy.
//!
//! Enters: a unix stream whose other end is the proxy's standard input, the sockets, and an [`Agent`]. Leaves: calls of the
//! agent, on a thread of this module's own. Guarantees: needs no runtime; a proxy that does not read is given up after
//! five seconds.
//!
//! When the proxy ends, connections wait in the sockets, which the agent holds, for the next one; open ones are lost. When
//! the agent ends, the proxy goes on. The next agent takes its sockets by [`Proxy::adopt`], starts a proxy of its own with
//! them, and has the old one drain: that one's open connections live on.

use crate::asking::Ask;
use crate::call::Call;
use crate::capture::Content;
use crate::counters::Counts;
use crate::front::Resolved;
use crate::message::{Bindings, StateFrame, ToAgent, ToProxy};
use crate::record::Record;
use crate::settings::Limits;
use crate::state::{Bound, RuleFacts, State, Window};
use handover::{Assembly, Sockets, encode};
use policy::RuleId;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;

/// How long a proxy may take to read what it is told, and a found one to hand over its sockets.
const PATIENCE: Duration = Duration::from_secs(5);

/// The proxy cannot be told something.
#[derive(Debug, Error)]
#[error("{doing} the gateway: {source}")]
pub struct AgentError {
    doing: &'static str,
    source: io::Error,
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> AgentError {
    move |source| AgentError { doing, source }
}

/// What the agent does for its proxy. All calls come from one thread, one after the other.
pub trait Agent: Send {
    /// What was told with this revision is in force; or why it is not, and what was before still is.
    fn applied(&mut self, revision: u64, applied: Result<(), String>);

    /// Connections that ended.
    fn records(&mut self, records: Vec<Record>);

    /// Requests of opened connections, whatever became of them. By default nobody wants them.
    fn calls(&mut self, _calls: Vec<Call>) {}

    /// What was kept of a request, which a rule asked for. By default nobody wants it.
    fn content(&mut self, _content: Content) {}

    /// Counts since the proxy began, about every second.
    fn counts(&mut self, counts: Counts);

    /// A client of the front door asks for a host. The answer goes by [`Proxy::found`], behind what it must know of the
    /// host's addresses for the pod. By default nobody answers.
    fn asked(&mut self, _ask: Ask) {}

    /// The proxy is gone, or speaks no sense. Nothing follows.
    fn ended(&mut self, why: &str);
}

/// What a pod knows of one address.
#[derive(Clone, Debug)]
pub struct Bind {
    /// The pod's address.
    pub pod: IpAddr,
    /// The address.
    pub destination: IpAddr,
    /// The rules that its rows name.
    pub rules: Vec<(RuleId, Arc<RuleFacts>)>,
    /// In place of what was bound; `None`: nothing any more.
    pub bound: Option<Bound>,
}

/// A proxy, as its agent sees it.
#[derive(Debug)]
pub struct Proxy {
    stream: Mutex<UnixStream>,
}

impl Proxy {
    /// Gives a proxy that was just started its sockets. `stream`'s other end is its standard input.
    ///
    /// # Errors
    /// The proxy is gone already, or the system lacks something.
    pub fn start(
        stream: UnixStream,
        sockets: &Sockets,
        limits: Limits,
        workers: usize,
        agent: impl Agent + 'static,
    ) -> Result<Self, AgentError> {
        Self::start_with_front(stream, (sockets, 0), limits, workers, agent)
    }

    /// As [`Self::start`]; the last `front` sockets for connections are those of the front door.
    ///
    /// # Errors
    /// The proxy is gone already, or the system lacks something.
    pub fn start_with_front(
        stream: UnixStream,
        (sockets, front): (&Sockets, usize),
        limits: Limits,
        workers: usize,
        agent: impl Agent + 'static,
    ) -> Result<Self, AgentError> {
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed("preparing"))?;
        let (udp, tcp, control) = sockets.counts();
        let message = ToProxy::Sockets { udp, tcp, control, limits, workers, front };
        let frame = encode(&message).map_err(failed("telling"))?;
        let sent = sockets.send_with(&stream, &frame).map_err(failed("giving sockets to"))?;
        (&stream).write_all(frame.get(sent..).unwrap_or_default()).map_err(failed("telling"))?;
        Self::lead(stream, Assembly::default(), agent)
    }

    /// Takes over the proxy that an earlier agent left behind, with its sockets; `None` where none answers.
    ///
    /// # Errors
    /// One answers, and does not hand over its sockets.
    pub fn adopt(path: &Path, agent: impl Agent + 'static) -> Result<Option<(Self, Sockets)>, AgentError> {
        let Ok(stream) = UnixStream::connect(path) else { return Ok(None) };
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed("preparing"))?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed("preparing"))?;
        let mut assembly = Assembly::default();
        let counted = assembly.wait(&stream).map_err(failed("taking over"))?;
        let Some(ToAgent::Sockets { udp, tcp, control }) = counted else { return Ok(None) };
        let sockets =
            Sockets::taken(&mut assembly, (udp, tcp, control)).map_err(failed("taking sockets from"))?;
        stream.set_read_timeout(None).map_err(failed("preparing"))?;
        Ok(Some((Self::lead(stream, assembly, agent)?, sockets)))
    }

    fn lead(stream: UnixStream, assembly: Assembly, agent: impl Agent + 'static) -> Result<Self, AgentError> {
        let reading = stream.try_clone().map_err(failed("preparing"))?;
        let reader = std::thread::Builder::new().name("gateway-control".to_owned());
        reader.spawn(move || follow(&reading, assembly, agent)).map_err(failed("following"))?;
        Ok(Self { stream: Mutex::new(stream) })
    }

    /// Has the proxy go by another state; [`Agent::applied`] says when it does.
    ///
    /// # Errors
    /// The proxy is gone, or does not read.
    pub fn set_state(&self, revision: u64, state: &State) -> Result<(), AgentError> {
        self.tell(&ToProxy::State { revision, state: Box::new(StateFrame::of(state)) })
    }

    /// Tells the proxy what pods know of addresses, beside the state that this agent told it last and in its numbers;
    /// [`Agent::applied`] says when it goes by it. Where it does not go by that state, nothing is taken.
    ///
    /// # Errors
    /// The proxy is gone, or does not read.
    pub fn bind(&self, revision: u64, binds: &[Bind]) -> Result<(), AgentError> {
        let (mut rules, mut bindings) = (Vec::new(), Bindings::default());
        for Bind { pod, destination, rules: of_pod, bound } in binds {
            rules.extend(of_pod.iter().map(|(rule, facts)| (*pod, *rule, Arc::clone(facts))));
            bindings.add(*pod, *destination, bound.as_ref());
        }
        self.tell(&ToProxy::Bind { revision, rules, bindings })
    }

    /// Tells the proxy which budgets are used up, in place of what it was told before. What is open under them is cut.
    ///
    /// # Errors
    /// The proxy is gone, or does not read.
    pub fn spend(&self, spent: &HashMap<u32, Window>) -> Result<(), AgentError> {
        self.tell(&ToProxy::Spent(spent.clone()))
    }

    /// Tells the proxy where a host is that it asked for. One that did not ask, or whose client is gone, does nothing.
    ///
    /// # Errors
    /// The proxy is gone, or does not read.
    pub fn found(&self, id: u64, found: &Resolved) -> Result<(), AgentError> {
        self.tell(&ToProxy::Found { id, found: found.clone() })
    }

    /// Has the proxy accept no more, and end when its connections did. What waits in the sockets is for the next.
    ///
    /// # Errors
    /// The proxy is gone already, or does not read.
    pub fn drain(&self) -> Result<(), AgentError> {
        self.tell(&ToProxy::Drain)
    }

    /// Has the proxy end at once, and its connections with it.
    ///
    /// # Errors
    /// The proxy is gone already, or does not read.
    pub fn stop(&self) -> Result<(), AgentError> {
        self.tell(&ToProxy::Stop)
    }

    /// Leaves the proxy to itself, as the agent's end does.
    pub fn leave(self) {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // It may be gone already.
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }

    fn tell(&self, message: &ToProxy) -> Result<(), AgentError> {
        let frame = encode(message).map_err(failed("telling"))?;
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(&frame).map_err(|error| {
            // Half a frame makes everything after it senseless.
            let _ = stream.shutdown(std::net::Shutdown::Both);
            failed("telling")(error)
        })
    }
}

fn follow(stream: &UnixStream, mut assembly: Assembly, mut agent: impl Agent) {
    let why = loop {
        match assembly.wait(stream) {
            Ok(Some(ToAgent::Sockets { .. })) => {}
            Ok(Some(ToAgent::Applied(revision))) => agent.applied(revision, Ok(())),
            Ok(Some(ToAgent::NotApplied(revision, why))) => agent.applied(revision, Err(why)),
            Ok(Some(ToAgent::Records(records))) => agent.records(records),
            Ok(Some(ToAgent::Calls(calls))) => agent.calls(calls),
            Ok(Some(ToAgent::Content(content))) => agent.content(*content),
            Ok(Some(ToAgent::Counts(counts))) => agent.counts(counts),
            Ok(Some(ToAgent::Ask { id, pod, host })) => agent.asked(Ask { id, pod, host: host.into() }),
            Ok(None) => break "it is gone".to_owned(),
            Err(error) => break format!("it speaks no sense: {error}"),
        }
    };
    agent.ended(&why);
}
