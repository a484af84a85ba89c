//! Steering of named connections: they go to the gateway or nowhere, and stay where they are while pairs come and go.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "in a test a panic is the failure report"
)]

use crate::support::*;
use datapath::{ApplyError, Beside, Binding, Config, Datapath, Pair, Span, Steer, Steering};
use nix::sys::socket::sockopt::{Ipv4OrigDstAddr, Ipv6OrigDstAddr, ReuseAddr, SendTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6,
    SockaddrStorage, bind, connect, listen, recvmsg, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use policy::Protocol;
use policy::table::Row;
use std::collections::BTreeMap;
use std::io::{IoSliceMut, Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const PORT: u16 = 8443;

/// Answers "gate" to whatever comes over TCP, and notes what was meant for whom.
struct Gateway {
    stop: Arc<AtomicBool>,
    meant: Arc<Mutex<Vec<(Protocol, SocketAddr)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    fn new(lab: &Lab) -> Self {
        let (stop, meant) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(vec![])));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = lab.node.spawn({
            let (stop, meant) = (stop.clone(), meant.clone());
            move || {
                let listeners = listening().map(|at| {
                    let tcp = transparent(at, SockType::Stream);
                    listen(&tcp, Backlog::new(8).unwrap()).unwrap();
                    let udp = UdpSocket::from(transparent(at, SockType::Datagram));
                    setsockopt(&udp, Ipv4OrigDstAddr, &true).unwrap();
                    if at.is_ipv6() {
                        setsockopt(&udp, Ipv6OrigDstAddr, &true).unwrap();
                    }
                    let tcp = TcpListener::from(tcp);
                    tcp.set_nonblocking(true).unwrap();
                    (tcp, udp)
                });
                ready.send(()).unwrap();
                take(&listeners, &stop, &meant);
            }
        });
        is_ready.recv().unwrap();
        Self { stop, meant, thread: Some(thread) }
    }

    /// What was taken since the last time.
    fn took(&self) -> Vec<(Protocol, SocketAddr)> {
        std::mem::take(&mut self.meant.lock().unwrap())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

fn listening() -> [SocketAddr; 2] {
    ["0.0.0.0", "::"].map(|any| SocketAddr::new(any.parse().unwrap(), PORT))
}

fn take(
    listeners: &[(TcpListener, UdpSocket)],
    stop: &AtomicBool,
    meant: &Mutex<Vec<(Protocol, SocketAddr)>>,
) {
    let mut open: Vec<TcpStream> = vec![];
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        for (tcp, udp) in listeners {
            if let Ok((stream, _)) = tcp.accept() {
                stream.set_nonblocking(true).unwrap();
                meant.lock().unwrap().push((Protocol::TCP, stream.local_addr().unwrap()));
                open.push(stream);
            }
            meant.lock().unwrap().extend(datagram(udp).map(|to| (Protocol::UDP, to)));
        }
        open.retain_mut(|stream| match stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(_) => stream.write_all(b"gate").is_ok(),
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        });
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// For whom the next datagram was meant.
fn datagram(udp: &UdpSocket) -> Option<SocketAddr> {
    let (mut buffer, mut control) = ([0; 64], nix::cmsg_space!(SockaddrIn, SockaddrIn6));
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let got = recvmsg::<SockaddrStorage>(udp.as_raw_fd(), &mut parts, Some(&mut control), flags).ok()?;
    got.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::Ipv4OrigDstAddr(raw) => Some(SocketAddrV4::from(SockaddrIn::from(raw)).into()),
        ControlMessageOwned::Ipv6OrigDstAddr(raw) => Some(SocketAddrV6::from(SockaddrIn6::from(raw)).into()),
        _ => None,
    })
}

/// Who answers a connection: its peer, which echoes, or the gateway.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Peer,
    Gateway,
    Nobody,
}

fn open(from: &Namespace, to: IpAddr, port: u16) -> Option<TcpStream> {
    from.inside(move || TcpStream::connect_timeout(&SocketAddr::new(to, port), SILENCE).ok())
}

fn answer(stream: &mut TcpStream) -> Answer {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let mut back = [0; 4];
    if stream.write_all(b"ping").is_err() || stream.read_exact(&mut back).is_err() {
        return Answer::Nobody;
    }
    match &back {
        b"ping" => Answer::Peer,
        b"gate" => Answer::Gateway,
        other => panic!("{other:?}"),
    }
}

fn asked(from: &Namespace, to: IpAddr, port: u16) -> Answer {
    open(from, to, port).map_or(Answer::Nobody, |mut stream| answer(&mut stream))
}

