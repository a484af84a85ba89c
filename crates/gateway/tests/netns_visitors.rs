//! Workloads that come to the central gateway by themselves: real TLS, and servers at addresses outside, in a network namespace.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test's helpers fail the test"
)]

mod support;

use feed::tls::Identity;
use gateway::{Clients, End, Reason};
use policy::Verdict;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use support::door::{
    CONNECT, DOMAIN, DOOR, Door, HUB, LEAVE, RUNNER, SERVER, able, outside, policies, server, shown,
};
use support::egress::Authority;
use support::{hello_of, patient};

#[test]
fn a_workload_is_known_by_its_certificate_and_gets_where_its_policy_leads() {
    if !able() {
        return;
    }
    outside("a", || {
        let (tls, clear) = (server(443), server(80));
        let door = Door::new(policies(HUB));
        let (answer, mut stream) = door.ask(CONNECT);
        assert_eq!(answer, LEAVE);
        let hello = hello_of(Some("hub.example"), &[]);
        stream.write_all(&hello).unwrap();
        let mut far = patient(tls.accept().unwrap().0);
        let mut read = vec![0; hello.len()];
        far.read_exact(&mut read).unwrap();
        assert_eq!(read, hello);
        far.write_all(b"answer").unwrap();
        drop(far);
        let mut back = vec![0; 6];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, b"answer");
        drop(stream);
        let record = door.record();
        assert_eq!((record.reason, record.verdict), (Reason::NameAllowed, Verdict::Allow));
        assert_eq!((record.asked_by.as_deref(), record.generation.0), (Some(RUNNER), 7));
        assert_eq!(record.destination, SocketAddr::new(SERVER.parse().unwrap(), 443));
        assert!(record.pod.ip().is_loopback(), "where it came from: {}", record.pod);
        assert!(record.rule.unwrap().starts_with("EgressPolicy team/visitors spec.egress[0]"));

        let asking = std::thread::spawn(move || {
            let mut far = patient(clear.accept().unwrap().0);
            let mut read = vec![];
            while !read.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                far.read_exact(&mut byte).unwrap();
                read.push(byte[0]);
            }
            far.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            read
        });
        let (answer, _stream) = door.ask("GET http://hub.example/x HTTP/1.1|Host: hub.example||");
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
        assert!(asking.join().unwrap().starts_with(b"GET /x HTTP/1.1\r\n"));
    });
}

#[test]
fn it_gets_nowhere_else() {
    if !able() {
        return;
    }
    outside("b", || {
        let tls = server(443);
        tls.set_nonblocking(true).unwrap();
        let door = Door::new(policies(HUB));
        let runner = shown(&door.authority, &[RUNNER]);
        for (head, reason) in [
            ("CONNECT secret.example:443 HTTP/1.1||", Reason::LookupRefused),
            ("CONNECT hub.example:8443 HTTP/1.1||", Reason::NameNotAllowed),
            ("CONNECT inside.example:443 HTTP/1.1||", Reason::BarredDestination),
            ("CONNECT 203.0.113.9:443 HTTP/1.1||", Reason::NoName),
            ("CONNECT 127.0.0.1:443 HTTP/1.1||", Reason::Inside),
            ("CONNECT 198.51.100.130:443 HTTP/1.1||", Reason::BarredDestination),
            ("GET http://secret.example/ HTTP/1.1|Host: secret.example||", Reason::LookupRefused),
        ] {
            let record = door.check_refused(Some(&runner), head, reason, reason.as_str());
            assert_eq!(record.asked_by.as_deref(), Some(RUNNER), "{head}");
        }
        // Another of the namespace, whom no policy selects, and one of a namespace that there is not.
        for id in
            ["spiffe://prod.example.org/ns/team/sa/other", "spiffe://prod.example.org/ns/none/sa/runner"]
        {
            let other = shown(&door.authority, &[id]);
            door.check_refused(Some(&other), CONNECT, Reason::LookupRefused, "lookup-refused");
            let address = "CONNECT 203.0.113.9:443 HTTP/1.1||";
            door.check_refused(Some(&other), address, Reason::WorkloadUnselected, "workload-unselected");
        }
        // For another name than the tunnel, and for none.
        for hello in [hello_of(Some("inside.example"), &[]), hello_of(None, &[])] {
            let (answer, mut stream) = door.ask(CONNECT);
            assert_eq!(answer, LEAVE);
            stream.write_all(&hello).unwrap();
            let _alert = stream.read_to_end(&mut vec![]);
            assert_eq!(door.record().end, End::Refused);
        }
        while let Ok((mut far, _)) = tls.accept() {
            far.set_nonblocking(false).unwrap();
            let mut read = vec![];
            let _end = far.read_to_end(&mut read);
            assert!(read.is_empty(), "a server was told something: {read:?}");
        }
    });
}

