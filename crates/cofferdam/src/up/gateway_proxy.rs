//! The gateway, as its keeper sees it.

use super::keeper::{Ear, Kind, is_steered};
use anyhow::Result;
use datapath::LED_MARK;
use gateway::{Agent, Ask, Call, Content, Counts, Limits, Proxy, Record, State};
use handover::Sockets;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Threads that forward, at most.
const WORKERS: usize = 4;

/// See [`gateway`].
pub(crate) struct GatewayProxy;

/// Everything that the gateway is told, and the number of the last change to it.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) revision: u64,
    pub(crate) state: State,
}

impl Kind for GatewayProxy {
    const COMMAND: &'static str = "gateway-proxy";
    const WHAT: &'static str = "gateway";
    const LISTEN: [SocketAddr; 2] = gateway::LISTEN;
    type State = Told;
    type Proxy = Proxy;
    type Counts = Counts;

    fn adopt(path: &Path, ear: Ear<Self>) -> Result<Option<(Proxy, Sockets)>> {
        Ok(Proxy::adopt(path, ear)?)
    }

    fn retire(proxy: Proxy) -> Result<Option<Proxy>> {
        // Its connections live on, and it tells of their end.
        proxy.drain()?;
        Ok(Some(proxy))
    }

    fn stop(proxy: Proxy) -> Result<()> {
        Ok(proxy.stop()?)
    }

    fn start(stream: UnixStream, sockets: &Sockets, ear: Ear<Self>) -> Result<Proxy> {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let front = sockets.listening()?.into_iter().filter(|it| !is_steered::<Self>(*it)).count();
        let limits = Limits { front_mark: LED_MARK, ..Limits::default() };
        let workers = processors.min(WORKERS);
        Ok(Proxy::start_with_front(stream, (sockets, front), limits, workers, ear)?)
    }

    fn tell(proxy: &Proxy, told: &Told) -> Result<()> {
        Ok(proxy.set_state(told.revision, &told.state)?)
    }
}

impl Agent for Ear<GatewayProxy> {
    fn applied(&mut self, revision: u64, applied: Result<(), String>) {
        self.goes_by(revision, applied.err());
    }

    fn records(&mut self, records: Vec<Record>) {
        self.listener.passed(self.node(), records);
    }

    fn calls(&mut self, calls: Vec<Call>) {
        self.listener.called(self.node(), calls);
    }

    fn content(&mut self, content: Content) {
        self.listener.kept(self.node(), content);
    }

    fn counts(&mut self, counts: Counts) {
        // Of accounts it tells those that changed.
        self.counted(|before| {
            let mut quotas: BTreeMap<_, _> = before.quotas.iter().copied().collect();
            quotas.extend(counts.quotas.iter().copied());
            Counts { quotas: quotas.into_iter().collect(), ..counts }
        });
    }

    fn asked(&mut self, ask: Ask) {
        self.listener.asked(self.node(), ask);
    }

    fn ended(&mut self, why: &str) {
        Ear::ended(self, why);
    }
}
