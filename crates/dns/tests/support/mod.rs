//! A world of loopback addresses: pods at 127.0.1.x, resolvers at 127.0.2.x, each resolver a program of this test.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use dns::{
    Agent, Binding, Counters, Found, Pod, Proxy, Query, Questions, Resolvers, Settings, State, run_proxy,
};
use handover::{Sockets, Steering};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Asked, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use policy::{DnsName, DomainPattern, Generation};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn pod_address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, last).into()
}

pub(crate) fn resolver_address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 2, last).into()
}

/// What a resolver does with a question, in the order it should come.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends this, with the question's number unless it says otherwise.
    Send(Message),
    /// Sends these bytes as they are.
    Raw(Vec<u8>),
    /// Sends this from another address than was asked.
    SendFrom(SocketAddr, Message),
}

type Program = Arc<dyn Fn(&Message) -> Vec<Act> + Send + Sync>;

/// A resolver.
pub(crate) struct Resolver {
    program: Arc<Mutex<Program>>,
    /// Questions that came.
    pub(crate) asked: Arc<AtomicUsize>,
    /// Ports that they came from.
    pub(crate) ports: Arc<Mutex<Vec<u16>>>,
}

/// The port of all resolvers of a test: one that was free at one of their addresses.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = UdpSocket::bind((resolver_address(1), 0)).unwrap().local_addr().unwrap().port();
        let free = |last| {
            let at = (resolver_address(last), port);
            UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok()
        };
        if (1..5).all(free) {
            return port;
        }
    }
}

