//! A cluster's egress gateway with a real API server: it enrols, follows the controller, and is the address that the outside
//! sees of a pod on another node.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use crate::dns_wire;
use crate::whole::{NODE_ADDRESSES, NODES, OUTSIDE, Process, World, eventually};
use lab::Place;
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const AGENT: &str = "cofferdam-agent";
const GATEWAY: &str = "cofferdam-egress-gateway";

fn policy(name: &str) -> String {
    format!(
        "
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: {{name: web, namespace: shop}}
spec:
  subject: {{podSelector: {{matchLabels: {{app: web}}}}}}
  egress:
    - action: Allow
      to: [{{domains: [{name}]}}]
      ports: [{{port: 80}}]
    - action: Allow
      to: [{{networks: [{}/32]}}]
      ports: [{{protocol: UDP, port: 53}}]
  dns: {{names: ['**.example.com']}}
",
        OUTSIDE[0]
    )
}

fn outside(number: usize) -> Ipv4Addr {
    OUTSIDE[number].parse().unwrap()
}

/// A resolver that leads every name to a web server, which says who came.
fn serve(world: &World) {
    let resolver = world.lab.run(&Place::Outside, || UdpSocket::bind((outside(0), 53)).unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 1500];
        while let Ok((length, from)) = resolver.recv_from(&mut query) {
            let _ = resolver.send_to(&dns_wire::answer_with(&query[..length], &[outside(1)]), from);
        }
    });
    let listener = world.lab.run(&Place::Outside, || TcpListener::bind((outside(1), 80)).unwrap()).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 512];
            let who = stream.peer_addr().unwrap().ip().to_string();
            if stream.read(&mut request).is_ok_and(|length| length > 0) {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{who}", who.len());
            }
        }
    });
}

fn web() -> Place {
    Place::Pod("shop".to_owned(), "web".to_owned())
}

fn ask(world: &World, name: &'static str) -> Option<u8> {
    let ask = move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        dns_wire::query(&socket, outside(0), name).map(|(code, _)| code)
    };
    world.lab.run(&web(), ask).unwrap()
}

/// What `web` is answered.
fn get(world: &World) -> String {
    let fetch = move || -> std::io::Result<String> {
        let to = SocketAddr::from((outside(1), 80));
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: hub.example.com\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    world.lab.run(&web(), fetch).unwrap().unwrap_or_default()
}

fn gateway(world: &World, account: &str) -> Process {
    let token = world.token(NODES[1], account);
    let at = ["--listen", "0.0.0.0:9445", "--health", "127.0.0.1:9442"];
    // Where the outside of the lab is.
    let process = world.egress_gateway(
        NODES[1],
        &token,
        &[&at[..], &["--private-network", "198.19.255.0/24"]].concat(),
    );
    let place = Place::Node(NODES[1].to_owned());
    eventually("the gateway to be ready", || {
        world.probe(&place, "127.0.0.1:9442", "/readyz").contains("200 OK").then_some(())
    });
    process
}

#[test]
fn cluster_egress_gateway_is_the_address_that_the_outside_sees() {
    let Some(world) = World::start() else { return };
    serve(&world);
    for account in [AGENT, GATEWAY] {
        world.kubectl(&format!("create serviceaccount {account} -n cofferdam-system"), "");
    }
    world.kubectl("apply -f -", &policy("hub.example.com"));
    let controller = world.controller_with_authority("first");
    eventually("the authority", || {
        let find = "get configmap -n cofferdam-system -o name";
        world.kubectl(find, "").contains("cofferdam-authority").then_some(())
    });
    let way = format!("{}:9445", NODE_ADDRESSES[1]);
    let names = ["--dns-resolver", OUTSIDE[0], "--dns-private-zone", "example.com", "--dns-hold", "600"];
    let options = [&names[..], &["--egress-gateway", &way]].concat();
    let agent = world.agent_with_token_and(NODES[0], &world.token(NODES[0], AGENT), &options);
    eventually("the name to be refused", || (ask(&world, "paste.example.org") == Some(5)).then_some(()));
    eventually("the name", || (ask(&world, "hub.example.com") == Some(0)).then_some(()));
    assert!(get(&world).contains("central-unreachable"), "nobody is there yet, and nothing leaves directly");

    let edge = gateway(&world, GATEWAY);
    let seen = |answer: &str| answer.ends_with(NODE_ADDRESSES[1]);
    eventually("the way through the gateway", || seen(&get(&world)).then_some(()));
    let record = eventually("its record", || {
        edge.said().lines().find(|line| line.contains("\"name-allowed\"")).map(str::to_owned)
    });
    assert!(record.contains("\"asked_by\":\"node-a\"") && record.contains("hub.example.com"), "{record}");
    // It is no node: what it has says nothing of where policy is in force.
    let _other = world.agent_with_token(NODES[1], &world.token(NODES[1], AGENT));
    let programmed = || world.condition("egresspolicy web -n shop", "Programmed");
    eventually("the policy's status", || programmed().filter(|it| it[0] == "True"));
    let metrics = world.probe(&Place::Node(NODES[1].to_owned()), "127.0.0.1:9442", "/metrics");
    assert!(metrics.contains("cofferdam_egress_passed_total"), "{metrics}");

    // A change of policy holds at both.
    world.kubectl("apply -f -", &policy("other.example.com"));
    eventually("the other name", || (!seen(&get(&world))).then_some(()));
    world.kubectl("apply -f -", &policy("hub.example.com"));
    eventually("the first name again", || {
        ask(&world, "hub.example.com");
        seen(&get(&world)).then_some(())
    });

    // Without the controller it goes on by what it has.
    controller.kill();
    assert!(seen(&get(&world)));
    edge.signal(Signal::SIGTERM);
    let mut edge = edge;
    eventually("its end", || edge.has_ended().then_some(()));
    assert!(get(&world).contains("central-unreachable"));
    drop(agent);
    world.uninstall(NODES[0]);
}

/// A node that was taken has a token of its agent, and with that it cannot be the gateway of others.
#[test]
fn cluster_egress_gateway_must_be_one() {
    let Some(world) = World::start() else { return };
    serve(&world);
    world.kubectl(&format!("create serviceaccount {AGENT} -n cofferdam-system"), "");
    world.kubectl("apply -f -", &policy("hub.example.com"));
    let _controller = world.controller_with_authority("first");
    eventually("the authority", || {
        let find = "get configmap -n cofferdam-system -o name";
        world.kubectl(find, "").contains("cofferdam-authority").then_some(())
    });
    let token = world.token(NODES[1], AGENT);
    let liar = world.egress_gateway(NODES[1], &token, &["--listen", "0.0.0.0:9445"]);
    eventually("its refusal", || liar.said().contains("not that of node egress-gateway/").then_some(()));
    let way = format!("{}:9445", NODE_ADDRESSES[1]);
    let names = ["--dns-resolver", OUTSIDE[0], "--dns-private-zone", "example.com", "--dns-hold", "600"];
    let options = [&names[..], &["--egress-gateway", &way]].concat();
    let agent = world.agent_with_token_and(NODES[0], &world.token(NODES[0], AGENT), &options);
    eventually("the name to be refused", || (ask(&world, "paste.example.org") == Some(5)).then_some(()));
    eventually("the name", || (ask(&world, "hub.example.com") == Some(0)).then_some(()));
    assert!(get(&world).contains("central-unreachable"));
    drop(agent);
    world.uninstall(NODES[0]);
}