/// Pod 1 echoes on what the tests ask for, pod 2 on port 80. All is allowed, and the kernel tracks connections.
fn served() -> Lab {
    let mut lab = Lab::new(3);
    for port in [80, 443, 444, PORT] {
        lab.serve(1, port);
    }
    lab.serve(2, 80);
    let _ = lab.datapath(Config::default()).apply(&Tables::new(3).table).unwrap();
    lab
}

/// From pod 0 to pod 1, by either family.
fn pairs() -> [(IpAddr, IpAddr); 2] {
    [(v4(0), v4(1)), (v6(0), v6(1))]
}

/// The pairs, with what is open beside the gateway.
fn steered(beside: &Beside) -> [(Pair, Beside); 2] {
    pairs().map(|pair| (pair, beside.clone()))
}

fn steering(lab: &Lab) -> Steering {
    lab.node.inside(|| Steering::open().unwrap())
}

#[test]
fn kernel_hands_named_connections_to_the_gateway_and_no_others() {
    if !privileged() {
        return;
    }
    let lab = served();
    let gateway = Gateway::new(&lab);
    let mut steering = steering(&lab);
    // Of two families, as nothing can be.
    let unlike = [(v4(0), v6(1)), (v6(0), v4(1))].map(|pair| (pair, Beside::NOTHING));
    let named = steered(&Beside::NOTHING).into_iter().chain(unlike).collect();
    steering.steer(&Steer { gateway: listening().to_vec(), named, ..Steer::default() }).unwrap();
    for to in [v4(1), v6(1)] {
        for port in [80, PORT] {
            assert_eq!(asked(&lab.pods[0], to, port), Answer::Gateway);
            assert_eq!(gateway.took(), [(Protocol::TCP, SocketAddr::new(to, port))]);
        }
        assert!(!udp(&lab.pods[0], to, 443, 4), "not answered here, only taken");
        assert_eq!(gateway.took(), [(Protocol::UDP, SocketAddr::new(to, 443))]);
        assert!(udp(&lab.pods[0], to, 444, 4), "of UDP only port 443 is steered");
        for port in [80, PORT] {
            assert_eq!(asked(&lab.pods[2], to, port), Answer::Peer, "only the pod that knows the name");
        }
    }
    for to in [v4(2), v6(2)] {
        assert_eq!(asked(&lab.pods[0], to, 80), Answer::Peer, "only the addresses that have a name");
    }
    assert_eq!(gateway.took(), []);
    assert!(lab.node.must("nft list ruleset").contains("cofferdam_steer"));
}

/// A connection from a port of the pod's own choice.
fn open_from(from: &Namespace, at: SocketAddr, to: SocketAddr) -> Option<TcpStream> {
    from.inside(move || {
        let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&fd, ReuseAddr, &true).unwrap();
        let patience = TimeVal::milliseconds(i64::try_from(SILENCE.as_millis()).unwrap());
        setsockopt(&fd, SendTimeout, &patience).unwrap();
        bind(fd.as_raw_fd(), &SockaddrStorage::from(at)).ok()?;
        connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).ok()?;
        Some(TcpStream::from(fd))
    })
}

#[test]
fn kernel_hands_a_connection_between_the_ports_of_one_that_the_pod_closed_to_the_gateway_too() {
    if !privileged() {
        return;
    }
    let lab = served();
    let gateway = Gateway::new(&lab);
    let mut steering = steering(&lab);
    let named = steered(&Beside::NOTHING).into();
    steering.steer(&Steer { gateway: listening().to_vec(), named, ..Steer::default() }).unwrap();
    // The pod's own kernel gives a port again a second after that.
    lab.pods[0].must("sysctl -qw net.ipv4.tcp_tw_reuse=1");
    let ends = pairs().map(|(from, to)| (SocketAddr::new(from, 40_000), SocketAddr::new(to, 80)));
    for (from, to) in ends {
        let mut first = open_from(&lab.pods[0], from, to).unwrap();
        assert_eq!(answer(&mut first), Answer::Gateway);
    }
    for (from, to) in ends {
        let mut again = None;
        assert!(eventually(|| {
            again = open_from(&lab.pods[0], from, to);
            again.is_some()
        }));
        assert_eq!(again.as_mut().map(answer), Some(Answer::Gateway), "{to}");
    }
    assert_eq!(gateway.took().len(), 4);
}

