//! Requests of workloads that come to the central gateway by themselves, judged as those of pods are; and how long such a workload
//! is known.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

#[path = "support/store.rs"]
mod store;
mod support;

use feed::tls::Identity;
use gateway::{
    Authority, AuthorityPem, Clients, End, Inspection, Keys, Reason, StoreAddress, StoreMeans, WhenDown,
    Window,
};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use policy::{DomainPattern, Key, SecretRef, Verdict};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime};
use support::door::{
    CONNECT, DOMAIN, DOOR, Door, LEAVE, RUNNER, able, client, outside, policies, server, shown,
};
use support::web::trusting;
use support::{Tls, hello_of, patient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

/// What a rule says of the hub, at its usual ports.
fn hub(more: &str) -> String {
    format!(
        "[{{action: Allow, to: [{{domains: [hub.example]}}], ports: [{{port: 443}}, {{port: 80}}], {more}}}]"
    )
}

const DOWNLOADS: &str = "operations: [{verbs: [download], resources: [acme/*]}]";
const GET: &str = "GET /acme/tiny/resolve/main/weights.safetensors HTTP/1.1|Host: hub.example||";
const COMMIT: &str =
    "POST /api/models/acme/tiny/commit/main HTTP/1.1|Host: hub.example|Content-Length: 2||{}";

/// The means to open TLS, before a server with this certificate.
fn means(tls: &Tls) -> Inspection {
    let root = CertificateDer::from_pem_slice(tls.certificate.as_bytes()).unwrap().to_vec();
    Inspection { authority: Authority::generate(SystemTime::now()).unwrap(), roots: vec![root] }
}

/// Answers each request of each connection with its first line, in TLS or in clear; where it has a field `x-to`, leads there.
/// What it was asked is told.
fn serve(port: u16, tls: Option<Arc<ServerConfig>>) -> Receiver<String> {
    let (listener, (heads, told)) = (server(port), channel());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), tls, heads) = (stream, tls.clone(), heads.clone()) else { return };
            std::thread::spawn(move || match tls {
                Some(tls) => answer(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream), &heads),
                None => answer(stream, &heads),
            });
        }
    });
    told
}