impl Resolver {
    pub(crate) fn start(
        last: u8,
        port: u16,
        program: impl Fn(&Message) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let at = SocketAddr::new(resolver_address(last), port);
        let (udp, tcp) = (UdpSocket::bind(at).unwrap(), TcpListener::bind(at).unwrap());
        let program: Arc<Mutex<Program>> = Arc::new(Mutex::new(Arc::new(program)));
        let this = Self { program, asked: Arc::default(), ports: Arc::default() };
        let (by_udp, asked, ports) =
            (Arc::clone(&this.program), Arc::clone(&this.asked), Arc::clone(&this.ports));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((size, from)) = udp.recv_from(&mut buffer) {
                let question = Message::from_vec(&buffer[..size]).unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                ports.lock().unwrap().push(from.port());
                let program = Arc::clone(&by_udp.lock().unwrap());
                for act in program(&question) {
                    match act {
                        Act::Send(message) => udp.send_to(&message.to_vec().unwrap(), from).unwrap(),
                        Act::Raw(bytes) => udp.send_to(&bytes, from).unwrap(),
                        Act::SendFrom(other, message) => {
                            let other = UdpSocket::bind(other).unwrap();
                            other.send_to(&message.to_vec().unwrap(), from).unwrap()
                        }
                    };
                }
            }
        });
        let (by_tcp, asked) = (Arc::clone(&this.program), Arc::clone(&this.asked));
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = tcp.accept() {
                let question = Message::from_vec(&read_framed(&mut stream)).unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                let program = Arc::clone(&by_tcp.lock().unwrap());
                for act in program(&question) {
                    let bytes = match act {
                        Act::Send(message) | Act::SendFrom(_, message) => message.to_vec().unwrap(),
                        Act::Raw(bytes) => bytes,
                    };
                    let _ = stream.write_all(&framed(&bytes));
                }
            }
        });
        this
    }

    /// From now on it does something else.
    pub(crate) fn now(&self, program: impl Fn(&Message) -> Vec<Act> + Send + Sync + 'static) {
        *self.program.lock().unwrap() = Arc::new(program);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

pub(crate) fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

pub(crate) fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

pub(crate) fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// One record.
pub(crate) fn record(owner: &str, ttl: u32, data: &str) -> Record {
    let data = match data.parse() {
        Ok(IpAddr::V4(address)) => RData::A(A(address)),
        Ok(IpAddr::V6(address)) => RData::AAAA(AAAA(address)),
        Err(_) => RData::CNAME(CNAME(name(data))),
    };
    Record::from_rdata(name(owner), ttl, data)
}

/// An answer to `question` with these records.
pub(crate) fn answer(question: &Message, records: Vec<Record>) -> Message {
    let mut answer = question.clone();
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_available = true;
    answer.add_answers(records);
    answer
}

/// A program that gives every name this address.
pub(crate) fn always(address: &'static str, ttl: u32) -> impl Fn(&Message) -> Vec<Act> + Send + Sync {
    move |question| {
        let asked = &question.queries[0];
        let mut record = record(".", ttl, address);
        // As it is: not every name has a text that can be read again.
        record.name = asked.name().clone();
        let records = if asked.query_type() == record.record_type() { vec![record] } else { Vec::new() };
        vec![Act::Send(answer(question, records))]
    }
}

pub(crate) fn failing(code: ResponseCode) -> impl Fn(&Message) -> Vec<Act> + Send + Sync {
    move |question| {
        let mut message = answer(question, Vec::new());
        message.metadata.response_code = code;
        vec![Act::Send(message)]
    }
}

pub(crate) fn silent(_: &Message) -> Vec<Act> {
    Vec::new()
}

/// A question.
pub(crate) fn question(text: &str, kind: RecordType, id: u16) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Asked::query(name(text), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_version(0);
    message.set_edns(edns);
    message
}

/// What the proxy told its agent.
pub(crate) enum Told {
    Learn(Vec<Binding>),
    Records(Vec<Query>),
    Counters(Box<Counters>),
    InForce(Generation),
    Found(Vec<(u64, Found)>),
    Ended(String),
}

/// An agent that tells the test everything, and answers as the test says.
struct TestAgent {
    told: Sender<Told>,
    binds: Arc<Mutex<Receiver<Result<u32, String>>>>,
    at_once: bool,
}

impl Agent for TestAgent {
    fn learn(&mut self, bindings: &[Binding]) -> Vec<Result<u32, String>> {
        let _ = self.told.send(Told::Learn(bindings.to_vec()));
        let one = |binding: &Binding| {
            if self.at_once {
                return Ok(binding.ttl);
            }
            // A test that ended lets go.
            self.binds.lock().unwrap().recv().unwrap_or_else(|_| Err("the test is over".to_owned()))
        };
        bindings.iter().map(one).collect()
    }

    fn records(&mut self, records: Vec<Query>) {
        let _ = self.told.send(Told::Records(records));
    }

    fn counters(&mut self, counters: Counters) {
        let _ = self.told.send(Told::Counters(Box::new(counters)));
    }

    fn in_force(&mut self, generation: Generation) {
        let _ = self.told.send(Told::InForce(generation));
    }

    fn found(&mut self, found: Vec<(u64, Found)>) {
        let _ = self.told.send(Told::Found(found));
    }

    fn ended(&mut self, why: &str) {
        let _ = self.told.send(Told::Ended(why.to_owned()));
    }
}

/// How the agent binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binds {
    /// At once, for as long as asked.
    AtOnce,
    /// When and how [`World::bind`] says.
    WhenTold,
}

/// A proxy with its agent and sockets.
pub(crate) struct World {
    pub(crate) sockets: Sockets,
    pub(crate) state: State,
    /// Port at which pods ask.
    pub(crate) port: u16,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) process: Option<JoinHandle<Result<(), dns::ProxyError>>>,
    /// The agent's end of the channel.
    stream: Option<UnixStream>,
    told: Receiver<Told>,
    bind: Sender<Result<u32, String>>,
    records: Vec<Query>,
    pub(crate) learns: Vec<Binding>,
}

/// A state with pods 1 and 2 that may ask anything, and speak of `patterns`; resolvers 1 and 2 are trusted, and know the same.
pub(crate) fn state(port: u16, patterns: &[&str]) -> State {
    let pod = |last: u8| Pod {
        identity: format!("pod-{last}").into(),
        addresses: vec![pod_address(last)],
        patterns: patterns.iter().map(|text| DomainPattern::parse(text).unwrap()).collect(),
        questions: Questions::Any,
        resolvers: Resolvers::Any,
    };
    State {
        generation: Generation(1),
        pods: vec![pod(1), pod(2)],
        trusted: vec![vec![resolver_address(1), resolver_address(2)]],
        private_zones: vec![DnsName::parse("cluster.local").unwrap()],
        settings: Settings { upstream_port: port, ..Settings::default() },
    }
}

