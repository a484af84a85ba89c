//! Policy and certificates of an egress gateway, from the controller.
//!
//! Guarantees: what was received holds through every failure; a certificate is renewed before it ends. Does not: keep
//! anything over a restart: a gateway that has received nothing connects nobody, and there are others.

use super::{Shared, own_name};
use crate::agent::credentials::Credentials;
use feed::Replica;
use feed::client::{Enforced, Node, follow};
use feed::tls::Identity;
use policy::{Key, SecretRef};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often a certificate is looked at, and the wait after a failure.
const LOOK: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(1)];

/// A gateway as the feed sees it.
pub(super) struct Following {
    controllers: Vec<String>,
    link: Link,
}

struct Link {
    credentials: Credentials,
    shared: Arc<Shared>,
}

impl Following {
    pub(super) fn new(controllers: Vec<String>, credentials: Credentials, shared: Arc<Shared>) -> Self {
        Self { controllers, link: Link { credentials, shared } }
    }

    /// Follows whichever controller answers. Where there is none, policy comes from elsewhere.
    pub(super) async fn follow(mut self) {
        if self.controllers.is_empty() {
            return;
        }
        follow(&self.controllers, &own_name(), env!("CARGO_PKG_VERSION"), Replica::default(), &mut self.link)
            .await;
    }
}

impl Node for Link {
    async fn identity(&mut self, address: &str) -> io::Result<Identity> {
        self.credentials.identity(address).await
    }

    async fn received(&mut self, replica: &Replica) -> Enforced {
        self.shared.load(replica.policy_set());
        Enforced { generation: Some(replica.generation()), ..Enforced::default() }
    }

    fn keys(&mut self, keys: BTreeMap<SecretRef, Key>) {
        self.shared.inject_with(keys.into_iter().collect());
    }

    fn connected(&mut self, problem: Option<String>) {
        let problem =
            problem.map(|why| format!("cut off from the controller: {why}; what was received holds"));
        self.shared.note(&self.shared.problem, problem, "connected to the controller");
    }

    async fn changed(&mut self) -> Enforced {
        std::future::pending().await
    }
}

/// The certificate that nodes are shown.
pub(super) struct Renewal {
    controllers: Vec<String>,
    credentials: Credentials,
    shared: Arc<Shared>,
    turn: usize,
}

impl Renewal {
    pub(super) fn new(controllers: Vec<String>, credentials: Credentials, shared: Arc<Shared>) -> Self {
        Self { controllers, credentials, shared, turn: 0 }
    }

    /// Asks until there is one.
    pub(super) async fn first(&mut self) -> Identity {
        let [_, again] = LOOK;
        loop {
            if let Some(identity) = self.next().await {
                return identity;
            }
            tokio::time::sleep(again).await;
        }
    }

    /// Gives newer ones to those who come next.
    pub(super) async fn keep(mut self, to: watch::Sender<Arc<Identity>>) {
        let [look, _] = LOOK;
        loop {
            tokio::time::sleep(look).await;
            if let Some(new) = self.next().await {
                to.send_if_modified(|held| {
                    let differs = **held != new;
                    *held = Arc::new(new);
                    differs
                });
            }
        }
    }

    /// One that can be used, or a note of why there is none.
    async fn next(&mut self) -> Option<Identity> {
        // Files need no controller.
        let address = self.controllers.get(self.turn.checked_rem(self.controllers.len()).unwrap_or(0));
        let found = self.credentials.identity(address.map_or("", String::as_str)).await;
        self.turn = self.turn.wrapping_add(1);
        let usable = found.map_err(|error| error.to_string()).and_then(|identity| {
            identity.server_of_known().map_err(|error| error.to_string())?;
            Ok(identity)
        });
        let problem = usable.as_ref().err().map(|why| format!("the certificate of this gateway: {why}"));
        self.shared.note(&self.shared.unknown, problem, "it has a certificate");
        usable.ok()
    }
}