fn answer(mut stream: impl Read + Write, heads: &Sender<String>) {
    while let Some(head) = head(&mut stream) {
        // Few tests want to know.
        let _nobody = heads.send(head.clone());
        let line = head.lines().next().unwrap();
        let status = match head.lines().find_map(|line| line.strip_prefix("x-to: ")) {
            Some(to) => format!("302 Found\r\nLocation: {to}"),
            None => "200 OK".to_owned(),
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{line}", line.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn head(stream: &mut impl Read) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if !stream.read(&mut byte).is_ok_and(|length| length == 1) {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// Head and body of the answer.
fn ask(stream: &mut (impl Read + Write), request: &str) -> (String, String) {
    try_ask(stream, request).unwrap()
}

/// The same, where there is an answer.
fn try_ask(stream: &mut (impl Read + Write), request: &str) -> Option<(String, String)> {
    stream.write_all(request.replace('|', "\r\n").as_bytes()).ok()?;
    let head = head(stream)?;
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let length = fields.rfind(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

type Outer = StreamOwned<ClientConnection, TcpStream>;

/// Through the door, TLS to the hub as a client does it that believes an authority.
fn through(door: &Door, believed: &AuthorityPem) -> StreamOwned<ClientConnection, Outer> {
    through_to("hub.example", door, believed)
}

fn through_to(name: &str, door: &Door, believed: &AuthorityPem) -> StreamOwned<ClientConnection, Outer> {
    let (answer, outer) = door.ask(&CONNECT.replace("hub.example", name));
    assert_eq!(answer, LEAVE);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(trusting(believed, vec![]), name).unwrap(), outer)
}

#[test]
fn netns_requests_of_a_workload_are_judged_inside_tls_and_in_clear() {
    if !able() {
        return;
    }
    outside("ja", || {
        let tls = Tls::new();
        serve(443, Some(Arc::clone(&tls.server)));
        serve(80, None);
        let means = means(&tls);
        let door = Door::opening(policies(&hub(DOWNLOADS)), Some(means.clone()), Vec::new());
        let mut stream = through(&door, &means.authority);
        let (head, body) = ask(&mut stream, GET);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(body.contains("weights.safetensors"), "{body}");
        let (head, body) = ask(&mut stream, COMMIT);
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        assert!(body.contains("EgressPolicy team/visitors"), "it says by which rule: {body}");
        for (reason, verdict) in
            [(Reason::RequestAllowed, Verdict::Allow), (Reason::RequestNotAllowed, Verdict::Deny)]
        {
            let call = door.calls.recv_timeout(support::PATIENCE).unwrap();
            assert_eq!((call.reason, call.verdict), (reason, verdict));
            assert_eq!((call.asked_by.as_deref(), call.generation.0), (Some(RUNNER), 7));
            assert!(call.pod.ip().is_loopback(), "where it came from: {}", call.pod);
        }
        // What a change of policy allows holds from the next request on.
        door.policies.send(policies(&hub("operations: [{verbs: [upload]}]"))).unwrap();
        assert!(ask(&mut stream, GET).0.starts_with("HTTP/1.1 403 "));
        drop(stream);
        assert_eq!(door.record().reason, Reason::NameAllowed);

        // Without a tunnel, in clear.
        door.policies.send(policies(&hub(DOWNLOADS))).unwrap();
        for (request, status) in [(GET, "HTTP/1.1 200 "), (COMMIT, "HTTP/1.1 403 ")] {
            let (method, path) = request.split_once(' ').unwrap();
            let (answer, _stream) = door.ask(&format!("{method} http://hub.example{path}"));
            assert!(answer.starts_with(status), "{request}: {answer}");
        }
    });
}

#[test]
fn netns_what_cannot_be_opened_does_not_pass_where_requests_are_judged() {
    if !able() {
        return;
    }
    outside("jb", || {
        let tls = Tls::new();
        serve(443, Some(Arc::clone(&tls.server)));
        let own = AuthorityPem { certificate: tls.certificate.clone(), key: String::new() };
        let fails = |door: &Door| {
            let mut stream = through(door, &own);
            assert!(stream.write_all(GET.replace('|', "\r\n").as_bytes()).is_err());
            drop(stream);
            door.record()
        };
        let door = Door::new(policies(&hub(DOWNLOADS)));
        let record = fails(&door);
        assert_eq!((record.reason, record.end), (Reason::NoAuthority, End::Refused));
        // One that believes the server alone.
        let means = means(&tls);
        let door = Door::opening(policies(&hub(DOWNLOADS)), Some(means.clone()), Vec::new());
        assert_eq!(fails(&door).reason, Reason::ClientDistrusts);
        let never = vec![DomainPattern::parse_own("**.example").unwrap()];
        let door = Door::opening(policies(&hub(DOWNLOADS)), Some(means), never);
        let runner = shown(&door.authority, &[RUNNER]);
        door.check_refused(Some(&runner), CONNECT, Reason::NeverOpened, "never-opened");
        // A rule that does not look at requests passes it unread, whatever the means.
        door.policies.send(policies(&hub("name: unread"))).unwrap();
        assert!(ask(&mut through(&door, &own), GET).0.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn netns_a_connection_carries_no_more_than_its_rule_says() {
    if !able() {
        return;
    }
    outside("jc", || {
        let tls = Tls::new();
        serve(443, Some(Arc::clone(&tls.server)));
        let own = AuthorityPem { certificate: tls.certificate.clone(), key: String::new() };
        let door = Door::new(policies(&hub("maxUploadBytes: {connection: 20Ki}")));
        let mut stream = through(&door, &own);
        assert!(ask(&mut stream, GET).0.starts_with("HTTP/1.1 200 "));
        let mut sent = Ok(());
        while sent.is_ok() {
            sent = stream.write_all(&[b'x'; 4096]).and_then(|()| stream.flush());
        }
        let record = door.record();
        assert_eq!((record.reason, record.end), (Reason::UploadCeiling, End::Cut));
        assert!(record.bytes_up <= 20 * 1024, "{}", record.bytes_up);
    });
}

/// A request of a little more than so many KiB.
fn padded(kib: usize) -> String {
    GET.replace("||", &format!("|X-Pad: {}||", "x".repeat(kib * 1024)))
}

/// Asks until there is no answer any more.
fn fill(stream: &mut (impl Read + Write)) {
    let request = padded(4);
    while try_ask(stream, &request).is_some_and(|(head, _)| head.starts_with("HTTP/1.1 200 ")) {}
}

#[test]
fn netns_all_connections_of_a_workload_carry_no_more_in_a_day_than_its_rule_says() {
    if !able() {
        return;
    }
    outside("jh", || {
        let tls = Tls::new();
        serve(443, Some(Arc::clone(&tls.server)));
        let means = means(&tls);
        let own = AuthorityPem { certificate: tls.certificate.clone(), key: String::new() };
        // Passed on unread, and opened.
        for (rule, believed) in [("name: unread", &own), (DOWNLOADS, &means.authority)] {
            let limited = hub(&format!("{rule}, maxUploadBytes: {{day: 40Ki}}"));
            let door = Door::opening(policies(&limited), Some(means.clone()), Vec::new());
            let mut carried = 0;
            for _ in 0..2 {
                let mut stream = through(&door, believed);
                assert!(ask(&mut stream, &padded(4)).0.starts_with("HTTP/1.1 200 "), "{rule}");
                drop(stream);
                let record = door.record();
                assert_eq!(record.reason, Reason::NameAllowed, "{rule}");
                carried += record.bytes_up;
            }
            assert!(carried > 8 * 1024, "{rule}: {carried}");
            let mut rests = through(&door, believed);
            assert!(ask(&mut rests, GET).0.starts_with("HTTP/1.1 200 "), "{rule}");
            fill(&mut through(&door, believed));
            // What only rests ends too.
            for _ in 0..2 {
                let record = door.record();
                assert_eq!((record.reason, record.end), (Reason::UploadDay, End::Cut), "{rule}");
                assert_eq!(record.verdict, Verdict::Deny, "{rule}");
                carried += record.bytes_up;
            }
            assert!(carried <= 40 * 1024, "{rule}: {carried}");
            let runner = shown(&door.authority, &[RUNNER]);
            door.check_refused(Some(&runner), CONNECT, Reason::UploadDay, "upload-day");
            // By another state of policy, in which the rule stands elsewhere, it is the same account if it has a name.
            let behind = limited.replacen('[', "[{action: Allow, to: [{domains: [pypi.org]}]}, ", 1);
            door.policies.send(policies(&behind)).unwrap();
            if rule.starts_with("name") {
                door.check_refused(Some(&runner), CONNECT, Reason::UploadDay, "upload-day");
            }
            let reached = door.reached.recv_timeout(support::PATIENCE).unwrap();
            assert_eq!((reached.window, reached.limit), (Window::Day, 40 * 1024), "{rule}");
            assert_eq!(reached.workload.to_string(), "team/serviceaccount:runner");
            assert!(reached.rule.starts_with("EgressPolicy team/visitors"), "{}", reached.rule);
            assert!(door.reached.try_recv().is_err(), "{rule}: told once");
            // With a limit that is not reached it gets on.
            door.policies.send(policies(&limited.replace("40Ki", "80Ki"))).unwrap();
            assert!(ask(&mut through(&door, believed), GET).0.starts_with("HTTP/1.1 200 "), "{rule}");
        }
    });
}

/// Answers requests of HTTP/2 inside TLS.
fn serve_http2(config: &ServerConfig) {
    let listener = server(443);
    listener.set_nonblocking(true).unwrap();
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await?;
                let answer =
                    |_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new(String::new())) };
                let builder = http2::Builder::new(TokioExecutor::new());
                let _cut = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
                std::io::Result::Ok(())
            });
        }
    };
    std::thread::spawn(|| run(serve));
}

/// On a thread of the namespace of the one that calls.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn netns_requests_of_http2_at_once_carry_no_more_in_a_day_than_their_rule_says() {
    if !able() {
        return;
    }
    outside("jk", || {
        let tls = Tls::new();
        serve_http2(&tls.server);
        let means = means(&tls);
        let limited = hub(&format!("{DOWNLOADS}, maxUploadBytes: {{day: 40Ki}}"));
        let door = Door::opening(policies(&limited), Some(means.clone()), Vec::new());
        let answered = run(async {
            let known = client(&door.authority, Some(&shown(&door.authority, &[RUNNER])));
            let stream = tokio::net::TcpStream::connect(door.address).await.unwrap();
            let connector = TlsConnector::from(Arc::new(known));
            let mut outer = connector.connect(DOOR.try_into().unwrap(), stream).await.unwrap();
            outer.write_all(CONNECT.replace('|', "\r\n").as_bytes()).await.unwrap();
            outer.read_exact(&mut vec![0; LEAVE.len()]).await.unwrap();
            let connector = TlsConnector::from(trusting(&means.authority, vec![b"h2".to_vec()]));
            let inner = connector.connect("hub.example".try_into().unwrap(), outer).await.unwrap();
            let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(inner));
            let (sender, connection) = made.await.unwrap();
            tokio::spawn(connection);
            let asking: Vec<_> = (0..16)
                .map(|_| {
                    let mut sender = sender.clone();
                    let path = "https://hub.example/acme/tiny/resolve/main/weights.safetensors";
                    let request = Request::get(path).header("x-pad", "x".repeat(4096));
                    tokio::spawn(
                        async move { sender.send_request(request.body(String::new()).unwrap()).await },
                    )
                })
                .collect();
            let mut answered = 0;
            for asked in asking {
                answered += usize::from(asked.await.unwrap().is_ok());
            }
            answered
        });
        let record = door.record();
        assert_eq!((record.reason, record.end), (Reason::UploadDay, End::Cut), "{answered} were answered");
        assert!(record.bytes_up <= 40 * 1024, "{}", record.bytes_up);
    });
}