fn agent(binds: Binds) -> (TestAgent, Receiver<Told>, Sender<Result<u32, String>>) {
    let (told, hear) = channel();
    let (bind, binding) = channel();
    let binds_at_once = binds == Binds::AtOnce;
    (TestAgent { told, binds: Arc::new(Mutex::new(binding)), at_once: binds_at_once }, hear, bind)
}

/// Runs a proxy as its process would, on a thread.
pub(crate) fn launch() -> (UnixStream, JoinHandle<Result<(), dns::ProxyError>>) {
    let (near, far) = UnixStream::pair().unwrap();
    (near, std::thread::spawn(move || run_proxy(OwnedFd::from(far))))
}

impl World {
    pub(crate) fn start(state: State, binds: Binds) -> Self {
        let mut world = Self::without_state(state, binds, None);
        world.set_state(world.state.clone());
        world
    }

    pub(crate) fn without_state(state: State, binds: Binds, control: Option<&std::path::Path>) -> Self {
        // Any local address of the test's resolvers is the proxy's, as steering would have it.
        let mut sockets = loop {
            let udp = handover::sockets::udp("0.0.0.0:0".parse().unwrap(), Steering::None).unwrap();
            let udp = UdpSocket::from(udp);
            let at = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), udp.local_addr().unwrap().port());
            // The port may be taken for connections.
            if let Ok(tcp) = handover::sockets::tcp(at, Steering::None) {
                break Sockets { udp: vec![udp.into()], tcp: vec![tcp], control: None };
            }
        };
        if let Some(path) = control {
            sockets = sockets.with_control(path).unwrap();
        }
        let port = UdpSocket::from(sockets.udp[0].try_clone().unwrap()).local_addr().unwrap().port();
        Self::with_sockets(state, binds, sockets, port)
    }

    /// The proxy runs in the network namespace of this thread.
    pub(crate) fn with_sockets(state: State, binds: Binds, sockets: Sockets, port: u16) -> Self {
        let (agent, told, bind) = agent(binds);
        let (stream, process) = launch();
        let end = stream.try_clone().unwrap();
        let proxy = Proxy::start(stream, &sockets, agent).unwrap();
        Self {
            stream: Some(end),
            sockets,
            state,
            port,
            proxy: Some(proxy),
            process: Some(process),
            told,
            bind,
            records: Vec::new(),
            learns: Vec::new(),
        }
    }

    /// Another proxy with the same sockets.
    pub(crate) fn restart(&mut self, binds: Binds) {
        let (agent, told, bind) = agent(binds);
        let (stream, process) = launch();
        self.proxy = Some(Proxy::start(stream, &self.sockets, agent).unwrap());
        (self.process, self.told, self.bind) = (Some(process), told, bind);
        self.set_state(self.state.clone());
    }

    /// Leads the proxy that was left at a path.
    pub(crate) fn adopt(&mut self, path: &std::path::Path, binds: Binds) {
        let (agent, told, bind) = agent(binds);
        let (proxy, sockets) = Proxy::adopt(path, agent).unwrap().unwrap();
        (self.proxy, self.sockets, self.told, self.bind) = (Some(proxy), sockets, told, bind);
    }

    /// Ends the proxy, and waits for its end.
    pub(crate) fn stop(&mut self) {
        let proxy = self.proxy.take().unwrap();
        proxy.stop().unwrap();
        proxy.join();
        self.process.take().unwrap().join().unwrap().unwrap();
    }

    pub(crate) fn set_state(&mut self, state: State) {
        let generation = state.generation;
        self.state = state.clone();
        self.proxy.as_ref().unwrap().set_state(state).unwrap();
        self.until(|told| matches!(told, Told::InForce(it) if *it == generation));
    }

    /// Closes the agent's end of the channel. Its thread holds it open until it hears of the end.
    pub(crate) fn shut(&self) {
        self.stream.as_ref().unwrap().shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Answers one request to bind.
    pub(crate) fn bind(&self, result: Result<u32, String>) {
        self.bind.send(result).unwrap();
    }

    /// Waits until the proxy tells something.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Told) -> bool) -> Told {
        loop {
            let told = self.told.recv_timeout(PATIENCE).expect("the proxy tells it in time");
            match &told {
                Told::Learn(bindings) => self.learns.extend(bindings.iter().cloned()),
                Told::Records(records) => self.records.extend(records.iter().cloned()),
                Told::Counters(_) | Told::InForce(_) | Told::Found(_) | Told::Ended(_) => {}
            }
            if wanted(&told) {
                return told;
            }
        }
    }

    /// What is found where the agent asks in a pod's stead.
    pub(crate) fn found(&mut self, id: u64, pod: IpAddr, name: &str) -> Found {
        self.proxy.as_ref().unwrap().ask(id, pod, &DnsName::parse(name).unwrap()).unwrap();
        let Told::Found(found) = self.until(|told| matches!(told, Told::Found(_))) else { panic!("found") };
        let [(number, found)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(*number, id);
        found.clone()
    }

    /// The next request to bind.
    pub(crate) fn next_learn(&mut self) -> Vec<Binding> {
        let Told::Learn(bindings) = self.until(|told| matches!(told, Told::Learn(_))) else {
            panic!("a request")
        };
        bindings
    }

    /// The next record.
    pub(crate) fn next_record(&mut self) -> Query {
        while self.records.is_empty() {
            self.until(|told| matches!(told, Told::Records(_)));
        }
        self.records.remove(0)
    }

    pub(crate) fn counters(&mut self, wanted: impl Fn(&Counters) -> bool) -> Counters {
        let told = self.until(|told| matches!(told, Told::Counters(it) if wanted(it)));
        let Told::Counters(counters) = told else { panic!("counters") };
        *counters
    }

    /// A pod's socket, connected to a resolver's address at the proxy's port.
    pub(crate) fn pod(&self, last: u8, resolver: u8) -> UdpSocket {
        let socket = UdpSocket::bind((pod_address(last), 0)).unwrap();
        // A reply from another address than was asked does not arrive here.
        socket.connect((resolver_address(resolver), self.port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Asks by UDP and waits for the reply.
    pub(crate) fn ask(&self, pod: u8, resolver: u8, text: &str) -> Message {
        self.ask_for(pod, resolver, text, RecordType::A)
    }

    pub(crate) fn ask_for(&self, pod: u8, resolver: u8, text: &str, kind: RecordType) -> Message {
        let socket = self.pod(pod, resolver);
        socket.send(&question(text, kind, 77).to_vec().unwrap()).unwrap();
        receive(&socket)
    }

    /// A pod's connection to a resolver's address.
    pub(crate) fn connect(&self, pod: u8, resolver: u8) -> TcpStream {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let from = SockaddrStorage::from(SocketAddr::new(pod_address(pod), 0));
        bind(fd.as_raw_fd(), &from).unwrap();
        let to = SockaddrStorage::from(SocketAddr::new(resolver_address(resolver), self.port));
        connect(fd.as_raw_fd(), &to).unwrap();
        let stream = TcpStream::from(fd);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(proxy) = &self.proxy {
            let _ = proxy.stop();
        }
    }
}

/// The next reply.
pub(crate) fn receive(socket: &UdpSocket) -> Message {
    let mut buffer = [0; 65_536];
    let size = socket.recv(&mut buffer).expect("a reply in time");
    Message::from_vec(&buffer[..size]).unwrap()
}

/// Whether nothing has come. Only after something that came later was seen.
pub(crate) fn is_empty(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    let empty = socket.recv(&mut [0; 512]).is_err();
    socket.set_nonblocking(false).unwrap();
    empty
}

/// The addresses of an answer.
pub(crate) fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(A(address)) => Some(IpAddr::V4(*address)),
        RData::AAAA(AAAA(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

/// Code and text of the extended error.
pub(crate) fn extended(message: &Message) -> Option<(u16, String)> {
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    match message.edns.as_ref()?.option(EdnsCode::Unknown(15))? {
        EdnsOption::Unknown(_, bytes) => {
            Some((u16::from_be_bytes([bytes[0], bytes[1]]), String::from_utf8(bytes[2..].to_vec()).unwrap()))
        }
        _ => None,
    }
}