#[test]
fn kernel_keeps_connections_that_may_stay_where_they_are_when_pairs_change() {
    if !privileged() {
        return;
    }
    let lab = served();
    let _gateway = Gateway::new(&lab);
    let mut steering = steering(&lab);
    let named = steered(&Beside::Any);
    assert_eq!(steering.steer_pairs(&named, &[]), Err(ApplyError::NotInstalled));
    steering.steer(&Steer { gateway: listening().to_vec(), ..Steer::default() }).unwrap();
    let connect = || pairs().map(|(_, to)| open(&lab.pods[0], to, PORT).unwrap());
    let answers = |streams: &mut [TcpStream; 2]| streams.each_mut().map(answer);
    let mut direct = connect();
    assert_eq!(answers(&mut direct), [Answer::Peer, Answer::Peer]);
    let unlike = (v4(0), v6(1));
    for round in 0..2 {
        // What is so already changes nothing.
        for _ in 0..2 {
            let unlike = (unlike, Beside::Any);
            steering.steer_pairs(&[named[0].clone(), named[1].clone(), unlike], &[]).unwrap();
        }
        let mut held = connect();
        assert_eq!(answers(&mut held), [Answer::Gateway, Answer::Gateway], "round {round}");
        assert_eq!(answers(&mut direct), [Answer::Peer, Answer::Peer], "opened before");
        for _ in 0..2 {
            steering.steer_pairs(&[], &[pairs()[0], pairs()[1], unlike]).unwrap();
        }
        assert_eq!(answers(&mut held), [Answer::Gateway, Answer::Gateway], "the gateway has it");
        assert_eq!(answers(&mut connect()), [Answer::Peer, Answer::Peer]);
        // The whole is made anew.
        let pods = [v4(round)].into();
        steering.steer(&Steer { pods, gateway: listening().to_vec(), ..Steer::default() }).unwrap();
        assert_eq!(answers(&mut held), [Answer::Gateway, Answer::Gateway]);
        assert_eq!(answers(&mut direct), [Answer::Peer, Answer::Peer]);
    }
    steering.steer_pairs(&named[..1], &pairs()).unwrap();
    assert_eq!(answers(&mut connect()), [Answer::Gateway, Answer::Peer], "more goes before fewer");
    steering.steer(&Steer { gateway: listening().to_vec(), ..Steer::default() }).unwrap();
    assert_eq!(answers(&mut connect()), [Answer::Peer, Answer::Peer], "what pairs changed is known");
}

#[test]
fn kernel_opens_a_name_and_leads_to_the_gateway_in_one_step_or_not_at_all() {
    if !privileged() {
        return;
    }
    let lab = served();
    let _gateway = Gateway::new(&lab);
    let mut datapath = lab.datapath(Config::default());
    let mut tables = Tables::new(1);
    tables.egress(0).otherwise = tables.row(deny(30), vec![]);
    let _ = datapath.apply(&tables.table).unwrap();
    let mut steering = steering(&lab);
    let to = pairs().map(|(_, to)| to);
    let bind = |row: Option<Row>| {
        let row = row.map(Arc::new);
        pairs().map(|(from, to)| Binding { from, to, span: Span::Live, row: row.clone() })
    };
    let web = |port| Row { otherwise: deny(30), cells: vec![cell(Protocol::TCP, port, port, allow(31))] };
    let asked = |port| to.map(|to| asked(&lab.pods[0], to, port));
    let nobody = [const { Answer::Nobody }; 2];
    let named = steered(&Beside::NOTHING);

    let refused = datapath.bind_steered(&bind(Some(web(80))), &mut steering, &named, &[]);
    assert_eq!(refused, Err(ApplyError::NotInstalled), "nothing is steered by this process yet");
    assert_eq!(asked(80), nobody, "so nothing was opened");

    steering.steer(&Steer { gateway: listening().to_vec(), ..Steer::default() }).unwrap();
    datapath.bind_steered(&bind(Some(web(80))), &mut steering, &named, &[]).unwrap();
    assert_eq!(asked(80), [Answer::Gateway, Answer::Gateway]);
    assert_eq!(asked(443), nobody);
    // What is so already changes nothing.
    datapath.bind_steered(&bind(Some(web(80))), &mut steering, &named, &[]).unwrap();
    datapath.bind_steered(&[], &mut steering, &[], &pairs()[1..]).unwrap();
    assert_eq!(asked(80), [Answer::Gateway, Answer::Peer]);
    // A row that takes something away: the state in force is left for another.
    let before = datapath.tag();
    datapath.bind_steered(&bind(Some(web(443))), &mut steering, &named[1..], &pairs()[..1]).unwrap();
    assert_ne!(datapath.tag(), before);
    assert_eq!(asked(80), nobody);
    assert_eq!(asked(443), [Answer::Peer, Answer::Gateway]);
    // What ends does so also where somebody else took the steering away, which is told.
    lab.node.must("nft delete table inet cofferdam_steer");
    datapath.bind_steered(&bind(None), &mut steering, &[], &pairs()).unwrap_err();
    assert_eq!(asked(443), nobody);
}