#[test]
fn netns_replicas_share_what_a_workload_uploads_and_a_restart_forgets_nothing() {
    if !able() {
        return;
    }
    outside("ji", || {
        let tls = Tls::new();
        serve(443, Some(Arc::clone(&tls.server)));
        let own = AuthorityPem { certificate: tls.certificate.clone(), key: String::new() };
        let folder = tempfile::tempdir().unwrap();
        let server = store::Server::start(folder.path(), &[]);
        let door = |node: &str, down: WhenDown, rule: &str| {
            let store = StoreMeans {
                address: StoreAddress::Unix(folder.path().join(store::SOCKET)),
                roots: None,
                user: None,
                password: None,
                node: node.into(),
                down,
            };
            Door::counting(policies(&hub(rule)), means(&tls), store)
        };
        let limited = "name: few, maxUploadBytes: {day: 64Ki}";
        let doors = ["a", "b"].map(|node| door(node, WhenDown::Deny, limited));
        let mut first = through(&doors[0], &own);
        for _ in 0..6 {
            assert!(ask(&mut first, &padded(4)).0.starts_with("HTTP/1.1 200 "));
        }
        let mut second = through(&doors[1], &own);
        assert!(ask(&mut second, &padded(16)).0.starts_with("HTTP/1.1 200 "));
        fill(&mut second);
        fill(&mut first);
        let mut carried = 0;
        for door in &doors {
            let record = door.record();
            assert_eq!((record.reason, record.end), (Reason::UploadDay, End::Cut));
            carried += record.bytes_up;
        }
        assert!((48 * 1024..=64 * 1024).contains(&carried), "{carried}");
        // One that takes the place of the others.
        let next = door("a", WhenDown::Deny, limited);
        fill(&mut through(&next, &own));
        let record = next.record();
        assert_eq!((record.reason, record.end), (Reason::UploadDay, End::Cut));
        carried += record.bytes_up;
        assert!(carried <= 64 * 1024, "{carried}");

        drop(server);
        let other = "name: other, maxUploadBytes: {day: 1Mi}";
        let denies = door("a", WhenDown::Deny, other);
        let (answer, mut stream) = denies.ask(CONNECT);
        assert_eq!(answer, LEAVE);
        let _cut = stream.write_all(&hello_of(Some("hub.example"), &[])).and_then(|()| stream.flush());
        let record = denies.record();
        assert_eq!((record.reason, record.end, record.bytes_up), (Reason::QuotaStore, End::Cut, 0));
        // A tenth of what nobody was granted.
        let shares = door("b", WhenDown::Share, other);
        let mut stream = through(&shares, &own);
        assert!(ask(&mut stream, &padded(16)).0.starts_with("HTTP/1.1 200 "));
        fill(&mut stream);
        let record = shares.record();
        assert_eq!((record.reason, record.end), (Reason::QuotaStore, End::Cut));
        assert!(record.bytes_up <= 1024 * 1024 / 10, "{}", record.bytes_up);
        assert!(shares.reached.try_recv().is_err(), "nobody knows whether the limit was reached");
    });
}

