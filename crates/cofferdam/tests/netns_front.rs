//! The explicit proxy: real clients that were told of it, in a pod whose policies allow nothing but names.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests; a panic is the failure report"
)]

use crate::machine::resolver::Resolver;
use crate::machine::{Machine, Up, eventually};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The pod may ask no resolver, and reach no address but by these names.
const POLICY: &str = "\
apiVersion: cofferdam.dev/v1alpha1
kind: EgressPolicy
metadata: { name: web, namespace: prod }
spec:
  subject: { podSelector: { matchLabels: { app: web } } }
  egress:
    - action: Allow
      to: [{ domains: [hub.example.com] }]
      ports: [{ protocol: TCP, port: 80 }, { protocol: TCP, port: 443 }]
    - action: Allow
      to: [{ domains: [store.example.com] }]
      ports: [{ protocol: TCP, port: 80 }]
      operations: [{ verbs: [download], resources: [acme/*] }]
    - action: Allow
      to: [{ networks: [203.0.113.50/32] }]
      ports: [{ protocol: TCP, port: 80 }]
";

const NODE: &str = "\
apiVersion: v1
kind: Node
metadata: { name: m1 }
status: { addresses: [{ type: InternalIP, address: 10.9.1.1 }] }
";

const PROXY: &str = "http://10.9.1.1:3128";
const PATIENCE: Duration = Duration::from_secs(10);

/// A TLS server, until this goes.
struct Tls(Child);

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server at pod `b`, in clear at port 80 and in TLS at 443, that says what it was asked for.
fn serve(machine: &Machine) -> Tls {
    let listener = machine.listen("b", 80);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream));
        }
    });
    let folder = machine.folder().parent().unwrap().to_owned();
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", "-days", "2",
        ])
        .args(["-subj", "/CN=hub.example.com", "-addext", "subjectAltName=DNS:hub.example.com"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let tls = machine.at("b", move || {
        Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-accept", "443", "-cert", "cert", "-key", "key"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    });
    let tls = Tls(tls);
    let at = SocketAddr::from(([127, 0, 0, 1], 443));
    eventually("the TLS server", || machine.at("b", move || TcpStream::connect(at).ok()));
    tls
}

fn answer(mut stream: TcpStream) {
    loop {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            if !stream.read(&mut byte).is_ok_and(|length| length == 1) {
                return;
            }
            head.push(byte[0]);
        }
        let line = String::from_utf8(head).unwrap().lines().next().unwrap().to_owned();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}", line.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// What a command in a pod, or on the machine, prints; both of its outputs.
fn run(machine: &Machine, role: &str, command: &str) -> String {
    let command = command.to_owned();
    machine.at(role, move || {
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
    })
}

/// What curl says of a URL by the proxy: its status, and all that it printed.
fn curl(machine: &Machine, options: &str, url: &str) -> String {
    let command =
        format!("curl -sS -m 20 -x {PROXY} -w ' status %{{http_code}} %{{http_connect}}' {options} {url}");
    run(machine, "a", &command)
}

/// The newest record of a command that the filters leave.
fn record(up: &Up<'_>, arguments: &[&str]) -> Option<Value> {
    let lines = up.text(&[arguments, &["--json"]].concat());
    lines.lines().last().map(|line| serde_json::from_str(line).unwrap())
}

fn start(machine: &Machine) -> Up<'_> {
    Up::start_with(machine, &["--dns-resolver", "10.9.2.2", "--proxy-listen", "10.9.1.1:3128"])
}

fn world(name: &str) -> (Machine, Resolver, Tls) {
    let machine = Machine::new(name);
    machine.write("policy.yaml", POLICY);
    machine.write("node.yaml", NODE);
    let resolver = Resolver::start(&machine);
    let tls = serve(&machine);
    (machine, resolver, tls)
}

#[test]
fn netns_clients_that_were_told_of_the_proxy_reach_what_is_allowed_and_are_told_why_not() {
    let (machine, _resolver, _tls) = world("e");
    let up = start(&machine);
    assert!(!machine.connects("a", "b", 80), "directly there is nothing");
    let said = curl(&machine, "", "http://hub.example.com/x");
    assert!(said.starts_with("GET /x HTTP/1.1 status 200"), "{said}");
    let said = curl(&machine, "-p", "http://hub.example.com/y");
    assert!(said.starts_with("GET /y HTTP/1.1 status 200 200"), "{said}");
    let said = curl(&machine, "-k", "https://hub.example.com/");
    assert!(said.contains("status 200 200"), "{said}");
    let asked_for = |verdict: &str, asked: &str| {
        let newest = || record(&up, &["connections", "--verdict", verdict]);
        eventually(asked, || newest().filter(|record| record["explicit"]["asked"] == asked))
    };
    let passed = asked_for("allow", "hub.example.com:443");
    assert_eq!(
        (&passed["claim"]["kind"], &passed["destination"]),
        (&"tls".into(), &"203.0.113.7:443".into())
    );
    assert!(passed["rule"].as_str().unwrap().contains("policy.yaml:7"), "{passed:#}");
    let asked = eventually("what was looked up", || record(&up, &["dns", "--name", "hub.example.com"]));
    assert_eq!((&asked["explicit"], &asked["pod"]), (&true.into(), &"10.9.1.2".into()), "{asked:#}");

    // Requests that a rule lists, and others.
    let said = curl(&machine, "", "http://store.example.com/acme/m/resolve/main/x");
    assert!(said.contains("status 200"), "{said}");
    let said = curl(&machine, "-X DELETE", "http://store.example.com/acme/m");
    assert!(said.contains("request-not-allowed") && said.contains("status 403"), "{said}");

    for (options, url, reason) in [
        ("", "http://evil.example.com/", "lookup-refused"),
        ("", "http://hub.example.com:81/", "name-not-allowed"),
        ("", "http://10.9.2.2/", "inside"),
        ("", "http://10.9.1.1/", "inside"),
        ("", "http://127.0.0.1/", "inside"),
        ("", "http://169.254.169.254/latest/meta-data/", "inside"),
        ("", "http://203.0.113.7/", "no-name"),
        ("-p", "http://203.0.113.9:22/", "no-name"),
    ] {
        let said = curl(&machine, &format!("{options} -i"), url);
        assert!(said.contains(&format!("reason: {reason}")), "{url}: {said}");
        assert!(said.contains(" 403"), "{url}: {said}");
    }
    let refused = asked_for("deny", "203.0.113.9:22");
    assert_eq!(
        (&refused["explicit"]["method"], &refused["from"]["name"]),
        (&"CONNECT".into(), &"web".into())
    );
    // A Service: what the machine translates itself would be reached in its name.
    machine.must(
        "n",
        "nft add table ip svc; nft 'add chain ip svc out { type nat hook output priority -100; }'; \
         nft add rule ip svc out ip daddr 203.0.113.50 dnat to 10.9.2.2",
    );
    assert!(run(&machine, "n", "curl -sS -m 20 http://203.0.113.50/s").starts_with("GET /s"));
    let said = curl(&machine, "-i", "http://203.0.113.50/s");
    assert!(said.contains("reason: server-silent") && said.contains(" 504"), "{said}");
    // The machine itself is no pod.
    let said = run(&machine, "n", &format!("curl -sS -i -m 20 -x {PROXY} http://hub.example.com/"));
    assert!(said.contains("reason: unknown-pod"), "{said}");
    // A name is not opened to others by the pod that asked.
    let said = run(&machine, "b", &format!("curl -sS -m 20 -x {PROXY} http://hub.example.com/z"));
    assert_eq!(said, "GET /z HTTP/1.1", "who is not isolated may go anywhere outside");
    assert_eq!(up.status()["degraded"], serde_json::json!([]));
}

#[test]
fn netns_a_client_shows_the_reason_in_its_own_error() {
    let (machine, _resolver, _tls) = world("p");
    let _up = start(&machine);
    let python = |url: &str| {
        let program =
            format!("import urllib.request as r; print(r.urlopen('{url}', timeout=20).read().decode())");
        run(&machine, "a", &format!("https_proxy={PROXY} http_proxy={PROXY} python3 -c \"{program}\""))
    };
    assert!(python("http://hub.example.com/p").starts_with("GET /p "), "allowed");
    let said = python("https://evil.example.com/");
    assert!(said.contains("Tunnel connection failed: 403 Refused by Cofferdam"), "{said}");
    assert!(said.contains("lookup-refused"), "{said}");
    let said = python("https://store.example.com/");
    assert!(said.contains("name-not-allowed") && said.contains("policy.yaml"), "{said}");
}

/// A tunnel of pod `a`, and how its beginning was answered.
fn tunnel(machine: &Machine, when: &str) -> (TcpStream, String) {
    let mut stream = machine
        .at("a", || TcpStream::connect_timeout(&SocketAddr::from(([10, 9, 1, 1], 3128)), PATIENCE).unwrap());
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"CONNECT hub.example.com:80 HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = [0; 2048];
    let length = stream.read(&mut answer).unwrap_or_else(|error| panic!("{when}: {error}"));
    (stream, String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Whether a request in a tunnel is answered.
fn passes(stream: &mut TcpStream) -> bool {
    let asked = stream.write_all(b"GET /t HTTP/1.1\r\nHost: hub.example.com\r\n\r\n");
    let mut answer = [0; 512];
    let length = asked.and_then(|()| stream.read(&mut answer)).unwrap_or_default();
    answer[..length].ends_with(b"GET /t HTTP/1.1")
}

#[test]
fn netns_tunnels_outlive_the_agent_and_the_next_one_has_the_listener() {
    let (machine, _resolver, _tls) = world("f");
    let up = start(&machine);
    let (mut held, answer) = tunnel(&machine, "at first");
    assert!(answer.starts_with("HTTP/1.1 200 ") && passes(&mut held), "{answer}");
    up.kill();
    assert!(passes(&mut held), "without its agent");
    // Nobody is there who could say where the name is.
    let (_, answer) = tunnel(&machine, "without an agent");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let up = start(&machine);
    assert!(passes(&mut held), "the gateway that holds it lives on");
    let (mut next, answer) = tunnel(&machine, "with the next agent");
    assert!(answer.starts_with("HTTP/1.1 200 ") && passes(&mut next), "{answer}");
    machine.write("policy.yaml", &POLICY.replace("hub.example.com", "nobody.example.com"));
    let cut = eventually("the end of what is not allowed", || {
        let newest = record(&up, &["connections", "--verdict", "deny", "--name", "hub.example.com"]);
        newest.filter(|record| record["end"] == "cut")
    });
    assert_eq!(cut["reason"], "name-not-allowed", "{cut:#}");
    // Two gateways hear of it, one after the other.
    for (whose, stream) in [("the new gateway", &mut next), ("the old gateway", &mut held)] {
        eventually(whose, || (!passes(stream)).then_some(()));
    }
    let (_, answer) = tunnel(&machine, "with another policy");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    up.terminate();
    // Without the option, nobody listens any more.
    let _up = Up::start_with(&machine, &["--dns-resolver", "10.9.2.2"]);
    eventually("the end of the old listener", || {
        let at = SocketAddr::from(([10, 9, 1, 1], 3128));
        let refused = machine.at("a", move || TcpStream::connect_timeout(&at, PATIENCE).is_err());
        refused.then_some(())
    });
}