/// Whether the connection was reset. What comes by it meanwhile is no end.
fn is_reset(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream.read(&mut [0; 4]).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[test]
fn kernel_ends_what_a_policy_cut_when_its_address_gets_a_name_and_keeps_what_was_allowed_all_along() {
    if !privileged() {
        return;
    }
    let mut lab = served();
    lab.serve(0, 80);
    lab.serve(2, 443);
    let _gateway = Gateway::new(&lab);
    let mut datapath = lab.datapath(Config::default());
    let mut steering = steering(&lab);
    steering.steer(&Steer { gateway: listening().to_vec(), ..Steer::default() }).unwrap();
    let connect = |port| pairs().map(|(_, to)| open(&lab.pods[0], to, port).unwrap());
    let (mut cut, mut quiet, mut beside) = (connect(80), connect(80), connect(443));
    // Never steered.
    let mut far = [v4(2), v6(2)].map(|to| open(&lab.pods[0], to, 443).unwrap());
    let answers = |streams: &mut [TcpStream; 2]| streams.each_mut().map(answer);
    let (peer, nobody) = ([const { Answer::Peer }; 2], [const { Answer::Nobody }; 2]);
    for streams in [&mut cut, &mut quiet, &mut beside, &mut far] {
        assert_eq!(answers(streams), peer);
    }
    let mut tables = Tables::new(3);
    let networks = vec![cell(Protocol::TCP, 443, 443, allow(32))];
    tables.egress(0).otherwise = tables.row(deny(30), networks);
    let _ = datapath.apply(&tables.table).unwrap();
    assert_eq!(answers(&mut cut), nobody);

    let only = steered(&Beside::Ports([443].into()));
    // The second takes something away: every connection is judged again, by what the name allows.
    for last in [444, 443] {
        let cells = vec![cell(Protocol::TCP, 80, 80, allow(31)), cell(Protocol::TCP, 443, last, allow(32))];
        let row = Some(Arc::new(Row { otherwise: deny(30), cells }));
        let bind = |(from, to)| Binding { from, to, span: Span::Live, row: row.clone() };
        datapath.bind_steered(&pairs().map(bind), &mut steering, &only, &[]).unwrap();
    }
    assert_eq!(answers(&mut connect(80)), [Answer::Gateway, Answer::Gateway]);
    assert_eq!(answers(&mut quiet), nobody, "allowed by the name, but opened past the gateway");
    for stream in &mut cut {
        assert!(eventually(|| is_reset(stream)), "whoever sends learns that the connection is gone");
    }
    for streams in [&mut beside, &mut far] {
        assert_eq!(answers(streams), peer, "networks allowed it all along");
    }
    for to in [v4(0), v6(0)] {
        assert_eq!(asked(&lab.pods[1], to, 80), Answer::Peer, "the pod answers who has the name");
    }

    // What slips through while a pair is not steered is allowed by its mark, and ends nonetheless.
    steering.steer_pairs(&[], &pairs()).unwrap();
    let mut slipped = connect(80);
    assert_eq!(answers(&mut slipped), peer);
    for stays in [Beside::Any, Beside::Ports([80].into())] {
        steering.steer_pairs(&steered(&stays), &[]).unwrap();
        assert_eq!(answers(&mut slipped), peer, "{stays:?}");
    }
    steering.steer_pairs(&only, &[]).unwrap();
    assert_eq!(answers(&mut slipped), nobody);
    assert_eq!(answers(&mut beside), peer);
}

#[test]
fn kernel_drops_named_connections_without_a_gateway() {
    if !privileged() {
        return;
    }
    let lab = served();
    let mut steering = steering(&lab);
    let mut before = pairs().map(|(_, to)| open(&lab.pods[0], to, 80).unwrap());
    let named: BTreeMap<_, _> = steered(&Beside::Any).into();
    for gateway in [vec![], listening().to_vec()] {
        steering.steer(&Steer { gateway, named: named.clone(), ..Steer::default() }).unwrap();
        for (stream, (_, to)) in before.iter_mut().zip(pairs()) {
            assert_eq!(asked(&lab.pods[0], to, 80), Answer::Nobody);
            assert!(!udp(&lab.pods[0], to, 443, 4));
            assert!(udp(&lab.pods[0], to, 444, 4));
            assert_eq!(asked(&lab.pods[2], to, 80), Answer::Peer);
            assert_eq!(answer(stream), Answer::Peer, "opened before");
        }
    }
    let gateway = Gateway::new(&lab);
    assert_eq!(asked(&lab.pods[0], v4(1), 80), Answer::Gateway);
    drop(gateway);
    assert_eq!(asked(&lab.pods[0], v4(1), 80), Answer::Nobody);
    steering.uninstall().unwrap();
    assert_eq!(asked(&lab.pods[0], v4(1), 80), Answer::Peer);
    assert!(udp(&lab.pods[0], v6(1), 443, 4));
}
