//! From the kernel's events to observations of the journal: one thread for each enforcement point.
//!
//! Enters: datapath events. Leaves: observations with time, node and generation; counts of what was lost.
//! Guarantees: the only queue is the kernel's, and what overflowed it is counted; the thread ends when its tap goes.
//! Does not: name anyone. The journal's rule books do.

use super::journal::Journal;
use datapath::{Event, EventSource, Flow, Judged, Suppressed, Tag, Tally};
use observe::{Event as Seen, Observation, Time, Traffic};
use policy::{Generation, Protocol};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// How long the thread sleeps when nothing happens; also how long it takes to end.
const TICK: Duration = Duration::from_millis(250);

/// Which generation a kernel's tag stands for. Tags come round again; the newest meaning holds.
#[derive(Debug, Default)]
pub(crate) struct Tags(Mutex<HashMap<u16, Generation>>);

impl Tags {
    /// The tag stands for this generation from now on.
    pub(crate) fn set(&self, tag: Tag, generation: Generation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(tag.number(), generation);
    }

    /// `None` for a tag of an earlier process, or one that is in force but not acknowledged yet.
    fn get(&self, tag: Tag) -> Option<Generation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&tag.number()).copied()
    }
}

/// A denied tuple: the kernel tells them apart by destination port only.
type Tuple = (IpAddr, IpAddr, Protocol, u16);

/// Denied packets that have no event of their own, until the next event of their tuple takes them along.
#[derive(Debug, Default)]
pub(crate) struct Unlogged {
    counts: Mutex<HashMap<Tuple, u64>>,
    denials: AtomicBool,
}

impl Unlogged {
    /// Tuples remembered at a time; beyond it counts are not taken along.
    const MOST: usize = 1 << 16;

    /// Whether there were denials since it was asked last.
    pub(crate) fn is_wanted(&self) -> bool {
        let counted = !self.counts.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        self.denials.swap(false, Ordering::Relaxed) || counted
    }

    /// What the kernel counts now. Its counters only grow until it forgets a tuple; then the last count holds.
    pub(crate) fn note(&self, suppressed: &[Suppressed]) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for tuple in suppressed.iter().filter(|tuple| tuple.packets > 0) {
            let key = (tuple.from, tuple.to, Protocol(tuple.protocol), tuple.port);
            if counts.len() < Self::MOST || counts.contains_key(&key) {
                counts.insert(key, tuple.packets);
            }
        }
    }

    fn take(&self, flow: &Flow) -> u64 {
        self.denials.store(true, Ordering::Relaxed);
        let key = (flow.from, flow.to, flow.protocol, flow.to_port);
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(&key).unwrap_or(0)
    }
}

/// A running reader of events.
#[derive(Debug)]
pub(crate) struct Tap {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    stop: AtomicBool,
    lost: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl Tap {
    /// Starts reading.
    pub(crate) fn start(
        node: Arc<str>,
        mut source: EventSource,
        journal: Arc<Journal>,
        tags: Arc<Tags>,
        unlogged: Arc<Unlogged>,
    ) -> std::io::Result<Self> {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let name = format!("events-{node}");
        let read = move || {
            let reader = Reader { node, journal, tags, unlogged };
            if let Err(error) = reader.run(&mut source, &shared) {
                let problem =
                    format!("reading the kernel's events: {error}; records are missing from now on");
                *shared.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
            }
        };
        let thread = std::thread::Builder::new().name(name).spawn(read)?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Events that the kernel could not hand over.
    pub(crate) fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Relaxed)
    }

    /// Why it no longer reads.
    pub(crate) fn problem(&self) -> Option<String> {
        self.state.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It reports its own failures.
            let _ = thread.join();
        }
    }
}

struct Reader {
    node: Arc<str>,
    journal: Arc<Journal>,
    tags: Arc<Tags>,
    unlogged: Arc<Unlogged>,
}

impl Reader {
    fn run(&self, source: &mut EventSource, state: &State) -> nix::Result<()> {
        let mut events = Vec::new();
        while !state.stop.load(Ordering::Relaxed) {
            if !source.wait(TICK)? {
                continue;
            }
            loop {
                let more = source.read(&mut events)?;
                let time = Time::from(SystemTime::now());
                for event in events.drain(..) {
                    self.take(&event, time, state);
                }
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }

    fn take(&self, event: &Event, time: Time, state: &State) {
        let (flow, judged, seen) = match event {
            Event::Opened { flow, id: _, judged } => (flow, judged, Seen::Opened),
            Event::Closed(ended) => {
                let traffic = traffic(ended.sent, ended.received);
                (&ended.flow, &ended.judged, Seen::Closed(traffic))
            }
            Event::Denied { flow, judged } => {
                (flow, judged, Seen::Denied { suppressed: self.unlogged.take(flow) })
            }
            Event::Lost(count) => {
                state.lost.fetch_add(*count, Ordering::Relaxed);
                return;
            }
        };
        self.journal.observe(&self.observation(flow, judged, seen, time));
    }

    fn observation(&self, flow: &Flow, judged: &Judged, event: Seen, time: Time) -> Observation {
        let rule = match event {
            Seen::Opened | Seen::Denied { .. } => Some(judged.ruling.rule),
            // A cut connection ends with the denial; the record of its end repeats what opened it.
            Seen::Closed(_) => None,
        };
        Observation {
            time,
            node: self.node.clone(),
            from: SocketAddr::new(flow.from, flow.from_port),
            to: SocketAddr::new(flow.to, flow.to_port),
            protocol: flow.protocol,
            generation: self.tags.get(judged.tag),
            rule,
            direction: None,
            event,
        }
    }
}

fn traffic(sent: Tally, received: Tally) -> Traffic {
    Traffic {
        packets_sent: sent.packets,
        bytes_sent: sent.bytes,
        packets_received: received.packets,
        bytes_received: received.bytes,
        duration_micros: None,
    }
}
