//! Clients that do not let themselves be opened, where a rule passes that (`whenUnopened: Pass`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test"
)]

use crate::support;
use gateway::{AuthorityPem, Ceiling, End, Limits, Phase, Reason, State};
use http::StatusCode;
use policy::{Requests, Verdict, WhenUnopened};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use support::Tls;
use support::web::{Client, Way, World, full, nothing, request, run, state_of};

/// Nothing is allowed of what is read, so that what arrives was not read.
fn passing() -> Requests {
    Requests { when_unopened: WhenUnopened::Pass, ..nothing() }
}

fn ceiling() -> Ceiling {
    Ceiling { max_upload: Some(20_000), ..Ceiling::default() }
}

/// A world, and the authority of its server, which is all that a pinned client believes.
fn world(way: Way, state: State) -> (World, AuthorityPem) {
    let tls = Tls::new();
    let own = AuthorityPem { certificate: tls.certificate.clone(), key: String::new() };
    (World::before(&tls, way, state, Limits::default(), true), own)
}

/// Refuses what it is shown.
async fn is_refused(world: &World, authority: &AuthorityPem) -> Reason {
    assert!(Client::connect(&world.proxy, world.way, authority).await.is_err());
    world.proxy.record().reason
}

#[test]
fn a_client_that_refuses_again_is_passed_unread_and_the_record_says_so() {
    for way in [Way::Tls1, Way::Tls2, Way::TlsUnsaid] {
        let (world, own) = world(way, state_of(passing(), ceiling(), None));
        run(async {
            for _ in 0..2 {
                assert_eq!(is_refused(&world, &own).await, Reason::ClientDistrusts, "{way:?}");
            }
            let mut client = Client::connect(&world.proxy, way, &own).await.unwrap();
            assert_eq!(client.get("/secret").await.0, StatusCode::OK);
        });
        assert!(world.seen.recv().unwrap().target.ends_with("/secret"));
        let record = world.proxy.record();
        assert_eq!(
            (record.reason, record.verdict, record.end),
            (Reason::PassedUnopened, Verdict::Allow, End::Closed)
        );
        assert_eq!(record.rule.as_deref(), Some("ClusterNetworkPolicy hub spec.egress[0]"));
        assert_eq!(world.proxy.calls.try_iter().count(), 0, "no request was read");
    }
}

#[test]
fn what_passes_unread_may_send_no_more_than_its_rule_says() {
    let (world, own) = world(Way::Tls1, state_of(passing(), ceiling(), None));
    run(async {
        for _ in 0..2 {
            is_refused(&world, &own).await;
        }
        let mut client = Client::connect(&world.proxy, Way::Tls1, &own).await.unwrap();
        let sent = client.send(request("POST", "/echo", full(vec![7; 40_000]))).await;
        assert!(sent.is_err());
    });
    let record = world.proxy.record();
    assert_eq!((record.reason, record.end), (Reason::UploadCeiling, End::Cut));
    assert!(record.bytes_up <= 20_000, "{}", record.bytes_up);
}

#[test]
fn a_client_is_not_passed_where_its_rule_does_not_say_so_or_nothing_else_limits_it() {
    let denying = Requests { when_unopened: WhenUnopened::Deny, ..passing() };
    for (requests, ceiling) in [(denying, ceiling()), (passing(), Ceiling::default())] {
        let (world, own) = world(Way::Tls1, state_of(requests, ceiling, None));
        run(async {
            for _ in 0..4 {
                assert_eq!(is_refused(&world, &own).await, Reason::ClientDistrusts);
            }
        });
        assert!(world.seen.try_recv().is_err());
    }
}

#[test]
fn a_pod_of_which_a_client_was_opened_is_not_passed() {
    let (world, own) = world(Way::Tls1, state_of(passing(), ceiling(), None));
    run(async {
        is_refused(&world, &own).await;
    });
    // What it asks for is refused, but it can be asked.
    run(async { assert_eq!(world.client().await.get("/").await.0, StatusCode::FORBIDDEN) });
    assert_eq!(world.proxy.record().reason, Reason::NameAllowed);
    run(async {
        for _ in 0..4 {
            assert_eq!(is_refused(&world, &own).await, Reason::ClientDistrusts);
        }
    });
}

#[test]
fn a_client_that_goes_without_a_word_is_not_passed() {
    let (world, own) = world(Way::Tls1, state_of(passing(), ceiling(), None));
    let tls = Tls::new();
    run(async {
        for _ in 0..4 {
            let mut stream = world.proxy.connect();
            stream.write_all(&tls.hello("hub.example")).unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(world.proxy.record().reason, Reason::ClientDistrusts);
        }
        assert_eq!(is_refused(&world, &own).await, Reason::ClientDistrusts);
    });
}

#[test]
fn what_passed_unread_does_not_outlive_the_leave_to_do_so() {
    let (world, own) = world(Way::Tls1, state_of(passing(), ceiling(), None));
    let inspection = Some(Arc::clone(&world.inspection));
    let change = |requests, changes| {
        world.proxy.table.replace(state_of(requests, ceiling(), inspection.clone()));
        world.proxy.phase.send_replace(Phase { changes, ..Phase::default() });
    };
    run(async {
        for _ in 0..2 {
            is_refused(&world, &own).await;
        }
        let mut client = Client::connect(&world.proxy, Way::Tls1, &own).await.unwrap();
        assert_eq!(client.get("/one").await.0, StatusCode::OK);
        change(passing(), 1);
        assert_eq!(client.get("/two").await.0, StatusCode::OK, "nothing changed for it");
        change(nothing(), 2);
        let record = world.proxy.record();
        assert_eq!((record.reason, record.end), (Reason::Unread, End::Cut));
        assert_eq!(is_refused(&world, &own).await, Reason::ClientDistrusts);
    });
}