#[test]
fn who_is_no_workload_by_certificate_is_told_what_it_presented() {
    if !able() {
        return;
    }
    outside("c", || {
        let door = Door::new(policies(HUB));
        for (uris, says) in [
            (&["spiffe://other.example/ns/team/sa/runner"][..], "spiffe://other.example/ns/team/sa/runner"),
            (&["spiffe://prod.example.org/team/runner"], "spiffe://prod.example.org/team/runner"),
            (&[RUNNER, "spiffe://prod.example.org/ns/team/sa/other"], "sa/runner, spiffe://"),
            (&[], "certificate"),
        ] {
            let identity = shown(&door.authority, uris);
            let record = door.check_refused(Some(&identity), CONNECT, Reason::WorkloadUnknown, says);
            assert!(record.asked_by.unwrap().contains(says), "{says}");
        }
        door.check_refused(None, CONNECT, Reason::WorkloadUnknown, "workload-unknown");
        // What the authority did not make is no certificate to TLS; nor is what the next authority did not.
        let stranger = shown(&Authority::new(), &[RUNNER]);
        let believed = Identity { authority: door.authority.valid(DOOR).authority, ..stranger };
        let before = shown(&door.authority, &[RUNNER]);
        let next = Authority::new();
        let both = Identity { authority: next.valid(DOOR).authority, ..door.authority.valid(DOOR) };
        for (identity, is_next) in [(believed, false), (before, true)] {
            if is_next {
                door.clients.send(Arc::new(Clients::new(&both, DOMAIN).unwrap())).unwrap();
            }
            let mut stream = door.come(Some(&identity));
            let _written = stream.write_all(CONNECT.replace('|', "\r\n").as_bytes());
            assert!(stream.read(&mut [0; 1]).is_err(), "{is_next}");
        }
    });
}

#[test]
fn a_change_of_policy_cuts_what_it_denies_and_demands_that_only_a_node_meets_are_refused() {
    if !able() {
        return;
    }
    outside("d", || {
        let tls = server(443);
        let door = Door::new(None);
        let (answer, _) = door.ask(CONNECT);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("no-policy"), "{answer}");
        assert_eq!(door.record().reason, Reason::NoPolicy);
        door.policies.send(policies(HUB)).unwrap();
        let (answer, mut stream) = door.ask(CONNECT);
        assert_eq!(answer, LEAVE);
        let hello = hello_of(Some("hub.example"), &[]);
        stream.write_all(&hello).unwrap();
        let mut far = patient(tls.accept().unwrap().0);
        far.read_exact(&mut vec![0; hello.len()]).unwrap();
        for rule in [
            "operations: [{verbs: [download]}], budgets: {requests: {hour: 5}}",
            "models: [small], capture: {requests: true}",
        ] {
            let rule = format!(
                "[{{action: Allow, to: [{{domains: [hub.example]}}], ports: [{{port: 443}}], {rule}}}]"
            );
            door.policies.send(policies(&rule)).unwrap();
            door.check_refused(
                Some(&shown(&door.authority, &[RUNNER])),
                CONNECT,
                Reason::NeedsNode,
                "needs-node",
            );
        }
        door.policies.send(policies("[]")).unwrap();
        door.phase.send_modify(|phase| phase.changes += 1);
        let _cut = stream.read(&mut [0; 1]);
        let record = door.record();
        assert_eq!((record.verdict, record.end), (Verdict::Deny, End::Cut));
        // Nor does a name keep open what was opened by its address.
        let both = "[{action: Allow, to: [{networks: [203.0.113.0/24]}, {domains: [hub.example]}], ports: [{port: 443}]}]";
        let door = Door::new(policies(both));
        let (answer, mut stream) = door.ask("CONNECT 203.0.113.9:443 HTTP/1.1||");
        assert_eq!(answer, LEAVE);
        stream.write_all(&hello).unwrap();
        let mut far = patient(tls.accept().unwrap().0);
        far.read_exact(&mut vec![0; hello.len()]).unwrap();
        door.policies.send(policies(HUB)).unwrap();
        door.phase.send_modify(|phase| phase.changes += 1);
        let _cut = stream.read(&mut [0; 1]);
        let record = door.record();
        assert_eq!((record.reason, record.end), (Reason::NameMismatch, End::Cut));
    });
}