#[test]
fn netns_a_connection_does_not_outlive_the_certificate_it_came_with() {
    if !able() {
        return;
    }
    outside("jd", || {
        let tls = server(443);
        let door = Door::new(policies(&hub("name: unread")));
        let open = |identity: &Identity| {
            let (answer, mut stream) = door.ask_as(Some(identity), CONNECT);
            assert_eq!(answer, LEAVE);
            let hello = hello_of(Some("hub.example"), &[]);
            stream.write_all(&hello).unwrap();
            let mut far = patient(tls.accept().unwrap().0);
            far.read_exact(&mut vec![0; hello.len()]).unwrap();
            (stream, far)
        };
        let is_cut = |far: &mut TcpStream| {
            assert!(far.read(&mut [0; 1]).is_err(), "the server sees a reset, no end");
            let record = door.record();
            assert_eq!((record.reason, record.end), (Reason::CertificateEnded, End::Cut));
            assert_eq!(record.verdict, Verdict::Deny);
        };
        let soon = SystemTime::now() + Duration::from_secs(3);
        let (_stream, mut far) = open(&door.authority.with_uris_until(&[RUNNER], soon));
        is_cut(&mut far);

        // What newer files still believe goes on; what they do not is cut.
        let (mut stream, mut far) = open(&shown(&door.authority, &[RUNNER]));
        door.clients.send(Arc::new(Clients::new(&door.authority.valid(DOOR), DOMAIN).unwrap())).unwrap();
        far.write_all(b"answer").unwrap();
        stream.read_exact(&mut [0; 6]).unwrap();
        let next = support::egress::Authority::new();
        let both = Identity { authority: next.valid(DOOR).authority, ..door.authority.valid(DOOR) };
        door.clients.send(Arc::new(Clients::new(&both, DOMAIN).unwrap())).unwrap();
        is_cut(&mut far);
    });
}

