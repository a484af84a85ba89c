//! Any bytes as what a gateway and a DNS proxy tell their agent, which has more rights than they: it follows as long as it
//! understands, then it gives them up, and hears nothing more of them.

use handover::Sockets;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hears everything, and says when it is over.
struct Ear(Option<Sender<String>>);

impl Ear {
    fn hear(&self) {
        assert!(self.0.is_some(), "nothing follows the end");
    }

    fn end(&mut self, why: &str) {
        let told = self.0.take().expect("it ends once").send(why.to_owned());
        told.expect("somebody waits for the end");
    }
}

impl gateway::Agent for Ear {
    fn applied(&mut self, _: u64, _: Result<(), String>) {
        self.hear();
    }
    fn records(&mut self, _: Vec<gateway::Record>) {
        self.hear();
    }
    fn calls(&mut self, _: Vec<gateway::Call>) {
        self.hear();
    }
    fn content(&mut self, _: gateway::Content) {
        self.hear();
    }
    fn counts(&mut self, _: gateway::Counts) {
        self.hear();
    }
    fn asked(&mut self, _: gateway::Ask) {
        self.hear();
    }
    fn ended(&mut self, why: &str) {
        self.end(why);
    }
}

impl dns::Agent for Ear {
    fn learn(&mut self, bindings: &[dns::Binding]) -> Vec<Result<u32, String>> {
        self.hear();
        bindings.iter().map(|binding| Ok(binding.ttl)).collect()
    }
    fn records(&mut self, _: Vec<dns::Query>) {
        self.hear();
    }
    fn counters(&mut self, _: dns::Counters) {
        self.hear();
    }
    fn in_force(&mut self, _: policy::Generation) {
        self.hear();
    }
    fn found(&mut self, _: Vec<(u64, dns::Found)>) {
        self.hear();
    }
    fn ended(&mut self, why: &str) {
        self.end(why);
    }
}

pub(crate) fn run(input: (bool, &[u8])) {
    let (framed, bytes) = input;
    let mut said = Vec::new();
    if framed {
        // A line is a frame: what is in frames is reached more often than by their lengths.
        for message in bytes.split(|byte| *byte == b'\n') {
            said.extend_from_slice(&u32::try_from(message.len()).expect("short").to_be_bytes());
            said.extend_from_slice(message);
        }
    } else {
        said.extend_from_slice(bytes);
    }
    followed(&said, |stream, ear| {
        gateway::Proxy::start(stream, &Sockets::default(), gateway::Limits::default(), 1, ear).map(drop).ok()
    });
    followed(&said, |stream, ear| dns::Proxy::start(stream, &Sockets::default(), ear).map(drop).ok());
}

fn followed(said: &[u8], lead: impl FnOnce(UnixStream, Ear) -> Option<()>) {
    let (mine, its) = UnixStream::pair().expect("a pair");
    let (told, ended) = channel();
    its.set_write_timeout(Some(PATIENCE)).expect("a socket");
    if lead(mine, Ear(Some(told))).is_none() {
        return;
    }
    // It may have been given up before its end.
    let _gone = (&its).write_all(said);
    let _gone = its.shutdown(std::net::Shutdown::Write);
    let why = ended.recv_timeout(PATIENCE).expect("its end is noticed");
    assert!(!why.is_empty());
    assert!(ended.recv().is_err(), "it ends once");
}
