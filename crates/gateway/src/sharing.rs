//! Gateways that share budgets through a real server.

#[path = "../tests/support/store.rs"]
mod server;

use super::*;
use crate::tls::Authority;
use crate::uploads::{Uploads, sample};
use proptest::prelude::*;
use purse::{StoreAddress, StoreMeans, WhenDown};
use rustls_pki_types::pem::PemObject;
use server::{Server, wait_for};
use std::net::TcpListener;
use std::time::SystemTime;
use tempfile::TempDir;

/// Any hour at all; that it is not this one makes no difference.
const NOW: u64 = 1_800_000_000;
fn means(folder: &TempDir, down: WhenDown) -> StoreMeans {
    StoreMeans {
        address: StoreAddress::Unix(folder.path().join(server::SOCKET)),
        roots: None,
        user: None,
        password: None,
        node: "node".into(),
        down,
    }
}

/// One gateway with an account that it shares.
struct Gateway {
    account: Account,
    runtime: tokio::runtime::Runtime,
}

impl Gateway {
    fn new(means: StoreMeans, tokens: u64) -> Self {
        let accounts = Arc::default();
        let purse = Purse::start(Arc::new(means), &accounts).unwrap();
        let quotas = Quotas { tokens: Quota { hour: Some(tokens), day: None }, ..Quotas::default() };
        let shared = Some(Shared { name: "team/app rule".into(), purse });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { account: Account { accounts, key: Key::Told(1), quotas, shared }, runtime }
    }

    fn purse(&self) -> &Purse<Accounts> {
        &self.account.shared.as_ref().unwrap().purse
    }

    /// As a request does it.
    fn reserve(&self, tokens: u64) -> std::result::Result<Reservation, Short> {
        let amount = Amount { tokens, money: 0 };
        let reserved = self.account.reserve(amount, NOW);
        if !matches!(reserved, Err(Short::Unleased(_))) {
            return reserved;
        }
        assert!(self.runtime.block_on(self.purse().draw(vec![self.account.key], amount)).is_some());
        self.account.reserve(amount, NOW)
    }

    /// Uses tokens, for good.
    fn uses(&self, tokens: u64) -> bool {
        self.reserve(tokens).map(|mut reserved| reserved.sent()).is_ok()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Gateways, and calls of each: what is set aside and what it takes. What all used never passes the limit, but for what
    /// calls took beyond what was set aside for them.
    #[test]
    fn gateways_together_overshoot_by_no_more_than_calls_took_beyond_what_was_set_aside(
        calls in prop::collection::vec((0usize..4, 1u64..200, 0u64..250, any::<bool>()), 1..120),
    ) {
        const LIMIT: u64 = 2000;
        let folder = tempfile::tempdir().unwrap();
        let _server = Server::start(folder.path(), &[]);
        let gateways: Vec<_> = (0..4).map(|_| Gateway::new(means(&folder, WhenDown::Share), LIMIT)).collect();
        let (mut open, mut used, mut beyond) = (Vec::new(), 0, 0);
        for (gateway, set_aside, took, ends) in calls {
            if let Ok(reserved) = gateways[gateway].reserve(set_aside) {
                used += set_aside;
                open.push((reserved, set_aside, took));
            }
            if ends && let Some((mut reserved, set_aside, took)) = open.pop() {
                reserved.sent();
                reserved.settle(Amount { tokens: took, money: 0 }, NOW);
                used = used - set_aside + took;
                beyond += took.saturating_sub(set_aside);
            }
            prop_assert!(used <= LIMIT + beyond, "{used} {beyond}");
        }
    }
}

#[test]
fn what_one_gateway_did_not_use_it_gives_back() {
    let folder = tempfile::tempdir().unwrap();
    let _server = Server::start(folder.path(), &[]);
    let [one, other] = [(); 2].map(|()| Gateway::new(means(&folder, WhenDown::Share), 6400));
    // The lease of the first is a 64th of the limit beyond that.
    assert!(one.uses(100));
    wait_for(|| other.uses(6300));
    assert!(!one.uses(1) && !other.uses(1), "all is used");
    let Err(Short::Unleased(spent) | Short::Spent(spent)) = one.reserve(1) else { panic!("nothing is left") };
    assert_eq!(spent.shortfall.unwrap().left, 0);
    assert!(spent.retry_at.is_some());
}

#[test]
fn a_store_that_is_gone_leaves_a_share_or_nothing_and_hears_all_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let shares = Gateway::new(means(&folder, WhenDown::Share), 6400);
    let denies = Gateway::new(means(&folder, WhenDown::Deny), 6400);
    assert!(shares.uses(1000) && denies.uses(1000));
    drop(server);
    // The first has at most a lease of 100, and a tenth of what nobody was granted.
    assert!(!shares.uses(800) && !denies.uses(200));
    wait_for(|| shares.purse().store_is() == StoreIs::Down);
    wait_for(|| denies.purse().store_is() == StoreIs::DownAndDenied);
    assert!(shares.uses(400), "less than a tenth");
    assert!(!shares.uses(400), "and no more than that");
    assert!(!denies.uses(200));
    assert!(shares.purse().standing().problem.is_some());
    // It has forgotten all, and hears it anew.
    let _server = Server::start(folder.path(), &[]);
    wait_for(|| [&shares, &denies].iter().all(|gateway| gateway.purse().store_is() == StoreIs::Up));
    assert!(shares.uses(1) && denies.uses(1));
    for gateway in [&shares, &denies] {
        // What they hold ahead they give back, and tell what they used with it.
        let before = gateway.purse().standing().answers;
        wait_for(|| gateway.purse().standing().answers > before);
    }
    let third = Gateway::new(means(&folder, WhenDown::Share), 6400);
    assert!(!third.uses(6400 - 2402 + 1), "2402 are used");
    wait_for(|| third.uses(6400 - 2402));
}

