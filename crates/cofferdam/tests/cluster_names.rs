//! Names with a real API server: an agent that a controller feeds answers DNS, and its gateway holds connections to names.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the failure report"
)]

use crate::dns_wire;
use crate::whole::{NODES, OUTSIDE, World, eventually};
use lab::Place;
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// For whom somebody answers, while a gateway or an agent starts.
const PATIENCE: Duration = Duration::from_secs(10);

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
      maxUploadBytes: {{hour: 1Mi}}
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

/// A resolver at the one address outside, which leads every name to a web server at the other.
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
            std::thread::spawn(move || {
                let mut request = [0; 512];
                while stream.read(&mut request).is_ok_and(|length| length > 0) {
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn web() -> Place {
    Place::Pod("shop".to_owned(), "web".to_owned())
}

/// Response code of a question of `web`.
fn ask(world: &World, name: &'static str) -> Option<u8> {
    let ask = move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        dns_wire::query(&socket, outside(0), name).map(|(code, _)| code)
    };
    world.lab.run(&web(), ask).unwrap()
}

/// Status of a request of `web` for a host; nothing where there is no connection.
fn get(world: &World, host: &'static str) -> String {
    let fetch = move || -> std::io::Result<String> {
        let to = SocketAddr::from((outside(1), 80));
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(String::from_utf8_lossy(&status).into_owned())
    };
    world.lab.run(&web(), fetch).unwrap().unwrap_or_default()
}

#[test]
fn cluster_names_open_addresses_and_hold_connections_to_them() {
    let Some(world) = World::start() else { return };
    serve(&world);
    let _controller = world.controller("first");
    let agent = world.agent_with_dns(NODES[0], OUTSIDE[0]);
    let _other = world.agent(NODES[1]);
    world.kubectl("apply -f -", &policy("hub.example.com"));
    eventually("the name to be refused", || (ask(&world, "paste.example.org") == Some(5)).then_some(()));
    assert_eq!(get(&world, "hub.example.com"), "", "nobody asked yet");
    assert_eq!(ask(&world, "hub.example.com"), Some(0));
    assert_eq!(get(&world, "hub.example.com"), "HTTP/1.1 200");
    assert_eq!(get(&world, "evil.example.com"), "HTTP/1.1 403");
    let programmed = || world.condition("egresspolicy web -n shop", "Programmed");
    eventually("its status", || programmed().filter(|it| it[0] == "True"));

    // A new agent takes over from one that was killed.
    agent.kill();
    assert_eq!(get(&world, "hub.example.com"), "HTTP/1.1 200");
    assert_eq!(get(&world, "evil.example.com"), "HTTP/1.1 403");
    let agent = world.agent_with_dns(NODES[0], OUTSIDE[0]);
    eventually("the new agent", || world.status(NODES[0])["nodes"][0]["gateway"]["starts"].as_u64());
    assert_eq!(get(&world, "hub.example.com"), "HTTP/1.1 200", "remembered, without asking again");
    world.kubectl("apply -f -", &policy("other.example.com"));
    eventually("the other name", || (get(&world, "hub.example.com") != "HTTP/1.1 200").then_some(()));
    // The gateway goes by a new policy a moment before DNS does: what is asked in between opens nothing, and is asked again.
    eventually("what it opens", || {
        assert_eq!(ask(&world, "other.example.com"), Some(0));
        (get(&world, "other.example.com") == "HTTP/1.1 200").then_some(())
    });
    let status = world.status(NODES[0]);
    assert_eq!(status["resolver"]["verdict_disagreements"], 0, "{status:#}");
    assert_eq!(status["degraded"], serde_json::json!([]), "{status:#}");
    agent.signal(Signal::SIGTERM);
    drop(agent);
    world.uninstall(NODES[0]);
    assert_eq!(get(&world, "evil.example.com"), "HTTP/1.1 200", "everything is left alone");
}