#[test]
fn netns_what_an_answer_granted_is_reached_wherever_it_is_and_nothing_else_there() {
    if !able() {
        return;
    }
    outside("je", || {
        let tls = Tls::new();
        serve(443, Some(Arc::clone(&tls.server)));
        let means = means(&tls);
        let granting = policies(&hub(&format!("{DOWNLOADS}, redirects: {{grant: 60s}}")));
        let door = Door::opening(granting, Some(means.clone()), Vec::new());
        let runner = shown(&door.authority, &[RUNNER]);
        let is_unknown = || {
            let connect = CONNECT.replace("hub.example", "other.example");
            door.check_refused(Some(&runner), &connect, Reason::LookupRefused, "lookup-refused");
        };
        is_unknown();
        let leading = GET.replace("||", "|X-To: https://other.example/file?sig=1||");
        let (head, _) = ask(&mut through(&door, &means.authority), &leading);
        assert!(head.starts_with("HTTP/1.1 302 "), "{head}");
        assert_eq!(door.record().reason, Reason::NameAllowed);

        let mut granted = through_to("other.example", &door, &means.authority);
        let mut file =
            |target: &str| ask(&mut granted, &format!("GET {target} HTTP/1.1|Host: other.example||")).0;
        assert!(file("/file?sig=1").starts_with("HTTP/1.1 200 "));
        assert!(file("/file?sig=2").starts_with("HTTP/1.1 403 "));
        // With the rule that granted it goes what it granted.
        door.policies.send(policies(&hub(DOWNLOADS))).unwrap();
        assert!(file("/file?sig=1").starts_with("HTTP/1.1 403 "));
        drop(granted);
        door.record();
        is_unknown();
    });
}

