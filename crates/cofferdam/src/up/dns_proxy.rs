//! The DNS proxy, as its keeper sees it.

use super::keeper::{Ear, Kind};
use anyhow::Result;
use dns::{Agent, Binding, Counters, Found, Proxy, Query, State};
use handover::Sockets;
use policy::Generation;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// See [`dns`].
pub(crate) struct DnsProxy;

impl Kind for DnsProxy {
    const COMMAND: &'static str = "dns-proxy";
    const WHAT: &'static str = "DNS proxy";
    const LISTEN: [SocketAddr; 2] = dns::LISTEN;
    type State = State;
    type Proxy = Proxy;
    type Counts = Counters;

    fn adopt(path: &Path, ear: Ear<Self>) -> Result<Option<(Proxy, Sockets)>> {
        Ok(Proxy::adopt(path, ear)?)
    }

    fn retire(proxy: Proxy) -> Result<Option<Proxy>> {
        // Two must not answer from the same sockets.
        Self::stop(proxy)?;
        Ok(None)
    }

    fn stop(proxy: Proxy) -> Result<()> {
        proxy.stop()?;
        proxy.join();
        Ok(())
    }

    fn start(stream: UnixStream, sockets: &Sockets, ear: Ear<Self>) -> Result<Proxy> {
        Ok(Proxy::start(stream, sockets, ear)?)
    }

    fn tell(proxy: &Proxy, state: &State) -> Result<()> {
        Ok(proxy.set_state(state.clone())?)
    }
}

impl Agent for Ear<DnsProxy> {
    fn learn(&mut self, bindings: &[Binding]) -> Vec<Result<u32, String>> {
        self.listener.learn(bindings)
    }

    fn records(&mut self, records: Vec<Query>) {
        self.listener.looked_up(self.node(), records);
    }

    fn counters(&mut self, counters: Counters) {
        self.counted(|_| counters);
    }

    fn in_force(&mut self, generation: Generation) {
        self.goes_by(generation.0, None);
    }

    fn found(&mut self, found: Vec<(u64, Found)>) {
        self.listener.found(self.node(), found);
    }

    fn ended(&mut self, why: &str) {
        Ear::ended(self, why);
    }
}