#[test]
fn a_password_and_a_certificate_are_asked_for_and_given() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::generate(SystemTime::now()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(
        &authority.certificate,
        rcgen::KeyPair::from_pem(&authority.key).unwrap(),
    );
    let names = vec!["localhost".to_owned()];
    let certificate =
        rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer.unwrap()).unwrap();
    for (name, text) in [
        ("ca.pem", authority.certificate.clone()),
        ("crt.pem", certificate.pem()),
        ("key.pem", key.serialize_pem()),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let given = port.to_string();
    let arguments = ["--tls-port", &given, "--tls-cert-file", "crt.pem", "--tls-key-file", "key.pem"];
    let more = ["--tls-ca-cert-file", "ca.pem", "--tls-auth-clients", "no", "--requirepass", "open sesame"];
    let _server = Server::start(folder.path(), &[&arguments[..], &more[..]].concat());
    let root =
        |pem: &str| vec![rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()];
    let other = Authority::generate(SystemTime::now()).unwrap();
    for (password, certificate, expected) in [
        (Some("open sesame"), &authority.certificate, None),
        (Some("wrong"), &authority.certificate, Some("WRONGPASS")),
        (None, &authority.certificate, Some("unauthenticated")),
        (Some("open sesame"), &other.certificate, Some("certificate")),
    ] {
        let means = StoreMeans {
            address: StoreAddress::Tcp("localhost".into(), port),
            roots: Some(root(certificate)),
            password: password.map(str::to_owned),
            ..means(&folder, WhenDown::Deny)
        };
        let gateway = Gateway::new(means, 100);
        assert_eq!(gateway.uses(10), expected.is_none(), "{expected:?}");
        let problem = gateway.purse().standing().problem;
        assert_eq!(problem.is_some(), expected.is_some(), "{problem:?}");
        assert!(expected.is_none_or(|expected| problem.as_ref().unwrap().contains(expected)), "{problem:?}");
    }
}

#[tokio::test]
async fn many_connections_that_upload_at_once_get_all_that_the_store_has_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let _server = Server::start(folder.path(), &[]);
    let uploads = Arc::<Uploads>::default();
    let purse = Purse::start(Arc::new(means(&folder, WhenDown::Deny)), &uploads).unwrap();
    // What is granted beyond what one needs is enough for three others.
    let upload = sample::shared(&uploads, "{day: 6400000}", Some(purse));
    let mut taking = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let upload = Arc::clone(&upload);
        taking.spawn(async move { upload.take(30_000).await });
    }
    assert_eq!(taking.join_all().await, [Ok(()); 200]);
    assert_eq!(upload.take(500_000).await, Err(Reason::UploadDay), "and no more than that");
}