#[test]
fn netns_requests_of_a_workload_leave_with_the_key_of_their_rule_or_not_at_all() {
    if !able() {
        return;
    }
    outside("jg", || {
        let tls = Tls::new();
        let asked = serve(443, Some(Arc::clone(&tls.server)));
        serve(80, None);
        let means = means(&tls);
        let inject = "credentials: [{inject: {secretRef: {name: keys, key: hub}, header: authorization}}]";
        let door =
            Door::opening(policies(&hub(&format!("{DOWNLOADS}, {inject}"))), Some(means.clone()), Vec::new());
        let put = |text: &str| {
            let at = SecretRef { namespace: "team".into(), name: "keys".into(), key: "hub".into() };
            let keys: Keys = [(at, Key::read(text.as_bytes()).unwrap())].into_iter().collect();
            door.keys.send(Arc::new(keys)).unwrap();
        };
        let shown = GET.replace("||", "|Authorization: Bearer of-the-runner||");
        let mut stream = through(&door, &means.authority);
        let (head, _) = ask(&mut stream, &shown);
        assert!(head.starts_with("HTTP/1.1 403 "), "nobody told the key: {head}");
        assert_eq!(door.calls.recv_timeout(support::PATIENCE).unwrap().reason, Reason::KeyMissing);
        assert!(asked.try_recv().is_err(), "nothing left without it");
        // On the connection that is open, with the key of this moment.
        for key in ["of-the-first-secret", "of-the-second-secret"] {
            put(key);
            assert!(ask(&mut stream, &shown).0.starts_with("HTTP/1.1 200 "));
            let left = asked.recv_timeout(support::PATIENCE).unwrap().to_ascii_lowercase();
            assert!(left.contains(&format!("authorization: bearer {key}")), "{left}");
            assert!(!left.contains("of-the-runner"), "{left}");
            let call = door.calls.recv_timeout(support::PATIENCE).unwrap();
            assert_eq!((call.reason, &*call.injected.unwrap().secret.key), (Reason::RequestAllowed, "hub"));
        }
        drop(stream);
        door.record();
        // In clear it does not leave.
        let (method, path) = GET.split_once(' ').unwrap();
        let (answer, _stream) = door.ask(&format!("{method} http://hub.example{path}"));
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert_eq!(door.calls.recv_timeout(support::PATIENCE).unwrap().reason, Reason::KeyInClear);
    });
}

#[test]
fn netns_replicas_share_the_budget_of_a_workload_and_without_a_store_there_is_none() {
    if !able() {
        return;
    }
    outside("jf", || {
        let tls = Tls::new();
        serve(443, Some(Arc::clone(&tls.server)));
        let folder = tempfile::tempdir().unwrap();
        let _server = store::Server::start(folder.path(), &[]);
        let store = |node: &str| StoreMeans {
            address: StoreAddress::Unix(folder.path().join(store::SOCKET)),
            roots: None,
            user: None,
            password: None,
            node: node.into(),
            down: WhenDown::Deny,
        };
        let means = means(&tls);
        let limited = hub(&format!("name: few, {DOWNLOADS}, budgets: {{requests: {{day: 3}}}}"));
        let doors = ["a", "b"].map(|node| Door::counting(policies(&limited), means.clone(), store(node)));
        let mut streams = doors.each_ref().map(|door| through(door, &means.authority));
        let mut status = |at: usize| ask(&mut streams[at], GET).0.split(' ').nth(1).unwrap().to_owned();
        assert_eq!([0, 1, 0].map(&mut status), ["200"; 3]);
        assert_eq!([0, 1].map(&mut status), ["429"; 2]);
        // By another state of policy, in which the rule stands elsewhere, it is the same account.
        let behind = limited.replacen('[', "[{action: Allow, to: [{domains: [pypi.org]}]}, ", 1);
        doors[1].policies.send(policies(&behind)).unwrap();
        assert_eq!(status(1), "429");
        let reasons = [(); 3].map(|()| doors[0].calls.recv_timeout(support::PATIENCE).unwrap().reason);
        assert_eq!(reasons, [Reason::RequestAllowed, Reason::RequestAllowed, Reason::QuotaRequests]);

        let door = Door::opening(policies(&limited), Some(means.clone()), Vec::new());
        let runner = shown(&door.authority, &[RUNNER]);
        door.check_refused(Some(&runner), CONNECT, Reason::NeedsNode, "needs-node");
    });
}
